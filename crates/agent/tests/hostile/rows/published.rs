//! Whole messages as they were seen in networks, or published with an advisory, octet for octet.

use crate::hostile::octets::hex;
use crate::hostile::row::{Context, GOOD_LOOK, P, Row, Want, in_session};
use Want::{Announce, Reset, Withdraw};

const TAKEN: Want = Announce(&[(P, GOOD_LOOK)]);
const GONE: Want = Withdraw(&[P]);

#[rustfmt::skip]
pub(super) fn rows() -> Vec<Row> {
    let row = in_session(Context::External);
    let reset = Reset;
    let row = |name, by, octets: &str, want| row(name, by, hex(octets), want);
    vec![
        row("an entropy label of no octets", "CVE-2023-4481", "M003202000000174001010040020602010000fde9400304c0000202c01c0018cb0071", Announce(&[(P, "192.0.2.2 65001 IGP other=28")])),
        row("a tunnel encapsulation of 3 octets", "CVE-2023-38802", "M0035020000001a4001010040020602010000fde9400304c0000202c0170300070018cb0071", Announce(&[(P, "192.0.2.2 65001 IGP other=23")])),
        row("a tunnel encapsulation whose sub-TLV overruns", "CVE-2023-38802", "M0038020000001d4001010040020602010000fde9400304c0000202c017060007000401ff18cb0071", Announce(&[(P, "192.0.2.2 65001 IGP other=23")])),
        row("a prefix SID of zeros", "CVE-2024-31948", "M003a020000001f4001010040020602010000fde9400304c0000202c02808000000000000000018cb0071", Announce(&[(P, "192.0.2.2 65001 IGP other=40")])),
        row("OTC with a false extended length", "RFC 7606 §4", "M0037020000001c4001010040020602010000fde9400304c0000202f02304000000fe4c18cb0071", GONE),
        row("prefixes without attributes", "CVE-2023-41358", "M001b020000000018cb0071", GONE).told("missing"),
        row("prefixes with an unknown attribute only", "CVE-2023-46753", "M002e0200000013c01f100101010101010101010101010101010118cb0071", GONE).told("missing"),
        row("an End-of-RIB with prefixes behind it", "CVE-2023-47234", "M00210200000006800f0300020118cb0071", GONE).told("missing"),
        row("an attribute that looks like End-of-RIB", "CVE-2023-47235", "M002b0200000003c0ff00010100eb00ac100b0b001ad908ac100b0b", reset(3, 10, "")),
        row("AIGP of no octets", "CVE-2023-41359", "M003202000000174001010040020602010000fde9400304c0000202801a0018cb0071", TAKEN),
        row("NEXT_HOP of no octets", "CVE-2026-30405", "M002b02000000104001010040020602010000fde940030018cb0071", GONE),
        row("withdrawn routes of 2 octets that hold a /32", "CVE-2026-37462", "M0019020002200a0000", reset(3, 10, "")),
        row("an attribute length of ffff", "CVE-2026-37462", "M0017020000ffff", reset(3, 1, "")),
        row("MP_REACH_NLRI with a next hop of no octets", "RFC 7606 §7.11", "M0035020000001e800e0e00020100004020010db8000000aa4001010040020602010000fde9",
            reset(3, 9, "800e0e00020100004020010db8000000aa")),
        row("AS_PATH with a segment of no numbers", "RFC 7606 §7.2", "M002b0200000010400101004002020200400304c000020218cb0071", GONE),
        row("AS_PATH whose segment overruns", "RFC 7606 §7.2", "M002f02000000144001010040020602ff0000fde9400304c000020218cb0071", GONE),
        row("AGGREGATOR of 5 octets", "RFC 7606 §7.7", "M0037020000001c4001010040020602010000fde9400304c0000202c007050000fde90a18cb0071", TAKEN).told("AGGREGATOR"),
        row("AGGREGATOR of 6 octets", "RFC 7606 §7.7", "M0038020000001d4001010040020602010000fde9400304c0000202c00706fde90a00000218cb0071", TAKEN).told("AGGREGATOR"),
        row("MULTI_EXIT_DISC twice", "RFC 7606 §3 g", "M003d02000000224001010040020602010000fde9400304c00002028004040000000a8004040000001418cb0071",
            Announce(&[(P, "192.0.2.2 65001 IGP med=10")])).told("twice"),
        row("COMMUNITIES of none", "RFC 7606 §7.8", "M003202000000174001010040020602010000fde9400304c0000202c0080018cb0071", GONE),
        row("MP_REACH_NLRI transitive, another prefix", "RFC 7606 §3 c",
            "M0045020000002ec00e1e0002011020010db8000000000000000000000002004020010db8000000aa4001010040020602010000fde9", Withdraw(&[])),
        row("MP_REACH_NLRI whose next hop overruns", "CVE-2023-46752",
            "M0045020000002e800e1e0002014020010db8000000000000000000000002004020010db8000000aa4001010040020602010000fde9",
            reset(3, 9, "800e1e0002014020010db8000000000000000000000002004020010db8000000aa")),
        row("a prefix of 33 bits", "RFC 7606 §5.3", "M003102000000144001010040020602010000fde9400304c000020221cb00710000", reset(3, 10, "")),
        row("an unknown well-known attribute", "RFC 4271 §6.3", "M003302000000184001010040020602010000fde9400304c00002024063010118cb0071", reset(3, 2, "40630101")),
        row("two errors, both to be withdrawn or dropped", "RFC 7606 §3 h", "M003302000000184001010940020602010000fde9400304c00002024006010018cb0071", GONE),
        row("a type unknown after the handshake", "gobgp 3325", "M0013ff", reset(1, 3, "ff")),
    ]
}
