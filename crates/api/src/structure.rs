//! The check of a value's structure along the JSON schema of its type: fields, types, ranges, enums, formats.
//!
//! serde alone would stop at the first error and could not say where it is. This walk reports all of them, each
//! with its path, and knows the names beside which a misspelt one was meant. It understands the part of JSON
//! Schema that `schemars` makes of our types and says nothing about the rest; what it lets through is then read
//! by serde, whose verdict is final.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use crate::objects::{BGPConfigurationSpec, BGPFilterSpec, BGPPeerSpec, Kind};
use crate::problem::{Problem, ProblemReason};
use crate::{unsupported, values};

/// How deep a value may nest. Our deepest type needs 8.
const MAX_DEPTH: usize = 32;

/// The JSON schema of the `spec` of a kind of ours; `None` for the core kinds, which the API server defines.
#[must_use]
pub fn schema_of_spec(kind: Kind) -> Option<Value> {
    let generator = SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator();
    match kind {
        Kind::BGPPeer => Some(generator.into_root_schema_for::<BGPPeerSpec>().to_value()),
        Kind::BGPFilter => Some(generator.into_root_schema_for::<BGPFilterSpec>().to_value()),
        Kind::BGPConfiguration => Some(
            generator
                .into_root_schema_for::<BGPConfigurationSpec>()
                .to_value(),
        ),
        Kind::Node | Kind::Secret => None,
    }
}

/// All structural problems of an object of one of our kinds; none for the core kinds.
#[must_use]
pub fn check(kind: Kind, name: &str, object: &Map<String, Value>) -> Vec<Problem> {
    let Some(schema) = schema_of_spec(kind) else {
        return Vec::new();
    };
    let mut walk = Walk {
        kind,
        name,
        problems: Vec::new(),
        refused: false,
    };
    const TOP: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
    for key in object.keys().filter(|key| !TOP.contains(&key.as_str())) {
        walk.unknown(key, key, TOP.into_iter());
    }
    match object.get("spec").filter(|spec| !spec.is_null()) {
        Some(spec) => walk.value("spec", spec, &schema, 0),
        None if kind == Kind::BGPConfiguration => {}
        None => walk.missing("spec"),
    }
    // A field that is not there yet often stands in the place of a required one; the second complaint would
    // only confuse.
    if walk.refused {
        walk.problems.retain(|p| p.reason != ProblemReason::Required);
    }
    walk.problems
}

struct Walk<'a> {
    kind: Kind,
    name: &'a str,
    problems: Vec<Problem>,
    refused: bool,
}

impl Walk<'_> {
    fn report(&mut self, path: &str, message: String, remedy: impl Into<String>) -> &mut Problem {
        self.problems
            .push(Problem::new(self.kind.as_str(), self.name, path, message, remedy));
        let last = self.problems.len() - 1;
        &mut self.problems[last]
    }

    fn missing(&mut self, path: &str) {
        let problem = self.report(path, "required, but not there".to_owned(), "set it");
        problem.reason = ProblemReason::Required;
    }

    fn unsupported(&mut self, path: &str, what: &str) {
        self.refused = true;
        let message = format!("not supported yet in this version: {what}");
        let problem = self.report(path, message, "remove it");
        problem.reason = ProblemReason::NotSupported;
    }

    fn unknown<'n>(&mut self, path: &str, key: &str, known: impl Iterator<Item = &'n str>) {
        if unsupported::field(self.kind, path) {
            self.unsupported(path, &format!("field {key}"));
            return;
        }
        let remedy = match nearest(key, known) {
            Some(near) => format!("did you mean {near}? Otherwise remove it"),
            None => "remove it".to_owned(),
        };
        let problem = self.report(path, "unknown field".to_owned(), remedy);
        problem.reason = ProblemReason::UnknownField;
    }

    fn value(&mut self, path: &str, value: &Value, schema: &Value, depth: usize) {
        if depth > MAX_DEPTH {
            self.report(path, "nested too deeply".to_owned(), "remove it");
            return;
        }
        if let Some(any) = schema.get("anyOf").and_then(Value::as_array) {
            // An optional field: the type itself, or null.
            let is_null = |s: &&Value| s.get("type").and_then(Value::as_str) == Some("null");
            if value.is_null() && any.iter().any(|s| is_null(&s)) {
                return;
            }
            if let Some(inner) = any.iter().find(|s| !is_null(s)) {
                self.value(path, value, inner, depth + 1);
            }
            return;
        }
        if value.is_null() && allows_type(schema, "null") {
            return;
        }
        if let Some(allowed) = enumeration(schema) {
            self.enumerated(path, value, &allowed);
            return;
        }
        if let Some(format) = schema.get("format").and_then(Value::as_str)
            && let Some(outcome) = values::parse_format(format, value)
        {
            if let Err(message) = outcome {
                self.report(path, message, "correct it");
            }
            return;
        }
        match value {
            Value::Object(map) if allows_type(schema, "object") => self.object(path, map, schema, depth),
            Value::Array(items) if allows_type(schema, "array") => self.array(path, items, schema, depth),
            Value::String(text) if allows_type(schema, "string") => self.string(path, text, schema),
            Value::Number(n) if n.is_f64() && allows_type(schema, "number") => {}
            Value::Number(n) if !n.is_f64() && allows_type(schema, "integer") => {
                self.integer(
                    path,
                    &value.to_string(),
                    n.as_i64().map(i128::from).or(n.as_u64().map(i128::from)),
                    schema,
                );
            }
            Value::Bool(_) if allows_type(schema, "boolean") => {}
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => {
                let message = format!("{} where {} belongs", sort_of(value), expected(schema));
                self.report(path, message, "correct it");
            }
        }
    }

    fn object(&mut self, path: &str, map: &Map<String, Value>, schema: &Value, depth: usize) {
        let properties = schema.get("properties").and_then(Value::as_object);
        let additional = schema.get("additionalProperties").filter(|s| s.is_object());
        for (key, value) in map {
            let below = format!("{path}.{key}");
            // A field that is null is one that is not there, as for the API server.
            let is_known = properties.is_some_and(|p| p.contains_key(key)) || additional.is_some();
            if value.is_null() && is_known {
                continue;
            }
            match (properties.and_then(|p| p.get(key)), additional) {
                (Some(schema), _) | (None, Some(schema)) => self.value(&below, value, schema, depth + 1),
                (None, None) => {
                    let known = properties.into_iter().flat_map(|p| p.keys().map(String::as_str));
                    let siblings = unsupported::siblings(self.kind, path);
                    self.unknown(&below, key, known.chain(siblings));
                }
            }
        }
        for key in schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            if let Some(key) = key
                .as_str()
                .filter(|key| map.get(*key).is_none_or(Value::is_null))
            {
                self.missing(&format!("{path}.{key}"));
            }
        }
    }

    fn array(&mut self, path: &str, items: &[Value], schema: &Value, depth: usize) {
        if let Some(min) = schema
            .get("minItems")
            .or(schema.get("minLength"))
            .and_then(Value::as_u64)
            && (items.len() as u64) < min
        {
            self.report(
                path,
                format!("has fewer than {min} elements"),
                "add some, or remove the field",
            );
        }
        if let Some(max) = schema
            .get("maxItems")
            .or(schema.get("maxLength"))
            .and_then(Value::as_u64)
            && (items.len() as u64) > max
        {
            self.report(path, format!("has more than {max} elements"), "divide it");
            return;
        }
        if schema.get("uniqueItems").and_then(Value::as_bool) == Some(true) {
            for (i, item) in items.iter().enumerate() {
                if items.iter().take(i).any(|other| other == item) {
                    self.report(
                        &format!("{path}[{i}]"),
                        format!("{item} is there twice"),
                        "remove one",
                    );
                }
            }
        }
        let Some(inner) = schema.get("items") else { return };
        for (i, item) in items.iter().enumerate() {
            self.value(&format!("{path}[{i}]"), item, inner, depth + 1);
        }
    }

    fn string(&mut self, path: &str, text: &str, schema: &Value) {
        // JSON Schema counts characters; the fields with a limit here go into places that count bytes.
        let len = text.len() as u64;
        if let Some(min) = schema
            .get("minLength")
            .and_then(Value::as_u64)
            .filter(|min| len < *min)
        {
            self.report(
                path,
                format!("shorter than {min} bytes"),
                "set it, or remove the field",
            );
        }
        if let Some(max) = schema
            .get("maxLength")
            .and_then(Value::as_u64)
            .filter(|max| len > *max)
        {
            self.report(path, format!("longer than {max} bytes"), "shorten it");
        }
    }

    fn integer(&mut self, path: &str, text: &str, n: Option<i128>, schema: &Value) {
        let bound = |name| schema.get(name).and_then(Value::as_i64).map(i128::from);
        let max = bound("maximum").or(match schema.get("format").and_then(Value::as_str) {
            Some("uint32") => Some(i128::from(u32::MAX)),
            _ => None,
        });
        let (min, max) = (bound("minimum").unwrap_or(i128::MIN), max.unwrap_or(i128::MAX));
        if n.is_none_or(|n| n < min || n > max) {
            self.report(
                path,
                format!("{text} is not from {min} to {max}"),
                "choose a value in this range",
            );
        }
    }

    fn enumerated(&mut self, path: &str, value: &Value, allowed: &[&str]) {
        let Some(text) = value.as_str() else {
            let message = format!("{} where one of {} belongs", sort_of(value), allowed.join(", "));
            self.report(path, message, "choose one of them");
            return;
        };
        if allowed.contains(&text) {
            return;
        }
        if unsupported::value(self.kind, path, text) {
            self.unsupported(path, &format!("value {text}"));
            return;
        }
        let remedy = match nearest(text, allowed.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None => "choose one of them".to_owned(),
        };
        self.report(
            path,
            format!("\"{text}\" is not one of {}", allowed.join(", ")),
            remedy,
        );
    }
}

/// The values of an enum: `enum`, or `oneOf` of constants where the variants have descriptions.
fn enumeration(schema: &Value) -> Option<Vec<&str>> {
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return Some(values.iter().filter_map(Value::as_str).collect());
    }
    if let Some(value) = schema.get("const").and_then(Value::as_str) {
        return Some(vec![value]);
    }
    let alternatives = schema.get("oneOf").and_then(Value::as_array)?;
    let mut all = Vec::new();
    for alternative in alternatives {
        all.extend(enumeration(alternative)?);
    }
    Some(all)
}

fn allows_type(schema: &Value, name: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(one)) => one == name,
        Some(Value::Array(many)) => many.iter().any(|t| t == name),
        _ => name != "null",
    }
}

fn expected(schema: &Value) -> String {
    let article = |name: &str| match name {
        "object" => "a mapping".to_owned(),
        "array" => "a list".to_owned(),
        "integer" => "a whole number".to_owned(),
        name => format!("a {name}"),
    };
    match schema.get("type") {
        Some(Value::String(one)) => article(one),
        Some(Value::Array(many)) => many
            .iter()
            .filter_map(Value::as_str)
            .find(|t| *t != "null")
            .map_or_else(String::new, article),
        _ => "something else".to_owned(),
    }
}

fn sort_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

/// The known name that is at most a third of its length away from the given one, case aside.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > 64 {
        return None;
    }
    let lower = name.to_lowercase();
    known
        .map(|candidate| (distance(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(d, candidate)| *d <= candidate.len().div_ceil(3))
        .min()
        .map(|(_, candidate)| candidate)
}

/// The edit distance (insert, delete, replace) of two short strings.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(&b) {
            let here = (diagonal + usize::from(x != *y)).min(left + 1).min(*cell + 1);
            diagonal = *cell;
            *cell = here;
            left = here;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
#[path = "structure_tests.rs"]
mod tests;
