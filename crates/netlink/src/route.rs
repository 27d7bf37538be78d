//! Unicast routes of the main table with one next hop.
//!
//! This is for pods and test fabrics: a host route to a link, a default route over an on-link gateway. The agent's
//! thousands of ECMP routes have a writer of their own elsewhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};

use crate::address::family_of;
use crate::{Error, Result, Socket};

/// The table of the namespace's own addresses (RT_TABLE_LOCAL).
const TABLE_LOCAL: u8 = 255;

/// Where a route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextHop {
    /// Out of a link: the destination is a neighbour there.
    Link {
        /// Index of the link.
        index: u32,
    },
    /// Through a router.
    Gateway {
        /// Address of the router.
        via: IpAddr,
        /// Index of the link; chosen by the kernel when `None`.
        index: Option<u32>,
        /// The router is on the link even if no route says so (RTNH_F_ONLINK).
        onlink: bool,
    },
}

/// A unicast route of the main table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Network address of the destination; unspecified with length 0 is the default route.
    pub destination: IpAddr,
    /// Length of the destination's prefix in bits.
    pub prefix_len: u8,
    /// Where it leads.
    pub next_hop: NextHop,
    /// Preferred source address.
    pub source: Option<IpAddr>,
    /// Who made it (RTPROT_*).
    pub protocol: u8,
}

impl Route {
    fn message(&self) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = family_of(self.destination);
        message.header.destination_prefix_length = self.prefix_len;
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::from(self.protocol);
        message.header.kind = RouteType::Unicast;
        if self.prefix_len > 0 {
            message
                .attributes
                .push(RouteAttribute::Destination(self.destination.into()));
        }
        match self.next_hop {
            NextHop::Link { index } => {
                // IPv6 routes have no scope.
                if self.destination.is_ipv4() {
                    message.header.scope = RouteScope::Link;
                }
                message.attributes.push(RouteAttribute::Oif(index));
            }
            NextHop::Gateway { via, index, onlink } => {
                if onlink {
                    message.header.flags = RouteFlags::Onlink;
                }
                message.attributes.push(RouteAttribute::Gateway(via.into()));
                message.attributes.extend(index.map(RouteAttribute::Oif));
            }
        }
        message.attributes.extend(
            self.source
                .map(|source| RouteAttribute::PrefSource(source.into())),
        );
        message
    }
}

impl Socket {
    /// Adds a route; another one to the same destination stays untouched and makes this fail.
    ///
    /// # Errors
    /// [`Error::is_exists`] when there is one with the same destination and metric.
    pub fn add_route(&mut self, route: &Route) -> Result<()> {
        let message = RouteNetlinkMessage::NewRoute(route.message());
        self.request(message, NLM_F_CREATE | NLM_F_EXCL, || {
            format!("add the route to {}/{}", route.destination, route.prefix_len)
        })
    }

    /// Adds a route behind those to the same destination, for those who ask for its link.
    ///
    /// # Errors
    /// [`Error::is_exists`] when there is one that equals it.
    pub fn append_route(&mut self, route: &Route) -> Result<()> {
        let message = RouteNetlinkMessage::NewRoute(route.message());
        self.request(message, NLM_F_CREATE | NLM_F_APPEND, || {
            format!("add one more route to {}/{}", route.destination, route.prefix_len)
        })
    }

    /// Adds the route by which the namespace takes packets to an IPv6 address of its own, as the kernel does by itself
    /// for each address, but from a work queue, some time after the address is there. The kernel's own comes beside
    /// it (its metric is 0, this one's 1024).
    ///
    /// # Errors
    /// [`Error::is_exists`] when there is one.
    pub fn add_local_route(&mut self, index: u32, address: Ipv6Addr, protocol: u8) -> Result<()> {
        let mut message = RouteMessage::default();
        message.header.address_family = family_of(address.into());
        message.header.destination_prefix_length = 128;
        message.header.table = TABLE_LOCAL;
        message.header.protocol = RouteProtocol::from(protocol);
        message.header.kind = RouteType::Local;
        message
            .attributes
            .push(RouteAttribute::Destination(IpAddr::from(address).into()));
        message.attributes.push(RouteAttribute::Oif(index));
        self.request(
            RouteNetlinkMessage::NewRoute(message),
            NLM_F_CREATE | NLM_F_EXCL,
            || format!("add the local route to {address}"),
        )
    }

    /// Deletes a route that equals `route`, whatever its scope, which is not read.
    ///
    /// # Errors
    /// [`Error::is_missing`] when there is none.
    pub fn delete_route(&mut self, route: &Route) -> Result<()> {
        let mut message = route.message();
        if route.destination.is_ipv4() {
            message.header.scope = RouteScope::NoWhere;
        }
        self.request(RouteNetlinkMessage::DelRoute(message), 0, || {
            format!("delete the route to {}/{}", route.destination, route.prefix_len)
        })
    }

    /// The routes of the main table, one family, that lead out of the link with this index. The kernel filters, but
    /// walks the whole table.
    ///
    /// # Errors
    /// See [`Socket::dump`].
    pub fn routes_of_link(&mut self, ipv6: bool, index: u32) -> Result<Vec<Route>> {
        let mut routes = self.routes_matching(ipv6, Some(index), RouteHeader::RT_TABLE_MAIN)?;
        routes.retain(|route| match route.next_hop {
            NextHop::Link { index: found } => found == index,
            NextHop::Gateway { index: found, .. } => found == Some(index),
        });
        Ok(routes)
    }

    /// The routes of the main table with a single next hop, one family.
    ///
    /// # Errors
    /// See [`Socket::dump`].
    pub fn routes(&mut self, ipv6: bool) -> Result<Vec<Route>> {
        self.routes_matching(ipv6, None, RouteHeader::RT_TABLE_MAIN)
    }

    /// The same of all tables.
    ///
    /// # Errors
    /// See [`Socket::dump`].
    pub fn routes_of_all_tables(&mut self, ipv6: bool) -> Result<Vec<Route>> {
        self.routes_matching(ipv6, None, RouteHeader::RT_TABLE_UNSPEC)
    }

    fn routes_matching(&mut self, ipv6: bool, link: Option<u32>, table: u8) -> Result<Vec<Route>> {
        let mut message = RouteMessage::default();
        message.header.address_family = family_of(unspecified(ipv6));
        message.header.table = table;
        message.header.kind = RouteType::Unicast;
        message.attributes.extend(link.map(RouteAttribute::Oif));
        let found = match self.dump(&RouteNetlinkMessage::GetRoute(message), || "list routes".into()) {
            // A namespace that never had a route has no main table.
            Err(error) if error.is_missing() => Vec::new(),
            result => result?,
        };
        Ok(found
            .into_iter()
            .filter_map(|message| match message {
                RouteNetlinkMessage::NewRoute(message) => read(&message),
                _ => None,
            })
            .collect())
    }

    /// The route that the kernel would take to `destination`, if any: index of the outgoing link and, when the
    /// destination is behind a router, its address.
    ///
    /// # Errors
    /// Anything but the absence of a route.
    pub fn route_to(&mut self, destination: IpAddr) -> Result<Option<Route>> {
        Ok(self
            .way_to(destination, RouteFlags::empty())?
            .as_ref()
            .and_then(read))
    }

    /// Whether the address is one of the namespace's own, of whatever link.
    ///
    /// # Errors
    /// Anything but the absence of a route.
    pub fn is_own(&mut self, address: IpAddr) -> Result<bool> {
        let way = self.way_to(address, RouteFlags::empty())?;
        Ok(way.is_some_and(|message| message.header.kind == RouteType::Local))
    }

    /// What the kernel says about the way to `destination`; with [`RouteFlags::FibMatch`] the table's route with all
    /// of its legs, without it the leg that a packet would take.
    pub(crate) fn way_to(&mut self, destination: IpAddr, flags: RouteFlags) -> Result<Option<RouteMessage>> {
        let mut message = RouteMessage::default();
        message.header.address_family = family_of(destination);
        message.header.destination_prefix_length = if destination.is_ipv4() { 32 } else { 128 };
        message.header.flags = flags;
        message
            .attributes
            .push(RouteAttribute::Destination(destination.into()));
        let what = || format!("look up the route to {destination}");
        match self.query(RouteNetlinkMessage::GetRoute(message), what) {
            Ok(RouteNetlinkMessage::NewRoute(message)) => Ok(Some(message)),
            Ok(other) => Err(Error::Unreadable {
                what: what(),
                reason: format!("unexpected answer {other:?}"),
            }),
            Err(error)
                if error.is_missing() || error.errno().is_some_and(|errno| NO_WAY.contains(&errno)) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// No route at all, or one that says so: `unreachable` (a node's own pod CIDR is covered by such a one), `blackhole`
/// (EINVAL), `prohibit` (EACCES).
const NO_WAY: [i32; 4] = [
    rustix::io::Errno::NETUNREACH.raw_os_error(),
    rustix::io::Errno::HOSTUNREACH.raw_os_error(),
    rustix::io::Errno::INVAL.raw_os_error(),
    rustix::io::Errno::ACCESS.raw_os_error(),
];

fn unspecified(ipv6: bool) -> IpAddr {
    if ipv6 {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    }
}

/// A route message as a [`Route`]; `None` for routes that have several next hops or none.
fn read(message: &RouteMessage) -> Option<Route> {
    let header = &message.header;
    let mut destination = unspecified(header.address_family == netlink_packet_route::AddressFamily::Inet6);
    let (mut via, mut index, mut source) = (None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = plain(address)?,
            RouteAttribute::Gateway(address) => via = plain(address),
            RouteAttribute::PrefSource(address) => source = plain(address),
            RouteAttribute::Oif(oif) => index = Some(*oif),
            RouteAttribute::MultiPath(_) => return None,
            _ => {}
        }
    }
    let next_hop = match (via, index) {
        (Some(via), index) => NextHop::Gateway {
            via,
            index,
            onlink: header.flags.contains(RouteFlags::Onlink),
        },
        (None, Some(index)) => NextHop::Link { index },
        (None, None) => return None,
    };
    let prefix_len = header.destination_prefix_length;
    Some(Route {
        destination,
        prefix_len,
        next_hop,
        source,
        protocol: header.protocol.into(),
    })
}

fn plain(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}
