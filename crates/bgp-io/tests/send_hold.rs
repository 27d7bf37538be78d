//! The send hold timer (RFC 9687) over real sockets.
#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

mod world;

use std::time::Duration;

use flatroute_bgp::peer::State;
use flatroute_bgp::speaker::EventKind;
use flatroute_bgp::wire::Message;
use tokio::io::AsyncReadExt;

use world::raw::{self, RawPeer};
use world::{BOUND, Node, config, flaps, own_address, peer, prefixes, state, within};

const THEIRS: u32 = 65_001;

/// The peer sends KEEPALIVEs and never reads. What it would have to read is
/// more than sockets hold.
#[tokio::test]
async fn a_peer_that_never_reads_is_given_up_with_8_0() {
    let source = own_address();
    let all = prefixes(60_000);
    let mut slow = peer(source, THEIRS);
    slow.session.hold_time = Duration::from_secs(3);
    slow.session.send_hold_time = Some(Duration::from_secs(4));
    let mut node = Node::start(own_address(), config([("p", slow)], all)).await;
    let mut peer = RawPeer::established(source, node.address, THEIRS, 3).await;
    let began = tokio::time::Instant::now();
    let reason = within("the session's end", Duration::from_secs(20), async {
        loop {
            peer.send(&raw::keepalive()).await;
            let event = tokio::time::timeout(Duration::from_millis(500), node.events.recv()).await;
            if let Ok(Some(event)) = event
                && let EventKind::Down { reason } = event.kind
            {
                break reason;
            }
        }
    })
    .await;
    assert!(began.elapsed() >= Duration::from_secs(4), "{:?}", began.elapsed());
    assert!(reason.contains("Send Hold Timer Expired (8/0)"), "{reason}");
    assert!(
        reason.contains("took nothing of what was sent to it for 4 s"),
        "{reason}"
    );
    let error = node.status().await.peers[0].last_error.clone().unwrap();
    assert_eq!((error.code, error.subcode), (8, 0));
    // The connection is gone for the peer too, soon after.
    within("the end of the connection", BOUND, async {
        let mut buffer = vec![0; 65_536];
        while matches!(peer.stream.read(&mut buffer).await, Ok(n) if n > 0) {}
    })
    .await;
}

/// Nothing waits, however short the send hold time is: an idle session lives.
#[tokio::test]
async fn a_session_with_nothing_to_send_is_not_given_up() {
    let source = own_address();
    let mut idle = peer(source, THEIRS);
    idle.session.hold_time = Duration::ZERO;
    idle.session.send_hold_time = Some(Duration::from_secs(1));
    let node = Node::start(own_address(), config([("p", idle)], [])).await;
    let mut peer = RawPeer::established(source, node.address, THEIRS, 0).await;
    // End-of-RIB of both families, and then nothing.
    for _ in 0..2 {
        assert!(matches!(peer.message().await, Message::Update(_)));
    }
    let silence = tokio::time::timeout(Duration::from_secs(3), peer.next()).await;
    assert!(silence.is_err(), "{silence:?}");
    assert_eq!(state(&node.status().await, "p"), State::Established);
    assert_eq!(flaps(&node.status().await), 0);
}
