//! When to write: a small machine that is told the time.
//!
//! A state that changes all the time must not become a stream of writes, and a thousand nodes that see the same switch
//! die must not write in the same second. So after each write there is a pause, longer for figures than for what an
//! operator waits for; every pause has a random part; and after a failure the pauses grow.

use std::time::{Duration, Instant};

/// How much a change matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weight {
    /// Only counts differ.
    Figures,
    /// A session, a condition, or who the node is.
    State,
}

/// The least time between two writes.
pub(super) const STATE_PAUSE: Duration = Duration::from_secs(10);
/// The least time between two writes of which the second has new figures only.
pub(super) const FIGURES_PAUSE: Duration = Duration::from_secs(60);
/// How long the first change is collected for: a session that comes up changes several things in a moment.
pub(super) const COLLECT: Duration = Duration::from_millis(500);
/// The longest pause after failures.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// The first pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The machine. It decides when; what is written is the newest state at that time.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    /// The last write that was answered well.
    written: Option<Instant>,
    /// Since when there is something to write, and how much it matters.
    wanted: Option<(Instant, Weight)>,
    /// Not before, after a failure.
    failed: Option<(u32, Instant)>,
}

impl Pace {
    /// What is to be written differs so from what was written; `None`: no longer.
    pub(super) fn differs(&mut self, now: Instant, weight: Option<Weight>) {
        self.wanted = weight.map(|weight| match self.wanted {
            Some((since, before)) => (since, before.max(weight)),
            None => (now, weight),
        });
    }

    /// When to write, if there is anything. `random` is from 0 to 1 and the same until the next write.
    pub(super) fn due(&self, random: f64) -> Option<Instant> {
        let (since, weight) = self.wanted?;
        let pause = match weight {
            Weight::State => STATE_PAUSE,
            Weight::Figures => FIGURES_PAUSE,
        };
        let after_write = self.written.map(|at| at + pause + part(pause / 4, random));
        let after_failure = self.failed.map(|(_, until)| until);
        let collected = since + COLLECT + part(COLLECT, random);
        let all = [Some(collected), after_write, after_failure];
        all.into_iter().flatten().max()
    }

    /// The write was answered well.
    pub(super) fn wrote(&mut self, now: Instant) {
        *self = Self {
            written: Some(now),
            ..Self::default()
        };
    }

    /// It was not. What is wanted stays wanted.
    pub(super) fn failed(&mut self, now: Instant, random: f64) {
        let times = self.failed.map_or(0, |(times, _)| times);
        let pause = FIRST_PAUSE.saturating_mul(1 << times.min(10)).min(LONGEST_PAUSE);
        let until = now + pause / 2 + part(pause / 2, random);
        self.failed = Some((times.saturating_add(1), until));
    }
}

/// A part of a time.
pub(super) fn part(of: Duration, random: f64) -> Duration {
    of.mul_f64(random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn nothing_new_is_never_written() {
        let now = Instant::now();
        let mut pace = Pace::default();
        assert_eq!(pace.due(0.5), None);
        pace.differs(now, Some(Weight::State));
        pace.wrote(now);
        assert_eq!(pace.due(0.5), None);
        // A flap that has healed before its turn.
        pace.differs(now, Some(Weight::State));
        pace.differs(now, None);
        assert_eq!(pace.due(0.5), None);
    }

    #[test]
    fn states_wait_ten_seconds_and_figures_a_minute() {
        let now = Instant::now();
        for (weight, random, want) in [
            (Weight::State, 0.0, s(10)),
            (Weight::State, 1.0, s(10) + s(10) / 4),
            (Weight::Figures, 0.0, s(60)),
            (Weight::Figures, 1.0, s(75)),
        ] {
            let mut pace = Pace::default();
            pace.wrote(now);
            pace.differs(now + s(1), Some(weight));
            assert_eq!(pace.due(random), Some(now + want), "{weight:?} {random}");
        }
        // Figures that a state joins go with it; a state does not become figures.
        let mut pace = Pace::default();
        pace.wrote(now);
        for weight in [Weight::Figures, Weight::State, Weight::Figures] {
            pace.differs(now + s(1), Some(weight));
        }
        assert_eq!(pace.due(0.0), Some(now + s(10)));
    }

    #[test]
    fn the_first_change_goes_soon_and_takes_along_what_comes_with_it() {
        let now = Instant::now();
        let mut pace = Pace::default();
        pace.differs(now, Some(Weight::State));
        pace.differs(now + COLLECT / 2, Some(Weight::State));
        assert_eq!(pace.due(0.0), Some(now + COLLECT));
        // So does one after a long rest.
        pace.wrote(now);
        pace.differs(now + s(100), Some(Weight::State));
        assert_eq!(pace.due(0.0), Some(now + s(100) + COLLECT));
    }

    #[test]
    fn pauses_after_failures_grow_to_a_bound_and_end_with_success() {
        let now = Instant::now();
        let mut pace = Pace::default();
        pace.differs(now, Some(Weight::State));
        let mut pauses = Vec::new();
        for _ in 0..10 {
            pace.failed(now, 1.0);
            pauses.push(pace.due(0.0).unwrap() - now);
        }
        assert_eq!(pauses[..4], [s(1), s(2), s(4), s(8)]);
        assert_eq!(pauses[9], LONGEST_PAUSE);
        pace.wrote(now);
        pace.differs(now, Some(Weight::State));
        assert_eq!(pace.due(0.0), Some(now + STATE_PAUSE));
    }
}
