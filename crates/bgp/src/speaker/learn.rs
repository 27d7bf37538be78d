//! From UPDATEs to the RIB: what a neighbour announces and withdraws, and what happens when it is too much.

use super::{EventKind, Speaker};
use crate::peer;
use crate::rib::LimitOutcome;
use crate::types::{Instant, PeerName};
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
        self.rib.withdraw(index, &update.withdrawn);
        for announced in &update.announced {
            let outcome =
                self.rib
                    .announce(index, announced.next_hop, &update.attributes, &announced.prefixes);
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
}
