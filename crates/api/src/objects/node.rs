//! Node: the parts of the core object that a speaker needs, under their real names. A Node from the API server
//! reads into this type as it is; what is not here is not kept in memory.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Deserializer, Serialize};

/// A node of the cluster, trimmed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Node {
    /// Name, labels, annotations.
    pub metadata: ObjectMeta,
    /// What the node shall be.
    pub spec: NodeSpec,
    /// What was seen of the node.
    pub status: NodeStatus,
}

/// What a node shall be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSpec {
    /// The first of `podCIDRs`.
    #[serde(rename = "podCIDR", skip_serializing_if = "Option::is_none")]
    pub pod_cidr: Option<String>,
    /// The prefixes that the node's pods get addresses from.
    #[serde(rename = "podCIDRs", skip_serializing_if = "Option::is_none")]
    pub pod_cidrs: Option<Vec<String>>,
}

/// What was seen of a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeStatus {
    /// Its addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Vec<NodeAddress>>,
    /// Whether its kubelet says, in the condition Ready, that the machine shuts down. Nothing else is kept of the conditions:
    /// their heartbeats change all the time.
    #[serde(rename = "conditions", deserialize_with = "shuts_down", skip_serializing)]
    pub shuts_down: bool,
}

/// What a kubelet writes into the condition Ready while its graceful node shutdown is under way.
const SHUTTING_DOWN: &str = "node is shutting down";

fn shuts_down<'de, D: Deserializer<'de>>(conditions: D) -> Result<bool, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Condition {
        r#type: String,
        status: String,
        message: Option<String>,
    }
    let conditions = Option::<Vec<Condition>>::deserialize(conditions)?.unwrap_or_default();
    let says_so = |c: &Condition| {
        let message = c.message.as_deref().unwrap_or_default();
        c.r#type == "Ready" && c.status != "True" && message.contains(SHUTTING_DOWN)
    };
    Ok(conditions.iter().any(says_so))
}

/// One address of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeAddress {
    /// `InternalIP`, `ExternalIP`, `Hostname`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// The address or name.
    pub address: String,
}

impl Node {
    /// A node with a name and nothing else.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            ..Self::default()
        }
    }

    /// The labels; empty when there are none.
    #[must_use]
    pub fn labels(&self) -> Cow<'_, BTreeMap<String, String>> {
        self.metadata
            .labels
            .as_ref()
            .map_or_else(Cow::default, Cow::Borrowed)
    }

    /// The value of an annotation.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// The pod CIDRs as they stand: `podCIDRs`, or `podCIDR` alone.
    pub fn pod_cidrs(&self) -> impl Iterator<Item = &str> {
        let many = self.spec.pod_cidrs.iter().flatten();
        let one = self
            .spec
            .pod_cidr
            .iter()
            .filter(|_| self.spec.pod_cidrs.as_ref().is_none_or(Vec::is_empty));
        many.chain(one).map(String::as_str)
    }

    /// The addresses of type InternalIP that are addresses, in order.
    pub fn internal_ips(&self) -> impl Iterator<Item = std::net::IpAddr> {
        self.status
            .addresses
            .iter()
            .flatten()
            .filter(|a| a.kind == "InternalIP")
            .filter_map(|a| a.address.parse().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The condition as a kubelet writes it, beside others, and what else it may say.
    #[test]
    fn only_a_kubelet_that_says_so_makes_a_node_shut_down() {
        let shuts_down = |conditions: &str| {
            let text = format!(r#"{{"status": {{"conditions": {conditions}}}}}"#);
            let node: Node = serde_json::from_str(&text).unwrap();
            node.status.shuts_down
        };
        let pressure = r#"{"type": "MemoryPressure", "status": "False", "reason": "x", "message": "node is shutting down"}"#;
        let ready = |status: &str, message: &str| {
            format!(
                r#"[{pressure}, {{"type": "Ready", "status": "{status}", "reason": "KubeletNotReady", "lastHeartbeatTime": "2026-01-01T00:00:00Z", "message": "{message}"}}]"#
            )
        };
        assert!(shuts_down(&ready("False", "node is shutting down")));
        assert!(shuts_down(&ready(
            "False",
            "[PLEG is not healthy, node is shutting down]"
        )));
        assert!(!shuts_down(&ready("True", "node is shutting down")));
        assert!(!shuts_down(&ready("False", "container runtime is down")));
        assert!(!shuts_down(&ready(
            "Unknown",
            "Kubelet stopped posting node status."
        )));
        assert!(
            !shuts_down(r#"[{"type": "Ready", "status": "False"}]"#),
            "no message"
        );
        assert!(!shuts_down("[]") && !shuts_down("null"));
        assert!(!Node::default().status.shuts_down);
    }
}
