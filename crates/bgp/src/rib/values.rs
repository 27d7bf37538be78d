//! What goes into the RIB and what comes out of it, as plain values.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::policy::{Drain, Filter, NextHopMode, PrefixLimit, Reflection};
use crate::types::{
    Asn, Family, FamilySet, NextHop, PathAttributes, PathId, PathIds, PeerName, Prefix, Role, RouterId,
};

/// A peer that is up. The number may be given to another peer after [`super::Rib::peer_down`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerIndex(pub(super) u16);

/// When paths are equal enough to share the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Multipath {
    /// Paths of equal length through different neighbouring ASes count as equal (the default); otherwise the
    /// whole AS path must be the same.
    pub relaxed: bool,
    /// How many paths a route may have; 1 means no multipath.
    pub max_paths: u16,
}

/// Our own addresses on the interface of a session: what a peer is told as the next hop "self".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LocalAddresses {
    /// The IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// The global IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
    /// The link-local IPv6 address; given only when the peer is on this link, for then it is told to the peer
    /// beside the global one (RFC 2545 §3).
    pub link_local: Option<Ipv6Addr>,
}

/// What the RIB has to know of a peer whose session is established.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSettings {
    /// Its name.
    pub name: PeerName,
    /// Its AS.
    pub asn: Asn,
    /// Our AS towards it. Equal to `asn`: the peer is internal.
    pub local_asn: Asn,
    /// Its BGP identifier.
    pub router_id: RouterId,
    /// Our BGP identifier towards it.
    pub local_router_id: RouterId,
    /// Its address.
    pub address: IpAddr,
    /// The interface index of a link-local address.
    pub interface: Option<u32>,
    /// The families negotiated.
    pub families: FamilySet,
    /// Whether IPv4 prefixes may have IPv6 next hops (RFC 8950): negotiated.
    pub extended_next_hop: bool,
    /// The families of which it says, and is told, several paths a prefix (RFC 7911): negotiated.
    pub path_ids: PathIds,
    /// What our AS is to its AS (RFC 9234); `None` for an internal peer.
    pub role: Option<Role>,
    /// Whether it is being taken out of service.
    pub drain: Drain,
    /// Whether long-lived graceful restart was agreed on: only then is it told of routes that are a last resort (RFC 9494).
    pub long_lived: bool,
    /// It has restarted itself (R), and chooses no routes yet either: it may be told at once what this speaker has learned.
    pub restarted: bool,
    /// Whether learned routes may be told to it: then a speaker that has restarted says End-of-RIB only once it has chosen.
    pub relays: bool,
    /// Our addresses towards it.
    pub local: LocalAddresses,
    /// Which next hop it is told.
    pub next_hop: NextHopMode,
    /// What it is to this speaker as a route reflector; `None`: this speaker is none.
    pub reflection: Option<Reflection>,
    /// How often our own AS may stand in a path that it sends.
    pub allow_own_asn: u8,
    /// Where the next hops in what it sends may lie; `None`: anywhere. A link-local one lies on its link.
    pub next_hops: Option<Vec<Prefix>>,
    /// How many prefixes a family it may send.
    pub limit: PrefixLimit,
    /// What is taken from it.
    pub import: Arc<Filter>,
    /// What it is told.
    pub export: Arc<Filter>,
}

impl PeerSettings {
    /// Whether the peer is of our own AS (iBGP).
    #[must_use]
    pub fn is_internal(&self) -> bool {
        self.asn == self.local_asn
    }

    /// Whether the peer is a client of this speaker, a route reflector.
    pub(super) fn is_client(&self) -> bool {
        self.reflection.is_some_and(|r| r.client)
    }
}

/// What a loss left of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The family.
    pub family: Family,
    /// How many paths are stale that were not before.
    pub fresh: usize,
    /// How many older stale ones went, because the peer has been lost too often.
    pub gone: usize,
}

/// How many paths of one prefix a peer may say (RFC 7911), and how many it is told at most, the best ones.
pub const MAX_PATHS: usize = 64;

/// How an announcement stands to the peer's prefix limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitOutcome {
    /// Within the limit.
    Within,
    /// Beyond it, and taken; returned by each call that adds a prefix beyond the limit.
    Warned {
        /// The family.
        family: Family,
    },
    /// Beyond it, and new prefixes were refused.
    Dropped {
        /// The family.
        family: Family,
        /// How many prefixes of this call were refused.
        count: usize,
    },
    /// More than [`MAX_PATHS`] of one prefix, and some were refused.
    ManyPaths {
        /// The family.
        family: Family,
        /// How many paths of this call were refused.
        count: usize,
    },
    /// Beyond it: the session must end with Cease/1. What follows in the same call was not taken.
    Exceeded {
        /// The family.
        family: Family,
    },
}

/// Something to send to a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Batch {
    /// Prefixes to withdraw.
    Unreach {
        /// Their family.
        family: Family,
        /// The prefixes; distinct.
        prefixes: Vec<Prefix>,
    },
    /// Prefixes to announce.
    Reach {
        /// The attributes, ready for the wire: prepended, next hop set.
        attributes: Arc<PathAttributes>,
        /// The prefixes, distinct and of one family.
        prefixes: Vec<Prefix>,
    },
    /// Paths to withdraw, from a peer that is told several a prefix (RFC 7911).
    UnreachPaths {
        /// Their family.
        family: Family,
        /// The paths; distinct.
        paths: Vec<(Prefix, PathId)>,
    },
    /// Paths to announce to such a peer.
    ReachPaths {
        /// The attributes, ready for the wire.
        attributes: Arc<PathAttributes>,
        /// The paths, distinct and of one family.
        paths: Vec<(Prefix, PathId)>,
    },
    /// The initial routes of this family have all been handed out (RFC 4724 §2).
    EndOfRib(Family),
    /// All routes of this family follow once more (BoRR, RFC 7313 §4).
    BeginRefresh(Family),
    /// Those were all of them (EoRR).
    EndRefresh(Family),
}

/// What the kernel shall hold for a prefix from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteChange {
    /// The prefix.
    pub prefix: Prefix,
    /// Its paths, sorted, with distinct next hops; shared by all prefixes that have the same. None: the route goes.
    pub paths: Arc<[FibPath]>,
}

/// One leg of a kernel route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FibPath {
    /// Where packets go.
    pub next_hop: NextHop,
    /// The interface, for a peer that is reached through a given one.
    pub interface: Option<u32>,
    /// The peer that the path was learned from (the first by name where several gave the same next hop).
    pub peer: PeerName,
}

/// How many prefixes of one family a peer has at each stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Received and held.
    pub received: usize,
    /// Accepted by the loop checks and the import filter.
    pub accepted: usize,
    /// Best or multipath, and accepted by the install filter.
    pub installed: usize,
    /// Told to the peer.
    pub advertised: usize,
}

/// A way to look at the routes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouteView {
    /// All that was received, accepted or not; attributes as received (Adj-RIB-In).
    Received,
    /// What the import filter let through; attributes as it left them.
    Accepted,
    /// What is in use: best and multipath paths, and our own routes (Loc-RIB).
    #[default]
    Best,
    /// What peers were told, as it was sent (Adj-RIB-Out).
    Advertised,
}

/// One route, as [`super::Rib::routes`] shows it.
#[derive(Clone, Debug)]
pub struct RouteInfo<'a> {
    /// The prefix.
    pub prefix: Prefix,
    /// Who it was learned from, or, in the view `Advertised`, told to. `None`: our own.
    pub peer: Option<&'a PeerName>,
    /// What tells it from other paths of its prefix, where there may be several (RFC 7911): the peer's identifier, or ours in the
    /// view `Advertised`.
    pub path_id: Option<PathId>,
    /// The attributes.
    pub attributes: &'a PathAttributes,
    /// Whether it is the best path of its prefix.
    pub best: bool,
    /// Whether it is used, alone or beside others.
    pub multipath: bool,
    /// Whether it is used and the install filter lets it into the kernel.
    pub installed: bool,
    /// Whether it outlived the session that it was learned by, and has not been said again.
    pub stale: bool,
    /// Why it stands where it stands: `best`, `AS path longer (3 > 2)`, `filter: rail OwnPodCIDR` …
    pub reason: String,
}
