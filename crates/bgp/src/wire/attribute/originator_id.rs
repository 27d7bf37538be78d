//! ORIGINATOR_ID (RFC 4456 §8): the identifier of the router that brought the route into this AS, set by a route reflector. It
//! is nobody else's business: from other ASes it is dropped, to them it is not written (RFC 7606 §7.9).

use bytes::BytesMut;

use crate::types::{Partial, PathAttributes, RouterId};
use crate::wire::read::exactly;
use crate::wire::{Context, Disposition};

use super::{Draft, Fault, OPTIONAL, Outgoing, Row, put};

const CODE: u8 = 9;

pub(super) const ROW: Row = Row {
    code: CODE,
    name: "ORIGINATOR_ID",
    flags: OPTIONAL,
    partial: Partial::NONE,
    mandatory: false,
    internal_only: true,
    // RFC 7606 §7.9
    on_error: Disposition::TreatAsWithdraw,
    decode,
    encode,
    display,
};

fn decode(value: &[u8], _: &Context, draft: &mut Draft) -> Result<(), Fault> {
    let octets = exactly(value).ok_or_else(|| Fault::length(value.len(), "4"))?;
    draft.attributes.originator_id = Some(RouterId(u32::from_be_bytes(octets)));
    Ok(())
}

fn encode(outgoing: &Outgoing<'_>, out: &mut BytesMut) {
    if let Some(id) = outgoing
        .attributes
        .originator_id
        .filter(|_| outgoing.ctx.internal)
    {
        put(OPTIONAL, CODE, &id.0.to_be_bytes(), out);
    }
}

fn display(attributes: &PathAttributes) -> Option<String> {
    attributes.originator_id.map(|id| id.to_string())
}
