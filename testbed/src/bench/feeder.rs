//! A feeder: the BGP peer that announces the routes, from a buffer that was encoded before the round.
//!
//! It is no routing daemon on purpose. BIRD 2.0.12 as a feeder was tried: after most of the routes it often rests for up
//! to three seconds, the longest that its main loop sleeps, before it sends the last of them, and that is what the bench
//! would have measured. This one costs next to nothing and writes as fast as the receiver reads.
//!
//! All feeders first bring their sessions up; then they begin to write together, which is when the clock starts. Every
//! route of a feeder has the same attributes, as those of one origin have.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::ops::Range;
use std::sync::{Arc, Barrier, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, anyhow, bail};

use super::ground::Transport;
use super::talk;
use crate::namespace::Namespace;

/// For a receiver to take the connection and bring the session up.
const SESSION_BOUND: Duration = Duration::from_secs(10);
/// Between two attempts to bring a session up.
const PAUSE: Duration = Duration::from_millis(20);

/// A namespace, and what will be said from there.
#[derive(Debug)]
pub(super) struct Feeder {
    pub(super) number: u8,
    pub(super) namespace: Namespace,
    routes: [Arc<Vec<u8>>; 2],
}

impl Feeder {
    /// `routes`: the numbers of those that it announces.
    pub(super) fn new(number: u8, routes: Range<u32>) -> Result<Self> {
        let namespace = Namespace::create(&format!("feeder{number}"))?;
        for which in ["all", "default"] {
            namespace.set(&format!("net/ipv6/conf/{which}/accept_dad"), "0")?;
        }
        let encode = |transport: Transport| {
            let (local, _) = transport.link(number);
            talk::announcements(transport, asn(number), local, routes.clone()).map(Arc::new)
        };
        Ok(Self {
            number,
            namespace,
            routes: [encode(Transport::Ipv4)?, encode(Transport::Ipv6)?],
        })
    }

    pub(super) fn asn(&self) -> u32 {
        asn(self.number)
    }

    /// What it says.
    pub(super) fn routes(&self, transport: Transport) -> &Arc<Vec<u8>> {
        match transport {
            Transport::Ipv4 => &self.routes[0],
            Transport::Ipv6 => &self.routes[1],
        }
    }

    /// The name of its end of the link to the receiver.
    pub(super) fn interface(&self) -> String {
        format!("down{}", self.number)
    }
}

/// Feeder 1 is 65001, feeder 2 is 65002.
fn asn(number: u8) -> u32 {
    65000 + u32::from(number)
}

/// Sessions that are up, with everything being written to them.
#[derive(Debug)]
pub(super) struct Feed {
    /// When the writing began.
    pub(super) start: SystemTime,
    streams: Vec<TcpStream>,
    writers: Vec<JoinHandle<Result<SystemTime>>>,
}

impl Feed {
    /// Brings the sessions of all `feeders` up and lets them write.
    pub(super) fn start(feeders: &[Feeder], transport: Transport) -> Result<Self> {
        let barrier = Arc::new(Barrier::new(feeders.len() + 1));
        let (tell, hear) = mpsc::channel();
        let mut writers = Vec::new();
        for feeder in feeders {
            let (barrier, tell) = (Arc::clone(&barrier), tell.clone());
            let bytes = Arc::clone(feeder.routes(transport));
            let (number, asn, namespace) = (feeder.number, feeder.asn(), feeder.namespace.clone());
            writers.push(std::thread::spawn(move || {
                let session = namespace
                    .enter()
                    .and_then(|()| establish(number, asn, transport, super::ROUND_BOUND));
                let mut stream = match session {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        drop(tell.send(Err(error)));
                        return Err(anyhow!("no session"));
                    }
                };
                drop(tell.send(stream.try_clone().context("a second handle")));
                barrier.wait();
                stream.write_all(&bytes).context("write the routes")?;
                Ok(SystemTime::now())
            }));
        }
        let streams = feeders
            .iter()
            .map(|_| hear.recv_timeout(2 * SESSION_BOUND).context("no session")?)
            .collect::<Result<Vec<_>>>()?;
        let start = SystemTime::now();
        barrier.wait();
        Ok(Self {
            start,
            streams,
            writers,
        })
    }

    /// Ends the sessions; when the receiver had taken the last byte.
    pub(super) fn end(self) -> Result<SystemTime> {
        let mut last = self.start;
        for writer in self.writers {
            last = last.max(writer.join().map_err(|_| anyhow!("a feeder panicked"))??);
        }
        for stream in self.streams {
            // The receiver may have closed it already.
            drop(stream.shutdown(Shutdown::Both));
        }
        Ok(last)
    }
}

/// Connects and exchanges OPEN and KEEPALIVE, again and again while the receiver is not ready for it. Returns the session,
/// whose writes take `bound` at most, and what was read behind the first KEEPALIVE.
pub(super) fn establish(
    number: u8,
    asn: u32,
    transport: Transport,
    bound: Duration,
) -> Result<(TcpStream, Vec<u8>)> {
    let deadline = Instant::now() + SESSION_BOUND;
    loop {
        match attempt(number, asn, transport) {
            Ok((stream, rest)) => {
                stream.set_write_timeout(Some(bound)).context("a bound")?;
                return Ok((stream, rest));
            }
            Err(error) if Instant::now() > deadline => {
                return Err(error).with_context(|| format!("no session of feeder{number}"));
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

fn attempt(number: u8, asn: u32, transport: Transport) -> Result<(TcpStream, Vec<u8>)> {
    let (local, remote) = transport.link(number);
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(remote, talk::PORT), SESSION_BOUND)
        .with_context(|| format!("connect to {remote}"))?;
    stream.set_nodelay(true).context("TCP_NODELAY")?;
    stream.set_read_timeout(Some(SESSION_BOUND)).context("a bound")?;
    stream.set_write_timeout(Some(SESSION_BOUND)).context("a bound")?;
    let id = match local {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(_) => [10, 0, number, 1],
    };
    stream
        .write_all(&talk::open(transport, asn, id)?)
        .context("send OPEN")?;
    let (mut buffer, mut filled) = ([0_u8; 4096], 0);
    loop {
        let room = buffer.get_mut(filled..).unwrap_or_default();
        let read = stream.read(room).context("wait for the receiver's KEEPALIVE")?;
        if read == 0 {
            bail!("the receiver closed the session before it was up");
        }
        filled += read;
        let mut at = 0;
        while let Some((kind, _, length)) = talk::message(buffer.get(at..filled).unwrap_or_default()) {
            at += length;
            match kind {
                talk::OPEN => stream.write_all(&talk::keepalive()).context("send KEEPALIVE")?,
                talk::KEEPALIVE => {
                    let rest = buffer.get(at..filled).unwrap_or_default().to_vec();
                    return Ok((stream, rest));
                }
                talk::NOTIFICATION => bail!("the receiver refuses the session"),
                _ => {}
            }
        }
        buffer.copy_within(at..filled, 0);
        filled -= at;
    }
}
