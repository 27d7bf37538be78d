//! `make bench`: what the house promises in figures, each beside a peer's in the same run.
//!
//! Row 1 is *installation* ([`install`]): 100,000 routes that BGP peers announce, from Established until the kernel holds
//! every one of them with all its next hops. Receivers are our agent and BIRD. Row 2 is *passage* ([`passage`]): routes in
//! from one peer and out to another, and the withdrawal of all, through our agent and every other daemon that is
//! installed. Row 3, *gathering* ([`gather`]), is the same with many peers in. Row 4 is *rest* ([`rest`]): what a daemon keeps and uses
//! when nothing happens. Row 5 is *pods* ([`pods`]): what ADD and DEL of CNI plugins cost. The peers that announce and that count are the bench's own ([`feeder`], [`ledger`]), the same for all.
//!
//! What makes the figures comparable:
//!
//! - **Same peers.** They say the same bytes to all, as fast as they are read. The receiver waits for them (passive), so
//!   that nobody's retry timer counts.
//! - **Fresh ground.** Each round has a receiver namespace of its own ([`ground`]); the next one begins when the kernel
//!   has taken the last one apart. Rounds alternate between the receivers, and who goes first changes each time.
//! - **Same sysctls**: those of `flatroute-agent prepare`, for all.
//! - **Same clock.** In row 1 it starts when all sessions are established and the feeders begin to write, and stops when [`watch`] has seen
//!   the last route. The looking is done by single look-ups at a low rate: no dump and no listener of the bench's on the
//!   route group, which would cost the writer a third of its speed (the receivers keep the listeners that they have).
//! - **The kernel's share is known**: [`raw`] writes the same routes and does nothing else, beside as many listeners as our agent has.
//! - **The feeders' share is known**: [`sink`] is a receiver that only counts prefixes. What it needs is the floor of
//!   every row, and is printed with them; so is the time after which a receiver had taken the last byte.
//!
//! CPU time is that of the receiver's process, kernel work on its behalf included ([`usage`]); memory is its peak.

mod feeder;
mod gather;
mod ground;
mod install;
mod ledger;
mod mrt;
mod passage;
mod pods;
mod raw;
mod receiver;
mod relay;
mod report;
mod rest;
mod sink;
mod table;
mod talk;
mod through;
mod transit;
mod usage;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::paint;
use crate::sandbox::{self, Ending};
use crate::speaker::Software;
use feeder::Feeder;
use ground::Transport;

/// Nothing in the bench may take longer than this altogether.
const LIMIT: Duration = Duration::from_secs(720);
/// How many feeders there are: the most next hops of a route.
const FEEDERS: u8 = 2;
/// How long one receiver may take for one round.
const ROUND_BOUND: Duration = Duration::from_secs(20);

/// How often everyone is measured unless the user says otherwise, and with tables that are [`LARGE`].
const ROUNDS: usize = 5;
const FEWER_ROUNDS: usize = 3;
/// In routes.
const LARGE: u32 = 500_000;

/// A row of the bench.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Row 1: routes from peers into the kernel
    Install,
    /// Row 2: routes in from one peer and out to another, and their withdrawal
    Through,
    /// Row 3: routes in from many peers and out to one, and their withdrawal
    Gather,
    /// Row 4: memory and CPU time of a daemon that has its routes and nothing to do
    Rest,
    /// Row 5: pods that come and go (CNI ADD and DEL), and GC of a thousand
    Pods,
}

/// What the user asked for.
#[derive(Debug, Clone)]
pub struct Wishes {
    /// Only this row.
    pub row: Option<Kind>,
    /// How often each daemon goes through each row; the default depends on how large that is.
    pub rounds: Option<usize>,
    /// Row 1: how many routes each feeder announces.
    pub routes: u32,
    /// Row 1: only this number of next hops.
    pub hops: Option<usize>,
    /// Row 2: how many routes.
    pub sizes: Vec<u32>,
    /// Rows 2 to 4: only these daemons, by name; none: every one that is installed.
    pub daemons: Vec<String>,
    /// Row 2: a real table for the IPv4 rows, an MRT file.
    pub table: Option<PathBuf>,
    /// Rows 2 to 4: another build of our agent, measured beside this one. Row 5, asked for alone: another build of our plugin.
    pub against: Option<PathBuf>,
    /// Row 5: the plugin to measure; the one beside this program when not said.
    pub plugin: Option<PathBuf>,
    /// Leave the IPv6 rows out.
    pub ipv4_only: bool,
    /// Measure our agent alone (for a profiler).
    pub alone: bool,
}

impl Wishes {
    fn wants(&self, row: Kind) -> bool {
        self.row.is_none_or(|only| only == row)
    }

    fn rounds(&self, routes: u32) -> usize {
        let usual = if routes > LARGE { FEWER_ROUNDS } else { ROUNDS };
        self.rounds.unwrap_or(usual).max(1)
    }

    fn transports(&self) -> &'static [Transport] {
        if self.ipv4_only {
            &[Transport::Ipv4]
        } else {
            &[Transport::Ipv4, Transport::Ipv6]
        }
    }
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
    if !sandbox::is_inside() && wishes.wants(Kind::Pods) {
        pods::own_plugin(wishes)?;
    }
    if !sandbox::is_inside() && wishes.row != Some(Kind::Pods) {
        Software::Agent.find()?;
        transit::Transit::found(&wishes.daemons, None)?;
        if wishes.routes == 0 || wishes.routes > 1_000_000 {
            bail!("--routes {}: it may be 1 to 1000000", wishes.routes);
        }
        if let Some(size) = wishes.sizes.iter().find(|size| !(1..=1_000_000).contains(*size)) {
            bail!("--sizes {size}: it may be 1 to 1000000");
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
    if wishes.row == Some(Kind::Pods) {
        pods::measure(wishes)?;
        println!("\n{} s altogether.", begin.elapsed().as_secs());
        return Ok(0);
    }
    let feeders = (1..=FEEDERS)
        .map(|number| Feeder::new(number, 0..wishes.routes))
        .collect::<Result<Vec<_>>>()?;
    let mut code = 0;
    if wishes.wants(Kind::Install) {
        if Software::Bird.find().is_ok() || wishes.alone {
            install::measure(&feeders, wishes, begin)?;
        } else {
            println!("Row 1 (install) is left out: BIRD is not installed (sudo make test-deps).");
        }
    }
    if wishes.wants(Kind::Through) {
        println!();
        if !passage::measure(&feeders, wishes, begin)? {
            code = 1;
        }
    }
    if wishes.wants(Kind::Gather) {
        println!();
        if !gather::measure(wishes, begin)? {
            code = 1;
        }
    }
    if wishes.wants(Kind::Rest) {
        println!();
        rest::measure(wishes)?;
    }
    if wishes.wants(Kind::Pods) {
        println!();
        pods::measure(&Wishes {
            against: None,
            ..wishes.clone()
        })?;
    }
    println!("\n{} s altogether.", begin.elapsed().as_secs());
    Ok(code)
}
