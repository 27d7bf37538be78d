//! Speakers in virtual time: each has addresses, pipes carry octets between them in order, cut into pieces, after a
//! latency. Nothing sleeps; the clock jumps to whatever happens next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use flatroute_bgp::policy::{Action, Condition, Filter, Rule, Set, Source, Verdict};
use flatroute_bgp::rib::{LocalAddresses, RouteChange};
use flatroute_bgp::session::{ConnectMode, PeerAsn, Settings};
use flatroute_bgp::speaker::{
    AdminState, Auth, Config, Event, GracefulRestart, Input, NextHopMode, Origination, Output, PeerConfig,
    PrefixLimit, PrefixLimitAction, Restart, Speaker, Ttl,
};
use flatroute_bgp::types::{Asn, ConnId, Family, FamilySet, Instant, PeerName, Prefix, RouterId};
use ipnetwork::IpNetwork;

/// How many octets a pipe delivers at once: odd, so that messages are cut anywhere.
const PIECE: usize = 97;

struct Node {
    speaker: Speaker,
    /// What the speaker is told to be, also the one after it.
    config: Config,
    /// Routes that an earlier speaker left in the kernel, until this one has chosen and heard everybody.
    left: BTreeSet<Prefix>,
    lives: u64,
    address: Ipv4Addr,
    conns: BTreeMap<ConnId, End>,
    fib: BTreeMap<Prefix, RouteChange>,
    events: Vec<Event>,
    accepted: u64,
}

/// Where the other end of a connection is.
#[derive(Clone, Copy)]
struct End {
    node: usize,
    /// Which of the node's processes has it.
    life: u64,
    conn: ConnId,
}

enum Delivery {
    Connected(ConnId),
    Accepted(ConnId, SocketAddr),
    Refused(ConnId),
    Bytes(ConnId, Vec<u8>),
    Closed(ConnId),
}

pub(crate) struct Fabric {
    pub(crate) now: Instant,
    nodes: Vec<Node>,
    pipes: VecDeque<(Instant, (usize, u64), Delivery)>,
    latency: Duration,
    cut: BTreeSet<(usize, usize)>,
    /// Prefixes that every node must reach at any moment from now on.
    watched: Vec<Prefix>,
}

pub(crate) fn prefix(text: &str) -> Prefix {
    text.parse::<IpNetwork>().expect("a prefix").into()
}

pub(crate) fn address(node: usize) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, u8::try_from(node).expect("few nodes") + 1)
}

pub(crate) fn accept_all(sources: &[Source]) -> Filter {
    Filter {
        rules: vec![Rule {
            name: "test sources".into(),
            condition: Condition {
                sources: Some(sources.to_vec()),
                ..Condition::default()
            },
            action: Action::Accept,
            set: Set::default(),
        }],
        default: Verdict::Reject,
    }
}

/// A neighbour of `node` towards `other`, each node in AS 65000 + its number.
pub(crate) fn peer(node: usize, other: usize) -> PeerConfig {
    let asn = |n: usize| Asn(65000 + u32::try_from(n).expect("few nodes"));
    PeerConfig {
        address: IpAddr::V4(address(other)),
        interface: None,
        port: 179,
        source_address: None,
        session: Settings {
            local_asn: asn(node),
            router_id: RouterId::from_addr(address(node)),
            peer_asn: PeerAsn::Exact(asn(other)),
            connect_mode: ConnectMode::Both,
            hold_time: Duration::from_secs(90),
            keepalive_time: None,
            send_hold_time: None,
            connect_retry_time: Duration::from_secs(5),
            families: FamilySet::BOTH,
            extended_next_hop: false,
            add_path: None,
            role: None,
        },
        ttl: Ttl::Direct,
        next_hop: NextHopMode::Auto,
        reflection: None,
        allow_own_asn: 0,
        next_hops: None,
        max_prefixes: PrefixLimit {
            limit: 10_000,
            action: PrefixLimitAction::Drop,
        },
        import: accept_all(&[Source::Learned]),
        export: accept_all(&[Source::PodCidrs, Source::Learned]),
        auth: Auth::None,
        graceful_restart: GracefulRestart::DISABLED,
        relays: false,
        admin_state: AdminState::Up,
        drained: false,
    }
}

pub(crate) fn config(node: usize, others: &[usize], pods: &[&str]) -> Config {
    Config {
        peers: others
            .iter()
            .map(|o| (PeerName::from(format!("n{o}")), peer(node, *o)))
            .collect(),
        originate: pods
            .iter()
            .map(|p| Origination {
                prefix: prefix(p),
                source: Source::PodCidrs,
            })
            .collect(),
        install: accept_all(&[Source::Learned]),
        ..Config::default()
    }
}

impl Fabric {
    pub(crate) fn new(nodes: usize, seed: u64) -> Self {
        let make = |n: usize| Node {
            speaker: Speaker::new(seed.wrapping_mul(31).wrapping_add(n as u64)),
            config: Config::default(),
            left: BTreeSet::new(),
            lives: 0,
            address: address(n),
            conns: BTreeMap::new(),
            fib: BTreeMap::new(),
            events: Vec::new(),
            accepted: 0,
        };
        Self {
            now: Instant::ZERO,
            nodes: (0..nodes).map(make).collect(),
            pipes: VecDeque::new(),
            latency: Duration::from_micros(200 + seed % 1000),
            cut: BTreeSet::new(),
            watched: Vec::new(),
        }
    }

    pub(crate) fn configure(&mut self, node: usize, config: Config) {
        self.nodes[node].config = config.clone();
        self.tell(node, Input::Configure(config));
    }

    /// The process of a node ends without a word: its connections break, its routes stay in the kernel, and another
    /// process begins, which knows of the one before it, or does not (`warm`).
    pub(crate) fn restart(&mut self, node: usize, warm: bool) {
        self.die(node);
        self.revive(node, warm);
    }

    pub(crate) fn die(&mut self, node: usize) {
        for (_, end) in std::mem::take(&mut self.nodes[node].conns) {
            self.send(node, (end.node, end.life), Delivery::Closed(end.conn));
        }
        let n = &mut self.nodes[node];
        n.left.extend(n.fib.keys());
        n.lives += 1;
        n.speaker = Speaker::new(n.lives);
    }

    pub(crate) fn revive(&mut self, node: usize, warm: bool) {
        let now = self.now;
        let n = &mut self.nodes[node];
        let restart = Restart {
            forwarding: FamilySet::BOTH,
        };
        let seed = n.lives.wrapping_mul(1009).wrapping_add(node as u64);
        n.speaker = if warm {
            Speaker::restarted(seed, restart, now)
        } else {
            Speaker::new(seed)
        };
        if !warm {
            n.fib.clear();
            n.left.clear();
        }
        let config = n.config.clone();
        self.tell(node, Input::Configure(config));
    }

    /// From now on every node must reach these prefixes at every moment.
    pub(crate) fn watch(&mut self, prefixes: &[&str]) {
        self.watched = prefixes.iter().map(|p| prefix(p)).collect();
        self.look();
    }

    fn look(&self) {
        for prefix in &self.watched {
            for node in 0..self.nodes.len() {
                let mut way = Vec::new();
                assert!(
                    self.reaches(node, *prefix, &mut way),
                    "a packet to {prefix} by way of nodes {way:?} is lost at {:?}",
                    self.now
                );
            }
        }
    }

    /// Whether a packet of a node arrives, whichever legs of the routes on its way it takes.
    fn reaches(&self, node: usize, to: Prefix, way: &mut Vec<usize>) -> bool {
        let n = &self.nodes[node];
        let loops = way.contains(&node);
        way.push(node);
        let next = |hop: IpAddr| match hop {
            IpAddr::V4(a) => usize::from(a.octets()[3]) - 1,
            IpAddr::V6(a) => usize::from(a.segments()[7]) - 1,
        };
        let arrives = n.config.originate.iter().any(|o| o.prefix == to)
            || n.fib.get(&to).filter(|_| !loops).is_some_and(|r| {
                let mut legs = r.paths.iter().map(|p| next(p.next_hop.addr()));
                legs.all(|next| self.reaches(next, to, way))
            });
        // What is left is the way of the packet that was lost.
        if arrives {
            way.pop();
        }
        arrives
    }

    pub(crate) fn tell(&mut self, node: usize, input: Input<'_>) {
        let now = self.now;
        self.nodes[node].speaker.handle(input, now);
        self.drain(node);
    }

    pub(crate) fn speaker(&self, node: usize) -> &Speaker {
        &self.nodes[node].speaker
    }

    pub(crate) fn events(&self, node: usize) -> &[Event] {
        &self.nodes[node].events
    }

    pub(crate) fn fib(&self, node: usize) -> &BTreeMap<Prefix, RouteChange> {
        &self.nodes[node].fib
    }

    /// Octets between two nodes vanish from now on, or no longer.
    pub(crate) fn black_hole(&mut self, a: usize, b: usize, on: bool) {
        if on {
            self.cut.extend([(a, b), (b, a)]);
        } else {
            self.cut.remove(&(a, b));
            self.cut.remove(&(b, a));
        }
    }

    /// Runs for `span` of virtual time.
    pub(crate) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let delivery = self.pipes.front().map(|(at, ..)| *at);
            let timeout = self.nodes.iter().filter_map(|n| n.speaker.poll_timeout()).min();
            let Some(next) = [delivery, timeout]
                .into_iter()
                .flatten()
                .min()
                .filter(|at| *at <= end)
            else {
                break;
            };
            self.now = self.now.max(next);
            if delivery == Some(next) {
                let (_, (node, life), delivery) = self.pipes.pop_front().expect("looked at above");
                if self.nodes[node].lives == life {
                    self.deliver(node, &delivery);
                }
            } else {
                for node in 0..self.nodes.len() {
                    if self.nodes[node]
                        .speaker
                        .poll_timeout()
                        .is_some_and(|at| at <= self.now)
                    {
                        self.tell(node, Input::Timeout);
                    }
                }
            }
            self.look();
        }
        self.now = end;
    }

    fn deliver(&mut self, node: usize, delivery: &Delivery) {
        let local = LocalAddresses {
            ipv4: Some(self.nodes[node].address),
            ipv6: Some(Ipv6Addr::new(
                0x2001,
                0xdb8,
                0,
                0,
                0,
                0,
                0,
                u16::try_from(node).expect("few") + 1,
            )),
            link_local: None,
        };
        let input = match delivery {
            Delivery::Connected(conn) => Input::Connected { conn: *conn, local },
            Delivery::Accepted(conn, remote) => Input::Accepted {
                conn: *conn,
                remote: *remote,
                local,
            },
            Delivery::Refused(conn) => Input::ConnectFailed {
                conn: *conn,
                error: "refused".to_owned(),
            },
            Delivery::Bytes(conn, bytes) => Input::Received { conn: *conn, bytes },
            Delivery::Closed(conn) => {
                self.nodes[node].conns.remove(conn);
                Input::Closed {
                    conn: *conn,
                    error: None,
                }
            }
        };
        self.tell(node, input);
    }

    fn send(&mut self, from: usize, to: (usize, u64), delivery: Delivery) {
        if self.cut.contains(&(from, to.0)) {
            return;
        }
        let at = self.now + self.latency;
        let place = self.pipes.partition_point(|(t, ..)| *t <= at);
        self.pipes.insert(place, (at, to, delivery));
    }

    fn drain(&mut self, node: usize) {
        while let Some(output) = self.nodes[node].speaker.poll_output() {
            match output {
                Output::Dial { conn, target } => self.dial(node, conn, target.address),
                Output::Close { conn, last } => self.close(node, conn, &last),
                Output::Event(event) => self.nodes[node].events.push(event),
            }
        }
        let conns: Vec<(ConnId, End)> = self.nodes[node].conns.iter().map(|(c, e)| (*c, *e)).collect();
        for (conn, end) in conns {
            // Once more when all was taken: until nothing more is said.
            loop {
                let mut out = BytesMut::new();
                self.nodes[node]
                    .speaker
                    .poll_transmit(conn, &mut out, usize::MAX, self.now);
                if out.is_empty() {
                    break;
                }
                self.write(node, end, &out);
            }
        }
        loop {
            let changes = self.nodes[node].speaker.poll_fib(3, self.now);
            if changes.is_empty() {
                break;
            }
            for change in changes {
                self.nodes[node].left.remove(&change.prefix);
                if change.paths.is_empty() {
                    self.nodes[node].fib.remove(&change.prefix);
                } else {
                    self.nodes[node].fib.insert(change.prefix, change);
                }
            }
        }
        self.sweep(node);
    }

    /// What an earlier process left and this one does not want goes, once it knows what it wants.
    fn sweep(&mut self, node: usize) {
        let n = &mut self.nodes[node];
        let configured = !n.speaker.peers(self.now).is_empty();
        if configured && n.speaker.restarting(self.now).is_none() && n.speaker.end_of_rib_from_all() {
            for prefix in std::mem::take(&mut n.left) {
                n.fib.remove(&prefix);
            }
        }
    }

    fn dial(&mut self, node: usize, conn: ConnId, target: IpAddr) {
        let Some(other) = self.nodes.iter().position(|n| IpAddr::V4(n.address) == target) else {
            self.send(node, (node, self.nodes[node].lives), Delivery::Refused(conn));
            return;
        };
        let theirs = ConnId::Accepted(self.nodes[other].accepted);
        self.nodes[other].accepted += 1;
        let lives = (self.nodes[node].lives, self.nodes[other].lives);
        let end = |node, life, conn| End { node, life, conn };
        self.nodes[node].conns.insert(conn, end(other, lives.1, theirs));
        self.nodes[other].conns.insert(theirs, end(node, lives.0, conn));
        let from = SocketAddr::new(IpAddr::V4(self.nodes[node].address), 50_000);
        self.send(other, (node, lives.0), Delivery::Connected(conn));
        self.send(node, (other, lives.1), Delivery::Accepted(theirs, from));
    }

    fn write(&mut self, node: usize, end: End, bytes: &[u8]) {
        for piece in bytes.chunks(PIECE) {
            self.send(
                node,
                (end.node, end.life),
                Delivery::Bytes(end.conn, piece.to_vec()),
            );
        }
    }

    fn close(&mut self, node: usize, conn: ConnId, last: &[u8]) {
        if let Some(end) = self.nodes[node].conns.remove(&conn) {
            self.write(node, end, last);
            self.send(node, (end.node, end.life), Delivery::Closed(end.conn));
        }
    }

    /// The counts of Established sessions of a node.
    pub(crate) fn established(&self, node: usize) -> usize {
        use flatroute_bgp::peer::State;
        self.speaker(node)
            .peers(self.now)
            .iter()
            .filter(|p| p.state == State::Established)
            .count()
    }
}

/// Both families, to count over.
pub(crate) const FAMILIES: [Family; 2] = Family::ALL;
