//! Snapshots of whole plans in words, from manifests to what the speaker and the kernel are told.

use super::*;
use flatroute_api::{ProblemReason, manifest};

mod neighbours;
mod pod_network;
mod reflection;
mod unnumbered;

const NODE: &str = "
---
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {rack: r1}}
spec: {podCIDRs: [10.244.1.0/24, 'fd00:244:1::/64']}
status: {addresses: [{type: Hostname, address: n1}, {type: InternalIP, address: 10.0.1.11}, {type: InternalIP, address: 'fd00:1::11'}]}
";

const NODE_V4: &str = "
---
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDR: 10.244.1.0/24}
status: {addresses: [{type: InternalIP, address: 10.0.1.11}]}
";

fn object(kind: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: flatroute.io/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    )
}

fn synced(manifests: &str) -> Synced<ClusterState> {
    let merged = manifest::merge([manifest::parse("m.yaml", manifests)]);
    assert_eq!(merged.problems, []);
    let mut listing = Listing::of(ClusterState::default(), ["manifests"]);
    listing.listed("manifests", |state| *state = merged.state);
    listing.synced().unwrap()
}

fn planned(manifests: &str, facts: &Facts) -> Plan {
    plan("n1", &synced(manifests), facts)
}

fn words(plan: &Plan) -> String {
    serde_json::to_string_pretty(&plan.describe()).unwrap()
}

#[test]
fn four_lines_are_a_plan() {
    let manifests =
        NODE_V4.to_owned() + &object("BGPPeer", "tor-a", "{peerAddress: 10.0.1.1, peerASN: 65001}");
    insta::assert_snapshot!(words(&planned(&manifests, &Facts::default())));
}

#[test]
fn dual_stack_with_two_tors_and_cluster_cidrs() {
    let manifests = NODE.to_owned()
        + &object(
            "BGPPeer",
            "tor-a",
            "{peerAddress: 10.0.1.1, peerASN: 65001, nodeSelector: {matchLabels: {rack: r1}}}",
        )
        + &object(
            "BGPPeer",
            "tor-b",
            "{peerAddress: 'fd00:1::1', peerASN: External, ttlSecurity: 1}",
        )
        + &object(
            "BGPPeer",
            "other-rack",
            "{peerAddress: 10.0.2.1, peerASN: 65003, nodeSelector: {matchLabels: {rack: r2}}}",
        )
        + &object(
            "BGPConfiguration",
            "default",
            "{localASN: 64999, podNetwork: {clusterCIDRs: [10.244.0.0/16, 'fd00:244::/32']}, kernel: {maxPaths: 1, table: 100, nexthopObjects: Disabled}, bestPath: {multipath: Strict}, listenAddress: 10.0.1.11, listenPort: 1179}",
        );
    insta::assert_snapshot!(words(&planned(&manifests, &Facts::default())));
}

#[test]
fn a_pod_cidr_that_is_not_of_the_cluster_is_a_problem() {
    let problems = |cidrs: &str| -> Vec<(String, String)> {
        let spec = format!("{{podNetwork: {{clusterCIDRs: {cidrs}}}}}");
        let plan = planned(
            &(NODE.to_owned() + &object("BGPConfiguration", "default", &spec)),
            &Facts::default(),
        );
        plan.problems.into_iter().map(|p| (p.field, p.message)).collect()
    };
    assert_eq!(problems("[10.244.0.0/16, 'fd00:244::/32']"), []);
    let told = problems("[10.244.0.0/16, 'fd00:244::/48']");
    let [(field, message)] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert_eq!(field, "spec.podCIDRs");
    assert!(
        message.starts_with(
            "fd00:244:1::/64 is outside of the cluster's pod CIDRs (10.244.0.0/16, fd00:244::/48, "
        ),
        "{message}"
    );
}

#[test]
fn a_transit_router_passes_on_what_it_learns() {
    let node = "---\napiVersion: v1\nkind: Node\nmetadata: {name: n1, annotations: {flatroute.io/asn: '65001', flatroute.io/router-id: 10.255.0.1}}\n";
    let transit = "advertise: [LearnedRoutes], installRoutes: [All]";
    let manifests = node.to_owned()
        + &object(
            "BGPPeer",
            "node-1",
            &format!("{{peerAddress: 10.0.1.11, peerASN: 64512, connectMode: Passive, {transit}}}"),
        )
        + &object(
            "BGPPeer",
            "spine-1",
            &format!("{{peerAddress: fe80::1, interface: up1, peerASN: External, {transit}}}"),
        );
    let facts = Facts {
        links: Links {
            interfaces: [("up1".to_owned(), 7)].into(),
            ..Links::default()
        },
        ..Facts::default()
    };
    insta::assert_snapshot!(words(&planned(&manifests, &facts)));
}

#[test]
fn filters_stand_between_rails_and_built_ins() {
    let manifests = NODE_V4.to_owned()
        + &object(
            "BGPFilter",
            "edge",
            "{rules: [{match: {prefixes: [{cidr: 192.0.2.0/24, le: 28}], communities: ['65000:1', no-export], largeCommunities: ['4200000001:1:1']}, action: Accept, set: {localPref: 200}}, {match: {asPath: [666]}, action: Reject}, {action: Next, set: {communities: ['65000:9'], largeCommunities: ['4200000001:1:9', '4200000001:1:10']}}, {match: {peer: someone-else}, action: Accept}]}",
        )
        + &object(
            "BGPFilter",
            "out",
            "{rules: [{match: {source: PodCIDRs, prefixes: [{cidr: 10.0.0.0/8, ge: 24}]}, action: Accept, set: {med: 10, prepend: 2}}]}",
        )
        + &object(
            "BGPPeer",
            "tor-a",
            "{peerAddress: 10.0.1.1, peerASN: 65001, importFilters: [edge], exportFilters: [out], builtInFilters: Disabled, set: {communities: ['65000:2'], largeCommunities: ['4200000001:2:2']}}",
        )
        + &object(
            "BGPPeer",
            "tor-b",
            "{peerAddress: 10.0.1.2, peerASN: 65002, importFilters: [edge], installRoutes: [PodCIDRs, NodeAddresses, DefaultRoute, Filtered], advertise: [PodCIDRs, NodeAddresses], maxPrefixes: {limit: 5, action: Restart}, timers: {holdTime: 9s, keepaliveTime: 2s, connectRetryTime: 1s, sendHoldTime: 20s}, state: Down, stateMessage: new optics}",
        )
        + "---\napiVersion: v1\nkind: Node\nmetadata: {name: n2}\nstatus: {addresses: [{type: InternalIP, address: 10.0.1.12}]}\n";
    let facts = Facts {
        api_server: ["10.0.9.9".parse().unwrap()].into(),
        ..Facts::default()
    };
    insta::assert_snapshot!(words(&planned(&manifests, &facts)));
}

#[test]
fn what_cannot_be_planned_is_told_and_the_rest_goes_on() {
    let manifests = NODE_V4.to_owned()
        + &object("BGPPeer", "a-tor", "{peerAddress: 10.0.1.1, peerASN: 65001}")
        + &object("BGPPeer", "b-same", "{peerAddress: 10.0.1.1, peerASN: 65002}")
        + &object(
            "BGPPeer",
            "c-filter",
            "{peerAddress: 10.0.1.3, peerASN: 65001, importFilters: [nowhere], exportFilters: [gone]}",
        )
        + &object("BGPPeer", "d-self", "{peerAddress: 10.0.1.11, peerASN: Internal}")
        + &object(
            "BGPPeer",
            "e-interface",
            "{peerAddress: fe80::1, interface: eth9, peerASN: External}",
        )
        + &object("BGPConfiguration", "default", "{localASNFrom: {nodeLabel: rack}}");
    let plan = planned(
        &manifests.replace("metadata: {name: n1}", "metadata: {name: n1, labels: {rack: r1}}"),
        &Facts::default(),
    );
    let peers: Vec<_> = plan.speaker.peers.keys().map(PeerName::as_str).collect();
    assert_eq!(peers, ["a-tor"]);
    let said: Vec<String> = plan
        .problems
        .iter()
        .map(|p| format!("[{}] {p}", p.reason))
        .collect();
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn two_objects_on_one_link_local_address_differ_by_interface() {
    let manifests = NODE_V4.to_owned()
        + &object(
            "BGPPeer",
            "a",
            "{peerAddress: fe80::1, interface: up1, peerASN: External}",
        )
        + &object(
            "BGPPeer",
            "b",
            "{peerAddress: fe80::1, interface: up2, peerASN: External}",
        );
    let facts = Facts {
        links: Links {
            interfaces: [("up1".to_owned(), 7), ("up2".to_owned(), 8)].into(),
            ..Links::default()
        },
        ..Facts::default()
    };
    let plan = planned(&manifests, &facts);
    assert_eq!((plan.speaker.peers.len(), plan.problems.len()), (2, 0));
}

#[test]
fn a_node_that_is_not_there_is_a_router_without_pods() {
    let manifests = object("BGPPeer", "tor-a", "{peerAddress: 10.0.1.1, peerASN: 65001}");
    let plan = planned(&manifests, &Facts::default());
    assert_eq!(plan.problems[0].reason, ProblemReason::NodeNotFound);
    assert_eq!(plan.speaker.peers.len(), 1);
    assert!(plan.speaker.originate.is_empty() && plan.fib.unreachable.is_empty());
    assert_ne!(plan.router_id, RouterId(0));
}

#[test]
fn a_node_that_its_cluster_does_not_have_has_no_neighbours() {
    let other = "---\napiVersion: v1\nkind: Node\nmetadata: {name: n2}\nspec: {podCIDR: 10.244.2.0/24}\n";
    let manifests = other.to_owned() + &object("BGPPeer", "tor-a", "{peerAddress: 10.0.1.1, peerASN: 65001}");
    let facts = Facts {
        source: ObjectSource::ApiServer,
        ..Facts::default()
    };
    let plan = planned(&manifests, &facts);
    assert_eq!(plan.problems[0].reason, ProblemReason::NodeNotFound);
    assert!(plan.speaker.peers.is_empty() && plan.speaker.originate.is_empty());
    let own = "---\napiVersion: v1\nkind: Node\nmetadata: {name: n1}\n";
    assert_eq!(planned(&(manifests + own), &facts).speaker.peers.len(), 1);
}

#[test]
fn restarts_are_agreed_on_as_the_object_says() {
    let planned_with = |spec: &str| {
        let spec = format!("{{peerAddress: 10.0.1.1, peerASN: 65001{spec}}}");
        let filter = object("BGPFilter", "f", "{rules: [{action: Accept}]}");
        let plan = planned(
            &(NODE.to_owned() + &filter + &object("BGPPeer", "a", &spec)),
            &Facts::default(),
        );
        assert_eq!(plan.problems, [], "{spec}");
        let words = plan.describe().peers["a"].session.clone();
        let (_, words) = words.split_once("graceful restart ").unwrap();
        let relays = plan.speaker.peers[&PeerName::from("a")].relays;
        (words.to_owned(), relays)
    };
    for (spec, words, relays) in [
        ("", "Auto 120s", false),
        (", gracefulRestart: {mode: Disabled}", "Disabled", false),
        (
            ", gracefulRestart: {mode: HelperOnly, longLivedStaleTime: 1h}, advertise: [PodCIDRs, LearnedRoutes]",
            "HelperOnly 120s then 3600s",
            true,
        ),
        (
            ", gracefulRestart: {restartTime: 10s, notification: Enabled}, exportFilters: [f]",
            "Auto 10s also after a NOTIFICATION",
            true,
        ),
    ] {
        assert_eq!(planned_with(spec), (words.to_owned(), relays), "{spec}");
    }
}

#[test]
fn the_asn_comes_from_the_most_particular_place() {
    let node = |extra: &str| format!("---\napiVersion: v1\nkind: Node\nmetadata: {{name: n1, {extra}}}\n");
    let conf = |spec: &str| object("BGPConfiguration", "default", spec);
    for (manifests, want) in [
        (node("labels: {}"), 64_512),
        (node("labels: {}") + &conf("{localASN: 65100}"), 65_100),
        (
            node("labels: {asn: '65200'}") + &conf("{localASN: 65100, localASNFrom: {nodeLabel: asn}}"),
            65_200,
        ),
        (
            node("annotations: {asn: '65300'}") + &conf("{localASNFrom: {nodeAnnotation: asn}}"),
            65_300,
        ),
        (
            node("labels: {asn: x}") + &conf("{localASN: 65100, localASNFrom: {nodeLabel: asn}}"),
            65_100,
        ),
        (
            node("labels: {asn: '65200'}, annotations: {flatroute.io/asn: '65400'}")
                + &conf("{localASNFrom: {nodeLabel: asn}}"),
            65_400,
        ),
    ] {
        assert_eq!(
            planned(&manifests, &Facts::default()).local_asn,
            Asn(want),
            "{manifests}"
        );
    }
}

#[test]
fn own_asn_and_ttl_follow_the_kind_of_neighbour() {
    use flatroute_bgp::speaker::Ttl;
    for (spec, own, ttl) in [
        ("{peerAddress: 10.0.1.1, peerASN: 65001}", 1, Ttl::Direct),
        ("{peerAddress: 10.0.1.1, peerASN: External}", 1, Ttl::Direct),
        (
            "{peerAddress: 10.0.1.1, peerASN: 65001, advertise: [PodCIDRs, LearnedRoutes]}",
            0,
            Ttl::Direct,
        ),
        ("{peerAddress: 10.0.1.1, peerASN: 64512}", 0, Ttl::Multihop(255)),
        (
            "{peerAddress: 10.0.1.1, peerASN: Internal}",
            0,
            Ttl::Multihop(255),
        ),
        (
            "{peerAddress: 10.0.1.1, peerASN: 64512, localASN: 65000}",
            1,
            Ttl::Direct,
        ),
        (
            "{peerAddress: 10.0.1.1, peerASN: 65001, multihop: 3, allowOwnASN: 2}",
            2,
            Ttl::Multihop(3),
        ),
        (
            "{peerAddress: 10.0.1.1, peerASN: 64512, ttlSecurity: 1}",
            0,
            Ttl::Security(1),
        ),
    ] {
        let plan = planned(
            &(NODE_V4.to_owned() + &object("BGPPeer", "p", spec)),
            &Facts::default(),
        );
        let peer = plan.speaker.peers.values().next().unwrap();
        assert_eq!((peer.allow_own_asn, peer.ttl), (own, ttl), "{spec}");
    }
}

#[test]
fn a_role_is_for_external_neighbours() {
    use flatroute_bgp::types::Role;
    for (spec, role, problems) in [
        (
            "{peerAddress: 10.0.1.1, peerASN: 65001, role: Customer}",
            Some(Role::Customer),
            0,
        ),
        (
            "{peerAddress: 10.0.1.1, peerASN: External, role: Peer}",
            Some(Role::Peer),
            0,
        ),
        (
            "{peerAddress: 10.0.1.1, peerASN: 64512, role: Peer}",
            Some(Role::Peer),
            1,
        ),
    ] {
        let plan = planned(
            &(NODE_V4.to_owned() + &object("BGPPeer", "p", spec)),
            &Facts::default(),
        );
        assert_eq!(only_peer(&plan).session.role, role, "{spec}");
        let told: Vec<_> = plan.problems.iter().filter(|p| p.field == "spec.role").collect();
        assert_eq!(told.len(), problems, "{spec}");
        for problem in told {
            let text = problem.to_string();
            assert!(text.contains("10.0.1.1 is of AS 64512 like this node"), "{text}");
        }
    }
}

#[test]
fn equal_input_gives_an_equal_plan_and_a_change_changes_only_its_part() {
    let tor = |n: u8, extra: &str| {
        object(
            "BGPPeer",
            &format!("tor-{n}"),
            &format!("{{peerAddress: 10.0.1.{n}, peerASN: 6500{n}{extra}}}"),
        )
    };
    let before = NODE_V4.to_owned() + &tor(1, "") + &tor(2, "");
    let after = NODE_V4.to_owned() + &tor(2, ", timers: {holdTime: 30s}") + &tor(1, "");
    let (a, b) = (
        planned(&before, &Facts::default()),
        planned(&after, &Facts::default()),
    );
    assert_eq!(a, planned(&before, &Facts::default()));
    let name = PeerName::from("tor-1");
    assert_eq!(a.speaker.peers[&name], b.speaker.peers[&name]);
    assert_ne!(a.speaker, b.speaker);
    assert_eq!(a.fib, b.fib);
}

#[test]
fn nothing_is_synced_before_all_of_it_is_listed() {
    let mut listing = Listing::of(ClusterState::default(), ["nodes", "peers"]);
    listing.listed("nodes", |_| {});
    let listing = listing.synced().unwrap_err();
    assert_eq!(listing.awaited().collect::<Vec<_>>(), ["peers"]);
}

/// A BGPPeer with a key, and what else there is.
fn with_key(reference: &str, rest: &str) -> Plan {
    let spec =
        format!("{{peerAddress: 10.0.1.1, peerASN: 65001, auth: {{md5: {{secretRef: {reference}}}}}}}");
    planned(
        &(NODE_V4.to_owned() + &object("BGPPeer", "tor-a", &spec) + rest),
        &Facts::default(),
    )
}

fn secret(namespace: &str, values: &str) -> String {
    format!("---\napiVersion: v1\nkind: Secret\nmetadata: {{name: tor, namespace: {namespace}}}\n{values}\n")
}

fn only_peer(plan: &Plan) -> &PeerConfig {
    let mut peers = plan.speaker.peers.values();
    match (peers.next(), peers.next()) {
        (Some(peer), None) => peer,
        (Some(_), Some(_)) | (None, _) => panic!("{:?}", plan.speaker),
    }
}

#[test]
fn a_key_comes_from_its_secret_and_is_shown_nowhere() {
    use flatroute_bgp::speaker::{AdminState, Auth, Md5Key};
    for (reference, values) in [
        ("{name: tor}", "stringData: {password: hunter2}"),
        ("{name: tor}", "data: {password: aHVudGVyMg==}"),
        (
            "{name: tor, key: md5}",
            "stringData: {md5: hunter2, password: other}",
        ),
    ] {
        let plan = with_key(reference, &secret("any", values));
        let peer = only_peer(&plan);
        assert_eq!(peer.auth, Auth::Md5(Md5Key::new(b"hunter2").unwrap()));
        assert_eq!(peer.admin_state, AdminState::Up);
        assert_eq!(plan.problems, []);
        let shown = words(&plan) + &format!("{plan:?}");
        assert!(shown.contains("TCP MD5, ttl 1"), "{shown}");
        assert!(
            !shown.contains("hunter2") && !shown.contains("104, 117"),
            "{shown}"
        );
    }
}

#[test]
fn without_a_good_key_a_neighbour_is_held_down_and_the_remedy_told() {
    use flatroute_bgp::speaker::{AdminState, Auth};
    let long = format!("stringData: {{password: {}}}", "x".repeat(81));
    for (reference, rest, held, problem) in [
        (
            "{name: tor}",
            String::new(),
            "SecretNotFound: there is no Secret tor",
            "name: there is no Secret tor; the session is held down; add it, or correct the name",
        ),
        (
            "{name: tor, key: a}",
            secret("x", "stringData: {b: hunter2, c: hunter2}"),
            "SecretKeyNotFound: Secret tor has no key a",
            "key: Secret tor has no key a; the session is held down; add it to the Secret, or name the one that is meant, such as b, c",
        ),
        (
            "{name: tor}",
            secret("x", "stringData: {password: ''}"),
            "SecretInvalid: Secret tor, key password: the key is empty",
            "key: Secret tor, key password: the key is empty; the session is held down; give it from 1 to 80 octets, the same as the neighbour is configured with",
        ),
        (
            "{name: tor}",
            secret("x", &long),
            "SecretInvalid: Secret tor, key password: the key is 81 octets long, and TCP MD5 takes at most 80",
            "key: Secret tor, key password: the key is 81 octets long, and TCP MD5 takes at most 80; the session is held down; give it from 1 to 80 octets, the same as the neighbour is configured with",
        ),
        (
            "{name: tor}",
            secret("one", "stringData: {password: hunter2}")
                + &secret("two", "stringData: {password: hunter2}"),
            "SecretAmbiguous: there are Secrets tor in the namespaces \"one\" and \"two\"",
            "name: there are Secrets tor in the namespaces \"one\" and \"two\"; the session is held down; remove one of them, or give it another name",
        ),
    ] {
        let plan = with_key(reference, &rest);
        let peer = only_peer(&plan);
        assert_eq!(peer.auth, Auth::None);
        assert_eq!(peer.admin_state, AdminState::Held(held.to_owned()));
        let told: Vec<String> = plan.problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [format!("BGPPeer/tor-a: spec.auth.md5.secretRef.{problem}")]
        );
        assert_eq!(plan.problems[0].reason.as_str(), held.split(':').next().unwrap());
        assert!(
            words(&plan).contains(&format!("Held: {held}").replace('"', "\\\"")),
            "{}",
            words(&plan)
        );
    }
}

#[test]
fn a_line_break_at_the_end_of_a_key_is_used_and_warned_of() {
    use flatroute_bgp::speaker::{AdminState, Auth, Md5Key};
    // By echo hunter2 | base64
    let plan = with_key("{name: tor}", &secret("x", "data: {password: aHVudGVyMgo=}"));
    let peer = only_peer(&plan);
    assert_eq!(peer.auth, Auth::Md5(Md5Key::new(b"hunter2\n").unwrap()));
    assert_eq!(peer.admin_state, AdminState::Up);
    assert_eq!(plan.problems.len(), 1);
    let told = plan.problems[0].to_string();
    assert_eq!(plan.problems[0].reason, ProblemReason::SecretEndsWithLineBreak);
    assert!(told.contains("printf %s PASSWORD | base64"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
}

#[test]
fn what_is_down_by_its_object_is_not_held() {
    let spec = "{peerAddress: 10.0.1.1, peerASN: 65001, state: Down, auth: {md5: {secretRef: {name: tor}}}}";
    let plan = planned(
        &(NODE_V4.to_owned() + &object("BGPPeer", "tor-a", spec)),
        &Facts::default(),
    );
    let down = flatroute_bgp::speaker::AdminState::Down(String::new());
    assert_eq!(only_peer(&plan).admin_state, down);
    assert_eq!(plan.problems[0].reason, ProblemReason::SecretNotFound);
}

#[test]
fn several_paths_a_prefix_are_offered_as_the_object_says() {
    use flatroute_bgp::wire::AddPathMode;
    for (value, want, words) in [
        ("", None, "families IPv4"),
        (", addPath: Disabled", None, "families IPv4"),
        (
            ", addPath: Receive",
            Some(AddPathMode::Receive),
            "families IPv4, add-path Receive",
        ),
        (
            ", addPath: Send",
            Some(AddPathMode::Send),
            "families IPv4, add-path Send",
        ),
        (
            ", addPath: Both",
            Some(AddPathMode::Both),
            "families IPv4, add-path Both",
        ),
    ] {
        let spec = format!("{{peerAddress: 10.0.1.1, peerASN: 65001{value}}}");
        let plan = planned(
            &(NODE_V4.to_owned() + &object("BGPPeer", "tor-a", &spec)),
            &Facts::default(),
        );
        assert_eq!(only_peer(&plan).session.add_path, want, "{value}");
        let session = &plan.describe().peers["tor-a"].session;
        let end = format!("{words}, graceful restart Auto 120s");
        assert!(session.ends_with(&end), "{session}");
    }
}
