//! A receiver that does nothing: it brings sessions up, counts the prefixes in UPDATEs, and notes when it has all.
//!
//! It shows what the feeders alone need, which is the floor of every figure. It trusts its peer, BIRD in the same
//! sandbox, and reads no more of BGP than the counting takes.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, bail};

use super::Shape;
use super::ground::Transport;
use super::receiver::ASN;
use crate::namespace::Namespace;

const HEADER_BYTES: usize = 19;
const KEEPALIVE: u8 = 4;
const UPDATE: u8 = 2;
const OPEN: u8 = 1;
const MP_REACH: u8 = 14;
const EXTENDED_LENGTH: u8 = 0x10;

/// Listening.
#[derive(Debug)]
pub(super) struct Sink {
    listener: TcpListener,
    shape: Shape,
}

impl Sink {
    pub(super) fn listen(namespace: &Namespace, shape: Shape) -> Result<Self> {
        let any: SocketAddr = match shape.transport {
            Transport::Ipv4 => ([0, 0, 0, 0], 179).into(),
            Transport::Ipv6 => ([0_u16; 8], 179).into(),
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
        while let Some((kind, body, length)) = message(buffer.get(at..filled).unwrap_or_default()) {
            match kind {
                OPEN => greet(&mut stream, shape.transport)?,
                UPDATE => prefixes += prefixes_in(body).context("an UPDATE that the sink cannot read")?,
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

/// The first message of `bytes` when it is there whole: type, body, length.
fn message(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let length = usize::from(u16::from_be_bytes([*bytes.get(16)?, *bytes.get(17)?]));
    Some((*bytes.get(18)?, bytes.get(HEADER_BYTES..length)?, length))
}

/// OPEN (hold time 0, so that nothing more need be sent) and KEEPALIVE.
fn greet(stream: &mut TcpStream, transport: Transport) -> Result<()> {
    let afi = match transport {
        Transport::Ipv4 => 1,
        Transport::Ipv6 => 2,
    };
    let [.., high, low] = ASN.to_be_bytes();
    let capabilities = [1, 4, 0, afi, 0, 1, 65, 4, 0, 0, high, low];
    let mut open = vec![4, high, low, 0, 0, 10, 0, 1, 2, 14, 2, 12];
    open.extend(capabilities);
    let mut out = Vec::new();
    for (kind, body) in [(OPEN, open), (KEEPALIVE, Vec::new())] {
        let length = u16::try_from(HEADER_BYTES + body.len()).context("a short message")?;
        out.extend([0xff; 16]);
        out.extend(length.to_be_bytes());
        out.push(kind);
        out.extend(body);
    }
    stream.write_all(&out).context("greet a feeder")
}

/// How many prefixes an UPDATE announces, in its own field (IPv4) and in MP_REACH_NLRI.
fn prefixes_in(body: &[u8]) -> Option<u32> {
    let (_, rest) = sized(body)?;
    let (mut attributes, nlri) = sized(rest)?;
    let mut prefixes = nlri_count(nlri)?;
    while let [flags, kind, rest @ ..] = attributes {
        let (value, next) = if flags & EXTENDED_LENGTH != 0 {
            sized(rest)?
        } else {
            let (length, rest) = rest.split_first()?;
            rest.split_at_checked(usize::from(*length))?
        };
        if *kind == MP_REACH {
            let next_hop = usize::from(*value.get(3)?);
            prefixes += nlri_count(value.get(next_hop + 5..)?)?;
        }
        attributes = next;
    }
    Some(prefixes)
}

/// A field behind its two-byte length, and what follows.
fn sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

fn nlri_count(mut bytes: &[u8]) -> Option<u32> {
    let mut count = 0;
    while let Some((bits, rest)) = bytes.split_first() {
        bytes = rest.get(usize::from(bits.div_ceil(8))..)?;
        count += 1;
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::prefixes_in;

    #[test]
    fn counts_both_kinds_of_prefixes() {
        let ipv4 = [0, 0, 0, 4, 0x40, 1, 1, 0, 24, 20, 0, 0, 24, 20, 0, 1];
        assert_eq!(prefixes_in(&ipv4), Some(2));
        let mut ipv6 = vec![0, 0, 0, 32, 0x90, 14, 0, 28, 0, 2, 1, 16];
        ipv6.extend([0; 16]);
        ipv6.extend([0, 48, 0x20, 1, 0xd, 0xb8, 0, 1]);
        ipv6[3] = u8::try_from(ipv6.len() - 4).expect("short");
        ipv6[7] = u8::try_from(ipv6.len() - 8).expect("short");
        assert_eq!(prefixes_in(&ipv6), Some(1));
        assert_eq!(prefixes_in(&[0, 0, 0, 9, 1]), None);
    }
}
