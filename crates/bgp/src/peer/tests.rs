//! What a peer does on its own; two of them together are in the `pair` tests of this crate.

use super::closing::MAX_DRAINS;
use super::*;
use crate::session::PeerAsn;
use crate::types::{Asn, FamilySet, RouterId};

const NOW: Instant = Instant::ZERO;

fn peer() -> Peer {
    let settings = Settings {
        local_asn: Asn(64512),
        router_id: RouterId(1),
        peer_asn: PeerAsn::External,
        connect_mode: ConnectMode::Both,
        hold_time: Duration::from_secs(90),
        keepalive_time: None,
        send_hold_time: None,
        connect_retry_time: Duration::from_secs(5),
        families: FamilySet::BOTH,
        extended_next_hop: false,
        add_path: None,
        role: None,
    };
    Peer::new(settings, 7, 100, NOW)
}

fn outputs(peer: &mut Peer) -> Vec<Output> {
    std::iter::from_fn(|| peer.poll_output()).collect()
}

fn sent(peer: &mut Peer, conn: ConnId) -> Vec<u8> {
    let mut out = BytesMut::new();
    peer.poll_transmit(conn, &mut out, NOW);
    out.to_vec()
}

#[test]
fn a_peer_that_was_never_started_does_nothing_and_refuses() {
    let mut peer = peer();
    assert_eq!((peer.state(), peer.poll_timeout()), (State::Idle, None));
    let conn = ConnId::Accepted(1);
    peer.handle(Input::Accepted { conn }, NOW);
    let said = outputs(&mut peer);
    assert!(
        matches!(&said[..], [Output::Notified { .. }, Output::Close(c)] if *c == conn),
        "{said:?}"
    );
    assert_eq!(sent(&mut peer, conn)[18..], [3, 6, 5]);
    assert_eq!(peer.state(), State::Idle);
}

#[test]
fn starting_dials_at_once_and_numbers_from_the_base() {
    let mut peer = peer();
    peer.handle(Input::Start, NOW);
    assert!(outputs(&mut peer).contains(&Output::Dial(ConnId::Dialled(100))));
    peer.handle(Input::Start, NOW);
    assert_eq!(outputs(&mut peer), []);
}

#[test]
fn a_newer_incoming_connection_replaces_one_without_a_session() {
    let mut peer = peer();
    peer.handle(Input::Start, NOW);
    let (old, new) = (ConnId::Accepted(1), ConnId::Accepted(2));
    peer.handle(Input::Accepted { conn: old }, NOW);
    assert_eq!(sent(&mut peer, old)[18], 1, "an OPEN");
    outputs(&mut peer);
    peer.handle(Input::Accepted { conn: new }, NOW);
    assert_eq!(outputs(&mut peer).first(), Some(&Output::Close(old)));
    assert_eq!(peer.state(), State::OpenSent);
    assert_eq!(sent(&mut peer, old)[18..], [3, 6, 7]);
    assert_eq!(sent(&mut peer, new)[18], 1);
    assert_eq!(peer.status().last_error, None);
}

#[test]
fn stopping_while_tcp_connects_cancels_the_attempt() {
    let mut peer = peer();
    peer.handle(Input::Start, NOW);
    outputs(&mut peer);
    let text = "maintenance".to_owned();
    peer.handle(
        Input::Stop {
            subcode: CeaseSubcode::AdministrativeShutdown,
            text,
        },
        NOW,
    );
    let said = outputs(&mut peer);
    assert_eq!(said.first(), Some(&Output::Close(ConnId::Dialled(100))));
    assert_eq!((peer.state(), peer.poll_timeout()), (State::Idle, None));
    assert_eq!(sent(&mut peer, ConnId::Dialled(100)), []);
    // The driver's answer comes too late.
    peer.handle(
        Input::Connected {
            conn: ConnId::Dialled(100),
        },
        NOW,
    );
    assert_eq!((outputs(&mut peer), peer.state()), (vec![], State::Idle));
}

#[test]
fn last_words_that_nobody_fetches_do_not_pile_up() {
    let mut peer = peer();
    for n in 0..1000 {
        peer.handle(
            Input::Accepted {
                conn: ConnId::Accepted(n),
            },
            NOW,
        );
    }
    assert_eq!(peer.drains.len(), MAX_DRAINS);
}

#[test]
fn an_error_of_the_connection_is_kept_for_the_status() {
    let mut peer = peer();
    peer.handle(Input::Start, NOW);
    let conn = ConnId::Dialled(100);
    peer.handle(
        Input::ConnectFailed {
            conn,
            error: "no route to host".to_owned(),
        },
        NOW,
    );
    let status = peer.status();
    let error = status.last_error.unwrap();
    assert_eq!(
        (error.direction, error.code, error.text.as_str()),
        (Direction::Local, 0, "could not connect: no route to host")
    );
    let pause = status.next_attempt.unwrap().since(NOW);
    assert!(pause >= Duration::from_millis(3750) && pause <= Duration::from_millis(6250));
}

/// Any fact about any connection; the messages are an OPEN and a KEEPALIVE.
fn any_input<'a>(dice: &mut Jitter, next_conn: u64, open: &'a [u8], keepalive: &'a [u8]) -> Input<'a> {
    let n = dice.draw() % 4;
    let conn = match dice.draw() % 2 {
        0 => ConnId::Dialled(next_conn.saturating_sub(n)),
        _ => ConnId::Accepted(n),
    };
    match dice.draw() % 16 {
        0 | 1 => Input::Start,
        2 => Input::Accepted {
            conn: ConnId::Accepted(n),
        },
        3 | 4 => Input::Connected { conn },
        5 => Input::ConnectFailed {
            conn,
            error: String::new(),
        },
        6 => Input::Closed { conn, error: None },
        7 => Input::Timeout,
        8 => Input::RequestRefresh(crate::types::Family::Ipv4),
        9 if n == 0 => Input::Stop {
            subcode: CeaseSubcode::PeerDeconfigured,
            text: String::new(),
        },
        10 if n == 0 => Input::Reset {
            notification: Notification::hold_timer_expired(),
        },
        9..=12 => Input::Received { conn, bytes: open },
        _ => Input::Received {
            conn,
            bytes: keepalive,
        },
    }
}

/// Facts in an order that no driver would give: nothing panics, sessions and Downs alternate, timers end.
#[test]
fn any_input_in_any_order_is_survived() {
    let mut open = BytesMut::new();
    crate::wire::Open {
        version: 4,
        asn: Asn(64513),
        hold_time: 9,
        router_id: RouterId(2),
        capabilities: crate::wire::Capabilities::default(),
    }
    .encode(&mut open);
    let mut keepalive = BytesMut::new();
    crate::wire::encode_keepalive(&mut keepalive);
    let mut sessions = 0;
    for seed in 0..300 {
        let mut dice = Jitter::new(seed);
        let mut peer = peer();
        let (mut now, mut up) = (NOW, false);
        for _ in 0..400 {
            let input = any_input(&mut dice, peer.next_conn, &open, &keepalive);
            now = now + Duration::from_millis(dice.draw() % 1500);
            peer.handle(input, now);
            peer.handle(Input::Timeout, now);
            assert!(
                peer.poll_timeout().is_none_or(|at| at > now),
                "seed {seed}: a timer that does not end"
            );
            for output in outputs(&mut peer) {
                match output {
                    Output::Established { .. } => {
                        assert!(!std::mem::replace(&mut up, true), "seed {seed}");
                        sessions += 1;
                    }
                    Output::Down { .. } => assert!(std::mem::replace(&mut up, false), "seed {seed}"),
                    Output::Offending(_) | Output::Update(_) | Output::Refresh(..) => {
                        assert!(up, "seed {seed}");
                    }
                    Output::Dial(_)
                    | Output::Close(_)
                    | Output::Notified { .. }
                    | Output::Transition { .. } => {}
                }
            }
            assert_eq!(up, peer.state() == State::Established, "seed {seed}");
            assert_eq!(up, peer.status().negotiated.is_some(), "seed {seed}");
        }
    }
    assert!(sessions > 100, "only {sessions} sessions came up");
}
