//! One host while it runs: how facts go into its speaker, and how orders and octets come out.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use flatroute_bgp::rib::LocalAddresses;
use flatroute_bgp::speaker::{Config, Input, Output, Speaker};
use flatroute_bgp::types::{ConnId, Instant, PeerName};

use super::{Mutant, World};
use crate::kernel::{Kernel, RETRY, SETTLE};
use crate::marks::Mark;
use crate::queue::Happening;
use crate::rogue::Rogue;
use crate::tcp::{Key, Side, Stage};
use crate::topology::{Host, HostId};

/// How many octets a connection is given at once, as in `flatroute-bgp-io`.
const CHUNK: usize = 64 * 1024;
/// When what nothing wants goes from the kernel though not all neighbours have told their routes, as in the agent.
const SWEEP_TIME: Duration = Duration::from_secs(120);
/// How long neighbours that have restarted too must have been silent before that; as in the agent.
const QUIET: Duration = Duration::from_secs(10);
/// How many changes of routes the kernel is given at once.
const ROUTE_BATCH: usize = 256;
/// How often one connection may be pulled in one turn; beyond this the speaker talks without end.
const MAX_PULLS: usize = 100_000;

/// A host as it is now.
pub struct Machine {
    /// Whether it has power.
    pub powered: bool,
    /// The process, when one runs.
    pub speaker: Option<Speaker>,
    /// What it was last configured to be, where each step is watched; else nothing, for it is large.
    pub config: Option<Config>,
    /// The names of its neighbours, by address.
    pub neighbours: BTreeMap<IpAddr, PeerName>,
    /// What stands in its place on a host with bad intentions.
    pub rogue: Option<Box<Rogue>>,
    /// The routing table.
    pub kernel: Kernel,
    /// Until when the process stands still.
    pub frozen_until: Instant,
    /// How many processes there have been.
    pub boots: u64,
    /// The connections of the process.
    pub conns: BTreeMap<ConnId, (Key, Side)>,
    /// Whether a process had a plan in force since the machine booted, and did not take leave of its neighbours.
    pub(super) marked: bool,
    pub(super) started: Instant,
    pub(super) swept: bool,
    pub(super) accepted: u64,
    pub(super) turn_set: bool,
    pub(super) retry_set: bool,
    pub(super) kernel_stirred: bool,
    pub(super) wake_at: Option<Instant>,
}

impl Machine {
    pub(super) fn off(host: &Host, whole_kernel: bool) -> Self {
        Self {
            powered: false,
            speaker: None,
            config: None,
            neighbours: BTreeMap::new(),
            rogue: None,
            kernel: Kernel::booted(host, whole_kernel),
            frozen_until: Instant::ZERO,
            boots: 0,
            conns: BTreeMap::new(),
            marked: false,
            started: Instant::ZERO,
            swept: false,
            accepted: 0,
            turn_set: false,
            retry_set: false,
            kernel_stirred: false,
            wake_at: None,
        }
    }

    /// Whether somebody takes connections here.
    pub(super) fn listens(&self) -> bool {
        self.speaker.is_some() || (self.rogue.is_some() && self.powered)
    }
}

/// Whether every neighbour has said all that it has, so that what nobody wants may go; as in the agent.
fn has_heard_all(speaker: &Speaker, now: Instant) -> bool {
    if !speaker.end_of_rib_from_all() || speaker.restarting(now).is_some() {
        return false;
    }
    let peers = speaker.peers(now);
    let sessions = || {
        peers
            .iter()
            .filter_map(|peer| Some((peer.negotiated.as_ref()?, peer.silent)))
    };
    let restarted = sessions().any(|(n, _)| n.graceful_restart.as_ref().is_some_and(|g| g.restarted));
    !restarted || sessions().all(|(_, silent)| silent >= QUIET)
}

impl World {
    /// Gives a host's process a fact and carries out what it orders.
    pub(crate) fn tell(&mut self, host: HostId, input: Input<'_>) {
        let now = self.now;
        if let Some(speaker) = self.machines[host].speaker.as_mut() {
            speaker.handle(input, now);
            self.drain(host);
            self.order_turn(host);
        }
    }

    pub(super) fn order_turn(&mut self, host: HostId) {
        if !self.machines[host].turn_set {
            self.machines[host].turn_set = true;
            let think = u64::try_from(self.options.think.as_micros()).unwrap_or(u64::MAX);
            let after = Duration::from_micros(self.dice.between(think / 4, think));
            self.order(after, Happening::Turn(host));
        }
    }

    fn drain(&mut self, host: HostId) {
        while let Some(output) = self.machines[host]
            .speaker
            .as_mut()
            .and_then(Speaker::poll_output)
        {
            match output {
                Output::Dial { conn, target } => self.dial(host, conn, target.address),
                Output::Close { conn, last } => self.close(host, conn, &last),
                Output::Event(event) => self.happened(host, &event),
            }
        }
    }

    /// Sends what there is to send, hands routes to the kernel and sets the timer.
    pub(super) fn turn(&mut self, host: HostId) {
        self.machines[host].turn_set = false;
        if self.postpone(host, Happening::Turn(host)) {
            self.machines[host].turn_set = true;
            return;
        }
        if self.machines[host].speaker.is_none() {
            return;
        }
        let conns: Vec<(ConnId, (Key, Side))> =
            self.machines[host].conns.iter().map(|(c, e)| (*c, *e)).collect();
        let mut out = BytesMut::new();
        for (conn, (key, side)) in conns {
            self.pull(host, conn, (key, side), &mut out);
        }
        self.drain(host);
        self.hand_over_routes(host);
        self.set_timer(host);
        if self.options.watches {
            self.watch_turn(host);
            self.watch_sessions(host);
        }
    }

    /// Pulls what a connection has to say, as long as its socket takes it.
    fn pull(&mut self, host: HostId, conn: ConnId, (key, side): (Key, Side), out: &mut BytesMut) {
        let now = self.now;
        for pulls in 0.. {
            let has_room = self.conns.get(key).is_some_and(|c| {
                let end = &c.ends[side.at()];
                end.stage == Stage::Open && end.unsent.is_empty()
            });
            let Some(speaker) = self.machines[host].speaker.as_mut().filter(|_| has_room) else {
                return;
            };
            out.clear();
            speaker.poll_transmit(conn, out, CHUNK, now);
            if out.is_empty() {
                return;
            }
            if let Some(mutant) = self.mutant(host) {
                mutant.hide(out, &mut self.dice);
            }
            if pulls > MAX_PULLS {
                let name = self.name(host).to_owned();
                self.fail(|| format!("{name} talks without end on {conn:?}"));
                return;
            }
            self.traffic.count(out);
            self.write(key, side, out);
        }
    }

    fn hand_over_routes(&mut self, host: HostId) {
        let mutant = self.mutant(host);
        let machine = &mut self.machines[host];
        let Some(speaker) = machine.speaker.as_mut() else {
            return;
        };
        let before = machine.kernel.refused();
        let mut touched = std::mem::take(&mut machine.kernel_stirred);
        while speaker.has_fib_changes() {
            let mut changes = speaker.poll_fib(ROUTE_BATCH, self.now);
            if let Some(mutant) = mutant {
                mutant.spoil(&mut changes);
            }
            touched |= !changes.is_empty();
            machine.kernel.change(&changes);
        }
        let is_late = self.now.since(machine.started) >= SWEEP_TIME;
        if !machine.swept && (is_late || has_heard_all(speaker, self.now)) {
            machine.swept = true;
            machine.kernel.sweep();
            touched = true;
        }
        if touched {
            self.last_change = self.now;
            self.settle_kernel(host, before);
        }
    }

    /// Lets a kernel's machine write, and sees to it that it is asked again where it has to be.
    pub(super) fn settle_kernel(&mut self, host: HostId, refused_before: u64) {
        let machine = &mut self.machines[host];
        let again = machine.kernel.settle();
        if machine.kernel.refused() > refused_before {
            self.marks.reach(Mark::KernelRefused);
        }
        if again && !machine.retry_set {
            machine.retry_set = true;
            self.order(RETRY.max(SETTLE), Happening::Retry(host));
        }
        self.watch_packets(host);
    }

    /// Something happens to a host's kernel without its process, which hears of it in its next turn.
    pub(crate) fn kernel(&mut self, host: HostId, what: impl FnOnce(&mut Kernel)) {
        what(&mut self.machines[host].kernel);
        self.machines[host].kernel_stirred = true;
        self.order_turn(host);
    }

    pub(super) fn retry_kernel(&mut self, host: HostId) {
        let machine = &mut self.machines[host];
        machine.retry_set = false;
        let before = machine.kernel.refused();
        if machine.speaker.is_some() {
            machine.kernel.retry();
            self.settle_kernel(host, before);
        }
    }

    fn set_timer(&mut self, host: HostId) {
        let now = self.now;
        let machine = &mut self.machines[host];
        let due = machine.speaker.as_ref().and_then(Speaker::poll_timeout);
        let due = due.map(|due| due.max(now));
        if machine.wake_at != due {
            machine.wake_at = due;
            if let Some(due) = due {
                self.order(due.since(now), Happening::Wake(host));
            }
        }
    }

    pub(super) fn wake(&mut self, host: HostId) {
        if self.machines[host].rogue.is_some() {
            self.rogue_ticks(host);
            return;
        }
        if self.machines[host].wake_at != Some(self.now)
            || self.machines[host].speaker.is_none()
            || self.mutant(host) == Some(Mutant::IgnoresTimers)
        {
            return;
        }
        if self.machines[host].frozen_until > self.now {
            self.machines[host].wake_at = Some(self.machines[host].frozen_until);
            self.postpone(host, Happening::Wake(host));
            return;
        }
        self.machines[host].wake_at = None;
        self.tell(host, Input::Timeout);
        let next = self.machines[host]
            .speaker
            .as_ref()
            .and_then(Speaker::poll_timeout);
        if next.is_some_and(|next| next <= self.now) {
            let name = self.name(host).to_owned();
            self.fail(|| format!("{name} wants its timer again at the moment at which it fired"));
        }
    }

    /// Puts something off while the host's process stands still; whether it does.
    pub(super) fn postpone(&mut self, host: HostId, what: Happening) -> bool {
        let until = self.machines[host].frozen_until;
        let frozen = until > self.now;
        if frozen {
            self.order(until.since(self.now), what);
        }
        frozen
    }

    /// Tells a host of a connection that is open now, and was dialled by `remote` where it did not dial itself.
    pub(super) fn opened(
        &mut self,
        host: HostId,
        conn: ConnId,
        local: LocalAddresses,
        remote: Option<SocketAddr>,
    ) {
        if self.machines[host].rogue.is_some() {
            self.rogue_opens(host, conn);
            return;
        }
        match remote {
            None => self.tell(host, Input::Connected { conn, local }),
            Some(remote) => self.tell(host, Input::Accepted { conn, remote, local }),
        }
    }
}
