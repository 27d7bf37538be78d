//! The links of the default route.
//!
//! A node's table may have a hundred thousand routes, and the kernel does not filter a dump by destination; so the
//! default route is found by asking for the way to an address that no other route should cover, one of those that are
//! reserved for documentation. `RTM_F_FIB_MATCH` (Linux 5.3) makes the kernel answer with the table's route and all its
//! legs, and its prefix length tells whether it is the default route indeed.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_route::route::{RouteAttribute, RouteFlags, RouteMessage};

use crate::{Result, Socket};

/// RFC 5737. The next one is asked for when a route covers the one before: laboratories use them.
const NOWHERE_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(192, 0, 2, 1),
    Ipv4Addr::new(198, 51, 100, 1),
    Ipv4Addr::new(203, 0, 113, 1),
];
/// RFC 3849 and RFC 9637.
const NOWHERE_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
    Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 1),
    Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0xffff, 0, 0, 0, 1),
];

impl Socket {
    /// The indexes of the links that the default route of a family leads out of, all legs of it. None without one.
    ///
    /// # Errors
    /// Anything but the absence of a route; one that says `blackhole` or the like is none.
    pub fn default_links(&mut self, ipv6: bool) -> Result<BTreeSet<u32>> {
        let nowhere = if ipv6 {
            NOWHERE_V6.map(IpAddr::V6)
        } else {
            NOWHERE_V4.map(IpAddr::V4)
        };
        for address in nowhere {
            let route = self.way_to(address, RouteFlags::FibMatch)?;
            if let Some(route) = route.filter(|route| route.header.destination_prefix_length == 0) {
                return self.legs(&route);
            }
        }
        Ok(BTreeSet::new())
    }

    fn legs(&mut self, route: &RouteMessage) -> Result<BTreeSet<u32>> {
        let mut links = BTreeSet::new();
        let mut object = None;
        for attribute in &route.attributes {
            match attribute {
                RouteAttribute::Oif(index) => {
                    links.insert(*index);
                }
                RouteAttribute::MultiPath(legs) => links.extend(legs.iter().map(|leg| leg.interface_index)),
                RouteAttribute::NhId(id) => object = Some(*id),
                _ => {}
            }
        }
        match object {
            Some(id) if links.is_empty() => self.nexthop_links(id),
            Some(_) | None => Ok(links),
        }
    }
}
