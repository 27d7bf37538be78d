use std::path::Path;

use super::*;

fn walk(path: &str, schema: &Value, see: &mut dyn FnMut(&str, &Value)) {
    see(path, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(&format!("{path}.{name}"), property, see);
    }
    for (key, below) in [("items", "[]"), ("additionalProperties", "{}")] {
        if let Some(inner) = schema.get(key) {
            walk(&format!("{path}{below}"), inner, see);
        }
    }
}

fn each_place(see: &mut dyn FnMut(&str, &Value)) {
    for definition in values() {
        let kind = definition["spec"]["names"]["kind"].as_str().unwrap().to_owned();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        walk(&kind, schema, see);
    }
}

#[test]
fn the_files_in_deploy_are_those_of_the_types() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/crds");
    let mut names = Vec::new();
    for (name, text) in files() {
        let there = std::fs::read_to_string(dir.join(&name)).unwrap_or_default();
        assert!(
            there == text,
            "deploy/crds/{name} is not what the types say: run `make crds` and commit it"
        );
        let value: Value = serde_saphyr::from_str(&text).unwrap();
        assert!(
            values().contains(&value),
            "{name} does not read as it was written"
        );
        names.push(name);
    }
    let mut there: Vec<String> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("flatroute.io_"))
        .collect();
    there.sort();
    names.sort();
    assert_eq!(there, names, "deploy/crds has files that no type makes");
}

#[test]
fn the_reference_is_that_of_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference.md");
    assert!(
        std::fs::read_to_string(path).unwrap_or_default() == reference(),
        "docs/reference.md is not what the types say: run `make crds` and commit it"
    );
}

#[test]
fn all_definitions_are_those_of_our_kinds() {
    let said: Vec<String> = all()
        .iter()
        .map(|definition| {
            let names = &definition.spec.names;
            assert_eq!(definition.spec.scope, "Cluster");
            assert_eq!(names.categories.as_deref(), Some(&["flatroute".to_owned()][..]));
            let version = &definition.spec.versions[0];
            let has_status = version.subresources.as_ref().is_some_and(|s| s.status.is_some());
            format!(
                "{} {} {} status: {has_status}",
                definition.metadata.name.as_deref().unwrap(),
                names.kind,
                names.short_names.as_ref().unwrap().join(" "),
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            "bgppeers.flatroute.io BGPPeer frpeer status: true",
            "bgpfilters.flatroute.io BGPFilter frfilter status: false",
            "bgpconfigurations.flatroute.io BGPConfiguration frconf status: false",
            "bgpnodestatuses.flatroute.io BGPNodeStatus frnode status: true",
        ]
    );
}

#[test]
fn every_list_map_and_text_has_a_bound() {
    each_place(&mut |path, schema| {
        let has = |key: &str| schema.get(key).is_some();
        let bounded = match schema["type"].as_str() {
            Some("string") => has("maxLength") || has("enum") || schema["format"] == "date-time",
            Some("array") => has("maxItems"),
            Some("object") => !has("additionalProperties") || has("maxProperties"),
            Some("integer") => has("minimum"),
            Some("boolean") => true,
            None => schema["x-kubernetes-int-or-string"] == true && has("maxLength"),
            Some(other) => panic!("{path} is a {other}"),
        };
        assert!(bounded, "{path} has no bound: {schema}");
    });
}

#[test]
fn every_field_has_a_description() {
    each_place(&mut |path, schema| {
        let is_element = path.ends_with("[]") || path.ends_with("{}");
        let described = schema["description"].as_str().is_some_and(|d| !d.is_empty());
        assert!(described || is_element, "{path} says nothing of itself");
    });
}

#[test]
fn every_rule_says_what_is_wrong_and_what_to_do() {
    let mut rules = 0;
    each_place(&mut |path, schema| {
        for rule in schema["x-kubernetes-validations"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let message = rule["message"].as_str().unwrap();
            assert!(message.contains("; "), "{path}: {message}: without a remedy");
            assert!(
                !message.contains('\n') && message.len() <= 256,
                "{path}: {message}"
            );
            if let Some(field) = rule["fieldPath"].as_str() {
                let name = field.strip_prefix('.').unwrap();
                assert!(schema["properties"].get(name).is_some(), "{path} has no {name}");
            }
            rules += 1;
        }
    });
    assert!(rules > 50, "{rules}");
}

#[test]
fn no_value_is_written_into_objects() {
    each_place(&mut |path, schema| {
        let default = schema.get("default");
        assert!(
            default.is_none() || path == "BGPConfiguration.spec",
            "{path}: {default:?}"
        );
    });
}
