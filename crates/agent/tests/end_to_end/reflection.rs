//! Route reflection between agents on one link (RFC 4456): the reflector in the middle of the sessions, not of the traffic.

use std::path::Path;
use std::process::Child;

use flatroute_api::control::{Peers, Route, Routes};

use super::agent::Agent;
use super::lab::{Namespace, until};

/// A link that several namespaces are on: a bridge in the last one, which has its address on it.
pub(super) fn segment(ends: &[(u8, &Namespace)]) {
    let Some(((last, hub), others)) = ends.split_last() else {
        return;
    };
    hub.ip("link add lan type bridge");
    for (end, namespace) in others {
        hub.ip(&format!(
            "link add port{end} type veth peer name lan netns {}",
            namespace.thread()
        ));
        hub.ip(&format!("link set port{end} master lan up"));
    }
    for (end, namespace) in others.iter().chain([&(*last, *hub)]) {
        namespace.ip("link set lan addrgenmode none");
        namespace.ip(&format!("addr add 10.0.12.{end}/24 dev lan"));
        namespace.ip(&format!("-6 addr add fd00:0:12::{end}/64 dev lan nodad"));
        namespace.ip("link set lan up");
    }
}

fn object(kind: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: flatroute.io/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    )
}

/// A node as all of them know it.
fn known(agent: &Agent, extra: &str) -> String {
    let ([v4, v6], number) = (agent.pod_cidrs(), agent.number);
    format!(
        "---\napiVersion: v1\nkind: Node\nmetadata: {{name: n{number}{extra}}}\nspec: {{podCIDRs: [\"{v4}\", \"{v6}\"]}}\n\
         status: {{addresses: [{{type: InternalIP, address: 10.0.12.{number}}}, {{type: InternalIP, address: \"fd00:0:12::{number}\"}}]}}\n"
    )
}

fn neighbours(agent: &Agent, wanted: &[&str]) {
    until(&format!("n{} has {wanted:?}", agent.number), || {
        let peers: Peers = agent.ask("GET /v1/peers")?;
        let names: Vec<String> = peers.peers.into_iter().map(|peer| peer.name).collect();
        (names == wanted)
            .then_some(())
            .ok_or_else(|| format!("{names:?}"))
    });
}

/// Waits until the pods of another node are reached at that node itself.
fn leads_to(agent: &Agent, other: &Agent) {
    let number = other.number;
    let wanted = [
        format!("10.244.{number}.0/24 via 10.0.12.{number} "),
        format!("fd00:244:{number}::/64 via fd00:0:12::{number} "),
    ];
    until(&format!("n{} has {wanted:?}", agent.number), || {
        // Two spaces where `ip` shows the id of a nexthop object first.
        let shown = agent.kernel();
        let ways: String = shown
            .lines()
            .map(|line| {
                let words: Vec<&str> = line.split(' ').collect();
                match words.as_slice() {
                    [prefix, "nhid", _, rest @ ..] => format!("{prefix} {}\n", rest.join(" ")),
                    other => other.join(" ") + "\n",
                }
            })
            .collect();
        wanted
            .iter()
            .all(|way| ways.contains(way))
            .then_some(())
            .ok_or(shown)
    });
}

/// What `ip monitor` saw, up to a route of our own making.
fn heard(agent: &Agent, monitor: &mut Child, watched: &Path) -> String {
    agent.namespace.ip("route add 192.0.2.0/24 dev lo");
    let seen = until("the monitor is through", || {
        let seen = std::fs::read_to_string(watched).map_err(|error| error.to_string())?;
        if seen.contains("192.0.2.0/24") {
            Ok(seen)
        } else {
            Err(seen)
        }
    });
    monitor.kill().expect("it runs");
    monitor.wait().expect("it ends");
    seen
}

/// The route in use to the pods of node 2.
fn route_of_two(agent: &Agent) -> Route {
    let routes: Routes = agent
        .ask("GET /v1/routes?view=best&prefix=10.244.2.0/24")
        .expect("routes");
    routes.routes.into_iter().next().expect("a route")
}

fn problems(agent: &Agent) -> usize {
    agent.problems().expect("status").len()
}

/// Three nodes on a link in a full mesh; then one is named as the reflector of the mesh, and no route goes; then an object and the
/// annotation take its place.
#[test]
fn a_mesh_becomes_a_star_around_its_reflector_and_loses_no_route() {
    let (Some(mut one), Some(mut two), Some(mut hub)) =
        (Agent::new(1, None), Agent::new(2, None), Agent::new(3, None))
    else {
        return;
    };
    segment(&[(1, &one.namespace), (2, &two.namespace), (3, &hub.namespace)]);
    let nodes = known(&one, "") + &known(&two, "") + &known(&hub, ", labels: {rr: 'true'}");
    for agent in [&mut one, &mut two, &mut hub] {
        agent.write("node.yaml", &nodes);
        agent.start();
    }
    one.established("mesh:n2");
    leads_to(&one, &two);
    leads_to(&one, &hub);
    let watched = one.dir_file("monitor.log");
    let mut monitor = one.monitor(&watched);

    let star = object(
        "BGPConfiguration",
        "default",
        "{nodeMesh: {routeReflectorSelector: {matchLabels: {rr: 'true'}}}}",
    );
    for agent in [&hub, &one, &two] {
        agent.write("configuration.yaml", &star);
    }
    neighbours(&one, &["mesh:n3"]);
    neighbours(&two, &["mesh:n3"]);
    neighbours(&hub, &["mesh:n1", "mesh:n2"]);
    let route = route_of_two(&one);
    assert_eq!(
        (route.peer.as_deref(), route.originator_id.as_deref()),
        (Some("mesh:n3"), Some("10.0.12.2"))
    );
    assert_eq!(route.cluster_list, ["10.0.12.3"]);
    leads_to(&one, &two);
    leads_to(&two, &one);
    assert_eq!((problems(&one), problems(&hub)), (0, 0));

    let seen = heard(&one, &mut monitor, &watched);
    for prefix in two.pod_cidrs() {
        assert!(!seen.contains(&format!("Deleted {prefix}")), "{seen}");
    }

    // The same star by an object and an annotation: other sessions, which begin anew.
    let annotated = nodes.replace(
        "labels: {rr: 'true'}",
        "labels: {rr: 'true'}, annotations: {flatroute.io/cluster-id: 0.0.0.9}",
    );
    let pairs = object(
        "BGPPeer",
        "rr",
        "{nodeSelector: {}, peerSelector: {matchLabels: {rr: 'true'}}}",
    );
    for agent in [&hub, &one, &two] {
        agent.write("node.yaml", &annotated);
        agent.write("peers.yaml", &pairs);
    }
    one.established("rr-n3");
    two.established("rr-n3");
    neighbours(&hub, &["rr-n1", "rr-n2"]);
    until("the other cluster", || {
        let routes: Routes = one.ask("GET /v1/routes?view=best&prefix=10.244.2.0/24")?;
        let lists: Vec<_> = routes.routes.iter().map(|r| r.cluster_list.clone()).collect();
        (lists == [vec!["0.0.0.9".to_owned()]])
            .then_some(())
            .ok_or_else(|| format!("{lists:?}"))
    });
    leads_to(&one, &two);
}
