//! What a pod asks for by annotations, from the object to packets: how fast it may send and receive, which addresses it gets,
//! and what its owner reads when that cannot be.
//!
//! The way is the subject: API server, kubelet, containerd, the capabilities of the list that the agent wrote, plugin. What
//! the plugin makes of each wish is asked closer to it, in `crates/cni/tests`.

mod addresses;
mod bandwidth;
mod wrong;

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use flatroute_netlink::{POD_LINK_GROUP, SHAPER_LINK_GROUP};
use ipnetwork::IpNetwork;
use serde_json::{Value, json};

use super::exam::{Row, Verdict};
use super::images::AGNHOST;
use super::model::ask::http;
use super::{Carrier, Cluster, routes};
use crate::namespace::Namespace;
use crate::pod::Pod;

/// The label of all pods that are made here.
const LABEL: &str = "app=asks";
/// Where they answer over HTTP.
const HTTP: u16 = 8080;
/// What follows from an object, a start that is tried again included: the kubelet waits longer from time to time.
const BOUND: Duration = Duration::from_secs(120);

/// Everything that is asked of.
pub(super) struct Scene<'a> {
    pub(super) cluster: &'a Cluster,
    /// The `hello` of the first node.
    pub(super) near: Pod,
    /// One of the other rack.
    pub(super) far: Pod,
}

/// Something that is asked.
struct Question {
    name: &'static str,
    ask: fn(&Scene<'_>) -> Result<String>,
}

const QUESTIONS: [Question; 5] = [
    Question {
        name: "kubernetes.io/ingress-bandwidth and egress-bandwidth",
        ask: bandwidth::limited,
    },
    Question {
        name: "cni.flatroute.io/ips: certain addresses",
        ask: addresses::certain,
    },
    Question {
        name: "cni.flatroute.io/pool: addresses out of a pool",
        ask: addresses::pool,
    },
    Question {
        name: "an annotation that cannot be: an Event says what to do",
        ask: wrong::told,
    },
    Question {
        name: "nothing is left of those pods",
        ask: gone,
    },
];

/// Asks all of it.
///
/// # Errors
/// As [`Scene::new`].
pub(super) fn run(cluster: &Cluster) -> Result<Vec<Row>> {
    if cluster.carrier == Carrier::Bird {
        return Ok(vec![Row {
            name: "what pods ask for by annotations".to_owned(),
            verdict: Verdict::NotAsked,
            detail: "with CARRIER=bird flatroute was not installed".to_owned(),
        }]);
    }
    let scene = Scene::new(cluster)?;
    Ok(QUESTIONS
        .map(|question| scene.row(question.name, question.ask))
        .into())
}

impl<'a> Scene<'a> {
    /// # Errors
    /// The pods that are asked from have no namespace, or are in one rack.
    pub(super) fn new(cluster: &'a Cluster) -> Result<Self> {
        let hello = cluster.pods("default", "app=hello")?;
        let near = hello.first().context("a pod")?.clone();
        let rack = cluster.router(&near.node)?.rack;
        let other = |pod: &&Pod| cluster.router(&pod.node).is_ok_and(|router| router.rack != rack);
        let far = hello
            .iter()
            .find(other)
            .context("a pod in the other rack")?
            .clone();
        Ok(Self { cluster, near, far })
    }

    /// Asks a question, and tells of the answer.
    pub(super) fn row(&self, name: &str, ask: fn(&Self) -> Result<String>) -> Row {
        let (verdict, detail) = match ask(self) {
            Ok(detail) => (Verdict::Ok, detail),
            Err(error) => (Verdict::Failed, format!("{error:#}")),
        };
        // What a question left would be in the next one's way.
        let swept = self
            .cluster
            .kubectl
            .run(&["delete", "pods", "-l", LABEL, "--wait=false"]);
        let (verdict, detail) = match swept {
            Ok(_) => (verdict, detail),
            Err(error) => (Verdict::Failed, format!("{detail}; and then: {error:#}")),
        };
        self.cluster
            .teller
            .say(&format!("{name}: {}: {detail}", verdict.word()));
        Row {
            name: name.to_owned(),
            verdict,
            detail,
        }
    }

    pub(super) fn families(&self) -> &'static [bool] {
        self.cluster.common.site.families.order()
    }

    pub(super) fn node(&self, name: &str) -> Result<&Namespace> {
        self.cluster.ground.fabric.namespace(name)
    }

    /// The pod CIDRs of a node.
    pub(super) fn cidrs(&self, node: &str) -> Result<Vec<IpNetwork>> {
        let found = routes::pod_cidrs(&self.cluster.kubectl)?.remove(node);
        found.with_context(|| format!("{node} has no pod CIDRs"))
    }

    /// A pod that serves HTTP, on a node.
    pub(super) fn pod(&self, name: &str, node: &str, annotations: &[(&str, &str)]) -> Value {
        let annotations: serde_json::Map<String, Value> = annotations
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).into()))
            .collect();
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "labels": {"app": "asks", "name": name}, "annotations": annotations},
            "spec": {"nodeName": node, "terminationGracePeriodSeconds": 1, "containers": [{
                "name": "server", "image": AGNHOST, "imagePullPolicy": "Never",
                "args": ["netexec", "--http-port=8080", "--udp-port=8081"],
                "readinessProbe": {"httpGet": {"path": "/healthz", "port": HTTP}, "periodSeconds": 1},
            }]},
        })
    }

    /// Creates one.
    pub(super) fn create(&self, name: &str, node: &str, annotations: &[(&str, &str)]) -> Result<()> {
        let pod = self.pod(name, node, annotations);
        self.cluster.kubectl.apply(&pod.to_string()).map(drop)
    }

    /// How many devices for bandwidth a node has.
    pub(super) fn shapers(&self, node: &str) -> Result<usize> {
        let links = self.node(node)?.netlink()?.links()?;
        let shapers = links.iter().filter(|link| link.group == SHAPER_LINK_GROUP);
        Ok(shapers.count())
    }

    /// Waits for one of them to be ready.
    pub(super) fn ready(&self, name: &str) -> Result<Pod> {
        let label = format!("name={name}");
        self.cluster.await_pods("default", &label, 1)?;
        let found = self.cluster.pods("default", &label)?.pop();
        found.with_context(|| format!("the pod {name} is gone"))
    }

    /// The pod's addresses, in the cluster's order.
    pub(super) fn addresses(&self, pod: &Pod) -> Vec<IpAddr> {
        self.families().iter().map(|ipv6| pod.address(*ipv6)).collect()
    }

    /// A pod of the other rack, and the pod's own node, ask it who it is, at each of its addresses.
    pub(super) fn answers(&self, pod: &Pod) -> Result<()> {
        let asking = if self.far.node == pod.node {
            &self.near
        } else {
            &self.far
        };
        for address in self.addresses(pod) {
            for from in [&asking.namespace, self.node(&pod.node)?] {
                let name = http(from, (address, HTTP).into(), "/hostname")?;
                ensure!(name.trim() == pod.name, "{address} is {name:?}, not {}", pod.name);
            }
        }
        Ok(())
    }

    /// Waits for the Event that says why a pod is not started, with all of `words` in it.
    fn await_event(&self, pod: &str, words: &[&str]) -> Result<String> {
        let selector = format!("involvedObject.name={pod},reason=FailedCreatePodSandBox");
        let mut found = String::new();
        let what = format!("an Event of the pod {pod}");
        self.cluster.await_(&what, BOUND, |cluster| {
            let events = cluster.kubectl.list(&["events", "--field-selector", &selector])?;
            let messages = events.iter().filter_map(|event| event["message"].as_str());
            let messages: Vec<&str> = messages.collect();
            let said = messages
                .iter()
                .find(|text| words.iter().all(|w| text.contains(w)));
            Ok(match said {
                Some(text) => {
                    found = (*text).to_owned();
                    Ok(())
                }
                None => Err(format!("without {words:?}: {messages:?}")),
            })
        })?;
        Ok(found)
    }

    /// Deletes a pod, and waits until the API server has forgotten it: then its DEL is over.
    pub(super) fn delete(&self, name: &str) -> Result<()> {
        let bound = format!("--timeout={}s", BOUND.as_secs());
        self.cluster
            .kubectl
            .run(&["delete", "pod", name, &bound])
            .map(drop)
    }
}

/// Every node has a link for each pod that is there, and no device for bandwidth.
pub(super) fn gone(scene: &Scene<'_>) -> Result<String> {
    let mut pods = 0;
    for node in &scene.cluster.nodes {
        let namespace = scene.node(&node.name)?;
        let what = format!("{} to have links for its pods alone", node.name);
        scene.cluster.await_(&what, BOUND, |cluster| {
            let on_node = format!("spec.nodeName={}", node.name);
            let objects = cluster
                .kubectl
                .list(&["pods", "-A", "--field-selector", &on_node])?;
            let here = objects.iter().filter(|pod| pod["spec"]["hostNetwork"] != true);
            let mut here: Vec<&str> = here.filter_map(|pod| pod["metadata"]["name"].as_str()).collect();
            here.sort_unstable();
            let links = namespace.netlink()?.links()?;
            let of_group = |group| links.iter().filter(move |link| link.group == group).count();
            let (own, shapers) = (of_group(POD_LINK_GROUP), of_group(SHAPER_LINK_GROUP));
            pods = here.len();
            Ok(if own == here.len() && shapers == 0 {
                Ok(())
            } else {
                Err(format!(
                    "{own} links of pods, {shapers} for bandwidth; pods: {here:?}"
                ))
            })
        })?;
    }
    if pods == 0 {
        bail!("the last node has no pods, so nothing was seen");
    }
    Ok(format!(
        "on {} nodes as many links of pods as pods, none for bandwidth",
        scene.cluster.nodes.len()
    ))
}

/// The address of a block that stands so many after its first.
pub(super) fn nth(block: IpNetwork, number: u8) -> IpAddr {
    match block.network() {
        IpAddr::V4(first) => IpAddr::V4(u32::from(first).saturating_add(number.into()).into()),
        IpAddr::V6(first) => IpAddr::V6(u128::from(first).saturating_add(number.into()).into()),
    }
}
