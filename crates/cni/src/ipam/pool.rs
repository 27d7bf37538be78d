//! The addresses of one block that pods may get: a network, or a range of one.

use std::fmt;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

/// One block with what must not be given out of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pool {
    /// The network.
    pub(crate) cidr: IpNetwork,
    reserved: Vec<IpNetwork>,
    first: u128,
    last: u128,
}

/// An address as a number; the families are not told apart.
pub(super) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

impl Pool {
    /// The pool of `cidr`. Left out are the network and the broadcast address of IPv4 and the subnet-router anycast
    /// address of IPv6 (RFC 4291 §2.6.1), except in networks of one or two addresses, and all of `reserved`.
    pub(crate) fn new(cidr: IpNetwork, reserved: &[IpNetwork]) -> Self {
        let bits: u8 = if cidr.is_ipv4() { 32 } else { 128 };
        let first = number(cidr.network());
        let host_bits = u32::from(bits.saturating_sub(cidr.prefix()));
        let size_less_one = 1_u128
            .checked_shl(host_bits)
            .map_or(u128::MAX, |size| size.wrapping_sub(1));
        let last = first.saturating_add(size_less_one);
        let small = host_bits <= 1;
        let reserved: Vec<_> = reserved
            .iter()
            .copied()
            .filter(|network| network.is_ipv4() == cidr.is_ipv4())
            .collect();
        Self {
            cidr,
            reserved,
            first: if small { first } else { first.saturating_add(1) },
            last: if small || cidr.is_ipv6() {
                last
            } else {
                last.saturating_sub(1)
            },
        }
    }

    /// Leaves only what is from `start` to `end`, both included; false when nothing is.
    pub(crate) fn narrow(&mut self, start: Option<IpAddr>, end: Option<IpAddr>) -> bool {
        if let Some(start) = start {
            self.first = self.first.max(number(start));
        }
        if let Some(end) = end {
            self.last = self.last.min(number(end));
        }
        self.first <= self.last
    }

    /// Whether all of it is in `network`.
    pub(crate) fn is_inside(&self, network: IpNetwork) -> bool {
        [self.first, self.last]
            .into_iter()
            .all(|end| self.address(end).is_some_and(|address| network.contains(address)))
    }

    fn address(&self, number: u128) -> Option<IpAddr> {
        if self.cidr.is_ipv4() {
            u32::try_from(number).ok().map(|number| IpAddr::V4(number.into()))
        } else {
            Some(IpAddr::V6(number.into()))
        }
    }

    /// Whether a pod may have `address` at all.
    pub(crate) fn usable(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.cidr.is_ipv4()
            && (self.first..=self.last).contains(&number(address))
            && !self.reserved.iter().any(|network| network.contains(address))
    }

    /// The lowest usable address that is none of `known`, which are numbers of addresses of its family, in order.
    pub(crate) fn lowest_outside(&self, known: &[u128]) -> Option<IpAddr> {
        let mut known = known.iter().copied().peekable();
        let mut candidate = self.first;
        while candidate <= self.last {
            let address = self.address(candidate)?;
            let skip = self
                .reserved
                .iter()
                .filter(|network| network.contains(address))
                .map(|network| {
                    // To the end of the reserved network in one step: it may be huge.
                    let prefix_bits = if network.is_ipv4() { 32_u8 } else { 128 };
                    let host_bits = u32::from(prefix_bits.saturating_sub(network.prefix()));
                    let size_less_one = 1_u128
                        .checked_shl(host_bits)
                        .map_or(u128::MAX, |size| size.wrapping_sub(1));
                    number(network.network()).saturating_add(size_less_one)
                });
            while known.next_if(|number| *number < candidate).is_some() {}
            let end = match skip.max() {
                Some(end) => end,
                None if known.peek() == Some(&candidate) => candidate,
                None => return Some(address),
            };
            candidate = end.checked_add(1)?;
        }
        None
    }
}

/// The network, or the range of it that is left.
impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = Self::new(self.cidr, &[]);
        match (self.address(self.first), self.address(self.last)) {
            (Some(first), Some(last)) if (self.first, self.last) != (whole.first, whole.last) => {
                write!(f, "{first}-{last}")
            }
            _ => write!(f, "{}", self.cidr),
        }
    }
}
