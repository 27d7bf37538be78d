//! A steady stream of numbered packets between two pods, and what became of each.
//!
//! One sender thread and one receiver thread for each stream; packets go out on many source ports in turn, so that
//! ECMP spreads them. A packet counts as lost when its number never arrived; forwarding counts as hurt from the first
//! lost packet to the last one of an interval, by the time at which they were sent. That is an upper bound: when only
//! some flows suffer, packets in between arrived. While a sender stands still (a machine that is held up) nothing is proven, so
//! the longest of these times is told as well.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::pod::Pod;

/// Where receivers listen.
const PORT: u16 = 7100;
/// Packets still on their way are waited for so long after the last one was sent.
const DRAIN: Duration = Duration::from_millis(300);

/// How much time a sender catches up on.
const CATCH_UP: Duration = Duration::from_millis(100);

/// A running stream.
#[derive(Debug)]
pub struct Stream {
    label: String,
    stop_sending: Arc<AtomicBool>,
    stop_receiving: Arc<AtomicBool>,
    sender: JoinHandle<Vec<Instant>>,
    receiver: JoinHandle<Vec<u64>>,
}

/// What became of a stream.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// From, to and family.
    pub label: String,
    /// When each packet was sent, by number.
    sent: Vec<Instant>,
    /// Which of them arrived.
    arrived: Vec<bool>,
}

/// What an interval lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Loss {
    /// Packets sent in the interval.
    pub sent: usize,
    /// Those of them that never arrived.
    pub lost: usize,
    /// From the first lost one to the last, by sending time; zero when none was lost.
    pub hurt: Duration,
    /// From the beginning of the interval to the first lost one; none when none was lost.
    pub first: Option<Duration>,
    /// The longest time without a packet sent.
    pub still: Duration,
}

impl std::iter::Sum for Loss {
    /// Of several streams over one interval: what all of them sent and lost, the longest time that one was hurt, when the first
    /// loss was, and the longest time that one stood still.
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |total, loss| Self {
            sent: total.sent + loss.sent,
            lost: total.lost + loss.lost,
            hurt: total.hurt.max(loss.hurt),
            first: [total.first, loss.first].into_iter().flatten().min(),
            still: total.still.max(loss.still),
        })
    }
}

impl Outcome {
    /// What was lost of the packets sent between two moments.
    #[must_use]
    pub fn loss(&self, from: Instant, to: Instant) -> Loss {
        let within = || {
            self.sent
                .iter()
                .zip(&self.arrived)
                .filter(|(at, _)| (from..to).contains(*at))
        };
        let lost = || within().filter(|(_, arrived)| !**arrived).map(|(at, _)| *at);
        let hurt = match (lost().next(), lost().next_back()) {
            (Some(first), Some(last)) => last.duration_since(first),
            _ => Duration::ZERO,
        };
        let gaps = within().zip(within().skip(1));
        Loss {
            sent: within().count(),
            lost: lost().count(),
            hurt,
            first: lost().next().map(|at| at.duration_since(from)),
            still: gaps
                .map(|((one, _), (next, _))| next.duration_since(*one))
                .max()
                .unwrap_or_default(),
        }
    }

    /// When the last packet was sent.
    #[must_use]
    pub fn end(&self) -> Option<Instant> {
        self.sent.last().copied()
    }
}

impl Stream {
    /// Begins to send `rate` packets a second on `flows` source ports.
    ///
    /// # Errors
    /// A socket cannot be opened.
    pub fn start(from: &Pod, to: &Pod, ipv6: bool, rate: u32, flows: u16) -> Result<Self> {
        let target = SocketAddr::new(to.address(ipv6), PORT);
        let own = from.address(ipv6);
        let inbox = to
            .namespace
            .run(|| open_inbox(target))
            .with_context(|| format!("{}: {target}", to.name))?;
        let outboxes = from
            .namespace
            .run(|| {
                (0..flows)
                    .map(|_| open_outbox(own, target))
                    .collect::<Result<Vec<_>>>()
            })
            .with_context(|| format!("{}: sockets to {target}", from.name))?;
        let (stop_sending, stop_receiving) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (no_more, enough) = (Arc::clone(&stop_sending), Arc::clone(&stop_receiving));
        let pause = Duration::from_secs(1) / rate.max(1);
        Ok(Self {
            label: format!(
                "{} to {}, {}",
                from.name,
                to.name,
                if ipv6 { "IPv6" } else { "IPv4" }
            ),
            stop_sending,
            stop_receiving,
            sender: std::thread::spawn(move || send(&outboxes, pause, &no_more)),
            receiver: std::thread::spawn(move || receive(&inbox, &enough)),
        })
    }

    /// Stops several streams together. Of what they sent since `begin` nothing may be lost.
    ///
    /// # Errors
    /// Something was, or a stream sent nothing: `what` was going on, and which stream it is.
    pub fn finish_unhurt(streams: Vec<Self>, begin: Instant, what: &str) -> Result<()> {
        let outcomes = Self::finish(streams)?;
        let end = Instant::now();
        for outcome in outcomes {
            let loss = outcome.loss(begin, end);
            println!("{what}: {}: {loss:?}", outcome.label);
            ensure!(loss.sent > 0, "{what}: {}: nothing was sent", outcome.label);
            ensure!(loss.lost == 0, "{what}: {}: {loss:?}", outcome.label);
        }
        Ok(())
    }

    /// Stops several streams together and tells what became of each.
    ///
    /// # Errors
    /// A thread panicked.
    pub fn finish(streams: Vec<Self>) -> Result<Vec<Outcome>> {
        streams
            .iter()
            .for_each(|stream| stream.stop_sending.store(true, Ordering::Release));
        std::thread::sleep(DRAIN);
        streams
            .iter()
            .for_each(|stream| stream.stop_receiving.store(true, Ordering::Release));
        streams.into_iter().map(Self::conclude).collect()
    }

    fn conclude(self) -> Result<Outcome> {
        let sent = self
            .sender
            .join()
            .map_err(|_| anyhow!("a sending thread panicked"))?;
        let numbers = self
            .receiver
            .join()
            .map_err(|_| anyhow!("a receiving thread panicked"))?;
        let mut arrived = vec![false; sent.len()];
        for number in numbers {
            if let Some(slot) = usize::try_from(number).ok().and_then(|at| arrived.get_mut(at)) {
                *slot = true;
            }
        }
        Ok(Outcome {
            label: self.label,
            sent,
            arrived,
        })
    }
}

fn open_inbox(target: SocketAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind(target)?;
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 4 << 20)?;
    Ok(socket)
}

fn open_outbox(own: IpAddr, target: SocketAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((own, 0))?;
    socket.connect(target)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Sends packet after packet, each at its time; one that the kernel refuses (no route) is a lost one. A sender that was held
/// up longer than a few packets (a machine that stood still) goes on from there: a burst would overflow the receiver's
/// buffer, and count as lost on the way.
fn send(outboxes: &[UdpSocket], pause: Duration, stop: &AtomicBool) -> Vec<Instant> {
    let mut sent = Vec::new();
    let mut due = Instant::now();
    for outbox in outboxes.iter().cycle() {
        if stop.load(Ordering::Acquire) {
            break;
        }
        let now = Instant::now();
        std::thread::sleep(due.saturating_duration_since(now));
        due = due.max(now.checked_sub(CATCH_UP).unwrap_or(due));
        let number = u64::try_from(sent.len()).unwrap_or(u64::MAX);
        sent.push(Instant::now());
        drop(outbox.send(&number.to_be_bytes()));
        due += pause;
    }
    sent
}

fn receive(inbox: &UdpSocket, stop: &AtomicBool) -> Vec<u64> {
    let mut numbers = Vec::new();
    let mut buffer = [0; 8];
    while !stop.load(Ordering::Acquire) {
        if matches!(inbox.recv(&mut buffer), Ok(8)) {
            numbers.push(u64::from_be_bytes(buffer));
        }
    }
    numbers
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Loss, Outcome};

    #[test]
    fn loss_counts_one_interval_only() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let sent = (0..10).map(at).collect();
        let arrived = (0..10).map(|n| ![2, 4, 8].contains(&n)).collect();
        let outcome = Outcome {
            label: String::new(),
            sent,
            arrived,
        };
        assert_eq!(
            outcome.loss(at(0), at(6)),
            Loss {
                sent: 6,
                lost: 2,
                hurt: Duration::from_millis(2),
                first: Some(Duration::from_millis(2)),
                still: Duration::from_millis(1),
            }
        );
        assert_eq!(
            outcome.loss(at(6), at(10)),
            Loss {
                sent: 4,
                lost: 1,
                hurt: Duration::ZERO,
                first: Some(Duration::from_millis(2)),
                still: Duration::from_millis(1),
            }
        );
        assert_eq!(
            outcome.loss(at(9), at(10)),
            Loss {
                sent: 1,
                ..Loss::default()
            }
        );
    }
}
