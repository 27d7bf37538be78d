//! Peers that are drained and told only what nobody else is (RFC 8326): which prefixes that are depends on what all other
//! peers are told, so a change there marks the prefix for them once more.
//!
//! Another peer counts when it carries the route as well: one of the same kind, external or internal, that is not
//! drained itself. A neighbour whose next hops are held to the link (`next_hops`) passes nothing on and does not count.

use super::PeerSettings;
use super::core::{Core, at};
use super::table::{Key, Table};
use crate::policy::Drain;
use crate::types::Family;

impl Core {
    /// Whether another peer is told of a prefix that `p` is drained of.
    pub(super) fn told_elsewhere(&self, family: Family, id: u32, p: u16, settings: &PeerSettings) -> bool {
        settings.drain == Drain::Withdrawn
            && self.up.iter().filter(|up| **up != p).any(|up| {
                self.peer(*up).is_some_and(|other| {
                    carries_as_well(settings, &other.settings)
                        && other.families[at(family)].out.receiver.told(id) != 0
                })
            })
    }

    /// `by` has been told of these prefixes, or no longer is: who is drained may have to be told, or not.
    pub(super) fn consider_drained<K: Key>(
        &mut self,
        t: &mut Table<K>,
        family: Family,
        by: u16,
        ids: &[u32],
    ) {
        if ids.is_empty() {
            return;
        }
        for p in self.drained().into_iter().filter(|p| *p != by) {
            if let Some(peer) = self.peer_mut(p).filter(|p| p.settings.families.contains(family)) {
                let receiver = &mut peer.families[at(family)].out.receiver;
                for id in ids {
                    receiver.mark(t, *id);
                }
            }
        }
    }

    /// The same for all prefixes: a peer is gone, or is being drained, or no longer.
    pub(super) fn consider_all_drained<K: Key>(&mut self, t: &mut Table<K>, family: Family) {
        for p in self.drained() {
            self.mark_all(t, family, p, false);
        }
    }

    /// Whether there is one: if not, nobody need keep track.
    pub(super) fn drains(&self) -> bool {
        !self.drained().is_empty()
    }

    fn drained(&self) -> Vec<u16> {
        let is_drained = |p: &u16| {
            let peer = self.peer(*p);
            peer.is_some_and(|peer| peer.settings.drain == Drain::Withdrawn)
        };
        self.up.iter().copied().filter(is_drained).collect()
    }
}

fn carries_as_well(drained: &PeerSettings, other: &PeerSettings) -> bool {
    other.drain == Drain::None && other.next_hops.is_none() && other.is_internal() == drained.is_internal()
}
