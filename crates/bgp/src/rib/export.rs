//! What may go out, and how it looks on the wire.
//!
//! A best path is withheld from a peer, in this order, when the peer gave it to us, when both are internal (RFC
//! 4271 §9.2) and neither is a client of ours, when we would reflect it and the peer originated it or cannot be told its next hop (RFC 4456), when the peer is drained and others are told (RFC 8326), when a well-known community forbids it (RFC 1997), when it is a last resort and the peer is external and knows nothing of that (RFC
//! 9494 §4.3), when it is for customers only and the peer is none (RFC 9234 §5), when we have no address of its family to give as a
//! next hop, or when the export filter says so. Then the attributes change. Towards an external peer: our AS in
//! front (and as often again as the filter's rules prepend it), no LOCAL_PREF, no MED but our own, nothing of route
//! reflection, no extended community that is not transitive, and us as the next hop unless `Unchanged`. Towards an
//! internal peer: LOCAL_PREF always (100 if there was none), the next hop as received, or us for our own routes. A next
//! hop is never the peer itself (RFC 4271 §5.1.3): then it is us. What is reflected gets ORIGINATOR_ID, if it has none, and our cluster in
//! front of CLUSTER_LIST; a reflector takes no traffic upon itself, so the next hop stays as it is unless `Self` is asked for. Unknown attributes get the Partial bit (§5).

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;

use super::PeerSettings;
use super::attributes::{AttrId, AttributeTable};
use super::hash::Seed;
use super::words;
use crate::policy::{Drain, NextHopMode, RuleName, Source, Verdict, View};
use crate::types::{Community, Family, NextHop, PathAttributes, PeerName, Prefix, Role, RouterId};

const PARTIAL: u8 = 0x20;

/// A best path on its way to a peer.
#[derive(Clone, Copy)]
pub(super) struct Best<'a> {
    pub(super) prefix: Prefix,
    pub(super) source: Source,
    pub(super) attributes: AttrId,
    /// Who gave it; none for our own.
    pub(super) from: Option<(u16, &'a PeerSettings)>,
    /// Whether another neighbour is told of it that carries it as well: worked out for one that is drained only.
    pub(super) elsewhere: bool,
}

impl<'a> Best<'a> {
    fn view<'b>(&self, attributes: &'b PathAttributes) -> View<'b>
    where
        'a: 'b,
    {
        let peer: Option<&'b PeerName> = self.from.map(|(_, settings)| &settings.name);
        View {
            prefix: self.prefix,
            as_path: &attributes.as_path,
            communities: &attributes.communities,
            large_communities: &attributes.large_communities,
            source: self.source,
            peer,
        }
    }

    /// How it is reflected to a peer; `None`: it is not, because one of the two is external, or it is our own.
    fn reflected(&self, table: &AttributeTable, to: &PeerSettings) -> Option<Reflected> {
        let (_, from) = self
            .from
            .filter(|(_, from)| from.is_internal() && to.is_internal())?;
        let (originator, _) = words::reflection(table.words(self.attributes));
        Some(Reflected {
            originator: originator.unwrap_or(from.router_id),
            adds_originator: originator.is_none(),
            cluster: to.reflection?.cluster_id,
        })
    }
}

/// What a route carries from one internal peer to another (RFC 4456 §8).
#[derive(Clone, Copy)]
struct Reflected {
    originator: RouterId,
    /// It had none.
    adds_originator: bool,
    cluster: RouterId,
}

/// Why a best path is not told to a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Withheld {
    ItsOwn,
    Internal,
    Originator,
    NextHop,
    Community(Community),
    NoAddress(Family),
    LongLived,
    OnlyToCustomer(Role),
    Drained,
    Filter(RuleName),
}

impl fmt::Display for Withheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ItsOwn => f.write_str("learned from this peer"),
            Self::Internal => f.write_str("learned from an internal peer"),
            Self::Originator => f.write_str("the peer is the originator of the route"),
            Self::NextHop => {
                f.write_str("the peer cannot be told its next hop, and a reflector takes nobody's place")
            }
            Self::Community(Community::NO_ADVERTISE) => f.write_str("community NO_ADVERTISE"),
            Self::Community(Community::NO_EXPORT) => f.write_str("community NO_EXPORT"),
            Self::Community(_) => f.write_str("community NO_EXPORT_SUBCONFED"),
            Self::NoAddress(family) => write!(f, "No{family}NextHop"),
            Self::LongLived => {
                f.write_str("community LLGR_STALE, and the peer has no long-lived graceful restart")
            }
            Self::OnlyToCustomer(role) => {
                write!(f, "ONLY_TO_CUSTOMER, and the peer is our {}", role.counterpart())
            }
            Self::Drained => f.write_str("the peer is drained, and others are told"),
            Self::Filter(rule) => write!(f, "filter: {rule}"),
        }
    }
}

/// The address that this speaker is reached at for a family: one of that family, or an IPv6 one for IPv4 where the peer
/// takes that (RFC 8950) and there is no other.
///
/// A peer that has a link-local address is on the link, and often nothing else is known to be on it: it is told our
/// link-local address, for IPv4 too where it takes that. Alone, because a global one beside it would be preferred by some, and need
/// not lie in a prefix that the peer has on this link; an internal peer gets the global one as well, for it may pass it on.
fn own_next_hop(peer: &PeerSettings, family: Family) -> Option<NextHop> {
    let ipv4 = peer.local.ipv4.map(NextHop::V4);
    let by_link = peer
        .local
        .link_local
        .filter(|_| peer.interface.is_some())
        .map(
            |link_local| match peer.local.ipv6.filter(|_| peer.is_internal()) {
                Some(global) => NextHop::V6 {
                    global,
                    link_local: Some(link_local),
                },
                None => NextHop::V6 {
                    global: link_local,
                    link_local: None,
                },
            },
        );
    let ipv6 = by_link.or(peer.local.ipv6.map(|global| NextHop::V6 {
        global,
        link_local: peer.local.link_local,
    }));
    match family {
        Family::Ipv4 => {
            let extended = |hop: Option<NextHop>| hop.filter(|_| peer.extended_next_hop);
            extended(by_link).or(ipv4).or(extended(ipv6))
        }
        Family::Ipv6 => ipv6,
    }
}

/// All reasons but the filter's.
fn withheld(table: &AttributeTable, to: (u16, &PeerSettings), best: &Best<'_>) -> Option<Withheld> {
    let (index, peer) = to;
    if let Some((from, settings)) = best.from {
        if from == index {
            return Some(Withheld::ItsOwn);
        }
        let reflects = peer.reflection.is_some() && (settings.is_client() || peer.is_client());
        if settings.is_internal() && peer.is_internal() && !reflects {
            return Some(Withheld::Internal);
        }
    }
    let reflected = best.reflected(table, peer);
    if reflected.is_some_and(|r| r.originator == peer.router_id) {
        return Some(Withheld::Originator);
    }
    if peer.drain == Drain::Withdrawn && best.elsewhere {
        return Some(Withheld::Drained);
    }
    let only_with_care = words::is_long_lived(table.words(best.attributes)) && !peer.long_lived;
    if only_with_care && !peer.is_internal() {
        return Some(Withheld::LongLived);
    }
    if let Some(role) = peer.role.filter(|role| role.withholds_marked())
        && words::is_only_to_customer(table.words(best.attributes))
    {
        return Some(Withheld::OnlyToCustomer(role));
    }
    let (no_export, no_advertise) = words::well_known(table.words(best.attributes));
    if no_advertise {
        return Some(Withheld::Community(Community::NO_ADVERTISE));
    }
    if let Some(community) = no_export.filter(|_| !peer.is_internal()) {
        return Some(Withheld::Community(community));
    }
    let family = best.prefix.family();
    if reflected.is_some() && peer.next_hop != NextHopMode::ItSelf {
        let received = words::next_hop(table.words(best.attributes));
        let passes = received.and_then(|hop| passed_on(hop, peer, family)).is_some();
        return (!passes).then_some(Withheld::NextHop);
    }
    own_next_hop(peer, family)
        .is_none()
        .then_some(Withheld::NoAddress(family))
}

/// The whole answer for one route, with the rule that accepted it: for people, not for the hot path.
pub(super) fn explain(
    table: &AttributeTable,
    to: (u16, &PeerSettings),
    best: &Best<'_>,
) -> Result<RuleName, Withheld> {
    if let Some(reason) = withheld(table, to, best) {
        return Err(reason);
    }
    let attributes = table.unpack(best.attributes);
    let decision = to.1.export.decide(&best.view(&attributes));
    match decision.verdict {
        Verdict::Accept => Ok(decision.rule),
        Verdict::Reject => Err(Withheld::Filter(decision.rule)),
    }
}

/// The attributes as the peer gets them.
fn transform(
    mut a: PathAttributes,
    peer: &PeerSettings,
    family: Family,
    changed: &[u16],
    reflected: Option<Reflected>,
) -> PathAttributes {
    let own = own_next_hop(peer, family);
    let prepend: usize = peer.export.changes(changed).map(|s| usize::from(s.prepend)).sum();
    if peer.is_internal() {
        a.local_pref = a.local_pref.or(Some(100));
        if let Some(Reflected {
            originator, cluster, ..
        }) = reflected
        {
            a.originator_id = Some(originator);
            a.cluster_list.insert(0, cluster);
        }
    } else {
        a.med = None;
        a.originator_id = None;
        a.cluster_list.clear();
        a.extended_communities.retain(|c| c.is_transitive());
        a.as_path.prepend(peer.local_asn);
        if peer.role.is_some_and(Role::marks_what_is_told) {
            a.only_to_customer = a.only_to_customer.or(Some(peer.local_asn));
        }
    }
    for _ in 0..prepend {
        a.as_path.prepend(peer.local_asn);
    }
    for set in peer.export.changes(changed) {
        set.apply(&mut a);
    }
    if !peer.is_internal() {
        a.local_pref = None;
    }
    // An internal peer that does not know what LLGR_STALE means shall prefer anything else, and not pass it on (RFC
    // 9494 §4.6).
    if !peer.long_lived && a.communities.contains(&Community::LLGR_STALE) {
        a.local_pref = Some(0);
        if !a.communities.contains(&Community::NO_EXPORT) {
            a.communities.push(Community::NO_EXPORT);
        }
    }
    if peer.drain != Drain::None && !a.communities.contains(&Community::GRACEFUL_SHUTDOWN) {
        a.communities.push(Community::GRACEFUL_SHUTDOWN);
    }
    let keep = match peer.next_hop {
        NextHopMode::Auto => peer.is_internal(),
        NextHopMode::ItSelf => false,
        NextHopMode::Unchanged => true,
    };
    let received = a
        .next_hop
        .filter(|_| keep)
        .and_then(|hop| passed_on(hop, peer, family));
    a.next_hop = received.or(own);
    for unknown in &mut a.unknown {
        unknown.flags |= PARTIAL;
    }
    a
}

/// A received next hop as it may be passed on: without the link-local address, which counts on its own link only,
/// never the peer itself, and an IPv6 one of an IPv4 prefix only to who takes that (RFC 8950).
fn passed_on(hop: NextHop, peer: &PeerSettings, family: Family) -> Option<NextHop> {
    match hop {
        NextHop::V6 { .. } if family == Family::Ipv4 && !peer.extended_next_hop => None,
        NextHop::V4(addr) => (IpAddr::V4(addr) != peer.address).then_some(hop),
        NextHop::V6 { global, .. } => {
            let usable = IpAddr::V6(global) != peer.address && !global.is_unicast_link_local();
            usable.then_some(NextHop::V6 {
                global,
                link_local: None,
            })
        }
    }
}

/// The export of any number of routes to one peer, with what was worked out kept by what it was made from: the attributes of the
/// route, and the number of what changes them. It lives only while nothing else changes, so that a handle means the same throughout.
pub(super) struct Export<'a> {
    to: (u16, &'a PeerSettings),
    family: Family,
    reads_attributes: bool,
    nothing: PathAttributes,
    decoded: Option<(AttrId, PathAttributes)>,
    changed: Vec<u16>,
    /// The rules that change attributes, and the ORIGINATOR_ID that is added (zero: none).
    variants: Vec<(u32, Vec<u16>)>,
    /// For look-up; what is in it at the end is sorted before use.
    cache: HashMap<(u32, u16), AttrId, Seed>,
    last: Option<((u32, u16), AttrId)>,
}

impl<'a> Export<'a> {
    pub(super) fn new(to: (u16, &'a PeerSettings), family: Family, seed: Seed) -> Self {
        Self {
            to,
            family,
            reads_attributes: to.1.export.reads_attributes(),
            nothing: PathAttributes::local(),
            decoded: None,
            changed: Vec::new(),
            variants: vec![(0, Vec::new())],
            cache: HashMap::with_hasher(seed),
            last: None,
        }
    }

    /// The attributes to send; [`AttrId::NONE`] when the route is withheld. The reference stays with the export.
    pub(super) fn evaluate(&mut self, table: &mut AttributeTable, best: &Best<'_>) -> AttrId {
        if withheld(table, self.to, best).is_some() {
            return AttrId::NONE;
        }
        let stale = self.decoded.as_ref().is_none_or(|(id, _)| *id != best.attributes);
        if self.reads_attributes && stale {
            self.decoded = Some((best.attributes, table.unpack(best.attributes)));
        }
        let attributes = self.decoded.as_ref().map_or(&self.nothing, |(_, a)| a);
        let outcome = self
            .to
            .1
            .export
            .evaluate(&best.view(attributes), &mut self.changed);
        if outcome.verdict == Verdict::Reject {
            return AttrId::NONE;
        }
        let reflected = best.reflected(table, self.to.1);
        // One that was there already is among the attributes, and one that is not is a peer of ours: few.
        let added = reflected.filter(|r| r.adds_originator);
        let variant = self.variant(added.map_or(0, |r| r.originator.0));
        let key = (best.attributes.0, variant);
        if let Some((_, id)) = self.last.filter(|(last, _)| *last == key) {
            return id;
        }
        let id = match self.cache.get(&key) {
            Some(id) => *id,
            None => {
                let sent = transform(
                    table.unpack(best.attributes),
                    self.to.1,
                    self.family,
                    &self.changed,
                    reflected,
                );
                let id = table.intern(&sent);
                self.cache.insert(key, id);
                id
            }
        };
        self.last = Some((key, id));
        id
    }

    fn variant(&mut self, originator: u32) -> u16 {
        let is = |(by, rules): &(u32, Vec<u16>)| *by == originator && *rules == self.changed;
        let known = self.variants.iter().position(is);
        let i = known.unwrap_or_else(|| {
            self.variants.push((originator, self.changed.clone()));
            self.variants.len() - 1
        });
        u16::try_from(i).expect("fewer combinations of rules than 65,536")
    }

    /// Gives back the references.
    pub(super) fn finish(self, table: &mut AttributeTable) {
        // Released in the order of handles, so that free slots are used again in the same order everywhere.
        #[expect(clippy::disallowed_methods, reason = "sorted before use")]
        let mut ids: Vec<AttrId> = self.cache.into_values().collect();
        ids.sort_unstable();
        for id in ids {
            table.release(id);
        }
    }
}
