//! Attributes of IPv4 prefixes from an external peer.

use super::super::bytes::{external, update};
use super::Want::{Announce, Withdraw};
use super::{GOOD, NLRI, P, Want, check};

/// Attributes of IPv4 prefixes, each with the answer that its RFC gives.
#[test]
fn attributes() {
    let without = |code: &str| {
        GOOD.split(' ')
            .filter(|a| !a.starts_with(code))
            .collect::<String>()
    };
    let cases: &[(&str, String, Want)] = &[
        ("good", GOOD.into(), Announce(P, 0)),
        ("ORIGIN 3", format!("40010103 {}", without("4001")), Withdraw(P)),
        (
            "ORIGIN of 2 octets",
            format!("4001020000 {}", without("4001")),
            Withdraw(P),
        ),
        (
            "ORIGIN optional",
            format!("c0010100 {}", without("4001")),
            Withdraw(P),
        ),
        (
            "ORIGIN partial",
            format!("60010100 {}", without("4001")),
            Announce(P, 0),
        ),
        (
            "ORIGIN with a long length",
            format!("5001000100 {}", without("4001")),
            Announce(P, 0),
        ),
        ("no ORIGIN", without("4001"), Withdraw(P)),
        ("no AS_PATH", without("4002"), Withdraw(P)),
        ("no NEXT_HOP", without("4003"), Withdraw(P)),
        (
            "AS_PATH empty",
            format!("400200 {}", without("4002")),
            Announce(P, 0),
        ),
        (
            "AS_PATH of kind 5",
            format!("40020605010000fde9 {}", without("4002")),
            Withdraw(P),
        ),
        (
            "AS_PATH of one octet",
            format!("40020102 {}", without("4002")),
            Withdraw(P),
        ),
        (
            "AS_PATH with AS 0",
            format!("400206020100000000 {}", without("4002")),
            Withdraw(P),
        ),
        (
            "AS_PATH with a confederation",
            format!("40020603010000fde9 {}", without("4002")),
            Withdraw(P),
        ),
        (
            "NEXT_HOP of 16 octets",
            format!("400310{} {}", "20010db8".repeat(4), without("4003")),
            Withdraw(P),
        ),
        (
            "NEXT_HOP 0.0.0.1",
            format!("40030400000001 {}", without("4003")),
            Withdraw(P),
        ),
        (
            "NEXT_HOP 127.0.0.1",
            format!("4003047f000001 {}", without("4003")),
            Withdraw(P),
        ),
        (
            "NEXT_HOP 224.0.0.1",
            format!("400304e0000001 {}", without("4003")),
            Withdraw(P),
        ),
        (
            "NEXT_HOP 255.255.255.255",
            format!("400304ffffffff {}", without("4003")),
            Withdraw(P),
        ),
        (
            "MULTI_EXIT_DISC of 3",
            format!("{GOOD} 800403000000"),
            Withdraw(P),
        ),
        (
            "MULTI_EXIT_DISC transitive",
            format!("{GOOD} c0040400000000"),
            Withdraw(P),
        ),
        (
            "LOCAL_PREF from outside",
            format!("{GOOD} 40050400000064"),
            Announce(P, 1),
        ),
        (
            "LOCAL_PREF from outside, malformed",
            format!("{GOOD} c0050100"),
            Announce(P, 1),
        ),
        (
            "ATOMIC_AGGREGATE of 1",
            format!("{GOOD} 40060100"),
            Announce(P, 1),
        ),
        ("ATOMIC_AGGREGATE optional", format!("{GOOD} c00600"), Withdraw(P)),
        (
            "AGGREGATOR of AS 0",
            format!("{GOOD} c00708000000000a000002"),
            Announce(P, 1),
        ),
        (
            "COMMUNITIES of 5",
            format!("{GOOD} c008050000000000"),
            Withdraw(P),
        ),
        (
            "COMMUNITIES non-transitive",
            format!("{GOOD} 80080400000000"),
            Withdraw(P),
        ),
        (
            "AS4_PATH from a four-octet peer",
            format!("{GOOD} c01106020100010000"),
            Announce(P, 1),
        ),
        (
            "AS4_AGGREGATOR from a four-octet peer",
            format!("{GOOD} c012080001000000000001"),
            Announce(P, 1),
        ),
        (
            "unknown twice",
            format!("{GOOD} c0630101 c0630102"),
            Announce(P, 1),
        ),
        ("flags only", format!("{GOOD} 40"), Withdraw(P)),
        ("no length", format!("{GOOD} 4063"), Withdraw(P)),
        ("half of a long length", format!("{GOOD} d06300"), Withdraw(P)),
        (
            "last attribute overruns by one",
            format!("{GOOD} c06302ff"),
            Withdraw(P),
        ),
        (
            "unknown well-known that overruns",
            format!("{GOOD} 406302ff"),
            Withdraw(P),
        ),
    ];
    for (name, attributes, want) in cases {
        check(name, &update("", attributes, NLRI), &external(), want);
    }
}
