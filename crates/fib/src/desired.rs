//! Sets of next hops, interned.
//!
//! A hundred thousand routes stand on a handful of sets. Each set is resolved once: every next hop to a leg (its
//! interface found by the connected prefix that covers the gateway), the legs to the kernel object that routes
//! name. A leg stays resolved while its interface is down, because a link that bounces takes its addresses along
//! and the set must keep its identity through that.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::machine::Fib;
use crate::types::{Interface, Leg, NextHop, NexthopId, Target};

/// Index of a set.
pub(crate) type SetId = u32;

/// Where the routes of a set can lead now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum SetState {
    /// Not looked at since something changed.
    #[default]
    Unknown,
    /// Its routes name this.
    Ready(Target),
    /// No next hop can be used.
    Unusable,
    /// The kernel refused its object; tried again later.
    Failed,
}

/// One set of next hops.
#[derive(Debug, Default)]
pub(crate) struct PathSet {
    pub(crate) hops: Box<[NextHop]>,
    /// The leg of each hop, as last resolved.
    pub(crate) legs: Vec<Option<Leg>>,
    pub(crate) object: Option<NexthopId>,
    pub(crate) state: SetState,
    /// The kernel refused its object: it is left alone until the next retry.
    pub(crate) held: bool,
    refs: u32,
}

impl PathSet {
    /// Whether any route wants it.
    pub(crate) fn is_wanted(&self) -> bool {
        self.refs > 0
    }

    /// All resolved legs, ordered, each once.
    pub(crate) fn all_legs(&self) -> Vec<Leg> {
        let legs: BTreeSet<Leg> = self.legs.iter().flatten().copied().collect();
        legs.into_iter().collect()
    }
}

/// All sets.
#[derive(Debug, Default)]
pub(crate) struct Sets {
    pub(crate) list: Vec<PathSet>,
    index: BTreeMap<Box<[NextHop]>, SetId>,
    free: Vec<SetId>,
    last: Option<SetId>,
    /// Sets to look at before routes are written.
    pub(crate) dirty: BTreeSet<SetId>,
}

impl Sets {
    pub(crate) fn get(&self, id: SetId) -> Option<&PathSet> {
        self.list.get(id as usize)
    }

    pub(crate) fn get_mut(&mut self, id: SetId) -> Option<&mut PathSet> {
        self.list.get_mut(id as usize)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = SetId> + use<> {
        0..u32::try_from(self.list.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn wanted(&self) -> impl Iterator<Item = &PathSet> {
        self.list.iter().filter(|set| set.is_wanted())
    }

    pub(crate) fn mark_all(&mut self) {
        let wanted = self
            .ids()
            .filter(|id| self.get(*id).is_some_and(PathSet::is_wanted))
            .collect::<Vec<_>>();
        self.dirty.extend(wanted);
    }

    /// Marks the sets that hold this gateway.
    pub(crate) fn mark_gateway(&mut self, gateway: IpAddr) {
        let holds = |set: &PathSet| set.is_wanted() && set.hops.iter().any(|hop| hop.gateway == gateway);
        let marked = self
            .ids()
            .filter(|id| self.get(*id).is_some_and(holds))
            .collect::<Vec<_>>();
        self.dirty.extend(marked);
    }

    pub(crate) fn any_failed(&self) -> bool {
        self.wanted().any(|set| set.state == SetState::Failed)
    }

    pub(crate) fn retry_failed(&mut self) {
        let failed = |set: &PathSet| set.is_wanted() && set.state == SetState::Failed;
        let marked = self
            .ids()
            .filter(|id| self.get(*id).is_some_and(failed))
            .collect::<Vec<_>>();
        self.dirty.extend(marked);
        for set in &mut self.list {
            set.held = false;
        }
    }

    fn is(&self, id: SetId, hops: &[NextHop]) -> bool {
        self.get(id)
            .is_some_and(|set| set.is_wanted() && *set.hops == *hops)
    }

    /// Takes a reference on the set of these ordered hops; true when it is new.
    fn intern(&mut self, hops: &[NextHop]) -> (SetId, bool) {
        let known = self
            .last
            .filter(|id| self.is(*id, hops))
            .or_else(|| self.index.get(hops).copied());
        if let Some(id) = known
            && let Some(set) = self.get_mut(id)
        {
            set.refs += 1;
            self.last = Some(id);
            return (id, false);
        }
        let set = PathSet {
            hops: hops.into(),
            refs: 1,
            legs: vec![None; hops.len()],
            ..PathSet::default()
        };
        let id = self
            .free
            .pop()
            .unwrap_or_else(|| u32::try_from(self.list.len()).unwrap_or(u32::MAX));
        match self.get_mut(id) {
            Some(place) => *place = set,
            None => self.list.push(set),
        }
        self.index.insert(hops.into(), id);
        self.dirty.insert(id);
        self.last = Some(id);
        (id, true)
    }

    pub(crate) fn release(&mut self, id: SetId) {
        let Some(set) = self.get_mut(id) else { return };
        set.refs = set.refs.saturating_sub(1);
        if set.refs == 0 {
            let hops = std::mem::take(&mut set.hops);
            *set = PathSet::default();
            self.index.remove(&hops);
            self.dirty.remove(&id);
            self.free.push(id);
            self.last = None;
        }
    }
}

impl Fib {
    pub(crate) fn intern(&mut self, hops: &[NextHop]) -> SetId {
        let limit = usize::from(self.settings.max_paths.clamp(1, 128));
        let is_plain = hops.len() <= limit && hops.is_sorted_by(|a, b| a < b);
        let (id, is_new) = if is_plain {
            self.sets.intern(hops)
        } else {
            let ordered: BTreeSet<NextHop> = hops.iter().copied().collect();
            let chosen: Vec<NextHop> = ordered.into_iter().take(limit).collect();
            self.sets.intern(&chosen)
        };
        if is_new {
            self.resolve_set(id);
        }
        id
    }

    /// Resolves the hops of a set anew; true when a leg changed.
    pub(crate) fn resolve_set(&mut self, id: SetId) -> bool {
        let Some(set) = self.sets.list.get_mut(id as usize) else {
            return false;
        };
        let mut changed = false;
        for (hop, leg) in set.hops.iter().zip(set.legs.iter_mut()) {
            let found =
                resolve(&self.interfaces, *hop).or_else(|| leg.filter(|old| !is_up(&self.interfaces, old)));
            changed |= found != *leg;
            *leg = found;
        }
        changed
    }

    /// The legs of a set that can carry packets now. Links that came back lately count when no other is left, dead
    /// legs when none at all is: the speaker will say what shall be instead.
    pub(crate) fn usable_legs(&self, set: &PathSet) -> Vec<Leg> {
        let mut usable = BTreeSet::new();
        for (hop, leg) in set.hops.iter().zip(&set.legs) {
            if let Some(leg) = leg
                && is_up(&self.interfaces, leg)
                && resolve(&self.interfaces, *hop).is_some()
            {
                usable.insert(*leg);
            }
        }
        let alive: Vec<Leg> = usable
            .iter()
            .filter(|leg| !self.down.contains(&leg.gateway))
            .copied()
            .collect();
        if alive.is_empty() {
            return usable.into_iter().collect();
        }
        let steady: Vec<Leg> = alive
            .iter()
            .filter(|leg| !self.returned.contains_key(&leg.interface))
            .copied()
            .collect();
        if steady.is_empty() { alive } else { steady }
    }
}

fn is_up(interfaces: &BTreeMap<u32, Interface>, leg: &Leg) -> bool {
    interfaces
        .get(&leg.interface)
        .is_some_and(|interface| interface.up && interface.carrier)
}

/// The leg of a next hop, by the interface that it names or the longest connected prefix that covers it.
fn resolve(interfaces: &BTreeMap<u32, Interface>, hop: NextHop) -> Option<Leg> {
    if let Some(interface) = hop.interface {
        return interfaces.contains_key(&interface).then_some(Leg {
            gateway: hop.gateway,
            interface,
        });
    }
    let mut best: Option<(u8, u32)> = None;
    for interface in interfaces.values().filter(|interface| interface.up) {
        for address in interface
            .addresses
            .iter()
            .filter(|address| address.contains(hop.gateway))
        {
            if best.is_none_or(|(length, _)| address.prefix() > length) {
                best = Some((address.prefix(), interface.index));
            }
        }
    }
    best.map(|(_, interface)| Leg {
        gateway: hop.gateway,
        interface,
    })
}
