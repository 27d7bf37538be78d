//! AS4_PATH (RFC 6793 §3): the path in four-octet numbers, carried past speakers that know two octets only.
//!
//! A two-octet speaker in the middle prepends to AS_PATH and hands AS4_PATH on untouched, so that the tail of the one
//! is the other. The two are joined on receipt and taken apart on sending; nothing inside this speaker knows AS4_PATH.

use bytes::BytesMut;

use crate::types::{AsPath, Partial, Segment};
use crate::wire::{Context, Disposition, UpdateError};

use super::as_path::{decode_segments, is_confederation, not_a_set, put_path};
use super::{Draft, Fault, OPTIONAL, Outgoing, Row, TRANSITIVE, display_nothing};

const CODE: u8 = 17;

pub(super) const ROW: Row = Row {
    code: CODE,
    name: "AS4_PATH",
    flags: OPTIONAL | TRANSITIVE,
    partial: Partial::NONE,
    mandatory: false,
    internal_only: false,
    // RFC 6793 §6
    on_error: Disposition::DiscardAttribute,
    decode,
    encode,
    display: display_nothing,
};

fn decode(value: &[u8], ctx: &Context, draft: &mut Draft) -> Result<(), Fault> {
    if ctx.four_octet_as {
        let what = "sent by a peer of four-octet AS numbers (RFC 6793 §4.1)";
        return Err(Fault::new(UpdateError::OptionalAttribute, what));
    }
    let path = decode_segments(value, true).map_err(|fault| Fault {
        error: UpdateError::OptionalAttribute,
        ..fault
    })?;
    if path.segments.is_empty() {
        return Err(Fault::length(0, "at least 6"));
    }
    let mut path = not_a_set(path)?;
    path.segments.retain(|s| !is_confederation(s.kind));
    draft.as4_path = Some(path);
    Ok(())
}

/// Puts AS4_PATH in place of the tail of AS_PATH that it stands for (RFC 6793 §4.2.3). Counted is as the decision process
/// does: a set is one. A longer AS4_PATH than AS_PATH is stale and not used.
pub(super) fn merge(path: &mut AsPath, as4_path: AsPath) {
    let Some(mut keep) = path.decision_len().checked_sub(as4_path.decision_len()) else {
        return;
    };
    let mut segments = Vec::new();
    for mut segment in std::mem::take(&mut path.segments) {
        if keep == 0 {
            break;
        }
        let counts_each = segment.kind == crate::types::SegmentKind::Sequence;
        if counts_each {
            segment.asns.truncate(keep);
        }
        keep = keep.saturating_sub(if counts_each { segment.asns.len() } else { 1 });
        segments.push(segment);
    }
    let mut tail = as4_path.segments.into_iter();
    if let Some(segment) = tail.next() {
        join(&mut segments, segment);
    }
    segments.extend(tail);
    path.segments = segments;
}

/// Appends a segment; two sequences become one where it has room.
fn join(segments: &mut Vec<Segment>, segment: Segment) {
    match segments.last_mut() {
        Some(last)
            if last.kind == crate::types::SegmentKind::Sequence
                && segment.kind == last.kind
                && last.asns.len().saturating_add(segment.asns.len()) <= 255 =>
        {
            last.asns.extend(segment.asns);
        }
        Some(_) | None => segments.push(segment),
    }
}

fn encode(outgoing: &Outgoing<'_>, out: &mut BytesMut) {
    let path = &outgoing.attributes.as_path;
    if outgoing.ctx.four_octet_as || path.iter().all(|asn| u16::try_from(asn.0).is_ok()) {
        return;
    }
    let segments: Vec<Segment> = path
        .segments
        .iter()
        .filter(|s| !is_confederation(s.kind))
        .cloned()
        .collect();
    put_path(OPTIONAL | TRANSITIVE, CODE, &segments, true, out);
}
