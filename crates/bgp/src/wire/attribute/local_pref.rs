//! LOCAL_PREF (RFC 4271 §5.1.5): the preference inside an AS; dropped when another AS sends it (RFC 7606 §7.5), and never sent there.

use bytes::BytesMut;

use crate::types::{Partial, PathAttributes};
use crate::wire::read::exactly;
use crate::wire::{Context, Disposition};

use super::{Draft, Fault, Outgoing, Row, TRANSITIVE, put};

const CODE: u8 = 5;

pub(super) const ROW: Row = Row {
    code: CODE,
    name: "LOCAL_PREF",
    flags: TRANSITIVE,
    partial: Partial::NONE,
    mandatory: false,
    internal_only: true,
    // RFC 7606 §7.5
    on_error: Disposition::TreatAsWithdraw,
    decode,
    encode,
    display,
};

fn decode(value: &[u8], _: &Context, draft: &mut Draft) -> Result<(), Fault> {
    let octets = exactly(value).ok_or_else(|| Fault::length(value.len(), "4"))?;
    draft.attributes.local_pref = Some(u32::from_be_bytes(octets));
    Ok(())
}

fn encode(outgoing: &Outgoing<'_>, out: &mut BytesMut) {
    if let Some(value) = outgoing.attributes.local_pref.filter(|_| outgoing.ctx.internal) {
        put(TRANSITIVE, CODE, &value.to_be_bytes(), out);
    }
}

fn display(attributes: &PathAttributes) -> Option<String> {
    attributes.local_pref.map(|value| value.to_string())
}
