//! Neighbours that no object names by address: default gateways, other nodes, the mesh.

use flatroute_api::control::{Config, Peers};

use super::agent::Agent;
use super::lab::{join, until};

/// An object of ours.
fn object(kind: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: flatroute.io/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    )
}

/// Waits until these are the neighbours.
fn neighbours(agent: &Agent, wanted: &[&str]) {
    until(
        &format!("n{} has the neighbours {wanted:?}", agent.number),
        || {
            let peers: Peers = agent.ask("GET /v1/peers")?;
            let names: Vec<String> = peers.peers.into_iter().map(|peer| peer.name).collect();
            (names == wanted)
                .then_some(())
                .ok_or_else(|| format!("{names:?}"))
        },
    );
}

fn reasons(agent: &Agent) -> Vec<String> {
    let problems = agent.problems().expect("status");
    problems
        .into_iter()
        .map(|problem| problem.reason.to_string())
        .collect()
}

/// The whole configuration of a node with two ToRs: four lines.
const FOUR_LINES: &str = "apiVersion: flatroute.io/v1alpha1
kind: BGPPeer
metadata: {name: tors}
spec: {discover: DefaultGateways, peerASN: External}
";

/// A ToR that passes on what it learns, with a listener for node 1 and a neighbour behind it.
fn tor(agent: &Agent, node: &str, behind: Option<&str>) {
    let transit = "advertise: [LearnedRoutes, PodCIDRs], installRoutes: [All]";
    let mut text = object(
        "BGPPeer",
        "node",
        &format!("{{peerAddress: {node}, peerASN: 64512, connectMode: Passive, {transit}}}"),
    );
    if let Some(behind) = behind {
        text += &object(
            "BGPPeer",
            "behind",
            &format!("{{peerAddress: {behind}, peerASN: 65004, {transit}}}"),
        );
    }
    agent.write("peers.yaml", &text);
}

#[test]
fn four_lines_find_both_tors_by_the_default_routes() {
    let (Some(mut node), Some(mut one), Some(mut two), Some(mut far)) = (
        Agent::new(1, None),
        Agent::new(2, Some(65002)),
        Agent::new(3, Some(65003)),
        Agent::new(4, Some(65004)),
    ) else {
        return;
    };
    // The far node has a link to each ToR as the near one has.
    join(12, &node.namespace, &one.namespace);
    join(13, &node.namespace, &two.namespace);
    join(42, &far.namespace, &one.namespace);
    join(43, &far.namespace, &two.namespace);
    tor(&one, "10.0.12.1", Some("10.0.42.1"));
    tor(&two, "10.0.13.1", Some("10.0.43.1"));
    let from_far = |name: &str, address: &str, asn| {
        object(
            "BGPPeer",
            name,
            &format!("{{peerAddress: {address}, peerASN: {asn}}}"),
        )
    };
    far.write(
        "peers.yaml",
        &(from_far("one", "10.0.42.2", 65002) + &from_far("two", "10.0.43.2", 65003)),
    );
    node.namespace.ip("route add default via 10.0.12.2 proto static");
    node.write("peers.yaml", FOUR_LINES);
    for agent in [&mut one, &mut two, &mut far, &mut node] {
        agent.start();
    }
    node.established("tors-10.0.12.2");

    // The second route comes later; the first session does not notice.
    node.namespace
        .ip("route append default via 10.0.13.2 proto dhcp metric 100");
    node.established("tors-10.0.13.2");
    neighbours(&node, &["tors-10.0.12.2", "tors-10.0.13.2"]);
    node.kernel_has(&far.pod_cidrs(), true);
    until("both next hops", || {
        let shown = node.namespace.ip("route show 10.244.4.0/24") + &node.namespace.ip("nexthop show");
        let both = ["10.0.12.2", "10.0.13.2"]
            .iter()
            .all(|via| shown.contains(&format!("via {via} ")));
        both.then_some(()).ok_or(shown)
    });
    far.kernel_has(&node.pod_cidrs(), true);
    assert_eq!(node.peer("tors-10.0.12.2").expect("one").flaps, 0);
    assert_eq!(reasons(&node), Vec::<String>::new());

    // A default route of our own is no reason for a neighbour, and one that went stays one for a while.
    node.namespace
        .ip("route add default via 10.0.12.7 proto 79 metric 7");
    node.namespace.ip("route del default via 10.0.12.2");
    node.namespace.ip("route add default via 10.0.13.9 metric 9");
    neighbours(&node, &["tors-10.0.12.2", "tors-10.0.13.2", "tors-10.0.13.9"]);
    assert_eq!(node.peer("tors-10.0.12.2").expect("one").flaps, 0);

    // An object that names one of them takes it over, and nobody complains.
    let named = object("BGPPeer", "special", "{peerAddress: 10.0.13.2, peerASN: 65003}");
    node.write("special.yaml", &named);
    neighbours(&node, &["special", "tors-10.0.12.2", "tors-10.0.13.9"]);
    node.established("special");
    assert_eq!(reasons(&node), Vec::<String>::new());
}

#[test]
fn a_link_local_gateway_is_a_neighbour_on_its_interface() {
    let (Some(mut node), Some(mut tor)) = (Agent::new(1, None), Agent::new(2, Some(65002))) else {
        return;
    };
    join(12, &node.namespace, &tor.namespace);
    tor.write(
        "peers.yaml",
        &object(
            "BGPPeer",
            "node",
            "{peerAddress: 'fe80::1', interface: link12, peerASN: External}",
        ),
    );
    node.write("peers.yaml", FOUR_LINES);
    tor.start();
    node.start();
    until("nothing is found, and that is said", || {
        (reasons(&node) == ["NoDefaultGateway"])
            .then_some(())
            .ok_or_else(|| format!("{:?}", reasons(&node)))
    });
    node.namespace
        .ip("-6 route add default via fe80::2 dev link12 proto ra");
    neighbours(&node, &["tors-fe80::2%link12"]);
    let peer = node.established("tors-fe80::2%25link12");
    assert_eq!(peer.interface.as_deref(), Some("link12"));
    node.kernel_has(&tor.pod_cidrs(), true);
    assert_eq!(reasons(&node), Vec::<String>::new());
}

/// Node `nNUMBER` as the others know it, at this end of link 12.
fn known(agent: &Agent, end: u8, extra: &str) -> String {
    let [v4, v6] = agent.pod_cidrs();
    format!(
        "---\napiVersion: v1\nkind: Node\nmetadata: {{name: n{}{extra}}}\nspec: {{podCIDRs: [\"{v4}\", \"{v6}\"]}}\n\
         status: {{addresses: [{{type: InternalIP, address: 10.0.12.{end}}}, {{type: InternalIP, address: \"fd00:0:12::{end}\"}}]}}\n",
        agent.number
    )
}

#[test]
fn nodes_on_one_link_talk_without_any_object() {
    let (Some(mut one), Some(mut two)) = (Agent::new(1, None), Agent::new(2, None)) else {
        return;
    };
    join(12, &one.namespace, &two.namespace);
    let nodes = known(&one, 1, "") + &known(&two, 2, ", annotations: {flatroute.io/asn: '65077'}");
    for agent in [&mut one, &mut two] {
        agent.write("node.yaml", &nodes);
        agent.start();
    }
    let peer = one.established("mesh:n2");
    assert_eq!(
        (
            peer.asn,
            peer.address.expect("it is discovered").to_string().as_str()
        ),
        (Some(65077), "10.0.12.2")
    );
    two.established("mesh:n1");
    one.kernel_has(&two.pod_cidrs(), true);
    two.kernel_has(&one.pod_cidrs(), true);
    let config: Config = one.ask("GET /v1/config").expect("config");
    let policy = &config.peers["mesh:n2"].policy;
    assert!(policy.contains("ttl security 1"), "{policy}");
    assert_eq!(reasons(&one), Vec::<String>::new());

    // An object that asks for the same session takes its place at both ends.
    let pair = object("BGPPeer", "nodes", "{peerSelector: {}}");
    one.write("pair.yaml", &pair);
    two.write("pair.yaml", &pair);
    one.established("nodes-n2");
    neighbours(&one, &["nodes-n2"]);
    neighbours(&two, &["nodes-n1"]);
    one.kernel_has(&two.pod_cidrs(), true);
}

#[test]
fn the_first_object_takes_no_route_away() {
    let (Some(mut one), Some(mut two), Some(mut tor)) = (
        Agent::new(1, None),
        Agent::new(2, None),
        Agent::new(3, Some(65003)),
    ) else {
        return;
    };
    join(12, &one.namespace, &two.namespace);
    join(13, &one.namespace, &tor.namespace);
    join(23, &two.namespace, &tor.namespace);
    let transit = "peerASN: 64512, connectMode: Passive, advertise: [LearnedRoutes], installRoutes: [All]";
    let to = |name: &str, address: &str| {
        object("BGPPeer", name, &format!("{{peerAddress: {address}, {transit}}}"))
    };
    tor.write("peers.yaml", &(to("one", "10.0.13.1") + &to("two", "10.0.23.1")));
    tor.start();
    let nodes = known(&one, 1, "") + &known(&two, 2, "");
    for agent in [&mut one, &mut two] {
        agent.write("node.yaml", &nodes);
        agent.start();
    }
    one.established("mesh:n2");
    one.kernel_has(&two.pod_cidrs(), true);
    two.kernel_has(&one.pod_cidrs(), true);
    let watched = one.dir_file("monitor.log");
    let mut monitor = one.monitor(&watched);

    // For each of the two the ToR is another address; both objects select both nodes, and one of each finds nobody there.
    let objects = object("BGPPeer", "tor-one", "{peerAddress: 10.0.13.2, peerASN: 65003}")
        + &object("BGPPeer", "tor-two", "{peerAddress: 10.0.23.2, peerASN: 65003}");
    one.write("peers.yaml", &objects);
    one.established("tor-one");
    // The other end knows nothing yet: the mesh goes on.
    assert_eq!(one.peer("mesh:n2").expect("the mesh").state, "Established");
    two.write("peers.yaml", &objects);
    two.established("tor-two");
    neighbours(&one, &["tor-one", "tor-two"]);
    neighbours(&two, &["tor-one", "tor-two"]);
    until("the routes lead through the ToR", || {
        let shown = one.kernel();
        let via = ["10.0.13.2", "fd00:0:13::2"]
            .iter()
            .all(|via| shown.contains(&format!("via {via} ")));
        via.then_some(()).ok_or(shown)
    });
    // The monitor is heard up to a route of our own making.
    one.namespace.ip("route add 192.0.2.0/24 dev lo");
    let seen = until("the monitor is through", || {
        let seen = std::fs::read_to_string(&watched).map_err(|error| error.to_string())?;
        if seen.contains("192.0.2.0/24") {
            Ok(seen)
        } else {
            Err(seen)
        }
    });
    monitor.kill().expect("it runs");
    monitor.wait().expect("it ends");
    for prefix in two.pod_cidrs() {
        let deleted = format!("Deleted {prefix}");
        assert!(!seen.contains(&deleted), "{seen}");
        assert!(
            seen.contains(&prefix),
            "nothing was seen, so nothing is proved: {seen}"
        );
    }
}
