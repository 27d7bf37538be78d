//! LARGE_COMMUNITY (RFC 8092): twelve octets each, at least one, kept in the order received; one that stands twice is kept
//! once (§3). The Global Administrator may be any number, 0 too (§2).

use std::collections::BTreeSet;

use bytes::{BufMut, BytesMut};

use crate::types::{LargeCommunity, Partial, PathAttributes};
use crate::wire::limits::MAX_COMMUNITIES;
use crate::wire::{Context, Disposition};

use super::{Draft, Fault, OPTIONAL, Outgoing, Row, TRANSITIVE, in_words, members, put_header};

const CODE: u8 = 32;

pub(super) const ROW: Row = Row {
    code: CODE,
    name: "LARGE_COMMUNITY",
    flags: OPTIONAL | TRANSITIVE,
    partial: Partial::LARGE_COMMUNITIES,
    mandatory: false,
    internal_only: false,
    // RFC 8092 §6
    on_error: Disposition::TreatAsWithdraw,
    decode,
    encode,
    display,
};

fn decode(value: &[u8], _: &Context, draft: &mut Draft) -> Result<(), Fault> {
    let communities = members::<12>(value, "communities", MAX_COMMUNITIES)?;
    let mut seen = BTreeSet::new();
    draft.attributes.large_communities = communities
        .iter()
        .map(community)
        .filter(|community| seen.insert(*community))
        .collect();
    Ok(())
}

fn community(octets: &[u8; 12]) -> LargeCommunity {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *octets;
    LargeCommunity {
        global: u32::from_be_bytes([a, b, c, d]),
        local1: u32::from_be_bytes([e, f, g, h]),
        local2: u32::from_be_bytes([i, j, k, l]),
    }
}

fn encode(outgoing: &Outgoing<'_>, out: &mut BytesMut) {
    let communities = &outgoing.attributes.large_communities;
    if communities.is_empty() {
        return;
    }
    let flags = OPTIONAL | TRANSITIVE | outgoing.partial(Partial::LARGE_COMMUNITIES);
    put_header(flags, CODE, communities.len().saturating_mul(12), out);
    for community in communities {
        out.put_u32(community.global);
        out.put_u32(community.local1);
        out.put_u32(community.local2);
    }
}

fn display(attributes: &PathAttributes) -> Option<String> {
    in_words(&attributes.large_communities)
}
