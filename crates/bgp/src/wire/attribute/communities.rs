//! COMMUNITIES (RFC 1997): four octets each, at least one, kept in the order received.

use bytes::{BufMut, BytesMut};

use crate::types::{Community, Partial, PathAttributes};
use crate::wire::limits::MAX_COMMUNITIES;
use crate::wire::{Context, Disposition};

use super::{Draft, Fault, OPTIONAL, Outgoing, Row, TRANSITIVE, in_words, members, put_header};

const CODE: u8 = 8;

pub(super) const ROW: Row = Row {
    code: CODE,
    name: "COMMUNITIES",
    flags: OPTIONAL | TRANSITIVE,
    partial: Partial::COMMUNITIES,
    mandatory: false,
    internal_only: false,
    // RFC 7606 §7.8
    on_error: Disposition::TreatAsWithdraw,
    decode,
    encode,
    display,
};

fn decode(value: &[u8], _: &Context, draft: &mut Draft) -> Result<(), Fault> {
    let communities = members::<4>(value, "communities", MAX_COMMUNITIES)?;
    draft.attributes.communities = communities
        .iter()
        .map(|octets| Community(u32::from_be_bytes(*octets)))
        .collect();
    Ok(())
}

fn encode(outgoing: &Outgoing<'_>, out: &mut BytesMut) {
    let communities = &outgoing.attributes.communities;
    if communities.is_empty() {
        return;
    }
    let flags = OPTIONAL | TRANSITIVE | outgoing.partial(Partial::COMMUNITIES);
    put_header(flags, CODE, communities.len().saturating_mul(4), out);
    for community in communities {
        out.put_u32(community.0);
    }
}

fn display(attributes: &PathAttributes) -> Option<String> {
    in_words(&attributes.communities)
}
