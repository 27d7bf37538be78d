//! MP_REACH_NLRI and MP_UNREACH_NLRI (RFC 4760, RFC 2545, RFC 7606 §5, §7.11).

use crate::hostile::octets::{attribute, update};
use crate::hostile::row::{
    Context, GOOD_LOOK, GOOD6_LOOK, HOP, NLRI, NLRI6, ORIGIN, P, P6, PATH, Q6, Row, Want, in_session,
};
use Context::{External, Ipv6Only, OverIpv6};
use Want::{Announce, Nothing, Reset, Withdraw};

const GLOBAL: &str = "20010db8000000000000000000000002";
const TAKEN: Want = Announce(&[(P6, GOOD6_LOOK)]);
const GONE: Want = Withdraw(&[P6]);

/// MP_REACH_NLRI of `P6` by this next hop.
fn reach(next_hop: &str) -> String {
    let len = next_hop.len() / 2;
    attribute(0x80, 14, &format!("000201{len:02x}{next_hop}00{NLRI6}"))
}

fn with(list: &str) -> Vec<u8> {
    update("", &format!("{list}{ORIGIN}{PATH}"), "")
}

#[rustfmt::skip]
pub(super) fn rows() -> Vec<Row> {
    [reached(), reset(), others()].concat()
}

#[rustfmt::skip]
fn reached() -> Vec<Row> {
    let row = in_session(External);
    let by = |next_hop: &str| with(&reach(next_hop));
    let local = "fe800000000000000000000000000001";
    vec![
        row("MP_REACH_NLRI", "RFC 4760 §3", by(GLOBAL), TAKEN),
        row("MP_REACH_NLRI last", "RFC 7606 §5.1", update("", &format!("{ORIGIN}{PATH}{}", reach(GLOBAL)), ""), TAKEN),
        row("two next hops", "RFC 2545 §3", by(&format!("{GLOBAL}{local}")), TAKEN),
        row("two next hops, the second global", "RFC 2545 §3", by(&format!("{GLOBAL}{GLOBAL}")), TAKEN),
        row("a next hop that is mapped", "RFC 7606 §7.11", by("00000000000000000000ffffc0000202"), GONE),
        row("a next hop of zeros", "RFC 7606 §7.11", by(&"00".repeat(16)), GONE),
        row("a next hop ::1", "RFC 7606 §7.11", by("00000000000000000000000000000001"), GONE),
        row("a next hop ff02::1", "RFC 7606 §7.11", by("ff020000000000000000000000000001"), GONE),
        row("MP_REACH_NLRI transitive", "RFC 7606 §3 c", with(&reach(GLOBAL).replacen("80", "c0", 1)), GONE),
        row("MP_REACH_NLRI well-known", "RFC 7606 §3 c", with(&reach(GLOBAL).replacen("80", "40", 1)), GONE),
        row("MP_REACH_NLRI without ORIGIN", "RFC 7606 §3 d", update("", &format!("{}{PATH}", reach(GLOBAL)), ""), GONE),
        row("MP_REACH_NLRI without AS_PATH", "RFC 7606 §3 d", update("", &format!("{}{ORIGIN}", reach(GLOBAL)), ""), GONE),
        row("an IPv6 error with IPv4 routes elsewhere", "RFC 7606 §2", with(&format!("{}800401ff", reach(GLOBAL))), GONE),
        row("an error withdraws the prefixes of both fields", "RFC 7606 §2",
            update("", &format!("{}{ORIGIN}{PATH}{HOP}800401ff", reach(GLOBAL)), NLRI), Withdraw(&[P, P6])),
        row("both fields, in order", "RFC 7606 §5.1", update("", &format!("{}{ORIGIN}{PATH}{HOP}", reach(GLOBAL)), NLRI),
            Announce(&[(P, GOOD_LOOK), (P6, GOOD6_LOOK)])),
        row("MP_UNREACH_NLRI transitive", "RFC 7606 §3 c", update("", &format!("c00f0a000201{NLRI6}"), ""), GONE),
        row("announced and withdrawn in one message", "RFC 7606 §3 c", with(&format!("{} 800f0a000201 3020010db800bb", reach(GLOBAL))),
            Want::Swap(Q6, P6)),
        row("NEXT_HOP beside MP_REACH_NLRI alone", "RFC 4760 §3", with(&format!("{}{HOP}", reach(GLOBAL))), TAKEN),
        row("a bad NEXT_HOP beside MP_REACH_NLRI alone", "RFC 4760 §3", with(&format!("{} 40030400000000", reach(GLOBAL))), TAKEN).told("NEXT_HOP"),
        row("the reserved octet set", "RFC 4760 §3", with(&attribute(0x80, 14, &format!("00020110{GLOBAL}ff{NLRI6}"))), TAKEN),
        row("IPv4 in MP_REACH_NLRI", "RFC 4760 §3", with("800e0d 000101 04c0000202 00 18cb0071"), Announce(&[(P, GOOD_LOOK)])),
        row("MP_REACH_NLRI without prefixes", "RFC 4760 §3", with(&attribute(0x80, 14, &format!("00020110{GLOBAL}00"))), Nothing),
    ]
}

#[rustfmt::skip]
fn reset() -> Vec<Row> {
    let row = in_session(External);
    let three = |name, list: &str, data| row(name, "RFC 7606 §5.3", with(list), Reset(3, 9, data));
    vec![
        three("a next hop of no octets", &reach(""), "800e0c 00020100003020010db800aa"),
        three("a next hop of 4", &reach("c0000202"), "800e10 00020104c0000202003020010db800aa"),
        three("a next hop of 15", &reach("20010db80000000000000000000000"), "800e1b 0002010f 20010db80000000000000000000000 00 3020010db800aa"),
        three("a next hop of 24", &reach("20010db80000000000000000000000020000000000000000"),
            "800e24 00020118 20010db80000000000000000000000020000000000000000 00 3020010db800aa"),
        three("a next hop longer than the attribute", "800e1e 00020140 20010db8000000000000000000000002 00 4020010db8000000aa",
            "800e1e0002014020010db8000000000000000000000002004020010db8000000aa"),
        three("MP_REACH_NLRI of no octets", "800e00", "800e00"),
        three("MP_REACH_NLRI of 2", "800e020002", "800e020002"),
        three("MP_REACH_NLRI of 3", "800e03000201", "800e03000201"),
        three("MP_REACH_NLRI that ends in its next hop", "800e0400020110", "800e0400020110"),
        three("a prefix of 129 bits", "800e16 00020110 20010db8000000000000000000000002 00 81", "800e16 00020110 20010db8000000000000000000000002 00 81"),
        three("a prefix cut off", "800e18 00020110 20010db8000000000000000000000002 00 302001", "800e18 00020110 20010db8000000000000000000000002 00 302001"),
        three("MP_UNREACH_NLRI of no octets", "800f00", "800f00"),
        three("MP_UNREACH_NLRI of 2", "800f020002", "800f020002"),
        three("a withdrawn prefix of 129 bits", "800f0400020181", "800f0400020181"),
        three("a withdrawn prefix cut off", "800f060002013020 01", "800f06000201302001"),
        row("MP_REACH_NLRI twice", "RFC 7606 §3 g", with(&reach(GLOBAL).repeat(2)), Reset(3, 1, "")),
        row("MP_UNREACH_NLRI twice", "RFC 7606 §3 g", update("", "800f03000201800f03000201", ""), Reset(3, 1, "")),
        row("an error and no prefixes: ORIGIN 9", "RFC 7606 §5.2", update("", "40010109", ""), Reset(3, 6, "40010109")),
        row("an error and no prefixes: flags", "RFC 7606 §5.2", update("", "c0010100", ""), Reset(3, 4, "c0010100")),
        row("an error and no prefixes: length", "RFC 7606 §5.2", update("", "4001020000", ""), Reset(3, 5, "4001020000")),
        row("an error and no prefixes: AS_PATH", "RFC 7606 §5.2", update("", "40020102", ""), Reset(3, 11, "")),
        row("an error and no prefixes: NEXT_HOP is none", "RFC 7606 §5.2", update("", "800401ff 40030400000000", ""), Reset(3, 5, "800401ff")),
        row("an overrun that hides MP_REACH_NLRI", "RFC 7606 §5.2", update("", &format!("{ORIGIN}{PATH}900eff"), ""), Reset(3, 1, "")),
        in_session(OverIpv6)("a next hop of 4, over IPv6", "RFC 7606 §7.11", with(&reach("c0000202")), Reset(3, 9, "800e10 00020104c0000202003020010db800aa")),
    ]
}

#[rustfmt::skip]
fn others() -> Vec<Row> {
    let row = in_session(External);
    let only6 = in_session(Ipv6Only);
    let over6 = in_session(OverIpv6);
    vec![
        row("MP_REACH_NLRI of EVPN", "RFC 4760 §6", with("800e05 001946 0000"), Nothing).told("was not agreed on"),
        row("MP_REACH_NLRI of flow specifications", "RFC 4760 §6", with("800e0a 000185 00 00 0401180a00"), Nothing).told("was not agreed on"),
        row("MP_REACH_NLRI of labelled routes, malformed", "RFC 4760 §6", with("800e06 000104 00 00 ff"), Nothing).told("was not agreed on"),
        row("MP_UNREACH_NLRI of EVPN", "RFC 4760 §6", update("", "800f06 001946 ffffff", ""), Nothing).told("was not agreed on"),
        row("MP_REACH_NLRI of AFI 0", "RFC 4760 §6", with("800e05 000000 0000"), Nothing).told("was not agreed on"),
        row("an error of one family leaves the other", "RFC 7606 §2", with("800e0d 000101 04e0000001 00 18cb0071"), Withdraw(&[P])),
        row("a multicast prefix of 128 bits", "RFC 4271 §6.3", with(&attribute(0x80, 14, &format!("00020110{GLOBAL}00 80ff020000000000000000000000000001"))),
            Want::Refuse("ff02::1/128", "multicast")),
        only6("MP_REACH_NLRI where IPv6 is all there is", "RFC 4760 §3", with(&reach(GLOBAL)), TAKEN),
        only6("a bad next hop where IPv6 is all there is", "RFC 7606 §7.11", with(&reach(&"00".repeat(16))), GONE),
        only6("MP_REACH_NLRI twice where IPv6 is all there is", "RFC 7606 §3 g", with(&reach(GLOBAL).repeat(2)), Reset(3, 1, "")),
        over6("MP_REACH_NLRI over IPv6", "RFC 4760 §3", with(&reach(GLOBAL)), TAKEN),
        over6("MP_REACH_NLRI transitive, over IPv6", "RFC 7606 §3 c", with(&reach(GLOBAL).replacen("80", "c0", 1)), GONE),
    ]
}
