//! A set of ids as one bit each: which prefixes a peer has, which are dirty.

/// A growing bit set; iterated in the order of ids.
#[derive(Clone, Debug, Default)]
pub(super) struct BitSet {
    words: Vec<u64>,
    len: usize,
}

fn split(id: u32) -> (usize, u64) {
    (usize::try_from(id >> 6).unwrap_or(usize::MAX), 1 << (id & 63))
}

impl BitSet {
    pub(super) fn contains(&self, id: u32) -> bool {
        let (word, bit) = split(id);
        self.words.get(word).is_some_and(|w| w & bit != 0)
    }

    /// Adds an id; whether it was not there before.
    pub(super) fn insert(&mut self, id: u32) -> bool {
        let (word, bit) = split(id);
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.len += usize::from(new);
        new
    }

    /// Takes an id out; whether it was there.
    pub(super) fn remove(&mut self, id: u32) -> bool {
        let (word, bit) = split(id);
        let Some(w) = self.words.get_mut(word) else {
            return false;
        };
        let was = *w & bit != 0;
        *w &= !bit;
        self.len -= usize::from(was);
        was
    }

    /// The members, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + use<'_> {
        let mut from = Some(0);
        std::iter::from_fn(move || {
            let id = self.next(from?)?;
            from = id.checked_add(1);
            Some(id)
        })
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The smallest member that is at least `from`.
    pub(super) fn next(&self, from: u32) -> Option<u32> {
        let (mut word, _) = split(from);
        let mut rest = self.words.get(word)? & (u64::MAX << (from & 63));
        while rest == 0 {
            word += 1;
            rest = *self.words.get(word)?;
        }
        u32::try_from(word).ok().map(|w| (w << 6) | rest.trailing_zeros())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_come_in_order() {
        let mut set = BitSet::default();
        for id in [700, 3, 64, 63, 3] {
            set.insert(id);
        }
        assert!(set.remove(64) && !set.remove(64) && !set.remove(9999));
        let (mut seen, mut from) = (Vec::new(), 0);
        while let Some(id) = set.next(from) {
            seen.push(id);
            from = id + 1;
        }
        assert_eq!(seen, [3, 63, 700]);
        assert_eq!(set.len(), 3);
    }
}
