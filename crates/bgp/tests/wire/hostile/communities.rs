//! Communities of the three sizes.

use flatroute_bgp::types::{ExtendedCommunity, LargeCommunity};
use flatroute_bgp::wire::{Message, display_attributes};

use super::super::bytes::{external, internal, read, update};
use super::Want::{Announce, Reset, Withdraw};
use super::{GOOD, NLRI, P, Want, check};

/// RFC 1997, 4360, 8092; RFC 7606 §7.8, §7.14.
#[test]
fn lengths_and_flags() {
    let cases: &[(&str, &str, Want)] = &[
        ("COMMUNITIES", "c00804 fde90001", Announce(P, 0)),
        ("COMMUNITIES partial", "e00804 fde90001", Announce(P, 0)),
        ("COMMUNITIES of 5", "c00805 fde9000100", Withdraw(P)),
        ("COMMUNITIES, none", "c00800", Withdraw(P)),
        ("COMMUNITIES non-transitive", "800804 fde90001", Withdraw(P)),
        ("COMMUNITIES well-known", "400804 fde90001", Withdraw(P)),
        (
            "COMMUNITIES twice",
            "c00804 fde90001 c00804 fde90002",
            Announce(P, 1),
        ),
        ("EXTENDED_COMMUNITIES", "c01008 0002fde900000001", Announce(P, 0)),
        (
            "EXTENDED_COMMUNITIES, a type that nobody knows",
            "c01008 7fff000000000000",
            Announce(P, 0),
        ),
        ("EXTENDED_COMMUNITIES of 7", "c01007 0002fde9000000", Withdraw(P)),
        (
            "EXTENDED_COMMUNITIES of 9",
            "c01009 0002fde90000000100",
            Withdraw(P),
        ),
        ("EXTENDED_COMMUNITIES, none", "c01000", Withdraw(P)),
        (
            "EXTENDED_COMMUNITIES non-transitive",
            "801008 0002fde900000001",
            Withdraw(P),
        ),
        (
            "EXTENDED_COMMUNITIES twice",
            "c01008 0002fde900000001 c01000",
            Announce(P, 1),
        ),
        (
            "LARGE_COMMUNITY",
            "c0200c 0000fde9 00000001 00000002",
            Announce(P, 0),
        ),
        (
            "LARGE_COMMUNITY of AS 0",
            "c0200c 00000000 00000001 00000002",
            Announce(P, 0),
        ),
        (
            "LARGE_COMMUNITY of 11",
            "c0200b 0000fde9 00000001 000000",
            Withdraw(P),
        ),
        (
            "LARGE_COMMUNITY of 13",
            "c0200d 0000fde9 00000001 00000002 00",
            Withdraw(P),
        ),
        ("LARGE_COMMUNITY, none", "c02000", Withdraw(P)),
        (
            "LARGE_COMMUNITY non-transitive",
            "80200c 0000fde9 00000001 00000002",
            Withdraw(P),
        ),
        (
            "LARGE_COMMUNITY twice",
            "c0200c 0000fde9 00000001 00000002 c02000",
            Announce(P, 1),
        ),
    ];
    for (name, attribute, want) in cases {
        let list = format!("{GOOD} {attribute}");
        for ctx in [external(), internal()] {
            check(name, &update("", &list, NLRI), &ctx, want);
        }
    }
    for (attribute, subcode, data) in [
        ("c00800", 5, "c00800"),
        ("c01001 00", 5, "c0100100"),
        ("c02000", 5, "c02000"),
        ("802000", 4, "802000"),
    ] {
        let want = Reset(3, subcode, data);
        check(attribute, &update("", attribute, ""), &external(), &want);
    }
}

/// What is read, in what order, without repetitions of large ones (RFC 8092 §3).
#[test]
fn values() {
    let list = format!(
        "{GOOD} c01010 0002fde900000001 4004fde949989680 \
         c02030 0000fde900000001ffffffff 000000010000000200000003 0000fde900000001ffffffff 000000010000000200000003"
    );
    let Ok(Message::Update(update)) = read(&update("", &list, NLRI), &external()) else {
        panic!("refused");
    };
    let large = |global, local1, local2| LargeCommunity {
        global,
        local1,
        local2,
    };
    let a = &update.attributes;
    assert_eq!(
        a.extended_communities,
        [
            ExtendedCommunity(0x0002_fde9_0000_0001),
            ExtendedCommunity(0x4004_fde9_4998_9680)
        ]
    );
    assert_eq!(a.large_communities, [large(65001, 1, u32::MAX), large(1, 2, 3)]);
    assert_eq!(
        display_attributes(a).to_string(),
        "ORIGIN IGP; AS_PATH 65001; EXTENDED_COMMUNITIES rt:65001:1 bandwidth:65001:1250000; \
         LARGE_COMMUNITY 65001:1:4294967295 1:2:3"
    );
}
