//! The kernel's routes, as a reader wants them: each with its next hops, however they are stored.
//!
//! A route names its next hops in one of three ways: inline (one), as a multipath list, or by the id of a nexthop
//! object, which may be a group of others. With `nexthop_compat_mode=0`, which our nodes set, the third kind shows
//! nothing but the id, so the objects are read too (RTM_GETNEXTHOP) and resolved here. The netlink crate's types do not
//! know those messages; the few lines that read them are at the end of this file.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the enums of the netlink crate, of which few values matter here"
)]

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, bail};
use flatroute_netlink::packet::AddressFamily;
use flatroute_netlink::packet::RouteNetlinkMessage;
use flatroute_netlink::packet::route::{RouteAddress, RouteAttribute, RouteMessage, RouteNextHop, RouteType};
use ipnetwork::IpNetwork;
use netlink_packet_core::NlasIterator;

use crate::namespace::Namespace;

/// One leg of a route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hop {
    /// The next router; absent when the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// The outgoing interface.
    pub interface: String,
}

/// What the kernel does with a packet that matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Sends it to one of the next hops.
    Forward,
    /// Answers that the destination cannot be reached.
    Unreachable,
    /// Drops it without a word, or anything else that forwards nothing.
    Drop,
}

/// The table that ordinary packets are routed by (RT_TABLE_MAIN).
const MAIN: u32 = 254;

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelRoute {
    /// The table that holds it.
    pub table: u32,
    /// Where to.
    pub prefix: IpNetwork,
    /// Who made it (RTPROT_*: 2 kernel, 3 boot, 12 BIRD, 79 flatroute, 186 FRR).
    pub protocol: u8,
    /// RTA_PRIORITY.
    pub metric: u32,
    /// What happens.
    pub action: Action,
    /// In order of gateway.
    pub hops: Vec<Hop>,
    /// Preferred source address.
    pub source: Option<IpAddr>,
    /// The nexthop object that it names, when it names one.
    pub nexthop_id: Option<u32>,
}

impl fmt::Display for KernelRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.action {
            Action::Forward => write!(f, "{}", self.prefix)?,
            Action::Unreachable => write!(f, "unreachable {}", self.prefix)?,
            Action::Drop => write!(f, "drop {}", self.prefix)?,
        }
        for hop in &self.hops {
            match hop.gateway {
                Some(gateway) => write!(f, " via {gateway} dev {}", hop.interface)?,
                None => write!(f, " dev {}", hop.interface)?,
            }
        }
        Ok(())
    }
}

impl KernelRoute {
    /// Whether packets to some address of `network` match this route.
    #[must_use]
    pub fn touches(&self, network: IpNetwork) -> bool {
        match (self.prefix, network) {
            (IpNetwork::V4(a), IpNetwork::V4(b)) => a.overlaps(b),
            (IpNetwork::V6(a), IpNetwork::V6(b)) => a.overlaps(b),
            (IpNetwork::V4(_), IpNetwork::V6(_)) | (IpNetwork::V6(_), IpNetwork::V4(_)) => false,
        }
    }
}

/// The unicast, unreachable and dropping routes of the main table, both families.
///
/// # Errors
/// The namespace or the kernel refuses to be read.
pub fn routes(namespace: &Namespace) -> Result<Vec<KernelRoute>> {
    let mut routes = routes_of_all_tables(namespace)?;
    routes.retain(|route| route.table == MAIN);
    Ok(routes)
}

/// The unicast, unreachable and dropping routes of every table, both families.
///
/// # Errors
/// The namespace or the kernel refuses to be read.
pub fn routes_of_all_tables(namespace: &Namespace) -> Result<Vec<KernelRoute>> {
    let mut netlink = namespace.netlink()?;
    let names: BTreeMap<u32, String> = netlink
        .links()?
        .into_iter()
        .map(|link| (link.index, link.name))
        .collect();
    let objects = namespace.run(nexthops)?;
    let mut found = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut query = RouteMessage::default();
        query.header.address_family = family;
        let answers = match netlink.dump(&RouteNetlinkMessage::GetRoute(query), || "list routes".to_owned()) {
            Err(error) if error.is_missing() => Vec::new(),
            answers => answers?,
        };
        for answer in answers {
            if let RouteNetlinkMessage::NewRoute(message) = answer {
                found.extend(read(&message, &names, &objects));
            }
        }
    }
    Ok(found)
}

fn read(
    message: &RouteMessage,
    names: &BTreeMap<u32, String>,
    objects: &BTreeMap<u32, Object>,
) -> Option<KernelRoute> {
    let header = &message.header;
    let action = match header.kind {
        RouteType::Unicast => Action::Forward,
        RouteType::Unreachable => Action::Unreachable,
        RouteType::BlackHole | RouteType::Prohibit => Action::Drop,
        _ => return None,
    };
    let any: IpAddr = match header.address_family {
        AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    };
    let (mut destination, mut source, mut metric, mut nexthop_id) = (any, None, 0, None);
    let mut table = u32::from(header.table);
    let mut raw = Raw::default();
    let mut legs: Vec<Raw> = Vec::new();
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = plain(address)?,
            RouteAttribute::PrefSource(address) => source = plain(address),
            RouteAttribute::Priority(value) => metric = *value,
            RouteAttribute::Table(value) => table = *value,
            RouteAttribute::NhId(id) => nexthop_id = Some(*id),
            RouteAttribute::MultiPath(list) => legs = list.iter().map(Raw::of_leg).collect(),
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) | RouteAttribute::Oif(_) => {
                raw.take(attribute);
            }
            _ => {}
        }
    }
    if let Some(id) = nexthop_id {
        legs = resolve(id, objects);
    } else if legs.is_empty() && action == Action::Forward {
        legs = vec![raw];
    }
    let name = |index| names.get(&index).cloned().unwrap_or_else(|| format!("if{index}"));
    let mut hops: Vec<Hop> = legs
        .into_iter()
        .map(|leg| Hop {
            gateway: leg.gateway,
            interface: name(leg.index),
        })
        .collect();
    hops.sort();
    let prefix = IpNetwork::new(destination, header.destination_prefix_length).ok()?;
    Some(KernelRoute {
        table,
        prefix,
        protocol: header.protocol.into(),
        metric,
        action,
        hops,
        source,
        nexthop_id,
    })
}

/// A leg before interface names are looked up.
#[derive(Debug, Clone, Copy, Default)]
struct Raw {
    gateway: Option<IpAddr>,
    index: u32,
}

impl Raw {
    fn of_leg(leg: &RouteNextHop) -> Self {
        let mut raw = Self {
            gateway: None,
            index: leg.interface_index,
        };
        leg.attributes.iter().for_each(|attribute| raw.take(attribute));
        raw
    }

    fn take(&mut self, attribute: &RouteAttribute) {
        match attribute {
            RouteAttribute::Gateway(address) => self.gateway = plain(address),
            RouteAttribute::Via(flatroute_netlink::packet::route::RouteVia::Inet6(address)) => {
                self.gateway = Some((*address).into());
            }
            RouteAttribute::Oif(index) => self.index = *index,
            _ => {}
        }
    }
}

fn plain(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

// --------------------------------------------------------------------------------------------------- nexthop objects

/// How many legs each nexthop object has.
///
/// # Errors
/// The namespace or the kernel refuses to be read.
pub fn nexthop_legs(namespace: &Namespace) -> Result<BTreeMap<u32, usize>> {
    let objects = namespace.run(nexthops)?;
    Ok(objects
        .keys()
        .map(|id| (*id, resolve(*id, &objects).len()))
        .collect())
}

/// A nexthop object of the kernel: one leg, or a group of others.
#[derive(Debug, Clone, Default)]
struct Object {
    leg: Raw,
    members: Vec<u32>,
}

fn resolve(id: u32, objects: &BTreeMap<u32, Object>) -> Vec<Raw> {
    let Some(object) = objects.get(&id) else {
        return Vec::new();
    };
    if object.members.is_empty() {
        return vec![object.leg];
    }
    object
        .members
        .iter()
        .filter_map(|member| objects.get(member))
        .map(|member| member.leg)
        .collect()
}

const RTM_GETNEXTHOP: u16 = 106;
const RTM_NEWNEXTHOP: u16 = 104;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST_DUMP: u16 = 0x0301;
const HEADER_BYTES: usize = 16;
const NHMSG_BYTES: usize = 8;
const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;

/// All nexthop objects of the calling thread's namespace, by id.
fn nexthops() -> Result<BTreeMap<u32, Object>> {
    use rustix::net::{AddressFamily as Family, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send};
    let socket = rustix::net::socket_with(Family::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)
        .context("netlink socket")?;
    let mut request = Vec::with_capacity(HEADER_BYTES + NHMSG_BYTES);
    request.extend(24_u32.to_ne_bytes());
    request.extend(RTM_GETNEXTHOP.to_ne_bytes());
    request.extend(NLM_F_REQUEST_DUMP.to_ne_bytes());
    request.extend([0; 8 + NHMSG_BYTES]);
    send(&socket, &request, SendFlags::empty()).context("ask for nexthop objects")?;
    let mut objects = BTreeMap::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let (length, _) =
            recv(&socket, buffer.as_mut_slice(), RecvFlags::empty()).context("read nexthop objects")?;
        let mut rest = buffer.get(..length).unwrap_or_default();
        while let Some((kind, body, next)) = split_message(rest) {
            match kind {
                RTM_NEWNEXTHOP => objects.extend(read_object(body)),
                NLMSG_DONE => return Ok(objects),
                NLMSG_ERROR => bail!("the kernel refuses to list nexthop objects"),
                _ => {}
            }
            rest = next;
        }
    }
}

/// The first netlink message of a datagram: its type, its body, what follows.
fn split_message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?)).ok()?;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let body = bytes.get(HEADER_BYTES..length)?;
    Some((
        kind,
        body,
        bytes.get(length.next_multiple_of(4)..).unwrap_or_default(),
    ))
}

fn read_object(body: &[u8]) -> Option<(u32, Object)> {
    let mut id = None;
    let mut object = Object::default();
    let number = |value: &[u8]| value.try_into().ok().map(u32::from_ne_bytes);
    for attribute in NlasIterator::new(body.get(NHMSG_BYTES..)?).flatten() {
        let value = attribute.value();
        match attribute.kind() {
            NHA_ID => id = number(value),
            NHA_OIF => object.leg.index = number(value)?,
            NHA_GATEWAY => object.leg.gateway = address(value),
            NHA_GROUP => {
                object.members = value
                    .chunks_exact(8)
                    .filter_map(|member| number(member.get(..4)?))
                    .collect();
            }
            _ => {}
        }
    }
    Some((id?, object))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}
