//! A world of two nodes, one clock and TCP.
//!
//! A connection is two directions. In each, octets arrive in order, after the latency of that direction of that
//! connection, in pieces of any size. A connection can be reset (both ends hear of it), or swallowed by a black
//! hole: nothing arrives any more, and when the hole closes the next octet sent on it finds no connection. A
//! SYN into a black hole is never answered; one to a node that does not listen is refused.
//!
//! [`Pair::step`] jumps to the next moment at which anything can happen. After each input it drains the machine
//! and checks what must always hold: outputs in order, at most one session, timers never in the past.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::BytesMut;
use flatroute_bgp::peer::{Direction, DownReason, Input, Output, Peer, State};
use flatroute_bgp::session::{ConnectMode, Negotiated, Offence, PeerAsn, Settings};
use flatroute_bgp::types::{Asn, ConnId, FamilySet, Instant, RouterId};
use flatroute_bgp::wire::Notification;

/// SplitMix64: the world's own dice.
#[derive(Clone, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.roll() % n
    }

    pub(crate) fn upto(&mut self, max: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(max.as_micros()).unwrap() + 1))
    }
}

/// How what arrives is cut into pieces.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Slicing {
    Whole,
    Octets,
    Random,
}

/// One of the two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    A,
    B,
}

impl Who {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// A node and what was seen of it.
pub(crate) struct Node {
    pub(crate) peer: Peer,
    pub(crate) listening: bool,
    /// Its end of each connection that it knows.
    conns: BTreeMap<ConnId, u64>,
    accepted: u64,
    /// The pipe that carries its session.
    pub(crate) session: Option<u64>,
    pub(crate) dials: Vec<Instant>,
    pub(crate) ups: Vec<Negotiated>,
    pub(crate) downs: Vec<DownReason>,
    pub(crate) updates: usize,
    pub(crate) refreshes: usize,
    pub(crate) offences: Vec<Offence>,
    /// NOTIFICATIONs, why they were sent, and the message that was the reason.
    pub(crate) notified: Vec<(Direction, Notification, String, Vec<u8>)>,
    /// `from -> to: cause`.
    pub(crate) transitions: Vec<(State, State, String)>,
}

/// A connection in the world.
#[derive(Debug)]
struct Pipe {
    dialler: Who,
    /// Each node's name for it, while it knows it.
    ends: BTreeMap<Who, ConnId>,
    /// Octets were lost in it: it can only break.
    broken: bool,
    latency: BTreeMap<Who, Duration>,
    /// When the last thing sent towards a node arrives: nothing overtakes.
    last_arrival: BTreeMap<Who, Instant>,
}

#[derive(Debug)]
enum Event {
    Syn(u64),
    Connected(u64),
    Refused(u64),
    Bytes(u64, Who, Vec<u8>),
    Eof(u64, Who, Option<String>),
}

pub(crate) struct Pair {
    pub(crate) now: Instant,
    pub(crate) a: Node,
    pub(crate) b: Node,
    pub(crate) dice: Dice,
    pub(crate) slicing: Slicing,
    /// The longest latency of a direction of a connection; each has its own.
    pub(crate) latency: Duration,
    pub(crate) black_hole: bool,
    /// What is sent on connections that this node dialled vanishes.
    pub(crate) mute: Option<Who>,
    /// This node stands still: it reads nothing, so that the other one's socket is soon full, and its timers do not
    /// run. A test may send in its name.
    pub(crate) frozen: Option<Who>,
    /// What waits in the drivers of nodes whose sockets are full.
    stuck: BTreeMap<(Who, ConnId), Vec<u8>>,
    pipes: BTreeMap<u64, Pipe>,
    next_pipe: u64,
    events: BTreeMap<(Instant, u64), Event>,
    next_event: u64,
}

/// Settings of the tests: 90 s hold time, 5 s connect-retry.
pub(crate) fn settings(asn: u32, router_id: u32) -> Settings {
    Settings {
        local_asn: Asn(asn),
        router_id: RouterId(router_id),
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

pub(crate) fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

impl Node {
    fn new(settings: Settings, seed: u64) -> Self {
        Self {
            peer: Peer::new(settings, seed, 1000, Instant::ZERO),
            listening: true,
            conns: BTreeMap::new(),
            accepted: 0,
            session: None,
            dials: Vec::new(),
            ups: Vec::new(),
            downs: Vec::new(),
            updates: 0,
            refreshes: 0,
            offences: Vec::new(),
            notified: Vec::new(),
            transitions: Vec::new(),
        }
    }
}

impl Pair {
    pub(crate) fn new(a: Settings, b: Settings, seed: u64) -> Self {
        let mut dice = Dice(seed);
        Self {
            now: Instant::ZERO + secs(1),
            a: Node::new(a, dice.roll()),
            b: Node::new(b, dice.roll()),
            dice,
            slicing: Slicing::Whole,
            latency: Duration::from_millis(2),
            black_hole: false,
            mute: None,
            frozen: None,
            stuck: BTreeMap::new(),
            pipes: BTreeMap::new(),
            next_pipe: 0,
            events: BTreeMap::new(),
            next_event: 0,
        }
    }

    /// Two plain nodes, AS 64512 and 64513, B with the higher identifier.
    pub(crate) fn plain(seed: u64) -> Self {
        Self::new(settings(64512, 1), settings(64513, 2), seed)
    }

    pub(crate) fn start(&mut self) {
        self.input(Who::A, Input::Start);
        self.input(Who::B, Input::Start);
    }

    pub(crate) fn node(&self, who: Who) -> &Node {
        match who {
            Who::A => &self.a,
            Who::B => &self.b,
        }
    }

    pub(crate) fn node_mut(&mut self, who: Who) -> &mut Node {
        match who {
            Who::A => &mut self.a,
            Who::B => &mut self.b,
        }
    }

    pub(crate) fn states(&self) -> (State, State) {
        (self.a.peer.state(), self.b.peer.state())
    }

    /// Both sides hold a session, and it is the same connection.
    pub(crate) fn agreed(&self) -> bool {
        self.a.session.is_some() && self.a.session == self.b.session
    }

    pub(crate) fn input(&mut self, who: Who, input: Input<'_>) {
        let now = self.now;
        self.node_mut(who).peer.handle(input, now);
        self.drain(who);
    }

    /// Sends octets of our own on the session of a node, as its speaker would.
    pub(crate) fn send(&mut self, who: Who, bytes: &[u8]) {
        let pipe = self.node(who).session.expect("a session");
        self.transmit(pipe, who.other(), bytes.to_vec());
    }

    /// Resets every connection: both ends hear of it now.
    pub(crate) fn reset(&mut self) {
        let pipes: Vec<u64> = self.pipes.keys().copied().collect();
        for pipe in pipes {
            for who in [Who::A, Who::B] {
                self.hear_eof(pipe, who, Some("connection reset by peer".to_owned()));
            }
        }
    }

    /// A frozen node goes on: it reads what waited for it before it looks at the clock.
    pub(crate) fn thaw(&mut self) {
        let Some(who) = self.frozen.take() else { return };
        for ((from, conn), bytes) in std::mem::take(&mut self.stuck) {
            if let Some(pipe) = self.node(from).conns.get(&conn).copied() {
                self.arrive(pipe, who, &bytes);
            }
        }
        self.drain(who.other());
    }

    /// Runs for a while.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    /// Runs until `done` holds; panics if that takes longer than `limit`.
    #[track_caller]
    pub(crate) fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) {
        let end = self.now + limit;
        while !done(self) {
            assert!(self.step(end), "not within {limit:?}: {:?}", self.story());
        }
    }

    /// What both nodes went through, for a failure.
    pub(crate) fn story(&self) -> Vec<String> {
        let line = |who, n: &Node| {
            n.transitions
                .iter()
                .map(move |(f, t, c)| format!("{who:?}: {f} -> {t}: {c}"))
                .collect::<Vec<_>>()
        };
        [line(Who::A, &self.a), line(Who::B, &self.b)].concat()
    }

    /// Takes the earliest thing that happens, unless it is after `end`.
    pub(crate) fn step(&mut self, end: Instant) -> bool {
        let event = self.events.first_key_value().map(|(k, _)| k.0);
        let timer = [Who::A, Who::B]
            .into_iter()
            .filter(|w| self.frozen != Some(*w))
            .filter_map(|w| Some((self.node(w).peer.poll_timeout()?, w)))
            .min();
        match (event, timer) {
            (Some(at), t) if at <= end && t.is_none_or(|(t, _)| at <= t) => {
                self.now = self.now.max(at);
                let (_, event) = self.events.pop_first().unwrap();
                self.happen(event);
                true
            }
            (_, Some((at, who))) if at <= end => {
                self.now = self.now.max(at);
                self.input(who, Input::Timeout);
                let next = self.node(who).peer.poll_timeout();
                assert!(
                    next.is_none_or(|t| t > self.now),
                    "{who:?} has a timer in the past"
                );
                true
            }
            _ => false,
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Syn(_) if self.black_hole => {}
            Event::Syn(pipe) => self.arrive_syn(pipe),
            Event::Connected(pipe) => {
                let dialler = self.pipes[&pipe].dialler;
                if let (false, Some(&conn)) = (self.black_hole, self.pipes[&pipe].ends.get(&dialler)) {
                    self.input(dialler, Input::Connected { conn });
                }
            }
            Event::Refused(pipe) => {
                let dialler = self.pipes[&pipe].dialler;
                if let Some(conn) = self.forget(pipe, dialler) {
                    let error = "connection refused".to_owned();
                    self.input(dialler, Input::ConnectFailed { conn, error });
                }
            }
            Event::Bytes(pipe, to, bytes) => self.arrive(pipe, to, &bytes),
            Event::Eof(pipe, to, error) => {
                if self.black_hole {
                    self.pipes.get_mut(&pipe).unwrap().broken = true;
                } else {
                    self.hear_eof(pipe, to, error);
                }
            }
        }
    }

    fn arrive_syn(&mut self, pipe: u64) {
        let dialler = self.pipes[&pipe].dialler;
        let to = dialler.other();
        let node = self.node_mut(to);
        if !node.listening {
            return self.schedule(pipe, dialler, Event::Refused(pipe));
        }
        let conn = ConnId::Accepted(node.accepted);
        node.accepted += 1;
        node.conns.insert(conn, pipe);
        self.pipes.get_mut(&pipe).unwrap().ends.insert(to, conn);
        self.schedule(pipe, dialler, Event::Connected(pipe));
        self.input(to, Input::Accepted { conn });
    }

    fn arrive(&mut self, pipe: u64, to: Who, bytes: &[u8]) {
        if self.mute == Some(self.pipes[&pipe].dialler) || self.frozen == Some(to) {
            return;
        }
        if self.black_hole || self.pipes[&pipe].broken {
            self.pipes.get_mut(&pipe).unwrap().broken = true;
            if !self.black_hole {
                self.hear_eof(pipe, to.other(), Some("connection reset by peer".to_owned()));
            }
            return;
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let len = match self.slicing {
                Slicing::Whole => rest.len(),
                Slicing::Octets => 1,
                Slicing::Random => 1 + usize::try_from(self.dice.below(40)).unwrap(),
            };
            let (piece, more) = rest.split_at(len.min(rest.len()));
            rest = more;
            let Some(&conn) = self.pipes[&pipe].ends.get(&to) else {
                return;
            };
            self.input(to, Input::Received { conn, bytes: piece });
        }
    }

    fn hear_eof(&mut self, pipe: u64, to: Who, error: Option<String>) {
        if let Some(conn) = self.forget(pipe, to) {
            self.input(to, Input::Closed { conn, error });
        }
    }

    fn forget(&mut self, pipe: u64, who: Who) -> Option<ConnId> {
        let conn = self.pipes.get_mut(&pipe)?.ends.remove(&who)?;
        self.node_mut(who).conns.remove(&conn);
        Some(conn)
    }

    /// Plans what arrives at `to` through `pipe`, behind all that was sent there before.
    fn schedule(&mut self, pipe: u64, to: Who, event: Event) {
        let now = self.now;
        let p = self.pipes.get_mut(&pipe).unwrap();
        let at = (now + p.latency[&to]).max(p.last_arrival.get(&to).copied().unwrap_or(now));
        p.last_arrival.insert(to, at);
        self.events.insert((at, self.next_event), event);
        self.next_event += 1;
    }

    fn transmit(&mut self, pipe: u64, to: Who, bytes: Vec<u8>) {
        self.schedule(pipe, to, Event::Bytes(pipe, to, bytes));
    }

    /// Does what the machine of a node says, and checks that it says it in order.
    fn drain(&mut self, who: Who) {
        loop {
            while let Some(output) = self.node_mut(who).peer.poll_output() {
                self.obey(who, output);
            }
            let conns: Vec<(ConnId, u64)> = self.node(who).conns.iter().map(|(c, p)| (*c, *p)).collect();
            let mut wrote = false;
            for (conn, pipe) in conns {
                if self.stuck.contains_key(&(who, conn)) {
                    continue;
                }
                let mut out = BytesMut::new();
                let now = self.now;
                if self.node_mut(who).peer.poll_transmit(conn, &mut out, now) {
                    wrote = true;
                    if self.frozen == Some(who.other()) {
                        self.stuck.insert((who, conn), out.to_vec());
                    } else {
                        self.transmit(pipe, who.other(), out.to_vec());
                    }
                }
            }
            if !wrote {
                break;
            }
        }
    }

    fn obey(&mut self, who: Who, output: Output) {
        let now = self.now;
        match output {
            Output::Dial(conn) => self.dial(who, conn),
            Output::Close(conn) => self.close(who, conn),
            Output::Established { conn, negotiated } => {
                let node = self.node_mut(who);
                assert_eq!(node.session, None, "{who:?} has two sessions");
                assert_eq!(conn, negotiated.conn);
                node.session = Some(node.conns[&conn]);
                node.ups.push(negotiated);
            }
            Output::Down { reason } => {
                let node = self.node_mut(who);
                assert!(
                    node.session.take().is_some(),
                    "{who:?} went down while it was not up"
                );
                node.downs.push(reason);
            }
            Output::Update(_) => {
                let node = self.node_mut(who);
                assert!(
                    node.session.is_some(),
                    "{who:?} passed on an UPDATE outside of a session"
                );
                node.updates += 1;
            }
            Output::Offending(offence) => self.node_mut(who).offences.push(*offence),
            Output::Notified {
                direction,
                notification,
                why,
                message,
            } => self
                .node_mut(who)
                .notified
                .push((direction, notification, why, message)),
            Output::Refresh(..) => self.node_mut(who).refreshes += 1,
            Output::Transition { from, to, cause } => {
                let node = self.node_mut(who);
                let last = node.transitions.last().map_or(State::Idle, |t| t.1);
                assert_eq!(last, from, "{who:?} forgot a transition at {now:?}");
                assert_ne!(from, to);
                node.transitions.push((from, to, cause));
            }
        }
    }

    fn dial(&mut self, who: Who, conn: ConnId) {
        let pipe = self.next_pipe;
        self.next_pipe += 1;
        let latency = [Who::A, Who::B]
            .into_iter()
            .map(|w| (w, self.dice.upto(self.latency)))
            .collect();
        self.pipes.insert(
            pipe,
            Pipe {
                dialler: who,
                ends: BTreeMap::from([(who, conn)]),
                broken: false,
                latency,
                last_arrival: BTreeMap::new(),
            },
        );
        let now = self.now;
        let node = self.node_mut(who);
        assert!(
            node.conns.insert(conn, pipe).is_none(),
            "a connection number was used twice"
        );
        node.dials.push(now);
        self.schedule(pipe, who.other(), Event::Syn(pipe));
    }

    fn close(&mut self, who: Who, conn: ConnId) {
        let pipe = self.node(who).conns[&conn];
        let mut out = BytesMut::new();
        let now = self.now;
        if self.node_mut(who).peer.poll_transmit(conn, &mut out, now) {
            self.transmit(pipe, who.other(), out.to_vec());
        }
        let mut again = BytesMut::new();
        assert!(
            !self.node_mut(who).peer.poll_transmit(conn, &mut again, now),
            "more after the last word"
        );
        self.forget(pipe, who);
        self.schedule(pipe, who.other(), Event::Eof(pipe, who.other(), None));
        // Late news of a connection that it has closed must not matter.
        let now = self.now;
        for late in [
            Input::Connected { conn },
            Input::Received {
                conn,
                bytes: &[0xff; 64],
            },
            Input::ConnectFailed {
                conn,
                error: "late".to_owned(),
            },
            Input::Closed { conn, error: None },
        ] {
            self.node_mut(who).peer.handle(late, now);
        }
    }
}
