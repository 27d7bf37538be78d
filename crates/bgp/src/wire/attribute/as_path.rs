//! AS_PATH (RFC 4271 §5.1.2): segments, each a kind, a count and that many AS numbers of two or four octets.
//!
//! Malformed, besides a length that does not add up, are an unknown kind of segment and a segment of nothing (RFC
//! 7606 §7.2), the number 0 (RFC 7607 §2), and confederation segments: this speaker is in no confederation, so
//! no neighbour is in ours (RFC 5065 §5). A set is well-formed, but nobody may send one any more: it says who may have
//! originated a route, never who has (RFC 9774 §3).

use bytes::{BufMut, BytesMut};

use crate::types::{AsPath, Asn, Partial, PathAttributes, Segment, SegmentKind};
use crate::wire::limits::MAX_AS_PATH;
use crate::wire::read::{Parsed, octet, octets};
use crate::wire::{Context, Disposition, UpdateError};

use super::{Draft, Fault, Outgoing, Row, TRANSITIVE, put_header};

const CODE: u8 = 2;
/// The most numbers that a segment holds.
const MAX_SEGMENT: usize = 255;

pub(super) const ROW: Row = Row {
    code: CODE,
    name: "AS_PATH",
    flags: TRANSITIVE,
    partial: Partial::NONE,
    mandatory: true,
    internal_only: false,
    // RFC 7606 §7.2
    on_error: Disposition::TreatAsWithdraw,
    decode,
    encode,
    display,
};

fn decode(value: &[u8], ctx: &Context, draft: &mut Draft) -> Result<(), Fault> {
    let path = decode_segments(value, ctx.four_octet_as)?;
    if path.segments.iter().any(|s| is_confederation(s.kind)) {
        return Err(malformed(
            "a confederation segment, but we are in no confederation",
        ));
    }
    draft.attributes.as_path = not_a_set(path)?;
    Ok(())
}

fn malformed(what: &str) -> Fault {
    Fault::new(UpdateError::MalformedAsPath, what)
}

/// RFC 9774 §3: a path with a set in it is treated as withdrawn.
pub(super) fn not_a_set(path: AsPath) -> Result<AsPath, Fault> {
    let is_set = |kind| match kind {
        SegmentKind::Set | SegmentKind::ConfedSet => true,
        SegmentKind::Sequence | SegmentKind::ConfedSequence => false,
    };
    if path.segments.iter().any(|s| is_set(s.kind)) {
        let fault = malformed("an AS_SET (RFC 9774): the neighbour should not aggregate with sets");
        return Err(fault.with(Disposition::TreatAsWithdraw));
    }
    Ok(path)
}

/// Whether this kind of segment stays inside a confederation.
pub(super) fn is_confederation(kind: SegmentKind) -> bool {
    match kind {
        SegmentKind::ConfedSequence | SegmentKind::ConfedSet => true,
        SegmentKind::Sequence | SegmentKind::Set => false,
    }
}

/// Reads segments of four-octet or two-octet numbers.
pub(super) fn decode_segments(mut value: &[u8], four_octet_as: bool) -> Result<AsPath, Fault> {
    let mut path = AsPath::default();
    let mut count_of_all = 0_usize;
    while !value.is_empty() {
        let (rest, (kind, count, numbers)) =
            segment(value, four_octet_as).map_err(|_| malformed("a segment is cut off"))?;
        if count == 0 {
            return Err(malformed("a segment of no AS numbers"));
        }
        let kind = match kind {
            1 => SegmentKind::Set,
            2 => SegmentKind::Sequence,
            3 => SegmentKind::ConfedSequence,
            4 => SegmentKind::ConfedSet,
            _ => return Err(malformed(&format!("segment kind {kind} is unknown"))),
        };
        let asns = numbers_of(numbers, four_octet_as);
        count_of_all = count_of_all.saturating_add(asns.len());
        if asns.iter().any(|asn| asn.is_reserved()) {
            return Err(malformed("AS 0 is reserved (RFC 7607)"));
        }
        path.segments.push(Segment { kind, asns });
        value = rest;
    }
    if count_of_all > MAX_AS_PATH {
        return Err(Fault {
            error: UpdateError::MalformedAsPath,
            ..Fault::too_many(count_of_all, "AS numbers", MAX_AS_PATH)
        });
    }
    Ok(path)
}

fn segment(input: &[u8], four_octet_as: bool) -> Parsed<'_, (u8, u8, &[u8])> {
    let (rest, kind) = octet(input)?;
    let (rest, count) = octet(rest)?;
    let (rest, numbers) = octets(usize::from(count).saturating_mul(number_len(four_octet_as)), rest)?;
    Ok((rest, (kind, count, numbers)))
}

fn number_len(four_octet_as: bool) -> usize {
    if four_octet_as { 4 } else { 2 }
}

fn numbers_of(numbers: &[u8], four_octet_as: bool) -> Vec<Asn> {
    if four_octet_as {
        let (numbers, _) = numbers.as_chunks::<4>();
        numbers.iter().map(|n| Asn(u32::from_be_bytes(*n))).collect()
    } else {
        let (numbers, _) = numbers.as_chunks::<2>();
        numbers
            .iter()
            .map(|n| Asn(u16::from_be_bytes(*n).into()))
            .collect()
    }
}

fn encode(outgoing: &Outgoing<'_>, out: &mut BytesMut) {
    let path = &outgoing.attributes.as_path;
    put_path(TRANSITIVE, CODE, &path.segments, outgoing.ctx.four_octet_as, out);
}

/// Appends an attribute of segments; a segment of more than 255 numbers becomes several.
pub(super) fn put_path(flags: u8, code: u8, segments: &[Segment], four_octet_as: bool, out: &mut BytesMut) {
    let number_len = number_len(four_octet_as);
    let pieces = || {
        segments
            .iter()
            .flat_map(|s| s.asns.chunks(MAX_SEGMENT).map(|asns| (s.kind, asns)))
    };
    let len = pieces()
        .map(|(_, asns)| asns.len().saturating_mul(number_len).saturating_add(2))
        .fold(0, usize::saturating_add);
    put_header(flags, code, len, out);
    for (kind, asns) in pieces() {
        out.put_u8(match kind {
            SegmentKind::Set => 1,
            SegmentKind::Sequence => 2,
            SegmentKind::ConfedSequence => 3,
            SegmentKind::ConfedSet => 4,
        });
        out.put_u8(u8::try_from(asns.len()).unwrap_or(u8::MAX));
        for asn in asns {
            if four_octet_as {
                out.put_u32(asn.0);
            } else {
                out.put_u16(asn.two_octets());
            }
        }
    }
}

fn display(attributes: &PathAttributes) -> Option<String> {
    Some(attributes.as_path.to_string())
}
