//! Values that many prefixes share, each kept once.
//!
//! A hundred thousand routes lead to a handful of places. So an entry of the mirror names what is wanted and what is seen by a
//! [`Handle`] of four octets, and says "the same as before" by comparing two of them. A value goes with its last user.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

/// Names a value; `Option` of it is as small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handle(NonZeroU32);

impl Handle {
    fn at(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// All values of one kind.
#[derive(Debug)]
pub(crate) struct Shared<T> {
    /// Each value with the number of its users; none: a place that is free.
    places: Vec<Option<(T, u32)>>,
    free: Vec<Handle>,
    index: BTreeMap<T, Handle>,
    /// The value of the prefix before is nearly always that of the next.
    last: Option<Handle>,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
            index: BTreeMap::new(),
            last: None,
        }
    }
}

impl<T: Ord + Clone> Shared<T> {
    /// The value, unless it is gone.
    pub(crate) fn get(&self, handle: Handle) -> Option<&T> {
        let (value, _) = self.places.get(handle.at())?.as_ref()?;
        Some(value)
    }

    /// The handle of a value, which has one more user.
    pub(crate) fn hold(&mut self, value: T) -> Handle {
        let known = self
            .last
            .filter(|last| self.get(*last) == Some(&value))
            .or_else(|| self.index.get(&value).copied());
        if let Some(handle) = known {
            if let Some((_, users)) = self.places.get_mut(handle.at()).and_then(Option::as_mut) {
                *users = users.saturating_add(1);
            }
            self.last = Some(handle);
            return handle;
        }
        let handle = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            let number = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
            Handle(NonZeroU32::new(number).unwrap_or(NonZeroU32::MAX))
        });
        self.index.insert(value.clone(), handle);
        if let Some(place) = self.places.get_mut(handle.at()) {
            *place = Some((value, 1));
        }
        self.last = Some(handle);
        handle
    }

    /// One of its users has no more use for it.
    pub(crate) fn release(&mut self, handle: Handle) {
        let Some(place) = self.places.get_mut(handle.at()) else {
            return;
        };
        let Some((value, users)) = place else { return };
        *users = users.saturating_sub(1);
        if *users == 0 {
            self.index.remove(value);
            *place = None;
            self.free.push(handle);
            self.last = None;
        }
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_kept_once_and_as_long_as_it_is_used() {
        let mut shared = Shared::default();
        let (one, two, again) = (shared.hold("one"), shared.hold("two"), shared.hold("one"));
        assert_eq!(one, again);
        assert_ne!(one, two);
        assert_eq!(
            (shared.get(one), shared.get(two), shared.len()),
            (Some(&"one"), Some(&"two"), 2)
        );
        shared.release(one);
        assert_eq!(shared.get(one), Some(&"one"));
        shared.release(again);
        assert_eq!((shared.get(one), shared.len()), (None, 1));
        let three = shared.hold("three");
        assert_eq!(three, one, "the place is used again");
        assert_eq!(
            (shared.get(three), shared.get(two)),
            (Some(&"three"), Some(&"two"))
        );
    }

    #[test]
    fn a_handle_is_small_and_so_is_an_entry_of_the_mirror() {
        assert_eq!(size_of::<Option<Handle>>(), 4);
        assert_eq!(size_of::<crate::machine::Entry>(), 40);
    }
}
