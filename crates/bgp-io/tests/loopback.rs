//! Drivers with real sockets on the loopback, against each other and against peers that misbehave.
#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

mod world;

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use flatroute_bgp::peer::State;
use flatroute_bgp::session::ConnectMode;
use flatroute_bgp::speaker::{EventKind, PeerConfig, Ttl};
use flatroute_bgp::types::{Asn, Prefix, RouterId};
use flatroute_bgp::wire::Message;
use flatroute_bgp_io::{KERNEL_PATIENCE, LINGER};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use world::raw::{self, RawPeer};
use world::{
    BOUND, LOOPBACK6, Node, accepted, config, flaps, own_address, peer, prefix, prefixes, state, within,
};

const THEIRS: u32 = 65_001;

/// A driver with one neighbour, who dials; and that neighbour's address.
async fn node_and_peer(originate: Vec<Prefix>) -> (Node, IpAddr) {
    let source = own_address();
    let node = Node::start(own_address(), config([("p", peer(source, THEIRS))], originate)).await;
    (node, source)
}

fn hold(mut peer: PeerConfig, seconds: u64) -> PeerConfig {
    peer.session.hold_time = Duration::from_secs(seconds);
    peer
}

/// Two drivers on the same address, each knowing the other's port.
async fn pair(address: (IpAddr, IpAddr), mode: ConnectMode) -> (Node, Node) {
    let a = Node::start(address.0, config([], [])).await;
    let b = Node::start(address.1, config([], [])).await;
    let mut to_b = peer(address.1, THEIRS);
    to_b.port = b.address.port();
    to_b.source_address = Some(address.0);
    to_b.session.connect_mode = mode;
    let mut to_a = to_b.clone();
    to_a.address = address.0;
    to_a.source_address = Some(address.1);
    to_a.port = a.address.port();
    to_a.session.local_asn = Asn(THEIRS);
    to_a.session.router_id = RouterId(0x0a00_0002);
    to_a.session.peer_asn = flatroute_bgp::session::PeerAsn::Exact(world::OURS);
    to_a.session.connect_mode = ConnectMode::Both;
    // Each tells the other its own addresses as next hops.
    let interface = flatroute_bgp_io::Interface {
        index: 1,
        addresses: vec![
            ipnetwork::IpNetwork::from(address.1),
            "192.0.2.2/24".parse().unwrap(),
            "2001:db8::2/64".parse().unwrap(),
        ],
    };
    b.handle.interfaces(vec![interface]).await.unwrap();
    a.configure(config(
        [("b", to_b)],
        [prefix("10.244.1.0/24"), prefix("fd00:244:1::/64")],
    ))
    .await;
    b.configure(config(
        [("a", to_a)],
        [prefix("10.244.2.0/24"), prefix("fd00:244:2::/64")],
    ))
    .await;
    a.until_established("b").await;
    b.until_established("a").await;
    (a, b)
}

#[tokio::test]
async fn two_drivers_exchange_both_families_over_ipv6() {
    let (a, b) = pair((LOOPBACK6, LOOPBACK6), ConnectMode::Both).await;
    for (node, family, via) in [
        (&a, "10.244.2.0/24", "192.0.2.2"),
        (&a, "fd00:244:2::/64", "2001:db8::2"),
        (&b, "10.244.1.0/24", "192.0.2.1"),
        (&b, "fd00:244:1::/64", "2001:db8::1"),
    ] {
        // The two families may come in one batch, so the routes are asked for, not the receiver.
        let query = flatroute_bgp::speaker::RouteQuery {
            view: flatroute_bgp::rib::RouteView::Best,
            within: Some(prefix(family)),
            limit: 2,
            ..Default::default()
        };
        let routes = within("the route", BOUND, async {
            loop {
                let routes = node.handle.routes(query.clone()).await.unwrap();
                if !routes.is_empty() {
                    break routes;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        let next_hop = routes[0].attributes.next_hop.unwrap().addr().to_string();
        assert_eq!(next_hop, via);
        assert!(routes[0].installed, "{:?}", routes[0]);
    }
    a.until("End-of-RIB", BOUND, |s| s.end_of_rib_from_all).await;
    assert_eq!(flaps(&a.status().await) + flaps(&b.status().await), 0);
    a.shutdown("done").await;
    b.until("b sees a go", BOUND, |s| state(s, "a") != State::Established)
        .await;
}

#[tokio::test]
async fn two_drivers_over_ipv4_and_routes_reach_the_kernels_receiver() {
    let (mut a, b) = pair((own_address(), own_address()), ConnectMode::Both).await;
    // A next hop in 127/8 is refused, so only the other family can be used here.
    let change = a.route(prefix("fd00:244:2::/64"), BOUND).await;
    assert_eq!(change.paths.len(), 1);
    assert_eq!(change.paths[0].next_hop.addr().to_string(), "2001:db8::2");
    b.shutdown("maintenance").await;
    let change = a.route(prefix("fd00:244:2::/64"), BOUND).await;
    assert!(change.paths.is_empty());
    let last = a.status().await.peers[0].last_error.clone().unwrap();
    assert_eq!((last.code, last.subcode), (6, 2));
}

#[tokio::test]
async fn a_receiver_that_takes_no_routes_neither_stops_the_session_nor_misses_the_newest_state() {
    let source = own_address();
    let node = config([("p", hold(peer(source, THEIRS), 3))], []);
    let mut node = Node::start(own_address(), node).await;
    let mut peer = RawPeer::established(source, node.address, THEIRS, 3).await;
    let all = prefixes(40_000);
    let began = tokio::time::Instant::now();
    peer.send(&raw::announce(THEIRS, &all)).await;
    // Longer than the hold time without anybody taking routes.
    let mut keepalives = 0;
    while began.elapsed() < Duration::from_secs(4) {
        if let Message::Keepalive = peer.message().await {
            keepalives += 1;
            peer.send(&raw::keepalive()).await;
        }
    }
    assert!(keepalives >= 3, "{keepalives} KEEPALIVEs in 4 s");
    assert_eq!(flaps(&node.status().await), 0);
    node.until("all accepted", BOUND, |s| accepted(s, "p") == 40_000)
        .await;
    peer.send(&raw::withdraw(&all[1..])).await;
    node.until("withdrawn", BOUND, |s| accepted(s, "p") == 1).await;
    let mut kernel = std::collections::BTreeSet::<Prefix>::new();
    let mut taken = 0;
    within("the newest state", BOUND, async {
        loop {
            for change in node.routes.recv().await.unwrap().changes {
                taken += 1;
                if change.paths.is_empty() {
                    kernel.remove(&change.prefix);
                } else {
                    kernel.insert(change.prefix);
                }
            }
            // What was on its way when the routes went is taken back again.
            if kernel.len() == 1 && node.routes.is_empty() && taken > 1 {
                break;
            }
        }
    })
    .await;
    assert!(kernel.contains(&all[0]));
    assert!(taken <= 40_000, "history was kept: {taken} changes");
}

#[tokio::test]
async fn a_peer_that_stops_reading_delays_nobody_and_costs_no_history() {
    let (slow_address, fast_address) = (own_address(), own_address());
    let all = prefixes(60_000);
    let peers = || {
        [
            ("slow", peer(slow_address, 65_001)),
            ("fast", peer(fast_address, 65_002)),
        ]
    };
    let node = Node::start(own_address(), config(peers(), all.clone())).await;
    let mut slow = RawPeer::established(slow_address, node.address, 65_001, 90).await;
    let mut fast = RawPeer::established(fast_address, node.address, 65_002, 90).await;
    let bound = Duration::from_secs(20);
    fast.announcements(all.len(), bound).await;
    let rounds = 8;
    for _ in 0..rounds {
        node.configure(config(peers(), all[..1].to_vec())).await;
        node.configure(config(peers(), all.clone())).await;
        fast.send(&raw::keepalive()).await;
        // Another session comes up and is told all at once.
        fast.announcements(1, bound).await;
    }
    assert_eq!(state(&node.status().await, "slow"), State::Established);
    // What the slow one hears when it reads again: what the sockets held, a chunk, and the table once more at most.
    let mut heard = 0;
    let mut held = std::collections::BTreeSet::<Prefix>::new();
    within("the slow peer's table", bound, async {
        while held.len() < all.len() {
            if let Message::Update(update) = slow.next().await.unwrap().expect("the connection is open") {
                heard += update.withdrawn.len();
                for gone in &update.withdrawn {
                    held.remove(gone);
                }
                for announced in &update.announced {
                    heard += announced.prefixes.len();
                    held.extend(&announced.prefixes);
                }
            }
        }
    })
    .await;
    assert!(
        heard <= 2 * all.len() + 1,
        "{heard} changes after {rounds} rounds: history was kept"
    );
}

#[tokio::test]
async fn octets_that_trickle_in_one_by_one_make_a_session() {
    let (mut node, source) = node_and_peer(vec![]).await;
    let mut peer = RawPeer::connect(source, node.address, THEIRS).await;
    let learned = prefix("10.9.0.0/16");
    let mut all = raw::open(THEIRS, 90);
    all.extend(raw::keepalive());
    all.extend(raw::announce(THEIRS, &[learned]));
    for octet in all {
        peer.send(&[octet]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(node.route(learned, BOUND).await.paths.len(), 1);
}

#[tokio::test]
async fn a_connection_that_ends_within_a_message_leaves_nothing_behind() {
    let (mut node, source) = node_and_peer(vec![]).await;
    let learned = prefix("10.9.0.0/16");
    let update = raw::announce(THEIRS, &[learned]);
    let mut peer = RawPeer::established(source, node.address, THEIRS, 90).await;
    peer.send(&update[..update.len() - 1]).await;
    drop(peer);
    node.event("Down", BOUND, |k| matches!(k, EventKind::Down { .. }))
        .await;
    let mut peer = RawPeer::established(source, node.address, THEIRS, 90).await;
    node.until_established("p").await;
    assert_eq!(state(&node.status().await, "p"), State::Established);
    peer.send(&update).await;
    assert_eq!(node.route(learned, BOUND).await.paths.len(), 1);
}

#[tokio::test]
async fn the_reason_of_a_shutdown_arrives_although_much_lay_unread() {
    let (node, source) = node_and_peer(vec![]).await;
    let mut peer = RawPeer::established(source, node.address, THEIRS, 90).await;
    node.until_established("p").await;
    // One thread runs everything, so the driver reads nothing of this before it is told to stop.
    let flood = raw::keepalive().repeat(100_000);
    let sent = peer.stream.try_write(&flood).unwrap();
    assert!(sent > 64 * 1024, "{sent} octets are too few for this test");
    let ((), notification) = tokio::join!(node.shutdown("moving rack 12"), peer.notification(BOUND));
    assert_eq!((notification.code, notification.subcode), (6, 2));
    assert_eq!(notification.text(), Some("moving rack 12"));
}

#[tokio::test]
async fn the_reason_of_a_reset_arrives_behind_a_table_and_after_the_peers_own_end() {
    let (node, source) = node_and_peer(prefixes(200_000)).await;
    let mut peer = RawPeer::established(source, node.address, THEIRS, 90).await;
    node.until_established("p").await;
    // It reads nothing, says nonsense, and has then no more to say; but it is still there to hear.
    peer.send(&[0; 19]).await;
    peer.stream.shutdown().await.unwrap();
    node.until("the session is over", BOUND, |s| {
        state(s, "p") != State::Established
    })
    .await;
    let notification = peer.notification(LINGER).await;
    assert_eq!((notification.code, notification.subcode), (1, 1));
}

#[tokio::test]
async fn shutdown_does_not_wait_for_a_peer_that_never_closes() {
    let (node, source) = node_and_peer(prefixes(60_000)).await;
    let _peer = RawPeer::established(source, node.address, THEIRS, 90).await;
    node.until_established("p").await;
    let began = tokio::time::Instant::now();
    node.shutdown("reboot").await;
    assert!(
        began.elapsed() < LINGER + Duration::from_millis(500),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn everyone_who_asks_for_the_end_is_told_of_it() {
    let (node, source) = node_and_peer(vec![]).await;
    let _peer = RawPeer::established(source, node.address, THEIRS, 90).await;
    let (first, second, third) = tokio::join!(
        within("shutdown", BOUND, node.handle.shutdown("one".to_owned())),
        within("shutdown", BOUND, node.handle.shutdown("two".to_owned())),
        // Nobody may be let in again by a late command.
        within("listen", BOUND, node.handle.listen(vec![node.address])),
    );
    assert_eq!((first, second, third), (Ok(()), Ok(()), Ok(())));
    // Questions are still answered, also this one.
    let again = within("shutdown", BOUND, node.handle.shutdown("three".to_owned()));
    assert_eq!(again.await, Ok(()));
    let status = node.status().await;
    assert_eq!(state(&status, "p"), State::Idle);
    assert_eq!(status.listeners, []);
}

#[tokio::test]
async fn a_busy_port_is_said_and_tried_again() {
    let (node, source) = node_and_peer(vec![]).await;
    let busy = std::net::TcpListener::bind(SocketAddr::new(own_address(), 0)).unwrap();
    let address = busy.local_addr().unwrap();
    node.handle.listen(vec![node.address, address]).await.unwrap();
    let status = node.status().await;
    assert_eq!(status.listeners[0], (node.address, None));
    let reason = status.listeners[1].1.clone().unwrap();
    assert!(reason.contains("in use"), "{reason}");
    drop(busy);
    let retried = flatroute_bgp_io::LISTEN_RETRY + Duration::from_secs(2);
    node.until("a listener", retried, |s| s.listeners[1].1.is_none())
        .await;
    RawPeer::established(source, address, THEIRS, 90).await;
}

#[tokio::test]
async fn addresses_to_listen_on_change_in_place() {
    let (node, source) = node_and_peer(vec![]).await;
    let _peer = RawPeer::established(source, node.address, THEIRS, 90).await;
    node.until_established("p").await;
    let new = SocketAddr::new(own_address(), 0);
    node.handle.listen(vec![new]).await.unwrap();
    let status = node.status().await;
    assert_eq!(status.listeners.len(), 1);
    let listening = status.listeners[0].0;
    assert_eq!(listening.ip(), new.ip());
    let refused = TcpStream::connect(node.address).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    drop(
        within("connect", BOUND, TcpStream::connect(listening))
            .await
            .unwrap(),
    );
    // Telling the same once more touches nothing, not even the port that the kernel chose.
    node.handle.listen(vec![new]).await.unwrap();
    let status = node.status().await;
    assert_eq!(status.listeners[0].0, listening);
    assert_eq!(flaps(&status), 0);
    assert_eq!(state(&status, "p"), State::Established);
}

#[tokio::test]
async fn a_stranger_is_cut_off_at_once() {
    let (mut node, _) = node_and_peer(vec![]).await;
    let mut stranger = RawPeer::connect(own_address(), node.address, THEIRS).await;
    let began = tokio::time::Instant::now();
    let chunk = [0xff; 4096];
    within("the end of a connection", BOUND, async {
        while stranger.stream.write_all(&chunk).await.is_ok() {}
    })
    .await;
    // Nothing is to be delivered, so nothing of it is read.
    assert!(began.elapsed() < LINGER / 2, "{:?}", began.elapsed());
    node.event("Stranger", BOUND, |k| matches!(k, EventKind::Stranger(_)))
        .await;
    let heard = stranger.stream.read(&mut [0; 64]).await;
    assert!(matches!(heard, Ok(0) | Err(_)), "{heard:?}");
}

/// Writes KEEPALIVEs as fast as they are taken, on a thread of its own, until it is dropped.
struct Flood {
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Flood {
    fn start(stream: &TcpStream) -> Self {
        let mut stream = std::net::TcpStream::from(socket2::SockRef::from(stream).try_clone().unwrap());
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = std::sync::Arc::clone(&stop);
        let chunk = raw::keepalive().repeat(4000);
        let thread = std::thread::spawn(move || {
            let mut rest: &[u8] = &chunk;
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                match stream.write(rest) {
                    Ok(count) => rest = &rest[count..],
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                        std::thread::yield_now();
                    }
                    Err(_) => return,
                }
                if rest.is_empty() {
                    rest = &chunk;
                }
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

#[tokio::test]
async fn a_peer_that_never_stops_talking_still_hears_us() {
    let all = prefixes(60_000);
    let (node, source) = node_and_peer(all.clone()).await;
    let mut peer = RawPeer::established(source, node.address, THEIRS, 90).await;
    let _flood = Flood::start(&peer.stream);
    peer.announcements(all.len(), Duration::from_secs(20)).await;
}

#[tokio::test]
async fn a_peer_that_never_stops_talking_keeps_no_route_from_the_kernel() {
    let (flooder, other) = (own_address(), own_address());
    let peers = [("flooder", peer(flooder, 65_001)), ("other", peer(other, 65_002))];
    let mut node = Node::start(own_address(), config(peers, [])).await;
    let talker = RawPeer::established(flooder, node.address, 65_001, 90).await;
    let mut other = RawPeer::established(other, node.address, 65_002, 90).await;
    let _flood = Flood::start(&talker.stream);
    for n in 0..20 {
        let learned = prefix(&format!("10.9.{n}.0/24"));
        other.send(&raw::announce(65_002, &[learned])).await;
        let change = node.route(learned, Duration::from_secs(2)).await;
        assert_eq!(change.paths.len(), 1);
    }
}

#[tokio::test]
async fn what_came_in_time_counts_although_we_were_stopped_for_longer_than_the_hold_time() {
    let source = own_address();
    let node = Node::start(own_address(), config([("p", hold(peer(source, THEIRS), 3))], [])).await;
    let mut peer = RawPeer::established(source, node.address, THEIRS, 3).await;
    node.until_established("p").await;
    let half = Duration::from_secs(2);
    // The one thread of this test stands still, as if the machine had been paused.
    std::thread::sleep(half);
    peer.stream.try_write(&raw::keepalive()).unwrap();
    std::thread::sleep(half);
    // Our own KEEPALIVE is due as well: after it, all timers have been judged.
    while peer.message().await != Message::Keepalive {}
    let status = node.status().await;
    assert_eq!(state(&status, "p"), State::Established, "{status:#?}");
    assert_eq!(flaps(&status), 0);
}

/// Connects and says all that a session needs, before the driver has even seen the connection.
fn blurt(source: IpAddr, to: SocketAddr, ttl: u32, learned: Prefix) -> RawPeer {
    let socket = socket2::Socket::new(socket2::Domain::for_address(to), socket2::Type::STREAM, None).unwrap();
    socket.set_ttl_v4(ttl).unwrap();
    socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let mut stream = std::net::TcpStream::from(socket);
    let mut all = raw::open(THEIRS, 90);
    all.extend(raw::keepalive());
    all.extend(raw::announce(THEIRS, &[learned]));
    stream.write_all(&all).unwrap();
    RawPeer::adopt(stream, THEIRS)
}

#[tokio::test]
async fn with_gtsm_who_comes_from_afar_is_not_even_heard() {
    let source = own_address();
    let mut near = peer(source, THEIRS);
    near.ttl = Ttl::Security(1);
    let mut node = Node::start(own_address(), config([("p", near)], [])).await;
    let learned = prefix("10.9.0.0/16");
    for ttl in [64, 254] {
        let mut far = blurt(source, node.address, ttl, learned);
        let end = within("the end of the connection", BOUND, far.next()).await;
        assert!(matches!(end, Ok(None) | Err(_)), "TTL {ttl}: {end:?}");
        while let Ok(event) = node.events.try_recv() {
            assert!(
                !matches!(event.kind, EventKind::Established),
                "TTL {ttl} is established"
            );
        }
    }
    let _near = blurt(source, node.address, 255, learned);
    assert_eq!(node.route(learned, BOUND).await.paths.len(), 1);
}

/// CPU time of this thread, on which the drivers of a test run.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

#[tokio::test]
async fn an_idle_pair_of_sessions_takes_no_time() {
    let (a, b) = pair((LOOPBACK6, LOOPBACK6), ConnectMode::Both).await;
    a.until("End-of-RIB", BOUND, |s| s.end_of_rib_from_all).await;
    b.until("End-of-RIB", BOUND, |s| s.end_of_rib_from_all).await;
    let before = cpu_time();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let used = cpu_time() - before;
    assert!(used < Duration::from_millis(20), "{used:?} of one idle second");
}

/// A node with two neighbours, the second of which has been told all; the first has just announced a route.
async fn node_with_news() -> (Node, RawPeer, RawPeer) {
    let (here, first, second) = (own_address(), own_address(), own_address());
    let second_peer = peer(second, THEIRS + 1);
    let node = Node::start(here, config([("p", peer(first, THEIRS)), ("q", second_peer)], [])).await;
    let interface = flatroute_bgp_io::Interface {
        index: 1,
        addresses: vec![
            ipnetwork::IpNetwork::from(here),
            "2001:db8::1/64".parse().unwrap(),
        ],
    };
    node.handle.interfaces(vec![interface]).await.unwrap();
    let mut first = RawPeer::established(first, node.address, THEIRS, 90).await;
    let second = RawPeer::established(second, node.address, THEIRS + 1, 90).await;
    node.until("both", BOUND, |s| {
        ["p", "q"].iter().all(|name| state(s, name) == State::Established)
    })
    .await;
    first.send(&raw::announce(THEIRS, &prefixes(1))).await;
    (node, first, second)
}

#[tokio::test]
async fn a_neighbour_is_told_when_the_kernel_has_the_route() {
    let (mut node, _first, mut second) = node_with_news().await;
    let batch = within("the route", BOUND, node.routes.recv()).await.unwrap();
    assert_eq!(batch.changes.len(), 1);
    batch.written.send(()).unwrap();
    second.announcements(1, BOUND).await;
}

#[tokio::test]
async fn a_neighbour_does_not_wait_for_a_kernel_that_is_silent() {
    let (mut node, _first, mut second) = node_with_news().await;
    let batch = within("the route", BOUND, node.routes.recv()).await.unwrap();
    let since = tokio::time::Instant::now();
    second.announcements(1, BOUND).await;
    // The batch lay ready for a moment before it was taken here.
    let waited = since.elapsed();
    assert!(waited > KERNEL_PATIENCE / 4, "told after {waited:?}");
    drop(batch);
}
