//! ORIGINATOR_ID and CLUSTER_LIST (RFC 4456 §8; RFC 7606 §7.9, §7.10): of internal neighbours read, of external ones
//! dropped unread.

use crate::hostile::octets::{attribute, update};
use crate::hostile::row::{Context, GOOD_LOOK, HOP, NLRI, ORIGIN, P, PATH, Row, Want, in_session};
use Want::{Announce, Refuse, Withdraw};

const GONE: Want = Withdraw(&[P]);
const TAKEN: Want = Announce(&[(P, GOOD_LOOK)]);

#[rustfmt::skip]
pub(super) fn rows() -> Vec<Row> {
    let inside = in_session(Context::Internal);
    let outside = in_session(Context::External);
    let internal = |a: &str| update("", &format!("{ORIGIN} 400200 {HOP} 40050400000064 {a}"), NLRI);
    let external = |a: &str| update("", &format!("{ORIGIN}{PATH}{HOP}{a}"), NLRI);
    vec![
        inside("ORIGINATOR_ID and CLUSTER_LIST", "RFC 4456 §8", internal("8009040a000001 800a080a0000020a000003"),
            Announce(&[(P, "192.0.2.2 - IGP pref=100 clusters=10.0.0.2,10.0.0.3 originator=10.0.0.1")])),
        inside("our ORIGINATOR_ID", "RFC 4456 §8", internal("8009040aff0001 800a040a000002"), Refuse(P, "ORIGINATOR_ID")),
        inside("ORIGINATOR_ID of no octets", "RFC 7606 §7.9", internal("800900"), GONE).told("ORIGINATOR_ID"),
        inside("ORIGINATOR_ID of 3", "RFC 7606 §7.9", internal("8009030a0000"), GONE).told("ORIGINATOR_ID"),
        inside("ORIGINATOR_ID of 5", "RFC 7606 §7.9", internal("8009050a00000100"), GONE).told("ORIGINATOR_ID"),
        inside("ORIGINATOR_ID transitive", "RFC 7606 §3 c", internal("c009040a000001"), GONE).told("ORIGINATOR_ID"),
        inside("CLUSTER_LIST of no octets", "RFC 7606 §7.10", internal("800a00"), GONE).told("CLUSTER_LIST"),
        inside("CLUSTER_LIST of 5", "RFC 7606 §7.10", internal("800a050a00000200"), GONE).told("CLUSTER_LIST"),
        inside("CLUSTER_LIST well-known", "RFC 7606 §3 c", internal("400a040a000002"), GONE).told("CLUSTER_LIST"),
        inside("CLUSTER_LIST of 256", "docs/limits.md", internal(&attribute(0x80, 10, &"0a000002".repeat(256))), GONE).told("256 clusters"),
        outside("ORIGINATOR_ID from outside", "RFC 7606 §7.9", external("8009040a000001"), TAKEN).told("ORIGINATOR_ID"),
        outside("ORIGINATOR_ID from outside, malformed", "RFC 7606 §7.9", external("80090100"), TAKEN).told("ORIGINATOR_ID"),
        outside("CLUSTER_LIST from outside", "RFC 7606 §7.10", external("800a040a000002"), TAKEN).told("CLUSTER_LIST"),
        outside("CLUSTER_LIST from outside, malformed", "RFC 7606 §7.10", external("800a0100"), TAKEN).told("CLUSTER_LIST"),
    ]
}
