//! ORIGIN (RFC 4271 §5.1.1): where the route comes from, in one octet.

use bytes::BytesMut;

use crate::types::{Origin, Partial, PathAttributes};
use crate::wire::read::exactly;
use crate::wire::{Context, Disposition, UpdateError};

use super::{Draft, Fault, Outgoing, Row, TRANSITIVE, put};

const CODE: u8 = 1;

pub(super) const ROW: Row = Row {
    code: CODE,
    name: "ORIGIN",
    flags: TRANSITIVE,
    partial: Partial::NONE,
    mandatory: true,
    internal_only: false,
    // RFC 7606 §7.1
    on_error: Disposition::TreatAsWithdraw,
    decode,
    encode,
    display,
};

fn decode(value: &[u8], _: &Context, draft: &mut Draft) -> Result<(), Fault> {
    let [origin] = exactly(value).ok_or_else(|| Fault::length(value.len(), "1"))?;
    draft.attributes.origin = match origin {
        0 => Origin::Igp,
        1 => Origin::Egp,
        2 => Origin::Incomplete,
        _ => {
            let what = format!("value {origin} is not 0, 1 or 2");
            return Err(Fault::new(UpdateError::InvalidOrigin, what));
        }
    };
    Ok(())
}

fn encode(outgoing: &Outgoing<'_>, out: &mut BytesMut) {
    let origin = match outgoing.attributes.origin {
        Origin::Igp => 0,
        Origin::Egp => 1,
        Origin::Incomplete => 2,
    };
    put(TRANSITIVE, CODE, &[origin], out);
}

fn display(attributes: &PathAttributes) -> Option<String> {
    let name = match attributes.origin {
        Origin::Igp => "IGP",
        Origin::Egp => "EGP",
        Origin::Incomplete => "INCOMPLETE",
    };
    Some(name.to_owned())
}
