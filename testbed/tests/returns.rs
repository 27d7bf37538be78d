//! Our agent on every router: a ToR that comes back under traffic costs next to nothing.
//!
//! What once went wrong here: the spines sent over the returned links within milliseconds, while the ends of some could
//! not yet send; the ToR's first ARP requests or their answers were lost, its neighbours stayed INCOMPLETE for the second
//! until the next request, and of the packets that waited for them the kernel dropped all but the last few hundred. It
//! took several returns to meet it, hence the rounds (`ROUNDS` sets another number).

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use flatroute_testbed::lab::Lab;
use flatroute_testbed::speaker::Software;
use flatroute_testbed::topology::Topology;
use flatroute_testbed::traffic::Stream;
use flatroute_testbed::trial::{self, Need, Trial};

const BOUND: Duration = Duration::from_secs(20);
/// Packets of one stream, which sends a thousand a second.
const ALLOWED: usize = 20;

fn main() -> ExitCode {
    trial::main(&[Trial {
        name: "a_tor_that_comes_back_hurts_nobody",
        needs: &[Need::Agent],
        limit: Duration::from_secs(300),
        body: a_tor_that_comes_back,
    }])
}

fn a_tor_that_comes_back() -> Result<()> {
    let rounds = std::env::var("ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok());
    let mut lab = Lab::at_rest(Topology::two_racks(), Software::Agent, BOUND)?;
    for round in 1..=rounds.unwrap_or(4) {
        cut_and_return(&mut lab, round)?;
    }
    lab.stop()
}

fn cut_and_return(lab: &mut Lab, round: u32) -> Result<()> {
    let (from, to) = (lab.pod("node1-pod1")?.clone(), lab.pod("node3-pod1")?.clone());
    let mut streams = Vec::new();
    for (from, to) in [(&from, &to), (&to, &from)] {
        for ipv6 in [false, true] {
            streams.push(Stream::start(from, to, ipv6, 1000, 16)?);
        }
    }
    lab.fabric.cut("tor1a")?;
    lab.await_routes(BOUND, Some("tor1a"))?;
    // Long enough for the neighbours' sessions to have unanswered segments, so that they ask for the ToR at once.
    std::thread::sleep(Duration::from_secs(1));
    let light = Instant::now();
    lab.fabric.restore("tor1a")?;
    lab.await_routes(BOUND, None)?;
    // The first packets over the second path, and any wait for a neighbour.
    std::thread::sleep(Duration::from_millis(1300));
    let outcomes = Stream::finish(streams)?;
    let end = Instant::now();
    for outcome in outcomes {
        let loss = outcome.loss(light, end);
        println!("round {round}: {}: {loss:?}", outcome.label);
        ensure!(
            loss.lost <= ALLOWED,
            "round {round}: {}: the return cost more than {ALLOWED} packets: {loss:?}",
            outcome.label
        );
    }
    Ok(())
}
