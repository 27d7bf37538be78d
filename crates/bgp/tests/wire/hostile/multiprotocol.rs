//! MP_REACH_NLRI, MP_UNREACH_NLRI and End-of-RIB (RFC 4760, RFC 4724 §2), and messages whose prefixes cannot be known.

use flatroute_bgp::types::Family;
use flatroute_bgp::wire::Message;

use super::super::bytes::{external, read, update};
use super::Want::{Announce, Both, Nothing, Reset, Withdraw};
use super::{GOOD, GOOD6, NLRI, P, P6, REACH, Want, check};

/// The MP attributes, and messages whose prefixes cannot be known.
#[test]
fn multiprotocol() {
    let reach = |next_hop: &str| {
        let len = next_hop.len() / 2;
        format!(
            "800e{:02x} 000201{len:02x}{next_hop}003020010db800aa {GOOD6}",
            5 + len + 7
        )
    };
    let (global, local) = (
        "20010db8000000000000000000000002",
        "fe800000000000000000000000000001",
    );
    let cases: &[(&str, String, &str, Want)] = &[
        ("good", format!("{REACH} {GOOD6}"), "", Announce(P6, 0)),
        ("MP_REACH last", format!("{GOOD6} {REACH}"), "", Announce(P6, 0)),
        (
            "with a link-local next hop",
            reach(&format!("{global}{local}")),
            "",
            Announce(P6, 0),
        ),
        (
            "second next hop not link-local",
            reach(&format!("{global}{global}")),
            "",
            Announce(P6, 0),
        ),
        (
            "next hop mapped",
            reach("00000000000000000000ffffc0000202"),
            "",
            Withdraw(P6),
        ),
        (
            "next hop unspecified",
            reach("00000000000000000000000000000000"),
            "",
            Withdraw(P6),
        ),
        (
            "next hop loopback",
            reach("00000000000000000000000000000001"),
            "",
            Withdraw(P6),
        ),
        (
            "next hop multicast",
            reach("ff020000000000000000000000000001"),
            "",
            Withdraw(P6),
        ),
        (
            "next hop of 4 octets",
            reach("c0000202"),
            "",
            Reset(3, 9, "800e10000201 04c0000202003020010db800aa"),
        ),
        (
            "next hop of 24 octets",
            reach(&format!("{global}{}", "00".repeat(8))),
            "",
            Reset(
                3,
                9,
                "800e24 00020118 20010db8000000000000000000000002 0000000000000000 00 3020010db800aa",
            ),
        ),
        (
            "IPv4 by an IPv6 next hop",
            format!("800e19 000101 10 {global} 00 18cb0071 {GOOD6}"),
            "",
            Reset(
                3,
                9,
                "800e19 000101 10 20010db8000000000000000000000002 00 18cb0071",
            ),
        ),
        (
            "IPv4 in MP_REACH",
            format!("800e0d 000101 04c0000202 00 18cb0071 {GOOD6}"),
            "",
            Announce(P, 0),
        ),
        (
            "reserved octet not zero",
            format!("800e1c 00020110 {global} ff 30 20010db800aa {GOOD6}"),
            "",
            Announce(P6, 0),
        ),
        (
            "MP_REACH without prefixes",
            format!("800e15 00020110 {global} 00 {GOOD6}"),
            "",
            Nothing(0),
        ),
        (
            "MP_REACH without prefixes or attributes",
            format!("800e15 00020110 {global} 00"),
            "",
            Nothing(0),
        ),
        (
            "MP_REACH without prefixes, attribute malformed",
            format!("800e15 00020110 {global} 00 40010109 40020602010000fde9"),
            "",
            Reset(3, 6, "40010109"),
        ),
        (
            "MP_REACH and a field of prefixes of which one is too long",
            format!("{REACH} {GOOD}"),
            "21cb00710000",
            Reset(3, 10, ""),
        ),
        (
            "MP_UNREACH and an attribute to be withdrawn for",
            "800f0a 000201 30 20010db800aa 40010109".into(),
            "",
            Reset(3, 6, "40010109"),
        ),
        (
            "MP_UNREACH and MP_REACH of one prefix",
            format!("800f0a 000201 30 20010db800bb {REACH} {GOOD6}"),
            "",
            Both(P6, &["2001:db8:bb::/48"]),
        ),
        (
            "MP_REACH empty",
            format!("800e00 {GOOD6}"),
            "",
            Reset(3, 9, "800e00"),
        ),
        (
            "MP_REACH of 2",
            format!("800e020002 {GOOD6}"),
            "",
            Reset(3, 9, "800e020002"),
        ),
        (
            "MP_REACH of 4",
            format!("800e0400020110 {GOOD6}"),
            "",
            Reset(3, 9, "800e0400020110"),
        ),
        (
            "MP_REACH prefix of 129 bits",
            format!("800e16 00020110 {global} 00 81 {GOOD6}"),
            "",
            Reset(3, 9, "800e16 00020110 20010db8000000000000000000000002 00 81"),
        ),
        (
            "MP_REACH prefix cut off",
            format!("800e18 00020110 {global} 00 302001 {GOOD6}"),
            "",
            Reset(3, 9, "800e18 00020110 20010db8000000000000000000000002 00 302001"),
        ),
        (
            "MP_REACH twice",
            format!("{REACH} {REACH} {GOOD6}"),
            "",
            Reset(3, 1, ""),
        ),
        (
            "MP_UNREACH twice",
            "800f03000201 800f03000201".into(),
            "",
            Reset(3, 1, ""),
        ),
        (
            "MP_UNREACH of 2",
            "800f020002".into(),
            "",
            Reset(3, 9, "800f020002"),
        ),
        (
            "MP_UNREACH prefix of 129 bits",
            "800f0400020181".into(),
            "",
            Reset(3, 9, "800f0400020181"),
        ),
        (
            "MP_REACH of another family",
            format!("800e05 00190041 00 {GOOD6}"),
            "",
            Nothing(1),
        ),
        (
            "MP_UNREACH of another family",
            "800f06 001941 ffffff".into(),
            "",
            Nothing(1),
        ),
        (
            "NEXT_HOP means nothing here",
            format!("{REACH} {GOOD6} 40030400000000"),
            "",
            Announce(P6, 1),
        ),
        (
            "one error withdraws both families",
            format!("{REACH} {GOOD} 80040100"),
            NLRI,
            Withdraw(&["203.0.113.0/24", "2001:db8:aa::/48"]),
        ),
        (
            "MP_REACH without ORIGIN",
            format!("{REACH} 40020602010000fde9"),
            "",
            Withdraw(P6),
        ),
        (
            "no prefixes, attribute malformed",
            "40010109".into(),
            "",
            Reset(3, 6, "40010109"),
        ),
        (
            "no prefixes, flags wrong",
            "c0010100".into(),
            "",
            Reset(3, 4, "c0010100"),
        ),
        (
            "no prefixes, length wrong",
            "4001020000".into(),
            "",
            Reset(3, 5, "4001020000"),
        ),
        (
            "no prefixes, AS_PATH malformed",
            "40020102".into(),
            "",
            Reset(3, 11, ""),
        ),
        (
            "no prefixes, overrun hides MP_REACH",
            format!("{GOOD6} 900eff"),
            "",
            Reset(3, 1, ""),
        ),
        (
            "no prefixes, attribute to be dropped",
            "40060100".into(),
            "",
            Nothing(1),
        ),
        ("no prefixes, attributes good", GOOD.into(), "", Nothing(0)),
    ];
    for (name, attributes, nlri, want) in cases {
        check(name, &update("", attributes, nlri), &external(), want);
    }
}

/// MP_UNREACH_NLRI with wrong flags: what it withdraws is withdrawn all the same.
#[test]
fn unreach_with_wrong_flags() {
    check(
        "transitive",
        &update("", "c00f0a 000201 30 20010db800aa", ""),
        &external(),
        &Withdraw(P6),
    );
}

/// End-of-RIB, in both forms, and what only looks like it.
#[test]
fn end_of_rib() {
    let of = |withdrawn: &str, attributes: &str| match read(&update(withdrawn, attributes, ""), &external()) {
        Ok(Message::Update(update)) => update.end_of_rib,
        other => panic!("{other:?}"),
    };
    assert_eq!(of("", ""), Some(Family::Ipv4));
    assert_eq!(of("", "800f03000201"), Some(Family::Ipv6));
    assert_eq!(of("", "800f03000101"), Some(Family::Ipv4));
    assert_eq!(of("", "900f0003000201"), Some(Family::Ipv6));
    assert_eq!(of("00", ""), None);
    assert_eq!(of("", "800f0400020100"), None);
    assert_eq!(of("", &format!("800f03000201 {GOOD6}")), None);
    assert_eq!(of("08 0a", "800f03000201"), None);
}
