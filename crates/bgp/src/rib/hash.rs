//! Hashing with a seed, and an index of numbers by content.
//!
//! Peers choose prefixes and attributes, so whoever knew the hash function could make every look-up a walk
//! through one long chain. The seed is given at start and told to nobody. The function is the multiply-and-fold
//! of 64-bit words: fast, well mixed, not cryptographic. Nothing is ever iterated in hash order.
//!
//! [`Index`] is an open-addressing table of `u32` ids with linear probing and backward-shift deletion: no
//! tombstones, so a table that churns does not decay. It owns no keys: the caller says how to compare an id with
//! what it looks for. Beside the id a slot has 32 bits of the hash: so the key, which lies somewhere else in memory,
//! is looked at only when it is most probably the right one, and entries move without it. At most 4/5 of the slots
//! are used.

use std::hash::{BuildHasher, Hasher};

const FOLD: u64 = 0x9e37_79b9_7f4a_7c15;
const EMPTY: u64 = u64::MAX;

/// The seed of all hashes of one RIB.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seed(u64, u64);

fn fold(a: u64, b: u64) -> u64 {
    let wide = u128::from(a) * u128::from(b);
    let [lo, hi] = halves(wide);
    lo ^ hi
}

fn halves(wide: u128) -> [u64; 2] {
    let mask = u128::from(u64::MAX);
    [
        u64::try_from(wide & mask).unwrap_or(0),
        u64::try_from(wide >> 64).unwrap_or(0),
    ]
}

impl Seed {
    /// Two independent words from one (the finaliser of splitmix64).
    pub(super) fn new(seed: u64) -> Self {
        let mix = |mut z: u64| {
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        Self(
            mix(seed.wrapping_add(FOLD)),
            mix(seed.wrapping_add(FOLD.wrapping_mul(2))) | 1,
        )
    }

    /// The hash of one word.
    pub(super) fn word(self, word: u64) -> u64 {
        fold(fold(word ^ self.0, self.1), FOLD)
    }

    /// The hash of a slice of words.
    pub(super) fn words(self, words: &[u32]) -> u64 {
        let mut state = self.0 ^ u64::try_from(words.len()).unwrap_or(0);
        for pair in words.chunks(2) {
            let word = pair.iter().fold(0, |acc, w| (acc << 32) | u64::from(*w));
            state = fold(state ^ word, self.1) ^ state.rotate_left(23);
        }
        fold(state, FOLD)
    }
}

impl BuildHasher for Seed {
    type Hasher = Words;

    fn build_hasher(&self) -> Words {
        Words(*self, self.0)
    }
}

/// A [`Hasher`] for keys of a few integers.
pub(super) struct Words(Seed, u64);

impl Hasher for Words {
    fn finish(&self) -> u64 {
        fold(self.1, FOLD)
    }

    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.write_u64(u64::from(*b));
        }
    }

    fn write_u16(&mut self, n: u16) {
        self.write_u64(u64::from(n));
    }

    fn write_u32(&mut self, n: u32) {
        self.write_u64(u64::from(n));
    }

    fn write_u64(&mut self, n: u64) {
        self.1 = fold(self.1 ^ n, self.0.1) ^ self.1.rotate_left(23);
    }
}

/// Ids by the hash of what they stand for.
#[derive(Debug, Default)]
pub(super) struct Index {
    slots: Vec<u64>,
    len: usize,
}

/// The bits of a hash that a slot keeps; the home of the id is their lower end.
fn tag(hash: u64) -> u32 {
    u32::try_from((hash >> 20) & u64::from(u32::MAX)).unwrap_or(0)
}

fn pack(tag: u32, id: u32) -> u64 {
    (u64::from(tag) << 32) | u64::from(id)
}

/// Tag and id.
fn unpack(slot: u64) -> (u32, u32) {
    let id = slot & u64::from(u32::MAX);
    (
        u32::try_from(slot >> 32).unwrap_or(0),
        u32::try_from(id).unwrap_or(0),
    )
}

impl Index {
    fn mask(&self) -> usize {
        self.slots.len().wrapping_sub(1)
    }

    fn home(&self, tag: u32) -> usize {
        usize::try_from(tag).unwrap_or(0) & self.mask()
    }

    /// The id of this hash that `is` accepts.
    pub(super) fn find(&self, hash: u64, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let wanted = tag(hash);
        let mut at = self.home(wanted);
        loop {
            let slot = self.slots[at];
            if slot == EMPTY {
                return None;
            }
            let (tag, id) = unpack(slot);
            if tag == wanted && is(id) {
                return Some(id);
            }
            at = (at + 1) & self.mask();
        }
    }

    /// Adds an id that is not there yet.
    pub(super) fn insert(&mut self, hash: u64, id: u32) {
        if (self.len + 1) * 5 > self.slots.len() * 4 {
            let size = (self.slots.len() * 2).max(16);
            let old = std::mem::replace(&mut self.slots, vec![EMPTY; size]);
            for slot in old.into_iter().filter(|slot| *slot != EMPTY) {
                self.place(slot);
            }
        }
        self.place(pack(tag(hash), id));
        self.len += 1;
    }

    fn place(&mut self, slot: u64) {
        let mut at = self.home(unpack(slot).0);
        while self.slots[at] != EMPTY {
            at = (at + 1) & self.mask();
        }
        self.slots[at] = slot;
    }

    /// Takes an id out, closing the gap so that no look-up ends early.
    pub(super) fn remove(&mut self, hash: u64, id: u32) {
        if self.slots.is_empty() {
            return;
        }
        let wanted = pack(tag(hash), id);
        let mut gap = self.home(tag(hash));
        while self.slots[gap] != wanted {
            if self.slots[gap] == EMPTY {
                return;
            }
            gap = (gap + 1) & self.mask();
        }
        self.len -= 1;
        let mut at = gap;
        loop {
            at = (at + 1) & self.mask();
            let next = self.slots[at];
            if next == EMPTY {
                break;
            }
            // The entry may move back when its home is not between the gap and where it stands.
            let distance = at.wrapping_sub(self.home(unpack(next).0)) & self.mask();
            if distance >= at.wrapping_sub(gap) & self.mask() {
                self.slots[gap] = next;
                gap = at;
            }
        }
        self.slots[gap] = EMPTY;
    }

    /// How many ids it holds.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn index_behaves_like_a_set(ops in prop::collection::vec((any::<bool>(), 0u32..200), 0..600), seed: u64) {
            let seed = Seed::new(seed);
            // Few distinct hashes, so that chains are long and wrap around.
            let hash = |id: u32| seed.word(u64::from(id % 17));
            let (mut index, mut model) = (Index::default(), BTreeSet::new());
            for (add, id) in ops {
                if add && model.insert(id) {
                    index.insert(hash(id), id);
                } else if !add && model.remove(&id) {
                    index.remove(hash(id), id);
                }
                for id in 0..200 {
                    prop_assert_eq!(index.find(hash(id), |i| i == id).is_some(), model.contains(&id));
                }
            }
            prop_assert_eq!(index.len(), model.len());
        }
    }
}
