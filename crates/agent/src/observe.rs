//! Observe: where the objects come from: a directory of manifests ([`standalone`]) or an API server ([`cluster`]). Both
//! give the same, [`Observed`], over a channel that holds one.
//!
//! ```text
//!  watch BGPPeers ────────┐
//!  watch BGPFilters ──────┤                                        ┌──► state directory (last known good)
//!  watch BGPConfiguration ┼──► cluster: stores, what is awaited ───┼──► /run/flatroute/secrets
//!  watch own Node ────────┤    complete? quiet for a moment?       │
//!  watch Nodes, Secrets ──┤                                        └──► Observed ──► the loop in `run`
//!  readings by name ──────┘
//! ```
//!
//! The law of this room: "not loaded yet" never looks like "empty". A state is given on only when every watch that it
//! is made of has listed once ([`Listing`](flatroute_plan::Listing) proves it); a watch that fails keeps what it
//! had; a list that is made again replaces the old one in one step. What an agent does that starts while the API server
//! is away stands in [`kept`].

pub(crate) mod cluster;
pub(crate) mod connection;
mod failure;
#[cfg(test)]
mod fake;
pub(crate) mod files;
mod keeper;
mod kept;
mod rbac;
mod readings;
mod session_secrets;
mod source;
pub(crate) mod standalone;
mod store;
mod trimmed;
mod watch;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use flatroute_api::manifest::Merged;
use flatroute_api::{ClusterState, Problem};
use flatroute_plan::{Listing, ObjectSource, Synced};
use ipnetwork::IpNetwork;
use k8s_openapi::jiff;

pub(crate) use failure::API_SERVER;
pub(crate) use kept::write_whole;

/// What was observed of the objects.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Observed {
    /// The objects; none while not all of them are known: then those that were known before stay in force.
    pub(crate) state: Option<Synced<ClusterState>>,
    /// What is waited for, in words.
    pub(crate) awaited: Vec<String>,
    /// What is wrong with objects, and with the way to them.
    pub(crate) problems: Vec<Problem>,
    /// The addresses of the API server.
    pub(crate) api_server: BTreeSet<IpAddr>,
    /// The pod CIDRs that kubeadm was given.
    pub(crate) kubeadm_pod_subnets: Vec<IpNetwork>,
    /// Where all this comes from.
    pub(crate) source: ObjectSource,
    /// Set when it is a copy of an earlier time.
    pub(crate) stale: Option<Stale>,
}

/// A copy of an earlier time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stale {
    /// When it was last known to be true.
    pub(crate) as_of: SystemTime,
}

impl Stale {
    /// That time, as text.
    pub(crate) fn time(&self) -> String {
        jiff::Timestamp::try_from(self.as_of)
            .map_or_else(|_| "an unknown time".to_owned(), |time| format!("{time:.0}"))
    }

    /// How long ago that was; nothing when the clock was set back since.
    pub(crate) fn age(&self) -> Duration {
        self.as_of.elapsed().unwrap_or_default()
    }
}

impl From<Merged> for Observed {
    /// Manifests, all of which have been read.
    fn from(merged: Merged) -> Self {
        const MANIFESTS: &str = "manifests";
        let mut listing = Listing::of(ClusterState::default(), [MANIFESTS]);
        listing.listed(MANIFESTS, |state| *state = merged.state);
        Self {
            state: listing.synced().ok(),
            awaited: Vec::new(),
            problems: merged.problems,
            api_server: BTreeSet::new(),
            kubeadm_pod_subnets: Vec::new(),
            source: ObjectSource::Standalone,
            stale: None,
        }
    }
}
