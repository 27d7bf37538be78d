//! `docs/reference.md`: what each object and field does, from the same schemas as the definitions.
//!
//! A description says the default as `Default: …` and what a change costs as a sentence that begins with `A change`; here
//! they get columns of their own. A field that says nothing of a change takes over what its parent says, or resets nothing.

use std::fmt::Write as _;

use serde_json::Value;

use super::schema::FORMAT;

const HEAD: &str = "\
<!-- Generated from the types of crates/api by `make crds`. -->
# Reference of the objects

API group `flatroute.io`, version `v1alpha1`. All kinds are cluster-scoped and in the category `flatroute`: `kubectl get
flatroute` lists them all. Defaults are applied by the agent and not written into objects. Bounds are in characters,
elements or, of numbers, from and to. The column *Resets* says what a change of the field costs. The API server refuses
what breaks a bound or one of the rules below each kind, and so does `flatroute-agent check`, which needs no cluster. The
rules need Kubernetes 1.31 or newer, whose CEL knows addresses and prefixes.
";

/// What is in a field, a row of a table.
#[derive(Default)]
struct Field {
    path: String,
    kind: String,
    default: String,
    bounds: String,
    change: String,
    text: String,
}

/// The whole page, of the definitions with their formats.
pub(super) fn page(definitions: &[Value]) -> String {
    let mut page = HEAD.to_owned();
    for definition in definitions {
        let names = &definition["spec"]["names"];
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let kind = names["kind"].as_str().unwrap_or_default();
        let short = names["shortNames"][0].as_str().unwrap_or_default();
        let text = one_line(schema["description"].as_str().unwrap_or_default());
        let _ = write!(page, "\n## {kind}\n\n`kubectl get {short}`. {text}\n");
        let spec = rows(&schema["properties"]["spec"], "spec");
        if !spec.is_empty() {
            page.push_str(
                "\n| field | type | default | bounds | resets | what it is |\n|---|---|---|---|---|---|\n",
            );
            for f in spec {
                let (path, kind, default, bounds, change, text) =
                    (f.path, f.kind, f.default, f.bounds, f.change, f.text);
                let _ = writeln!(
                    page,
                    "| `{path}` | {kind} | {default} | {bounds} | {change} | {text} |"
                );
            }
        }
        let mut rules = Vec::new();
        refusals("", schema, &mut rules);
        if !rules.is_empty() {
            page.push_str("\nRules, beyond types and bounds:\n\n");
            for rule in rules {
                let _ = writeln!(page, "- {rule}");
            }
        }
        let status = rows(&schema["properties"]["status"], "status");
        if !status.is_empty() {
            let text = one_line(
                schema["properties"]["status"]["description"]
                    .as_str()
                    .unwrap_or_default(),
            );
            let _ = write!(
                page,
                "\nStatus. {text}\n\n| field | type | what it is |\n|---|---|---|\n"
            );
            for Field { path, kind, text, .. } in status {
                let _ = writeln!(page, "| `{path}` | {kind} | {text} |");
            }
        }
    }
    page
}

/// The fields below a place, each before those below it.
fn rows(schema: &Value, path: &str) -> Vec<Field> {
    let mut all = Vec::new();
    collect(schema, path, "", &mut all);
    all
}

fn collect(schema: &Value, path: &str, change: &str, all: &mut Vec<Field>) {
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let is_list = property["type"] == "array";
        let inner = if is_list { &property["items"] } else { property };
        let path = format!("{path}.{name}{}", if is_list { "[]" } else { "" });
        let (text, default, said) = divide(property["description"].as_str().unwrap_or_default());
        let change = if said.is_empty() { change } else { &said };
        let mut text = text;
        // The values of a list's elements are described at the elements.
        if let (true, Some(of_values)) = (is_list, inner["description"].as_str())
            && of_values.contains('\n')
        {
            let _ = write!(text, " {}", meanings(of_values.lines().skip(1)));
        }
        all.push(Field {
            path: path.clone(),
            kind: type_of(property),
            default: match (required.contains(&name.as_str()), default.as_str()) {
                (true, _) => "required".to_owned(),
                (false, "") => "–".to_owned(),
                (false, default) => default.to_owned(),
            },
            bounds: bounds(property),
            change: if change.is_empty() { "no" } else { change }.to_owned(),
            text: one_line(&text),
        });
        let selector = inner["properties"].get("matchExpressions").is_some();
        if !selector {
            collect(inner, &path, change, all);
        }
    }
}

/// Divides a description into its text, the default, and what a change resets.
fn divide(description: &str) -> (String, String, String) {
    let mut lines = description.lines();
    let own = lines.next().unwrap_or_default();
    let values = meanings(lines);
    let (mut text, mut default, mut change) = (Vec::new(), String::new(), String::new());
    for sentence in own.split_inclusive(". ").map(str::trim) {
        if let Some(said) = sentence.strip_prefix("Default: ") {
            said.trim_end_matches('.').clone_into(&mut default);
        } else if let Some(said) = sentence.strip_prefix("A change resets ") {
            said.trim_end_matches('.').clone_into(&mut change);
        } else if let Some(said) = sentence.strip_prefix("A change ") {
            said.trim_end_matches('.').clone_into(&mut change);
        } else {
            text.push(sentence.to_owned());
        }
    }
    text.extend((!values.is_empty()).then_some(values));
    (text.join(" "), default, change)
}

/// What values mean, on one line.
fn meanings<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let lines: Vec<&str> = lines.map(|line| line.trim_end_matches('.')).collect();
    let mut all = lines.join("; ");
    if !all.is_empty() {
        all.push('.');
    }
    all
}

fn type_of(schema: &Value) -> String {
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<String> = values
            .iter()
            .filter_map(Value::as_str)
            .map(|v| format!("`{v}`"))
            .collect();
        return values.join(", ");
    }
    if schema["properties"].get("matchExpressions").is_some() {
        return "LabelSelector".to_owned();
    }
    if let Some(format) = schema[FORMAT].as_str() {
        let word = match format {
            "ip" => "IP address",
            "ipv4" => "dotted quad",
            "cidr" => "prefix",
            "peer-asn" => "ASN, `External` or `Internal`",
            "large-community" => "large community",
            "object-name" => "name of an object",
            "qualified-name" => "name of a label or annotation",
            "label-value" => "value of a label",
            "secret-key" => "key of a Secret",
            other => other,
        };
        return word.to_owned();
    }
    match schema["type"].as_str().unwrap_or_default() {
        "array" => {
            let set = schema["x-kubernetes-list-type"] == "set";
            let of = type_of(&schema["items"]);
            format!("{} of {of}", if set { "set" } else { "list" })
        }
        "string" if schema["format"] == "date-time" => "time".to_owned(),
        "string" => "text".to_owned(),
        "integer" => "number".to_owned(),
        other => other.to_owned(),
    }
}

fn bounds(schema: &Value) -> String {
    let number = |key: &str| schema[key].as_u64();
    if schema.get("enum").is_some() || schema.get(FORMAT).is_some_and(|f| f != "object-name") {
        return "–".to_owned();
    }
    match (number("minimum"), number("maximum")) {
        (Some(min), Some(max)) => return format!("{min}–{max}"),
        (Some(min), None) => return format!("at least {min}"),
        (None, _) => {}
    }
    if let Some(most) = number("maxItems") {
        return match number("minItems") {
            Some(least) => format!("{least}–{most}"),
            None => format!("at most {most}"),
        };
    }
    number("maxLength").map_or_else(|| "–".to_owned(), |most| format!("at most {most}"))
}

/// What the rules of a place and those below it say. Rules of formats stand at the types.
fn refusals(path: &str, schema: &Value, all: &mut Vec<String>) {
    for rule in schema["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let message = rule["message"].as_str().unwrap_or_default();
        if !message.starts_with("must be ") {
            let field = rule["fieldPath"].as_str().unwrap_or_default();
            let place = format!("{path}{field}");
            let place = place.trim_start_matches('.');
            all.push(if place.is_empty() {
                message.to_owned()
            } else {
                format!("`{place}`: {message}")
            });
        }
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        refusals(&format!("{path}.{name}"), property, all);
    }
    if let Some(items) = schema.get("items") {
        refusals(&format!("{path}[]"), items, all);
    }
}

fn one_line(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|").trim().to_owned()
}
