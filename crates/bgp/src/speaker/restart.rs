//! The first seconds of a speaker that follows another one of the same boot, whose routes are still in the kernel
//! (RFC 4724 §4.1).
//!
//! What it had learned is gone, but the kernel goes on forwarding by it. So no route is chosen before all neighbours have
//! said theirs: until then the kernel hears of no change, and no neighbour is told a learned route, or that there are no
//! more of them. Our own routes are told at once; a neighbour that is told nothing else gets its End-of-RIB right behind
//! them, and so waits for nobody.
//!
//! That the kernel is held back too matters where a whole fabric restarts: a switch that installs "node 1 by way of the
//! spine" before node 1's own session is up meets the spine's old route, which says "by way of the switch".
//!
//! One kind of neighbour is told at once what was learned: the one that has restarted too, for it chooses nothing yet and
//! holds its kernel back as well. So the routes cross a fabric that restarts as a whole within moments, and are everywhere
//! when the first one's patience ends. Were they held at each hop, a node would hear "that was all" from its ToR before
//! the ToR itself had heard from the spines.
//!
//! | a neighbour that is to be up counts as heard | |
//! |---|---|
//! | with End-of-RIB of every family of its session | |
//! | of a family for which it has no graceful restart | when it has been silent for [`SILENCE`] |
//! | when it has restarted too (R) | when it has been silent for [`RESTARTING_PEER_PATIENCE`]: each would wait for the other |
//! | in any case | [`SELECTION_DEFERRAL`] after the start |

use std::time::Duration;

use super::{AdminState, EventKind, Neighbour, Speaker};
use crate::types::{Family, FamilySet, Instant, PeerName};

/// How long after the start routes are chosen at the latest, whoever has not been heard by then.
pub const SELECTION_DEFERRAL: Duration = Duration::from_secs(15);

/// How long a neighbour that restarts too must have been silent to count as having said all that it has: each would wait
/// for the other's End-of-RIB for ever.
pub const RESTARTING_PEER_PATIENCE: Duration = Duration::from_secs(5);

/// How long a neighbour without graceful restart must have been silent to count as having said all that it has: it may
/// never say End-of-RIB.
pub const SILENCE: Duration = Duration::from_secs(1);

/// What a process knows of the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    /// The families whose routes the one before has left in the kernel.
    pub forwarding: FamilySet,
}

/// What a speaker that has restarted still waits for before it chooses routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restarting {
    /// Until when it waits at the latest.
    pub until: Instant,
    /// Whom it waits for, and for what, in words.
    pub waiting: Vec<(PeerName, String)>,
}

/// A deferral that is under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deferral {
    since: Instant,
}

impl Speaker {
    /// A speaker whose predecessor ended at this moment or a little earlier, in the same boot. It says so to its
    /// neighbours, and chooses no routes before they have told theirs: see the module.
    #[must_use]
    pub fn restarted(seed: u64, restart: Restart, now: Instant) -> Self {
        let mut speaker = Self::new(seed);
        speaker.restart = Some((restart, now));
        speaker.deferral = Some(Deferral { since: now });
        speaker.rib.defer();
        speaker
    }

    /// What it waits for before it chooses routes; none: it has chosen, or had nothing to wait for.
    #[must_use]
    pub fn restarting(&self, now: Instant) -> Option<Restarting> {
        let deferral = self.deferral?;
        Some(Restarting {
            until: deferral.since + SELECTION_DEFERRAL,
            waiting: self.waiting(now),
        })
    }

    /// Whom it waits for, and for what.
    fn waiting(&self, now: Instant) -> Vec<(PeerName, String)> {
        let missing = |(name, neighbour): (&PeerName, &Neighbour)| {
            let at = heard_at(neighbour);
            at.is_none_or(|at| at > now)
                .then(|| (name.clone(), wish(neighbour)))
        };
        self.neighbours
            .iter()
            .filter(|(_, n)| is_awaited(n))
            .filter_map(missing)
            .collect()
    }

    /// When routes are chosen, if nothing else happens; none: they have been.
    pub(super) fn chooses_at(&self) -> Option<Instant> {
        let deferral = self.deferral?;
        let late = deferral.since + SELECTION_DEFERRAL;
        if !self.configured {
            return Some(late);
        }
        let awaited = self.neighbours.values().filter(|n| is_awaited(n));
        let heard = awaited.map(|n| heard_at(n).unwrap_or(late)).max();
        Some(heard.unwrap_or(deferral.since).min(late))
    }

    /// Chooses routes when the time has come.
    pub(super) fn consider_choosing(&mut self, now: Instant) {
        let Some(deferral) = self
            .deferral
            .filter(|_| self.chooses_at().is_some_and(|at| at <= now))
        else {
            return;
        };
        let missing = self.waiting(now).into_iter().map(|(name, _)| name).collect();
        self.deferral = None;
        self.rib.resume();
        for name in self.names() {
            self.renew_offer(&name);
        }
        let after = now.since(deferral.since);
        self.say(None, EventKind::DeferralEnded { after, missing }, 0, now);
    }
}

/// Whether a neighbour's routes belong to the choice: it is to be up, even if something is missing for that still.
fn is_awaited(neighbour: &Neighbour) -> bool {
    match neighbour.config.admin_state {
        AdminState::Up | AdminState::Held(_) => true,
        AdminState::Down(_) => false,
    }
}

/// The moment from which on a neighbour counts as having said all that it has, unless it says more before; none: it is
/// not known yet.
fn heard_at(neighbour: &Neighbour) -> Option<Instant> {
    let session = neighbour.session.as_ref()?;
    let graceful = session.negotiated.graceful_restart.as_ref();
    let of_family = |family: Family| {
        if session.end_of_rib.contains(family) {
            return Some(session.since);
        }
        match graceful.filter(|g| g.families.contains(family)) {
            Some(graceful) => graceful
                .restarted
                .then(|| session.heard + RESTARTING_PEER_PATIENCE),
            None => Some(session.heard + SILENCE),
        }
    };
    let families = session.negotiated.families.iter();
    families
        .map(of_family)
        .try_fold(session.since, |latest, at| Some(latest.max(at?)))
}

/// What a neighbour is waited for.
fn wish(neighbour: &Neighbour) -> String {
    let Some(session) = neighbour.session.as_ref() else {
        return "its session".to_owned();
    };
    let families = session.negotiated.families.iter();
    let missing = families.filter(|f| !session.end_of_rib.contains(*f));
    let missing: Vec<String> = missing.map(|f| f.to_string()).collect();
    format!("its End-of-RIB of {}", missing.join(" and "))
}
