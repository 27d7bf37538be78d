use std::time::Duration;

use bytes::BytesMut;

use crate::types::{ConnId, Instant};
use crate::wire::MAX_LEN;

/// How long a connection that comes in while the session is Established waits for that session to end.
pub const PARKING_TIME: Duration = Duration::from_secs(2);

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

    pub(super) fn into_bytes(self) -> BytesMut {
        self.bytes
    }
}
