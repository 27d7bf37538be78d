//! NEXT_HOP (RFC 4271 §5.1.3): the IPv4 address for the prefixes of the NLRI field.
//!
//! Without prefixes in that field the attribute means nothing and is ignored, whatever it holds (RFC 4760 §3).

use std::net::Ipv4Addr;

use bytes::BytesMut;

use crate::types::{NextHop, Partial, PathAttributes};
use crate::wire::read::exactly;
use crate::wire::{Context, Disposition, UpdateError};

use super::{Draft, Fault, Outgoing, Row, TRANSITIVE, put};

pub(in crate::wire) const CODE: u8 = 3;

pub(super) const ROW: Row = Row {
    code: CODE,
    name: "NEXT_HOP",
    flags: TRANSITIVE,
    partial: Partial::NONE,
    mandatory: false,
    internal_only: false,
    // RFC 7606 §7.3
    on_error: Disposition::TreatAsWithdraw,
    decode,
    encode,
    display,
};

fn decode(value: &[u8], _: &Context, draft: &mut Draft) -> Result<(), Fault> {
    match decode_addr(value) {
        Ok(addr) => draft.next_hop = Some(addr),
        Err(fault) if draft.has_nlri => return Err(fault),
        Err(fault) => return Err(fault.with(Disposition::DiscardAttribute)),
    }
    Ok(())
}

fn decode_addr(value: &[u8]) -> Result<Ipv4Addr, Fault> {
    let octets: [u8; 4] = exactly(value).ok_or_else(|| Fault::length(value.len(), "4"))?;
    let addr = Ipv4Addr::from(octets);
    if !is_usable(addr) {
        let what = format!("{addr} is not an address of a host");
        return Err(Fault::new(UpdateError::InvalidNextHop, what));
    }
    Ok(addr)
}

/// Whether a packet can be sent to this address: it is not of 0/8, 127/8 or 224/4, and not the broadcast address.
pub(super) fn is_usable(addr: Ipv4Addr) -> bool {
    let [first, ..] = addr.octets();
    first != 0 && !addr.is_loopback() && !addr.is_multicast() && !addr.is_broadcast()
}

fn encode(outgoing: &Outgoing<'_>, out: &mut BytesMut) {
    if let Some(NextHop::V4(addr)) = outgoing.attributes.next_hop {
        put(TRANSITIVE, CODE, &addr.octets(), out);
    }
}

fn display(attributes: &PathAttributes) -> Option<String> {
    match attributes.next_hop? {
        NextHop::V6 {
            global,
            link_local: Some(link_local),
        } => Some(format!("{global} ({link_local})")),
        next_hop @ (NextHop::V4(_) | NextHop::V6 { link_local: None, .. }) => {
            Some(next_hop.addr().to_string())
        }
    }
}
