use super::*;
use serde_json::json;

fn peer(extra: &Value) -> Vec<String> {
    let mut spec = json!({"peerAddress": "10.0.1.1", "peerASN": 65001});
    for (key, value) in extra.as_object().unwrap() {
        spec[key] = value.clone();
    }
    said(Kind::BGPPeer, &spec)
}

fn said(kind: Kind, spec: &Value) -> Vec<String> {
    let object = json!({"apiVersion": crate::API_VERSION, "kind": kind.as_str(), "metadata": {"name": "x"}, "spec": spec});
    check(kind, "x", object.as_object().unwrap())
        .iter()
        .map(|p| format!("{}: {}; {}", p.field, p.message, p.remedy))
        .collect()
}

#[test]
fn every_field_of_the_contract_is_known_or_refused_by_name() {
    // The rows of the table of BGPPeer.
    for field in [
        "nodeSelector",
        "peerAddress",
        "interface",
        "peerSelector",
        "discover",
        "listenRange",
        "peerPort",
        "peerASN",
        "localASN",
        "sourceAddress",
        "connectMode",
        "auth",
        "timers",
        "bfd",
        "ttlSecurity",
        "multihop",
        "gracefulRestart",
        "families",
        "nextHop",
        "allowOwnASN",
        "routeReflectorClient",
        "role",
        "addPath",
        "maxPrefixes",
        "importFilters",
        "exportFilters",
        "builtInFilters",
        "advertise",
        "set",
        "installRoutes",
        "state",
        "stateMessage",
    ] {
        let problems = peer(&json!({field: {"impossible": true}}));
        assert!(!problems.is_empty(), "{field}");
        assert!(
            !problems[0].starts_with(&format!("spec.{field}: unknown field")),
            "{field}: {problems:?}"
        );
    }
    for field in [
        "localASN",
        "localASNFrom",
        "routerIDFrom",
        "listenAddress",
        "listenPort",
        "nodeMesh",
        "bestPath",
        "kernel",
        "podNetwork",
        "nodeStatus",
        "drain",
        "communities",
    ] {
        let problems = said(Kind::BGPConfiguration, &json!({field: [[]]}));
        assert!(!problems.is_empty(), "{field}");
        assert!(
            !problems[0].starts_with(&format!("spec.{field}: unknown field")),
            "{field}: {problems:?}"
        );
    }
}

#[test]
fn no_field_is_both_typed_and_unsupported() {
    for (kind, path) in unsupported::FIELDS {
        let mut schema = schema_of_spec(*kind).unwrap();
        for part in path.split('.').skip(1) {
            let (name, list) = part.strip_suffix("[]").map_or((part, false), |name| (name, true));
            let Some(next) = property(&schema, name) else {
                schema = Value::Null;
                break;
            };
            schema = if list { next["items"].clone() } else { next };
        }
        assert!(schema.is_null(), "{kind} {path} is typed and refused");
    }
}

fn property(schema: &Value, name: &str) -> Option<Value> {
    let here = schema.get("properties").and_then(|p| p.get(name)).cloned();
    let inner = || {
        schema
            .get("anyOf")?
            .as_array()?
            .iter()
            .find_map(|s| property(s, name))
    };
    here.or_else(inner)
}

#[test]
fn a_key_is_named_by_its_secret() {
    let with = |auth: Value| peer(&json!({"auth": auth}));
    let good = [
        json!({"md5": {"secretRef": {"name": "tor"}}}),
        json!({"md5": {"secretRef": {"name": "tor", "key": "md5"}}}),
    ];
    for auth in good {
        assert_eq!(with(auth), Vec::<String>::new());
    }
    let bad = [
        (json!({}), "spec.auth.md5: required, but not there; set it"),
        (
            json!({"md5": {}}),
            "spec.auth.md5.secretRef: required, but not there; set it",
        ),
        (
            json!({"md5": {"secretRef": {"key": "a"}}}),
            "spec.auth.md5.secretRef.name: required, but not there; set it",
        ),
        (
            json!({"md5": {"secretRef": {"name": ""}}}),
            "spec.auth.md5.secretRef.name: \"\" is not the name of an object, such as rack1-tor-a; correct it",
        ),
        (
            json!({"md5": {"password": "hunter2", "secretRef": {"name": "tor"}}}),
            "spec.auth.md5.password: unknown field; remove it",
        ),
    ];
    for (auth, problem) in bad {
        assert_eq!(with(auth), [problem]);
    }
}

#[test]
fn large_communities_stand_where_communities_do() {
    let both = |value: &Value| {
        let rule = json!({"match": {"largeCommunities": value}, "action": "Accept", "set": {"largeCommunities": value}});
        let mut problems = said(Kind::BGPFilter, &json!({"rules": [rule]}));
        problems.extend(peer(&json!({"set": {"largeCommunities": value}})));
        problems
    };
    assert_eq!(both(&json!(["4200000001:1:100"])), Vec::<String>::new());
    let problems = both(&json!(["65000:1"]));
    let fields = ["spec.rules[0].match", "spec.rules[0].set", "spec.set"];
    assert_eq!(problems.len(), fields.len(), "{problems:?}");
    for (problem, field) in problems.iter().zip(fields) {
        let at = format!("{field}.largeCommunities[0]: \"65000:1\" is not a large community");
        assert!(problem.starts_with(&at), "{problem}");
    }
}

#[test]
fn what_is_not_there_yet_is_refused_with_a_remedy() {
    let refused = |field: &str, what: &str| {
        vec![format!(
            "{field}: not supported yet in this version: {what}; remove it"
        )]
    };
    for (extra, field, what) in [
        (
            json!({"auth": {"tcpAO": {"secretRef": {"name": "tor"}}}}),
            "spec.auth.tcpAO",
            "field tcpAO",
        ),
        (json!({"bfd": {"mode": "Enabled"}}), "spec.bfd", "field bfd"),
        (
            json!({"advertise": ["PodCIDRs", "ServiceClusterIPs"]}),
            "spec.advertise[1]",
            "value ServiceClusterIPs",
        ),
    ] {
        assert_eq!(peer(&extra), refused(field, what));
    }
}

#[test]
fn what_is_done_anyway_may_be_said() {
    let all = json!({
        "state": "Up", "families": ["IPv4", "IPv6"], "nextHop": "Self",
        "maxPrefixes": {"limit": 4_294_967_295_u32, "action": "Restart"}, "installRoutes": [],
        "nodeSelector": {"matchLabels": {"a/b": "c"}, "matchExpressions": [{"key": "k", "operator": "Exists"}]},
    });
    assert_eq!(peer(&all), Vec::<String>::new());
    for configuration in [
        json!({"kernel": {"table": 254}}),
        json!({"nodeMesh": {}}),
        json!({"nodeMesh": {"mode": "Auto"}}),
        json!({"nodeMesh": {"mode": "Disabled"}}),
        json!({"nodeStatus": {}}),
        json!({"nodeStatus": {"mode": "Enabled"}}),
    ] {
        assert_eq!(said(Kind::BGPConfiguration, &configuration), Vec::<String>::new());
    }
}

#[test]
#[allow(clippy::too_many_lines, reason = "one table")]
fn wrong_values_are_named_with_their_path() {
    for (extra, want) in [
        (json!({"peerASN": 0}), "spec.peerASN: 0 is not an ASN"),
        (
            json!({"localASN": 4_294_967_296_u64}),
            "spec.localASN: 4294967296 is not from 1 to 4294967295",
        ),
        (
            json!({"localASN": "64512"}),
            "spec.localASN: a string where a whole number belongs",
        ),
        (
            json!({"peerPort": 70_000}),
            "spec.peerPort: 70000 is not from 1 to 65535",
        ),
        (
            json!({"multihop": 255}),
            "spec.multihop: 255 is not from 1 to 254",
        ),
        (
            json!({"multihop": 1.5}),
            "spec.multihop: a number where a whole number belongs",
        ),
        (
            json!({"allowOwnASN": 11}),
            "spec.allowOwnASN: 11 is not from 0 to 10",
        ),
        (
            json!({"peerAddress": "10.0.1"}),
            "spec.peerAddress: \"10.0.1\" is not an IP address",
        ),
        (
            json!({"connectMode": "passive"}),
            "spec.connectMode: \"passive\" is not one of Active, Passive, Both; did you mean Passive?",
        ),
        (
            json!({"timers": {"holdTime": "ninety"}}),
            "spec.timers.holdTime: \"ninety\" is not a duration",
        ),
        (
            json!({"timers": {"holdTime": 90}}),
            "spec.timers.holdTime: 90 is not a string",
        ),
        (
            json!({"timers": "90s"}),
            "spec.timers: a string where a mapping belongs",
        ),
        (
            json!({"families": []}),
            "spec.families: has fewer than 1 elements",
        ),
        (
            json!({"families": ["IPv4", "IPv4"]}),
            "spec.families[1]: \"IPv4\" is there twice",
        ),
        (
            json!({"families": ["ipv4"]}),
            "spec.families[0]: \"ipv4\" is not one of IPv4, IPv6; did you mean IPv4?",
        ),
        (
            json!({"importFilters": "edge"}),
            "spec.importFilters: a string where a list belongs",
        ),
        (
            json!({"set": {"communities": ["65000"]}}),
            "spec.set.communities[0]: \"65000\" is not a community",
        ),
        (json!({"set": {"med": -1}}), "spec.set.med: -1 is not from 0"),
        (
            json!({"interface": "a-name-too-long1"}),
            "spec.interface: \"a-name-too-long1\" is not the name of an interface",
        ),
        (
            json!({"peerAsn": 1}),
            "spec.peerAsn: unknown field; did you mean peerASN?",
        ),
        (
            json!({"advertize": []}),
            "spec.advertize: unknown field; did you mean advertise?",
        ),
        (json!({"quux": []}), "spec.quux: unknown field; remove it"),
        (
            json!({"nodeSelector": {"matchLabel": {}}}),
            "spec.nodeSelector.matchLabel: unknown field; did you mean matchLabels?",
        ),
        (
            json!({"nodeSelector": {"matchLabels": {"a": 1}}}),
            "spec.nodeSelector.matchLabels.a: 1 is not a string",
        ),
    ] {
        let problems = peer(&extra);
        assert_eq!(problems.len(), 1, "{extra}: {problems:?}");
        assert!(problems[0].starts_with(want), "{extra}: {problems:?}");
    }
    assert_eq!(
        peer(&json!({"interface": null, "set": {"med": null}})),
        Vec::<String>::new()
    );
    assert_eq!(
        said(Kind::BGPFilter, &json!({})),
        ["spec.rules: required, but not there; set it"]
    );
}

#[test]
fn distances_are_edit_distances() {
    for (a, b, d) in [
        ("", "", 0),
        ("a", "", 1),
        ("", "ab", 2),
        ("kitten", "sitting", 3),
        ("abc", "abc", 0),
    ] {
        assert_eq!(distance(a, b), d, "{a} {b}");
    }
}
