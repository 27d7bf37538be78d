//! A table of objects and two judges: the check of manifests, and a real API server that has the
//! CustomResourceDefinitions. Both take what is to be taken and refuse the rest, each naming the field and the remedy; every
//! disagreement fails.
//!
//! The table is the folder `objects`. Each document is an object without its apiVersion, which is the same for all. The
//! comments before it say what becomes of it: `accepted`, or `refused: FIELD` with the remedy that both tell, or each of
//! them (`remedy (check):`, `remedy (server):`). What an API server says by itself, of a range or an unknown field, is not
//! in our words.

#![allow(clippy::unwrap_used, reason = "a test")]

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

/// A refusal is the fields that were named, and all that was said.
type Verdict = Result<(), (Vec<String>, String)>;

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

/// What is wrong with a verdict, if something is.
fn disagreement(row: &Row, judge: &str, verdict: &Verdict) -> Option<String> {
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
fn check(row: &Row) -> Verdict {
    let problems = manifest::parse("table", &row.text).problems;
    if problems.is_empty() {
        return Ok(());
    }
    let fields = problems.iter().map(|p| p.field.clone()).collect();
    let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Err((fields, said.join("\n")))
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
fn show(server: &ApiServer, row: &Row) -> Verdict {
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
fn fields_are_explained() {
    let Some(server) = ApiServer::shared("fields_are_explained") else {
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
    for kind in ["frpeer", "frfilter", "frconf", "frnode"] {
        server.kubectl(&["explain", "--recursive", kind]).unwrap();
    }
}

#[test]
fn lists_have_their_columns() {
    let Some(server) = ApiServer::shared("lists_have_their_columns") else {
        return;
    };
    install(server);
    let peer = "kind: BGPPeer\nmetadata: {name: seen}\nspec: {peerAddress: 10.0.1.1, peerASN: 65001, localASN: 65100}\n";
    let gateways =
        "kind: BGPPeer\nmetadata: {name: seen-too}\nspec: {discover: DefaultGateways, peerASN: External}\n";
    let node = "kind: BGPNodeStatus\nmetadata: {name: seen-node}\n";
    for object in [peer, gateways, node] {
        server
            .apply(&format!("apiVersion: {API_VERSION}\n{object}"))
            .unwrap();
    }
    let condition = |kind, status, reason| {
        json!([{
            "type": kind, "status": status, "reason": reason, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
        }])
    };
    let of_peer = json!({"observedGeneration": 1, "desiredNodes": 4, "establishedNodes": 3, "receivedPrefixes": 24,
        "installedPrefixes": 12, "conditions": condition("Established", "False", "PartiallyEstablished")});
    let of_node = json!({"routerID": "10.0.1.11", "localASN": 64512, "phase": "Running", "desiredPeers": 2,
        "establishedPeers": 1, "fib": {"installed": 6, "failed": 0, "drift": 1},
        "conditions": condition("NetworkReady", "True", "RoutesInstalled")});
    write_status(server, "frpeer", "seen", &of_peer);
    write_status(server, "frnode", "seen-node", &of_node);

    // Others use the same server: only what is ours.
    let [head, first, second] = columns(server, &["frpeer", "seen", "seen-too"]);
    assert_eq!(
        head,
        "NAME PEER ASN NODES UP READY REASON AGE LOCAL-ASN RECEIVED INSTALLED"
    );
    assert_eq!(
        first,
        "seen 10.0.1.1 65001 4 3 False PartiallyEstablished - 65100 24 12"
    );
    assert!(
        second.starts_with("seen-too DefaultGateways External "),
        "{second}"
    );
    let [head, first] = columns(server, &["frnode", "seen-node"]);
    assert_eq!(
        head,
        "NAME ASN ROUTER-ID PEERS UP ROUTES READY REASON AGE PHASE FAILED DRIFT"
    );
    assert_eq!(
        first,
        "seen-node 64512 10.0.1.11 2 1 6 True RoutesInstalled - Running 0 1"
    );
    let all = server.kubectl(&["get", "flatroute"]).unwrap();
    assert!(all.contains("bgppeer.flatroute.io/seen"), "{all}");
}

fn write_status(server: &ApiServer, kind: &str, name: &str, status: &Value) {
    let patch = json!({"status": status}).to_string();
    server
        .kubectl(&[
            "patch",
            kind,
            name,
            "--subresource=status",
            "--type=merge",
            "-p",
            &patch,
        ])
        .unwrap();
}

/// What `kubectl get -o wide` prints, with single blanks, and a dash for the age.
fn columns<const LINES: usize>(server: &ApiServer, what: &[&str]) -> [String; LINES] {
    let table = server.kubectl(&[&["get", "-o", "wide"], what].concat()).unwrap();
    let is_age = |cell: &str| cell.ends_with('s') && cell.trim_end_matches('s').parse::<u32>().is_ok();
    let lines = table.lines().map(|line| {
        let cells = line
            .split_whitespace()
            .map(|cell| if is_age(cell) { "-" } else { cell });
        cells.collect::<Vec<_>>().join(" ")
    });
    let lines: Vec<String> = lines.collect();
    lines
        .try_into()
        .unwrap_or_else(|_| panic!("other lines: {table}"))
}

/// Objects as large as they may be: the API server measures what its rules cost while it runs them, and refuses an object
/// whose rules cost too much.
#[test]
fn the_largest_objects_are_not_too_much() {
    let Some(server) = ApiServer::shared("the_largest_objects_are_not_too_much") else {
        return;
    };
    install(server);
    let texts = |count: usize, of: &dyn Fn(usize) -> String| (0..count).map(of).collect::<Vec<_>>();
    let large = |i: usize| format!("4294967295:4294967295:{i}");
    let set =
        json!({"communities": texts(32, &|i| format!("65535:{i}")), "largeCommunities": texts(32, &large)});
    // 256 rules of 256 prefixes would be more than a request and a document may have.
    let filter = |rules: usize, prefixes: usize| {
        let prefix = |i: usize| json!({"cidr": format!("fd00:ffff:ffff:{i:x}::/64"), "ge": 64, "le": 128});
        let prefixes: Vec<Value> = (0..prefixes).map(prefix).collect();
        let rule = json!({"match": {"prefixes": prefixes, "communities": set["communities"],
            "largeCommunities": set["largeCommunities"], "peer": "p".repeat(63)}, "action": "Next", "set": set});
        json!({"rules": vec![rule; rules]})
    };
    let label = |i: usize| ("k".repeat(60) + &format!("{i:03}"), Value::from("v".repeat(63)));
    let selector = json!({"matchLabels": (0..16).map(label).collect::<serde_json::Map<_, _>>(),
        "matchExpressions": vec![json!({"key": format!("{}/{}", ["d".repeat(60).as_str(); 4].join("."), "k".repeat(63)),
            "operator": "In", "values": vec!["v".repeat(63); 64]}); 16]});
    let names = texts(16, &|i| format!("{i}{}", ["d".repeat(60).as_str(); 4].join(".")));
    let peer = json!({"peerSelector": selector, "nodeSelector": selector, "importFilters": names,
        "exportFilters": names, "set": set, "state": "Down", "stateMessage": "x".repeat(255),
        "timers": {"holdTime": "00000000000000000000000000018h0s", "keepaliveTime": "00000000000000000000000000001h0s",
            "sendHoldTime": "00000000000000000000000000018h0s", "connectRetryTime": "00000000000000000000000000018h0s"}});
    for (kind, name, spec, refusal) in [
        ("BGPFilter", "most-rules", filter(256, 2), None),
        ("BGPFilter", "most-prefixes", filter(40, 256), None),
        ("BGPPeer", "most", peer, None),
        (
            "BGPFilter",
            "more-rules",
            filter(257, 1),
            Some(("spec.rules", "must have at most 256 items")),
        ),
        (
            "BGPFilter",
            "more-prefixes",
            filter(1, 257),
            Some(("spec.rules[0].match.prefixes", "must have at most 256 items")),
        ),
    ] {
        let object = json!({"kind": kind, "metadata": {"name": name}, "spec": spec});
        let want = match refusal {
            None => Want::Accepted,
            Some((field, server)) => Want::Refused {
                field: field.to_owned(),
                check: "divide it".to_owned(),
                server: server.to_owned(),
            },
        };
        let row = Row {
            file: "largest".to_owned(),
            name: name.to_owned(),
            text: format!(
                "apiVersion: {API_VERSION}\n{}",
                serde_saphyr::to_string(&object).unwrap()
            ),
            spec,
            want,
        };
        let wrong = [("check", check(&row)), ("server", show(server, &row))]
            .iter()
            .filter_map(|(judge, verdict)| disagreement(&row, judge, verdict))
            .collect::<String>();
        assert!(wrong.is_empty(), "{wrong}");
    }
}
