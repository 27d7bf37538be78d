//! What the kernel would do with a packet to an address: the route that it finds, whoever made it.
//!
//! This is the question behind `/v1/why`, and only the kernel knows the answer: policy rules, other tables, the host routes
//! of pods and routes of other programs count as much as our own. The kernel is asked for the route itself
//! (RTM_F_FIB_MATCH), not for the one path that a packet of ours would take.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use futures::StreamExt as _;
use ipnetwork::IpNetwork;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteProtocol, RouteType, RouteVia,
};
use rtnetlink::{Error as Refusal, new_connection};
use tokio::time::timeout;

/// How long the kernel may take.
const ANSWER: Duration = Duration::from_secs(2);
/// ENETUNREACH, negated: no route.
const NO_ROUTE: i32 = -101;
/// EHOSTUNREACH, negated: an `unreachable` route.
const UNREACHABLE: i32 = -113;
/// EACCES, negated: a `prohibit` route.
const PROHIBITED: i32 = -13;
/// EINVAL, negated: a `blackhole` route.
const DROPPED: i32 = -22;

/// What the kernel does with an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes by this route.
    Forwarded(Match),
    /// It is an address of this machine.
    Local,
    /// A route says that it is unreachable; the kernel does not say which.
    Unreachable,
    /// A route drops or prohibits it.
    Dropped,
    /// There is no route.
    NoRoute,
}

/// A route that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// Its prefix.
    pub prefix: IpNetwork,
    /// Its protocol number (RTPROT_*): which program made it.
    pub protocol: u8,
    /// Its table.
    pub table: u32,
    /// Its next hops, where it says them; a route to a link, or one by a nexthop object, may not.
    pub next_hops: Vec<IpAddr>,
    /// The indices of the interfaces, in the order of the next hops.
    pub interfaces: Vec<u32>,
    /// The nexthop object that it stands on.
    pub nexthop: Option<u32>,
}

/// Why the kernel could not be asked.
#[derive(Debug, thiserror::Error)]
#[error("netlink: cannot look {address} up: {why}")]
pub struct LookupError {
    address: IpAddr,
    why: String,
}

/// Asks the kernel.
///
/// # Errors
/// When it does not answer, or answers what makes no sense. Needs no privilege.
pub async fn lookup(address: IpAddr) -> Result<Fate, LookupError> {
    let failed = |why: String| LookupError { address, why };
    let (connection, handle, _) = new_connection().map_err(|error| failed(error.to_string()))?;
    let connection = tokio::spawn(connection);
    let mut answers = Box::pin(handle.route().get(question(address)).execute());
    let answer = timeout(ANSWER, answers.next()).await;
    connection.abort();
    match answer {
        Err(_) => Err(failed("no answer".to_owned())),
        Ok(None) => Err(failed("an empty answer".to_owned())),
        Ok(Some(Ok(route))) => fate(address, &route).ok_or_else(|| failed(format!("{route:?}"))),
        Ok(Some(Err(Refusal::NetlinkError(error)))) => match error.raw_code() {
            NO_ROUTE => Ok(Fate::NoRoute),
            UNREACHABLE => Ok(Fate::Unreachable),
            PROHIBITED | DROPPED => Ok(Fate::Dropped),
            _ => Err(failed(error.to_string())),
        },
        Ok(Some(Err(error))) => Err(failed(error.to_string())),
    }
}

fn question(address: IpAddr) -> RouteMessage {
    let mut message = RouteMessage::default();
    (
        message.header.address_family,
        message.header.destination_prefix_length,
    ) = match address {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    message.header.flags = RouteFlags::FibMatch;
    message
        .attributes
        .push(RouteAttribute::Destination(address.into()));
    message
}

fn fate(address: IpAddr, route: &RouteMessage) -> Option<Fate> {
    let kind = route.header.kind;
    if matches!(kind, RouteType::Local | RouteType::Anycast) {
        Some(Fate::Local)
    } else if kind == RouteType::Unreachable {
        Some(Fate::Unreachable)
    } else if matches!(kind, RouteType::BlackHole | RouteType::Prohibit) {
        Some(Fate::Dropped)
    } else if matches!(
        kind,
        RouteType::Unicast | RouteType::Broadcast | RouteType::Multicast
    ) {
        matched(address, route).map(Fate::Forwarded)
    } else {
        None
    }
}

fn matched(address: IpAddr, route: &RouteMessage) -> Option<Match> {
    // A default route does not say its address.
    let mut network = match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let (mut table, mut nexthop) = (u32::from(route.header.table), None);
    let (mut next_hops, mut interfaces) = (Vec::new(), Vec::new());
    for attribute in &route.attributes {
        next_hops.extend(gateway(attribute));
        if let RouteAttribute::Destination(found) = attribute {
            network = addressed(found)?;
        } else if let RouteAttribute::Table(number) = attribute {
            table = *number;
        } else if let RouteAttribute::NhId(id) = attribute {
            nexthop = Some(*id);
        } else if let RouteAttribute::Oif(index) = attribute {
            interfaces.push(*index);
        } else if let RouteAttribute::MultiPath(legs) = attribute {
            interfaces.extend(legs.iter().map(|leg| leg.interface_index));
            next_hops.extend(
                legs.iter()
                    .flat_map(|leg| leg.attributes.iter().filter_map(gateway)),
            );
        }
    }
    Some(Match {
        prefix: IpNetwork::new(network, route.header.destination_prefix_length).ok()?,
        protocol: route.header.protocol.into(),
        table,
        next_hops,
        interfaces,
        nexthop,
    })
}

fn gateway(attribute: &RouteAttribute) -> Option<IpAddr> {
    if let RouteAttribute::Gateway(address) = attribute {
        addressed(address)
    } else if let RouteAttribute::Via(RouteVia::Inet(address)) = attribute {
        Some(IpAddr::V4(*address))
    } else if let RouteAttribute::Via(RouteVia::Inet6(address)) = attribute {
        Some(IpAddr::V6(*address))
    } else {
        None
    }
}

fn addressed(address: &RouteAddress) -> Option<IpAddr> {
    if let RouteAddress::Inet(address) = address {
        Some(IpAddr::V4(*address))
    } else if let RouteAddress::Inet6(address) = address {
        Some(IpAddr::V6(*address))
    } else {
        None
    }
}

/// The name of a protocol number, as `ip route` shows it; `None` for a number without one.
#[must_use]
pub fn protocol_name(number: u8) -> Option<String> {
    let protocol = RouteProtocol::from(number);
    let is_known = !matches!(protocol, RouteProtocol::Other(_));
    is_known.then(|| protocol.to_string().to_lowercase())
}
