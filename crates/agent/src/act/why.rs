//! Why an address goes where it goes: what the kernel does with it, joined with what BGP knows, and one sentence of both.
//!
//! The kernel has the last word, because routes of others count as much as ours: the sentence says first what happens,
//! then why. Below it stands all that the sentence was made from.

use std::net::IpAddr;

use flatroute_api::control;
use flatroute_bgp::speaker;
use flatroute_fib as fib;
use flatroute_fib_io::lookup::{Fate, Match, protocol_name};

use super::words;

/// The protocol number of the plugin's host routes to pods.
const PODS: u8 = 80;

/// What is known of an address.
pub(super) struct Known<'a> {
    pub(super) address: IpAddr,
    /// What the kernel does with it.
    pub(super) fate: &'a Fate,
    /// The protocol number of our routes.
    pub(super) ours: u8,
    /// The kernel's route of ours by which it goes, when it is one.
    pub(super) installed: Option<&'a fib::InstalledRoute>,
    /// What BGP knows.
    pub(super) bgp: &'a speaker::Why,
}

pub(super) fn why(known: &Known<'_>, name_of: impl Fn(u32) -> String) -> control::Why {
    let paths: Vec<control::Route> = known.bgp.paths.iter().map(words::route).collect();
    let kernel = match known.fate {
        Fate::Forwarded(found) => Some(kernel_route(known, found, name_of)),
        Fate::Local | Fate::Unreachable | Fate::Dropped | Fate::NoRoute => None,
    };
    control::Why {
        address: known.address,
        verdict: verdict(known, kernel.as_ref(), &paths),
        kernel,
        prefix: known.bgp.prefix.map(|prefix| prefix.to_string()),
        paths,
        advertised: known
            .bgp
            .told
            .iter()
            .map(|(peer, reason)| control::Told {
                peer: peer.to_string(),
                reason: reason.clone(),
            })
            .collect(),
    }
}

fn kernel_route(known: &Known<'_>, found: &Match, name_of: impl Fn(u32) -> String) -> control::KernelRoute {
    let legs = known.installed.filter(|route| route.prefix == found.prefix);
    let next_hops = if found.next_hops.is_empty() {
        legs.map_or_else(Vec::new, |route| {
            route.legs.iter().map(|leg| leg.gateway.to_string()).collect()
        })
    } else {
        found.next_hops.iter().map(ToString::to_string).collect()
    };
    control::KernelRoute {
        prefix: found.prefix.to_string(),
        protocol: match found.protocol {
            protocol if protocol == known.ours => format!("flatroute ({protocol})"),
            PODS => format!("flatroute-cni ({PODS})"),
            protocol => protocol_name(protocol).unwrap_or_else(|| protocol.to_string()),
        },
        table: found.table,
        next_hops,
        interfaces: found.interfaces.iter().map(|index| name_of(*index)).collect(),
    }
}

fn verdict(known: &Known<'_>, kernel: Option<&control::KernelRoute>, paths: &[control::Route]) -> String {
    let address = known.address;
    match (known.fate, kernel) {
        (Fate::Local, _) => format!("{address} is an address of this node"),
        (Fate::Unreachable, _) if is_our_own(known) => {
            let prefix = known
                .bgp
                .prefix
                .map(|prefix| prefix.to_string())
                .unwrap_or_default();
            format!("{address} is in {prefix}, which is this node's own, and no pod has it: unreachable")
        }
        (Fate::Unreachable, _) => {
            format!(
                "a route of this node says that {address} is unreachable: {}",
                by_bgp(known, paths)
            )
        }
        (Fate::Dropped, _) => {
            format!(
                "a route of this node (blackhole or prohibit) drops packets to {address}: {}",
                by_bgp(known, paths)
            )
        }
        (Fate::NoRoute, _) | (Fate::Forwarded(_), None) => {
            format!("the kernel has no route to {address}: {}", by_bgp(known, paths))
        }
        (Fate::Forwarded(found), Some(route)) => forwarded(known, found, route, paths),
    }
}

fn is_our_own(known: &Known<'_>) -> bool {
    let best = known
        .bgp
        .paths
        .iter()
        .find(|path| Some(path.prefix) == known.bgp.prefix);
    best.is_some_and(|path| path.peer.is_none())
}

fn forwarded(
    known: &Known<'_>,
    found: &Match,
    route: &control::KernelRoute,
    paths: &[control::Route],
) -> String {
    let address = known.address;
    let links = route.interfaces.join(" and ");
    if found.protocol == PODS {
        return format!("{address} is a pod of this node, on {links}");
    }
    let way = match (route.next_hops.as_slice(), links.as_str()) {
        ([], "") => String::new(),
        ([], links) => format!(" on {links}"),
        (hops, _) => format!(" to {}", hops.join(" and ")),
    };
    let prefix = &route.prefix;
    if found.protocol != known.ours {
        let protocol = &route.protocol;
        return format!(
            "{address} goes{way} by {prefix} of protocol {protocol}, no route of ours: {}",
            by_bgp(known, paths)
        );
    }
    let from: Vec<&str> = paths
        .iter()
        .filter(|path| path.prefix == *prefix && path.multipath)
        .filter_map(|path| path.peer.as_deref())
        .collect();
    if from.is_empty() {
        return format!(
            "{address} goes{way} by {prefix}, a route of ours that no neighbour announces at the moment"
        );
    }
    format!("{address} goes{way} by {prefix}, from {}", from.join(" and "))
}

/// What BGP has to do with it, when the kernel's route is not ours.
fn by_bgp(known: &Known<'_>, paths: &[control::Route]) -> String {
    let Some(first) = paths.first() else {
        return "no neighbour has sent a route to it".to_owned();
    };
    let Some(prefix) = known.bgp.prefix.map(|prefix| prefix.to_string()) else {
        let who = first.peer.as_deref().unwrap_or("this node");
        let none = match paths.len() {
            1 => "its only path in BGP is not used".to_owned(),
            number => format!("none of its {number} paths in BGP is used"),
        };
        return format!("{none}: {} from {who}: {}", first.prefix, first.reason);
    };
    let best = paths.iter().find(|path| path.prefix == prefix).unwrap_or(first);
    match &best.peer {
        None => format!("in BGP it is in {prefix}, which is this node's own"),
        Some(peer) => format!("in BGP it is in {prefix}, from {peer}: {}", best.reason),
    }
}

#[cfg(test)]
mod tests;
