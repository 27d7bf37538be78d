//! Sentences about Services, and about clients outside of the cluster.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::ask::{client_of, connected, datagram, http, is_silent, seen_at};
use super::{Answer, Scene, ok};
use crate::cluster::images::AGNHOST;
use crate::cluster::site::CONTROL;
use crate::namespace::Namespace;

/// Of the Service with `externalTrafficPolicy: Cluster`, and of the one with `Local`.
const NODE_PORTS: [u16; 2] = [30080, 30081];
/// The hostPorts of `pair`, TCP and UDP.
const HOST_PORTS: [u16; 2] = [9090, 9091];

/// A kube-proxy that has lost the API server looks for it again after up to half a minute.
const PROXIES_BOUND: Duration = Duration::from_secs(120);

/// Waits until every node's kube-proxy knows the Services that are asked: how soon it does is not our subject.
pub(super) fn await_proxies(scene: &Scene<'_>) -> Result<()> {
    let ports = NODE_PORTS.map(|port| (port, &scene.pair.node));
    scene.cluster.await_(
        "every kube-proxy to know the Services",
        PROXIES_BOUND,
        |cluster| {
            for node in &cluster.nodes {
                for address in cluster.common.site.addresses(cluster.router(&node.name)?) {
                    for (port, home) in ports {
                        let target = SocketAddr::new(address, port);
                        // The one with the policy Local answers on its pod's node alone.
                        if (port == NODE_PORTS[0] || node.name == *home)
                            && is_silent(scene.outside(), target)?
                        {
                            return Ok(Err(format!("{target} of {} does not answer", node.name)));
                        }
                    }
                }
            }
            Ok(Ok(()))
        },
    )
}

pub(super) fn m8(scene: &Scene<'_>) -> Answer {
    let mut asked = 0;
    for pod in &scene.hello {
        for target in scene.cluster_ips("pair")? {
            let seen = client_of(&pod.namespace, SocketAddr::new(target, 80))?;
            ensure!(
                seen == pod.address(target.is_ipv6()),
                "{} through {target}: the backend saw {seen}",
                pod.name
            );
            asked += 1;
        }
    }
    ok(format!("{asked} times, from every node"))
}

pub(super) fn m9(scene: &Scene<'_>) -> Answer {
    for target in scene.cluster_ips("pair")? {
        client_of(&scene.pair.namespace, SocketAddr::new(target, 80))?;
    }
    ok("the only backend asks its own Service")
}

pub(super) fn m10(scene: &Scene<'_>) -> Answer {
    let mut asked = 0;
    for node in &scene.cluster.nodes {
        for target in scene.cluster_ips("hello")? {
            for _ in 0..8 {
                client_of(scene.node(&node.name)?, SocketAddr::new(target, 80))?;
                asked += 1;
            }
        }
    }
    ok(format!(
        "{asked} times, from every node, to backends here and there"
    ))
}

pub(super) fn m11(scene: &Scene<'_>) -> Answer {
    let [cluster, local] = NODE_PORTS;
    for node in &scene.cluster.nodes {
        for address in scene
            .cluster
            .common
            .site
            .addresses(scene.cluster.router(&node.name)?)
        {
            client_of(scene.outside(), SocketAddr::new(address, cluster))?;
            let target = SocketAddr::new(address, local);
            if node.name == scene.pair.node {
                let seen = client_of(scene.outside(), target)?;
                ensure!(
                    is_outside(seen),
                    "externalTrafficPolicy Local: the pod saw {seen}"
                );
            } else {
                ensure!(
                    is_silent(scene.outside(), target)?,
                    "{target} answered without a backend on its node"
                );
            }
        }
    }
    ok("Cluster: by every node; Local: the client's own address seen, and no answer by nodes without the pod")
}

fn is_outside(address: IpAddr) -> bool {
    address == IpAddr::from(CONTROL.0) || address == IpAddr::from(CONTROL.1)
}

/// The UDP Service whose backends come and go.
const CYCLE: (u16, u16) = (81, 30082);
/// From one backend's end to the first answers of the next one, a pod's start included.
const CYCLED: Duration = Duration::from_secs(60);

/// A client of a UDP Service that never changes its port: conntrack would hold it to a backend that is gone.
struct Client {
    socket: UdpSocket,
    what: String,
}

impl Client {
    fn new(from: &Namespace, target: SocketAddr) -> Result<Self> {
        let socket = from.run(|| {
            let socket = connected(target)?;
            socket.set_read_timeout(Some(Duration::from_millis(100)))?;
            Ok(socket)
        })?;
        let what = format!("{} to {target}", from.name());
        Ok(Self { socket, what })
    }

    /// Who answers now; nobody, when nothing comes.
    fn ask(&self) -> Option<String> {
        self.socket.send(b"hostname").ok()?;
        let mut buffer = [0; 64];
        let length = self.socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(buffer.get(..length)?).into_owned())
    }
}

pub(super) fn m13(scene: &Scene<'_>) -> Answer {
    let (_, far) = scene.far_apart()?;
    let mut clients = Vec::new();
    for address in scene.cluster_ips("cycle")? {
        clients.push(Client::new(&far.namespace, SocketAddr::new(address, CYCLE.0))?);
    }
    let last = scene.cluster.nodes.last().context("a node")?;
    for address in scene
        .cluster
        .common
        .site
        .addresses(scene.cluster.router(&last.name)?)
    {
        clients.push(Client::new(scene.outside(), SocketAddr::new(address, CYCLE.1))?);
    }
    let kubectl = &scene.cluster.kubectl;
    let mut took = Vec::new();
    let backends = [("cycle-a", &scene.pair.node), ("cycle-b", &far.node)];
    for (at, (backend, node)) in backends.iter().enumerate() {
        let begun = Instant::now();
        if let Some((gone, _)) = at.checked_sub(1).and_then(|before| backends.get(before)) {
            kubectl.run(&["delete", "pod", gone, "--wait=false"])?;
        }
        kubectl.apply(&backend_pod(backend, node))?;
        let what = format!("every client to be answered by {backend}");
        scene.cluster.await_(&what, CYCLED, |_| {
            // All of them ask at each look, so that no entry of conntrack runs out by silence.
            let answers: Vec<_> = clients.iter().map(|client| (client, client.ask())).collect();
            let other = answers
                .into_iter()
                .find(|(_, answer)| answer.as_deref() != Some(*backend));
            Ok(other.map_or(Ok(()), |(client, answer)| {
                Err(format!("{}: answered by {answer:?}", client.what))
            }))
        })?;
        took.push(begun.elapsed());
    }
    kubectl.run(&["delete", "pod", "cycle-b", "--wait=false"])?;
    let last = took.last().copied().unwrap_or_default();
    ok(format!(
        "{} clients, ClusterIP from a pod and NodePort from outside, each always from one port: all were answered by the next backend {:.1} s after the first was deleted",
        clients.len(),
        last.as_secs_f64()
    ))
}

fn backend_pod(name: &str, node: &str) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: default, labels: {{app: cycle}}}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 1
  containers:
  - {{name: server, image: \"{AGNHOST}\", imagePullPolicy: Never, args: [netexec, --http-port=8080, --udp-port=8081], readinessProbe: {{httpGet: {{path: /healthz, port: 8080}}, periodSeconds: 1}}}}
"
    )
}

pub(super) fn m20(scene: &Scene<'_>) -> Answer {
    let pair = &scene.pair;
    let (near, far) = scene.far_apart()?;
    let node = scene.node(&pair.node)?;
    let addresses = scene
        .cluster
        .common
        .site
        .addresses(scene.cluster.router(&pair.node)?);
    let places = [
        ("outside", scene.outside()),
        ("the node itself", node),
        ("the pod itself", &pair.namespace),
        ("a pod beside it", &near.namespace),
        ("a pod of the other rack", &far.namespace),
    ];
    let mut refused = Vec::new();
    let mut asked = 0;
    for (place, from) in places {
        for address in &addresses {
            asked += 2;
            refused.extend(host_port(place, from, *address));
        }
    }
    if scene.families().contains(&false) {
        asked += 2;
        refused.extend(host_port("the node itself", node, Ipv4Addr::LOCALHOST.into()));
    }
    ensure!(refused.is_empty(), "{}", refused.join("; "));
    if scene.families().contains(&true) {
        let silent = host_port("the node itself", node, Ipv6Addr::LOCALHOST.into());
        ensure!(
            silent.len() == 2,
            "[::1] answers; docs/pod-network.md says that it does not"
        );
    }
    // What only passes through the node is nobody's hostPort (CVE-2025-67499).
    for ipv6 in scene.families() {
        let target = SocketAddr::new(far.address(*ipv6), HOST_PORTS[0]);
        let seen = seen_at(&far.namespace, target, &near.namespace)?;
        ensure!(seen == near.address(*ipv6), "{target}: saw {seen}");
    }
    asked += host_ip(scene, &addresses)?;
    let own = match scene.families() {
        [false] => ", 127.0.0.1",
        [true] => "; not [::1]",
        _ => ", 127.0.0.1; not [::1]",
    };
    ok(format!(
        "TCP and UDP, {asked} times: from outside, the node, the pod itself, pods here and there{own}; by hostIP at that address alone, until the pod ends; what passes through the node to the same port is left alone"
    ))
}

/// A port at one address of the node, of each family in its own pod, so that the same port is there several times.
const HOST_IP_PORT: u16 = 9092;
/// How long a port may answer after its pod was deleted, the pod's end included.
const ENDED: Duration = Duration::from_secs(60);

/// Asks ports with a `hostIP`; how often.
fn host_ip(scene: &Scene<'_>, addresses: &[IpAddr]) -> Result<usize> {
    let kubectl = &scene.cluster.kubectl;
    let name = |address: &IpAddr| format!("port-{}", if address.is_ipv6() { "v6" } else { "v4" });
    for address in addresses {
        kubectl.apply(&host_ip_pod(&name(address), &scene.pair.node, *address))?;
    }
    scene.cluster.await_pods("default", "app=port", addresses.len())?;
    let mut failures = Vec::new();
    for address in addresses {
        let target = SocketAddr::new(*address, HOST_IP_PORT);
        for (protocol, answer) in [
            ("TCP", http(scene.outside(), target, "/hostname")),
            ("UDP", datagram(scene.outside(), target, "hostname")),
        ] {
            match answer {
                Ok(found) if found.trim() == name(address) => {}
                Ok(found) => failures.push(format!("{protocol} to {target}: answered by {found:?}")),
                Err(error) => failures.push(format!("{protocol} to {target}: {error:#}")),
            }
        }
    }
    if scene.families().contains(&false) {
        let loopback = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), HOST_IP_PORT);
        if !is_silent(scene.node(&scene.pair.node)?, loopback)? {
            failures.push(format!("{loopback} answers, which is not the hostIP"));
        }
    }
    for address in addresses {
        kubectl.run(&["delete", "pod", &name(address), "--wait=false"])?;
    }
    ensure!(failures.is_empty(), "hostIP: {}", failures.join("; "));
    scene
        .cluster
        .await_("the ports with a hostIP to end with their pods", ENDED, |_| {
            for address in addresses {
                let target = SocketAddr::new(*address, HOST_IP_PORT);
                if !is_silent(scene.outside(), target)? {
                    return Ok(Err(format!("{target} answers")));
                }
            }
            Ok(Ok(()))
        })?;
    Ok(addresses.len().saturating_mul(2))
}

fn host_ip_pod(name: &str, node: &str, address: IpAddr) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: default, labels: {{app: port}}}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 1
  containers:
  - name: server
    image: \"{AGNHOST}\"
    imagePullPolicy: Never
    args: [netexec, --http-port=8080, --udp-port=8081]
    ports:
    - {{containerPort: 8080, hostPort: {HOST_IP_PORT}, hostIP: \"{address}\"}}
    - {{containerPort: 8081, hostPort: {HOST_IP_PORT}, hostIP: \"{address}\", protocol: UDP}}
    readinessProbe: {{httpGet: {{path: /healthz, port: 8080}}, periodSeconds: 1}}
"
    )
}

/// What does not answer of the two hostPorts, asked from some place.
fn host_port(place: &str, from: &Namespace, address: IpAddr) -> Vec<String> {
    let [tcp, udp] = HOST_PORTS.map(|port| SocketAddr::new(address, port));
    let tcp = http(from, tcp, "/hostname");
    let udp = datagram(from, udp, "hostname");
    let mut failures = Vec::new();
    for (protocol, answer) in [("TCP", tcp), ("UDP", udp)] {
        match answer {
            Ok(name) if name.trim() == "pair" => {}
            Ok(name) => failures.push(format!(
                "{protocol} from {place} to {address}: answered by {name:?}"
            )),
            Err(error) => failures.push(format!("{protocol} from {place}: {error:#}")),
        }
    }
    failures
}
