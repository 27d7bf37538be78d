use crate::types::Instant;

/// The timers of RFC 4271 §8 that belong to one connection. The pauses between connections belong to the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// How long TCP may take to connect: the part of ConnectRetryTimer that concerns the connection itself.
    Connect,
    /// HoldTimer.
    Hold,
    /// KeepaliveTimer.
    Keepalive,
    /// SendHoldTimer (RFC 9687): runs while the driver holds octets that the socket has not taken.
    SendHold,
}

impl Timer {
    /// In the order in which timers that are due at the same moment fire.
    pub(super) const ALL: [Self; 4] = [Self::Connect, Self::Hold, Self::SendHold, Self::Keepalive];
}

/// When each timer fires; `None` while it is not running.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timers {
    connect: Option<Instant>,
    hold: Option<Instant>,
    keepalive: Option<Instant>,
    send_hold: Option<Instant>,
}

impl Timers {
    pub(super) fn set(&mut self, timer: Timer, at: Option<Instant>) {
        *match timer {
            Timer::Connect => &mut self.connect,
            Timer::Hold => &mut self.hold,
            Timer::Keepalive => &mut self.keepalive,
            Timer::SendHold => &mut self.send_hold,
        } = at;
    }

    pub(super) fn at(&self, timer: Timer) -> Option<Instant> {
        match timer {
            Timer::Connect => self.connect,
            Timer::Hold => self.hold,
            Timer::Keepalive => self.keepalive,
            Timer::SendHold => self.send_hold,
        }
    }

    /// The first timer that is due, which stops it.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Timer> {
        let due = Timer::ALL
            .into_iter()
            .find(|t| self.at(*t).is_some_and(|at| at <= now))?;
        self.set(due, None);
        Some(due)
    }

    /// The earliest moment at which one fires.
    pub(super) fn next(&self) -> Option<Instant> {
        Timer::ALL.into_iter().filter_map(|t| self.at(t)).min()
    }
}
