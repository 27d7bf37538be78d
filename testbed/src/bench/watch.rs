//! Finding out when the last route is in the kernel, without getting in the writer's way.
//!
//! A dump of the table walks all of it, and a listener on the route group costs the writer a third of its speed. So
//! single look-ups are made, the same for every receiver: a thousand prefixes in random order, one after the other; the
//! next is asked for when the last one is there with all its legs, and when it is not the watcher sleeps for a
//! millisecond. That is at most a thousand look-ups a second of a few microseconds each. When the last of the sample is there,
//! the whole table is read once: the clock has stopped at the moment before, unless something is missing, and then
//! what is missing is looked up in the same way. So the result is exact to a millisecond and every route is counted.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the enums of the netlink crate, of which few values matter here"
)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, bail};
use flatroute_netlink::Socket;
use flatroute_netlink::packet::route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage};
use flatroute_netlink::packet::{AddressFamily, RouteNetlinkMessage};
use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};

use super::Shape;
use super::ground::Transport;
use crate::kernel;
use crate::namespace::Namespace;

/// How many prefixes are looked up while the routes come in.
const SAMPLE: u32 = 1000;
/// Between two look-ups of a route that is not there yet.
const PAUSE: Duration = Duration::from_millis(1);
const ENETUNREACH: i32 = 101;
const EHOSTUNREACH: i32 = 113;

/// The prefix of a number: 20.0.0.0/24 and up, 2001:db8::/64 and up.
pub(super) fn prefix(transport: Transport, number: u32) -> IpNetwork {
    match transport {
        Transport::Ipv4 => {
            let address = Ipv4Addr::from(0x1400_0000_u32.saturating_add(number << 8));
            Ipv4Network::new_checked(address, 24).map(IpNetwork::V4)
        }
        Transport::Ipv6 => {
            let address = (0x2001_0db8_u128 << 96) | (u128::from(number) << 64);
            Ipv6Network::new_checked(Ipv6Addr::from(address), 64).map(IpNetwork::V6)
        }
    }
    .unwrap_or_else(|| unreachable!("24 and 64 are lengths of prefixes"))
}

/// A watcher over one namespace.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    namespace: &'a Namespace,
    socket: Socket,
    shape: Shape,
    /// Legs of the nexthop objects that were seen.
    legs: BTreeMap<u32, usize>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(namespace: &'a Namespace, shape: Shape) -> Result<Self> {
        Ok(Self {
            namespace,
            socket: namespace.netlink()?,
            shape,
            legs: BTreeMap::new(),
        })
    }

    /// Waits until every route is there with all its legs; when that was.
    pub(super) fn until_all(
        &mut self,
        bound: Duration,
        mut check: impl FnMut() -> Result<()>,
    ) -> Result<SystemTime> {
        let deadline = Instant::now() + bound;
        let mut waiting = sample(self.shape);
        loop {
            while let Some(next) = waiting.last() {
                if self.is_there(*next)? {
                    waiting.pop();
                } else if Instant::now() < deadline {
                    std::thread::sleep(PAUSE);
                } else {
                    check()?;
                    bail!(
                        "not all routes after {} s: {} lacks legs or is missing",
                        bound.as_secs(),
                        prefix(self.shape.transport, *next)
                    );
                }
            }
            let now = SystemTime::now();
            waiting = self.missing()?;
            if waiting.is_empty() {
                return Ok(now);
            }
        }
    }

    /// One look-up.
    fn is_there(&mut self, number: u32) -> Result<bool> {
        let wanted = prefix(self.shape.transport, number);
        let mut query = RouteMessage::default();
        query.header.address_family = match self.shape.transport {
            Transport::Ipv4 => AddressFamily::Inet,
            Transport::Ipv6 => AddressFamily::Inet6,
        };
        query.header.destination_prefix_length = match self.shape.transport {
            Transport::Ipv4 => 32,
            Transport::Ipv6 => 128,
        };
        query.header.flags = RouteFlags::FibMatch;
        let address = match wanted.ip() {
            IpAddr::V4(address) => RouteAddress::Inet(address),
            IpAddr::V6(address) => RouteAddress::Inet6(address),
        };
        query.attributes.push(RouteAttribute::Destination(address));
        let answer = self.socket.query(RouteNetlinkMessage::GetRoute(query), || {
            format!("look up {wanted}")
        });
        let message = match answer {
            Ok(RouteNetlinkMessage::NewRoute(message)) => message,
            Ok(_) => bail!("look up {wanted}: the kernel answered with something else"),
            Err(error) if error.is_missing() => return Ok(false),
            Err(error) if matches!(error.errno(), Some(ENETUNREACH | EHOSTUNREACH)) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        if message.header.destination_prefix_length != wanted.prefix() {
            return Ok(false);
        }
        let mut legs = 1;
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::MultiPath(list) => legs = list.len(),
                RouteAttribute::NhId(id) => legs = self.legs_of(*id)?,
                _ => {}
            }
        }
        Ok(legs == self.shape.hops)
    }

    fn legs_of(&mut self, id: u32) -> Result<usize> {
        if let Some(legs) = self.legs.get(&id) {
            return Ok(*legs);
        }
        self.legs = kernel::nexthop_legs(self.namespace)?;
        self.legs
            .get(&id)
            .copied()
            .with_context(|| format!("a route names nexthop {id}, which does not exist"))
    }

    /// Reads the whole table; the numbers of the routes that are not as they shall be.
    fn missing(&mut self) -> Result<Vec<u32>> {
        let found: BTreeMap<IpNetwork, usize> = kernel::routes(self.namespace)?
            .into_iter()
            .map(|route| (route.prefix, route.hops.len()))
            .collect();
        self.legs.clear();
        Ok((0..self.shape.routes)
            .filter(|number| found.get(&prefix(self.shape.transport, *number)) != Some(&self.shape.hops))
            .collect())
    }
}

/// Numbers of routes, spread evenly and shuffled by multiplication (with an odd constant, modulo a power of two).
fn sample(shape: Shape) -> Vec<u32> {
    let count = SAMPLE.min(shape.routes);
    let range = count.next_power_of_two();
    let shuffled = (0..range).map(|at| at.wrapping_mul(0x9e37_79b1) % range);
    let number = |at: u32| u64::from(at) * u64::from(shape.routes) / u64::from(count);
    shuffled
        .filter(|at| *at < count)
        .filter_map(|at| u32::try_from(number(at)).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Shape, Transport, prefix, sample};

    #[test]
    fn a_sample_has_no_route_twice_and_reaches_over_all() {
        for routes in [1, 7, 1000, 100_000] {
            let mut numbers = sample(Shape {
                transport: Transport::Ipv4,
                hops: 1,
                routes,
            });
            numbers.sort_unstable();
            numbers.dedup();
            assert_eq!(numbers.len(), routes.min(1000) as usize);
            assert!(
                numbers
                    .last()
                    .is_some_and(|last| *last < routes && *last >= routes - routes.div_ceil(1000))
            );
        }
    }

    #[test]
    fn prefixes_count_up() {
        assert_eq!(prefix(Transport::Ipv4, 257).to_string(), "20.1.1.0/24");
        assert_eq!(prefix(Transport::Ipv6, 0x1_0002).to_string(), "2001:db8:1:2::/64");
    }
}
