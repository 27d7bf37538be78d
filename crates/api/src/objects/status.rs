//! What agents write: the status of a BGPPeer, and BGPNodeStatus, one object a node.
//!
//! A BGPPeer is shared by all nodes that it selects, so its status has counts only, and one agent writes it for all.
//! What one node sees of each of its neighbours stands in the BGPNodeStatus of that name, which its own agent writes.
//! Nobody needs to read a log to learn why a session is down: a condition says so, with a word for programs and a sentence
//! for people.
//!
//! Every list and text has a bound, because the API server asks for one and because a neighbour has a say in some of
//! them. Writers cut what is longer; the counts beside a list are of all.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Family;

/// How many neighbours a BGPNodeStatus lists.
pub const MAX_STATUS_PEERS: usize = 512;

/// How long the text of an error or the message of a condition is, in bytes.
pub const MAX_STATUS_TEXT: usize = 1024;

/// What all nodes together see of a neighbour; written by one agent, at most once in a few seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BGPPeerStatus {
    /// The generation of the object that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// How many nodes shall have this neighbour: those whose agents say so, also where it finds no neighbour. A node without an
    /// agent is not among them.
    #[serde(default)]
    pub desired_nodes: u32,
    /// How many of them have all their sessions with it Established.
    #[serde(default)]
    pub established_nodes: u32,
    /// Prefixes received from it, of both families, over all nodes.
    #[serde(default)]
    pub received_prefixes: u64,
    /// Those of them that are in use and allowed into the kernel.
    #[serde(default)]
    pub installed_prefixes: u64,
    /// `Accepted`, `ResolvedRefs`, `Established`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schemas::conditions")]
    pub conditions: Vec<Condition>,
}

/// The types of a BGPPeer's conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerCondition {
    /// The object is one that nodes can use, and some node does.
    Accepted,
    /// What it names is there: filters, the Secret and its key.
    ResolvedRefs,
    /// Every node that shall have the neighbour has it. False for a reason of the other two, it carries that reason:
    /// it is the one condition to look at.
    Established,
}

/// The reasons of a BGPPeer's conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerReason {
    /// `Accepted`: nodes use it.
    Accepted,
    /// `Accepted` is False: something in it cannot be used; the message has the field and the remedy.
    Invalid,
    /// `Accepted` is False: no node says that it shall have the neighbour. `Established` alone is False: the nodes that it selects
    /// find no other one to be their neighbour.
    NoMatchingNodes,
    /// `Accepted` is False: another BGPPeer has the same neighbour on the same node.
    ConflictingPeer,
    /// `ResolvedRefs`: all that it names is there.
    ResolvedRefs,
    /// `ResolvedRefs` is False: the Secret, or its key, is not there.
    SecretNotFound,
    /// `ResolvedRefs` is False: a BGPFilter is not there.
    FilterNotFound,
    /// `Established`: on every node.
    Established,
    /// `Established` is False: on some nodes only; the message names the worst session.
    PartiallyEstablished,
    /// `Established` is False: on no node; the message names the worst session.
    NotEstablished,
    /// `Established` is False: no node that it selects has a default gateway to discover.
    NoDefaultGateway,
    /// `Established` is False: on no node that it selects has `interface` heard a router.
    NoRouterAdvertisement,
    /// `Established` is False: `state: Down` asks for it.
    AdministrativelyDown,
    /// `Established` is True: `state: Drained` takes the neighbour out of use; the message says whether it is.
    Drained,
    /// `Established` is True, but a family that was asked for was not agreed on.
    FamilyNotNegotiated,
    /// `Established` is True, but the neighbour sends nothing: the usual sign of a switch that holds back the paths of
    /// its own ASN.
    NoRoutesFromPeer,
    /// Unknown: BGPConfiguration `nodeStatus.mode` is `Disabled`, so no node reports.
    NodeStatusDisabled,
}

impl PeerCondition {
    /// As it stands in `type`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::ResolvedRefs => "ResolvedRefs",
            Self::Established => "Established",
        }
    }
}

impl PeerReason {
    /// As it stands in `reason`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::Invalid => "Invalid",
            Self::NoMatchingNodes => "NoMatchingNodes",
            Self::ConflictingPeer => "ConflictingPeer",
            Self::ResolvedRefs => "ResolvedRefs",
            Self::SecretNotFound => "SecretNotFound",
            Self::FilterNotFound => "FilterNotFound",
            Self::Established => "Established",
            Self::PartiallyEstablished => "PartiallyEstablished",
            Self::NotEstablished => "NotEstablished",
            Self::NoDefaultGateway => "NoDefaultGateway",
            Self::NoRouterAdvertisement => "NoRouterAdvertisement",
            Self::AdministrativelyDown => "AdministrativelyDown",
            Self::Drained => "Drained",
            Self::FamilyNotNegotiated => "FamilyNotNegotiated",
            Self::NoRoutesFromPeer => "NoRoutesFromPeer",
            Self::NodeStatusDisabled => "NodeStatusDisabled",
        }
    }
}

/// Nothing: all that a BGPNodeStatus says is its status.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "flatroute.io",
    version = "v1alpha1",
    kind = "BGPNodeStatus",
    plural = "bgpnodestatuses",
    shortname = "frnode",
    category = "flatroute",
    status = "BGPNodeStatusStatus",
    no_spec,
    doc = "What a node sees: its neighbours and its routes. Written by the node's agent; it has the node's name and goes with it.",
    derive = "PartialEq",
    derive = "Default"
)]
pub struct BGPNodeStatusSpec {}

/// What a node sees. Written on change, at most once in 10 s.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BGPNodeStatusStatus {
    /// The node's BGP identifier.
    #[serde(default, rename = "routerID", skip_serializing_if = "Option::is_none")]
    pub router_id: Option<Ipv4Addr>,
    /// The node's ASN.
    #[serde(default, rename = "localASN", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schemas::asn")]
    pub local_asn: Option<u32>,
    /// What the agent is doing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<NodePhase>,
    /// How many sessions the node shall have, also those beyond the end of `peers`.
    #[serde(default)]
    pub desired_peers: u32,
    /// How many of them are Established.
    #[serde(default)]
    pub established_peers: u32,
    /// The sessions, by name and address; the first 512 of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512))]
    pub peers: Vec<NodePeer>,
    /// The routes in the kernel, counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fib: Option<NodeFib>,
    /// `NetworkReady`, `FIBSynced`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schemas::conditions")]
    pub conditions: Vec<Condition>,
}

/// What an agent is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NodePhase {
    /// It has not served pods since the node booted.
    Starting,
    /// It serves pods, or has since the node booted.
    Running,
    /// It follows another agent, and waits for its neighbours before it chooses routes; the kernel forwards as before.
    Restarting,
}

/// The types of a BGPNodeStatus' conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeCondition {
    /// Routes have arrived and the kernel holds them: pods can be reached. Once True, it stays so until the next boot.
    NetworkReady,
    /// The kernel holds what was chosen, at this moment.
    FIBSynced,
}

impl NodeCondition {
    /// As it stands in `type`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NetworkReady => "NetworkReady",
            Self::FIBSynced => "FIBSynced",
        }
    }
}

/// One session of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodePeer {
    /// The name of the BGPPeer.
    #[schemars(length(max = 253))]
    pub name: String,
    /// The neighbour's address; none when the BGPPeer finds no neighbour on this node, for the reason that is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The interface of a link-local address, or that the neighbour is to be found on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 15))]
    pub interface: Option<String>,
    /// The neighbour's ASN: as configured, or as it said when any is allowed and the session is up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schemas::asn")]
    pub asn: Option<u32>,
    /// The state of the session (RFC 4271 §8.2.2).
    pub state: SessionState,
    /// Why the node does not try to have the session, when something is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub reason: Option<String>,
    /// Since when it has been Established, or has not been.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// How often it left Established.
    #[serde(default)]
    pub flaps: u64,
    /// The last error, also after recovery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<SessionError>,
    /// What was agreed; only while Established.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub negotiated: Option<Negotiated>,
    /// Families that were offered to it and that it left out of its OPEN: their routes are not exchanged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    pub not_negotiated: Vec<Family>,
    /// Prefixes, by family.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    pub prefixes: Vec<FamilyPrefixes>,
}

/// The states of a session (RFC 4271 §8.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SessionState {
    /// Nothing is tried.
    Idle,
    /// A connection is being opened.
    Connect,
    /// A connection is waited for.
    Active,
    /// OPEN was sent.
    OpenSent,
    /// OPEN was received, and agreed to.
    OpenConfirm,
    /// Routes are exchanged.
    Established,
}

impl fmt::Display for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "Idle",
            Self::Connect => "Connect",
            Self::Active => "Active",
            Self::OpenSent => "OpenSent",
            Self::OpenConfirm => "OpenConfirm",
            Self::Established => "Established",
        })
    }
}

/// The last error of a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionError {
    /// Who said so.
    pub direction: ErrorDirection,
    /// The error code of the NOTIFICATION (RFC 4271 §4.5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u8>,
    /// Its subcode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subcode: Option<u8>,
    /// In words.
    #[schemars(length(max = 1024))]
    pub text: String,
    /// When; the same error again keeps its first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
}

/// Who ended a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ErrorDirection {
    /// We sent the NOTIFICATION.
    Sent,
    /// The neighbour sent it.
    Received,
    /// No NOTIFICATION was exchanged.
    Local,
}

/// What a session has agreed on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Negotiated {
    /// The address families.
    #[serde(default)]
    #[schemars(length(max = 2))]
    pub families: Vec<Family>,
    /// The hold time, in seconds; 0: none.
    pub hold_time_seconds: u32,
    /// The interval between KEEPALIVEs, in seconds.
    pub keepalive_time_seconds: u32,
    /// The neighbour's BGP identifier.
    #[serde(default, rename = "routerID", skip_serializing_if = "Option::is_none")]
    pub router_id: Option<Ipv4Addr>,
}

/// Prefixes of a session in one family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FamilyPrefixes {
    /// The family.
    pub family: Family,
    /// Received.
    pub received: u64,
    /// Accepted by the import filters.
    pub accepted: u64,
    /// In use and allowed into the kernel.
    pub installed: u64,
    /// Advertised.
    pub advertised: u64,
    /// How many of those received outlived their session and have not been said again (RFC 4724).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stale: u64,
}

/// Whether a number says nothing.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The routes in the kernel, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeFib {
    /// Routes that the kernel has acknowledged.
    pub installed: u64,
    /// Routes that it refused.
    pub failed: u64,
    /// Times that another program changed a route of ours.
    pub drift: u64,
}
