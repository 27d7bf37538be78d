//! The sentences of the Kubernetes network model, each asked of packets: M1 to M28, in the order of the project's list.
//!
//! Probes are sockets that the testbed opens in the namespaces of pods, nodes and of the machine behind the spine, which is
//! outside of the cluster. What counts is what a receiver sees: an answer that came from somewhere, but not from the sender's
//! own address, is a failure. A sentence that this run does not ask says so and why; one whose feature is still to come is
//! `not yet`.

mod addresses;
pub(super) mod ask;
mod fault;
mod path;
mod service;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::exam::{Row, Verdict};
use super::{Cluster, operations};
use crate::namespace::Namespace;
use crate::pod::Pod;
use crate::probe;

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

/// A sentence and how it is asked.
struct Sentence {
    name: &'static str,
    ask: Ask,
}

enum Ask {
    /// Of a cluster that is whole.
    Scene(fn(&Scene<'_>) -> Result<(Verdict, String)>),
    /// After all those, because it takes a node away, and its pods are other ones afterwards.
    AtTheEnd(fn(&mut Cluster) -> Result<(Verdict, String)>),
}

const SENTENCES: [Sentence; 28] = [
    Sentence {
        name: "M1 each pod has an address of its own",
        ask: Ask::Scene(addresses::m1),
    },
    Sentence {
        name: "M2 containers of a pod share localhost",
        ask: Ask::Scene(m2),
    },
    Sentence {
        name: "M3 pod to pod on one node, no NAT",
        ask: Ask::Scene(m3),
    },
    Sentence {
        name: "M4 pod to pod on other nodes, no NAT, no tunnel",
        ask: Ask::Scene(path::m4),
    },
    Sentence {
        name: "M5 node to its own pods; logs and exec",
        ask: Ask::Scene(m5),
    },
    Sentence {
        name: "M6 node to all pods and back, no NAT",
        ask: Ask::Scene(m6),
    },
    Sentence {
        name: "M7 pod to its own address",
        ask: Ask::Scene(m7),
    },
    Sentence {
        name: "M8 pod to ClusterIP: the backend sees the pod",
        ask: Ask::Scene(service::m8),
    },
    Sentence {
        name: "M9 pod to itself through a Service",
        ask: Ask::Scene(service::m9),
    },
    Sentence {
        name: "M10 node to ClusterIP",
        ask: Ask::Scene(service::m10),
    },
    Sentence {
        name: "M11 outside to NodePort, Cluster and Local",
        ask: Ask::Scene(service::m11),
    },
    Sentence {
        name: "M12 outside to a pod's address",
        ask: Ask::Scene(service::m12),
    },
    Sentence {
        name: "M13 UDP Service whose backend restarts",
        ask: Ask::Scene(service::m13),
    },
    Sentence {
        name: "M14 one family alone",
        ask: Ask::Scene(addresses::m14),
    },
    Sentence {
        name: "M15 both families, in the cluster's order",
        ask: Ask::Scene(addresses::m15),
    },
    Sentence {
        name: "M16 MTU and path MTU",
        ask: Ask::Scene(path::m16),
    },
    Sentence {
        name: "M17 ICMP errors come from real addresses",
        ask: Ask::Scene(path::m17),
    },
    Sentence {
        name: "M18 DNS",
        ask: Ask::Scene(m18),
    },
    Sentence {
        name: "M19 egress with masquerade",
        ask: Ask::Scene(|_| not_yet()),
    },
    Sentence {
        name: "M20 hostPort",
        ask: Ask::Scene(service::m20),
    },
    Sentence {
        name: "M21 host-network pods are left alone",
        ask: Ask::Scene(m21),
    },
    Sentence {
        name: "M22 spoofed sources are dropped",
        ask: Ask::Scene(|_| not_yet()),
    },
    Sentence {
        name: "M23 broadcast and multicast",
        ask: Ask::Scene(path::m23),
    },
    Sentence {
        name: "M24 agent restart without loss",
        ask: Ask::AtTheEnd(operations::m24),
    },
    Sentence {
        name: "M25 drain, crash, partition",
        ask: Ask::AtTheEnd(fault::m25),
    },
    Sentence {
        name: "M26 ranges do not overlap",
        ask: Ask::Scene(addresses::m26),
    },
    Sentence {
        name: "M27 families follow Node and pod addresses",
        ask: Ask::Scene(addresses::m27),
    },
    Sentence {
        name: "M28 a pod's first packet arrives",
        ask: Ask::Scene(m28),
    },
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
    for (number, sentence) in SENTENCES.iter().enumerate() {
        if let Ask::Scene(ask) = sentence.ask {
            rows.push((number, row(cluster, sentence.name, ask(&scene))));
        }
    }
    for (number, sentence) in SENTENCES.iter().enumerate() {
        if let Ask::AtTheEnd(ask) = sentence.ask {
            let answer = ask(cluster);
            rows.push((number, row(cluster, sentence.name, answer)));
        }
    }
    rows.sort_by_key(|(number, _)| *number);
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

fn row(cluster: &Cluster, name: &str, answer: Result<(Verdict, String)>) -> Row {
    let (verdict, detail) = answer.unwrap_or_else(|error| (Verdict::Failed, format!("{error:#}")));
    cluster
        .teller
        .say(&format!("{name}: {}: {detail}", verdict.word()));
    Row {
        name: name.to_owned(),
        verdict,
        detail,
    }
}

fn ok(detail: impl Into<String>) -> Result<(Verdict, String)> {
    Ok((Verdict::Ok, detail.into()))
}

fn not_yet() -> Result<(Verdict, String)> {
    Ok((Verdict::NotYet, "its issue is still to come".to_owned()))
}

fn not_asked(why: &str) -> Result<(Verdict, String)> {
    Ok((Verdict::NotAsked, why.to_owned()))
}

impl Scene<'_> {
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
        let near = self.hello.first().context("a pod")?;
        let rack = self.cluster.router(&near.node)?.rack;
        let other = |pod: &&Pod| {
            self.cluster
                .router(&pod.node)
                .is_ok_and(|router| router.rack != rack)
        };
        let far = self.hello.iter().find(other).context("a pod in the other rack")?;
        Ok((near, far))
    }

    /// The ClusterIPs of a Service.
    fn cluster_ips(&self, service: &str) -> Result<Vec<IpAddr>> {
        let object = self.cluster.kubectl.get(&["service", service])?;
        let all = object["spec"]["clusterIPs"].as_array().into_iter().flatten();
        all.map(|ip| ip.as_str().unwrap_or_default().parse().context("a ClusterIP"))
            .collect()
    }
}

fn m2(scene: &Scene<'_>) -> Result<(Verdict, String)> {
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

fn m3(scene: &Scene<'_>) -> Result<(Verdict, String)> {
    let near = scene.hello.first().context("a pod")?;
    for (from, to) in [(near, &scene.pair), (&scene.pair, near)] {
        for ipv6 in scene.families() {
            probe::pair(from, to, *ipv6).map_err(anyhow::Error::msg)?;
            ensure!(
                path::ping(from, to, *ipv6, 56)?.0,
                "{} does not answer an echo of {}",
                to.name,
                from.name
            );
        }
    }
    ok(format!("TCP, UDP and ICMP echo, both ways{}", path::about_sctp()))
}

fn m5(scene: &Scene<'_>) -> Result<(Verdict, String)> {
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
    ok("HTTP from the node, logs, exec")
}

fn m6(scene: &Scene<'_>) -> Result<(Verdict, String)> {
    let (near, far) = scene.far_apart()?;
    let node = scene.node(&near.node)?;
    let own = node.addresses()?;
    let router = scene.cluster.router(&near.node)?;
    for ipv6 in scene.families() {
        let seen = client_of(node, SocketAddr::new(far.address(*ipv6), HTTP))?;
        ensure!(
            own.contains(&seen),
            "the pod saw {seen}, which is no address of {}",
            near.node
        );
        let target: IpAddr = if *ipv6 {
            router.ipv6.into()
        } else {
            router.ipv4.into()
        };
        let seen = ask::seen_by(node, target, &far.namespace)?;
        ensure!(
            seen == far.address(*ipv6),
            "{} saw {seen} instead of the pod {}",
            near.node,
            far.address(*ipv6)
        );
    }
    ok(format!("{} to a pod of {} and back", near.node, far.node))
}

fn m7(scene: &Scene<'_>) -> Result<(Verdict, String)> {
    for pod in &scene.hello {
        for ipv6 in scene.families() {
            let own = pod.address(*ipv6);
            let seen = client_of(&pod.namespace, SocketAddr::new(own, HTTP))?;
            ensure!(seen == own, "{}: saw {seen}", pod.name);
        }
    }
    ok("every pod")
}

fn m18(scene: &Scene<'_>) -> Result<(Verdict, String)> {
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

fn m21(scene: &Scene<'_>) -> Result<(Verdict, String)> {
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

fn m28(scene: &Scene<'_>) -> Result<(Verdict, String)> {
    let (_, far) = scene.far_apart()?;
    let mut script = "set -e; ".to_owned();
    for ipv6 in scene.families() {
        let target = SocketAddr::new(far.address(*ipv6), HTTP);
        script.push_str(&format!("curl -sgf -m 1 http://{target}/hostname; "));
    }
    let pod = format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: first, namespace: default}}
spec:
  nodeName: node1
  restartPolicy: Never
  containers:
  - {{name: first, image: \"{}\", imagePullPolicy: Never, command: [sh, -c, \"{script}\"]}}
",
        super::images::AGNHOST
    );
    scene.cluster.kubectl.apply(&pod)?;
    let ended = scene
        .cluster
        .await_("the pod that asks at once", Duration::from_secs(60), |cluster| {
            let phase = cluster.kubectl.get(&["pod", "first"])?["status"]["phase"].clone();
            Ok(match phase.as_str() {
                Some("Succeeded" | "Failed") => Ok(()),
                other => Err(format!("{other:?}")),
            })
        });
    let phase = scene.cluster.kubectl.get(&["pod", "first"])?["status"]["phase"].clone();
    scene
        .cluster
        .kubectl
        .run(&["delete", "pod", "first", "--wait=false"])?;
    ended?;
    ensure!(
        phase == "Succeeded",
        "its first packets were not answered within a second"
    );
    ok("to the other rack, as its first act; STATUS of the plugin: not yet")
}
