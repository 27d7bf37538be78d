//! The JSON of the control socket. The agent writes these types, `flatroute` and the tests read them; fields are
//! only ever added. Names are those of the objects, times are seconds.

mod peers;

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use peers::{GracefulRestart, LastError, Negotiated, Peer, Peers, PrefixCounts, Retained};

use crate::problem::Problem;

/// `GET /v1/status`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The version of the agent.
    pub version: String,
    /// The node.
    pub node: String,
    /// The ASN of the node.
    #[serde(rename = "localASN")]
    pub local_asn: u32,
    /// The BGP identifier.
    #[serde(rename = "routerID")]
    pub router_id: String,
    /// How long the agent has been running, in seconds.
    pub uptime_seconds: u64,
    /// How many neighbours are configured.
    pub peers: usize,
    /// How many of them are Established.
    pub established: usize,
    /// The kernel's routes.
    pub fib: FibStatus,
    /// The rules for packets of pods; none: the node has no pods, or no plan yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_rules: Option<PodRules>,
    /// After a restart: what is waited for before routes are chosen; until then the kernel goes on forwarding as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarting: Option<Restarting>,
    /// Whether every session has been ended for good, by `POST /v1/node:shutdown`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shut_down: bool,
    /// The agents before this one that died and were followed at once (`--respawn`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub respawned: Option<Respawned>,
    /// Where the objects in force come from.
    #[serde(default)]
    pub objects: Objects,
    /// Whether the node can serve pods; once it can, it stays so for the life of the agent.
    #[serde(default)]
    pub ready: bool,
    /// What is waited for, until it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_reason: Option<String>,
    /// What is wrong with the objects.
    pub problems: Vec<Problem>,
}

/// What an agent that has restarted waits for (RFC 4724 §4.1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Restarting {
    /// For how long at most, in seconds.
    pub left_seconds: u64,
    /// For whom.
    pub waiting: Vec<Awaited>,
}

/// A neighbour that is waited for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Awaited {
    /// Its name.
    pub peer: String,
    /// For what, in words.
    pub what: String,
}

/// Agents that died.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Respawned {
    /// How many, since the start of the parent that follows them.
    pub deaths: u64,
    /// How the last of them ended, in words.
    pub last: String,
}

/// Where the objects in force come from, and how old they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Objects {
    /// `Manifests`, `APIServer`, `LastKnownGood` (a copy from the state directory), or `Nowhere` while none are known.
    pub from: String,
    /// How long ago such a copy was last known to be true, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_seconds: Option<u64>,
    /// What is waited for, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub awaited: Vec<String>,
}

/// The kernel's routes, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FibStatus {
    /// Routes that the kernel has acknowledged.
    pub installed: u64,
    /// Routes that it refused.
    pub failed: u64,
    /// Times that another program changed a route of ours.
    pub drift: u64,
    /// Routes on their way: not yet compared with the kernel's, or not yet acknowledged.
    pub pending: u64,
    /// Routes none of whose next hops can be used at the moment.
    pub waiting: u64,
    /// Complete read-backs of the kernel's routes.
    pub resyncs: u64,
}

/// The rules for packets of pods: nf_tables' table `inet flatroute`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodRules {
    /// Whether they are in the kernel as they shall be.
    pub in_force: bool,
    /// Why not, and what to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Times that another program changed them, and they were repaired.
    pub drift: u64,
}

/// `GET /v1/routes`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Routes {
    /// The routes, by prefix.
    pub routes: Vec<Route>,
    /// Whether there are more than were asked for.
    #[serde(default)]
    pub truncated: bool,
}

/// One path to a prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Route {
    /// The prefix.
    pub prefix: String,
    /// The neighbour that it was learned from, or is advertised to; absent for our own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// What tells it from other paths of its prefix from or to the same neighbour, where there may be several (RFC 7911): the
    /// neighbour's identifier, or ours among those advertised.
    #[serde(rename = "pathID", skip_serializing_if = "Option::is_none")]
    pub path_id: Option<u32>,
    /// The next hops; several only in the view of the kernel.
    pub next_hops: Vec<String>,
    /// The AS path as text: `65001 64512`, sets in braces.
    pub as_path: String,
    /// `IGP`, `EGP` or `Incomplete`.
    pub origin: String,
    /// MULTI_EXIT_DISC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub med: Option<u32>,
    /// LOCAL_PREF.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_pref: Option<u32>,
    /// Communities as text.
    pub communities: Vec<String>,
    /// Extended communities as text: `rt:64512:100`, `ro:…`, `bandwidth:…`, else `generic:0x…` (RFC 4360).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extended_communities: Vec<String>,
    /// Large communities as text: `64512:1:2` (RFC 8092).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub large_communities: Vec<String>,
    /// ORIGINATOR_ID (RFC 4456).
    #[serde(rename = "originatorID", skip_serializing_if = "Option::is_none")]
    pub originator_id: Option<String>,
    /// CLUSTER_LIST (RFC 4456), the last cluster first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cluster_list: Vec<String>,
    /// The AS of ONLY_TO_CUSTOMER (RFC 9234).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only_to_customer: Option<u32>,
    /// AGGREGATOR: `64512 192.0.2.1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aggregator: Option<String>,
    /// Whether ATOMIC_AGGREGATE is there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub atomic_aggregate: bool,
    /// Attributes that this speaker only passes on, as text: `attribute 40: 0x0102`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_attributes: Vec<String>,
    /// Whether it is the best path.
    pub best: bool,
    /// Whether it is used beside the best path.
    pub multipath: bool,
    /// Whether it is in the kernel.
    pub installed: bool,
    /// Whether it outlived its session and has not been said again (RFC 4724).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stale: bool,
    /// Why it is what it is.
    pub reason: String,
}

/// `GET /v1/why?address=`: what becomes of a packet of this node to an address, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Why {
    /// The address.
    pub address: IpAddr,
    /// What happens, and why: one sentence.
    pub verdict: String,
    /// The kernel's route by which it goes, whoever made it; absent when it goes by none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<KernelRoute>,
    /// The longest prefix that has the address and a route of BGP in use, or of this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// All paths to it that BGP has, of the longest prefix first, the best path of each before those that lost, with the reasons.
    pub paths: Vec<Route>,
    /// Whether each neighbour is told of `prefix`, and why.
    pub advertised: Vec<Told>,
}

/// A route of the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KernelRoute {
    /// The prefix.
    pub prefix: String,
    /// Who made it: `flatroute (79)`, `flatroute-cni (80)`, else the name or number of the protocol, as `ip route` shows it.
    pub protocol: String,
    /// The table.
    pub table: u32,
    /// The next hops.
    pub next_hops: Vec<String>,
    /// The interfaces, where the route names them.
    pub interfaces: Vec<String>,
}

/// What a neighbour is told of a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The neighbour.
    pub peer: String,
    /// `told (filter: …)`, `withheld: …`, or that the session is down.
    pub reason: String,
}

/// `GET /v1/config`: the plan in force, in words that can be compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// The node.
    pub node: String,
    /// Its ASN.
    #[serde(rename = "localASN")]
    pub local_asn: u32,
    /// Its BGP identifier.
    #[serde(rename = "routerID")]
    pub router_id: String,
    /// Where sessions are listened for.
    pub listen: String,
    /// The cluster's pod CIDRs.
    #[serde(rename = "clusterCIDRs")]
    pub cluster_cidrs: Vec<String>,
    /// Where they were found.
    #[serde(rename = "clusterCIDRsFrom")]
    pub cluster_cidrs_from: String,
    /// What is originated.
    pub originate: Vec<String>,
    /// The neighbours, by name.
    pub peers: BTreeMap<String, PeerConfig>,
    /// `relaxed, at most 16 paths`
    pub multipath: String,
    /// The rules for what goes into the kernel.
    pub install: Vec<String>,
    /// The static part of the kernel's routes.
    pub fib: Vec<String>,
    /// What is done with packets of the node's pods; nothing: it has none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pod_network: Vec<String>,
    /// Where the objects in force come from; the planner leaves it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objects: Option<Objects>,
    /// What is wrong with the objects.
    pub problems: Vec<Problem>,
}

/// One neighbour of [`Config`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PeerConfig {
    /// `10.0.1.1:179`, with the interface and source where they are set.
    pub address: String,
    /// `64512 -> 65001`
    pub asns: String,
    /// What the session is negotiated with.
    pub session: String,
    /// The rest of the settings.
    pub policy: String,
    /// `Up`, `Down: text`, or `Held: ` and what is missing.
    pub state: String,
    /// The rules for what it sends.
    pub import: Vec<String>,
    /// The rules for what it is told.
    pub export: Vec<String>,
}

/// `GET /v1/events`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Events {
    /// The newest last.
    pub events: Vec<Event>,
}

/// Something that happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Event {
    /// Its number, from 1; gaps mean that older ones were forgotten.
    pub number: u64,
    /// How long ago.
    pub seconds_ago: u64,
    /// `PeerEstablished`, `PeerDown`, `Transition`, `ConfigurationInvalid`, …
    pub kind: String,
    /// The neighbour that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// In words.
    pub text: String,
    /// A NOTIFICATION's bytes in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<String>,
    /// The message with the error, or the one that a NOTIFICATION was sent for, in hexadecimal, header included: its
    /// first 4,096 octets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The attribute with the error: `AS_PATH (2)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attribute: Option<String>,
    /// What was done about the error: `DiscardAttribute`, `TreatAsWithdraw` or `ResetSession`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disposition: Option<String>,
    /// The prefixes that the error concerns, the first 16 of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prefixes: Vec<String>,
    /// How many earlier events of this kind and neighbour were only counted, because there were too many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untold: Option<u64>,
}

/// What is answered when something is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// What is wrong, and what to do.
    pub error: String,
}
