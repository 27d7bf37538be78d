//! The whole table of the machine: what every input does in every state. A cell reads `next state` and then what
//! is said: `>` to the peer, `!` to the machine above; `~hold` says that the hold timer was set anew. `-` means
//! that nothing happens.

use bytes::BytesMut;

use super::*;
use crate::wire::{CeaseSubcode, Open};

const NOW: Instant = Instant::ZERO;

fn settings() -> Settings {
    Settings {
        local_asn: Asn(64512),
        router_id: RouterId(1),
        peer_asn: PeerAsn::External,
        connect_mode: ConnectMode::Both,
        hold_time: Duration::from_secs(90),
        keepalive_time: None,
        connect_retry_time: Duration::from_secs(5),
        families: FamilySet::BOTH,
    }
}

fn open(asn: u32) -> Vec<u8> {
    let open = Open {
        version: 4,
        asn: Asn(asn),
        hold_time: 90,
        router_id: RouterId(2),
        capabilities: Capabilities {
            families: Some(FamilySet::BOTH),
            four_octet_as: Some(Asn(asn)),
            route_refresh: true,
            extended_message: false,
            ..Capabilities::default()
        },
    };
    encoded(|out| open.encode(out))
}

fn encoded(encode: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode(&mut out);
    out.to_vec()
}

fn update() -> Vec<u8> {
    encoded(|out| wire::encode_end_of_rib(Family::Ipv4, &Context::before_open(), out))
}

fn keepalive() -> Vec<u8> {
    encoded(wire::encode_keepalive)
}

const STATES: [&str; 6] = [
    "Connecting",
    "OpenSent",
    "OpenHeld",
    "OpenConfirm",
    "Established",
    "Ended",
];

/// A fresh session in a state, with nothing left to say.
fn session_in(state: &str) -> Session {
    let mut s = Session::dialled(ConnId::Dialled(1), settings(), 1, NOW);
    let path: &[Input<'_>] = &[
        Input::Connected,
        Input::Received(&open(64513)),
        Input::Confirm,
        Input::Received(&keepalive()),
        Input::Closed(None),
    ];
    let steps = STATES.iter().position(|name| *name == state).unwrap();
    for input in path.iter().take(steps) {
        s.handle(input.clone(), NOW);
    }
    while s.poll_output().is_some() {}
    s.poll_transmit(&mut BytesMut::new());
    s
}

fn phase_name(s: &Session) -> &'static str {
    match s.phase {
        Phase::Connecting => "Connecting",
        Phase::OpenSent => "OpenSent",
        Phase::OpenHeld(_) => "OpenHeld",
        Phase::OpenConfirm(_) => "OpenConfirm",
        Phase::Established(_) => "Established",
        Phase::Ended => "Ended",
    }
}

/// What is said to the peer: message names, and the codes of a NOTIFICATION.
fn sent(s: &mut Session) -> String {
    let mut out = BytesMut::new();
    s.poll_transmit(&mut out);
    let mut words = String::new();
    while let Some(frame) = wire::split(&out, wire::MAX_LEN).unwrap() {
        words += &match frame.body {
            [code, subcode, ..] if frame.kind == wire::MessageKind::Notification => {
                format!(" >{code}/{subcode}")
            }
            _ => format!(" >{:?}", frame.kind),
        };
        let len = frame.len;
        out.advance(len);
    }
    words
}

fn said(s: &mut Session) -> String {
    let mut words = String::new();
    while let Some(output) = s.poll_output() {
        words += match output {
            Output::Opened => " !Opened",
            Output::Established(_) => " !Established",
            Output::Update(_) => " !Update",
            Output::RefreshRequested(_) => " !Refresh",
            Output::Ended(End::Sent { .. }) => " !Sent",
            Output::Ended(End::Received(_)) => " !Received",
            Output::Ended(End::Closed(_)) => " !Closed",
            Output::Ended(End::ConnectFailed(_)) => " !ConnectFailed",
            Output::Ended(End::ConnectTimedOut) => " !ConnectTimedOut",
            Output::Ended(End::Cancelled(_)) => " !Cancelled",
        };
    }
    words
}

fn cell(state: &str, act: impl FnOnce(&mut Session, Instant)) -> String {
    let mut s = session_in(state);
    let hold = s.timers.at(Timer::Hold);
    act(&mut s, NOW + Duration::from_secs(1));
    let mut effects = sent(&mut s) + &said(&mut s);
    if s.timers.at(Timer::Hold).is_some_and(|at| Some(at) != hold) {
        effects += " ~hold";
    }
    match phase_name(&s) {
        next if next == state && effects.is_empty() => "-".to_owned(),
        next => format!("{next}{effects}"),
    }
}

#[test]
fn table() {
    let refresh = encoded(|out| wire::encode_route_refresh(Family::Ipv4, wire::RefreshSubtype::Normal, out));
    let notification = encoded(|out| Notification::hold_timer_expired().encode(out));
    let stop = Notification::cease(CeaseSubcode::AdministrativeShutdown, "");
    let (good, wrong_as, update, keepalive) = (open(64513), open(64512), update(), keepalive());
    let inputs: [(&str, Input<'_>); 13] = [
        ("Connected", Input::Connected),
        ("ConnectFailed", Input::ConnectFailed("refused".to_owned())),
        ("Closed", Input::Closed(None)),
        ("OPEN", Input::Received(&good)),
        ("OPEN of a wrong AS", Input::Received(&wrong_as)),
        ("KEEPALIVE", Input::Received(&keepalive)),
        ("UPDATE", Input::Received(&update)),
        ("ROUTE-REFRESH", Input::Received(&refresh)),
        ("NOTIFICATION", Input::Received(&notification)),
        ("bad marker", Input::Received(b"GET / HTTP/1.1")),
        ("Confirm", Input::Confirm),
        ("Stop", Input::Stop(stop)),
        ("RequestRefresh", Input::RequestRefresh(Family::Ipv6)),
    ];
    let mut table = String::new();
    for state in STATES {
        table += &format!("{state}\n");
        for (name, input) in &inputs {
            table += &format!(
                "  {name}: {}\n",
                cell(state, |s, now| s.handle(input.clone(), now))
            );
        }
        for timer in Timer::ALL {
            table += &format!(
                "  {timer:?} timer: {}\n",
                cell(state, |s, now| s.step(Event::Expired(timer), now))
            );
        }
    }
    let expected = include_str!("table.txt");
    assert!(table == expected, "the table is now:\n{table}");
}

#[test]
fn every_cut_of_a_stream_reads_the_same() {
    let mut stream = open(64513);
    stream.extend(keepalive());
    for _ in 0..3 {
        stream.extend(update());
    }
    for cut in 0..stream.len() {
        let (first, second) = stream.split_at(cut);
        let mut s = session_in("OpenSent");
        let mut words = String::new();
        for piece in [first, second] {
            s.handle(Input::Received(piece), NOW);
            if s.is_held() {
                s.handle(Input::Confirm, NOW);
                s.handle(Input::Received(&[]), NOW);
            }
            words += &said(&mut s);
        }
        assert_eq!(
            words, " !Opened !Established !Update !Update !Update",
            "cut at {cut}"
        );
        assert!(s.inbound.is_empty());
    }
}

#[test]
fn what_waits_for_confirm_is_bounded() {
    let mut s = session_in("OpenHeld");
    s.handle(Input::Received(&vec![0xff; wire::MAX_LEN]), NOW);
    assert!(s.is_held());
    s.handle(Input::Received(&[0xff]), NOW);
    assert_eq!(sent(&mut s), " >6/8");
    assert_eq!(said(&mut s), " !Sent");
}

#[test]
fn what_waits_to_be_sent_does_not_grow() {
    let mut s = session_in("Established");
    for minute in 1..1000 {
        let now = NOW + Duration::from_secs(60) * minute;
        s.handle(Input::Received(&keepalive()), now);
        s.handle(Input::Timeout, now);
        s.handle(Input::RequestRefresh(Family::Ipv4), now);
    }
    assert_eq!(sent(&mut s), " >Keepalive >RouteRefresh");
}

#[test]
fn a_long_message_is_refused_as_soon_as_its_header_shows_it() {
    let mut s = session_in("Established");
    let mut header = vec![0xff; 16];
    header.extend([0x10, 0x01]);
    s.handle(Input::Received(&header), NOW);
    assert_eq!(sent(&mut s), " >1/2");
    assert!(s.inbound.is_empty());
}

#[test]
fn opens_that_nobody_may_send_are_refused() {
    // Version, AS (two octets at 20), hold time (22), identifier (24): as they stand in the message.
    let altered = |at: usize, octets: &[u8]| {
        let mut message = open(64513);
        message[at..at + octets.len()].copy_from_slice(octets);
        let mut s = session_in("OpenSent");
        s.handle(Input::Received(&message), NOW);
        let mut out = BytesMut::new();
        s.poll_transmit(&mut out);
        out[19..].to_vec()
    };
    assert_eq!(
        altered(19, &[3]),
        [2, 1, 0, 4],
        "the version that we speak stands in the data"
    );
    assert_eq!(altered(22, &[0, 1]), [2, 6]);
    assert_eq!(altered(22, &[0, 2]), [2, 6]);
    assert_eq!(altered(24, &[0, 0, 0, 0]), [2, 3]);
}

#[test]
fn a_missing_family_is_named_in_the_data() {
    let mut s = Session::accepted(
        ConnId::Accepted(1),
        Settings {
            families: FamilySet::from_iter([Family::Ipv6]),
            ..settings()
        },
        1,
        NOW,
    );
    s.poll_transmit(&mut BytesMut::new());
    // No capabilities at all: IPv4 unicast only.
    let old = Open {
        version: 4,
        asn: Asn(64513),
        hold_time: 90,
        router_id: RouterId(2),
        capabilities: Capabilities::default(),
    };
    s.handle(Input::Received(&encoded(|out| old.encode(out))), NOW);
    let mut out = BytesMut::new();
    s.poll_transmit(&mut out);
    assert_eq!(out[19..], [2, 7, 1, 4, 0, 2, 0, 1]);
}

#[test]
fn keepalives_are_jittered_by_a_quarter_downwards() {
    let mut seen = Vec::new();
    for seed in 0..200 {
        let mut s = Session::accepted(ConnId::Accepted(1), settings(), seed, NOW);
        s.handle(Input::Received(&open(64513)), NOW);
        s.handle(Input::Confirm, NOW);
        let pause = s.timers.at(Timer::Keepalive).unwrap().since(NOW);
        assert!(pause >= Duration::from_millis(22_500) && pause <= Duration::from_secs(30));
        seen.push(pause);
    }
    assert!(seen.iter().max() > seen.iter().min());
}

#[test]
fn route_refresh_is_no_sign_of_life() {
    let mut s = session_in("Established");
    let hold = s.timers.at(Timer::Hold);
    let later = NOW + Duration::from_secs(10);
    s.handle(
        Input::Received(&encoded(|out| {
            wire::encode_route_refresh(Family::Ipv4, wire::RefreshSubtype::Normal, out);
        })),
        later,
    );
    assert_eq!(s.timers.at(Timer::Hold), hold);
    s.handle(Input::Received(&update()), later);
    assert!(s.timers.at(Timer::Hold) > hold);
}

/// A malformed message where none of its kind belongs: the complaint is of the state (RFC 6608), not of what is in it.
#[test]
fn what_has_no_place_is_not_judged_by_what_is_in_it() {
    let message = |kind: u8, body: &[u8]| {
        let len = u8::try_from(body.len() + 19).unwrap();
        [&[0xff; 16], &[0, len, kind][..], body].concat()
    };
    let overrun = message(2, &[0, 0, 0xff, 0xff]);
    let short_refresh = message(5, &[]);
    let version_3 = message(1, &[3, 0xfd, 0xe9, 0, 90, 1, 1, 1, 1, 0]);
    for (state, octets, says) in [
        ("OpenSent", &overrun, [5, 1, 2]),
        ("OpenSent", &short_refresh, [5, 1, 5]),
        ("OpenConfirm", &overrun, [5, 2, 2]),
        ("OpenConfirm", &short_refresh, [5, 2, 5]),
        ("Established", &version_3, [5, 3, 1]),
    ] {
        let mut session = session_in(state);
        session.handle(Input::Received(octets), NOW);
        let mut out = BytesMut::new();
        session.poll_transmit(&mut out);
        assert!(out.ends_with(&says), "{state}: {out:02x?}");
        assert_eq!(session.state(), State::Idle, "{state}");
    }
    let mut session = session_in("OpenConfirm");
    session.handle(Input::Received(&version_3), NOW);
    let mut out = BytesMut::new();
    session.poll_transmit(&mut out);
    assert!(out.ends_with(&[2, 1, 0, 4]), "{out:02x?}");
}
