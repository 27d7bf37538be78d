//! The objects of one watch, as they are in force.
//!
//! A new version with a fault does not take down what runs: the object stays as it was, as it does in a manifest, and the
//! problem says so. One that was deleted and made again under its name is another one: what the first said does not count.

use std::collections::BTreeMap;

use flatroute_api::manifest::Object;
use flatroute_api::{CONFIGURATION_NAME, ClusterState, Problem};

use super::trimmed::Seen;

/// Said of an object whose newest version is not in force.
const KEPT: &str = " (what was in force before stays)";

/// The objects of one watch, by name.
#[derive(Debug, Default)]
pub(crate) struct Store(BTreeMap<String, Entry>);

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    uid: String,
    object: Option<Object>,
    problems: Vec<Problem>,
}

impl Store {
    /// These are all. Says whether that changes anything; so do the others.
    pub(crate) fn replace(&mut self, all: Vec<Seen>) -> bool {
        let mut old = std::mem::take(&mut self.0);
        let mut changed = false;
        for seen in all {
            let name = seen.name.clone();
            let before = old.remove(&name);
            let entry = entry(seen, before.as_ref());
            changed |= before.as_ref() != Some(&entry);
            self.0.insert(name, entry);
        }
        changed | !old.is_empty()
    }

    /// This one is new, or another than before.
    pub(crate) fn change(&mut self, seen: Seen) -> bool {
        let name = seen.name.clone();
        let before = self.0.get(&name);
        let entry = entry(seen, before);
        if before == Some(&entry) {
            return false;
        }
        self.0.insert(name, entry);
        true
    }

    /// This one is gone.
    pub(crate) fn remove(&mut self, name: &str) -> bool {
        self.0.remove(name).is_some()
    }

    /// Adds what is in force.
    pub(crate) fn fill(&self, state: &mut ClusterState, namespace: &str) {
        for (name, entry) in &self.0 {
            let name = name.clone();
            match entry.object.clone() {
                Some(Object::BGPPeer(object)) => _ = state.peers.insert(name, *object),
                Some(Object::BGPFilter(object)) => _ = state.filters.insert(name, *object),
                Some(Object::BGPConfiguration(object)) if name == CONFIGURATION_NAME => {
                    state.configuration = Some(*object);
                }
                Some(Object::Node(object)) => _ = state.nodes.insert(name, *object),
                Some(Object::Secret(object)) => {
                    _ = state.secrets.insert((namespace.to_owned(), name), *object);
                }
                // No other one is read, and validation has said so.
                Some(Object::BGPConfiguration(_)) | None => {}
            }
        }
    }

    /// The object of this name that is in force.
    pub(crate) fn object(&self, name: &str) -> Option<&Object> {
        self.0.get(name)?.object.as_ref()
    }

    pub(crate) fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.0.values().flat_map(|entry| &entry.problems)
    }
}

fn entry(seen: Seen, before: Option<&Entry>) -> Entry {
    let Seen {
        name: _,
        uid,
        object,
        mut problems,
    } = seen;
    let kept = match &object {
        Some(_) => None,
        None => before
            .filter(|before| before.uid == uid)
            .and_then(|before| before.object.clone()),
    };
    if kept.is_some() {
        for problem in &mut problems {
            problem.message.push_str(KEPT);
        }
    }
    Entry {
        uid,
        object: object.or(kept),
        problems,
    }
}
