//! What may come in: the checks that no filter can switch off, then the import and the install filter.
//!
//! The checks: AS 0 in the path (RFC 7607), the leftmost AS of an external path is not the peer's (RFC 4271
//! §6.3), our own AS more often than allowed (§9.1.2; nodes that share an AS allow it once), an ORIGINATOR_ID that is
//! ours, or our own cluster in CLUSTER_LIST (RFC 4456 §8), a route that was to go to customers only (RFC 9234 §5), a next hop that is ourselves (§6.3), that cannot be one, that is not on a link where only such are
//! taken, or that is of the wrong family, a multicast prefix (§6.3). All but the last two look only at attributes and so are done once for all prefixes of an
//! UPDATE.

use std::fmt;
use std::net::IpAddr;

use super::PeerSettings;
use super::attributes::{AttrId, AttributeTable};
use super::table::{ACCEPTED, INSTALLABLE, LEAVING};
use crate::policy::{Drain, Filter, RuleName, Source, Verdict, View};
use crate::types::{Asn, Community, Family, NextHop, PathAttributes, PeerName, Prefix, Role, RouterId};

/// Why a path was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    ReservedAsn,
    FirstAsn { found: Option<Asn>, expected: Asn },
    OwnAsn { asn: Asn, count: usize, allowed: u8 },
    OwnOriginator(RouterId),
    OwnCluster(RouterId),
    RouteLeak { role: Role, customers_of: Asn },
    OwnNextHop(IpAddr),
    UnusableNextHop(IpAddr),
    NextHopNotOnLink(IpAddr),
    NextHopWithoutLink(IpAddr),
    NextHopFamily,
    Multicast,
    Filter(RuleName),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReservedAsn => f.write_str("AS 0 in the path"),
            Self::FirstAsn {
                found: Some(found),
                expected,
            } => {
                write!(f, "first AS of the path is {found}, not the peer's {expected}")
            }
            Self::FirstAsn {
                found: None,
                expected,
            } => {
                write!(f, "the path does not begin with the peer's AS {expected}")
            }
            Self::OwnAsn { asn, count, allowed } => {
                write!(
                    f,
                    "own AS {asn} stands {count} times in the path, {allowed} allowed"
                )
            }
            Self::OwnOriginator(id) => write!(f, "ORIGINATOR_ID {id} is this speaker"),
            Self::OwnCluster(id) => write!(f, "CLUSTER_LIST has this speaker's cluster {id}"),
            Self::RouteLeak { role, customers_of } => {
                let peer = role.counterpart();
                write!(
                    f,
                    "route leak: ONLY_TO_CUSTOMER {customers_of} from a {peer} (RFC 9234)"
                )
            }
            Self::OwnNextHop(addr) => write!(f, "next hop {addr} is this speaker"),
            Self::UnusableNextHop(addr) => write!(f, "{addr} cannot be a next hop"),
            Self::NextHopNotOnLink(addr) => {
                write!(
                    f,
                    "NextHopNotOnLink: next hop {addr} is not on a link of this node"
                )
            }
            Self::NextHopWithoutLink(addr) => {
                write!(
                    f,
                    "next hop {addr} is link-local, and the session is not, so nothing says on which link it is"
                )
            }
            Self::NextHopFamily => f.write_str("IPv4 next hop for an IPv6 prefix"),
            Self::Multicast => f.write_str("a multicast prefix in a unicast family"),
            Self::Filter(rule) => write!(f, "filter: {rule}"),
        }
    }
}

/// The checks that do not look at the prefix.
pub(super) fn check(peer: &PeerSettings, attributes: &PathAttributes, next_hop: NextHop) -> Option<Refusal> {
    let path = &attributes.as_path;
    if path.iter().any(Asn::is_reserved) {
        return Some(Refusal::ReservedAsn);
    }
    if !peer.is_internal() && path.first() != Some(peer.asn) {
        return Some(Refusal::FirstAsn {
            found: path.first(),
            expected: peer.asn,
        });
    }
    let count = path.count(peer.local_asn);
    if count > usize::from(peer.allow_own_asn) {
        let (asn, allowed) = (peer.local_asn, peer.allow_own_asn);
        return Some(Refusal::OwnAsn { asn, count, allowed });
    }
    if attributes.originator_id == Some(peer.local_router_id) {
        return Some(Refusal::OwnOriginator(peer.local_router_id));
    }
    let cluster = peer.reflection.map(|r| r.cluster_id);
    if let Some(cluster) = cluster.filter(|id| attributes.cluster_list.contains(id)) {
        return Some(Refusal::OwnCluster(cluster));
    }
    if let Some(leak) = leak(peer, attributes) {
        return Some(leak);
    }
    let addr = next_hop.addr();
    let own = [
        peer.local.ipv4.map(IpAddr::V4),
        peer.local.ipv6.map(IpAddr::V6),
        peer.local.link_local.map(IpAddr::V6),
    ];
    if own.contains(&Some(addr)) {
        return Some(Refusal::OwnNextHop(addr));
    }
    let unusable = match addr {
        IpAddr::V4(a) => a.is_unspecified() || a.is_loopback() || a.is_multicast() || a.is_broadcast(),
        IpAddr::V6(a) => {
            a.is_unspecified() || a.is_loopback() || a.is_multicast() || a.to_ipv4_mapped().is_some()
        }
    };
    if unusable {
        return Some(Refusal::UnusableNextHop(addr));
    }
    let is_link_local = next_hop.is_link_local();
    if is_link_local && peer.interface.is_none() {
        return Some(Refusal::NextHopWithoutLink(addr));
    }
    let lies_elsewhere = |within: &Vec<Prefix>| !within.iter().any(|prefix| prefix.contains(addr));
    let is_off_link = !is_link_local && peer.next_hops.as_ref().is_some_and(lies_elsewhere);
    is_off_link.then_some(Refusal::NextHopNotOnLink(addr))
}

/// A route that was to go to customers only, and came from somebody who is not above us (RFC 9234 §5).
fn leak(peer: &PeerSettings, attributes: &PathAttributes) -> Option<Refusal> {
    let (role, customers_of) = (peer.role?, attributes.only_to_customer?);
    let leaked = match role {
        Role::Provider | Role::RouteServer => true,
        Role::Peer => customers_of != peer.asn,
        Role::Customer | Role::RouteServerClient => false,
    };
    leaked.then_some(Refusal::RouteLeak { role, customers_of })
}

/// The checks that do.
pub(super) fn check_prefix(prefix: Prefix, next_hop: NextHop) -> Option<Refusal> {
    if prefix.addr().is_multicast() {
        return Some(Refusal::Multicast);
    }
    match (prefix.family(), next_hop) {
        (Family::Ipv6, NextHop::V4(_)) => Some(Refusal::NextHopFamily),
        (Family::Ipv4 | Family::Ipv6, NextHop::V6 { .. }) | (Family::Ipv4, NextHop::V4(_)) => None,
    }
}

/// A route learned from `peer`, as filters see it.
pub(super) fn view<'a>(prefix: Prefix, attributes: &'a PathAttributes, peer: &'a PeerName) -> View<'a> {
    View {
        prefix,
        as_path: &attributes.as_path,
        communities: &attributes.communities,
        large_communities: &attributes.large_communities,
        source: Source::Learned,
        peer: Some(peer),
    }
}

/// The import of one set of attributes from one peer, for any number of prefixes.
pub(super) struct Import<'a> {
    pub(super) peer: &'a PeerSettings,
    pub(super) install: &'a Filter,
    /// As received, and what stands in place of their next hop and LOCAL_PREF.
    attributes: &'a PathAttributes,
    next_hop: NextHop,
    local_pref: Option<u32>,
    pub(super) raw: AttrId,
    refused: bool,
    /// What the neighbour left unsaid: that the route goes to customers only from here on (RFC 9234 §5).
    marked: Option<Asn>,
    /// It is about to go, as the route or our own configuration says: any other path is better (RFC 8326).
    leaving: bool,
    changed: Vec<u16>,
    /// What the changes of these rules, the mark and a farewell make of the attributes.
    variants: Vec<(Vec<u16>, AttrId, PathAttributes)>,
}

impl<'a> Import<'a> {
    /// LOCAL_PREF of an external peer is ignored (RFC 4271 §5.1.5).
    pub(super) fn new(
        table: &mut AttributeTable,
        peer: &'a PeerSettings,
        install: &'a Filter,
        attributes: &'a PathAttributes,
        next_hop: NextHop,
    ) -> Self {
        let local_pref = attributes.local_pref.filter(|_| peer.is_internal());
        let leaving = peer.drain != Drain::None
            || (!peer.is_internal() && attributes.communities.contains(&Community::GRACEFUL_SHUTDOWN));
        let marks = peer.role.is_some_and(Role::marks_what_is_learned);
        Self {
            peer,
            install,
            attributes,
            next_hop,
            local_pref,
            raw: table.intern_with(attributes, Some(next_hop), local_pref),
            refused: check(peer, attributes, next_hop).is_some(),
            leaving,
            marked: (marks && attributes.only_to_customer.is_none()).then_some(peer.asn),
            changed: Vec::new(),
            variants: Vec::new(),
        }
    }

    /// Flags and effective attributes for one prefix, with one reference taken for the caller.
    pub(super) fn evaluate(&mut self, table: &mut AttributeTable, prefix: Prefix) -> (u16, AttrId) {
        let mut changed = std::mem::take(&mut self.changed);
        let refused = self.refused || check_prefix(prefix, self.next_hop).is_some() || {
            let route = view(prefix, self.attributes, &self.peer.name);
            self.peer.import.evaluate(&route, &mut changed).verdict == Verdict::Reject
        };
        let variant = if refused || (changed.is_empty() && self.marked.is_none() && !self.leaving) {
            None
        } else {
            Some(self.variant(table, &changed))
        };
        let (effective, attributes) = match variant.and_then(|i| self.variants.get(i)) {
            Some((_, id, attributes)) => (*id, attributes),
            None => (self.raw, self.attributes),
        };
        table.hold(effective);
        let mut flags = 0;
        if !refused {
            let route = view(prefix, attributes, &self.peer.name);
            flags = match self.install.evaluate(&route, &mut changed).verdict {
                Verdict::Accept => ACCEPTED | INSTALLABLE,
                Verdict::Reject => ACCEPTED,
            };
            if self.leaving {
                flags |= LEAVING;
            }
        }
        self.changed = changed;
        (flags, effective)
    }

    fn variant(&mut self, table: &mut AttributeTable, changed: &[u16]) -> usize {
        if let Some(i) = self.variants.iter().position(|(c, ..)| c == changed) {
            return i;
        }
        let mut attributes = PathAttributes {
            next_hop: Some(self.next_hop),
            local_pref: if self.leaving { Some(0) } else { self.local_pref },
            only_to_customer: self.attributes.only_to_customer.or(self.marked),
            ..self.attributes.clone()
        };
        for set in self.peer.import.changes(changed) {
            set.apply(&mut attributes);
        }
        let id = table.intern(&attributes);
        self.variants.push((changed.to_vec(), id, attributes));
        self.variants.len() - 1
    }

    /// Gives back the references that the import itself held.
    pub(super) fn finish(self, table: &mut AttributeTable) {
        table.release(self.raw);
        for (_, id, _) in self.variants {
            table.release(id);
        }
    }
}
