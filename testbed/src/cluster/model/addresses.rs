//! Sentences about which addresses there are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use anyhow::{Context as _, Result, bail, ensure};
use ipnetwork::IpNetwork;
use serde_json::Value;

use super::{Answer, Scene, not_asked, ok};
use crate::cluster::kubectl::addresses;
use crate::cluster::routes;

pub(super) fn m1(scene: &Scene<'_>) -> Answer {
    let mut seen = BTreeSet::new();
    let pods = scene.cluster.kubectl.list(&["pods", "-A"])?;
    for pod in pods.iter().filter(|pod| pod["spec"]["hostNetwork"] != true) {
        for address in addresses(pod) {
            ensure!(seen.insert(address.clone()), "two pods have {address}");
        }
    }
    ok(format!("{} addresses, all different", seen.len()))
}

pub(super) fn m14(scene: &Scene<'_>) -> Answer {
    match scene.families() {
        [_] => ok("this cluster has one family; all other rows are asked in it"),
        _ => not_asked("make cluster-test FAMILIES=v4 and FAMILIES=v6"),
    }
}

pub(super) fn m15(scene: &Scene<'_>) -> Answer {
    let order = scene.families();
    if order.len() < 2 {
        return not_asked("this cluster has one family");
    }
    let families = |texts: &[String]| -> Result<Vec<bool>> {
        texts
            .iter()
            .map(|text| Ok(text.parse::<IpAddr>()?.is_ipv6()))
            .collect()
    };
    for pod in scene.cluster.kubectl.list(&["pods", "-l", "app=hello"])? {
        ensure!(
            families(&addresses(&pod))? == order,
            "podIPs are {:?}",
            addresses(&pod)
        );
        let hosts = pod["status"]["hostIPs"].as_array().into_iter().flatten();
        let hosts: Vec<String> = hosts
            .filter_map(|host| host["ip"].as_str().map(str::to_owned))
            .collect();
        ensure!(families(&hosts)? == order, "hostIPs are {hosts:?}");
    }
    let service: Vec<bool> = scene.cluster_ips("hello")?.iter().map(IpAddr::is_ipv6).collect();
    ensure!(service == order, "the Service's ClusterIPs are in another order");
    ok(if order.first() == Some(&true) {
        "IPv6 first"
    } else {
        "IPv4 first"
    })
}

pub(super) fn m27(scene: &Scene<'_>) -> Answer {
    for node in scene.cluster.kubectl.list(&["nodes"])? {
        let all = node["status"]["addresses"].as_array().into_iter().flatten();
        let internal: Vec<&Value> = all.filter(|address| address["type"] == "InternalIP").collect();
        let cidrs = node["spec"]["podCIDRs"].as_array().map_or(0, Vec::len);
        let wanted = scene.families().len();
        if internal.len() != wanted || cidrs != wanted {
            bail!(
                "{}: {} InternalIPs, {cidrs} podCIDRs",
                node["metadata"]["name"],
                internal.len()
            );
        }
    }
    ok("InternalIPs and podCIDRs of every Node, one a family")
}

/// The ranges that this cluster really gives out, against each other and against the addresses that machines really have.
pub(super) fn m26(scene: &Scene<'_>) -> Answer {
    let cluster = scene.cluster;
    let pods = routes::pod_cidrs(&cluster.kubectl)?;
    let mut ranges: Vec<(String, IpNetwork)> = Vec::new();
    for (node, cidrs) in &pods {
        ranges.extend(cidrs.iter().map(|cidr| (format!("the pods of {node}"), *cidr)));
    }
    for object in cluster.kubectl.list(&["servicecidrs"])? {
        for cidr in object["spec"]["cidrs"].as_array().into_iter().flatten() {
            let cidr = cidr.as_str().unwrap_or_default();
            ranges.push(("Services".to_owned(), cidr.parse().context("a ServiceCIDR")?));
        }
    }
    for (at, (what, range)) in ranges.iter().enumerate() {
        for (other, second) in ranges.iter().skip(at + 1) {
            ensure!(
                !overlap(*range, *second),
                "{range} of {what} and {second} of {other}"
            );
        }
    }
    let mut machines = 0;
    for router in &cluster.common.site.topology.routers {
        let namespace = scene.node(&router.name)?;
        for address in namespace.addresses()? {
            machines += 1;
            let within = ranges.iter().find(|(_, range)| range.contains(address));
            ensure!(
                within.is_none(),
                "{address} of {} is within {within:?}",
                router.name
            );
        }
    }
    let given = given_out(scene, &pods)?;
    ok(format!(
        "{} ranges, no two overlap; {machines} addresses of machines are in none; {given} pods have theirs from their node's. That the agent complains of an overlap is asked without a cluster (testbed/tests/model.rs)",
        ranges.len()
    ))
}

/// How many addresses of pods there are, each within the range of its node.
fn given_out(scene: &Scene<'_>, ranges: &BTreeMap<String, Vec<IpNetwork>>) -> Result<usize> {
    let mut given = 0;
    let pods = scene.cluster.kubectl.list(&["pods", "-A"])?;
    for pod in pods.iter().filter(|pod| pod["spec"]["hostNetwork"] != true) {
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        let own = ranges.get(node);
        for address in addresses(pod) {
            let address: IpAddr = address.parse().context("a pod's address")?;
            ensure!(
                own.is_some_and(|own| own.iter().any(|range| range.contains(address))),
                "{address} of {} is not of {node}",
                pod["metadata"]["name"]
            );
            given += 1;
        }
    }
    Ok(given)
}

fn overlap(one: IpNetwork, other: IpNetwork) -> bool {
    match (one, other) {
        (IpNetwork::V4(one), IpNetwork::V4(other)) => one.overlaps(other),
        (IpNetwork::V6(one), IpNetwork::V6(other)) => one.overlaps(other),
        (IpNetwork::V4(_), IpNetwork::V6(_)) | (IpNetwork::V6(_), IpNetwork::V4(_)) => false,
    }
}
