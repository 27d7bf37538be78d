//! Interned path attributes: equal sets are kept once, in a slab, and named by a number.
//!
//! A handle is four octets where an `Arc` is eight, and two routes have equal attributes exactly when they have
//! equal handles. References are counted by hand, because handles live in dense arrays: whoever stores one calls
//! [`AttributeTable::hold`], whoever drops one calls [`AttributeTable::release`]. The tests empty whole tables
//! and check that nothing is left.

use super::hash::{Index, Seed};
use super::words;
use crate::types::{NextHop, PathAttributes};

/// The handle of a set of attributes. Zero is nobody's: it stands for "none" in dense arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct AttrId(pub(super) u32);

impl AttrId {
    pub(super) const NONE: Self = Self(0);

    fn slot(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

#[derive(Debug, Default)]
struct Slot {
    words: Box<[u32]>,
    refs: u32,
    /// The hash in use; the next free slot out of use.
    hash: u32,
}

/// All attributes of a RIB.
#[derive(Debug)]
pub(super) struct AttributeTable {
    slots: Vec<Slot>,
    free: u32,
    used: usize,
    index: Index,
    seed: Seed,
    scratch: Vec<u32>,
}

impl AttributeTable {
    pub(super) fn new(seed: Seed) -> Self {
        Self {
            slots: vec![Slot::default()],
            free: 0,
            used: 0,
            index: Index::default(),
            seed,
            scratch: Vec::new(),
        }
    }

    /// The handle of these attributes, with one reference taken for the caller.
    pub(super) fn intern(&mut self, attributes: &PathAttributes) -> AttrId {
        self.intern_with(attributes, attributes.next_hop, attributes.local_pref)
    }

    /// The same with another next hop and LOCAL_PREF.
    pub(super) fn intern_with(
        &mut self,
        attributes: &PathAttributes,
        next_hop: Option<NextHop>,
        local_pref: Option<u32>,
    ) -> AttrId {
        self.scratch.clear();
        words::pack(attributes, next_hop, local_pref, &mut self.scratch);
        let short = u32::try_from(self.seed.words(&self.scratch) >> 32).unwrap_or(0);
        let hash = spread(short);
        let found = self.index.find(hash, |id| {
            let slot = &self.slots[AttrId(id).slot()];
            slot.hash == short && *slot.words == *self.scratch
        });
        if let Some(id) = found {
            let id = AttrId(id);
            self.hold(id);
            return id;
        }
        let slot = Slot {
            words: self.scratch.as_slice().into(),
            refs: 1,
            hash: short,
        };
        let id = if self.free == 0 {
            self.slots.push(slot);
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 attribute sets")
        } else {
            let id = self.free;
            let place = &mut self.slots[AttrId(id).slot()];
            self.free = place.hash;
            *place = slot;
            id
        };
        self.used += 1;
        self.index.insert(hash, id);
        AttrId(id)
    }

    /// Takes one more reference.
    pub(super) fn hold(&mut self, id: AttrId) {
        if id != AttrId::NONE {
            self.slots[id.slot()].refs += 1;
        }
    }

    /// Gives one reference back.
    pub(super) fn release(&mut self, id: AttrId) {
        if id == AttrId::NONE {
            return;
        }
        let slot = &mut self.slots[id.slot()];
        slot.refs -= 1;
        if slot.refs > 0 {
            return;
        }
        let hash = spread(slot.hash);
        self.index.remove(hash, id.0);
        self.slots[id.slot()] = Slot {
            hash: self.free,
            ..Slot::default()
        };
        self.free = id.0;
        self.used -= 1;
    }

    /// The packed form.
    pub(super) fn words(&self, id: AttrId) -> &[u32] {
        &self.slots[id.slot()].words
    }

    /// The decoded form.
    pub(super) fn unpack(&self, id: AttrId) -> PathAttributes {
        words::unpack(self.words(id))
    }

    /// How many sets are kept.
    pub(super) fn len(&self) -> usize {
        self.used
    }
}

/// The index takes the upper bits of 64; the slab keeps 32 of them.
fn spread(short: u32) -> u64 {
    u64::from(short) << 20
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{AsPath, Asn};

    #[test]
    fn equal_sets_share_a_handle_and_the_last_reference_frees_it() {
        let mut table = AttributeTable::new(Seed::new(1));
        let mut other = PathAttributes::local();
        other.as_path = AsPath::sequence([Asn(1)]);
        let a = table.intern(&PathAttributes::local());
        let b = table.intern(&other);
        assert_eq!(table.intern(&PathAttributes::local()), a);
        assert_ne!(a, b);
        assert_eq!(table.unpack(b), other);
        table.release(a);
        assert_eq!(table.len(), 2);
        table.release(a);
        assert_eq!(table.len(), 1);
        assert_eq!(
            table.intern(&PathAttributes::local()),
            a,
            "the slot is used again"
        );
        table.release(a);
        table.release(b);
        assert_eq!(table.len(), 0);
    }
}
