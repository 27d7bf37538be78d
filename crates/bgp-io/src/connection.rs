//! One open TCP connection: what waits to be sent, and how it ends.
//!
//! Readiness here is what tokio remembers of it, which stays until an attempt says that it is over: whoever is told
//! "read" or "write" has to attempt it, or is told again at once.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::LINGER;

/// A connection.
pub(crate) struct Connection {
    stream: TcpStream,
    /// Octets that the socket has not taken yet.
    pub(crate) unsent: BytesMut,
    /// Our address on it, with the interface where it is a link-local one.
    pub(crate) local: SocketAddr,
    remote: SocketAddr,
    /// Whether the peer may have heard anything from us.
    spoke: bool,
    ending: Option<Ending>,
}

/// A connection that the speaker has closed, and that delivers its last octets.
struct Ending {
    deadline: Instant,
    /// Whether our direction is closed.
    shut: bool,
    /// Whether the peer's direction is.
    closed: bool,
}

/// What a connection is ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    /// Octets, the end of the stream or an error can be read.
    Read,
    /// The socket has room.
    Write,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        let (local, remote) = (stream.local_addr()?, stream.peer_addr()?);
        Ok(Self {
            stream,
            remote,
            unsent: BytesMut::new(),
            local,
            spoke: false,
            ending: None,
        })
    }

    /// Whether the peer has this address, whatever the port; a link-local one on the same interface.
    pub(crate) fn is_from(&self, remote: SocketAddr) -> bool {
        let host = |mut address: SocketAddr| {
            address.set_port(0);
            address
        };
        host(self.remote) == host(remote)
    }

    /// Whether the socket has taken everything, so that more may be pulled from the speaker.
    pub(crate) fn has_room(&self) -> bool {
        self.unsent.is_empty() && self.ending.is_none()
    }

    /// Whether it can be closed at once: the peer was told nothing that it could lose.
    pub(crate) fn is_silent(&self) -> bool {
        !self.spoke && self.unsent.is_empty()
    }

    /// When it is given up, once it is ending.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.ending.as_ref().map(|e| e.deadline)
    }

    /// Ready for what? Write only counts while something waits to be sent.
    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Ready> {
        let reads = self.ending.as_ref().is_none_or(|e| !e.closed);
        if reads && self.stream.poll_read_ready(cx).is_ready() {
            return Poll::Ready(Ready::Read);
        }
        if !self.unsent.is_empty() && self.stream.poll_write_ready(cx).is_ready() {
            return Poll::Ready(Ready::Write);
        }
        Poll::Pending
    }

    /// Reads what is there, up to the size of `buffer`. `Ok(None)`: nothing yet; `Ok(Some(0))`: the peer closed.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.stream.try_read(buffer) {
            Ok(count) => Ok(Some(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends what waits, as far as the socket takes it.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.stream.try_write(&self.unsent) {
                Ok(count) => {
                    self.spoke = true;
                    self.unsent.advance(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        if let Some(ending) = self.ending.as_mut().filter(|e| !e.shut) {
            ending.shut = true;
            SockRef::from(&self.stream).shutdown(std::net::Shutdown::Write)?;
        }
        Ok(())
    }

    /// Sends `last` and ends.
    pub(crate) fn end(&mut self, last: &[u8], now: Instant) -> io::Result<()> {
        self.unsent.extend_from_slice(last);
        self.ending = Some(Ending {
            deadline: now + LINGER,
            shut: false,
            closed: false,
        });
        self.flush()
    }

    /// Reads and writes what can be, of a connection that is ending; whether both directions are over.
    pub(crate) fn proceed(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        let closed = self.ending.as_ref().is_some_and(|e| e.closed) || self.read(buffer)? == Some(0);
        self.flush()?;
        let Some(ending) = self.ending.as_mut() else {
            return Ok(false);
        };
        ending.closed = closed;
        Ok(ending.closed && ending.shut)
    }
}
