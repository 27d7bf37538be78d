use std::time::Duration;

use bytes::BytesMut;

use super::Peer;
use super::collision::Side;
use crate::session::{self, Graceful, Session};
use crate::types::{ConnId, Instant};
use crate::wire::{self, Context, MAX_LEN, Message, Open};

/// How long a connection that comes in while the session is Established waits for that session to end.
pub const PARKING_TIME: Duration = Duration::from_secs(2);

/// A connection with an OPEN that comes so soon after the session became Established may be the loser of their collision,
/// late on its way. One that comes later says that the peer has forgotten the session.
pub const COLLISION_TIME: Duration = Duration::from_secs(5);

/// A connection that came in while the session is Established. RFC 4271 §6.8 closes it, and so it is, but not at
/// once: a peer that ends its session and dials again says both at nearly the same moment, on two connections,
/// and the second may be heard first. No OPEN is sent on it, so the peer cannot choose it over the session.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) conn: ConnId,
    /// When it is refused.
    pub(super) until: Instant,
    /// What the peer said meanwhile: its OPEN, no more.
    bytes: BytesMut,
}

impl Parked {
    pub(super) fn new(conn: ConnId, now: Instant) -> Self {
        Self {
            conn,
            until: now + PARKING_TIME,
            bytes: BytesMut::new(),
        }
    }

    /// Keeps octets; whether there was room.
    pub(super) fn keep(&mut self, bytes: &[u8]) -> bool {
        let fits = self.bytes.len().saturating_add(bytes.len()) <= MAX_LEN;
        if fits {
            self.bytes.extend_from_slice(bytes);
        }
        fits
    }

    /// The OPEN, once it is here and whole.
    fn open(&self) -> Option<Open> {
        let frame = wire::split(&self.bytes, MAX_LEN).ok()??;
        match wire::decode(&frame, &Context::before_open()) {
            Ok(Message::Open(open)) => Some(open),
            Ok(
                Message::Update(_) | Message::Notification(_) | Message::Keepalive | Message::RouteRefresh(_),
            )
            | Err(_) => None,
        }
    }

    pub(super) fn into_bytes(self) -> BytesMut {
        self.bytes
    }
}

impl Peer {
    /// Ends the session when the parked connection shows that the peer has forgotten it: the peer has restarted, and its
    /// host had no time to close the old connection (RFC 4724 §4.2, §5). That takes an OPEN which would be good, not only
    /// a connection, which anybody can open; and that graceful restart is agreed on: its routes are kept.
    pub(super) fn supersede(&mut self, now: Instant) {
        let Some((conn, since)) = self.established else {
            return;
        };
        let graceful = self
            .sessions()
            .find(|s| s.conn() == conn)
            .and_then(Session::negotiated)
            .and_then(|n| n.graceful_restart.as_ref());
        let kept = graceful.is_some_and(Graceful::keeps_any);
        if !kept || now.since(since) < COLLISION_TIME {
            return;
        }
        let open = self.parked.as_ref().and_then(|p| Some((p.conn, p.open()?)));
        if open.is_some_and(|(parked, open)| session::is_welcome(&self.settings, parked, open)) {
            for side in Side::BOTH {
                self.feed(side, session::Input::Supersede, now);
            }
        }
    }
}
