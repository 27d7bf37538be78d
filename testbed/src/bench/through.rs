//! Rows 2 and 3: routes through a router, in from one peer or many and out to another, and then the withdrawal of all.
//!
//! Feeder 1 says what [`table`](super::table) made; at the place of feeder 2 is the sink ([`ledger`](super::ledger)). In row 3 many
//! feeders say a part each, and the sink is at the last place. All
//! sessions are up before the clock starts; it starts with the first byte that is written to the router, and stops with
//! the read that brought the last prefix to the sink. The withdrawal has a clock of its own on the same sessions.
//!
//! CPU time of the first part reaches from before the feeding until the withdrawal begins, so that what a router still
//! does after the last byte counts too. Memory is the peak of all its processes together, at the end of the first part.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};

use super::feeder::{Feeder, establish};
use super::ground::{Ground, Transport};
use super::ledger::Ledger;
use super::relay::Relay;
use super::table::{self, Set};
use super::talk;
use super::transit::{Running, Transit};

/// How long a router may take for one part of one round.
const PART_BOUND: Duration = Duration::from_secs(45);
/// Who needs longer than this for a part gets one round only.
pub(super) const SLOW: Duration = Duration::from_secs(5);
/// What is sent in each round of one row.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) transport: Transport,
    /// From all feeders together.
    pub(super) routes: u32,
    /// Distinct sets of attributes.
    pub(super) sets: usize,
    /// What each feeder says.
    shares: Vec<Share>,
}

#[derive(Debug, Default)]
struct Share {
    announcements: Vec<u8>,
    withdrawals: Vec<u8>,
}

impl Share {
    fn new(feeder: &Feeder, transport: Transport, sets: &[Set]) -> Result<Self> {
        let (next_hop, _) = transport.link(feeder.number);
        let mut share = Self::default();
        for set in sets {
            let prefixes = set.prefixes.iter().copied();
            talk::announce(&mut share.announcements, &set.attributes, next_hop, prefixes)?;
        }
        share.announcements.extend(talk::end_of_rib(transport)?);
        let prefixes = sets.iter().flat_map(|set| set.prefixes.iter().copied());
        talk::withdraw(&mut share.withdrawals, transport, prefixes)?;
        Ok(share)
    }
}

impl Load {
    /// All from one feeder.
    pub(super) fn new(feeder: &Feeder, transport: Transport, routes: u32, real: &[Set]) -> Result<Self> {
        let sets = table::of(transport, routes, feeder.asn(), real)?;
        Ok(Self {
            transport,
            routes,
            sets: sets.len(),
            shares: vec![Share::new(feeder, transport, &sets)?],
        })
    }

    /// `each` from every feeder; no two announce the same prefix.
    pub(super) fn of_many(feeders: &[Feeder], transport: Transport, each: u32) -> Result<Self> {
        let asns: Vec<u32> = feeders.iter().map(Feeder::asn).collect();
        let sets = table::shares(transport, each, &asns)?;
        let shares = feeders.iter().zip(&sets);
        Ok(Self {
            transport,
            routes: each.saturating_mul(u32::try_from(feeders.len()).context("a number of feeders")?),
            sets: sets.iter().map(Vec::len).sum(),
            shares: shares
                .map(|(feeder, sets)| Share::new(feeder, transport, sets))
                .collect::<Result<_>>()?,
        })
    }

    /// How many feeders there are.
    pub(super) fn feeders(&self) -> usize {
        self.shares.len()
    }
}

/// One part of one round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) time: Duration,
    pub(super) cpu: Duration,
}

/// One round of one router.
#[derive(Debug, Clone, Copy)]
pub(super) struct Passage {
    pub(super) through: Part,
    pub(super) withdrawal: Part,
    pub(super) peak_bytes: u64,
    /// By how much the peak grew since before the routes.
    pub(super) grown_bytes: u64,
}

/// Nothing went wrong, but it took too long.
#[derive(Debug, thiserror::Error)]
#[error("given up after {} s: the sink knew of {reached} routes, and should have of {wanted}", PART_BOUND.as_secs())]
pub(super) struct GivenUp {
    reached: i64,
    wanted: usize,
}

/// What feeder and sink alone need, with a copier between them: through, withdrawal.
pub(super) fn floor(feeders: &[Feeder], load: &Load) -> Result<Passage> {
    let ground = Ground::lay(feeders)?;
    let relay = Relay::listen(ground.namespace(), load.transport)?;
    let passage = std::thread::scope(|scope| {
        let copier = scope.spawn(|| relay.copy());
        let passage = one(feeders, load, &mut Running::default());
        copier.join().map_err(|_| anyhow!("the relay panicked"))??;
        passage
    });
    // A socket would keep the namespace alive.
    drop(relay);
    ground.clear(feeders)?;
    passage
}

/// Lets one router pass everything on and take it back.
pub(super) fn pass(feeders: &[Feeder], load: &Load, transit: &Transit) -> Result<Passage> {
    let ground = Ground::lay(feeders)?;
    let mut running = transit.start(&ground, load.transport)?;
    let passage = one(feeders, load, &mut running).with_context(|| running.last_words());
    // Killed, not stopped: some would withdraw a million routes first.
    drop(running);
    ground.clear(feeders)?;
    passage
}

fn one(feeders: &[Feeder], load: &Load, running: &mut Running) -> Result<Passage> {
    let session = |place: usize| -> Result<(TcpStream, Vec<u8>)> {
        let feeder = feeders.get(place).context("too few feeders")?;
        let inside = || establish(feeder.number, feeder.asn(), load.transport, PART_BOUND);
        feeder.namespace.run(inside)
    };
    let (sink, read) = session(load.feeders())?;
    let from = (0..load.feeders())
        .map(|place| Ok(session(place)?.0))
        .collect::<Result<Vec<TcpStream>>>()?;
    let said = |what: fn(&Share) -> &[u8]| from.iter().zip(load.shares.iter().map(what)).collect::<Vec<_>>();
    let mut ledger = Ledger::new(sink, read)?;
    let wanted = usize::try_from(load.routes).context("a number of routes")?;
    let before = running.usage()?;
    let through = part(&said(|share| &share.announcements), &mut ledger, wanted)?;
    running.expect_running()?;
    let between = running.usage()?;
    let withdrawal = part(&said(|share| &share.withdrawals), &mut ledger, 0)?;
    running.expect_running()?;
    let after = running.usage()?;
    Ok(Passage {
        through: Part {
            time: through,
            cpu: between.cpu.saturating_sub(before.cpu),
        },
        withdrawal: Part {
            time: withdrawal,
            cpu: after.cpu.saturating_sub(between.cpu),
        },
        peak_bytes: between.peak_bytes,
        grown_bytes: between.peak_bytes.saturating_sub(before.peak_bytes),
    })
}

/// Lets each feeder write its bytes, one after the other, and waits until the sink knows exactly `wanted` prefixes; how long
/// that took.
fn part(said: &[(&TcpStream, &[u8])], ledger: &mut Ledger, wanted: usize) -> Result<Duration> {
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || -> Result<Instant> {
            let start = Instant::now();
            for (feeder, bytes) in said {
                let mut feeder: &TcpStream = feeder;
                feeder.write_all(bytes).context("write to the router")?;
            }
            Ok(start)
        });
        let end = ledger.until(wanted, Instant::now() + PART_BOUND);
        if !matches!(end, Ok(Some(_))) {
            // So that the writer does not wait on.
            for (feeder, _) in said {
                drop(feeder.shutdown(std::net::Shutdown::Both));
            }
        }
        let start = writer.join().map_err(|_| anyhow!("the feeder panicked"))?;
        let Some(end) = end? else {
            let reached = ledger.balance();
            return Err(GivenUp { reached, wanted }.into());
        };
        Ok(end.saturating_duration_since(start?))
    })
}
