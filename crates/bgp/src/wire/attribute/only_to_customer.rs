//! ONLY_TO_CUSTOMER (RFC 9234 §5): the AS that said that the route goes to customers only from here on. What follows from it
//! where the neighbour's role is known is in `rib` (`import`, `export`); elsewhere it is passed on unchanged.

use bytes::BytesMut;

use crate::types::{Asn, Partial, PathAttributes};
use crate::wire::read::exactly;
use crate::wire::{Context, Disposition};

use super::{Draft, Fault, OPTIONAL, Outgoing, Row, TRANSITIVE, put};

const CODE: u8 = 35;

pub(super) const ROW: Row = Row {
    code: CODE,
    name: "ONLY_TO_CUSTOMER",
    flags: OPTIONAL | TRANSITIVE,
    partial: Partial::ONLY_TO_CUSTOMER,
    mandatory: false,
    internal_only: false,
    // RFC 9234 §5
    on_error: Disposition::TreatAsWithdraw,
    decode,
    encode,
    display,
};

fn decode(value: &[u8], _: &Context, draft: &mut Draft) -> Result<(), Fault> {
    let octets = exactly(value).ok_or_else(|| Fault::length(value.len(), "4"))?;
    draft.attributes.only_to_customer = Some(Asn(u32::from_be_bytes(octets)));
    Ok(())
}

fn encode(outgoing: &Outgoing<'_>, out: &mut BytesMut) {
    if let Some(asn) = outgoing.attributes.only_to_customer {
        let flags = OPTIONAL | TRANSITIVE | outgoing.partial(Partial::ONLY_TO_CUSTOMER);
        put(flags, CODE, &asn.0.to_be_bytes(), out);
    }
}

fn display(attributes: &PathAttributes) -> Option<String> {
    attributes.only_to_customer.map(|asn| format!("AS {asn}"))
}
