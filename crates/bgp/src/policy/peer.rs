//! What a neighbour is told and how much is taken from it, beside its filters.

use crate::types::RouterId;

/// The next hop that a neighbour is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextHopMode {
    /// This speaker, towards external peers and for its own routes; unchanged towards internal ones.
    Auto,
    /// Always this speaker.
    ItSelf,
    /// As received, where it is on the neighbour's link.
    Unchanged,
}

/// A limit on the prefixes of a neighbour, a family; beyond it further ones are refused, those held stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixLimit {
    /// The number of prefixes.
    pub limit: u32,
    /// What happens beyond it.
    pub action: PrefixLimitAction,
}

/// What happens to a prefix beyond the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefixLimitAction {
    /// It is taken, and said.
    Warn,
    /// It is refused, those held stay.
    Drop,
    /// The session ends with Cease/1, and starts again after a pause (RFC 4486 §4).
    Restart,
}

/// What a neighbour is to a speaker that is a route reflector (RFC 4456). Only internal neighbours are anything to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reflection {
    /// The cluster that this speaker reflects for; the same for all its neighbours. What has been through it is refused.
    pub cluster_id: RouterId,
    /// Whether the neighbour is a client: it is told what other internal neighbours say, and they what it says.
    pub client: bool,
}

/// Whether a neighbour is being taken out of service while its session stays (RFC 8326).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    /// It is not.
    None,
    /// What it is told says GRACEFUL_SHUTDOWN, and what it says has LOCAL_PREF 0.
    Announced,
    /// The same, and it is told only what no other neighbour is.
    Withdrawn,
}
