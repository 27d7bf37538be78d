//! Which faults there are in a run, and when.

use std::time::Duration;

use flatroute_bgp::types::{Instant, Prefix};

use super::{Change, Fault, Trouble, order};
use crate::dice::Dice;
use crate::topology::{HostId, Role};
use crate::world::{Death, World};

/// The kinds of faults that a swarm takes or leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Cut,
    Isolation,
    Cable,
    Reset,
    Stall,
    Kill,
    PowerLoss,
    Shutdown,
    Freeze,
    Kernel,
    Disable,
    HoldTime,
    Community,
    Renumber,
    Refresh,
}

const KINDS: [Kind; 15] = [
    Kind::Cut,
    Kind::Isolation,
    Kind::Cable,
    Kind::Reset,
    Kind::Stall,
    Kind::Kill,
    Kind::PowerLoss,
    Kind::Shutdown,
    Kind::Freeze,
    Kind::Kernel,
    Kind::Disable,
    Kind::HoldTime,
    Kind::Community,
    Kind::Renumber,
    Kind::Refresh,
];

/// The first number of pod CIDRs that no node has from the start.
const SPARE_PODS: usize = 4096;
/// The proportion of kinds that a swarm takes, in a thousand.
const TAKEN: u64 = 550;

/// Orders `count` faults of a swarm within `span`; the moment at which the last of them is over.
pub fn order_swarm(world: &mut World, dice: &mut Dice, count: u64, span: Duration) -> Instant {
    let mut kinds: Vec<Kind> = KINDS.into_iter().filter(|_| dice.chance(TAKEN)).collect();
    if kinds.is_empty() {
        kinds.extend(dice.pick(&KINDS));
    }
    let mut over = world.now;
    for _ in 0..count {
        let Some(kind) = dice.pick(&kinds) else { break };
        let after = Duration::from_micros(dice.between(0, u64::try_from(span.as_micros()).unwrap_or(0)));
        let lasts = lasting(dice);
        if let Some(fault) = choose(world, dice, *kind, lasts) {
            order(world, after, fault);
            over = over.max(world.now + after + lasts);
        }
    }
    over
}

/// How long a fault lasts: often shorter than a hold time, often longer.
fn lasting(dice: &mut Dice) -> Duration {
    let millis = if dice.chance(500) {
        dice.between(20, 3_000)
    } else {
        dice.between(3_000, 40_000)
    };
    Duration::from_millis(millis)
}

fn choose(world: &World, dice: &mut Dice, kind: Kind, lasts: Duration) -> Option<Fault> {
    let topology = &world.topology;
    let link = *dice.pick(&topology.adjacencies)?;
    let hosts: Vec<HostId> = world.honest().collect();
    let host = *dice.pick(&hosts)?;
    let nodes: Vec<HostId> = topology.of_role(&[Role::Node]).collect();
    // A rogue goes on with its victim's pod CIDRs, and has them when they are the victim's no more.
    let is_victim = |node: &&HostId| {
        let mut ports = topology.hosts[**node].ports.iter();
        ports.any(|port| topology.hosts[port.remote].role == Role::Rogue)
    };
    let others: Vec<HostId> = nodes.iter().filter(|n| !is_victim(n)).copied().collect();
    let node = *dice.pick(&others)?;
    let foreign = nodes.iter().filter(|n| **n != host);
    let prefixes: Vec<Prefix> = foreign.flat_map(|n| &topology.pods[*n]).copied().collect();
    let cut = |links, ends, carrier| Fault::Cut {
        links,
        ends,
        carrier,
        lasts,
    };
    Some(match kind {
        Kind::Cut => {
            let ends = [[true, true], [true, false], [false, true]];
            cut(vec![link], *dice.pick(&ends)?, false)
        }
        Kind::Isolation => {
            let links = topology.hosts[host].ports.iter().map(|port| port.link).collect();
            cut(links, [true; 2], false)
        }
        Kind::Cable => cut(vec![link], [true; 2], true),
        Kind::Reset => Fault::Reset(link),
        Kind::Stall => Fault::Stall(link, lasts),
        Kind::Kill if dice.chance(500) => Fault::Die(host, Death::Killed, lasts),
        Kind::Kill => Fault::Die(host, Death::KilledUnread, lasts),
        Kind::PowerLoss => Fault::Die(host, Death::PowerLoss, lasts),
        Kind::Shutdown => Fault::Die(host, Death::Shutdown, lasts),
        Kind::Freeze => Fault::Freeze(host, lasts),
        Kind::Kernel => match dice.index(3) {
            0 => Fault::Kernel(host, Trouble::Refuse(lasts)),
            1 => Fault::Kernel(host, Trouble::Foreign(*dice.pick(&prefixes)?, lasts)),
            _ => Fault::Kernel(host, Trouble::Steal(*dice.pick(&prefixes)?)),
        },
        Kind::Disable => Fault::Objects(Change::Disable(link, lasts)),
        Kind::HoldTime => Fault::Objects(Change::HoldTime(dice.between(3, 30))),
        Kind::Community => Fault::Objects(Change::Community(
            link,
            u32::try_from(dice.between(1, 0xffff)).unwrap_or(1),
        )),
        Kind::Renumber => Fault::Objects(Change::Renumber(
            node,
            SPARE_PODS + world.renumbered.len() + dice.index(1024),
        )),
        Kind::Refresh => Fault::Refresh(host),
    })
}
