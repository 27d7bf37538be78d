//! Octets in, action out: what went wrong in other speakers, message by message (RFC 7606, RFC 4271 §6).

use flatroute_bgp::types::Family;
use flatroute_bgp::wire::{Context, Disposition, Message, Update};

use super::bytes::{external, hex, internal, read, two_octet, update};

/// What must come of a message.
enum Want {
    /// These prefixes are announced; so many attributes were dropped.
    Announce(&'static [&'static str], usize),
    /// These prefixes are withdrawn, none announced, because of an error.
    Withdraw(&'static [&'static str]),
    /// The session ends with this code, subcode and data.
    Reset(u8, u8, &'static str),
    /// Nothing happens to any prefix; so many errors are told.
    Nothing(usize),
}
use Want::{Announce, Nothing, Reset, Withdraw};

const P: &[&str] = &["203.0.113.0/24"];
const P6: &[&str] = &["2001:db8:aa::/48"];

/// ORIGIN, AS_PATH 65001, NEXT_HOP 192.0.2.2: all that an IPv4 prefix needs.
const GOOD: &str = "40010100 40020602010000fde9 400304c0000202";
/// ORIGIN and AS_PATH: what an IPv6 prefix needs besides MP_REACH_NLRI.
const GOOD6: &str = "40010100 40020602010000fde9";
/// MP_REACH_NLRI of 2001:db8:aa::/48 by 2001:db8::2.
const REACH: &str = "800e1c 00020110 20010db8000000000000000000000002 00 30 20010db800aa";
const NLRI: &str = "18cb0071";

fn names(update: &Update) -> (Vec<String>, Vec<String>) {
    let announced = update
        .announced
        .iter()
        .flat_map(|a| &a.prefixes)
        .map(ToString::to_string)
        .collect();
    let withdrawn = update.withdrawn.iter().map(ToString::to_string).collect();
    (announced, withdrawn)
}

fn check(name: &str, message: &[u8], ctx: &Context, want: &Want) {
    let result = read(message, ctx);
    match (want, result) {
        (Announce(prefixes, dropped), Ok(Message::Update(update))) => {
            assert_eq!(names(&update), (own(prefixes), vec![]), "{name}: {update:?}");
            assert_eq!(update.errors.len(), *dropped, "{name}: {update:?}");
            let mild =
                |e: &flatroute_bgp::wire::AttributeError| e.disposition == Disposition::DiscardAttribute;
            assert!(update.errors.iter().all(mild), "{name}: {update:?}");
        }
        (Withdraw(prefixes), Ok(Message::Update(update))) => {
            assert_eq!(names(&update), (vec![], own(prefixes)), "{name}: {update:?}");
            let worst = update.errors.iter().map(|e| e.disposition).max();
            assert_eq!(worst, Some(Disposition::TreatAsWithdraw), "{name}: {update:?}");
            assert_eq!(update.end_of_rib, None, "{name}");
        }
        (Nothing(errors), Ok(Message::Update(update))) => {
            assert_eq!(names(&update), (vec![], vec![]), "{name}: {update:?}");
            assert_eq!(update.errors.len(), *errors, "{name}: {update:?}");
        }
        (Reset(code, subcode, data), Err(error)) => {
            let sent = &error.notification;
            assert_eq!((sent.code, sent.subcode), (*code, *subcode), "{name}: {error}");
            assert_eq!(sent.data, hex(data), "{name}: {error}");
        }
        (_, result) => panic!("{name}: {result:?}"),
    }
}

fn own(prefixes: &[&str]) -> Vec<String> {
    prefixes.iter().map(|p| (*p).to_owned()).collect()
}

/// Whole messages as they were seen, or published with an advisory.
#[test]
fn published_messages() {
    let cases: &[(&str, &str, Want)] = &[
        (
            "entropy label of no octets",
            "M003202000000174001010040020602010000fde9400304c0000202c01c0018cb0071",
            Announce(P, 0),
        ),
        (
            "tunnel encapsulation of 3 octets",
            "M0035020000001a4001010040020602010000fde9400304c0000202c0170300070018cb0071",
            Announce(P, 0),
        ),
        (
            "tunnel encapsulation, sub-TLV overruns",
            "M0038020000001d4001010040020602010000fde9400304c0000202c017060007000401ff18cb0071",
            Announce(P, 0),
        ),
        (
            "prefix SID all zero",
            "M003a020000001f4001010040020602010000fde9400304c0000202c02808000000000000000018cb0071",
            Announce(P, 0),
        ),
        (
            "OTC with a false extended length",
            "M0037020000001c4001010040020602010000fde9400304c0000202f02304000000fe4c18cb0071",
            Withdraw(P),
        ),
        (
            "prefixes without attributes",
            "M001b020000000018cb0071",
            Withdraw(P),
        ),
        (
            "prefixes with an unknown attribute only",
            "M002e0200000013c01f100101010101010101010101010101010118cb0071",
            Withdraw(P),
        ),
        (
            "End-of-RIB and prefixes",
            "M00210200000006800f0300020118cb0071",
            Withdraw(P),
        ),
        (
            "a prefix of 235 bits behind a strange attribute",
            "M002b0200000003c0ff00010100eb00ac100b0b001ad908ac100b0b",
            Reset(3, 10, ""),
        ),
        (
            "AIGP of no octets, non-transitive",
            "M003202000000174001010040020602010000fde9400304c0000202801a0018cb0071",
            Announce(P, 0),
        ),
        (
            "NEXT_HOP of no octets",
            "M002b02000000104001010040020602010000fde940030018cb0071",
            Withdraw(P),
        ),
        (
            "withdrawn routes cut off",
            "M0019020002200a0000",
            Reset(3, 10, ""),
        ),
        ("attribute length ffff", "M0017020000ffff", Reset(3, 1, "")),
        (
            "MP_REACH with a next hop of no octets",
            "M0035020000001e800e0e00020100004020010db8000000aa4001010040020602010000fde9",
            Reset(3, 9, "800e0e00020100004020010db8000000aa"),
        ),
        (
            "AS_PATH with a segment of no numbers",
            "M002b0200000010400101004002020200400304c000020218cb0071",
            Withdraw(P),
        ),
        (
            "AS_PATH segment overruns",
            "M002f02000000144001010040020602ff0000fde9400304c000020218cb0071",
            Withdraw(P),
        ),
        (
            "AGGREGATOR of 5 octets",
            "M0037020000001c4001010040020602010000fde9400304c0000202c007050000fde90a18cb0071",
            Announce(P, 1),
        ),
        (
            "AGGREGATOR of 6 octets",
            "M0038020000001d4001010040020602010000fde9400304c0000202c00706fde90a00000218cb0071",
            Announce(P, 1),
        ),
        (
            "MULTI_EXIT_DISC twice",
            "M003d02000000224001010040020602010000fde9400304c00002028004040000000a8004040000001418cb0071",
            Announce(P, 1),
        ),
        (
            "COMMUNITIES of none",
            "M003202000000174001010040020602010000fde9400304c0000202c0080018cb0071",
            Withdraw(P),
        ),
        (
            "MP_REACH transitive",
            "M0045020000002ec00e1e0002011020010db8000000000000000000000002004020010db8000000aa4001010040020602010000fde9",
            Withdraw(&["2001:db8:0:aa::/64"]),
        ),
        (
            "MP_REACH next hop overruns",
            "M0045020000002e800e1e0002014020010db8000000000000000000000002004020010db8000000aa4001010040020602010000fde9",
            Reset(
                3,
                9,
                "800e1e0002014020010db8000000000000000000000002004020010db8000000aa",
            ),
        ),
        (
            "prefix of 33 bits",
            "M003102000000144001010040020602010000fde9400304c000020221cb00710000",
            Reset(3, 10, ""),
        ),
        (
            "unknown well-known",
            "M003302000000184001010040020602010000fde9400304c00002024063010118cb0071",
            Reset(3, 2, "40630101"),
        ),
        (
            "several errors, the strongest wins",
            "M003302000000184001010940020602010000fde9400304c00002024006010018cb0071",
            Withdraw(P),
        ),
        (
            "marker",
            "fffffffffffffffffffffffffffffffe001304",
            Reset(1, 1, ""),
        ),
        ("length 65535", "Mffff0200000000000000000000", Reset(1, 2, "ffff")),
        ("length 18", "M001204", Reset(1, 2, "0012")),
        ("type ff", "M0013ff", Reset(1, 3, "ff")),
        ("KEEPALIVE of 20", "M00140400", Reset(1, 2, "0014")),
        ("OPEN of 28", "M001c01 04fde9005ac0000202", Reset(1, 2, "001c")),
        ("UPDATE of 22", "M001602 000000", Reset(1, 2, "0016")),
        ("NOTIFICATION of 20", "M001403 06", Reset(1, 2, "0014")),
        (
            "BoRR of 5 octets",
            "M0018050001010100",
            Reset(7, 1, "M0018050001010100"),
        ),
    ];
    for (name, message, want) in cases {
        check(name, &hex(message), &external(), want);
    }
}

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

/// A message full of errors is described in bounded space.
#[test]
fn errors_are_bounded() {
    let attributes = format!("{GOOD} {}", "40060100".repeat(900));
    let Ok(Message::Update(update)) = read(&update("", &attributes, NLRI), &external()) else {
        panic!("refused");
    };
    assert_eq!(update.errors.len(), 16);
    assert_eq!(update.announced.len(), 1);
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
