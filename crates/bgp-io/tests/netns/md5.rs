//! Our driver against our driver over a link: every combination of keys, families and ways to dial.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use flatroute_bgp::peer::State;
use flatroute_bgp::session::{ConnectMode, PeerAsn};
use flatroute_bgp::speaker::{Auth, Config, EventKind, PeerConfig};
use flatroute_bgp::types::{Asn, RouterId};
use flatroute_bgp_io::LISTEN_RETRY;

use super::lab::{Drivers as _, Inside, Namespace, join};
use crate::world::{BOUND, OURS, config, error, flaps, key, peer, prefix, state, summary};

pub(crate) const THEIRS: u32 = 65_001;
/// How long a session may take with a dial that is tried again.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// The neighbour as we have it.
pub(crate) fn ours(address: &str, auth: Auth, mode: ConnectMode) -> PeerConfig {
    let mut peer = peer(address.parse().unwrap(), THEIRS);
    peer.auth = auth;
    peer.session.connect_mode = mode;
    peer
}

/// We as the neighbour has us.
pub(crate) fn theirs(address: &str, auth: Auth, mode: ConnectMode) -> PeerConfig {
    let mut peer = ours(address, auth, mode);
    peer.session.local_asn = Asn(THEIRS);
    peer.session.peer_asn = PeerAsn::Exact(OURS);
    peer.session.router_id = RouterId(0x0a00_0002);
    peer
}

pub(crate) fn one(peer: PeerConfig) -> Config {
    config([("p", peer)], [])
}

pub(crate) fn any(family: &str) -> SocketAddr {
    let address: IpAddr = family.parse().unwrap();
    SocketAddr::new(address, 179)
}

struct Pair {
    a: Inside,
    b: Inside,
}

impl Pair {
    async fn established(&self) {
        self.a
            .node
            .until("a: Established", LONG, |s| state(s, "p") == State::Established)
            .await;
        self.b
            .node
            .until("b: Established", LONG, |s| state(s, "p") == State::Established)
            .await;
    }
}

/// Both ends of a link of IPv4 or IPv6.
struct Link {
    a: Namespace,
    b: Namespace,
}

impl Link {
    fn new() -> Option<Self> {
        let (a, b) = (Namespace::new()?, Namespace::new()?);
        join(1, &a, &b);
        Some(Self { a, b })
    }

    fn start(&self, ipv4: bool, auths: (Auth, Auth), modes: (ConnectMode, ConnectMode)) -> Pair {
        let (listen, a, b) = if ipv4 {
            (any("0.0.0.0"), "10.0.1.1", "10.0.1.2")
        } else {
            (any("::"), "fd00:1::1", "fd00:1::2")
        };
        // Who waits is there before who dials.
        let passive = self.b.driver(listen, one(theirs(a, auths.1, modes.1)));
        Pair {
            a: self.a.driver(listen, one(ours(b, auths.0, modes.0))),
            b: passive,
        }
    }
}

const MODES: [(ConnectMode, ConnectMode); 3] = [
    (ConnectMode::Active, ConnectMode::Passive),
    (ConnectMode::Passive, ConnectMode::Active),
    (ConnectMode::Both, ConnectMode::Both),
];

#[tokio::test]
async fn with_the_same_key_on_both_sides_there_is_a_session() {
    let Some(link) = Link::new() else { return };
    for ipv4 in [true, false] {
        for modes in MODES {
            link.start(ipv4, (key("secret"), key("secret")), modes)
                .established()
                .await;
        }
    }
    // A dial may have come before the other's configuration, hence nothing of TCPMD5Unexpected.
    for counter in ["TCPMD5NotFound", "TCPMD5Failure"] {
        assert_eq!(
            (link.a.counter(counter), link.b.counter(counter)),
            (0, 0),
            "{counter}"
        );
    }
}

#[tokio::test]
async fn without_the_same_key_on_both_sides_there_is_none_whoever_dials() {
    let Some(link) = Link::new() else { return };
    for (auths, counter) in [
        ((key("secret"), key("Secret")), "TCPMD5Failure"),
        ((key("secret"), Auth::None), "TCPMD5Unexpected"),
        ((Auth::None, key("secret")), "TCPMD5NotFound"),
    ] {
        for ipv4 in [true, false] {
            let before = link.b.counter(counter);
            let mut pair = link.start(ipv4, auths.clone(), MODES[0]);
            // The kernel of the one who waits has thrown away the SYN and one that was sent again.
            pair.a
                .node
                .until(&format!("{counter}, IPv4 {ipv4}"), LONG, |_| {
                    link.b.counter(counter) >= before + 2
                })
                .await;
            let status = pair.b.node.status().await;
            assert_eq!((state(&status, "p"), flaps(&status)), (State::Active, 0));
            assert_eq!(state(&pair.a.node.status().await, "p"), State::Connect);
            for node in [&mut pair.a.node, &mut pair.b.node] {
                while let Ok(event) = node.events.try_recv() {
                    let EventKind::Transition { to, .. } = event.kind else {
                        panic!("{event:?}")
                    };
                    assert!(to < State::OpenSent, "{to}");
                }
            }
        }
    }
}

#[tokio::test]
async fn another_key_ends_the_session_by_a_cease_and_it_comes_back_with_the_new_one() {
    let Some(link) = Link::new() else { return };
    for ipv4 in [true, false] {
        let (a, b) = if ipv4 {
            ("10.0.1.1", "10.0.1.2")
        } else {
            ("fd00:1::1", "fd00:1::2")
        };
        for modes in MODES {
            let pair = link.start(ipv4, (key("old"), key("old")), modes);
            pair.established().await;
            let told = |s: &flatroute_bgp_io::Status| error(s, "p").contains("Other Configuration Change");
            pair.a.node.configure(one(ours(b, key("new"), modes.0))).await;
            pair.b.node.until("b hears of the change", BOUND, told).await;
            pair.b.node.configure(one(theirs(a, key("new"), modes.1))).await;
            pair.established().await;
        }
    }
}

/// Room for keys on the sockets of a namespace.
pub(crate) const ROOM: &str = "net/core/optmem_max";

#[tokio::test]
async fn a_key_that_the_kernel_refuses_holds_the_neighbour_down_and_says_so_until_it_is_taken() {
    let Some(link) = Link::new() else { return };
    link.a.sysctl(ROOM, "0");
    let mut a = link
        .a
        .driver(any("::"), one(ours("fd00:1::2", key("k"), ConnectMode::Both)));
    let _b = link
        .b
        .driver(any("::"), one(theirs("fd00:1::1", key("k"), ConnectMode::Both)));
    let status = a.node.status().await;
    let held = summary(&status, "p");
    let reason = held.held.clone().unwrap_or_default();
    assert_eq!(held.state, State::Idle, "{held:?}");
    assert!(
        reason.starts_with("KeyNotSet: the kernel refused the TCP MD5 key of fd00:1::2"),
        "{reason}"
    );
    // It is tried again, in vain, and nothing opens meanwhile.
    tokio::time::sleep(LISTEN_RETRY + Duration::from_secs(1)).await;
    assert!(summary(&a.node.status().await, "p").held.is_some());
    let nothing = a.node.events.try_recv();
    assert!(nothing.is_err(), "{nothing:?}");
    link.a.sysctl(ROOM, "131072");
    a.node
        .until("Established", LONG, |s| state(s, "p") == State::Established)
        .await;
    assert_eq!(summary(&a.node.status().await, "p").held, None);
}

#[tokio::test]
async fn a_dial_that_cannot_have_its_key_does_not_happen_and_says_so() {
    let Some(link) = Link::new() else { return };
    // Nothing listens here, so that only the dialled socket needs a key.
    let nowhere = SocketAddr::new("192.0.2.1".parse().unwrap(), 179);
    link.a.ip("addr add 192.0.2.1/32 dev lo");
    let a = link
        .a
        .driver(nowhere, one(ours("fd00:1::2", Auth::None, ConnectMode::Active)));
    link.a.sysctl(ROOM, "0");
    a.node
        .configure(one(ours("fd00:1::2", key("k"), ConnectMode::Active)))
        .await;
    a.node
        .until("the dial fails", BOUND, |s| {
            error(s, "p").contains("refused the TCP MD5 key")
        })
        .await;
    assert!(matches!(
        state(&a.node.status().await, "p"),
        State::Active | State::Connect
    ));
    link.a.sysctl(ROOM, "131072");
    let _b = link.b.driver(
        any("::"),
        one(theirs("fd00:1::1", key("k"), ConnectMode::Passive)),
    );
    a.node
        .until("Established", LONG, |s| state(s, "p") == State::Established)
        .await;
}

#[tokio::test]
async fn many_neighbours_have_keys_of_their_own_and_some_have_none() {
    let Some(hub) = Namespace::new() else { return };
    let mut peers = config([], [prefix("10.244.0.0/24")]);
    let mut spokes = Vec::new();
    for (number, name) in [(1u8, "a"), (2, "b"), (3, "c"), (4, "d")] {
        let spoke = Namespace::new().unwrap();
        join(number, &hub, &spoke);
        let auth = if number == 4 {
            Auth::None
        } else {
            key(&format!("key {number}"))
        };
        let address = format!("10.0.{number}.2");
        peers
            .peers
            .insert(name.into(), ours(&address, auth.clone(), ConnectMode::Passive));
        let us = theirs(&format!("10.0.{number}.1"), auth, ConnectMode::Active);
        spokes.push((name, spoke.driver(any("0.0.0.0"), one(us)), spoke));
    }
    let node = hub.driver(any("0.0.0.0"), peers.clone());
    for (name, ..) in &spokes {
        node.node
            .until(name, LONG, |s| state(s, name) == State::Established)
            .await;
    }
    // One goes, and its key with it; the others do not notice.
    peers.peers.remove(&"b".into());
    node.node.configure(peers).await;
    let status = node.node.status().await;
    assert_eq!((status.peers.len(), flaps(&status)), (3, 0));
    let before = hub.counter("TCPMD5Unexpected");
    node.node
        .until("b dials in vain", LONG, |_| {
            hub.counter("TCPMD5Unexpected") > before
        })
        .await;
}
