//! OPEN (RFC 4271 §4.2, §6.2; RFC 5492, 6286, 6793, 9072): errors with their exact answers, and oddities that are none.

use crate::hostile::octets::{capabilities, hex, keepalive, message, open, to_hex};
use crate::hostile::row::{Context, Row, Stage, THEIRS, Want};
use Context::{External, Internal, OverIpv6, TwoOctet};

const ID: u32 = 0x0a09_0001;
/// Both families, AS 65001.
const USUAL: &str = "010400010001 010400020001 41040000fde9";
const BOTH: &str = "010400010001 010400020001";

#[rustfmt::skip]
pub(super) fn rows() -> Vec<Row> {
    [fields(), parameters(), lists(), good()].concat()
}

fn refused(context: Context) -> impl Fn(&'static str, &'static str, Vec<u8>, (u8, &'static str)) -> Row {
    move |name, by, octets, (subcode, data)| {
        Row::new(
            context,
            Stage::Connected,
            name,
            by,
            octets,
            Want::Reset(2, subcode, data),
        )
    }
}

/// The octets are an OPEN that is as good as any: a KEEPALIVE behind it brings the session up.
fn taken(context: Context) -> impl Fn(&'static str, &'static str, Vec<u8>) -> Row {
    move |name, by, octets| {
        Row::new(
            context,
            Stage::Connected,
            name,
            by,
            [octets, keepalive()].concat(),
            Want::Established,
        )
    }
}

fn usual(asn: u16, hold_time: u16, identifier: u32) -> Vec<u8> {
    open(asn, hold_time, identifier, &capabilities(USUAL))
}

fn versioned(version: u8) -> Vec<u8> {
    let mut octets = usual(THEIRS, 90, ID);
    octets[19] = version;
    octets
}

#[rustfmt::skip]
fn fields() -> Vec<Row> {
    let row = refused(External);
    let two = refused(TwoOctet);
    let inside = refused(Internal);
    let as4 = |asn: u16, number: &str| open(asn, 90, ID, &capabilities(&format!("{BOTH}4104{number}")));
    vec![
        row("version 0", "RFC 4271 §6.2", versioned(0), (1, "0004")),
        row("version 3", "RFC 4271 §6.2", versioned(3), (1, "0004")),
        row("version 5", "RFC 4271 §6.2", versioned(5), (1, "0004")),
        row("version 255", "RFC 4271 §6.2", versioned(255), (1, "0004")),
        row("another AS", "RFC 4271 §6.2", as4(65002, "0000fdea"), (2, "")),
        row("our AS", "RFC 4271 §6.2", as4(64512, "0000fc00"), (2, "")),
        row("AS 0", "RFC 7607 §2", as4(0, "00000000"), (2, "")),
        row("AS 0 in the capability", "RFC 7607 §2", as4(65001, "00000000"), (2, "")),
        row("another AS in the capability", "RFC 6793 §4.1", as4(65001, "0000fdea"), (2, "")),
        row("AS_TRANS as a number of four octets", "RFC 6793 §9", as4(23456, "00005ba0"), (2, "")),
        two("AS_TRANS without the capability", "RFC 6793 §9", open(23456, 90, ID, &capabilities(BOTH)), (2, "")),
        inside("an external AS for an internal neighbour", "RFC 4271 §6.2", as4(65001, "0000fde9"), (2, "")),
        inside("our identifier inside our AS", "RFC 6286 §2.2", open(64512, 90, 0x0aff_0001, &capabilities(&format!("{BOTH}41040000fc00"))), (3, "")),
        row("identifier 0", "RFC 6286 §2.1", usual(THEIRS, 90, 0), (3, "")),
        row("hold time 1", "RFC 4271 §6.2", usual(THEIRS, 1, ID), (6, "")),
        row("hold time 2", "RFC 4271 §6.2", usual(THEIRS, 2, ID), (6, "")),
        refused(OverIpv6)("hold time 1, over IPv6", "RFC 4271 §6.2", usual(THEIRS, 1, ID), (6, "")),
    ]
}

#[rustfmt::skip]
fn parameters() -> Vec<Row> {
    let row = refused(External);
    let with = |parameters: &str| open(THEIRS, 90, ID, parameters);
    vec![
        row("parameter 1, the old authentication", "RFC 4271 §6.2", with("03010100"), (4, "")),
        row("parameter 3", "RFC 4271 §6.2", with("020300"), (4, "")),
        row("parameter 254", "RFC 4271 §6.2", with("02fe00"), (4, "")),
        row("parameters longer than the message", "RFC 4271 §6.2", with("100206"), (0, "")),
        row("parameters shorter than the message", "RFC 4271 §6.2", with("020200ffff"), (0, "")),
        row("octets behind no parameters", "RFC 4271 §6.2", with("00020141"), (0, "")),
        row("a parameter that overruns", "RFC 4271 §6.2", with("0402ff0200"), (0, "")),
        row("a parameter without a length", "RFC 4271 §6.2", with("0102"), (0, "")),
        row("an extended length with nothing to read", "CVE-2022-40302", hex("M00220104fde9005ac0000202ffff00020001"), (0, "")),
        row("an OPEN that ends behind ff", "CVE-2022-43681", hex("M001d0104fde9005ac0000202ff"), (0, "")),
        row("an extended parameter cut in its header", "CVE-2022-40318", hex("M00220104fde9005ac0000202ffff00030200"), (0, "")),
        row("an extended length beyond the message", "RFC 9072 §2", with("ffffffff02000341"), (0, "")),
        row("an extended parameter that overruns", "RFC 9072 §2", with("ffff000402ffff41"), (0, "")),
        row("octets behind extended parameters", "RFC 9072 §2", with("ffff0003020000 41"), (0, "")),
        row("an extended parameter of another kind", "RFC 9072 §2", with("ffff0003010000"), (4, "")),
    ]
}

#[rustfmt::skip]
fn lists() -> Vec<Row> {
    let row = refused(External);
    let with = |list: &str| open(THEIRS, 90, ID, &capabilities(list));
    vec![
        row("a capability that overruns", "RFC 5492 §4", with("0104000100"), (0, "")),
        row("a capability without a length", "RFC 5492 §4", with("02 00 41"), (0, "")),
        row("an AS number of no octets", "CVE-2022-36440", hex("M00270104fde9005ac00002020a02084100010400010001"), (0, "")),
        row("an AS number of 2 octets", "RFC 6793 §3", with("4102fde9"), (0, "")),
        row("an AS number of 5 octets", "RFC 6793 §3", with("41050000fde900"), (0, "")),
        row("a multiprotocol capability of 3", "RFC 4760 §8", with("0103000101"), (0, "")),
        row("a multiprotocol capability of 5", "RFC 4760 §8", with("01050001000100"), (0, "")),
        row("no family in common", "RFC 5492 §5", with("010400190041 41040000fde9"), (7, "010400010001 010400020001")),
        row("multicast families only", "RFC 5492 §5", with("010400010002 010400020002 41040000fde9"), (7, "010400010001 010400020001")),
        row("AFI 0", "RFC 5492 §5", with("010400000000 41040000fde9"), (7, "010400010001 010400020001")),
    ]
}

#[rustfmt::skip]
fn good() -> Vec<Row> {
    let row = taken(External);
    let with = |list: &str| open(THEIRS, 90, ID, &capabilities(&format!("{USUAL}{list}")));
    // As RFC 9072 has it, with these octets for the length that it does not use.
    let extended = |unused: &str, list: &str| {
        let list = hex(list);
        let (all, one) = (list.len() + 3, list.len());
        open(THEIRS, 90, ID, &format!("{unused}ff{all:04x}02{one:04x}{}", to_hex(&list)))
    };
    let many = "fa0401020304".repeat(600);
    let single = hex(USUAL).len();
    let separate = format!("{:02x}0206010400010001 0206010400020001 020641040000fde9", single + 6);
    vec![
        row("our identifier outside our AS", "RFC 6286 §2.2", usual(THEIRS, 90, 0x0aff_0001)),
        row("an identifier that is a multicast address", "RFC 6286 §2.1", usual(THEIRS, 90, 0xe000_0001)),
        row("an identifier of ones", "RFC 6286 §2.1", usual(THEIRS, 90, u32::MAX)),
        row("hold time 0", "RFC 4271 §4.2", usual(THEIRS, 0, ID)),
        row("hold time 3", "RFC 4271 §4.2", usual(THEIRS, 3, ID)),
        row("hold time 65,535", "RFC 4271 §4.2", usual(THEIRS, 65_535, ID)),
        row("AS_TRANS beside a number of two octets", "RFC 6793 §9", usual(23456, 90, ID)),
        row("a parameter for each capability", "RFC 5492 §4", open(THEIRS, 90, ID, &separate)),
        row("unknown capabilities", "RFC 5492 §3", with("fa00 fb03010203 ff00 0000")),
        row("the same capability ten times", "RFC 5492 §4", with(&"0200".repeat(10))),
        row("two AS numbers: the first counts", "RFC 5492 §4", with("41040000fdea")),
        row("route refresh of 1 octet", "RFC 2918 §2", with("020100")),
        row("extended messages of 3 octets", "RFC 8654 §3", with("0603000000")),
        row("graceful restart of 1 octet", "RFC 4724 §3", with("400100")),
        row("graceful restart with half a family", "RFC 4724 §3", with("40058078000101")),
        row("long-lived graceful restart of 4 octets", "CVE-2023-31489", with("470400010180")),
        row("a host name that overruns", "CVE-2025-43972", with("4904ff616263")),
        row("a software version that overruns", "CVE-2023-41361", with("4b03ff4142")),
        row("ORF of everything", "CVE-2023-41360", with("03070001000101ff03")),
        row("dynamic capability", "CVE-2024-31949", with("4300")),
        row("add-path of 3 octets", "RFC 7911 §4", with("4503000101")),
        row("add-path that sends and receives 9", "RFC 7911 §4", with("450400010109")),
        row("extended next hop of 5 octets", "RFC 8950 §4", with("05050001000100")),
        row("the extended form", "RFC 9072 §2", extended("ff", USUAL)),
        row("the extended form with another unused length", "RFC 9072 §2", extended("01", USUAL)),
        row("six hundred capabilities", "RFC 9072 §2", extended("ff", &format!("{USUAL}{many}"))),
        row("an OPEN of 4,096 octets", "RFC 8654 §4", {
            let rest = 4096 - extended("ff", USUAL).len();
            let filling = "fa00".repeat(rest / 2);
            extended("ff", &format!("{USUAL}{filling}"))
        }),
        taken(TwoOctet)("no capability but the families", "RFC 6793 §4.2", open(THEIRS, 90, ID, &capabilities(BOTH))),
        taken(Context::Plain)("no parameters at all", "RFC 4760 §8", open(THEIRS, 90, ID, "00")),
        taken(Context::Plain)("a parameter of no capabilities", "RFC 5492 §4", open(THEIRS, 90, ID, "020200")),
        taken(OverIpv6)("the extended form over IPv6", "RFC 9072 §2", extended("ff", USUAL)),
        taken(Context::Extended)("long messages agreed on, then an OPEN alone", "RFC 8654 §4", message(1, &hex(&format!("04fde9005a0a090001{}", capabilities(&format!("{USUAL}0600")))))),
    ]
}
