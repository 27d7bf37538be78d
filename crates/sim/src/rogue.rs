//! A neighbour with bad intentions: it has an address, an ASN and an object that makes a neighbour of it, and says whatever
//! it likes. Nothing that it says may reach anybody's kernel, end another neighbour's session, or end a process; what it is
//! told in answer is its victim's affair.
//!
//! It never names a prefix inside the cluster's pod CIDRs but its victim's own, which a rail refuses: whoever may announce a
//! pod CIDR of somebody else *has* it, in BGP, and filters are there to prevent that, not the speaker.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use bytes::BytesMut;
use flatroute_bgp::types::{
    AsPath, Asn, ConnId, Family, FamilySet, NextHop, PathAttributes, PathIds, Prefix, RouterId,
};
use flatroute_bgp::wire::{self, Capabilities, Context, Open};

use crate::dice::Dice;
use crate::queue::Happening;
use crate::tcp::{Key, Side};
use crate::topology::{Host, HostId, Topology};
use crate::world::World;

/// How often it looks what it might do next.
const TICK: Duration = Duration::from_secs(1);
/// In how many of a thousand ticks it dials.
const DIALS: u64 = 140;
/// How long it does not read, when it does not: longer than any run.
const DEAF: Duration = Duration::from_secs(100_000);
/// How often it answers on one connection.
const MAX_ANSWERS: u32 = 12;
/// The longest garbage.
const MAX_GARBAGE: usize = 300;
/// How many prefixes a flood has; the victim takes 20.
const FLOOD: u32 = 60;

/// What it is about on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Intent {
    /// Says nothing at all.
    Silence,
    /// Says what is no message.
    Garbage,
    /// Says that it is of another AS.
    WrongAsn,
    /// Makes a session, and then says nothing.
    Death,
    /// Makes a session, lives on, and reads nothing more.
    Deaf,
    /// Makes a session, and sends more prefixes than it may.
    Flood,
    /// Makes a session, and sends UPDATEs with errors, or routes that are not its business.
    Mischief,
    /// The same with octets changed at random.
    Noise,
}

const INTENTS: [Intent; 8] = [
    Intent::Silence,
    Intent::Garbage,
    Intent::WrongAsn,
    Intent::Death,
    Intent::Deaf,
    Intent::Flood,
    Intent::Mischief,
    Intent::Noise,
];

/// The neighbour.
pub struct Rogue {
    dice: Dice,
    asn: Asn,
    victim: IpAddr,
    address: IpAddr,
    families: FamilySet,
    /// Prefixes of the victim.
    own: Vec<Prefix>,
    conns: BTreeMap<ConnId, (Intent, u32)>,
    dialled: u64,
}

impl Rogue {
    /// The rogue that this host is.
    #[must_use]
    pub fn new(host: &Host, topology: &Topology, dice: Dice) -> Option<Self> {
        let port = host.ports.first()?;
        Some(Self {
            dice,
            asn: Asn(host.asn),
            victim: *port.remote_addresses.first()?,
            address: port.networks.first()?.ip(),
            families: topology.families,
            own: topology.pods.get(port.remote)?.clone(),
            conns: BTreeMap::new(),
            dialled: 1 << 40,
        })
    }

    /// Where it dials to, and under which number.
    fn dials(&mut self) -> (ConnId, IpAddr) {
        self.dialled += 1;
        (ConnId::Dialled(self.dialled), self.victim)
    }

    fn context(&self) -> Context {
        Context {
            four_octet_as: true,
            extended_message: false,
            families: self.families,
            extended_next_hop: false,
            path_ids: PathIds::NONE,
            internal: false,
        }
    }

    fn open(&mut self, asn: Asn) -> Vec<u8> {
        let open = Open {
            version: 4,
            asn,
            hold_time: 9,
            router_id: RouterId(0x0b00_0001 + u32::from(self.dice.chance(500))),
            capabilities: Capabilities {
                families: Some(self.families),
                four_octet_as: Some(asn),
                route_refresh: true,
                ..Capabilities::default()
            },
        };
        encoded(|out| open.encode(out))
    }

    fn garbage(&mut self) -> Vec<u8> {
        let len = 1 + self.dice.index(MAX_GARBAGE);
        let mut octets: Vec<u8> = (0..len).map(|_| self.octet()).collect();
        if self.dice.chance(600) {
            // A good marker, so that what follows is looked at.
            octets.splice(0..0, [0xff; 16]);
        }
        octets
    }

    fn octet(&mut self) -> u8 {
        self.dice.draw().to_le_bytes()[0]
    }

    fn next_hop(&self, family: Family) -> NextHop {
        match (family, self.address) {
            (Family::Ipv4, IpAddr::V4(address)) => NextHop::V4(address),
            (Family::Ipv4 | Family::Ipv6, _) => NextHop::V6 {
                global: Ipv6Addr::new(0xfd00, 0x172, 0, 0, 0, 0, 0xdead, 1),
                link_local: None,
            },
        }
    }

    /// UPDATEs that announce these prefixes, of one family.
    fn announce(&self, family: Family, prefixes: &[Prefix]) -> Vec<u8> {
        if !self.families.contains(family) || (family == Family::Ipv4 && self.address.is_ipv6()) {
            return Vec::new();
        }
        let mut attributes = PathAttributes::local();
        attributes.as_path = AsPath::sequence([self.asn]);
        attributes.next_hop = Some(self.next_hop(family));
        encoded(|out| {
            let mut rest = prefixes;
            while let Ok(sent @ 1..) = wire::encode_reach(rest, &attributes, &self.context(), out) {
                rest = rest.get(sent..).unwrap_or_default();
                if rest.is_empty() {
                    break;
                }
            }
        })
    }

    fn flood(&self) -> Vec<u8> {
        let v4: Vec<Prefix> = (0..FLOOD).map(|i| Prefix::V4(0xc633_6400 + i, 32)).collect();
        let v6: Vec<Prefix> = (0..FLOOD)
            .map(|i| Prefix::V6((0x2001_0db8 << 96) + u128::from(i), 128))
            .collect();
        [self.announce(Family::Ipv4, &v4), self.announce(Family::Ipv6, &v6)].concat()
    }

    fn mischief(&mut self, kind: usize) -> Vec<u8> {
        let family = if self.families.contains(Family::Ipv4) && self.dice.chance(600) {
            Family::Ipv4
        } else {
            Family::Ipv6
        };
        match kind {
            // Everything, and the victim's own pods.
            0 => {
                let all = match family {
                    Family::Ipv4 => Prefix::V4(0, 0),
                    Family::Ipv6 => Prefix::V6(0, 0),
                };
                let own = self.own.iter().copied().filter(|p| p.family() == family);
                let prefixes: Vec<Prefix> = own.chain([all]).collect();
                self.announce(family, &prefixes)
            }
            // An AS_PATH with a segment of no ASes: treated as withdrawn (RFC 7606 §7.2).
            1 => {
                let mut message = vec![0xff; 16];
                message.extend([0, 43, 2, 0, 0, 0, 16, 0x40, 1, 1, 0, 0x40, 2, 2, 2, 0]);
                message.extend([0x40, 3, 4, 192, 0, 2, 2, 24, 203, 0, 113]);
                message
            }
            2 => encoded(|out| wire::encode_end_of_rib(family, &self.context(), out)),
            _ => encoded(|out| {
                wire::encode_route_refresh(family, wire::RefreshSubtype::Normal, out);
            }),
        }
    }

    fn noise(&mut self) -> Vec<u8> {
        // Not of messages with a pod CIDR, which might become another one's.
        let kind = 1 + self.dice.index(3);
        let mut octets = self.mischief(kind);
        for _ in 0..=self.dice.index(3) {
            let at = self.dice.index(octets.len());
            let octet = self.octet();
            if let Some(place) = octets.get_mut(at) {
                *place = octet;
            }
        }
        octets
    }

    /// The first words on a connection.
    fn begins(&mut self, conn: ConnId) -> Vec<u8> {
        let intent = self.dice.pick(&INTENTS).copied().unwrap_or(Intent::Silence);
        self.conns.insert(conn, (intent, 0));
        match intent {
            Intent::Silence => Vec::new(),
            Intent::Garbage => self.garbage(),
            Intent::WrongAsn => {
                let asn = Asn(self.asn.0 + 1);
                self.open(asn)
            }
            Intent::Death | Intent::Deaf | Intent::Flood | Intent::Mischief | Intent::Noise => {
                self.open(self.asn)
            }
        }
    }

    /// What it says when it has heard something.
    fn answers(&mut self, conn: ConnId) -> Vec<u8> {
        let Some((intent, answers)) = self.conns.get_mut(&conn) else {
            return Vec::new();
        };
        *answers += 1;
        let (intent, answers) = (*intent, *answers);
        if answers > MAX_ANSWERS {
            return Vec::new();
        }
        let keepalive = || encoded(wire::encode_keepalive);
        match intent {
            Intent::Silence | Intent::WrongAsn => Vec::new(),
            Intent::Garbage => self.garbage(),
            Intent::Death if answers > 1 => Vec::new(),
            Intent::Death | Intent::Deaf => keepalive(),
            Intent::Flood if answers == 2 => self.flood(),
            Intent::Flood => keepalive(),
            Intent::Mischief => {
                let kind = self.dice.index(4);
                [keepalive(), self.mischief(kind)].concat()
            }
            Intent::Noise if answers > 1 => [keepalive(), self.noise()].concat(),
            Intent::Noise => keepalive(),
        }
    }
}

fn encoded(encode: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode(&mut out);
    out.to_vec()
}

impl World {
    /// A rogue looks what it might do: it dials, and says on connections that it does not read that it lives.
    pub(crate) fn rogue_ticks(&mut self, host: HostId) {
        let Some(rogue) = self.machines[host].rogue.as_mut() else {
            return;
        };
        let deaf = rogue.conns.iter().filter(|(_, (intent, answers))| {
            let is_deaf = *intent == Intent::Deaf;
            is_deaf && *answers > 1
        });
        let deaf: Vec<ConnId> = deaf.map(|(conn, _)| *conn).collect();
        let dialled = rogue.dice.chance(DIALS).then(|| rogue.dials());
        for conn in deaf {
            let words = encoded(wire::encode_keepalive);
            self.rogue_says(host, conn, &words);
        }
        if let Some((conn, address)) = dialled {
            self.dial(host, conn, address);
        }
        self.order(TICK, Happening::Wake(host));
    }

    pub(crate) fn rogue_opens(&mut self, host: HostId, conn: ConnId) {
        let words = self.machines[host].rogue.as_mut().map(|rogue| rogue.begins(conn));
        self.rogue_says(host, conn, &words.unwrap_or_default());
    }

    /// A rogue has read something that `from` sent.
    pub(crate) fn rogue_hears(&mut self, host: HostId, from: (Key, Side), conn: ConnId) {
        let Some(rogue) = self.machines[host].rogue.as_mut() else {
            return;
        };
        let words = rogue.answers(conn);
        if rogue
            .conns
            .get(&conn)
            .is_some_and(|(intent, answers)| *intent == Intent::Deaf && *answers > 1)
        {
            self.stall(from.0, from.1, self.now + DEAF);
        }
        self.rogue_says(host, conn, &words);
    }

    pub(crate) fn rogue_ends(&mut self, host: HostId, conn: ConnId) {
        if let Some(rogue) = self.machines[host].rogue.as_mut() {
            rogue.conns.remove(&conn);
        }
    }

    fn rogue_says(&mut self, host: HostId, conn: ConnId, octets: &[u8]) {
        if let Some((key, side)) = self.machines[host].conns.get(&conn).copied()
            && !octets.is_empty()
        {
            self.write(key, side, octets);
        }
    }
}
