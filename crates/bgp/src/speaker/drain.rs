//! A neighbour that shall carry nothing any more, while its session stays (RFC 8326): the way to take a switch out of
//! service before it is cut off.
//!
//! First everything that it is told says GRACEFUL_SHUTDOWN and everything that it says has LOCAL_PREF 0, so that both sides
//! move to other paths while this one still forwards. After [`DRAIN_TIME`] it is told nothing more, but for prefixes
//! that no other neighbour is told: a drain takes no prefix off the network.
//! The kernel follows last, [`LINGER_TIME`] after the neighbours were told.

use std::time::Duration;

use super::{Speaker, rib_settings};
use crate::policy::Drain;
use crate::types::Instant;

/// How long a drained neighbour is still told routes, with GRACEFUL_SHUTDOWN on them: time enough for a fabric to find
/// its other paths, also where neighbours hold changes back for as long as RFC 4271 §10 suggests
/// (MinRouteAdvertisementIntervalTimer, 30 s).
pub const DRAIN_TIME: Duration = Duration::from_secs(30);

/// How long the kernel keeps sending over a path that says goodbye once a better one is there, while neighbours are told of the
/// move already: this long at least, and twice as long at most. Neighbours need milliseconds; a switch that is busy, a second.
pub const LINGER_TIME: Duration = Duration::from_secs(2);

/// Since when a neighbour is being drained, and how far that has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draining {
    since: Instant,
    withdrawn: bool,
}

impl Draining {
    pub(super) fn begin(wanted: bool, now: Instant) -> Option<Self> {
        wanted.then_some(Self {
            since: now,
            withdrawn: false,
        })
    }

    /// When its routes are to be withdrawn; none: they have been.
    pub(super) fn next(&self) -> Option<Instant> {
        (!self.withdrawn).then(|| self.since + DRAIN_TIME)
    }
}

/// How far the draining has come, for the RIB and for people.
pub(super) fn phase(draining: Option<Draining>) -> Drain {
    match draining {
        None => Drain::None,
        Some(Draining { withdrawn: false, .. }) => Drain::Announced,
        Some(Draining { withdrawn: true, .. }) => Drain::Withdrawn,
    }
}

impl Speaker {
    /// Sees to it that what the kernel was not told of is told in the end.
    pub(super) fn linger(&mut self, now: Instant) {
        if self.settles_at.is_none() && self.rib.is_lingering() {
            self.settles_at = Some(now + LINGER_TIME);
        }
    }

    pub(super) fn stop_lingering(&mut self, now: Instant) {
        if self.settles_at.is_some_and(|at| at <= now) {
            self.rib.settle();
            self.settles_at = None;
            self.linger(now);
        }
    }

    /// Withdraws what neighbours have been told whose time is over.
    pub(super) fn expire_drains(&mut self, now: Instant) {
        for (name, neighbour) in &mut self.neighbours {
            let Some(draining) = neighbour.draining.as_mut() else {
                continue;
            };
            if draining.next().is_none_or(|at| at > now) {
                continue;
            }
            draining.withdrawn = true;
            if let Some(session) = &neighbour.session {
                let local = self.rib.local_addresses(session.index);
                let settings = rib_settings(name, neighbour, &session.negotiated, local);
                self.rib.set_peer(session.index, settings);
            }
        }
    }
}
