use std::fmt;

use crate::wire::Notification;

/// How many octets of a message with an error are kept to be shown: an ordinary message is kept whole.
pub const MAX_MESSAGE_SHOWN: usize = 4096;

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// We sent this NOTIFICATION, for this reason.
    Sent {
        /// What the peer is told.
        notification: Notification,
        /// What we found, for people; empty when the NOTIFICATION says it all.
        why: String,
        /// The message that was the reason, header included, its first [`MAX_MESSAGE_SHOWN`] octets; empty when it
        /// was none.
        message: Vec<u8>,
    },
    /// The peer sent this NOTIFICATION.
    Received(Notification),
    /// TCP went away, with the error of the driver if it was one.
    Closed(Option<String>),
    /// TCP could not be connected.
    ConnectFailed(String),
    /// TCP did not connect in time.
    ConnectTimedOut,
    /// We were asked to end before TCP was connected, so the peer could not be told this.
    Cancelled(Notification),
    /// The peer has opened another connection and forgotten this one (RFC 4724 §5).
    Superseded,
}

impl End {
    /// Whether the driver still has a connection to close.
    #[must_use]
    pub fn leaves_connection(&self) -> bool {
        match self {
            Self::Sent { .. }
            | Self::Received(_)
            | Self::ConnectTimedOut
            | Self::Cancelled(_)
            | Self::Superseded => true,
            Self::Closed(_) | Self::ConnectFailed(_) => false,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sent { notification, why, .. } if why.is_empty() => write!(f, "sent {notification}"),
            Self::Sent { notification, why, .. } => write!(f, "sent {notification}: {why}"),
            Self::Received(notification) => write!(f, "received {notification}"),
            Self::Closed(None) => f.write_str("the peer closed the connection"),
            Self::Closed(Some(error)) => write!(f, "the connection broke: {error}"),
            Self::ConnectFailed(error) => write!(f, "could not connect: {error}"),
            Self::ConnectTimedOut => f.write_str(
                "TCP did not connect in time: check the peer's address, the route to it and filters on the way",
            ),
            Self::Superseded => f.write_str("the peer has opened another connection and forgotten this one"),
            Self::Cancelled(notification) => write!(f, "gave up connecting: {notification}"),
        }
    }
}
