//! Another program that deletes or changes our routes again and again.
//!
//! The kernel's routes are put back each time, and each time is an event. Once it is an operator with `ip route flush`, or a network
//! manager that was started again; a habit is a fault of the node that has a remedy, and packets are lost by it.
//! A network manager takes all foreign routes at once, so occasions are counted and not routes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use flatroute_api::{Kind, Problem, ProblemReason};

/// More occasions than this are a habit,
const MAX_OCCASIONS: usize = 3;
/// when they are within so long.
const WINDOW: Duration = Duration::from_mins(10);
/// What comes sooner than this after an occasion began is part of it.
const APART: Duration = Duration::from_secs(1);

/// When others changed our routes, the last few times.
#[derive(Debug, Default)]
pub(super) struct Contest {
    occasions: VecDeque<Instant>,
}

impl Contest {
    /// A route of ours was changed.
    pub(super) fn changed(&mut self, now: Instant) {
        if self
            .occasions
            .back()
            .is_some_and(|at| now.saturating_duration_since(*at) < APART)
        {
            return;
        }
        self.occasions.push_back(now);
        while self.occasions.len() > MAX_OCCASIONS + 1 {
            self.occasions.pop_front();
        }
    }

    /// Whether it is a habit.
    fn is_habit(&self, now: Instant) -> bool {
        let recent = self
            .occasions
            .iter()
            .filter(|at| now.saturating_duration_since(**at) < WINDOW);
        recent.count() > MAX_OCCASIONS
    }

    /// What is said of it. Always the same words: a problem is one until it is over.
    pub(super) fn problem(&self, node: &str, now: Instant) -> Option<Problem> {
        self.is_habit(now).then(|| {
            Problem::new(
                Kind::Node.as_str(),
                node,
                "",
                "another program deletes or changes our routes in the kernel again and again; they are put back, and packets are lost meanwhile",
                "find it by `ip monitor route`; systemd-networkd leaves them with ManageForeignRoutes=no and ManageForeignNextHops=no under \
                 [Network] in a file of /etc/systemd/networkd.conf.d, and a restart of it (deploy/host/networkd-flatroute.conf)",
            )
            .because(ProblemReason::RoutesContested)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn occasions_within_the_window_are_counted_and_routes_are_not() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let is_told = |times: &[u64], now: u64| {
            let mut contest = Contest::default();
            for time in times {
                // All routes at once.
                for _ in 0..1000 {
                    contest.changed(at(*time));
                }
            }
            contest.problem("n1", at(now)).is_some()
        };
        for (times, now, want) in [
            (&[][..], 0, false),
            (&[0], 0, false),
            (&[0, 60, 120], 120, false),
            (&[0, 60, 120, 180], 180, true),
            (&[0, 1, 2, 3], 3, true),
            (&[0, 0, 0, 0, 0], 0, false),
            (&[0, 60, 120, 180], 599, true),
            (&[0, 60, 120, 180], 600, false),
            (&[0, 200, 400, 600], 600, false),
            (&[0, 200, 400, 600, 799], 799, true),
        ] {
            assert_eq!(is_told(times, now), want, "{times:?} {now}");
        }
        let mut contest = Contest::default();
        (0..1000).for_each(|second| contest.changed(at(second)));
        assert_eq!(contest.occasions.len(), MAX_OCCASIONS + 1);
    }
}
