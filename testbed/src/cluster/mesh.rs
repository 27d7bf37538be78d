//! Nodes on one segment: first without any object, where they are neighbours of each other by themselves (`nodeMesh: Auto`),
//! then with one BGPPeer that selects nodes (`peerSelector`) in its place.
//!
//! Between the two stands a cluster with neither. There pods must not talk: what carried them before was the mesh, and nothing
//! else on this segment knows where pods are.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use flatroute_api::control::Peers;

use super::exam::{Row, Verdict};
use super::{Cluster, deaths};
use crate::capture::Capture;
use crate::control;
use crate::kernel;
use crate::pod::Pod;
use crate::probe;
use crate::traffic::Stream;
use crate::wait::Look;

/// From an object to what follows from it in every kernel.
const BOUND: Duration = Duration::from_secs(90);
/// Packets a second of each stream, and their source ports.
const RATE: u32 = 250;
const FLOWS: u16 = 16;
/// How often all agents are killed, and how far apart.
const KILLS: usize = 3;
const APART: Duration = Duration::from_secs(3);
/// How long packets go on after that: longer than any patience of agents that have restarted.
const AFTER_ALL: Duration = Duration::from_secs(17);
/// What a pod's packets begin with.
const FIRST_TTL: u8 = 64;
/// Routers between pods of two nodes on one segment: these nodes.
const HOPS: u8 = 2;
/// The mesh, switched off.
const DISABLED: &str = "apiVersion: flatroute.io/v1alpha1
kind: BGPConfiguration
metadata: {name: default}
spec: {nodeMesh: {mode: Disabled}}
";
/// All nodes as neighbours of all.
const SELECTED: &str = "apiVersion: flatroute.io/v1alpha1
kind: BGPPeer
metadata: {name: nodes}
spec: {peerSelector: {}}
";

/// Something that is asked.
struct Question {
    name: &'static str,
    ask: fn(&Cluster) -> Result<String>,
}

const QUESTIONS: [Question; 5] = [
    Question {
        name: "no object at all: nodes are neighbours, pods talk",
        ask: without_objects,
    },
    Question {
        name: "all agents killed at once, three times: nothing is lost",
        ask: killed,
    },
    Question {
        name: "nodeMesh Disabled: nothing else carries pods",
        ask: without_mesh,
    },
    Question {
        name: "one BGPPeer with peerSelector: pods talk",
        ask: with_selector,
    },
    Question {
        name: "both objects deleted: the mesh is back",
        ask: back,
    },
];

/// Asks all of it, in this order.
///
/// # Errors
/// A pod has no namespace with its addresses.
pub fn run(cluster: &Cluster) -> Result<Vec<Row>> {
    for pod in cluster.pods("default", "app=hello")? {
        probe::serve_families(&pod, cluster.common.site.families.order())?;
    }
    let ask = |question: &Question| {
        let (verdict, detail) = match (question.ask)(cluster) {
            Ok(detail) => (Verdict::Ok, detail),
            Err(error) => (Verdict::Failed, format!("{error:#}")),
        };
        cluster
            .teller
            .say(&format!("{}: {}: {detail}", question.name, verdict.word()));
        Row {
            name: question.name.to_owned(),
            verdict,
            detail,
        }
    };
    Ok(QUESTIONS.iter().map(ask).collect())
}

fn without_objects(cluster: &Cluster) -> Result<String> {
    for kind in ["bgppeers", "bgpfilters", "bgpconfigurations"] {
        let found = cluster.kubectl.list(&[kind])?;
        ensure!(found.is_empty(), "there are {kind} already: {found:?}");
    }
    talk(cluster, "mesh:")
}

/// Neighbours that are nodes keep each other's routes too; in the end every session is there again.
fn killed(cluster: &Cluster) -> Result<String> {
    let (near, far) = pods(cluster)?;
    let mut streams = Vec::new();
    for (from, to) in [(&near, &far), (&far, &near)] {
        for ipv6 in cluster.common.site.families.order() {
            streams.push(Stream::start(from, to, *ipv6, RATE, FLOWS)?);
        }
    }
    let begun = Instant::now();
    for _ in 0..KILLS {
        for node in &cluster.nodes {
            deaths::kill_one(node)?;
        }
        std::thread::sleep(APART);
    }
    std::thread::sleep(AFTER_ALL);
    talk(cluster, "mesh:")?;
    let end = Instant::now();
    let mut sent = 0;
    for outcome in Stream::finish(streams)? {
        let loss = outcome.loss(begun, end);
        ensure!(loss.sent > 0 && loss.lost == 0, "{}: {loss:?}", outcome.label);
        sent += loss.sent;
    }
    Ok(format!("0 of {sent} packets lost, and all sessions are back"))
}

fn without_mesh(cluster: &Cluster) -> Result<String> {
    cluster.kubectl.apply(DISABLED)?;
    let (near, far) = pods(cluster)?;
    cluster.await_("learned routes to go", BOUND, |cluster| {
        for node in &cluster.nodes {
            let namespace = cluster.ground.fabric.namespace(&node.name)?;
            let protocol = cluster.carrier.route_protocol();
            let held = kernel::routes_of_all_tables(namespace)?;
            let left = held
                .iter()
                .find(|route| route.protocol == protocol && !route.hops.is_empty() && is_far(route));
            if let Some(route) = left {
                return Ok(Err(format!("{} still has {route}", node.name)));
            }
        }
        Ok(Ok(()))
    })?;
    for ipv6 in cluster.common.site.families.order() {
        if probe::pair(&near, &far, *ipv6).is_ok() {
            bail!("{} still reaches {}", near.name, far.name);
        }
    }
    Ok("no learned route is left, and no pod reaches another node's".to_owned())
}

/// Whether a route leads to another machine.
fn is_far(route: &kernel::KernelRoute) -> bool {
    route.hops.iter().any(|hop| hop.gateway.is_some())
}

fn with_selector(cluster: &Cluster) -> Result<String> {
    cluster.kubectl.apply(SELECTED)?;
    talk(cluster, "nodes-")
}

fn back(cluster: &Cluster) -> Result<String> {
    cluster
        .kubectl
        .run(&["delete", "bgppeer/nodes", "bgpconfiguration/default"])?;
    talk(cluster, "mesh:")
}

/// Every node has a session with every other one, of that name; routes are there; packets go straight and as they are.
fn talk(cluster: &Cluster, prefix: &str) -> Result<String> {
    let others = cluster.nodes.len().saturating_sub(1);
    cluster.await_("sessions between all nodes", BOUND, |cluster| {
        for node in &cluster.nodes {
            if let Err(reason) = look_at_sessions(cluster, &node.name, prefix)? {
                return Ok(Err(reason));
            }
        }
        Ok(Ok(()))
    })?;
    cluster.await_routes(BOUND)?;
    let (near, far) = pods(cluster)?;
    let capture = Capture::start(&far.namespace)?;
    for ipv6 in cluster.common.site.families.order() {
        probe::pair(&near, &far, *ipv6).map_err(anyhow::Error::msg)?;
    }
    let arrived = capture.finish()?;
    for ipv6 in cluster.common.site.families.order() {
        let own = near.address(*ipv6);
        let seen = arrived.keys().find(|seen| seen.source == own);
        let ttl = seen.with_context(|| format!("nothing of {own} arrived"))?.ttl;
        ensure!(
            ttl == FIRST_TTL - HOPS,
            "a TTL of {ttl}: {HOPS} routers are on the way"
        );
    }
    cluster.greet()?;
    Ok(format!(
        "{others} sessions on each node, {prefix}…; {others} routes a family, each straight to its node; TTL falls by {HOPS}; every pod reached every other"
    ))
}

/// Whether a node has a session with every other one, and with nobody else.
fn look_at_sessions(cluster: &Cluster, node: &str, prefix: &str) -> Result<Look<()>> {
    let socket = cluster.node(node)?.path("/run/flatroute/agent.sock");
    let peers: Peers = control::fetch(&socket, "/v1/peers")?;
    let wanted = cluster.nodes.iter().filter(|other| other.name != node);
    let mut wanted: Vec<String> = wanted.map(|other| format!("{prefix}{}", other.name)).collect();
    let mut found: Vec<String> = peers.peers.iter().map(|peer| peer.name.clone()).collect();
    wanted.sort();
    found.sort();
    if found != wanted {
        return Ok(Err(format!(
            "{node} has the neighbours {found:?}, not {wanted:?}"
        )));
    }
    let down = peers.peers.iter().find(|peer| peer.state != "Established");
    Ok(down.map_or(Ok(()), |peer| {
        Err(format!("{node}: {} is {}", peer.name, peer.state))
    }))
}

/// A pod of the first node and one of the last, both of which answer probes.
fn pods(cluster: &Cluster) -> Result<(Pod, Pod)> {
    let pods = cluster.pods("default", "app=hello")?;
    let (near, far) = (pods.first().cloned(), pods.last().cloned());
    let (near, far) = (near.context("a pod")?, far.context("a pod")?);
    Ok((near, far))
}
