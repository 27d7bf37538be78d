//! Batches: from two differing sides to writes, and from answers back to the mirror.

use crate::MAX_BATCH;
use crate::desired::SetState;
use crate::machine::{Fib, Seen, Trouble, WantTarget};
use crate::report::Report;
use crate::types::{KernelRoute, Op, Refusal, RefusalKind, Target};

/// What shall be at a prefix.
enum Aim {
    /// This route.
    Route(KernelRoute),
    /// No route.
    Nothing,
    /// Whatever is there stays.
    Leave,
}

/// The write that leads from `seen` to `aim`, if any.
fn diff(aim: Aim, seen: Option<&Seen>, prefix: ipnetwork::IpNetwork) -> Option<Op> {
    match (aim, seen) {
        (Aim::Leave, _) | (Aim::Nothing, None) => None,
        (Aim::Nothing, Some(_)) => Some(Op::DeleteRoute(prefix)),
        (Aim::Route(route), None) => Some(Op::AddRoute(route)),
        (Aim::Route(route), Some(seen)) => {
            let is_same = seen.target == route.target && seen.pref_src == route.pref_src;
            (!is_same).then_some(Op::ReplaceRoute(route))
        }
    }
}

impl Fib {
    /// The next writes, at most [`MAX_BATCH`] and a few. They must reach the kernel in this order, and each must
    /// come back to [`Self::outcome`]; more batches may be taken before that. Empty when there is nothing to
    /// write, or nothing that may be written before the kernel was read.
    pub fn next_batch(&mut self) -> Vec<Op> {
        let mut ops = std::mem::take(&mut self.urgent);
        if !self.must_read() {
            while ops.len() < MAX_BATCH
                && let Some(set) = self.sets.dirty.pop_first()
            {
                self.refresh_set(set, &mut ops);
            }
            if self.sets.dirty.is_empty() {
                self.route_writes(&mut ops);
            }
            if ops.is_empty() && self.is_idle() && self.sweep {
                self.collect_objects(&mut ops);
                self.sweep_pending = !ops.is_empty();
            }
        }
        self.in_flight += ops.len();
        ops
    }

    fn route_writes(&mut self, ops: &mut Vec<Op>) {
        while ops.len() < MAX_BATCH
            && let Some(slot) = self.queue.pop_front()
        {
            let Some(entry) = self.entries.get_mut(slot as usize) else {
                continue;
            };
            entry.queued = false;
            if entry.in_flight {
                entry.again = true;
                continue;
            }
            if matches!(entry.trouble, Trouble::Conflict | Trouble::Foreign) && entry.want().is_some() {
                continue;
            }
            if let Some(op) = self.write_for(slot) {
                if let Some(entry) = self.entries.get_mut(slot as usize) {
                    entry.in_flight = true;
                }
                ops.push(op);
            }
        }
    }

    fn write_for(&mut self, slot: u32) -> Option<Op> {
        let aim = self.aim(slot);
        let entry = self.entries.get_mut(slot as usize)?;
        if entry.want().is_none() {
            entry.trouble = Trouble::None;
            self.foreign.remove(&slot);
            self.failed.remove(&slot);
        } else if matches!(aim, Aim::Leave | Aim::Nothing) {
            entry.trouble = Trouble::Waiting;
        } else if entry.trouble == Trouble::Waiting {
            entry.trouble = Trouble::None;
        }
        let is_idle = entry.want().is_none() && entry.seen.is_none();
        let (prefix, seen) = (entry.prefix, entry.seen);
        let op = diff(aim, seen.and_then(|handle| self.sights.get(handle)), prefix);
        if op.is_none() && is_idle {
            self.drop_entry(slot);
        }
        op
    }

    fn drop_entry(&mut self, slot: u32) {
        let Some(entry) = self.entries.get_mut(slot as usize) else {
            return;
        };
        if self.index.get(&entry.prefix) == Some(&slot) {
            self.index.remove(&entry.prefix);
            entry.claimed = false;
            self.conflicts.remove(&slot);
            self.free.push(slot);
        }
    }

    fn aim(&self, slot: u32) -> Aim {
        let Some(entry) = self.entries.get(slot as usize) else {
            return Aim::Leave;
        };
        let Some(want) = entry.want().and_then(|handle| self.wants.get(handle)) else {
            return if entry.claimed || self.sweep {
                Aim::Nothing
            } else {
                Aim::Leave
            };
        };
        let target = match want.target {
            WantTarget::Unreachable => Target::Unreachable,
            WantTarget::Via(id) => match self.sets.get(id).map(|set| (&set.state, set)) {
                Some((SetState::Ready(target), _)) => target.clone(),
                Some((SetState::Unusable, set)) => {
                    let own = match self.sight(slot).map(|seen| &seen.target) {
                        Some(Target::Nexthop(id)) => set.object == Some(*id),
                        Some(Target::Paths(legs)) => legs.iter().all(|leg| set.legs.contains(&Some(*leg))),
                        Some(Target::Unreachable | Target::Other) | None => false,
                    };
                    return if own || !self.sweep {
                        Aim::Leave
                    } else {
                        Aim::Nothing
                    };
                }
                Some((SetState::Unknown | SetState::Failed, _)) | None => return Aim::Leave,
            },
        };
        let pref_src = match target {
            Target::Unreachable => None,
            Target::Nexthop(_) | Target::Paths(_) | Target::Other => {
                self.source_for(entry.prefix, want.pref_src)
            }
        };
        Aim::Route(KernelRoute {
            prefix: entry.prefix,
            target,
            pref_src,
        })
    }

    /// The kernel's answer to one write.
    pub fn outcome(&mut self, op: Op, result: Result<(), Refusal>) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.answers = self.answers.wrapping_add(1);
        self.sweep_pending |= self.sweep;
        match op {
            Op::AddNexthop(id, _) | Op::ReplaceNexthop(id, _) => {
                if let Err(refusal) = result {
                    self.object_refused(id, &refusal);
                }
            }
            Op::DeleteNexthop(id) => {
                if result.is_err_and(|refusal| refusal.kind != RefusalKind::Missing) {
                    self.stale.nexthops = true;
                    self.undeletable.insert(id);
                }
            }
            Op::AddRoute(route) | Op::ReplaceRoute(route) => self.route_answered(route, result),
            Op::DeleteRoute(prefix) => {
                let Some((slot, _)) = self.landed(prefix) else {
                    return;
                };
                match result {
                    Err(refusal) if refusal.kind != RefusalKind::Missing => self.refused(slot, refusal),
                    Ok(()) | Err(_) => {
                        self.set_seen(slot, None);
                        self.enqueue(slot);
                    }
                }
            }
        }
    }

    /// The mirror had taken the write of an object for done: it reads, and what stood on the object waits for
    /// the next retry (an object that another program occupies gets a new identifier at once).
    fn object_refused(&mut self, id: crate::NexthopId, refusal: &Refusal) {
        self.stale.nexthops = true;
        for set in &mut self.sets.list {
            if set.object == Some(id) && set.is_wanted() {
                set.state = SetState::Failed;
                set.held = refusal.kind == RefusalKind::Other;
            }
        }
    }

    /// The write of a route came back: its entry, and whether it is to be looked at again in any case.
    fn landed(&mut self, prefix: ipnetwork::IpNetwork) -> Option<(u32, bool)> {
        let slot = self.index.get(&prefix).copied()?;
        let entry = self.entries.get_mut(slot as usize)?;
        entry.in_flight = false;
        let again = std::mem::take(&mut entry.again);
        if again {
            self.enqueue(slot);
        }
        Some((slot, again))
    }

    fn route_answered(&mut self, route: KernelRoute, result: Result<(), Refusal>) {
        let Some((slot, again)) = self.landed(route.prefix) else {
            return;
        };
        let was_there = self
            .entries
            .get(slot as usize)
            .is_some_and(|entry| entry.seen.is_some());
        match result {
            Ok(()) => {
                self.failed.remove(&slot);
                if let Some(entry) = self.entries.get_mut(slot as usize) {
                    entry.trouble = Trouble::None;
                }
                self.set_seen(
                    slot,
                    Some(Seen {
                        target: route.target,
                        pref_src: route.pref_src,
                    }),
                );
            }
            Err(refusal) => match refusal.kind {
                RefusalKind::Exists if again => {}
                RefusalKind::Exists => {
                    if let Some(entry) = self.entries.get_mut(slot as usize) {
                        entry.trouble = Trouble::Conflict;
                    }
                    self.conflicts.insert(slot);
                    self.verify_routes = true;
                }
                RefusalKind::Missing if was_there => {
                    self.set_seen(slot, None);
                    self.enqueue(slot);
                }
                RefusalKind::Missing | RefusalKind::Other => self.refused(slot, refusal),
            },
        }
    }

    fn refused(&mut self, slot: u32, refusal: Refusal) {
        self.stale.nexthops |= self.objects_in_use;
        self.failed.insert(slot);
        if let Some(entry) = self.entries.get_mut(slot as usize) {
            if entry.trouble == Trouble::Failed {
                return;
            }
            entry.trouble = Trouble::Failed;
            let prefix = entry.prefix;
            self.report(Report::Failed {
                prefix,
                error: refusal.text,
            });
        }
    }
}
