//! The world: hosts with real speakers, plans and kernel machines, links between them, and one clock that jumps to whatever
//! happens next.
//!
//! A host is driven as `flatroute-bgp-io` drives it: one fact goes in, then all orders come out; octets are pulled in a *turn*
//! a little later, from every connection whose socket has taken what was pulled before, and once more when it has taken that;
//! then the next deadline. The kernel's changes go first, and UPDATEs wait for them. Between a fact and the turn lies the time that a busy machine needs.
//!
//! A run ends at its first failure, which is kept in words. Nothing here reads a clock or draws a number that does not come
//! from the seed.

mod handover;
mod handshake;
mod machine;
mod mutant;
mod network;
mod process;
mod watch;

use std::collections::BTreeSet;
use std::time::Duration;

use flatroute_api::ClusterState;
use flatroute_bgp::peer::Direction;
use flatroute_bgp::speaker::{Event, EventKind};
use flatroute_bgp::types::{Instant, Prefix};
use flatroute_plan::{Listing, Synced};

use crate::dice::Dice;
use crate::faults::{Fault, FaultId};
use crate::marks::{Mark, Marks};
use crate::model::Prediction;
use crate::queue::{Happening, Queue};
use crate::rogue::Rogue;
use crate::tcp::Conns;
use crate::topology::{HostId, Role, StateId, Topology};
use crate::trace::Trace;
use crate::traffic::Traffic;

pub use machine::Machine;
pub use mutant::Mutant;
pub use process::Death;

/// How the world behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether hosts have whole kernels, or maps.
    pub whole_kernels: bool,
    /// Whether octets arrive cut anywhere, or as they were sent.
    pub cuts: bool,
    /// Whether what must hold after each step is looked at after each step.
    pub watches: bool,
    /// How many octets a connection may have under way in one direction.
    pub window: usize,
    /// How long a machine may need from a fact to its turn, at most.
    pub think: Duration,
    /// How long a kernel may need for a batch of routes, at most; none: they are written when they are handed over.
    pub writes: Duration,
    /// The time over a link, at least and at most; each link has its own.
    pub latency: [Duration; 2],
    /// The defect that one speaker has, to see whether it is found.
    pub mutant: Option<Mutant>,
}

/// A link as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkState {
    /// Whether what each end sends is lost.
    pub cut: [bool; 2],
    /// How long it takes.
    pub latency: Duration,
}

/// The world.
pub struct World {
    /// The present moment.
    pub now: Instant,
    /// What stands where; the objects in it are those of the start.
    pub topology: Topology,
    /// The objects as they are now.
    pub states: Vec<Synced<ClusterState>>,
    /// The hosts as they are now.
    pub machines: Vec<Machine>,
    /// The links as they are now.
    pub links: Vec<LinkState>,
    /// The connections.
    pub conns: Conns,
    /// What went over the links.
    pub traffic: Traffic,
    /// The situations that were met.
    pub marks: Marks,
    /// The record.
    pub trace: Trace,
    /// What went wrong first.
    pub failure: Option<String>,
    /// The faults that were ordered.
    pub faults: Vec<Fault>,
    /// Pod CIDRs that belonged to a node once.
    pub renumbered: BTreeSet<Prefix>,
    /// What every host shall reach at every moment, where no fault excuses a lost packet.
    pub promised: Option<Prediction>,
    /// Hosts that are out of service: their own packets may be lost, and those of others may not go by them.
    pub excused: BTreeSet<HostId>,
    /// Whose speaker has the defect; none: that of the first ToR.
    pub afflicted: Option<HostId>,
    /// When the routes of some kernel last changed.
    pub last_change: Instant,
    options: Options,
    queue: Queue,
    dice: Dice,
    seed: u64,
}

impl World {
    /// A world in which nothing runs yet.
    #[must_use]
    pub fn new(mut topology: Topology, options: Options, seed: u64, trace: Trace) -> Self {
        let mut dice = Dice::new(seed);
        let [low, high] = options
            .latency
            .map(|l| u64::try_from(l.as_micros()).unwrap_or(u64::MAX));
        let link = |dice: &mut Dice| LinkState {
            cut: [false; 2],
            latency: Duration::from_micros(dice.between(low, high)),
        };
        let links = topology.links.iter().map(|_| link(&mut dice)).collect();
        let hosts = topology.hosts.iter();
        let machine = |host| Machine::off(host, options.whole_kernels);
        let mut machines: Vec<Machine> = hosts.map(machine).collect();
        for (host, machine) in topology.hosts.iter().zip(&mut machines) {
            if host.role == Role::Rogue {
                machine.rogue = Rogue::new(host, &topology, dice.fork()).map(Box::new);
            }
        }
        let states = std::mem::take(&mut topology.states);
        Self {
            now: Instant::ZERO,
            states: states.into_iter().map(synced).collect(),
            machines,
            links,
            topology,
            conns: Conns::default(),
            traffic: Traffic::default(),
            marks: Marks::default(),
            trace,
            failure: None,
            faults: Vec::new(),
            renumbered: BTreeSet::new(),
            promised: None,
            excused: BTreeSet::new(),
            afflicted: None,
            last_change: Instant::ZERO,
            options,
            queue: Queue::default(),
            dice,
            seed,
        }
    }

    /// Lets every process start at a moment of its own within this span.
    pub fn start_all(&mut self, within: Duration) {
        let span = u64::try_from(within.as_micros()).unwrap_or(u64::MAX);
        for host in 0..self.machines.len() {
            let at = self.now + Duration::from_micros(self.dice.between(0, span));
            self.queue.push(at, Happening::Boot(host));
        }
    }

    /// Lets a span of time pass, or what there is of it before something goes wrong.
    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.failure.is_none()
            && let Some((at, what)) = self.queue.pop(end)
        {
            self.now = self.now.max(at);
            self.step(what);
        }
        if self.failure.is_none() {
            self.now = end;
        }
    }

    /// Says what went wrong, unless something did before.
    pub fn fail(&mut self, words: impl FnOnce() -> String) {
        if self.failure.is_none() {
            let words = words();
            self.trace.fact(self.now, "FAILURE", &[], || words.clone());
            self.failure = Some(words);
        }
    }

    /// Orders something for later.
    pub fn order(&mut self, after: Duration, what: Happening) {
        self.queue.push(self.now + after, what);
    }

    /// The name of a host.
    #[must_use]
    pub fn name(&self, host: HostId) -> &str {
        &self.topology.hosts[host].name
    }

    fn step(&mut self, what: Happening) {
        match what {
            Happening::Syn(key) => self.syn(key),
            Happening::SynAck(key) => self.syn_ack(key),
            Happening::Ack(key) => self.ack(key),
            Happening::Arrive(key, side) => self.arrive(key, side),
            Happening::Reset(key, side) => self.reset(key, side),
            Happening::Wake(host) => self.wake(host),
            Happening::Turn(host) => self.turn(host),
            Happening::Written(host, boot) => self.written(host, boot),
            Happening::Boot(host) => self.boot(host),
            Happening::Thaw(host) => self.thaw(host),
            Happening::Retry(host) => self.retry_kernel(host),
            Happening::Replan(host, state) => self.replan(host, state),
            Happening::Fault(id) => self.fault(id),
            Happening::Overdue(key, side) => self.overdue(key, side),
        }
    }

    fn fault(&mut self, id: FaultId) {
        if let Some(fault) = self.faults.get(id).cloned() {
            crate::faults::carry_out(self, id, &fault);
        }
    }

    /// Changes objects; the hosts that plan from them hear of it at moments of their own.
    pub fn edit(&mut self, state: StateId, change: impl FnOnce(&mut ClusterState)) {
        self.states[state].update(change);
        for host in 0..self.topology.hosts.len() {
            if self.topology.hosts[host].state == state {
                let after = Duration::from_micros(self.dice.between(1_000, 800_000));
                self.order(after, Happening::Replan(host, state));
            }
        }
    }

    fn happened(&mut self, host: HostId, event: &Event) {
        use flatroute_bgp::wire::Notification;
        let mark = |marks: &mut Marks, is: bool, mark| {
            if is {
                marks.reach(mark);
            }
        };
        let marks = &mut self.marks;
        match &event.kind {
            EventKind::Established => marks.reach(Mark::Established),
            EventKind::EndOfRib(_) => marks.reach(Mark::EndOfRib),
            EventKind::Malformed { .. } => marks.reach(Mark::MalformedUpdate),
            EventKind::PrefixLimit { .. } => marks.reach(Mark::PrefixLimit),
            EventKind::Notification {
                direction,
                notification,
                ..
            } => {
                let Notification { code, subcode, .. } = notification;
                match direction {
                    Direction::Sent | Direction::Local => {
                        marks.reach(Mark::NotificationSent);
                        mark(marks, *code == 4, Mark::HoldTimerExpired);
                        mark(marks, *code == 8, Mark::SendHoldTimerExpired);
                        mark(marks, (*code, *subcode) == (6, 7), Mark::Collision);
                        mark(marks, (1..=3).contains(code), Mark::HostileBytes);
                        mark(
                            marks,
                            *code == 6 && [3, 6].contains(subcode),
                            Mark::ReconfiguredWithReset,
                        );
                    }
                    Direction::Received => marks.reach(Mark::NotificationReceived),
                }
            }
            EventKind::Retained { .. } => {
                marks.reach(Mark::RoutesRetained);
                self.machines[host].keeps = true;
                self.machines[host].kept_lately = true;
            }
            EventKind::Swept { .. } => marks.reach(Mark::StaleSwept),
            EventKind::DeferralEnded { missing, .. } if missing.is_empty() => {
                marks.reach(Mark::DeferralEnded);
            }
            EventKind::DeferralEnded { .. } => marks.reach(Mark::DeferralExpired),
            EventKind::LongLived { .. }
            | EventKind::Transition { .. }
            | EventKind::Down { .. }
            | EventKind::Refreshed { .. }
            | EventKind::RefreshTooEarly(_)
            | EventKind::Stranger(_)
            | EventKind::Refused { .. }
            | EventKind::Unsendable { .. } => {}
        }
        if let (EventKind::Established, Some(name), true) = (&event.kind, &event.peer, self.options.watches) {
            self.watch_return(host, name);
        }
        let peer = event.peer.as_ref().map_or("a stranger", |p| p.as_str());
        let name = &self.topology.hosts[host].name;
        self.trace.fact(event.at, "event", &[host as u64], || {
            format!("{name} of {peer}: {:?}", event.kind)
        });
    }
}

fn synced(state: ClusterState) -> Synced<ClusterState> {
    let none: [&str; 0] = [];
    Listing::of(state, none)
        .synced()
        .expect("it comes from no source, so all were heard")
}
