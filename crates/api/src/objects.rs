//! The objects. The names of fields and values are those of Kubernetes and of the RFCs; defaults stand in the
//! descriptions and are applied by the planner, never written into an object.

mod configuration;
mod filter;
mod node;
mod peer;
mod secret;
mod status;

use std::collections::BTreeMap;
use std::fmt;

pub use configuration::*;
pub use filter::*;
pub use node::*;
pub use peer::*;
pub use secret::{Secret, SecretValue};
pub use status::*;

pub(crate) use secret::Fault;

/// The kinds that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A neighbour.
    BGPPeer,
    /// Rules for routes.
    BGPFilter,
    /// What all peers share.
    BGPConfiguration,
    /// A node of the cluster.
    Node,
    /// A secret.
    Secret,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::BGPPeer,
        Self::BGPFilter,
        Self::BGPConfiguration,
        Self::Node,
        Self::Secret,
    ];

    /// As it stands in `kind`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BGPPeer => "BGPPeer",
            Self::BGPFilter => "BGPFilter",
            Self::BGPConfiguration => "BGPConfiguration",
            Self::Node => "Node",
            Self::Secret => "Secret",
        }
    }

    /// As it stands in `apiVersion`.
    #[must_use]
    pub fn api_version(self) -> &'static str {
        match self {
            Self::BGPPeer | Self::BGPFilter | Self::BGPConfiguration => crate::API_VERSION,
            Self::Node | Self::Secret => "v1",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// All objects that a node knows of, by name; every one of them is valid on its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterState {
    /// The nodes.
    pub nodes: BTreeMap<String, Node>,
    /// The neighbours.
    pub peers: BTreeMap<String, BGPPeer>,
    /// The filters.
    pub filters: BTreeMap<String, BGPFilter>,
    /// The configuration named `default`, if there is one.
    pub configuration: Option<BGPConfiguration>,
    /// The secrets, by namespace and name.
    pub secrets: BTreeMap<(String, String), Secret>,
}

impl ClusterState {
    /// How many objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
            + self.peers.len()
            + self.filters.len()
            + usize::from(self.configuration.is_some())
            + self.secrets.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
