//! The kernel is told of a move off a path that says goodbye (RFC 8326) only a while after the neighbours are.
//!
//! Such a path still forwards: whoever announced it waits for the rest of the network to leave it. The neighbours learn of the
//! move one after the other, and until a neighbour that we now send to has heard of it, that one may still send to us: packets
//! would go round between the two, as long as one of them is slower than the other. So everybody is told of the move at once, and
//! the kernel keeps the old next hops until that is long over. It does so only while each of them is offered as before: once
//! a path is withdrawn or its session lost, the kernel is told at once.
//!
//! There is no clock here. Whoever has one calls [`Core::settle`] now and then, and a prefix is told at the second call after it
//! began to linger.

use super::bits::BitSet;
use super::core::{Core, at};
use super::fib::{same_leg, towards};
use super::table::{INSTALLABLE, Key, LEAVING, Path, SELECTED, STALE, Table};
use super::{FibPath, words};
use crate::types::Family;

/// The prefixes of a family that the kernel has not been told of yet. Those of `young` and `old` are held.
#[derive(Debug, Default)]
pub(super) struct Lingering {
    young: BitSet,
    old: BitSet,
    /// They have lingered long enough, and are dirty for the kernel.
    due: BitSet,
}

impl Lingering {
    pub(super) fn is_empty(&self) -> bool {
        self.young.len() == 0 && self.old.len() == 0
    }

    pub(super) fn has(&self, id: u32) -> bool {
        !self.is_empty() && (self.young.contains(id) || self.old.contains(id))
    }

    /// Whether the kernel may wait for the news of a prefix, which lingers from now on if it did not.
    fn grants<K: Key>(&mut self, t: &mut Table<K>, id: u32) -> bool {
        if self.due.len() > 0 && self.due.contains(id) {
            return false;
        }
        if !self.old.contains(id) && self.young.insert(id) {
            t.hold(id);
        }
        true
    }

    /// The kernel is told, or need not be.
    pub(super) fn end<K: Key>(&mut self, t: &mut Table<K>, id: u32) {
        if self.due.len() > 0 {
            self.due.remove(id);
        }
        for set in [&mut self.young, &mut self.old] {
            if set.len() > 0 && set.remove(id) {
                t.release(id);
            }
        }
    }
}

fn is_left(path: &Path) -> bool {
    path.is(LEAVING | INSTALLABLE) && !path.is(SELECTED)
}

impl Core {
    /// Whether the kernel keeps `told` for a while, though `paths` are used now.
    pub(super) fn lingers<K: Key>(
        &mut self,
        t: &mut Table<K>,
        family: Family,
        (id, told): (u32, u32),
        paths: &[FibPath],
    ) -> bool {
        if paths.is_empty() || !t.paths(id).any(|(_, path)| is_left(path)) {
            return false;
        }
        let is_offered = |leg: &FibPath| {
            t.paths(id).any(|(_, path)| {
                path.is(INSTALLABLE)
                    && !path.is(STALE)
                    && self.peer(path.peer).is_some_and(|peer| {
                        let told = words::next_hop(self.attributes.words(path.effective));
                        let way = told.map(|told| towards(told, &peer.settings));
                        way == Some((leg.next_hop, leg.interface))
                    })
            })
        };
        let is_dropped = |leg: &FibPath| !paths.iter().any(|used| same_leg(used, leg));
        let legs = self.sets.legs(told);
        let keeps = legs.iter().any(is_dropped) && legs.iter().all(is_offered);
        keeps && self.lingering[at(family)].grants(t, id)
    }

    /// Time has passed: what lingers for the second time is told to the kernel now.
    pub(super) fn settle<K: Key>(&mut self, t: &mut Table<K>, family: Family) {
        let lingering = &mut self.lingering[at(family)];
        let due = std::mem::replace(&mut lingering.old, std::mem::take(&mut lingering.young));
        for id in due.iter() {
            lingering.due.insert(id);
            self.kernel[at(family)].mark(t, id);
            t.release(id);
        }
    }
}
