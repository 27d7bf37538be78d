//! CLUSTER_LIST (RFC 4456 §8): the clusters through which a route was reflected, the last one first. Like ORIGINATOR_ID, it stays
//! inside the AS (RFC 7606 §7.10).

use bytes::{BufMut, BytesMut};

use crate::types::{Partial, PathAttributes, RouterId};
use crate::wire::limits::MAX_CLUSTER_LIST;
use crate::wire::{Context, Disposition};

use super::{Draft, Fault, OPTIONAL, Outgoing, Row, in_words, members, put_header};

const CODE: u8 = 10;

pub(super) const ROW: Row = Row {
    code: CODE,
    name: "CLUSTER_LIST",
    flags: OPTIONAL,
    partial: Partial::NONE,
    mandatory: false,
    internal_only: true,
    // RFC 7606 §7.10
    on_error: Disposition::TreatAsWithdraw,
    decode,
    encode,
    display,
};

fn decode(value: &[u8], _: &Context, draft: &mut Draft) -> Result<(), Fault> {
    let clusters = members::<4>(value, "clusters", MAX_CLUSTER_LIST)?;
    draft.attributes.cluster_list = clusters
        .iter()
        .map(|octets| RouterId(u32::from_be_bytes(*octets)))
        .collect();
    Ok(())
}

fn encode(outgoing: &Outgoing<'_>, out: &mut BytesMut) {
    let clusters = &outgoing.attributes.cluster_list;
    if clusters.is_empty() || !outgoing.ctx.internal {
        return;
    }
    put_header(OPTIONAL, CODE, clusters.len().saturating_mul(4), out);
    for cluster in clusters {
        out.put_u32(cluster.0);
    }
}

fn display(attributes: &PathAttributes) -> Option<String> {
    in_words(&attributes.cluster_list)
}
