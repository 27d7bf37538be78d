//! A receiver that does nothing: it brings sessions up, counts the prefixes in UPDATEs, and notes when it has all.
//!
//! It shows what the feeders alone need, which is the floor of every figure. Its peers are ours, so it checks nothing but
//! what the counting takes.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, bail};

use super::ground::Transport;
use super::receiver::ASN;
use super::{Shape, talk};
use crate::namespace::Namespace;

/// Listening.
#[derive(Debug)]
pub(super) struct Sink {
    listener: TcpListener,
    shape: Shape,
}

impl Sink {
    pub(super) fn listen(namespace: &Namespace, shape: Shape) -> Result<Self> {
        let any: SocketAddr = match shape.transport {
            Transport::Ipv4 => ([0, 0, 0, 0], talk::PORT).into(),
            Transport::Ipv6 => ([0_u16; 8], talk::PORT).into(),
        };
        let listener = namespace.run(|| TcpListener::bind(any).context("listen on port 179"))?;
        listener
            .set_nonblocking(true)
            .context("a listener that does not block")?;
        Ok(Self { listener, shape })
    }

    /// Takes as many sessions as there are feeders and reads until each has announced every route; when that was.
    pub(super) fn drain(&self, bound: Duration) -> Result<SystemTime> {
        let deadline = Instant::now() + bound;
        let mut streams = Vec::new();
        while streams.len() < self.shape.hops {
            match self.listener.accept() {
                Ok((stream, _)) => streams.push(stream),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    if Instant::now() > deadline {
                        bail!("{} of {} feeders connected", streams.len(), self.shape.hops);
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(error) => return Err(error).context("accept a feeder"),
            }
        }
        std::thread::scope(|scope| {
            let readers: Vec<_> = streams
                .into_iter()
                .map(|stream| scope.spawn(move || count(stream, self.shape, bound)))
                .collect();
            let mut last = SystemTime::UNIX_EPOCH;
            for reader in readers {
                let done = reader.join().ok().context("a reader of the sink panicked")??;
                last = last.max(done);
            }
            Ok(last)
        })
    }
}

fn count(mut stream: TcpStream, shape: Shape, bound: Duration) -> Result<SystemTime> {
    stream.set_nonblocking(false).context("a stream that blocks")?;
    stream
        .set_read_timeout(Some(bound))
        .context("a bound for reading")?;
    let (mut buffer, mut filled, mut prefixes) = (vec![0_u8; 256 * 1024], 0, 0);
    loop {
        let room = buffer.get_mut(filled..).unwrap_or_default();
        let read = stream
            .read(room)
            .with_context(|| format!("the sink after {prefixes} prefixes"))?;
        if read == 0 {
            bail!("a feeder ended its session after {prefixes} prefixes");
        }
        filled += read;
        let mut at = 0;
        while let Some((kind, body, length)) = talk::message(buffer.get(at..filled).unwrap_or_default()) {
            match kind {
                talk::OPEN => {
                    let open = talk::open(shape.transport, ASN, [10, 0, 1, 2])?;
                    stream.write_all(&open).context("send OPEN")?;
                    stream.write_all(&talk::keepalive()).context("send KEEPALIVE")?;
                }
                talk::UPDATE => {
                    prefixes += talk::prefixes_in(body).context("an UPDATE that the sink cannot read")?;
                }
                _ => {}
            }
            at += length;
        }
        if prefixes >= shape.routes {
            return Ok(SystemTime::now());
        }
        buffer.copy_within(at..filled, 0);
        filled -= at;
    }
}
