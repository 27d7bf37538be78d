//! Neighbours of the node's own AS: LOCAL_PREF counts, and errors are answered as mildly as those of others (RFC 7606).

use crate::hostile::octets::{hex, update};
use crate::hostile::row::{Context, HOP, NLRI, ORIGIN, P, Row, Want, in_session};
use Want::{Announce, Refuse, Reset, Withdraw};

const GONE: Want = Withdraw(&[P]);

#[rustfmt::skip]
pub(super) fn rows() -> Vec<Row> {
    let row = in_session(Context::Internal);
    let with = |list: &str| update("", &format!("{ORIGIN} 400200 {HOP}{list}"), NLRI);
    vec![
        row("LOCAL_PREF", "RFC 4271 §5.1.5", with("40050400000096"), Announce(&[(P, "192.0.2.2 - IGP pref=150")])),
        row("no LOCAL_PREF", "docs/rfc/rfc4271.md", with(""), Announce(&[(P, "192.0.2.2 - IGP")])),
        row("LOCAL_PREF of no octets", "RFC 7606 §7.5", with("400500"), GONE).told("LOCAL_PREF"),
        row("LOCAL_PREF of 3", "RFC 7606 §7.5", with("400503000064"), GONE).told("LOCAL_PREF"),
        row("LOCAL_PREF of 5", "RFC 7606 §7.5", with("4005050000006400"), GONE).told("LOCAL_PREF"),
        row("LOCAL_PREF optional", "RFC 7606 §3 c", with("c0050400000064"), GONE).told("LOCAL_PREF"),
        row("ORIGIN 3, internal", "RFC 7606 §7.1", update("", &format!("40010103 400200 {HOP} 40050400000064"), NLRI), GONE).told("ORIGIN"),
        row("a segment of nothing, internal", "RFC 7606 §7.2", update("", &format!("{ORIGIN} 4002020200 {HOP} 40050400000064"), NLRI), GONE).told("AS_PATH"),
        row("the attributes overrun, internal", "RFC 7606 §4", with("40050400000064 c063ff"), GONE),
        row("our AS in an internal path", "RFC 4271 §9.1.2", update("", &format!("{ORIGIN} 40020602010000fc00 {HOP} 40050400000064"), NLRI), Refuse(P, "own AS")),
        row("NLRI of 33 bits, internal", "RFC 7606 §5.3", update("", &format!("{ORIGIN} 400200 {HOP}"), "21cb00710000"), Reset(3, 10, "")),
        row("well-known unknown, internal", "RFC 4271 §6.3", with("40630101"), Reset(3, 2, "40630101")),
        row("a marker wrong, internal", "RFC 4271 §6.1", hex("00"), Reset(1, 1, "")),
    ]
}
