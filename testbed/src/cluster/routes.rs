//! What a node's kernel must hold before anything is measured: a learned route to every other node's pods, over both
//! ToRs or straight to that node, and `unreachable` below.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use ipnetwork::IpNetwork;

use super::kubectl::Kubectl;
use super::segment::INTERFACE;
use super::site::{LAST_METRIC, Site};
use crate::kernel::{self, Action, Hop, KernelRoute};
use crate::namespace::Namespace;
use crate::wait::Look;

/// What every node must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected<'a> {
    /// Nodes of the cluster.
    pub nodes: usize,
    /// Where routes lead.
    pub way: Way<'a>,
    /// Who learned the routes (RTPROT_*).
    pub protocol: u8,
}

/// The next hops of every learned route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way<'a> {
    /// That many: the node's ToRs.
    Tors(usize),
    /// One, an address of the other node itself, over the segment that both are on.
    Segment(&'a Site),
}

/// Every Node's pod CIDRs, by the Node's name.
///
/// # Errors
/// The API server does not answer.
pub fn pod_cidrs(kubectl: &Kubectl) -> Result<BTreeMap<String, Vec<IpNetwork>>> {
    let mut found = BTreeMap::new();
    for node in kubectl.list(&["nodes"])? {
        let name = node["metadata"]["name"].as_str().context("a Node's name")?;
        let cidrs = node["spec"]["podCIDRs"].as_array().into_iter().flatten();
        let cidrs = cidrs.filter_map(|cidr| cidr.as_str()?.parse().ok()).collect();
        found.insert(name.to_owned(), cidrs);
    }
    Ok(found)
}

/// Whether a node holds all that it must.
///
/// # Errors
/// The kernel refuses to be read.
pub fn complete(
    namespace: &Namespace,
    own: &str,
    cidrs: &BTreeMap<String, Vec<IpNetwork>>,
    expected: &Expected<'_>,
) -> Result<Look<()>> {
    let Expected { nodes, protocol, .. } = *expected;
    let held = kernel::routes_of_all_tables(namespace)?;
    let others: Vec<_> = cidrs.iter().filter(|(name, _)| name.as_str() != own).collect();
    if others.len() + 1 != nodes {
        return Ok(Err(format!("there are {} Nodes, not {nodes}", others.len() + 1)));
    }
    for (name, prefixes) in &others {
        if prefixes.is_empty() {
            return Ok(Err(format!("Node {name} has no pod CIDR yet")));
        }
        for prefix in *prefixes {
            if let Err(reason) = learned(&held, name, *prefix, expected) {
                return Ok(Err(format!("{reason} of {name}")));
            }
            if let Some(other) = held.iter().find(|route| stands_in(route, *prefix, protocol)) {
                return Ok(Err(format!(
                    "{other} (table {}, protocol {}) would carry packets to pods of {name} and was not learned",
                    other.table, other.protocol
                )));
            }
            let refused = |route: &&KernelRoute| {
                route.action == Action::Unreachable && route.metric == LAST_METRIC && route.touches(*prefix)
            };
            if !held.iter().any(|route| refused(&route)) {
                return Ok(Err(format!("no unreachable route lies under {prefix} of {name}")));
            }
        }
    }
    Ok(Ok(()))
}

fn learned(held: &[KernelRoute], node: &str, prefix: IpNetwork, expected: &Expected<'_>) -> Look<()> {
    let route = held.iter().find(|route| {
        route.prefix == prefix && route.protocol == expected.protocol && route.action == Action::Forward
    });
    let Some(KernelRoute { hops, .. }) = route else {
        return Err(format!("no learned route to {prefix}"));
    };
    match expected.way {
        Way::Tors(legs) if hops.len() != legs => {
            Err(format!("{} next hops instead of {legs} to {prefix}", hops.len()))
        }
        Way::Tors(_) => Ok(()),
        Way::Segment(site) => {
            let own = site.topology.find(node).map(|router| site.addresses(router));
            let leads_there = |hop: &Hop| {
                hop.interface == INTERFACE
                    && hop
                        .gateway
                        .is_some_and(|gateway| own.as_ref().is_some_and(|own| own.contains(&gateway)))
            };
            match hops.as_slice() {
                [hop] if leads_there(hop) => Ok(()),
                _ => Err(format!(
                    "{prefix} does not lead straight to {node}, but to {hops:?}"
                )),
            }
        }
    }
}

/// Whether a route that was not learned is more specific than the default and carries packets to `prefix`.
fn stands_in(route: &KernelRoute, prefix: IpNetwork, protocol: u8) -> bool {
    route.protocol != protocol
        && route.action == Action::Forward
        && route.prefix.prefix() > 0
        && !is_link_local(route.prefix)
        && route.touches(prefix)
}

fn is_link_local(prefix: IpNetwork) -> bool {
    match prefix {
        IpNetwork::V4(_) => false,
        IpNetwork::V6(network) => network.ip().is_unicast_link_local() || network.ip().is_multicast(),
    }
}
