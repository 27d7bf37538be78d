//! The sentence about what is ready when: a pod's first packet, and a node whose plugin can serve.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{Answer, HTTP, Scene, ok};
use crate::cluster::images::AGNHOST;
use crate::cluster::kubectl::unready;
use crate::cluster::node::Node;

/// Where the plugin and the list are, on every node.
const PLUGIN: &str = "/opt/cni/bin/flatroute-cni";
const LIST: &str = "/etc/cni/net.d/10-flatroute.conflist";
/// What STATUS says when no ADD can be served (CNI 1.1.0).
const NOT_AVAILABLE: u64 = 50;
/// Nothing of it is left to give out.
const USED_UP: &str = "192.0.2.0/29";

pub(super) fn m28(scene: &Scene<'_>) -> Answer {
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
  - {{name: first, image: \"{AGNHOST}\", imagePullPolicy: Never, command: [sh, -c, \"{script}\"]}}
"
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
    ok(format!("to the other rack, as its first act; {}", status(scene)?))
}

/// Asks the plugin of every node as a runtime would do it, and compares with what the kubelet says of the node.
fn status(scene: &Scene<'_>) -> Result<String> {
    for node in &scene.cluster.nodes {
        let list: Value = serde_json::from_str(&node.run("cat", &[LIST])?).context("the list")?;
        let mut request = list["plugins"][0].clone();
        request["name"] = list["name"].clone();
        request["cniVersion"] = json!("1.1.0");
        let (can_serve, words) = ask(node, &request)?;
        ensure!(can_serve, "STATUS on {}: {words}", node.name);
        request["podCIDRs"] = json!([USED_UP]);
        request["reserved"] = json!([USED_UP]);
        let (can_serve, words) = ask(node, &request)?;
        let error: Value = serde_json::from_str(&words).unwrap_or_default();
        ensure!(
            !can_serve && error["code"] == NOT_AVAILABLE,
            "STATUS on {} without an address left: {words:?}",
            node.name
        );
    }
    for node in scene.cluster.kubectl.list(&["nodes"])? {
        let reason = unready(&node);
        ensure!(reason.is_none(), "{}: {reason:?}", node["metadata"]["name"]);
    }
    let version = scene.cluster.nodes.first().context("a node")?;
    let version = version.run("containerd", &["--version"])?;
    let version = version.split_whitespace().nth(2).unwrap_or_default().to_owned();
    Ok(format!(
        "STATUS succeeds on {} nodes, all of them Ready, and with no address left it is {NOT_AVAILABLE} (containerd {version} itself asks from 2.0.1 on)",
        scene.cluster.nodes.len()
    ))
}

/// Whether STATUS succeeds, and what it said.
fn ask(node: &Node, request: &Value) -> Result<(bool, String)> {
    let mut child = node
        .command(Path::new(PLUGIN))?
        .env("CNI_COMMAND", "STATUS")
        .env("CNI_PATH", "/opt/cni/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("run nsenter")?;
    let mut stdin = child.stdin.take().context("the plugin's input")?;
    stdin
        .write_all(request.to_string().as_bytes())
        .context("write to the plugin")?;
    drop(stdin);
    let output = child.wait_with_output().context("wait for the plugin")?;
    Ok((
        output.status.success(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
    ))
}
