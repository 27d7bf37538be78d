//! Neighbours that know two-octet AS numbers only (RFC 6793 §4.2, §6).

use crate::hostile::octets::{hex, update};
use crate::hostile::row::{Context, GOOD_LOOK, HOP, NLRI, ORIGIN, P, PATH, PATH2, Row, Want, in_session};
use Want::{Announce, Refuse, Withdraw};

const TAKEN: Want = Announce(&[(P, GOOD_LOOK)]);
const TRANS: Want = Announce(&[(P, "192.0.2.2 65001 23456 IGP")]);
const MERGED: Want = Announce(&[(P, "192.0.2.2 65001 65536 IGP")]);

#[rustfmt::skip]
pub(super) fn rows() -> Vec<Row> {
    let row = in_session(Context::TwoOctet);
    let more = |list: &str| update("", &format!("{ORIGIN}{PATH2}{HOP}{list}"), NLRI);
    // 65001 23456, whose second number is told by AS4_PATH.
    let trans = |list: &str| update("", &format!("{ORIGIN} 4002060202fde95ba0 {HOP}{list}"), NLRI);
    vec![
        row("a path of two-octet numbers", "RFC 6793 §4.2.3", more(""), TAKEN),
        row("a path of four-octet numbers", "RFC 6793 §4.2.3", update("", &format!("{ORIGIN}{PATH}{HOP}"), NLRI), Withdraw(&[P])),
        row("AS4_PATH", "RFC 6793 §4.2.3", trans("c01106 0201 00010000"), MERGED),
        row("AS4_PATH as long as AS_PATH", "RFC 6793 §4.2.3", trans("c0110a 0202 0000fde9 00010000"), MERGED),
        row("AS4_PATH longer than AS_PATH", "RFC 6793 §4.2.3", trans("c0110e 0203 0000fde9 00010000 00010001"), TRANS),
        row("AS4_PATH before AS_PATH, as published", "RFC 6793 §4.2.3",
            hex("M0038020000001d40010100c0110602010001000140020602025ba05ba0400304c000020218cb0071"), Refuse(P, "first AS")),
        row("AS4_PATH of nothing", "RFC 6793 §6", trans("c01100"), TRANS).told("AS4_PATH"),
        row("AS4_PATH of an odd length", "RFC 6793 §6", trans("c01107 0201 0001000000"), TRANS).told("AS4_PATH"),
        row("AS4_PATH with a segment of nothing", "RFC 6793 §6", trans("c01102 0200"), TRANS).told("AS4_PATH"),
        row("AS4_PATH with a segment that overruns", "RFC 6793 §6", trans("c01106 0202 00010000"), TRANS).told("AS4_PATH"),
        row("AS4_PATH of an unknown kind", "RFC 6793 §6", trans("c01106 0901 00010000"), TRANS).told("AS4_PATH"),
        row("AS4_PATH with AS 0", "RFC 7607 §2", trans("c01106 0201 00000000"), TRANS).told("AS4_PATH"),
        row("AS4_PATH with a confederation's segment", "RFC 6793 §6", trans("c0110c 0301 0000fdea 0201 00010000"), MERGED),
        row("AS4_PATH well-known", "RFC 7606 §3 c", trans("401106 0201 00010000"), Withdraw(&[P])).told("AS4_PATH"),
        row("AGGREGATOR of 6", "RFC 6793 §4.2.3", more("c00706 fde9 0a000002"), Announce(&[(P, "192.0.2.2 65001 IGP aggregator=65001 10.0.0.2")])),
        row("AGGREGATOR of 8", "RFC 7606 §7.7", more("c00708 0000fde9 0a000002"), TAKEN).told("AGGREGATOR"),
        row("AGGREGATOR of AS 0", "RFC 7607 §2", more("c00706 0000 0a000002"), TAKEN).told("AGGREGATOR"),
        row("AS4_AGGREGATOR of 7", "RFC 6793 §6", more("c00706 5ba0 0a000002 c01207 00010000 0a0000"), Announce(&[(P, "192.0.2.2 65001 IGP aggregator=23456 10.0.0.2")])).told("AS4_AGGREGATOR"),
        row("AS4_AGGREGATOR of AS 0", "RFC 7607 §2", more("c00706 5ba0 0a000002 c01208 00000000 0a000002"), Announce(&[(P, "192.0.2.2 65001 IGP aggregator=23456 10.0.0.2")])).told("AS4_AGGREGATOR"),
        row("AGGREGATOR of another AS than AS_TRANS makes AS4_PATH stale", "RFC 6793 §4.2.3",
            trans("c00706 fde9 0a000002 c01106 0201 00010000 c01208 00010000 0a000002"), Announce(&[(P, "192.0.2.2 65001 23456 IGP aggregator=65001 10.0.0.2")])),
        row("AGGREGATOR and AS4_AGGREGATOR", "RFC 6793 §4.2.3", more("c00706 5ba0 0a000002 c01208 00010000 0a000003"), Announce(&[(P, "192.0.2.2 65001 IGP aggregator=65536 10.0.0.3")])),
        row("AS4_PATH with a set", "RFC 9774 §3", trans("c0110c 0201 0000fde9 0101 00010000"), Withdraw(&[P])).told("AS_SET"),
        row("AS_TRANS itself", "RFC 6793 §9", trans(""), TRANS),
    ]
}
