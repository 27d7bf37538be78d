//! What the machine says about itself: what it must read, what happened, and figures.

use ipnetwork::IpNetwork;

use crate::machine::{Fib, Trouble};

/// What must be read from the kernel before the mirror can be trusted again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stale {
    /// All interfaces with their addresses.
    pub interfaces: bool,
    /// All nexthop objects.
    pub nexthops: bool,
    /// All routes of ours.
    pub routes: bool,
}

/// Something that the rest of the node may want to hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The kernel refused the route; it is tried again by [`Fib::retry`] and when a link changes.
    Failed {
        /// Destination.
        prefix: IpNetwork,
        /// The kernel's words.
        error: String,
    },
    /// Another program's route stands at this prefix and metric; ours goes in when that one goes.
    Foreign {
        /// Destination.
        prefix: IpNetwork,
    },
    /// Another program deleted or changed our route; it is repaired.
    Drift {
        /// Destination.
        prefix: IpNetwork,
    },
}

/// Figures about the state of things.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Prefixes that are wanted.
    pub wanted: usize,
    /// Routes of ours in the kernel, acknowledged and not since seen gone: IPv4.
    pub installed_ipv4: usize,
    /// The same for IPv6.
    pub installed_ipv6: usize,
    /// Routes whose comparison or answer is outstanding.
    pub pending: usize,
    /// Wanted routes none of whose next hops can be used at the moment.
    pub waiting: usize,
    /// Routes that the kernel refused.
    pub failed: usize,
    /// Prefixes that another program's route occupies.
    pub foreign: usize,
    /// Repairs of what other programs did, since the start.
    pub drift: u64,
    /// Complete read-backs of the routes, since the start.
    pub resyncs: u64,
    /// Reports that were dropped because nobody fetched them.
    pub reports_dropped: u64,
}

impl Fib {
    /// Figures; walks all entries.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let live = || self.entries.iter();
        Counts {
            wanted: live().filter(|entry| entry.want().is_some()).count(),
            installed_ipv4: self.installed[0],
            installed_ipv6: self.installed[1],
            pending: self.pending(),
            waiting: live().filter(|entry| entry.trouble == Trouble::Waiting).count(),
            failed: self.failed.len(),
            foreign: self.foreign.len(),
            drift: self.drift,
            resyncs: self.resyncs,
            reports_dropped: self.reports_dropped,
        }
    }
}
