//! Objects as large as they may be.

use std::fs;

use flatroute_api::objects::{
    ErrorDirection, Family, FamilyPrefixes, MAX_STATUS_PEERS, MAX_STATUS_TEXT, Negotiated, NodeCondition,
    NodeFib, NodePeer, NodePhase, SessionError, SessionState,
};
use flatroute_api::{API_VERSION, BGPNodeStatus, BGPNodeStatusStatus};
use flatroute_lab::apiserver::ApiServer;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde_json::{Value, json};

use crate::install;
use crate::judges::{Row, Want, check, disagreement, show};

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

/// What an agent with very many neighbours writes is taken whole, and read back as it was written.
#[test]
fn the_largest_status_is_taken() {
    let Some(server) = ApiServer::shared("the_largest_status_is_taken") else {
        return;
    };
    install(server);
    let status = largest_status();
    let node = "kind: BGPNodeStatus\nmetadata: {name: many-neighbours}\n";
    server
        .apply(&format!("apiVersion: {API_VERSION}\n{node}"))
        .unwrap();
    let file = tempfile::NamedTempFile::with_suffix(".json").unwrap();
    let object = json!({"apiVersion": API_VERSION, "kind": "BGPNodeStatus",
        "metadata": {"name": "many-neighbours"}, "status": status});
    fs::write(file.path(), object.to_string()).unwrap();
    let path = file.path().display().to_string();
    let kept = server
        .kubectl(&[
            "apply",
            "--server-side",
            "--subresource=status",
            "-o",
            "json",
            "-f",
            &path,
        ])
        .unwrap();
    let kept: BGPNodeStatus = serde_json::from_str(&kept).unwrap();
    assert_eq!(kept.status, Some(status));
}

fn largest_status() -> BGPNodeStatusStatus {
    let time: Time = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
    let text = || "ä".repeat(MAX_STATUS_TEXT / 2);
    let condition = |kind: NodeCondition| Condition {
        type_: kind.as_str().to_owned(),
        status: "True".to_owned(),
        reason: "Reason".to_owned(),
        message: text(),
        last_transition_time: time.clone(),
        observed_generation: Some(1),
    };
    BGPNodeStatusStatus {
        router_id: Some("10.0.1.11".parse().unwrap()),
        local_asn: Some(64_512),
        phase: Some(NodePhase::Running),
        desired_peers: 600,
        established_peers: 600,
        peers: (0..MAX_STATUS_PEERS).map(|i| peer(i, &time, &text())).collect(),
        fib: Some(NodeFib {
            installed: 1,
            failed: 0,
            drift: 0,
        }),
        conditions: [NodeCondition::NetworkReady, NodeCondition::FIBSynced]
            .map(condition)
            .to_vec(),
    }
}

fn peer(i: usize, time: &Time, text: &str) -> NodePeer {
    NodePeer {
        name: format!("{i:03}{}", "n".repeat(250)),
        address: format!("fd00:ffff:ffff:ffff:ffff:ffff:ffff:{i:x}").parse().ok(),
        interface: Some("fifteen-letters".to_owned()),
        asn: Some(u32::MAX),
        state: SessionState::Established,
        reason: None,
        since: Some(time.clone()),
        flaps: u64::try_from(i64::MAX).unwrap(),
        last_error: Some(SessionError {
            direction: ErrorDirection::Received,
            code: Some(u8::MAX),
            subcode: Some(0),
            text: text.to_owned(),
            time: Some(time.clone()),
        }),
        negotiated: Some(Negotiated {
            families: vec![Family::IPv4, Family::IPv6],
            hold_time_seconds: 65_535,
            keepalive_time_seconds: 21_845,
            router_id: Some("255.255.255.254".parse().unwrap()),
        }),
        not_negotiated: vec![Family::IPv4, Family::IPv6],
        prefixes: [Family::IPv4, Family::IPv6]
            .map(|family| FamilyPrefixes {
                family,
                received: 1,
                accepted: 1,
                installed: 1,
                advertised: 1,
                stale: 1,
            })
            .to_vec(),
    }
}
