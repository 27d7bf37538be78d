use std::fmt;

use crate::session::{End, Negotiated, State};
use crate::types::Instant;
use crate::wire::Notification;

/// A peer as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The state of the further of its connections.
    pub state: State,
    /// Since when it is in it.
    pub since: Instant,
    /// How often it has left Established.
    pub flaps: u64,
    /// What was agreed on, while Established.
    pub negotiated: Option<Negotiated>,
    /// What went wrong last, and is kept also when all is well again.
    pub last_error: Option<LastError>,
    /// When this speaker will try to connect next, if it waits for that.
    pub next_attempt: Option<Instant>,
}

/// What went wrong last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    /// Who said so.
    pub direction: Direction,
    /// The error code of the NOTIFICATION; 0 when there was none.
    pub code: u8,
    /// Its subcode.
    pub subcode: u8,
    /// In words.
    pub text: String,
    /// When.
    pub at: Instant,
}

/// Who found an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// We told the peer by a NOTIFICATION.
    Sent,
    /// The peer told us.
    Received,
    /// TCP: no NOTIFICATION was sent or received.
    Local,
}

impl LastError {
    pub(super) fn new(end: &End, at: Instant) -> Self {
        let (direction, notification) = match end {
            End::Sent { notification, .. } => (Direction::Sent, Some(notification)),
            End::Received(notification) => (Direction::Received, Some(notification)),
            End::Closed(_)
            | End::ConnectFailed(_)
            | End::ConnectTimedOut
            | End::Cancelled(_)
            | End::Superseded => (Direction::Local, None),
        };
        Self {
            direction,
            code: notification.map_or(0, |n| n.code),
            subcode: notification.map_or(0, |n| n.subcode),
            text: end.to_string(),
            at,
        }
    }
}

/// Why an established session is no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DownReason {
    /// We ended it with this NOTIFICATION.
    Sent {
        /// What the peer was told.
        notification: Notification,
        /// What we found; empty when the NOTIFICATION says it all.
        why: String,
    },
    /// The peer ended it with this one.
    Received(Notification),
    /// TCP went away, with the driver's error if there was one.
    Closed(Option<String>),
    /// The peer has opened another connection and forgotten this one.
    Superseded,
}

impl DownReason {
    pub(super) fn new(end: &End) -> Self {
        match end {
            End::Sent {
                notification, why, ..
            } => Self::Sent {
                notification: notification.clone(),
                why: why.clone(),
            },
            End::Received(notification) => Self::Received(notification.clone()),
            End::Closed(error) => Self::Closed(error.clone()),
            End::Superseded => Self::Superseded,
            // These end a session before TCP is connected, hence never an established one.
            End::ConnectFailed(_) | End::ConnectTimedOut | End::Cancelled(_) => {
                Self::Closed(Some(end.to_string()))
            }
        }
    }
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sent { notification, why } => End::Sent {
                notification: notification.clone(),
                why: why.clone(),
                message: Vec::new(),
            }
            .fmt(f),
            Self::Received(notification) => End::Received(notification.clone()).fmt(f),
            Self::Closed(error) => End::Closed(error.clone()).fmt(f),
            Self::Superseded => End::Superseded.fmt(f),
        }
    }
}
