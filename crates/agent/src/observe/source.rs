//! What is asked of the API server: one [`Source`] is one watch, with the path and the selector that it needs, no wider
//! than that. RBAC for all of them stands in [`rbac`](super::rbac).

use std::fmt;

use flatroute_api::Kind;

use super::rbac::{self, Rule};

/// One watch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// All BGPPeers.
    Peers,
    /// All BGPFilters.
    Filters,
    /// All BGPConfigurations, of which one is read.
    Configuration,
    /// The Node that this is.
    OwnNode,
    /// All Nodes; only when something needs the others.
    Nodes,
    /// A Secret of our own namespace that a neighbour of this node names.
    Secret(String),
}

/// Those without which nothing is planned.
pub(crate) const BASE: [Source; 4] = [
    Source::Peers,
    Source::Filters,
    Source::Configuration,
    Source::OwnNode,
];

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asker {
    /// The name of our Node.
    pub(crate) node: String,
    /// Our namespace, the only one whose Secrets are read.
    pub(crate) namespace: String,
}

impl Source {
    /// The kind of its objects.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Peers => Kind::BGPPeer,
            Self::Filters => Kind::BGPFilter,
            Self::Configuration => Kind::BGPConfiguration,
            Self::OwnNode | Self::Nodes => Kind::Node,
            Self::Secret(_) => Kind::Secret,
        }
    }

    /// Whether it is of our own kinds.
    pub(crate) fn is_ours(&self) -> bool {
        match self {
            Self::Peers | Self::Filters | Self::Configuration => true,
            Self::OwnNode | Self::Nodes | Self::Secret(_) => false,
        }
    }

    /// What lets us ask for it.
    pub(crate) fn rule(&self) -> &'static Rule {
        match self {
            Self::Peers => &rbac::PEERS,
            Self::Filters => &rbac::FILTERS,
            Self::Configuration => &rbac::CONFIGURATIONS,
            Self::OwnNode | Self::Nodes => &rbac::NODES,
            Self::Secret(_) => &rbac::SECRETS,
        }
    }

    /// Its path on the server.
    pub(crate) fn path(&self, asker: &Asker) -> String {
        self.rule().path(&asker.namespace)
    }

    /// The field selector, when it does not want all.
    pub(crate) fn fields(&self, asker: &Asker) -> Option<String> {
        match self {
            Self::OwnNode => Some(format!("metadata.name={}", asker.node)),
            Self::Secret(name) => Some(format!("metadata.name={name}")),
            Self::Peers | Self::Filters | Self::Configuration | Self::Nodes => None,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peers => f.write_str("BGPPeers"),
            Self::Filters => f.write_str("BGPFilters"),
            Self::Configuration => f.write_str("BGPConfigurations"),
            Self::OwnNode => f.write_str("own Node"),
            Self::Nodes => f.write_str("Nodes"),
            Self::Secret(name) => write!(f, "Secret {name}"),
        }
    }
}
