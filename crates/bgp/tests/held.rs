//! Neighbours that are held down, whose key changes, or whose connections were refused at the door.

#[allow(dead_code, reason = "each test binary uses a part of it")]
mod fabric;

use std::net::SocketAddr;
use std::time::Duration;

use fabric::{Fabric, address, config};
use flatroute_bgp::peer::State;
use flatroute_bgp::rib::LocalAddresses;
use flatroute_bgp::speaker::{AdminState, Auth, Config, EventKind, Input, Md5Key, Output, Speaker};
use flatroute_bgp::types::{ConnId, Instant, PeerName};

const SECONDS: fn(u64) -> Duration = Duration::from_secs;

fn with(auth: Auth, admin_state: AdminState) -> Config {
    let mut config = config(0, &[1], &["10.244.0.0/24"]);
    let peer = config.peers.get_mut(&PeerName::from("n1")).expect("n1");
    (peer.auth, peer.admin_state) = (auth, admin_state);
    config
}

fn key(text: &str) -> Auth {
    Auth::Md5(Md5Key::new(text.as_bytes()).expect("a key"))
}

/// The last error of n0 as n1 sees it.
fn told(fabric: &Fabric) -> Option<(u8, u8, String)> {
    let peer = fabric.speaker(1).peer(&PeerName::from("n0"), fabric.now)?;
    peer.last_error.map(|e| (e.code, e.subcode, e.text))
}

#[test]
fn a_neighbour_that_is_held_says_why_at_home_and_comes_up_when_nothing_is_missing() {
    let mut fabric = Fabric::new(2, 3);
    let reason = "SecretNotFound: there is no Secret tor";
    fabric.configure(0, with(Auth::None, AdminState::Held(reason.to_owned())));
    fabric.configure(1, config(1, &[0], &["10.244.1.0/24"]));
    fabric.run(SECONDS(60));
    let held = fabric.speaker(0).peer(&PeerName::from("n1"), fabric.now).unwrap();
    assert_eq!((held.state, held.held.as_deref()), (State::Idle, Some(reason)));
    assert!(!fabric.speaker(0).end_of_rib_from_all(), "it shall be up");
    assert_eq!(fabric.established(1), 0, "who dials is refused");

    fabric.configure(0, with(Auth::None, AdminState::Up));
    fabric.run(SECONDS(300));
    assert_eq!((fabric.established(0), fabric.established(1)), (1, 1));
    let up = fabric.speaker(0).peer(&PeerName::from("n1"), fabric.now).unwrap();
    assert_eq!(up.held, None);

    // Held again: the neighbour hears that it is over, not what is missing here.
    fabric.configure(0, with(Auth::None, AdminState::Held(reason.to_owned())));
    fabric.run(SECONDS(1));
    let (code, subcode, text) = told(&fabric).unwrap();
    assert_eq!((code, subcode), (6, 2));
    assert!(!text.contains("Secret"), "{text}");
}

#[test]
fn another_key_resets_the_session_by_a_cease_and_equal_ones_cause_nothing() {
    let mut fabric = Fabric::new(2, 4);
    fabric.configure(0, with(key("one"), AdminState::Up));
    fabric.configure(1, config(1, &[0], &["10.244.1.0/24"]));
    fabric.run(SECONDS(60));
    assert_eq!(fabric.established(0), 1);
    fabric.configure(0, with(key("one"), AdminState::Up));
    fabric.run(SECONDS(5));
    assert_eq!(told(&fabric), None);
    fabric.configure(0, with(key("two"), AdminState::Up));
    fabric.run(SECONDS(60));
    let (code, subcode, _) = told(&fabric).unwrap();
    assert_eq!((code, subcode), (6, 6), "Other Configuration Change");
    assert_eq!(fabric.established(0), 1);
}

#[test]
fn a_connection_refused_at_the_door_is_a_last_error_and_moves_nothing() {
    let mut speaker = Speaker::new(1);
    let now = Instant::from_micros(1_000_000);
    speaker.handle(Input::Configure(config(0, &[1], &[])), now);
    while speaker.poll_output().is_some() {}
    let remote = SocketAddr::new(address(1).into(), 40_000);
    assert_eq!(speaker.neighbour_at(remote).unwrap().0.as_str(), "n1");
    let state = speaker.peers(now)[0].state;
    for (count, tell) in [(1, true), (0, false)] {
        let error = "GTSM: too far".to_owned();
        speaker.handle(Input::Refused { remote, error, tell }, now);
        let outputs: Vec<Output> = std::iter::from_fn(|| speaker.poll_output()).collect();
        assert_eq!(outputs.len(), count, "{outputs:?}");
        for output in outputs {
            let Output::Event(event) = output else {
                panic!("{output:?}")
            };
            assert!(matches!(event.kind, EventKind::Refused { reason } if reason == "GTSM: too far"));
        }
    }
    let peer = &speaker.peers(now)[0];
    assert_eq!(peer.state, state);
    assert_eq!(peer.last_error.as_ref().unwrap().text, "GTSM: too far");
    // A stranger's is nobody's error.
    let stranger = SocketAddr::new(address(7).into(), 40_000);
    assert!(speaker.neighbour_at(stranger).is_none());
    let error = "x".to_owned();
    speaker.handle(
        Input::Refused {
            remote: stranger,
            error,
            tell: true,
        },
        now,
    );
    assert_eq!(speaker.poll_output(), None);
}

#[test]
fn a_connection_waits_for_its_open_until_that_is_read() {
    let mut speaker = Speaker::new(1);
    let now = Instant::from_micros(1_000_000);
    speaker.handle(Input::Configure(config(0, &[1], &[])), now);
    let conn = ConnId::Accepted(1);
    assert!(!speaker.awaits_open(conn), "nobody has it");
    let remote = SocketAddr::new(address(1).into(), 40_000);
    let local = LocalAddresses::default();
    speaker.handle(Input::Accepted { conn, remote, local }, now);
    assert!(speaker.awaits_open(conn));
    speaker.handle(
        Input::Received {
            conn,
            bytes: &[0xff; 10],
        },
        now,
    );
    assert!(speaker.awaits_open(conn), "a part is no OPEN");
    speaker.handle(Input::Closed { conn, error: None }, now);
    assert!(!speaker.awaits_open(conn));
}
