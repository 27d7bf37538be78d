//! Route reflectors: by an object, by a Node's annotation, and in the mesh.

use super::neighbours::{node, on_link, told};
use super::*;

/// Each neighbour and what it is to this node as a reflector.
fn clients(plan: &Plan) -> Vec<String> {
    let peers = plan.speaker.peers.iter();
    peers
        .map(|(name, config)| match config.reflection {
            None => name.to_string(),
            Some(r) if r.client => format!("{name} client of {}", r.cluster_id),
            Some(r) => format!("{name} beside {}", r.cluster_id),
        })
        .collect()
}

fn names(plan: &Plan) -> Vec<&str> {
    plan.speaker.peers.keys().map(PeerName::as_str).collect()
}

#[test]
fn an_object_makes_its_neighbour_a_client_and_the_node_a_reflector() {
    let peer = |name: &str, address: &str, rest: &str| {
        object("BGPPeer", name, &format!("{{peerAddress: {address}, {rest}}}"))
    };
    let manifests = NODE.to_owned()
        + &peer(
            "client",
            "10.0.1.1",
            "peerASN: Internal, routeReflectorClient: Enabled",
        )
        + &peer("other", "10.0.1.2", "peerASN: 64512")
        + &peer("tor", "10.0.1.3", "peerASN: 65001");
    let plan = planned(&manifests, &Facts::default());
    assert_eq!(
        clients(&plan),
        ["client client of 10.0.1.11", "other beside 10.0.1.11", "tor"]
    );
    assert_eq!(told(&plan), Vec::<String>::new());
    let described = plan.describe();
    let policy = &described.peers["client"].policy;
    assert!(policy.ends_with(", client of cluster 10.0.1.11"), "{policy}");
    // What neighbours of our AS say is reflected; what a ToR says is passed on to nobody who does not ask for it.
    let reflected = "built-in Reflected: accept sources [LearnedRoutes] peers [client other]";
    for (name, reflects) in [("client", true), ("other", true), ("tor", false)] {
        assert_eq!(
            described.peers[name].export.iter().any(|r| r == reflected),
            reflects,
            "{name}: {:?}",
            described.peers[name].export
        );
        assert_eq!(
            plan.speaker.peers[&PeerName::from(name)].relays,
            reflects,
            "{name}"
        );
    }
    // Without a client nobody reflects.
    let without = manifests.replace("routeReflectorClient: Enabled", "routeReflectorClient: Disabled");
    assert_eq!(
        clients(&planned(&without, &Facts::default())),
        ["client", "other", "tor"]
    );
    // The annotation names another cluster.
    let annotated = manifests.replace(
        "metadata: {name: n1, ",
        "metadata: {name: n1, annotations: {flatroute.io/cluster-id: 0.0.0.7}, ",
    );
    assert_eq!(
        clients(&planned(&annotated, &Facts::default())),
        ["client client of 0.0.0.7", "other beside 0.0.0.7", "tor"]
    );
}

#[test]
fn neighbours_of_a_range_can_be_clients() {
    let spec = "{listenRange: 10.0.0.0/16, peerASN: Internal, routeReflectorClient: Enabled}";
    let plan = planned(
        &(NODE.to_owned() + &object("BGPPeer", "nodes", spec)),
        &Facts::default(),
    );
    assert_eq!(told(&plan), Vec::<String>::new());
    let range = &plan.speaker.ranges[&PeerName::from("nodes")];
    let reflection = range.template.reflection.expect("a reflector");
    assert!(reflection.client && range.template.relays, "{reflection:?}");
    let rules: Vec<&str> = range
        .template
        .export
        .rules
        .iter()
        .map(|rule| &*rule.name)
        .collect();
    assert!(rules.contains(&"built-in Reflected"), "{rules:?}");
}

#[test]
fn a_neighbour_of_another_asn_is_no_client_and_that_is_told() {
    let spec = "{peerAddress: 10.0.1.1, peerASN: 65001, routeReflectorClient: Enabled}";
    let plan = planned(
        &(NODE.to_owned() + &object("BGPPeer", "tor", spec)),
        &Facts::default(),
    );
    assert_eq!(clients(&plan), ["tor"]);
    assert_eq!(
        told(&plan),
        [
            "[Invalid] BGPPeer/tor: spec.routeReflectorClient: the neighbour 10.0.1.1 is of another ASN than node n1, and cannot be its client; remove it, or correct peerASN or localASN"
        ]
    );
}

#[test]
fn annotated_nodes_reflect_for_the_nodes_that_they_are_paired_with() {
    let reflector = |name: &str, last: u8| {
        node(
            name,
            last,
            ", labels: {rr: 'true'}, annotations: {flatroute.io/cluster-id: 10.9.9.9}",
        )
    };
    let manifests = NODE.to_owned()
        + &reflector("r1", 21)
        + &reflector("r2", 22)
        + &node("n2", 12, "")
        + &node("n3", 13, ", annotations: {flatroute.io/asn: '65013'}")
        + &object(
            "BGPPeer",
            "rr",
            "{nodeSelector: {}, peerSelector: {matchLabels: {rr: 'true'}}}",
        );
    let state = synced(&manifests);
    let seen_from = |name: &str| clients(&plan(name, &state, &Facts::default()));
    // A client knows nothing of it.
    assert_eq!(seen_from("n1"), ["rr-r1", "rr-r2"]);
    assert_eq!(
        seen_from("r1"),
        [
            "rr-n1 client of 10.9.9.9",
            "rr-n2 client of 10.9.9.9",
            // Of another AS: an ordinary external neighbour.
            "rr-n3",
            "rr-r2 beside 10.9.9.9",
        ]
    );
    let plan = plan("r1", &state, &Facts::default());
    assert_eq!(told(&plan), Vec::<String>::new());
    assert_eq!(
        plan.describe().peers["rr-n1"].export,
        [
            "built-in PodCIDRs: accept sources [PodCIDRs]",
            "built-in Reflected: accept sources [LearnedRoutes] peers [rr-n1 rr-n2 rr-r2]",
            "default: reject"
        ]
    );
}

const BY_LABEL: &str = "{nodeMesh: {routeReflectorSelector: {matchLabels: {rr: 'true'}}}}";

#[test]
fn nodes_of_a_mesh_have_sessions_with_its_reflectors_only() {
    let nodes = NODE.to_owned()
        + &node("n2", 12, "")
        + &node("r1", 21, ", labels: {rr: 'true'}")
        + &node(
            "r2",
            22,
            ", labels: {rr: 'true'}, annotations: {flatroute.io/cluster-id: 0.0.0.2}",
        )
        + &node("other", 13, ", annotations: {flatroute.io/asn: '65013'}");
    let facts = on_link(&["10.0.1.0/24"]);
    let manifests = nodes.clone() + &object("BGPConfiguration", "default", BY_LABEL);
    let state = synced(&manifests);
    let seen_from = |name: &str| clients(&plan(name, &state, &facts));
    // A node of another ASN hears nothing by reflection, and so has its own sessions.
    assert_eq!(seen_from("n1"), ["mesh:other", "mesh:r1", "mesh:r2"]);
    assert_eq!(seen_from("other"), ["mesh:n1", "mesh:n2", "mesh:r1", "mesh:r2"]);
    assert_eq!(
        seen_from("r1"),
        [
            "mesh:n1 client of 10.0.1.21",
            "mesh:n2 client of 10.0.1.21",
            "mesh:other",
            "mesh:r2 beside 10.0.1.21",
        ]
    );
    assert_eq!(seen_from("r2")[0], "mesh:n1 client of 0.0.0.2");
    let reflector = plan("r1", &state, &facts);
    assert!(reflector.reflects_mesh() && !plan("n1", &state, &facts).reflects_mesh());
    // The next hops that are taken are those on the links, as in any mesh.
    let client = &reflector.speaker.peers[&PeerName::from("mesh:n1")];
    assert!(client.next_hops.is_some() && client.relays);

    // While nobody is labelled, the mesh is what it was.
    let nobody = nodes.replace("rr: 'true'", "rr: 'no'");
    let plan = planned(
        &(nobody + &object("BGPConfiguration", "default", BY_LABEL)),
        &facts,
    );
    assert_eq!(names(&plan), ["mesh:n2", "mesh:other", "mesh:r1", "mesh:r2"]);
    assert_eq!(
        told(&plan),
        [
            "[NoMatchingNodes] BGPConfiguration/default: spec.nodeMesh.routeReflectorSelector: it selects no Node, so every node has a session with every other one; label the Nodes that are meant (kubectl get nodes --show-labels), or correct the selector"
        ]
    );
}

#[test]
fn reflectors_stay_until_every_node_has_the_fabric() {
    let nodes =
        NODE.to_owned() + &node("n2", 12, ", labels: {rack: r2}") + &node("rr", 21, ", labels: {rr: 'true'}");
    let facts = on_link(&["10.0.1.0/24"]);
    let conf = object("BGPConfiguration", "default", BY_LABEL);
    let with_tor = |by: &str| {
        let spec = format!("{{peerAddress: 10.0.1.1, peerASN: 65001, nodeSelector: {by}}}");
        nodes.clone() + &conf + &object("BGPPeer", "tor", &spec)
    };
    // n1 and the reflector have a ToR, and n2 hears of n1 by the reflector only.
    let some = "{matchExpressions: [{key: rack, operator: NotIn, values: [r2]}]}";
    let state = synced(&with_tor(some));
    assert_eq!(names(&plan("n1", &state, &facts)), ["mesh:rr", "tor"]);
    assert_eq!(names(&plan("n2", &state, &facts)), ["mesh:rr"]);
    assert_eq!(names(&plan("rr", &state, &facts)), ["mesh:n1", "mesh:n2", "tor"]);
    let state = synced(&with_tor("{}"));
    for node in ["n1", "n2", "rr"] {
        assert_eq!(names(&plan(node, &state, &facts)), ["tor"], "{node}");
    }

    // A reflector says its mark of its own routes only: those of its clients have their own, or none.
    let mut marked = facts;
    marked.mesh.in_fabric = true;
    let set = |node: &str| {
        plan(node, &synced(&with_tor(some)), &marked).describe().peers["mesh:n2"].export[0].clone()
    };
    assert_eq!(
        set("rr"),
        "peer set: next sources [PodCIDRs NodeAddresses] add large-communities [64512:1718378868:1]"
    );
    let plan = plan("n1", &synced(&with_tor(some)), &marked);
    assert_eq!(
        plan.describe().peers["mesh:rr"].export[0],
        "peer set: next add large-communities [64512:1718378868:1]"
    );
}

/// The selector comes while the full mesh is in force: what it replaces outlives it, at both ends, until the facts let it go.
#[test]
fn sessions_that_reflectors_replace_are_not_ended_by_the_plan() {
    let nodes = NODE.to_owned() + &node("n2", 12, "") + &node("rr", 21, ", labels: {rr: 'true'}");
    let mut facts = on_link(&["10.0.1.0/24"]);
    facts.mesh.in_force = planned(&nodes, &facts).mesh();
    let conf = object("BGPConfiguration", "default", BY_LABEL);
    let during = planned(&(nodes.clone() + &conf), &facts);
    let outliving: Vec<&str> = during.outliving().map(|(_, node)| node).collect();
    assert_eq!(
        (names(&during), outliving),
        (vec!["mesh:n2", "mesh:rr"], vec!["n2"])
    );
    facts.mesh.in_force.remove("n2");
    assert_eq!(names(&planned(&(nodes + &conf), &facts)), ["mesh:rr"]);
}

#[test]
fn a_reflector_of_many_nodes_is_no_mistake() {
    let mut manifests =
        NODE.replace("rack: r1", "rr: 'true'") + &object("BGPConfiguration", "default", BY_LABEL);
    for number in 2..=102_u32 {
        let address = Ipv4Addr::from(0x0a00_0200 + number);
        manifests += &format!(
            "---\napiVersion: v1\nkind: Node\nmetadata: {{name: n{number}}}\nstatus: {{addresses: [{{type: InternalIP, address: {address}}}]}}\n"
        );
    }
    let plan = planned(&manifests, &on_link(&["10.0.0.0/16"]));
    assert_eq!((plan.speaker.peers.len(), told(&plan)), (101, Vec::new()));
}
