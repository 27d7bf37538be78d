//! The attributes of IPv4 prefixes, one by one: flags, lengths, values (RFC 7606 §3, §7; RFC 4271 §5, §6.3).

use crate::hostile::octets::update;
use crate::hostile::row::{Context, GOOD_LOOK, HOP, NLRI, ORIGIN, P, PATH, Row, Want, in_session};
use Want::{Announce, Reset, Withdraw};

const TAKEN: Want = Announce(&[(P, GOOD_LOOK)]);
const GONE: Want = Withdraw(&[P]);

#[rustfmt::skip]
pub(super) fn rows() -> Vec<Row> {
    let row = in_session(Context::External);
    [origin_path_and_next_hop(), optional(), several()].concat().into_iter().map(|(name, by, list, want, told)| {
        let row = row(name, by, update("", &list, NLRI), want);
        if told.is_empty() { row } else { row.told(told) }
    }).collect()
}

type Line = (&'static str, &'static str, String, Want, &'static str);

#[rustfmt::skip]
fn origin_path_and_next_hop() -> Vec<Line> {
    let origin = |a: &str| format!("{a}{PATH}{HOP}");
    let path = |a: &str| format!("{ORIGIN}{a}{HOP}");
    let hop = |a: &str| format!("{ORIGIN}{PATH}{a}");
    let all = [
        ("ORIGIN 1", "RFC 4271 §5.1.1", origin("40010101"), Announce(&[(P, "192.0.2.2 65001 EGP")]), ""),
        ("ORIGIN 2", "RFC 4271 §5.1.1", origin("40010102"), Announce(&[(P, "192.0.2.2 65001 Incomplete")]), ""),
        ("ORIGIN 3", "RFC 7606 §7.1", origin("40010103"), GONE, "ORIGIN"),
        ("ORIGIN 255", "RFC 7606 §7.1", origin("400101ff"), GONE, "ORIGIN"),
        ("ORIGIN of no octets", "RFC 7606 §7.1", origin("400100"), GONE, "ORIGIN"),
        ("ORIGIN of 2 octets", "RFC 7606 §7.1", origin("4001020000"), GONE, "ORIGIN"),
        ("ORIGIN optional", "RFC 7606 §3 c", origin("c0010100"), GONE, "ORIGIN"),
        ("ORIGIN not transitive", "RFC 7606 §3 c", origin("00010100"), GONE, "ORIGIN"),
        ("ORIGIN with all flags", "RFC 7606 §3 c", origin("f001000100"), GONE, "ORIGIN"),
        ("ORIGIN with a length of two octets", "RFC 4271 §4.3", origin("5001000100"), TAKEN, ""),
        ("ORIGIN with the four unused flags", "RFC 4271 §4.3", origin("4f010100"), TAKEN, ""),
        ("no ORIGIN", "RFC 7606 §3 d", origin(""), GONE, "ORIGIN: missing"),
        ("no AS_PATH", "RFC 7606 §3 d", path(""), GONE, "AS_PATH: missing"),
        ("no NEXT_HOP", "RFC 7606 §3 d", hop(""), GONE, "NEXT_HOP: missing"),
        ("AS_PATH optional", "RFC 7606 §3 c", path("c0020602010000fde9"), GONE, "AS_PATH"),
        ("AS_PATH not transitive", "RFC 7606 §3 c", path("00020602010000fde9"), GONE, "AS_PATH"),
        ("AS_PATH of one octet", "RFC 7606 §7.2", path("40020102"), GONE, "AS_PATH"),
        ("AS_PATH of kind 0", "RFC 7606 §7.2", path("40020600010000fde9"), GONE, "AS_PATH"),
        ("AS_PATH of kind 5", "RFC 7606 §7.2", path("40020605010000fde9"), GONE, "AS_PATH"),
        ("AS_PATH of a segment of nothing", "RFC 7606 §7.2", path("4002020200"), GONE, "AS_PATH"),
        ("AS_PATH with a segment of nothing at its end", "RFC 7606 §7.2", path("40020802010000fde90200"), GONE, "AS_PATH"),
        ("AS_PATH with a segment that overruns", "RFC 7606 §7.2", path("40020602020000fde9"), GONE, "AS_PATH"),
        ("AS_PATH with a segment of 255 and one number", "RFC 7606 §7.2", path("40020602ff0000fde9"), GONE, "AS_PATH"),
        ("AS_PATH with an octet too many", "RFC 7606 §7.2", path("40020702010000fde902"), GONE, "AS_PATH"),
        ("AS_PATH of two-octet numbers", "RFC 6793 §4.1", path("4002040201fde9"), GONE, "AS_PATH"),
        ("AS_PATH with AS 0", "RFC 7607 §2", path("40020a02020000fde900000000"), GONE, "AS_PATH"),
        ("AS_PATH with a confederation's sequence", "RFC 5065 §5", path("40020c0301 0000fde9 0201 0000fde9"), GONE, "AS_PATH"),
        ("AS_PATH with a confederation's set", "RFC 5065 §5", path("40020c0201 0000fde9 0401 0000fde9"), GONE, "AS_PATH"),
        ("NEXT_HOP of no octets", "RFC 7606 §7.3", hop("400300"), GONE, "NEXT_HOP"),
        ("NEXT_HOP of 3", "RFC 7606 §7.3", hop("400303c00002"), GONE, "NEXT_HOP"),
        ("NEXT_HOP of 5", "RFC 7606 §7.3", hop("400305c000020202"), GONE, "NEXT_HOP"),
        ("NEXT_HOP of 16", "RFC 7606 §7.3", hop("40031020010db8000000000000000000000002"), GONE, "NEXT_HOP"),
        ("NEXT_HOP optional", "RFC 7606 §3 c", hop("c00304c0000202"), GONE, "NEXT_HOP"),
        ("NEXT_HOP not transitive", "RFC 7606 §3 c", hop("000304c0000202"), GONE, "NEXT_HOP"),
        ("NEXT_HOP 0.0.0.0", "RFC 4271 §6.3", hop("40030400000000"), GONE, "NEXT_HOP"),
        ("NEXT_HOP 0.0.0.1", "RFC 4271 §6.3", hop("40030400000001"), GONE, "NEXT_HOP"),
        ("NEXT_HOP 127.0.0.1", "RFC 4271 §6.3", hop("4003047f000001"), GONE, "NEXT_HOP"),
        ("NEXT_HOP 224.0.0.1", "RFC 4271 §6.3", hop("400304e0000001"), GONE, "NEXT_HOP"),
        ("NEXT_HOP 255.255.255.255", "RFC 4271 §6.3", hop("400304ffffffff"), GONE, "NEXT_HOP"),
    ];
    all.to_vec()
}

#[rustfmt::skip]
fn optional() -> Vec<Line> {
    let more = |a: &str| format!("{ORIGIN}{PATH}{HOP}{a}");
    let all = [
        ("MULTI_EXIT_DISC", "RFC 4271 §5.1.4", more("800404000000ff"), Announce(&[(P, "192.0.2.2 65001 IGP med=255")]), ""),
        ("MULTI_EXIT_DISC of no octets", "RFC 7606 §7.4", more("800400"), GONE, "MULTI_EXIT_DISC"),
        ("MULTI_EXIT_DISC of 3", "RFC 7606 §7.4", more("800403000000"), GONE, "MULTI_EXIT_DISC"),
        ("MULTI_EXIT_DISC of 5", "RFC 7606 §7.4", more("8004050000000000"), GONE, "MULTI_EXIT_DISC"),
        ("MULTI_EXIT_DISC transitive", "RFC 7606 §3 c", more("c0040400000000"), GONE, "MULTI_EXIT_DISC"),
        ("MULTI_EXIT_DISC well-known", "RFC 7606 §3 c", more("40040400000000"), GONE, "MULTI_EXIT_DISC"),
        ("LOCAL_PREF from outside", "RFC 7606 §7.5", more("40050400000064"), TAKEN, "LOCAL_PREF"),
        ("LOCAL_PREF from outside, malformed", "RFC 7606 §7.5", more("40050100"), TAKEN, "LOCAL_PREF"),
        ("LOCAL_PREF from outside, flags wrong", "RFC 7606 §7.5", more("c0050400000064"), TAKEN, "LOCAL_PREF"),
        ("ATOMIC_AGGREGATE", "RFC 4271 §5.1.6", more("400600"), Announce(&[(P, "192.0.2.2 65001 IGP atomic")]), ""),
        ("ATOMIC_AGGREGATE of 1", "RFC 7606 §7.6", more("40060100"), TAKEN, "ATOMIC_AGGREGATE"),
        ("ATOMIC_AGGREGATE optional", "RFC 7606 §3 c", more("c00600"), GONE, "ATOMIC_AGGREGATE"),
        ("AGGREGATOR", "RFC 4271 §5.1.7", more("c007080000fde90a000002"), Announce(&[(P, "192.0.2.2 65001 IGP aggregator=65001 10.0.0.2")]), ""),
        ("AGGREGATOR of no octets", "RFC 7606 §7.7", more("c00700"), TAKEN, "AGGREGATOR"),
        ("AGGREGATOR of 6", "RFC 7606 §7.7", more("c00706fde90a000002"), TAKEN, "AGGREGATOR"),
        ("AGGREGATOR of 9", "RFC 7606 §7.7", more("c007090000fde90a00000200"), TAKEN, "AGGREGATOR"),
        ("AGGREGATOR of AS 0", "RFC 7607 §2", more("c00708000000000a000002"), TAKEN, "AGGREGATOR"),
        ("AGGREGATOR well-known", "RFC 7606 §3 c", more("400708 0000fde90a000002"), GONE, "AGGREGATOR"),
        ("COMMUNITIES", "RFC 1997", more("c00804fde90007"), Announce(&[(P, "192.0.2.2 65001 IGP communities=65001:7")]), ""),
        ("COMMUNITIES of no octets", "RFC 7606 §7.8", more("c00800"), GONE, "COMMUNITIES"),
        ("COMMUNITIES of 3", "RFC 7606 §7.8", more("c00803fde900"), GONE, "COMMUNITIES"),
        ("COMMUNITIES of 5", "RFC 7606 §7.8", more("c008050000000000"), GONE, "COMMUNITIES"),
        ("COMMUNITIES not transitive", "RFC 7606 §3 c", more("80080400000001"), GONE, "COMMUNITIES"),
        ("COMMUNITIES well-known", "RFC 7606 §3 c", more("40080400000001"), GONE, "COMMUNITIES"),
        ("AS4_PATH from a four-octet neighbour", "RFC 6793 §6", more("c01106020100010000"), TAKEN, "AS4_PATH"),
        ("AS4_AGGREGATOR from a four-octet neighbour", "RFC 6793 §6", more("c012080001000000000001"), TAKEN, "AS4_AGGREGATOR"),
    ];
    all.to_vec()
}

#[rustfmt::skip]
fn several() -> Vec<Line> {
    let more = |a: &str| format!("{ORIGIN}{PATH}{HOP}{a}");
    let all = [
        ("the attributes backwards", "RFC 4271 §5", format!("{HOP}{PATH}{ORIGIN}"), TAKEN, ""),
        ("ORIGIN twice", "RFC 7606 §3 g", more("40010102"), TAKEN, "ORIGIN"),
        ("ORIGIN twice, the second malformed", "RFC 7606 §3 g", more("40010109"), TAKEN, "ORIGIN"),
        ("AS_PATH twice", "RFC 7606 §3 g", more("4002060201 0000fdea"), TAKEN, "AS_PATH"),
        ("NEXT_HOP twice", "RFC 7606 §3 g", more("4003040a000001"), TAKEN, "NEXT_HOP"),
        ("MULTI_EXIT_DISC a hundred times", "RFC 7606 §3 g", more(&"80040400000009".repeat(100)), Announce(&[(P, "192.0.2.2 65001 IGP med=9")]), "MULTI_EXIT_DISC"),
        ("one to be dropped and one that withdraws", "RFC 7606 §3 h", more("40060100 800401ff"), GONE, "MULTI_EXIT_DISC"),
        ("one that withdraws and one that resets", "RFC 7606 §3 h", more("800401ff 40630101"), Reset(3, 2, "40630101"), ""),
        ("flags only", "RFC 7606 §4", more("40"), GONE, ""),
        ("no length", "RFC 7606 §4", more("4063"), GONE, ""),
        ("half of a length of two octets", "RFC 7606 §4", more("d06300"), GONE, ""),
        ("the last overruns by one", "RFC 7606 §4", more("c06302ff"), GONE, ""),
        ("the first overruns all others", "RFC 7606 §4", format!("4001ff00{PATH}{HOP}"), GONE, ""),
        ("the last overruns by 65,000", "RFC 7606 §4", more("d063ffff00"), GONE, ""),
        ("LOCAL_PREF that overruns", "RFC 7606 §4", more("40050400"), GONE, ""),
        ("no attributes", "RFC 7606 §3 d", String::new(), GONE, "missing"),
        ("every kind of attribute malformed", "RFC 7606 §3 h", "40010109 40020102 40030101 80040101 40060101 c0070101 c0080101".to_owned(), GONE, "ORIGIN"),
    ];
    all.to_vec()
}
