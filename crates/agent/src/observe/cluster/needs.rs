//! What a state makes necessary to know beyond itself.

use std::collections::{BTreeMap, BTreeSet};

use flatroute_api::{ClusterState, Node};
use flatroute_plan::{DEFAULT_KEY, Facts, needs_other_nodes, selects};

use super::super::readings::Readings;
use super::super::session_secrets::InUse;
use super::super::source::Source;

/// What must be known besides the base.
pub(super) fn beyond(state: &ClusterState, readings: &Readings, node: &str) -> BTreeSet<Source> {
    let facts = Facts {
        kubeadm_pod_subnets: readings.kubeadm_pod_subnets.clone(),
        ..Facts::default()
    };
    let nodes = needs_other_nodes(state, &facts).then_some(Source::Nodes);
    let secrets = keys_in_use(state, node).into_keys().map(Source::Secret);
    nodes.into_iter().chain(secrets).collect()
}

/// The keys that the neighbours of this node name, by Secret.
pub(super) fn keys_in_use(state: &ClusterState, node: &str) -> InUse {
    let nobody = Node::default();
    let node = state.nodes.get(node).unwrap_or(&nobody);
    let ours = state.peers.values().filter(|peer| is_at_an_end(&peer.spec, node));
    let mut in_use: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for auth in ours.filter_map(|peer| peer.spec.auth.as_ref()) {
        let reference = &auth.md5.secret_ref;
        let key = reference.key.as_deref().unwrap_or(DEFAULT_KEY);
        in_use
            .entry(reference.name.clone())
            .or_default()
            .insert(key.to_owned());
    }
    in_use
}

/// Whether an object may give this node a neighbour: of a pair of nodes both ends have one.
fn is_at_an_end(spec: &flatroute_api::BGPPeerSpec, node: &Node) -> bool {
    let peers = spec.peer_selector.as_ref();
    selects(spec.node_selector.as_ref(), &node.labels())
        || (peers.is_some() && selects(peers, &node.labels()))
}
