use std::time::Duration;

use crate::session::Jitter;

/// The longest pause is this many times the connect-retry time (before jitter): 2 to the power of this.
const DOUBLINGS: u32 = 5;

/// The pauses between attempts to connect: they double with each failure in a row, up to 32 times the base, and
/// are jittered by ±25 %, so that two speakers never retry in step (RFC 4271 §8.1.1 DampPeerOscillations, §10).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The pause after one more failure.
    pub(super) fn after_failure(&mut self, base: Duration, jitter: &mut Jitter) -> Duration {
        let factor = 1u32 << self.failures.min(DOUBLINGS);
        self.failures = self.failures.saturating_add(1);
        jitter.spread(base.saturating_mul(factor), 750, 1250)
    }

    /// Failures so far are forgiven.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_32_times_within_a_quarter_and_start_over_after_reset() {
        let base = Duration::from_secs(5);
        for seed in 0..200 {
            let mut jitter = Jitter::new(seed);
            let mut backoff = Backoff::default();
            for factor in [1, 2, 4, 8, 16, 32, 32, 32] {
                let pause = backoff.after_failure(base, &mut jitter);
                let middle = base * factor;
                assert!(
                    pause >= middle * 3 / 4 && pause <= middle * 5 / 4,
                    "{pause:?} for {factor}"
                );
            }
            backoff.reset();
            assert!(backoff.after_failure(base, &mut jitter) <= base * 5 / 4);
        }
    }

    #[test]
    fn jitter_uses_the_whole_width() {
        let mut jitter = Jitter::new(1);
        let pauses: Vec<_> = (0..1000)
            .map(|_| Backoff::default().after_failure(Duration::from_secs(1000), &mut jitter))
            .collect();
        assert!(pauses.iter().any(|p| *p < Duration::from_secs(760)));
        assert!(pauses.iter().any(|p| *p > Duration::from_secs(1240)));
    }
}
