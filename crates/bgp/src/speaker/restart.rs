//! The first minutes of a speaker that follows another one of the same boot, whose routes are still in the kernel.

use std::time::Duration;

use super::Speaker;
use crate::types::{FamilySet, Instant, PeerName};

/// How long after the start routes are chosen at the latest, whoever has not been heard by then.
pub const SELECTION_DEFERRAL: Duration = Duration::from_secs(15);

/// How long a neighbour that restarts too is waited for, once its session is Established: each would wait for the
/// other's End-of-RIB for ever.
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
        speaker
    }

    /// What it waits for before it chooses routes; none: it has chosen, or had nothing to wait for.
    #[must_use]
    pub fn restarting(&self, now: Instant) -> Option<Restarting> {
        let _ = now;
        let deferral = self.deferral?;
        Some(Restarting {
            until: deferral.since + SELECTION_DEFERRAL,
            waiting: Vec::new(),
        })
    }
}
