//! BGPConfiguration: what all neighbours share. Optional; the one named `default` is read.

use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Toggle;
use crate::values::Cidr;

/// What all neighbours share. Only the object named `default` is read.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "flatroute.io",
    version = "v1alpha1",
    kind = "BGPConfiguration",
    shortname = "frconf",
    category = "flatroute",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct BGPConfigurationSpec {
    /// The ASN of a node that has none of its own. Default: 64512. A change resets every session.
    #[serde(default, rename = "localASN", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schemas::asn")]
    pub local_asn: Option<u32>,
    /// Where a Node says its ASN. The annotation `flatroute.io/asn` comes first, `localASN` last. A change resets the sessions
    /// of nodes that get another ASN by it.
    #[serde(default, rename = "localASNFrom", skip_serializing_if = "Option::is_none")]
    pub local_asn_from: Option<LocalAsnFrom>,
    /// The address to listen on. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen_address: Option<IpAddr>,
    /// The port to listen on. Default: 179.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_535))]
    pub listen_port: Option<u16>,
    /// Sessions between nodes that no BGPPeer asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_mesh: Option<NodeMesh>,
    /// The choice among paths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_path: Option<BestPath>,
    /// The routes in the kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<KernelRoutes>,
    /// The network of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_network: Option<PodNetwork>,
    /// What the nodes report of themselves, a BGPNodeStatus each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_status: Option<NodeStatusReports>,
}

/// Where a Node says its ASN; exactly one of the two.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalAsnFrom {
    /// The name of a label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schemas::qualified_name")]
    pub node_label: Option<String>,
    /// The name of an annotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schemas::qualified_name")]
    pub node_annotation: Option<String>,
}

/// Sessions between nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeMesh {
    /// Whether there are any. Default: `Auto`. A change opens and ends only sessions of the mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<NodeMeshMode>,
    /// Nodes that are route reflectors of the mesh (RFC 4456): nodes of their ASN have sessions with them only, the reflectors
    /// also among themselves. Each reflects between the nodes on its own links, with the next hop unchanged. Excludes
    /// `mode: Disabled`. Default: none, every node has a session with every other one. A change opens and ends only sessions of
    /// the mesh; one that is no longer wanted ends once a reflector tells the same routes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schemas::node_selector")]
    pub route_reflector_selector: Option<LabelSelector>,
}

/// Whether there are sessions between nodes that no BGPPeer asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NodeMeshMode {
    /// Between two nodes that are on one link, until both have a neighbour in the fabric.
    Auto,
    /// None.
    Disabled,
}

/// The choice among paths.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BestPath {
    /// When paths are equal enough to share the traffic. Default: `Relaxed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multipath: Option<Multipath>,
}

/// When paths are equal enough to share the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Multipath {
    /// Equal length is enough.
    Relaxed,
    /// The whole AS path must be the same.
    Strict,
}

/// The routes in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KernelRoutes {
    /// The routing table. Default: 254, the main one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    pub table: Option<u32>,
    /// The metric of our routes. Default: 512.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    pub metric: Option<u32>,
    /// The protocol number of our routes. Default: 79.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 5, max = 255))]
    pub protocol: Option<u8>,
    /// How many paths a route may have; 1 means no ECMP. Default: 16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub max_paths: Option<u16>,
    /// Whether ECMP uses nexthop groups where the kernel has them. Default: `Auto`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nexthop_objects: Option<NexthopObjects>,
}

/// Whether ECMP uses nexthop groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NexthopObjects {
    /// Where the kernel has them.
    Auto,
    /// Never: plain multipath routes.
    Disabled,
}

/// What the nodes report of themselves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatusReports {
    /// Whether each node has a BGPNodeStatus. Default: `Enabled`. `Disabled` spares the API server an object of each node and its
    /// writes: each agent deletes its own. Then nobody knows what all nodes see of a neighbour: a BGPPeer's status counts nothing,
    /// and its conditions are Unknown with the reason `NodeStatusDisabled`, except where the objects alone decide them. Events, and
    /// what each agent says on its node, stay. A change resets no session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Toggle>,
}

/// The network of the pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodNetwork {
    /// The prefixes that hold the pods of the whole cluster.
    #[serde(default, rename = "clusterCIDRs", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub cluster_cidrs: Option<Vec<Cidr>>,
    /// How pods reach what is outside of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub masquerade: Option<Masquerade>,
    /// The MTU of the pods' links, in octets. Default: the smallest of the links that the node's default routes lead out of, asked
    /// for when a pod starts. A change concerns pods that start afterwards, and resets no session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1280, max = 65_535))]
    pub mtu: Option<u16>,
}

/// How pods reach what is outside of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Masquerade {
    /// Whether they do it with an address of their node: its InternalIP of that family where the node has it on a link, else one of
    /// the link that a packet leaves by. `Disabled`: with their own, which the way back must then be known to. Default: `Enabled`
    /// where the cluster's pod CIDRs are known, as they always are with an API server, else `Disabled`. A change concerns
    /// new connections, and resets no session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Toggle>,
    /// What pods reach with their own addresses, besides the cluster's pod CIDRs and the InternalIPs of its Nodes, which are always
    /// of it. Default: 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10, fc00::/7. Where this holds the
    /// InternalIPs of a Node it is taken to hold those of all, and they are not asked for.
    #[serde(
        default,
        rename = "nonMasqueradeCIDRs",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(length(max = 64))]
    pub non_masquerade_cidrs: Option<Vec<Cidr>>,
}

impl BGPConfigurationSpec {
    /// Whether nodes have a BGPNodeStatus.
    #[must_use]
    pub fn has_node_status(&self) -> bool {
        match self.node_status.as_ref().and_then(|status| status.mode) {
            None | Some(Toggle::Enabled) => true,
            Some(Toggle::Disabled) => false,
        }
    }
}

impl super::BGPPeerSpec {
    /// Whether the built-in filters judge what no other filter ended.
    #[must_use]
    pub fn has_built_in_filters(&self) -> bool {
        match self.built_in_filters {
            None | Some(Toggle::Enabled) => true,
            Some(Toggle::Disabled) => false,
        }
    }
}
