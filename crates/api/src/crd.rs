//! The CustomResourceDefinitions, made from the Rust types.
//!
//! An API server that knows them refuses a wrong object before anybody acts on it: by the schema (fields, types, ranges,
//! enums), and by rules in CEL where a schema cannot say it. There is no webhook, because a broken network must never
//! block its own repair. The same faults are found by [`mod@crate::structure`] and [`mod@crate::validate`], for manifests
//! and for the agent itself; a table of objects that both must judge alike holds the two together.
//!
//! The steps: names and scope are those that stand beside the types; [`mod@schema`] turns the JSON schema of a type into
//! a structural one; [`mod@formats`] gives each text its bound and its rule; [`mod@rules`] adds what holds between fields,
//! [`mod@columns`] what `kubectl get` shows. [`mod@reference`] is the same for people. Defaults stand in the descriptions and are not written into objects.

mod columns;
mod formats;
mod reference;
mod rules;
mod schema;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::objects::{
    BGPConfiguration, BGPConfigurationSpec, BGPFilter, BGPFilterSpec, BGPNodeStatus, BGPNodeStatusStatus,
    BGPPeer, BGPPeerSpec, BGPPeerStatus,
};

/// All of them, in the order of the files in `deploy/crds`.
///
/// # Panics
/// A type has no structural schema; the tests see to it that all have one.
#[must_use]
pub fn all() -> Vec<CustomResourceDefinition> {
    let parse = |value| serde_json::from_value(value).expect("a definition");
    values().into_iter().map(parse).collect()
}

/// The files of `deploy/crds`: their names and what they hold, one definition each.
///
/// # Panics
/// As [`all`].
#[must_use]
pub fn files() -> Vec<(String, String)> {
    values()
        .iter()
        .map(|value| {
            let plural = value["spec"]["names"]["plural"].as_str().expect("a name");
            let text = serde_saphyr::to_string(value).expect("a value can be written");
            let head = "# Generated from the types of crates/api by `make crds`.\n";
            (format!("flatroute.io_{plural}.yaml"), format!("{head}{text}"))
        })
        .collect()
}

/// The text of `docs/reference.md`.
///
/// # Panics
/// As [`all`].
#[must_use]
pub fn reference() -> String {
    reference::page(&with_formats())
}

fn values() -> Vec<Value> {
    let mut all = with_formats();
    all.iter_mut().for_each(schema::forget_formats);
    all
}

/// The definitions with the names of the formats, which no API server knows.
fn with_formats() -> Vec<Value> {
    vec![
        definition::<BGPPeer>(
            Some(schema_of::<BGPPeerSpec>()),
            Some(schema_of::<BGPPeerStatus>()),
        ),
        definition::<BGPFilter>(Some(schema_of::<BGPFilterSpec>()), None),
        definition::<BGPConfiguration>(Some(schema_of::<BGPConfigurationSpec>()), None),
        definition::<BGPNodeStatus>(None, Some(schema_of::<BGPNodeStatusStatus>())),
    ]
}

fn schema_of<T: JsonSchema>() -> Value {
    let generator = SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator();
    schema::structural(&generator.into_root_schema_for::<T>().to_value())
}

/// One definition: what kube derives, with a schema of our own making.
fn definition<T: CustomResourceExt>(spec: Option<Value>, status: Option<Value>) -> Value {
    let mut definition = serde_json::to_value(T::crd()).expect("a definition can be written");
    let kind = T::api_resource().kind;
    let version = &mut definition["spec"]["versions"][0];
    let description = match &spec {
        Some(spec) => spec["description"].clone(),
        None => version["schema"]["openAPIV3Schema"]["description"].clone(),
    };
    let mut properties = Map::new();
    let mut required = Vec::new();
    if let Some(mut spec) = spec {
        // An object without a word of configuration is the configuration with all defaults.
        if kind == "BGPConfiguration" {
            spec["default"] = json!({});
        }
        required.push("spec");
        properties.insert("spec".to_owned(), spec);
    }
    if let Some(status) = status {
        properties.insert("status".to_owned(), status);
    }
    let mut root = json!({"type": "object", "description": description, "properties": properties});
    if !required.is_empty() {
        root["required"] = required.into();
    }
    rules::attach(&kind, &mut root);
    version["schema"]["openAPIV3Schema"] = root;
    version["additionalPrinterColumns"] = columns::of(&kind);
    definition
}

#[cfg(test)]
mod tests;
