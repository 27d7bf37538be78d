//! The election: which of a prefix's paths are used, and who has to hear that it went otherwise than before.
//!
//! Whatever changes a path says what it did in a [`Change`] and calls `recompute`. A prefix with one path, which is
//! nearly every one, needs no comparison; for more, the decision process orders the candidates, and those that it
//! selects carry the flag [`SELECTED`], the best one at the head of the list. Then the prefix is marked for the
//! kernel if the set of used paths is another one, and for the peers if the best one is. Marks are all that is left
//! behind: what the receivers are told is worked out when they have room.

use super::core::{Core, at};
use super::decision::{self, Age, Candidate, Step};
use super::table::{ACCEPTED, INSTALLABLE, Key, NIL, Path, SELECTED, STALE, Table};
use super::words;
use crate::types::Family;

/// What happened to a prefix before its paths are decided on again.
#[derive(Clone, Copy, Default)]
pub(super) struct Change {
    /// This path is not what it was.
    pub(super) touched: Option<u32>,
    /// The best path is not what it was in any case.
    pub(super) best: bool,
    /// A path in use is gone.
    pub(super) selected: bool,
}

impl Change {
    /// Only this path is not what it was.
    pub(super) fn of(path: u32) -> Self {
        Self {
            touched: Some(path),
            ..Self::default()
        }
    }
}

impl Core {
    /// Changes the flags of a path and the counts of its peer with them.
    pub(super) fn set_flags<K: Key>(&mut self, t: &mut Table<K>, family: Family, path: u32, flags: u16) {
        let path = t.path_mut(path);
        let old = std::mem::replace(&mut path.flags, flags);
        let Some(peer) = self
            .peers
            .get_mut(usize::from(path.peer))
            .and_then(Option::as_mut)
        else {
            return;
        };
        let state = &mut peer.families[at(family)];
        let installed = SELECTED | INSTALLABLE;
        for (count, mask) in [(&mut state.accepted, ACCEPTED), (&mut state.installed, installed)] {
            match (old & mask == mask, flags & mask == mask) {
                (false, true) => *count += 1,
                (true, false) => *count = count.saturating_sub(1),
                (true, true) | (false, false) => {}
            }
        }
    }

    fn select<K: Key>(&mut self, t: &mut Table<K>, family: Family, path: u32, selected: bool) -> bool {
        let flags = t.path(path).flags;
        let wanted = if selected {
            flags | SELECTED
        } else {
            flags & !SELECTED
        };
        if wanted != flags {
            self.set_flags(t, family, path, wanted);
        }
        wanted != flags
    }

    /// Decides on the paths of a prefix again and marks it for those whose view of it may have changed.
    pub(super) fn recompute<K: Key>(&mut self, t: &mut Table<K>, family: Family, id: u32, change: Change) {
        let entry = *t.entry(id);
        let used = entry.head != NIL && t.path(entry.head).is(SELECTED);
        let before = if used { entry.head } else { NIL };
        let single = entry.head != NIL && t.path(entry.head).next == NIL;
        let (best, mut kernel) = if single || entry.head == NIL {
            let wanted = single && entry.local.is_none() && t.path(entry.head).is(ACCEPTED);
            let changed = single && self.select(t, family, entry.head, wanted);
            (if wanted { entry.head } else { NIL }, changed)
        } else {
            self.elect(t, family, id)
        };
        kernel |= change.selected || change.touched.is_some_and(|path| t.path(path).is(SELECTED));
        // What the kernel keeps for a while it keeps only as long as all paths stay as they are.
        kernel |= self.lingering[at(family)].has(id);
        if kernel && self.concerns_kernel(t, family, id) {
            self.kernel[at(family)].mark(t, id);
        }
        if change.best || before != best || (best != NIL && change.touched == Some(best)) {
            self.mark_peers(t, family, id, best);
        }
        if !self.several.is_empty() {
            self.mark_several(t, family, id);
        }
    }

    /// Whether the kernel was told of a prefix or is to be: a router that installs nothing pays nothing for it.
    fn concerns_kernel<K: Key>(&self, t: &Table<K>, family: Family, id: u32) -> bool {
        let wanted = t.paths(id).any(|(_, path)| path.is(SELECTED | INSTALLABLE));
        wanted || self.kernel[at(family)].told(id) != 0
    }

    /// The decision process over several paths: the best one, and whether the set of those in use changed.
    fn elect<K: Key>(&mut self, t: &mut Table<K>, family: Family, id: u32) -> (u32, bool) {
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.clear();
        if t.entry(id).local.is_none() {
            candidates.extend(t.paths(id).filter_map(|(id, path)| self.candidate(t, id, path)));
        }
        let best = self.decide(&mut candidates).map_or(NIL, |i| candidates[i].path);
        let mut changed = false;
        let mut next = t.entry(id).head;
        while next != NIL {
            let path = next;
            next = t.path(path).next;
            let selected = candidates.iter().any(|c| c.path == path && c.step.is_selected());
            changed |= self.select(t, family, path, selected);
        }
        if best != NIL {
            t.promote(id, best);
        }
        self.candidates = candidates;
        (best, changed)
    }

    pub(super) fn decide(&self, candidates: &mut [Candidate]) -> Option<usize> {
        let path_of = |id| words::facts(self.attributes.words(id)).path;
        decision::decide(candidates, self.multipath, |a, b| path_of(a) == path_of(b))
    }

    pub(super) fn candidate<K: Key>(&self, t: &Table<K>, id: u32, path: &Path) -> Option<Candidate> {
        let settings = &self.peer(path.peer).filter(|_| path.is(ACCEPTED))?.settings;
        let words = self.attributes.words(path.effective);
        let facts = words::facts(words);
        let (originator, clusters) = words::reflection(words);
        Some(Candidate {
            path: id,
            attributes: path.effective,
            local_pref: facts.local_pref,
            path_len: facts.path_len,
            origin: facts.origin,
            med: facts.med,
            neighbour: facts.neighbour,
            external: !settings.is_internal(),
            age: match (facts.long_lived, path.is(STALE)) {
                (true, _) => Age::LongLived,
                (false, true) => Age::Stale,
                (false, false) => Age::Fresh,
            },
            peer: (
                originator.unwrap_or(settings.router_id),
                clusters,
                settings.address,
                settings.interface,
                path.peer,
            ),
            path_id: t.path_id(id),
            step: Step::Best,
        })
    }

    /// Marks a prefix for all peers but those that know of no route to it and have none to learn of: the best path
    /// is their own, or there is none, or it was learned and they hear of none that was.
    fn mark_peers<K: Key>(&mut self, t: &mut Table<K>, family: Family, id: u32, best: u32) {
        let learned = t.entry(id).local.is_none();
        let gone = best == NIL && learned;
        let origin = if best == NIL {
            None
        } else {
            Some(t.path(best).peer)
        };
        for p in &self.up {
            let Some(peer) = self.peers.get_mut(usize::from(*p)).and_then(Option::as_mut) else {
                continue;
            };
            let deaf = learned && !peer.hears_learned;
            let out = &mut peer.families[at(family)].out;
            let nothing_to_say = (gone || deaf || origin == Some(*p)) && out.is_silent_about(id);
            if peer.settings.families.contains(family) && !nothing_to_say {
                out.receiver.mark(t, id);
            }
        }
    }

    /// Marks everything in use for one peer; with `again` also what it was told already.
    pub(super) fn mark_all<K: Key>(&mut self, t: &mut Table<K>, family: Family, p: u16, again: bool) {
        // Nothing is told to a peer that is away.
        let up = self.is_up(p);
        let wanted = |p: &&mut super::core::Peer| up && p.settings.families.contains(family);
        let Some(peer) = self.peer_mut(p).filter(wanted) else {
            return;
        };
        let hears_learned = peer.hears_learned;
        let receiver = &mut peer.families[at(family)].out.receiver;
        for id in 0..t.end() {
            if !t.is_live(id) {
                continue;
            }
            let entry = t.entry(id);
            let selected = hears_learned && entry.head != NIL && t.path(entry.head).is(SELECTED);
            let used = entry.local.is_some() || selected;
            if used || receiver.told(id) != 0 {
                if again {
                    receiver.mark_again(t, id);
                } else {
                    receiver.mark(t, id);
                }
            }
        }
    }
}
