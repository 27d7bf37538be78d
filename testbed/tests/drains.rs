//! A ToR that is taken out of service and put back, as an operator does it: cutting it off costs nothing any more.
//!
//! The nodes of its rack drain it (`state: Drained`). What they tell it says GRACEFUL_SHUTDOWN (RFC 8326), so the ToR and
//! the spines behind it prefer the other ToR, and the nodes themselves send over the other one. Once nothing goes through it
//! any more its links are cut under traffic. Then it returns, and is used again as soon as it is no longer drained.
//!
//! The same on links without addresses, where the ToR is found anew when it returns.
//!
//! In the same way a key (TCP MD5) is set and changed on its sessions, which resets them.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use flatroute_api::control::{Event, Events, Peer, Routes};
use flatroute_testbed::control;
use flatroute_testbed::kernel::Action;
use flatroute_testbed::lab::{Lab, prefixes};
use flatroute_testbed::speaker::{Software, Speaker, agent};
use flatroute_testbed::topology::{Tier, Topology};
use flatroute_testbed::traffic::Stream;
use flatroute_testbed::trial::{self, Need, Trial};
use flatroute_testbed::wait;

const BOUND: Duration = Duration::from_secs(20);
/// What is taken out of service, and the nodes below it.
const TOR: &str = "tor1a";
const BELOW: [&str; 2] = ["node1", "node2"];
/// Packets a second of one stream.
const RATE: u32 = 1000;

fn main() -> ExitCode {
    let limit = Duration::from_secs(200);
    trial::main(&[
        Trial {
            name: "a_tor_is_taken_out_of_service_under_traffic",
            needs: &[Need::Agent],
            limit,
            body: || under_traffic(Topology::two_racks(), take_out_of_service),
        },
        Trial {
            name: "a_tor_on_links_without_addresses_is_taken_out_of_service_under_traffic",
            needs: &[Need::Agent],
            limit,
            body: || under_traffic(Topology::two_racks().unnumbered(), take_out_of_service),
        },
        Trial {
            name: "the_key_of_a_tor_is_set_and_changed_under_traffic",
            needs: &[Need::Agent],
            limit,
            body: || under_traffic(Topology::two_racks(), change_keys),
        },
    ])
}

/// A fabric with streams between the two nodes below the ToR and one in the other rack; `story` costs none of their packets.
fn under_traffic(topology: Topology, story: fn(&mut Lab) -> Result<()>) -> Result<()> {
    let mut lab = Lab::at_rest(topology, Software::Agent, BOUND)?;
    let streams = lab.streams(RATE)?;
    std::thread::sleep(Duration::from_millis(500));
    let begin = Instant::now();
    story(&mut lab)?;
    // What comes of the last step is seen by then.
    std::thread::sleep(Duration::from_secs(1));
    Stream::finish_unhurt(streams, begin, "the drain")?;
    lab.stop()
}

fn take_out_of_service(lab: &mut Lab) -> Result<()> {
    drain(lab)?;
    for node in BELOW {
        let speaker = lab.speaker(node)?;
        let told: Routes = control::fetch(
            &agent::socket(speaker),
            &format!("/v1/routes?view=advertised&peer={TOR}"),
        )?;
        let goodbye = |communities: &[String]| communities.iter().any(|c| c == "graceful-shutdown");
        ensure!(
            told.routes.len() == 2 && told.routes.iter().all(|route| goodbye(&route.communities)),
            "{node}: {told:?}"
        );
    }
    lab.fabric.cut(TOR)?;
    std::thread::sleep(Duration::from_secs(2));
    lab.fabric.restore(TOR)?;
    lab.await_sessions(BOUND)?;
    undrain(lab)
}

/// First none, then one, then another: each change resets the sessions with the ToR, while both sides do not have the same.
fn change_keys(lab: &mut Lab) -> Result<()> {
    drain(lab)?;
    for key in ["the first", "the second"] {
        let before = established(lab)?;
        for router in [TOR, BELOW[0], BELOW[1]] {
            set_key(lab, router, key)?;
        }
        wait::until(&format!("sessions with {key} key"), BOUND, || {
            let now = established(lab)?;
            let is_new = now.iter().zip(&before).all(|(now, before)| now > before);
            Ok(if is_new {
                Ok(())
            } else {
                Err(format!("the last sessions are events {now:?}, before {before:?}"))
            })
        })?;
        lab.await_sessions(BOUND)?;
    }
    undrain(lab)
}

/// Moves all that goes through the ToR to the other one.
fn drain(lab: &mut Lab) -> Result<()> {
    for node in BELOW {
        let speaker = lab.speaker(node)?;
        ensure!(
            drain_of(speaker)?.is_none(),
            "{node}: drained before anybody asked"
        );
        set_state(speaker, Some("Drained"))?;
    }
    lab.await_routes(BOUND, Some(TOR))?;
    await_spines(lab, 1)?;
    for node in BELOW {
        let state = drain_of(lab.speaker(node)?)?;
        ensure!(state.as_deref() == Some("Announced"), "{node}: is not drained");
    }
    Ok(())
}

fn undrain(lab: &mut Lab) -> Result<()> {
    for node in BELOW {
        set_state(lab.speaker(node)?, None)?;
    }
    lab.await_routes(BOUND, None)?;
    await_spines(lab, 2)
}

/// The numbers of the events by which the nodes below last had a session with the ToR.
fn established(lab: &mut Lab) -> Result<Vec<u64>> {
    let mut of = |node: &&str| -> Result<u64> {
        let all: Events = control::fetch(&agent::socket(lab.speaker(node)?), "/v1/events")?;
        let is_it = |e: &&Event| e.kind == "PeerEstablished" && e.peer.as_deref() == Some(TOR);
        Ok(all
            .events
            .iter()
            .filter(is_it)
            .map(|e| e.number)
            .max()
            .unwrap_or(0))
    };
    BELOW.iter().map(&mut of).collect()
}

/// Gives the sessions between the ToR and the nodes below a key, on one side.
fn set_key(lab: &mut Lab, router: &str, key: &str) -> Result<()> {
    let speaker = lab.speaker(router)?;
    let mut peers = fs::read_to_string(peers_file(speaker)).context("read the BGPPeers")?;
    let others: &[&str] = if router == TOR { &BELOW } else { &[TOR] };
    for other in others {
        let head = format!("metadata: {{name: {other}}}\nspec:\n");
        let auth = "  auth: {md5: {secretRef: {name: key}}}\n";
        let (before, after) = peers.split_once(&head).context("the BGPPeer")?;
        let after = after.strip_prefix(auth).unwrap_or(after);
        peers = format!("{before}{head}{auth}{after}");
    }
    let secret =
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: key}}\nstringData: {{password: {key}}}\n");
    let files = [("key.yaml".to_owned(), secret), ("peers.yaml".to_owned(), peers)];
    agent::rewrite(speaker, &files)
}

fn peers_file(speaker: &Speaker) -> PathBuf {
    speaker.dir().join("manifests/peers.yaml")
}

/// Writes `state` of the BGPPeer of the ToR, or takes it away.
fn set_state(speaker: &Speaker, state: Option<&str>) -> Result<()> {
    let text = fs::read_to_string(peers_file(speaker)).context("read the BGPPeers")?;
    let head = format!("metadata: {{name: {TOR}}}\nspec:\n");
    let (before, after) = text.split_once(&head).context("the ToR's BGPPeer")?;
    let after = after.replacen("  state: Drained\n", "", 1);
    let state = state.map_or_else(String::new, |state| format!("  state: {state}\n"));
    let text = format!("{before}{head}{state}{after}");
    agent::rewrite(speaker, &[("peers.yaml".to_owned(), text)])
}

/// How far the ToR is drained, as a node says.
fn drain_of(speaker: &Speaker) -> Result<Option<String>> {
    let peer: Peer = control::fetch(&agent::socket(speaker), &format!("/v1/peers/{TOR}"))?;
    ensure!(peer.state == "Established", "{}: {peer:?}", speaker.router());
    Ok(peer.drain)
}

/// Waits until the kernel of every spine sends over so many ToRs to the nodes below the one in question.
fn await_spines(lab: &mut Lab, legs: usize) -> Result<()> {
    let topology = lab.fabric.topology().clone();
    let spines = topology
        .routers
        .iter()
        .filter(|router| router.tier == Tier::Spine);
    for spine in spines {
        let what = format!("{} to send over {legs} ToRs", spine.name);
        wait::until(&what, BOUND, || {
            let routes = lab.routes_to_pods(&spine.name)?;
            for node in topology
                .nodes()
                .filter(|node| BELOW.contains(&node.name.as_str()))
            {
                for prefix in prefixes(node) {
                    let route = routes
                        .iter()
                        .find(|route| route.prefix == prefix && route.action == Action::Forward);
                    let hops = route.map_or(0, |route| route.hops.len());
                    if hops != legs {
                        return Ok(Err(format!("{prefix}: {hops} next hops")));
                    }
                }
            }
            Ok(Ok(()))
        })?;
    }
    Ok(())
}
