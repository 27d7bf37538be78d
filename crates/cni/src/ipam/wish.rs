//! One address that an attachment shall get.
//!
//! An attachment has one address of each of its families. Where it may come from is a list of blocks, which are gone
//! through in order: a node can have several blocks of a family, and a pod can ask for a pool, for ranges, or for one
//! certain address among them.

use std::fmt;
use std::net::IpAddr;

use super::Pool;
use super::pool::number;

/// One address, of one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wish {
    /// Where it may come from, in order.
    pub(crate) blocks: Vec<Pool>,
    /// Who says so: a key of the configuration.
    pub(crate) source: String,
    /// The only one that will do.
    pub(crate) fixed: Option<Fixed>,
}

/// A certain address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fixed {
    /// The address.
    pub(crate) address: IpAddr,
    /// Who asks for it: a key of the configuration, or an annotation.
    pub(crate) source: String,
}

impl Wish {
    /// Whether it is an IPv4 address.
    pub(crate) fn is_ipv4(&self) -> bool {
        self.blocks.first().is_some_and(|block| block.cidr.is_ipv4())
    }

    /// Whether `address` would do, apart from [`Wish::fixed`].
    pub(crate) fn usable(&self, address: IpAddr) -> bool {
        self.blocks.iter().any(|block| block.usable(address))
    }

    /// The first address that is none of `known`: of the first block that has one, the lowest.
    pub(crate) fn lowest_outside(&self, known: impl Iterator<Item = IpAddr>) -> Option<IpAddr> {
        let of_family = known.filter(|address| address.is_ipv4() == self.is_ipv4());
        let mut known: Vec<_> = of_family.map(number).collect();
        known.sort_unstable();
        self.blocks.iter().find_map(|block| block.lowest_outside(&known))
    }
}

/// `10.244.1.0/24, 10.244.7.0/24 (podCIDRs)`
impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, block) in self.blocks.iter().enumerate() {
            write!(f, "{}{block}", if number == 0 { "" } else { ", " })?;
        }
        write!(f, " ({})", self.source)
    }
}
