//! The definitions themselves: applied twice, explained, and what `kubectl get` shows.

use std::thread;
use std::time::{Duration, Instant};

use flatroute_api::API_VERSION;
use flatroute_lab::apiserver::ApiServer;
use serde_json::{Value, json};

use crate::install;

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

/// A definition is Established a moment before the server lists its kind and has its schema.
fn explained(server: &ApiServer, field: &str) -> String {
    const DEADLINE: Duration = Duration::from_secs(60);
    let start = Instant::now();
    loop {
        match server.kubectl(&["explain", field]) {
            Ok(text) => return text,
            Err(error) => assert!(start.elapsed() < DEADLINE, "{field}: {error}"),
        }
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn fields_are_explained() {
    let Some(server) = ApiServer::shared("fields_are_explained") else {
        return;
    };
    install(server);
    let explain = |field: &str| explained(server, field);
    let asn = explain("bgppeers.spec.peerASN");
    assert!(
        asn.contains("The neighbour's ASN, or `External` (any but ours)"),
        "{asn}"
    );
    let mode = explain("frpeer.spec.connectMode");
    assert!(
        mode.contains("ENUM:") && mode.contains("The node waits."),
        "{mode}"
    );
    for kind in ["frpeer", "frfilter", "frconf", "frnode"] {
        explain(kind);
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
