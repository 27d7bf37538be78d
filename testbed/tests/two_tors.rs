//! The configurations of ToRs in `docs/two-tors.md`, as they stand there: racks of nodes behind them reach each other.
//!
//! Only what differs from ToR to ToR is replaced, its ASN and its router id, and the sessions with the spines are added.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use flatroute_testbed::lab::{Lab, Wiring};
use flatroute_testbed::manifests::deploy_dir;
use flatroute_testbed::probe::Matrix;
use flatroute_testbed::speaker::{Software, Speaker, agent, bird};
use flatroute_testbed::topology::{Router, Tier, Topology};
use flatroute_testbed::trial::{self, Need, Trial};
use flatroute_testbed::wait;

const BOUND: Duration = Duration::from_secs(40);

fn main() -> ExitCode {
    let limit = Duration::from_secs(120);
    trial::main(&[
        Trial {
            name: "bird_as_in_the_guide",
            needs: &[Need::Agent, Need::Bird],
            limit,
            body: || behind(Software::Bird),
        },
        Trial {
            name: "frr_as_in_the_guide",
            needs: &[Need::Agent, Need::Bird, Need::Frr],
            limit,
            body: || behind(Software::Frr),
        },
    ])
}

/// Two racks of nodes with our agent, behind ToRs with `tors` and spines with BIRD.
fn behind(tors: Software) -> Result<()> {
    let topology = Topology::two_racks();
    let mut lab = Lab::build(topology.clone())?;
    for router in &topology.routers {
        if router.tier != Tier::Node {
            lab.prepare(router)?;
        }
        let speaker = match (router.tier, tors) {
            (Tier::Node, _) => Speaker::start_agent(&lab.fabric, router, &node_manifests(&topology, router))?,
            (Tier::Tor, Software::Frr) => {
                Speaker::start_frr(&lab.fabric, router, frr_of_the_guide(&topology, router)?)?
            }
            (Tier::Tor, _) => {
                Speaker::start_bird(&lab.fabric, router, &bird_of_the_guide(&topology, router)?)?
            }
            (Tier::Spine, _) => Speaker::start(Software::Bird, &lab.fabric, router)?,
        };
        lab.speakers.push(speaker);
    }
    lab.await_routes(BOUND, None)?;
    lab.add_pods(Wiring::Hand, 1)?;
    // The sessions that come last move paths about, and the page promises nothing about that moment.
    wait::until("all pairs of pods to reach each other", BOUND, || {
        let matrix = Matrix::probe(&lab.pods)?;
        let (reached, all) = matrix.reached();
        let failures = || format!("{}: {:?}", matrix.summary(), matrix.failures());
        Ok(if reached == all { Ok(()) } else { Err(failures()) })
    })?;
    lab.stop()
}

/// The block of the page in a language, for this ToR.
fn of_the_guide(language: &str, router: &Router) -> Result<String> {
    let page = deploy_dir().join("../docs/two-tors.md");
    let page = std::fs::read_to_string(&page).context("read the guide")?;
    let block = page
        .split(&format!("```{language}\n"))
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .with_context(|| format!("no block of {language} in the guide"))?;
    Ok(block
        .replace("65001", &router.asn.to_string())
        .replace("10.255.1.1", &router.ipv4.to_string()))
}

fn bird_of_the_guide(topology: &Topology, router: &Router) -> Result<String> {
    let mut text = of_the_guide("bird", router)?;
    text.push_str("log stderr all;\n");
    for spine in topology.neighbours(router) {
        if spine.router.tier == Tier::Spine {
            text.push_str(&bird::session(router, &spine, spine.router.asn));
        }
    }
    Ok(text)
}

fn frr_of_the_guide(topology: &Topology, router: &Router) -> Result<String> {
    let mut text = of_the_guide("frr", router)?;
    text.push_str("log stdout informational\n");
    for spine in topology.neighbours(router) {
        if spine.router.tier != Tier::Spine {
            continue;
        }
        let (address, name) = (spine.remote.ipv4, &spine.router.name);
        let _ = write!(
            text,
            "route-map to-{name} permit 10\n set ipv6 next-hop global {local}\nexit\n\
             router bgp {asn}\n neighbor {address} remote-as {spine_asn}\n neighbor {address} timers connect 2\n",
            local = spine.local.ipv6,
            asn = router.asn,
            spine_asn = spine.router.asn,
        );
        for (family, out) in [("ipv4", "all".to_owned()), ("ipv6", format!("to-{name}"))] {
            let _ = write!(
                text,
                " address-family {family} unicast\n  neighbor {address} activate\n  neighbor {address} route-map all in\n  \
                 neighbor {address} route-map {out} out\n exit-address-family\n"
            );
        }
        text.push_str("exit\n");
    }
    Ok(text)
}

/// A node with a session over each family to each of its ToRs, as most switches are set up.
fn node_manifests(topology: &Topology, node: &Router) -> Vec<(String, String)> {
    let mut manifests = agent::manifests(topology, node);
    let mut peers = String::new();
    for tor in topology.neighbours(node) {
        for (family, address) in [
            ("v4", tor.remote.ipv4.to_string()),
            ("v6", tor.remote.ipv6.to_string()),
        ] {
            let _ = write!(
                peers,
                "---\napiVersion: flatroute.io/v1alpha1\nkind: BGPPeer\nmetadata: {{name: {name}-{family}}}\nspec:\n  \
                 peerAddress: \"{address}\"\n  peerASN: External\n",
                name = tor.router.name,
            );
        }
    }
    manifests.retain(|(name, _)| name != "peers.yaml");
    manifests.push(("peers.yaml".to_owned(), peers));
    manifests
}
