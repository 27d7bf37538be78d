//! A whole session, as operations that the octets choose: a speaker with two neighbours, of which the first does what the
//! octets say — connects, sends whole messages, broken ones and mere octets, is silent, closes — while time passes, the
//! socket takes little or much, the configuration changes. The second neighbour has its session all the time and is told
//! what the first one announces.
//!
//! What must hold after every operation: an answer of bounded size, well-formed messages out, no session without OPEN
//! and KEEPALIVE, no more routes than the limit. And at the end, when nobody says anything any more: every session that
//! has a hold time ends in time.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::BytesMut;
use flatroute_bgp::policy::PrefixLimitAction;
use flatroute_bgp::rib::LocalAddresses;
use flatroute_bgp::session::{ConnectMode, PeerAsn};
use flatroute_bgp::speaker::{AdminState, Config, EventKind, Input, Output, Speaker};
use flatroute_bgp::types::{Asn, ConnId, FamilySet, Instant, PeerName, RouterId};
use flatroute_bgp::wire::{Capabilities, MAX_EXTENDED_LEN, Open, encode_keepalive, split};

#[allow(dead_code, reason = "only its configurations are needed")]
#[path = "../crates/bgp/tests/fabric/mod.rs"]
mod fabric;

/// The prefix limit of the first neighbour.
const LIMIT: u32 = 8;
/// How many operations are played at most.
const MAX_OPERATIONS: usize = 400;
/// How many orders and events one operation may cause. The longest input of one is 255 octets: 13 messages at most, each
/// with 16 errors told at most.
const MAX_OUTPUTS: usize = 512;
/// What a driver asks for at once.
const CHUNK: usize = 4096;
/// When all sessions with a hold time have ended: hold times are 90 s at most, and 4 minutes are waited for an OPEN.
const ALL_ENDED: Duration = Duration::from_secs(600);

/// The octets, taken one by one.
struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    fn octet(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// A number of octets, said by the first.
    fn octets(&mut self) -> &'a [u8] {
        let wanted = usize::from(self.octet().unwrap_or(0));
        let (taken, rest) = self.0.split_at(wanted.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// One connection, as the world sees it.
#[derive(Default)]
struct Conn {
    /// All that was said to the speaker.
    said: Vec<u8>,
    /// What the speaker said and is no whole message yet, and whether it was anything.
    heard: BytesMut,
    spoke: bool,
}

struct World {
    speaker: Speaker,
    config: Config,
    now: Instant,
    conns: BTreeMap<ConnId, Conn>,
    /// Connections that the speaker dials.
    dials: Vec<ConnId>,
    accepted: u64,
}

/// See the module.
pub(crate) fn session(input: &[u8]) {
    let mut choices = Choices(input);
    let Some(selector) = choices.octet() else {
        return;
    };
    let mut world = World::new(selector);
    for _ in 0..MAX_OPERATIONS {
        let Some(operation) = choices.octet() else { break };
        world.operate(operation, &mut choices);
        world.settle();
    }
    world.wait_for_the_end();
}

fn first() -> PeerName {
    PeerName::from("n1")
}

impl World {
    /// The selector says how the first neighbour is configured.
    fn new(selector: u8) -> Self {
        let mut config = fabric::config(0, &[1, 2], &["10.244.0.0/24", "fd00:244::/64"]);
        let peer = config.peers.get_mut(&first()).expect("configured");
        peer.session.connect_mode = match selector & 3 {
            0 => ConnectMode::Active,
            1 | 2 => ConnectMode::Passive,
            _ => ConnectMode::Both,
        };
        peer.session.peer_asn = match selector >> 2 & 3 {
            0 => PeerAsn::Internal,
            1 => PeerAsn::External,
            _ => PeerAsn::Exact(Asn(65001)),
        };
        peer.max_prefixes.limit = LIMIT;
        peer.max_prefixes.action = if selector >> 4 & 1 == 0 {
            PrefixLimitAction::Drop
        } else {
            PrefixLimitAction::Restart
        };
        if selector >> 5 & 1 == 1 {
            peer.session.families = FamilySet::from_iter([flatroute_bgp::types::Family::Ipv6]);
        }
        if selector >> 6 & 1 == 1 {
            peer.session.hold_time = Duration::ZERO;
        }
        let mut world = Self {
            speaker: Speaker::new(u64::from(selector)),
            config: config.clone(),
            now: Instant::ZERO,
            conns: BTreeMap::new(),
            dials: Vec::new(),
            accepted: 0,
        };
        world.feed(Input::Configure(config));
        world.settle();
        // The second neighbour: hold time zero, so that it needs no care.
        let conn = world.accept(2);
        world.say(conn, &open(65002, 2, 0, true));
        world.settle();
        world.say(conn, &keepalive());
        world.settle();
        world
    }

    fn feed(&mut self, input: Input<'_>) {
        self.speaker.handle(input, self.now);
    }

    /// A neighbour dials.
    fn accept(&mut self, node: usize) -> ConnId {
        let conn = ConnId::Accepted(self.accepted);
        self.accepted += 1;
        self.conns.insert(conn, Conn::default());
        let remote = (fabric::address(node), 40_000).into();
        self.feed(Input::Accepted {
            conn,
            remote,
            local: local(),
        });
        conn
    }

    fn say(&mut self, conn: ConnId, octets: &[u8]) {
        if let Some(open) = self.conns.get_mut(&conn) {
            open.said.extend(octets);
            self.feed(Input::Received { conn, bytes: octets });
        }
    }

    /// One of the connections of the first neighbour; the second's is the very first.
    fn pick(&self, choice: u8) -> Option<ConnId> {
        let open: Vec<ConnId> = self
            .conns
            .keys()
            .copied()
            .filter(|c| *c != ConnId::Accepted(0))
            .collect();
        open.get(usize::from(choice).checked_rem(open.len())?).copied()
    }

    fn operate(&mut self, operation: u8, choices: &mut Choices<'_>) {
        // The upper bits choose the connection, so that one operation is mostly one octet.
        let conn = self.pick(operation >> 5);
        match (operation & 31, conn) {
            (0, _) => self.pass(u64::from(choices.octet().unwrap_or(1)) * 100),
            (1, _) => self.pass(u64::from(choices.octet().unwrap_or(1)) * 5000),
            (2 | 3, _) => _ = self.accept(1),
            (4, _) => {
                if let Some(conn) = self.dials.pop() {
                    self.conns.insert(conn, Conn::default());
                    self.feed(Input::Connected { conn, local: local() });
                }
            }
            (5, _) => {
                if let Some(conn) = self.dials.pop() {
                    let error = "refused".to_owned();
                    self.feed(Input::ConnectFailed { conn, error });
                }
            }
            (6, _) => self.feed(Input::Refresh(first())),
            (7, _) => self.reconfigure(choices.octet().unwrap_or(0)),
            (8, _) => {
                _ = self
                    .speaker
                    .poll_fib(usize::from(choices.octet().unwrap_or(1)), self.now);
            }
            (9, _) if choices.octet() == Some(0) => self.feed(Input::Shutdown {
                text: "the end".to_owned(),
            }),
            (10, _) => self.speaker.resend_fib(),
            (11, Some(conn)) => {
                self.conns.remove(&conn);
                self.feed(Input::Closed { conn, error: None });
            }
            (12, Some(conn)) => self.feed(Input::LocalAddresses {
                conn,
                local: LocalAddresses::default(),
            }),
            (13 | 14, Some(conn)) => {
                let asn = [65001, 65000, 70_000, 65002][usize::from(choices.octet().unwrap_or(0) & 3)];
                let how = choices.octet().unwrap_or(0);
                let hold_time = [90, 0, 3, 9][usize::from(how & 3)];
                self.say(
                    conn,
                    &open(asn, 1 + u32::from(how >> 6), hold_time, how >> 2 & 1 == 0),
                );
            }
            (15 | 16, Some(conn)) => self.say(conn, &keepalive()),
            (17 | 18, Some(conn)) => self.say(conn, &good_update(choices)),
            (19, Some(conn)) => {
                let octets = choices.octets();
                self.say(conn, octets);
            }
            (20..=24, Some(conn)) => {
                let kind = operation & 31;
                let message = message(kind - 19, choices.octets());
                self.say(conn, &message);
            }
            (25..=28, Some(conn)) => {
                let message = update_of_attributes(choices.octets(), operation & 1 == 0);
                self.say(conn, &message);
            }
            (29 | 30, Some(conn)) => self.hear(conn, usize::from(choices.octet().unwrap_or(0)) * 64),
            (_, _) => self.hear_all(),
        }
    }

    fn pass(&mut self, millis: u64) {
        self.now = self.now + Duration::from_millis(millis);
        if self.speaker.poll_timeout().is_some_and(|at| at <= self.now) {
            self.feed(Input::Timeout);
        }
    }

    fn reconfigure(&mut self, choice: u8) {
        let mut config = self.config.clone();
        let peer = config.peers.get_mut(&first()).expect("configured");
        match choice & 7 {
            0 => {}
            1 => peer.admin_state = AdminState::Down("by hand".to_owned()),
            2 => peer.import.default = flatroute_bgp::policy::Verdict::Accept,
            3 => peer.import.rules.clear(),
            4 => peer.allow_own_asn = 3,
            5 => peer.session.hold_time = Duration::from_secs(30),
            6 => _ = config.peers.remove(&first()),
            _ => config.originate.clear(),
        }
        self.feed(Input::Configure(config));
    }

    /// Takes all that the speaker orders, and looks whether it may.
    fn settle(&mut self) {
        let mut count = 0;
        while let Some(output) = self.speaker.poll_output() {
            count += 1;
            assert!(
                count <= MAX_OUTPUTS,
                "one operation, more than {MAX_OUTPUTS} outputs"
            );
            if let Output::Dial { conn, .. } = output {
                self.dials.push(conn);
            } else if let Output::Close { conn, last } = output {
                self.dials.retain(|dial| *dial != conn);
                if let Some(mut conn) = self.conns.remove(&conn) {
                    conn.heard.extend_from_slice(&last);
                    conn.check();
                    assert!(conn.heard.is_empty(), "the last message is whole");
                }
            } else if let Output::Event(event) = output
                && event.kind == EventKind::Established
                && event.peer == Some(first())
            {
                let mut ours = self.conns.iter().filter(|(c, _)| **c != ConnId::Accepted(0));
                let shook = ours.any(|(_, conn)| conn.has_shaken_hands());
                assert!(shook, "Established without OPEN and KEEPALIVE");
            }
        }
        for summary in self.speaker.peers(self.now) {
            for prefixes in summary.prefixes.iter().filter(|_| summary.name == first()) {
                assert!(
                    prefixes.counts.received <= LIMIT as usize,
                    "{:?}",
                    prefixes.counts
                );
            }
        }
    }

    fn hear_all(&mut self) {
        let conns: Vec<ConnId> = self.conns.keys().copied().collect();
        for conn in conns {
            self.hear(conn, CHUNK);
        }
    }

    /// The socket takes about so much.
    fn hear(&mut self, conn: ConnId, limit: usize) {
        let mut out = BytesMut::new();
        self.speaker.poll_transmit(conn, &mut out, limit, self.now);
        assert!(
            out.len() <= limit + 2 * MAX_EXTENDED_LEN,
            "{} octets for {limit}",
            out.len()
        );
        if let Some(conn) = self.conns.get_mut(&conn) {
            conn.heard.extend_from_slice(&out);
            conn.check();
        }
    }

    /// Nobody says anything any more, and no dial is answered.
    fn wait_for_the_end(&mut self) {
        let end = self.now + ALL_ENDED;
        let mut turns = 0;
        while let Some(at) = self.speaker.poll_timeout().filter(|at| *at <= end) {
            turns += 1;
            assert!(turns < 10_000, "timers that do not end");
            self.now = self.now.max(at);
            self.feed(Input::Timeout);
            self.settle();
            self.hear_all();
            let next = self.speaker.poll_timeout();
            assert!(
                next.is_none_or(|next| next > self.now),
                "a timer that does not end"
            );
        }
        for summary in self.speaker.peers(end).iter().filter(|s| s.name == first()) {
            let watched = summary.negotiated.as_ref().is_none_or(|n| !n.hold_time.is_zero());
            let state = summary.state.to_string();
            assert!(
                !watched || !matches!(state.as_str(), "OpenSent" | "OpenConfirm" | "Established"),
                "{state} for ever"
            );
        }
        assert!(
            self.conns.len() <= 3,
            "connections that are never given up: {}",
            self.conns.len()
        );
    }
}

impl Conn {
    /// What was heard so far is well-formed, and begins with OPEN, or with the NOTIFICATION that refuses it.
    fn check(&mut self) {
        while let Some(frame) = split(&self.heard, MAX_EXTENDED_LEN).expect("well-formed") {
            let kind = frame.kind.code();
            let len = frame.len;
            assert!(self.spoke || matches!(kind, 1 | 3), "type {kind} comes first");
            self.spoke = true;
            let _ = self.heard.split_to(len);
        }
    }

    /// Whether the neighbour's first two messages were OPEN and KEEPALIVE.
    fn has_shaken_hands(&self) -> bool {
        let Some(open) = message_at(&self.said) else {
            return false;
        };
        let second = self.said.get(open.1..).and_then(message_at);
        open.0 == 1 && second.is_some_and(|(kind, _)| kind == 4)
    }
}

/// Type and length of the first message.
fn message_at(octets: &[u8]) -> Option<(u8, usize)> {
    let header = octets.get(..19)?;
    let len = usize::from(u16::from_be_bytes([header[16], header[17]]));
    octets.get(..len)?;
    Some((header[18], len))
}

fn local() -> LocalAddresses {
    LocalAddresses {
        ipv4: Some(fabric::address(0)),
        ipv6: Some("2001:db8::1".parse().expect("an address")),
        link_local: None,
    }
}

fn open(asn: u32, router_id: u32, hold_time: u16, both: bool) -> Vec<u8> {
    let mut capabilities = Capabilities {
        families: Some(FamilySet::BOTH),
        four_octet_as: Some(Asn(asn)),
        route_refresh: true,
        extended_message: true,
        ..Capabilities::default()
    };
    if !both {
        capabilities = Capabilities::default();
    }
    let mut out = BytesMut::new();
    Open {
        version: 4,
        asn: Asn(asn),
        hold_time,
        router_id: RouterId(0xc000_0200 | router_id),
        capabilities,
    }
    .encode(&mut out);
    out.to_vec()
}

fn keepalive() -> Vec<u8> {
    let mut out = BytesMut::new();
    encode_keepalive(&mut out);
    out.to_vec()
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![0xff; 16];
    message.extend(u16::try_from(body.len() + 19).expect("short").to_be_bytes());
    message.push(kind);
    message.extend(body);
    message
}

/// A prefix that is announced or withdrawn in order.
fn good_update(choices: &mut Choices<'_>) -> Vec<u8> {
    let choice = choices.octet().unwrap_or(0);
    let nlri = [24, 203, 0, choice & 31];
    let mut body = Vec::new();
    if choice >> 5 == 0 {
        body.extend([0, 4]);
        body.extend(nlri);
        body.extend([0, 0]);
    } else {
        let attributes = [
            0x40,
            1,
            1,
            choice >> 6,
            0x40,
            2,
            6,
            2,
            1,
            0,
            0,
            0xfd,
            0xe9,
            0x40,
            3,
            4,
            192,
            0,
            2,
            2,
        ];
        body.extend([0, 0, 0, 20]);
        body.extend(attributes);
        body.extend(nlri);
    }
    message(2, &body)
}

/// An UPDATE whose attributes are good up to where these octets begin.
fn update_of_attributes(octets: &[u8], has_nlri: bool) -> Vec<u8> {
    let mut list = vec![
        0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9, 0x40, 3, 4, 192, 0, 2, 2,
    ];
    list.extend(octets);
    let mut body = vec![0, 0];
    body.extend(u16::try_from(list.len()).expect("short").to_be_bytes());
    body.extend(list);
    if has_nlri {
        body.extend([24, 203, 0, 113]);
    }
    message(2, &body)
}
