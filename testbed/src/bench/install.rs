//! Row 1: routes from BGP peers into the kernel.
//!
//! From the moment when all sessions are established and the feeders begin to write, until [`watch`](super::watch) has
//! seen the last route with all its next hops.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::feeder::{Feed, Feeder};
use super::ground::Ground;
use super::report::{self, Figure, Row};
use super::usage::Usage;
use super::{ROUND_BOUND, Shape, Wishes, raw, receiver, sink, watch};
use crate::speaker::Software;

/// New rounds are not begun after this, so that the figures so far are printed.
const BUDGET: Duration = Duration::from_secs(150);

/// Measures and prints all of row 1.
pub(super) fn measure(feeders: &[Feeder], wishes: &Wishes, begin: Instant) -> Result<()> {
    print!("{}", report::conditions(wishes)?);
    for transport in wishes.transports() {
        for hops in (1..=feeders.len()).filter(|hops| wishes.hops.is_none_or(|only| only == *hops)) {
            let shape = Shape {
                transport: *transport,
                hops,
                routes: wishes.routes,
            };
            let row = row(feeders, shape, wishes, begin)?;
            print!("{}", report::row(shape, &row));
        }
    }
    Ok(())
}

/// All rounds of one row.
fn row(feeders: &[Feeder], shape: Shape, wishes: &Wishes, begin: Instant) -> Result<Row> {
    let mut row = Row {
        floor: floor(feeders, shape)?,
        ours: Vec::new(),
        bird: Vec::new(),
        raw: Vec::new(),
        listeners: 0,
    };
    let rounds = wishes.rounds(shape.routes);
    for round in 0..rounds {
        if round > 0 && begin.elapsed() > BUDGET {
            println!("(the time is up: {round} of {rounds} rounds for the next row)");
            break;
        }
        let mut order = [Software::Agent, Software::Bird];
        if round % 2 == 1 {
            order.reverse();
        }
        for software in order {
            if software == Software::Agent {
                let (figure, listeners) = install(feeders, shape, software)?;
                row.ours.push(figure);
                row.listeners = listeners;
            } else if !wishes.alone {
                row.bird.push(install(feeders, shape, software)?.0);
            }
        }
        if !wishes.alone {
            row.raw.push(raw::write(feeders, shape, row.listeners)?);
        }
    }
    Ok(row)
}

/// One round: one receiver, from nothing to all routes in the kernel; and how many sockets of it hear of routes.
fn install(feeders: &[Feeder], shape: Shape, software: Software) -> Result<(Figure, usize)> {
    let feeders = feeders.get(..shape.hops).context("too few feeders")?;
    let ground = Ground::lay(feeders)?;
    let mut receiver = receiver::start(&ground, software, shape)?;
    let listeners = raw::listeners(ground.namespace())?;
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
    let figure = Figure {
        time: done
            .duration_since(start)
            .context("the end is before the start")?,
        cpu: usage.cpu.saturating_sub(before.cpu),
        peak_bytes: usage.peak_bytes,
        grown_bytes: usage.peak_bytes.saturating_sub(before.peak_bytes),
        sent: sent
            .duration_since(start)
            .context("the end is before the start")?,
    };
    Ok((figure, listeners))
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
