//! What another program takes from pods that run, and the agent puts back: hostPorts, routes, neighbours.

use flatroute_api::control::Status;
use flatroute_netlink::{LinkChange, NetfilterMessage, NetfilterSocket, Socket};
use flatroute_nft::{HostPort, Kernel, Protocol, Result};

use super::agent::Agent;
use super::lab::{Namespace, until};
use super::pods::{KNOWN, rules, wire};

const ONE: &str = "flatroute net c1 eth0";
/// NFT_MSG_DELTABLE of the subsystem of nf_tables.
const DELETE_TABLE: u16 = 10 << 8 | 2;

/// Gives a link an alias as the plugin does it.
fn alias(node: &Namespace, link: &'static str, alias: &'static str) {
    node.inside(move || {
        let mut host = Socket::open().expect("a socket");
        let link = host.link_by_name(link).expect("a look").expect("a link");
        let change = LinkChange {
            alias: Some(alias),
            ..LinkChange::default()
        };
        host.change_link(link.index, &change).expect("an alias");
    });
}

/// What `nft flush ruleset` sends: every table goes.
fn flush(node: &Namespace) {
    node.inside(|| {
        let every = NetfilterMessage {
            kind: DELETE_TABLE,
            flags: 0,
            port: 0,
            body: vec![0; 4],
        };
        let mut socket = NetfilterSocket::open().expect("a socket");
        let flushed = socket.batch(10, 0, &[every], |_| "flush".to_owned());
        flushed.expect("flushed");
    });
}

/// As the plugin does it.
fn publish(node: &Namespace, owner: &'static str, number: u16, to: &str) {
    let to = to.parse().expect("an address");
    let port = HostPort::new(Protocol::Udp, None, number, to).expect("a port");
    let add = move || Kernel::open()?.add_host_ports(owner, &[port]);
    node.inside(add).expect("a port");
}

fn owners(node: &Namespace) -> Vec<String> {
    let read = || Kernel::open()?.host_ports();
    let all = node.inside(read).expect("nf_tables").into_iter();
    all.map(|owned| owned.owner).collect()
}

/// The texts of a kind of events.
fn told(agent: &Agent, kind: &str) -> Vec<String> {
    let found = agent.events().into_iter().filter(|event| event.kind == kind);
    found.map(|event| event.text).collect()
}

/// A program that empties nf_tables, as a restart of the service `nftables` does: hostPorts of pods that run come back by themselves,
/// those of pods that have ended do not, and it is told.
#[test]
fn ports_of_running_pods_survive_a_flush() {
    let Some(mut agent) = Agent::new(1, None) else {
        return;
    };
    agent
        .namespace
        .ip("link add fr1 group 79 type veth peer name eth0");
    alias(&agent.namespace, "fr1", "flatroute net c1 eth0 10.244.1.5");
    // One from before the agent, one of a pod that is gone.
    publish(&agent.namespace, ONE, 8080, "10.244.1.5:80");
    agent.write("known.yaml", KNOWN);
    agent.start();
    rules(&agent, "the rules are in force", |rules| rules.in_force);
    publish(&agent.namespace, "flatroute net gone eth0", 9090, "10.244.1.6:80");
    for round in 1..=2 {
        flush(&agent.namespace);
        until("the port is back", || match owners(&agent.namespace) {
            owners if owners == [ONE, ONE] => Ok(()),
            other => Err(format!("{other:?}")),
        });
        rules(&agent, "it is told", |rules| {
            rules.in_force && rules.drift >= round
        });
    }
    let texts = told(&agent, "PodRulesDrift");
    let port = "hostPort 8080 udp of IPv4 to 10.244.1.5:80 (\"flatroute net c1 eth0\")";
    assert!(texts.iter().any(|text| text.contains(port)), "{texts:?}");
    // With the rules gone and the elements there.
    agent.namespace.inside(|| {
        let mut nothing = flatroute_nft::host_ports::table();
        nothing.chains.clear();
        let flushed = Kernel::open().and_then(|mut kernel| kernel.apply(&nothing));
        flushed.expect("flushed");
    });
    until("the rules are back", || {
        let is_right = || -> Result<bool> { Kernel::open()?.has_host_port_rules() };
        match agent.namespace.inside(is_right) {
            Ok(true) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    assert_eq!(owners(&agent.namespace), [ONE, ONE]);
}

/// A pod as the plugin makes it; its MAC is in the pod alone.
fn pod(node: &Namespace, says: &'static str) -> Option<Namespace> {
    let pod = Namespace::new()?;
    wire(node, &pod);
    pod.ip("link set eth0 down");
    pod.ip("link set eth0 address 02:00:00:00:00:05");
    pod.ip("link set eth0 up");
    for address in ["10.244.1.5", "fd00:244:1::5"] {
        node.ip(&format!("route del {address} dev pod0"));
        node.ip(&format!("route add {address} dev pod0 proto 80"));
        node.ip(&format!(
            "neighbour add {address} lladdr 02:00:00:00:00:05 dev pod0 nud permanent"
        ));
    }
    alias(node, "pod0", says);
    Some(pod)
}

/// Whether all of it is there.
fn stands(node: &Namespace) -> std::result::Result<(), String> {
    let [ipv4, ipv6] = ["-4", "-6"].map(|family| node.ip(&format!("{family} route show proto 80")));
    let neighbours = node.ip("neighbour show dev pod0 nud permanent");
    for (all, what) in [
        (&ipv4, "10.244.1.5 dev pod0 scope link"),
        (&ipv6, "fd00:244:1::5 dev pod0 metric 1024"),
        (&neighbours, "10.244.1.5 lladdr 02:00:00:00:00:05"),
        (&neighbours, "fd00:244:1::5 lladdr 02:00:00:00:00:05"),
    ] {
        if !all.contains(what) {
            return Err(format!("{what} is not in {all}"));
        }
    }
    Ok(())
}

fn delete_routes(node: &Namespace) {
    node.ip("-4 route flush proto 80");
    node.ip("-6 route flush proto 80");
}

/// What another program deletes of a pod's routes and neighbours comes back, is told, and becomes a problem when it is a habit.
#[test]
fn routes_to_pods_that_another_program_deletes_come_back() {
    let Some(mut agent) = Agent::new(1, None) else {
        return;
    };
    let both = "flatroute net c1 eth0 10.244.1.5 fd00:244:1::5";
    let Some(_pod) = pod(&agent.namespace, both) else {
        return;
    };
    // One is missing before the agent comes.
    agent.namespace.ip("-6 route del fd00:244:1::5 dev pod0");
    stands(&agent.namespace).expect_err("one is missing");
    agent.write("known.yaml", KNOWN);
    agent.start();
    until("what was missing is made", || stands(&agent.namespace));
    agent.namespace.ip("neighbour del 10.244.1.5 dev pod0");
    for _ in 0..4 {
        delete_routes(&agent.namespace);
        until("the routes are back", || stands(&agent.namespace));
    }
    let drift = told(&agent, "FIBDrift");
    let is_told =
        |text: &String| text.contains("10.244.1.5 over pod0") && text.contains("fd00:244:1::5 over pod0");
    assert!(drift.iter().any(is_told), "{drift:?}");
    until("a habit is a problem", || {
        let status: Status = agent.ask("GET /v1/status")?;
        let reasons = status.problems.iter().map(|problem| problem.reason.to_string());
        let reasons: Vec<String> = reasons.collect();
        if reasons.iter().any(|reason| reason == "RoutesContested") {
            Ok(())
        } else {
            Err(format!("{reasons:?}"))
        }
    });
}

/// Another program's route in the place of a pod's is left and told; and nothing comes back for a pod whose link has gone.
#[test]
fn routes_of_others_are_left_and_pods_that_ended_too() {
    let Some(mut agent) = Agent::new(1, None) else {
        return;
    };
    let Some(_one) = pod(&agent.namespace, "flatroute net c1 eth0 10.244.1.5 fd00:244:1::5") else {
        return;
    };
    agent.write("known.yaml", KNOWN);
    agent.start();
    rules(&agent, "it runs", |rules| rules.in_force);
    agent.namespace.ip("route replace 10.244.1.5 dev lo proto 99");
    agent.namespace.ip("-6 route flush proto 80");
    until("a route that is not ours is told", || {
        let told = told(&agent, "ForeignRoute");
        if told.iter().any(|text| text.contains("10.244.1.5 over pod0")) {
            Ok(())
        } else {
            Err(format!("{told:?}"))
        }
    });
    assert!(
        agent
            .namespace
            .ip("route show proto 99")
            .contains("10.244.1.5 dev lo")
    );
    agent.namespace.ip("route del 10.244.1.5 dev lo");
    until("ours is back", || stands(&agent.namespace));
    // The pod ends; the next one has the address of one family.
    agent.namespace.ip("link del pod0");
    let drifts = told(&agent, "FIBDrift").len();
    let Some(_next) = pod(&agent.namespace, "flatroute net c2 eth0 10.244.1.5") else {
        return;
    };
    delete_routes(&agent.namespace);
    until("the next pod's route is back", || {
        match agent.namespace.ip("-4 route show proto 80") {
            routes if routes.contains("10.244.1.5 dev pod0") => Ok(()),
            routes => Err(routes),
        }
    });
    assert_eq!(
        agent.namespace.ip("-6 route show proto 80"),
        "",
        "of the one that ended"
    );
    until("it is told", || match told(&agent, "FIBDrift").len() {
        count if count > drifts => Ok(()),
        count => Err(count.to_string()),
    });
}
