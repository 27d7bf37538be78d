//! Waiting for all sockets at once, in turns.

use std::collections::BTreeMap;
use std::task::{Context, Poll};

use flatroute_bgp::types::ConnId;

use super::Happening;
use crate::connection::Connection;
use crate::ending::Endings;
use crate::listeners::Listeners;

/// All sockets, as far as waiting for them goes.
pub(super) struct Sockets<'a> {
    pub(super) listeners: &'a Listeners,
    pub(super) endings: &'a Endings,
    pub(super) connections: &'a BTreeMap<ConnId, Connection>,
    pub(super) last_served: Option<ConnId>,
    pub(super) turn: usize,
}

impl Sockets<'_> {
    /// The first that is ready. All are polled before this is pending, so each has its waker.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Happening> {
        for kind in 0..3 {
            let polled = match self.turn.wrapping_add(kind) % 3 {
                0 => self.listeners.poll_accept(cx).map(Happening::Accepted),
                1 => self.endings.poll_ready(cx).map(Happening::EndingReady),
                _ => self.poll_connections(cx),
            };
            if polled.is_ready() {
                return polled;
            }
        }
        Poll::Pending
    }

    /// Those after the one that was served last come first.
    fn poll_connections(&self, cx: &mut Context<'_>) -> Poll<Happening> {
        use std::ops::Bound::{Excluded, Unbounded};
        let (later, earlier) = match self.last_served {
            Some(last) => (
                self.connections.range((Excluded(last), Unbounded)),
                Some(self.connections.range(..=last)),
            ),
            None => (self.connections.range(..), None),
        };
        for (id, connection) in later.chain(earlier.into_iter().flatten()) {
            if let Poll::Ready(ready) = connection.poll_ready(cx) {
                return Poll::Ready(Happening::Ready(*id, ready));
            }
        }
        Poll::Pending
    }
}
