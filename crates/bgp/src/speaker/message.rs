//! What goes into the speaker and what comes out of it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{Auth, Config, Ttl};
use crate::peer::{Direction, State};
use crate::rib::LocalAddresses;
use crate::session::Offence;
use crate::types::{ConnId, Family, Instant, PeerName};
use crate::wire::Notification;

/// One fact.
#[derive(Debug)]
pub enum Input<'a> {
    /// What the speaker shall be from now on.
    Configure(Config),
    /// A connection that [`Output::Dial`] asked for is open.
    Connected {
        /// The connection.
        conn: ConnId,
        /// Our addresses on the interface that it uses.
        local: LocalAddresses,
    },
    /// A connection that [`Output::Dial`] asked for cannot be had.
    ConnectFailed {
        /// The connection.
        conn: ConnId,
        /// Why, for people.
        error: String,
    },
    /// The listener took a connection, and its socket has what [`Speaker::neighbour_at`](super::Speaker::neighbour_at)
    /// says of the peer.
    Accepted {
        /// Its number, given by the driver.
        conn: ConnId,
        /// Who dialled.
        remote: SocketAddr,
        /// Our addresses on the interface that it uses.
        local: LocalAddresses,
    },
    /// A connection that came from a neighbour's address was closed before it was heard.
    Refused {
        /// Who dialled.
        remote: SocketAddr,
        /// Why, for people.
        error: String,
        /// Whether this is worth an event: a driver tells of a flood once.
        tell: bool,
    },
    /// Octets arrived.
    Received {
        /// On this connection.
        conn: ConnId,
        /// In this order, cut anywhere.
        bytes: &'a [u8],
    },
    /// The neighbour closed the connection, or it broke.
    Closed {
        /// The connection.
        conn: ConnId,
        /// Why; none when it was closed in order.
        error: Option<String>,
    },
    /// Our addresses on the interface of an open connection have changed.
    LocalAddresses {
        /// The connection.
        conn: ConnId,
        /// The addresses now.
        local: LocalAddresses,
    },
    /// Ask a peer for its routes again (RFC 2918).
    Refresh(PeerName),
    /// Cease to every peer (6/2 with this text); none is dialled again.
    Shutdown {
        /// Why, for the neighbours' operators (RFC 9003).
        text: String,
    },
    /// The moment of [`Speaker::poll_timeout`] has come.
    Timeout,
}

/// What the driver shall do, or tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Open a connection, and answer with [`Input::Connected`] or [`Input::ConnectFailed`].
    Dial {
        /// Its number.
        conn: ConnId,
        /// Where to.
        target: Target,
    },
    /// Send `last` after all that was polled before, then close. The connection is forgotten here.
    Close {
        /// The connection.
        conn: ConnId,
        /// The last octets, such as a NOTIFICATION.
        last: Vec<u8>,
    },
    /// Something that people want to know.
    Event(Event),
}

/// Where to connect to, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The peer's address.
    pub address: IpAddr,
    /// The interface index, for a link-local address.
    pub interface: Option<u32>,
    /// The TCP port.
    pub port: u16,
    /// Our address; none: the kernel's choice.
    pub source: Option<IpAddr>,
    /// How far away it may be.
    pub ttl: Ttl,
    /// How its segments are known to be its own.
    pub auth: Auth,
}

/// Something that people want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Instant,
    /// Whom it concerns; none for a connection from a stranger.
    pub peer: Option<PeerName>,
    /// What happened.
    pub kind: EventKind,
    /// How many earlier ones were only counted: of UPDATEs with errors of this peer, of its NOTIFICATIONs, of what else
    /// it made happen, or of strangers.
    pub untold: u64,
}

/// Why stale routes are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sweep {
    /// The peer is back, has said all that it has, and they were not among it.
    EndOfRib,
    /// The peer is back, and did not go on forwarding, or no longer keeps the family.
    NotForwarding,
    /// The peer is back, and takes longer than [`STALE_TIME`](super::STALE_TIME) to say all that it has.
    StaleTime,
    /// The peer has not come back in time.
    Expired,
    /// The peer has come and gone more often than is kept apart, and these are the oldest.
    TooManyLosses,
    /// We or the peer ended it for good, or it is no longer kept by configuration.
    Ended,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// The state machine moved.
    Transition {
        /// From this state.
        from: State,
        /// To this one.
        to: State,
        /// Because of this.
        cause: String,
    },
    /// The session is up.
    Established,
    /// The session is no longer up.
    Down {
        /// Why: the NOTIFICATION in words, or what became of the connection.
        reason: String,
    },
    /// An UPDATE had errors, and the session lives on (RFC 7606).
    Malformed {
        /// What was wrong, what was done, and the message.
        offence: Box<Offence>,
    },
    /// A NOTIFICATION was sent or received, on any connection of the peer.
    Notification {
        /// By whom.
        direction: Direction,
        /// What it says.
        notification: Notification,
        /// What we found when it is ours; empty when it says it all.
        why: String,
        /// The message that was the reason, header included, bounded; empty when it was none.
        message: Vec<u8>,
    },
    /// The peer sends more prefixes than it may.
    PrefixLimit {
        /// In this family.
        family: Family,
        /// What was done.
        what: String,
    },
    /// The peer has sent all that it has (RFC 4724 §2).
    EndOfRib(Family),
    /// The peer has sent all its routes of a family again (RFC 7313).
    Refreshed {
        /// The family.
        family: Family,
        /// How many routes were not among them, and are removed.
        removed: usize,
        /// Whether the peer said that these were all; else it took longer than [`super::REFRESH_TIME`].
        ended: bool,
    },
    /// The session is lost, and the peer's routes are kept until it is back (RFC 4724 §4.2).
    Retained {
        /// How many of both families.
        routes: usize,
        /// For how long at most, before they go or become long-lived ones.
        time: Duration,
    },
    /// The peer has not come back in time, and its routes of a family are kept as a last resort (RFC 9494).
    LongLived {
        /// The family.
        family: Family,
        /// How many are kept.
        routes: usize,
        /// For how long at most.
        time: Duration,
    },
    /// Stale routes of a family are removed.
    Swept {
        /// The family.
        family: Family,
        /// How many.
        removed: usize,
        /// Because of this.
        cause: Sweep,
    },
    /// After a restart of our own: routes are chosen from now on.
    DeferralEnded {
        /// How long after the start.
        after: Duration,
        /// Who was not heard by then; none: all have said what they have.
        missing: Vec<PeerName>,
    },
    /// The peer was asked for its routes of a family before its End-of-RIB, and may leave the request unanswered.
    RefreshTooEarly(Family),
    /// Somebody dialled who is not configured.
    Stranger(IpAddr),
    /// Somebody dialled from a neighbour's address, and was not heard.
    Refused {
        /// Why.
        reason: String,
    },
    /// The attributes of some routes do not fit into one message, and these routes are not advertised.
    Unsendable {
        /// How many prefixes.
        prefixes: usize,
        /// Why.
        what: String,
    },
}
