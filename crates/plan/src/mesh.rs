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
//! With route reflectors (`routeReflectorSelector`) nodes have sessions with those only, and as long as one node has no neighbour in
//! the fabric, because it hears of all others by way of them. A reflector reflects what the mesh says and nothing else, leaves the
//! marks of others as they are and puts its own on its own routes. So a pair on one link reaches what it would in the full mesh, and
//! nothing more: a next hop on another link of the reflector is refused like any other.
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

    /// Whether this node reflects what some nodes of the mesh say to others.
    #[must_use]
    pub fn reflects_mesh(&self) -> bool {
        let of_mesh = self.origins.iter().filter(|(_, origin)| origin.object.is_none());
        let mut configs = of_mesh.filter_map(|(name, _)| self.speaker.peers.get(name));
        configs.any(|config| config.reflection.is_some_and(|r| r.client))
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
    let others = || state.nodes.iter().filter(|(name, _)| **name != identity.name);
    let reflectors = Reflectors::of(identity, state, problems);
    let is_superseded = own && others().all(|(_, node)| in_fabric(&node.labels()));
    let wanted: BTreeMap<&str, MeshSession> = others()
        .filter(|(name, node)| match reflectors.pair(name, node, state) {
            Pair::Direct => !(own && in_fabric(&node.labels())),
            Pair::WithReflector => !is_superseded,
            Pair::Reflected => false,
        })
        .filter_map(|(name, node)| Some((name.as_str(), session(identity, (name, node), state, facts)?)))
        .collect();
    let names: BTreeSet<&str> = wanted.keys().copied().collect();
    let in_force = facts.mesh.in_force.iter();
    let outliving = in_force.filter(|(name, _)| !names.contains(name.as_str()));
    let targets: Vec<Target<'static>> = wanted
        .iter()
        .map(|(name, session)| (*name, *session, false))
        .chain(outliving.map(|(name, session)| (name.as_str(), *session, true)))
        .map(|(name, session, outlives)| Target {
            is_client: reflectors.is_client(name),
            ..target(name, session, identity, facts, outlives)
        })
        .collect();
    if targets.len() > MAX_MESH && !reflectors.is_one {
        problems.push(too_large(&identity.name, targets.len()));
    }
    targets
}

fn too_large(node: &str, sessions: usize) -> Problem {
    let message = format!(
        "node {node} has {sessions} neighbours in the mesh between nodes, more than the {MAX_MESH} that it is meant for; every node \
         holds a session to every other one"
    );
    let remedy = "give the nodes a neighbour in the fabric by a BGPPeer (discover: DefaultGateways), name route reflectors by \
                  spec.nodeMesh.routeReflectorSelector, or set spec.nodeMesh.mode: Disabled";
    let kind = Kind::BGPConfiguration.as_str();
    Problem::new(kind, CONFIGURATION_NAME, "spec.nodeMesh.mode", message, remedy)
        .because(ProblemReason::MeshTooLarge)
}

/// The route reflectors of the mesh.
struct Reflectors<'a> {
    /// Their ASNs, by name.
    asns: BTreeMap<&'a str, PeerAsn>,
    /// Whether this node is one.
    is_one: bool,
    own_asn: PeerAsn,
}

/// What two nodes of the mesh are to each other.
enum Pair {
    /// They have a session, and no reflector is between them.
    Direct,
    /// One of them is a reflector.
    WithReflector,
    /// They hear of each other by way of reflectors.
    Reflected,
}

impl<'a> Reflectors<'a> {
    fn of(identity: &Identity, state: &'a ClusterState, problems: &mut Vec<Problem>) -> Self {
        let configured = configuration(state).and_then(|c| c.node_mesh.as_ref());
        let by = configured.and_then(|mesh| mesh.route_reflector_selector.as_ref());
        let nodes = state.nodes.iter();
        let asns: BTreeMap<&str, PeerAsn> = nodes
            .filter(|(_, node)| by.is_some_and(|by| selector::matches(Some(by), &node.labels())))
            .map(|(name, node)| (name.as_str(), asn(name, node, state)))
            .collect();
        if by.is_some() && asns.is_empty() {
            let field = "spec.nodeMesh.routeReflectorSelector";
            let message = "it selects no Node, so every node has a session with every other one";
            let remedy =
                "label the Nodes that are meant (kubectl get nodes --show-labels), or correct the selector";
            let kind = Kind::BGPConfiguration.as_str();
            problems.push(
                Problem::new(kind, CONFIGURATION_NAME, field, message, remedy)
                    .because(ProblemReason::NoMatchingNodes),
            );
        }
        Self {
            is_one: asns.contains_key(identity.name.as_str()),
            asns,
            own_asn: PeerAsn::Number(identity.asn.0),
        }
    }

    /// Both ends come to the same answer.
    fn pair(&self, other: &str, node: &Node, state: &ClusterState) -> Pair {
        let is_of_our_asn = || asn(other, node, state) == self.own_asn;
        if self.is_one || self.asns.contains_key(other) {
            Pair::WithReflector
        } else if self.asns.values().any(|asn| *asn == self.own_asn) && is_of_our_asn() {
            Pair::Reflected
        } else {
            Pair::Direct
        }
    }

    /// Reflectors are not each other's clients: each hears of the clients of all from the one that has them.
    fn is_client(&self, other: &str) -> bool {
        self.is_one && !self.asns.contains_key(other)
    }
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
        is_client: false,
        spec: Cow::Owned(spec),
    }
}
