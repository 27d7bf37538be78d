//! Waiting with a bound, for a state that somebody else brings about.
//!
//! There is no fixed sleep in the testbed. Whoever waits names what for and how long at most, asks again every few
//! milliseconds, and each answer of "not yet" carries its reason, so that a wait that fails can say how far things came.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// What a look found: the awaited thing, or why it is not there yet.
pub type Look<T> = std::result::Result<T, String>;

/// Looks until `look` finds it, at most for `bound`; returns it and how long it took.
///
/// # Errors
/// An error of `look` at once; the last reason when `bound` has passed.
pub fn until<T>(
    what: &str,
    bound: Duration,
    mut look: impl FnMut() -> Result<Look<T>>,
) -> Result<(T, Duration)> {
    let start = Instant::now();
    loop {
        match look()? {
            Ok(found) => return Ok((found, start.elapsed())),
            Err(reason) if start.elapsed() >= bound => {
                bail!(
                    "waited {:.1} s for {what}, in vain: {reason}",
                    bound.as_secs_f64()
                );
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}
