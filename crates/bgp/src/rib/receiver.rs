//! Somebody who is told of routes: a peer, or the kernel.
//!
//! A receiver is a dense array of what it was told, by prefix, and a set of prefixes that may differ from it now.
//! Changes do not queue up: a prefix is dirty or it is not, and what is told is what holds at the moment of the
//! telling. So a receiver that is slow costs the size of the table, never its history, and a route that goes and
//! comes back in between costs nothing.

use std::collections::VecDeque;

use super::bits::BitSet;
use super::table::{Key, Table};

/// What one receiver was told of one family.
#[derive(Debug, Default)]
pub(super) struct Receiver {
    told: Vec<u32>,
    told_len: usize,
    dirty: BitSet,
    queue: VecDeque<u32>,
    /// To be told even when nothing changed.
    force: BitSet,
}

fn at(id: u32) -> usize {
    usize::try_from(id).unwrap_or(usize::MAX)
}

impl Receiver {
    /// The prefix may differ from what was told.
    pub(super) fn mark<K: Key>(&mut self, table: &mut Table<K>, id: u32) {
        if self.dirty.insert(id) {
            self.queue.push_back(id);
            table.hold(id);
        }
    }

    /// The prefix shall be told again whatever was told.
    pub(super) fn mark_again<K: Key>(&mut self, table: &mut Table<K>, id: u32) {
        self.force.insert(id);
        self.mark(table, id);
    }

    /// A dirty prefix shall be told in any case when its turn comes.
    pub(super) fn force(&mut self, id: u32) {
        self.force.insert(id);
    }

    /// Whether some prefix is to be told in any case.
    pub(super) fn has_forced(&self) -> bool {
        self.force.len() > 0
    }

    pub(super) fn is_dirty(&self, id: u32) -> bool {
        self.dirty.contains(id)
    }

    pub(super) fn has_dirty(&self) -> bool {
        !self.queue.is_empty()
    }

    pub(super) fn dirty_len(&self) -> usize {
        self.queue.len()
    }

    /// The next dirty prefix and whether it is to be told in any case. Its hold goes to the caller.
    pub(super) fn pop(&mut self) -> Option<(u32, bool)> {
        let id = self.queue.pop_front()?;
        self.dirty.remove(id);
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
        Some((id, self.force.len() > 0 && self.force.remove(id)))
    }

    /// What was told: a handle, or zero.
    pub(super) fn told(&self, id: u32) -> u32 {
        self.told.get(at(id)).copied().unwrap_or(0)
    }

    /// Records what is told now; what was told before.
    pub(super) fn tell<K: Key>(&mut self, table: &mut Table<K>, id: u32, now: u32) -> u32 {
        if at(id) >= self.told.len() {
            if now == 0 {
                return 0;
            }
            self.told.resize(at(id) + 1, 0);
        }
        let before = std::mem::replace(&mut self.told[at(id)], now);
        match (before, now) {
            (0, 0) => {}
            (0, _) => {
                self.told_len += 1;
                table.hold(id);
            }
            (_, 0) => {
                self.told_len -= 1;
                table.release(id);
            }
            (_, _) => {}
        }
        before
    }

    /// How many prefixes it was told.
    pub(super) fn told_len(&self) -> usize {
        self.told_len
    }

    /// Ends it: its holds go back, and what it was told is handed to `each`.
    pub(super) fn close<K: Key>(mut self, table: &mut Table<K>, mut each: impl FnMut(u32)) {
        while let Some((id, _)) = self.pop() {
            table.release(id);
        }
        for (told, id) in std::mem::take(&mut self.told).into_iter().zip(0..) {
            if told != 0 {
                each(told);
                table.release(id);
            }
        }
    }
}
