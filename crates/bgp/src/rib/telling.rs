//! What peers and the kernel are to be told next, and what they ask for again.

use super::{Batch, PeerIndex, Rib, RouteChange};
use crate::types::{Family, PathId, Prefix};

impl Rib {
    /// The peer asked for everything again (RFC 2918).
    pub fn resend(&mut self, p: PeerIndex, family: Family) {
        on_family!(self, family, |t| self.core.mark_all(t, family, p.0, true));
    }

    /// The same for a peer of enhanced route refresh: the answer stands between [`Batch::BeginRefresh`] and
    /// [`Batch::EndRefresh`] (RFC 7313 §4), and begins after End-of-RIB.
    pub fn resend_bracketed(&mut self, p: PeerIndex, family: Family) {
        self.core.want_refresh(family, p.0);
    }

    /// The peer begins to send all its routes of a family again (BoRR): those that it holds are stale from now on.
    pub fn refresh_begins(&mut self, p: PeerIndex, family: Family) {
        self.core.mark_stale(family, p.0);
    }

    /// It has sent all of them (EoRR), or takes too long: those still stale go. How many there were.
    pub fn refresh_ends(&mut self, p: PeerIndex, family: Family) -> usize {
        on_family!(self, family, |t| self.core.drop_stale(t, family, p.0))
    }

    /// Whether [`Rib::next_batch`] may have something. It can still say `None`, when changes cancelled out.
    #[must_use]
    pub fn has_pending(&self, p: PeerIndex) -> bool {
        self.core.has_pending(p.0)
    }

    /// What the peer is to be told next, recorded as told. Withdrawals come first; at most 16,384 prefixes.
    pub fn next_batch(&mut self, p: PeerIndex) -> Option<Batch> {
        // A round may come out empty, when all of it changed again: then the next one has what came of it.
        while self.core.has_pending(p.0) {
            let batch = self.next_of_round(p);
            if batch.is_some() {
                return batch;
            }
        }
        None
    }

    /// The peer was not told of these prefixes after all, whatever a batch said: they could not be put into a message.
    pub fn untell(&mut self, p: PeerIndex, prefixes: &[Prefix]) {
        for prefix in prefixes {
            let family = prefix.family();
            on_family!(self, family, |t| self.core.untell(t, family, p.0, *prefix));
        }
    }

    /// The same of paths, to a peer that is told several of a prefix.
    pub fn untell_paths(&mut self, p: PeerIndex, paths: &[(Prefix, PathId)]) {
        for (prefix, id) in paths {
            let family = prefix.family();
            on_family!(self, family, |t| self.core.untell_path(
                t,
                family,
                p.0,
                (*prefix, *id)
            ));
        }
    }

    fn next_of_round(&mut self, p: PeerIndex) -> Option<Batch> {
        for family in Family::ALL {
            let batch = on_family!(self, family, |t| self.core.begin_answer(t, family, p.0));
            if batch.is_some() {
                return batch;
            }
        }
        for family in Family::ALL {
            on_family!(self, family, |t| self.core.plan(t, family, p.0));
        }
        for family in Family::ALL {
            let batch = on_family!(self, family, |t| self.core.next_unreach(t, family, p.0));
            if batch.is_some() {
                return batch;
            }
        }
        for family in Family::ALL {
            let batch = on_family!(self, family, |t| self.core.next_reach(t, family, p.0));
            if batch.is_some() {
                return batch;
            }
        }
        None
    }

    /// What the kernel is to be told next, at most `max` changes, recorded as told.
    pub fn poll_fib(&mut self, max: usize) -> Vec<RouteChange> {
        let mut changes = Vec::new();
        if self.core.deferred {
            return changes;
        }
        for family in Family::ALL {
            on_family!(self, family, |t| self.core.poll_fib(t, family, max, &mut changes));
        }
        changes
    }

    /// Whether [`Rib::poll_fib`] may have something. It can still return nothing, when changes cancelled out.
    #[must_use]
    pub fn has_fib_pending(&self) -> bool {
        !self.core.deferred && self.core.has_fib_pending()
    }

    /// Whether the kernel is yet to be told of moves off paths that say goodbye (RFC 8326): then [`Rib::settle`] is to be called,
    /// twice after a while.
    #[must_use]
    pub fn is_lingering(&self) -> bool {
        self.core.lingering.iter().any(|lingering| !lingering.is_empty())
    }

    /// Moves off paths that say goodbye become pending for the kernel if they were made before the last call.
    pub fn settle(&mut self) {
        for family in Family::ALL {
            on_family!(self, family, |t| self.core.settle(t, family));
        }
    }

    /// The kernel is to be told everything again.
    pub fn resend_fib(&mut self) {
        for family in Family::ALL {
            on_family!(self, family, |t| self.core.resend_fib(t, family));
        }
    }
}
