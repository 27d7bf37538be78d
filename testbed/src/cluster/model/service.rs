//! Sentences about Services, and about clients outside of the cluster.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, ensure};

use super::ask::{client_of, http, is_silent};
use super::{HTTP, Scene, ok};
use crate::cluster::exam::Verdict;
use crate::cluster::site::CONTROL;

/// Of the Service with `externalTrafficPolicy: Cluster`, and of the one with `Local`.
const NODE_PORTS: [u16; 2] = [30080, 30081];
/// The hostPort of `pair`.
const HOST_PORT: u16 = 9090;

/// A kube-proxy that has lost the API server looks for it again after up to half a minute.
const PROXIES_BOUND: Duration = Duration::from_secs(120);

/// Waits until every node's kube-proxy knows the Services that are asked: how soon it does is not our subject.
pub(super) fn await_proxies(scene: &Scene<'_>) -> Result<()> {
    let ports = NODE_PORTS.map(|port| (port, &scene.pair.node));
    scene.cluster.await_(
        "every kube-proxy to know the Services",
        PROXIES_BOUND,
        |cluster| {
            for node in &cluster.nodes {
                for address in cluster.common.site.addresses(cluster.router(&node.name)?) {
                    for (port, home) in ports {
                        let target = SocketAddr::new(address, port);
                        // The one with the policy Local answers on its pod's node alone.
                        if (port == NODE_PORTS[0] || node.name == *home)
                            && is_silent(scene.outside(), target)?
                        {
                            return Ok(Err(format!("{target} of {} does not answer", node.name)));
                        }
                    }
                }
            }
            Ok(Ok(()))
        },
    )
}

pub(super) fn m8(scene: &Scene<'_>) -> Result<(Verdict, String)> {
    let mut asked = 0;
    for pod in &scene.hello {
        for target in scene.cluster_ips("pair")? {
            let seen = client_of(&pod.namespace, SocketAddr::new(target, 80))?;
            ensure!(
                seen == pod.address(target.is_ipv6()),
                "{} through {target}: the backend saw {seen}",
                pod.name
            );
            asked += 1;
        }
    }
    ok(format!("{asked} times, from every node"))
}

pub(super) fn m9(scene: &Scene<'_>) -> Result<(Verdict, String)> {
    for target in scene.cluster_ips("pair")? {
        client_of(&scene.pair.namespace, SocketAddr::new(target, 80))?;
    }
    ok("the only backend asks its own Service")
}

pub(super) fn m10(scene: &Scene<'_>) -> Result<(Verdict, String)> {
    let mut asked = 0;
    for node in &scene.cluster.nodes {
        for target in scene.cluster_ips("hello")? {
            for _ in 0..8 {
                client_of(scene.node(&node.name)?, SocketAddr::new(target, 80))?;
                asked += 1;
            }
        }
    }
    ok(format!(
        "{asked} times, from every node, to backends here and there"
    ))
}

pub(super) fn m11(scene: &Scene<'_>) -> Result<(Verdict, String)> {
    let [cluster, local] = NODE_PORTS;
    for node in &scene.cluster.nodes {
        for address in scene
            .cluster
            .common
            .site
            .addresses(scene.cluster.router(&node.name)?)
        {
            client_of(scene.outside(), SocketAddr::new(address, cluster))?;
            let target = SocketAddr::new(address, local);
            if node.name == scene.pair.node {
                let seen = client_of(scene.outside(), target)?;
                ensure!(
                    is_outside(seen),
                    "externalTrafficPolicy Local: the pod saw {seen}"
                );
            } else {
                ensure!(
                    is_silent(scene.outside(), target)?,
                    "{target} answered without a backend on its node"
                );
            }
        }
    }
    ok("Cluster: by every node; Local: the client's own address seen, and no answer by nodes without the pod")
}

pub(super) fn m12(scene: &Scene<'_>) -> Result<(Verdict, String)> {
    for pod in &scene.hello {
        for ipv6 in scene.families() {
            let seen = client_of(scene.outside(), SocketAddr::new(pod.address(*ipv6), HTTP))?;
            ensure!(is_outside(seen), "{}: saw {seen}", pod.name);
        }
    }
    ok("every pod, from the machine behind the spine, its own address seen")
}

fn is_outside(address: IpAddr) -> bool {
    address == IpAddr::from(CONTROL.0) || address == IpAddr::from(CONTROL.1)
}

pub(super) fn m20(scene: &Scene<'_>) -> Result<(Verdict, String)> {
    let router = scene.cluster.router(&scene.pair.node)?;
    for address in scene.cluster.common.site.addresses(router) {
        http(scene.outside(), SocketAddr::new(address, HOST_PORT), "/hostname")?;
    }
    ok("TCP, from outside, by the standard portmap plugin in our conflist")
}
