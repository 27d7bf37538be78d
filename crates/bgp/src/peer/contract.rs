use super::{DownReason, Negotiated, State};
use crate::types::{ConnId, Family};
use crate::wire::{CeaseSubcode, Notification, Update};

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
    /// The speaker found a reason to end the session, such as the prefix limit. It starts again after a pause.
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
    /// The peer sent an UPDATE.
    Update(Update),
    /// The peer wants all our routes of a family again.
    RefreshRequested(Family),
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
