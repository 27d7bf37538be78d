//! Where the driver listens: the addresses that are wanted, the sockets that are open, and when to try the others.
//!
//! An address that is refused (in use, or not there yet) keeps its place with the reason, and is tried again every
//! [`LISTEN_RETRY`]. A listener that cannot hand over a connection, as when descriptors run out, stays ready for
//! good, so all are left alone for [`ACCEPT_RETRY`] then: asking again at once would take all of the processor.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::{LISTEN_RETRY, socket};

/// How long no connection is taken after one could not be.
const ACCEPT_RETRY: Duration = Duration::from_secs(1);

struct Listener {
    wanted: SocketAddr,
    socket: Result<TcpListener, String>,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Listeners {
    all: Vec<Listener>,
    /// When those that are not open are tried again.
    next_listen: Option<Instant>,
    /// No connection is taken before this moment.
    next_accept: Option<Instant>,
}

impl Listeners {
    /// Opens what is missing among `wanted`, closes what is not in it, keeps the rest.
    pub(crate) fn want(&mut self, wanted: &[SocketAddr], now: Instant) {
        self.next_listen = None;
        let mut before = std::mem::take(&mut self.all);
        before.retain(|l| wanted.contains(&l.wanted));
        for &address in wanted {
            if self.all.iter().any(|l| l.wanted == address) {
                continue;
            }
            let found = before.iter().position(|l| l.wanted == address);
            let old = found.map(|at| before.swap_remove(at).socket);
            let socket = match old {
                Some(Ok(open)) => Ok(open),
                Some(Err(reason)) => open(address, Some(&reason)),
                None => open(address, None),
            };
            if socket.is_err() {
                self.next_listen = Some(now + LISTEN_RETRY);
            }
            self.all.push(Listener {
                wanted: address,
                socket,
            });
        }
    }

    /// Closes all.
    pub(crate) fn close(&mut self) {
        *self = Self::default();
    }

    /// When [`Listeners::expire`] is wanted.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.next_listen.into_iter().chain(self.next_accept).min()
    }

    /// Does what waited for a moment that is over.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.next_accept = self.next_accept.filter(|at| *at > now);
        if self.next_listen.is_some_and(|at| at <= now) {
            let wanted: Vec<SocketAddr> = self.all.iter().map(|l| l.wanted).collect();
            self.want(&wanted, now);
        }
    }

    /// The next connection. An error of the connection itself is passed over by calling again.
    pub(crate) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        if self.next_accept.is_none() {
            for listener in self.all.iter().filter_map(|l| l.socket.as_ref().ok()) {
                if let Poll::Ready(accepted) = listener.poll_accept(cx) {
                    return Poll::Ready(accepted);
                }
            }
        }
        Poll::Pending
    }

    /// A connection could not be taken.
    pub(crate) fn failed(&mut self, error: &io::Error, now: Instant) {
        let gone = [
            io::ErrorKind::ConnectionAborted,
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::Interrupted,
        ];
        // The dialler went before we came; the next one may be well.
        if gone.contains(&error.kind()) {
            return;
        }
        tracing::warn!(%error, "cannot take a connection; neighbours that dial have to wait");
        self.next_accept = Some(now + ACCEPT_RETRY);
    }

    /// Each address, and why it is not listened on.
    pub(crate) fn status(&self) -> Vec<(SocketAddr, Option<String>)> {
        self.all
            .iter()
            .map(|l| match &l.socket {
                Ok(socket) => (socket.local_addr().unwrap_or(l.wanted), None),
                Err(reason) => (l.wanted, Some(reason.clone())),
            })
            .collect()
    }
}

/// Opens a listener; a reason that has been told already is not told again.
fn open(address: SocketAddr, told: Option<&str>) -> Result<TcpListener, String> {
    let socket = socket::listen(address).map_err(|error| error.to_string());
    match &socket {
        Ok(_) => tracing::info!(%address, "listening"),
        Err(error) if told == Some(error) => {}
        Err(error) => {
            tracing::warn!(%address, %error, "cannot listen; neighbours cannot dial this node, trying again");
        }
    }
    socket
}
