//! Whole messages as other speakers fell over them, and the header of RFC 4271 §4.1.

use super::super::bytes::{external, hex};
use super::Want::{Announce, Reset, Withdraw};
use super::{P, Want, check};

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
