//! What was measured, as a value: a name and a time, and how many times become one.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One time of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figure {
    /// From what until what, and which of many.
    pub name: String,
    /// How long that took.
    pub took: Duration,
}

impl Figure {
    /// A figure.
    #[must_use]
    pub fn new(name: impl Into<String>, took: Duration) -> Self {
        Self {
            name: name.into(),
            took,
        }
    }

    /// The median and the 99th of a hundred; nothing of nothing.
    #[must_use]
    pub fn percentiles(name: &str, times: &[Duration]) -> Vec<Self> {
        [50, 99]
            .into_iter()
            .filter_map(|percent| {
                let took = percentile(times, percent)?;
                Some(Self::new(format!("{name}, p{percent}"), took))
            })
            .collect()
    }
}

/// The smallest of the times that `percent` of them do not exceed (nearest rank): always one that was measured.
#[must_use]
pub fn percentile(times: &[Duration], percent: usize) -> Option<Duration> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// A time for people, seconds with three digits behind the point.
#[must_use]
pub fn seconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Figure, percentile, seconds};

    fn times(count: u64) -> Vec<Duration> {
        (1..=count).rev().map(Duration::from_millis).collect()
    }

    #[test]
    fn a_percentile_is_one_of_the_times() {
        for (count, percent, expected) in [
            (100, 50, Some(50)),
            (100, 99, Some(99)),
            (100, 100, Some(100)),
            (3, 50, Some(2)),
            (3, 99, Some(3)),
            (1, 50, Some(1)),
            (0, 50, None),
        ] {
            let found = percentile(&times(count), percent);
            assert_eq!(
                found,
                expected.map(Duration::from_millis),
                "p{percent} of {count}"
            );
        }
    }

    #[test]
    fn both_percentiles_have_names() {
        let found = Figure::percentiles("start", &times(100));
        let found: Vec<_> = found
            .iter()
            .map(|f| format!("{}: {}", f.name, seconds(f.took)))
            .collect();
        assert_eq!(found, ["start, p50: 0.050", "start, p99: 0.099"]);
        assert_eq!(Figure::percentiles("start", &[]), []);
    }
}
