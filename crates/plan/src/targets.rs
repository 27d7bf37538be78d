//! Who the neighbours are. Each BGPPeer that selects this node becomes any number of neighbours with one address each: the
//! one that it names, the one that its interface finds, the default gateways that it discovers, or the other nodes that it
//! selects. What comes out has the shape of objects with a `peerAddress`, so that everything after this treats all of them alike. The sessions of the
//! mesh ([`crate::mesh`]) come last.
//!
//! Two objects may mean the same neighbour. One that names an address is the more particular: what is discovered or
//! selected yields to it without a word, also while it cannot be planned, because its author wants this neighbour
//! with those settings or not at all. Among the others the first name wins, and the loser is told.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use flatroute_api::objects::Toggle;
use flatroute_api::values::PeerAsn;
use flatroute_api::{BGPPeer, BGPPeerSpec, ClusterState, Kind, Node, Problem, ProblemReason};
use ipnetwork::IpNetwork;

use crate::identity::{self, Identity};
use crate::{Facts, mesh, selector, unnumbered};

/// How many gateways one object takes for neighbours, the lowest addresses first. Who sits on the link can announce any
/// number of default routers.
pub const MAX_DISCOVERED: usize = 64;

/// Where a neighbour comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The BGPPeer that asks for it; `None`: nobody does, it belongs to the mesh between nodes.
    pub object: Option<String>,
    /// The node that it is; `None`: it belongs to the fabric.
    pub node: Option<String>,
    /// Whether no object wants it any more, and it stays until both nodes have their routes from the fabric.
    pub outlives: bool,
}

impl Origin {
    /// Whether the neighbour belongs to the fabric; otherwise it is another node.
    #[must_use]
    pub fn is_fabric(&self) -> bool {
        self.node.is_none()
    }

    pub(crate) fn fabric(object: &str) -> Self {
        Self {
            object: Some(object.to_owned()),
            node: None,
            outlives: false,
        }
    }
}

/// A neighbour: who it is, and an object for all else.
pub(crate) struct Target<'a> {
    pub(crate) name: String,
    pub(crate) origin: Origin,
    /// The field that made it, for problems.
    pub(crate) field: &'static str,
    pub(crate) address: IpAddr,
    /// The interface of a link-local address.
    pub(crate) interface: Option<String>,
    pub(crate) source_address: Option<IpAddr>,
    pub(crate) asn: PeerAsn,
    /// Whether it is to be a client of this node as a route reflector, should it be of the same AS.
    pub(crate) is_client: bool,
    pub(crate) spec: Cow<'a, BGPPeerSpec>,
}

impl Target<'_> {
    fn place(&self) -> Place {
        (self.address, self.interface.clone())
    }

    /// Whether it belongs to the mesh between nodes.
    pub(crate) fn is_of_mesh(&self) -> bool {
        self.origin.object.is_none()
    }

    /// The kind and name of the object that problems of this neighbour are told of.
    pub(crate) fn object(&self) -> (&'static str, &str) {
        match &self.origin.object {
            Some(name) => (Kind::BGPPeer.as_str(), name),
            None => (Kind::BGPConfiguration.as_str(), flatroute_api::CONFIGURATION_NAME),
        }
    }
}

/// What tells two neighbours apart: the address, and the interface of a link-local one.
type Place = (IpAddr, Option<String>);

/// All neighbours of this node, those that objects name first.
pub(crate) fn targets<'a>(
    identity: &Identity,
    state: &'a ClusterState,
    facts: &Facts,
    problems: &mut Vec<Problem>,
) -> Vec<Target<'a>> {
    let objects = || state.peers.iter().map(|(name, object)| (name.as_str(), object));
    let mut targets: Vec<Target<'a>> = objects()
        .filter(|(_, o)| selects(o.spec.node_selector.as_ref(), identity))
        .filter_map(|(name, object)| {
            named(name, &object.spec)
                .or_else(|| unnumbered::target(name, &object.spec, identity, facts, problems))
        })
        .collect();
    let named: Vec<Place> = targets.iter().map(Target::place).collect();
    // Who has a place that no object names, by name of the object.
    let mut taken: BTreeMap<Place, &str> = BTreeMap::new();
    for (name, object) in objects() {
        let mut found = if object.spec.discover.is_some() {
            discovered(name, object, identity, (state, facts), problems)
        } else if object.spec.peer_selector.is_some() {
            selected(name, object, identity, state, problems)
        } else {
            continue;
        };
        let mut lost = None;
        found.retain(|target| {
            let place = target.place();
            if named.contains(&place) {
                return false;
            }
            let first = *taken.entry(place.clone()).or_insert(name);
            if first != name {
                lost.get_or_insert((place.0, first));
            }
            first == name
        });
        problems.extend(lost.map(|(address, first)| conflict(name, object, (first, address), identity)));
        targets.extend(found);
    }
    let is_taken = |target: &Target<'_>| {
        let place = target.place();
        named.contains(&place) || taken.contains_key(&place)
    };
    let mesh = mesh::targets(identity, state, facts, problems);
    targets.extend(mesh.into_iter().filter(|target| !is_taken(target)));
    targets
}

pub(crate) fn selects(
    by: Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector>,
    identity: &Identity,
) -> bool {
    selector::matches(by, &identity.labels)
}

/// Where neighbours come from by themselves, a target for each range; its address is the first of the range.
pub(crate) fn ranges<'a>(identity: &Identity, state: &'a ClusterState) -> Vec<(IpNetwork, Target<'a>)> {
    let objects = state.peers.iter();
    objects
        .filter(|(_, object)| selects(object.spec.node_selector.as_ref(), identity))
        .filter_map(|(name, object)| {
            let range = object.spec.listen_range?.0;
            let target = Target {
                name: name.clone(),
                origin: Origin::fabric(name),
                field: "spec.listenRange",
                address: range.network(),
                interface: None,
                source_address: None,
                asn: object.spec.peer_asn?,
                is_client: is_client(&object.spec),
                spec: Cow::Borrowed(&object.spec),
            };
            Some((range, target))
        })
        .collect()
}

/// The neighbour that the object names by its address.
fn named<'a>(name: &str, spec: &'a BGPPeerSpec) -> Option<Target<'a>> {
    Some(Target {
        name: name.to_owned(),
        origin: Origin::fabric(name),
        field: "spec.peerAddress",
        address: spec.peer_address?,
        interface: spec.interface.clone(),
        source_address: spec.source_address,
        asn: spec.peer_asn?,
        is_client: is_client(spec),
        spec: Cow::Borrowed(spec),
    })
}

fn conflict(name: &str, object: &BGPPeer, (first, address): (&str, IpAddr), identity: &Identity) -> Problem {
    let field = if object.spec.discover.is_some() {
        "spec.discover"
    } else {
        "spec.peerSelector"
    };
    let message = format!(
        "on node {} BGPPeer/{first} has {address} too, and is the one in use",
        identity.name
    );
    let remedy = "remove one of the two, or make their selectors exclude each other";
    Problem::new(Kind::BGPPeer.as_str(), name, field, message, remedy).because(ProblemReason::ConflictingPeer)
}

/// A neighbour for each gateway of a default route that is not of our own making.
fn discovered<'a>(
    name: &str,
    object: &'a BGPPeer,
    identity: &Identity,
    (state, facts): (&ClusterState, &Facts),
    problems: &mut Vec<Problem>,
) -> Vec<Target<'a>> {
    let is_selected = selects(object.spec.node_selector.as_ref(), identity);
    let Some(asn) = object.spec.peer_asn.filter(|_| is_selected) else {
        return Vec::new();
    };
    let own_protocol = crate::protocol(&crate::kernel(state));
    let mut found: BTreeMap<Place, Target<'a>> = BTreeMap::new();
    for gateway in &facts.links.default_gateways {
        let address = gateway.address;
        if gateway.protocol == own_protocol || identity.internal_ips.contains(&address) {
            continue;
        }
        let interface = match gateway.interface {
            None => None,
            Some(index) => {
                let interfaces = &facts.links.interfaces;
                // A gateway may outlive its interface for a while; nobody can be reached there.
                let Some((name, _)) = interfaces.iter().find(|(_, i)| **i == index) else {
                    continue;
                };
                Some(name.clone())
            }
        };
        let zone = interface.as_ref().map_or_else(String::new, |i| format!("%{i}"));
        let target = Target {
            name: format!("{name}-{address}{zone}"),
            origin: Origin::fabric(name),
            field: "spec.discover",
            address,
            interface,
            source_address: None,
            asn,
            is_client: is_client(&object.spec),
            spec: Cow::Borrowed(&object.spec),
        };
        found.insert(target.place(), target);
    }
    let mut tell = |reason: ProblemReason, message: String, remedy: &str| {
        let kind = Kind::BGPPeer.as_str();
        problems.push(Problem::new(kind, name, "spec.discover", message, remedy).because(reason));
    };
    if found.is_empty() {
        tell(
            ProblemReason::NoDefaultGateway,
            format!("node {} has no default route with a next hop", identity.name),
            "add one by way of each neighbour, or name the neighbours by peerAddress",
        );
    } else if found.len() > MAX_DISCOVERED {
        let message = format!(
            "node {} has {} default gateways, and only the first {MAX_DISCOVERED} become neighbours",
            identity.name,
            found.len()
        );
        tell(
            ProblemReason::TooManyGateways,
            message,
            "find out who announces them, or name the neighbours by peerAddress",
        );
    }
    found.into_values().take(MAX_DISCOVERED).collect()
}

/// A neighbour for each other node of a pair that the object selects, whichever end of the pair this node is.
fn selected<'a>(
    name: &str,
    object: &'a BGPPeer,
    identity: &Identity,
    state: &'a ClusterState,
    problems: &mut Vec<Problem>,
) -> Vec<Target<'a>> {
    let (nodes, peers) = (
        object.spec.node_selector.as_ref(),
        object.spec.peer_selector.as_ref(),
    );
    let (is_node, is_peer) = (selects(nodes, identity), selects(peers, identity));
    let is_pair = |other: &Node| {
        (is_node && selector::matches(peers, &other.labels()))
            || (is_peer && selector::matches(nodes, &other.labels()))
    };
    let others = state.nodes.iter().filter(|(other, _)| **other != identity.name);
    let pairs: Vec<(&String, &Node)> = others.filter(|(_, node)| is_pair(node)).collect();
    let found: Vec<Target<'a>> = pairs
        .iter()
        .filter_map(|&(other, node)| {
            let (own, address) = addresses(identity, node)?;
            Some(Target {
                name: format!("{name}-{other}"),
                origin: Origin {
                    object: Some(name.to_owned()),
                    node: Some(other.clone()),
                    outlives: false,
                },
                field: "spec.peerSelector",
                address,
                interface: None,
                source_address: Some(own),
                asn: asn(other, node, state),
                is_client: identity.cluster_id.is_some() && !reflects(other, node),
                spec: Cow::Borrowed(&object.spec),
            })
        })
        .collect();
    if found.is_empty() && (is_node || is_peer) {
        problems.push(alone(name, &identity.name, is_node, pairs.first()));
    }
    found
}

/// Why an object that selects this node for one end of its pairs has no neighbour for it.
fn alone(name: &str, node: &str, is_node: bool, first: Option<&(&String, &Node)>) -> Problem {
    let kind = Kind::BGPPeer.as_str();
    if let Some((other, _)) = first {
        let message = format!("node {node} and node {other} have no InternalIP of the same family");
        let remedy = "see status.addresses of both Nodes; a kubelet sets them by --node-ip";
        return Problem::new(kind, name, "spec.peerSelector", message, remedy)
            .because(ProblemReason::NoCommonFamily);
    }
    let (by, missing) = if is_node {
        ("spec.nodeSelector", "spec.peerSelector")
    } else {
        ("spec.peerSelector", "spec.nodeSelector")
    };
    let message = format!(
        "{missing} selects no other Node, so node {node}, which {by} selects, has no neighbour by it"
    );
    let remedy = "label the Nodes that are meant (kubectl get nodes --show-labels), or correct the selector";
    Problem::new(kind, name, missing, message, remedy).because(ProblemReason::NoMatchingNodes)
}

/// The addresses of the session between this node and another one, our own first; none while the two have no family in
/// common. Both ends come to the same pair, and each knows the other by this address only.
pub(crate) fn addresses(identity: &Identity, other: &Node) -> Option<(IpAddr, IpAddr)> {
    let theirs: Vec<IpAddr> = other.internal_ips().collect();
    let first = |of: &[IpAddr], v4: bool| of.iter().copied().find(|a| a.is_ipv4() == v4);
    [true, false]
        .into_iter()
        .find_map(|v4| first(&identity.internal_ips, v4).zip(first(&theirs, v4)))
}

/// Whether the object makes its neighbours clients.
pub(crate) fn is_client(spec: &BGPPeerSpec) -> bool {
    spec.route_reflector_client == Some(Toggle::Enabled)
}

/// Whether another node's annotation makes it a route reflector. What is wrong with it, its own agent tells.
fn reflects(name: &str, node: &Node) -> bool {
    identity::cluster_id(name, node, &mut Vec::new()).is_some()
}

/// The ASN of another node. What is wrong with its annotations, its own agent tells.
pub(crate) fn asn(name: &str, node: &Node, state: &ClusterState) -> PeerAsn {
    PeerAsn::Number(identity::asn(name, node, state, &mut Vec::new()))
}
