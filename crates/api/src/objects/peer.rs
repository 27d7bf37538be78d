//! BGPPeer: a neighbour of the nodes that it selects. The one object that most users write.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::BGPPeerStatus;
use crate::values::{Cidr, Community, Duration, LargeCommunity, PeerAsn};

/// A neighbour of the nodes that `nodeSelector` selects.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "flatroute.io",
    version = "v1alpha1",
    kind = "BGPPeer",
    shortname = "frpeer",
    category = "flatroute",
    status = "BGPPeerStatus",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct BGPPeerSpec {
    /// The nodes that have this neighbour. Default: every node. Several objects that select a node add up. A change resets only
    /// the sessions of nodes that come or go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schemas::node_selector")]
    pub node_selector: Option<LabelSelector>,
    /// The neighbour's address. A link-local one (fe80::/10) needs `interface`. Exactly one of `peerAddress`, `interface` alone,
    /// `discover`, `peerSelector` and `listenRange` is set. A change resets the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_address: Option<IpAddr>,
    /// Finds the neighbours in the node's routing table instead of naming one; each has the name `OBJECT-ADDRESS`. An address that
    /// a `peerAddress` of another object names is left to that object. A change resets the sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discover: Option<Discover>,
    /// Nodes that are neighbours of the nodes that `nodeSelector` selects: one session for each such pair, planned at both ends
    /// from this one object; each neighbour has the name `OBJECT-NODE`. The addresses of both ends are their Nodes' first
    /// InternalIPs of IPv4 (of IPv6 where one has none of IPv4), the ASNs those of their Nodes. A Node with the annotation
    /// `flatroute.io/cluster-id` is a route reflector, and its neighbours by this that have none and are of its ASN are its
    /// clients. Excludes `peerASN`, `localASN` and `sourceAddress`. A change resets the sessions of pairs that come or go, and no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schemas::node_selector")]
    pub peer_selector: Option<LabelSelector>,
    /// Whoever dials from within this prefix is a neighbour; none is dialled. Each has the name `OBJECT-ADDRESS`. An address that
    /// another object names is left to that object, and of several ranges the longest counts. Excludes `connectMode` and
    /// `peerPort`. A change resets the sessions of neighbours that it no longer holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen_range: Option<Cidr>,
    /// How many neighbours of `listenRange` a node has at once; one that is away makes room for one that comes. Default: 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub listen_limit: Option<u16>,
    /// The interface of a link-local `peerAddress`. Alone: the neighbour is whoever sends router advertisements on this link; the
    /// node sends its own there, which make it nobody's default router. Routes of both families go by IPv6 next hops (RFC 8950),
    /// and no address is needed. Needs the capability NET_RAW. A change resets the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schemas::interface")]
    pub interface: Option<String>,
    /// The neighbour's TCP port. Default: 179. A change resets the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_535))]
    pub peer_port: Option<u16>,
    /// The neighbour's ASN, or `External` (any but ours) or `Internal` (ours). Required, except with `peerSelector`, which
    /// excludes it. A change resets the session.
    #[serde(default, rename = "peerASN", skip_serializing_if = "Option::is_none")]
    pub peer_asn: Option<PeerAsn>,
    /// Our ASN towards this neighbour. Default: the node's. A change resets the session.
    #[serde(default, rename = "localASN", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schemas::asn")]
    pub local_asn: Option<u32>,
    /// Our address towards this neighbour. Needs `peerAddress`. Default: the kernel's choice. A change resets the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_address: Option<IpAddr>,
    /// Who opens the connection. Default: `Both`. A change resets the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_mode: Option<ConnectMode>,
    /// How the neighbour's segments are known to be its own. Default: by its address only. A change resets the session,
    /// also one of the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// Timers of the session. A change resets the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timers: Option<Timers>,
    /// What is agreed on with the neighbour about restarts (RFC 4724). Default: each keeps the other's routes while it
    /// restarts. A change resets the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graceful_restart: Option<GracefulRestart>,
    /// The neighbour is at most this many hops away, checked by the TTL of what it sends (RFC 5082). Excludes
    /// `multihop`. A change resets the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 254))]
    pub ttl_security: Option<u8>,
    /// What we send lives for at most this many hops. Default: 1 for external neighbours. Excludes
    /// `ttlSecurity`. A change resets the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 254))]
    pub multihop: Option<u8>,
    /// The address families to offer. Default: those of the node's addresses. A change resets the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub families: Option<BTreeSet<Family>>,
    /// The next hop that the neighbour is told. Default: `Auto`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_hop: Option<NextHop>,
    /// How often our own ASN may stand in a path from this neighbour. Default: 1 from external neighbours, 0 with
    /// `LearnedRoutes` and from internal ones.
    #[serde(default, rename = "allowOwnASN", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10))]
    pub allow_own_asn: Option<u8>,
    /// Whether the neighbour, of our own ASN, is a client of this node as a route reflector (RFC 4456): it is told what other
    /// neighbours of our ASN say, and they what it says, with the next hop unchanged. The cluster is the Node's annotation
    /// `flatroute.io/cluster-id`, or else its BGP identifier. Excludes `peerSelector`, with which that annotation says who
    /// reflects. Default: `Disabled`. A change resets no session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route_reflector_client: Option<Toggle>,
    /// Whether several paths of one prefix go over the session (RFC 7911), of every family: what the neighbour agrees to. At most
    /// 64 of a prefix either way, and what is sent are the best. Each counts for `maxPrefixes`. Default: `Disabled`: one path a
    /// prefix. A change resets the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add_path: Option<AddPath>,
    /// What our AS is to the neighbour's (RFC 9234). Routes that are for customers only (ONLY_TO_CUSTOMER) then go to customers only,
    /// and one that comes from a customer is refused as a leak. A neighbour that says another role than this one calls for is refused;
    /// one that says none is believed to have it. Default: none, nothing of this. Only for external neighbours; excludes
    /// `peerSelector`. A change resets the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// How many prefixes a family the neighbour may send. Default: 10000, `Drop`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_prefixes: Option<MaxPrefixes>,
    /// Names of BGPFilters for what the neighbour sends, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schemas::filter_names")]
    pub import_filters: Vec<String>,
    /// Names of BGPFilters for what the neighbour is told, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schemas::filter_names")]
    pub export_filters: Vec<String>,
    /// Whether a route that no filter ends is judged by the built-in filters, or else refused. Default:
    /// `Enabled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub built_in_filters: Option<Toggle>,
    /// What the neighbour is told. Default: `[PodCIDRs]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advertise: Option<BTreeSet<Advertise>>,
    /// Changes to all that is advertised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<SetAttributes>,
    /// Which routes of this neighbour go into the kernel. Default: `[PodCIDRs]`; empty: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub install_routes: Option<BTreeSet<InstallRoutes>>,
    /// Whether the session shall be up, and carry anything. Default: `Up`. A change to or from `Down` ends or starts the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// A text for the neighbour when `state` is `Down` (RFC 9003), in UTF-8 of at most 255 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub state_message: Option<String>,
}

impl BGPPeerSpec {
    /// A neighbour with an address and an ASN, and the defaults for everything else.
    #[must_use]
    pub fn new(peer_address: IpAddr, peer_asn: PeerAsn) -> Self {
        Self {
            node_selector: None,
            peer_address: Some(peer_address),
            discover: None,
            peer_selector: None,
            listen_range: None,
            listen_limit: None,
            interface: None,
            peer_port: None,
            peer_asn: Some(peer_asn),
            local_asn: None,
            source_address: None,
            connect_mode: None,
            auth: None,
            timers: None,
            graceful_restart: None,
            ttl_security: None,
            multihop: None,
            families: None,
            next_hop: None,
            allow_own_asn: None,
            route_reflector_client: None,
            add_path: None,
            role: None,
            max_prefixes: None,
            import_filters: Vec::new(),
            export_filters: Vec::new(),
            built_in_filters: None,
            advertise: None,
            set: None,
            install_routes: None,
            state: None,
            state_message: None,
        }
    }
}

/// Where neighbours are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Discover {
    /// Every next hop of the default routes of both families in the main table is a neighbour, those excepted whose
    /// routes flatroute made itself. It stays one for 5 minutes after its last route went.
    DefaultGateways,
}

/// Who opens the TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConnectMode {
    /// The node dials and refuses what is dialled to it.
    Active,
    /// The node waits.
    Passive,
    /// Either.
    Both,
}

/// How the segments of a neighbour are known to be its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Auth {
    /// By a digest with a shared key in each TCP segment (RFC 2385).
    pub md5: Md5Auth,
}

/// TCP MD5.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Md5Auth {
    /// Where the key is. While it is not there, the session is held down.
    pub secret_ref: SecretKeyRef,
}

/// A value of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// The name of the Secret. Its namespace is the agent's; among manifests in a directory any, and the name is there once.
    #[schemars(schema_with = "crate::schemas::object_name")]
    pub name: String,
    /// The key in the Secret; its value has from 1 to 80 octets, which are used as they are. Default: `password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schemas::secret_key")]
    pub key: Option<String>,
}

/// Timers of a session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Timers {
    /// How long the neighbour may be silent. Default: 90s. Zero (never), or 3s to 65535s, in whole seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_time: Option<Duration>,
    /// The interval between KEEPALIVEs. Default: a third of the hold time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keepalive_time: Option<Duration>,
    /// The pause before another attempt to connect; it grows with each failure. Default: 5s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_retry_time: Option<Duration>,
    /// How long the neighbour may take nothing of what is sent to it. Default: twice the negotiated hold time, and for
    /// ever without one. Zero (for ever), or from holdTime (at least 3s) to 65535s. A change resets the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_hold_time: Option<Duration>,
}

/// What is agreed on with a neighbour about restarts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GracefulRestart {
    /// Who keeps whose routes while the other restarts. Default: `Auto`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<GracefulRestartMode>,
    /// How long the neighbour is asked to keep our routes while the agent is away. Default: 120s. From 1s to 4095s, in whole
    /// seconds. The neighbour's own time says how long we keep its routes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_time: Option<Duration>,
    /// How long after that the neighbour may keep our routes as a last resort, where no other path is left, and how long we keep
    /// its own so at most (RFC 9494). Default: 0s: not at all. Up to 16777215s, in whole seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub long_lived_stale_time: Option<Duration>,
    /// Whether a NOTIFICATION, such as that of an expired hold timer, is a restart too, where the neighbour says the same
    /// (RFC 8538). Default: `Disabled`: what a NOTIFICATION ends is withdrawn at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notification: Option<Toggle>,
}

/// Who keeps whose routes while the other restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum GracefulRestartMode {
    /// Each the other's.
    Auto,
    /// We the neighbour's; it is not asked to keep ours.
    HelperOnly,
    /// Nobody: a session that ends takes its routes along.
    Disabled,
}

/// A switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Toggle {
    /// Done.
    Enabled,
    /// Not done.
    Disabled,
}

/// An address family, unicast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Family {
    /// IPv4.
    IPv4,
    /// IPv6.
    IPv6,
}

/// The next hop that a neighbour is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NextHop {
    /// This node, towards external neighbours and for its own routes; as received, towards internal ones.
    Auto,
    /// Always this node.
    #[serde(rename = "Self")]
    ItSelf,
    /// As received, where it is on the neighbour's link.
    Unchanged,
}

/// Which way several paths of one prefix go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AddPath {
    /// Neither.
    Disabled,
    /// From the neighbour.
    Receive,
    /// To the neighbour: all that may be told to it.
    Send,
    /// Both ways.
    Both,
}

/// What our AS is to a neighbour's (RFC 9234 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Role {
    /// The neighbour gets transit from us: it is our customer.
    Provider,
    /// We get transit from the neighbour: it is our provider.
    Customer,
    /// Each gives the other its own routes and those of its customers.
    Peer,
    /// We are a route server, and the neighbour is its client.
    RouteServer,
    /// The neighbour is a route server, and we are its client.
    RouteServerClient,
}

/// A limit on the prefixes of a neighbour, a family.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MaxPrefixes {
    /// The number of prefixes. Default: 10000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    pub limit: Option<u32>,
    /// What happens beyond it. Default: `Drop`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<MaxPrefixesAction>,
}

/// What happens to a prefix beyond the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MaxPrefixesAction {
    /// It is taken, and said.
    Warn,
    /// It is refused; those held stay.
    Drop,
    /// The session ends, and starts again after a pause that grows each time.
    Restart,
}

/// What a neighbour is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Advertise {
    /// The node's pod CIDRs.
    PodCIDRs,
    /// The node's addresses.
    NodeAddresses,
    /// What was learned from other neighbours: makes the node a transit router.
    LearnedRoutes,
}

/// Which routes of a neighbour go into the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum InstallRoutes {
    /// Those inside the cluster's pod CIDRs.
    PodCIDRs,
    /// Those to addresses of other nodes.
    NodeAddresses,
    /// The default routes.
    DefaultRoute,
    /// Those that a rule of `importFilters` accepted.
    Filtered,
    /// All that was accepted.
    All,
}

/// Whether a session shall be up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum State {
    /// Yes.
    Up,
    /// It stays up and carries nothing any more, to take the neighbour out of service before it is cut off (RFC 8326): what it is told
    /// says GRACEFUL_SHUTDOWN, what it says is the last choice, and after 30 s it is told nothing, except prefixes that no other
    /// neighbour is told (`LastPath`). Nothing is reset.
    Drained,
    /// No; the neighbour is told (RFC 9003).
    Down,
}

/// Changes to a route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SetAttributes {
    /// Communities to add.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub communities: Vec<Community>,
    /// Large communities (RFC 8092) to add.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub large_communities: Vec<LargeCommunity>,
    /// The multi-exit discriminator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub med: Option<u32>,
    /// The local preference: towards internal neighbours, and on import inside this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_pref: Option<u32>,
    /// How many more times our ASN is prepended, on export. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 16))]
    pub prepend: Option<u8>,
}
