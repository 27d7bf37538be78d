//! Neighbours that an interface finds: two agents on a link that nobody has numbered.

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use flatroute_api::control::{Peer, Peers, Status};

use super::agent::Agent;
use super::lab::{Namespace, until};

fn unnumbered(name: &str, interface: &str) -> String {
    format!(
        "---\napiVersion: flatroute.io/v1alpha1\nkind: BGPPeer\nmetadata: {{name: {name}}}\n\
         spec: {{interface: {interface}, peerASN: External}}\n"
    )
}

/// Joins two namespaces by a link without any address but the kernel's own link-local ones.
fn cable(one: &Namespace, other: &Namespace) {
    one.ip(&format!(
        "link add uplink type veth peer name rack netns {}",
        other.thread()
    ));
    one.ip("link set uplink up");
    other.ip("link set rack up");
}

fn pair() -> Option<(Agent, Agent)> {
    let (node, tor) = (Agent::new(1, None)?, Agent::new(2, Some(65002))?);
    cable(&node.namespace, &tor.namespace);
    node.write("peers.yaml", &unnumbered("tor", "uplink"));
    tor.write("peers.yaml", &unnumbered("node", "rack"));
    Some((node, tor))
}

/// The reasons of all problems, in order.
fn reasons(agent: &Agent) -> Vec<String> {
    let problems = agent.problems().expect("status");
    problems.iter().map(|p| p.reason.to_string()).collect()
}

/// The reason is a problem, and stands where neighbours are looked for, with what to do.
fn told(agent: &Agent, reason: &str) {
    until(reason, || {
        let found = reasons(agent);
        (found == [reason])
            .then_some(())
            .ok_or_else(|| format!("{found:?}"))
    });
    let problems = agent.problems().expect("status");
    let problem = problems.first().expect("it was just there");
    let why = format!("{reason}: {}; {}", problem.message, problem.remedy);
    assert_eq!(agent.peer("tor").expect("it is sought").reason, Some(why));
}

/// What is shown of a neighbour that nobody has found.
fn unfound(agent: &Agent, interface: &str) -> Peer {
    let peers = agent.ask::<Peers>("GET /v1/peers").expect("neighbours").peers;
    let [peer] = peers.as_slice() else {
        panic!("{peers:?}")
    };
    assert_eq!((peer.name.as_str(), peer.state.as_str()), ("tor", "Idle"));
    assert_eq!((peer.address, peer.interface.as_deref()), (None, Some(interface)));
    let status = agent.ask::<Status>("GET /v1/status").expect("status");
    assert_eq!((status.peers, status.established), (1, 0));
    peer.clone()
}

/// Both pod CIDRs of `far` go by the link-local address of `peer` on this interface, in the kernel.
fn goes_by_the_link(agent: &Agent, far: &Agent, peer: &Peer, interface: &str) {
    let [v4, v6] = far.pod_cidrs();
    agent.kernel_has(&far.pod_cidrs(), true);
    until("the kernel's next hops", || {
        let nexthops = agent.namespace.ip("nexthop show");
        for (family, prefix) in [("-4", &v4), ("-6", &v6)] {
            let route = agent.namespace.ip(&format!("{family} route show {prefix}"));
            let via = format!("{} dev {interface}", peer.address.expect("it was found"));
            if !route.contains(&via) && !nexthops.contains(&via) {
                return Err(format!("{route}\n{nexthops}"));
            }
        }
        Ok(())
    });
    let v4_route = agent.namespace.ip(&format!("-4 route show {v4}"));
    assert!(v4_route.contains("via inet6 fe80::"), "{v4_route}");
}

/// A datagram goes from one address to the other.
fn passes(one: &Namespace, from: &'static str, other: &Namespace, to: &'static str) {
    let at = |namespace: &Namespace, address: &str| {
        let address = (address.parse::<IpAddr>().expect("an address"), 4242);
        let socket = namespace.inside(move || UdpSocket::bind(address));
        socket.expect("the address is there")
    };
    let (sender, receiver) = (at(one, from), at(other, to));
    let patience = Duration::from_millis(200);
    receiver.set_read_timeout(Some(patience)).expect("set");
    until("a datagram", || {
        let target = (to.parse::<IpAddr>().expect("an address"), 4242);
        sender.send_to(b"?", target).map_err(|error| error.to_string())?;
        let mut octets = [0; 8];
        let got = receiver.recv_from(&mut octets);
        got.map(drop).map_err(|error| error.to_string())
    });
}

#[test]
fn two_agents_on_a_link_without_addresses_exchange_pod_cidrs_of_both_families() {
    let Some((mut node, mut tor)) = pair() else { return };
    node.start();
    // Nobody is there yet: seen at once, and a problem after a while.
    let why = unfound(&node, "uplink").reason.expect("a reason");
    assert!(why.starts_with("NoRouterAdvertisement: "), "{why}");
    told(&node, "NoRouterAdvertisement");
    tor.start();
    let peer = node.established("tor");
    assert_eq!(peer.interface.as_deref(), Some("uplink"));
    assert!(matches!(peer.address, Some(IpAddr::V6(a)) if a.is_unicast_link_local()));
    let families = peer.negotiated.as_ref().expect("negotiated").families.clone();
    assert_eq!(families, ["IPv4", "IPv6"]);
    let back = tor.established("node");
    goes_by_the_link(&node, &tor, &peer, "uplink");
    goes_by_the_link(&tor, &node, &back, "rack");
    assert_eq!(reasons(&node), Vec::<String>::new());
    // Packets, from a pod's address to a pod's address, with no address on the link at all.
    for (agent, [v4, v6]) in [(&node, node.pod_cidrs()), (&tor, tor.pod_cidrs())] {
        let (v4, v6) = (v4.replace("0/24", "7/32"), v6.replace("::/64", "::7/128"));
        agent.namespace.ip(&format!("addr add {v4} dev lo"));
        agent.namespace.ip(&format!("-6 addr add {v6} dev lo nodad"));
    }
    for (from, to) in [("10.244.1.7", "10.244.2.7"), ("fd00:244:1::7", "fd00:244:2::7")] {
        passes(&node.namespace, from, &tor.namespace, to);
    }
    // Nobody has become anybody's default router, and no address has come of it.
    for (agent, interface) in [(&node, "uplink"), (&tor, "rack")] {
        assert_eq!(agent.namespace.ip("-6 route show default"), "");
        let addresses = agent
            .namespace
            .ip(&format!("-o addr show dev {interface} scope global"));
        assert_eq!(addresses, "");
    }
}

/// A restart of either end, or of both at once, however it ends: the kernels' routes stay as they are, and so do the neighbours.
#[test]
fn a_restart_touches_no_route_and_needs_no_advertisement() {
    let Some((mut node, mut tor)) = pair() else { return };
    node.start();
    tor.start();
    node.established("tor");
    tor.established("node");
    node.kernel_has(&tor.pod_cidrs(), true);
    tor.kernel_has(&node.pod_cidrs(), true);
    let watched = [node.dir_file("routes.log"), tor.dir_file("routes.log")];
    let mut monitors = [node.monitor(&watched[0]), tor.monitor(&watched[1])];
    node.terminate();
    node.start();
    node.established("tor");
    settled(&node);
    tor.kill();
    tor.start();
    node.established("tor");
    settled(&tor);
    node.kill();
    tor.kill();
    node.start();
    tor.start();
    for (agent, peer) in [(&node, "tor"), (&tor, "node")] {
        agent.established(peer);
        settled(agent);
    }
    assert_eq!(reasons(&node), Vec::<String>::new());
    for (monitor, log) in monitors.iter_mut().zip(&watched) {
        monitor.kill().expect("it runs");
        monitor.wait().expect("it ends");
        let seen = std::fs::read_to_string(log).expect("a log");
        let touched: Vec<&str> = seen.lines().filter(|line| line.contains("244")).collect();
        assert_eq!(touched, Vec::<&str>::new());
    }
}

/// It has chosen its routes, and what nobody wants has been swept.
fn settled(agent: &Agent) {
    until("routes are chosen", || {
        let chosen = agent.events().iter().any(|event| event.kind == "RoutesSelected");
        chosen.then_some(()).ok_or_else(|| "not yet".to_owned())
    });
}

#[test]
fn what_keeps_an_interface_from_finding_anybody_is_told() {
    let Some((mut node, tor)) = pair() else { return };
    node.write("peers.yaml", &unnumbered("tor", "nowhere"));
    node.start();
    told(&node, "InterfaceNotFound");
    unfound(&node, "nowhere");
    let ready = node.ask::<Status>("GET /v1/status").expect("status");
    let waits = ready.ready_reason.expect("it waits");
    assert!(
        !ready.ready && waits.contains("tor is held down: InterfaceNotFound: "),
        "{waits}"
    );
    node.namespace.ip("link set uplink addrgenmode none");
    node.namespace.ip("link set uplink down");
    node.namespace.ip("link set uplink up");
    node.write("peers.yaml", &unnumbered("tor", "uplink"));
    told(&node, "NoLinkLocalAddress");
    node.namespace.ip("-6 addr add fe80::a/64 dev uplink nodad");
    told(&node, "NoRouterAdvertisement");
    // Who shall be down is not missed.
    let down = unnumbered("tor", "uplink").replace("External", "External, state: Down");
    node.write("peers.yaml", &down);
    until("no reason", || {
        let peer = node.peer("tor")?;
        peer.reason.map_or(Ok(()), Err)
    });
    unfound(&node, "uplink");
    drop(tor);
}

/// Raw sockets need a capability that the base does not give; all else goes on without.
#[test]
fn without_the_capability_the_reason_names_it() {
    let Some((mut node, mut tor)) = pair() else { return };
    let dropped = node.namespace.inside(|| {
        // Of the thread that the agent is started from.
        rustix::thread::remove_capability_from_bounding_set(rustix::thread::CapabilitySet::NET_RAW)
    });
    dropped.expect("it may be dropped");
    node.start();
    tor.start();
    told(&node, "NoRawSocket");
    let problem = node.problems().expect("status")[0].to_string();
    assert!(problem.contains("needs the capability NET_RAW"), "{problem}");
    // Named, the neighbour needs none.
    let address = tor.namespace.ip("-o -6 addr show dev rack scope link");
    let address = address
        .split_whitespace()
        .find_map(|word| word.strip_suffix("/64"));
    node.write(
        "peers.yaml",
        &unnumbered("tor", "uplink").replace(
            "interface: uplink",
            &format!("interface: uplink, peerAddress: '{}'", address.expect("one")),
        ),
    );
    told_nothing(&node);
}

fn told_nothing(agent: &Agent) {
    until("no problem", || {
        let found = reasons(agent);
        found.is_empty().then_some(()).ok_or_else(|| format!("{found:?}"))
    });
}

/// A link that goes and comes takes its addresses along; the neighbour stays who it is.
#[test]
fn a_link_that_bounces_keeps_its_neighbour() {
    let Some((mut node, mut tor)) = pair() else { return };
    node.start();
    tor.start();
    let before = node.established("tor");
    node.kernel_has(&tor.pod_cidrs(), true);
    node.namespace.ip("link set uplink down");
    node.kernel_has(&tor.pod_cidrs(), false);
    assert_eq!(node.peer("tor").expect("it stays").address, before.address);
    node.namespace.ip("link set uplink up");
    node.kernel_has(&tor.pod_cidrs(), true);
    let after = node.established("tor");
    assert_eq!((after.address, after.flaps), (before.address, before.flaps));
}
