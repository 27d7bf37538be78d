//! What the owner of the state tells of itself: one value, replaced as a whole. Who writes takes the newest; nothing
//! is queued, however long the API server is away.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use flatroute_api::objects::Family;
use flatroute_api::{BGPPeerSpec, Problem, control};
use k8s_openapi::jiff::Timestamp;

use crate::ready::Ready;

/// The node at one moment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Snapshot {
    /// When it was taken.
    pub(crate) taken: Timestamp,
    /// The UID of the Node; none while there is no such Node.
    pub(crate) node_uid: Option<String>,
    /// The BGP identifier.
    pub(crate) router_id: Option<Ipv4Addr>,
    /// The ASN.
    pub(crate) local_asn: u32,
    /// Whether the node can serve pods.
    pub(crate) ready: Ready,
    /// Whether it follows another agent, and has not chosen routes yet.
    pub(crate) restarting: bool,
    /// The sessions.
    pub(crate) peers: Vec<Peer>,
    /// The kernel's routes, counted.
    pub(crate) fib: control::FibStatus,
    /// For how long the kernel has been behind what was chosen, without a break.
    pub(crate) behind: Duration,
    /// The objects.
    pub(crate) objects: Arc<Objects>,
}

/// A session.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Peer {
    /// The BGPPeer that it comes from; for one of the mesh between nodes, its own name.
    pub(crate) object: String,
    /// How it is doing.
    pub(crate) session: control::Peer,
    /// Families that were offered and not agreed on, while it is Established.
    pub(crate) not_negotiated: Vec<Family>,
}

/// The objects, as far as their status needs them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Objects {
    /// The BGPPeers that are valid.
    pub(crate) peers: BTreeMap<String, Object>,
    /// The names of the BGPFilters that are.
    pub(crate) filters: BTreeSet<String>,
    /// Whether BGPConfiguration says that nodes have no BGPNodeStatus.
    pub(crate) node_status_is_off: bool,
    /// What is wrong on this node, and with objects that are not valid.
    pub(crate) problems: Vec<Problem>,
}

/// A BGPPeer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Object {
    /// Its UID.
    pub(crate) uid: Option<String>,
    /// Its generation.
    pub(crate) generation: Option<i64>,
    /// What it asks for.
    pub(crate) spec: BGPPeerSpec,
}
