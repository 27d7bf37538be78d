//! The rules for packets of pods, kept by a real agent in a real kernel, with real packets.

use std::io::ErrorKind;
use std::net::{IpAddr, UdpSocket};

use flatroute_api::control::{PodRules, Status};
use flatroute_nft::{HostPort, Kernel, Observed, Protocol, TABLE};

use super::agent::Agent;
use super::lab::{Namespace, join, until};

const KNOWN: &str = "---\napiVersion: flatroute.io/v1alpha1\nkind: BGPConfiguration\nmetadata: {name: default}\n\
                     spec: {podNetwork: {clusterCIDRs: [10.244.0.0/16, \"fd00:244::/32\"], masquerade: {nonMasqueradeCIDRs: []}}}\n";

fn observed(agent: &Agent) -> Observed {
    let observe = || Kernel::open().and_then(|mut kernel| kernel.observe(TABLE));
    agent.namespace.inside(observe).expect("nf_tables")
}

fn rules(agent: &Agent, what: &str, is_it: impl Fn(&PodRules) -> bool) -> PodRules {
    until(what, || {
        let status: Status = agent.ask("GET /v1/status")?;
        let rules = status.pod_rules.ok_or("nothing is said")?;
        if is_it(&rules) {
            Ok(rules)
        } else {
            Err(format!("{rules:?}"))
        }
    })
}

fn socket(there: &Namespace, address: &str, port: u16) -> UdpSocket {
    there.udp(address.parse().expect("an address"), port)
}

/// A packet's source as it arrives.
fn source(from: &Namespace, address: &str, to: &UdpSocket) -> IpAddr {
    let from = socket(from, address, 0);
    from.send_to(b"word", to.local_addr().expect("an address"))
        .expect("sent");
    let mut word = [0; 8];
    loop {
        match to.recv_from(&mut word) {
            Ok((_, source)) => return source.ip(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("no packet arrives: {error}"),
        }
    }
}

/// A pod's link, as the plugin makes it.
fn wire(node: &Namespace, pod: &Namespace) {
    node.ip("link add pod0 group 79 type veth peer name eth0");
    pod.take("eth0", node);
    pod.sysctl("net/ipv6/conf/eth0/accept_dad", "0");
    node.ip("link set pod0 up");
    node.ip("address add 169.254.1.1/32 dev pod0");
    node.ip("address add fe80::1/64 dev pod0 nodad");
    pod.ip("link set eth0 up");
    for address in ["10.244.1.5", "fd00:244:1::5"] {
        pod.address(address, "eth0");
        node.ip(&format!("route add {address} dev pod0"));
    }
    pod.ip("route add 169.254.1.1 dev eth0");
    pod.ip("route add default via 169.254.1.1 dev eth0 onlink");
    pod.ip("-6 route add default via fe80::1 dev eth0");
}

/// The agent's pods reach what is outside with the node's InternalIP and the cluster with their own, before, while and after
/// the agent is started again; when a mode says so, with their own everywhere.
#[test]
fn pods_leave_the_cluster_with_an_address_of_their_node() {
    let (Some(mut agent), Some(pod), Some(world)) = (Agent::new(1, None), Namespace::new(), Namespace::new())
    else {
        return;
    };
    for path in ["net/ipv4/conf/all/forwarding", "net/ipv6/conf/all/forwarding"] {
        agent.namespace.sysctl(path, "1");
    }
    agent.namespace.sysctl("net/ipv4/conf/all/rp_filter", "0");
    join(1, &agent.namespace, &world);
    for address in [
        "198.51.100.9/32",
        "2001:db8::9/128",
        "10.244.2.9/32",
        "fd00:244:2::9/128",
    ] {
        world.address(address, "lo");
    }
    agent.namespace.ip("route add default via 10.0.1.2");
    agent.namespace.ip("-6 route add default via fd00:0:1::2");
    wire(&agent.namespace, &pod);
    let leaves_as = |ipv4: &str, ipv6: &str| {
        for (own, outside, inside, want) in [
            ("10.244.1.5", "198.51.100.9", "10.244.2.9", ipv4),
            ("fd00:244:1::5", "2001:db8::9", "fd00:244:2::9", ipv6),
        ] {
            assert_eq!(
                source(&pod, own, &socket(&world, outside, 7000)).to_string(),
                want
            );
            assert_eq!(source(&pod, own, &socket(&world, inside, 7000)).to_string(), own);
        }
    };
    agent.write("known.yaml", KNOWN);
    agent.start();
    rules(&agent, "the rules are in force", |rules| rules.in_force);
    leaves_as("10.255.0.1", "fd00:255::1");
    let before = observed(&agent);
    // Kept without an agent, and found in order by the next one.
    assert!(agent.terminate().success());
    leaves_as("10.255.0.1", "fd00:255::1");
    agent.start();
    rules(&agent, "the rules are in force again", |rules| rules.in_force);
    assert_eq!(observed(&agent), before, "not even handles are new");
    assert!(
        !agent
            .events()
            .iter()
            .any(|event| event.kind.starts_with("PodRules"))
    );
    // In place.
    agent.write(
        "known.yaml",
        &KNOWN.replace("nonMasqueradeCIDRs: []", "mode: Disabled"),
    );
    until("no masquerade", || {
        let chains = observed(&agent).chains;
        if chains.contains_key("pods-out") {
            Err(format!("{chains:?}"))
        } else {
            Ok(())
        }
    });
    leaves_as("10.244.1.5", "fd00:244:1::5");
    assert_eq!(observed(&agent).chains["pods-in"], before.chains["pods-in"]);
}

/// What another program does to the rules is repaired, told and counted; what is missing to make them is said.
#[test]
fn another_program_s_changes_are_repaired_and_told() {
    let Some(mut agent) = Agent::new(1, None) else {
        return;
    };
    agent.write("known.yaml", KNOWN);
    agent.start();
    rules(&agent, "the rules are in force", |rules| rules.in_force);
    let before = observed(&agent);
    // With the same hands: a table that has other rules under the same names.
    let damage = || {
        let network = flatroute_nft::PodNetwork::default();
        Kernel::open().and_then(|mut kernel| kernel.apply(&network.table()))
    };
    for drift in 1..=2 {
        agent.namespace.inside(damage).expect("nf_tables");
        rules(&agent, "it is repaired", |rules| {
            rules.in_force && rules.drift == drift
        });
        assert_eq!(observed(&agent).sets, before.sets);
        assert_eq!(observed(&agent).chains.len(), 2);
    }
    let drift = agent
        .events()
        .into_iter()
        .find(|event| event.kind == "PodRulesDrift");
    let text = drift.expect("it is told").text;
    assert!(text.contains("make the set pods-ipv4"), "{text}");
}

/// A program that empties nf_tables, as a restart of the service `nftables` does: hostPorts of pods that run come back by themselves,
/// those of pods that have ended do not, and it is told.
#[test]
fn ports_of_running_pods_survive_a_flush() {
    const ONE: &str = "flatroute net c1 eth0";
    let Some(mut agent) = Agent::new(1, None) else {
        return;
    };
    let node = &agent.namespace;
    node.ip("link add fr1 group 79 type veth peer name eth0");
    node.inside(|| {
        let mut host = flatroute_netlink::Socket::open().expect("a socket");
        let link = host.link_by_name("fr1").expect("a look").expect("a link");
        let change = flatroute_netlink::LinkChange {
            alias: Some("flatroute net c1 eth0 10.244.1.5"),
            ..Default::default()
        };
        host.change_link(link.index, &change).expect("an alias");
    });
    let publish = |agent: &Agent, owner: &'static str, number: u16, to: &str| {
        let to = to.parse().expect("an address");
        let port = HostPort::new(Protocol::Udp, None, number, to).expect("a port");
        let add = move || Kernel::open()?.add_host_ports(owner, &[port]);
        agent.namespace.inside(add).expect("a port");
    };
    let owners = |agent: &Agent| {
        let read = || Kernel::open()?.host_ports();
        let all = agent.namespace.inside(read).expect("nf_tables").into_iter();
        all.map(|owned| owned.owner).collect::<Vec<String>>()
    };
    let flush = |agent: &Agent| {
        agent.namespace.inside(|| {
            // NFT_MSG_DELTABLE of every table.
            let every = flatroute_netlink::NetfilterMessage {
                kind: 10 << 8 | 2,
                flags: 0,
                port: 0,
                body: vec![0; 4],
            };
            let mut socket = flatroute_netlink::NetfilterSocket::open().expect("a socket");
            socket
                .batch(10, 0, &[every], |_| "flush".to_owned())
                .expect("flushed");
        });
    };
    // One from before the agent, one while it runs, one of a pod that is gone.
    publish(&agent, ONE, 8080, "10.244.1.5:80");
    agent.write("known.yaml", KNOWN);
    agent.start();
    rules(&agent, "the rules are in force", |rules| rules.in_force);
    publish(&agent, "flatroute net gone eth0", 9090, "10.244.1.6:80");
    for round in 1..=2 {
        flush(&agent);
        until("the port is back", || match owners(&agent) {
            owners if owners == [ONE, ONE] => Ok(()),
            other => Err(format!("{other:?}")),
        });
        rules(&agent, "it is told", |rules| {
            rules.in_force && rules.drift >= round
        });
    }
    let drift = agent
        .events()
        .into_iter()
        .filter(|event| event.kind == "PodRulesDrift");
    let texts: Vec<String> = drift.map(|event| event.text).collect();
    let told = |text: &String| {
        text.contains("hostPort 8080 udp of IPv4 to 10.244.1.5:80 (\"flatroute net c1 eth0\")")
    };
    assert!(texts.iter().any(told), "{texts:?}");
    // With the rules gone and the elements there, as `nft flush table` leaves it.
    agent.namespace.inside(|| {
        let mut nothing = flatroute_nft::host_ports::table();
        nothing.maps.clear();
        nothing.chains.clear();
        Kernel::open()
            .and_then(|mut kernel| kernel.apply(&nothing))
            .expect("applied");
    });
    until("the rules are back", || {
        let is_right = || Kernel::open()?.has_host_port_rules();
        match agent.namespace.inside(is_right) {
            Ok(true) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    assert_eq!(owners(&agent), [ONE, ONE]);
}

/// Gives a pod's link the alias, routes and neighbours that the plugin gives; its MAC is in the pod alone.
fn as_the_plugin(node: &Namespace, alias: &'static str) {
    for address in ["10.244.1.5", "fd00:244:1::5"] {
        node.ip(&format!("route del {address} dev pod0"));
        node.ip(&format!("route add {address} dev pod0 proto 80"));
        node.ip(&format!(
            "neighbour add {address} lladdr 02:00:00:00:00:05 dev pod0 nud permanent"
        ));
    }
    node.inside(move || {
        let mut host = flatroute_netlink::Socket::open().expect("a socket");
        let link = host.link_by_name("pod0").expect("a look").expect("a link");
        let change = flatroute_netlink::LinkChange {
            alias: Some(alias),
            ..Default::default()
        };
        host.change_link(link.index, &change).expect("an alias");
    });
}

/// What another program deletes of a pod's routes and neighbours comes back, is told, and becomes a problem when it is a habit;
/// nothing comes back for a pod whose link has gone.
#[test]
fn routes_to_pods_that_another_program_deletes_come_back() {
    let (Some(mut agent), Some(pod)) = (Agent::new(1, None), Namespace::new()) else {
        return;
    };
    wire(&agent.namespace, &pod);
    pod.ip("link set eth0 down");
    pod.ip("link set eth0 address 02:00:00:00:00:05");
    pod.ip("link set eth0 up");
    let node = &agent.namespace;
    as_the_plugin(node, "flatroute net c1 eth0 10.244.1.5 fd00:244:1::5");
    // One is missing before the agent comes.
    node.ip("-6 route del fd00:244:1::5 dev pod0");
    let stands = |agent: &Agent| {
        let routes = ["-4", "-6"].map(|family| agent.namespace.ip(&format!("{family} route show proto 80")));
        let neighbours = agent.namespace.ip("neighbour show dev pod0 nud permanent");
        for (all, what) in [
            (&routes[0], "10.244.1.5 dev pod0 scope link"),
            (&routes[1], "fd00:244:1::5 dev pod0 metric 1024"),
            (&neighbours, "10.244.1.5 lladdr 02:00:00:00:00:05"),
            (&neighbours, "fd00:244:1::5 lladdr 02:00:00:00:00:05"),
        ] {
            if !all.contains(what) {
                return Err(format!("{what} is not in {all}"));
            }
        }
        Ok(())
    };
    stands(&agent).expect_err("one is missing");
    agent.write("known.yaml", KNOWN);
    agent.start();
    until("what was missing is made", || stands(&agent));
    agent.namespace.ip("neighbour del 10.244.1.5 dev pod0");
    for _ in 0..4 {
        agent.namespace.ip("route flush proto 80");
        agent.namespace.ip("-6 route flush proto 80");
        stands(&agent).expect_err("they are gone");
        until("the routes are back", || stands(&agent));
    }
    let text = |agent: &Agent, kind: &str| {
        let found = agent.events().into_iter().filter(|event| event.kind == kind);
        found.map(|event| event.text).collect::<Vec<_>>()
    };
    let drift = text(&agent, "FIBDrift");
    let told =
        |text: &String| text.contains("10.244.1.5 over pod0") && text.contains("fd00:244:1::5 over pod0");
    assert!(drift.iter().any(told), "{drift:?}");
    until("a habit is a problem", || {
        let status: Status = agent.ask("GET /v1/status")?;
        let reasons = status.problems.iter().map(|problem| problem.reason.to_string());
        let reasons: Vec<String> = reasons.collect();
        match reasons.iter().any(|reason| reason == "RoutesContested") {
            true => Ok(()),
            false => Err(format!("{reasons:?}")),
        }
    });
    // Another program's route in the place of ours is left, and told.
    agent.namespace.ip("route replace 10.244.1.5 dev lo proto 99");
    agent.namespace.ip("-6 route flush proto 80");
    until("a route that is not ours is told", || {
        let told = text(&agent, "ForeignRoute");
        match told.iter().any(|text| text.contains("10.244.1.5 over pod0")) {
            true => Ok(()),
            false => Err(format!("{told:?}")),
        }
    });
    assert!(
        agent
            .namespace
            .ip("route show proto 99")
            .contains("10.244.1.5 dev lo")
    );
    agent.namespace.ip("route del 10.244.1.5 dev lo");
    until("ours is back", || stands(&agent));
    agent.namespace.ip("link del pod0");
    let drifts = text(&agent, "FIBDrift").len();
    // The next look has come and gone when this one's route is back.
    let Some(next) = Namespace::new() else { return };
    wire(&agent.namespace, &next);
    as_the_plugin(&agent.namespace, "flatroute net c2 eth0 10.244.1.5");
    agent.namespace.ip("route flush proto 80");
    until("the next pod's route is back", || {
        match agent.namespace.ip("-4 route show proto 80") {
            routes if routes.contains("10.244.1.5 dev pod0") => Ok(()),
            routes => Err(routes),
        }
    });
    until("it is told", || match text(&agent, "FIBDrift").len() {
        count if count > drifts => Ok(()),
        count => Err(count.to_string()),
    });
}

/// Where the cluster is not known nothing is masqueraded, and whoever asks for it is told what is missing.
#[test]
fn masquerade_without_a_known_cluster_is_a_problem() {
    let Some(mut agent) = Agent::new(1, None) else {
        return;
    };
    agent.write(
        "unknown.yaml",
        "apiVersion: flatroute.io/v1alpha1\nkind: BGPConfiguration\nmetadata: {name: default}\nspec: {podNetwork: {masquerade: {mode: Enabled}}}\n",
    );
    agent.start();
    rules(&agent, "the rules are in force", |rules| rules.in_force);
    let status: Status = agent.ask("GET /v1/status").expect("an answer");
    let problems: Vec<String> = status.problems.iter().map(ToString::to_string).collect();
    assert!(
        problems[0].contains("set spec.podNetwork.clusterCIDRs"),
        "{problems:?}"
    );
    assert_eq!(observed(&agent).chains.keys().collect::<Vec<_>>(), ["pods-in"]);
}
