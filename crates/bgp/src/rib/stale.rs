//! A peer that sends all its routes again between BoRR and EoRR (RFC 7313 §4): what it held before is stale until it
//! comes again, and what is still stale at the end was lost on the way, and goes. Stale routes are used as before.

use super::core::{Core, at};
use super::table::{Key, Table};
use crate::types::Family;

impl Core {
    /// BoRR: all that the peer has said of a family is stale; what it said since an earlier BoRR too.
    pub(super) fn mark_stale(&mut self, family: Family, p: u16) {
        if let Some(peer) = self.peer_mut(p) {
            let state = &mut peer.families[at(family)];
            state.stale = state.has.clone();
        }
    }

    /// EoRR: removes what is still stale; how many routes that were. Without a BoRR there is nothing.
    pub(super) fn drop_stale<K: Key>(&mut self, t: &mut Table<K>, family: Family, p: u16) -> usize {
        let Some(peer) = self.peer_mut(p) else { return 0 };
        let stale = std::mem::take(&mut peer.families[at(family)].stale);
        for key in stale.iter() {
            self.drop_path(t, family, p, key);
        }
        stale.len()
    }

    pub(super) fn has_stale(&self, family: Family, p: u16) -> bool {
        self.peer(p)
            .is_some_and(|peer| peer.families[at(family)].stale.len() > 0)
    }

    /// The peer has said something of one of its paths.
    pub(super) fn freshen(&mut self, family: Family, p: u16, key: u32) {
        if let Some(peer) = self.peer_mut(p) {
            peer.families[at(family)].stale.remove(key);
        }
    }
}
