use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};

use super::Family;

/// A prefix with its host bits clear: what BGP calls NLRI. Small, `Copy` and ordered (IPv4 before IPv6, then
/// by address, then by length).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Prefix {
    /// Address bits and length of an IPv4 prefix.
    V4(u32, u8),
    /// Address bits and length of an IPv6 prefix.
    V6(u128, u8),
}

/// Why a prefix cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("prefix length {len} is longer than {max}, the longest of its family")]
pub struct PrefixError {
    /// The length asked for, in bits.
    pub len: u8,
    /// The longest that the family allows, in bits.
    pub max: u8,
}

impl Prefix {
    /// A prefix of `addr` and `len` bits; host bits are cleared.
    ///
    /// # Errors
    /// When `len` is longer than the family allows.
    pub fn new(addr: IpAddr, len: u8) -> Result<Self, PrefixError> {
        match addr {
            IpAddr::V4(addr) => Self::v4(addr.to_bits(), len),
            IpAddr::V6(addr) => Self::v6(addr.to_bits(), len),
        }
    }

    /// An IPv4 prefix from address bits; host bits are cleared.
    ///
    /// # Errors
    /// When `len` is longer than 32.
    pub fn v4(bits: u32, len: u8) -> Result<Self, PrefixError> {
        if len > 32 {
            return Err(PrefixError { len, max: 32 });
        }
        let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
        Ok(Self::V4(bits & mask, len))
    }

    /// An IPv6 prefix from address bits; host bits are cleared.
    ///
    /// # Errors
    /// When `len` is longer than 128.
    pub fn v6(bits: u128, len: u8) -> Result<Self, PrefixError> {
        if len > 128 {
            return Err(PrefixError { len, max: 128 });
        }
        let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
        Ok(Self::V6(bits & mask, len))
    }

    /// The family of this prefix.
    #[must_use]
    #[inline]
    pub fn family(self) -> Family {
        match self {
            Self::V4(..) => Family::Ipv4,
            Self::V6(..) => Family::Ipv6,
        }
    }

    /// The network address.
    #[must_use]
    pub fn addr(self) -> IpAddr {
        match self {
            Self::V4(bits, _) => IpAddr::V4(Ipv4Addr::from_bits(bits)),
            Self::V6(bits, _) => IpAddr::V6(Ipv6Addr::from_bits(bits)),
        }
    }

    /// The length, in bits.
    #[must_use]
    #[inline]
    pub fn prefix_len(self) -> u8 {
        match self {
            Self::V4(_, len) | Self::V6(_, len) => len,
        }
    }

    /// Whether `other` is this prefix or a more specific one inside it.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        match (self, other) {
            (Self::V4(a, al), Self::V4(b, bl)) => bl >= al && Self::v4(b, al) == Ok(Self::V4(a, al)),
            (Self::V6(a, al), Self::V6(b, bl)) => bl >= al && Self::v6(b, al) == Ok(Self::V6(a, al)),
            (Self::V4(..), Self::V6(..)) | (Self::V6(..), Self::V4(..)) => false,
        }
    }

    /// Whether `addr` lies inside.
    #[must_use]
    pub fn contains(self, addr: IpAddr) -> bool {
        match addr {
            IpAddr::V4(addr) => self.covers(Self::V4(addr.to_bits(), 32)),
            IpAddr::V6(addr) => self.covers(Self::V6(addr.to_bits(), 128)),
        }
    }
}

impl From<IpNetwork> for Prefix {
    fn from(net: IpNetwork) -> Self {
        match net {
            IpNetwork::V4(net) => Self::V4(net.network().to_bits(), net.prefix()),
            IpNetwork::V6(net) => Self::V6(net.network().to_bits(), net.prefix()),
        }
    }
}

impl From<Prefix> for IpNetwork {
    fn from(prefix: Prefix) -> Self {
        // The lengths were checked when the prefix was made; a host route stands in should that ever be untrue.
        match prefix {
            Prefix::V4(bits, len) => {
                let addr = Ipv4Addr::from_bits(bits);
                Self::V4(Ipv4Network::new(addr, len).unwrap_or_else(|_| addr.into()))
            }
            Prefix::V6(bits, len) => {
                let addr = Ipv6Addr::from_bits(bits);
                Self::V6(Ipv6Network::new(addr, len).unwrap_or_else(|_| addr.into()))
            }
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr(), self.prefix_len())
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What tells the paths of one prefix from one speaker apart (RFC 7911 §3): any number, of that speaker's choice. Zero where it
/// says one path a prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathId(pub u32);

impl fmt::Display for PathId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_bits_are_cleared_and_lengths_checked() {
        let p = Prefix::new("10.1.2.3".parse().unwrap(), 24).unwrap();
        assert_eq!(p.to_string(), "10.1.2.0/24");
        assert_eq!(Prefix::v4(u32::MAX, 0).unwrap().to_string(), "0.0.0.0/0");
        assert_eq!(Prefix::v6(u128::MAX, 0).unwrap().to_string(), "::/0");
        assert!(Prefix::v4(0, 33).is_err());
        assert!(Prefix::v6(0, 129).is_err());
    }

    #[test]
    fn covers_itself_and_more_specifics_of_its_family() {
        let p = |s: &str| Prefix::from(s.parse::<IpNetwork>().unwrap());
        assert!(p("10.0.0.0/8").covers(p("10.0.0.0/8")));
        assert!(p("10.0.0.0/8").covers(p("10.244.1.0/24")));
        assert!(!p("10.244.1.0/24").covers(p("10.0.0.0/8")));
        assert!(!p("0.0.0.0/0").covers(p("::/0")));
        assert!(p("fd00::/8").contains("fd12::1".parse().unwrap()));
    }
}
