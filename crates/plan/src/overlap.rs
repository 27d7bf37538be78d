//! Ranges that overlap: a node's pod CIDRs against those of other Nodes, and against the addresses of Nodes.
//!
//! Kubernetes asks that no address is given to two. What gives out pod CIDRs keeps them apart, but they can be written by
//! hand, restored from a backup, or chosen over a network that the machines are in. Then both sides advertise
//! the same addresses, or a machine hides behind a pod: nothing fails, and some packets go astray. So it is said. Nothing is
//! left out of the plan for it, because nobody knows here which of the two is right.
//!
//! Ranges of Services are not looked at: the agent reads none. Only Nodes that the plan knows count: always its own, the
//! others where something needs them (`needs_other_nodes`).

use std::net::IpAddr;

use flatroute_api::{ClusterState, Kind, Problem, ProblemReason};
use flatroute_bgp::types::Prefix;

use crate::identity::{Identity, pod_cidrs};

/// One problem a pod CIDR of this node that overlaps with something, which names the first of them and counts the others.
pub(crate) fn problems(identity: &Identity, state: &ClusterState, problems: &mut Vec<Problem>) {
    for own in &identity.pod_cidrs {
        let mut with = state.nodes.iter().flat_map(|(name, node)| {
            let is_own = *name == identity.name;
            let cidrs = pod_cidrs(node).filter(move |cidr| !is_own && overlap(*own, *cidr));
            let addresses = node.internal_ips().filter(|address| own.contains(*address));
            let cidrs = cidrs.map(move |cidr| format!("{cidr} of Node {name}"));
            cidrs.chain(addresses.map(move |address: IpAddr| format!("the address {address} of Node {name}")))
        });
        let Some(first) = with.next() else { continue };
        let more = match with.count() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        problems.push(
            Problem::new(
                Kind::Node.as_str(),
                &identity.name,
                "spec.podCIDRs",
                format!("{own} overlaps with {first}{more}: packets for one go to the other"),
                "give each Node pod CIDRs of its own, outside of the networks that machines are in",
            )
            .because(ProblemReason::OverlappingCIDRs),
        );
    }
}

fn overlap(one: Prefix, other: Prefix) -> bool {
    one.covers(other) || other.covers(one)
}

#[cfg(test)]
mod tests;
