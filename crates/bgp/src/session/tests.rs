//! The whole table of the machine: what every input does in every state. A cell reads `next state` and then what
//! is said: `>` to the peer, `!` to the machine above; `~hold` and `~send` say that the hold timer and the send hold
//! timer were set anew. `-` means that nothing happens.

use bytes::BytesMut;

use super::*;
use crate::wire::{CeaseSubcode, Open};

pub(super) const NOW: Instant = Instant::ZERO;

fn settings() -> Settings {
    Settings {
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
    }
}

pub(super) fn open(asn: u32) -> Vec<u8> {
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
            enhanced_route_refresh: true,
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

/// An UPDATE whose AS_PATH has a segment of no ASes: its prefix is treated as withdrawn (RFC 7606 §7.2).
pub(super) fn update_with_errors() -> Vec<u8> {
    let mut message = vec![0xff; 16];
    message.extend([0, 43, 2, 0, 0, 0, 16, 0x40, 1, 1, 0, 0x40, 2, 2, 2, 0]);
    message.extend([0x40, 3, 4, 192, 0, 2, 2, 24, 203, 0, 113]);
    message
}

fn refresh(subtype: RefreshSubtype) -> Vec<u8> {
    encoded(|out| wire::encode_route_refresh(Family::Ipv4, subtype, out))
}

/// A ROUTE-REFRESH one octet short.
pub(super) fn short_refresh() -> Vec<u8> {
    let mut message = refresh(RefreshSubtype::Normal);
    message.truncate(22);
    message[17] = 22;
    message
}

pub(super) fn keepalive() -> Vec<u8> {
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
pub(super) fn session_in(state: &str) -> Session {
    let mut s = Session::dialled(ConnId::Dialled(1), settings(), None, 1, NOW);
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
    s.poll_transmit(&mut BytesMut::new(), NOW);
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
    s.poll_transmit(&mut out, NOW);
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
            Output::Offending(_) => " !Offending",
            Output::Refresh(_, RefreshSubtype::Normal) => " !Refresh",
            Output::Refresh(_, RefreshSubtype::Beginning) => " !BoRR",
            Output::Refresh(_, RefreshSubtype::End) => " !EoRR",
            Output::Ended(End::Sent { .. }) => " !Sent",
            Output::Ended(End::Received(_)) => " !Received",
            Output::Ended(End::Closed(_)) => " !Closed",
            Output::Ended(End::ConnectFailed(_)) => " !ConnectFailed",
            Output::Ended(End::ConnectTimedOut) => " !ConnectTimedOut",
            Output::Ended(End::Cancelled(_)) => " !Cancelled",
            Output::Ended(End::Superseded) => " !Superseded",
        };
    }
    words
}

fn cell(state: &str, act: impl FnOnce(&mut Session, Instant)) -> String {
    let mut s = session_in(state);
    let (hold, send) = (s.timers.at(Timer::Hold), s.timers.at(Timer::SendHold));
    act(&mut s, NOW + Duration::from_secs(1));
    let mut clocks = String::new();
    if s.timers.at(Timer::Hold).is_some_and(|at| Some(at) != hold) {
        clocks += " ~hold";
    }
    if s.timers.at(Timer::SendHold).is_some_and(|at| Some(at) != send) {
        clocks += " ~send";
    }
    let effects = sent(&mut s) + &said(&mut s) + &clocks;
    match phase_name(&s) {
        next if next == state && effects.is_empty() => "-".to_owned(),
        next => format!("{next}{effects}"),
    }
}

#[test]
fn table() {
    let normal = refresh(RefreshSubtype::Normal);
    let (begin, end, short) = (
        refresh(RefreshSubtype::Beginning),
        refresh(RefreshSubtype::End),
        short_refresh(),
    );
    let faulty = update_with_errors();
    let notification = encoded(|out| Notification::hold_timer_expired().encode(out));
    let stop = Notification::cease(CeaseSubcode::AdministrativeShutdown, "");
    let (good, wrong_as, update, keepalive) = (open(64513), open(64512), update(), keepalive());
    let inputs: [(&str, Input<'_>); 18] = [
        ("Connected", Input::Connected),
        ("ConnectFailed", Input::ConnectFailed("refused".to_owned())),
        ("Closed", Input::Closed(None)),
        ("OPEN", Input::Received(&good)),
        ("OPEN of a wrong AS", Input::Received(&wrong_as)),
        ("KEEPALIVE", Input::Received(&keepalive)),
        ("UPDATE", Input::Received(&update)),
        ("UPDATE with errors", Input::Received(&faulty)),
        ("ROUTE-REFRESH", Input::Received(&normal)),
        ("BoRR", Input::Received(&begin)),
        ("EoRR", Input::Received(&end)),
        ("ROUTE-REFRESH of a wrong length", Input::Received(&short)),
        ("NOTIFICATION", Input::Received(&notification)),
        ("bad marker", Input::Received(b"GET / HTTP/1.1")),
        ("Confirm", Input::Confirm),
        ("Stop", Input::Stop(stop)),
        ("RequestRefresh", Input::RequestRefresh(Family::Ipv6)),
        ("Supersede", Input::Supersede),
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
        table += &format!(
            "  more than may wait: {}\n",
            cell(state, |s, now| s.step(Event::Flooded, now))
        );
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

/// Whatever comes, and however it is cut: what is kept of it is less than a message.
#[test]
fn what_is_kept_of_what_came_is_less_than_a_message() {
    let mut stream = Vec::new();
    for _ in 0..200 {
        let mut message = vec![0xff; 16];
        message.extend([0x10, 0, 2]);
        message.resize(wire::MAX_LEN, 0);
        stream.extend(message);
        stream.extend(keepalive());
    }
    for piece in [1000, 4095, 4096, 65_536] {
        let mut s = session_in("Established");
        for octets in stream.chunks(piece) {
            s.handle(Input::Received(octets), NOW);
            assert!(s.inbound.len() < wire::MAX_LEN, "{} octets", s.inbound.len());
            assert!(s.inbound.capacity() <= wire::MAX_LEN + 65_536);
        }
        assert_eq!(s.state(), State::Established);
    }
}

#[test]
fn what_waits_to_be_sent_does_not_grow() {
    let mut s = session_in("Established");
    // Nobody pulls here, which the send hold timer would end.
    s.timers.set(Timer::SendHold, None);
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
        s.poll_transmit(&mut out, NOW);
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
        None,
        1,
        NOW,
    );
    s.poll_transmit(&mut BytesMut::new(), NOW);
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
    s.poll_transmit(&mut out, NOW);
    assert_eq!(out[19..], [2, 7, 1, 4, 0, 2, 0, 1]);
}

#[test]
fn keepalives_are_jittered_by_a_quarter_downwards() {
    let mut seen = Vec::new();
    for seed in 0..200 {
        let mut s = Session::accepted(ConnId::Accepted(1), settings(), None, seed, NOW);
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
    s.handle(Input::Received(&refresh(RefreshSubtype::Normal)), later);
    assert_eq!(s.timers.at(Timer::Hold), hold);
    s.handle(Input::Received(&update()), later);
    assert!(s.timers.at(Timer::Hold) > hold);
}

/// A session that has just come up and whose driver has sent all.
fn idle(settings: Settings) -> Session {
    let mut s = Session::dialled(ConnId::Dialled(1), settings, None, 1, NOW);
    for input in [
        Input::Connected,
        Input::Received(&open(64513)),
        Input::Confirm,
        Input::Received(&keepalive()),
    ] {
        s.handle(input, NOW);
    }
    while s.poll_output().is_some() {}
    while s.poll_transmit(&mut BytesMut::new(), NOW) {}
    s
}

#[test]
fn the_send_hold_timer_runs_only_while_something_waits() {
    let mut s = idle(settings());
    assert_eq!(s.timers.at(Timer::SendHold), None);
    s.updates_pulled(NOW);
    assert_eq!(s.timers.at(Timer::SendHold), Some(NOW + Duration::from_secs(180)));
    // All of it was taken, and nothing more waits.
    let later = NOW + Duration::from_secs(1);
    assert!(!s.poll_transmit(&mut BytesMut::new(), later));
    assert_eq!(s.timers.at(Timer::SendHold), None);
    // A pull that writes something is progress too.
    s.updates_pulled(later);
    s.handle(Input::RequestRefresh(Family::Ipv4), later);
    assert!(s.poll_transmit(&mut BytesMut::new(), later + Duration::from_secs(170)));
    assert_eq!(
        s.timers.at(Timer::SendHold),
        Some(later + Duration::from_secs(350))
    );
}

#[test]
fn the_send_hold_time_is_twice_the_hold_time_unless_it_is_configured() {
    let of = |hold: u64, send: Option<u64>| {
        let mut s = idle(Settings {
            hold_time: Duration::from_secs(hold),
            send_hold_time: send.map(Duration::from_secs),
            ..settings()
        });
        s.updates_pulled(NOW);
        s.timers.at(Timer::SendHold).map(|at| at.since(NOW).as_secs())
    };
    assert_eq!(of(90, None), Some(180));
    assert_eq!(of(30, None), Some(60), "of the negotiated hold time");
    assert_eq!(of(90, Some(100)), Some(100));
    assert_eq!(of(90, Some(0)), None);
    assert_eq!(of(0, None), None);
    assert_eq!(of(0, Some(100)), Some(100));
}

#[test]
fn a_silent_accepted_connection_is_waited_for_less_long_than_a_dialled_one() {
    let accepted = Session::accepted(ConnId::Accepted(1), settings(), None, 1, NOW);
    assert_eq!(accepted.poll_timeout(), Some(NOW + OPEN_WAIT));
    assert_eq!(session_in("OpenSent").poll_timeout(), Some(NOW + LARGE_HOLD));
}

/// Octets that make no message are no sign of life, however many come and however often.
#[test]
fn octets_one_by_one_keep_nothing_alive() {
    for (state, patience) in [("OpenSent", LARGE_HOLD), ("Established", Duration::from_secs(90))] {
        let mut s = session_in(state);
        s.timers.set(Timer::SendHold, None);
        // A whole message would be there after 4,096 s.
        let mut message = vec![0xff; 16];
        message.extend([0x10, 0, if state == "OpenSent" { 1 } else { 2 }]);
        message.resize(4096, 0);
        let mut now = NOW;
        for octet in message {
            now = now + Duration::from_secs(1);
            s.handle(Input::Timeout, now);
            s.handle(Input::Received(&[octet]), now);
            if s.state() == State::Idle {
                break;
            }
        }
        assert_eq!(now.since(NOW), patience, "{state}");
        assert_eq!(sent(&mut s).split(' ').next_back(), Some(">4/0"), "{state}");
    }
}

#[test]
fn brackets_and_lengths_mean_nothing_where_enhanced_refresh_was_not_negotiated() {
    let mut s = session_in("Established");
    if let Phase::Established(n) = &mut s.phase {
        n.enhanced_route_refresh = false;
    }
    for message in [
        refresh(RefreshSubtype::Beginning),
        refresh(RefreshSubtype::End),
        short_refresh(),
    ] {
        s.handle(Input::Received(&message), NOW);
    }
    assert_eq!((said(&mut s), sent(&mut s)), (String::new(), String::new()));
    assert_eq!(s.state(), State::Established);
}

#[test]
fn a_refresh_of_a_family_that_was_not_negotiated_is_ignored() {
    let mut s = session_in("Established");
    if let Phase::Established(n) = &mut s.phase {
        n.families = FamilySet::from_iter([Family::Ipv6]);
    }
    for subtype in [
        RefreshSubtype::Normal,
        RefreshSubtype::Beginning,
        RefreshSubtype::End,
    ] {
        s.handle(Input::Received(&refresh(subtype)), NOW);
    }
    assert_eq!(said(&mut s), "");
}
