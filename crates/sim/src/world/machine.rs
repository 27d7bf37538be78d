//! One host while it runs: how facts go into its speaker, and how orders and octets come out.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use flatroute_bgp::rib::LocalAddresses;
use flatroute_bgp::speaker::{Config, Input, Output, Speaker};
use flatroute_bgp::types::{ConnId, Instant, PeerName};

use super::handover::Handover;
use super::{Mutant, World};
use crate::kernel::{Kernel, RETRY, SETTLE};
use crate::marks::Mark;
use crate::queue::Happening;
use crate::rogue::Rogue;
use crate::tcp::{Key, Side, Stage};
use crate::topology::{Host, HostId, LinkId};

/// How long neighbours that have restarted too must have been silent before that; as in the agent.
const QUIET: Duration = Duration::from_secs(10);
/// How often one connection may be pulled in one turn; beyond this the speaker talks without end.
const MAX_PULLS: usize = 100_000;

/// How much longer than others somebody needs who dawdles.
const DAWDLING: Duration = Duration::from_secs(1);

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
    /// What is on its way into the kernel.
    pub(super) handover: Handover,
    /// Whether the process found no routes of one before it, or one before it had taken leave.
    pub(super) fresh: bool,
    /// The boots of the neighbours that it has met, by link.
    pub(super) met: BTreeMap<LinkId, u64>,
    /// Whether the process follows another one and may not choose its routes yet.
    pub unchosen: bool,
    /// Whether it may keep routes of sessions that are gone.
    pub(super) keeps: bool,
    /// Whether that was not looked at since it lost the last of them.
    pub(super) kept_lately: bool,
    /// When the process began.
    pub started: Instant,
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
            handover: Handover::default(),
            fresh: true,
            met: BTreeMap::new(),
            unchosen: false,
            keeps: false,
            kept_lately: false,
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
pub(super) fn has_heard_all(speaker: &Speaker, now: Instant) -> bool {
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
            self.watch_choice(host);
            self.drain(host);
            self.order_turn(host);
        }
    }

    pub(super) fn order_turn(&mut self, host: HostId) {
        if !self.machines[host].turn_set {
            self.machines[host].turn_set = true;
            let think = u64::try_from(self.options.think.as_micros()).unwrap_or(u64::MAX);
            let mut after = Duration::from_micros(self.dice.between(think / 4, think));
            if self.mutant(host) == Some(Mutant::Dawdles) {
                after += DAWDLING;
            }
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

    /// Hands routes to the kernel, sends what there is to send and sets the timer.
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
        let limit = self.hand_over_routes(host);
        let mut out = BytesMut::new();
        for (conn, end) in conns {
            self.pull(host, (conn, end), limit, &mut out);
        }
        self.drain(host);
        self.set_timer(host);
        if self.options.watches {
            self.watch_turn(host);
            self.watch_stale(host);
            self.watch_sessions(host);
        }
    }

    /// Pulls what a connection has to say, as long as its socket takes it.
    fn pull(
        &mut self,
        host: HostId,
        (conn, (key, side)): (ConnId, (Key, Side)),
        limit: usize,
        out: &mut BytesMut,
    ) {
        let now = self.now;
        let mutant = self.mutant(host);
        for pulls in 0.. {
            let has_room = self.conns.get(key).is_some_and(|c| {
                let end = &c.ends[side.at()];
                let has_room = end.unsent.is_empty() || mutant == Some(Mutant::NeverFull);
                end.stage == Stage::Open && has_room
            });
            let Some(speaker) = self.machines[host].speaker.as_mut().filter(|_| has_room) else {
                return;
            };
            out.clear();
            speaker.poll_transmit(conn, out, limit, now);
            if out.is_empty() {
                return;
            }
            if let Some(mutant) = mutant {
                mutant.hide(out, &mut self.dice);
                if mutant == Mutant::ChoosesAtOnce && self.machines[host].unchosen {
                    Mutant::claim_restart(out);
                }
            }
            self.watch_early(host, conn, out);
            if pulls > MAX_PULLS {
                let name = self.name(host).to_owned();
                self.fail(|| format!("{name} talks without end on {conn:?}"));
                return;
            }
            self.traffic.count(out);
            self.write(key, side, out);
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
