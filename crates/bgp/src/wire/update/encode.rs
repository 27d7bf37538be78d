//! From routes to UPDATEs that are full (RFC 4271 §4.3, RFC 4760).
//!
//! A message holds prefixes that share their attributes, of one family and one direction: RFC 7606 §5.1 wants no
//! mixtures. Lengths stand before what they measure, so a message is measured first and then written once.

use bytes::{BufMut, BytesMut};

use crate::types::{Family, NextHop, PathAttributes};

use super::super::attribute::{self, mp_reach, mp_unreach};
use super::super::frame::{HEADER_LEN, MessageKind, encode_header, length_field};
use super::super::{Context, Destination, EncodeError, nlri};

/// The octets of an UPDATE with nothing in it: header and two lengths.
const EMPTY_LEN: usize = HEADER_LEN.saturating_add(4);

/// Appends one UPDATE that announces as many of `prefixes` (all of one family) as fit into a message to this peer;
/// how many that were. IPv4 prefixes go into the NLRI field, others, and those with an IPv6 next hop (RFC 8950), into
/// MP_REACH_NLRI, which is then the first attribute. The attributes are written as they are, LOCAL_PREF to internal
/// peers only; that an internal peer must be told one is the caller's to see to, and so is that path identifiers stand where
/// the context says that they were agreed on.
///
/// # Errors
/// Nothing is written when not even one prefix fits, or when the next hop is missing or of another family.
pub fn encode_reach<D: Destination>(
    prefixes: &[D],
    attributes: &PathAttributes,
    ctx: &Context,
    out: &mut BytesMut,
) -> Result<usize, EncodeError> {
    let Some(first) = prefixes.first() else {
        return Ok(0);
    };
    let family = first.prefix().family();
    let next_hop = attributes.next_hop.ok_or(EncodeError::NoNextHop)?;
    let mp_overhead = match (family, next_hop) {
        (Family::Ipv4, NextHop::V4(_)) => 0,
        (Family::Ipv6, NextHop::V6 { .. }) => mp_reach::overhead(next_hop),
        (Family::Ipv4, NextHop::V6 { .. }) if ctx.extended_next_hop => mp_reach::overhead(next_hop),
        (Family::Ipv4, NextHop::V6 { .. }) | (Family::Ipv6, NextHop::V4(_)) => {
            return Err(EncodeError::NextHopFamily);
        }
    };
    let mut list = BytesMut::with_capacity(256);
    attribute::encode(attributes, ctx, &mut list);
    let fixed = EMPTY_LEN.saturating_add(mp_overhead).saturating_add(list.len());
    let max = ctx.max_len();
    let (count, nlri_len) = nlri::fit(prefixes, family, max.saturating_sub(fixed));
    if count == 0 {
        let (_, one) = nlri::fit(prefixes.get(..1).unwrap_or(prefixes), family, usize::MAX);
        let len = fixed.saturating_add(one);
        return Err(EncodeError::TooLarge { len, max });
    }
    let prefixes = prefixes.get(..count).unwrap_or(prefixes);
    encode_header(MessageKind::Update, fixed.saturating_add(nlri_len), out);
    out.put_u16(0);
    if mp_overhead == 0 {
        out.put_u16(length_field(list.len()));
        out.put_slice(&list);
        nlri::encode(prefixes, out);
    } else {
        let attributes_len = list.len().saturating_add(mp_overhead).saturating_add(nlri_len);
        out.put_u16(length_field(attributes_len));
        mp_reach::encode_head(family, next_hop, nlri_len, out);
        nlri::encode(prefixes, out);
        out.put_slice(&list);
    }
    Ok(count)
}

/// Appends one UPDATE that takes back as many of `prefixes` (all of one family) as fit into a message to this peer; how
/// many that were. Nothing is written for no prefixes.
pub fn encode_unreach<D: Destination>(prefixes: &[D], ctx: &Context, out: &mut BytesMut) -> usize {
    let Some(first) = prefixes.first() else {
        return 0;
    };
    let family = first.prefix().family();
    let mp_overhead = match family {
        Family::Ipv4 => 0,
        Family::Ipv6 => mp_unreach::OVERHEAD,
    };
    let fixed = EMPTY_LEN.saturating_add(mp_overhead);
    let (count, nlri_len) = nlri::fit(prefixes, family, ctx.max_len().saturating_sub(fixed));
    encode_header(MessageKind::Update, fixed.saturating_add(nlri_len), out);
    match family {
        Family::Ipv4 => {
            out.put_u16(length_field(nlri_len));
            nlri::encode(prefixes.get(..count).unwrap_or(prefixes), out);
            out.put_u16(0);
        }
        Family::Ipv6 => {
            out.put_u16(0);
            out.put_u16(length_field(mp_overhead.saturating_add(nlri_len)));
            mp_unreach::encode_head(family, nlri_len, out);
            nlri::encode(prefixes.get(..count).unwrap_or(prefixes), out);
        }
    }
    count
}

/// Appends End-of-RIB (RFC 4724 §2): an empty UPDATE for IPv4, one with an empty MP_UNREACH_NLRI for others.
pub fn encode_end_of_rib(family: Family, _ctx: &Context, out: &mut BytesMut) {
    match family {
        Family::Ipv4 => {
            encode_header(MessageKind::Update, EMPTY_LEN, out);
            out.put_u32(0);
        }
        Family::Ipv6 => {
            encode_header(
                MessageKind::Update,
                EMPTY_LEN.saturating_add(mp_unreach::OVERHEAD),
                out,
            );
            out.put_u16(0);
            out.put_u16(length_field(mp_unreach::OVERHEAD));
            mp_unreach::encode_head(family, 0, out);
        }
    }
}
