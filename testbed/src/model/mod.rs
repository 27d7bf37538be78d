//! The Kubernetes network model, sentence by sentence, asked of packets: M1 to M28, in the order of the project's list.
//!
//! What is here needs pods, nodes and a machine outside, and no Kubernetes. The same questions are put to a real cluster
//! (`crate::cluster::model`, which asks the rest of the list too) and to a fabric whose nodes run our agent on manifests and
//! whose pods were wired by our plugin ([`standalone`]), in one family alone and in both.
//!
//! Probes are sockets that the testbed opens in the namespaces of pods, of nodes and of the machine behind the spine, which
//! is outside of the cluster. What counts is what a receiver sees: an answer that came from somewhere, but not from the
//! sender's own address, is a failure.

pub mod ask;
pub(crate) mod egress;
pub(crate) mod path;
pub(crate) mod reach;
pub(crate) mod source;
pub mod standalone;

use anyhow::{Context as _, Result};

use crate::cluster::exam::{Row, Verdict};
use crate::cluster::ground::Ground;
use crate::namespace::Namespace;
use crate::pod::Pod;
use crate::topology::Router;

/// The sentences.
pub const SENTENCES: [&str; 28] = [
    "M1 each pod has an address of its own",
    "M2 containers of a pod share localhost",
    "M3 pod to pod on one node, no NAT",
    "M4 pod to pod on other nodes, no NAT, no tunnel",
    "M5 node to its own pods; logs and exec",
    "M6 node to all pods and back, no NAT",
    "M7 pod to its own address",
    "M8 pod to ClusterIP: the backend sees the pod",
    "M9 pod to itself through a Service",
    "M10 node to ClusterIP",
    "M11 outside to NodePort, Cluster and Local",
    "M12 outside to a pod's address",
    "M13 UDP Service whose backend restarts",
    "M14 one family alone",
    "M15 both families, in the cluster's order",
    "M16 MTU and path MTU",
    "M17 ICMP errors come from real addresses",
    "M18 DNS",
    "M19 egress with masquerade",
    "M20 hostPort",
    "M21 host-network pods are left alone",
    "M22 spoofed sources are dropped",
    "M23 broadcast and multicast",
    "M24 agent restart without loss",
    "M25 drain, crash, partition",
    "M26 ranges do not overlap",
    "M27 families follow Node and pod addresses",
    "M28 a pod's first packet arrives",
];

/// What became of a sentence, and what was seen.
pub(crate) type Answer = Result<(Verdict, String)>;

/// Who is asked. Every pod has the servers of [`crate::probe`].
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// Racks, switches, and the machine outside.
    pub ground: &'a Ground,
    /// One on every node, in the order of nodes.
    pub pods: &'a [Pod],
    /// A second one on the first node.
    pub pair: &'a Pod,
}

impl<'a> Scene<'a> {
    pub(crate) fn families(&self) -> &'static [bool] {
        self.ground.site.families.order()
    }

    pub(crate) fn node(&self, name: &str) -> Result<&'a Namespace> {
        self.ground.fabric.namespace(name)
    }

    pub(crate) fn router(&self, name: &str) -> Result<&'a Router> {
        let found = self.ground.site.topology.find(name);
        found.with_context(|| format!("no router {name}"))
    }

    pub(crate) fn outside(&self) -> &'a Namespace {
        &self.ground.control
    }

    pub(crate) fn everybody(&self) -> impl Iterator<Item = &'a Pod> {
        self.pods.iter().chain([self.pair])
    }

    /// A pod of the first node, and one of the other rack.
    pub(crate) fn far_apart(&self) -> Result<(&'a Pod, &'a Pod)> {
        let near = self.pods.first().context("a pod")?;
        let rack = self.router(&near.node)?.rack;
        let other = |pod: &&Pod| self.router(&pod.node).is_ok_and(|router| router.rack != rack);
        let far = self.pods.iter().find(other).context("a pod in the other rack")?;
        Ok((near, far))
    }
}

/// The line of a sentence, by its place in [`SENTENCES`].
pub(crate) fn row(number: usize, answer: Answer) -> Row {
    let (verdict, detail) = answer.unwrap_or_else(|error| (Verdict::Failed, format!("{error:#}")));
    Row {
        name: SENTENCES.get(number).copied().unwrap_or_default().to_owned(),
        verdict,
        detail,
    }
}

pub(crate) fn ok(detail: impl Into<String>) -> Answer {
    Ok((Verdict::Ok, detail.into()))
}

pub(crate) fn not_asked(why: &str) -> Answer {
    Ok((Verdict::NotAsked, why.to_owned()))
}
