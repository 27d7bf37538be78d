//! Link-local neighbours with keys: a listener on each of their interfaces beside the one that hears everything.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use flatroute_bgp::peer::State;
use flatroute_bgp::session::ConnectMode::{Active, Passive};
use flatroute_bgp::speaker::{Auth, Config, PeerConfig};
use flatroute_bgp::types::PeerName;
use flatroute_bgp_io::Status;

use super::lab::{Drivers as _, Inside, Namespace, join};
use super::md5::{LONG, ROOM, any, one, ours, theirs};
use crate::world::{config, flaps, key, state, summary};

/// A neighbour `fe80::2` on an interface of ours.
fn on(interface: u32, auth: Auth, mode: flatroute_bgp::session::ConnectMode) -> PeerConfig {
    let mut peer = ours("fe80::2", auth, mode);
    peer.interface = Some(interface);
    peer
}

/// A driver in `spoke` that has us, `fe80::1`, as its neighbour on `torNUMBER`.
fn spoke(spoke: &Namespace, number: u8, auth: Auth, mode: flatroute_bgp::session::ConnectMode) -> Inside {
    let mut us = theirs("fe80::1", auth, mode);
    us.interface = Some(spoke.index(&format!("tor{number}")));
    spoke.driver(any("::"), one(us))
}

fn with<const N: usize>(peers: [(&'static str, PeerConfig); N]) -> Config {
    config(peers, [])
}

async fn established(node: &Inside, name: &str) {
    let up = |s: &Status| state(s, name) == State::Established;
    node.node.until(&format!("{name}: Established"), LONG, up).await;
}

fn scoped(interface: u32) -> SocketAddr {
    SocketAddrV6::new(std::net::Ipv6Addr::UNSPECIFIED, 179, 0, interface).into()
}

fn listeners(status: &Status) -> Vec<(SocketAddr, Option<String>)> {
    status.listeners.clone()
}

#[tokio::test]
async fn equal_addresses_on_two_interfaces_have_a_key_each_whoever_dials() {
    let all = [Namespace::new(), Namespace::new(), Namespace::new()];
    let [Some(hub), Some(left), Some(right)] = all else {
        return;
    };
    join(1, &hub, &left);
    join(2, &hub, &right);
    let (up1, up2) = (hub.index("up1"), hub.index("up2"));
    for (here, there) in [(Passive, Active), (Active, Passive)] {
        let left = spoke(&left, 1, key("left"), there);
        let right = spoke(&right, 2, key("right"), there);
        let keys = with([
            ("left", on(up1, key("left"), here)),
            ("right", on(up2, key("right"), here)),
        ]);
        let node = hub.driver(any("::"), keys);
        established(&node, "left").await;
        established(&node, "right").await;
        let status = node.node.status().await;
        assert_eq!(
            listeners(&status),
            [(any("::"), None), (scoped(up1), None), (scoped(up2), None)]
        );
        drop((left, right));
    }
    // A dial may have come before the other's configuration, hence nothing of TCPMD5Unexpected.
    for counter in ["TCPMD5NotFound", "TCPMD5Failure"] {
        assert_eq!(hub.counter(counter), 0, "{counter}");
    }
}

#[tokio::test]
async fn the_key_of_one_interface_opens_no_other() {
    let all = [Namespace::new(), Namespace::new(), Namespace::new()];
    let [Some(hub), Some(left), Some(right)] = all else {
        return;
    };
    join(1, &hub, &left);
    join(2, &hub, &right);
    let (up1, up2) = (hub.index("up1"), hub.index("up2"));
    let node = hub.driver(
        any("::"),
        with([
            ("left", on(up1, key("left"), Passive)),
            ("right", on(up2, key("right"), Passive)),
        ]),
    );
    let _left = spoke(&left, 1, key("left"), Active);
    {
        let before = hub.counter("TCPMD5Failure");
        let _right = spoke(&right, 2, key("left"), Active);
        let refused = |_: &Status| hub.counter("TCPMD5Failure") > before;
        node.node.until("the wrong key is refused", LONG, refused).await;
    }
    {
        let before = hub.counter("TCPMD5NotFound");
        let _right = spoke(&right, 2, Auth::None, Active);
        let refused = |_: &Status| hub.counter("TCPMD5NotFound") > before;
        node.node
            .until("who does not sign is refused", LONG, refused)
            .await;
    }
    assert_eq!(state(&node.node.status().await, "right"), State::Active);
    let _right = spoke(&right, 2, key("right"), Active);
    established(&node, "right").await;
    established(&node, "left").await;
    assert_eq!(flaps(&node.node.status().await), 0);
}

#[tokio::test]
async fn a_listener_of_an_interface_also_serves_global_neighbours_and_those_without_a_key_share_one() {
    let all = [
        Namespace::new(),
        Namespace::new(),
        Namespace::new(),
        Namespace::new(),
    ];
    let [Some(hub), Some(left), Some(right), Some(third)] = all else {
        return;
    };
    for (number, other) in [(1, &left), (2, &right), (3, &third)] {
        join(number, &hub, other);
    }
    let (up1, up2) = (hub.index("up1"), hub.index("up2"));
    let peers = with([
        ("left", on(up1, key("left"), Passive)),
        ("left-global", ours("fd00:1::2", key("global"), Passive)),
        ("right", on(up2, Auth::None, Passive)),
        ("third", ours("fd00:3::2", Auth::None, Passive)),
    ]);
    let node = hub.driver(any("::"), peers.clone());
    let mut local = theirs("fe80::1", key("left"), Active);
    local.interface = Some(left.index("tor1"));
    let global = theirs("fd00:1::1", key("global"), Active);
    let _left = left.driver(any("::"), config([("a", local), ("b", global)], []));
    let _right = spoke(&right, 2, Auth::None, Active);
    let _third = third.driver(any("::"), one(theirs("fd00:3::1", Auth::None, Active)));
    for name in ["left", "left-global", "right", "third"] {
        established(&node, name).await;
    }
    let status = node.node.status().await;
    assert_eq!(listeners(&status), [(any("::"), None), (scoped(up1), None)]);

    // The last key of the interface goes, and its listener; sessions that it took do not notice.
    let mut fewer = peers;
    fewer.peers.remove(&PeerName::from("left"));
    node.node.configure(fewer).await;
    let status = node.node.status().await;
    assert_eq!(listeners(&status), [(any("::"), None)]);
    assert_eq!(flaps(&status), 0);
    assert_eq!(state(&status, "left-global"), State::Established);
}

#[tokio::test]
async fn listeners_follow_interfaces_that_are_renamed_removed_and_made_again() {
    let all = [Namespace::new(), Namespace::new(), Namespace::new()];
    let [Some(hub), Some(left), Some(right)] = all else {
        return;
    };
    join(1, &hub, &left);
    join(2, &hub, &right);
    let (up1, up2) = (hub.index("up1"), hub.index("up2"));
    let right_peer = on(up2, key("right"), Passive);
    let node = hub.driver(
        any("::"),
        with([
            ("left", on(up1, key("left"), Passive)),
            ("right", right_peer.clone()),
        ]),
    );
    {
        let _left = spoke(&left, 1, key("left"), Active);
        let _right = spoke(&right, 2, key("right"), Active);
        established(&node, "left").await;
        established(&node, "right").await;
        // Another name is the same interface.
        hub.ip("link set up1 name uplink");
        assert_eq!(hub.index("uplink"), up1);
        assert_eq!(flaps(&node.node.status().await), 0);
    }
    let _right = spoke(&right, 2, key("right"), Active);
    established(&node, "right").await;
    hub.ip("link del uplink");
    join(1, &hub, &left);
    let again = hub.index("up1");
    assert_ne!(again, up1, "another interface of the same name");
    // The planner says what the name means now.
    node.node
        .configure(with([
            ("left", on(again, key("left"), Passive)),
            ("right", right_peer),
        ]))
        .await;
    let before = flaps(&node.node.status().await);
    let _left = spoke(&left, 1, key("left"), Active);
    established(&node, "left").await;
    let status = node.node.status().await;
    let mut expected = vec![(any("::"), None), (scoped(up2), None), (scoped(again), None)];
    expected.sort();
    let mut found = listeners(&status);
    found.sort();
    assert_eq!(found, expected);
    assert_eq!(flaps(&status), before, "right did not notice");
}

#[tokio::test]
async fn a_key_that_the_kernel_refuses_holds_a_link_local_neighbour_down_too() {
    let all = [Namespace::new(), Namespace::new()];
    let [Some(hub), Some(left)] = all else { return };
    join(1, &hub, &left);
    let up1 = hub.index("up1");
    hub.sysctl(ROOM, "0");
    let node = hub.driver(any("::"), with([("left", on(up1, key("left"), Passive))]));
    let _left = spoke(&left, 1, key("left"), Active);
    let status = node.node.status().await;
    let held = summary(&status, "left").held.clone().unwrap_or_default();
    assert!(
        held.starts_with("KeyNotSet: the kernel refused the TCP MD5 key of fe80::2"),
        "{held}"
    );
    assert_eq!(state(&status, "left"), State::Idle);
    hub.sysctl(ROOM, "131072");
    established(&node, "left").await;
}

#[tokio::test]
async fn a_listener_of_an_interface_that_comes_later_hears_it_then() {
    let all = [Namespace::new(), Namespace::new()];
    let [Some(hub), Some(left)] = all else { return };
    let later = 4711;
    let node = hub.driver(any("::"), with([("left", on(later, key("left"), Passive))]));
    assert_eq!(node.node.status().await.listeners.len(), 2);
    hub.ip("link add up1 index 4711 type veth peer name tor1");
    hub.ip("-6 addr add fe80::1/64 dev up1 nodad");
    hub.ip("link set up1 up");
    left.take("tor1", &hub);
    left.ip("-6 addr add fe80::2/64 dev tor1 nodad");
    left.ip("link set tor1 up");
    let _left = spoke(&left, 1, key("left"), Active);
    established(&node, "left").await;
}

#[tokio::test]
async fn a_second_agent_hears_that_the_port_is_in_use_though_interfaces_share_it() {
    let Some(hub) = Namespace::new() else { return };
    hub.ip("link add up1 type veth peer name tor1");
    hub.ip("link set up1 up");
    let up1 = hub.index("up1");
    let node = hub.driver(any("::"), with([("left", on(up1, key("left"), Passive))]));
    let status = node.node.status().await;
    assert_eq!(listeners(&status), [(any("::"), None), (scoped(up1), None)]);
    let second = hub.inside(|| {
        let address = SocketAddr::new(IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED), 179);
        let socket = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None).unwrap();
        socket.set_only_v6(true).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&address.into()).and_then(|()| socket.listen(1))
    });
    assert_eq!(second.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
}
