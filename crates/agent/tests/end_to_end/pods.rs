//! The rules for packets of pods, kept by a real agent in a real kernel, with real packets.

use std::io::ErrorKind;
use std::net::{IpAddr, UdpSocket};

use flatroute_api::control::{PodRules, Status};
use flatroute_nft::{Kernel, Observed, TABLE};

use super::agent::Agent;
use super::lab::{Namespace, join, until};

pub(super) const KNOWN: &str = "---\napiVersion: flatroute.io/v1alpha1\nkind: BGPConfiguration\nmetadata: {name: default}\n\
                     spec: {podNetwork: {clusterCIDRs: [10.244.0.0/16, \"fd00:244::/32\"], masquerade: {nonMasqueradeCIDRs: []}}}\n";

fn observed(agent: &Agent) -> Observed {
    let observe = || Kernel::open().and_then(|mut kernel| kernel.observe(TABLE));
    agent.namespace.inside(observe).expect("nf_tables")
}

pub(super) fn rules(agent: &Agent, what: &str, is_it: impl Fn(&PodRules) -> bool) -> PodRules {
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
pub(super) fn wire(node: &Namespace, pod: &Namespace) {
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
