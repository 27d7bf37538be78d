//! Our agent on two nodes of a rack, BIRD as their ToR: what the ToR's owner would see on its command line.
//!
//! Each promise is asserted from birdc's output (and, where the kernel is the point, from the kernel). The wording of
//! BIRD's messages is that of the 2.x series; a version whose words differ fails loudly here, not silently.

use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use flatroute_api::control::{Peer, Peers};
use flatroute_testbed::control;
use flatroute_testbed::fabric::Fabric;
use flatroute_testbed::kernel::{self, Action, KernelRoute};
use flatroute_testbed::speaker::{Speaker, agent, bird};
use flatroute_testbed::topology::{Router, Size, Tier, Topology};
use flatroute_testbed::trial::{self, Need, Trial};
use flatroute_testbed::wait::{self, Look};

/// For anything that takes a session to come up or back.
const BOUND: Duration = Duration::from_secs(20);
/// What the ToR originates in some of the tests.
const EXTRA: [&str; 2] = ["10.244.200.0/24", "fd00:244:c8::/64"];

fn main() -> ExitCode {
    let limit = Duration::from_secs(90);
    let needs = &[Need::Bird, Need::Agent];
    trial::main(&[
        Trial {
            name: "bird_sessions_and_routes_both_ways",
            needs,
            limit,
            body: sessions_and_routes,
        },
        Trial {
            name: "bird_withdraws",
            needs,
            limit,
            body: bird_withdraws,
        },
        Trial {
            name: "we_withdraw_without_a_reset",
            needs,
            limit,
            body: we_withdraw,
        },
        Trial {
            name: "bird_resets_and_all_recovers",
            needs,
            limit,
            body: bird_resets,
        },
        Trial {
            name: "we_restart_and_all_recovers",
            needs,
            limit,
            body: we_restart,
        },
        Trial {
            name: "we_refuse_a_wrong_asn",
            needs,
            limit,
            body: we_refuse_a_wrong_asn,
        },
        Trial {
            name: "bird_refuses_our_wrong_asn",
            needs,
            limit,
            body: bird_refuses_our_wrong_asn,
        },
    ])
}

/// One ToR with BIRD, two nodes with our agent.
struct Rack {
    fabric: Fabric,
    tor: Speaker,
    nodes: Vec<Speaker>,
}

impl Rack {
    fn topology() -> Topology {
        Topology::leaf_spine(Size {
            racks: 1,
            tors: 1,
            nodes: 2,
            spines: 0,
        })
    }

    /// Starts everything; `configuration` and `manifests` may change what is configured.
    fn start(
        configuration: impl Fn(&Topology, &Router) -> String,
        manifests: impl Fn(&Topology, &Router) -> Vec<(String, String)>,
    ) -> Result<Self> {
        let fabric = Fabric::build(Self::topology())?;
        let topology = fabric.topology().clone();
        let router = topology.tier(Tier::Tor).next().context("a ToR")?;
        fabric.namespace(&router.name)?.set("net/ipv4/ip_forward", "1")?;
        fabric
            .namespace(&router.name)?
            .set("net/ipv6/conf/all/forwarding", "1")?;
        let tor = Speaker::start_bird(&fabric, router, &configuration(&topology, router))?;
        let start = |node| Speaker::start_agent(&fabric, node, &manifests(&topology, node));
        let nodes = topology.nodes().map(start).collect::<Result<_>>()?;
        Ok(Self { fabric, tor, nodes })
    }

    fn usual() -> Result<Self> {
        let rack = Self::start(with_extra, agent::manifests)?;
        rack.await_session("to_node1")?;
        rack.await_session("to_node2")?;
        Ok(rack)
    }

    /// Asks BIRD until its answer about a protocol holds all of `words`.
    fn await_tor(&self, protocol: &str, words: &[&str]) -> Result<String> {
        let question = format!("show protocols all {protocol}");
        self.await_answer(
            &question,
            |answer| words.iter().all(|word| answer.contains(word)),
            &words.join(", "),
        )
    }

    fn await_answer(&self, question: &str, fits: impl Fn(&str) -> bool, what: &str) -> Result<String> {
        let waited = wait::until(&format!("birdc {question}: {what}"), BOUND, || {
            let answer = bird::ask(&self.tor, question)?;
            Ok(if fits(&answer) {
                Ok(answer)
            } else {
                Err(format!("it says\n{answer}"))
            })
        });
        let words = || self.nodes.iter().map(Speaker::last_words).collect::<String>();
        waited
            .map(|(answer, _)| answer)
            .map_err(|error| anyhow!("{error:#}\n{}", words()))
    }

    /// Established with both channels up.
    fn await_session(&self, protocol: &str) -> Result<String> {
        let question = format!("show protocols all {protocol}");
        let fits = |answer: &str| {
            answer.contains("Established") && answer.matches("State:          UP").count() == 2
        };
        self.await_answer(&question, fits, "Established, both channels UP")
    }

    /// Waits until BIRD has imported so many routes from a node, in each family.
    fn await_imported(&self, protocol: &str, count: u32) -> Result<String> {
        let question = format!("show protocols all {protocol}");
        let words = format!("{count} imported");
        self.await_answer(
            &question,
            |answer| answer.matches(words.as_str()).count() == 2,
            &format!("{words} in both families"),
        )
    }

    fn await_kernel(&self, node: &str, what: &str, look: impl Fn(&[KernelRoute]) -> bool) -> Result<()> {
        wait::until(&format!("the kernel of {node}: {what}"), BOUND, || {
            let routes = kernel::routes(self.fabric.namespace(node)?)?;
            let list = || {
                routes
                    .iter()
                    .map(|route| format!("\n    {route}"))
                    .collect::<String>()
            };
            Ok(if look(&routes) {
                Look::Ok(())
            } else {
                Err(format!("it has{}", list()))
            })
        })?;
        Ok(())
    }

    fn peer(&self, node: usize) -> Result<Peer> {
        let speaker = self.nodes.get(node).context("a node")?;
        let answer: Peers = control::fetch(&agent::socket(speaker), "/v1/peers")?;
        answer.peers.into_iter().next().context("a peer")
    }
}

/// The usual configuration of the ToR, and routes of its own that can be switched off.
fn with_extra(topology: &Topology, router: &Router) -> String {
    let [v4, v6] = EXTRA;
    let mut text = bird::configuration(topology, router);
    text.push_str(&format!(
        "protocol static extra4 {{ ipv4; route {v4} blackhole; }}\n"
    ));
    text.push_str(&format!(
        "protocol static extra6 {{ ipv6; route {v6} blackhole; }}\n"
    ));
    text
}

fn has(routes: &[KernelRoute], prefix: &str) -> bool {
    routes
        .iter()
        .any(|route| route.prefix.to_string() == prefix && route.action == Action::Forward)
}

fn sessions_and_routes() -> Result<()> {
    println!("interop with {}", bird::version()?);
    let rack = Rack::usual()?;
    for (number, protocol) in ["to_node1", "to_node2"].into_iter().enumerate() {
        let answer = rack.await_imported(protocol, 1)?;
        for capability in ["4-octet AS numbers", "Route refresh", "Extended message"] {
            let neighbour = answer.split("Neighbor capabilities").nth(1).unwrap_or_default();
            ensure!(
                neighbour.contains(capability),
                "{protocol}: no {capability} from us:\n{answer}"
            );
        }
        let peer = rack.peer(number)?;
        ensure!(peer.state == "Established", "our own view differs: {peer:?}");
    }
    // Ours at the ToR: path, next hop (the node's address on the link; for IPv6 a global one alone).
    let v4 = bird::ask(&rack.tor, "show route for 10.244.1.0/24 all")?;
    let v6 = bird::ask(&rack.tor, "show route for fd00:244:1::/64 all")?;
    let topology = Rack::topology();
    let node = topology.find("node1").context("node1")?;
    let local = topology.neighbours(node).first().context("a link")?.local.clone();
    for (answer, next_hop) in [(&v4, local.ipv4.to_string()), (&v6, local.ipv6.to_string())] {
        ensure!(answer.contains("BGP.as_path: 64512\n"), "AS_PATH:\n{answer}");
        ensure!(answer.contains("BGP.origin: IGP"), "ORIGIN:\n{answer}");
        ensure!(
            answer.contains(&format!("BGP.next_hop: {next_hop}")),
            "NEXT_HOP, expected {next_hop}:\n{answer}"
        );
    }
    // The other node's and the ToR's own in our kernel.
    for prefix in ["10.244.2.0/24", "fd00:244:2::/64", EXTRA[0], EXTRA[1]] {
        rack.await_kernel("node1", prefix, |routes| has(routes, prefix))?;
    }
    Ok(())
}

fn bird_withdraws() -> Result<()> {
    let rack = Rack::usual()?;
    for (protocol, prefix) in [("extra4", EXTRA[0]), ("extra6", EXTRA[1])] {
        rack.await_kernel("node1", prefix, |routes| has(routes, prefix))?;
        bird::ask(&rack.tor, &format!("disable {protocol}"))?;
        rack.await_kernel("node1", &format!("{prefix} gone"), |routes| !has(routes, prefix))?;
        bird::ask(&rack.tor, &format!("enable {protocol}"))?;
        rack.await_kernel("node1", &format!("{prefix} back"), |routes| has(routes, prefix))?;
    }
    ensure!(rack.peer(0)?.flaps == 0, "withdrawals reset the session");
    Ok(())
}

/// A Node that loses its pod CIDRs withdraws them, over the same session.
fn we_withdraw() -> Result<()> {
    let rack = Rack::usual()?;
    let before = rack.await_imported("to_node1", 1)?;
    let file = rack.nodes[0].dir().join("manifests/node.yaml");
    let whole = fs::read_to_string(&file)?;
    let bare: String = whole
        .lines()
        .filter(|line| !line.contains("podCIDR") && *line != "spec:")
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(&file, bare)?;
    rack.await_imported("to_node1", 0)?;
    fs::write(&file, whole)?;
    let after = rack.await_imported("to_node1", 1)?;
    let since = |answer: &str| {
        answer
            .lines()
            .find(|line| line.starts_with("to_node1"))
            .map(str::to_owned)
    };
    ensure!(
        since(&before) == since(&after),
        "the session was reset:\n{before}\n{after}"
    );
    Ok(())
}

fn bird_resets() -> Result<()> {
    let rack = Rack::usual()?;
    rack.await_kernel("node1", EXTRA[0], |routes| has(routes, EXTRA[0]))?;
    bird::ask(&rack.tor, "disable to_node1")?;
    rack.await_kernel("node1", "no routes of the ToR", |routes| {
        !has(routes, EXTRA[0]) && !has(routes, EXTRA[1])
    })?;
    let error = rack.peer(0)?.last_error.context("no last error after a Cease")?;
    // RFC 4486 §4: Cease, Administrative Shutdown.
    ensure!(
        (error.code, error.subcode) == (Some(6), Some(2)),
        "not Cease/Administrative Shutdown: {error:?}"
    );
    ensure!(error.direction == "Received", "{error:?}");
    bird::ask(&rack.tor, "enable to_node1")?;
    rack.await_session("to_node1")?;
    rack.await_imported("to_node1", 1)?;
    for prefix in EXTRA {
        rack.await_kernel("node1", prefix, |routes| has(routes, prefix))?;
    }
    ensure!(rack.peer(0)?.flaps == 1, "one flap expected: {:?}", rack.peer(0)?);
    Ok(())
}

/// Stopped by SIGTERM and started again on the same state.
fn we_restart() -> Result<()> {
    let mut rack = Rack::usual()?;
    rack.await_imported("to_node1", 1)?;
    let topology = Rack::topology();
    let node = topology.find("node1").context("node1")?;
    rack.nodes.remove(0).stop()?;
    rack.await_answer(
        "show protocols all to_node1",
        |answer| !answer.contains("Established"),
        "not Established",
    )?;
    rack.nodes.insert(
        0,
        Speaker::start_agent(&rack.fabric, node, &agent::manifests(&topology, node))?,
    );
    rack.await_session("to_node1")?;
    rack.await_imported("to_node1", 1)?;
    rack.await_kernel("node1", EXTRA[0], |routes| has(routes, EXTRA[0]))
}

/// We expect another ASN than the ToR has: OPEN Message Error, Bad Peer AS (RFC 4271 §6.2), sent by us.
fn we_refuse_a_wrong_asn() -> Result<()> {
    let rack = Rack::start(with_extra, |topology, node| {
        let mut files = agent::manifests(topology, node);
        for (_, text) in &mut files {
            *text = text.replace("peerASN: 65001", "peerASN: 65999");
        }
        files
    })?;
    rack.await_tor("to_node1", &["Received: Bad peer AS"])?;
    let answer = bird::ask(&rack.tor, "show protocols to_node1")?;
    ensure!(!answer.contains("Established"), "{answer}");
    let error = rack.peer(0)?.last_error.context("no last error")?;
    ensure!(
        (error.code, error.subcode) == (Some(2), Some(2)) && error.direction == "Sent",
        "{error:?}"
    );
    Ok(())
}

/// The ToR expects another ASN than we have; its NOTIFICATION is what we then report.
fn bird_refuses_our_wrong_asn() -> Result<()> {
    let wrong = |topology: &Topology, router: &Router| {
        with_extra(topology, router).replace(" as 64512;", " as 64999;")
    };
    let rack = Rack::start(wrong, agent::manifests)?;
    rack.await_tor("to_node1", &["BGP Error: Bad peer AS"])?;
    wait::until("our own word of it", BOUND, || {
        let error = rack.peer(0)?.last_error;
        let fits = error
            .as_ref()
            .is_some_and(|e| (e.code, e.subcode) == (Some(2), Some(2)) && e.direction == "Received");
        Ok(if fits { Ok(()) } else { Err(format!("{error:?}")) })
    })?;
    Ok(())
}
