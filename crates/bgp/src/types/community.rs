//! Communities of three sizes: marks that a route carries, and their usual words.

use std::fmt;
use std::net::Ipv4Addr;

/// A community (RFC 1997), shown as `upper:lower`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Community(pub u32);

impl Community {
    /// GRACEFUL_SHUTDOWN (RFC 8326).
    pub const GRACEFUL_SHUTDOWN: Self = Self(0xffff_0000);
    /// LLGR_STALE (RFC 9494): a last resort, kept though its session is long gone.
    pub const LLGR_STALE: Self = Self(0xffff_0006);
    /// NO_LLGR (RFC 9494): not to be kept so long.
    pub const NO_LLGR: Self = Self(0xffff_0007);
    /// NO_EXPORT (RFC 1997).
    pub const NO_EXPORT: Self = Self(0xffff_ff01);
    /// NO_ADVERTISE (RFC 1997).
    pub const NO_ADVERTISE: Self = Self(0xffff_ff02);
    /// NO_EXPORT_SUBCONFED (RFC 1997).
    pub const NO_EXPORT_SUBCONFED: Self = Self(0xffff_ff03);
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0 >> 16, self.0 & 0xffff)
    }
}

/// An extended community (RFC 4360 §2): its eight octets as a number, in network order. Shown as `rt:64512:100` (route
/// target), `ro:64512:100` (route origin), `bandwidth:64512:1250000` (link bandwidth, octets a second), else as
/// `generic:0x` and sixteen digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtendedCommunity(pub u64);

impl ExtendedCommunity {
    /// Whether it goes from one AS into another: the T bit of the type is clear (RFC 4360 §2).
    #[must_use]
    pub fn is_transitive(self) -> bool {
        self.0 & (0x40 << 56) == 0
    }
}

impl fmt::Display for ExtendedCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [kind, subtype, a, b, c, d, e, g] = self.0.to_be_bytes();
        let (upper, lower) = (u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, g]));
        let (wide, number) = (u32::from_be_bytes([a, b, c, d]), u16::from_be_bytes([e, g]));
        let word = match subtype {
            0x02 => "rt",
            0x03 => "ro",
            _ => "",
        };
        match (kind, word) {
            // The bandwidth is an IEEE 754 number of 32 bits; the sender says which, so it may be none at all.
            (0x00 | 0x40, _) if subtype == 0x04 => write!(f, "bandwidth:{upper}:{}", f32::from_bits(lower)),
            (0x00, "rt" | "ro") => write!(f, "{word}:{upper}:{lower}"),
            (0x01, "rt" | "ro") => write!(f, "{word}:{}:{number}", Ipv4Addr::from_bits(wide)),
            (0x02, "rt" | "ro") => write!(f, "{word}:{wide}:{number}"),
            _ => write!(f, "generic:0x{:016x}", self.0),
        }
    }
}

/// A large community (RFC 8092), shown as `global:local1:local2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LargeCommunity {
    /// Global Administrator: the AS that gives the others a meaning.
    pub global: u32,
    /// Local Data Part 1.
    pub local1: u32,
    /// Local Data Part 2.
    pub local2: u32,
}

impl fmt::Display for LargeCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.global, self.local1, self.local2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extended_communities_in_words() {
        for (octets, words, transitive) in [
            (0x0002_fc00_0000_0064, "rt:64512:100", true),
            (0x0003_fc00_0000_0064, "ro:64512:100", true),
            (0x0102_c000_0201_0007, "rt:192.0.2.1:7", true),
            (0x0103_c000_0201_0007, "ro:192.0.2.1:7", true),
            (0x0202_0001_0000_0007, "rt:65536:7", true),
            (0x4004_fc00_4998_9680, "bandwidth:64512:1250000", false),
            (0x0004_fc00_4998_9680, "bandwidth:64512:1250000", true),
            (0x4004_fc00_7fc0_0000, "bandwidth:64512:NaN", false),
            (0x030c_0000_0000_0008, "generic:0x030c000000000008", true),
            (0x4002_fc00_0000_0064, "generic:0x4002fc0000000064", false),
            (0x8006_0000_0000_0000, "generic:0x8006000000000000", true),
        ] {
            let community = ExtendedCommunity(octets);
            assert_eq!(community.to_string(), words);
            assert_eq!(community.is_transitive(), transitive, "{words}");
        }
    }
}
