//! Our side of a pair: the manifests of a node with one BGPPeer, from a few values.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use crate::topology::{NODE_ASN, Router};

/// The name of our one BGPPeer.
pub(super) const PEER: &str = "peer";
/// The name of the Secret that holds its key.
const SECRET: &str = "peer-key";

/// How our agent is configured.
#[derive(Debug, Clone)]
pub struct Ours {
    /// Our ASN.
    pub asn: u32,
    /// The ASN that we expect of the peer.
    pub peer_asn: u32,
    /// Further fields of the BGPPeer's spec: name and value in YAML's flow style.
    pub fields: BTreeMap<&'static str, String>,
    /// The key of TCP MD5.
    pub key: Option<String>,
    /// Addresses of the node beside its own, to have more to advertise.
    pub more_addresses: Vec<IpAddr>,
}

impl Ours {
    /// A node in the default ASN with a peer in `peer_asn`, which it tries again soon.
    #[must_use]
    pub fn new(peer_asn: u32) -> Self {
        Self {
            asn: NODE_ASN,
            peer_asn,
            fields: BTreeMap::new(),
            key: None,
            more_addresses: Vec::new(),
        }
        .with("timers", "{connectRetryTime: 1s, holdTime: 90s}")
    }

    /// The same with a field of the BGPPeer's spec.
    #[must_use]
    pub fn with(mut self, field: &'static str, value: impl Into<String>) -> Self {
        self.fields.insert(field, value.into());
        self
    }

    /// The same without a field of the BGPPeer's spec.
    #[must_use]
    pub fn without(mut self, field: &str) -> Self {
        self.fields.remove(field);
        self
    }

    /// The files of the manifests' directory.
    pub(super) fn manifests(&self, node: &Router, peer: IpAddr) -> Vec<(String, String)> {
        let Router { name, ipv4, ipv6, .. } = node;
        let mut text = format!("apiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\n");
        if let Some(cidrs) = node.pod_cidrs {
            let _ = writeln!(
                text,
                "spec: {{podCIDR: \"{0}\", podCIDRs: [\"{0}\", \"{1}\"]}}",
                cidrs.ipv4, cidrs.ipv6
            );
        }
        let _ = write!(
            text,
            "status:\n  addresses:\n  - {{type: InternalIP, address: {ipv4}}}\n  - {{type: InternalIP, address: \"{ipv6}\"}}\n"
        );
        for address in &self.more_addresses {
            let _ = writeln!(text, "  - {{type: InternalIP, address: \"{address}\"}}");
        }
        let configuration = format!(
            "apiVersion: flatroute.io/v1alpha1\nkind: BGPConfiguration\nmetadata: {{name: default}}\nspec: {{localASN: {}}}\n",
            self.asn
        );
        vec![
            ("node.yaml".to_owned(), text),
            ("configuration.yaml".to_owned(), configuration),
            (FILE.to_owned(), self.peer(peer)),
        ]
    }

    /// The BGPPeer, and the Secret that it names.
    pub(super) fn peer(&self, peer: IpAddr) -> String {
        let mut text = format!(
            "apiVersion: flatroute.io/v1alpha1\nkind: BGPPeer\nmetadata: {{name: {PEER}}}\nspec:\n  peerAddress: \"{peer}\"\n  peerASN: {}\n",
            self.peer_asn
        );
        for (field, value) in &self.fields {
            let _ = writeln!(text, "  {field}: {value}");
        }
        if let Some(key) = &self.key {
            let _ = write!(
                text,
                "  auth: {{md5: {{secretRef: {{name: {SECRET}}}}}}}\n---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {SECRET}}}\nstringData: {{password: \"{key}\"}}\n"
            );
        }
        text
    }
}

/// The file that holds the BGPPeer.
pub(super) const FILE: &str = "peer.yaml";
