//! The sentence about ports of the node that lead to a pod, and a pod that reaches itself by one.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, json};

use super::Standalone;
use crate::cluster::site::CONTROL;
use crate::model::{Answer, ask, ok};
use crate::namespace::Namespace;
use crate::pod::Pod;
use crate::probe;

/// The port of the node.
const PORT: u16 = 9090;

/// Who asks, from where, and as whom the pod sees him.
struct Client<'a> {
    what: &'static str,
    from: &'a Namespace,
    seen: Vec<IpAddr>,
}

pub(super) fn m20(lab: &mut Standalone) -> Answer {
    let order = lab.order();
    let of = |protocol| json!({"hostPort": PORT, "containerPort": probe::PORT, "protocol": protocol});
    let mut wishes = Map::new();
    wishes.insert("portMappings".to_owned(), json!([of("tcp"), of("udp")]));
    let runtime = lab.runtimes.first().context("a runtime")?;
    let pod = runtime.add_with("ported", wishes)?;
    let asked = probe::serve_families(&pod, order).and_then(|()| ask_everywhere(lab, &pod));
    let home = lab.scene().router(&pod.node)?;
    runtime.delete(pod)?;
    let asked = asked?;
    for address in lab.ground.site.addresses(home) {
        let target = SocketAddr::new(address, PORT);
        ensure!(
            ask::is_silent(lab.scene().outside(), target)?,
            "{target} answers although its pod has ended"
        );
    }
    ok(format!(
        "TCP and UDP, {asked} times: from outside, the node, the pod itself, pods here and there, until DEL; clients are seen as themselves; what passes through the node is left alone; more: crates/nft/tests/kernel/host_ports.rs"
    ))
}

/// How often it was asked.
fn ask_everywhere(lab: &Standalone, pod: &Pod) -> Result<usize> {
    let scene = lab.scene();
    let (near, far) = scene.far_apart()?;
    let node = scene.node(&pod.node)?;
    let (router, of_node) = (scene.router(&pod.node)?, node.addresses()?);
    let mut asked = 0;
    for ipv6 in scene.families() {
        let pick =
            |ipv4: Ipv4Addr, of_ipv6| -> IpAddr { if *ipv6 { IpAddr::V6(of_ipv6) } else { ipv4.into() } };
        let target = SocketAddr::new(pick(router.ipv4, router.ipv6), PORT);
        let client = |what, from, seen| Client { what, from, seen };
        let clients = [
            client("outside", scene.outside(), vec![pick(CONTROL.0, CONTROL.1)]),
            client("the node", node, of_node.clone()),
            client("the pod itself", &pod.namespace, of_node.clone()),
            client("a pod beside it", &near.namespace, vec![near.address(*ipv6)]),
            client(
                "a pod of the other rack",
                &far.namespace,
                vec![far.address(*ipv6)],
            ),
        ];
        for client in &clients {
            asked += client.ask(target)?;
        }
        // To the same port of somebody else, through the node.
        let through = SocketAddr::new(far.address(*ipv6), PORT);
        let seen = ask::seen_at(&far.namespace, through, &near.namespace)?;
        ensure!(seen == near.address(*ipv6), "{through} saw {seen}");
    }
    if scene.families().contains(&false) {
        let seen = of_node;
        let client = Client {
            what: "the node, by its loopback",
            from: node,
            seen,
        };
        asked += client.ask(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT))?;
    }
    Ok(asked)
}

impl Client<'_> {
    /// Once by each protocol.
    fn ask(&self, target: SocketAddr) -> Result<usize> {
        let ask = || {
            let by_tcp = probe::ask_by_tcp(target).context("by TCP")?;
            Ok([by_tcp, probe::ask_by_udp(target.ip(), target).context("by UDP")?])
        };
        let answers = self
            .from
            .run(ask)
            .with_context(|| format!("{} asks {target}", self.what))?;
        for seen in &answers {
            let address: IpAddr = seen.parse().with_context(|| format!("{target} saw {seen:?}"))?;
            ensure!(
                self.seen.contains(&address),
                "{} was seen as {address} by {target}",
                self.what
            );
        }
        Ok(answers.len())
    }
}
