//! Agents that end and come back, on nodes and on every router of the fabric: no packet is lost.
//!
//! Neighbours keep the routes of an agent that is away (RFC 4724), its own node goes on forwarding by what lies in the
//! kernel, and the next agent takes both over. Packets go all the while between pods of different racks and of one rack,
//! numbered, in both families. What is asked of one agent is asked of all of them in the same moment too: then nobody is
//! left who remembers anything but the kernels.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use flatroute_testbed::lab::Lab;
use flatroute_testbed::speaker::Software;
use flatroute_testbed::topology::Topology;
use flatroute_testbed::traffic::Stream;
use flatroute_testbed::trial::{self, Need, Trial};
use rustix::process::Signal;

const BOUND: Duration = Duration::from_secs(30);
/// Packets a second of one stream.
const RATE: u32 = 500;
/// How often an agent is killed in a row, and how far apart.
const KILLS: usize = 5;
const APART: Duration = Duration::from_secs(3);
/// How long packets go on after one agent is back: its neighbours tell it all they have at once.
const AFTER_ONE: Duration = Duration::from_secs(4);
/// The same where all restarted: longer than any patience of theirs after a restart.
const AFTER_ALL: Duration = Duration::from_secs(17);

fn main() -> ExitCode {
    trial::main(&[
        Trial {
            name: "agents_that_restart_lose_no_packet",
            needs: &[Need::Agent],
            limit: Duration::from_secs(400),
            body: agents_that_restart,
        },
        Trial {
            name: "a_node_that_restarts_under_bird_loses_no_packet",
            needs: &[Need::Agent, Need::Bird],
            limit: Duration::from_secs(200),
            body: || a_node_that_restarts_under(Software::Bird),
        },
        Trial {
            name: "a_node_that_restarts_under_frr_loses_no_packet",
            needs: &[Need::Agent, Need::Frr],
            limit: Duration::from_secs(200),
            body: || a_node_that_restarts_under(Software::Frr),
        },
    ])
}

fn agents_that_restart() -> Result<()> {
    let mut lab = Lab::at_rest(Topology::two_racks(), Software::Agent, BOUND)?;
    let all: Vec<String> = lab.speakers.iter().map(|s| s.router().to_owned()).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    for (what, who) in [("a node", &["node1"][..]), ("a ToR", &["tor1a"]), ("all", &all)] {
        harmless(&mut lab, &format!("{what}, SIGTERM"), who, Signal::TERM, 1)?;
        harmless(&mut lab, &format!("{what}, SIGKILL"), who, Signal::KILL, 1)?;
        let name = format!("{what}, {KILLS} times SIGKILL");
        harmless(&mut lab, &name, who, Signal::KILL, KILLS)?;
    }
    lab.stop()
}

fn a_node_that_restarts_under(fabric: Software) -> Result<()> {
    let mut lab = Lab::at_rest(Topology::two_racks(), fabric, BOUND)?;
    harmless(&mut lab, "SIGTERM", &["node1"], Signal::TERM, 1)?;
    harmless(&mut lab, "SIGKILL", &["node1"], Signal::KILL, 1)?;
    lab.stop()
}

/// Restarts agents under traffic, which loses nothing; in the end every session and route is there.
fn harmless(lab: &mut Lab, what: &str, who: &[&str], signal: Signal, times: usize) -> Result<()> {
    let streams = lab.streams(RATE)?;
    std::thread::sleep(Duration::from_millis(500));
    let begin = Instant::now();
    for round in 0..times {
        if round > 0 {
            std::thread::sleep(APART);
        }
        restart(lab, who, signal)?;
    }
    std::thread::sleep(if who.len() > 1 { AFTER_ALL } else { AFTER_ONE });
    lab.await_sessions(BOUND)?;
    lab.await_routes(BOUND, None)?;
    Stream::finish_unhurt(streams, begin, what)
}

fn restart(lab: &mut Lab, who: &[&str], signal: Signal) -> Result<()> {
    let Lab { fabric, speakers, .. } = lab;
    let chosen = || speakers.iter().filter(|s| who.contains(&s.router()));
    ensure!(chosen().count() == who.len(), "not all of {who:?} are here");
    // All of them end before the first is back.
    for speaker in chosen() {
        speaker.signal(signal)?;
    }
    for speaker in speakers.iter_mut().filter(|s| who.contains(&s.router())) {
        speaker.restart(fabric, signal)?;
    }
    Ok(())
}
