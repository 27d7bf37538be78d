//! Who the neighbours are, when no object names them by address.

use super::*;

/// Another node: name, last number of its addresses, and what else its metadata holds.
pub(super) fn node(name: &str, last: u8, extra: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}{extra}}}\nspec: {{podCIDRs: [10.244.{last}.0/24, 'fd00:244:{last}::/64']}}\n\
         status: {{addresses: [{{type: InternalIP, address: 10.0.1.{last}}}, {{type: InternalIP, address: 'fd00:1::{last}'}}]}}\n"
    )
}

fn gateways(of: &[(&str, Option<u32>, u8)]) -> Facts {
    let gateway = |(address, interface, protocol): &(&str, Option<u32>, u8)| Gateway {
        address: address.parse().unwrap(),
        interface: *interface,
        protocol: *protocol,
    };
    Facts {
        links: Links {
            interfaces: [("eth0".to_owned(), 2), ("eth1".to_owned(), 3)].into(),
            default_gateways: of.iter().map(gateway).collect(),
            ..Links::default()
        },
        ..Facts::default()
    }
}

pub(super) fn on_link(of: &[&str]) -> Facts {
    Facts {
        links: Links {
            on_link: of.iter().map(|p| p.parse().unwrap()).collect(),
            ..Links::default()
        },
        ..Facts::default()
    }
}

/// Each neighbour in one line: its name, where it is and the ASNs.
fn neighbours(plan: &Plan) -> Vec<String> {
    let peers = plan.describe().peers;
    peers
        .iter()
        .map(|(name, p)| format!("{name}: {} {}", p.address, p.asns))
        .collect()
}

pub(super) fn told(plan: &Plan) -> Vec<String> {
    plan.problems
        .iter()
        .map(|p| format!("[{}] {p}", p.reason))
        .collect()
}

const DISCOVER: &str = "{discover: DefaultGateways, peerASN: External}";

#[test]
fn every_default_gateway_is_a_neighbour() {
    let facts = gateways(&[
        ("10.0.1.1", None, 4),
        ("10.0.1.2", None, 16),
        // The same by another route.
        ("10.0.1.2", None, 4),
        ("fd00:1::1", None, 9),
        // One address on two links.
        ("fe80::1", Some(2), 9),
        ("fe80::1", Some(3), 9),
        // Of our own making; this node; an interface that is gone.
        ("10.0.1.3", None, 79),
        ("10.0.1.11", None, 4),
        ("fe80::2", Some(9), 9),
    ]);
    let manifests = NODE.to_owned() + &object("BGPPeer", "tors", DISCOVER);
    let plan = planned(&manifests, &facts);
    assert_eq!(
        neighbours(&plan),
        [
            "tors-10.0.1.1: 10.0.1.1 port 179 64512 -> External",
            "tors-10.0.1.2: 10.0.1.2 port 179 64512 -> External",
            "tors-fd00:1::1: fd00:1::1 port 179 64512 -> External",
            "tors-fe80::1%eth0: fe80::1 port 179 interface 2 64512 -> External",
            "tors-fe80::1%eth1: fe80::1 port 179 interface 3 64512 -> External",
        ]
    );
    assert_eq!(told(&plan), Vec::<String>::new());
    assert!(
        plan.origins
            .values()
            .all(|o| o.is_fabric() && o.object.as_deref() == Some("tors"))
    );

    // Another protocol of ours, and another node selected.
    let conf = object("BGPConfiguration", "default", "{kernel: {protocol: 9}}");
    let plan = planned(&(manifests.clone() + &conf), &facts);
    let names: Vec<&str> = plan.speaker.peers.keys().map(PeerName::as_str).collect();
    assert_eq!(names, ["tors-10.0.1.1", "tors-10.0.1.2", "tors-10.0.1.3"]);
    let elsewhere = manifests.replace("{discover", "{nodeSelector: {matchLabels: {rack: r9}}, discover");
    let plan = planned(&elsewhere, &facts);
    assert_eq!((neighbours(&plan), told(&plan)), (Vec::new(), Vec::new()));
}

#[test]
fn what_is_discovered_yields_to_what_is_named() {
    let facts = gateways(&[
        ("10.0.1.1", None, 4),
        ("10.0.1.2", None, 4),
        ("fe80::1", Some(2), 9),
    ]);
    let manifests = NODE.to_owned()
        + &object("BGPPeer", "a-all", DISCOVER)
        + &object("BGPPeer", "named", "{peerAddress: 10.0.1.1, peerASN: 65001}")
        // It cannot be planned, and its neighbour is still not for anybody else.
        + &object(
            "BGPPeer",
            "named-local",
            "{peerAddress: 'fe80::1', interface: eth0, peerASN: 65001, importFilters: [gone]}",
        )
        + &object("BGPPeer", "z-all", DISCOVER);
    let plan = planned(&manifests, &facts);
    assert_eq!(
        neighbours(&plan),
        [
            "a-all-10.0.1.2: 10.0.1.2 port 179 64512 -> External",
            "named: 10.0.1.1 port 179 64512 -> 65001",
        ]
    );
    assert_eq!(
        told(&plan),
        [
            "[FilterNotFound] BGPPeer/named-local: spec.importFilters[0]: there is no BGPFilter gone: the peer is left out; add the filter, or remove its name",
            "[ConflictingPeer] BGPPeer/z-all: spec.discover: on node n1 BGPPeer/a-all has 10.0.1.2 too, and is the one in use; remove one of the two, or make their selectors exclude each other",
        ]
    );
}

#[test]
fn a_discovery_without_a_gateway_and_one_with_too_many_say_so() {
    let manifests = NODE.to_owned() + &object("BGPPeer", "tors", DISCOVER);
    let plan = planned(&manifests, &gateways(&[("10.0.1.3", None, 79)]));
    assert_eq!(
        told(&plan),
        [
            "[NoDefaultGateway] BGPPeer/tors: spec.discover: node n1 has no default route with a next hop; add one by way of each neighbour, or name the neighbours by peerAddress"
        ]
    );
    let mut facts = gateways(&[]);
    facts.links.default_gateways = (0..=u8::MAX)
        .map(|last| Gateway {
            address: [10, 9, 9, last].into(),
            interface: None,
            protocol: 9,
        })
        .collect();
    let plan = planned(&manifests, &facts);
    assert_eq!(plan.speaker.peers.len(), MAX_DISCOVERED);
    assert_eq!(plan.problems[0].reason, ProblemReason::TooManyGateways);
}

#[test]
fn problems_of_a_discovery_are_told_once_and_its_settings_hold_for_all() {
    let facts = gateways(&[("10.0.1.1", None, 4), ("10.0.1.2", None, 4)]);
    let spec = "{discover: DefaultGateways, peerASN: 65001, peerPort: 1179, ttlSecurity: 1, auth: {md5: {secretRef: {name: gone}}}}";
    let plan = planned(&(NODE.to_owned() + &object("BGPPeer", "tors", spec)), &facts);
    assert_eq!(
        neighbours(&plan),
        [
            "tors-10.0.1.1: 10.0.1.1 port 1179 64512 -> 65001",
            "tors-10.0.1.2: 10.0.1.2 port 1179 64512 -> 65001"
        ]
    );
    let reasons: Vec<&str> = plan.problems.iter().map(|p| p.reason.as_str()).collect();
    assert_eq!(reasons, ["SecretNotFound"]);
    assert_eq!(plan.problems[0].name, "tors");
}

#[test]
fn a_filter_means_all_neighbours_of_an_object() {
    let facts = gateways(&[("10.0.1.1", None, 4), ("10.0.1.2", None, 4)]);
    let filter = object(
        "BGPFilter",
        "by-peer",
        "{rules: [{match: {peer: tors}, action: Accept}, {match: {peer: tors-10.0.1.2}, action: Reject}, {match: {peer: nobody}, action: Reject}]}",
    );
    let spec = "{discover: DefaultGateways, peerASN: 65001, importFilters: [by-peer]}";
    let plan = planned(
        &(NODE.to_owned() + &object("BGPPeer", "tors", spec) + &filter),
        &facts,
    );
    let import = &plan.describe().peers["tors-10.0.1.1"].import;
    let rules: Vec<&String> = import.iter().filter(|rule| rule.starts_with("filter")).collect();
    assert_eq!(
        rules,
        [
            "filter by-peer rule 1: accept peers [tors-10.0.1.1 tors-10.0.1.2]",
            "filter by-peer rule 2: reject peers [tors-10.0.1.2]",
            "filter by-peer rule 3: reject peers [nobody]",
        ]
    );
}

#[test]
fn a_selector_makes_a_session_at_both_ends_of_each_pair() {
    let nodes = NODE.to_owned()
        + &node(
            "n2",
            12,
            ", labels: {reflector: a}, annotations: {flatroute.io/asn: '65012'}",
        )
        + &node("n3", 13, "")
        + &node("n4", 14, ", labels: {reflector: b}").replace("{type: InternalIP, address: 10.0.1.14}, ", "")
        + "---\napiVersion: v1\nkind: Node\nmetadata: {name: n5, labels: {reflector: c}}\n";
    let manifests = nodes
        + &object(
            "BGPPeer",
            "rr",
            "{peerSelector: {matchExpressions: [{key: reflector, operator: Exists}]}, nodeSelector: {matchLabels: {rack: r1}}}",
        );
    let state = synced(&manifests);
    let seen_from = |name: &str| neighbours(&plan(name, &state, &Facts::default()));
    assert_eq!(
        seen_from("n1"),
        [
            "rr-n2: 10.0.1.12 port 179 from 10.0.1.11 64512 -> 65012",
            "rr-n4: fd00:1::14 port 179 from fd00:1::11 64512 -> 64512",
        ]
    );
    assert_eq!(
        seen_from("n2"),
        ["rr-n1: 10.0.1.11 port 179 from 10.0.1.12 65012 -> 64512"]
    );
    assert_eq!(seen_from("n3"), Vec::<String>::new());
    assert_eq!(
        seen_from("n4"),
        ["rr-n1: fd00:1::11 port 179 from fd00:1::14 64512 -> 64512"]
    );
    let plan = plan("n1", &state, &Facts::default());
    let origin = &plan.origins[&PeerName::from("rr-n2")];
    assert_eq!(
        (origin.object.as_deref(), origin.node.as_deref()),
        (Some("rr"), Some("n2"))
    );
}

#[test]
fn a_selected_node_without_another_one_says_so() {
    let spec = "{nodeSelector: {matchLabels: {rack: r1}}, peerSelector: {matchLabels: {role: rr}}}";
    let rr = |address: &str| {
        format!(
            "---\napiVersion: v1\nkind: Node\nmetadata: {{name: rr, labels: {{role: rr}}}}\nstatus: {{addresses: [{address}]}}\n"
        )
    };
    let address = "{type: InternalIP, address: 10.0.1.12}";
    let other = "---\napiVersion: v1\nkind: Node\nmetadata: {name: other}\n";
    let seen_from = |name: &str, nodes: &str| {
        let state = synced(&(nodes.to_owned() + &object("BGPPeer", "reflectors", spec)));
        let plan = plan(name, &state, &Facts::default());
        (neighbours(&plan).len(), told(&plan).join("\n"))
    };
    let remedy = "label the Nodes that are meant (kubectl get nodes --show-labels), or correct the selector";
    assert_eq!(
        seen_from("n1", &(NODE.to_owned() + other)),
        (
            0,
            format!(
                "[NoMatchingNodes] BGPPeer/reflectors: spec.peerSelector: spec.peerSelector selects no other Node, so node n1, which spec.nodeSelector selects, has no neighbour by it; {remedy}"
            )
        )
    );
    assert_eq!(
        seen_from("rr", &(rr(address) + other)),
        (
            0,
            format!(
                "[NoMatchingNodes] BGPPeer/reflectors: spec.nodeSelector: spec.nodeSelector selects no other Node, so node rr, which spec.peerSelector selects, has no neighbour by it; {remedy}"
            )
        )
    );
    assert_eq!(
        seen_from("n1", &(NODE.to_owned() + &rr(""))),
        (
            0,
            "[NoCommonFamily] BGPPeer/reflectors: spec.peerSelector: node n1 and node rr have no InternalIP of the same family; see status.addresses of both Nodes; a kubelet sets them by --node-ip".to_owned()
        )
    );
    // One pair is enough, and who is not selected has nothing to say.
    assert_eq!(
        seen_from("n1", &(NODE.to_owned() + &rr(address))),
        (1, String::new())
    );
    assert_eq!(seen_from("other", &(NODE.to_owned() + other)), (0, String::new()));
}

#[test]
fn two_selectors_on_one_pair_are_told_and_the_first_is_used() {
    let manifests = NODE.to_owned()
        + &node("n2", 12, "")
        + &object("BGPPeer", "a", "{peerSelector: {}}")
        + &object("BGPPeer", "b", "{peerSelector: {}}");
    let plan = planned(&manifests, &Facts::default());
    assert_eq!(
        neighbours(&plan),
        ["a-n2: 10.0.1.12 port 179 from 10.0.1.11 64512 -> 64512"]
    );
    assert_eq!(
        told(&plan),
        [
            "[ConflictingPeer] BGPPeer/b: spec.peerSelector: on node n1 BGPPeer/a has 10.0.1.12 too, and is the one in use; remove one of the two, or make their selectors exclude each other"
        ]
    );
}

#[test]
fn nodes_on_one_link_mesh_without_an_object() {
    let manifests = NODE.to_owned() + &node("n2", 12, "") + &node("n3", 13, "");
    let plan = planned(&manifests, &on_link(&["10.0.1.8/29"]));
    insta::assert_snapshot!(words(&plan));
    assert!(
        plan.origins
            .values()
            .all(|o| !o.is_fabric() && o.object.is_none())
    );
}

#[test]
fn the_mesh_is_for_nodes_on_the_link_that_no_object_serves() {
    let nodes = NODE.to_owned() + &node("n2", 12, "") + &node("n3", 13, ", labels: {rack: r3}");
    let facts = on_link(&["10.0.1.0/24", "fd00:1::/64"]);
    let tor = |spec: &str| nodes.clone() + &object("BGPPeer", "tor", spec);
    let conf = |spec: &str| nodes.clone() + &object("BGPConfiguration", "default", spec);
    for (manifests, facts, want) in [
        (nodes.clone(), &facts, &["mesh:n2", "mesh:n3"][..]),
        (nodes.clone(), &on_link(&["10.0.1.12/32"]), &["mesh:n2"]),
        (nodes.clone(), &on_link(&["10.0.2.0/24"]), &[]),
        (conf("{nodeMesh: {mode: Auto}}"), &facts, &["mesh:n2", "mesh:n3"]),
        (conf("{nodeMesh: {mode: Disabled}}"), &facts, &[]),
        // Both ends of every pair have a neighbour in the fabric.
        (tor("{peerAddress: 10.0.1.1, peerASN: 65001}"), &facts, &["tor"]),
        // One end has none.
        (
            tor(
                "{peerAddress: 10.0.1.1, peerASN: 65001, nodeSelector: {matchExpressions: [{key: rack, operator: Exists}]}}",
            ),
            &facts,
            &["mesh:n2", "tor"],
        ),
        (
            tor("{peerAddress: 10.0.1.1, peerASN: 65001, nodeSelector: {matchLabels: {rack: r3}}}"),
            &facts,
            &["mesh:n2", "mesh:n3"],
        ),
        // A session between nodes serves that pair alone.
        (
            tor("{peerSelector: {matchLabels: {rack: r3}}}"),
            &facts,
            &["mesh:n2", "tor-n3"],
        ),
        // One that is down serves nobody.
        (
            tor("{peerAddress: 10.0.1.1, peerASN: 65001, state: Down}"),
            &facts,
            &["mesh:n2", "mesh:n3", "tor"],
        ),
    ] {
        let plan = planned(&manifests, facts);
        let names: Vec<&str> = plan.speaker.peers.keys().map(PeerName::as_str).collect();
        assert_eq!(names, want, "{manifests}");
        assert_eq!(told(&plan), Vec::<String>::new(), "{manifests}");
    }
}

#[test]
fn a_session_of_the_mesh_outlives_the_objects_word_until_the_facts_let_it_go() {
    let nodes = NODE.to_owned() + &node("n2", 12, "");
    let manifests = nodes.clone() + &object("BGPPeer", "tor", "{peerAddress: 10.0.1.1, peerASN: 65001}");
    let mut facts = on_link(&["10.0.1.0/24"]);
    let before = planned(&nodes, &facts);
    assert_eq!(before.outliving().count(), 0);
    facts.mesh.in_force = before.mesh();

    // Nothing of the session changes when the object comes.
    let during = planned(&manifests, &facts);
    let name = PeerName::from("mesh:n2");
    assert_eq!(during.speaker.peers[&name], before.speaker.peers[&name]);
    let outliving: Vec<_> = during.outliving().collect();
    assert_eq!(outliving, [(&name, "n2")]);

    // Nor when the node itself is no longer known, and the mark changes what is said and nothing else.
    facts.mesh.in_fabric = true;
    let alone = NODE.to_owned() + &object("BGPPeer", "tor", "{peerAddress: 10.0.1.1, peerASN: 65001}");
    let marked = planned(&alone, &facts);
    let (new, old) = (&marked.speaker.peers[&name], &before.speaker.peers[&name]);
    assert_eq!((&new.session, &new.import), (&old.session, &old.import));
    assert_eq!(
        marked.describe().peers["mesh:n2"].export[0],
        "peer set: next add large-communities [64512:1718378868:1]"
    );

    // An object that has the neighbour, and the end of the mesh, end it.
    for end in [
        object("BGPPeer", "named", "{peerAddress: 10.0.1.12, peerASN: 65001}"),
        object("BGPConfiguration", "default", "{nodeMesh: {mode: Disabled}}"),
    ] {
        assert_eq!(
            planned(&(manifests.clone() + &end), &facts).outliving().count(),
            0
        );
    }
    facts.mesh.in_force.clear();
    assert!(!planned(&manifests, &facts).speaker.peers.contains_key(&name));
}

#[test]
fn a_large_mesh_is_told_and_goes_on() {
    let mut manifests = NODE.to_owned();
    for number in 2..=102_u32 {
        let address = Ipv4Addr::from(0x0a00_0200 + number);
        manifests += &format!(
            "---\napiVersion: v1\nkind: Node\nmetadata: {{name: n{number}}}\nstatus: {{addresses: [{{type: InternalIP, address: {address}}}]}}\n"
        );
    }
    let plan = planned(&manifests, &on_link(&["10.0.0.0/16"]));
    assert_eq!(plan.speaker.peers.len(), 101);
    assert_eq!(
        told(&plan),
        [
            "[MeshTooLarge] BGPConfiguration/default: spec.nodeMesh.mode: node n1 has 101 neighbours in the mesh between nodes, more than the 100 that it is meant for; every node holds a session to every other one; give the nodes a neighbour in the fabric by a BGPPeer (discover: DefaultGateways), name route reflectors by spec.nodeMesh.routeReflectorSelector, or set spec.nodeMesh.mode: Disabled"
        ]
    );
}

#[test]
fn the_other_nodes_are_needed_when_something_is_made_from_them() {
    let cidrs = object(
        "BGPConfiguration",
        "default",
        "{podNetwork: {clusterCIDRs: [10.244.0.0/16]}}",
    );
    let tor = |extra: &str| {
        object(
            "BGPPeer",
            "tor",
            &format!("{{peerAddress: 10.0.1.1, peerASN: 65001{extra}}}"),
        )
    };
    let kubeadm = Facts {
        kubeadm_pod_subnets: vec!["10.244.0.0/16".parse().unwrap()],
        ..Facts::default()
    };
    let none = Facts::default();
    for (manifests, facts, want) in [
        // The cluster's pod CIDRs are what covers all of theirs.
        (tor(""), &none, true),
        (cidrs.clone() + &tor(""), &none, false),
        (tor(""), &kubeadm, false),
        // The mesh, as long as some node may be without a fabric.
        (cidrs.clone(), &none, true),
        (
            cidrs.clone() + &tor(", nodeSelector: {matchLabels: {rack: r1}}"),
            &none,
            true,
        ),
        (cidrs.clone() + &tor(", nodeSelector: {}"), &none, false),
        (cidrs.clone() + &tor(", state: Down"), &none, true),
        (
            cidrs.replace("{podNetwork", "{nodeMesh: {mode: Disabled}, podNetwork"),
            &none,
            false,
        ),
        (cidrs.clone() + &object("BGPPeer", "tors", DISCOVER), &none, false),
        // Their addresses.
        (
            cidrs.clone() + &tor(", installRoutes: [PodCIDRs, NodeAddresses]"),
            &none,
            true,
        ),
        (
            cidrs.clone() + &tor("") + &object("BGPPeer", "pair", "{peerSelector: {}}"),
            &none,
            true,
        ),
    ] {
        assert_eq!(needs_other_nodes(&synced(&manifests), facts), want, "{manifests}");
    }
}

#[test]
fn a_router_id_that_is_none_is_told_and_left_alone() {
    // Manifests are refused with one; an API server has the Node as it is.
    let mut state = ClusterState::default();
    let mut node = flatroute_api::Node::named("n1");
    node.metadata.annotations = Some(
        [("flatroute.io/router-id", "0.0.0.0"), ("flatroute.io/asn", "x")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
    );
    state.nodes.insert("n1".to_owned(), node);
    let mut listing = Listing::of(ClusterState::default(), ["nodes"]);
    listing.listed("nodes", |s| *s = state);
    let plan = plan("n1", &listing.synced().unwrap(), &Facts::default());
    assert_eq!(plan.local_asn, Asn(64_512));
    let fields: Vec<&str> = plan.problems.iter().map(|p| p.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "metadata.annotations[flatroute.io/asn]",
            "metadata.annotations[flatroute.io/router-id]"
        ]
    );
}

#[test]
fn who_comes_from_a_range_is_planned_as_a_template() {
    let manifests = NODE.to_owned()
        + &object(
            "BGPPeer",
            "racks",
            "{listenRange: 10.0.0.0/16, listenLimit: 7, peerASN: External, ttlSecurity: 1}",
        )
        + &object(
            "BGPPeer",
            "usual",
            "{listenRange: 'fd00::/16', peerASN: 65001, state: Down}",
        );
    let plan = planned(&manifests, &Facts::default());
    assert_eq!(
        neighbours(&plan),
        [
            "racks: 10.0.0.0/16, at most 7 at once 64512 -> External",
            "usual: fd00::/16, at most 100 at once 64512 -> 65001",
        ]
    );
    assert!(
        plan.speaker.peers.is_empty() && plan.problems.is_empty(),
        "{:?}",
        plan.problems
    );
    let racks = &plan.speaker.ranges[&PeerName::from("racks")];
    assert_eq!(
        racks.template.session.connect_mode,
        flatroute_bgp::session::ConnectMode::Passive
    );
    let of = |name: &str| plan.object_of(&PeerName::from(name));
    assert_eq!(of("racks-10.0.3.1").as_deref(), Some("racks"));
    assert_eq!(of("racks-fd00::1").as_deref(), Some("racks"));
    assert_eq!(of("racks-too"), None);
    let installs = plan.describe().install.join("\n");
    assert!(installs.contains("racks"), "{installs}");
}

#[test]
fn two_objects_with_one_range_are_told() {
    let range = "{listenRange: 10.0.0.0/16, peerASN: External}";
    let manifests = NODE.to_owned() + &object("BGPPeer", "a", range) + &object("BGPPeer", "b", range);
    let plan = planned(&manifests, &Facts::default());
    assert_eq!(plan.speaker.ranges.len(), 1);
    assert_eq!(
        told(&plan),
        [
            "[ConflictingPeer] BGPPeer/b: spec.listenRange: on node n1 BGPPeer/a has 10.0.0.0/16 too, and is the one in use; \
             remove one of the two, or make their nodeSelectors exclude each other"
        ]
    );
}
