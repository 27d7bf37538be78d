//! What is done with packets of pods: their sources are checked, and what leaves the cluster has the node's address.
//!
//! Between pods, and between pods and nodes, no address is ever changed; that is the network that Kubernetes asks
//! for. So masquerade begins with what it leaves alone: the cluster's pod CIDRs, the addresses of the nodes, and
//! a list, by default the private ranges, in which data centres live. Where nobody knows the cluster's pod CIDRs nobody knows
//! what is outside, and then nothing is masqueraded.
//!
//! The addresses of all Nodes would have every agent watch all Nodes, which a cluster of thousands does not do for
//! nothing. So a list that holds the addresses of the Nodes that are known (its own is always) is taken to hold those of
//! all; only where it does not, the others are asked for.
//!
//! Sources become the node's InternalIP where it is an address of the machine: the kernel drops a connection that was
//! masqueraded with an uplink's address as soon as it leaves by another uplink.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use flatroute_api::objects::Toggle;
use flatroute_api::{ClusterState, Kind, Problem, ProblemReason, objects as api};
use ipnetwork::IpNetwork;

use crate::identity::{Identity, host};
use crate::{ClusterCidrs, Facts, configuration};

/// How many prefixes of one family pods may reach with their own addresses.
pub const MAX_DIRECT: usize = 1024;

/// What is left alone unless the configuration says otherwise.
const DEFAULT_DIRECT: [&str; 5] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "fc00::/7",
];

/// What is done with packets of the node's pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodNetwork {
    /// Whence they have their addresses.
    pub pod_cidrs: BTreeSet<IpNetwork>,
    /// How they reach what is outside of the cluster; none: with their own addresses.
    pub masquerade: Option<Masquerade>,
}

/// How pods reach what is outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masquerade {
    /// What they reach with their own addresses.
    pub direct: BTreeSet<IpNetwork>,
    /// What IPv4 sources become; none: an address of the link that a packet leaves by.
    pub source_ipv4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub source_ipv6: Option<Ipv6Addr>,
}

fn settings(state: &ClusterState) -> Option<&api::Masquerade> {
    configuration(state)?.pod_network.as_ref()?.masquerade.as_ref()
}

fn mode(state: &ClusterState) -> Option<Toggle> {
    settings(state)?.mode
}

/// The list, as configured or by default.
fn listed(state: &ClusterState) -> BTreeSet<IpNetwork> {
    match settings(state).and_then(|masquerade| masquerade.non_masquerade_cidrs.as_ref()) {
        Some(list) => list.iter().map(|cidr| cidr.0).collect(),
        None => DEFAULT_DIRECT
            .iter()
            .filter_map(|text| text.parse().ok())
            .collect(),
    }
}

/// The addresses of Nodes that the list does not hold.
fn beside<'a>(state: &'a ClusterState, list: &'a BTreeSet<IpNetwork>) -> impl Iterator<Item = IpAddr> + 'a {
    let addresses = state.nodes.values().flat_map(|node| node.internal_ips());
    addresses.filter(|address| !list.iter().any(|network| network.contains(*address)))
}

/// Whether the addresses of all Nodes must be known.
pub(crate) fn needs_addresses(state: &ClusterState) -> bool {
    let is_wanted = match mode(state) {
        None | Some(Toggle::Enabled) => true,
        Some(Toggle::Disabled) => false,
    };
    is_wanted && beside(state, &listed(state)).next().is_some()
}

pub(crate) fn plan(
    identity: &Identity,
    cluster: &ClusterCidrs,
    (state, facts): (&ClusterState, &Facts),
    problems: &mut Vec<Problem>,
) -> Option<PodNetwork> {
    let pod_cidrs: BTreeSet<IpNetwork> = identity.pod_cidrs.iter().map(|p| IpNetwork::from(*p)).collect();
    if pod_cidrs.is_empty() {
        return None;
    }
    let masquerade = match (mode(state), &cluster.prefixes) {
        (Some(Toggle::Disabled), _) | (None, None) => None,
        (Some(Toggle::Enabled), None) => {
            problems.push(unknown());
            None
        }
        (None | Some(Toggle::Enabled), Some(prefixes)) => {
            let list = listed(state);
            let nodes: Vec<IpNetwork> = beside(state, &list)
                .map(|address| IpNetwork::from(host(address)))
                .collect();
            let pods = prefixes.iter().map(|prefix| IpNetwork::from(*prefix));
            let direct: BTreeSet<IpNetwork> =
                pods.chain(nodes).chain(list).chain(pod_cidrs.clone()).collect();
            masquerade(identity, facts, direct, problems)
        }
    };
    Some(PodNetwork {
        pod_cidrs,
        masquerade,
    })
}

fn masquerade(
    identity: &Identity,
    facts: &Facts,
    direct: BTreeSet<IpNetwork>,
    problems: &mut Vec<Problem>,
) -> Option<Masquerade> {
    let ipv4 = direct.iter().filter(|prefix| prefix.is_ipv4()).count();
    let most = ipv4.max(direct.len() - ipv4);
    if most > MAX_DIRECT {
        problems.push(too_many(most));
        return None;
    }
    let is_here = |address: IpAddr| facts.links.addresses.contains(&address);
    Some(Masquerade {
        direct,
        source_ipv4: identity.ipv4().filter(|address| is_here((*address).into())),
        source_ipv6: identity.ipv6().filter(|address| is_here((*address).into())),
    })
}

fn problem(field: &str, message: impl Into<String>, remedy: &str) -> Problem {
    let field = format!("spec.podNetwork.{field}");
    Problem::new(Kind::BGPConfiguration.as_str(), "default", field, message, remedy)
}

fn unknown() -> Problem {
    problem(
        "masquerade.mode",
        "nobody says which prefixes hold the pods of the cluster, so nothing is outside of them and nothing is masqueraded",
        "set spec.podNetwork.clusterCIDRs",
    )
    .because(ProblemReason::ClusterCIDRsUnknown)
}

fn too_many(found: usize) -> Problem {
    problem(
        "masquerade.nonMasqueradeCIDRs",
        format!(
            "there are {found} prefixes of pods and addresses of nodes outside of it, more than {MAX_DIRECT}: nothing is masqueraded"
        ),
        "list the networks that they are in, and set spec.podNetwork.clusterCIDRs",
    )
}

impl PodNetwork {
    /// In words.
    pub(crate) fn describe(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .pod_cidrs
            .iter()
            .map(|p| format!("sources of pods in {p} are checked"))
            .collect();
        let Some(masquerade) = &self.masquerade else {
            lines.push("no masquerade".to_owned());
            return lines;
        };
        let source = |address: Option<IpAddr>| {
            address.map_or_else(|| "an address of the link".to_owned(), |a| a.to_string())
        };
        for (family, is_ipv4, address) in [
            ("IPv4", true, masquerade.source_ipv4.map(IpAddr::V4)),
            ("IPv6", false, masquerade.source_ipv6.map(IpAddr::V6)),
        ] {
            if self.pod_cidrs.iter().any(|p| p.is_ipv4() == is_ipv4) {
                lines.push(format!("masquerade {family} as {}", source(address)));
            }
        }
        lines.extend(masquerade.direct.iter().map(|p| format!("not towards {p}")));
        lines
    }
}
