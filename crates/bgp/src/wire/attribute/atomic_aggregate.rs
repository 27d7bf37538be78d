//! ATOMIC_AGGREGATE (RFC 4271 §5.1.6): a mark without a value.

use bytes::BytesMut;

use crate::types::{Partial, PathAttributes};
use crate::wire::{Context, Disposition};

use super::{Draft, Fault, Outgoing, Row, TRANSITIVE, put};

const CODE: u8 = 6;

pub(super) const ROW: Row = Row {
    code: CODE,
    name: "ATOMIC_AGGREGATE",
    flags: TRANSITIVE,
    partial: Partial::NONE,
    mandatory: false,
    internal_only: false,
    // RFC 7606 §7.6
    on_error: Disposition::DiscardAttribute,
    decode,
    encode,
    display,
};

fn decode(value: &[u8], _: &Context, draft: &mut Draft) -> Result<(), Fault> {
    if !value.is_empty() {
        return Err(Fault::length(value.len(), "0"));
    }
    draft.attributes.atomic_aggregate = true;
    Ok(())
}

fn encode(outgoing: &Outgoing<'_>, out: &mut BytesMut) {
    if outgoing.attributes.atomic_aggregate {
        put(TRANSITIVE, CODE, &[], out);
    }
}

fn display(attributes: &PathAttributes) -> Option<String> {
    attributes.atomic_aggregate.then(String::new)
}
