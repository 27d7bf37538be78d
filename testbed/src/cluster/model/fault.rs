//! The sentence about nodes that are lost: cut off with the loss of carrier, cut off in silence, and without power; and back.
//!
//! What is promised: with the carrier the ToR loses its session at once; in silence it waits for the hold time, since nothing
//! is quicker here (BFD is still to come). From then on no other node holds a route to the lost one's pods, so that who
//! asks for them is refused instead of kept waiting; Kubernetes starts the pods elsewhere, where they have new addresses.
//! The other nodes' pods talk all the while: numbered packets flow between two of them.

use std::io::{ErrorKind, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use ipnetwork::IpNetwork;

use super::ask::http;
use super::{Answer, HTTP, not_asked, ok};
use crate::cluster::ground::{HOLD_TIME, batch};
use crate::cluster::kubectl::unready;
use crate::cluster::rise::start_node;
use crate::cluster::{Cluster, routes};
use crate::kernel;
use crate::namespace::Namespace;
use crate::pod::Pod;
use crate::process::locate;
use crate::traffic::{Loss, Stream};
use crate::wait;

/// From the loss of carrier to routes that are gone everywhere: a withdrawal through ToR, spine, ToR.
const WITHDRAWN: Duration = Duration::from_secs(5);
/// Routes and pods of a node whose links are back.
const BACK: Duration = Duration::from_secs(60);
/// Kubernetes gives a silent node 50 s (node-monitor-grace-period), then starts its pods elsewhere.
const ELSEWHERE: Duration = Duration::from_secs(120);
/// A node's start, up to its ready pods.
const RETURNED: Duration = Duration::from_secs(180);
/// Packets a second of each stream, and their source ports.
const RATE: (u32, u16) = (100, 16);
/// How long a loss between the other nodes may last: ToRs recompute, and the machine is shared.
const HURT: Duration = Duration::from_secs(1);
/// How long a refused connection may take.
const REFUSED: Duration = Duration::from_secs(3);
/// A pod that shall move.
const SURVIVOR: &str = include_str!("../manifests/survivor.yaml");

/// The node that is lost, and who looks at it.
struct Loser {
    name: String,
    /// Of its pods.
    cidrs: Vec<IpNetwork>,
    /// A pod of it.
    pod: Pod,
    /// A pod of another node.
    near: Pod,
}

/// Crash and partition; a drain is among the operations.
pub(super) fn m25(cluster: &mut Cluster) -> Answer {
    if cluster.nodes.len() < 3 {
        return not_asked("it needs three nodes: two that go on, and one that is lost");
    }
    let loser = loser(cluster)?;
    let others: Vec<Pod> = cluster.pods("default", "app=hello")?;
    let others: Vec<&Pod> = others.iter().filter(|pod| pod.node != loser.name).collect();
    let (first, last) = (others.first().context("a pod")?, others.last().context("a pod")?);
    let mut streams = Vec::new();
    for (from, to) in [(first, last), (last, first)] {
        for ipv6 in cluster.common.site.families.order() {
            streams.push(Stream::start(from, to, *ipv6, RATE.0, RATE.1)?);
        }
    }
    std::thread::sleep(Duration::from_secs(1));
    let begun = Instant::now();
    let told = lose(cluster, &loser);
    let end = Instant::now();
    let outcomes = Stream::finish(streams)?;
    let total: Loss = outcomes.iter().map(|outcome| outcome.loss(begun, end)).sum();
    let told = told?;
    ensure!(
        total.hurt <= HURT,
        "between the other nodes {} of {} packets were lost, over {:.1} s",
        total.lost,
        total.sent,
        total.hurt.as_secs_f64()
    );
    ok(format!(
        "{}; between the other nodes {} of {} packets lost",
        told.join("; "),
        total.lost,
        total.sent
    ))
}

fn lose(cluster: &mut Cluster, loser: &Loser) -> Result<Vec<String>> {
    Ok(vec![
        cut(cluster, loser)?,
        silence(cluster, loser)?,
        crash(cluster, loser)?,
        come_back(cluster, loser)?,
    ])
}

fn loser(cluster: &Cluster) -> Result<Loser> {
    let name = cluster.nodes.last().context("a node")?.name.clone();
    cluster.kubectl.apply(&SURVIVOR.replace("VICTIM", &name))?;
    cluster.await_pods("default", "app=survivor", 1)?;
    let survivor = cluster.pods("default", "app=survivor")?;
    ensure!(
        survivor.iter().all(|pod| pod.node == name),
        "the pod that shall move was not started on {name}"
    );
    let cidrs = routes::pod_cidrs(&cluster.kubectl)?.remove(&name);
    let pods = cluster.pods("default", "app=hello")?;
    let of = |wanted: bool| pods.iter().find(|pod| (pod.node == name) == wanted).cloned();
    Ok(Loser {
        cidrs: cidrs.context("the node's pod CIDRs")?,
        pod: of(true).context("a pod of it")?,
        near: of(false).context("a pod of another node")?,
        name,
    })
}

/// Its links lose carrier.
fn cut(cluster: &Cluster, loser: &Loser) -> Result<String> {
    let begun = Instant::now();
    carrier(cluster, loser, false)?;
    let gone = await_gone(cluster, loser, begun, WITHDRAWN)?;
    let begun = Instant::now();
    carrier(cluster, loser, true)?;
    let back = await_back(cluster, loser, begun)?;
    Ok(format!(
        "{} cut off: its routes gone after {gone:.1} s, its pods answer {back:.1} s after the links are back",
        loser.name
    ))
}

/// Its frames are lost, and nobody's link goes down.
fn silence(cluster: &Cluster, loser: &Loser) -> Result<String> {
    let begun = Instant::now();
    deafen(cluster, loser, true)?;
    let gone = await_gone(cluster, loser, begun, HOLD_TIME + WITHDRAWN);
    deafen(cluster, loser, false)?;
    let gone = gone?;
    let back = await_back(cluster, loser, Instant::now())?;
    Ok(format!(
        "in silence (hold time {} s): gone after {gone:.1} s, back after {back:.1} s",
        HOLD_TIME.as_secs()
    ))
}

/// Its power goes, and its pods start elsewhere.
fn crash(cluster: &mut Cluster, loser: &Loser) -> Result<String> {
    cluster.await_ready()?;
    let begun = Instant::now();
    carrier(cluster, loser, false)?;
    let at = cluster.nodes.iter().position(|node| node.name == loser.name);
    let node = cluster.nodes.remove(at.context("the node")?);
    node.destroy()?;
    cluster.forget_others(&loser.name);
    let gone = await_gone(cluster, loser, begun, WITHDRAWN)?;
    cluster.await_("the lost node's pod to run elsewhere", ELSEWHERE, |cluster| {
        let pods = cluster.kubectl.list(&["pods", "-l", "app=survivor"])?;
        let moved = pods
            .iter()
            .find(|pod| pod["spec"]["nodeName"] != loser.name.as_str() && unready(pod).is_none());
        Ok(moved.map(drop).ok_or_else(|| "it does not".to_owned()))
    })?;
    let moved = cluster.pods("default", "app=survivor")?;
    let moved = moved.first().context("the pod that moved")?;
    for ipv6 in cluster.common.site.families.order() {
        let target = SocketAddr::new(moved.address(*ipv6), HTTP);
        ensure!(
            !loser.cidrs.iter().any(|cidr| cidr.contains(target.ip())),
            "{target} is an address of the lost node"
        );
        for from in [&loser.near.namespace, &cluster.ground.control] {
            http(from, target, "/hostname")?;
        }
    }
    Ok(format!(
        "without power: gone after {gone:.1} s; its pod answers on {} {:.0} s after",
        moved.node,
        begun.elapsed().as_secs_f64()
    ))
}

/// It starts again under its name, with nothing of before but its place.
fn come_back(cluster: &mut Cluster, loser: &Loser) -> Result<String> {
    let begun = Instant::now();
    let namespace = cluster.ground.fabric.namespace(&loser.name)?;
    forget(namespace)?;
    carrier(cluster, loser, true)?;
    let router = cluster.router(&loser.name)?;
    let mut node = start_node(&cluster.ground, &cluster.common, router, &cluster.archives)?;
    node.join()?;
    cluster.nodes.push(node);
    cluster.install_on_new_node(&loser.name)?;
    cluster.await_ready()?;
    cluster.await_pods("default", "app=hello", cluster.nodes.len())?;
    cluster.await_routes(RETURNED)?;
    cluster.await_("the returned node's pod to answer", RETURNED, |cluster| {
        let pods = match cluster.pods("default", "app=hello") {
            Ok(pods) => pods,
            // The Pod still says the address of before.
            Err(error) => return Ok(Err(format!("{error:#}"))),
        };
        let own = pods
            .iter()
            .find(|pod| pod.node == loser.name)
            .context("its pod")?;
        Ok(answers(cluster, &loser.near, own))
    })?;
    Ok(format!(
        "started again: its pods answer after {:.0} s",
        begun.elapsed().as_secs_f64()
    ))
}

/// A kernel that starts holds no routes but its own, and no pods' links. Here the namespace is the one of before: it has the
/// agent's routes, and links that our probes' sockets keep alive in namespaces of pods that are gone.
fn forget(namespace: &Namespace) -> Result<()> {
    for ipv6 in [false, true] {
        batch(namespace, ipv6, &["route flush table main proto 79".to_owned()])?;
    }
    batch(namespace, false, &["nexthop flush proto 79".to_owned()])?;
    let mut netlink = namespace.netlink()?;
    for link in netlink.links()? {
        if link.name != "lo" && !link.name.starts_with("to-") {
            match netlink.delete_link(link.index) {
                Err(error) if error.is_missing() => {}
                result => result?,
            }
        }
    }
    Ok(())
}

/// Takes the ToRs' ends of its links down or up.
fn carrier(cluster: &Cluster, loser: &Loser, up: bool) -> Result<()> {
    let site = &cluster.common.site;
    let router = cluster.router(&loser.name)?;
    for neighbour in site.topology.neighbours(router) {
        let tor = cluster.ground.fabric.namespace(&neighbour.router.name)?;
        let interface = &neighbour.remote.interface;
        let word = if up { "up" } else { "down" };
        batch(tor, false, &[format!("link set dev {interface} {word}")])?;
        if up {
            // What the kernel took away with the link, a machine's own configuration brings back.
            let address = format!("address replace {}/127 dev {interface}", neighbour.remote.ipv6);
            batch(tor, true, &[address])?;
            cluster.ground.set_routes(neighbour.router)?;
        }
    }
    if up {
        cluster.ground.set_routes(router)?;
    }
    Ok(())
}

/// Lets all frames on its links be lost at their receivers, or no more.
fn deafen(cluster: &Cluster, loser: &Loser, deaf: bool) -> Result<()> {
    let fabric = &cluster.ground.fabric;
    let router = cluster.router(&loser.name)?;
    let mut own = String::new();
    for (number, neighbour) in cluster.common.site.topology.neighbours(router).iter().enumerate() {
        let tor = fabric.namespace(&neighbour.router.name)?;
        filter(tor, &chain(0, &neighbour.remote.interface), deaf)?;
        own.push_str(&chain(number, &neighbour.local.interface));
    }
    filter(fabric.namespace(&loser.name)?, &own, deaf)
}

fn chain(number: usize, interface: &str) -> String {
    format!(
        "chain in{number} {{ type filter hook ingress device \"{interface}\" priority 0; policy drop; }}\n"
    )
}

fn filter(namespace: &Namespace, chains: &str, on: bool) -> Result<()> {
    let text = if on {
        format!("table netdev partition {{\n{chains}}}\n")
    } else {
        "delete table netdev partition\n".to_owned()
    };
    let nft = locate("nft").context("nft is not installed: sudo make test-deps")?;
    let mut command = namespace.command(&nft);
    let mut child = command
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .context("run nft")?;
    let mut stdin = child.stdin.take().context("the input of nft")?;
    stdin.write_all(text.as_bytes()).context("write to nft")?;
    drop(stdin);
    let status = child.wait().context("wait for nft")?;
    ensure!(status.success(), "{}: nft refuses {text}", namespace.name());
    Ok(())
}

/// Waits until no other node holds a learned route to its pods, and a pod that asks for them is refused. Seconds since
/// `begun`.
fn await_gone(cluster: &Cluster, loser: &Loser, begun: Instant, bound: Duration) -> Result<f64> {
    let protocol = cluster.carrier.route_protocol();
    let what = format!("routes to pods of {} to go", loser.name);
    wait::until(&what, bound.saturating_sub(begun.elapsed()), || {
        for node in cluster.nodes.iter().filter(|node| node.name != loser.name) {
            let held = kernel::routes_of_all_tables(cluster.ground.fabric.namespace(&node.name)?)?;
            let mut left = held
                .iter()
                .filter(|route| route.protocol == protocol && loser.cidrs.contains(&route.prefix));
            if let Some(route) = left.next() {
                return Ok(Err(format!("{} still has {route}", node.name)));
            }
        }
        Ok(Ok(()))
    })?;
    let took = begun.elapsed().as_secs_f64();
    for ipv6 in cluster.common.site.families.order() {
        let target = SocketAddr::new(loser.pod.address(*ipv6), HTTP);
        let asked = loser
            .near
            .namespace
            .run(|| Ok(TcpStream::connect_timeout(&target, REFUSED).map(drop)))?;
        let kind = asked.as_ref().err().map(std::io::Error::kind);
        ensure!(
            matches!(
                kind,
                Some(ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable)
            ),
            "{} asks {target}, which is cut off: {asked:?}",
            loser.near.name
        );
    }
    Ok(took)
}

/// Waits until routes are whole again and its pod answers. Seconds since `begun`.
fn await_back(cluster: &Cluster, loser: &Loser, begun: Instant) -> Result<f64> {
    cluster.await_routes(BACK)?;
    let what = format!("the pod of {} to answer", loser.name);
    wait::until(&what, BACK, || Ok(answers(cluster, &loser.near, &loser.pod)))?;
    Ok(begun.elapsed().as_secs_f64())
}

/// Whether a pod answers another one and the machine outside, in every family.
fn answers(cluster: &Cluster, near: &Pod, pod: &Pod) -> wait::Look<()> {
    for ipv6 in cluster.common.site.families.order() {
        let target = SocketAddr::new(pod.address(*ipv6), HTTP);
        for from in [&near.namespace, &cluster.ground.control] {
            http(from, target, "/hostname").map_err(|error| format!("{error:#}"))?;
        }
    }
    Ok(())
}
