//! MULTI_EXIT_DISC (RFC 4271 §5.1.4): which of several links into one AS that AS prefers; lower is better.

use bytes::BytesMut;

use crate::types::{Partial, PathAttributes};
use crate::wire::read::exactly;
use crate::wire::{Context, Disposition};

use super::{Draft, Fault, OPTIONAL, Outgoing, Row, put};

const CODE: u8 = 4;

pub(super) const ROW: Row = Row {
    code: CODE,
    name: "MULTI_EXIT_DISC",
    flags: OPTIONAL,
    partial: Partial::NONE,
    mandatory: false,
    internal_only: false,
    // RFC 7606 §7.4
    on_error: Disposition::TreatAsWithdraw,
    decode,
    encode,
    display,
};

fn decode(value: &[u8], _: &Context, draft: &mut Draft) -> Result<(), Fault> {
    let octets = exactly(value).ok_or_else(|| Fault::length(value.len(), "4"))?;
    draft.attributes.med = Some(u32::from_be_bytes(octets));
    Ok(())
}

fn encode(outgoing: &Outgoing<'_>, out: &mut BytesMut) {
    if let Some(value) = outgoing.attributes.med {
        put(OPTIONAL, CODE, &value.to_be_bytes(), out);
    }
}

fn display(attributes: &PathAttributes) -> Option<String> {
    attributes.med.map(|value| value.to_string())
}
