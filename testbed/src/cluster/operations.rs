//! What operators do, and what breaks, while traffic flows between the racks without a pause.
//!
//! Numbered packets go between a pod of each rack, both ways, in each family, on many ports, so that every path carries
//! some. For each operation the table shows what was sent and lost from its beginning until a while after its end, as it
//! is: nothing is hidden in a mean, and nothing is repeated until it looks better. An operation is `ok` when it came to its
//! end and every node's routes were whole again; the packets lost stand beside it, and where an operation may cost none, one is too many.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::exam::{Row, Verdict};
use super::rise::start_node;
use super::{Carrier, Cluster, deaths, keys};
use crate::pod::Pod;
use crate::topology::Tier;
use crate::traffic::{Loss, Stream};

/// Packets a second of each stream; there are two directions, each in every family.
const RATE: u32 = 250;
/// Source ports of each stream.
const FLOWS: u16 = 16;
/// A sender that stands still so long is told of: meanwhile nothing is proven.
const STILL: Duration = Duration::from_millis(200);
/// Losses that come late belong to the operation as well.
const AFTER: Duration = Duration::from_secs(5);
/// Routes whole again after an operation.
pub(super) const REPAIRED: Duration = Duration::from_secs(120);
/// How long the API server is away.
pub(super) const AWAY: Duration = Duration::from_secs(120);

/// One thing that happens.
struct Operation {
    name: &'static str,
    /// Only with our agents.
    ours: bool,
    /// Whether it may cost no packet.
    free: bool,
    act: fn(&mut Cluster) -> Result<String>,
}

const OPERATIONS: [Operation; 17] = [
    Operation {
        name: "nothing, for 10 s",
        ours: false,
        free: true,
        act: nothing,
    },
    Operation {
        name: "BGPPeer edited, sessions stay",
        ours: true,
        free: true,
        act: edit_peer_softly,
    },
    Operation {
        name: "BGPPeer edited, sessions reset",
        ours: true,
        free: false,
        act: edit_peer_hard,
    },
    Operation {
        name: "wrong object applied",
        ours: true,
        free: true,
        act: wrong_objects,
    },
    Operation {
        name: "DaemonSet rolling update",
        ours: true,
        free: true,
        act: rolling_update,
    },
    Operation {
        name: "an agent killed (SIGKILL)",
        ours: true,
        free: true,
        act: deaths::kill_agent,
    },
    Operation {
        name: "an agent killed five times, 3 s apart",
        ours: true,
        free: true,
        act: deaths::kill_agent_in_a_row,
    },
    Operation {
        name: "an agent's container killed five times",
        ours: true,
        free: true,
        act: deaths::kill_container_in_a_row,
    },
    Operation {
        name: "containerd restarted on a node",
        ours: false,
        free: true,
        act: restart_containerd,
    },
    Operation {
        name: "node drained and deleted",
        ours: false,
        free: false,
        act: drain_node,
    },
    Operation {
        name: "node added",
        ours: false,
        free: false,
        act: add_node,
    },
    Operation {
        name: "ToR killed and back",
        ours: false,
        free: false,
        act: kill_tor,
    },
    Operation {
        name: "API server away for 120 s",
        ours: false,
        free: true,
        act: api_server_away,
    },
    Operation {
        name: "the same, and an agent killed",
        ours: true,
        free: true,
        act: deaths::api_server_away_agent_killed,
    },
    Operation {
        name: "sessions get keys (TCP MD5)",
        ours: true,
        free: false,
        act: keys::give,
    },
    Operation {
        name: "with keys: API server away, an agent killed",
        ours: true,
        free: true,
        act: keys::away,
    },
    Operation {
        name: "keys taken back",
        ours: true,
        free: false,
        act: keys::take_back,
    },
];

/// Runs all of them.
///
/// # Errors
/// The traffic cannot be started. An operation that fails is a row of the table.
pub fn run(cluster: &mut Cluster) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for operation in &OPERATIONS {
        if operation.ours && cluster.carrier != Carrier::Flatroute {
            continue;
        }
        cluster.teller.say(&format!("operation: {}", operation.name));
        rows.push(under_traffic(cluster, operation).unwrap_or_else(|error| Row {
            name: operation.name.to_owned(),
            verdict: Verdict::Failed,
            detail: format!("no traffic: {error:#}"),
        }));
    }
    Ok(rows)
}

fn under_traffic(cluster: &mut Cluster, operation: &Operation) -> Result<Row> {
    cluster.control.expect_running()?;
    let (near, far) = ends(cluster)?;
    let mut streams = Vec::new();
    for (from, to) in [(&near, &far), (&far, &near)] {
        for ipv6 in cluster.common.site.families.order() {
            streams.push(Stream::start(from, to, *ipv6, RATE, FLOWS)?);
        }
    }
    std::thread::sleep(Duration::from_secs(1));
    let begun = Instant::now();
    let done = (operation.act)(cluster).and_then(|words| cluster.await_routes(REPAIRED).map(|()| words));
    let took = begun.elapsed();
    std::thread::sleep(AFTER);
    let end = Instant::now();
    let outcomes = Stream::finish(streams)?;
    for outcome in &outcomes {
        let loss = outcome.loss(begun, end);
        if loss.lost > 0 || loss.still >= STILL {
            let words = words(&loss);
            cluster.teller.say(&format!("  {}: {words}", outcome.label));
        }
    }
    let total: Loss = outcomes.iter().map(|outcome| outcome.loss(begun, end)).sum();
    let lost = words(&total);
    let (verdict, words) = match done {
        Ok(words) if operation.free && total.lost > 0 => (Verdict::Failed, words),
        Ok(words) => (Verdict::Ok, words),
        Err(error) => (Verdict::Failed, format!("{error:#}")),
    };
    let row = Row {
        name: operation.name.to_owned(),
        verdict,
        detail: [lost, format!("took {:.1} s", took.as_secs_f64()), words]
            .into_iter()
            .filter(|text| !text.is_empty())
            .collect::<Vec<_>>()
            .join("; "),
    };
    cluster
        .teller
        .say(&format!("  {}: {}", row.verdict.word(), row.detail));
    Ok(row)
}

/// What became of packets.
fn words(loss: &Loss) -> String {
    let mut text = format!("{} of {} packets lost", loss.lost, loss.sent);
    if let Some(first) = loss.first {
        let (hurt, first) = (loss.hurt.as_secs_f64(), first.as_secs_f64());
        text.push_str(&format!(", over {hurt:.2} s, the first after {first:.1} s"));
    }
    if loss.still >= STILL {
        let still = loss.still.as_secs_f64();
        text.push_str(&format!(", none sent for {still:.2} s"));
    }
    text
}

/// A pod of the first rack and one of the other, on the first node of each: no operation takes those nodes away.
pub(super) fn ends(cluster: &Cluster) -> Result<(Pod, Pod)> {
    let pods = cluster.pods("default", "app=hello")?;
    let of_rack = |rack: u16| {
        let first = cluster
            .common
            .site
            .topology
            .nodes()
            .find(|node| node.rack == rack);
        let name = first.map(|node| node.name.clone());
        let found = pods.iter().find(|pod| Some(&pod.node) == name.as_ref());
        found.cloned().with_context(|| format!("no pod in rack {rack}"))
    };
    Ok((of_rack(1)?, of_rack(2)?))
}

fn nothing(_: &mut Cluster) -> Result<String> {
    std::thread::sleep(Duration::from_secs(10));
    Ok(String::new())
}

fn rolling_update(cluster: &mut Cluster) -> Result<String> {
    let namespace = ["-n", "flatroute-system"];
    cluster
        .kubectl
        .run(&[&namespace[..], &["rollout", "restart", "daemonset/flatroute"]].concat())?;
    let status = ["rollout", "status", "daemonset/flatroute", "--timeout=300s"];
    cluster.kubectl.run(&[&namespace[..], &status].concat())?;
    Ok(format!(
        "{} agents replaced, one after the other",
        cluster.nodes.len()
    ))
}

/// M24: an agent is killed and comes back, and no packet between pods is lost.
pub(super) fn m24(cluster: &mut Cluster) -> Result<(Verdict, String)> {
    let killed = Operation {
        name: "an agent killed, for M24",
        ours: true,
        free: true,
        act: deaths::kill_agent,
    };
    let row = under_traffic(cluster, &killed)?;
    Ok((row.verdict, row.detail))
}

fn restart_containerd(cluster: &mut Cluster) -> Result<String> {
    let node = cluster.nodes.first_mut().context("a node")?;
    node.stop_containerd()?;
    std::thread::sleep(Duration::from_secs(2));
    node.start_containerd()?;
    let name = node.name.clone();
    cluster.await_ready()?;
    Ok(format!("on {name}"))
}

pub(super) fn drain_node(cluster: &mut Cluster) -> Result<String> {
    let node = cluster.nodes.pop().context("a node")?;
    let name = node.name.clone();
    cluster.kubectl.run(&[
        "drain",
        &name,
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--force",
        "--timeout=120s",
    ])?;
    cluster.kubectl.run(&["delete", "node", &name])?;
    node.destroy()?;
    cluster.forget_others(&name);
    Ok(name)
}

fn add_node(cluster: &mut Cluster) -> Result<String> {
    let site = cluster.common.site.clone();
    let missing = site
        .topology
        .nodes()
        .find(|router| cluster.node(&router.name).is_err());
    let router = missing.context("all nodes are there already")?;
    cluster.ground.set_routes(router)?;
    let mut node = start_node(&cluster.ground, &cluster.common, router, &cluster.archives)?;
    node.join()?;
    cluster.nodes.push(node);
    cluster.install_on_new_node(&router.name)?;
    let begun = Instant::now();
    cluster.await_ready()?;
    cluster.await_pods("default", "app=hello", cluster.nodes.len())?;
    Ok(format!(
        "{}: from its kubelet's start to a ready pod {:.1} s",
        router.name,
        begun.elapsed().as_secs_f64()
    ))
}

fn kill_tor(cluster: &mut Cluster) -> Result<String> {
    let name = "tor1a";
    cluster.ground.fabric.cut(name)?;
    std::thread::sleep(Duration::from_secs(10));
    cluster.ground.fabric.restore(name)?;
    let site = &cluster.common.site;
    let router = site.topology.find(name).context("the ToR")?;
    cluster.ground.set_routes(router)?;
    // What the kernel took away with the carrier, a machine's own configuration brings back.
    for neighbour in site.topology.neighbours(router) {
        if neighbour.router.tier != Tier::Node || cluster.node(&neighbour.router.name).is_ok() {
            cluster.ground.set_routes(neighbour.router)?;
        }
    }
    Ok(format!("{name} without power for 10 s"))
}

fn api_server_away(cluster: &mut Cluster) -> Result<String> {
    cluster.control.kill_api_server();
    std::thread::sleep(AWAY);
    cluster.control.start_api_server()?;
    cluster.await_ready()?;
    Ok(String::new())
}

fn edit_peer_softly(cluster: &mut Cluster) -> Result<String> {
    let change = r#"{"spec":{"set":{"communities":["64512:7"]}}}"#;
    cluster
        .kubectl
        .run(&["patch", "bgppeer", "tors", "--type=merge", "-p", change])?;
    std::thread::sleep(Duration::from_secs(5));
    Ok("spec.set.communities".to_owned())
}

fn edit_peer_hard(cluster: &mut Cluster) -> Result<String> {
    let change = r#"{"spec":{"timers":{"holdTime":"30s"}}}"#;
    cluster
        .kubectl
        .run(&["patch", "bgppeer", "tors", "--type=merge", "-p", change])?;
    std::thread::sleep(Duration::from_secs(5));
    Ok("spec.timers.holdTime, on all nodes at once".to_owned())
}

/// One that the API server refuses, and one that only the agent can know to be wrong.
fn wrong_objects(cluster: &mut Cluster) -> Result<String> {
    let refused = "apiVersion: flatroute.io/v1alpha1\nkind: BGPPeer\nmetadata: {name: wrong}\nspec: {peerAddress: 10.0.0.300, peerASN: 65001}\n";
    let Err(words) = cluster.kubectl.apply(refused) else {
        bail!("the API server took a BGPPeer with the address 10.0.0.300");
    };
    ensure!(
        format!("{words:#}").contains("peerAddress"),
        "the refusal does not name the field: {words:#}"
    );
    let dangling = "apiVersion: flatroute.io/v1alpha1\nkind: BGPPeer\nmetadata: {name: dangling}\nspec: {peerAddress: 192.0.2.1, peerASN: 65001, importFilters: [no-such-filter]}\n";
    cluster.kubectl.apply(dangling)?;
    let found = cluster.await_(
        "the status of the wrong object to say so",
        Duration::from_secs(90),
        |cluster| {
            let object = cluster.kubectl.get(&["bgppeer", "dangling"])?;
            let text = object["status"]["conditions"].to_string();
            Ok(if text.contains("FilterNotFound") {
                Ok(())
            } else {
                Err(format!("conditions: {text}"))
            })
        },
    );
    cluster.kubectl.run(&["delete", "bgppeer", "dangling"])?;
    found?;
    Ok("one refused by the API server, naming the field; one with a filter that is not there: FilterNotFound in its status".to_owned())
}
