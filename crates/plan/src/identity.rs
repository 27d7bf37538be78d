//! Who this node is: its ASN, its BGP identifier, its pod CIDRs and its addresses; and what the cluster's pod
//! CIDRs are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use flatroute_api::values::Cidr;
use flatroute_api::{ClusterState, DEFAULT_ASN, Kind, Node, Problem, ProblemReason, annotations};
use flatroute_bgp::types::{Asn, Family, FamilySet, Prefix, RouterId};

use crate::{ClusterCidrs, Facts, ObjectSource, configuration};

/// Who this node is.
pub(crate) struct Identity {
    pub(crate) asn: Asn,
    pub(crate) router_id: RouterId,
    /// The cluster that it reflects routes for, where its annotation makes it a route reflector.
    pub(crate) cluster_id: Option<RouterId>,
    pub(crate) pod_cidrs: Vec<Prefix>,
    pub(crate) internal_ips: Vec<IpAddr>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) name: String,
    /// The cluster does not have this node (any more): nobody shall keep a route to it, and it has no neighbours.
    pub(crate) is_gone: bool,
}

impl Identity {
    /// Reads the Node. Without one the node is a router without pods; where all Nodes are known, it does not belong to the
    /// cluster. Either is told.
    pub(crate) fn of(
        name: &str,
        state: &ClusterState,
        source: ObjectSource,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let found = state.nodes.get(name);
        let is_gone = match source {
            ObjectSource::Standalone => false,
            ObjectSource::ApiServer => found.is_none(),
        };
        let node = found.cloned().unwrap_or_else(|| {
            let (message, remedy) = if is_gone {
                (
                    "there is no such Node: it has no neighbours, and advertises nothing",
                    "let its kubelet register it, which it does when it starts, or correct --node-name",
                )
            } else {
                (
                    "there is no such Node: it has no pod CIDRs, no addresses and no labels",
                    "add it, or correct --node-name",
                )
            };
            problems
                .push(Problem::new("Node", name, "", message, remedy).because(ProblemReason::NodeNotFound));
            Node::named(name)
        });
        let internal_ips: Vec<IpAddr> = node.internal_ips().collect();
        Self {
            asn: Asn(asn(name, &node, state, problems)),
            router_id: router_id(name, &node, &internal_ips, problems),
            cluster_id: cluster_id(name, &node, problems),
            pod_cidrs: pod_cidrs(&node).collect(),
            internal_ips,
            labels: node.labels().into_owned(),
            name: name.to_owned(),
            is_gone,
        }
    }

    /// The first IPv4 address.
    pub(crate) fn ipv4(&self) -> Option<Ipv4Addr> {
        self.internal_ips
            .iter()
            .find_map(|a| if let IpAddr::V4(a) = a { Some(*a) } else { None })
    }

    /// The first IPv6 address.
    pub(crate) fn ipv6(&self) -> Option<Ipv6Addr> {
        self.internal_ips
            .iter()
            .find_map(|a| if let IpAddr::V6(a) = a { Some(*a) } else { None })
    }

    /// The families of its addresses and its pod CIDRs together; without any, both.
    pub(crate) fn all_families(&self) -> FamilySet {
        let pods = self.pod_cidrs.iter().map(|p| p.family());
        let all: FamilySet = self.families().iter().chain(pods).collect();
        if all.is_empty() { FamilySet::BOTH } else { all }
    }

    /// The families of its addresses; without any, those of its pod CIDRs; without any, both.
    pub(crate) fn families(&self) -> FamilySet {
        let of = |addr: &IpAddr| {
            if addr.is_ipv4() {
                Family::Ipv4
            } else {
                Family::Ipv6
            }
        };
        let addresses: FamilySet = self.internal_ips.iter().map(of).collect();
        let pods: FamilySet = self.pod_cidrs.iter().map(|p| p.family()).collect();
        match (addresses.is_empty(), pods.is_empty()) {
            (false, _) => addresses,
            (true, false) => pods,
            (true, true) => FamilySet::BOTH,
        }
    }
}

pub(crate) fn pod_cidrs(node: &Node) -> impl Iterator<Item = Prefix> {
    node.pod_cidrs()
        .filter_map(|c| c.parse::<Cidr>().ok())
        .map(|c| Prefix::from(c.0))
}

/// The host route of an address.
pub(crate) fn host(address: IpAddr) -> Prefix {
    match address {
        IpAddr::V4(a) => Prefix::V4(a.to_bits(), 32),
        IpAddr::V6(a) => Prefix::V6(a.to_bits(), 128),
    }
}

/// The annotation of the node, then where the configuration says to look, then the configuration's number, then
/// the default.
pub(crate) fn asn(name: &str, node: &Node, state: &ClusterState, problems: &mut Vec<Problem>) -> u32 {
    let labels = node.labels();
    let mut candidates = vec![(annotations::ASN, node.annotation(annotations::ASN), "annotations")];
    let configuration = configuration(state);
    if let Some(from) = configuration.and_then(|c| c.local_asn_from.as_ref()) {
        if let Some(key) = from.node_label.as_deref() {
            candidates.push((key, labels.get(key).map(String::as_str), "labels"));
        }
        if let Some(key) = from.node_annotation.as_deref() {
            candidates.push((key, node.annotation(key), "annotations"));
        }
    }
    for (key, value, place) in candidates {
        match value.map(annotations::parse_asn) {
            Some(Ok(asn)) => return asn,
            Some(Err(message)) => {
                let field = format!("metadata.{place}[{key}]");
                problems.push(Problem::new(
                    Kind::Node.as_str(),
                    name,
                    field,
                    message,
                    "correct it, or remove it",
                ));
            }
            None => {}
        }
    }
    configuration.and_then(|c| c.local_asn).unwrap_or(DEFAULT_ASN)
}

/// The cluster that a node reflects routes for by its annotation.
pub(crate) fn cluster_id(name: &str, node: &Node, problems: &mut Vec<Problem>) -> Option<RouterId> {
    match annotations::parse_cluster_id(node.annotation(annotations::CLUSTER_ID)?) {
        Ok(id) => Some(RouterId::from_addr(id)),
        Err(message) => {
            let field = format!("metadata.annotations[{}]", annotations::CLUSTER_ID);
            let remedy = "correct it, or remove the annotation";
            problems.push(Problem::new(Kind::Node.as_str(), name, field, message, remedy));
            None
        }
    }
}

fn router_id(name: &str, node: &Node, internal_ips: &[IpAddr], problems: &mut Vec<Problem>) -> RouterId {
    match node
        .annotation(annotations::ROUTER_ID)
        .map(annotations::parse_router_id)
    {
        Some(Ok(id)) => return RouterId::from_addr(id),
        Some(Err(message)) => {
            let field = format!("metadata.annotations[{}]", annotations::ROUTER_ID);
            let remedy = "correct it, or remove the annotation";
            problems.push(Problem::new(Kind::Node.as_str(), name, field, message, remedy));
        }
        None => {}
    }
    let address = internal_ips
        .iter()
        .find_map(|a| if let IpAddr::V4(a) = a { Some(*a) } else { None });
    match address.filter(|a| !a.is_unspecified()) {
        Some(address) => RouterId::from_addr(address),
        None => RouterId(hash(name)),
    }
}

/// FNV-1a of 32 bits: the same on every machine and in every version. Never zero (RFC 6286).
fn hash(name: &str) -> u32 {
    let hash = name.bytes().fold(0x811c_9dc5_u32, |h, b| {
        (h ^ u32::from(b)).wrapping_mul(0x0100_0193)
    });
    hash.max(1)
}

/// The cluster's pod CIDRs, by the first source that knows them.
pub(crate) fn cluster_cidrs(state: &ClusterState, facts: &Facts) -> ClusterCidrs {
    let configured = configuration(state)
        .and_then(|c| c.pod_network.as_ref())
        .and_then(|n| n.cluster_cidrs.as_ref())
        .map(|cidrs| cidrs.iter().map(|c| Prefix::from(c.0)).collect());
    if let Some(prefixes) = configured {
        return ClusterCidrs {
            prefixes: Some(prefixes),
            from: "BGPConfiguration clusterCIDRs",
        };
    }
    if !facts.kubeadm_pod_subnets.is_empty() {
        let prefixes = facts
            .kubeadm_pod_subnets
            .iter()
            .map(|n| Prefix::from(*n))
            .collect();
        return ClusterCidrs {
            prefixes: Some(prefixes),
            from: "kubeadm-config podSubnet",
        };
    }
    match facts.source {
        ObjectSource::Standalone => ClusterCidrs {
            prefixes: None,
            from: "not configured: every prefix that no rail protects",
        },
        ObjectSource::ApiServer => ClusterCidrs {
            prefixes: Some(covering(&state.nodes.values().flat_map(pod_cidrs).collect())),
            from: "what covers the pod CIDRs of all Nodes",
        },
    }
}

/// This node's pod CIDRs that are not of the cluster's: the other nodes refuse the routes to them.
pub(crate) fn outside(identity: &Identity, cluster: &ClusterCidrs, problems: &mut Vec<Problem>) {
    let Some(prefixes) = &cluster.prefixes else { return };
    for of_node in &identity.pod_cidrs {
        if prefixes.iter().any(|prefix| prefix.covers(*of_node)) {
            continue;
        }
        let all: Vec<String> = prefixes.iter().map(ToString::to_string).collect();
        problems.push(Problem::new(
            Kind::Node.as_str(),
            &identity.name,
            "spec.podCIDRs",
            format!(
                "{of_node} is outside of the cluster's pod CIDRs ({}, {}), so other nodes refuse the route to it",
                all.join(", "),
                cluster.from
            ),
            "let spec.podNetwork.clusterCIDRs of BGPConfiguration default hold the pod CIDRs of all nodes",
        ));
    }
}

/// The smallest prefix a family that covers all of them; those themselves when it would be shorter than /8 or
/// /32.
fn covering(all: &BTreeSet<Prefix>) -> BTreeSet<Prefix> {
    let mut out = BTreeSet::new();
    for (family, shortest) in [(Family::Ipv4, 8), (Family::Ipv6, 32)] {
        let members: Vec<Prefix> = all.iter().copied().filter(|p| p.family() == family).collect();
        let Some(first) = members.first() else { continue };
        let cover = (shortest..=first.prefix_len())
            .rev()
            .filter_map(|len| Prefix::new(first.addr(), len).ok())
            .find(|cover| members.iter().all(|m| cover.covers(*m)));
        match cover {
            Some(cover) => {
                out.insert(cover);
            }
            None => out.extend(members),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(of: &[&str]) -> BTreeSet<Prefix> {
        of.iter()
            .map(|s| Prefix::from(s.parse::<ipnetwork::IpNetwork>().unwrap()))
            .collect()
    }

    #[test]
    fn the_cover_is_the_smallest_that_is_not_too_short() {
        for (members, want) in [
            (&["10.244.0.0/24", "10.244.1.0/24"][..], &["10.244.0.0/23"][..]),
            (&["10.244.0.0/24"], &["10.244.0.0/24"]),
            (&["10.0.0.0/24", "10.255.0.0/24"], &["10.0.0.0/8"]),
            (
                &["10.0.0.0/24", "192.168.0.0/24"],
                &["10.0.0.0/24", "192.168.0.0/24"],
            ),
            (
                &["fd00:244:1::/64", "fd00:244:2::/64", "10.1.0.0/16"],
                &["10.1.0.0/16", "fd00:244::/46"],
            ),
            (&["fd00::/64", "2001:db8::/64"], &["fd00::/64", "2001:db8::/64"]),
            (&[], &[]),
        ] {
            assert_eq!(covering(&set(members)), set(want), "{members:?}");
        }
    }

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(hash("a"), 0xe40c_292c);
        assert_eq!(hash("foobar"), 0xbf9c_f968);
    }
}
