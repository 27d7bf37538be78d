//! The whole table of the peer's machine: what every input does in every state. A state is what the two slots hold,
//! dialled and accepted; `parked` and `kept out` stand beside them. A cell reads the next state and then what is said:
//! `>` on a connection (`d` dialled, `a` accepted, `p` parked, `n` the one that has just come), `!` to the machine
//! above. `-` means that nothing happens. A timer's cell says how long after the state was entered it fires.

use std::fmt::Write as _;

use super::*;
use crate::session::PeerAsn;
use crate::types::{Asn, Family, FamilySet, RouterId};
use crate::wire::{self, Capabilities, MessageKind, Open};

/// How a state is reached: our identifier (the peer's is 2, so 3 prefers what we dialled), the mode, the inputs.
type Path = (
    &'static str,
    u32,
    ConnectMode,
    &'static [(&'static str, fn(&Octets) -> Input<'_>)],
);

const D: ConnId = ConnId::Dialled(100);
const A: ConnId = ConnId::Accepted(1);
const P: ConnId = ConnId::Accepted(5);
const N: ConnId = ConnId::Accepted(9);
const STRANGER: ConnId = ConnId::Accepted(77);

/// Messages of the peer.
struct Octets {
    open: Vec<u8>,
    /// With graceful restart of both families.
    graceful: Vec<u8>,
    keepalive: Vec<u8>,
    notification: Vec<u8>,
}

impl Octets {
    fn new() -> Self {
        let encoded = |encode: &dyn Fn(&mut BytesMut)| {
            let mut out = BytesMut::new();
            encode(&mut out);
            out.to_vec()
        };
        let mut open = Open {
            version: 4,
            asn: Asn(64513),
            hold_time: 90,
            router_id: RouterId(2),
            capabilities: Capabilities {
                families: Some(FamilySet::BOTH),
                route_refresh: true,
                ..Capabilities::default()
            },
        };
        let plain = encoded(&|out| open.encode(out));
        open.capabilities.graceful_restart = Some(wire::GracefulRestart {
            restarted: false,
            notification: true,
            restart_time: 120,
            families: Family::ALL
                .map(|family| wire::GracefulFamily {
                    family: family.into(),
                    forwarding: true,
                })
                .into(),
        });
        Self {
            open: plain,
            graceful: encoded(&|out| open.encode(out)),
            keepalive: encoded(&wire::encode_keepalive),
            notification: Notification::hold_timer_expired().octets(),
        }
    }
}

fn start(_: &Octets) -> Input<'_> {
    Input::Start
}
fn connected(_: &Octets) -> Input<'_> {
    Input::Connected { conn: D }
}
fn connect_failed(_: &Octets) -> Input<'_> {
    Input::ConnectFailed {
        conn: D,
        error: "refused".to_owned(),
    }
}
fn accepted(_: &Octets) -> Input<'_> {
    Input::Accepted { conn: A }
}
fn parked(_: &Octets) -> Input<'_> {
    Input::Accepted { conn: P }
}
fn open_d(o: &Octets) -> Input<'_> {
    Input::Received {
        conn: D,
        bytes: &o.open,
    }
}
fn open_a(o: &Octets) -> Input<'_> {
    Input::Received {
        conn: A,
        bytes: &o.open,
    }
}
fn graceful_d(o: &Octets) -> Input<'_> {
    Input::Received {
        conn: D,
        bytes: &o.graceful,
    }
}
fn keepalive_d(o: &Octets) -> Input<'_> {
    Input::Received {
        conn: D,
        bytes: &o.keepalive,
    }
}
fn keepalive_a(o: &Octets) -> Input<'_> {
    Input::Received {
        conn: A,
        bytes: &o.keepalive,
    }
}
fn stop(_: &Octets) -> Input<'_> {
    Input::Stop {
        subcode: CeaseSubcode::AdministrativeShutdown,
        text: String::new(),
    }
}
fn reset(_: &Octets) -> Input<'_> {
    Input::Reset {
        notification: Notification::max_prefixes(Family::Ipv4, 1),
    }
}

macro_rules! path {
    ($($step:ident)*) => { &[$((stringify!($step), $step as fn(&Octets) -> Input<'_>)),*] };
}

const BOTH: ConnectMode = ConnectMode::Both;

#[allow(clippy::too_many_lines, reason = "one entry a state")]
fn states() -> Vec<Path> {
    vec![
        ("stopped", 1, BOTH, path![]),
        (
            "stopped after a session",
            1,
            BOTH,
            path![start connected open_d keepalive_d stop],
        ),
        ("waiting to dial", 1, BOTH, path![start connect_failed]),
        ("waiting, passive", 1, ConnectMode::Passive, path![start]),
        (
            "kept out after a reset",
            1,
            BOTH,
            path![start connected open_d keepalive_d reset],
        ),
        (
            "kept out after a reset, passive",
            1,
            ConnectMode::Passive,
            path![start accepted open_a keepalive_a reset],
        ),
        ("dialling", 1, BOTH, path![start]),
        ("dialling, active", 1, ConnectMode::Active, path![start]),
        ("dialled", 1, BOTH, path![start connected]),
        (
            "accepted while waiting",
            1,
            BOTH,
            path![start connect_failed accepted],
        ),
        ("accepted while dialling", 1, BOTH, path![start accepted]),
        (
            "both in OpenSent, the dialled one preferred",
            3,
            BOTH,
            path![start connected accepted],
        ),
        (
            "both in OpenSent, the accepted one preferred",
            1,
            BOTH,
            path![start connected accepted],
        ),
        (
            "the accepted one waits for the preferred",
            3,
            BOTH,
            path![start connected accepted open_a],
        ),
        (
            "the dialled one waits for the preferred",
            1,
            BOTH,
            path![start connected accepted open_d],
        ),
        (
            "the dialled one confirmed",
            1,
            BOTH,
            path![start connected open_d],
        ),
        (
            "the accepted one confirmed",
            1,
            BOTH,
            path![start accepted open_a],
        ),
        (
            "Established on the dialled one",
            1,
            BOTH,
            path![start connected open_d keepalive_d],
        ),
        (
            "Established on the accepted one",
            1,
            BOTH,
            path![start accepted open_a keepalive_a],
        ),
        (
            "Established, another parked",
            1,
            BOTH,
            path![start connected open_d keepalive_d parked],
        ),
        (
            "Established with graceful restart, another parked",
            1,
            BOTH,
            path![start connected graceful_d keepalive_d parked],
        ),
        (
            "Established with graceful restart for long, another parked",
            1,
            BOTH,
            path![start connected graceful_d keepalive_d later parked],
        ),
    ]
}

/// As long as a collision may last, and nothing happens.
fn later(_: &Octets) -> Input<'_> {
    Input::Timeout
}

/// A peer in a state, with nothing left to say, and when it is in it.
fn peer_in((_, id, mode, path): Path, octets: &Octets) -> (Peer, Instant) {
    let mut now = Instant::ZERO;
    let settings = Settings {
        local_asn: Asn(64512),
        router_id: RouterId(id),
        peer_asn: PeerAsn::External,
        connect_mode: mode,
        hold_time: Duration::from_secs(90),
        keepalive_time: None,
        send_hold_time: None,
        connect_retry_time: Duration::from_secs(5),
        families: FamilySet::BOTH,
        extended_next_hop: false,
        add_path: None,
        role: None,
    };
    let mut peer = Peer::new(settings, 7, 100, now);
    peer.set_offer(Some(Offer {
        families: FamilySet::BOTH,
        forwarding: FamilySet::NONE,
        restart_time: Duration::from_secs(120),
        restarted_until: None,
        notification: true,
        long_lived_stale_time: Duration::ZERO,
    }));
    for (name, input) in path {
        if *name == "later" {
            now = now + COLLISION_TIME;
        }
        peer.handle(input(octets), now);
        drain(&mut peer, now);
    }
    (peer, now)
}

fn name(conn: ConnId) -> &'static str {
    match conn {
        D => "d",
        A => "a",
        P => "p",
        N => "n",
        ConnId::Dialled(_) => "redial",
        ConnId::Accepted(_) => "?",
    }
}

/// All that the peer says, in words.
fn drain(peer: &mut Peer, now: Instant) -> String {
    let mut words = String::new();
    while let Some(output) = peer.poll_output() {
        let word = match output {
            Output::Dial(conn) => format!(" !Dial {}", name(conn)),
            Output::Close(conn) => format!("{} !Close {}", sent(peer, conn, now), name(conn)),
            Output::Established { conn, .. } => format!(" !Established {}", name(conn)),
            Output::Down { .. } => " !Down".to_owned(),
            Output::Offending(_) => " !Offending".to_owned(),
            Output::Update(_) => " !Update".to_owned(),
            Output::Refresh(..) => " !Refresh".to_owned(),
            // The next state and the closed connection say as much.
            Output::Notified { .. } | Output::Transition { .. } => String::new(),
        };
        words.push_str(&word);
    }
    let open: Vec<ConnId> = peer.sessions().map(Session::conn).collect();
    for conn in open {
        words.push_str(&sent(peer, conn, now));
        // All was taken.
        peer.poll_transmit(conn, &mut BytesMut::new(), now);
    }
    words
}

/// What is sent on a connection: message names, and the codes of a NOTIFICATION.
fn sent(peer: &mut Peer, conn: ConnId, now: Instant) -> String {
    let mut out = BytesMut::new();
    peer.poll_transmit(conn, &mut out, now);
    let (mut words, mut rest) = (String::new(), &out[..]);
    while let Some(frame) = wire::split(rest, wire::MAX_LEN).unwrap() {
        _ = match frame.body {
            [code, subcode, ..] if frame.kind == MessageKind::Notification => {
                write!(words, " {}>{code}/{subcode}", name(conn))
            }
            _ => write!(words, " {}>{:?}", name(conn), frame.kind),
        };
        rest = &rest[frame.len..];
    }
    words
}

/// What the slots hold.
fn slots(peer: &Peer) -> String {
    let slot = |side| match peer.session(side) {
        None => "-".to_owned(),
        Some(s) if s.is_held() => "Held".to_owned(),
        Some(s) => s.state().to_string(),
    };
    let parked = if peer.parked.is_some() { " parked" } else { "" };
    format!(
        "{} {}/{}{parked}",
        if peer.started { "started" } else { "stopped" },
        slot(Side::Dialled),
        slot(Side::Accepted)
    )
}

fn row(table: &mut String, state: Path, octets: &Octets, input: &str, act: impl FnOnce(&mut Peer, Instant)) {
    let (mut peer, now) = peer_in(state, octets);
    let before = slots(&peer);
    act(&mut peer, now);
    let said = drain(&mut peer, now);
    let after = slots(&peer);
    let cell = match (after == before, said.is_empty()) {
        (true, true) => "-".to_owned(),
        (true, false) => said.trim_start().to_owned(),
        (false, _) => format!("{after}{said}"),
    };
    _ = writeln!(table, "  {input}: {cell}");
}

/// Every timer that runs in a state, one after the other, each in a peer of its own that has heard nothing since.
fn timers(table: &mut String, state: Path, octets: &Octets) {
    let (mut peer, entered) = peer_in(state, octets);
    let before = slots(&peer);
    for _ in 0..4 {
        let Some(at) = peer.poll_timeout() else {
            _ = writeln!(table, "  no timer runs");
            return;
        };
        peer.handle(Input::Timeout, at);
        let said = drain(&mut peer, at);
        let after = slots(&peer);
        let seconds = at.since(entered).as_secs();
        let to = if after == before {
            String::new()
        } else {
            format!(" {after}")
        };
        _ = writeln!(table, "  after {seconds} s:{to}{said}");
        if after != before {
            return;
        }
    }
    _ = writeln!(table, "  and so on");
}

#[test]
fn table() {
    let octets = Octets::new();
    let received = |conn, bytes| Input::Received { conn, bytes };
    let closed = |conn| Input::Closed { conn, error: None };
    let mut table = String::new();
    for state in states() {
        let (peer, _) = peer_in(state, &octets);
        _ = writeln!(table, "{}: {}", state.0, slots(&peer));
        let mut inputs: Vec<(String, Input<'_>)> = [
            ("Start", start(&octets)),
            ("Stop", stop(&octets)),
            ("Reset", reset(&octets)),
            ("RequestRefresh", Input::RequestRefresh(Family::Ipv4)),
            ("Accepted n", Input::Accepted { conn: N }),
        ]
        .map(|(name, input)| (name.to_owned(), input))
        .into();
        let parked = peer.parked.as_ref().map(|p| p.conn);
        for conn in [D, A, P] {
            if peer.side_of(conn).is_none() && parked != Some(conn) {
                continue;
            }
            let error = "refused".to_owned();
            let of_conn = [
                ("Connected", Input::Connected { conn }),
                ("ConnectFailed", Input::ConnectFailed { conn, error }),
                ("Closed", closed(conn)),
                ("OPEN", received(conn, &octets.open)),
                ("KEEPALIVE", received(conn, &octets.keepalive)),
                ("NOTIFICATION", received(conn, &octets.notification)),
                ("no message", received(conn, b"GET / HTTP/1.1")),
            ];
            inputs.extend(of_conn.map(|(what, input)| (format!("{what} {}", name(conn)), input)));
        }
        for (input, fact) in inputs {
            row(&mut table, state, &octets, &input, |p, now| p.handle(fact, now));
        }
        row(&mut table, state, &octets, "any of a stranger", |p, now| {
            for fact in [
                Input::Connected { conn: STRANGER },
                received(STRANGER, &octets.open),
                closed(STRANGER),
            ] {
                p.handle(fact, now);
            }
        });
        row(&mut table, state, &octets, "equal settings", |p, now| {
            p.set_settings(p.settings().clone(), now);
        });
        row(&mut table, state, &octets, "other settings", |p, now| {
            let mut other = p.settings().clone();
            other.hold_time = Duration::from_secs(30);
            p.set_settings(other, now);
        });
        row(&mut table, state, &octets, "Timeout too early", |p, now| {
            p.handle(Input::Timeout, now);
        });
        timers(&mut table, state, &octets);
    }
    let expected = include_str!("table.txt");
    assert!(table == expected, "the table is now:\n{table}");
}
