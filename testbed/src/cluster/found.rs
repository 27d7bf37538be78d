//! Pods of the cluster as the testbed knows pods: a network namespace, a node and addresses.
//!
//! The API server says which addresses a pod has; its network namespace is that one of its node's in which an interface has
//! them. So probes, streams and captures work in a pod without any program in its image.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::Cluster;
use super::kubectl::addresses;
use super::node::Node;
use crate::namespace::Namespace;
use crate::pod::Pod;

impl Cluster {
    /// The pods with a label, in order of their nodes: those that shall run, on nodes that are there.
    ///
    /// # Errors
    /// One has no namespace with its addresses.
    pub fn pods(&self, namespace: &str, label: &str) -> Result<Vec<Pod>> {
        let objects = self.kubectl.list(&["pods", "-n", namespace, "-l", label])?;
        let is_there = |object: &&Value| {
            let node = object["spec"]["nodeName"].as_str().unwrap_or_default();
            object["metadata"]["deletionTimestamp"].is_null() && self.node(node).is_ok()
        };
        let mut pods = objects
            .iter()
            .filter(is_there)
            .map(|object| self.pod(object))
            .collect::<Result<Vec<_>>>()?;
        pods.sort_by(|a, b| (&a.node, &a.name).cmp(&(&b.node, &b.name)));
        Ok(pods)
    }

    /// The node of that name.
    ///
    /// # Errors
    /// There is none.
    pub fn node(&self, name: &str) -> Result<&Node> {
        let found = self.nodes.iter().find(|node| node.name == name);
        found.with_context(|| format!("no node {name}"))
    }

    fn pod(&self, object: &Value) -> Result<Pod> {
        let name = object["metadata"]["name"].as_str().context("a pod's name")?;
        let node = object["spec"]["nodeName"]
            .as_str()
            .with_context(|| format!("{name} is on no node"))?;
        let (mut ipv4, mut ipv6) = (Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED);
        let mut own = Vec::new();
        for text in addresses(object) {
            let address: IpAddr = text.parse().with_context(|| format!("{name}: address {text}"))?;
            own.push(address);
            match address {
                IpAddr::V4(address) => ipv4 = address,
                IpAddr::V6(address) => ipv6 = address,
            }
        }
        let namespace = namespace_of(self.node(node)?, name, &own)?;
        Ok(Pod::found(name, node, namespace, ipv4, ipv6))
    }
}

fn namespace_of(node: &Node, pod: &str, own: &[IpAddr]) -> Result<Namespace> {
    let dir = node.path("/run/netns");
    let entries = fs::read_dir(&dir).with_context(|| format!("read {}", dir.display()))?;
    for entry in entries.flatten() {
        let namespace = Namespace::found(pod, entry.path());
        // One that is just going away cannot be read any more, and is not the one.
        let held = namespace.addresses().unwrap_or_default();
        if !own.is_empty() && own.iter().all(|address| held.contains(address)) {
            return Ok(namespace);
        }
    }
    bail!(
        "{pod}: no network namespace on {} holds its addresses {own:?}",
        node.name
    )
}
