//! What is on its way into a host's kernel, as in `flatroute-bgp-io`: a write takes a time of its own, and UPDATEs wait until all
//! is written, but never longer than [`KERNEL_PATIENCE`]. So there are moments at which a speaker has moved a route and its
//! kernel has not.

use std::collections::VecDeque;
use std::time::Duration;

use flatroute_bgp::rib::RouteChange;
use flatroute_bgp::speaker::Speaker;
use flatroute_bgp::types::Instant;

use super::machine::has_heard_all;
use super::{Mutant, World};
use crate::marks::Mark;
use crate::queue::Happening;
use crate::topology::HostId;

/// How many octets a connection is given at once, as in `flatroute-bgp-io`.
const CHUNK: usize = 64 * 1024;
/// How long UPDATEs wait for the kernel at most; as in `flatroute-bgp-io`.
const KERNEL_PATIENCE: Duration = Duration::from_millis(100);
/// When what nothing wants goes from the kernel though not all neighbours have told their routes, as in the agent.
const SWEEP_TIME: Duration = Duration::from_secs(120);
/// How many changes of routes the kernel is given at once.
const ROUTE_BATCH: usize = 256;
/// How many batches may be on their way; what finds no room stays with the speaker.
const DEPTH: usize = 4;

/// What is on its way into a kernel.
#[derive(Debug, Default)]
pub(super) struct Handover {
    batches: VecDeque<Vec<RouteChange>>,
    /// Since when something has been on its way all the time.
    since: Option<Instant>,
}

impl Handover {
    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }
}

impl World {
    /// Hands routes over to the kernel; how many octets of UPDATEs a connection may be given now.
    pub(super) fn hand_over_routes(&mut self, host: HostId) -> usize {
        let mutant = self.mutant(host);
        let is_slow = !self.options.writes.is_zero();
        let machine = &mut self.machines[host];
        let Some(speaker) = machine.speaker.as_mut() else {
            return CHUNK;
        };
        let before = machine.kernel.refused();
        let mut touched = std::mem::take(&mut machine.kernel_stirred);
        if mutant == Some(Mutant::LeavesAtOnce) && speaker.has_fib_changes() {
            speaker.resend_fib();
        }
        let idle = machine.handover.is_empty();
        let mut early = false;
        while speaker.has_fib_changes() && machine.handover.batches.len() < DEPTH {
            let mut changes = speaker.poll_fib(ROUTE_BATCH, self.now);
            early |= machine.unchosen && self.options.watches && !changes.is_empty();
            if let Some(mutant) = mutant {
                mutant.spoil(&mut changes, speaker);
            }
            if is_slow && !changes.is_empty() {
                machine.handover.batches.push_back(changes);
            } else {
                touched |= !changes.is_empty();
                machine.kernel.change(&changes);
            }
        }
        let waits = speaker.has_fib_changes();
        let is_late = self.now.since(machine.started) >= SWEEP_TIME;
        let has_heard = is_late || has_heard_all(speaker, self.now);
        // The word goes the way of the routes, behind all of them.
        if !machine.swept && has_heard && machine.handover.is_empty() {
            machine.swept = true;
            machine.kernel.sweep();
            touched = true;
        }
        if early {
            let name = self.name(host).to_owned();
            self.fail(|| format!("{name} changes its kernel's routes before it may choose its own"));
        }
        if touched {
            self.last_change = self.now;
            self.settle_kernel(host, before);
        }
        if idle {
            self.order_write(host);
        }
        self.limit(host, waits)
    }

    fn order_write(&mut self, host: HostId) {
        let machine = &self.machines[host];
        if !machine.handover.is_empty() {
            let boot = machine.boots;
            let most = u64::try_from(self.options.writes.as_micros()).unwrap_or(u64::MAX);
            let after = Duration::from_micros(self.dice.between(1, most));
            self.order(after, Happening::Written(host, boot));
        }
    }

    /// Nothing of UPDATEs while something is on its way, until patience is over.
    fn limit(&mut self, host: HostId, waits: bool) -> usize {
        let now = self.now;
        let handover = &mut self.machines[host].handover;
        let is_busy = waits || !handover.is_empty();
        let Some(since) = handover.since.or(is_busy.then_some(now)).filter(|_| is_busy) else {
            handover.since = None;
            return CHUNK;
        };
        let is_new = handover.since.replace(since).is_none();
        if is_new {
            self.order(KERNEL_PATIENCE, Happening::Turn(host));
        }
        if self.mutant(host) == Some(Mutant::TellsBeforeKernel) {
            return CHUNK;
        }
        if since + KERNEL_PATIENCE > now {
            self.marks.reach(Mark::UpdatesWaited);
            0
        } else {
            self.marks.reach(Mark::WaitedLongEnough);
            CHUNK
        }
    }

    /// The oldest batch is in the kernel, unless its process is gone.
    pub(super) fn written(&mut self, host: HostId, boot: u64) {
        let machine = &self.machines[host];
        if machine.speaker.is_none() || machine.boots != boot {
            return;
        }
        if self.postpone(host, Happening::Written(host, boot)) {
            return;
        }
        let machine = &mut self.machines[host];
        let before = machine.kernel.refused();
        if let Some(changes) = machine.handover.batches.pop_front() {
            machine.kernel.change(&changes);
            self.last_change = self.now;
            self.settle_kernel(host, before);
            if self.options.watches {
                self.watch_turn(host);
                self.watch_stale(host);
            }
        }
        self.order_write(host);
        self.order_turn(host);
    }

    /// Whether UPDATEs of a host may be waiting.
    pub(super) fn may_hold(&self, host: HostId) -> bool {
        !self.machines[host].handover.is_empty()
            || self.machines[host]
                .speaker
                .as_ref()
                .is_some_and(Speaker::has_fib_changes)
    }
}
