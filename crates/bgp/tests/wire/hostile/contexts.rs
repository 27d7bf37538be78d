//! The same octets under other agreements.

use flatroute_bgp::types::Family;
use flatroute_bgp::wire::Context;

use super::super::bytes::{external, internal, two_octet, update};
use super::Want::{Announce, Nothing, Withdraw};
use super::{GOOD, NLRI, P, REACH, check};

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
