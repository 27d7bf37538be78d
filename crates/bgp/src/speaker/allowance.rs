//! How much is told of what happens to a neighbour.

use std::time::Duration;

use super::message::{Event, EventKind, Output};
use super::{MAX_EVENTS, Speaker};
use crate::types::{Instant, PeerName};

/// How many events of one kind and one peer are told in a row.
pub const EVENT_BURST: u32 = 256;
/// After that, one more is told each time that this has passed; the rest are counted.
pub const EVENT_INTERVAL: Duration = Duration::from_secs(1);

/// How often something may be told that a peer can cause as often as it likes, so that neither the log nor the list
/// of events is flooded by one peer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Allowance {
    /// How many were told and are not yet made good by time.
    used: u32,
    since: Instant,
    untold: u64,
    seen: u64,
}

impl Allowance {
    /// One more has happened. When it may be told: how many before it were not.
    pub(super) fn take(&mut self, now: Instant) -> Option<u64> {
        self.seen = self.seen.saturating_add(1);
        let passed = now.since(self.since).as_micros() / EVENT_INTERVAL.as_micros();
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        if passed >= self.used {
            (self.used, self.since) = (0, now);
        } else {
            self.used = self.used.saturating_sub(passed);
            self.since = self.since + EVENT_INTERVAL.saturating_mul(passed);
        }
        if self.used >= EVENT_BURST {
            self.untold = self.untold.saturating_add(1);
            return None;
        }
        self.used = self.used.saturating_add(1);
        Some(std::mem::take(&mut self.untold))
    }

    /// How many have happened.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }
}

impl Speaker {
    /// Tells of something, or only counts it when there was too much of it lately.
    pub(super) fn event(&mut self, peer: Option<PeerName>, kind: EventKind, at: Instant) {
        let neighbour = peer.as_ref().and_then(|name| self.neighbours.get_mut(name));
        let allowance = match neighbour {
            None => &mut self.strangers,
            Some(neighbour) => match &kind {
                EventKind::Malformed { .. } => &mut neighbour.offences,
                EventKind::Notification { .. } => &mut neighbour.notifications,
                EventKind::Transition { .. }
                | EventKind::Established
                | EventKind::Down { .. }
                | EventKind::PrefixLimit { .. }
                | EventKind::EndOfRib(_)
                | EventKind::Refreshed { .. }
                | EventKind::Retained { .. }
                | EventKind::LongLived { .. }
                | EventKind::Swept { .. }
                | EventKind::DeferralEnded { .. }
                | EventKind::RefreshTooEarly(_)
                | EventKind::Stranger(_)
                | EventKind::Refused { .. }
                | EventKind::Unsendable { .. } => &mut neighbour.happenings,
            },
        };
        if let Some(untold) = allowance.take(at) {
            self.say(peer, kind, untold, at);
        }
    }

    pub(super) fn say(&mut self, peer: Option<PeerName>, kind: EventKind, untold: u64, at: Instant) {
        if self.events < MAX_EVENTS {
            self.events += 1;
            self.outputs.push_back(Output::Event(Event {
                at,
                peer,
                kind,
                untold,
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_told_then_one_an_interval_and_the_rest_are_counted() {
        let (mut allowance, mut now) = (Allowance::default(), Instant::ZERO);
        let told = (0..1000).filter(|_| allowance.take(now).is_some()).count();
        assert_eq!(told, usize::try_from(EVENT_BURST).unwrap());
        now = now + EVENT_INTERVAL;
        assert_eq!(allowance.take(now), Some(1000 - u64::from(EVENT_BURST)));
        assert_eq!(allowance.take(now), None);
        // Half an interval at a time must not lose the halves.
        let told = (0..40)
            .filter(|_| {
                now = now + EVENT_INTERVAL / 2;
                allowance.take(now).is_some()
            })
            .count();
        assert_eq!(told, 20);
        now = now + EVENT_INTERVAL * EVENT_BURST;
        let told = (0..1000).filter(|_| allowance.take(now).is_some()).count();
        assert_eq!(told, usize::try_from(EVENT_BURST).unwrap());
        assert_eq!(allowance.seen(), 1000 + 2 + 40 + 1000);
    }
}
