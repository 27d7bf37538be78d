//! AS_PATH and AS4_PATH: sets, confederations, nonsense.

use super::super::bytes::{external, internal, two_octet, update};
use super::Want::{Announce, Reset, Withdraw};
use super::{NLRI, P, Want, check};

/// ORIGIN and NEXT_HOP.
const REST: &str = "40010100 400304c0000202";

fn attribute(flags: &str, code: &str, segments: &str) -> String {
    let len = segments.replace(' ', "").len() / 2;
    format!("{REST} {flags}{code}{len:02x}{segments}")
}

/// The same from an external and an internal peer: sets (RFC 9774), confederations (RFC 5065 §5), AS 0 (RFC 7607).
#[test]
fn segments() {
    let cases: &[(&str, &str, Want)] = &[
        ("a sequence", "0202 0000fde9 0000fdea", Announce(P, 0)),
        ("two sequences", "0201 0000fde9 0201 0000fdea", Announce(P, 0)),
        ("nothing", "", Announce(P, 0)),
        ("a set", "0102 0000fde9 0000fdea", Withdraw(P)),
        (
            "a set of one behind a sequence",
            "0201 0000fde9 0101 0000fdea",
            Withdraw(P),
        ),
        ("a confederation sequence", "0301 0000fde9", Withdraw(P)),
        (
            "a confederation sequence before a sequence",
            "0301 0000fde9 0201 0000fdea",
            Withdraw(P),
        ),
        ("a confederation set", "0401 0000fde9", Withdraw(P)),
        ("kind 0", "0001 0000fde9", Withdraw(P)),
        ("kind 5", "0501 0000fde9", Withdraw(P)),
        ("AS 0", "0202 0000fde9 00000000", Withdraw(P)),
        ("AS 0 in a set", "0101 00000000", Withdraw(P)),
        ("a segment of none", "0200", Withdraw(P)),
        (
            "a segment of none behind a good one",
            "0201 0000fde9 0200",
            Withdraw(P),
        ),
        ("cut off in a number", "0201 0000fd", Withdraw(P)),
        ("one octet left", "0201 0000fde9 02", Withdraw(P)),
        ("a count beyond the attribute", "02ff 0000fde9", Withdraw(P)),
    ];
    for (name, segments, want) in cases {
        let list = attribute("40", "02", segments);
        for ctx in [external(), internal()] {
            check(name, &update("", &list, NLRI), &ctx, want);
        }
    }
    let without_prefixes = update("", "400206 0101 0000fde9", "");
    check(
        "a set without prefixes",
        &without_prefixes,
        &external(),
        &Reset(3, 11, ""),
    );
}

/// From a peer of two octets.
#[test]
fn as4_path() {
    let path = "40020602025ba05ba0";
    let cases: &[(&str, &str, Want)] = &[
        ("good", "c0110a 0202 0001000000010001", Announce(P, 0)),
        ("non-transitive", "80110a 0202 0001000000010001", Withdraw(P)),
        ("a set", "c0110a 0102 0001000000010001", Withdraw(P)),
        (
            "a confederation sequence before it",
            "c01110 0302 0000000100000002 0201 00010000",
            Announce(P, 0),
        ),
        (
            "a confederation set before it",
            "c0110c 0401 00000001 0201 00010000",
            Withdraw(P),
        ),
        ("none", "c01100", Announce(P, 1)),
        ("a segment of none", "c01102 0200", Announce(P, 1)),
        ("kind 9", "c01106 0901 00010000", Announce(P, 1)),
        ("cut off", "c01105 0201 000100", Announce(P, 1)),
        ("AS 0", "c01106 0201 00000000", Announce(P, 1)),
        (
            "twice",
            "c01106 0201 00010000 c01106 0201 00010001",
            Announce(P, 1),
        ),
    ];
    for (name, attribute, want) in cases {
        let list = format!("{REST} {path} {attribute}");
        check(name, &update("", &list, NLRI), &two_octet(), want);
    }
}
