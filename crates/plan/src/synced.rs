//! The proof that everything has been listed once.

use std::collections::BTreeSet;
use std::ops::Deref;

/// A state that is complete: every source that it comes from has been listed at least once. There is no other
/// way to make one than a [`Listing`] that has heard from all of its sources.
#[derive(Clone, Debug, PartialEq)]
pub struct Synced<T>(T);

impl<T> Deref for Synced<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Synced<T> {
    /// Changes a complete state, which stays complete: what a watch reports after its first listing.
    pub fn update(&mut self, change: impl FnOnce(&mut T)) {
        change(&mut self.0);
    }
}

/// A state that is being listed for the first time.
#[derive(Clone, Debug)]
pub struct Listing<T> {
    state: T,
    awaited: BTreeSet<String>,
}

impl<T> Listing<T> {
    /// A state that comes from the named sources; none of them has been heard from.
    pub fn of(state: T, sources: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            state,
            awaited: sources.into_iter().map(Into::into).collect(),
        }
    }

    /// Takes the full listing of one source.
    pub fn listed(&mut self, source: &str, change: impl FnOnce(&mut T)) {
        change(&mut self.state);
        self.awaited.remove(source);
    }

    /// The sources that have not been listed yet.
    pub fn awaited(&self) -> impl Iterator<Item = &str> {
        self.awaited.iter().map(String::as_str)
    }

    /// The complete state.
    ///
    /// # Errors
    /// Itself, when a source has not been listed yet.
    pub fn synced(self) -> Result<Synced<T>, Self> {
        if self.awaited.is_empty() {
            Ok(Synced(self.state))
        } else {
            Err(self)
        }
    }
}
