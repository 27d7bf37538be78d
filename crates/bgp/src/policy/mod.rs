//! Import and export filters as data: a list of named rules, and a pure function that applies it.
//!
//! A filter is evaluated for one route and one peer. The first rule that matches and ends (`Accept`, `Reject`)
//! wins; `Next` applies its changes and goes on; a route that no rule ends gets the filter's default. Every
//! verdict carries the name of the rule that gave it, so that `why` has an answer. RFC 8212: a filter without
//! rules rejects, there is no default that lets a route through.

mod evaluate;
mod peer;

pub use evaluate::{DEFAULT_RULE, Outcome};
pub use peer::{Drain, NextHopMode, PrefixLimit, PrefixLimitAction, Reflection};

use std::sync::Arc;

use crate::types::{AsPath, Asn, Community, LargeCommunity, Prefix};

/// The name of a rule, for the reason of a verdict: `rail OwnPodCIDR`, `filter edge rule 2`, `built-in PodCIDRs`.
pub type RuleName = Arc<str>;

/// A filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The rules, in order.
    pub rules: Vec<Rule>,
    /// What becomes of a route that no rule ends; the reason is `default`.
    pub default: Verdict,
}

/// Accept or reject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The route passes.
    Accept,
    /// The route is refused.
    Reject,
}

/// One rule of a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Shown as the reason.
    pub name: RuleName,
    /// What it applies to; all conditions must hold.
    pub condition: Condition,
    /// What happens then.
    pub action: Action,
    /// Changes to a route that is accepted or handed to the next rule.
    pub set: Set,
}

/// What a rule does with a route that it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The route passes; no further rule is asked.
    Accept,
    /// The route is refused; no further rule is asked.
    Reject,
    /// The changes apply and the next rule is asked.
    Next,
}

/// The conditions of a rule. An empty one matches everything; a list matches when any member does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// Any of these prefix ranges.
    pub prefixes: Option<Vec<PrefixRange>>,
    /// Any of these communities is on the route.
    pub communities: Option<Vec<Community>>,
    /// Any of these large communities is on the route.
    pub large_communities: Option<Vec<LargeCommunity>>,
    /// Any of these AS numbers is in the path.
    pub as_path: Option<Vec<Asn>>,
    /// Any of these origins of the route.
    pub sources: Option<Vec<Source>>,
    /// Learned from any of these peers, by name.
    pub peers: Option<Vec<crate::types::PeerName>>,
}

/// A prefix with a range of lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixRange {
    /// Routes inside this prefix …
    pub prefix: Prefix,
    /// … with at least this length, in bits …
    pub ge: u8,
    /// … and at most this one.
    pub le: u8,
}

/// Where a route comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// This node's pod CIDRs.
    PodCidrs,
    /// This node's addresses.
    NodeAddresses,
    /// Learned from a peer.
    Learned,
}

/// Changes to a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// Replaces MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// Replaces LOCAL_PREF (on import: the preference inside this speaker).
    pub local_pref: Option<u32>,
    /// Adds these communities.
    pub add_communities: Vec<Community>,
    /// Adds these large communities.
    pub add_large_communities: Vec<LargeCommunity>,
    /// Prepends our own AS this many more times, on export.
    pub prepend: u8,
}

/// What a filter says of a route, and which rule said it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Accepted or rejected.
    pub verdict: Verdict,
    /// The rule that ended the evaluation; `default` when none did.
    pub rule: RuleName,
}

/// A route as a filter sees it.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The prefix.
    pub prefix: Prefix,
    /// Its path.
    pub as_path: &'a AsPath,
    /// Its communities.
    pub communities: &'a [Community],
    /// Its large communities.
    pub large_communities: &'a [LargeCommunity],
    /// Where it comes from.
    pub source: Source,
    /// The peer that it was learned from.
    pub peer: Option<&'a crate::types::PeerName>,
}
