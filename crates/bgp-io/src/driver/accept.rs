//! Who is let in: what becomes of a connection that a listener took, before the speaker hears of it.
//!
//! A stranger's connection is closed at once. One from a neighbour's address is closed when there are too many, or when
//! its socket cannot be given what the neighbour requires, such as its key or its distance. The speaker is told only of
//! what has passed: its machine lets a new connection take the place of an older one.

use std::net::SocketAddr;

use flatroute_bgp::speaker::Input;
use flatroute_bgp::types::ConnId;
use tokio::net::TcpStream;
use tokio::time;

use super::Driver;
use crate::connection::Connection;
use crate::local::local_addresses;
use crate::{MAX_ACCEPTED, MAX_HALF_OPEN, MAX_PER_ADDRESS, socket};

impl Driver {
    pub(super) fn accept(&mut self, stream: TcpStream, remote: SocketAddr) {
        let now = self.now();
        let prepared = match self.speaker.neighbour_at(remote) {
            None => return self.stranger(stream, remote),
            Some((_, peer)) => self
                .has_room(remote)
                .and_then(|()| socket::prepare(&stream, peer.ttl, &peer.auth).map_err(|e| e.to_string())),
        };
        let connection = prepared.and_then(|()| Connection::new(stream).map_err(|e| e.to_string()));
        match connection {
            Ok(connection) => {
                let conn = self.next_accepted();
                let local = local_addresses(connection.local, &self.interfaces);
                self.connections.insert(conn, connection);
                self.speaker.handle(Input::Accepted { conn, remote, local }, now);
            }
            Err(error) => {
                self.refused += 1;
                let tell = self
                    .neighbours_told
                    .tells(remote.ip().to_canonical(), time::Instant::now());
                self.speaker.handle(Input::Refused { remote, error, tell }, now);
            }
        }
    }

    /// Closes a stranger's connection. The speaker, who would only tell of it, hears of few.
    fn stranger(&mut self, stream: TcpStream, remote: SocketAddr) {
        drop(stream);
        self.refused += 1;
        if self
            .strangers_told
            .tells(remote.ip().to_canonical(), time::Instant::now())
        {
            let conn = self.next_accepted();
            let local = local_addresses(remote, &[]);
            let now = self.now();
            self.speaker.handle(Input::Accepted { conn, remote, local }, now);
        }
    }

    fn next_accepted(&mut self) -> ConnId {
        let conn = ConnId::Accepted(self.accepted);
        self.accepted += 1;
        conn
    }

    /// Whether one more connection from there may be open.
    fn has_room(&self, remote: SocketAddr) -> Result<(), String> {
        let accepted = || {
            self.connections
                .iter()
                .filter(|(conn, _)| matches!(conn, ConnId::Accepted(_)))
        };
        let same = |c: &Connection| c.is_from(remote);
        if accepted().count() >= MAX_ACCEPTED {
            return Err(format!("{MAX_ACCEPTED} accepted connections are open"));
        }
        if accepted().filter(|(_, c)| same(c)).count() + self.endings.count(same) >= MAX_PER_ADDRESS {
            return Err(format!(
                "{MAX_PER_ADDRESS} connections from this address are open"
            ));
        }
        let half_open = accepted().filter(|(conn, _)| self.speaker.awaits_open(**conn));
        if half_open.count() >= MAX_HALF_OPEN {
            return Err(format!("{MAX_HALF_OPEN} connections wait for an OPEN"));
        }
        Ok(())
    }
}
