use std::time::Duration;

/// A small seeded generator (SplitMix64) for jitter: timers of many speakers must not fall into step. It is no
/// source of secrets.
#[derive(Clone, Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number: also a good seed for another generator.
    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// `base` times a factor between `low` and `high` per mille, both included.
    pub(crate) fn spread(&mut self, base: Duration, low: u32, high: u32) -> Duration {
        let width = u64::from(high.saturating_sub(low)).saturating_add(1);
        let offset = u32::try_from(self.draw() % width).unwrap_or(0);
        base.saturating_mul(low.saturating_add(offset)) / 1000
    }
}
