//! The neighbours that an agent has found on its interfaces, left for the next one.
//!
//! An agent that follows another has to know its neighbours with its first plan: one that comes later is no part of what the
//! speaker waits for before it chooses routes, and until it has said its routes again the old ones would go. The wire may tell
//! too late, most of all where every agent of a link starts anew in the same second. So the addresses are written down beside the
//! marker of the restart and count only with it; each is asked at once whether it is still there.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use flatroute_nd::Heard;
use flatroute_nd::link::State;

use crate::observe::write_whole;

/// The name of the file.
const FILE: &str = "routers.json";

/// Link-local addresses, by the index of the interface.
pub(crate) type Routers = BTreeMap<u32, Ipv6Addr>;

/// Where they are written down.
#[derive(Debug)]
pub(crate) struct Memory {
    /// None without a state directory.
    path: Option<PathBuf>,
    kept: Routers,
}

impl Memory {
    /// Opens it. `follows`: whether an agent was here before in this life of the machine; what is left of another life is no
    /// longer true.
    pub(crate) fn open(state_dir: Option<&Path>, follows: bool) -> Self {
        let path = state_dir.map(|dir| dir.join(FILE));
        if let Some(path) = path.as_ref().filter(|_| !follows) {
            // Otherwise the next agent would take it for ours. When it cannot be removed, it is not written either, and that is said.
            _ = fs::remove_file(path);
        }
        let text = path
            .as_ref()
            .filter(|_| follows)
            .and_then(|path| fs::read(path).ok());
        let kept = text.and_then(|text| serde_json::from_slice::<Routers>(&text).ok());
        let mut kept = kept.unwrap_or_default();
        kept.retain(|_, address| address.is_unicast_link_local());
        Self { path, kept }
    }

    /// What is remembered.
    pub(crate) fn routers(&self) -> &Routers {
        &self.kept
    }

    /// Remembers what is heard now; a link that says nothing keeps its neighbour for as long as it is listened on.
    ///
    /// # Errors
    /// When the state directory cannot be written.
    pub(crate) fn keep(&mut self, heard: &BTreeMap<u32, Heard>) -> io::Result<()> {
        let routers = found(heard);
        if routers == self.kept {
            return Ok(());
        }
        self.kept = routers;
        match &self.path {
            Some(path) => write_whole(path, &serde_json::to_vec(&self.kept)?),
            None => Ok(()),
        }
    }
}

fn found(heard: &BTreeMap<u32, Heard>) -> Routers {
    let router = |(index, heard): (&u32, &Heard)| match heard {
        Heard::Link(State::Router { address, .. }) => Some((*index, *address)),
        Heard::Link(State::Waiting | State::Silent) | Heard::Deaf(_) => None,
    };
    heard.iter().filter_map(router).collect()
}

/// The same as facts for a plan. `has_address`: whether an interface has a link-local address of its own, without which nothing
/// can be heard.
pub(crate) fn facts(
    heard: &BTreeMap<u32, Heard>,
    has_address: impl Fn(u32) -> bool,
) -> BTreeMap<u32, flatroute_plan::Heard> {
    let fact = |(index, heard): (&u32, &Heard)| {
        let fact = match heard {
            Heard::Link(State::Waiting) => flatroute_plan::Heard::Waiting,
            Heard::Link(State::Silent) if !has_address(*index) => flatroute_plan::Heard::NoLinkLocalAddress,
            Heard::Link(State::Silent) => flatroute_plan::Heard::Silent,
            Heard::Link(State::Router { address, several }) => flatroute_plan::Heard::Router {
                address: *address,
                several: *several,
            },
            Heard::Deaf(why) => flatroute_plan::Heard::Deaf(why.clone()),
        };
        (*index, fact)
    };
    heard.iter().map(fact).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(last: u16) -> BTreeMap<u32, Heard> {
        let address = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last);
        let state = State::Router {
            address,
            several: false,
        };
        [
            (2, Heard::Link(state)),
            (3, Heard::Link(State::Silent)),
            (4, Heard::Deaf("no".to_owned())),
        ]
        .into()
    }

    #[test]
    fn who_follows_knows_the_neighbours_and_nobody_else_does() {
        let dir = tempfile::tempdir().unwrap();
        let open = |follows| Memory::open(Some(dir.path()), follows);
        let mut first = open(false);
        assert!(first.routers().is_empty());
        first.keep(&heard(1)).unwrap();
        first.keep(&heard(7)).unwrap();
        let want: Routers = [(2, "fe80::7".parse().unwrap())].into();
        assert_eq!(*open(true).routers(), want);
        assert!(open(false).routers().is_empty(), "a cold start");
        assert!(open(true).routers().is_empty(), "and who follows that");
        fs::write(dir.path().join(FILE), "{\"2\": \"fe8").unwrap();
        assert!(open(true).routers().is_empty(), "a torn file");
        fs::write(dir.path().join(FILE), "{\"2\": \"2001:db8::1\"}").unwrap();
        assert!(open(true).routers().is_empty(), "no link-local address");
    }

    #[test]
    fn a_link_without_an_address_of_ours_is_told_from_a_silent_one() {
        let facts = facts(&heard(1), |index| index != 3);
        assert_eq!(facts[&3], flatroute_plan::Heard::NoLinkLocalAddress);
        assert!(matches!(facts[&2], flatroute_plan::Heard::Router { .. }));
    }
}
