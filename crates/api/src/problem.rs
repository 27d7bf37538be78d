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
    /// A word for programs: `ConflictingPeer`, `FilterNotFound`, `Invalid`, …
    pub reason: String,
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
            reason: "Invalid".to_owned(),
            message: message.into(),
            remedy: remedy.into(),
        }
    }

    /// The same with another reason.
    #[must_use]
    pub fn because(mut self, reason: &str) -> Self {
        reason.clone_into(&mut self.reason);
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
