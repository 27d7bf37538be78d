//! The mesh: sessions between nodes that no object asks for, so that pods on one link talk with zero configuration.
//!
//! Two nodes are on one link when the other's address lies in a prefix that is on-link here; an unusual netmask aside, the
//! other end sees the same. The pair has a session unless both nodes have a neighbour in the fabric, that is, a BGPPeer
//! with an address or a discovery selects each of them: then the fabric carries their routes. Both ends read the
//! same objects, so no session is planned at one end only. (A rule that followed the state of the fabric's sessions would
//! have every node of a large cluster watch every Node, for a fallback onto a link that is rarely there without its ToR.)
//!
//! Make before break: a session of the mesh that is in force when the first BGPPeer comes stays until both nodes have all
//! their routes from the fabric. A node cannot see its neighbour's fabric, so each marks the routes of its mesh once its own
//! fabric has sent all ([`MARK`]), without a reset; whoever has marked and seen the mark ends the session. What is in force,
//! what is marked and what the fabric has sent are facts for this module ([`Mesh`]): the caller sees sessions, and has a clock.
//!
//! GTSM (RFC 5082) with 255: what was forwarded even once is not from a node on the link. For the same reason a next hop that is not
//! on a link of this node is refused (`NextHopNotOnLink`): it would resolve through a gateway.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use flatroute_api::objects::{NodeMeshMode, SetAttributes, State};
use flatroute_api::values::{LargeCommunity, PeerAsn};
use flatroute_api::{BGPPeerSpec, CONFIGURATION_NAME, ClusterState, Kind, Node, Problem, ProblemReason};
use flatroute_bgp::session;
use flatroute_bgp::types::PeerName;

use crate::identity::Identity;
use crate::targets::{Origin, Target, addresses, asn};
use crate::{Facts, Plan, configuration, selector};

/// With more neighbours than this in its mesh a node says that this is a mistake. It meshes on: pods that talk are worth
/// more than sessions.
pub const MAX_MESH: usize = 100;

/// The large community (RFC 8092) on the mesh routes of a node that has all its routes from the fabric, without its first
/// number, which is the node's ASN.
pub const MARK: [u32; 2] = [0x666c_6174, 1];

/// What is known of the mesh beside the objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mesh {
    /// Whether the fabric has sent this node all its routes, of every family of the mesh.
    pub in_fabric: bool,
    /// The sessions that are in force, by the name of the other node. They stay, whatever the objects say since.
    pub in_force: BTreeMap<String, MeshSession>,
}

/// A session of the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeshSession {
    /// Our end.
    pub source_address: Option<IpAddr>,
    /// The other end.
    pub address: IpAddr,
    /// Its ASN.
    pub asn: PeerAsn,
}

impl Plan {
    /// The sessions of the mesh, for [`Mesh::in_force`].
    #[must_use]
    pub fn mesh(&self) -> BTreeMap<String, MeshSession> {
        let peers = self.speaker.peers.iter();
        peers
            .filter_map(|(name, config)| {
                let origin = self.origins.get(name).filter(|o| o.object.is_none())?;
                let session = MeshSession {
                    source_address: config.source_address,
                    address: config.address,
                    asn: match config.session.peer_asn {
                        session::PeerAsn::Exact(asn) => PeerAsn::Number(asn.0),
                        session::PeerAsn::External => PeerAsn::External,
                        session::PeerAsn::Internal => PeerAsn::Internal,
                    },
                };
                Some((origin.node.clone()?, session))
            })
            .collect()
    }

    /// The sessions of the mesh that are only there until both nodes have their routes from the fabric: the neighbour's name, and
    /// the node's.
    pub fn outliving(&self) -> impl Iterator<Item = (&PeerName, &str)> {
        let origins = self.origins.iter().filter(|(_, origin)| origin.outlives);
        origins.filter_map(|(name, origin)| Some((name, origin.node.as_deref()?)))
    }
}

/// Whether nodes may be neighbours without an object.
pub(crate) fn is_wanted(state: &ClusterState) -> bool {
    let mode = configuration(state)
        .and_then(|c| c.node_mesh.as_ref())
        .and_then(|m| m.mode);
    match mode {
        None | Some(NodeMeshMode::Auto) => true,
        Some(NodeMeshMode::Disabled) => false,
    }
}

/// Whether every node has a neighbour in the fabric, whoever the nodes are.
pub(crate) fn is_superseded(state: &ClusterState) -> bool {
    fabric(state).any(|spec| spec.node_selector.as_ref().is_none_or(selector::is_all))
}

/// The objects that give nodes a neighbour that is no node.
fn fabric(state: &ClusterState) -> impl Iterator<Item = &BGPPeerSpec> {
    let specs = state.peers.values().map(|object| &object.spec);
    // Whether anybody comes to a range is not known.
    let names = |spec: &&BGPPeerSpec| spec.peer_selector.is_none() && spec.listen_range.is_none();
    specs.filter(names).filter(|spec| spec.state != Some(State::Down))
}

/// The neighbours of the mesh.
pub(crate) fn targets(
    identity: &Identity,
    state: &ClusterState,
    facts: &Facts,
    problems: &mut Vec<Problem>,
) -> Vec<Target<'static>> {
    if !is_wanted(state) {
        return Vec::new();
    }
    let in_fabric = |labels: &BTreeMap<String, String>| {
        fabric(state).any(|spec| selector::matches(spec.node_selector.as_ref(), labels))
    };
    let own = in_fabric(&identity.labels);
    let others = state.nodes.iter().filter(|(name, _)| **name != identity.name);
    let wanted: BTreeMap<&str, MeshSession> = others
        .filter(|(_, node)| !(own && in_fabric(&node.labels())))
        .filter_map(|(name, node)| Some((name.as_str(), session(identity, (name, node), state, facts)?)))
        .collect();
    let names: BTreeSet<&str> = wanted.keys().copied().collect();
    let in_force = facts.mesh.in_force.iter();
    let outliving = in_force.filter(|(name, _)| !names.contains(name.as_str()));
    let targets: Vec<Target<'static>> = wanted
        .iter()
        .map(|(name, session)| target(name, *session, identity, facts, false))
        .chain(outliving.map(|(name, session)| target(name, *session, identity, facts, true)))
        .collect();
    if targets.len() > MAX_MESH {
        problems.push(too_large(&identity.name, targets.len()));
    }
    targets
}

fn too_large(node: &str, sessions: usize) -> Problem {
    let message = format!(
        "node {node} has {sessions} neighbours in the mesh between nodes, more than the {MAX_MESH} that it is meant for; every node \
         holds a session to every other one"
    );
    let remedy = "give the nodes a neighbour in the fabric by a BGPPeer (discover: DefaultGateways), or set \
                  spec.nodeMesh.mode: Disabled";
    let kind = Kind::BGPConfiguration.as_str();
    Problem::new(kind, CONFIGURATION_NAME, "spec.nodeMesh.mode", message, remedy)
        .because(ProblemReason::MeshTooLarge)
}

/// The session with another node, if it is on the link.
fn session(
    identity: &Identity,
    (name, node): (&String, &Node),
    state: &ClusterState,
    facts: &Facts,
) -> Option<MeshSession> {
    let (own, address) = addresses(identity, node)?;
    let is_on_link = facts.links.on_link.iter().any(|prefix| prefix.contains(address));
    is_on_link.then(|| MeshSession {
        source_address: Some(own),
        address,
        asn: asn(name, node, state),
    })
}

fn target(
    name: &str,
    session: MeshSession,
    identity: &Identity,
    facts: &Facts,
    outlives: bool,
) -> Target<'static> {
    let [local1, local2] = MARK;
    let mark = SetAttributes {
        large_communities: vec![LargeCommunity([identity.asn.0, local1, local2])],
        ..SetAttributes::default()
    };
    let spec = BGPPeerSpec {
        ttl_security: Some(1),
        set: facts.mesh.in_fabric.then_some(mark),
        ..BGPPeerSpec::new(session.address, session.asn)
    };
    Target {
        // No name of an object has a colon.
        name: format!("mesh:{name}"),
        origin: Origin {
            object: None,
            node: Some(name.to_owned()),
            outlives,
        },
        field: "spec.nodeMesh",
        address: session.address,
        interface: None,
        source_address: session.source_address,
        asn: session.asn,
        spec: Cow::Owned(spec),
    }
}
