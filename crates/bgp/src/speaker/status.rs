//! The read-model: what the speaker knows, for the control socket, for status objects and for tests.

use std::net::IpAddr;
use std::time::Duration;

use super::{AdminState, Drain, Neighbour, Speaker, drain};
use crate::peer::{LastError, Negotiated, State};
use crate::rib::{Counts, RouteInfo, RouteView, Usage};
use crate::types::{Asn, Family, Instant, PathAttributes, PathId, PeerName, Prefix};

/// A neighbour and how it is doing.
#[derive(Clone, Debug)]
pub struct PeerSummary {
    /// Its name.
    pub name: PeerName,
    /// Its address.
    pub address: IpAddr,
    /// The interface index of a link-local address.
    pub interface: Option<u32>,
    /// Its AS: as negotiated, else as configured; none when any will do.
    pub asn: Option<Asn>,
    /// Our AS towards it.
    pub local_asn: Asn,
    /// The state of its session.
    pub state: State,
    /// What is missing for it to be up, when something is.
    pub held: Option<String>,
    /// How far it has been drained.
    pub drain: Drain,
    /// How long it has been in this state.
    pub since: Duration,
    /// How often the session has left Established.
    pub flaps: u64,
    /// Why it last failed or ended.
    pub last_error: Option<LastError>,
    /// How long ago that was.
    pub last_error_age: Duration,
    /// How many UPDATEs with errors it has sent that the session survived, since it was configured.
    pub malformed_updates: u64,
    /// What the session agreed on, while it is Established.
    pub negotiated: Option<Negotiated>,
    /// Whether End-of-RIB has come for every negotiated family.
    pub end_of_rib: bool,
    /// How long ago its last UPDATE came; until one has, how long it has been Established. Zero when it is not.
    pub silent: Duration,
    /// Routes, a negotiated family; while the peer is away, a family that is kept.
    pub prefixes: Vec<PrefixCounts>,
    /// Its routes that are kept though their session was lost; none: there are no such.
    pub retained: Option<RetainedSummary>,
}

/// Routes that outlived their session (RFC 4724 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetainedSummary {
    /// How many there are.
    pub routes: usize,
    /// How long ago the session was lost that the oldest of them came by.
    pub since: Duration,
    /// After how long the first of them go or become long-lived, unless the peer says them again.
    pub left: Duration,
    /// How many of them are kept as a last resort (RFC 9494).
    pub long_lived: usize,
}

/// How many routes a neighbour has of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixCounts {
    /// The family.
    pub family: Family,
    /// The numbers.
    pub counts: Counts,
    /// Whether End-of-RIB has come for it (RFC 4724 §2).
    pub end_of_rib: bool,
    /// How many of the received ones outlived their session and have not been said again.
    pub stale: usize,
}

/// Which routes to show.
#[derive(Clone, Debug, Default)]
pub struct RouteQuery {
    /// As received, accepted, best or advertised.
    pub view: RouteView,
    /// Only of (or, advertised, to) this neighbour.
    pub peer: Option<PeerName>,
    /// Only inside this prefix.
    pub within: Option<Prefix>,
    /// At most this many.
    pub limit: usize,
}

/// A route, copied out of the RIB.
#[derive(Clone, Debug)]
pub struct RouteEntry {
    /// The prefix.
    pub prefix: Prefix,
    /// Who sent it (advertised: to whom it is sent); none for one of our own.
    pub peer: Option<PeerName>,
    /// What tells it from other paths of its prefix, where there may be several (RFC 7911): the neighbour's identifier, or ours
    /// among those advertised.
    pub path_id: Option<PathId>,
    /// Its attributes.
    pub attributes: PathAttributes,
    /// Whether it is the best path.
    pub best: bool,
    /// Whether it is used beside the best path.
    pub multipath: bool,
    /// Whether it is meant for the kernel.
    pub installed: bool,
    /// Whether it outlived its session and has not been said again.
    pub stale: bool,
    /// Why it is, or is not, used.
    pub reason: String,
}

impl From<RouteInfo<'_>> for RouteEntry {
    fn from(route: RouteInfo<'_>) -> Self {
        Self {
            prefix: route.prefix,
            peer: route.peer.cloned(),
            path_id: route.path_id,
            attributes: route.attributes.clone(),
            best: route.best,
            multipath: route.multipath,
            installed: route.installed,
            stale: route.stale,
            reason: route.reason,
        }
    }
}

/// What becomes of an address as far as BGP knows.
#[derive(Clone, Debug, Default)]
pub struct Why {
    /// The longest prefix that has it and a route in use.
    pub prefix: Option<Prefix>,
    /// All paths of all prefixes that have it, the longest prefix first, and of each the best path.
    pub paths: Vec<RouteEntry>,
    /// Whether, and why, each neighbour is told of [`Why::prefix`], or why not.
    pub told: Vec<(PeerName, String)>,
}

impl Speaker {
    /// What becomes of an address, with reasons.
    #[must_use]
    pub fn why(&self, address: IpAddr) -> Why {
        let covering = self.rib.covering(address);
        let prefix = covering.iter().find(|(_, used)| *used).map(|(prefix, _)| *prefix);
        let mut paths = Vec::new();
        for (prefix, _) in covering {
            self.rib
                .paths(prefix, &mut |route| paths.push(RouteEntry::from(route)));
        }
        let told = |(name, neighbour): (&PeerName, &Neighbour)| {
            let reason = match (&neighbour.session, prefix) {
                (Some(session), Some(prefix)) => self.rib.export_reason(session.index, prefix),
                (None, Some(_)) => "the session is down".to_owned(),
                (_, None) => return None,
            };
            Some((name.clone(), reason))
        };
        Why {
            prefix,
            paths,
            told: self.neighbours.iter().filter_map(told).collect(),
        }
    }

    /// Every neighbour, by name.
    #[must_use]
    pub fn peers(&self, now: Instant) -> Vec<PeerSummary> {
        self.neighbours
            .keys()
            .filter_map(|name| self.peer(name, now))
            .collect()
    }

    /// One neighbour.
    #[must_use]
    pub fn peer(&self, name: &PeerName, now: Instant) -> Option<PeerSummary> {
        let neighbour = self.neighbours.get(name)?;
        let status = neighbour.peer.status();
        let errors = status.last_error.into_iter().chain(neighbour.refused.clone());
        let last_error = errors.max_by_key(|e| e.at);
        let session = neighbour.session.as_ref();
        let configured = match neighbour.config.session.peer_asn {
            crate::session::PeerAsn::Exact(asn) => Some(asn),
            crate::session::PeerAsn::Internal => Some(neighbour.config.session.local_asn),
            crate::session::PeerAsn::External => None,
        };
        Some(PeerSummary {
            name: name.clone(),
            address: neighbour.config.address,
            interface: neighbour.config.interface,
            asn: session.map(|s| s.negotiated.peer_asn).or(configured),
            local_asn: neighbour.config.session.local_asn,
            state: status.state,
            drain: drain::phase(neighbour.draining),
            since: now.since(status.since),
            flaps: status.flaps,
            held: match &neighbour.config.admin_state {
                AdminState::Held(reason) => Some(reason.clone()),
                AdminState::Up | AdminState::Down(_) => None,
            },
            last_error_age: last_error.as_ref().map_or(Duration::ZERO, |e| now.since(e.at)),
            last_error,
            malformed_updates: neighbour.offences.seen(),
            negotiated: session.map(|s| s.negotiated.clone()),
            end_of_rib: session
                .is_some_and(|s| s.negotiated.families.iter().all(|f| s.end_of_rib.contains(f))),
            silent: session.map_or(Duration::ZERO, |s| now.since(s.heard)),
            retained: self.retained_summary(name, now),
            prefixes: self.prefixes(neighbour),
        })
    }

    fn prefixes(&self, neighbour: &Neighbour) -> Vec<PrefixCounts> {
        let session = neighbour.session.as_ref();
        let established = session.map(|s| (s.index, s.negotiated.families));
        let Some((index, families)) = established.or_else(|| Self::away(neighbour)) else {
            return Vec::new();
        };
        let count = |family| PrefixCounts {
            family,
            counts: self.rib.counts(index, family),
            end_of_rib: session.is_some_and(|s| s.end_of_rib.contains(family)),
            stale: self.rib.retained(index, family).0,
        };
        families.iter().map(count).collect()
    }

    /// Whether every neighbour that shall be up is Established and has sent End-of-RIB for each family.
    #[must_use]
    pub fn end_of_rib_from_all(&self) -> bool {
        self.neighbours
            .values()
            .filter(|n| match n.config.admin_state {
                AdminState::Up | AdminState::Held(_) => true,
                AdminState::Down(_) => false,
            })
            .all(|n| {
                n.session
                    .as_ref()
                    .is_some_and(|s| s.negotiated.families.iter().all(|f| s.end_of_rib.contains(f)))
            })
    }

    /// How much the RIB keeps: nothing when nothing is announced, originated or kept for a neighbour that is away.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.rib.usage()
    }

    /// Routes, in the order of their prefixes.
    #[must_use]
    pub fn routes(&self, query: &RouteQuery) -> Vec<RouteEntry> {
        let mut entries = Vec::new();
        self.rib.routes(
            query.view,
            query.peer.as_ref(),
            query.within,
            query.limit,
            &mut |route| entries.push(RouteEntry::from(route)),
        );
        entries
    }
}
