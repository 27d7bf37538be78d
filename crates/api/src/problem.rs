//! A problem with an object: where, what, and what to do about it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One problem. Problems are ordered by file, then object, then field, so that lists of them are stable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// Where the object was read, when it was read from a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// The kind of the object; empty when not even that could be read.
    pub kind: String,
    /// The name of the object; empty when not even that could be read.
    pub name: String,
    /// The path of the field, such as `spec.timers.holdTime`; empty for the object as a whole.
    pub field: String,
    /// Why, for programs.
    pub reason: ProblemReason,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

/// A place in a manifest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// The file, as it was named.
    pub file: String,
    /// The document in it, from 1.
    pub document: usize,
    /// The line in the file, from 1.
    pub line: usize,
}

/// Each reason is one word: in the type, in JSON, and before the colon of a session's reason.
macro_rules! reasons {
    ($($(#[$doc:meta])* $word:ident,)*) => {
        /// Why there is a problem: a word for programs. Who does something about problems matches all of them, so that a new one
        /// has to be thought of everywhere.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum ProblemReason {
            $($(#[$doc])* $word,)*
        }

        impl ProblemReason {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$word,)*];

            /// The word.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$word => stringify!($word),)*
                }
            }
        }
    };
}

reasons! {
    /// The API server does not answer.
    APIServerUnreachable,
    /// Nobody says which prefixes hold the pods of the cluster, and something depends on it.
    ClusterCIDRsUnknown,
    /// Another BGPPeer has the same neighbour on the same node.
    ConflictingPeer,
    /// The copy of the objects on the node's disk is not used.
    CopyRefused,
    /// An object is there twice among the manifests.
    Duplicate,
    /// A BGPFilter is not there.
    FilterNotFound,
    /// The API server does not let us read something.
    Forbidden,
    /// The node, or an uplink of it, does not forward packets.
    ForwardingDisabled,
    /// The API server forgets faster than we read.
    Gone,
    /// The node has an IPv6 pod CIDR, and its kernel no IPv6.
    IPv6Disabled,
    /// A node has no such interface that is up.
    InterfaceNotFound,
    /// A field has a value that cannot be used.
    Invalid,
    /// A node has more neighbours in the mesh between nodes than it is meant for.
    MeshTooLarge,
    /// The two nodes of a pair have no address of the same family.
    NoCommonFamily,
    /// `discover` finds no default route with a next hop on a node.
    NoDefaultGateway,
    /// An interface that a neighbour is to be found on has no IPv6 link-local address.
    NoLinkLocalAddress,
    /// `peerSelector`, or `nodeSelector` seen from the other end, selects no node but this one.
    NoMatchingNodes,
    /// A node's Node has no pod CIDR.
    NoPodCIDRs,
    /// The agent may not listen for router advertisements.
    NoRawSocket,
    /// Nobody sends router advertisements on an interface that a neighbour is to be found on.
    NoRouterAdvertisement,
    /// There is no Node of a node's name.
    NodeNotFound,
    /// A sysctl of the node is not as `flatroute-agent prepare` sets it.
    NodeNotPrepared,
    /// The API server does not know a kind.
    NotInstalled,
    /// The copy of the objects cannot be written.
    NotKept,
    /// A field, value or kind that this version does not have yet.
    NotSupported,
    /// A manifest is no YAML.
    NotYAML,
    /// A node's pod CIDR overlaps with another Node's, or with an address of a Node.
    OverlappingCIDRs,
    /// A BGPPeer's neighbour is the node itself.
    OwnAddress,
    /// The API server refuses for another reason.
    Refused,
    /// A field that has to be there is not.
    Required,
    /// The check of sources (`rp_filter`) on an uplink of the node is strict.
    ReversePathFilter,
    /// Another program deletes or changes our routes in the kernel again and again.
    RoutesContested,
    /// The Secret's name stands in two namespaces of the manifests.
    SecretAmbiguous,
    /// The key ends with a line break; it is used as it is.
    SecretEndsWithLineBreak,
    /// The key is empty or too long.
    SecretInvalid,
    /// The Secret has no such key.
    SecretKeyNotFound,
    /// The Secret is not there.
    SecretNotFound,
    /// Others than root can read a file with a Secret; it is used as it is.
    SecretReadableByOthers,
    /// Several routers are on a link that is to have one.
    SeveralRouters,
    /// The objects in force are the copy on the node's disk.
    Stale,
    /// `discover` finds more gateways than it takes.
    TooManyGateways,
    /// The API server does not know who we are.
    Unauthorized,
    /// A field that no version has.
    UnknownField,
    /// A kind that is not read.
    UnknownKind,
}

impl ProblemReason {
    /// The reason with this word, if it is one of them.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == word)
    }
}

impl fmt::Display for ProblemReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Problem {
    /// A problem with a field of an object; its reason is `Invalid`.
    pub fn new(
        kind: &str,
        name: &str,
        field: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            place: None,
            kind: kind.to_owned(),
            name: name.to_owned(),
            field: field.into(),
            reason: ProblemReason::Invalid,
            message: message.into(),
            remedy: remedy.into(),
        }
    }

    /// The same with another reason.
    #[must_use]
    pub fn because(mut self, reason: ProblemReason) -> Self {
        self.reason = reason;
        self
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.document, self.line)
    }
}

impl fmt::Display for Problem {
    /// `file:document:line: Kind/name: field: message; remedy`, without the parts that are not known.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        match (self.kind.as_str(), self.name.as_str()) {
            ("", "") => {}
            (kind, "") => write!(f, "{kind}: ")?,
            ("", name) => write!(f, "{name}: ")?,
            (kind, name) => write!(f, "{kind}/{name}: ")?,
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        write!(f, "{}; {}", self.message, self.remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_the_same_word_everywhere() {
        for reason in ProblemReason::ALL {
            let word = reason.as_str();
            assert_eq!(serde_json::to_string(reason).unwrap(), format!("\"{word}\""));
            assert_eq!(ProblemReason::of_word(word), Some(*reason));
        }
        assert_eq!(ProblemReason::of_word("KeyNotSet"), None);
        // Lists of problems are sorted, and were when reasons were words.
        assert!(ProblemReason::ALL.is_sorted_by_key(|reason| reason.as_str()));
    }
}
