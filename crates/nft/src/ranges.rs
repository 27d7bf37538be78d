//! Prefixes as the intervals of a set: in order, apart from each other, as few as possible.
//!
//! The kernel refuses intervals that overlap, so prefixes within prefixes must become one. Neighbours become one too:
//! then equal sets of addresses are equal values, whatever prefixes said them.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;

use crate::description::Width;

/// How many intervals a set of ours may have: two of this size change within one message of the default send buffer.
pub const MAX_RANGES: usize = 1024;

/// Addresses from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    /// The first.
    pub first: u128,
    /// The last.
    pub last: u128,
}

/// Intervals of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranges {
    width: Width,
    /// In order; between two there is a gap.
    all: Vec<Range>,
}

impl Ranges {
    /// Those of the prefixes that are of this family.
    pub fn of<'a>(width: Width, prefixes: impl IntoIterator<Item = &'a IpNetwork>) -> Self {
        let range = |prefix: &IpNetwork| match (prefix, width) {
            (IpNetwork::V4(net), Width::Ipv4) => Some(Range {
                first: u128::from(net.network().to_bits()),
                last: u128::from(net.broadcast().to_bits()),
            }),
            (IpNetwork::V6(net), Width::Ipv6) => Some(Range {
                first: net.network().to_bits(),
                last: net.broadcast().to_bits(),
            }),
            (IpNetwork::V4(_), Width::Ipv6) | (IpNetwork::V6(_), Width::Ipv4) => None,
        };
        Self::from_ranges(width, prefixes.into_iter().filter_map(range).collect())
    }

    /// Of ranges in any order.
    pub(crate) fn from_ranges(width: Width, mut ranges: Vec<Range>) -> Self {
        ranges.sort();
        let mut all: Vec<Range> = Vec::new();
        for range in ranges {
            match all.last_mut() {
                Some(before) if range.first <= before.last.saturating_add(1) => {
                    before.last = before.last.max(range.last);
                }
                Some(_) | None => all.push(range),
            }
        }
        Self { width, all }
    }

    /// The family.
    #[must_use]
    pub fn width(&self) -> Width {
        self.width
    }

    /// In order.
    #[must_use]
    pub fn all(&self) -> &[Range] {
        &self.all
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Those that are here and not there.
    pub(crate) fn without(&self, other: &Self) -> Vec<Range> {
        let missing = |range: &&Range| other.all.binary_search(range).is_err();
        self.all.iter().filter(missing).copied().collect()
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = |number: u128| match self.width {
            Width::Ipv4 => Ipv4Addr::from_bits(u32::try_from(number).unwrap_or(u32::MAX)).to_string(),
            Width::Ipv6 => Ipv6Addr::from_bits(number).to_string(),
        };
        for (i, range) in self.all.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{}-{}", address(range.first), address(range.last))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(width: Width, of: &[&str]) -> String {
        let prefixes: Vec<IpNetwork> = of.iter().map(|text| text.parse().unwrap()).collect();
        Ranges::of(width, &prefixes).to_string()
    }

    #[test]
    fn prefixes_become_the_fewest_intervals() {
        for (width, of, want) in [
            (Width::Ipv4, &["10.0.0.0/8"][..], "10.0.0.0-10.255.255.255"),
            (
                Width::Ipv4,
                &["10.1.0.0/16", "10.0.0.0/8"],
                "10.0.0.0-10.255.255.255",
            ),
            (
                Width::Ipv4,
                &["10.1.0.0/24", "10.1.1.0/24"],
                "10.1.0.0-10.1.1.255",
            ),
            (
                Width::Ipv4,
                &["10.1.2.0/24", "10.1.0.0/24"],
                "10.1.0.0-10.1.0.255, 10.1.2.0-10.1.2.255",
            ),
            (
                Width::Ipv4,
                &["255.255.255.255/32", "0.0.0.0/32", "fd00::/8"],
                "0.0.0.0-0.0.0.0, 255.255.255.255-255.255.255.255",
            ),
            (
                Width::Ipv6,
                &["fd00::/8", "10.0.0.0/8"],
                "fd00::-fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            ),
            (
                Width::Ipv6,
                &["::/0"],
                "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            ),
            (Width::Ipv6, &[], ""),
        ] {
            assert_eq!(ranges(width, of), want, "{of:?}");
        }
    }
}
