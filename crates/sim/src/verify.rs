//! What must hold of a world that has come to rest: it is as the reference model says, packets arrive, and what one end of a
//! session holds is what the other end says. Each question is asked of a different witness: sessions of the speakers, routes of
//! the kernels, packets of the kernels alone, tables of both ends of a session.

mod early;
mod farewell;
mod stale;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use flatroute_bgp::peer::State;
use flatroute_bgp::rib::RouteView;
use flatroute_bgp::speaker::{RouteQuery, Speaker};
use flatroute_bgp::types::{Family, PathAttributes, PeerName, Prefix};

use crate::model::Prediction;
use crate::topology::{HostId, LinkId, Role, Topology};
use crate::world::World;

pub use early::{early, may_choose};
pub use farewell::{Ending, HARD_RESET, SHUTDOWN, endings, forgotten, leave};
pub use stale::{Stale, stale};
pub use waiting::waiting;

/// More hops than any path of these topologies has.
const MAX_HOPS: usize = 16;

/// A speaker's name for the neighbour over a link.
pub(crate) fn neighbour(world: &World, host: HostId, link: LinkId) -> Option<&PeerName> {
    let port = world.topology.hosts[host].ports.iter().find(|p| p.link == link)?;
    let names = &world.machines[host].neighbours;
    port.remote_addresses
        .iter()
        .find_map(|address| names.get(address))
}

/// The address of a neighbour on the link between both, of one family.
fn gateway(topology: &Topology, host: HostId, via: HostId, family: Family) -> Option<IpAddr> {
    let port = topology.hosts[host].ports.iter().find(|p| p.remote == via)?;
    let mut addresses = port.remote_addresses.iter().copied();
    addresses.find(|a| a.is_ipv4() == (family == Family::Ipv4))
}

fn is_established(world: &World, host: HostId, link: LinkId) -> bool {
    let speaker = world.machines[host].speaker.as_ref();
    let summary = speaker
        .zip(neighbour(world, host, link))
        .and_then(|(speaker, name)| speaker.peer(name, world.now));
    summary.is_some_and(|peer| peer.state == State::Established && peer.end_of_rib)
}

/// Sessions are where they shall be, at both ends.
///
/// # Errors
/// The first difference, in words.
pub fn sessions(world: &World, prediction: &Prediction) -> Result<(), String> {
    for link in &world.topology.adjacencies {
        let expected = prediction.sessions.contains(link);
        for host in world.topology.links[*link].ends {
            if is_established(world, host, *link) != expected {
                let [a, b] = world.topology.links[*link].ends.map(|h| world.name(h));
                let state = if expected {
                    "has no session"
                } else {
                    "has a session"
                };
                return Err(format!("{} {state} over the link {a}–{b}", world.name(host)));
            }
        }
    }
    Ok(())
}

/// Kernels hold what the model says, and nothing else.
///
/// # Errors
/// The first difference, in words.
pub fn kernels(world: &World, prediction: &Prediction) -> Result<(), String> {
    for host in world.honest() {
        if world.machines[host].speaker.is_none() {
            continue;
        }
        let mut held = world.machines[host].kernel.routes();
        for (prefix, via) in prediction.routes(&world.topology, host) {
            let expected: BTreeSet<IpAddr> = via
                .iter()
                .filter_map(|via| gateway(&world.topology, host, *via, prefix.family()))
                .collect();
            let found = held.remove(&prefix).unwrap_or_default();
            if found != expected {
                let name = world.name(host);
                return Err(format!(
                    "{name} has {prefix} by way of {found:?} and not {expected:?}"
                ));
            }
        }
        if let Some((prefix, via)) = held.first_key_value() {
            let name = world.name(host);
            return Err(format!(
                "{name} has {prefix} by way of {via:?}, which nobody shall have"
            ));
        }
    }
    Ok(())
}

/// Every host that is in service has some way to everybody that the model says it reaches.
///
/// # Errors
/// The first host that has not, in words.
pub fn reach(world: &World, prediction: &Prediction) -> Result<(), String> {
    for host in world.honest().filter(|host| !world.excused.contains(host)) {
        let held = world.machines[host].kernel.routes();
        for (prefix, _) in prediction.routes(&world.topology, host) {
            if held.get(&prefix).is_none_or(BTreeSet::is_empty) {
                return Err(format!("{} has no way to {prefix}", world.name(host)));
            }
        }
    }
    Ok(())
}

/// A packet from any host in service to any pod CIDR that the host has a way to arrives, whichever of several legs it takes at each hop,
/// and is nowhere twice.
///
/// # Errors
/// The first packet that does not, in words.
pub fn packets(world: &World) -> Result<(), String> {
    let tables: Vec<BTreeMap<Prefix, BTreeSet<IpAddr>>> =
        world.machines.iter().map(|m| m.kernel.routes()).collect();
    for (owner, pods) in world.topology.pods.iter().enumerate() {
        for prefix in pods.iter().filter(|_| world.machines[owner].powered) {
            // The most hops from each host, once known.
            let mut known: Vec<Option<usize>> = vec![None; tables.len()];
            known[owner] = Some(0);
            for host in 0..tables.len() {
                if tables[host].contains_key(prefix) && !world.excused.contains(&host) {
                    hops(world, &tables, *prefix, host, &mut known, 0)?;
                }
            }
        }
    }
    Ok(())
}

fn hops(
    world: &World,
    tables: &[BTreeMap<Prefix, BTreeSet<IpAddr>>],
    prefix: Prefix,
    host: HostId,
    known: &mut [Option<usize>],
    depth: usize,
) -> Result<usize, String> {
    if let Some(hops) = known[host] {
        return Ok(hops);
    }
    let name = world.name(host);
    if depth > MAX_HOPS {
        return Err(format!(
            "a packet to {prefix} goes round in a loop through {name}"
        ));
    }
    let Some(gateways) = tables[host].get(&prefix).filter(|g| !g.is_empty()) else {
        return Err(format!(
            "a packet to {prefix} ends at {name}, which has no way to it"
        ));
    };
    let mut most = 0;
    for gateway in gateways {
        let Some(port) = world.topology.neighbour(host, *gateway) else {
            return Err(format!("{name} sends packets to {gateway}, which is nobody"));
        };
        let links = &world.links[port.link];
        if links.cut[port.end] || !world.machines[port.remote].powered {
            return Err(format!(
                "{name} sends packets to {prefix} over a link that loses them"
            ));
        }
        most = most.max(1 + hops(world, tables, prefix, port.remote, known, depth + 1)?);
    }
    known[host] = Some(most);
    Ok(most)
}

/// Both ends of a session agree on what was said: what one holds is what the other told, attribute by attribute. Only of
/// `of` sessions, spread evenly, where there are more.
///
/// # Errors
/// The first difference, in words.
pub fn tables(world: &World, prediction: &Prediction, of: usize) -> Result<(), String> {
    let every = prediction.sessions.len().div_ceil(of.max(1)).max(1);
    for link in prediction.sessions.iter().step_by(every) {
        let [a, b] = world.topology.links[*link].ends;
        for (from, to) in [(a, b), (b, a)] {
            let told = view(world, from, *link, RouteView::Advertised);
            let held = view(world, to, *link, RouteView::Received);
            if told != held {
                let difference = told.iter().find(|(prefix, told)| held.get(prefix) != Some(told));
                let extra = held.keys().find(|prefix| !told.contains_key(prefix));
                let (from, to) = (world.name(from), world.name(to));
                return Err(format!(
                    "{to} does not hold what {from} told it: {difference:?} told differently, {extra:?} held and not told"
                ));
            }
        }
    }
    Ok(())
}

fn view(world: &World, host: HostId, link: LinkId, view: RouteView) -> BTreeMap<Prefix, PathAttributes> {
    let query = |name: &PeerName| RouteQuery {
        view,
        peer: Some(name.clone()),
        within: None,
        limit: usize::MAX,
    };
    let speaker = world.machines[host].speaker.as_ref();
    let routes = speaker
        .zip(neighbour(world, host, link))
        .map(|(speaker, name)| speaker.routes(&query(name)));
    let routes = routes.unwrap_or_default().into_iter();
    routes.map(|route| (route.prefix, route.attributes)).collect()
}

/// Nothing is left: no routes, no attributes, no connection.
///
/// # Errors
/// What is left, in words.
pub fn emptiness(world: &World) -> Result<(), String> {
    for (host, speaker) in world.speakers() {
        let name = world.name(host);
        let usage = Speaker::usage(speaker);
        if usage != flatroute_bgp::rib::Usage::default() {
            return Err(format!("{name} still keeps {usage:?}"));
        }
        let machine = &world.machines[host];
        if !machine.conns.is_empty() {
            return Err(format!("{name} still has connections: {:?}", machine.conns));
        }
        if !machine.kernel.is_empty() {
            let routes = machine.kernel.len();
            return Err(format!("the kernel of {name} still has {routes} routes of ours"));
        }
    }
    let is_honest = |host: HostId| world.topology.hosts[host].role != Role::Rogue;
    let left = world.conns.keys().filter_map(|key| world.conns.get(key));
    let left = left
        .filter(|conn| conn.ends.iter().all(|end| is_honest(end.host)))
        .count();
    if left > 0 {
        return Err(format!("the network still has {left} connections"));
    }
    Ok(())
}
