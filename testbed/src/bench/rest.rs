//! Row 4: what a daemon needs while nothing happens: memory after its routes are in the kernel, and the CPU time of a minute.
//!
//! This is what a node pays for all its life. So the daemons do the job of a node, with the routes of each neighbour in the
//! kernel, and nobody asks them anything. They rest at the same time, each with neighbours of its own: KEEPALIVEs come and
//! go every [`KEEPALIVE`], as hold times of 90 s make them, and those are nearly all that wakes a daemon.
//!
//! Memory is what is resident, and how much of it is its own: the rest are pages of the program's file, which the kernel
//! may drop and read again, and shares among all processes that run it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::feeder::{Feeder, establish};
use super::gather;
use super::ground::{Ground, Transport};
use super::transit::Transit;
use super::usage::Resident;
use super::{ROUND_BOUND, Shape, Wishes, receiver, talk, watch};
use crate::paint;
use crate::process::Daemon;

/// How many neighbours, and how many routes from all of them together.
const SHAPES: [(u8, u32); 2] = [(2, 1000), (4, 10_000)];
/// From the last route in the kernel until a daemon counts as at rest; threads that were only needed for the start are gone then.
const SETTLE: Duration = Duration::from_secs(15);
/// How long it is watched.
const MINUTE: Duration = Duration::from_secs(60);
/// A third of the hold time that the daemons are configured with.
const KEEPALIVE: Duration = Duration::from_secs(receiver::HOLD_SECONDS as u64 / 3);

/// One daemon with its neighbours.
struct Bed {
    transit: Transit,
    shape: (u8, u32),
    feeders: Vec<Feeder>,
    ground: Ground,
    daemon: Daemon,
    sessions: Vec<TcpStream>,
    /// Before the minute.
    before: Option<Resident>,
}

/// Measures and prints all of row 4.
pub(super) fn measure(wishes: &Wishes) -> Result<()> {
    let daemons = Transit::asked_for(wishes)?;
    let kernel_too = |one: &Transit| match one {
        Transit::Flatroute | Transit::Against(_) | Transit::Bird => true,
        Transit::Frr | Transit::Gobgp => false,
    };
    let daemons: Vec<Transit> = daemons.into_iter().filter(kernel_too).collect();
    println!("{}", paint::bold("At rest, with the routes in the kernel"));
    println!(
        "  {}\n  IPv4, {} s after the last route, then {} s with KEEPALIVEs every {} s; all at the same time",
        daemons
            .iter()
            .map(Transit::version)
            .collect::<Result<Vec<_>>>()?
            .join(", "),
        SETTLE.as_secs(),
        MINUTE.as_secs(),
        KEEPALIVE.as_secs()
    );
    let mut beds = Vec::new();
    // Behind the places of the other rows.
    let mut number = gather::LAST_PLACE;
    for shape in SHAPES {
        for transit in &daemons {
            beds.push(Bed::make(transit, shape, &mut number)?);
        }
    }
    rest(&mut beds, SETTLE)?;
    for bed in &mut beds {
        bed.before = Some(bed.now()?);
    }
    rest(&mut beds, MINUTE)?;
    for shape in SHAPES {
        print!("{}", table(shape, &beds)?);
    }
    for bed in beds {
        drop(bed.daemon);
        bed.ground.clear(&bed.feeders)?;
    }
    Ok(())
}

impl Bed {
    /// Starts the daemon and waits until the kernel has every route.
    fn make(transit: &Transit, shape: (u8, u32), number: &mut u8) -> Result<Self> {
        let (peers, routes) = shape;
        let each = routes / u32::from(peers);
        let mut feeders = Vec::new();
        for place in 0..u32::from(peers) {
            *number = number.checked_add(1).context("too many feeders")?;
            feeders.push(Feeder::new(*number, place * each..(place + 1) * each)?);
        }
        let ground = Ground::lay(&feeders)?;
        let transport = Transport::Ipv4;
        let wanted = Shape {
            transport,
            hops: 1,
            routes: each * u32::from(peers),
        };
        let mut daemon = match transit.program()? {
            Some(agent) => receiver::start_agent(&ground, wanted, &agent)?,
            None => receiver::start_bird(&ground, wanted)?,
        };
        let mut sessions = Vec::new();
        for feeder in &feeders {
            let inside = || establish(feeder.number, feeder.asn(), transport, ROUND_BOUND);
            let (mut session, _) = feeder.namespace.run(inside)?;
            session
                .write_all(feeder.routes(transport))
                .context("write the routes")?;
            sessions.push(session);
        }
        watch::Watch::new(ground.namespace(), wanted)?
            .until_all(ROUND_BOUND, || daemon.expect_running())
            .with_context(|| format!("{}\n{}", transit.title(), daemon.last_words()))?;
        Ok(Self {
            transit: transit.clone(),
            shape,
            feeders,
            ground,
            daemon,
            sessions,
            before: None,
        })
    }

    fn now(&self) -> Result<Resident> {
        Resident::of(self.daemon.pid())
    }
}

/// Lets time pass; nothing but KEEPALIVEs is said.
fn rest(beds: &mut [Bed], time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        for bed in &mut *beds {
            bed.daemon.expect_running()?;
            for session in &mut bed.sessions {
                session.write_all(&talk::keepalive()).context("send KEEPALIVE")?;
            }
        }
        std::thread::sleep(left.min(KEEPALIVE));
    }
}

fn table(shape: (u8, u32), beds: &[Bed]) -> Result<String> {
    let (peers, routes) = shape;
    let title = format!("{peers} peers, {routes} routes");
    let mut rows = vec![
        [
            &title,
            "resident MiB",
            "of it its own",
            "peak MiB",
            "CPU ms a minute",
            "wakes a minute",
            "threads",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    let mebibytes = |bytes: u64| format!("{:.1}", bytes as f64 / (1024.0 * 1024.0));
    for bed in beds.iter().filter(|bed| bed.shape == shape) {
        let resident = bed.now()?;
        let before = bed.before.as_ref().context("a measurement before the minute")?;
        rows.push(vec![
            bed.transit.title().to_owned(),
            mebibytes(resident.bytes),
            mebibytes(resident.own_bytes),
            mebibytes(resident.peak_bytes),
            format!("{:.1}", resident.cpu_since(before).as_secs_f64() * 1000.0),
            resident.wakes.saturating_sub(before.wakes).to_string(),
            resident.threads.len().to_string(),
        ]);
    }
    let mut text = String::new();
    let _ = write!(text, "\n{}", paint::table(&rows));
    Ok(text)
}
