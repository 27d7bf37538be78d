//! Attributes that stay inside an AS, and ONLY_TO_CUSTOMER.

use flatroute_bgp::types::{Asn, RouterId};
use flatroute_bgp::wire::{Message, display_attributes};

use super::super::bytes::{external, internal, read, update};
use super::Want::{Announce, Reset, Withdraw};
use super::{GOOD, NLRI, P, Want, check};

/// RFC 4456 §8, RFC 7606 §7.9, §7.10: from an external peer they are dropped, whatever is in them.
#[test]
fn reflection() {
    let cases: &[(&str, &str, Want, Want)] = &[
        ("ORIGINATOR_ID", "800904 0a000001", Announce(P, 1), Announce(P, 0)),
        ("ORIGINATOR_ID of 3", "800903 0a0000", Announce(P, 1), Withdraw(P)),
        (
            "ORIGINATOR_ID of 5",
            "800905 0a00000100",
            Announce(P, 1),
            Withdraw(P),
        ),
        ("ORIGINATOR_ID, none", "800900", Announce(P, 1), Withdraw(P)),
        (
            "ORIGINATOR_ID transitive",
            "c00904 0a000001",
            Announce(P, 1),
            Withdraw(P),
        ),
        (
            "CLUSTER_LIST",
            "800a08 0a000001 0a000002",
            Announce(P, 1),
            Announce(P, 0),
        ),
        (
            "CLUSTER_LIST of 7",
            "800a07 0a000001 0a0000",
            Announce(P, 1),
            Withdraw(P),
        ),
        ("CLUSTER_LIST, none", "800a00", Announce(P, 1), Withdraw(P)),
        (
            "CLUSTER_LIST well-known",
            "400a04 0a000001",
            Announce(P, 1),
            Withdraw(P),
        ),
        ("LOCAL_PREF", "400504 00000064", Announce(P, 1), Announce(P, 0)),
        ("LOCAL_PREF of 3", "400503 000064", Announce(P, 1), Withdraw(P)),
        (
            "LOCAL_PREF optional",
            "c00504 00000064",
            Announce(P, 1),
            Withdraw(P),
        ),
    ];
    for (name, attribute, from_outside, from_inside) in cases {
        let message = update("", &format!("{GOOD} {attribute}"), NLRI);
        check(name, &message, &external(), from_outside);
        check(name, &message, &internal(), from_inside);
    }
    let lone = update("", "800900", "");
    check("without prefixes", &lone, &internal(), &Reset(3, 5, "800900"));
}

/// RFC 9234 §5.
#[test]
fn only_to_customer() {
    let cases: &[(&str, &str, Want)] = &[
        ("ONLY_TO_CUSTOMER", "c02304 0000fde9", Announce(P, 0)),
        ("of 3", "c02303 0000fd", Withdraw(P)),
        ("of 8", "c02308 0000fde90000fde9", Withdraw(P)),
        ("none", "c02300", Withdraw(P)),
        ("non-transitive", "802304 0000fde9", Withdraw(P)),
        ("twice", "c02304 0000fde9 c02304 0000fdea", Announce(P, 1)),
    ];
    for (name, attribute, want) in cases {
        let list = format!("{GOOD} {attribute}");
        for ctx in [external(), internal()] {
            check(name, &update("", &list, NLRI), &ctx, want);
        }
    }
}

#[test]
fn values() {
    let list = format!("{GOOD} 800904 0a000001 800a08 0a000002 0a000003 e02304 0000fde9");
    let Ok(Message::Update(update)) = read(&update("", &list, NLRI), &internal()) else {
        panic!("refused");
    };
    let a = &update.attributes;
    assert_eq!(a.originator_id, Some(RouterId(0x0a00_0001)));
    assert_eq!(a.cluster_list, [RouterId(0x0a00_0002), RouterId(0x0a00_0003)]);
    assert_eq!(a.only_to_customer, Some(Asn(65001)));
    assert_eq!(
        display_attributes(a).to_string(),
        "ORIGIN IGP; AS_PATH 65001; ORIGINATOR_ID 10.0.0.1; CLUSTER_LIST 10.0.0.2 10.0.0.3; ONLY_TO_CUSTOMER AS 65001"
    );
}
