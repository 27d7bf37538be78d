//! Telling the kernel: interned sets of next hops.
//!
//! Thousands of prefixes share a handful of next hop sets, so a set is interned, and whether a prefix changed for
//! the kernel is a comparison of two numbers. Paths in use that the install filter refuses are no legs; two peers
//! that give the same next hop are one leg, under the first peer's name.
//!
//! What is handed out is the set that is kept, not a copy. And most prefixes have the next hops of the prefix before them: then
//! the set is known without a look into the index.

use std::collections::HashMap;
use std::sync::Arc;

use super::core::{Core, at};
use super::hash::Seed;
use super::table::{INSTALLABLE, Key, SELECTED, Table};
use super::words;
use super::{FibPath, PeerSettings, RouteChange};
use crate::types::{Family, NextHop};

/// All sets of next hops that the kernel was told, by handle from 1; zero is the empty set.
#[derive(Debug)]
pub(super) struct NextHopSets {
    sets: Vec<(Arc<[FibPath]>, u32)>,
    free: Vec<u32>,
    /// For look-up only, never iterated.
    index: HashMap<Arc<[FibPath]>, u32, Seed>,
}

/// Whether packets go the same way.
pub(super) fn same_leg(a: &FibPath, b: &FibPath) -> bool {
    (a.next_hop, a.interface) == (b.next_hop, b.interface)
}

fn slot(id: u32) -> usize {
    usize::try_from(id).unwrap_or(usize::MAX)
}

impl NextHopSets {
    pub(super) fn new(seed: Seed) -> Self {
        Self {
            sets: vec![(Arc::from([]), 0)],
            free: Vec::new(),
            index: HashMap::with_hasher(seed),
        }
    }

    /// The handle of a set, with one reference taken for the caller.
    fn intern(&mut self, paths: &[FibPath]) -> u32 {
        if paths.is_empty() {
            return 0;
        }
        if let Some(id) = self.index.get(paths) {
            self.sets[slot(*id)].1 += 1;
            return *id;
        }
        let set: Arc<[FibPath]> = paths.into();
        let id = self.free.pop().unwrap_or_else(|| {
            self.sets.push((Arc::from([]), 0));
            u32::try_from(self.sets.len() - 1).expect("fewer than 2^32 sets")
        });
        self.sets[slot(id)] = (set.clone(), 1);
        self.index.insert(set, id);
        id
    }

    /// One more reference to a set that is held already.
    fn hold(&mut self, id: u32) -> u32 {
        if id != 0 {
            self.sets[slot(id)].1 += 1;
        }
        id
    }

    fn set(&self, id: u32) -> Arc<[FibPath]> {
        self.sets[slot(id)].0.clone()
    }

    fn release(&mut self, id: u32) {
        if id == 0 {
            return;
        }
        let (set, refs) = &mut self.sets[slot(id)];
        *refs -= 1;
        if *refs == 0 {
            self.index.remove(set);
            *set = Arc::from([]);
            self.free.push(id);
        }
    }

    pub(super) fn legs(&self, id: u32) -> &[FibPath] {
        self.sets.get(slot(id)).map_or(&[], |(set, _)| set)
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }
}

/// Where packets go, and the interface of a link-local address. A peer that is on the link by such an address is reached by
/// that one, if it says so beside a global address: the latter need not lie in any prefix of the link.
pub(super) fn towards(told: NextHop, peer: &PeerSettings) -> (NextHop, Option<u32>) {
    let next_hop = match told {
        NextHop::V6 {
            link_local: Some(link_local),
            ..
        } if peer.interface.is_some() => NextHop::V6 {
            global: link_local,
            link_local: None,
        },
        NextHop::V4(_) | NextHop::V6 { .. } => told,
    };
    (next_hop, peer.interface.filter(|_| next_hop.is_link_local()))
}

/// What is at hand while prefixes are told.
#[derive(Default)]
struct Hand {
    /// Peer and told next hop of each path of the prefix.
    legs: Vec<(u16, NextHop)>,
    /// Those of the last prefix that has any, and its set, which is held here too.
    last: (Vec<(u16, NextHop)>, u32),
    paths: Vec<FibPath>,
}

impl Core {
    /// The set of a prefix, with one reference taken for the caller.
    fn fib_set<K: Key>(&mut self, t: &Table<K>, id: u32, hand: &mut Hand) -> u32 {
        let Hand { legs, last, paths } = hand;
        legs.clear();
        legs.extend(
            t.paths(id)
                .filter(|(_, path)| path.is(SELECTED | INSTALLABLE))
                .filter_map(|(_, path)| {
                    let next_hop = words::next_hop(self.attributes.words(path.effective))?;
                    Some((path.peer, next_hop))
                }),
        );
        if legs.is_empty() {
            return 0;
        }
        if *legs == last.0 {
            return self.sets.hold(last.1);
        }
        paths.clear();
        paths.extend(legs.iter().filter_map(|(peer, told)| {
            let settings = &self.peer(*peer)?.settings;
            let (next_hop, interface) = towards(*told, settings);
            Some(FibPath {
                next_hop,
                interface,
                peer: settings.name.clone(),
            })
        }));
        paths.sort_unstable();
        paths.dedup_by(|a, b| same_leg(a, b));
        let set = self.sets.intern(paths);
        std::mem::swap(legs, &mut last.0);
        let before = std::mem::replace(&mut last.1, self.sets.hold(set));
        self.sets.release(before);
        set
    }

    pub(super) fn poll_fib<K: Key>(
        &mut self,
        t: &mut Table<K>,
        family: Family,
        max: usize,
        changes: &mut Vec<RouteChange>,
    ) {
        let mut hand = Hand::default();
        while changes.len() < max {
            let Some((id, again)) = self.kernel[at(family)].pop() else {
                break;
            };
            let set = self.fib_set(t, id, &mut hand);
            let told = self.kernel[at(family)].told(id);
            if set == told && (!again || told == 0) {
                self.sets.release(set);
                self.lingering[at(family)].end(t, id);
                t.release(id);
                continue;
            }
            let paths = self.sets.set(set);
            if told != 0 && !again && self.lingers(t, family, (id, told), &paths) {
                self.sets.release(set);
            } else {
                self.lingering[at(family)].end(t, id);
                changes.push(RouteChange {
                    prefix: t.prefix(id),
                    paths,
                });
                let before = self.kernel[at(family)].tell(t, id, set);
                self.sets.release(before);
            }
            t.release(id);
        }
        self.sets.release(hand.last.1);
    }

    pub(super) fn has_fib_pending(&self) -> bool {
        self.kernel.iter().any(super::receiver::Receiver::has_dirty)
    }

    pub(super) fn resend_fib<K: Key>(&mut self, t: &mut Table<K>, family: Family) {
        for id in 0..t.end() {
            let used = t.is_live(id) && t.paths(id).any(|(_, path)| path.is(SELECTED | INSTALLABLE));
            if used || self.kernel[at(family)].told(id) != 0 {
                self.kernel[at(family)].mark_again(t, id);
            }
        }
    }
}
