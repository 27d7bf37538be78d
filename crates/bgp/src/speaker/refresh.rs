//! Route refresh, both ways: asking a peer for its routes again, answering one that asks (RFC 2918), and the brackets
//! around an answer (RFC 7313).

use std::time::Duration;

use super::{EventKind, Speaker};
use crate::peer;
use crate::types::{Family, Instant, PeerName};
use crate::wire::RefreshSubtype;

/// How long a peer may take from BoRR to EoRR. Then what it has not sent again is removed as if it had said EoRR.
pub const REFRESH_TIME: Duration = Duration::from_secs(360);

impl Speaker {
    /// Asks a peer for its routes of all families. Who restarts gracefully may not answer with BoRR before it has said
    /// End-of-RIB (RFC 7313 §4); FRR forgets such a request, and never says End-of-RIB to a speaker without graceful
    /// restart, as we are where it is disabled. The request is made all the same, and that it may be in vain is said.
    pub(super) fn refresh(&mut self, name: &PeerName, now: Instant) {
        let session = self.neighbours.get(name).and_then(|n| n.session.as_ref());
        let Some(session) = session.filter(|s| s.negotiated.route_refresh) else {
            return;
        };
        let n = &session.negotiated;
        let waits = n.enhanced_route_refresh && n.capabilities.graceful_restart.is_some();
        let early = |family: &Family| waits && !session.end_of_rib.contains(*family);
        let families = n.families;
        let early: Vec<Family> = families.iter().filter(early).collect();
        for family in families.iter() {
            self.feed_peer(name, peer::Input::RequestRefresh(family), now);
        }
        for family in early {
            self.event(Some(name.clone()), EventKind::RefreshTooEarly(family), now);
        }
    }

    /// What a peer says of all routes of a family.
    pub(super) fn refreshed(
        &mut self,
        name: &PeerName,
        family: Family,
        subtype: RefreshSubtype,
        now: Instant,
    ) {
        let Some(session) = self.neighbours.get_mut(name).and_then(|n| n.session.as_mut()) else {
            return;
        };
        match subtype {
            RefreshSubtype::Normal if session.negotiated.enhanced_route_refresh => {
                self.rib.resend_bracketed(session.index, family);
            }
            RefreshSubtype::Normal => self.rib.resend(session.index, family),
            // Who restarts gracefully has said all of a family before it can say it again (RFC 7313 §4).
            RefreshSubtype::Beginning
                if session.negotiated.capabilities.graceful_restart.is_some()
                    && !session.end_of_rib.contains(family) => {}
            RefreshSubtype::Beginning => {
                session.refreshing.insert(family, now + REFRESH_TIME);
                self.rib.refresh_begins(session.index, family);
            }
            RefreshSubtype::End => self.refresh_ends(name, family, true, now),
        }
    }

    /// Ends the refreshes of a peer that have taken too long.
    pub(super) fn expire_refreshes(&mut self, name: &PeerName, now: Instant) {
        let session = self.neighbours.get(name).and_then(|n| n.session.as_ref());
        let due: Vec<Family> = session
            .iter()
            .flat_map(|s| &s.refreshing)
            .filter_map(|(family, end)| (*end <= now).then_some(*family))
            .collect();
        for family in due {
            self.refresh_ends(name, family, false, now);
        }
    }

    fn refresh_ends(&mut self, name: &PeerName, family: Family, ended: bool, now: Instant) {
        let session = self.neighbours.get_mut(name).and_then(|n| n.session.as_mut());
        // An EoRR without a BoRR ends nothing.
        let Some(session) = session.filter(|s| s.refreshing.contains_key(&family)) else {
            return;
        };
        session.refreshing.remove(&family);
        let removed = self.rib.refresh_ends(session.index, family);
        let kind = EventKind::Refreshed {
            family,
            removed,
            ended,
        };
        self.event(Some(name.clone()), kind, now);
    }
}
