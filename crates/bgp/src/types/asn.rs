use std::fmt;
use std::net::Ipv4Addr;

/// An autonomous system number of four octets (RFC 6793).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Asn(pub u32);

impl Asn {
    /// AS_TRANS: stands in two-octet fields for a number that does not fit (RFC 6793 §9).
    pub const TRANS: Self = Self(23456);

    /// The number as it goes into a two-octet field: itself, or [`Asn::TRANS`].
    #[must_use]
    pub fn two_octets(self) -> u16 {
        u16::try_from(self.0).unwrap_or(23456)
    }

    /// Whether this number may never appear in a session or a path: 0 (RFC 7607).
    #[must_use]
    pub fn is_reserved(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Asn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A BGP identifier: four octets, not zero, unique inside its AS (RFC 6286).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouterId(pub u32);

impl RouterId {
    /// The identifier written as an IPv4 address, as most configurations do.
    #[must_use]
    pub fn from_addr(addr: Ipv4Addr) -> Self {
        Self(addr.to_bits())
    }
}

impl fmt::Display for RouterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ipv4Addr::from_bits(self.0).fmt(f)
    }
}

impl fmt::Debug for RouterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
