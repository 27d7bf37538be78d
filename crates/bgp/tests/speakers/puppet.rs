//! A speaker, node 0 of the fabric, and one or more neighbours that are nothing but octets.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use flatroute_bgp::rib::LocalAddresses;
use flatroute_bgp::speaker::{Config, Event, Input, Output, PeerSummary, Speaker};
use flatroute_bgp::types::{
    AsPath, Asn, ConnId, Family, FamilySet, Instant, NextHop, PathAttributes, PathIds, PeerName, Prefix,
    RouterId,
};
use flatroute_bgp::wire::{self, Capabilities, Context, Message, Notification, Open, RefreshSubtype};

use crate::fabric::{address, config, prefix};

/// What the neighbours say in their OPENs.
pub(crate) const CONTEXT: Context = Context {
    four_octet_as: true,
    extended_message: false,
    families: FamilySet::BOTH,
    extended_next_hop: false,
    path_ids: PathIds::NONE,
    internal: false,
};

/// The world.
pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) speaker: Speaker,
    pub(crate) events: Vec<Event>,
    /// What the kernel holds.
    pub(crate) kernel: BTreeMap<Prefix, Vec<IpAddr>>,
    /// Connections that the speaker closed, with its last words.
    pub(crate) closed: BTreeMap<ConnId, Vec<u8>>,
    accepted: u64,
}

/// A neighbour's connection.
pub(crate) struct Puppet {
    pub(crate) conn: ConnId,
}

/// Octets made by an encoder.
pub(crate) fn encoded(encode: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode(&mut out);
    out.to_vec()
}

pub(crate) fn keepalive() -> Vec<u8> {
    encoded(wire::encode_keepalive)
}

pub(crate) fn route_refresh(family: Family, subtype: RefreshSubtype) -> Vec<u8> {
    encoded(|out| wire::encode_route_refresh(family, subtype, out))
}

/// An UPDATE of node `node` that announces prefixes of one family.
pub(crate) fn announce(node: usize, prefixes: &[&str]) -> Vec<u8> {
    let prefixes: Vec<Prefix> = prefixes.iter().map(|p| prefix(p)).collect();
    let mut attributes = PathAttributes::local();
    attributes.as_path = AsPath::sequence([Asn(65_000 + u32::try_from(node).unwrap())]);
    attributes.next_hop = Some(match prefixes[0].family() {
        Family::Ipv4 => NextHop::V4(address(node)),
        Family::Ipv6 => NextHop::V6 {
            global: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::try_from(node).unwrap() + 1),
            link_local: None,
        },
    });
    encoded(|out| {
        let mut rest = &prefixes[..];
        while !rest.is_empty() {
            rest = &rest[wire::encode_reach(rest, &attributes, &CONTEXT, out).unwrap()..];
        }
    })
}

pub(crate) fn withdraw(prefixes: &[&str]) -> Vec<u8> {
    let prefixes: Vec<Prefix> = prefixes.iter().map(|p| prefix(p)).collect();
    encoded(|out| _ = wire::encode_unreach(&prefixes, &CONTEXT, out))
}

/// An UPDATE whose AS_PATH has a segment of no ASes: 203.0.113.0/24 is treated as withdrawn.
pub(crate) fn malformed() -> Vec<u8> {
    let mut message = vec![0xff; 16];
    message.extend([0, 43, 2, 0, 0, 0, 16, 0x40, 1, 1, 0, 0x40, 2, 2, 2, 0]);
    message.extend([0x40, 3, 4, 192, 0, 2, 2, 24, 203, 0, 113]);
    message
}

impl World {
    /// A speaker that knows `others`, who dial, and originates `pods`.
    pub(crate) fn new(others: &[usize], pods: &[&str]) -> Self {
        Self::of(Speaker::new(7), config(0, others, pods))
    }

    /// A speaker with this configuration; its neighbours dial.
    pub(crate) fn of(speaker: Speaker, mut config: Config) -> Self {
        let mut world = Self {
            now: Instant::ZERO,
            speaker,
            events: Vec::new(),
            kernel: BTreeMap::new(),
            closed: BTreeMap::new(),
            accepted: 0,
        };
        for peer in config.peers.values_mut() {
            peer.session.connect_mode = flatroute_bgp::session::ConnectMode::Passive;
        }
        world.tell(Input::Configure(config));
        world
    }

    pub(crate) fn tell(&mut self, input: Input<'_>) {
        self.speaker.handle(input, self.now);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.speaker.poll_output() {
            match output {
                Output::Dial { .. } => {}
                Output::Close { conn, last } => _ = self.closed.insert(conn, last),
                Output::Event(event) => self.events.push(event),
            }
        }
        for change in self.speaker.poll_fib(usize::MAX, self.now) {
            let hops: Vec<IpAddr> = change.paths.iter().map(|p| p.next_hop.addr()).collect();
            if hops.is_empty() {
                self.kernel.remove(&change.prefix);
            } else {
                self.kernel.insert(change.prefix, hops);
            }
        }
    }

    /// Lets time pass; timers fire when they are due.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.speaker.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.tell(Input::Timeout);
        }
        self.now = end;
    }

    /// A connection of node `node`.
    pub(crate) fn connect(&mut self, node: usize) -> Puppet {
        let conn = ConnId::Accepted(self.accepted);
        self.accepted += 1;
        let local = LocalAddresses {
            ipv4: Some(address(0)),
            ipv6: Some("2001:db8::1".parse().unwrap()),
            link_local: None,
        };
        let remote = SocketAddr::new(IpAddr::V4(address(node)), 50_000);
        self.tell(Input::Accepted { conn, remote, local });
        Puppet { conn }
    }

    /// A session with node `node` that has nothing left to read, hold time zero.
    pub(crate) fn established(&mut self, node: usize, enhanced: bool) -> Puppet {
        let puppet = self.connect(node);
        self.say(&puppet, &open(node, enhanced));
        self.say(&puppet, &keepalive());
        self.hear(&puppet);
        puppet
    }

    /// A session whose OPEN is this one, with nothing left to read.
    pub(crate) fn established_with(&mut self, open: &Open) -> Puppet {
        let node = usize::try_from(open.asn.0 - 65_000).unwrap();
        let puppet = self.connect(node);
        self.say(&puppet, &encoded(|out| open.encode(out)));
        self.say(&puppet, &keepalive());
        self.hear(&puppet);
        puppet
    }

    pub(crate) fn say(&mut self, puppet: &Puppet, bytes: &[u8]) {
        self.tell(Input::Received {
            conn: puppet.conn,
            bytes,
        });
    }

    pub(crate) fn close(&mut self, puppet: &Puppet) {
        self.tell(Input::Closed {
            conn: puppet.conn,
            error: None,
        });
    }

    /// What the neighbour is told at most `limit` octets (and a message) at a time; all pulls but the first say that
    /// the socket has taken everything.
    pub(crate) fn pull(&mut self, puppet: &Puppet, limit: usize) -> Vec<Message> {
        let mut out = BytesMut::new();
        self.speaker.poll_transmit(puppet.conn, &mut out, limit, self.now);
        messages(out)
    }

    /// All that the neighbour is told now.
    pub(crate) fn hear(&mut self, puppet: &Puppet) -> Vec<Message> {
        let mut all = Vec::new();
        loop {
            let some = self.pull(puppet, usize::MAX);
            if some.is_empty() {
                return all;
            }
            all.extend(some);
        }
    }

    /// The NOTIFICATION that a closed connection ended with.
    pub(crate) fn last_word(&self, puppet: &Puppet) -> Notification {
        let last = BytesMut::from(&self.closed[&puppet.conn][..]);
        match messages(last).pop() {
            Some(Message::Notification(notification)) => notification,
            other => panic!("not a NOTIFICATION: {other:?}"),
        }
    }

    pub(crate) fn peer(&self, node: usize) -> PeerSummary {
        let name = PeerName::from(format!("n{node}"));
        self.speaker.peer(&name, self.now).unwrap()
    }

    pub(crate) fn kernel_has(&self) -> Vec<String> {
        self.kernel.keys().map(ToString::to_string).collect()
    }
}

fn messages(mut out: BytesMut) -> Vec<Message> {
    let mut all = Vec::new();
    while let Some(frame) = wire::split(&out, wire::MAX_LEN).unwrap() {
        all.push(wire::decode(&frame, &CONTEXT).unwrap());
        let len = frame.len;
        out.advance(len);
    }
    assert!(out.is_empty());
    all
}

pub(crate) fn open(node: usize, enhanced: bool) -> Vec<u8> {
    let open = open_of(node, enhanced);
    encoded(|out| open.encode(out))
}

pub(crate) fn open_of(node: usize, enhanced: bool) -> Open {
    let asn = Asn(65_000 + u32::try_from(node).unwrap());
    Open {
        version: 4,
        asn,
        hold_time: 0,
        router_id: RouterId::from_addr(Ipv4Addr::new(192, 0, 2, u8::try_from(node).unwrap() + 1)),
        capabilities: Capabilities {
            families: Some(FamilySet::BOTH),
            four_octet_as: Some(asn),
            route_refresh: true,
            enhanced_route_refresh: enhanced,
            ..Capabilities::default()
        },
    }
}
