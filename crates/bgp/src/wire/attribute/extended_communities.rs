//! EXTENDED COMMUNITIES (RFC 4360): eight octets each, at least one, kept in the order received. Types that nobody here knows
//! are no error (RFC 7606 §7.14). Those that are not transitive go to peers of our own AS only (RFC 4360 §6).

use bytes::{BufMut, BytesMut};

use crate::types::{ExtendedCommunity, Partial, PathAttributes};
use crate::wire::limits::MAX_COMMUNITIES;
use crate::wire::{Context, Disposition};

use super::{Draft, Fault, OPTIONAL, Outgoing, Row, TRANSITIVE, in_words, members, put_header};

const CODE: u8 = 16;

pub(super) const ROW: Row = Row {
    code: CODE,
    name: "EXTENDED_COMMUNITIES",
    flags: OPTIONAL | TRANSITIVE,
    partial: Partial::EXTENDED_COMMUNITIES,
    mandatory: false,
    internal_only: false,
    // RFC 7606 §7.14
    on_error: Disposition::TreatAsWithdraw,
    decode,
    encode,
    display,
};

fn decode(value: &[u8], _: &Context, draft: &mut Draft) -> Result<(), Fault> {
    let communities = members::<8>(value, "communities", MAX_COMMUNITIES)?;
    draft.attributes.extended_communities = communities
        .iter()
        .map(|octets| ExtendedCommunity(u64::from_be_bytes(*octets)))
        .collect();
    Ok(())
}

fn encode(outgoing: &Outgoing<'_>, out: &mut BytesMut) {
    let internal = outgoing.ctx.internal;
    let all = &outgoing.attributes.extended_communities;
    let sent = || all.iter().filter(|c| internal || c.is_transitive());
    let count = sent().count();
    if count == 0 {
        return;
    }
    let flags = OPTIONAL | TRANSITIVE | outgoing.partial(Partial::EXTENDED_COMMUNITIES);
    put_header(flags, CODE, count.saturating_mul(8), out);
    for community in sent() {
        out.put_u64(community.0);
    }
}

fn display(attributes: &PathAttributes) -> Option<String> {
    in_words(&attributes.extended_communities)
}
