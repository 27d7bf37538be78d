//! The same octets under other agreements.

use flatroute_bgp::types::{Family, NextHop};
use flatroute_bgp::wire::{Context, Message};

use super::super::bytes::{extended_next_hop, external, internal, read, two_octet, update};
use super::Want::{Announce, Nothing, Reset, Withdraw};
use super::{GOOD, GOOD6, NLRI, P, P6, REACH, Want, check};

/// What is taken from a peer of our own AS, and from one of two octets.
#[test]
fn other_contexts() {
    let local_pref = format!("{GOOD} 40050400000064");
    check(
        "LOCAL_PREF",
        &update("", &local_pref, NLRI),
        &internal(),
        &Announce(P, 0),
    );
    let short = format!("{GOOD} 400503000064");
    check(
        "LOCAL_PREF of 3",
        &update("", &short, NLRI),
        &internal(),
        &Withdraw(P),
    );
    let four = update("", GOOD, NLRI);
    check(
        "four-octet path from a two-octet peer",
        &four,
        &two_octet(),
        &Withdraw(P),
    );

    let ipv6_only = Context {
        families: [Family::Ipv6].into_iter().collect(),
        ..external()
    };
    check(
        "IPv4 not agreed on",
        &update("", GOOD, NLRI),
        &ipv6_only,
        &Nothing(1),
    );
    check(
        "IPv4 not agreed on, malformed",
        &update("ff", GOOD, "ff"),
        &ipv6_only,
        &Nothing(1),
    );
    let ipv4_only = Context {
        families: [Family::Ipv4].into_iter().collect(),
        ..external()
    };
    let both = format!("{REACH} {GOOD}");
    check(
        "IPv6 not agreed on",
        &update("", &both, NLRI),
        &ipv4_only,
        &Announce(P, 1),
    );
    check(
        "IPv6 End-of-RIB not agreed on",
        &update("", "800f03000201", ""),
        &ipv4_only,
        &Nothing(1),
    );
}

/// RFC 8950: IPv4 prefixes by IPv6 next hops, where that was agreed on. Where it was not, the length of the next hop is not
/// the family's (RFC 7606 §7.11).
#[test]
fn ipv4_by_ipv6() {
    let (global, local) = (
        "20010db8000000000000000000000002",
        "fe800000000000000000000000000001",
    );
    let reach = |next_hop: &str| {
        let len = next_hop.len() / 2;
        format!("800e{:02x} 000101 {len:02x} {next_hop} 00 {NLRI}", len + 9)
    };
    let zeros = "00".repeat(8);
    let cases: &[(&str, String, Want)] = &[
        ("global", reach(global), Announce(P, 0)),
        (
            "global and link-local",
            reach(&format!("{global}{local}")),
            Announce(P, 0),
        ),
        ("link-local alone", reach(local), Announce(P, 0)),
        (
            "link-local twice",
            reach(&format!("{local}{local}")),
            Announce(P, 0),
        ),
        (
            "link-local behind nothing",
            reach(&format!("{}{local}", "00".repeat(16))),
            Announce(P, 0),
        ),
        (
            "link-local behind no host",
            reach(&format!("{}01{local}", "00".repeat(15))),
            Withdraw(P),
        ),
        (
            "global behind nothing",
            reach(&format!("{}{global}", "00".repeat(16))),
            Withdraw(P),
        ),
        ("IPv4 all the same", reach("c0000202"), Announce(P, 0)),
        ("IPv4 of no host", reach("7f000001"), Withdraw(P)),
        ("unspecified", reach(&"00".repeat(16)), Withdraw(P)),
        ("mapped", reach("00000000000000000000ffffc0000202"), Withdraw(P)),
        (
            "multicast",
            reach("ff020000000000000000000000000001"),
            Withdraw(P),
        ),
        (
            "24 octets, as in a VPN",
            reach(&format!("{zeros}{global}")),
            Reset(
                3,
                9,
                "800e21 000101 18 0000000000000000 20010db8000000000000000000000002 00 18cb0071",
            ),
        ),
        (
            "8 octets",
            reach(&zeros),
            Reset(3, 9, "800e11 000101 08 0000000000000000 00 18cb0071"),
        ),
        ("none", reach(""), Reset(3, 9, "800e09 000101 00 00 18cb0071")),
    ];
    for (name, reach, want) in cases {
        let message = update("", &format!("{reach} {GOOD6}"), "");
        check(name, &message, &extended_next_hop(), want);
    }
    let message = update("", &format!("{} {GOOD6}", reach(&format!("{global}{local}"))), "");
    let Ok(Message::Update(update)) = read(&message, &extended_next_hop()) else {
        panic!("refused");
    };
    let want = NextHop::V6 {
        global: "2001:db8::2".parse().unwrap(),
        link_local: Some("fe80::1".parse().unwrap()),
    };
    assert_eq!(update.announced[0].next_hop, want);
    // However a link-local address without a global one is said, it is the same.
    for octets in [
        local.to_owned(),
        format!("{local}{local}"),
        "00".repeat(16) + local,
    ] {
        let message = self::update("", &format!("{} {GOOD6}", reach(&octets)), "");
        let Ok(Message::Update(update)) = read(&message, &extended_next_hop()) else {
            panic!("refused");
        };
        let want = NextHop::V6 {
            global: "fe80::1".parse().unwrap(),
            link_local: None,
        };
        assert_eq!(update.announced[0].next_hop, want, "{octets}");
    }
    // IPv6 prefixes stay with IPv6 next hops, and nothing else changes.
    let six = self::update("", &format!("{REACH} {GOOD6}"), "");
    check("IPv6", &six, &extended_next_hop(), &Announce(P6, 0));
    let four = self::update("", "800e10 000201 04 c0000202 00 3020010db800aa", "");
    let data = "800e10 000201 04 c0000202 00 3020010db800aa";
    check("IPv6 by IPv4", &four, &extended_next_hop(), &Reset(3, 9, data));
}
