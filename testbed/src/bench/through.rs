//! Row 2: routes through a router, in from one peer and out to another, and then the withdrawal of all.
//!
//! Feeder 1 says what [`table`](super::table) made; at the place of feeder 2 is the sink ([`ledger`](super::ledger)). Both
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
pub(super) const SLOW: Duration = Duration::from_secs(3);
/// The feeder's and the sink's place in the list of feeders.
const PLACES: [usize; 2] = [0, 1];

/// What is sent in each round of one row.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) transport: Transport,
    pub(super) routes: u32,
    /// Distinct sets of attributes.
    pub(super) sets: usize,
    announcements: Vec<u8>,
    withdrawals: Vec<u8>,
}

impl Load {
    pub(super) fn new(feeder: &Feeder, transport: Transport, routes: u32, real: &[Set]) -> Result<Self> {
        let sets = table::of(transport, routes, feeder.asn(), real)?;
        let (next_hop, _) = transport.link(feeder.number);
        let mut announcements = Vec::new();
        for set in &sets {
            let prefixes = set.prefixes.iter().copied();
            talk::announce(&mut announcements, &set.attributes, next_hop, prefixes)?;
        }
        announcements.extend(talk::end_of_rib(transport)?);
        let mut withdrawals = Vec::new();
        let prefixes = sets.iter().flat_map(|set| set.prefixes.iter().copied());
        talk::withdraw(&mut withdrawals, transport, prefixes)?;
        Ok(Self {
            transport,
            routes,
            sets: sets.len(),
            announcements,
            withdrawals,
        })
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
#[error("given up after {} s, at {reached} of {wanted} routes told to the sink", PART_BOUND.as_secs())]
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
    let [from, to] = PLACES;
    let (sink, read) = session(to)?;
    let (feeder, _) = session(from)?;
    let mut ledger = Ledger::new(sink, read)?;
    let wanted = usize::try_from(load.routes).context("a number of routes")?;
    let before = running.usage()?;
    let through = part(&feeder, &load.announcements, &mut ledger, wanted)?;
    running.expect_running()?;
    let between = running.usage()?;
    let withdrawal = part(&feeder, &load.withdrawals, &mut ledger, 0)?;
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

/// Writes `bytes` and waits until the sink knows exactly `wanted` prefixes; how long that took.
fn part(mut feeder: &TcpStream, bytes: &[u8], ledger: &mut Ledger, wanted: usize) -> Result<Duration> {
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || -> Result<Instant> {
            let start = Instant::now();
            feeder.write_all(bytes).context("write to the router")?;
            Ok(start)
        });
        let end = ledger.until(wanted, Instant::now() + PART_BOUND);
        if !matches!(end, Ok(Some(_))) {
            // So that the writer does not wait on.
            drop(feeder.shutdown(std::net::Shutdown::Both));
        }
        let start = writer.join().map_err(|_| anyhow!("the feeder panicked"))?;
        let Some(end) = end? else {
            let reached = ledger.balance();
            return Err(GivenUp { reached, wanted }.into());
        };
        Ok(end.saturating_duration_since(start?))
    })
}
