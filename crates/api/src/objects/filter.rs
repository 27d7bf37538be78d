//! BGPFilter: rules for routes, named by BGPPeers.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SetAttributes;
use crate::values::{Cidr, Community, LargeCommunity};

/// Rules for routes of both families. The first rule that matches and ends wins; a route that no rule ends goes
/// on to the next filter, then to the built-in ones. No change resets a session.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "flatroute.io",
    version = "v1alpha1",
    kind = "BGPFilter",
    shortname = "frfilter",
    category = "flatroute",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct BGPFilterSpec {
    /// The rules, in order.
    #[schemars(length(max = 256))]
    pub rules: Vec<FilterRule>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FilterRule {
    /// What the rule applies to; all that is given must hold. Default: every route.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub matches: Option<FilterMatch>,
    /// What happens then.
    pub action: FilterAction,
    /// Changes to the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<SetAttributes>,
}

/// The conditions of a rule; a list holds when any of its members does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FilterMatch {
    /// The route's prefix is in one of these ranges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub prefixes: Option<Vec<PrefixRange>>,
    /// One of these communities is on the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub communities: Option<Vec<Community>>,
    /// One of these large communities (RFC 8092) is on the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub large_communities: Option<Vec<LargeCommunity>>,
    /// One of these ASNs is in the route's path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schemas::asns")]
    pub as_path: Option<Vec<u32>>,
    /// Where the route comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<RouteSource>,
    /// The name of the BGPPeer that the route was learned from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schemas::object_name")]
    pub peer: Option<String>,
}

/// A prefix with a range of lengths.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PrefixRange {
    /// Routes inside this prefix …
    pub cidr: Cidr,
    /// … with at least this length. Default: that of `cidr`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 128))]
    pub ge: Option<u8>,
    /// … and at most this one. Default: that of `cidr`, or the longest of the family when `ge` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 128))]
    pub le: Option<u8>,
}

/// What a rule does with a route that it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FilterAction {
    /// The route passes.
    Accept,
    /// The route is refused.
    Reject,
    /// The changes apply and the next rule is asked.
    Next,
}

/// Where a route comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RouteSource {
    /// The node's pod CIDRs.
    PodCIDRs,
    /// The node's addresses.
    NodeAddresses,
    /// Learned from a neighbour.
    LearnedRoutes,
}
