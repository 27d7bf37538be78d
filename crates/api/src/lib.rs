//! What users write and read: the objects of the group `flatroute.io`, their validation, the manifests they
//! stand in, and the JSON of the control socket.
//!
//! The Rust types are the single source. From them come the reading of manifests, the check of their
//! structure (unknown fields, types, ranges, enums: [`mod@structure`] walks a value along the JSON schema that
//! `schemars` derives from the type) and, in time, the CustomResourceDefinitions. What a schema cannot say
//! (two fields that exclude each other, a link-local address without its interface) is said by
//! [`mod@validate`], as pure functions from an object to a list of [`Problem`]s.
//!
//! A field whose behaviour this version does not have has no place in the types: then nothing can read it and
//! quietly do nothing. [`mod@unsupported`] lists such fields and values by name, so that a manifest that uses
//! them is refused with a remedy instead of a guess at a typing error.
//!
//! An object with a problem is left out as a whole. Half an object, say a peer without the filter that its
//! author believes in, is worse than none.
#![forbid(unsafe_code)]

pub mod annotations;
pub mod control;
pub mod crd;
pub mod manifest;
pub mod objects;
mod problem;
mod schemas;
pub mod structure;
pub mod unsupported;
pub mod validate;
pub mod values;

pub use objects::{
    BGPConfiguration, BGPConfigurationSpec, BGPFilter, BGPFilterSpec, BGPNodeStatus, BGPNodeStatusStatus,
    BGPPeer, BGPPeerSpec, BGPPeerStatus, ClusterState, Kind, Node, NodeAddress, NodeSpec, NodeStatus, Secret,
    SecretValue,
};
pub use problem::{Place, Problem, ProblemReason};

/// The API group and version of our kinds, as it stands in `apiVersion`.
pub const API_VERSION: &str = "flatroute.io/v1alpha1";

/// The ASN of a node that nothing else gives one.
pub const DEFAULT_ASN: u32 = 64_512;

/// The name of the one BGPConfiguration that is read.
pub const CONFIGURATION_NAME: &str = "default";
