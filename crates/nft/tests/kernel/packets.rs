use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use flatroute_nft::PodNetwork;
use socket2::{Domain, Protocol, Socket, Type};

use super::lab::{INSIDE, LISTED, Lab, NODE, OTHER, OUTSIDE, POD, heard, received, send, socket, wanted};

/// Pods reach the world with the node's address, pods of other nodes and what is listed with their own.
#[test]
fn only_what_leaves_the_cluster_is_masqueraded() {
    let Some(lab) = Lab::new() else { return };
    let mut with_address = wanted();
    let masquerade = with_address.masquerade.as_mut().unwrap();
    (masquerade.source_ipv4, masquerade.source_ipv6) = (
        Some("203.0.113.9".parse().unwrap()),
        Some("2001:db8:9::9".parse().unwrap()),
    );
    let chosen = ["203.0.113.9", "2001:db8:9::9"];
    for address in chosen {
        lab.node.address(address, "lo");
        lab.world.ip(&format!(
            "route add {address} dev up1 via {}",
            NODE[usize::from(address.contains(':'))]
        ));
    }
    for (network, becomes) in [
        (
            PodNetwork {
                masquerade: None,
                ..wanted()
            },
            POD,
        ),
        (wanted(), NODE),
        (with_address, chosen),
    ] {
        lab.apply(network);
        for family in 0..2 {
            // Of another flow each time: who has begun keeps his translation.
            let from = socket(&lab.pod, POD[family], 0);
            let outside = socket(&lab.world, OUTSIDE[family], 5000);
            send(&from, &outside, "out");
            assert_eq!(heard(&outside), ("out".to_owned(), address(becomes[family])));
            for to in [INSIDE[family], LISTED[family]] {
                let inside = socket(&lab.world, to, 5000);
                send(&from, &inside, "in");
                assert_eq!(heard(&inside), ("in".to_owned(), address(POD[family])), "{to}");
            }
        }
    }
    // And back.
    for family in 0..2 {
        let from = socket(&lab.pod, POD[family], 0);
        let outside = socket(&lab.world, OUTSIDE[family], 5000);
        send(&from, &outside, "ping");
        let (_, peer) = received(&outside);
        outside.send_to(b"pong", peer).expect("sent");
        assert_eq!(heard(&from), ("pong".to_owned(), address(OUTSIDE[family])));
    }
}

/// The node itself and what passes through it keep their addresses.
#[test]
fn others_than_pods_are_left_alone() {
    let Some(lab) = Lab::new() else { return };
    lab.apply(wanted());
    lab.node.ip("address add 203.0.113.77/32 dev lo");
    let outside = socket(&lab.world, OUTSIDE[0], 5000);
    for source in [NODE[0], "203.0.113.77"] {
        let from = socket(&lab.node, source, 0);
        send(&from, &outside, "node");
        assert_eq!(heard(&outside), ("node".to_owned(), address(source)));
    }
    // Whoever comes from outside, also by a source that no route leads to, is no business of the check of pods.
    lab.world.ip("address add 100.99.0.1/32 dev lo");
    let to_node = socket(&lab.node, NODE[0], 5001);
    let stranger = socket(&lab.world, "100.99.0.1", 0);
    send(&stranger, &to_node, "stranger");
    assert_eq!(heard(&to_node), ("stranger".to_owned(), address("100.99.0.1")));
}

/// A pod cannot speak for another pod, for the node or for the world.
#[test]
fn a_source_of_another_is_dropped() {
    let Some(lab) = Lab::new() else { return };
    // Another pod's, and a stranger's.
    let forged = [[OTHER[0], "192.0.2.99"], [OTHER[1], "2001:db8:7::99"]];
    for address in forged.as_flattened() {
        lab.pod.address(address, "lo");
    }
    let tell = |name: &str| {
        let mut arrived = Vec::new();
        for family in 0..2 {
            let at_node = socket(&lab.node, NODE[family], 5002);
            let outside = socket(&lab.world, OUTSIDE[family], 5002);
            for to in [&at_node, &outside] {
                for forged in forged[family] {
                    send(&socket(&lab.pod, forged, 0), to, forged);
                }
                // Packets of one link keep their order: what comes after this one was dropped.
                send(&socket(&lab.pod, POD[family], 0), to, name);
                loop {
                    let (word, _) = heard(to);
                    if word == name {
                        break;
                    }
                    arrived.push(word);
                }
            }
        }
        arrived
    };
    // The subject is there: without the table they arrive.
    assert_eq!(tell("before").len(), 8);
    lab.apply(wanted());
    assert_eq!(tell("after"), Vec::<String>::new());
}

/// A pod is no router and no DHCP server for its node.
#[test]
fn router_advertisements_and_dhcp_servers_in_pods_are_not_heard() {
    let Some(lab) = Lab::new() else { return };
    lab.node.sysctl("net/ipv6/conf/pod0/accept_ra", "2");
    let advertises = || {
        advertise(&lab);
        let at_node = socket(&lab.node, NODE[1], 5003);
        let pod = socket(&lab.pod, POD[1], 0);
        send(&pod, &at_node, "after");
        assert_eq!(heard(&at_node).0, "after");
        lab.node.ip("-6 route show proto ra")
    };
    assert!(
        advertises().contains("default"),
        "the node heeds what it shall not hear"
    );
    lab.node.ip("-6 route del default proto ra");
    let serves = || {
        let mut arrived = Vec::new();
        for (family, port) in [(0, 67), (1, 547)] {
            let client = socket(&lab.node, NODE[family], 5004);
            send(&socket(&lab.pod, POD[family], port), &client, "offer");
            send(&socket(&lab.pod, POD[family], 5005), &client, "after");
            loop {
                match heard(&client).0.as_str() {
                    "after" => break,
                    word => arrived.push(format!("{word} {port}")),
                }
            }
        }
        arrived
    };
    assert_eq!(serves(), ["offer 67", "offer 547"]);
    lab.apply(wanted());
    assert_eq!(advertises(), "");
    assert_eq!(serves(), Vec::<String>::new());
}

/// What is dropped is dropped also where the node is asked first: neighbour discovery and echo still work.
#[test]
fn what_a_pod_needs_passes() {
    let Some(lab) = Lab::new() else { return };
    lab.apply(wanted());
    lab.pod.ip("neighbour del fe80::1 dev eth0");
    for family in 0..2 {
        let at_node = socket(&lab.node, NODE[family], 5006);
        let pod = socket(&lab.pod, POD[family], 0);
        send(&pod, &at_node, "neighbour");
        let (_, peer) = received(&at_node);
        assert_eq!(peer.ip(), address(POD[family]));
        at_node.send_to(b"back", peer).expect("sent");
        assert_eq!(heard(&pod).0, "back");
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Sends a router advertisement from the pod to all nodes of its link.
fn advertise(lab: &Lab) {
    let index = lab.pod.index("eth0");
    let sent = lab.pod.inside(move || {
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
        socket.set_multicast_hops_v6(255)?;
        socket.set_multicast_if_v6(index)?;
        // Type, code, checksum (the kernel's), hop limit, flags, lifetime in seconds, timers.
        let advertisement = [134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
        let all_nodes = SocketAddrV6::new("ff02::1".parse().expect("an address"), 0, 0, index);
        socket.send_to(&advertisement, &SocketAddr::V6(all_nodes).into())?;
        std::io::Result::Ok(())
    });
    sent.expect("sent");
}
