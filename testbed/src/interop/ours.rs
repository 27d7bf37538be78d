//! Our side of a pair: the manifests of a node with one BGPPeer, from a few values.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::peer::{Community, Large};
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
    /// Where the peer comes from by itself, instead of its address.
    pub range: Option<&'static str>,
    /// Further fields of the BGPPeer's spec: name and value in YAML's flow style.
    pub fields: BTreeMap<&'static str, String>,
    /// The key of TCP MD5.
    pub key: Option<String>,
    /// What a filter adds to all that the peer is told.
    pub burden: Option<Burden>,
    /// Addresses of the node beside its own, to have more to advertise.
    pub more_addresses: Vec<IpAddr>,
    /// Annotations of the Node.
    pub annotations: BTreeMap<&'static str, String>,
}

impl Ours {
    /// A node in the default ASN with a peer in `peer_asn`, which it tries again soon.
    #[must_use]
    pub fn new(peer_asn: u32) -> Self {
        Self {
            asn: NODE_ASN,
            peer_asn,
            range: None,
            fields: BTreeMap::new(),
            key: None,
            burden: None,
            more_addresses: Vec::new(),
            annotations: BTreeMap::new(),
        }
        .with("timers", "{connectRetryTime: 1s, holdTime: 90s}")
    }

    /// The same with a field of the BGPPeer's spec.
    #[must_use]
    pub fn with(mut self, field: &'static str, value: impl Into<String>) -> Self {
        self.fields.insert(field, value.into());
        self
    }

    /// The same with an annotation of the Node.
    #[must_use]
    pub fn annotated(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.annotations.insert(name, value.into());
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
        let mut text = format!("apiVersion: v1\nkind: Node\nmetadata:\n  name: {name}\n");
        if !self.annotations.is_empty() {
            text.push_str("  annotations:\n");
        }
        for (annotation, value) in &self.annotations {
            let _ = writeln!(text, "    {annotation}: \"{value}\"");
        }
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
            (NODE_FILE.to_owned(), text),
            ("configuration.yaml".to_owned(), configuration),
            (FILE.to_owned(), self.peer(peer)),
        ]
    }

    /// The BGPPeer, and the Secret that it names.
    pub(super) fn peer(&self, peer: IpAddr) -> String {
        let who = match self.range {
            Some(range) => format!("listenRange: \"{range}\""),
            None => format!("peerAddress: \"{peer}\""),
        };
        let mut text = format!(
            "apiVersion: flatroute.io/v1alpha1\nkind: BGPPeer\nmetadata: {{name: {PEER}}}\nspec:\n  {who}\n  peerASN: {}\n",
            self.peer_asn
        );
        for (field, value) in &self.fields {
            let _ = writeln!(text, "  {field}: {value}");
        }
        if self.burden.is_some() {
            let _ = writeln!(text, "  exportFilters: [{FILTER}]");
        }
        if let Some(key) = &self.key {
            let _ = write!(
                text,
                "  auth: {{md5: {{secretRef: {{name: {SECRET}}}}}}}\n---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {SECRET}}}\nstringData: {{password: \"{key}\"}}\n"
            );
        }
        if let Some(burden) = self.burden {
            text.push_str("---\n");
            text.push_str(&burden.filter());
        }
        text
    }
}

/// The file that holds the Node.
pub(super) const NODE_FILE: &str = "node.yaml";
/// The file that holds the BGPPeer.
pub(super) const FILE: &str = "peer.yaml";

/// The name of the BGPPeer of another neighbour beside the peer.
pub(super) fn name_beside(n: usize) -> String {
    format!("beside{n}")
}

/// That BGPPeer as a file: either may dial.
pub(super) fn neighbour_beside(n: usize, address: IpAddr, asn: u32) -> (String, String) {
    let name = name_beside(n);
    let text = format!(
        "apiVersion: flatroute.io/v1alpha1\nkind: BGPPeer\nmetadata: {{name: {name}}}\nspec:\n  peerAddress: \"{address}\"\n  peerASN: {asn}\n  timers: {{connectRetryTime: 1s}}\n"
    );
    (format!("{name}.yaml"), text)
}

/// Puts a manifest in the place of an older one, as an editor does it: the agent never sees half a file.
pub(super) fn replace(dir: &Path, file: &str, text: &str) -> Result<()> {
    let fresh = dir.join(format!("{file}.new"));
    fs::write(&fresh, text).with_context(|| format!("write {file}"))?;
    fs::rename(fresh, dir.join("manifests").join(file)).with_context(|| format!("replace {file}"))
}

/// More communities than a message of 4,096 octets can hold, in the portions that the API allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Burden {
    /// The first half of every community, to tell one burden from another.
    pub high: u16,
    /// Whether it is half as heavy, and fits into such a message.
    pub half: bool,
}

/// The name of the BGPFilter that adds a burden.
const FILTER: &str = "burden";
/// Communities, 4 octets each.
const COMMUNITIES: u16 = 1000;
/// Large communities, 12 octets each.
const LARGE: u16 = 100;
/// Rules that share the work: a rule sets at most 32 communities.
const RULES: u16 = 50;

impl Burden {
    /// Its communities.
    #[must_use]
    pub fn communities(self) -> Vec<Community> {
        let count = if self.half { COMMUNITIES / 2 } else { COMMUNITIES };
        (0..count).map(|low| (self.high, low)).collect()
    }

    /// Its large communities.
    #[must_use]
    pub fn large(self) -> Vec<Large> {
        let count = if self.half { LARGE / 2 } else { LARGE };
        (0..count)
            .map(|low| (u32::from(self.high), u32::MAX, u32::from(low)))
            .collect()
    }

    fn filter(self) -> String {
        let mut text = format!(
            "apiVersion: flatroute.io/v1alpha1\nkind: BGPFilter\nmetadata: {{name: {FILTER}}}\nspec:\n  rules:\n"
        );
        let (communities, large) = (self.communities(), self.large());
        let portions = communities
            .chunks(usize::from(COMMUNITIES / RULES))
            .zip(large.chunks(usize::from(LARGE / RULES)));
        for (communities, large) in portions {
            let list = |words: Vec<String>| words.join(", ");
            let communities = list(communities.iter().map(|(a, b)| format!("\"{a}:{b}\"")).collect());
            let large = list(large.iter().map(|(a, b, c)| format!("\"{a}:{b}:{c}\"")).collect());
            let _ = writeln!(
                text,
                "  - {{action: Next, set: {{communities: [{communities}], largeCommunities: [{large}]}}}}"
            );
        }
        text
    }
}
