//! AGGREGATOR (RFC 4271 §5.1.7): who formed an aggregate, as an AS number of two or four octets and an identifier.

use bytes::{BufMut, BytesMut};

use crate::types::{Aggregator, Asn, Partial, PathAttributes, RouterId};
use crate::wire::read::{Parsed, four_octets, two_octets};
use crate::wire::{Context, Disposition, UpdateError};

use super::{Draft, Fault, OPTIONAL, Outgoing, Row, TRANSITIVE, put_header};

const CODE: u8 = 7;

pub(super) const ROW: Row = Row {
    code: CODE,
    name: "AGGREGATOR",
    flags: OPTIONAL | TRANSITIVE,
    partial: Partial::AGGREGATOR,
    mandatory: false,
    internal_only: false,
    // RFC 7606 §7.7
    on_error: Disposition::DiscardAttribute,
    decode,
    encode,
    display,
};

fn decode(value: &[u8], ctx: &Context, draft: &mut Draft) -> Result<(), Fault> {
    draft.attributes.aggregator = Some(decode_value(value, ctx.four_octet_as)?);
    Ok(())
}

/// Reads the value of AGGREGATOR, or of AS4_AGGREGATOR, which is the same in four octets.
pub(super) fn decode_value(value: &[u8], four_octet_as: bool) -> Result<Aggregator, Fault> {
    let expected = if four_octet_as { "8" } else { "6" };
    let Ok(([], aggregator)) = parse(value, four_octet_as) else {
        return Err(Fault::length(value.len(), expected));
    };
    if aggregator.asn.is_reserved() {
        let what = "AS 0 is reserved (RFC 7607)";
        return Err(Fault::new(UpdateError::OptionalAttribute, what));
    }
    Ok(aggregator)
}

fn parse(value: &[u8], four_octet_as: bool) -> Parsed<'_, Aggregator> {
    let (rest, asn) = if four_octet_as {
        four_octets(value)?
    } else {
        let (rest, asn) = two_octets(value)?;
        (rest, asn.into())
    };
    let (rest, id) = four_octets(rest)?;
    let aggregator = Aggregator {
        asn: Asn(asn),
        id: RouterId(id),
    };
    Ok((rest, aggregator))
}

fn encode(outgoing: &Outgoing<'_>, out: &mut BytesMut) {
    let Some(Aggregator { asn, id }) = outgoing.attributes.aggregator else {
        return;
    };
    let flags = OPTIONAL | TRANSITIVE | outgoing.partial(Partial::AGGREGATOR);
    if outgoing.ctx.four_octet_as {
        put_header(flags, CODE, 8, out);
        out.put_u32(asn.0);
    } else {
        put_header(flags, CODE, 6, out);
        out.put_u16(asn.two_octets());
    }
    out.put_u32(id.0);
}

fn display(attributes: &PathAttributes) -> Option<String> {
    attributes
        .aggregator
        .map(|Aggregator { asn, id }| format!("AS {asn}, {id}"))
}
