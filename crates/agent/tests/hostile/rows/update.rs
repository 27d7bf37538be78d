//! The fields of UPDATE (RFC 4271 §4.3, §6.3; RFC 7606 §5.3): lengths, withdrawn routes, NLRI.

use crate::hostile::octets::{hex, update};
use crate::hostile::row::{
    Context, GOOD_LOOK, HOP, NLRI, NLRI_Q, ORIGIN, P, P6, PATH, Q, Row, Want, in_session,
};
use Context::{External, Ipv4Only, Ipv6Only, OverIpv6};
use Want::{Announce, Gone, Nothing, Refuse, Reset, Swap};

fn good(nlri: &str) -> Vec<u8> {
    update("", &format!("{ORIGIN}{PATH}{HOP}"), nlri)
}

#[rustfmt::skip]
pub(super) fn rows() -> Vec<Row> {
    let row = in_session(External);
    let v6 = in_session(OverIpv6);
    let many = "18cb0071".repeat(900);
    vec![
        row("withdrawn routes longer than the message", "RFC 4271 §6.3", hex("M 0017 02 00010000"), Reset(3, 1, "")),
        row("withdrawn routes of 65,535 octets", "RFC 4271 §6.3", hex("M 0017 02 ffff0000"), Reset(3, 1, "")),
        row("attributes longer than the message by one", "RFC 4271 §6.3", hex("M 001b 02 0000 0005 40010100"), Reset(3, 1, "")),
        row("both lengths of 65,535", "RFC 4271 §6.3", hex("M 0017 02 ffffffff"), Reset(3, 1, "")),
        row("withdrawn routes leave no room for the second length", "RFC 4271 §6.3", hex("M 0018 02 0003 18cb00"), Reset(3, 1, "")),
        row("NLRI of 33 bits", "RFC 7606 §5.3", good("21cb00710000"), Reset(3, 10, "")),
        row("NLRI of 255 bits", "RFC 7606 §5.3", good("ffcb00710000"), Reset(3, 10, "")),
        row("NLRI cut off", "RFC 7606 §5.3", good("18cb00"), Reset(3, 10, "")),
        row("NLRI cut off behind a good one", "RFC 7606 §5.3", good("18cb007118"), Reset(3, 10, "")),
        row("withdrawn routes of 33 bits", "RFC 7606 §5.3", update("21cb00710000", "", ""), Reset(3, 10, "")),
        row("withdrawn routes cut off", "RFC 7606 §5.3", update("18cb00", "", ""), Reset(3, 10, "")),
        row("withdrawn routes cut off, beside a good announcement", "RFC 7606 §5.3", update("20c6", &format!("{ORIGIN}{PATH}{HOP}"), NLRI), Reset(3, 10, "")),
        row("bits beyond the prefix", "RFC 4271 §4.3", good("17cb0071"), Announce(&[("203.0.112.0/23", GOOD_LOOK)])),
        row("the default route", "flatroute: rail DefaultRoute", good("00"), Refuse("0.0.0.0/0", "rail DefaultRoute")),
        row("a pod CIDR of the node itself", "flatroute: rail OwnPodCIDR", good("180af401"), Refuse("10.244.1.0/24", "rail OwnPodCIDR")),
        row("the address of the node itself", "flatroute: rail OwnAddress", good("200aff0001"), Refuse("10.255.0.1/32", "rail OwnAddress")),
        row("nine hundred times the same prefix", "RFC 4271 §4.3", good(&many), Announce(&[(P, GOOD_LOOK)])),
        row("withdrawn and announced at once", "RFC 4271 §4.3", update(NLRI, &format!("{ORIGIN}{PATH}{HOP}"), NLRI), Announce(&[(P, GOOD_LOOK)])),
        row("withdrawn though never announced, well-formed", "RFC 4271 §4.3", update("18090909", "", ""), Nothing),
        row("withdrawn in order", "RFC 4271 §4.3", update(NLRI, "", ""), Gone(&[P])),
        row("withdrawn a thousand times", "RFC 4271 §4.3", update(&NLRI.repeat(1000), "", ""), Gone(&[P])),
        row("withdrawn with attributes and no NLRI", "RFC 4271 §4.3", update(NLRI, &format!("{ORIGIN}{PATH}{HOP}"), ""), Gone(&[P])),
        row("withdrawn one, announced another", "RFC 4271 §4.3", update(NLRI, &format!("{ORIGIN}{PATH}{HOP}"), NLRI_Q), Swap(P, Q)),
        row("attributes and no prefixes", "RFC 4271 §4.3", update("", &format!("{ORIGIN}{PATH}{HOP}"), ""), Nothing),
        row("End-of-RIB twice", "RFC 4724 §2", hex("M 0017 02 00000000").repeat(2), Nothing),
        row("End-of-RIB of a family that is not ours", "RFC 4724 §2", update("", "800f03001941", ""), Nothing).told("was not agreed on"),
        row("a path with the neighbour's AS not first", "RFC 4271 §6.3", update("", &format!("{ORIGIN} 40020a0202 0000fdea 0000fde9 {HOP}"), NLRI), Refuse(P, "first AS")),
        row("a path with our AS twice", "RFC 4271 §9.1.2", update("", &format!("{ORIGIN} 40020e0203 0000fde9 0000fc00 0000fc00 {HOP}"), NLRI), Refuse(P, "own AS")),
        row("an empty path from outside", "RFC 4271 §6.3", update("", &format!("{ORIGIN} 400200 {HOP}"), NLRI), Refuse(P, "does not begin")),
        row("our own address as the next hop", "RFC 4271 §6.3", update("", &format!("{ORIGIN}{PATH} 4003040aff0001"), NLRI), Refuse(P, "this speaker")),
        v6("IPv4 prefixes over IPv6 transport", "RFC 4271 §4.3", good(NLRI), Announce(&[(P, GOOD_LOOK)])),
        v6("NLRI cut off, over IPv6 transport", "RFC 7606 §5.3", good("18cb00"), Reset(3, 10, "")),
        in_session(Ipv6Only)("NLRI when IPv4 was not agreed on", "RFC 4760 §8", good(NLRI), Nothing).told("IPv4 was not agreed on"),
        in_session(Ipv6Only)("withdrawn routes when IPv4 was not agreed on", "RFC 4760 §8", update(NLRI, "", ""), Nothing).told("IPv4 was not agreed on"),
        in_session(Ipv4Only)("MP_REACH_NLRI when IPv6 was not agreed on", "RFC 4760 §8",
            update("", &format!("800e1c 000201 10 20010db8000000000000000000000002 00 3020010db800aa {ORIGIN}{PATH}{HOP}"), NLRI),
            Announce(&[(P, GOOD_LOOK)])).told("was not agreed on"),
        in_session(Ipv4Only)("MP_UNREACH_NLRI when IPv6 was not agreed on", "RFC 4760 §8", update("", "800f0a 000201 3020010db800aa", ""), Nothing)
            .told("was not agreed on"),
        row("an IPv6 withdrawal in order", "RFC 4760 §4", update("", "800f0a 000201 3020010db800aa", ""), Gone(&[P6])),
    ]
}
