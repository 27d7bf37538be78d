//! Connections that the speaker has closed and that still deliver their last octets, such as a NOTIFICATION.
//!
//! Each is flushed, shut down for writing, and read until the peer closes it too or [`LINGER`](crate::LINGER) is
//! over. What is read is thrown away; it is read because a socket that is closed with unread octets sends a reset,
//! which overtakes what the peer has not read yet. A peer that has closed its own direction is written to all the
//! same: it may still be listening.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use tokio::time::Instant;

use crate::connection::Connection;

/// Closed connections that may linger at once; beyond it the one that waits longest is cut off.
const MAX_ENDING: usize = 256;

/// All of them, the one that was served last at the end.
#[derive(Default)]
pub(crate) struct Endings {
    connections: VecDeque<Connection>,
}

impl Endings {
    pub(crate) fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// How many there are of a kind.
    pub(crate) fn count(&self, kind: impl Fn(&Connection) -> bool) -> usize {
        self.connections.iter().filter(|c| kind(c)).count()
    }

    pub(crate) fn add(&mut self, connection: Connection) {
        self.connections.push_back(connection);
        if self.connections.len() > MAX_ENDING {
            self.connections.pop_front();
        }
    }

    /// When [`Endings::expire`] is wanted.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.connections.iter().filter_map(Connection::deadline).min()
    }

    /// Cuts off those that took too long.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.connections
            .retain(|c| c.deadline().is_none_or(|at| at > now));
    }

    /// The place of one that is ready for something.
    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<usize> {
        for (place, connection) in self.connections.iter().enumerate() {
            if connection.poll_ready(cx).is_ready() {
                return Poll::Ready(place);
            }
        }
        Poll::Pending
    }

    /// Reads and writes the one at `place`.
    pub(crate) fn serve(&mut self, place: usize, buffer: &mut [u8]) {
        if let Some(mut connection) = self.connections.remove(place)
            && connection.proceed(buffer).is_ok_and(|over| !over)
        {
            self.connections.push_back(connection);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    #[tokio::test]
    async fn beyond_the_limit_the_one_that_waits_longest_is_cut_off() {
        let first: SocketAddr = "127.0.0.2:0".parse().unwrap();
        let others: SocketAddr = "127.0.0.3:0".parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (mut endings, mut peers) = (Endings::default(), Vec::new());
        for number in 0..=MAX_ENDING {
            assert_eq!(endings.count(|_| true), number);
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(if number == 0 { first } else { others }).unwrap();
            peers.push(socket.connect(listener.local_addr().unwrap()).await.unwrap());
            let (accepted, _) = listener.accept().await.unwrap();
            let mut connection = Connection::new(accepted).unwrap();
            connection.end(b"last words", Instant::now()).unwrap();
            endings.add(connection);
        }
        assert_eq!(endings.count(|_| true), MAX_ENDING);
        assert_eq!(endings.count(|c| c.is_from(first)), 0);
        assert_eq!(endings.count(|c| c.is_from(others)), MAX_ENDING);
    }
}
