//! YAML as a JSON value that remembers the line of each field.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Options, Spanned};

/// A document: its value and the line of each path in it, from 1 at the start of the document.
pub(super) struct Tree {
    pub value: Value,
    pub first_line: usize,
    lines: BTreeMap<String, usize>,
}

/// Why a document is not YAML that we take.
pub(super) struct Error {
    pub message: String,
    pub line: usize,
}

impl Tree {
    /// The line of a field, or of the nearest one above it that is there.
    pub(super) fn line_of(&self, field: &str) -> usize {
        let mut path = field;
        loop {
            if let Some(line) = self.lines.get(path) {
                return *line;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = path.get(..end).unwrap_or(""),
                None => return self.first_line,
            }
        }
    }
}

/// Reads one document; `None` when it holds nothing.
pub(super) fn parse(text: &str) -> Result<Option<Tree>, Error> {
    let root: Spanned<Node> = serde_saphyr::from_str_with_options(text, limits()).map_err(|error| Error {
        line: error
            .location()
            .map_or(1, |l| usize::try_from(l.line()).unwrap_or(1)),
        message: format!(
            "not readable: {}",
            first_line_of(&error.without_snippet().to_string())
        ),
    })?;
    let mut lines = BTreeMap::new();
    let first_line = line(&root);
    let value = flatten(root.value, "", &mut lines);
    Ok((!value.is_null()).then_some(Tree {
        value,
        first_line,
        lines,
    }))
}

/// What a document may cost. Manifests are small; the largest of ours is a filter with thousands of prefixes.
fn limits() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 32,
            max_nodes: 100_000,
            max_events: 300_000,
            max_aliases: 100,
            max_anchors: 100,
            max_documents: 1,
            max_merge_keys: 100,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 10_000,
            max_replay_stack_depth: 8,
            max_alias_expansions_per_anchor: 100,
        },
        with_snippet: false,
    }
}

fn first_line_of(message: &str) -> &str {
    message.lines().next().unwrap_or(message)
}

fn line<T>(spanned: &Spanned<T>) -> usize {
    usize::try_from(spanned.referenced.line()).unwrap_or(1).max(1)
}

fn flatten(node: Node, path: &str, lines: &mut BTreeMap<String, usize>) -> Value {
    match node {
        Node::Scalar(value) => value,
        Node::Sequence(items) => {
            let mut out = Vec::with_capacity(items.len());
            for (i, item) in items.into_iter().enumerate() {
                let below = format!("{path}[{i}]");
                lines.insert(below.clone(), line(&item));
                out.push(flatten(item.value, &below, lines));
            }
            Value::Array(out)
        }
        Node::Mapping(entries) => {
            let mut out = Map::new();
            for (key, value) in entries {
                let below = if path.is_empty() {
                    key.value.clone()
                } else {
                    format!("{path}.{}", key.value)
                };
                lines.insert(below.clone(), line(&key));
                let value = flatten(value.value, &below, lines);
                out.insert(key.value, value);
            }
            Value::Object(out)
        }
    }
}

enum Node {
    Scalar(Value),
    Sequence(Vec<Spanned<Self>>),
    Mapping(Vec<(Spanned<String>, Spanned<Self>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Node, E> {
        Ok(Node::Scalar(v.into()))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Node, E> {
        Ok(Node::Scalar(v.into()))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Node, E> {
        Ok(Node::Scalar(v.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, v: f64) -> Result<Node, E> {
        Number::from_f64(v)
            .map(|n| Node::Scalar(n.into()))
            .ok_or_else(|| E::custom("a number that is not finite"))
    }

    fn visit_str<E>(self, v: &str) -> Result<Node, E> {
        Ok(Node::Scalar(v.into()))
    }

    fn visit_string<E>(self, v: String) -> Result<Node, E> {
        Ok(Node::Scalar(v.into()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Node::Sequence(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries: Vec<(Spanned<String>, Spanned<Node>)> = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            if key.value.len() > 1024 {
                return Err(A::Error::custom("a key of more than 1024 bytes"));
            }
            entries.push((key, map.next_value()?));
        }
        Ok(Node::Mapping(entries))
    }
}
