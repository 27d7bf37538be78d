//! Processes start, stand still, and end in all the ways that processes and machines end.

use flatroute_bgp::speaker::{Config, Input, Restart, Speaker};
use flatroute_bgp::types::{ConnId, Instant, PeerName};
use flatroute_plan::{Plan, plan};

use super::handover::Handover;
use super::{Mutant, World};
use crate::kernel::Kernel;
use crate::marks::Mark;
use crate::queue::Happening;
use crate::tcp::{Key, Side, Stage};
use crate::topology::{HostId, Role, StateId};
use crate::verify;

/// What a plan may complain of here: a mesh larger than the one that it is meant for is what the mesh of 300 is about.
const EXPECTED_PROBLEMS: [&str; 1] = ["MeshTooLarge"];

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// It is killed: the system closes its connections in order.
    Killed,
    /// The same with octets unread: the system resets its connections.
    KilledUnread,
    /// The machine loses power: nobody hears anything, and the kernel's routes are gone.
    PowerLoss,
    /// It is told to stop, says so to its neighbours, and ends.
    Shutdown,
}

impl World {
    /// Starts a host's process, and its machine where it is off.
    pub(super) fn boot(&mut self, host: HostId) {
        if self.machines[host].speaker.is_some() {
            return;
        }
        let mutant = self.mutant(host);
        let machine = &mut self.machines[host];
        if machine.powered {
            self.marks.reach(Mark::Restart);
            machine.kernel.adopt();
            if mutant == Some(Mutant::FlushesKernel) {
                machine.kernel = Kernel::booted(&self.topology.hosts[host], self.options.whole_kernels);
            }
            if mutant == Some(Mutant::SweepsAtOnce) {
                machine.kernel.sweep();
            }
        } else {
            machine.powered = true;
        }
        machine.boots += 1;
        machine.started = self.now;
        machine.swept = false;
        machine.config = None;
        let number = machine.boots;
        self.trace.fact(self.now, "boot", &[host as u64, number], || {
            self.topology.hosts[host].name.clone()
        });
        if self.machines[host].rogue.is_some() {
            self.rogue_ticks(host);
            return;
        }
        let seed = self.seed.wrapping_mul(1_000_003) ^ (host as u64).wrapping_mul(65_537) ^ (number << 48);
        // As the agent's marker says: a process that had a plan in force ended in this boot, and told nobody good-bye.
        self.machines[host].fresh = !self.machines[host].marked;
        self.machines[host].met.clear();
        let claims = self.options.mutant == Some(Mutant::ClaimsForwarding) && number > 1;
        let is_known = (self.machines[host].marked || claims) && mutant != Some(Mutant::ForgetsRestart);
        self.machines[host].unchosen = is_known;
        self.machines[host].keeps = false;
        let speaker = if is_known && mutant != Some(Mutant::ChoosesAtOnce) {
            let forwarding = self.topology.families;
            Speaker::restarted(seed, Restart { forwarding }, self.now)
        } else {
            Speaker::new(seed)
        };
        self.machines[host].speaker = Some(speaker);
        self.replan(host, self.topology.hosts[host].state);
    }

    /// Plans from the objects as they are now, and puts the plan in force.
    pub(super) fn replan(&mut self, host: HostId, state: StateId) {
        if self.machines[host].speaker.is_none() || self.postpone(host, Happening::Replan(host, state)) {
            return;
        }
        let this = &self.topology.hosts[host];
        let mut plan: Plan = plan(&this.name, &self.states[state], &this.facts);
        let unexpected = plan
            .problems
            .iter()
            .find(|p| !EXPECTED_PROBLEMS.contains(&p.reason.as_str()));
        if let Some(problem) = unexpected {
            let words = format!("the plan of {} has a problem: {problem:?}", this.name);
            self.fail(|| words);
        }
        let mutant = self.mutant(host);
        if let Some(mutant) = mutant {
            mutant.configure(&mut plan.speaker);
        }
        let before = self.machines[host].kernel.refused();
        let before_config = self.machines[host].config.take();
        let is_change = before_config.is_some();
        let in_place = before_config.filter(|old| !resets(old, &plan.speaker));
        let sessions = in_place.as_ref().map(|_| self.sessions(host));
        if in_place.is_some_and(|old| old != plan.speaker) {
            self.marks.reach(Mark::ReconfiguredInPlace);
        }
        self.machines[host].kernel.plan(&plan.fib);
        self.settle_kernel(host, before);
        self.machines[host].config = self.options.watches.then(|| plan.speaker.clone());
        let peers = plan.speaker.peers.iter();
        self.machines[host].neighbours = peers.map(|(name, peer)| (peer.address, name.clone())).collect();
        self.machines[host].marked = true;
        if mutant == Some(Mutant::ResetsAll) && is_change {
            self.tell(host, Input::Configure(Config::default()));
        }
        self.tell(host, Input::Configure(plan.speaker));
        if sessions.is_some_and(|sessions| sessions != self.sessions(host)) {
            let name = self.name(host).to_owned();
            self.fail(|| format!("{name} has lost a session by a change that resets none"));
        }
    }

    /// The sessions that a host has, with the connections that they run over.
    fn sessions(&self, host: HostId) -> Vec<(PeerName, ConnId)> {
        let peers = self.machines[host].speaker.as_ref().map(|s| s.peers(self.now));
        let peers = peers.unwrap_or_default().into_iter();
        peers
            .filter_map(|peer| Some((peer.name, peer.negotiated?.conn)))
            .collect()
    }

    /// Takes away what a host's plan says of its kernel.
    pub(crate) fn unplan(&mut self, host: HostId) {
        self.kernel(host, Kernel::unplan);
    }

    /// Ends a host's process.
    pub(crate) fn end(&mut self, host: HostId, death: Death) {
        self.trace.fact(self.now, "death", &[host as u64], || {
            format!("{} {death:?}", self.topology.hosts[host].name)
        });
        if death == Death::Shutdown && self.machines[host].frozen_until <= self.now {
            self.marks.reach(Mark::Shutdown);
            self.machines[host].marked = false;
            let text = "maintenance".to_owned();
            let endings = verify::endings(self, host);
            self.tell(host, Input::Shutdown { text });
            if let Err(words) = verify::leave(self, host, &endings) {
                self.fail(|| words);
            }
        }
        let machine = &mut self.machines[host];
        machine.speaker = None;
        machine.wake_at = None;
        machine.handover = Handover::default();
        machine.frozen_until = Instant::ZERO;
        let conns: Vec<(Key, Side)> = std::mem::take(&mut machine.conns).into_values().collect();
        for (key, side) in conns {
            self.leave(key, side, death);
        }
        if death == Death::PowerLoss {
            self.marks.reach(Mark::PowerLoss);
            let machine = &mut self.machines[host];
            machine.powered = false;
            machine.marked = false;
            machine.kernel = Kernel::booted(&self.topology.hosts[host], self.options.whole_kernels);
        }
    }

    /// What becomes of a connection whose process is gone.
    fn leave(&mut self, key: Key, side: Side, death: Death) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        let was_open = conn.ends[side.at()].stage == Stage::Open;
        conn.ends[side.at()].unsent.clear();
        conn.ends[side.at()].stage = Stage::Vanished;
        let flow = &mut conn.flows[side.at()];
        match death {
            Death::Killed | Death::Shutdown if was_open => {
                conn.ends[side.at()].stage = Stage::Closed;
                flow.fin = true;
                flow.last = flow.last.max(now);
                self.order_arrival(key, side);
            }
            Death::KilledUnread if was_open => {
                flow.segments.clear();
                flow.octets = 0;
                let latency = self.links[conn.link].latency;
                self.order(latency, Happening::Reset(key, side.other()));
            }
            Death::PowerLoss => {
                // What was in the machine is gone; what is on the wire is on the wire.
                flow.fin = false;
            }
            Death::Killed | Death::Shutdown | Death::KilledUnread => {}
        }
        self.conns.remove_if_over(key);
    }

    /// A host's process stands still.
    pub(crate) fn freeze(&mut self, host: HostId, until: Instant) {
        self.machines[host].frozen_until = until;
        self.marks.reach(Mark::Freeze);
        self.order(until.since(self.now), Happening::Thaw(host));
    }

    /// It goes on, and looks at its timers before anything else, as after a wait.
    pub(super) fn thaw(&mut self, host: HostId) {
        if self.machines[host].frozen_until <= self.now {
            self.order_turn(host);
        }
    }

    /// All speakers of the world, with their hosts.
    pub fn speakers(&self) -> impl Iterator<Item = (HostId, &Speaker)> {
        let machines = (0..).zip(&self.machines);
        machines.filter_map(|(host, machine)| Some((host, machine.speaker.as_ref()?)))
    }

    /// The hosts that are no rogues.
    pub fn honest(&self) -> impl Iterator<Item = HostId> {
        self.topology.of_role(&[Role::Node, Role::Tor, Role::Spine])
    }
}

/// Whether two configurations differ in what sessions are made of.
fn resets(old: &Config, new: &Config) -> bool {
    let (old, new) = (&old.peers, &new.peers);
    old.len() != new.len()
        || old.iter().zip(new).any(|((a, old), (b, new))| {
            a != b || old.session != new.session || old.admin_state != new.admin_state
        })
}
