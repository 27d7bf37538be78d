//! How a connection is closed: what the peer is told last, and what people are told of it.

use super::{Direction, Output, Peer};
use crate::session::{End, Outbox};
use crate::types::ConnId;
use crate::wire::{CeaseSubcode, Notification};

/// How many closed connections may wait to be drained. A driver drains each as soon as it sees `Close`.
pub(super) const MAX_DRAINS: usize = 8;

impl Peer {
    pub(super) fn refuse_parked(&mut self) {
        if let Some(parked) = self.parked.take() {
            self.refuse(parked.conn, collided());
        }
    }

    /// Refuses a connection before anything was said on it.
    pub(super) fn refuse(&mut self, conn: ConnId, notification: Notification) {
        self.outputs.push_back(Output::Notified {
            direction: Direction::Sent,
            notification: notification.clone(),
            why: "a connection of the peer was refused".to_owned(),
            message: Vec::new(),
        });
        self.close(conn, Outbox::refusal(notification));
    }

    /// Tells of the NOTIFICATION that a session ended with.
    pub(super) fn notified(&mut self, end: &End) {
        let (direction, notification, why, message) = match end {
            End::Sent {
                notification,
                why,
                message,
            } => (Direction::Sent, notification, why.clone(), message.clone()),
            End::Received(notification) => (Direction::Received, notification, String::new(), Vec::new()),
            End::Closed(_)
            | End::ConnectFailed(_)
            | End::ConnectTimedOut
            | End::Cancelled(_)
            | End::Superseded => return,
        };
        self.outputs.push_back(Output::Notified {
            direction,
            notification: notification.clone(),
            why,
            message,
        });
    }

    /// Orders a connection closed, and keeps its last words for `poll_transmit`.
    pub(super) fn close(&mut self, conn: ConnId, outbox: Outbox) {
        if !outbox.is_empty() {
            if self.drains.len() >= MAX_DRAINS {
                self.drains.pop_front();
            }
            self.drains.push_back((conn, outbox));
        }
        self.outputs.push_back(Output::Close(conn));
    }
}

/// The words to a connection that another one of the same two speakers has won over.
pub(super) fn collided() -> Notification {
    Notification::cease(CeaseSubcode::ConnectionCollisionResolution, "")
}

/// Whether an end is worth remembering. A lost collision is not, another connection won; nor is our own word to
/// stop an attempt.
pub(super) fn is_error(end: &End) -> bool {
    let collision =
        |n: &Notification| n.code == 6 && n.subcode == CeaseSubcode::ConnectionCollisionResolution.subcode();
    match end {
        End::Sent { notification, .. } => !collision(notification),
        End::Received(notification) => !collision(notification),
        End::Cancelled(_) => false,
        End::Closed(_) | End::ConnectFailed(_) | End::ConnectTimedOut | End::Superseded => true,
    }
}
