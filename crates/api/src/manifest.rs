//! Manifests: objects as text, in YAML of any number of documents.
//!
//! The text is hostile until proven otherwise: a size, a depth, a number of nodes and of aliases are set for
//! each document before anything is built from it. Documents are divided here and parsed one by one, so that
//! a bad one costs only itself; its problems name the file, the document and the line. A document goes through
//! four gates: it is YAML ([`mod@tree`]), it has a kind that is read, it has the structure of that kind, and
//! what it says makes sense. What comes out is an object without a known fault.
//!
//! Everything here is a function on text. Who reads files, and when again, is not of interest.

mod merge;
mod split;
mod tree;

use serde_json::{Map, Value};

use crate::objects::{BGPConfiguration, BGPFilter, BGPPeer, Fault, Kind, Node, Secret};
use crate::problem::{Place, Problem, ProblemReason};
use crate::{API_VERSION, structure, unsupported, validate};

pub use merge::{Merged, merge};

/// How large a file may be, in bytes.
pub const MAX_FILE_BYTES: usize = 4 << 20;

/// How many documents a file may have.
pub const MAX_DOCUMENTS: usize = 4096;

/// One object of a manifest.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// A neighbour.
    BGPPeer(Box<BGPPeer>),
    /// Rules for routes.
    BGPFilter(Box<BGPFilter>),
    /// What all peers share.
    BGPConfiguration(Box<BGPConfiguration>),
    /// A node.
    Node(Box<Node>),
    /// A secret.
    Secret(Box<Secret>),
}

impl Object {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::BGPPeer(_) => Kind::BGPPeer,
            Self::BGPFilter(_) => Kind::BGPFilter,
            Self::BGPConfiguration(_) => Kind::BGPConfiguration,
            Self::Node(_) => Kind::Node,
            Self::Secret(_) => Kind::Secret,
        }
    }
}

/// An object with the place and the name that it was read at.
#[derive(Clone, Debug, PartialEq)]
pub struct Located {
    /// Where it stands.
    pub place: Place,
    /// Its namespace; empty for cluster-scoped kinds.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The object.
    pub object: Object,
}

/// What a text holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    /// The objects without a fault, in order.
    pub objects: Vec<Located>,
    /// What is wrong with the rest.
    pub problems: Vec<Problem>,
}

/// Reads all objects of a text. `file` is only used to name the place of a problem.
#[must_use]
pub fn parse(file: &str, text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let place = |document, line| Place {
        file: file.to_owned(),
        document,
        line,
    };
    let refuse = |parsed: &mut Parsed, place, message: String, remedy: &str| {
        let problem = Problem::new("", "", "", message, remedy);
        parsed.problems.push(Problem {
            place: Some(place),
            ..problem
        });
    };
    if text.len() > MAX_FILE_BYTES {
        let message = format!("larger than {MAX_FILE_BYTES} bytes");
        refuse(&mut parsed, place(1, 1), message, "divide it into several files");
        return parsed;
    }
    for document in split::documents(text) {
        if document.number > MAX_DOCUMENTS {
            let message = format!("more than {MAX_DOCUMENTS} documents");
            refuse(
                &mut parsed,
                place(document.number, document.first_line),
                message,
                "divide the file",
            );
            break;
        }
        parse_document(file, &document, &mut parsed);
    }
    parsed
}

fn parse_document(file: &str, document: &split::Document<'_>, parsed: &mut Parsed) {
    let at = |line: usize| Place {
        file: file.to_owned(),
        document: document.number,
        line: document.first_line + line.max(1) - 1,
    };
    let tree = match tree::parse(document.text) {
        Ok(Some(tree)) => tree,
        Ok(None) => return,
        Err(error) => {
            let problem = Problem::new("", "", "", error.message, "correct the YAML");
            parsed.problems.push(
                Problem {
                    place: Some(at(error.line)),
                    ..problem
                }
                .because(ProblemReason::NotYAML),
            );
            return;
        }
    };
    let place = at(tree.first_line);
    match read(&tree.value) {
        Ok((namespace, name, object)) => parsed.objects.push(Located {
            place,
            namespace,
            name,
            object,
        }),
        Err(problems) => {
            parsed.problems.extend(problems.into_iter().map(|p| {
                let line = tree.line_of(&p.field);
                Problem {
                    place: Some(at(line)),
                    ..p
                }
            }));
        }
    }
}

/// Reads one object from a JSON value.
///
/// # Errors
/// All problems that can be told at once, without their place.
pub fn read(value: &Value) -> Result<(String, String, Object), Vec<Problem>> {
    let Some(object) = value.as_object() else {
        let message = "not an object with apiVersion, kind and metadata";
        return Err(vec![Problem::new(
            "",
            "",
            "",
            message,
            "correct it, or remove the document",
        )]);
    };
    let name = object
        .get("metadata")
        .and_then(|m| m.get("name"))
        .and_then(Value::as_str)
        .unwrap_or("");
    let kind = kind_of(object, name)?;
    let namespace = object
        .get("metadata")
        .and_then(|m| m.get("namespace"))
        .and_then(Value::as_str)
        .unwrap_or("");
    let mut problems = Vec::new();
    if name.is_empty() {
        let field = "metadata.name";
        problems.push(
            Problem::new(kind.as_str(), "", field, "required, but not there", "set it")
                .because(ProblemReason::Required),
        );
    } else {
        problems.extend(validate::name(kind, name));
    }
    problems.extend(structure::check(kind, name, object));
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut value = value.clone();
    if let Some(object) = value.as_object_mut() {
        object.retain(|key, value| key != "spec" || !value.is_null());
        object.get_mut("spec").into_iter().for_each(drop_nulls);
    }
    if kind == Kind::BGPConfiguration
        && let Some(object) = value.as_object_mut()
    {
        object.entry("spec").or_insert_with(|| Map::new().into());
    }
    let object = typed(kind, name, value)?;
    let namespace = match kind {
        Kind::Secret => namespace.to_owned(),
        Kind::BGPPeer | Kind::BGPFilter | Kind::BGPConfiguration | Kind::Node => String::new(),
    };
    Ok((namespace, name.to_owned(), object))
}

/// Takes out the fields that are null: they are not there.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn kind_of(object: &Map<String, Value>, name: &str) -> Result<Kind, Vec<Problem>> {
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or("");
    let (api_version, given) = (text("apiVersion"), text("kind"));
    if given.is_empty() {
        let problem = Problem::new(
            "",
            name,
            "kind",
            "required, but not there",
            "set it, such as BGPPeer",
        );
        return Err(vec![problem.because(ProblemReason::Required)]);
    }
    let Some(kind) = Kind::ALL.into_iter().find(|k| k.as_str() == given) else {
        let ours = api_version == API_VERSION;
        if ours && given == "BGPNodeStatus" {
            let message = "kind BGPNodeStatus is written by agents and not read";
            let problem = Problem::new(given, name, "kind", message, "remove the object");
            return Err(vec![problem.because(ProblemReason::UnknownKind)]);
        }
        if unsupported::KINDS.contains(&given) {
            let message = format!("not supported yet in this version: kind {given}");
            let problem = Problem::new(given, name, "kind", message, "remove the object");
            return Err(vec![problem.because(ProblemReason::NotSupported)]);
        }
        let known = Kind::ALL.into_iter().map(Kind::as_str);
        let remedy = match structure::nearest(given, known).filter(|_| ours || api_version == "v1") {
            Some(near) => format!("did you mean {near}? Otherwise remove the object"),
            None => "remove the object".to_owned(),
        };
        let message = format!("kind {given} of {api_version} is not read here");
        return Err(vec![
            Problem::new(given, name, "kind", message, remedy).because(ProblemReason::UnknownKind),
        ]);
    };
    if api_version != kind.api_version() {
        let message = format!("\"{api_version}\" is not the apiVersion of {kind}");
        let remedy = format!("use {}", kind.api_version());
        return Err(vec![Problem::new(given, name, "apiVersion", message, remedy)]);
    }
    Ok(kind)
}

fn typed(kind: Kind, name: &str, value: Value) -> Result<Object, Vec<Problem>> {
    let unreadable = |error: serde_json::Error| {
        vec![Problem::new(
            kind.as_str(),
            name,
            "",
            error.to_string(),
            "correct it",
        )]
    };
    let (object, problems) = match kind {
        Kind::BGPPeer => {
            let object: BGPPeer = serde_json::from_value(value).map_err(unreadable)?;
            let problems = validate::peer(name, &object.spec);
            (Object::BGPPeer(Box::new(object)), problems)
        }
        Kind::BGPFilter => {
            let object: BGPFilter = serde_json::from_value(value).map_err(unreadable)?;
            let problems = validate::filter(name, &object.spec);
            (Object::BGPFilter(Box::new(object)), problems)
        }
        Kind::BGPConfiguration => {
            let object: BGPConfiguration = serde_json::from_value(value).map_err(unreadable)?;
            let problems = validate::configuration(name, &object.spec);
            (Object::BGPConfiguration(Box::new(object)), problems)
        }
        Kind::Node => {
            let object: Node = serde_json::from_value(value).map_err(unreadable)?;
            let problems = validate::node(name, &object);
            (Object::Node(Box::new(object)), problems)
        }
        // Not by serde, whose messages may quote a value.
        Kind::Secret => {
            let fault = |f: Fault| Problem::new(kind.as_str(), name, f.field, f.message, f.remedy);
            let read = value
                .as_object()
                .map(Secret::read)
                .unwrap_or_else(|| Ok(Secret::default()));
            let secret = read.map_err(|faults| faults.into_iter().map(fault).collect::<Vec<_>>())?;
            (Object::Secret(Box::new(secret)), Vec::new())
        }
    };
    if problems.is_empty() {
        Ok(object)
    } else {
        Err(problems)
    }
}

/// Writes an object as a YAML document, for programs that make manifests. `kind` is added for a [`Node`],
/// which does not carry it.
///
/// # Errors
/// When the object cannot be written, which its types rule out.
pub fn to_yaml<T: serde::Serialize>(kind: Kind, object: &T) -> Result<String, String> {
    let mut value = serde_json::to_value(object).map_err(|e| e.to_string())?;
    if let Some(object) = value.as_object_mut() {
        object
            .entry("apiVersion")
            .or_insert_with(|| kind.api_version().into());
        object.entry("kind").or_insert_with(|| kind.as_str().into());
    }
    let text = serde_saphyr::to_string(&value).map_err(|e| e.to_string())?;
    Ok(format!("---\n{text}"))
}

#[cfg(test)]
mod tests;
