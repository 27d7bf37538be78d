use super::*;
use crate::objects::BGPPeerSpec;
use serde_json::{Value, json};

fn peer_with(extra: &Value) -> Vec<String> {
    let mut value = json!({"peerAddress": "10.0.1.1", "peerASN": 65001});
    for (key, v) in extra.as_object().unwrap() {
        value[key] = v.clone();
    }
    let spec: BGPPeerSpec = serde_json::from_value(value).unwrap();
    peer("x", &spec)
        .iter()
        .map(|p| format!("{}: {}", p.field, p.message))
        .collect()
}

#[test]
#[allow(clippy::too_many_lines, reason = "one table")]
fn peers() {
    for (extra, want) in [
        (json!({}), None),
        (json!({"peerAddress": "fe80::1", "interface": "eth0"}), None),
        (
            json!({"peerAddress": "fe80::1"}),
            Some("spec.interface: fe80::1 is a link-local address"),
        ),
        (
            json!({"interface": "eth0"}),
            Some("spec.interface: only a link-local"),
        ),
        (
            json!({"peerAddress": "fe80::1", "interface": "a/b"}),
            Some("spec.interface: \"a/b\" is not an interface"),
        ),
        (
            json!({"peerAddress": "0.0.0.0"}),
            Some("spec.peerAddress: 0.0.0.0 is not the address"),
        ),
        (json!({"peerAddress": "224.0.0.5"}), Some("spec.peerAddress")),
        (json!({"peerAddress": "ff02::1"}), Some("spec.peerAddress")),
        (
            json!({"peerAddress": "::ffff:10.0.0.1"}),
            Some("spec.peerAddress"),
        ),
        (json!({"sourceAddress": "10.0.1.11"}), None),
        (
            json!({"sourceAddress": "fd00::1"}),
            Some("spec.sourceAddress: is of another family"),
        ),
        (
            json!({"sourceAddress": "0.0.0.0"}),
            Some("spec.sourceAddress: 0.0.0.0 is not"),
        ),
        (
            json!({"ttlSecurity": 1, "multihop": 2}),
            Some("spec.multihop: excludes ttlSecurity"),
        ),
        (json!({"ttlSecurity": 1}), None),
        (json!({"timers": {"holdTime": "0s"}}), None),
        (json!({"timers": {"holdTime": "3s"}}), None),
        (json!({"timers": {"holdTime": "65535s"}}), None),
        (
            json!({"timers": {"holdTime": "2s"}}),
            Some("spec.timers.holdTime"),
        ),
        (
            json!({"timers": {"holdTime": "3500ms"}}),
            Some("spec.timers.holdTime"),
        ),
        (
            json!({"timers": {"holdTime": "65536s"}}),
            Some("spec.timers.holdTime"),
        ),
        (
            json!({"timers": {"keepaliveTime": "90s"}}),
            Some("spec.timers.keepaliveTime: is not shorter"),
        ),
        (
            json!({"timers": {"keepaliveTime": "0s"}}),
            Some("spec.timers.keepaliveTime: is not from"),
        ),
        (
            json!({"timers": {"connectRetryTime": "0s"}}),
            Some("spec.timers.connectRetryTime"),
        ),
        (json!({"timers": {"sendHoldTime": "0s"}}), None),
        (json!({"timers": {"sendHoldTime": "90s"}}), None),
        (
            json!({"timers": {"sendHoldTime": "89s"}}),
            Some("spec.timers.sendHoldTime: is shorter than holdTime"),
        ),
        (json!({"timers": {"sendHoldTime": "9s", "holdTime": "9s"}}), None),
        (json!({"timers": {"sendHoldTime": "3s", "holdTime": "0s"}}), None),
        (
            json!({"timers": {"sendHoldTime": "2s", "holdTime": "0s"}}),
            Some("spec.timers.sendHoldTime: is neither 0s nor from"),
        ),
        (
            json!({"timers": {"sendHoldTime": "65536s"}}),
            Some("spec.timers.sendHoldTime: is neither 0s nor from"),
        ),
        (
            json!({"importFilters": ["a", "a"]}),
            Some("spec.importFilters[1]: a is there twice"),
        ),
        (json!({"stateMessage": "x"}), Some("spec.stateMessage")),
        (json!({"state": "Down", "stateMessage": "x"}), None),
        (
            json!({"nodeSelector": {"matchExpressions": [{"key": "k", "operator": "in", "values": ["a"]}]}}),
            Some("spec.nodeSelector.matchExpressions[0]: \"in\" is not one of"),
        ),
        (
            json!({"nodeSelector": {"matchExpressions": [{"key": "k", "operator": "In"}]}}),
            Some("spec.nodeSelector.matchExpressions[0]: has no values"),
        ),
    ] {
        let problems = peer_with(&extra);
        match want {
            None => assert!(problems.is_empty(), "{extra}: {problems:?}"),
            Some(want) => {
                assert_eq!(problems.len(), 1, "{extra}: {problems:?}");
                assert!(problems[0].starts_with(want), "{extra}: {problems:?}");
            }
        }
    }
}

#[test]
#[allow(clippy::too_many_lines, reason = "one table")]
fn who_the_neighbour_is_is_said_in_one_way() {
    let selector = json!({"matchLabels": {"a": "b"}});
    let why = |mut spec: Value| {
        // A null field is one that is not there.
        spec.as_object_mut().unwrap().retain(|_, v| !v.is_null());
        let spec: BGPPeerSpec = serde_json::from_value(spec).unwrap();
        let told = peer("x", &spec);
        told.iter()
            .map(|p| format!("{}: {} [{}]", p.field, p.message, p.reason))
            .collect::<Vec<_>>()
    };
    for fine in [
        json!({"peerAddress": "10.0.1.1", "peerASN": "External"}),
        json!({"discover": "DefaultGateways", "peerASN": "External"}),
        json!({"listenRange": "10.0.0.0/8", "listenLimit": 7, "peerASN": "External", "ttlSecurity": 1}),
        json!({"discover": "DefaultGateways", "peerASN": 65001, "localASN": 65002, "peerPort": 1179}),
        json!({"peerSelector": selector}),
        json!({"peerSelector": {}, "nodeSelector": selector, "multihop": 3}),
    ] {
        assert_eq!(why(fine.clone()), Vec::<String>::new(), "{fine}");
    }
    for (spec, want) in [
        (
            json!({}),
            &[
                "spec.peerAddress: nothing says who the neighbour is [Required]",
                "spec.peerASN: required, but not there [Required]",
            ][..],
        ),
        (
            json!({"peerAddress": "10.0.1.1"}),
            &["spec.peerASN: required, but not there [Required]"],
        ),
        (
            json!({"discover": "DefaultGateways"}),
            &["spec.peerASN: required, but not there [Required]"],
        ),
        (
            json!({"peerAddress": "10.0.1.1", "discover": "DefaultGateways", "peerASN": 65001}),
            &["spec.discover: excludes peerAddress [Invalid]"],
        ),
        (
            json!({"peerAddress": "10.0.1.1", "peerSelector": {}}),
            &["spec.peerSelector: excludes peerAddress [Invalid]"],
        ),
        (
            json!({"discover": "DefaultGateways", "peerSelector": {}}),
            &["spec.peerSelector: excludes discover [Invalid]"],
        ),
        (
            json!({"discover": "DefaultGateways", "peerASN": 65001, "interface": "eth0", "sourceAddress": "10.0.1.2"}),
            &[
                "spec.interface: excludes discover [Invalid]",
                "spec.sourceAddress: needs peerAddress in this version [Invalid]",
            ],
        ),
        (json!({"interface": "eth0", "peerASN": 65001}), &[]),
        (
            json!({"listenRange": "10.0.0.0/8", "peerAddress": "10.0.1.1", "peerASN": 65001}),
            &["spec.listenRange: excludes peerAddress [Invalid]"],
        ),
        (
            json!({"listenRange": "fe80::/64", "listenLimit": 7, "peerASN": 65001, "connectMode": "Passive", "peerPort": 179}),
            &[
                "spec.listenRange: is link-local, and such an address means another neighbour on each interface [Invalid]",
                "spec.connectMode: excludes listenRange, whose neighbours are not dialled [Invalid]",
                "spec.peerPort: excludes listenRange, whose neighbours are not dialled [Invalid]",
            ],
        ),
        (
            json!({"peerAddress": "10.0.1.1", "peerASN": 65001, "listenLimit": 7}),
            &["spec.listenLimit: needs listenRange [Invalid]"],
        ),
        (
            json!({"peerSelector": {}, "peerASN": 65001, "localASN": 65002}),
            &[
                "spec.peerASN: excludes peerSelector, with which both ASNs come from the Nodes [Invalid]",
                "spec.localASN: excludes peerSelector, with which both ASNs come from the Nodes [Invalid]",
            ],
        ),
        (
            json!({"peerSelector": {"matchExpressions": [{"key": "k", "operator": "in"}]}}),
            &[
                "spec.peerSelector.matchExpressions[0]: \"in\" is not one of In, NotIn, Exists, DoesNotExist [Invalid]",
            ],
        ),
    ] {
        assert_eq!(why(spec.clone()), want, "{spec}");
    }
}

#[test]
fn filters() {
    for (range, fine) in [
        (json!({"cidr": "10.0.0.0/8"}), true),
        (json!({"cidr": "10.0.0.0/8", "ge": 24}), true),
        (json!({"cidr": "10.0.0.0/8", "ge": 16, "le": 24}), true),
        (json!({"cidr": "10.0.0.0/8", "ge": 7}), false),
        (json!({"cidr": "10.0.0.0/8", "le": 33}), false),
        (json!({"cidr": "10.0.0.0/8", "le": 7}), false),
        (json!({"cidr": "10.0.0.0/8", "ge": 24, "le": 16}), false),
        (json!({"cidr": "fd00::/8", "le": 128}), true),
    ] {
        let spec = json!({"rules": [{"match": {"prefixes": [range]}, "action": "Accept"}]});
        assert_eq!(
            filter("x", &serde_json::from_value(spec).unwrap()).is_empty(),
            fine,
            "{range}"
        );
    }
    let spec = json!({"rules": [{"action": "Reject", "set": {"med": 1}}]});
    assert_eq!(
        filter("x", &serde_json::from_value(spec).unwrap())[0].field,
        "spec.rules[0].set"
    );
}

#[test]
fn configurations_and_nodes() {
    let conf = |name: &str, spec: Value| configuration(name, &serde_json::from_value(spec).unwrap()).len();
    assert_eq!(conf("default", json!({})), 0);
    assert_eq!(conf("other", json!({})), 1);
    assert_eq!(conf("default", json!({"localASNFrom": {}})), 1);
    assert_eq!(
        conf(
            "default",
            json!({"localASNFrom": {"nodeLabel": "a", "nodeAnnotation": "b"}})
        ),
        1
    );
    assert_eq!(conf("default", json!({"localASNFrom": {"nodeLabel": "a"}})), 0);
    assert_eq!(
        conf("default", json!({"podNetwork": {"clusterCIDRs": ["0.0.0.0/0"]}})),
        1
    );
    let n = |value: Value| node("n", &serde_json::from_value(value).unwrap()).len();
    assert_eq!(n(json!({})), 0);
    assert_eq!(n(json!({"spec": {"podCIDR": "10.244.1.0"}})), 1);
    assert_eq!(
        n(json!({"spec": {"podCIDRs": ["10.244.1.1/24", "fd00::/64"]}})),
        1
    );
    assert_eq!(
        n(
            json!({"status": {"addresses": [{"type": "InternalIP", "address": "x"}, {"type": "Hostname", "address": "x"}]}})
        ),
        1
    );
    assert_eq!(
        n(json!({"metadata": {"annotations": {"flatroute.io/asn": "0"}}})),
        1
    );
    assert_eq!(
        n(
            json!({"metadata": {"annotations": {"flatroute.io/asn": "65000", "flatroute.io/router-id": "1.2.3.4", "flatroute.io/cluster-id": "0.0.0.1"}}})
        ),
        0
    );
    assert_eq!(
        n(json!({"metadata": {"annotations": {"flatroute.io/cluster-id": "0.0.0.0"}}})),
        1
    );
}
