//! AS4_AGGREGATOR (RFC 6793 §3): AGGREGATOR in four-octet numbers, carried past speakers that know two octets only.

use bytes::{BufMut, BytesMut};

use crate::types::{Aggregator, Partial};
use crate::wire::{Context, Disposition, UpdateError};

use super::aggregator::decode_value;
use super::{Draft, Fault, OPTIONAL, Outgoing, Row, TRANSITIVE, display_nothing, put_header};

const CODE: u8 = 18;

pub(super) const ROW: Row = Row {
    code: CODE,
    name: "AS4_AGGREGATOR",
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
    draft.as4_aggregator = Some(decode_value(value, true)?);
    Ok(())
}

fn encode(outgoing: &Outgoing<'_>, out: &mut BytesMut) {
    let Some(Aggregator { asn, id }) = outgoing.attributes.aggregator else {
        return;
    };
    if outgoing.ctx.four_octet_as || u16::try_from(asn.0).is_ok() {
        return;
    }
    put_header(OPTIONAL | TRANSITIVE, CODE, 8, out);
    out.put_u32(asn.0);
    out.put_u32(id.0);
}
