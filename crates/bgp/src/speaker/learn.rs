//! From UPDATEs to the RIB: what a neighbour announces and withdraws, and what happens when it is too much.

use super::{EventKind, Speaker};
use crate::peer;
use crate::rib::{LimitOutcome, MAX_PATHS};
use crate::types::{Family, Instant, PeerName};
use crate::wire::{Notification, Update};

impl Speaker {
    /// An UPDATE of an Established neighbour.
    pub(super) fn update(&mut self, name: &PeerName, update: &Update, now: Instant) {
        let Some(session) = self.neighbours.get_mut(name).and_then(|n| n.session.as_mut()) else {
            return;
        };
        let index = session.index;
        session.heard = now;
        if let Some(family) = update.end_of_rib {
            let first = !session.end_of_rib.contains(family);
            session.end_of_rib.insert(family);
            if first {
                self.sweep_at_end_of_rib(name, family, now);
                self.event(Some(name.clone()), EventKind::EndOfRib(family), now);
            }
        }
        self.rib
            .withdraw_paths(index, &update.withdrawn, &update.withdrawn_ids);
        for announced in &update.announced {
            let outcome = self.rib.announce_paths(
                index,
                announced.next_hop,
                &update.attributes,
                &announced.prefixes,
                &announced.path_ids,
            );
            self.limit(name, outcome, now);
        }
    }

    fn limit(&mut self, name: &PeerName, outcome: LimitOutcome, now: Instant) {
        let (family, what) = match outcome {
            LimitOutcome::Within => return,
            LimitOutcome::Warned { family } => (family, "more than maxPrefixes; all are taken".to_owned()),
            LimitOutcome::Dropped { family, count } => (
                family,
                format!(
                    "more than maxPrefixes; {count} prefixes of this UPDATE and all further ones are refused"
                ),
            ),
            LimitOutcome::ManyPaths { family, count } => {
                return self.many_paths(name, family, count, now);
            }
            LimitOutcome::Exceeded { family } => {
                (family, "more than maxPrefixes; the session is reset".to_owned())
            }
        };
        let session = self.neighbours.get_mut(name).and_then(|n| n.session.as_mut());
        if let Some(session) = session.filter(|s| !s.limited.contains(family)) {
            session.limited.insert(family);
            self.event(Some(name.clone()), EventKind::PrefixLimit { family, what }, now);
        }
        if let LimitOutcome::Exceeded { family } = outcome {
            let limit = self
                .neighbours
                .get(name)
                .map_or(0, |n| n.config.max_prefixes.limit);
            let notification = Notification::max_prefixes(family, limit);
            self.feed_peer(name, peer::Input::Reset { notification }, now);
        }
    }

    /// More paths of a prefix than are taken (RFC 7911): told once a session and family, like the limit of prefixes.
    fn many_paths(&mut self, name: &PeerName, family: Family, count: usize, now: Instant) {
        let session = self.neighbours.get_mut(name).and_then(|n| n.session.as_mut());
        if let Some(session) = session.filter(|s| !s.crowded.contains(family)) {
            session.crowded.insert(family);
            let what = format!(
                "more than {MAX_PATHS} paths of one prefix; {count} of this UPDATE and all further ones are refused"
            );
            self.event(Some(name.clone()), EventKind::PrefixLimit { family, what }, now);
        }
    }
}
