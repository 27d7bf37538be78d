//! Who is let in, and how many: strangers, floods, diallers from afar, connections from before the key.
#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

mod world;

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use flatroute_bgp::peer::State;
use flatroute_bgp::speaker::{EventKind, Ttl};
use flatroute_bgp::types::PeerName;
use flatroute_bgp::wire::Message;
use flatroute_bgp_io::{MAX_ACCEPTED, MAX_HALF_OPEN, MAX_PER_ADDRESS, MAX_TOLD};
use tokio::net::TcpSocket;

use world::raw::{self, RawPeer};
use world::{BOUND, LOOPBACK6, Node, config, error, key, own_address, peer, prefix, state, summary, within};

const THEIRS: u32 = 65_001;

/// Connects with a TTL (IPv6: a hop limit) and says all that a session needs, before the driver has seen the connection.
fn blurt(source: IpAddr, to: SocketAddr, ttl: u32) -> RawPeer {
    let socket = socket2::Socket::new(socket2::Domain::for_address(to), socket2::Type::STREAM, None).unwrap();
    match to {
        SocketAddr::V4(_) => socket.set_ttl_v4(ttl).unwrap(),
        SocketAddr::V6(_) => socket.set_unicast_hops_v6(ttl).unwrap(),
    }
    socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let mut stream = std::net::TcpStream::from(socket);
    let mut all = raw::open(THEIRS, 90);
    all.extend(raw::keepalive());
    all.extend(raw::announce(THEIRS, &[prefix("10.9.0.0/16")]));
    stream.write_all(&all).unwrap();
    RawPeer::adopt(stream, THEIRS)
}

/// Waits until the other side closes, and hears nothing before.
async fn closed_without_a_word(peer: &mut RawPeer) {
    let end = within("the end of the connection", BOUND, peer.next()).await;
    assert!(matches!(end, Ok(None) | Err(_)), "{end:?}");
}

/// Nothing was established until now.
fn never_established(node: &mut Node) {
    while let Ok(event) = node.events.try_recv() {
        assert!(!matches!(event.kind, EventKind::Established), "{event:?}");
    }
}

#[tokio::test]
async fn who_comes_from_afar_displaces_no_connection_that_waits_for_its_open() {
    for address in [own_address(), LOOPBACK6] {
        let source = if address.is_ipv4() {
            own_address()
        } else {
            LOOPBACK6
        };
        let mut near = peer(source, THEIRS);
        near.ttl = Ttl::Security(1);
        let mut node = Node::start(address, config([("p", near)], [])).await;
        let socket = match node.address {
            SocketAddr::V4(_) => TcpSocket::new_v4().unwrap(),
            SocketAddr::V6(_) => TcpSocket::new_v6().unwrap(),
        };
        let options = socket2::SockRef::from(&socket);
        match node.address {
            SocketAddr::V4(_) => options.set_ttl_v4(255).unwrap(),
            SocketAddr::V6(_) => options.set_unicast_hops_v6(255).unwrap(),
        }
        socket.bind(SocketAddr::new(source, 0)).unwrap();
        let stream = within("connect", BOUND, socket.connect(node.address))
            .await
            .unwrap();
        let mut good = RawPeer::adopt(stream.into_std().unwrap(), THEIRS);
        assert!(matches!(good.message().await, Message::Open(_)));
        for _ in 0..3 {
            closed_without_a_word(&mut blurt(source, node.address, 64)).await;
        }
        let status = node.status().await;
        assert_eq!(state(&status, "p"), State::OpenSent);
        assert!(error(&status, "p").contains("TTL 64, below 255"), "{status:#?}");
        assert_eq!(status.refused, 3);
        never_established(&mut node);
        good.send(&raw::open(THEIRS, 90)).await;
        good.send(&raw::keepalive()).await;
        assert_eq!(good.message().await, Message::Keepalive, "no Cease came before");
        node.until_established("p").await;
    }
}

#[tokio::test]
async fn a_connection_from_before_the_key_never_becomes_a_session() {
    for address in [own_address(), LOOPBACK6] {
        let source = if address.is_ipv4() {
            own_address()
        } else {
            LOOPBACK6
        };
        let mut node = Node::start(address, config([("p", peer(source, THEIRS))], [])).await;
        // The driver cannot run in between: its thread is this one.
        let mut early = blurt(source, node.address, 64);
        let mut with_key = peer(source, THEIRS);
        with_key.auth = key("secret");
        node.configure(config([("p", with_key)], [])).await;
        closed_without_a_word(&mut early).await;
        never_established(&mut node);
        let signed = RawPeer::signed(source, node.address, THEIRS, "secret");
        let mut signed = within("connect", BOUND, signed).await.unwrap();
        signed.establish().await;
        node.until_established("p").await;
    }
}

#[tokio::test]
async fn a_connection_with_the_key_from_before_never_becomes_a_session() {
    let source = own_address();
    let with = |text: Option<&str>| {
        let mut peer = peer(source, THEIRS);
        if let Some(text) = text {
            peer.auth = key(text);
        }
        config([("p", peer)], [])
    };
    for after in [Some("new"), None] {
        let mut node = Node::start(own_address(), with(Some("old"))).await;
        assert_eq!(state(&node.status().await, "p"), State::Active);
        // Only what the kernel does by itself happens until the driver is told of the other key.
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        world::signed::set(&socket, node.address.ip(), "old").unwrap();
        socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
        socket.connect(&node.address.into()).unwrap();
        let mut stream = std::net::TcpStream::from(socket);
        stream.write_all(&raw::open(THEIRS, 90)).unwrap();
        stream.write_all(&raw::keepalive()).unwrap();
        let mut early = RawPeer::adopt(stream, THEIRS);
        node.configure(with(after)).await;
        closed_without_a_word(&mut early).await;
        never_established(&mut node);
        assert_eq!(state(&node.status().await, "p"), State::Active);
    }
}

#[tokio::test]
async fn a_key_is_asked_of_who_dials_and_of_who_is_dialled() {
    for address in [own_address(), LOOPBACK6] {
        let source = if address.is_ipv4() {
            own_address()
        } else {
            LOOPBACK6
        };
        let mut with_key = peer(source, THEIRS);
        with_key.auth = key("secret");
        let node = Node::start(address, config([("p", with_key.clone())], [])).await;
        let brief = Duration::from_millis(300);
        for wrong in ["Secret", "secre", "secret\n"] {
            let dialled = RawPeer::signed(source, node.address, THEIRS, wrong);
            assert!(tokio::time::timeout(brief, dialled).await.is_err(), "{wrong:?}");
        }
        let unsigned = RawPeer::connect(source, node.address, THEIRS);
        assert!(tokio::time::timeout(brief, unsigned).await.is_err());
        assert_eq!(state(&node.status().await, "p"), State::Active);

        // The other way.
        let listener = tokio::net::TcpListener::bind(SocketAddr::new(source, 0))
            .await
            .unwrap();
        let mut dialled = with_key;
        dialled.session.connect_mode = flatroute_bgp::session::ConnectMode::Active;
        dialled.port = listener.local_addr().unwrap().port();
        dialled.source_address = Some(address);
        for wrong in [None, Some("Secret")] {
            if let Some(wrong) = wrong {
                world::signed::set(&listener, address, wrong).unwrap();
            }
            node.configure(config([], [])).await;
            node.configure(config([("p", dialled.clone())], [])).await;
            assert!(
                tokio::time::timeout(brief, listener.accept()).await.is_err(),
                "{wrong:?}"
            );
        }
        world::signed::set(&listener, address, "secret").unwrap();
        let (stream, _) = within("the driver dials", BOUND, listener.accept())
            .await
            .unwrap();
        let mut peer = RawPeer::adopt(stream.into_std().unwrap(), THEIRS);
        peer.establish().await;
        node.until_established("p").await;
    }
}

#[tokio::test]
async fn a_stranger_who_connects_ten_thousand_times_is_told_of_once() {
    let mut node = Node::start(own_address(), config([("p", peer(own_address(), THEIRS))], [])).await;
    let stranger = own_address();
    for _ in 0..10_000 {
        let socket = TcpSocket::new_v4().unwrap();
        socket2::SockRef::from(&socket)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        socket.bind(SocketAddr::new(stranger, 0)).unwrap();
        // It may hear of the end before connect returns.
        drop(within("connect", BOUND, socket.connect(node.address)).await);
    }
    node.until("all were refused", BOUND, |s| s.refused >= 9_900)
        .await;
    let told = |node: &mut Node| {
        let mut told = 0;
        while let Ok(event) = node.events.try_recv() {
            told += usize::from(matches!(event.kind, EventKind::Stranger(_)));
        }
        told
    };
    assert_eq!(told(&mut node), 1);
    // Many who come once each are told of up to a limit.
    let [a, b, ..] = match stranger {
        IpAddr::V4(v4) => v4.octets(),
        IpAddr::V6(_) => panic!("127/8"),
    };
    for n in 0..200 {
        let socket = TcpSocket::new_v4().unwrap();
        let source = Ipv4Addr::new(a, b ^ 1, 0, n + 1);
        socket.bind(SocketAddr::new(source.into(), 0)).unwrap();
        drop(within("connect", BOUND, socket.connect(node.address)).await);
    }
    node.until("they were refused", BOUND, |s| s.refused >= 10_100)
        .await;
    let many = told(&mut node);
    assert!((1..MAX_TOLD).contains(&many), "{many}");
    assert_eq!(node.status().await.events_dropped, 0);
}

#[tokio::test]
async fn one_address_has_few_connections() {
    let source = own_address();
    let mut node = Node::start(own_address(), config([("p", peer(source, THEIRS))], [])).await;
    let mut peers = Vec::new();
    for _ in 0..MAX_PER_ADDRESS {
        let mut peer = RawPeer::connect(source, node.address, THEIRS).await;
        assert!(matches!(peer.message().await, Message::Open(_)));
        peers.push(peer);
    }
    // All but the last were closed for it with a word, and linger.
    closed_without_a_word(&mut RawPeer::connect(source, node.address, THEIRS).await).await;
    let event = node
        .event("Refused", BOUND, |k| matches!(k, EventKind::Refused { .. }))
        .await;
    assert!(
        format!("{event:?}").contains("8 connections from this address"),
        "{event:?}"
    );
    // The last one that was taken is well.
    let mut last = peers.pop().unwrap();
    last.send(&raw::open(THEIRS, 90)).await;
    last.send(&raw::keepalive()).await;
    node.until_established("p").await;
    drop(peers);
    drop(last);
    node.until("the peer is gone", BOUND, |s| state(s, "p") == State::Active)
        .await;
    // Those that lingered are over, and there is room again.
    let room = within("room", BOUND, async {
        loop {
            let mut again = RawPeer::connect(source, node.address, THEIRS).await;
            if let Ok(Some(message)) = again.next().await {
                return message;
            }
        }
    });
    assert!(matches!(room.await, Message::Open(_)));
}

/// A driver that knows this many neighbours, and their addresses.
async fn crowd(count: usize) -> (Node, Vec<Ipv4Addr>) {
    let IpAddr::V4(own) = own_address() else {
        panic!("127/8")
    };
    let [a, b, ..] = own.octets();
    let addresses: Vec<Ipv4Addr> = (0..u16::try_from(count).unwrap())
        .map(|n| Ipv4Addr::new(a, b ^ 2, n.to_be_bytes()[0], n.to_be_bytes()[1]))
        .collect();
    let mut all = config([], []);
    for address in &addresses {
        let name = PeerName::from(address.to_string().as_str());
        all.peers.insert(name, peer((*address).into(), THEIRS));
    }
    (Node::start(own.into(), all).await, addresses)
}

#[tokio::test]
async fn few_connections_may_wait_for_an_open_and_an_open_makes_room() {
    let (node, addresses) = crowd(MAX_HALF_OPEN + 1).await;
    let mut peers = Vec::new();
    for address in &addresses[..MAX_HALF_OPEN] {
        let mut peer = RawPeer::connect((*address).into(), node.address, THEIRS).await;
        assert!(matches!(peer.message().await, Message::Open(_)));
        peers.push(peer);
    }
    let last = addresses[MAX_HALF_OPEN];
    closed_without_a_word(&mut RawPeer::connect(last.into(), node.address, THEIRS).await).await;
    let status = node.status().await;
    assert!(error(&status, &last.to_string()).contains("256 connections wait for an OPEN"));
    peers[0].send(&raw::open(THEIRS, 90)).await;
    assert_eq!(peers[0].message().await, Message::Keepalive);
    let mut peer = RawPeer::connect(last.into(), node.address, THEIRS).await;
    assert!(matches!(peer.message().await, Message::Open(_)));
    assert_eq!(
        summary(&node.status().await, &last.to_string()).state,
        State::OpenSent
    );
}

#[tokio::test]
async fn accepted_connections_have_a_limit() {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit {
        current: files.maximum,
        ..files
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    let (node, addresses) = crowd(MAX_ACCEPTED + 1).await;
    let mut peers = Vec::new();
    for address in &addresses[..MAX_ACCEPTED] {
        let mut peer = RawPeer::connect((*address).into(), node.address, THEIRS).await;
        peer.send(&raw::open(THEIRS, 90)).await;
        assert!(matches!(peer.message().await, Message::Open(_)));
        assert_eq!(peer.message().await, Message::Keepalive);
        peers.push(peer);
    }
    let last = addresses[MAX_ACCEPTED];
    closed_without_a_word(&mut RawPeer::connect(last.into(), node.address, THEIRS).await).await;
    let status = node.status().await;
    assert!(error(&status, &last.to_string()).contains("1024 accepted connections"));
    peers.pop();
    let gone = addresses[MAX_ACCEPTED - 1].to_string();
    node.until("one is gone", BOUND, |s| state(s, &gone) == State::Active)
        .await;
    let mut peer = RawPeer::connect(last.into(), node.address, THEIRS).await;
    assert!(matches!(peer.message().await, Message::Open(_)));
}
