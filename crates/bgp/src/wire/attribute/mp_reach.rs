//! MP_REACH_NLRI (RFC 4760 §3, RFC 2545 §3): a family, a next hop and prefixes.
//!
//! The next hop stands before the prefixes, so a length that is not the family's leaves the prefixes unfindable, and
//! the session must end (RFC 7606 §7.11): switching off the family alone is allowed too, but would leave the peer
//! believing that we have its routes. A next hop of the right length that no packet can be sent to is
//! milder: the prefixes are known and are treated as withdrawn.

use std::net::{Ipv4Addr, Ipv6Addr};

use bytes::{BufMut, BytesMut};

use crate::types::{Family, NextHop, Partial};
use crate::wire::nlri::Nlri;
use crate::wire::read::{Parsed, exactly, octet, short_block, two_octets};
use crate::wire::{Context, Disposition, UpdateError, nlri};

use super::draft::Reach;
use super::{Draft, Fault, OPTIONAL, Row, display_nothing, encode_nothing, next_hop, put_long_header};

pub(in crate::wire) const CODE: u8 = 14;
/// The octets of the attribute besides the next hop and the prefixes: its header with a length of two octets, AFI,
/// SAFI, the length of the next hop, and a reserved octet.
const OVERHEAD: usize = 9;

pub(super) const ROW: Row = Row {
    code: CODE,
    name: "MP_REACH_NLRI",
    flags: OPTIONAL,
    partial: Partial::NONE,
    mandatory: false,
    internal_only: false,
    // RFC 7606 §5.3, §7.11
    on_error: Disposition::ResetSession,
    decode,
    encode: encode_nothing,
    display: display_nothing,
};

fn decode(value: &[u8], ctx: &Context, draft: &mut Draft) -> Result<(), Fault> {
    let (rest, (afi, safi)) = family(value).map_err(|_| malformed("shorter than its family"))?;
    let Some(family) = Family::from_wire(afi, safi).filter(|f| ctx.families.contains(*f)) else {
        draft.reach = Some(Reach {
            next_hop: None,
            nlri: Nlri::default(),
            empty: false,
        });
        return Err(not_agreed_on(afi, safi));
    };
    let (field, address) = next_hop_field(rest).map_err(|_| malformed("the next hop is cut off"))?;
    let next_hop = usable_next_hop(address, family, ctx.extended_next_hop)?;
    let nlri = nlri_field(field, family, ctx)?;
    let empty = nlri.prefixes.is_empty();
    draft.reach = Some(Reach {
        next_hop,
        nlri,
        empty,
    });
    if next_hop.is_none() && !empty {
        let fault = malformed("the next hop is not an address of a host");
        return Err(fault.with(Disposition::TreatAsWithdraw));
    }
    Ok(())
}

/// Reads AFI and SAFI, which begin both MP attributes.
pub(super) fn family(value: &[u8]) -> Parsed<'_, (u16, u8)> {
    let (rest, afi) = two_octets(value)?;
    let (rest, safi) = octet(rest)?;
    Ok((rest, (afi, safi)))
}

/// Reads the prefixes of either MP attribute.
pub(super) fn nlri_field(field: &[u8], family: Family, ctx: &Context) -> Result<Nlri, Fault> {
    let mut to = Nlri::default();
    let with_ids = ctx.path_ids.received.contains(family);
    let what = if with_ids {
        "a prefix is malformed (read with the path identifiers that were agreed on)"
    } else {
        "a prefix is malformed"
    };
    nlri::decode(field, family, with_ids, &mut to).map_err(|_| malformed(what))?;
    Ok(to)
}

fn next_hop_field(input: &[u8]) -> Parsed<'_, &[u8]> {
    let (rest, address) = short_block(input)?;
    let (rest, _reserved) = octet(rest)?;
    Ok((rest, address))
}

pub(super) fn malformed(what: &str) -> Fault {
    Fault::new(UpdateError::OptionalAttribute, what)
}

/// Prefixes of a family that was not agreed on are ignored (RFC 4760 §7).
pub(super) fn not_agreed_on(afi: u16, safi: u8) -> Fault {
    malformed(&format!("AFI {afi}, SAFI {safi} was not agreed on")).with(Disposition::DiscardAttribute)
}

/// The next hop; `None` when no packet can be sent to it. The length says the family of the address: IPv4 prefixes have an
/// IPv6 one only where that was agreed on (RFC 8950 §4). The second address of the longer IPv6 form counts only if it
/// is link-local (RFC 2545 §3); it counts alone if the first is no global one.
fn usable_next_hop(address: &[u8], family: Family, extended: bool) -> Result<Option<NextHop>, Fault> {
    let wrong = || malformed(&format!("a next hop of {} octets for {family}", address.len()));
    let by = match (family, address.len()) {
        (Family::Ipv4, 16 | 32) if extended => Family::Ipv6,
        (Family::Ipv4 | Family::Ipv6, _) => family,
    };
    match by {
        Family::Ipv4 => {
            let addr = Ipv4Addr::from(exactly::<4>(address).ok_or_else(wrong)?);
            Ok(next_hop::is_usable(addr).then_some(NextHop::V4(addr)))
        }
        Family::Ipv6 => {
            let (global, second) = address.split_first_chunk::<16>().ok_or_else(wrong)?;
            let global = Ipv6Addr::from(*global);
            let link_local = match second {
                [] => None,
                second => Some(Ipv6Addr::from(exactly::<16>(second).ok_or_else(wrong)?)),
            };
            let link_local = link_local.filter(Ipv6Addr::is_unicast_link_local);
            // Who has no global address says its link-local one twice, or `::` before it, or that one alone.
            let has_none = global.is_unspecified() || global.is_unicast_link_local();
            let (global, link_local) = match link_local.filter(|_| has_none) {
                Some(alone) => (alone, None),
                None => (global, link_local),
            };
            Ok(is_usable_v6(global).then_some(NextHop::V6 { global, link_local }))
        }
    }
}

fn is_usable_v6(addr: Ipv6Addr) -> bool {
    let unusable =
        addr.is_unspecified() || addr.is_loopback() || addr.is_multicast() || addr.to_ipv4_mapped().is_some();
    !unusable
}

/// The octets that the attribute takes besides its prefixes, with this next hop.
pub(in crate::wire) fn overhead(next_hop: NextHop) -> usize {
    OVERHEAD.saturating_add(usize::from(next_hop_len(next_hop)))
}

fn next_hop_len(next_hop: NextHop) -> u8 {
    match next_hop {
        NextHop::V4(_) => 4,
        NextHop::V6 { link_local: None, .. } => 16,
        NextHop::V6 {
            link_local: Some(_), ..
        } => 32,
    }
}

/// Appends the attribute up to its prefixes, which take `nlri_len` octets.
pub(in crate::wire) fn encode_head(family: Family, next_hop: NextHop, nlri_len: usize, out: &mut BytesMut) {
    let len = overhead(next_hop).saturating_sub(4).saturating_add(nlri_len);
    put_long_header(OPTIONAL, CODE, len, out);
    out.put_u16(family.afi());
    out.put_u8(family.safi());
    out.put_u8(next_hop_len(next_hop));
    match next_hop {
        NextHop::V4(addr) => out.put_slice(&addr.octets()),
        NextHop::V6 { global, link_local } => {
            out.put_slice(&global.octets());
            if let Some(link_local) = link_local {
                out.put_slice(&link_local.octets());
            }
        }
    }
    out.put_u8(0);
}
