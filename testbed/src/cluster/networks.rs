//! Several networks in one pod, by a real Multus that stands before our plugin on one node.
//!
//! Multus calls the plugin once for the cluster's network, in the list that our agent wrote, and once for each network that the
//! pod asks for. The second one here is the cluster's network once more, so that its addresses are the node's and are
//! routed to it; the plugin `sbr` behind ours lets the pod answer by the interface that was asked. It is not among the checks that nobody
//! chose, since building Multus takes some minutes.

use std::fs;
use std::net::IpAddr;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::annotations::{Scene, gone, nth};
use super::exam::Row;
use super::model::ask::{client_of, http};
use super::node::Node;
use super::parts::tool;
use super::{Carrier, Cluster};
use crate::pod::Pod;
use crate::process::locate;

/// What Multus reads of the cluster's objects.
const DEFINITIONS: &str = include_str!("manifests/multus.yaml");
/// The list that the agent wrote.
const LIST: &str = "/etc/cni/net.d/10-flatroute.conflist";
/// Multus goes before it.
const FIRST: &str = "/etc/cni/net.d/00-multus.conf";
/// What Multus has on a node.
const FOLDER: &str = "/etc/cni/multus";
/// That list for Multus.
const CLUSTER_NETWORK: &str = "/etc/cni/multus/cluster.conflist";
/// Where Multus looks for networks by their names.
const NETWORKS: &str = "/etc/cni/multus/net.d";
/// Where Debian puts sbr.
const SBR: &str = "/usr/lib/cni/sbr";
/// Of the node's blocks, the address of the second network that is asked for.
const CERTAIN: u8 = 230;
/// Where pods answer, and by which port of the node one of them.
const HTTP: u16 = 8080;
const HOST_PORT: u16 = 9095;

/// Something that is asked.
struct Question {
    name: &'static str,
    ask: fn(&Scene<'_>) -> Result<String>,
}

const QUESTIONS: [Question; 3] = [
    Question {
        name: "Multus: eth0 and net1, both answer",
        ask: two_networks,
    },
    Question {
        name: "Multus: what a pod asks of the cluster's network",
        ask: wishes,
    },
    Question {
        name: "Multus: nothing is left of those pods",
        ask: gone,
    },
];

/// Asks all of it.
///
/// # Errors
/// Multus is not built, or sbr not installed.
pub(super) fn run(cluster: &Cluster) -> Result<Vec<Row>> {
    if cluster.carrier == Carrier::Bird {
        bail!("CHECKS=multus asks our plugin: leave CARRIER=bird out");
    }
    let scene = Scene::new(cluster)?;
    let node = cluster.node(&scene.near.node)?;
    install(cluster, node)?;
    let rows = QUESTIONS.map(|question| scene.row(question.name, question.ask));
    uninstall(cluster, node)?;
    Ok(rows.into())
}

/// Takes away what [`install`] brought: the check `remove` may come next, and finds whatever bears our name.
fn uninstall(cluster: &Cluster, node: &Node) -> Result<()> {
    for file in [FIRST, "/opt/cni/bin/multus", "/opt/cni/bin/sbr"] {
        fs::remove_file(node.path(file)).with_context(|| format!("remove {file}"))?;
    }
    fs::remove_dir_all(node.path(FOLDER)).with_context(|| format!("remove {FOLDER}"))?;
    cluster
        .kubectl
        .feed(&["delete", "--wait=false", "-f", "-"], DEFINITIONS)
        .map(drop)
}

/// Puts Multus before the agent's list on a node.
fn install(cluster: &Cluster, node: &Node) -> Result<()> {
    ensure!(
        fs::exists(SBR).unwrap_or_default(),
        "{SBR} is not installed (package containernetworking-plugins): sudo make test-deps"
    );
    cluster.kubectl.apply(DEFINITIONS)?;
    let established = "crd/network-attachment-definitions.k8s.cni.cncf.io";
    let arguments = [
        "wait",
        "--for=condition=Established",
        "--timeout=60s",
        established,
    ];
    cluster.kubectl.run(&arguments)?;
    let second = json!({
        "apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": "flatroute", "namespace": "default"},
    });
    cluster.kubectl.apply(&second.to_string())?;
    for (program, name) in [(tool("multus")?, "multus"), (SBR.into(), "sbr")] {
        let place = node.path(&format!("/opt/cni/bin/{name}"));
        fs::copy(&program, &place).with_context(|| format!("copy {}", program.display()))?;
    }
    let mut list: Value = serde_json::from_str(&node.run("cat", &[LIST])?).context("the agent's list")?;
    // Multus answers in the highest version that itself and the list know, whatever it was asked in; containerd 1.6 knows
    // none above 1.0.0, and neither does Debian's sbr.
    let keys = list.as_object_mut().context("the agent's list")?;
    keys.remove("cniVersions");
    fs::create_dir_all(node.path(NETWORKS)).with_context(|| format!("create {NETWORKS}"))?;
    node.put(CLUSTER_NETWORK, &list.to_string())?;
    list["plugins"]
        .as_array_mut()
        .context("plugins")?
        .push(json!({"type": "sbr"}));
    node.put(&format!("{NETWORKS}/flatroute.conflist"), &list.to_string())?;
    let multus = json!({
        "cniVersion": "1.0.0", "name": "multus-cni-network", "type": "multus",
        "kubeconfig": cluster.common.secrets.kubeconfig_of("admin"),
        "clusterNetwork": CLUSTER_NETWORK, "confDir": NETWORKS,
        "capabilities": {"bandwidth": true, "portMappings": true, "io.kubernetes.cri.pod-annotations": true},
    });
    node.put(FIRST, &multus.to_string())
}

/// The address of each family that pods here ask for.
fn certain(scene: &Scene<'_>) -> Result<Vec<IpAddr>> {
    let cidrs = scene.cidrs(&scene.near.node)?;
    Ok(cidrs.iter().map(|cidr| nth(*cidr, CERTAIN)).collect())
}

/// Twice, since the second pod's certain addresses must have come back from the first.
fn two_networks(scene: &Scene<'_>) -> Result<String> {
    let node = &scene.near.node;
    let wanted = certain(scene)?;
    let networks = json!([{"name": "flatroute", "interface": "net1", "ips": wanted}]).to_string();
    for name in ["two", "two-again"] {
        scene.create(name, node, &[("k8s.v1.cni.cncf.io/networks", &networks)])?;
        let pod = scene.ready(name)?;
        let held = pod.namespace.addresses()?;
        ensure!(
            wanted.iter().all(|address| held.contains(address)),
            "{name} has {held:?}, without {wanted:?} of net1"
        );
        for ipv6 in scene.families() {
            default_route(&pod, *ipv6)?;
        }
        scene.answers(&pod)?;
        for address in &wanted {
            let seen = client_of(&scene.far.namespace, (*address, HTTP).into())?;
            let own = scene.far.address(address.is_ipv6());
            ensure!(seen == own, "{address} of net1 saw {seen}, not {own}");
        }
        let status = scene.cluster.kubectl.get(&["pod", name])?;
        let status = &status["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"];
        let status: Value = serde_json::from_str(status.as_str().unwrap_or_default())
            .with_context(|| format!("Multus wrote no status on {name}"))?;
        ensure!(
            status[0]["default"] == true && status[1]["interface"] == "net1",
            "{name}: {status}"
        );
        scene.delete(name)?;
    }
    let words: Vec<String> = wanted.iter().map(ToString::to_string).collect();
    Ok(format!(
        "net1 has {}, as asked, twice one after the other; default routes by eth0 alone; a pod of the other rack reached both",
        words.join(" and ")
    ))
}

/// There is one, and it is that of the first interface.
fn default_route(pod: &Pod, ipv6: bool) -> Result<()> {
    let program = locate("ip").context("ip is not installed")?;
    let mut command = pod.namespace.command(&program);
    let family = if ipv6 { "-6" } else { "-4" };
    command.args([family, "-o", "route", "show", "default"]);
    let output = command.output().context("run ip")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    ensure!(
        lines.len() == 1 && lines.iter().all(|line| line.contains("dev eth0")),
        "default routes of {}: {text}",
        pod.name
    );
    Ok(())
}

/// What the runtime tells Multus of a pod, and what of it comes to the plugin.
fn wishes(scene: &Scene<'_>) -> Result<String> {
    let node = &scene.near.node;
    let wanted = certain(scene)?;
    let words: Vec<String> = wanted.iter().map(ToString::to_string).collect();
    let mut pod = scene.pod(
        "wishes",
        node,
        &[
            ("kubernetes.io/egress-bandwidth", "10M"),
            ("cni.flatroute.io/ips", &words.join(",")),
        ],
    );
    pod["spec"]["containers"][0]["ports"] = json!([{"containerPort": HTTP, "hostPort": HOST_PORT}]);
    scene.cluster.kubectl.apply(&pod.to_string())?;
    let pod = scene.ready("wishes")?;
    scene.answers(&pod)?;
    ensure!(
        scene.shapers(node)? == 1,
        "the pod's annotation for bandwidth did not come through Multus"
    );
    let router = scene.cluster.router(node)?;
    for address in scene.cluster.common.site.addresses(router) {
        let name = http(&scene.far.namespace, (address, HOST_PORT).into(), "/hostname")?;
        ensure!(name.trim() == "wishes", "hostPort of {address}: {name:?}");
    }
    let passed = scene.addresses(&pod) == wanted;
    scene.delete("wishes")?;
    Ok(format!(
        "bandwidth and hostPort come through; cni.flatroute.io/ips {}",
        if passed {
            "too"
        } else {
            "does not: this Multus passes no annotations on"
        }
    ))
}
