//! What the kernel holds, as far as we know: read-backs, notifications, and the kernel's own rules.
//!
//! [`Fib::forget_object`] is the rule that matters: an object that goes takes itself out of every group, a group
//! without members goes too, and the routes that named what went are gone. The kernel does that without a word,
//! so the mirror does the same the moment it learns of the first deletion.

use std::collections::BTreeSet;

use ipnetwork::IpNetwork;

use crate::ids;
use crate::machine::{Fib, Seen, Trouble};
use crate::objects::Object;
use crate::report::Report;
use crate::types::{KernelNexthop, KernelRoute, NexthopContent, NexthopId, Snapshot, Target};

impl Fib {
    /// Takes in a read-back. The parts that it holds are no longer stale.
    pub fn observe(&mut self, snapshot: Snapshot) {
        if let Some(interfaces) = snapshot.interfaces {
            self.stale.interfaces = false;
            self.interfaces_read(interfaces);
        }
        if let Some(nexthops) = snapshot.nexthops {
            self.stale.nexthops = false;
            self.nexthops_read(nexthops);
        }
        if let Some(routes) = snapshot.routes {
            self.stale.routes = false;
            self.verify_routes = false;
            self.routes_read(routes);
        }
    }

    fn nexthops_read(&mut self, nexthops: Vec<KernelNexthop>) {
        self.taken.clear();
        let present: BTreeSet<NexthopId> = nexthops
            .iter()
            .filter(|found| found.ours)
            .map(|found| found.id)
            .collect();
        let gone: Vec<NexthopId> = self
            .objects
            .iter()
            .filter(|(id, object)| object.seen.is_some() && !present.contains(id))
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            self.forget_object(id);
        }
        for nexthop in nexthops {
            self.nexthop_present(nexthop);
        }
        self.sets.mark_all();
    }

    fn nexthop_present(&mut self, nexthop: KernelNexthop) {
        let Some(role) = ids::role(nexthop.id) else { return };
        if nexthop.ours {
            let object = self.objects.entry(nexthop.id).or_insert(Object {
                role,
                legs: Vec::new(),
                seen: None,
                users: 0,
            });
            object.seen = Some(nexthop.content);
        } else {
            self.forget_object(nexthop.id);
            self.objects.remove(&nexthop.id);
            self.taken.insert(nexthop.id);
        }
    }

    fn routes_read(&mut self, routes: Vec<KernelRoute>) {
        self.resyncs = self.resyncs.saturating_add(1);
        self.generation = self.generation.wrapping_add(1);
        for route in routes {
            let slot = self.slot(route.prefix);
            self.route_seen(slot, route);
            if let Some(entry) = self.entries.get_mut(slot as usize) {
                entry.generation = self.generation;
                if entry.trouble == Trouble::Conflict {
                    entry.trouble = Trouble::None;
                }
            }
        }
        for slot in 0..u32::try_from(self.entries.len()).unwrap_or(u32::MAX) {
            let Some(entry) = self.entries.get(slot as usize) else {
                break;
            };
            if entry.seen.is_some() && entry.generation != self.generation {
                self.set_seen(slot, None);
                self.enqueue(slot);
            }
        }
        for slot in std::mem::take(&mut self.conflicts) {
            self.settle_conflict(slot);
        }
    }

    /// After a read-back: a conflict that did not turn out to be a route of ours is another program's.
    fn settle_conflict(&mut self, slot: u32) {
        let Some(entry) = self.entries.get_mut(slot as usize) else {
            return;
        };
        if entry.trouble == Trouble::Conflict {
            entry.trouble = Trouble::Foreign;
            let prefix = entry.prefix;
            self.foreign.insert(slot);
            self.report(Report::Foreign { prefix });
        }
    }

    fn route_seen(&mut self, slot: u32, route: KernelRoute) {
        let seen = Seen {
            target: route.target,
            pref_src: route.pref_src,
        };
        let is_known = self.sight(slot) == Some(&seen);
        if !is_known {
            self.set_seen(slot, Some(seen));
            self.enqueue(slot);
        }
    }

    /// What the kernel holds at a prefix.
    pub(crate) fn sight(&self, slot: u32) -> Option<&Seen> {
        self.sights.get(self.entries.get(slot as usize)?.seen?)
    }

    /// The only place that changes what is known of a route in the kernel: the counters hang on it.
    pub(crate) fn set_seen(&mut self, slot: u32, seen: Option<Seen>) {
        let (new_id, old_id) = (named(seen.as_ref()), named(self.sight(slot)));
        let Some(entry) = self.entries.get_mut(slot as usize) else {
            return;
        };
        let family = usize::from(entry.prefix.is_ipv6());
        let is_there = seen.is_some();
        let new = seen.map(|seen| self.sights.hold(seen));
        let old = std::mem::replace(&mut entry.seen, new);
        if let Some(old) = old {
            self.sights.release(old);
        }
        if let Some(count) = self.installed.get_mut(family) {
            *count = (*count + usize::from(is_there)).saturating_sub(usize::from(old.is_some()));
        }
        if new_id == old_id {
            return;
        }
        if let Some(object) = old_id.and_then(|id| self.objects.get_mut(&id)) {
            object.users = object.users.saturating_sub(1);
        }
        if let Some(object) = new_id.and_then(|id| self.objects.get_mut(&id)) {
            object.users += 1;
        }
    }

    /// An object is gone: applies what the kernel did along with it.
    pub(crate) fn forget_object(&mut self, id: NexthopId) {
        let mut gone = vec![id];
        let mut flushed = BTreeSet::new();
        while let Some(id) = gone.pop() {
            let Some(object) = self.objects.get_mut(&id) else {
                continue;
            };
            object.seen = None;
            flushed.insert(id);
            for (group, object) in &mut self.objects {
                if let Some(NexthopContent::Group(members)) = &mut object.seen
                    && let Some(at) = members.iter().position(|member| *member == id)
                {
                    members.remove(at);
                    if members.is_empty() {
                        gone.push(*group);
                    }
                }
            }
        }
        let has_users = flushed
            .iter()
            .any(|id| self.objects.get(id).is_some_and(|object| object.users > 0));
        if has_users {
            self.forget_routes(&flushed);
        }
        // An answer that is still under way may speak of a route that was flushed in between.
        self.verify_routes |= has_users || self.in_flight > 0;
        self.sets.mark_all();
    }

    fn forget_routes(&mut self, flushed: &BTreeSet<NexthopId>) {
        for slot in 0..u32::try_from(self.entries.len()).unwrap_or(u32::MAX) {
            if named(self.sight(slot)).is_some_and(|id| flushed.contains(&id)) {
                self.set_seen(slot, None);
                self.enqueue(slot);
            }
        }
    }

    pub(crate) fn nexthop_seen(&mut self, nexthop: KernelNexthop) {
        if ids::role(nexthop.id).is_some() {
            self.nexthop_present(nexthop);
            self.sets.mark_all();
        }
    }

    pub(crate) fn nexthop_gone(&mut self, id: NexthopId) {
        self.taken.remove(&id);
        if self.objects.get(&id).is_some_and(|object| object.seen.is_some()) {
            self.drift = self.drift.saturating_add(1);
            self.forget_object(id);
        }
    }

    pub(crate) fn route_changed(&mut self, route: KernelRoute) {
        let prefix = route.prefix;
        let slot = self.slot(prefix);
        let Some(entry) = self.entries.get(slot as usize) else {
            return;
        };
        self.verify_routes |= entry.in_flight;
        let seen = Seen {
            target: route.target.clone(),
            pref_src: route.pref_src,
        };
        if self.sight(slot).is_some_and(|old| *old != seen) {
            self.drifted(prefix);
        }
        self.route_seen(slot, route);
    }

    pub(crate) fn route_gone(&mut self, prefix: IpNetwork) {
        let Some(slot) = self.index.get(&prefix).copied() else {
            return;
        };
        let Some(entry) = self.entries.get(slot as usize) else {
            return;
        };
        self.verify_routes |= entry.in_flight;
        if entry.seen.is_some() {
            self.drifted(prefix);
            self.set_seen(slot, None);
            self.enqueue(slot);
        }
    }

    pub(crate) fn foreign_gone(&mut self, prefix: IpNetwork) {
        let Some(slot) = self.index.get(&prefix).copied() else {
            return;
        };
        let Some(entry) = self.entries.get_mut(slot as usize) else {
            return;
        };
        // An answer "exists" that is still under way speaks of the route that just went.
        entry.again |= entry.in_flight;
        if entry.trouble == Trouble::Conflict || entry.trouble == Trouble::Foreign {
            self.foreign.remove(&slot);
            self.conflicts.remove(&slot);
            self.enqueue_afresh(slot);
        }
    }

    fn drifted(&mut self, prefix: IpNetwork) {
        self.drift = self.drift.saturating_add(1);
        self.report(Report::Drift { prefix });
    }
}

fn named(seen: Option<&Seen>) -> Option<NexthopId> {
    match seen.map(|seen| &seen.target) {
        Some(Target::Nexthop(id)) => Some(*id),
        Some(Target::Paths(_) | Target::Unreachable | Target::Other) | None => None,
    }
}
