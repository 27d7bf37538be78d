//! Joins what several files hold into one state.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::{Located, Object, Parsed};
use crate::objects::{ClusterState, Kind};
use crate::problem::{Place, Problem, ProblemReason};

/// The objects of all files, and all problems.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Merged {
    /// The objects.
    pub state: ClusterState,
    /// Where each of them stands, by kind, namespace and name.
    pub places: BTreeMap<(Kind, String, String), Place>,
    /// What is wrong with the rest, in order.
    pub problems: Vec<Problem>,
}

/// Joins the objects of several files. An object that is there twice counts where it stands first; the second is
/// a problem.
pub fn merge(files: impl IntoIterator<Item = Parsed>) -> Merged {
    let mut merged = Merged::default();
    for file in files {
        merged.problems.extend(file.problems);
        for located in file.objects {
            let key = (
                located.object.kind(),
                located.namespace.clone(),
                located.name.clone(),
            );
            match merged.places.entry(key) {
                Entry::Occupied(first) => merged.problems.push(duplicate(&located, first.get())),
                Entry::Vacant(slot) => {
                    slot.insert(located.place.clone());
                    insert(&mut merged.state, located);
                }
            }
        }
    }
    merged.problems.sort();
    merged
}

fn duplicate(located: &Located, first: &Place) -> Problem {
    let message = format!("is there twice: first at {first}");
    let problem = Problem::new(
        located.object.kind().as_str(),
        &located.name,
        "metadata.name",
        message,
        "remove one of the two",
    );
    Problem {
        place: Some(located.place.clone()),
        ..problem
    }
    .because(ProblemReason::Duplicate)
}

fn insert(state: &mut ClusterState, located: Located) {
    let Located {
        namespace,
        name,
        object,
        place: _,
    } = located;
    match object {
        Object::BGPPeer(object) => {
            state.peers.insert(name, *object);
        }
        Object::BGPFilter(object) => {
            state.filters.insert(name, *object);
        }
        Object::BGPConfiguration(object) => state.configuration = Some(*object),
        Object::Node(object) => {
            state.nodes.insert(name, *object);
        }
        Object::Secret(object) => {
            state.secrets.insert((namespace, name), *object);
        }
    }
}
