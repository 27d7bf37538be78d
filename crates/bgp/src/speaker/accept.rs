//! Connections that neighbours dial.
//!
//! Whoever accepts them asks here first what the socket must have ([`Speaker::neighbour_at`]), and tells the speaker of a
//! connection only when the socket has it: the peer's machine lets a new connection take the place of an older one, so
//! it must not hear of one that came from too far away or without the key.

use std::net::SocketAddr;

use super::{EventKind, Neighbour, Output, PeerConfig, Speaker};
use crate::peer::{self, Direction, LastError};
use crate::rib::LocalAddresses;
use crate::types::{ConnId, Instant, PeerName};

impl Speaker {
    /// The neighbour with this address, as it is configured, or the range that it would become one of; none: whoever has it
    /// is a stranger.
    #[must_use]
    pub fn neighbour_at(&self, remote: SocketAddr) -> Option<(&PeerName, &PeerConfig)> {
        let known = self.neighbours.iter().find(|(_, n)| is_at(n, remote));
        known
            .map(|(name, n)| (name, &n.config))
            .or_else(|| self.range_of(remote).map(|(name, range)| (name, &range.template)))
    }

    /// Whether an open connection still waits for the peer's OPEN.
    #[must_use]
    pub fn awaits_open(&self, conn: ConnId) -> bool {
        let neighbour = self.conns.get(&conn).and_then(|name| self.neighbours.get(name));
        neighbour.is_some_and(|n| n.peer.awaits_open(conn))
    }

    pub(super) fn accept(&mut self, conn: ConnId, remote: SocketAddr, local: LocalAddresses, now: Instant) {
        let known = self.neighbours.iter().find(|(_, n)| is_at(n, remote));
        let known = known.map(|(name, _)| Ok(name.clone()));
        let found = match known {
            _ if self.stopped => None,
            Some(known) => Some(known),
            None => self.admit(remote, now),
        };
        let name = match found {
            Some(Ok(name)) => name,
            refused => {
                self.outputs.push_back(Output::Close {
                    conn,
                    last: Vec::new(),
                });
                if refused.is_none() {
                    self.event(None, EventKind::Stranger(remote.ip().to_canonical()), now);
                }
                return;
            }
        };
        if let Some(neighbour) = self.neighbours.get_mut(&name) {
            neighbour.conns.insert(conn, local);
        }
        self.conns.insert(conn, name.clone());
        self.feed_peer(&name, peer::Input::Accepted { conn }, now);
    }

    /// Remembers why a connection was refused, beside the errors of the peer's own machine, which knows nothing of it.
    pub(super) fn refused(&mut self, remote: SocketAddr, error: String, tell: bool, now: Instant) {
        let Some((name, neighbour)) = self.neighbours.iter_mut().find(|(_, n)| is_at(n, remote)) else {
            let range = self.range_of(remote).map(|(name, _)| name.clone());
            if tell && range.is_some() {
                self.event(range, EventKind::Refused { reason: error }, now);
            }
            return;
        };
        neighbour.refused = Some(LastError {
            direction: Direction::Local,
            code: 0,
            subcode: 0,
            text: error.clone(),
            at: now,
        });
        let name = name.clone();
        if tell {
            self.event(Some(name), EventKind::Refused { reason: error }, now);
        }
    }
}

/// Whether a neighbour has this address, and where it is a link-local one, on this interface.
fn is_at(neighbour: &Neighbour, remote: SocketAddr) -> bool {
    let scope = match remote {
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => Some(v6.scope_id()),
        SocketAddr::V4(_) | SocketAddr::V6(_) => None,
    };
    let config = &neighbour.config;
    config.address == remote.ip().to_canonical() && (scope.is_none() || config.interface == scope)
}
