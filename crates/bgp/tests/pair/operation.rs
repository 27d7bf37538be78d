//! What operators do: shut down with a reason, start, change settings; and what a session carries meanwhile.

use std::time::Duration;

use bytes::BytesMut;
use flatroute_bgp::peer::{DownReason, FORGIVEN_AFTER, Input, State};
use flatroute_bgp::types::Family;
use flatroute_bgp::wire::{self, CeaseSubcode, Notification};

use crate::harness::{Pair, Slicing, Who, secs};

fn up(slicing: Slicing) -> Pair {
    let mut pair = Pair::plain(21);
    pair.slicing = slicing;
    pair.start();
    pair.run_until(secs(10), Pair::agreed);
    pair
}

fn received(reason: &DownReason) -> &Notification {
    match reason {
        DownReason::Received(notification) => notification,
        DownReason::Sent { .. } | DownReason::Closed(_) | DownReason::Superseded => {
            panic!("not received: {reason}")
        }
    }
}

#[test]
fn a_start_goes_through_the_states_of_the_rfc() {
    let mut pair = Pair::plain(21);
    pair.input(Who::A, Input::Start);
    pair.b.peer.handle(Input::Start, pair.now);
    pair.run(secs(1));
    let states: Vec<State> = pair.a.transitions.iter().map(|t| t.1).collect();
    assert_eq!(
        states,
        [
            State::Active,
            State::Connect,
            State::OpenSent,
            State::OpenConfirm,
            State::Established
        ],
        "{:?}",
        pair.story()
    );
    assert!(pair.a.transitions.iter().all(|t| !t.2.is_empty()));
}

#[test]
fn a_shutdown_says_why_and_lasts_until_the_next_start() {
    let mut pair = up(Slicing::Whole);
    let text = "rack 7 is being moved".to_owned();
    pair.input(
        Who::A,
        Input::Stop {
            subcode: CeaseSubcode::AdministrativeShutdown,
            text: text.clone(),
        },
    );
    assert_eq!(pair.a.peer.state(), State::Idle);
    pair.run(secs(1));
    let notification = received(&pair.b.downs[0]);
    assert_eq!((notification.code, notification.subcode), (6, 2));
    assert_eq!(notification.text(), Some(text.as_str()));
    assert!(pair.b.peer.status().last_error.unwrap().text.contains(&text));
    pair.run(secs(1000));
    assert_eq!(pair.a.peer.state(), State::Idle);
    assert_eq!(pair.a.peer.poll_timeout(), None);
    assert_eq!((pair.a.ups.len(), pair.b.ups.len()), (1, 1));
    pair.input(Who::A, Input::Start);
    pair.run_until(secs(1), Pair::agreed);
}

#[test]
fn new_settings_end_the_session_with_6_6_and_equal_ones_change_nothing() {
    let mut pair = up(Slicing::Whole);
    let now = pair.now;
    let mut settings = pair.a.peer.settings().clone();
    pair.a.peer.set_settings(settings.clone(), now);
    assert_eq!(pair.a.peer.poll_output(), None);
    settings.hold_time = secs(60);
    pair.a.peer.set_settings(settings, now);
    pair.input(Who::A, Input::Timeout);
    assert_eq!(pair.a.downs.len(), 1);
    pair.run_until(secs(1), Pair::agreed);
    let notification = received(&pair.b.downs[0]);
    assert_eq!((notification.code, notification.subcode), (6, 6));
    assert_eq!(pair.b.ups[1].hold_time, secs(60));
}

#[test]
fn a_reset_by_the_speaker_says_its_reason_and_starts_again_after_a_pause_that_grows() {
    let mut pair = up(Slicing::Whole);
    let notification = Notification::max_prefixes(Family::Ipv4, 10);
    for factor in [1, 2, 4, 8, 16, 32, 32] {
        let cut = pair.now;
        pair.input(
            Who::A,
            Input::Reset {
                notification: notification.clone(),
            },
        );
        pair.run_until(secs(800), Pair::agreed);
        // B dials again and again, and is not let in before A's pause has ended.
        let pause = pair.now.since(cut);
        assert!(pause >= secs(5) * factor * 3 / 4, "{pause:?} for {factor}");
        assert_eq!(received(pair.b.downs.last().unwrap()), &notification);
        let told = pair.b.peer.status().last_error.unwrap();
        assert_eq!((told.code, told.subcode), (6, 1), "the reason is said each time");
        // Long enough for a failure to connect to be forgiven, but not for this.
        pair.run(secs(100));
        assert!(pair.agreed());
    }
    pair.run(FORGIVEN_AFTER);
    let cut = pair.now;
    pair.input(Who::A, Input::Reset { notification });
    pair.run_until(secs(30), Pair::agreed);
    assert!(pair.now.since(cut) >= Duration::from_millis(3750));
}

#[test]
fn updates_and_refreshes_pass_in_any_slices() {
    for slicing in [Slicing::Whole, Slicing::Octets, Slicing::Random] {
        let mut pair = up(slicing);
        let mut bytes = BytesMut::new();
        for _ in 0..100 {
            wire::encode_end_of_rib(Family::Ipv4, &pair.a.ups[0].context, &mut bytes);
            wire::encode_end_of_rib(Family::Ipv6, &pair.a.ups[0].context, &mut bytes);
        }
        pair.send(Who::A, &bytes);
        pair.input(Who::A, Input::RequestRefresh(Family::Ipv6));
        pair.run(secs(1));
        assert_eq!((pair.b.updates, pair.b.refreshes), (200, 1));
        assert!(pair.agreed());
    }
}

#[test]
fn updates_alone_keep_a_session_alive() {
    let mut pair = up(Slicing::Whole);
    let mut bytes = BytesMut::new();
    wire::encode_end_of_rib(Family::Ipv4, &pair.a.ups[0].context, &mut bytes);
    for _ in 0..100 {
        pair.send(Who::A, &bytes);
        pair.run(secs(40));
    }
    assert_eq!((pair.a.downs.len(), pair.b.downs.len()), (0, 0));
}

#[test]
fn an_open_in_a_session_is_an_error_of_the_state_machine() {
    let mut pair = up(Slicing::Octets);
    let mut bytes = BytesMut::new();
    let open = wire::Open {
        version: 4,
        asn: flatroute_bgp::types::Asn(64512),
        hold_time: 90,
        router_id: flatroute_bgp::types::RouterId(1),
        capabilities: wire::Capabilities::default(),
    };
    open.encode(&mut bytes);
    pair.send(Who::A, &bytes);
    pair.run(secs(1));
    let notification = received(&pair.a.downs[0]);
    // RFC 6608: Established, and the type of the message.
    assert_eq!(
        (
            notification.code,
            notification.subcode,
            notification.data.as_slice()
        ),
        (5, 3, &[1][..])
    );
}

#[test]
fn octets_that_are_no_message_end_the_session_with_1_1() {
    let mut pair = up(Slicing::Random);
    pair.send(Who::B, b"GET / HTTP/1.1\r\n\r\n");
    pair.run(secs(1));
    let notification = received(&pair.b.downs[0]);
    assert_eq!((notification.code, notification.subcode), (1, 1));
    pair.run_until(secs(7), Pair::agreed);
}
