//! What goes wrong, as values, and how it is done.
//!
//! A *swarm* takes some kinds of faults and leaves others out, because a world in which everything fails at once hides what
//! fails when one thing does (swarm testing: Groce et al., 2012). Each fault is over after a while by itself, so that after the
//! last one the world is whole again and the model can say what it must come to.

mod damage;
mod swarm;

use std::time::Duration;

use flatroute_api::objects::{SetAttributes, State};
use flatroute_api::values::Community;
use flatroute_bgp::speaker::Input;
use flatroute_bgp::types::Prefix;

use crate::marks::Mark;
use crate::queue::Happening;
use crate::tcp::{Key, Side};
use crate::topology::{HostId, LinkId, Role};
use crate::verify::neighbour;
use crate::world::{Death, World};

pub use damage::{Damage, damage, repair};
pub use swarm::order_swarm;

/// A fault's place in [`World::faults`].
pub type FaultId = usize;

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// What is sent over these links is lost, in the directions given by their ends; with the carrier where the cable is cut.
    Cut {
        /// The links.
        links: Vec<LinkId>,
        /// Whether what each end sends is lost.
        ends: [bool; 2],
        /// Whether both ends see that the cable is dead.
        carrier: bool,
        /// For how long.
        lasts: Duration,
    },
    /// They are whole again.
    Heal {
        /// The links.
        links: Vec<LinkId>,
        /// As in [`Fault::Cut`].
        carrier: bool,
        /// Those whose session was up when it began.
        up: Vec<LinkId>,
    },
    /// Something on the way resets every connection over a link.
    Reset(LinkId),
    /// Every connection over a link stands still in one direction.
    Stall(LinkId, Duration),
    /// A process ends, and starts again later.
    Die(HostId, Death, Duration),
    /// A process stands still.
    Freeze(HostId, Duration),
    /// A speaker asks all its neighbours for their routes again.
    Refresh(HostId),
    /// Something happens to a kernel.
    Kernel(HostId, Trouble),
    /// Somebody changes objects.
    Objects(Change),
}

/// What happens to a kernel without its node's doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It refuses all writes.
    Refuse(Duration),
    /// It takes them again.
    Accept,
    /// Another program writes a route of its own.
    Foreign(Prefix, Duration),
    /// It takes it away.
    Unforeign(Prefix),
    /// Another program deletes a route of ours.
    Steal(Prefix),
}

/// What somebody changes in objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A session is taken down for a while.
    Disable(LinkId, Duration),
    /// And up again.
    Enable(LinkId),
    /// The hold time of all sessions that nodes have, in seconds.
    HoldTime(u64),
    /// A switch marks what it tells one of its neighbours.
    Community(LinkId, u32),
    /// The nodes below a ToR drain it, or no longer do.
    Drain(HostId, bool),
    /// A node gets other pod CIDRs.
    Renumber(HostId, usize),
}

/// Puts a fault at its moment.
pub fn order(world: &mut World, after: Duration, fault: Fault) {
    world.faults.push(fault);
    let id = world.faults.len() - 1;
    world.order(after, Happening::Fault(id));
}

/// Does it.
pub(crate) fn carry_out(world: &mut World, id: FaultId, fault: &Fault) {
    world
        .trace
        .fact(world.now, "fault", &[id as u64], || format!("{fault:?}"));
    match fault {
        Fault::Cut {
            links,
            ends,
            carrier,
            lasts,
        } => {
            let up = links.iter().copied().filter(|l| is_up(world, *l)).collect();
            for link in links {
                world.links[*link].cut = *ends;
            }
            set_carrier(world, links, *carrier, false);
            let heal = Fault::Heal {
                links: links.clone(),
                carrier: *carrier,
                up,
            };
            order(world, *lasts, heal);
        }
        Fault::Heal { links, carrier, up } => {
            for link in links {
                world.links[*link].cut = [false; 2];
            }
            set_carrier(world, links, *carrier, true);
            if up.iter().any(|link| is_up(world, *link)) {
                world.marks.reach(Mark::PartitionOutlived);
            }
        }
        Fault::Reset(link) => reset(world, *link),
        Fault::Stall(link, lasts) => {
            let until = world.now + *lasts;
            for key in over(world, *link) {
                world.stall(key, Side::Dialled, until);
            }
        }
        Fault::Die(host, death, back) => {
            if world.machines[*host].speaker.is_some() {
                world.end(*host, *death);
                world.order(*back, Happening::Boot(*host));
            }
        }
        Fault::Freeze(host, lasts) => {
            if world.machines[*host].speaker.is_some() {
                world.freeze(*host, world.now + *lasts);
            }
        }
        Fault::Kernel(host, trouble) => to_kernel(world, *host, trouble),
        Fault::Objects(change) => to_objects(world, change),
        Fault::Refresh(host) => {
            let names: Vec<_> = world.machines[*host].neighbours.values().cloned().collect();
            for name in names {
                world.tell(*host, Input::Refresh(name));
            }
        }
    }
}

fn is_up(world: &World, link: LinkId) -> bool {
    let ends = world.topology.links[link].ends;
    ends.into_iter().all(|host| {
        let speaker = world.machines[host].speaker.as_ref();
        let peer = speaker
            .zip(neighbour(world, host, link))
            .and_then(|(speaker, name)| speaker.peer(name, world.now));
        peer.is_some_and(|peer| peer.negotiated.is_some())
    })
}

/// The connections over a link.
fn over(world: &World, link: LinkId) -> Vec<Key> {
    let is_over = |key: &Key| world.conns.get(*key).is_some_and(|conn| conn.link == link);
    world.conns.keys().filter(is_over).collect()
}

fn reset(world: &mut World, link: LinkId) {
    for key in over(world, link) {
        for side in Side::BOTH {
            world.order(Duration::from_micros(1), Happening::Reset(key, side));
        }
    }
}

fn set_carrier(world: &mut World, links: &[LinkId], concerned: bool, carrier: bool) {
    for link in links.iter().filter(|_| concerned) {
        for host in world.topology.links[*link].ends {
            let ports = &world.topology.hosts[host].ports;
            let interface = ports.iter().find(|p| p.link == *link).map(|p| p.interface);
            if let Some(interface) = interface {
                world.kernel(host, |kernel| kernel.carrier(interface, carrier));
            }
        }
        world.marks.reach(Mark::CarrierLost);
    }
}

fn to_kernel(world: &mut World, host: HostId, trouble: &Trouble) {
    let later = |trouble| Fault::Kernel(host, trouble);
    match trouble {
        Trouble::Refuse(lasts) => {
            world.kernel(host, |kernel| kernel.refuse(true));
            order(world, *lasts, later(Trouble::Accept));
        }
        Trouble::Accept => world.kernel(host, |kernel| kernel.refuse(false)),
        Trouble::Foreign(prefix, lasts) => {
            world.marks.reach(Mark::ForeignRoute);
            world.kernel(host, |kernel| kernel.foreign(*prefix, true));
            order(world, *lasts, later(Trouble::Unforeign(*prefix)));
        }
        Trouble::Unforeign(prefix) => world.kernel(host, |kernel| kernel.foreign(*prefix, false)),
        Trouble::Steal(prefix) => {
            world.marks.reach(Mark::RouteStolen);
            world.kernel(host, |kernel| kernel.delete(*prefix));
        }
    }
}

fn to_objects(world: &mut World, change: &Change) {
    match change {
        Change::Disable(link, lasts) => {
            world.marks.reach(Mark::AdminDown);
            session_object(world, *link, |spec| {
                spec.state = Some(State::Down);
                spec.state_message = Some("new optics".to_owned());
            });
            order(world, *lasts, Fault::Objects(Change::Enable(*link)));
        }
        Change::Enable(link) => session_object(world, *link, |spec| {
            spec.state = None;
            spec.state_message = None;
        }),
        Change::Drain(tor, drained) => drain(world, *tor, *drained),
        Change::HoldTime(seconds) => world.edit(0, |state| {
            for object in state.peers.values_mut() {
                if let Some(timers) = object.spec.timers.as_mut() {
                    timers.hold_time = Some(flatroute_api::values::Duration(Duration::from_secs(*seconds)));
                }
            }
        }),
        Change::Community(link, number) => session_object(world, *link, |spec| {
            spec.set = Some(SetAttributes {
                communities: vec![Community(0xfde8_0000 | number)],
                ..SetAttributes::default()
            });
        }),
        Change::Renumber(host, number) => {
            world.marks.reach(Mark::Renumbered);
            world.renumber(*host, *number);
        }
    }
}

/// Changes the objects by which the nodes below a ToR have it for a neighbour.
fn drain(world: &mut World, tor: HostId, drained: bool) {
    let topology = &world.topology;
    let below = topology.hosts[tor]
        .ports
        .iter()
        .map(|port| &topology.hosts[port.remote]);
    let nodes: Vec<_> = below.filter(|host| host.role == Role::Node).cloned().collect();
    let tor = world.name(tor).to_owned();
    let Some(state) = nodes.first().map(|node| node.state) else {
        return;
    };
    world.edit(state, |state| {
        for node in &nodes {
            if let Some(object) = state.peers.get_mut(&format!("{}-{tor}", node.name)) {
                object.spec.state = drained.then_some(State::Drained);
            }
        }
    });
}

/// Changes the object by which the upper end of a link has the lower one for a neighbour.
fn session_object(world: &mut World, link: LinkId, change: impl FnOnce(&mut flatroute_api::BGPPeerSpec)) {
    let [below, above] = world.topology.links[link].ends;
    let name = world.name(below).to_owned();
    let state = world.topology.hosts[above].state;
    world.edit(state, |state| {
        if let Some(object) = state.peers.get_mut(&name) {
            change(&mut object.spec);
        }
    });
}
