//! From the JSON schema of a Rust type to a structural schema, which is what an API server takes: one type a place, no
//! alternatives, no references, numbers and texts with formats that it knows.

use serde_json::{Map, Value, json};

use super::formats;

/// Where the name of a text's format is kept until [`forget_formats`].
pub(super) const FORMAT: &str = "x-flatroute-format";

/// What goes over as it is.
const KEPT: [&str; 13] = [
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "maxProperties",
    "required",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
    "x-kubernetes-int-or-string",
    "x-kubernetes-validations",
];

/// The structural schema of a JSON schema.
pub(super) fn structural(schema: &Value) -> Value {
    let schema = without_null(schema);
    let mut out: Map<String, Value> = KEPT
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), schema.get(*key)?.clone())))
        .collect();
    if schema.contains_key("description") {
        out.insert(
            "description".to_owned(),
            one_line(schema.get("description")).into(),
        );
    }
    if let Some(values) = enumeration(&schema) {
        out.insert("type".to_owned(), "string".into());
        out.insert("description".to_owned(), described(&schema, &values).into());
        out.insert(
            "enum".to_owned(),
            values.iter().map(|(value, _)| *value).collect(),
        );
        return out.into();
    }
    if let Some(one) = type_of(&schema) {
        out.insert("type".to_owned(), one.into());
        match one {
            "object" => object(&schema, &mut out),
            "array" => array(&schema, &mut out),
            "integer" => integer(&schema, &mut out),
            _ => {}
        }
    }
    if let Some(format) = schema.get("format").and_then(Value::as_str) {
        formats::apply(format, &mut out);
    }
    out.into()
}

/// Takes out the names of formats that only the documentation needs.
pub(super) fn forget_formats(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove(FORMAT);
            fields.values_mut().for_each(forget_formats);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_formats),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The schema of an optional field is that of the field: what is null is not there.
fn without_null(schema: &Value) -> Map<String, Value> {
    let mut schema = schema.as_object().cloned().unwrap_or_default();
    if let Some(Value::Array(alternatives)) = schema.remove("anyOf") {
        let is_null = |s: &&Value| s.get("type").and_then(Value::as_str) == Some("null");
        let inner = alternatives.iter().find(|s| !is_null(s));
        for (key, value) in inner.and_then(Value::as_object).into_iter().flatten() {
            // What the field says of itself is nearer than what its type says.
            schema.entry(key).or_insert_with(|| value.clone());
        }
    }
    schema
}

fn type_of(schema: &Map<String, Value>) -> Option<&str> {
    let given = schema.get("type")?;
    let many = given
        .as_array()
        .map_or(std::slice::from_ref(given), Vec::as_slice);
    many.iter().filter_map(Value::as_str).find(|t| *t != "null")
}

/// The values of an enum, each with its description.
fn enumeration(schema: &Map<String, Value>) -> Option<Vec<(&str, &str)>> {
    if let Some(Value::Array(values)) = schema.get("enum") {
        return Some(values.iter().filter_map(Value::as_str).map(|v| (v, "")).collect());
    }
    let Some(Value::Array(alternatives)) = schema.get("oneOf") else {
        return None;
    };
    let mut all = Vec::new();
    for alternative in alternatives {
        let alternative = alternative.as_object()?;
        let description = alternative
            .get("description")
            .and_then(Value::as_str)
            .unwrap_or("");
        match alternative.get("const") {
            Some(value) => all.push((value.as_str()?, description)),
            None => all.extend(enumeration(alternative)?),
        }
    }
    Some(all)
}

/// The description of an enum, with what its values mean, each on a line of its own.
fn described(schema: &Map<String, Value>, values: &[(&str, &str)]) -> String {
    let mut text = one_line(schema.get("description"));
    for (value, meaning) in values {
        let meaning = one_line(Some(&(*meaning).into()));
        if !meaning.is_empty() && meaning.trim_end_matches('.') != *value {
            text.push_str(&format!("\n`{value}`: {meaning}"));
        }
    }
    text
}

/// A comment's lines end where the editor's do.
fn one_line(description: Option<&Value>) -> String {
    description
        .and_then(Value::as_str)
        .unwrap_or("")
        .replace('\n', " ")
}

fn object(schema: &Map<String, Value>, out: &mut Map<String, Value>) {
    if let Some(Value::Object(properties)) = schema.get("properties") {
        let properties: Map<String, Value> = properties
            .iter()
            .map(|(name, schema)| (name.clone(), structural(schema)))
            .collect();
        out.insert("properties".to_owned(), properties.into());
    }
    if let Some(values @ Value::Object(_)) = schema.get("additionalProperties") {
        out.insert("additionalProperties".to_owned(), structural(values));
    }
}

fn array(schema: &Map<String, Value>, out: &mut Map<String, Value>) {
    // `schemars` says the length of a list whose schema is ours as if it were a text.
    for (given, meant) in [("minLength", "minItems"), ("maxLength", "maxItems")] {
        if let Some(length) = out.remove(given) {
            out.entry(meant).or_insert(length);
        }
    }
    let items = structural(schema.get("items").unwrap_or(&Value::Null));
    if schema.get("uniqueItems") == Some(&Value::Bool(true)) {
        out.insert("x-kubernetes-list-type".to_owned(), "set".into());
        if let Some(Value::Array(values)) = items.get("enum") {
            out.entry("maxItems").or_insert(values.len().into());
        }
    }
    out.insert("items".to_owned(), items);
}

/// Numbers without a sign are not among the formats of Kubernetes: they become a range.
fn integer(schema: &Map<String, Value>, out: &mut Map<String, Value>) {
    let (format, range) = match schema.get("format").and_then(Value::as_str) {
        Some("uint8") => ("int32", Some(json!(u8::MAX))),
        Some("uint16") => ("int32", Some(json!(u16::MAX))),
        Some("uint32") => ("int64", Some(json!(u32::MAX))),
        Some("uint64") => ("int64", None),
        _ => ("int64", None),
    };
    out.insert("format".to_owned(), format.into());
    if let Some(maximum) = range {
        out.entry("maximum").or_insert(maximum);
    }
}
