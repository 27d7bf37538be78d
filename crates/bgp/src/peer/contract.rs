use super::{Direction, DownReason, Negotiated, State};
use crate::session::Offence;
use crate::types::{ConnId, Family};
use crate::wire::{CeaseSubcode, Notification, RefreshSubtype, Update};

/// One fact for a peer.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// The session shall be up.
    Start,
    /// It shall be down, and the peer is told why.
    Stop {
        /// The kind of Cease (RFC 4486).
        subcode: CeaseSubcode,
        /// Text for the operator of the peer (RFC 9003).
        text: String,
    },
    /// A connection asked for with [`Output::Dial`] is there.
    Connected {
        /// Which.
        conn: ConnId,
    },
    /// It could not be made.
    ConnectFailed {
        /// Which.
        conn: ConnId,
        /// Why.
        error: String,
    },
    /// The peer connected to us.
    Accepted {
        /// The driver's number for it.
        conn: ConnId,
    },
    /// Octets came, cut anywhere.
    Received {
        /// On this connection.
        conn: ConnId,
        /// What came.
        bytes: &'a [u8],
    },
    /// A connection is gone: the peer closed it (no error), or it broke.
    Closed {
        /// Which.
        conn: ConnId,
        /// What the system said.
        error: Option<String>,
    },
    /// `now` may have reached [`super::Peer::poll_timeout`].
    Timeout,
    /// Ask the peer for its routes of a family again; nothing happens when it is not able to.
    RequestRefresh(Family),
    /// The speaker found a reason to end the session, such as the prefix limit. It starts again after a pause that
    /// grows each time; a connection that the peer opens before that is refused with the same words.
    Reset {
        /// What the peer is told.
        notification: Notification,
    },
}

/// What a peer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Connect to the peer, and answer `Connected` or `ConnectFailed`.
    Dial(ConnId),
    /// Send what `poll_transmit` still gives for this connection, then close it; or stop dialling. Later inputs
    /// for it are ignored.
    Close(ConnId),
    /// A session is up.
    Established {
        /// Its connection.
        conn: ConnId,
        /// What was agreed on.
        negotiated: Negotiated,
    },
    /// The session that was up is no more.
    Down {
        /// Why.
        reason: DownReason,
    },
    /// A NOTIFICATION went out, or came in, on any connection.
    Notified {
        /// Who sent it.
        direction: Direction,
        /// What it says.
        notification: Notification,
        /// What we found when it is ours; empty when it says it all.
        why: String,
        /// The message that was the reason, as in [`crate::session::End::Sent`].
        message: Vec<u8>,
    },
    /// The UPDATE that comes next had errors (RFC 7606).
    Offending(Box<Offence>),
    /// The peer sent an UPDATE.
    Update(Update),
    /// What the peer says of all routes of a family; see [`crate::session::Output::Refresh`].
    Refresh(Family, RefreshSubtype),
    /// The state changed; for events and logs.
    Transition {
        /// The state before.
        from: State,
        /// The state now.
        to: State,
        /// Why.
        cause: String,
    },
}
