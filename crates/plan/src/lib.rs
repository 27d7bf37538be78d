//! A pure function from what a node knows to what it shall do.
//!
//! [`plan()`] takes the name of a node, all objects, and a few facts about the machine; it gives a [`Plan`]: the
//! configuration of the speaker, the static part of the kernel's routes, and the problems met on the way. It
//! reads no clock, no file and no environment, and two equal plans mean that nothing is to be done.
//!
//! A bad object costs its own part only: a peer that names a filter that is not there is left out of the plan
//! and told as a problem; the others run on. Left out, not run without the filter: whoever wrote the
//! filter did not want the session without it. One whose key is missing is planned and held down, so that
//! it can be seen and asked for its reason.
//!
//! That the input is complete is proven by its type: a [`Synced`] can only be made after everything has been
//! listed once, so that "not loaded yet" can never look like "empty" and withdraw a node's pods from the world.
//!
//! Rooms: `identity` (who this node is), `filters` (rails, user rules, built-ins as data),
//! `targets` (who the neighbours are), `unnumbered` (those that an interface finds) and `mesh` (those that no object names), `peers` (one of them to the speaker's
//! configuration), `auth` (its key, from a Secret), `pod_network` (what is done with packets of pods), `settings` (what the node's kernel has to be set to), `describe` (a plan in words, for people and for snapshots).
#![forbid(unsafe_code)]

mod auth;
mod describe;
mod filters;
mod identity;
mod mesh;
mod overlap;
mod peers;
mod pod_network;
mod selector;
pub mod settings;
mod synced;
mod targets;
mod unnumbered;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use flatroute_api::objects as api;
use flatroute_api::{ClusterState, Problem};
use flatroute_bgp::speaker::{Config, Multipath, Origination, PeerConfig, RangeConfig};
use flatroute_bgp::types::{Asn, FamilySet, PeerName, Prefix, RouterId};
use ipnetwork::IpNetwork;

pub use auth::DEFAULT_KEY;
pub use mesh::{MARK, MAX_MESH, Mesh, MeshSession};
pub use pod_network::{MAX_DIRECT, Masquerade, PodNetwork};
pub use selector::matches as selects;
pub use synced::{Listing, Synced};
pub use targets::{MAX_DISCOVERED, Origin};

use filters::Context;
use identity::Identity;

/// What the machine tells beside the objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Where the objects come from.
    pub source: ObjectSource,
    /// What the machine's links and routing table show.
    pub links: Links,
    /// What is known of the mesh between nodes.
    pub mesh: Mesh,
    /// Addresses of the API server, which a learned route must not take away.
    pub api_server: BTreeSet<IpAddr>,
    /// Pod CIDRs of the cluster from the kubeadm-config ConfigMap, when it may be read.
    pub kubeadm_pod_subnets: Vec<IpNetwork>,
    /// What was read of the files [`settings::paths`] of the [`Plan::uplinks`]; `None`: nothing yet.
    pub sysctls: Option<settings::Sysctls>,
}

/// What the machine's links and routing table show. Equal values cause nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// The index of each interface, by name; only those of link-local neighbours matter.
    pub interfaces: BTreeMap<String, u32>,
    /// What is heard of routers on the interfaces that are listened on ([`Plan::sought`]), by index.
    pub heard: BTreeMap<u32, Heard>,
    /// The prefixes that are on-link at one of them, loopback aside.
    pub on_link: BTreeSet<IpNetwork>,
    /// Those of them that have room for a neighbour, by the name of the interface.
    pub networks: BTreeMap<String, BTreeSet<IpNetwork>>,
    /// The next hops of default routes: those there are, and those whose route has not been gone for long. How long is the
    /// caller's affair, who has a clock.
    pub default_gateways: BTreeSet<Gateway>,
    /// The addresses of the machine itself, loopback and link-local ones aside.
    pub addresses: BTreeSet<IpAddr>,
}

/// What is heard of routers on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing, and it is too soon to say that there is nobody.
    Waiting,
    /// Nothing.
    Silent,
    /// Nothing, and nothing can be: the interface has no link-local address of its own.
    NoLinkLocalAddress,
    /// The interface cannot be listened on, and why.
    Deaf(String),
    /// A router.
    Router {
        /// Its link-local address.
        address: Ipv6Addr,
        /// Whether others have been heard as well: it was the first, and stays.
        several: bool,
    },
}

/// The next hop of a default route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gateway {
    /// Its address.
    pub address: IpAddr,
    /// The interface index of a link-local address, and only of such.
    pub interface: Option<u32>,
    /// The protocol number of the route: who made it.
    pub protocol: u8,
}

/// Where the objects come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ObjectSource {
    /// A directory of manifests: the other nodes may be unknown.
    #[default]
    Standalone,
    /// An API server: all nodes are known.
    ApiServer,
}

/// What a node shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The node that this is for.
    pub node: String,
    /// Its ASN, unless a peer has another.
    pub local_asn: Asn,
    /// Its BGP identifier.
    pub router_id: RouterId,
    /// Where sessions are listened for.
    pub listen: Listen,
    /// The speaker.
    pub speaker: Config,
    /// The kernel's routes, as far as they are known before any is learned.
    pub fib: FibPlan,
    /// What is done with packets of the node's pods. None: it has no pod CIDRs, and what stands is left as it is.
    pub pod_network: Option<PodNetwork>,
    /// Where each neighbour comes from.
    pub origins: BTreeMap<PeerName, Origin>,
    /// Those that are found by the router advertisements of a link, found or not, by name: what is listened on, and advertised on.
    pub sought: BTreeMap<String, Sought>,
    /// The interfaces on whose link a neighbour or a default gateway is.
    pub uplinks: BTreeSet<String>,
    /// The pod CIDRs of the cluster.
    pub cluster_cidrs: ClusterCidrs,
    /// What could not be planned, and why, in order.
    pub problems: Vec<Problem>,
}

/// A neighbour that is found by the router advertisements of its link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sought {
    /// The interface.
    pub interface: String,
    /// Its index; `None`: the node has no such interface that is up.
    pub index: Option<u32>,
    /// Our ASN towards it.
    pub local_asn: Asn,
    /// Its ASN, where the object says which.
    pub asn: Option<Asn>,
    /// The families that it will be offered.
    pub families: FamilySet,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a neighbour that is sought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is there.
    Found,
    /// It is not there yet, and shall be up.
    Missing,
    /// It is not there, and shall not be up.
    Unwanted,
}

/// Where sessions are listened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The address; `None`: all, of both families.
    pub address: Option<IpAddr>,
    /// The TCP port.
    pub port: u16,
}

/// How learned routes stand in the kernel, and the routes that stand there always.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FibPlan {
    /// The routing table.
    pub table: u32,
    /// The metric of every route of ours.
    pub metric: u32,
    /// The protocol number of every route of ours.
    pub protocol: u8,
    /// How many paths a route may have.
    pub max_paths: u16,
    /// Whether nexthop groups may be used.
    pub nexthop_objects: bool,
    /// An `unreachable` route for each of these: the node's own pod CIDRs, so that what goes to a dead pod address
    /// ends here and does not loop between the node and its ToR.
    pub unreachable: BTreeSet<IpNetwork>,
    /// The source address that the node itself uses towards learned IPv4 routes.
    pub preferred_source_ipv4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub preferred_source_ipv6: Option<Ipv6Addr>,
}

/// The pod CIDRs of the cluster and where they were found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterCidrs {
    /// The prefixes; `None`: not known, every prefix that no rail protects counts as one.
    pub prefixes: Option<BTreeSet<Prefix>>,
    /// In words.
    pub from: &'static str,
}

/// Whether a plan needs to know the other Nodes of the cluster. Where this is true, a state that does not hold all of them must
/// not be planned: the cluster would look like one node, and what was learned from the others would be refused.
/// `kubeadm_pod_subnets` of the facts must be known.
#[must_use]
pub fn needs_other_nodes(state: &ClusterState, facts: &Facts) -> bool {
    let has_cidrs = !facts.kubeadm_pod_subnets.is_empty()
        || configuration(state)
            .and_then(|c| c.pod_network.as_ref())
            .is_some_and(|n| n.cluster_cidrs.is_some());
    let names_nodes = |spec: &flatroute_api::BGPPeerSpec| {
        let installs = spec.install_routes.as_ref();
        spec.peer_selector.is_some()
            || installs.is_some_and(|i| i.contains(&api::InstallRoutes::NodeAddresses))
    };
    !has_cidrs
        || pod_network::needs_addresses(state)
        || state.peers.values().any(|object| names_nodes(&object.spec))
        || (mesh::is_wanted(state) && !mesh::is_superseded(state))
}

/// Plans for the node `node_name`.
#[must_use]
pub fn plan(node_name: &str, state: &Synced<ClusterState>, facts: &Facts) -> Plan {
    let state: &ClusterState = state;
    let mut problems = Vec::new();
    let identity = Identity::of(node_name, state, facts.source, &mut problems);
    let cluster_cidrs = identity::cluster_cidrs(state, facts);
    identity::outside(&identity, &cluster_cidrs, &mut problems);
    overlap::problems(&identity, state, &mut problems);
    let (targets, ranges, sought) = if identity.is_gone {
        (Vec::new(), Vec::new(), BTreeMap::new())
    } else {
        (
            targets::targets(&identity, state, facts, &mut problems),
            targets::ranges(&identity, state),
            unnumbered::sought(&identity, state, facts),
        )
    };
    let uplinks = settings::uplinks(&targets, &sought, &facts.links);
    settings::problems(&identity, &uplinks, facts, &mut problems);
    let all: Vec<_> = targets
        .iter()
        .chain(ranges.iter().map(|(_, target)| target))
        .collect();
    let context = Context::new(&identity, &cluster_cidrs, (state, facts), &all);
    let planned = peers::plan(&context, &targets, &mut problems);
    let ranges = peers::ranges(&context, &ranges, &mut problems);
    let origins = planned
        .iter()
        .map(|(name, p)| (PeerName::from(name.as_str()), p.origin.clone()))
        .collect();
    let kernel = kernel(state);
    let pod_network = pod_network::plan(&identity, &cluster_cidrs, (state, facts), &mut problems);
    let speaker = Config {
        install: filters::install(&context, &planned, &ranges),
        originate: originate(
            &identity,
            planned
                .values()
                .chain(ranges.values().map(|(_, p)| p))
                .any(|p| p.advertises(api::Advertise::NodeAddresses)),
        ),
        multipath: Multipath {
            relaxed: relaxed(state),
            max_paths: kernel.max_paths.unwrap_or(16),
        },
        peers: planned
            .into_iter()
            .map(|(name, p)| (PeerName::from(name), p.config))
            .collect(),
        ranges: ranges
            .into_iter()
            .map(|(name, (prefix, p))| (PeerName::from(name), peers::range(prefix, p)))
            .collect(),
    };
    // Neighbours of one object share its problems.
    problems.sort();
    problems.dedup();
    Plan {
        node: node_name.to_owned(),
        local_asn: identity.asn,
        router_id: identity.router_id,
        listen: listen(state),
        speaker,
        fib: fib(&identity, &kernel),
        pod_network,
        origins,
        sought,
        uplinks,
        cluster_cidrs,
        problems,
    }
}

impl Plan {
    /// The BGPPeer that a neighbour comes from, also one that came by itself; none: it is of the mesh, or not known.
    #[must_use]
    pub fn object_of(&self, peer: &PeerName) -> Option<String> {
        match self.origins.get(peer) {
            Some(origin) => origin.object.clone(),
            None => self.range_of(peer).map(|(name, _)| name.to_string()),
        }
    }

    /// What a neighbour is configured as, also one that came by itself.
    #[must_use]
    pub fn config_of(&self, peer: &PeerName) -> Option<&PeerConfig> {
        let named = self.speaker.peers.get(peer);
        named.or_else(|| self.range_of(peer).map(|(_, range)| &range.template))
    }

    fn range_of(&self, peer: &PeerName) -> Option<(&PeerName, &RangeConfig)> {
        self.speaker.ranges.iter().find(|(name, _)| came_from(name, peer))
    }
}

/// Whether a name is that of a neighbour of a range: `RANGE-ADDRESS`.
fn came_from(range: &PeerName, peer: &PeerName) -> bool {
    let rest = peer.as_str().strip_prefix(range.as_str());
    let address = rest.and_then(|rest| rest.strip_prefix('-'));
    address.is_some_and(|address| address.parse::<IpAddr>().is_ok())
}

fn configuration(state: &ClusterState) -> Option<&flatroute_api::BGPConfigurationSpec> {
    state.configuration.as_ref().map(|c| &c.spec)
}

fn kernel(state: &ClusterState) -> api::KernelRoutes {
    configuration(state)
        .and_then(|c| c.kernel.clone())
        .unwrap_or_default()
}

/// The protocol number of our routes.
fn protocol(kernel: &api::KernelRoutes) -> u8 {
    kernel.protocol.unwrap_or(79)
}

fn relaxed(state: &ClusterState) -> bool {
    match configuration(state)
        .and_then(|c| c.best_path.as_ref())
        .and_then(|b| b.multipath)
    {
        None | Some(api::Multipath::Relaxed) => true,
        Some(api::Multipath::Strict) => false,
    }
}

fn listen(state: &ClusterState) -> Listen {
    let configuration = configuration(state);
    Listen {
        address: configuration.and_then(|c| c.listen_address),
        port: configuration.and_then(|c| c.listen_port).unwrap_or(179),
    }
}

fn originate(identity: &Identity, addresses: bool) -> BTreeSet<Origination> {
    use flatroute_bgp::policy::Source;
    let pods = identity.pod_cidrs.iter().map(|p| Origination {
        prefix: *p,
        source: Source::PodCidrs,
    });
    let hosts = identity
        .internal_ips
        .iter()
        .filter(|_| addresses)
        .map(|a| Origination {
            prefix: identity::host(*a),
            source: Source::NodeAddresses,
        });
    pods.chain(hosts).collect()
}

fn fib(identity: &Identity, kernel: &api::KernelRoutes) -> FibPlan {
    FibPlan {
        table: kernel.table.unwrap_or(254),
        metric: kernel.metric.unwrap_or(512),
        protocol: protocol(kernel),
        max_paths: kernel.max_paths.unwrap_or(16),
        nexthop_objects: match kernel.nexthop_objects {
            None | Some(api::NexthopObjects::Auto) => true,
            Some(api::NexthopObjects::Disabled) => false,
        },
        unreachable: identity.pod_cidrs.iter().map(|p| IpNetwork::from(*p)).collect(),
        preferred_source_ipv4: identity.ipv4(),
        preferred_source_ipv6: identity.ipv6(),
    }
}

#[cfg(test)]
mod tests;
