//! What a router has told its peer so far: the sink of row 2.
//!
//! Reading must cost next to nothing, because it shares two cores with the router. So while bytes arrive they are only
//! kept and their prefixes counted; the moment of every read is known. Only when the count says that it may be all, the
//! kept messages are entered into a set of distinct prefixes, and when that is complete, the moment of that read was
//! the end. If it is not (a prefix was told twice), reading goes on.

use std::collections::HashSet;
use std::io::{ErrorKind, Read as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::talk::{self, Said};

/// How much is read at once.
const ROOM: usize = 256 * 1024;
/// How long one read waits, so that the bound is kept.
const PATIENCE: Duration = Duration::from_millis(100);

/// A prefix: its length and its octets, left-aligned.
type Key = (u8, u128);

/// One session, and what was said on it.
#[derive(Debug)]
pub(super) struct Ledger {
    stream: TcpStream,
    room: Vec<u8>,
    /// What was read and is not entered.
    bytes: Vec<u8>,
    /// How much of `bytes` is counted.
    counted: usize,
    /// Prefixes told less prefixes withdrawn, as far as counted.
    balance: i64,
    told: HashSet<Key>,
}

impl Ledger {
    /// `read` is what came with the end of the handshake.
    pub(super) fn new(stream: TcpStream, read: Vec<u8>) -> Result<Self> {
        stream
            .set_read_timeout(Some(PATIENCE))
            .context("a bound for reading")?;
        Ok(Self {
            stream,
            room: vec![0; ROOM],
            bytes: read,
            counted: 0,
            balance: 0,
            told: HashSet::new(),
        })
    }

    /// How many prefixes are told now, as far as they were entered or counted.
    pub(super) fn balance(&self) -> i64 {
        self.balance
    }

    /// Reads until exactly `wanted` distinct prefixes are told; when that was. None when `deadline` passes before.
    pub(super) fn until(&mut self, wanted: usize, deadline: Instant) -> Result<Option<Instant>> {
        let goal = i64::try_from(wanted).context("a number of routes")?;
        let rising = self.balance < goal;
        loop {
            match self.stream.read(&mut self.room) {
                Ok(0) => bail!("the router closed the session to the sink"),
                Ok(read) => {
                    let now = Instant::now();
                    self.bytes.extend(self.room.get(..read).unwrap_or_default());
                    self.count()?;
                    let reached = if rising {
                        self.balance >= goal
                    } else {
                        self.balance <= goal
                    };
                    if reached {
                        self.enter()?;
                        if self.told.len() == wanted {
                            return Ok(Some(now));
                        }
                    }
                    if now > deadline {
                        return Ok(None);
                    }
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if Instant::now() > deadline {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(error).context("read from the router"),
            }
        }
    }

    fn count(&mut self) -> Result<()> {
        while let Some((kind, body, length)) =
            talk::message(self.bytes.get(self.counted..).unwrap_or_default())
        {
            match kind {
                talk::UPDATE => {
                    let balance = &mut self.balance;
                    talk::visit(body, |said, _, _| {
                        *balance += match said {
                            Said::Announced => 1,
                            Said::Withdrawn => -1,
                        };
                    })
                    .context("an UPDATE that the sink cannot read")?;
                }
                talk::NOTIFICATION => bail!("the router ends the session: {:?}", body.get(..2)),
                _ => {}
            }
            self.counted += length;
        }
        Ok(())
    }

    fn enter(&mut self) -> Result<()> {
        let mut at = 0;
        while let Some((kind, body, length)) =
            talk::message(self.bytes.get(at..self.counted).unwrap_or_default())
        {
            if kind == talk::UPDATE {
                let told = &mut self.told;
                talk::visit(body, |said, bits, octets| {
                    let mut address = [0; 16];
                    for (place, octet) in address.iter_mut().zip(octets) {
                        *place = *octet;
                    }
                    let key = (bits, u128::from_be_bytes(address));
                    match said {
                        Said::Announced => told.insert(key),
                        Said::Withdrawn => told.remove(&key),
                    };
                })
                .context("an UPDATE that the sink cannot read")?;
            }
            at += length;
        }
        self.bytes.drain(..at);
        self.counted -= at;
        self.balance = i64::try_from(self.told.len()).context("a number of routes")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    use super::super::ground::Transport;
    use super::super::watch::prefix;
    use super::{Ledger, talk};

    #[test]
    fn a_prefix_told_twice_counts_once() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("listens");
        let mut far = TcpStream::connect(listener.local_addr().expect("address")).expect("connects");
        let (near, _) = listener.accept().expect("accepts");
        let mut ledger = Ledger::new(near, Vec::new()).expect("a ledger");
        let routes = |from: u32, to: u32| {
            let attributes = talk::Attributes::default();
            let mut bytes = Vec::new();
            let prefixes = (from..to).map(|n| prefix(Transport::Ipv4, n));
            talk::announce(&mut bytes, &attributes, [10, 0, 0, 1].into(), prefixes).expect("encodes");
            bytes
        };
        let soon = || Instant::now() + Duration::from_millis(300);
        far.write_all(&[routes(0, 60), routes(0, 40)].concat())
            .expect("writes");
        assert_eq!(ledger.until(100, soon()).expect("readable"), None);
        assert_eq!(ledger.balance(), 60);
        far.write_all(&routes(60, 100)).expect("writes");
        assert!(ledger.until(100, soon()).expect("readable").is_some());
        let mut gone = Vec::new();
        let prefixes = (0..100).map(|n| prefix(Transport::Ipv4, n));
        talk::withdraw(&mut gone, Transport::Ipv4, prefixes).expect("encodes");
        far.write_all(&gone).expect("writes");
        assert!(ledger.until(0, soon()).expect("readable").is_some());
    }
}
