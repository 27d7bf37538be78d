//! A table of objects and two judges: the check of manifests, and a real API server that has the
//! CustomResourceDefinitions. Both take what is to be taken and refuse the rest, each naming the field and the remedy; every
//! disagreement fails.
//!
//! The table is the folder `objects`. Each document is an object without its apiVersion, which is the same for all. The
//! comments before it say what becomes of it: `accepted`, or `refused: FIELD` with the remedy that both tell, or each of
//! them (`remedy (check):`, `remedy (server):`). What an API server says by itself, of a range or an unknown field, is not
//! in our words.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fs, thread};

use flatroute_api::{API_VERSION, manifest};
use flatroute_lab::apiserver::ApiServer;
use serde_json::{Value, json};

/// How many objects are shown to the API server at a time.
const AT_ONCE: usize = 4;

/// How many rows there are at least.
const ROWS: usize = 120;

struct Row {
    file: String,
    name: String,
    text: String,
    spec: Value,
    want: Want,
}

enum Want {
    Accepted,
    Refused {
        field: String,
        check: String,
        server: String,
    },
}

fn rows() -> Vec<Row> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/objects");
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

/// What is wrong with a verdict, if something is. A refusal is what was said, with the fields that were named.
fn disagreement(row: &Row, judge: &str, verdict: &Result<(), (Vec<String>, String)>) -> Option<String> {
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
        let parsed = manifest::parse("table", &row.text);
        let verdict = if parsed.problems.is_empty() {
            Ok(())
        } else {
            let fields = parsed.problems.iter().map(|p| p.field.clone()).collect();
            let said: Vec<String> = parsed.problems.iter().map(ToString::to_string).collect();
            Err((fields, said.join("\n")))
        };
        wrong.extend(disagreement(row, "check", &verdict));
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// The definitions, as they are applied, and seen to be in use.
fn install(server: &ApiServer) -> String {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/crds");
    let dir = dir.display().to_string();
    let said = server
        .kubectl(&["apply", "--server-side", "-f", &dir])
        .expect("the API server takes the definitions");
    let established = ["wait", "--for=condition=Established", "--timeout=60s", "-f", &dir];
    server.kubectl(&established).expect("they are in use");
    said
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
    let judge = |row: &Row| {
        let verdict = show(server, row);
        let mut wrong = wrong.lock().unwrap();
        wrong.extend(disagreement(row, "server", &verdict));
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
}

/// Creates one object. Accepted means that what was kept is what was written, not more and not less.
fn show(server: &ApiServer, row: &Row) -> Result<(), (Vec<String>, String)> {
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

#[test]
fn definitions_that_are_applied_again_change_nothing() {
    let Some(server) = ApiServer::shared("definitions_that_are_applied_again_change_nothing") else {
        return;
    };
    let versions = || {
        let what = "jsonpath={range .items[*]}{.metadata.name} {.metadata.generation} {.metadata.resourceVersion}{\"\\n\"}{end}";
        server.kubectl(&["get", "crd", "-o", what]).unwrap()
    };
    install(server);
    let before = versions();
    assert_eq!(before.lines().count(), 4, "{before}");
    let said = install(server);
    assert_eq!(
        said.lines().filter(|l| l.ends_with("serverside-applied")).count(),
        4,
        "{said}"
    );
    assert_eq!(versions(), before);
}

#[test]
fn fields_are_explained_and_lists_have_their_columns() {
    let Some(server) = ApiServer::shared("fields_are_explained_and_lists_have_their_columns") else {
        return;
    };
    install(server);
    let asn = server.kubectl(&["explain", "bgppeers.spec.peerASN"]).unwrap();
    assert!(
        asn.contains("The neighbour's ASN, or `External` (any but ours)"),
        "{asn}"
    );
    let mode = server.kubectl(&["explain", "frpeer.spec.connectMode"]).unwrap();
    assert!(
        mode.contains("ENUM:") && mode.contains("The node waits."),
        "{mode}"
    );

    let peer = "kind: BGPPeer\nmetadata: {name: seen}\nspec: {peerAddress: 10.0.1.1, peerASN: 65001, localASN: 65100}\n";
    let gateways =
        "kind: BGPPeer\nmetadata: {name: seen-too}\nspec: {discover: DefaultGateways, peerASN: External}\n";
    let mut text = String::new();
    for object in [peer, gateways] {
        let _ = write!(text, "---\napiVersion: {API_VERSION}\n{object}");
    }
    server.apply(&text).unwrap();
    let time = "2026-01-01T00:00:00Z";
    let condition = json!({
        "type": "Established", "status": "False", "reason": "PartiallyEstablished",
        "message": "r2-n7: hold timer expired", "lastTransitionTime": time,
    });
    let status = json!({"status": {
        "observedGeneration": 1, "desiredNodes": 4, "establishedNodes": 3, "receivedPrefixes": 24,
        "installedPrefixes": 12, "conditions": [condition],
    }});
    let patch = status.to_string();
    server
        .kubectl(&[
            "patch",
            "frpeer",
            "seen",
            "--subresource=status",
            "--type=merge",
            "-p",
            &patch,
        ])
        .unwrap();
    // Others use the same server: only these two.
    let table = server
        .kubectl(&["get", "frpeer", "seen", "seen-too", "-o", "wide"])
        .unwrap();
    let cells: Vec<Vec<&str>> = table.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(
        cells[0],
        [
            "NAME",
            "PEER",
            "ASN",
            "NODES",
            "UP",
            "READY",
            "REASON",
            "AGE",
            "LOCAL-ASN",
            "RECEIVED",
            "INSTALLED"
        ]
    );
    let (age, rest) = (cells[1].len() - 4, &cells[1]);
    assert_eq!(
        rest[..age],
        [
            "seen",
            "10.0.1.1",
            "65001",
            "4",
            "3",
            "False",
            "PartiallyEstablished"
        ]
    );
    assert_eq!(rest[age + 1..], ["65100", "24", "12"]);
    assert_eq!(cells[2][..3], ["seen-too", "DefaultGateways", "External"]);
    let all = server.kubectl(&["get", "flatroute"]).unwrap();
    assert!(all.contains("bgppeer.flatroute.io/seen"), "{all}");
    for short in ["frfilter", "frconf", "frnode"] {
        server.kubectl(&["get", short]).unwrap();
    }
}
