//! What goes wrong between two nodes: black holes, resets, silence, and what the machines make of it.

use std::time::Duration;

use bytes::BytesMut;
use flatroute_bgp::peer::{DownReason, Input, MAX_CONNECTIONS, Output, PARKING_TIME, State};
use flatroute_bgp::session::{ConnectMode, OPEN_WAIT};
use flatroute_bgp::types::{ConnId, Instant};
use flatroute_bgp::wire::CeaseSubcode;

use crate::harness::{Dice, Pair, Slicing, Who, secs, settings};

fn up(seed: u64) -> Pair {
    let mut pair = Pair::plain(seed);
    pair.start();
    pair.run_until(secs(10), Pair::agreed);
    pair
}

fn sent(reason: &DownReason) -> Option<(u8, u8)> {
    match reason {
        DownReason::Sent { notification, .. } => Some((notification.code, notification.subcode)),
        DownReason::Received(_) | DownReason::Closed(_) | DownReason::Superseded => None,
    }
}

#[test]
fn a_black_hole_ends_both_sessions_by_the_hold_timer_and_they_come_back() {
    for seed in 0..100 {
        let mut pair = up(seed);
        pair.run(secs(seed * 7));
        assert!(
            pair.a.downs.is_empty() && pair.b.downs.is_empty(),
            "KEEPALIVEs keep it up"
        );
        pair.black_hole = true;
        let cut = pair.now;
        pair.run_until(secs(91), |p| p.a.session.is_none() && p.b.session.is_none());
        // The last KEEPALIVE came at most 30 s before the cut.
        assert!(pair.now.since(cut) >= secs(60), "seed {seed}");
        assert_eq!(sent(&pair.a.downs[0]), Some((4, 0)));
        assert_eq!(sent(&pair.b.downs[0]), Some((4, 0)));
        pair.run(secs(300));
        assert!(pair.a.session.is_none());
        pair.black_hole = false;
        pair.run_until(secs(300), Pair::agreed);
        pair.run(secs(300));
        assert!(pair.agreed(), "seed {seed}: {:?}", pair.story());
    }
}

#[test]
fn a_reset_is_followed_by_a_new_session() {
    for seed in 0..200 {
        let mut pair = up(seed);
        pair.run(secs(100));
        let cut = pair.now;
        pair.reset();
        assert_eq!(
            pair.a.downs,
            [DownReason::Closed(Some("connection reset by peer".to_owned()))]
        );
        pair.run_until(secs(7), Pair::agreed);
        assert!(
            pair.now.since(cut) >= Duration::from_millis(3750),
            "no attempt before 75 % of 5 s"
        );
        assert_eq!((pair.a.peer.status().flaps, pair.b.peer.status().flaps), (1, 1));
    }
}

#[test]
fn a_passive_peer_takes_a_new_connection_at_once() {
    let mut a = settings(64512, 1);
    a.connect_mode = ConnectMode::Passive;
    let mut pair = Pair::new(a, settings(64513, 2), 3);
    pair.start();
    pair.run_until(secs(1), Pair::agreed);
    for _ in 0..5 {
        // B's operator resets; B starts again at once, and A must not make it wait.
        let text = String::new();
        pair.input(
            Who::B,
            Input::Stop {
                subcode: CeaseSubcode::AdministrativeReset,
                text,
            },
        );
        pair.input(Who::B, Input::Start);
        pair.run_until(Duration::from_millis(50), Pair::agreed);
    }
    assert!(pair.a.dials.is_empty());
}

#[test]
fn two_passive_peers_never_connect_and_never_wake() {
    let (mut a, mut b) = (settings(64512, 1), settings(64513, 2));
    a.connect_mode = ConnectMode::Passive;
    b.connect_mode = ConnectMode::Passive;
    let mut pair = Pair::new(a, b, 4);
    pair.start();
    assert!(!pair.step(pair.now + secs(1_000_000)), "nothing is planned");
    assert_eq!(pair.states(), (State::Active, State::Active));
}

#[test]
fn an_active_peer_refuses_what_is_dialled_to_it() {
    let (mut a, mut b) = (settings(64512, 1), settings(64513, 2));
    a.connect_mode = ConnectMode::Active;
    b.connect_mode = ConnectMode::Active;
    let mut pair = Pair::new(a, b, 5);
    pair.start();
    pair.run(secs(600));
    assert!(pair.a.ups.is_empty() && pair.b.ups.is_empty());
    let error = pair.a.peer.status().last_error.unwrap();
    assert_eq!((error.code, error.subcode), (6, 5), "{error:?}");
}

/// The pauses between attempts at a node that does not answer, from the dials that were made.
fn pauses(dials: &[Instant]) -> Vec<Duration> {
    dials.windows(2).map(|w| w[1].since(w[0])).collect()
}

fn within_a_quarter(pause: Duration, of: Duration) -> bool {
    pause >= of * 3 / 4 && pause <= of * 5 / 4
}

#[test]
fn attempts_back_off_and_a_stable_session_forgives() {
    for seed in 0..50 {
        let mut pair = Pair::plain(seed);
        pair.latency = Duration::ZERO;
        pair.b.listening = false;
        pair.input(Who::A, Input::Start);
        pair.run(secs(1500));
        for (i, pause) in pauses(&pair.a.dials).into_iter().enumerate() {
            let factor = 1 << i.min(5);
            assert!(
                within_a_quarter(pause, secs(5) * factor),
                "seed {seed}: {pause:?} after {i} failures"
            );
        }
        assert!(pair.a.dials.len() >= 10);

        // Up for a moment only: the failures still count.
        pair.b.listening = true;
        pair.input(Who::B, Input::Start);
        pair.run_until(secs(300), Pair::agreed);
        pair.input(Who::B, stop());
        pair.b.listening = false;
        pair.run(secs(1));
        let next = pair.a.peer.status().next_attempt.unwrap();
        assert!(next.since(pair.now) > secs(100), "seed {seed}");

        // Up for a good while: they are forgiven.
        pair.b.listening = true;
        pair.input(Who::B, Input::Start);
        pair.run_until(secs(300), Pair::agreed);
        pair.run(secs(61));
        pair.input(Who::B, stop());
        pair.run(secs(1));
        let next = pair.a.peer.status().next_attempt.unwrap();
        assert!(next.since(pair.now) < secs(7), "seed {seed}");
    }
}

fn stop() -> Input<'static> {
    Input::Stop {
        subcode: CeaseSubcode::AdministrativeShutdown,
        text: String::new(),
    }
}

#[test]
fn an_attempt_that_nobody_answers_ends_after_ten_seconds() {
    let mut pair = Pair::plain(6);
    pair.black_hole = true;
    pair.input(Who::A, Input::Start);
    pair.run(secs(9));
    assert_eq!(pair.a.peer.state(), State::Connect);
    pair.run(secs(2));
    assert_eq!(pair.a.peer.state(), State::Active);
    assert!(
        pair.a
            .peer
            .status()
            .last_error
            .unwrap()
            .text
            .contains("did not connect in time")
    );
}

/// A connection on which the peer says nothing: the large hold time ends it, and meanwhile we try our own.
#[test]
fn a_silent_incoming_connection_does_not_stop_our_attempts() {
    let mut pair = Pair::plain(7);
    pair.mute = Some(Who::B);
    pair.b.listening = false;
    pair.input(Who::B, Input::Start);
    pair.run(secs(1));
    assert_eq!(pair.a.peer.state(), State::Idle, "a stopped peer refuses");
    pair.input(Who::A, Input::Start);
    pair.run(secs(100));
    assert!(pair.a.dials.len() >= 3, "{:?}", pair.a.dials);
    pair.b.listening = true;
    pair.run_until(secs(300), Pair::agreed);
}

/// Everything at once, many times: once the faults stop, a session always comes.
#[test]
fn any_history_of_faults_ends_in_one_session() {
    for seed in 0..300 {
        let mut dice = Dice(seed ^ 0xfa17);
        let mut pair = Pair::plain(seed);
        pair.latency = Duration::from_millis(1 + dice.below(500));
        pair.slicing = Slicing::Random;
        pair.start();
        for _ in 0..30 {
            let pause = dice.upto(secs(40));
            pair.run(pause);
            match dice.below(8) {
                0 | 1 => pair.reset(),
                2 => pair.black_hole = !pair.black_hole,
                3 => pair.a.listening = !pair.a.listening,
                4 => pair.b.listening = !pair.b.listening,
                5 => pair.input(Who::A, stop()),
                6 => {
                    let mut s = pair.b.peer.settings().clone();
                    s.hold_time = secs(30 + dice.below(60));
                    let now = pair.now;
                    pair.b.peer.set_settings(s, now);
                    pair.input(Who::B, Input::Timeout);
                }
                _ => pair.input(Who::A, Input::Start),
            }
        }
        pair.black_hole = false;
        (pair.a.listening, pair.b.listening) = (true, true);
        pair.start();
        pair.run_until(secs(600), Pair::agreed);
        // Octets may have been lost in that connection: then the hold timer ends it once more.
        pair.run(secs(400));
        let flaps = (pair.a.downs.len(), pair.b.downs.len());
        pair.run(secs(400));
        assert!(pair.agreed(), "seed {seed}: {:?}", pair.story());
        assert_eq!(
            flaps,
            (pair.a.downs.len(), pair.b.downs.len()),
            "seed {seed}: {:?}",
            pair.story()
        );
    }
}

/// A connection that comes in beside a session is refused after its time in the parking place, and the session
/// never notices.
#[test]
fn a_second_connection_beside_a_session_is_refused() {
    let mut pair = up(9);
    let conn = ConnId::Accepted(777);
    pair.a.peer.handle(Input::Accepted { conn }, pair.now);
    let mut out = BytesMut::new();
    assert!(
        !pair.a.peer.poll_transmit(conn, &mut out, pair.now),
        "no OPEN: the peer may not choose it"
    );
    let end = pair.a.peer.poll_timeout().unwrap();
    assert!(end <= pair.now + PARKING_TIME);
    pair.a.peer.handle(Input::Timeout, pair.now + PARKING_TIME);
    let outputs: Vec<Output> = std::iter::from_fn(|| pair.a.peer.poll_output()).collect();
    assert!(matches!(outputs[..], [Output::Notified { .. }, Output::Close(c)] if c == conn));
    assert!(pair.a.peer.poll_transmit(conn, &mut out, pair.now));
    assert_eq!(out[18..], [3, 6, 7]);
    pair.run(secs(200));
    assert!(pair.agreed() && pair.a.downs.is_empty());
}

/// Octets beyond one OPEN end the stay early.
#[test]
fn the_parking_place_is_bounded() {
    let mut pair = up(10);
    let conn = ConnId::Accepted(777);
    pair.a.peer.handle(Input::Accepted { conn }, pair.now);
    pair.a.peer.handle(
        Input::Received {
            conn,
            bytes: &[0xff; 4096],
        },
        pair.now,
    );
    assert_eq!(pair.a.peer.poll_output(), None);
    pair.a
        .peer
        .handle(Input::Received { conn, bytes: &[0xff] }, pair.now);
    assert!(matches!(pair.a.peer.poll_output(), Some(Output::Notified { .. })));
    assert_eq!(pair.a.peer.poll_output(), Some(Output::Close(conn)));
}

/// Freezes B, which goes on to send KEEPALIVEs, for so long.
fn freeze(pair: &mut Pair, time: Duration) {
    pair.frozen = Some(Who::B);
    let mut keepalive = BytesMut::new();
    flatroute_bgp::wire::encode_keepalive(&mut keepalive);
    let end = pair.now + time;
    while pair.now < end {
        pair.send(Who::B, &keepalive);
        pair.run(secs(10));
        if pair.a.session.is_none() {
            return;
        }
    }
}

#[test]
fn a_peer_that_talks_and_never_reads_is_given_up_with_8_0() {
    for seed in 0..50 {
        let mut pair = up(seed);
        pair.run(secs(seed * 7));
        let frozen = pair.now;
        freeze(&mut pair, secs(1000));
        assert_eq!(sent(&pair.a.downs[0]), Some((8, 0)), "seed {seed}");
        // The first KEEPALIVE that the socket did not take, and then twice the hold time.
        let took = pair.now.since(frozen);
        assert!(
            took >= secs(180) && took <= secs(180 + 30 + 10),
            "seed {seed}: {took:?}"
        );
        let error = pair.a.peer.status().last_error.unwrap();
        assert_eq!((error.code, error.subcode), (8, 0));
        assert!(
            error
                .text
                .contains("took nothing of what was sent to it for 180 s"),
            "{}",
            error.text
        );
        pair.thaw();
        pair.run_until(secs(300), Pair::agreed);
    }
}

#[test]
fn a_peer_that_reads_again_in_time_keeps_its_session() {
    for seed in 0..50 {
        let mut pair = up(seed);
        for _ in 0..5 {
            // B itself hears nothing meanwhile, and its clock stands still.
            freeze(&mut pair, secs(170));
            pair.thaw();
            pair.run(secs(1));
        }
        assert!(pair.a.downs.is_empty(), "seed {seed}: {:?}", pair.a.downs);
    }
}

#[test]
fn without_a_hold_time_nobody_is_given_up_for_not_reading() {
    let (mut a, mut b) = (settings(64512, 1), settings(64513, 2));
    (a.hold_time, b.hold_time) = (Duration::ZERO, Duration::ZERO);
    let mut pair = Pair::new(a, b, 3);
    pair.start();
    pair.run_until(secs(10), Pair::agreed);
    // Something that waits.
    pair.frozen = Some(Who::B);
    pair.input(Who::A, Input::RequestRefresh(flatroute_bgp::types::Family::Ipv4));
    pair.run(secs(1_000_000));
    assert!(pair.a.downs.is_empty());
}

/// A peer that connects again and again: each new connection replaces the one before, and all that is held of it is
/// bounded.
#[test]
fn a_peer_that_connects_many_times_holds_few_connections() {
    let mut pair = Pair::plain(12);
    pair.b.listening = false;
    pair.input(Who::A, Input::Start);
    // The one that A dialled.
    let mut open = std::collections::BTreeSet::from([ConnId::Dialled(1000)]);
    let mut most = 0;
    for n in 1..1000 {
        let conn = ConnId::Accepted(n);
        open.insert(conn);
        pair.a.peer.handle(Input::Accepted { conn }, pair.now);
        let mut out = BytesMut::new();
        while let Some(output) = pair.a.peer.poll_output() {
            match output {
                Output::Dial(conn) => _ = open.insert(conn),
                Output::Close(conn) => {
                    open.remove(&conn);
                    pair.a.peer.poll_transmit(conn, &mut out, pair.now);
                }
                Output::Established { .. }
                | Output::Down { .. }
                | Output::Notified { .. }
                | Output::Offending(_)
                | Output::Update(_)
                | Output::Refresh(..)
                | Output::Transition { .. } => {}
            }
        }
        most = most.max(open.len());
        pair.now = pair.now + Duration::from_millis(10);
    }
    assert!(most <= MAX_CONNECTIONS, "{most} connections at once");
}

/// It says nothing at all: the connection that it opened is closed after [`OPEN_WAIT`], not after four minutes.
#[test]
fn a_peer_that_opens_and_says_nothing_is_not_waited_for_long() {
    let mut a = settings(64512, 1);
    a.connect_mode = ConnectMode::Passive;
    let mut pair = Pair::new(a, settings(64513, 2), 13);
    pair.mute = Some(Who::B);
    pair.input(Who::A, Input::Start);
    pair.input(Who::B, Input::Start);
    pair.run(OPEN_WAIT - secs(1));
    assert_eq!(pair.a.peer.state(), State::OpenSent);
    pair.run(secs(2));
    let error = pair.a.peer.status().last_error.unwrap();
    assert_eq!((error.code, error.subcode), (4, 0), "{error:?}");
    assert!(
        error.text.contains("no OPEN from the peer for 60 s"),
        "{}",
        error.text
    );
}
