//! The mesh: sessions between nodes that no object asks for, so that pods on one link talk with zero configuration.
//!
//! Two nodes are on one link when the other's address lies in a prefix that is on-link here; an unusual netmask aside, the
//! other end sees the same. The pair has a session unless both nodes have a neighbour in the fabric, that is, a BGPPeer
//! with an address or a discovery selects each of them: then the fabric carries their routes. Both ends read the
//! same objects, so no session is ever planned at one end only.
//!
//! GTSM (RFC 5082) with 255: what was forwarded even once is not from a node on the link.

use std::borrow::Cow;
use std::collections::BTreeMap;

use flatroute_api::objects::{NodeMeshMode, State};
use flatroute_api::{BGPPeerSpec, CONFIGURATION_NAME, ClusterState, Kind, Node, Problem};

use crate::identity::Identity;
use crate::targets::{Origin, Target, addresses, asn};
use crate::{Facts, configuration, selector};

/// With more neighbours than this in its mesh a node says that this is a mistake. It meshes on: pods that talk are worth
/// more than sessions.
pub const MAX_MESH: usize = 100;

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
    specs.filter(|spec| spec.peer_selector.is_none() && spec.state != Some(State::Down))
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
    let targets: Vec<Target<'static>> = others
        .filter(|(_, node)| !(own && in_fabric(&node.labels())))
        .filter_map(|(name, node)| neighbour(identity, (name, node), state, facts))
        .collect();
    if targets.len() > MAX_MESH {
        let message = format!(
            "node {} has {} neighbours in the mesh between nodes, more than the {MAX_MESH} that it is meant for; every node holds a \
             session to every other one",
            identity.name,
            targets.len()
        );
        let remedy = "give the nodes a neighbour in the fabric by a BGPPeer (discover: DefaultGateways), or set \
                      spec.nodeMesh.mode: Disabled";
        let kind = Kind::BGPConfiguration.as_str();
        problems.push(
            Problem::new(kind, CONFIGURATION_NAME, "spec.nodeMesh.mode", message, remedy)
                .because("MeshTooLarge"),
        );
    }
    targets
}

fn neighbour(
    identity: &Identity,
    (name, node): (&String, &Node),
    state: &ClusterState,
    facts: &Facts,
) -> Option<Target<'static>> {
    let (own, address) = addresses(identity, node)?;
    let asn = asn(name, node, state);
    let spec = BGPPeerSpec {
        ttl_security: Some(1),
        ..BGPPeerSpec::new(address, asn)
    };
    let is_on_link = facts.links.on_link.iter().any(|prefix| prefix.contains(address));
    is_on_link.then(|| Target {
        // No name of an object has a colon.
        name: format!("mesh:{name}"),
        origin: Origin {
            object: None,
            node: Some(name.clone()),
        },
        field: "spec.nodeMesh",
        address,
        interface: None,
        source_address: Some(own),
        asn,
        spec: Cow::Owned(spec),
    })
}
