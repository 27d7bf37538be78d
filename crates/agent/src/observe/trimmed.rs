//! Objects of the API server, as much of them as is kept.
//!
//! What is not named in these types is skipped by the JSON reader and never stands in memory: managedFields, the images,
//! conditions and heartbeats of Nodes, and the status of our own kinds, which the agents write and none reads here. So a
//! heartbeat of a Node reads as an equal object, and causes nothing.
//!
//! Everything then goes through the gates that a manifest goes through ([`flatroute_api::manifest::read`]): what a CRD of
//! another version let pass is a problem, not a surprise. A field that this version does not know refuses the object
//! as a whole, like in a manifest: whoever wrote it did not want the object without it.

use std::collections::BTreeMap;

use flatroute_api::manifest::{self, Object};
use flatroute_api::{Kind, Node, NodeSpec, NodeStatus, Problem, ProblemReason, validate};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// How long the value of a Node's annotation may be to be kept, in bytes. Those that the configuration names are short
/// (an ASN); those of other programs may be long and many.
const MAX_ANNOTATION_BYTES: usize = 256;

/// An object that was read, or why not.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) name: String,
    /// Tells an object from a later one of the same name.
    pub(crate) uid: String,
    /// The object, when it can be used.
    pub(crate) object: Option<Object>,
    pub(crate) problems: Vec<Problem>,
}

/// Metadata that is kept.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Metadata {
    pub(crate) name: String,
    namespace: Option<String>,
    uid: Option<String>,
    pub(crate) resource_version: Option<String>,
    generation: Option<i64>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
}

/// An object of a kind that is watched.
pub(crate) trait Trimmed: DeserializeOwned + Clone + Send + 'static {
    fn metadata(&self) -> &Metadata;
    /// Reads it as the kind that was asked for.
    fn read(self, kind: Kind) -> Seen;
}

/// One of our own kinds.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct OurObject {
    metadata: Metadata,
    spec: Option<Value>,
}

/// A Node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct NodeObject {
    metadata: Metadata,
    spec: NodeSpec,
    status: NodeStatus,
}

/// A Secret. Its values are not looked at here: an error of the JSON reader could quote one.
#[derive(Clone, Deserialize)]
pub(crate) struct SecretObject {
    metadata: Metadata,
    data: Option<Value>,
}

impl Trimmed for OurObject {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn read(self, kind: Kind) -> Seen {
        let Self { metadata, spec } = self;
        let mut value = json!({
            "apiVersion": kind.api_version(),
            "kind": kind.as_str(),
            "metadata": {"name": metadata.name, "uid": metadata.uid, "generation": metadata.generation},
        });
        if let (Some(spec), Some(object)) = (spec, value.as_object_mut()) {
            object.insert("spec".to_owned(), spec);
        }
        let (object, problems) = match manifest::read(&value) {
            Ok((_, _, object)) => (Some(object), Vec::new()),
            Err(problems) => (None, problems.into_iter().map(of_another_version).collect()),
        };
        seen(metadata, object, problems)
    }
}

/// A field or value that is unknown here was known to the server: its CRD is not of our version.
fn of_another_version(mut problem: Problem) -> Problem {
    if matches!(
        problem.reason,
        ProblemReason::UnknownField | ProblemReason::NotSupported
    ) {
        problem
            .remedy
            .push_str(", or bring the CustomResourceDefinitions and the agents to the same version");
    }
    problem
}

impl Trimmed for NodeObject {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// A Node always counts: without it the node would lose its pod CIDRs. What is wrong with it costs only itself.
    fn read(self, kind: Kind) -> Seen {
        let Self {
            mut metadata,
            spec,
            status,
        } = self;
        let mut annotations = metadata.annotations.take().unwrap_or_default();
        annotations
            .retain(|key, value| key.starts_with("flatroute.io/") || value.len() <= MAX_ANNOTATION_BYTES);
        let mut node = Node {
            metadata: ObjectMeta {
                name: Some(metadata.name.clone()),
                uid: metadata.uid.clone(),
                labels: metadata.labels.take(),
                annotations: Some(annotations),
                ..ObjectMeta::default()
            },
            spec,
            status,
        };
        let mut problems: Vec<Problem> = validate::name(kind, &metadata.name).into_iter().collect();
        problems.extend(validate::node(&metadata.name, &node));
        for problem in &problems {
            let key = problem
                .field
                .strip_prefix("metadata.annotations[")
                .and_then(|key| key.strip_suffix(']'));
            if let (Some(key), Some(annotations)) = (key, &mut node.metadata.annotations) {
                annotations.remove(key);
            }
        }
        seen(metadata, Some(Object::Node(Box::new(node))), problems)
    }
}

impl Trimmed for SecretObject {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn read(self, kind: Kind) -> Seen {
        let Self { metadata, data } = self;
        let value = json!({
            "apiVersion": kind.api_version(),
            "kind": kind.as_str(),
            "metadata": {"name": metadata.name, "namespace": metadata.namespace},
            "data": data,
        });
        let (object, problems) = match manifest::read(&value) {
            Ok((_, _, object)) => (Some(object), Vec::new()),
            Err(problems) => (None, problems),
        };
        seen(metadata, object, problems)
    }
}

fn seen(metadata: Metadata, object: Option<Object>, problems: Vec<Problem>) -> Seen {
    Seen {
        name: metadata.name,
        uid: metadata.uid.unwrap_or_default(),
        object,
        problems,
    }
}
