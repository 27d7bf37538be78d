//! A router that does nothing: it brings both sessions up and copies what the feeder says to the sink.
//!
//! It shows what feeder, sink and the kernel's sockets alone need, which is the floor of every figure of row 2.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::ground::Transport;
use super::receiver::ASN;
use super::talk;
use crate::namespace::Namespace;

/// For both peers to connect.
const CONNECT_BOUND: Duration = Duration::from_secs(10);
/// How much is copied at once.
const ROOM: usize = 64 * 1024;

/// Listening.
#[derive(Debug)]
pub(super) struct Relay {
    listener: TcpListener,
    transport: Transport,
}

impl Relay {
    pub(super) fn listen(namespace: &Namespace, transport: Transport) -> Result<Self> {
        let any: SocketAddr = match transport {
            Transport::Ipv4 => ([0, 0, 0, 0], talk::PORT).into(),
            Transport::Ipv6 => ([0_u16; 8], talk::PORT).into(),
        };
        let listener = namespace.run(|| TcpListener::bind(any).context("listen on port 179"))?;
        listener
            .set_nonblocking(true)
            .context("a listener that does not block")?;
        Ok(Self { listener, transport })
    }

    /// Takes the sink's session, then the feeder's, and copies until the feeder ends.
    pub(super) fn copy(&self) -> Result<()> {
        let deadline = Instant::now() + CONNECT_BOUND;
        let (mut sink, _) = self.session(deadline)?;
        let (mut feeder, rest) = self.session(deadline)?;
        sink.write_all(&rest).context("write to the sink")?;
        let mut room = vec![0; ROOM];
        loop {
            match feeder.read(&mut room) {
                Ok(0) => return Ok(()),
                Ok(read) => sink
                    .write_all(room.get(..read).unwrap_or_default())
                    .context("write to the sink")?,
                // It was given up.
                Err(_) => return Ok(()),
            }
        }
    }

    /// A session that is up, and what was read behind the peer's KEEPALIVE.
    fn session(&self, deadline: Instant) -> Result<(TcpStream, Vec<u8>)> {
        let mut stream = loop {
            match self.listener.accept() {
                Ok((stream, _)) => break stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if Instant::now() > deadline {
                        bail!("a peer did not connect");
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(error) => return Err(error).context("accept a peer"),
            }
        };
        stream.set_nonblocking(false).context("a stream that blocks")?;
        stream.set_nodelay(true).context("TCP_NODELAY")?;
        let open = talk::open(self.transport, ASN, [10, 0, 1, 2])?;
        stream
            .write_all(&[&open[..], &talk::keepalive()[..]].concat())
            .context("send OPEN and KEEPALIVE")?;
        let (mut room, mut bytes) = (vec![0; ROOM], Vec::new());
        loop {
            let read = stream.read(&mut room).context("read a peer's OPEN")?;
            if read == 0 {
                bail!("a peer closed the session");
            }
            bytes.extend(room.get(..read).unwrap_or_default());
            while let Some((kind, _, length)) = talk::message(&bytes) {
                bytes.drain(..length);
                if kind == talk::KEEPALIVE {
                    return Ok((stream, bytes));
                }
            }
        }
    }
}
