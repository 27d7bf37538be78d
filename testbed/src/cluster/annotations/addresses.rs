//! Which addresses a pod gets that asks for certain ones, or for a pool.

use std::fs;
use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use ipnetwork::IpNetwork;
use serde_json::{Value, json};

use super::{Scene, nth};
use crate::pod::Pod;

/// Of the node's blocks, the address that is asked for.
const CERTAIN: u8 = 200;
/// The list that the agent wrote, and the one that goes before it while a pool is asked for.
const LIST: &str = "/etc/cni/net.d/10-flatroute.conflist";
const FIRST: &str = "/etc/cni/net.d/05-flatroute-pools.conflist";

/// One pod has them; the next one waits for it, is told why, and has them afterwards.
pub(super) fn certain(scene: &Scene<'_>) -> Result<String> {
    let node = &scene.near.node;
    let cidrs = scene.cidrs(node)?;
    let wanted: Vec<IpAddr> = cidrs.iter().map(|cidr| nth(*cidr, CERTAIN)).collect();
    let words: Vec<String> = wanted.iter().map(ToString::to_string).collect();
    let list = words.join(",");
    let annotation = [("cni.flatroute.io/ips", list.as_str())];
    scene.create("certain", node, &annotation)?;
    has(scene, &scene.ready("certain")?, &wanted)?;
    scene.create("next", node, &annotation)?;
    let first = words.first().context("an address")?;
    let told = scene.await_event("next", &[first, "cni.flatroute.io/ips"])?;
    scene.delete("certain")?;
    has(scene, &scene.ready("next")?, &wanted)?;
    Ok(format!(
        "{list} on {node}; a second pod that asks for it is told so, and has it when the first one has ended: {}",
        plugin_words(&told)
    ))
}

fn has(scene: &Scene<'_>, pod: &Pod, wanted: &[IpAddr]) -> Result<()> {
    let given = scene.addresses(pod);
    ensure!(given == wanted, "{} has {given:?}, not {wanted:?}", pod.name);
    scene.answers(pod)
}

/// A list with a pool goes before the agent's on one node, as its operator would write it.
pub(super) fn pool(scene: &Scene<'_>) -> Result<String> {
    let node = scene.cluster.node(&scene.far.node)?;
    let blocks = scene.cidrs(&node.name)?.into_iter().map(part);
    let blocks = blocks.collect::<Result<Vec<_>>>()?;
    let mut list: Value = serde_json::from_str(&node.run("cat", &[LIST])?).context("the agent's list")?;
    let texts: Vec<String> = blocks.iter().map(ToString::to_string).collect();
    list["plugins"][0]["pools"] = json!({"gold": {"podCIDRs": texts}});
    node.put(FIRST, &list.to_string())?;
    let asked = in_pool(scene, &node.name, &blocks);
    fs::remove_file(node.path(FIRST)).context("remove the list with the pool")?;
    asked?;
    // The agent's list knows no pool, and ends the pod all the same.
    scene.delete("gold")?;
    Ok(format!(
        "{} of a list before the agent's on {}; the pod beside it has its addresses elsewhere",
        texts.join(" and "),
        node.name
    ))
}

fn in_pool(scene: &Scene<'_>, node: &str, blocks: &[IpNetwork]) -> Result<()> {
    // Refused until the runtime has taken the list; then it knows the pool, for the pod beside it too.
    scene.create("gold", node, &[("cni.flatroute.io/pool", "gold")])?;
    let gold = scene.ready("gold")?;
    scene.create("beside", node, &[])?;
    let beside = scene.ready("beside")?;
    for (pod, inside) in [(&gold, true), (&beside, false)] {
        for address in scene.addresses(pod) {
            let found = blocks.iter().any(|block| block.contains(address));
            ensure!(
                found == inside,
                "{} has {address}; the pool is {blocks:?}",
                pod.name
            );
        }
        scene.answers(pod)?;
    }
    Ok(())
}

/// Sixteen addresses of a block, from its 208th on.
fn part(block: IpNetwork) -> Result<IpNetwork> {
    let first = nth(block, 208);
    let length = if first.is_ipv6() { 124 } else { 28 };
    IpNetwork::new(first, length).context("a part of a block")
}

/// What the plugin said, out of an Event that says much before it.
pub(super) fn plugin_words(message: &str) -> &str {
    let words = message
        .rsplit_once("failed (add): ")
        .map_or(message, |(_, words)| words);
    words.trim()
}
