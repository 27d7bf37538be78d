//! Who writes the status of the BGPPeers: one agent, by a Lease, as a small machine that is told the time.
//!
//! A thousand agents must not race for it. The candidates are the nodes whose BGPNodeStatus comes first in the API server's
//! own order, [`CANDIDATES`] of them: each agent finds out by a list of three names, and nobody has to know all nodes. They
//! look at the Lease every [`CANDIDATE_LOOK`]; one that has stood unchanged for [`DURATION`] is taken. All other
//! agents look every [`SPECTATOR_LOOK`]. So when all candidates are dead at once (they may share a rack), somebody else takes it
//! after two looks.
//!
//! Clocks of nodes differ: what counts is how long the Lease has not changed by the clock of who looks.

use std::time::{Duration, Instant};

/// How many nodes stand ready.
pub(super) const CANDIDATES: u32 = 3;
/// How long a Lease holds without being renewed.
pub(super) const DURATION: Duration = Duration::from_secs(30);
/// How often the leader renews it, and candidates look.
pub(super) const CANDIDATE_LOOK: Duration = Duration::from_secs(10);
/// How often all others look.
pub(super) const SPECTATOR_LOOK: Duration = Duration::from_secs(300);
/// How long after its last renewal a leader may write: well before another may take the Lease.
pub(super) const REIGN: Duration = Duration::from_secs(20);

/// The Lease as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    /// Who holds it; empty: nobody.
    pub(super) by: String,
    /// Changes with each renewal.
    pub(super) version: String,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    Wait,
    /// Write our name into it.
    Take,
    /// It is ours: write the time into it.
    Renew,
}

/// One who looks at it.
#[derive(Debug, Default)]
pub(super) struct Watcher {
    /// What was seen last, and since when it has stood so. The outer `None`: never looked.
    seen: Option<(Option<Held>, Instant)>,
    renewed: Option<Instant>,
}

impl Watcher {
    /// Looks at the Lease (`None`: there is none).
    pub(super) fn look(&mut self, me: &str, held: Option<Held>, is_candidate: bool, now: Instant) -> Step {
        let since = match &self.seen {
            Some((before, since)) if *before == held => *since,
            Some(_) | None => now,
        };
        let is_free = held.as_ref().is_none_or(|held| held.by.is_empty());
        let is_mine = held.as_ref().is_some_and(|held| held.by == me);
        self.seen = Some((held, since));
        let is_stale = now.saturating_duration_since(since) >= DURATION;
        if is_mine {
            Step::Renew
        } else if (is_free && is_candidate) || is_stale {
            Step::Take
        } else {
            Step::Wait
        }
    }

    /// The Lease was written with our name, a request that was begun at this time.
    pub(super) fn renewed(&mut self, begun: Instant) {
        self.renewed = Some(begun);
    }

    /// Another has it.
    pub(super) fn lost(&mut self) {
        self.renewed = None;
    }

    /// Whether we may write.
    pub(super) fn leads(&self, now: Instant) -> bool {
        self.renewed
            .is_some_and(|at| now.saturating_duration_since(at) < REIGN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(by: &str, version: u32) -> Option<Held> {
        Some(Held {
            by: by.to_owned(),
            version: version.to_string(),
        })
    }

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// One look after the other: seconds, the Lease, what to do.
    fn looks(is_candidate: bool, rows: &[(u64, Option<Held>, Step)]) {
        let start = Instant::now();
        let mut watcher = Watcher::default();
        for (at, held, want) in rows {
            let step = watcher.look("me", held.clone(), is_candidate, start + s(*at));
            assert_eq!(step, *want, "at {at} s: {held:?}");
        }
    }

    #[test]
    fn a_candidate_takes_what_is_free_and_what_has_stood_still() {
        looks(true, &[(0, None, Step::Take)]);
        looks(true, &[(0, held("", 1), Step::Take)]);
        looks(
            true,
            &[
                (0, held("other", 1), Step::Wait),
                (10, held("other", 2), Step::Wait),
                (20, held("other", 2), Step::Wait),
                (39, held("other", 2), Step::Wait),
                (40, held("other", 2), Step::Take),
                // Another was faster.
                (50, held("third", 3), Step::Wait),
            ],
        );
    }

    #[test]
    fn who_has_it_renews_it_also_after_a_restart() {
        looks(true, &[(0, held("me", 7), Step::Renew)]);
        looks(false, &[(0, held("me", 7), Step::Renew)]);
    }

    #[test]
    fn others_take_it_only_when_all_candidates_are_dead() {
        looks(
            false,
            &[
                (0, None, Step::Wait),
                (10, held("other", 1), Step::Wait),
                (310, held("other", 9), Step::Wait),
                (610, held("other", 9), Step::Take),
            ],
        );
        looks(false, &[(0, None, Step::Wait), (300, None, Step::Take)]);
    }

    #[test]
    fn a_leader_that_cannot_renew_stops_before_another_may_begin() {
        let now = Instant::now();
        let mut watcher = Watcher::default();
        assert!(!watcher.leads(now));
        watcher.renewed(now);
        assert!(watcher.leads(now + REIGN - s(1)) && !watcher.leads(now + REIGN));
        watcher.renewed(now + s(15));
        assert!(watcher.leads(now + REIGN));
        watcher.lost();
        assert!(!watcher.leads(now + s(16)));
        assert!(REIGN + CANDIDATE_LOOK <= DURATION);
    }
}
