//! Attributes without a row: unknown ones, and those that are known by name only.

use flatroute_bgp::wire::{Message, display_attributes};

use super::super::bytes::{external, internal, read, update};
use super::Want::{Announce, Reset, Withdraw};
use super::{GOOD, NLRI, P, Want, check};

/// Unknown attributes: kept with their flags in the order of codes, or dropped, but never a reason to reset.
#[test]
fn unknown_attributes() {
    let attributes = format!("{GOOD} e0640101 c0630100 80650100");
    let Ok(Message::Update(update)) = read(&update("", &attributes, NLRI), &external()) else {
        panic!("refused");
    };
    let kept: Vec<(u8, u8)> = update
        .attributes
        .unknown
        .iter()
        .map(|a| (a.code, a.flags))
        .collect();
    assert_eq!(kept, [(0x63, 0xc0), (0x64, 0xe0)]);
    assert_eq!(update.errors, []);
}

/// Those that are known by name only: what their RFC asks for without being understood.
#[test]
fn known_by_name() {
    let cases: &[(&str, &str, Want)] = &[
        ("AIGP", "801a0b 01000b 0000000000000001", Announce(P, 0)),
        (
            "AIGP, transitive all the same",
            "c01a0b 01000b 0000000000000001",
            Announce(P, 0),
        ),
        ("AIGP, a TLV that overruns", "801a03 01ffff", Announce(P, 0)),
        (
            "AIGP, claims to be well-known",
            "401a0b 01000b 0000000000000001",
            Withdraw(P),
        ),
        (
            "IPv6 extended community",
            "c01914 000220010db80000000000000000000000010007",
            Announce(P, 0),
        ),
        (
            "IPv6 extended community of 21",
            "c01915 000220010db8000000000000000000000001000700",
            Withdraw(P),
        ),
        (
            "IPv6 extended community of 19",
            "c01913 000220010db800000000000000000000000100",
            Withdraw(P),
        ),
        ("IPv6 extended communities, none", "c01900", Withdraw(P)),
        ("PREFIX_SID of no octets", "c02800", Announce(P, 0)),
        ("PREFIX_SID, TLV overruns", "c02803 01ffff", Announce(P, 0)),
        ("PREFIX_SID, claims to be well-known", "402800", Withdraw(P)),
        ("BGPSEC_PATH", "802104 0002ffff", Announce(P, 0)),
        ("PMSI_TUNNEL of 3", "c01603 000000", Announce(P, 0)),
        ("TUNNEL_ENCAPSULATION of none", "c01700", Announce(P, 0)),
        ("ATTR_SET of 3", "c08003 0000fd", Announce(P, 0)),
        (
            "ATTR_SET with an ATTR_SET in it",
            "c0800b 0000fde9 c08004 0000fde9",
            Announce(P, 0),
        ),
        ("BGP_LS of 2", "801d02 ffff", Announce(P, 0)),
        ("deprecated 21", "c01505 0400000001", Announce(P, 0)),
        ("deprecated 28", "c01c00", Announce(P, 0)),
        ("development", "c0ff01 00", Announce(P, 0)),
        ("development, claims to be well-known", "40ff01 00", Withdraw(P)),
        ("unheard-of and well-known", "40c801 00", Reset(3, 2, "40c80100")),
    ];
    for (name, attribute, want) in cases {
        let list = format!("{GOOD} {attribute}");
        for ctx in [external(), internal()] {
            check(name, &update("", &list, NLRI), &ctx, want);
        }
    }
}

/// What is kept of them is shown by name; what is not transitive is gone.
#[test]
fn names_are_shown() {
    let list = format!("{GOOD} c01700 801d02ffff 801a03010003 c02800 c0c801 00");
    let Ok(Message::Update(update)) = read(&update("", &list, NLRI), &external()) else {
        panic!("refused");
    };
    let shown = display_attributes(&update.attributes).to_string();
    assert_eq!(
        shown,
        "ORIGIN IGP; AS_PATH 65001; TUNNEL_ENCAPSULATION (0 octets); PREFIX_SID (0 octets); attribute 200 (1 octets)"
    );
}

/// An error tells the name.
#[test]
fn errors_tell_the_name() {
    for (attribute, what) in [
        (
            "c01900",
            "IPV6_EXTENDED_COMMUNITIES: 0 octets, expected a multiple of 20, not zero",
        ),
        ("402800", "PREFIX_SID: flags 40, but it is optional"),
        ("c02803ff", "PREFIX_SID: goes beyond the attributes' length"),
    ] {
        let Ok(Message::Update(update)) = read(&update("", &format!("{GOOD}{attribute}"), NLRI), &external())
        else {
            panic!("{attribute}");
        };
        assert_eq!(update.errors[0].what, what);
    }
}
