//! The network model without Kubernetes: the fabric of the clusters, our agent on every router, pods by our plugin.
//!
//! Nodes read manifests: their Node with the families that are asked, one BGPPeer of four lines, and the pod CIDRs of the
//! cluster, without which nobody knows what is outside of it. Routes to pods are learned over sessions of those families
//! alone, and a node without IPv4 has no IPv4 address at all. Switches, static routes and the machine behind the spine are
//! those of `crate::cluster::ground`.
//!
//! What a sentence needs Kubernetes for is asked where that is; the row says where.

mod alone;
mod ports;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use flatroute_api::control::Status;
use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};

use super::{Answer, SENTENCES, Scene, egress, not_asked, path, reach, row, source};
use crate::cluster::Switches;
use crate::cluster::exam::Row;
use crate::cluster::ground::Ground;
use crate::cluster::routes::{self, Expected, Way};
use crate::cluster::site::{Families, POD_CIDRS, Shape, Site};
use crate::control;
use crate::pod::{Pod, Runtime};
use crate::probe;
use crate::speaker::{Software, Speaker, agent, own_program};
use crate::topology::{PodCidrs, Router, Tier};
use crate::wait;

/// The one object that configures flatroute, as on a real cluster.
const PEER: &str = include_str!("../cluster/manifests/peer.yaml");
/// Two a rack.
const NODES: u16 = 4;
/// The ToRs of a node.
const LEGS: usize = 2;
/// How long sessions, routes and rules may take.
const BOUND: Duration = Duration::from_secs(60);

/// A fabric with nodes and pods.
#[derive(Debug)]
pub struct Standalone {
    ground: Ground,
    /// Of the nodes.
    speakers: Vec<Speaker>,
    /// The nodes' container runtimes.
    runtimes: Vec<Runtime>,
    /// One on every node.
    pods: Vec<Pod>,
    /// A second one on the first.
    pair: Pod,
}

enum Ask {
    /// As on a real cluster.
    Packets(fn(&Scene<'_>) -> Answer),
    /// Here alone.
    Alone(fn(&mut Standalone) -> Answer),
    /// Not here: what it needs, and where it is asked.
    Elsewhere(&'static str),
}

/// In the order of [`SENTENCES`].
const ASKS: [Ask; SENTENCES.len()] = [
    Ask::Alone(alone::m1),
    Ask::Elsewhere("containers of one pod: make cluster-test"),
    Ask::Packets(reach::m3),
    Ask::Packets(path::m4),
    Ask::Packets(reach::m5),
    Ask::Packets(reach::m6),
    Ask::Packets(reach::m7),
    Ask::Elsewhere("a Service: make cluster-test"),
    Ask::Elsewhere("a Service: make cluster-test; through a port of its node: M20"),
    Ask::Elsewhere("a Service: make cluster-test"),
    Ask::Elsewhere("a Service: make cluster-test"),
    Ask::Packets(reach::m12),
    Ask::Elsewhere("a Service: make cluster-test"),
    Ask::Alone(alone::m14),
    Ask::Alone(alone::m15),
    Ask::Packets(path::m16),
    Ask::Packets(path::m17),
    Ask::Elsewhere("a cluster's DNS: make cluster-test"),
    Ask::Packets(egress::m19),
    Ask::Alone(ports::m20),
    Ask::Alone(alone::m21),
    Ask::Packets(source::m22),
    Ask::Packets(path::m23),
    Ask::Alone(alone::m24),
    Ask::Elsewhere(
        "crash and partition: testbed/tests/returns.rs, a drain: testbed/tests/drains.rs, pods that move: make cluster-test",
    ),
    Ask::Alone(alone::m26),
    Ask::Elsewhere("Nodes and pods of an API server: make cluster-test"),
    Ask::Alone(alone::m28),
];

impl Standalone {
    /// Brings it up, from nothing to pods with servers.
    ///
    /// # Errors
    /// A program is missing, or something has not come in time.
    pub fn rise(families: Families) -> Result<Self> {
        let mut site = Site::new(Shape::Racks, families, NODES)?;
        let nodes = site.topology.routers.iter_mut();
        for (node, number) in nodes.filter(|router| router.tier == Tier::Node).zip(1..) {
            node.pod_cidrs = Some(pod_cidrs(number)?);
        }
        let ground = Ground::build(site, Switches::Flatroute)?;
        let plugin = own_program("flatroute-cni")?;
        let order = families.order();
        let (mut speakers, mut runtimes, mut pods) = (Vec::new(), Vec::new(), Vec::new());
        for node in ground.site.topology.nodes() {
            let manifests = manifests(&ground.site, node);
            speakers.push(Speaker::start_agent(&ground.fabric, node, &manifests)?);
            let runtime = Runtime::with_families(&ground.fabric, node, &plugin, order)?;
            pods.push(add(&runtime, &format!("{}-pod1", node.name), order)?);
            runtimes.push(runtime);
        }
        let pair = add(runtimes.first().context("a node")?, "node1-pod2", order)?;
        let lab = Self {
            ground,
            speakers,
            runtimes,
            pods,
            pair,
        };
        lab.await_whole()?;
        Ok(lab)
    }

    /// Asks all of them.
    #[must_use]
    pub fn ask(&mut self) -> Vec<Row> {
        let asks = ASKS.iter().enumerate();
        asks.map(|(number, ask)| {
            let answer = match ask {
                Ask::Packets(ask) => ask(&self.scene()),
                Ask::Alone(ask) => ask(self),
                Ask::Elsewhere(where_) => not_asked(where_),
            };
            row(number, answer)
        })
        .collect()
    }

    /// Deletes the pods through the plugin, and stops the agents.
    ///
    /// # Errors
    /// The first that failed; the rest is still done.
    pub fn end(self) -> Result<()> {
        let mut result = Ok(());
        let homes = self.ground.site.topology.nodes().map(|node| node.name.clone());
        let homes: Vec<String> = homes.collect();
        for pod in self.pods.into_iter().chain([self.pair]) {
            let home = homes.iter().position(|home| *home == pod.node);
            if let Some(runtime) = home.and_then(|home| self.runtimes.get(home)) {
                result = result.and(runtime.delete(pod));
            }
        }
        for speaker in self.speakers.into_iter().chain(self.ground.switches) {
            result = result.and(speaker.stop());
        }
        result
    }

    fn scene(&self) -> Scene<'_> {
        Scene {
            ground: &self.ground,
            pods: &self.pods,
            pair: &self.pair,
        }
    }

    fn order(&self) -> &'static [bool] {
        self.ground.site.families.order()
    }

    /// Waits until every node holds a learned route to every other one's pods over both its ToRs, and none else; until its
    /// rules are in force; and until the world knows the way to pods.
    fn await_whole(&self) -> Result<()> {
        let families = self.ground.site.families;
        let prefixes = |node: &Router| {
            let of = |cidrs: PodCidrs| families.pick::<IpNetwork>(&[cidrs.ipv4.into(), cidrs.ipv6.into()]);
            node.pod_cidrs.map_or_else(Vec::new, of)
        };
        let nodes = || self.ground.site.topology.nodes();
        let cidrs: BTreeMap<String, Vec<IpNetwork>> =
            nodes().map(|node| (node.name.clone(), prefixes(node))).collect();
        let expected = Expected {
            nodes: cidrs.len(),
            way: Way::Tors(LEGS),
            protocol: Software::Agent.route_protocol(),
        };
        wait::until("routes and rules on every node", BOUND, || {
            for (node, speaker) in nodes().zip(&self.speakers) {
                let namespace = self.ground.fabric.namespace(&node.name)?;
                if let Err(reason) = routes::complete(namespace, &node.name, &cidrs, &expected)? {
                    return Ok(Err(format!("{}: {reason}\n{}", node.name, speaker.last_words())));
                }
                let rules = status(speaker)?.pod_rules;
                if !rules.as_ref().is_some_and(|rules| rules.in_force) {
                    return Ok(Err(format!("{}: its rules: {rules:?}", node.name)));
                }
            }
            Ok(Ok(()))
        })?;
        let scene = self.scene();
        wait::until("the world to know the way to every pod", BOUND, || {
            Ok(reach::m12(&scene).map(drop).map_err(|error| format!("{error:#}")))
        })?;
        Ok(())
    }
}

/// What the agent of a node says.
fn status(speaker: &Speaker) -> Result<Status> {
    control::fetch(&agent::socket(speaker), "/v1/status")
}

/// A pod with servers.
fn add(runtime: &Runtime, name: &str, families: &[bool]) -> Result<Pod> {
    let pod = runtime.add(name)?;
    probe::serve_families(&pod, families)?;
    Ok(pod)
}

/// Those of the node of that number, within [`POD_CIDRS`].
fn pod_cidrs(number: u8) -> Result<PodCidrs> {
    let [ipv4, ipv6] = POD_CIDRS;
    let (ipv4, ipv6): (Ipv4Network, Ipv6Network) = (ipv4.parse()?, ipv6.parse()?);
    let third = u32::from(number) << 8;
    let fourth = u128::from(number) << 64;
    Ok(PodCidrs {
        ipv4: Ipv4Network::new((u32::from(ipv4.network()) | third).into(), 24)?,
        ipv6: Ipv6Network::new((u128::from(ipv6.network()) | fourth).into(), 64)?,
    })
}

fn manifests(site: &Site, node: &Router) -> Vec<(String, String)> {
    let list = |items: Vec<String>| {
        let quoted: Vec<String> = items.iter().map(|item| format!("\"{item}\"")).collect();
        quoted.join(", ")
    };
    let mut text = format!("apiVersion: v1\nkind: Node\nmetadata: {{name: {}}}\n", node.name);
    if let Some(cidrs) = node.pod_cidrs {
        let cidrs = [cidrs.ipv4.to_string(), cidrs.ipv6.to_string()];
        let _ = writeln!(text, "spec: {{podCIDRs: [{}]}}", list(site.families.pick(&cidrs)));
    }
    text.push_str("status:\n  addresses:\n");
    for address in site.addresses(node) {
        let _ = writeln!(text, "  - {{type: InternalIP, address: \"{address}\"}}");
    }
    let cluster = site.families.pick(&POD_CIDRS.map(str::to_owned));
    let configuration = format!(
        "apiVersion: flatroute.io/v1alpha1\nkind: BGPConfiguration\nmetadata: {{name: default}}\nspec: {{podNetwork: {{clusterCIDRs: [{}]}}}}\n",
        list(cluster)
    );
    vec![
        ("node.yaml".to_owned(), text),
        ("configuration.yaml".to_owned(), configuration),
        ("peer.yaml".to_owned(), PEER.to_owned()),
    ]
}

/// Whether the table is what it should be: a row for each sentence, none of which failed.
///
/// # Errors
/// Those that failed.
pub fn judge(rows: &[Row]) -> Result<()> {
    let failed: Vec<String> = rows
        .iter()
        .filter(|row| row.verdict == crate::cluster::exam::Verdict::Failed)
        .map(|row| format!("{}: {}", row.name, row.detail))
        .collect();
    ensure!(failed.is_empty(), "did not hold:\n  {}", failed.join("\n  "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Families, NODES, Shape, Site, manifests, pod_cidrs};

    #[test]
    fn every_manifest_is_without_problems() {
        for families in [Families::V4, Families::V6, Families::Dual, Families::Dual64] {
            let mut site = Site::new(Shape::Racks, families, NODES).expect("a site");
            let node = site.topology.routers.last_mut().expect("a node");
            node.pod_cidrs = Some(pod_cidrs(4).expect("numbers"));
            let node = node.clone();
            for (name, text) in manifests(&site, &node) {
                let problems = flatroute_api::manifest::parse(&name, &text).problems;
                assert!(problems.is_empty(), "{name}: {problems:?}");
                let other = match families {
                    Families::V4 => "fd00:",
                    Families::V6 => "10.",
                    Families::Dual | Families::Dual64 => "nowhere",
                };
                assert!(!text.contains(other), "{families:?}: {text}");
            }
        }
    }

    #[test]
    fn pods_of_a_node_are_within_the_clusters() {
        let cidrs = pod_cidrs(3).expect("numbers");
        assert_eq!(
            (cidrs.ipv4.to_string(), cidrs.ipv6.to_string()),
            ("10.244.3.0/24".to_owned(), "fd00:244:0:3::/64".to_owned())
        );
    }
}
