//! `make bench`: what the house promises in figures, each beside a peer's in the same run.
//!
//! The first row is *installation*: 100,000 routes that BGP peers announce, from Established until the kernel holds
//! every one of them with all its next hops. Receivers are our agent and BIRD; the peers that announce ([`feeder`]) are
//! the bench's own, the same for both.
//!
//! What makes the two figures comparable:
//!
//! - **Same peers.** They say the same bytes to both, as fast as they are read. The receiver waits for them (passive), so
//!   that nobody's retry timer counts.
//! - **Fresh ground.** Each round has a receiver namespace of its own ([`ground`]); the next one begins when the kernel
//!   has taken the last one apart. Rounds alternate between the receivers, and who goes first changes each time.
//! - **Same sysctls**: those of `flatroute-agent prepare`, for both.
//! - **Same clock.** It starts when all sessions are established and the feeders begin to write, and stops when [`watch`] has seen
//!   the last route. The looking is done by single look-ups at a low rate: no dump and no listener of the bench's on the
//!   route group, which would cost the writer a third of its speed (the receivers keep the listeners that they have).
//! - **The feeders' share is known**: [`sink`] is a receiver that only counts prefixes. What it needs is the floor of
//!   every row, and is printed with them; so is the time after which a receiver had taken the last byte.
//!
//! CPU time is that of the receiver's process, kernel work on its behalf included ([`usage`]); memory is its peak.

mod feeder;
mod ground;
mod receiver;
mod report;
mod sink;
mod talk;
mod usage;
mod watch;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::paint;
use crate::sandbox::{self, Ending};
use crate::speaker::Software;
use feeder::{Feed, Feeder};
use ground::{Ground, Transport};
use report::{Figure, Row};
use usage::Usage;

/// Nothing in the bench may take longer than this altogether.
const LIMIT: Duration = Duration::from_secs(180);
/// New rounds are not begun after this, so that the figures so far are printed.
const BUDGET: Duration = Duration::from_secs(150);
/// How many feeders there are: the most next hops of a route.
const FEEDERS: u8 = 2;
/// How long one receiver may take for one round.
const ROUND_BOUND: Duration = Duration::from_secs(20);

/// What the user asked for.
#[derive(Debug, Clone)]
pub struct Wishes {
    /// How often each receiver installs each row.
    pub rounds: usize,
    /// How many routes each feeder announces.
    pub routes: u32,
    /// Leave the IPv6 rows out.
    pub ipv4_only: bool,
    /// Measure our agent alone (for a profiler).
    pub alone: bool,
    /// Only this number of next hops.
    pub hops: Option<usize>,
}

/// What is installed in one round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    /// The family of the routes and of the sessions.
    transport: Transport,
    /// Next hops of each route, which is the number of feeders that announce it.
    hops: usize,
    /// Routes.
    routes: u32,
}

/// Runs the bench: outside the sandbox it checks, starts and cleans up; inside it measures.
///
/// # Errors
/// Something is missing, or the system forbids namespaces.
pub fn run(wishes: &Wishes) -> Result<ExitCode> {
    if !sandbox::is_inside() {
        Software::Agent.find()?;
        Software::Bird.find()?;
        if wishes.routes == 0 || wishes.routes > 1_000_000 {
            bail!("--routes {}: it may be 1 to 1000000", wishes.routes);
        }
    }
    let ending = sandbox::run(LIMIT, || inside(wishes))?;
    match ending {
        Ending::Done(_) | Ending::Refused | Ending::Kept(_) => {}
        Ending::Interrupted => println!("\nInterrupted. Nothing is left behind."),
        Ending::TimedOut => println!(
            "\n{}",
            paint::bad(&format!(
                "The bench took longer than {} s and was ended. Nothing is left behind.",
                LIMIT.as_secs()
            ))
        ),
    }
    Ok(sandbox::exit_code(ending))
}

fn inside(wishes: &Wishes) -> Result<u8> {
    let begin = Instant::now();
    print!("{}", report::conditions(wishes)?);
    let feeders = (1..=FEEDERS)
        .map(|number| Feeder::new(number, wishes.routes))
        .collect::<Result<Vec<_>>>()?;
    let transports: &[Transport] = if wishes.ipv4_only {
        &[Transport::Ipv4]
    } else {
        &[Transport::Ipv4, Transport::Ipv6]
    };
    for transport in transports {
        for hops in (1..=usize::from(FEEDERS)).filter(|hops| wishes.hops.is_none_or(|only| only == *hops)) {
            let shape = Shape {
                transport: *transport,
                hops,
                routes: wishes.routes,
            };
            let row = measure(&feeders, shape, wishes, begin)?;
            print!("{}", report::row(shape, &row));
        }
    }
    println!("\n{} s altogether.", begin.elapsed().as_secs());
    Ok(0)
}

/// All rounds of one row.
fn measure(feeders: &[Feeder], shape: Shape, wishes: &Wishes, begin: Instant) -> Result<Row> {
    let mut row = Row {
        floor: floor(feeders, shape)?,
        ours: Vec::new(),
        bird: Vec::new(),
    };
    for round in 0..wishes.rounds.max(1) {
        if round > 0 && begin.elapsed() > BUDGET {
            println!(
                "(the time is up: {round} of {} rounds for the next row)",
                wishes.rounds
            );
            break;
        }
        let mut order = [Software::Agent, Software::Bird];
        if round % 2 == 1 {
            order.reverse();
        }
        for software in order {
            if software == Software::Agent {
                row.ours.push(install(feeders, shape, software)?);
            } else if !wishes.alone {
                row.bird.push(install(feeders, shape, software)?);
            }
        }
    }
    Ok(row)
}

/// One round: one receiver, from nothing to all routes in the kernel.
fn install(feeders: &[Feeder], shape: Shape, software: Software) -> Result<Figure> {
    let feeders = feeders.get(..shape.hops).context("too few feeders")?;
    let ground = Ground::lay(feeders)?;
    let mut receiver = receiver::start(&ground, software, shape)?;
    let before = Usage::of(receiver.pid())?;
    let mut watch = watch::Watch::new(ground.namespace(), shape)?;
    let feed = Feed::start(feeders, shape.transport)
        .with_context(|| format!("{}\n{}", software.title(), receiver.last_words()))?;
    let start = feed.start;
    let done = watch.until_all(ROUND_BOUND, || receiver.expect_running());
    let done = done.with_context(|| format!("{}\n{}", software.title(), receiver.last_words()))?;
    let usage = Usage::of(receiver.pid())?;
    let sent = feed.end()?;
    drop(watch);
    // Killed, not stopped: BIRD would take a hundred thousand routes back first.
    drop(receiver);
    ground.clear(feeders)?;
    Ok(Figure {
        time: done
            .duration_since(start)
            .context("the end is before the start")?,
        cpu: usage.cpu.saturating_sub(before.cpu),
        peak_bytes: usage.peak_bytes,
        grown_bytes: usage.peak_bytes.saturating_sub(before.peak_bytes),
        sent: sent
            .duration_since(start)
            .context("the end is before the start")?,
    })
}

/// The feeders alone: from Established until a receiver that does nothing has every prefix from every one of them.
fn floor(feeders: &[Feeder], shape: Shape) -> Result<Duration> {
    let feeders = feeders.get(..shape.hops).context("too few feeders")?;
    let ground = Ground::lay(feeders)?;
    let sink = sink::Sink::listen(ground.namespace(), shape)?;
    let done = std::thread::scope(|scope| {
        let reader = scope.spawn(|| sink.drain(ROUND_BOUND));
        let feed = Feed::start(feeders, shape.transport)?;
        let start = feed.start;
        let done = reader.join().ok().context("the sink panicked")??;
        feed.end()?;
        done.duration_since(start).context("the end is before the start")
    })?;
    // A socket would keep the namespace alive.
    drop(sink);
    ground.clear(feeders)?;
    Ok(done)
}
