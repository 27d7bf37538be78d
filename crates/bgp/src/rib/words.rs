//! Path attributes packed into words, the form in which the RIB keeps them.
//!
//! A decoded [`PathAttributes`] is some 200 octets and up to five allocations; packed, a usual set is one
//! allocation of about 40 octets, is compared by comparing words and is hashed in a few multiplications. The
//! decision process reads what it compares straight from the words. The order is: a head word of flags, the
//! next hop, then what the flags say is there (MED, LOCAL_PREF, AGGREGATOR), then the AS path as a count of
//! segments and each as `kind << 16 | length` with its numbers, a count of communities and the communities. What few
//! routes have follows, and costs the others nothing: where the head word says so, extended and large communities with
//! their counts, ORIGINATOR_ID, CLUSTER_LIST with its count, ONLY_TO_CUSTOMER; then
//! unknown attributes as `flags << 8 | code`, length, value in words. Packing is injective: equal words mean
//! equal attributes. The words never leave this process.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::types::{
    Aggregator, AsPath, Asn, Community, ExtendedCommunity, LargeCommunity, NextHop, Origin, Partial,
    PathAttributes, RouterId, Segment, SegmentKind, UnknownAttribute,
};

const ORIGIN: u32 = 0b11;
const MED: u32 = 1 << 2;
const LOCAL_PREF: u32 = 1 << 3;
const ATOMIC: u32 = 1 << 4;
const AGGREGATOR: u32 = 1 << 5;
const V4: u32 = 1 << 6;
const V6: u32 = 1 << 7;
const LINK_LOCAL: u32 = 1 << 8;
const EXTENDED: u32 = 1 << 9;
const LARGE: u32 = 1 << 10;
const ORIGINATOR: u32 = 1 << 11;
const CLUSTERS: u32 = 1 << 12;
const CUSTOMER: u32 = 1 << 13;
/// LLGR_STALE is among the communities; said here too, because the decision asks it of every path.
const LLGR_STALE: u32 = 1 << 14;
/// NO_LLGR is among the communities.
const NO_LLGR: u32 = 1 << 15;
/// Where the octet of Partial bits stands.
const PARTIAL_SHIFT: u32 = 16;

/// Appends `attributes` with this next hop and LOCAL_PREF in place of their own.
pub(super) fn pack(
    attributes: &PathAttributes,
    next_hop: Option<NextHop>,
    local_pref: Option<u32>,
    out: &mut Vec<u32>,
) {
    let flag = |is: bool, bit: u32| if is { bit } else { 0 };
    let mut head = match attributes.origin {
        Origin::Igp => 0,
        Origin::Egp => 1,
        Origin::Incomplete => 2,
    };
    head |= flag(attributes.med.is_some(), MED) | flag(local_pref.is_some(), LOCAL_PREF);
    head |= flag(attributes.atomic_aggregate, ATOMIC) | flag(attributes.aggregator.is_some(), AGGREGATOR);
    head |= rare(attributes);
    let at = out.len();
    out.push(head);
    match next_hop {
        None => {}
        Some(NextHop::V4(addr)) => {
            head |= V4;
            out.push(addr.to_bits());
        }
        Some(NextHop::V6 { global, link_local }) => {
            head |= V6;
            pack_v6(global, out);
            if let Some(link_local) = link_local {
                head |= LINK_LOCAL;
                pack_v6(link_local, out);
            }
        }
    }
    out[at] = head;
    out.extend(attributes.med);
    out.extend(local_pref);
    out.extend(attributes.aggregator.iter().flat_map(|a| [a.asn.0, a.id.0]));
    out.push(count(attributes.as_path.segments.len()));
    for segment in &attributes.as_path.segments {
        let kind = match segment.kind {
            SegmentKind::Set => 1,
            SegmentKind::Sequence => 2,
            SegmentKind::ConfedSequence => 3,
            SegmentKind::ConfedSet => 4,
        };
        out.push((kind << 16) | count(segment.asns.len()));
        out.extend(segment.asns.iter().map(|a| a.0));
    }
    out.push(count(attributes.communities.len()));
    out.extend(attributes.communities.iter().map(|c| c.0));
    pack_rare(attributes, out);
    for unknown in &attributes.unknown {
        out.push((u32::from(unknown.flags) << 8) | u32::from(unknown.code));
        out.push(count(unknown.value.len()));
        for chunk in unknown.value.chunks(4) {
            let mut word = [0; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            out.push(u32::from_be_bytes(word));
        }
    }
}

/// The flags of what few routes have.
fn rare(a: &PathAttributes) -> u32 {
    let flag = |is: bool, bit: u32| if is { bit } else { 0 };
    flag(!a.extended_communities.is_empty(), EXTENDED)
        | flag(!a.large_communities.is_empty(), LARGE)
        | flag(a.originator_id.is_some(), ORIGINATOR)
        | flag(!a.cluster_list.is_empty(), CLUSTERS)
        | flag(a.only_to_customer.is_some(), CUSTOMER)
        | flag(a.communities.contains(&Community::LLGR_STALE), LLGR_STALE)
        | flag(a.communities.contains(&Community::NO_LLGR), NO_LLGR)
        | u32::from(a.partial.0) << PARTIAL_SHIFT
}

fn pack_rare(a: &PathAttributes, out: &mut Vec<u32>) {
    if !a.extended_communities.is_empty() {
        out.push(count(a.extended_communities.len()));
        for community in &a.extended_communities {
            let [b0, b1, b2, b3, b4, b5, b6, b7] = community.0.to_be_bytes();
            out.extend([[b0, b1, b2, b3], [b4, b5, b6, b7]].map(u32::from_be_bytes));
        }
    }
    if !a.large_communities.is_empty() {
        out.push(count(a.large_communities.len()));
        out.extend(
            a.large_communities
                .iter()
                .flat_map(|c| [c.global, c.local1, c.local2]),
        );
    }
    out.extend(a.originator_id.map(|id| id.0));
    if !a.cluster_list.is_empty() {
        out.push(count(a.cluster_list.len()));
        out.extend(a.cluster_list.iter().map(|id| id.0));
    }
    out.extend(a.only_to_customer.map(|asn| asn.0));
}

/// Lengths fit: a BGP message has at most 65,535 octets.
fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

fn pack_v6(addr: Ipv6Addr, out: &mut Vec<u32>) {
    out.extend(
        addr.octets()
            .chunks_exact(4)
            .map(|c| c.iter().fold(0, |acc, b| (acc << 8) | u32::from(*b))),
    );
}

/// Reads packed words in order.
struct Reader<'a>(&'a [u32]);

impl<'a> Reader<'a> {
    fn word(&mut self) -> u32 {
        self.slice(1).first().copied().unwrap_or(0)
    }

    fn slice(&mut self, len: usize) -> &'a [u32] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn counted(&mut self) -> &'a [u32] {
        let len = self.word();
        self.slice(size(len))
    }

    fn v6(&mut self) -> Ipv6Addr {
        let bits = self
            .slice(4)
            .iter()
            .fold(0u128, |acc, w| (acc << 32) | u128::from(*w));
        Ipv6Addr::from_bits(bits)
    }

    fn next_hop(&mut self, head: u32) -> Option<NextHop> {
        if head & V4 != 0 {
            return Some(NextHop::V4(Ipv4Addr::from_bits(self.word())));
        }
        (head & V6 != 0).then(|| NextHop::V6 {
            global: self.v6(),
            link_local: (head & LINK_LOCAL != 0).then(|| self.v6()),
        })
    }

    fn extended(&mut self, head: u32) -> Vec<ExtendedCommunity> {
        let len = if head & EXTENDED == 0 {
            0
        } else {
            size(self.word())
        };
        let (pairs, _) = self.slice(len.saturating_mul(2)).as_chunks::<2>();
        let join = |[high, low]: &[u32; 2]| ExtendedCommunity((u64::from(*high) << 32) | u64::from(*low));
        pairs.iter().map(join).collect()
    }

    fn large(&mut self, head: u32) -> Vec<LargeCommunity> {
        let len = if head & LARGE == 0 { 0 } else { size(self.word()) };
        let (triples, _) = self.slice(len.saturating_mul(3)).as_chunks::<3>();
        let join = |[global, local1, local2]: &[u32; 3]| LargeCommunity {
            global: *global,
            local1: *local1,
            local2: *local2,
        };
        triples.iter().map(join).collect()
    }

    fn clusters(&mut self, head: u32) -> &'a [u32] {
        if head & CLUSTERS == 0 { &[] } else { self.counted() }
    }

    fn segment(&mut self) -> (SegmentKind, &'a [u32]) {
        let word = self.word();
        let kind = match word >> 16 {
            1 => SegmentKind::Set,
            3 => SegmentKind::ConfedSequence,
            4 => SegmentKind::ConfedSet,
            _ => SegmentKind::Sequence,
        };
        (kind, self.slice(size(word & 0xffff)))
    }
}

fn size(word: u32) -> usize {
    usize::try_from(word).unwrap_or(usize::MAX)
}

fn origin(head: u32) -> Origin {
    match head & ORIGIN {
        0 => Origin::Igp,
        1 => Origin::Egp,
        _ => Origin::Incomplete,
    }
}

/// Packed attributes, decoded again.
pub(super) fn unpack(words: &[u32]) -> PathAttributes {
    let mut r = Reader(words);
    let head = r.word();
    let next_hop = r.next_hop(head);
    let med = (head & MED != 0).then(|| r.word());
    let local_pref = (head & LOCAL_PREF != 0).then(|| r.word());
    let aggregator = (head & AGGREGATOR != 0).then(|| Aggregator {
        asn: Asn(r.word()),
        id: RouterId(r.word()),
    });
    let segments = (0..r.word())
        .map(|_| {
            let (kind, asns) = r.segment();
            let asns = asns.iter().copied().map(Asn).collect();
            Segment { kind, asns }
        })
        .collect();
    let communities = r.counted().iter().copied().map(Community).collect();
    let extended_communities = r.extended(head);
    let large_communities = r.large(head);
    let originator_id = (head & ORIGINATOR != 0).then(|| RouterId(r.word()));
    let cluster_list = r.clusters(head).iter().copied().map(RouterId).collect();
    let only_to_customer = (head & CUSTOMER != 0).then(|| Asn(r.word()));
    let mut unknown = Vec::new();
    while !r.0.is_empty() {
        let [.., flags, code] = r.word().to_be_bytes();
        let len = size(r.word());
        let mut value: Vec<u8> = r
            .slice(len.div_ceil(4))
            .iter()
            .flat_map(|w| w.to_be_bytes())
            .collect();
        value.truncate(len);
        unknown.push(UnknownAttribute {
            flags,
            code,
            value: value.into(),
        });
    }
    PathAttributes {
        origin: origin(head),
        as_path: AsPath { segments },
        next_hop,
        med,
        local_pref,
        atomic_aggregate: head & ATOMIC != 0,
        aggregator,
        communities,
        extended_communities,
        large_communities,
        originator_id,
        cluster_list,
        only_to_customer,
        partial: Partial(head.to_be_bytes()[1]),
        unknown,
    }
}

/// What the decision process compares, read from packed attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts<'a> {
    pub(super) origin: Origin,
    pub(super) next_hop: Option<NextHop>,
    pub(super) med: u32,
    pub(super) local_pref: u32,
    /// The length that is compared: a set counts one, confederation segments none.
    pub(super) path_len: usize,
    /// It is a last resort for whoever passed it on, or for us (LLGR_STALE, RFC 9494).
    pub(super) long_lived: bool,
    /// The neighbouring AS; none for a path of our own AS.
    pub(super) neighbour: Option<Asn>,
    /// The whole path, packed: equal words mean equal paths.
    pub(super) path: &'a [u32],
}

/// The next hop alone.
pub(super) fn next_hop(words: &[u32]) -> Option<NextHop> {
    let mut r = Reader(words);
    let head = r.word();
    r.next_hop(head)
}

/// LOCAL_PREF is 100 and MED 0 where they are absent (RFC 4271 §9.1.2.2 c).
pub(super) fn facts(words: &[u32]) -> Facts<'_> {
    let mut r = Reader(words);
    let head = r.word();
    let next_hop = r.next_hop(head);
    let med = if head & MED != 0 { r.word() } else { 0 };
    let local_pref = if head & LOCAL_PREF != 0 { r.word() } else { 100 };
    if head & AGGREGATOR != 0 {
        r.slice(2);
    }
    let start = r.0;
    let (mut path_len, mut neighbour) = (0usize, None);
    for i in 0..r.word() {
        let (kind, asns) = r.segment();
        path_len += match kind {
            SegmentKind::Sequence => asns.len(),
            SegmentKind::Set => 1,
            SegmentKind::ConfedSequence | SegmentKind::ConfedSet => 0,
        };
        if i == 0 && kind == SegmentKind::Sequence {
            neighbour = asns.first().copied().map(Asn);
        }
    }
    Facts {
        origin: origin(head),
        next_hop,
        med,
        local_pref,
        path_len,
        long_lived: head & LLGR_STALE != 0,
        neighbour,
        path: &start[..start.len() - r.0.len()],
    }
}

/// Whether LLGR_STALE is on the route.
pub(super) fn is_long_lived(words: &[u32]) -> bool {
    words.first().is_some_and(|head| head & LLGR_STALE != 0)
}

/// Whether the route goes to customers only from here on (RFC 9234).
pub(super) fn is_only_to_customer(words: &[u32]) -> bool {
    words.first().is_some_and(|head| head & CUSTOMER != 0)
}

/// Whether NO_LLGR is on the route.
pub(super) fn forbids_long_lived(words: &[u32]) -> bool {
    words.first().is_some_and(|head| head & NO_LLGR != 0)
}

/// The head word, the communities, and a reader of what stands behind them.
fn communities(words: &[u32]) -> (u32, &[u32], Reader<'_>) {
    let mut r = Reader(words);
    let head = r.word();
    r.next_hop(head);
    for (bit, len) in [(MED, 1), (LOCAL_PREF, 1), (AGGREGATOR, 2)] {
        if head & bit != 0 {
            r.slice(len);
        }
    }
    for _ in 0..r.word() {
        r.segment();
    }
    (head, r.counted(), r)
}

/// ORIGINATOR_ID and the length of CLUSTER_LIST, which the last steps of the decision look at (RFC 4456 §9).
pub(super) fn reflection(words: &[u32]) -> (Option<RouterId>, usize) {
    if words
        .first()
        .is_none_or(|head| head & (ORIGINATOR | CLUSTERS) == 0)
    {
        return (None, 0);
    }
    let (head, _, mut r) = communities(words);
    r.extended(head);
    r.large(head);
    let originator = (head & ORIGINATOR != 0).then(|| RouterId(r.word()));
    (originator, r.clusters(head).len())
}

/// Which of the well-known communities are on the route: (NO_EXPORT or NO_EXPORT_SUBCONFED, NO_ADVERTISE).
pub(super) fn well_known(words: &[u32]) -> (Option<Community>, bool) {
    let (_, communities, _) = communities(words);
    let has = |c: Community| communities.contains(&c.0);
    let no_export = [Community::NO_EXPORT, Community::NO_EXPORT_SUBCONFED]
        .into_iter()
        .find(|c| has(*c));
    (no_export, has(Community::NO_ADVERTISE))
}

#[cfg(test)]
#[path = "words_tests.rs"]
mod tests;
