//! Nexthop objects: which ones the sets need, and how the present ones become those.
//!
//! A set of one leg needs one object of role [`Role::Single`]. A set of several needs one [`Role::Member`] a
//! usable leg and one [`Role::Group`]. The identity of a group is the whole set; its members are the legs that
//! can carry packets now. So a link that bounces costs one write when it returns, and the routes stay as they are.
//!
//! A gateway that is declared dead ([`Fib::path_down`]) leaves with one deletion of its member object, unless a
//! group would be left empty by it (that would flush routes): then the groups are rewritten one by one and the
//! empty one keeps its leg until the speaker has said what shall be instead.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::desired::{SetId, SetState};
use crate::ids::{Role, candidates};
use crate::machine::{Fib, WantTarget};
use crate::types::{Leg, NexthopContent, NexthopId, Op, Target};

/// A nexthop object of ours.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) role: Role,
    /// What it stands for; empty for an adopted one that nothing asked for yet.
    pub(crate) legs: Vec<Leg>,
    /// What the kernel holds under its identifier.
    pub(crate) seen: Option<NexthopContent>,
    /// Routes in the kernel that name it.
    pub(crate) users: usize,
}

impl Fib {
    /// Declares a gateway dead: packets stop going there at once, ahead of all queued writes, wherever another
    /// path is left. It counts as alive again as soon as a route is wanted through it.
    pub fn path_down(&mut self, gateway: IpAddr) {
        self.down.insert(gateway);
        self.sets.mark_gateway(gateway);
        for id in self.members(gateway) {
            if self.empties_a_group(id) {
                continue;
            }
            self.urgent.push(Op::DeleteNexthop(id));
            self.forget_object(id);
        }
    }

    /// Whether some group consists of this member and dead ones only.
    fn empties_a_group(&self, id: NexthopId) -> bool {
        let is_dead =
            |member: &NexthopId| match self.objects.get(member).and_then(|object| object.seen.as_ref()) {
                Some(NexthopContent::Gateway(leg)) => self.down.contains(&leg.gateway),
                Some(NexthopContent::Group(_) | NexthopContent::Other) | None => true,
            };
        self.objects.values().any(|object| match &object.seen {
            Some(NexthopContent::Group(members)) => members.contains(&id) && members.iter().all(is_dead),
            Some(NexthopContent::Gateway(_) | NexthopContent::Other) | None => false,
        })
    }

    /// Brings what a set stands on up to date; its writes go to `ops`, before those of its routes.
    pub(crate) fn refresh_set(&mut self, id: SetId, ops: &mut Vec<Op>) {
        let Some(set) = self.sets.get(id).filter(|set| set.is_wanted() && !set.held) else {
            return;
        };
        let usable = self.usable_legs(set);
        let all = set.all_legs();
        let before = ops.len();
        let state = if usable.is_empty() {
            SetState::Unusable
        } else if self.objects_in_use {
            match self.ensure_objects(&all, &usable, ops) {
                Some(object) => SetState::Ready(Target::Nexthop(object)),
                None => SetState::Failed,
            }
        } else {
            SetState::Ready(Target::Paths(usable))
        };
        let Some(set) = self.sets.get_mut(id) else { return };
        set.object = match &state {
            SetState::Ready(Target::Nexthop(object)) => Some(*object),
            SetState::Ready(_) | SetState::Unknown | SetState::Unusable | SetState::Failed => set.object,
        };
        if set.state != state || ops.len() != before {
            set.state = state;
            self.enqueue_set(id);
        }
    }

    fn enqueue_set(&mut self, id: SetId) {
        let wants = WantTarget::Via(id);
        let failed = &mut self.failed;
        for (slot, entry) in (0_u32..).zip(self.entries.iter_mut()) {
            let want = entry.want().and_then(|handle| self.wants.get(handle));
            if want.is_none_or(|want| want.target != wants) {
                continue;
            }
            if failed.remove(&slot) {
                entry.trouble = crate::machine::Trouble::None;
            }
            if !entry.queued {
                entry.queued = true;
                self.queue.push_back(slot);
            }
        }
    }

    fn ensure_objects(&mut self, all: &[Leg], usable: &[Leg], ops: &mut Vec<Op>) -> Option<NexthopId> {
        if let ([leg], [_]) = (all, usable) {
            return self.ensure(Role::Single, all, NexthopContent::Gateway(*leg), ops);
        }
        let mut members = BTreeSet::new();
        for leg in usable {
            members.insert(self.ensure(
                Role::Member,
                std::slice::from_ref(leg),
                NexthopContent::Gateway(*leg),
                ops,
            )?);
        }
        self.ensure(
            Role::Group,
            all,
            NexthopContent::Group(members.into_iter().collect()),
            ops,
        )
    }

    /// One object with this content. The mirror takes the write for done; a refusal makes it read again.
    fn ensure(
        &mut self,
        role: Role,
        legs: &[Leg],
        content: NexthopContent,
        ops: &mut Vec<Op>,
    ) -> Option<NexthopId> {
        let id = self.object_for(role, legs)?;
        let object = self.objects.get_mut(&id)?;
        if object.seen.as_ref() != Some(&content) {
            let is_there = object.seen.replace(content.clone()).is_some();
            ops.push(if is_there {
                Op::ReplaceNexthop(id, content)
            } else {
                Op::AddNexthop(id, content)
            });
        }
        Some(id)
    }

    /// The object that stands for these legs: the one that already does, one to adopt, or a fresh identifier.
    fn object_for(&mut self, role: Role, legs: &[Leg]) -> Option<NexthopId> {
        for id in candidates(role, legs) {
            if self.taken.contains(&id) {
                continue;
            }
            let fits = match self.objects.get(&id) {
                None => true,
                Some(object) if object.legs.is_empty() => self.is_adoptable(object, legs),
                Some(object) => object.legs == legs,
            };
            if fits {
                let object = self.objects.entry(id).or_insert(Object {
                    role,
                    legs: Vec::new(),
                    seen: None,
                    users: 0,
                });
                if object.legs.is_empty() {
                    object.legs = legs.to_vec();
                }
                return Some(id);
            }
        }
        None
    }

    fn is_adoptable(&self, object: &Object, legs: &[Leg]) -> bool {
        match &object.seen {
            None => object.users == 0,
            Some(NexthopContent::Gateway(leg)) => *legs == [*leg],
            Some(NexthopContent::Group(members)) => members.iter().all(|member| {
                match self.objects.get(member).and_then(|found| found.seen.as_ref()) {
                    Some(NexthopContent::Gateway(leg)) => legs.contains(leg),
                    Some(NexthopContent::Group(_) | NexthopContent::Other) | None => false,
                }
            }),
            Some(NexthopContent::Other) => false,
        }
    }

    /// The legs behind an object, as the kernel holds them.
    pub(crate) fn legs_of(&self, id: NexthopId) -> Vec<Leg> {
        match self.objects.get(&id).and_then(|object| object.seen.as_ref()) {
            Some(NexthopContent::Gateway(leg)) => vec![*leg],
            Some(NexthopContent::Group(members)) => {
                let seen =
                    |member: &NexthopId| self.objects.get(member).and_then(|object| object.seen.as_ref());
                let mut legs: Vec<Leg> = members
                    .iter()
                    .filter_map(seen)
                    .filter_map(|content| match content {
                        NexthopContent::Gateway(leg) => Some(*leg),
                        NexthopContent::Group(_) | NexthopContent::Other => None,
                    })
                    .collect();
                legs.sort_unstable();
                legs
            }
            Some(NexthopContent::Other) | None => Vec::new(),
        }
    }

    /// Deletes objects that neither a set wants nor a route names. Groups first: a member goes in the next turn,
    /// when no group holds it any more.
    pub(crate) fn collect_objects(&mut self, ops: &mut Vec<Op>) {
        let mut needed: BTreeSet<NexthopId> = self.sets.wanted().filter_map(|set| set.object).collect();
        for object in self.objects.values() {
            if let Some(NexthopContent::Group(members)) = &object.seen {
                needed.extend(members);
            }
        }
        let idle = |id: &NexthopId, object: &Object| {
            object.users == 0 && !needed.contains(id) && !self.undeletable.contains(id)
        };
        let idle: Vec<NexthopId> = self
            .objects
            .iter()
            .filter(|(id, object)| idle(id, object))
            .map(|(id, _)| *id)
            .collect();
        for id in idle {
            let removed = self.objects.remove(&id);
            if removed.is_some_and(|object| object.seen.is_some()) {
                ops.push(Op::DeleteNexthop(id));
            }
        }
    }
}
