//! Nodes on one link and no object but their Nodes: each has a session with every other one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use flatroute_api::ClusterState;
use flatroute_bgp::types::{Family, FamilySet};
use flatroute_plan::{Facts, Links, ObjectSource};
use ipnetwork::IpNetwork;

use super::objects;
use super::{HostId, NODE_ASN, Role, Topology};

/// The interface of the one link that all nodes are on.
const INTERFACE: u32 = 2;

/// Builds it.
#[must_use]
pub fn mesh(nodes: usize, families: FamilySet) -> Topology {
    let mut topology = Topology {
        families,
        states: vec![ClusterState {
            configuration: Some(objects::configuration()),
            ..ClusterState::default()
        }],
        ..Topology::default()
    };
    for number in 0..nodes {
        let host = topology.host(format!("node{number}"), Role::Node, NODE_ASN, 0);
        let networks = networks(families, number);
        let addresses: Vec<IpAddr> = networks.iter().map(|n| n.ip()).collect();
        let pods = objects::pods(families, number);
        let name = topology.hosts[host].name.clone();
        let node = objects::node(&name, &addresses, &pods, None);
        topology.states[0].nodes.insert(name, node);
        topology.pods[host] = pods;
        let on_link = networks
            .iter()
            .map(|n| IpNetwork::new(n.network(), n.prefix()).expect("a network"));
        topology.hosts[host].facts = Facts {
            source: ObjectSource::ApiServer,
            links: Links {
                on_link: on_link.collect(),
                ..Links::default()
            },
            ..Facts::default()
        };
    }
    for one in 0..nodes {
        for other in one + 1..nodes {
            let end = |host: HostId| (host, INTERFACE, networks(families, host));
            let link = topology.join(&[end(one), end(other)]);
            topology.adjacencies.push(link);
        }
    }
    topology
}

fn networks(families: FamilySet, number: usize) -> Vec<IpNetwork> {
    let number = u32::try_from(number).expect("few nodes") + 1;
    let network = |family| {
        let (address, len) = match family {
            Family::Ipv4 => (IpAddr::V4(Ipv4Addr::from_bits(0x0a01_0000 + number)), 16),
            Family::Ipv6 => {
                let bits = (0xfd00_0010 << 96) + u128::from(number);
                (IpAddr::V6(Ipv6Addr::from_bits(bits)), 64)
            }
        };
        IpNetwork::new(address, len).expect("a length of its family")
    };
    families.iter().map(network).collect()
}
