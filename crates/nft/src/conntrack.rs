//! Flows of UDP that the kernel tracks (ctnetlink): found, and forgotten.
//!
//! What becomes of a flow's destination is decided once, by its first packet. A UDP client that never changes its port keeps
//! its flow alive for ever; so when a port of the node begins to lead to a pod, or leads to it no more, its packets would go on to
//! where they went before. Whoever changes that has to make the kernel forget these flows, and no others: a flow that is
//! forgotten in the middle of an exchange can lose its translation, and its answer.
//!
//! The kernel walks its whole table (10 ms for the usual 262,144 buckets, however few flows there are) and tells what matches
//! (CTA_FILTER, Linux 5.8), one family a question; older ones tell all of it. So what is told is looked at once more.
//! Addresses are not asked for: of flows of an IPv6 address Linux 6.18 tells the others. A flow is forgotten by its tuple and the kernel's number of it: one that was made
//! meanwhile with the same tuple stays.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use flatroute_netlink::NetfilterSocket;

use crate::description::Width;
use crate::encode::Attributes;
use crate::observed::{attributes, find, of_message};
use crate::{Error, Result};

/// NFNL_SUBSYS_CTNETLINK.
const SUBSYSTEM: u16 = 1;
const GET: u16 = 1;
const DELETE: u16 = 2;
/// UDP's number.
const UDP: u8 = 17;

/// Attributes (`linux/netfilter/nfnetlink_conntrack.h`).
mod attr {
    pub(super) const ORIGINAL: u16 = 1;
    pub(super) const REPLY: u16 = 2;
    pub(super) const ID: u16 = 12;
    pub(super) const ZONE: u16 = 18;
    pub(super) const FILTER: u16 = 25;
    pub(super) const FILTER_ORIGINAL: u16 = 1;
    pub(super) const FILTER_REPLY: u16 = 2;
    pub(super) const TUPLE_IP: u16 = 1;
    pub(super) const TUPLE_PROTOCOL: u16 = 2;
    pub(super) const IPV4_SOURCE: u16 = 1;
    pub(super) const IPV4_DESTINATION: u16 = 2;
    pub(super) const IPV6_SOURCE: u16 = 3;
    pub(super) const IPV6_DESTINATION: u16 = 4;
    pub(super) const PROTOCOL_NUMBER: u16 = 1;
    pub(super) const SOURCE_PORT: u16 = 2;
    pub(super) const DESTINATION_PORT: u16 = 3;
}

/// What of a tuple has to match (`CTA_FILTER_F_*`).
mod matches {
    pub(super) const PROTOCOL: u32 = 1 << 3;
    pub(super) const SOURCE_PORT: u32 = 1 << 4;
    pub(super) const DESTINATION_PORT: u32 = 1 << 5;
}

/// The addresses of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Direction {
    /// Who sends.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
}

/// A flow of UDP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// As its first packet was sent.
    pub original: Direction,
    /// As the answer is expected.
    pub reply: Direction,
    /// What names it to the kernel.
    name: Vec<(u16, Vec<u8>)>,
}

/// The tracked flows of one network namespace.
#[derive(Debug)]
pub struct Conntrack {
    socket: NetfilterSocket,
}

impl Conntrack {
    /// Opens a socket in the network namespace of the calling thread.
    ///
    /// # Errors
    /// The system gives none.
    pub fn open() -> Result<Self> {
        let socket = NetfilterSocket::open().map_err(Error::of_conntrack)?;
        Ok(Self { socket })
    }

    /// The flows of a family that are answered from a port of whoever answers; with none, all.
    ///
    /// # Errors
    /// [`Error::NoConntrack`]; what was refused.
    pub fn udp_from(&mut self, family: Width, port: Option<u16>) -> Result<Vec<Flow>> {
        let (tuple, flags) = of_port(attr::SOURCE_PORT, matches::SOURCE_PORT, port);
        let filter = Attributes::default()
            .raw_u32(attr::FILTER_ORIGINAL, 0)
            .raw_u32(attr::FILTER_REPLY, flags);
        let mut flows = self.list(family, (attr::REPLY, tuple), filter)?;
        flows.retain(|flow| port.is_none_or(|port| flow.reply.source.port() == port));
        Ok(flows)
    }

    /// The flows of a family that were begun to a port of whatever address; with none, all.
    ///
    /// # Errors
    /// [`Error::NoConntrack`]; what was refused.
    pub fn udp_to(&mut self, family: Width, port: Option<u16>) -> Result<Vec<Flow>> {
        let (tuple, flags) = of_port(attr::DESTINATION_PORT, matches::DESTINATION_PORT, port);
        let filter = Attributes::default()
            .raw_u32(attr::FILTER_ORIGINAL, flags)
            .raw_u32(attr::FILTER_REPLY, 0);
        let mut flows = self.list(family, (attr::ORIGINAL, tuple), filter)?;
        flows.retain(|flow| port.is_none_or(|port| flow.original.destination.port() == port));
        Ok(flows)
    }

    /// Makes the kernel forget a flow; one that is gone is fine.
    ///
    /// # Errors
    /// What was refused.
    pub fn forget(&mut self, flow: &Flow) -> Result<()> {
        let name = flow
            .name
            .iter()
            .fold(Attributes::default(), |list, (kind, value)| {
                list.bytes(*kind, value)
            });
        let body = body(Width::of(flow.original.source.ip()), name);
        let what = || format!("forget the flow of UDP to {}", flow.original.destination);
        match self.socket.request(SUBSYSTEM << 8 | DELETE, &body, what) {
            Err(error) if !error.is_missing() => Err(Error::of_conntrack(error)),
            Err(_) | Ok(()) => Ok(()),
        }
    }

    fn list(
        &mut self,
        family: Width,
        (direction, tuple): (u16, Attributes),
        filter: Attributes,
    ) -> Result<Vec<Flow>> {
        let question = Attributes::default()
            .nest(direction, tuple)
            .nest(attr::FILTER, filter);
        let what = || "list flows of UDP".to_owned();
        let found = self
            .socket
            .dump(SUBSYSTEM << 8 | GET, &body(family, question), what)
            .map_err(Error::of_conntrack)?;
        Ok(found
            .iter()
            .filter_map(|message| Flow::decode(&message.body))
            .collect())
    }
}

/// An nfgenmsg of a family, and attributes.
fn body(family: Width, attributes: Attributes) -> Vec<u8> {
    let family = match family {
        Width::Ipv4 => 2,
        Width::Ipv6 => 10,
    };
    let mut body = vec![family, 0, 0, 0];
    body.extend(attributes.into_bytes());
    body
}

/// A tuple of UDP and a port, if there is one; and what of it has to match.
fn of_port(kind: u16, flag: u32, port: Option<u16>) -> (Attributes, u32) {
    let udp = Attributes::default().bytes(attr::PROTOCOL_NUMBER, &[UDP]);
    let (part, flags) = match port {
        Some(port) => (udp.bytes(kind, &port.to_be_bytes()), matches::PROTOCOL | flag),
        None => (udp, matches::PROTOCOL),
    };
    (Attributes::default().nest(attr::TUPLE_PROTOCOL, part), flags)
}

impl Flow {
    /// Reads a message of a dump: the nfgenmsg and what follows. None for one that is no flow of UDP.
    #[must_use]
    pub fn decode(body: &[u8]) -> Option<Self> {
        let tuple = |kind| find(of_message(body), kind).and_then(direction);
        let name = of_message(body).filter(|(kind, _)| [attr::ORIGINAL, attr::ID, attr::ZONE].contains(kind));
        let name = name.map(|(kind, value)| {
            let nested = if kind == attr::ORIGINAL {
                Attributes::NESTED
            } else {
                0
            };
            (kind | nested, value.to_vec())
        });
        Some(Self {
            original: tuple(attr::ORIGINAL)?,
            reply: tuple(attr::REPLY)?,
            name: name.collect(),
        })
    }
}

fn direction(tuple: &[u8]) -> Option<Direction> {
    let addresses = find(attributes(tuple), attr::TUPLE_IP)?;
    let protocol = find(attributes(tuple), attr::TUPLE_PROTOCOL)?;
    if find(attributes(protocol), attr::PROTOCOL_NUMBER)? != [UDP] {
        return None;
    }
    let address = |ipv4, ipv6| -> Option<IpAddr> {
        if let Some(octets) = find(attributes(addresses), ipv4) {
            return Some(Ipv4Addr::from(*octets.first_chunk::<4>()?).into());
        }
        let octets = find(attributes(addresses), ipv6)?;
        Some(Ipv6Addr::from(*octets.first_chunk::<16>()?).into())
    };
    let port = |kind| {
        let port = find(attributes(protocol), kind)?;
        Some(u16::from_be_bytes(*port.first_chunk()?))
    };
    let end = |ipv4, ipv6, kind| Some(SocketAddr::new(address(ipv4, ipv6)?, port(kind)?));
    Some(Direction {
        source: end(attr::IPV4_SOURCE, attr::IPV6_SOURCE, attr::SOURCE_PORT)?,
        destination: end(
            attr::IPV4_DESTINATION,
            attr::IPV6_DESTINATION,
            attr::DESTINATION_PORT,
        )?,
    })
}
