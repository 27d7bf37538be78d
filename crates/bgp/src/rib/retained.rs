//! Routes that outlive the session that they came by (RFC 4724 §4.2, RFC 9494).
//!
//! A peer whose session is lost keeps its slot: what it was told goes, what it said stays, and every path is flagged as
//! stale, which the decision looks at first. The paths of one loss are one [`Generation`]; those that are still stale
//! from an earlier loss stay in theirs, so that whoever keeps the time can end each when its own time is over. When the
//! peer is back, what it says again leaves its generation; a sweep removes what is left in one.
//!
//! Generations stand beside the marks of a refresh (see `stale`) and never mix with them: a refresh ends with its
//! session. While nothing is retained, the paths of announcements and withdrawals pay for all this with a test of one
//! empty list a message.

use super::PeerSettings;
use super::attributes::AttrId;
use super::bits::BitSet;
use super::core::{Core, PeerFamily, at};
use super::election::Change;
use super::outbound::Outbound;
use super::table::{Key, LONG_LIVED, STALE, Table};
use super::words;
use crate::types::{Community, Family, FamilySet};

/// How many losses of one peer are kept apart. At one more, what is left of the oldest goes: as RFC 4724 §4.2 wants
/// already at the second.
pub const MAX_LOSSES: usize = 8;

/// Which stale paths are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Those that the loss of this number left.
    Number(u64),
    /// All.
    Any,
}

impl Loss {
    fn is(self, number: u64) -> bool {
        match self {
            Self::Number(n) => n == number,
            Self::Any => true,
        }
    }
}

/// The paths that one loss made stale and that have not been said again.
#[derive(Debug)]
pub(super) struct Generation {
    number: u64,
    /// In the terms of [`PeerFamily::has`].
    ids: BitSet,
    /// They are a last resort (RFC 9494).
    long_lived: bool,
}

impl PeerFamily {
    pub(super) fn retained_len(&self) -> usize {
        self.retained.iter().map(|g| g.ids.len()).sum()
    }

    /// Takes a path out of its generation; whether it was in one.
    pub(super) fn returned(&mut self, key: u32) -> bool {
        self.retained.iter_mut().any(|g| g.ids.remove(key))
    }
}

impl Core {
    /// The session of a peer is gone, and it may come back: nothing is told to it any more.
    pub(super) fn leave(&mut self, p: u16) {
        self.up.retain(|up| *up != p);
        self.several.retain(|up| *up != p);
    }

    /// A session is there; `several`: its peer is told several paths of a prefix.
    pub(super) fn arrive(&mut self, p: u16, several: bool) {
        self.leave(p);
        self.up.push(p);
        self.up.sort_unstable();
        if several {
            self.several.push(p);
        }
    }

    pub(super) fn is_up(&self, p: u16) -> bool {
        self.up.binary_search(&p).is_ok()
    }

    /// A peer whose paths were retained is back.
    pub(super) fn return_peer(&mut self, p: u16, settings: PeerSettings) {
        let held = self.deferred && settings.relays;
        let Some(peer) = self.peer_mut(p) else { return };
        for family in settings.families.iter() {
            peer.families[at(family)].out = Outbound::opened(held, settings.path_ids.sent.contains(family));
        }
        let several = settings.path_ids.sent != FamilySet::NONE;
        peer.set(settings);
        self.arrive(p, several);
    }

    /// Flags what a peer has said of a family as stale, as what loss `number` left. How many paths there are that were
    /// not stale before, and how many went because there were too many losses.
    pub(super) fn retain<K: Key>(
        &mut self,
        t: &mut Table<K>,
        family: Family,
        p: u16,
        number: u64,
    ) -> (usize, usize) {
        let Some(peer) = self.peer_mut(p) else {
            return (0, 0);
        };
        let state = &mut peer.families[at(family)];
        let out = std::mem::take(&mut state.out);
        state.stale = BitSet::default();
        let mut fresh = state.has.clone();
        for generation in &state.retained {
            for id in generation.ids.iter() {
                fresh.remove(id);
            }
        }
        state.retained.retain(|g| g.ids.len() > 0);
        if fresh.len() > 0 {
            state.retained.push(Generation {
                number,
                ids: fresh.clone(),
                long_lived: false,
            });
        }
        let oldest = state.retained.first().map(|g| g.number);
        let too_many = state.retained.len() > MAX_LOSSES;
        out.close(t, &mut self.attributes);
        self.consider_all_drained(t, family);
        for key in fresh.iter() {
            if let Some((id, path)) = self.held(t, family, p, key) {
                t.path_mut(path).flags |= STALE;
                self.recompute(t, family, id, Change::default());
            }
        }
        let oldest = oldest.filter(|_| too_many);
        let gone = oldest.map_or(0, |number| self.sweep(t, family, p, Loss::Number(number)));
        (fresh.len(), gone)
    }

    pub(super) fn has_retained(&self, family: Family, p: u16) -> bool {
        self.peer(p)
            .is_some_and(|peer| !peer.families[at(family)].retained.is_empty())
    }

    /// The peer says again what it said before its session was lost; whether it had not yet.
    pub(super) fn take_back<K: Key>(
        &mut self,
        t: &mut Table<K>,
        family: Family,
        p: u16,
        key: u32,
        path: Option<u32>,
    ) -> bool {
        let Some(path) = path.filter(|path| t.path(*path).is(STALE)) else {
            return false;
        };
        t.path_mut(path).flags &= !(STALE | LONG_LIVED);
        if let Some(peer) = self.peer_mut(p) {
            peer.families[at(family)].returned(key);
        }
        true
    }

    /// Removes what is left of a loss, or of all; how many paths that were.
    pub(super) fn sweep<K: Key>(&mut self, t: &mut Table<K>, family: Family, p: u16, loss: Loss) -> usize {
        let Some(peer) = self.peer_mut(p) else { return 0 };
        let state = &mut peer.families[at(family)];
        let swept: Vec<Generation> = state.retained.extract_if(.., |g| loss.is(g.number)).collect();
        for key in swept.iter().flat_map(|g| g.ids.iter()) {
            self.drop_path(t, family, p, key);
        }
        swept.iter().map(|g| g.ids.len()).sum()
    }

    /// Makes what is left of a loss a last resort: marked with LLGR_STALE, but for what must not be
    /// kept so long (NO_LLGR), which goes. How many stay, and how many went (RFC 9494 §4.2).
    pub(super) fn make_long_lived<K: Key>(
        &mut self,
        t: &mut Table<K>,
        family: Family,
        p: u16,
        loss: Loss,
    ) -> (usize, usize) {
        let Some(peer) = self.peer_mut(p) else {
            return (0, 0);
        };
        let state = &mut peer.families[at(family)];
        let mut keys = Vec::new();
        for generation in state
            .retained
            .iter_mut()
            .filter(|g| loss.is(g.number) && !g.long_lived)
        {
            generation.long_lived = true;
            keys.extend(generation.ids.iter());
        }
        let (mut kept, mut gone) = (0, 0);
        for key in keys {
            let Some((id, path)) = self.held(t, family, p, key) else {
                continue;
            };
            if words::forbids_long_lived(self.attributes.words(t.path(path).raw)) {
                gone += 1;
                self.drop_path(t, family, p, key);
                continue;
            }
            kept += 1;
            let old = t.path(path).effective;
            let effective = self.with_llgr_stale(old);
            let stored = t.path_mut(path);
            stored.effective = effective;
            stored.flags |= LONG_LIVED;
            self.attributes.release(old);
            self.recompute(t, family, id, Change::of(path));
        }
        (kept, gone)
    }

    /// The same attributes with LLGR_STALE among the communities, and a reference to them.
    pub(super) fn with_llgr_stale(&mut self, attributes: AttrId) -> AttrId {
        let mut changed = self.attributes.unpack(attributes);
        if !changed.communities.contains(&Community::LLGR_STALE) {
            changed.communities.push(Community::LLGR_STALE);
        }
        self.attributes.intern(&changed)
    }

    /// The peer no longer has one of its paths.
    pub(super) fn forget(&mut self, family: Family, p: u16, key: u32) {
        if let Some(peer) = self.peer_mut(p) {
            let state = &mut peer.families[at(family)];
            state.has.remove(key);
            state.stale.remove(key);
            state.returned(key);
        }
    }

    /// How many paths of a peer outlived their session, and how many of them are a last resort.
    pub(super) fn retained(&self, p: u16, family: Family) -> (usize, usize) {
        self.peer(p).map_or((0, 0), |peer| {
            let state = &peer.families[at(family)];
            let long_lived = state.retained.iter().filter(|g| g.long_lived);
            (state.retained_len(), long_lived.map(|g| g.ids.len()).sum())
        })
    }

    /// Whether something is left of a loss.
    pub(super) fn is_retained(&self, p: u16, family: Family, number: u64) -> bool {
        self.peer(p).is_some_and(|peer| {
            let mut of_loss = peer.families[at(family)]
                .retained
                .iter()
                .filter(|g| g.number == number);
            of_loss.any(|g| g.ids.len() > 0)
        })
    }

    /// Routes are chosen from now on: what was learned may be told, and End-of-RIB follows it.
    pub(super) fn resume(&mut self) {
        self.deferred = false;
        for p in self.up.clone() {
            let Some(peer) = self.peer_mut(p) else { continue };
            for state in &mut peer.families {
                state.out.release_end_of_rib();
            }
        }
    }
}
