//! The sentences of the Kubernetes network model, each asked of packets: M1 to M28, in the order of the project's list.
//!
//! Probes are sockets that the testbed opens in the namespaces of pods, nodes and of the machine behind the spine, which is
//! outside of the cluster. What counts is what a receiver sees: an answer that came from somewhere, but not from the sender's
//! own address, is a failure. A sentence that this run does not ask says so and why; one whose feature is still to come is
//! `not yet`.

mod addresses;
mod fault;
mod readiness;
mod service;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::exam::Row;
use super::{Cluster, operations};
use crate::model::{self, Answer, SENTENCES, Scene as Packets, egress, not_asked, ok, path, reach, source};
use crate::namespace::Namespace;
use crate::pod::Pod;
use crate::probe;

pub(super) use crate::model::ask;

use self::ask::client_of;

/// Pods and Services that the sentences are asked of.
const MANIFEST: &str = include_str!("../manifests/model.yaml");
/// The port of `hello` and `pair`.
const HTTP: u16 = 8080;

/// Everything that a sentence may ask.
pub(super) struct Scene<'a> {
    cluster: &'a Cluster,
    /// `hello`, in the order of nodes.
    hello: Vec<Pod>,
    /// On the first node.
    pair: Pod,
}

/// How a sentence is asked.
enum Ask {
    /// Of packets alone, as without Kubernetes.
    Packets(fn(&Packets<'_>) -> Answer),
    /// Of a cluster that is whole.
    Scene(fn(&Scene<'_>) -> Answer),
    /// After all those, because it takes a node away, and its pods are other ones afterwards.
    AtTheEnd(fn(&mut Cluster) -> Answer),
}

/// In the order of [`SENTENCES`].
const ASKS: [Ask; SENTENCES.len()] = [
    Ask::Scene(addresses::m1),
    Ask::Scene(m2),
    Ask::Packets(reach::m3),
    Ask::Packets(path::m4),
    Ask::Scene(m5),
    Ask::Packets(reach::m6),
    Ask::Packets(reach::m7),
    Ask::Scene(service::m8),
    Ask::Scene(service::m9),
    Ask::Scene(service::m10),
    Ask::Scene(service::m11),
    Ask::Packets(reach::m12),
    Ask::Scene(service::m13),
    Ask::Scene(addresses::m14),
    Ask::Scene(addresses::m15),
    Ask::Packets(path::m16),
    Ask::Packets(path::m17),
    Ask::Scene(m18),
    Ask::Packets(egress::m19),
    Ask::Scene(service::m20),
    Ask::Scene(m21),
    Ask::Packets(source::m22),
    Ask::Packets(path::m23),
    Ask::AtTheEnd(operations::m24),
    Ask::AtTheEnd(fault::m25),
    Ask::Scene(addresses::m26),
    Ask::Scene(addresses::m27),
    Ask::Scene(readiness::m28),
];

/// Asks all of them.
///
/// # Errors
/// The pods that are asked do not start.
pub fn run(cluster: &mut Cluster) -> Result<Vec<Row>> {
    cluster.kubectl.apply(MANIFEST)?;
    cluster.await_pods("default", "app=pair", 1)?;
    let hello = cluster.pods("default", "app=hello")?;
    let pair = cluster
        .pods("default", "app=pair")?
        .pop()
        .context("the pod `pair`")?;
    for pod in hello.iter().chain([&pair]) {
        probe::serve_families(pod, cluster.common.site.families.order())?;
    }
    let scene = Scene { cluster, hello, pair };
    service::await_proxies(&scene)?;
    let mut rows = Vec::new();
    for (number, ask) in ASKS.iter().enumerate() {
        let answer = match ask {
            Ask::Packets(ask) => ask(&scene.packets()),
            Ask::Scene(ask) => ask(&scene),
            Ask::AtTheEnd(_) => continue,
        };
        rows.push((number, tell(cluster, number, answer)));
    }
    for (number, ask) in ASKS.iter().enumerate() {
        if let Ask::AtTheEnd(ask) = ask {
            let answer = ask(cluster);
            rows.push((number, tell(cluster, number, answer)));
        }
    }
    rows.sort_by_key(|(number, _)| *number);
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

fn tell(cluster: &Cluster, number: usize, answer: Answer) -> Row {
    let row = model::row(number, answer);
    cluster
        .teller
        .say(&format!("{}: {}: {}", row.name, row.verdict.word(), row.detail));
    row
}

impl Scene<'_> {
    fn packets(&self) -> Packets<'_> {
        Packets {
            ground: &self.cluster.ground,
            pods: &self.hello,
            pair: &self.pair,
        }
    }

    fn families(&self) -> &'static [bool] {
        self.cluster.common.site.families.order()
    }

    fn node(&self, name: &str) -> Result<&Namespace> {
        self.cluster.ground.fabric.namespace(name)
    }

    fn outside(&self) -> &Namespace {
        &self.cluster.ground.control
    }

    /// A pod of the first node, and one of the other rack.
    fn far_apart(&self) -> Result<(&Pod, &Pod)> {
        self.packets().far_apart()
    }

    /// The ClusterIPs of a Service.
    fn cluster_ips(&self, service: &str) -> Result<Vec<IpAddr>> {
        let object = self.cluster.kubectl.get(&["service", service])?;
        let all = object["spec"]["clusterIPs"].as_array().into_iter().flatten();
        all.map(|ip| ip.as_str().unwrap_or_default().parse().context("a ClusterIP"))
            .collect()
    }
}

fn m2(scene: &Scene<'_>) -> Answer {
    let inside = |script: &str| {
        let arguments = ["exec", "pair", "-c", "other", "--", "sh", "-c", script];
        scene.cluster.kubectl.run(&arguments)
    };
    for host in ["127.0.0.1", "[::1]"]
        .iter()
        .take(if scene.families().contains(&true) { 2 } else { 1 })
    {
        inside(&format!("curl -sgf -m 5 http://{host}:{HTTP}/hostname"))?;
    }
    let clash = inside(&format!(
        "timeout 3 /agnhost netexec --http-port={HTTP} --udp-port=-1 2>&1; true"
    ))?;
    ensure!(
        clash.contains("address already in use"),
        "a second server on the port did not meet the first: {clash}"
    );
    ok("over 127.0.0.1 and ::1; the same port twice is refused")
}

fn m5(scene: &Scene<'_>) -> Answer {
    let (_, packets) = reach::m5(&scene.packets())?;
    let pod = &scene.pair;
    for ipv6 in scene.families() {
        client_of(scene.node(&pod.node)?, SocketAddr::new(pod.address(*ipv6), HTTP))?;
    }
    scene
        .cluster
        .kubectl
        .run(&["logs", "pair", "-c", "server", "--tail=1"])?;
    scene
        .cluster
        .kubectl
        .run(&["exec", "pair", "-c", "server", "--", "hostname"])?;
    ok(format!("{packets}; HTTP, logs, exec"))
}

fn m18(scene: &Scene<'_>) -> Answer {
    let inside = |script: &str| {
        scene
            .cluster
            .kubectl
            .run(&["exec", "pair", "-c", "other", "--", "sh", "-c", script])
    };
    let configuration = inside("cat /etc/resolv.conf")?;
    ensure!(
        configuration.contains("default.svc.cluster.local"),
        "resolv.conf: {configuration}"
    );
    let name = "hello.default.svc.cluster.local";
    let first = if scene.families().first() == Some(&true) {
        "AAAA"
    } else {
        "A"
    };
    for option in ["+notcp", "+tcp"] {
        let answer = inside(&format!("dig +short +time=3 +tries=1 {option} {name} {first}"))?;
        ensure!(answer.trim().parse::<IpAddr>().is_ok(), "{option}: {answer:?}");
    }
    let burst = format!("for i in $(seq 20); do getent ahosts {name} >/dev/null & done; wait; date +%s");
    let begun = std::time::Instant::now();
    inside(&burst)?;
    ensure!(
        begun.elapsed() < Duration::from_secs(5),
        "20 look-ups at once took {:?}",
        begun.elapsed()
    );
    ok("UDP and TCP; 20 look-ups of A and AAAA at once within 5 s")
}

fn m21(scene: &Scene<'_>) -> Answer {
    let mut count = 0;
    for pod in scene.cluster.kubectl.list(&["pods", "-A"])? {
        if pod["spec"]["hostNetwork"] == true {
            ensure!(
                pod["status"]["podIP"] == pod["status"]["hostIP"],
                "{}",
                pod["metadata"]["name"]
            );
            count += 1;
        }
    }
    ensure!(count > 0, "there are none");
    ok(format!("podIP is hostIP for {count}"))
}
