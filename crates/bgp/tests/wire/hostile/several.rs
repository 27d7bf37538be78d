//! Prefixes with path identifiers before them (RFC 7911 §3), and fields that have not the form that was agreed on.

use flatroute_bgp::types::{Family, FamilySet, PathId, PathIds};
use flatroute_bgp::wire::{Context, Message, Update};

use super::super::bytes::{external, read, update};
use super::Want::{Announce, Nothing, Reset, Withdraw};
use super::{GOOD, GOOD6, NLRI, P, P6, REACH, Want, check};

/// Path identifiers in what comes in these families.
fn several(families: &[Family]) -> Context {
    Context {
        path_ids: PathIds {
            received: families.iter().copied().collect(),
            sent: FamilySet::NONE,
        },
        ..external()
    }
}

fn read_update(octets: &[u8], ctx: &Context) -> Update {
    match read(octets, ctx) {
        Ok(Message::Update(update)) => update,
        other => panic!("{other:?}"),
    }
}

const TWICE: &[&str] = &["203.0.113.0/24", "203.0.113.0/24"];
/// 203.0.113.0/24 as path 7, and MP_REACH_NLRI and MP_UNREACH_NLRI of 2001:db8:aa::/48 as path 8.
const PATH: &str = "00000007 18cb0071";
const REACH_PATH: &str = "800e20 00020110 20010db8000000000000000000000002 00 00000008 30 20010db800aa";
const UNREACH_PATH: &str = "800f0e 000201 00000008 30 20010db800aa";

#[test]
fn identifiers_stand_before_prefixes_where_that_was_agreed_on() {
    let both = several(&Family::ALL);
    let same = format!("{PATH} 00000009 18cb0071 ffffffff 00");
    let seen = read_update(&update("", GOOD, &same), &both);
    let announced = &seen.announced[0];
    let names: Vec<String> = announced.prefixes.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["203.0.113.0/24", "203.0.113.0/24", "0.0.0.0/0"]);
    assert_eq!(announced.path_ids, [PathId(7), PathId(9), PathId(u32::MAX)]);

    let seen = read_update(&update("", &format!("{REACH_PATH} {GOOD6}"), ""), &both);
    assert_eq!(seen.announced[0].path_ids, [PathId(8)]);
    let seen = read_update(&update(PATH, UNREACH_PATH, ""), &both);
    assert_eq!(seen.withdrawn.len(), 2);
    assert_eq!(seen.withdrawn_ids, [PathId(7), PathId(8)]);

    // A family at a time: the other one is as ever, and has identifier zero where both stand in one list.
    let only6 = several(&[Family::Ipv6]);
    let seen = read_update(&update(NLRI, UNREACH_PATH, ""), &only6);
    assert_eq!(seen.withdrawn_ids, [PathId(0), PathId(8)]);
    check("IPv4 as ever", &update("", GOOD, NLRI), &only6, &Announce(P, 0));
    let list = format!("{REACH} {GOOD6}");
    check(
        "IPv6 as ever",
        &update("", &list, ""),
        &several(&[Family::Ipv4]),
        &Announce(P6, 0),
    );
}

#[test]
fn fields_of_another_form_than_agreed_on() {
    let both = several(&Family::ALL);
    let cases: [(&str, &str, &str, &str, Want); 9] = [
        ("without identifiers", "", GOOD, NLRI, Reset(3, 10, "")),
        ("withdrawn without", NLRI, "", "", Reset(3, 10, "")),
        ("an identifier alone", "", GOOD, "00000007", Reset(3, 10, "")),
        (
            "half of one",
            "",
            GOOD,
            "00000007 18cb0071 0000",
            Reset(3, 10, ""),
        ),
        ("33 bits", "", GOOD, "00000007 21cb00710000", Reset(3, 10, "")),
        ("cut off", "", GOOD, "00000007 18cb00", Reset(3, 10, "")),
        (
            "a path twice",
            "",
            GOOD,
            "00000007 18cb0071 00000007 18cb0071",
            Announce(TWICE, 0),
        ),
        // The prefixes are known, so the route is withdrawn and the session goes on.
        (
            "a bad ORIGIN",
            "",
            "40010109 40020602010000fde9 400304c0000202",
            PATH,
            Withdraw(P),
        ),
        ("End-of-RIB", "", "", "", Nothing(0)),
    ];
    for (name, withdrawn, attributes, nlri, want) in cases {
        check(name, &update(withdrawn, attributes, nlri), &both, &want);
    }
    // And the other way round: identifiers that were not agreed on are default routes, and then nonsense.
    check(
        "identifiers not agreed on",
        &update("", GOOD, PATH),
        &external(),
        &Reset(3, 10, ""),
    );
    let bad = read_update(
        &update("", "40010109 40020602010000fde9 400304c0000202", PATH),
        &both,
    );
    assert_eq!(
        bad.withdrawn_ids,
        [PathId(7)],
        "withdrawn as the path that it was"
    );
    assert_eq!(
        read_update(&update("", "", ""), &both).end_of_rib,
        Some(Family::Ipv4)
    );
    let end6 = read_update(&update("", "800f03 000201", ""), &both);
    assert_eq!(end6.end_of_rib, Some(Family::Ipv6));
    for attribute in [
        // MP_REACH_NLRI and MP_UNREACH_NLRI without identifiers: 2001:db8:aa::/48 reads as identifier 0x3020010d, length 0xb8.
        format!("{REACH} {GOOD6}"),
        "800f0a 000201 30 20010db800aa".to_owned(),
    ] {
        let error = read(&update("", &attribute, ""), &both).unwrap_err();
        assert_eq!(
            (error.notification.code, error.notification.subcode),
            (3, 9),
            "{error}"
        );
        assert!(
            error.to_string().contains("path identifiers that were agreed on"),
            "{error}"
        );
    }
}
