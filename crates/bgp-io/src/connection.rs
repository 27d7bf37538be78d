//! One open TCP connection: what waits to be sent, and how it ends.

use std::io;
use std::net::IpAddr;
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
    /// Our address on it.
    pub(crate) local: IpAddr,
    ending: Option<Ending>,
}

/// A connection that the speaker has closed, and that delivers its last octets.
struct Ending {
    deadline: Instant,
    shut: bool,
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
        let local = stream.local_addr()?.ip().to_canonical();
        Ok(Self {
            stream,
            unsent: BytesMut::new(),
            local,
            ending: None,
        })
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Whether the socket has taken everything, so that more may be pulled from the speaker.
    pub(crate) fn has_room(&self) -> bool {
        self.unsent.is_empty() && self.ending.is_none()
    }

    /// When it is given up, once it is ending.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.ending.as_ref().map(|e| e.deadline)
    }

    /// Ready for what? Write only counts while something waits to be sent.
    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Ready> {
        if self.stream.poll_read_ready(cx).is_ready() {
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
                Ok(count) => self.unsent.advance(count),
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
        });
        self.flush()
    }
}
