//! A table of objects and two judges: the check of manifests, and a real API server that has the
//! CustomResourceDefinitions. Both take what is to be taken and refuse the rest, each naming the field and the remedy; every
//! disagreement fails.
//!
//! The table is the folder `table`. Each document is an object without its apiVersion, which is the same for all. The
//! comments before it say what becomes of it: `accepted`, or `refused: FIELD` with the remedy that both tell, or each of
//! them (`remedy (check):`, `remedy (server):`). What an API server says by itself, of a range or an unknown field, is not
//! in our words.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fs, thread};

use flatroute_api::{API_VERSION, manifest};
use flatroute_lab::apiserver::ApiServer;
use serde_json::{Value, json};

use crate::install;

/// How many objects are shown to the API server at a time.
const AT_ONCE: usize = 4;

/// How many rows there are at least.
const ROWS: usize = 120;

pub(crate) struct Row {
    pub(crate) file: String,
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) spec: Value,
    pub(crate) want: Want,
}

pub(crate) enum Want {
    Accepted,
    Refused {
        field: String,
        check: String,
        server: String,
    },
}

/// A refusal is the fields that were named, and all that was said.
pub(crate) type Verdict = Result<(), (Vec<String>, String)>;

fn rows() -> Vec<Row> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/objects/table");
    let mut files: Vec<_> = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let mut rows = Vec::new();
    for path in files {
        let file = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        for document in text.split("\n---\n").skip(1) {
            rows.push(row(&file, document));
        }
    }
    rows
}

fn row(file: &str, document: &str) -> Row {
    let said = |key: &str| {
        let mut lines = document.lines().filter_map(|line| line.strip_prefix("# "));
        lines
            .find_map(|line| line.strip_prefix(key))
            .map(|rest| rest.trim().to_owned())
    };
    let of = |judge: &str| said("remedy:").or_else(|| said(&format!("remedy ({judge}):")));
    let want = match said("refused:") {
        None => {
            assert!(
                said("accepted").is_some(),
                "{file}: what becomes of this?\n{document}"
            );
            Want::Accepted
        }
        Some(field) => Want::Refused {
            field,
            check: of("check").unwrap_or_else(|| panic!("no remedy:\n{document}")),
            server: of("server").unwrap_or_else(|| panic!("no remedy:\n{document}")),
        },
    };
    let text = format!("apiVersion: {API_VERSION}\n{document}\n");
    let value: Value = serde_saphyr::from_str(&text).unwrap();
    Row {
        file: file.to_owned(),
        name: value["metadata"]["name"].as_str().unwrap().to_owned(),
        spec: without_nulls(value.get("spec").unwrap_or(&json!({}))),
        text,
        want,
    }
}

/// What is null is not there, for both judges.
fn without_nulls(value: &Value) -> Value {
    let Some(fields) = value.as_object() else {
        return value.clone();
    };
    let there = fields.iter().filter(|(_, value)| !value.is_null());
    let there = there.map(|(key, value)| (key.clone(), without_nulls(value)));
    Value::Object(there.collect())
}

/// What is wrong with a verdict, if something is.
pub(crate) fn disagreement(row: &Row, judge: &str, verdict: &Verdict) -> Option<String> {
    let wrong = match (&row.want, verdict) {
        (Want::Accepted, Ok(())) => return None,
        (Want::Accepted, Err((_, said))) => format!("refused, and should not be: {said}"),
        (Want::Refused { .. }, Ok(())) => "accepted, and should not be".to_owned(),
        (Want::Refused { field, check, server }, Err((fields, said))) => {
            let remedy = if judge == "check" { check } else { server };
            let named = fields.iter().any(|named| named.contains(field.as_str()));
            if named && said.contains(remedy.as_str()) {
                return None;
            }
            let what = if named { remedy } else { field };
            format!("does not say \"{what}\": {said}")
        }
    };
    Some(format!("{}/{}: {judge}: {wrong}\n", row.file, row.name))
}

#[test]
fn the_check_of_manifests_judges_as_the_table_says() {
    let rows = rows();
    assert!(rows.len() >= ROWS, "{}", rows.len());
    let mut wrong = String::new();
    for row in &rows {
        wrong.extend(disagreement(row, "check", &check(row)));
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// What the check of manifests says of one object.
pub(crate) fn check(row: &Row) -> Verdict {
    let problems = manifest::parse("table", &row.text).problems;
    if problems.is_empty() {
        return Ok(());
    }
    let fields = problems.iter().map(|p| p.field.clone()).collect();
    let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Err((fields, said.join("\n")))
}

#[test]
fn an_api_server_judges_as_the_table_says() {
    let Some(server) = ApiServer::shared("an_api_server_judges_as_the_table_says") else {
        return;
    };
    install(server);
    let rows = rows();
    // There is but one object of the name default: one after the other.
    let (alone, together): (Vec<&Row>, Vec<&Row>) =
        rows.iter().partition(|row| row.file == "bgpconfiguration");
    let wrong = Mutex::new(String::new());
    let refusals = Mutex::new(String::new());
    let judge = |row: &Row| {
        let verdict = show(server, row);
        wrong
            .lock()
            .unwrap()
            .extend(disagreement(row, "server", &verdict));
        refusals
            .lock()
            .unwrap()
            .extend(verdict.err().map(|(_, said)| said));
    };
    alone.into_iter().for_each(&judge);
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(row) = together.get(next.fetch_add(1, Ordering::Relaxed)) {
                    judge(row);
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{wrong}");
    // A rule that no row breaks could be one that lets everything through.
    let refusals = refusals.into_inner().unwrap();
    for message in rules() {
        assert!(refusals.contains(&message), "no row breaks the rule: {message}");
    }
}

/// What the rules of all specs tell.
fn rules() -> BTreeSet<String> {
    fn collect(schema: &Value, all: &mut BTreeSet<String>) {
        let rules = schema["x-kubernetes-validations"]
            .as_array()
            .into_iter()
            .flatten();
        all.extend(rules.map(|rule| rule["message"].as_str().unwrap().to_owned()));
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            if name != "status" {
                collect(property, all);
            }
        }
        for inner in ["items", "additionalProperties"] {
            schema
                .get(inner)
                .into_iter()
                .for_each(|inner| collect(inner, all));
        }
    }
    let mut all = BTreeSet::new();
    for definition in flatroute_api::crd::all() {
        let definition = serde_json::to_value(definition).unwrap();
        collect(
            &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"],
            &mut all,
        );
    }
    assert!(all.len() > 30, "{all:?}");
    all
}

/// Creates one object. Accepted means that what was kept is what was written, not more and not less.
pub(crate) fn show(server: &ApiServer, row: &Row) -> Verdict {
    let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    fs::write(file.path(), &row.text).unwrap();
    let path = file.path().display().to_string();
    match server.kubectl(&["create", "-o", "json", "-f", &path]) {
        Ok(kept) => {
            let kept: Value = serde_json::from_str(&kept).unwrap();
            assert_eq!(kept["spec"], row.spec, "{}/{}", row.file, row.name);
            let read = manifest::read(&kept);
            assert!(
                read.is_ok(),
                "{}/{}: what was kept does not read: {read:?}",
                row.file,
                row.name
            );
            server
                .kubectl(&["delete", "--wait=false", "-f", &path])
                .expect("deleted");
            Ok(())
        }
        Err(said) => Err((vec![said.to_string()], said.to_string())),
    }
}
