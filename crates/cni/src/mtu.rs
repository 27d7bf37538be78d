//! The MTU of a pod's link: what the configuration says, or the smallest of the uplinks.
//!
//! Uplinks are the links that the default routes of the pod's families lead out of, all legs of them. The kernel is
//! asked in every ADD: two look-ups of routes and one of each link, some tens of microseconds; so the figure is never
//! an old one, and it needs no agent. A larger MTU than an uplink's would cost a pod's first large packets (and everything
//! where ICMP is filtered); a smaller one costs throughput. A node without any default route gets the kernel's 1500,
//! and where the pods' traffic takes other links than the default route, the configuration has to say it.

use std::collections::BTreeSet;

use flatroute_netlink::Socket;

use crate::config::IPV6_MINIMUM_MTU;
use crate::error::Result;

/// What the kernel gives a veth that is made without.
pub(crate) const DEFAULT: u32 = 1500;
/// The largest MTU of a veth (`ETH_MAX_MTU`).
const MAX: u32 = 65535;

/// The smallest MTU of the uplinks of some families, each of which is IPv4 or not; `None` when there is no default route.
///
/// # Errors
/// Code 5.
pub(crate) fn of_uplinks(host: &mut Socket, is_ipv4: &[bool]) -> Result<Option<u32>> {
    let mut links = BTreeSet::new();
    for is_ipv4 in is_ipv4 {
        links.extend(host.default_links(!is_ipv4)?);
    }
    let mut smallest: Option<u32> = None;
    for index in links {
        if let Some(link) = host.link_by_index(index)? {
            smallest = Some(smallest.map_or(link.mtu, |mtu| mtu.min(link.mtu)));
        }
    }
    // IPv6 does not work below its minimum, whatever the uplink of the other family can carry.
    let least = if is_ipv4.contains(&false) {
        IPV6_MINIMUM_MTU
    } else {
        68
    };
    Ok(smallest.map(|mtu| mtu.clamp(least, MAX)))
}
