use std::time::Duration;

use super::Peer;
use super::collision::Side;
use crate::session;
use crate::types::Instant;
use crate::wire::Notification;

/// A reset by the speaker is forgiven when its pause has been over for this long: the next one begins with the
/// shortest pause again.
pub const FORGIVEN_AFTER: Duration = Duration::from_secs(600);

/// After a reset by the speaker, such as for the prefix limit: the reason would come again with the peer, so the peer
/// is kept out for a while, and a little longer each time.
#[derive(Debug)]
pub(super) struct Penalty {
    until: Instant,
    /// What it is told when it comes earlier.
    pub(super) notification: Notification,
}

impl Penalty {
    pub(super) fn holds(&self, now: Instant) -> bool {
        now < self.until
    }

    fn is_forgiven(&self, now: Instant) -> bool {
        now.since(self.until) >= FORGIVEN_AFTER
    }
}

impl Peer {
    /// Ends the session for a reason that will come again, and keeps the peer out for a while.
    pub(super) fn reset(&mut self, notification: Notification, now: Instant) {
        if !self.started {
            return;
        }
        if self.penalty.as_ref().is_some_and(|p| p.is_forgiven(now)) {
            self.resets.reset();
        }
        let pause = self
            .resets
            .after_failure(self.settings.connect_retry_time, &mut self.jitter);
        for side in Side::BOTH {
            self.feed(side, session::Input::Stop(notification.clone()), now);
        }
        let until = now + pause;
        self.dial_at = self.dial_at.map(|at| at.max(until));
        self.penalty = Some(Penalty { until, notification });
    }
}
