use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Asn, RouterId};

/// ORIGIN (RFC 4271 §5.1.1). Ordered as the decision process prefers: lower is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// Interior to the originating AS.
    Igp,
    /// Learned through EGP.
    Egp,
    /// By some other means.
    Incomplete,
}

/// The kind of one AS_PATH segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SegmentKind {
    /// AS_SET: unordered.
    Set,
    /// AS_SEQUENCE: ordered.
    Sequence,
    /// AS_CONFED_SEQUENCE (RFC 5065).
    ConfedSequence,
    /// AS_CONFED_SET (RFC 5065).
    ConfedSet,
}

/// One AS_PATH segment of 1 to 255 numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Segment {
    /// How to read the numbers.
    pub kind: SegmentKind,
    /// The numbers, nearest AS first.
    pub asns: Vec<Asn>,
}

/// AS_PATH (RFC 4271 §5.1.2): segments, nearest AS first.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AsPath {
    /// The segments; none for a route of this AS.
    pub segments: Vec<Segment>,
}

impl AsPath {
    /// A path of one sequence; empty when `asns` is empty.
    #[must_use]
    pub fn sequence(asns: impl IntoIterator<Item = Asn>) -> Self {
        let mut path = Self::default();
        let asns: Vec<Asn> = asns.into_iter().collect();
        for asn in asns.into_iter().rev() {
            path.prepend(asn);
        }
        path
    }

    /// The length that the decision process compares (RFC 4271 §9.1.2.2 a): a set counts one, confederation
    /// segments none (RFC 5065 §5.3).
    #[must_use]
    pub fn decision_len(&self) -> usize {
        self.segments
            .iter()
            .map(|s| match s.kind {
                SegmentKind::Sequence => s.asns.len(),
                SegmentKind::Set => 1,
                SegmentKind::ConfedSequence | SegmentKind::ConfedSet => 0,
            })
            .sum()
    }

    /// The neighbouring AS: the first number, when the path starts with a sequence.
    #[must_use]
    pub fn first(&self) -> Option<Asn> {
        self.segments
            .first()
            .filter(|s| s.kind == SegmentKind::Sequence)
            .and_then(|s| s.asns.first().copied())
    }

    /// How often `asn` stands anywhere in the path.
    #[must_use]
    pub fn count(&self, asn: Asn) -> usize {
        self.iter().filter(|a| *a == asn).count()
    }

    /// All numbers, nearest first, whatever their segment.
    pub fn iter(&self) -> impl Iterator<Item = Asn> {
        self.segments.iter().flat_map(|s| s.asns.iter().copied())
    }

    /// Puts `asn` in front (RFC 4271 §5.1.2 b); a full segment of 255 gets a new one before it.
    pub fn prepend(&mut self, asn: Asn) {
        match self.segments.first_mut() {
            Some(s) if s.kind == SegmentKind::Sequence && s.asns.len() < 255 => s.asns.insert(0, asn),
            _ => self.segments.insert(
                0,
                Segment {
                    kind: SegmentKind::Sequence,
                    asns: vec![asn],
                },
            ),
        }
    }
}

impl fmt::Display for AsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, segment) in self.segments.iter().enumerate() {
            let (open, separator, close) = match segment.kind {
                SegmentKind::Sequence => ("", " ", ""),
                SegmentKind::Set => ("{", ",", "}"),
                SegmentKind::ConfedSequence => ("(", " ", ")"),
                SegmentKind::ConfedSet => ("[", ",", "]"),
            };
            if i > 0 {
                f.write_str(" ")?;
            }
            f.write_str(open)?;
            for (j, asn) in segment.asns.iter().enumerate() {
                if j > 0 {
                    f.write_str(separator)?;
                }
                asn.fmt(f)?;
            }
            f.write_str(close)?;
        }
        Ok(())
    }
}

/// A community (RFC 1997), shown as `upper:lower`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Community(pub u32);

impl Community {
    /// GRACEFUL_SHUTDOWN (RFC 8326).
    pub const GRACEFUL_SHUTDOWN: Self = Self(0xffff_0000);
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

/// AGGREGATOR (RFC 4271 §5.1.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Aggregator {
    /// The AS that formed the aggregate.
    pub asn: Asn,
    /// The speaker that formed it.
    pub id: RouterId,
}

/// Where a route's packets go next: NEXT_HOP, or the next hop field of MP_REACH_NLRI (RFC 4760 §3, RFC 2545 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NextHop {
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// A global IPv6 address, with the link-local one of the same interface when the sender gave it.
    V6 {
        /// The global address.
        global: Ipv6Addr,
        /// The link-local address.
        link_local: Option<Ipv6Addr>,
    },
}

impl NextHop {
    /// The (global) address.
    #[must_use]
    pub fn addr(self) -> IpAddr {
        match self {
            Self::V4(addr) => IpAddr::V4(addr),
            Self::V6 { global, .. } => IpAddr::V6(global),
        }
    }
}

/// An optional transitive attribute that this speaker does not know: kept as it came, and passed on with the
/// Partial bit set (RFC 4271 §5, RFC 4271 §9).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnknownAttribute {
    /// The flags octet as received.
    pub flags: u8,
    /// The type code.
    pub code: u8,
    /// The value.
    pub value: Box<[u8]>,
}

/// The attributes of a route, decoded. Equal values mean equal routes but for the prefix, so they are interned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathAttributes {
    /// ORIGIN.
    pub origin: Origin,
    /// AS_PATH.
    pub as_path: AsPath,
    /// NEXT_HOP or the next hop of MP_REACH_NLRI; none for a route of this speaker's own.
    pub next_hop: Option<NextHop>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF; only ever received from, or sent to, a peer of this AS.
    pub local_pref: Option<u32>,
    /// ATOMIC_AGGREGATE.
    pub atomic_aggregate: bool,
    /// AGGREGATOR.
    pub aggregator: Option<Aggregator>,
    /// COMMUNITIES, in the order received.
    pub communities: Vec<Community>,
    /// Unknown optional transitive attributes, by type code.
    pub unknown: Vec<UnknownAttribute>,
}

impl PathAttributes {
    /// The attributes of a route that this speaker originates.
    #[must_use]
    pub fn local() -> Self {
        Self {
            origin: Origin::Igp,
            as_path: AsPath::default(),
            next_hop: None,
            med: None,
            local_pref: None,
            atomic_aggregate: false,
            aggregator: None,
            communities: Vec::new(),
            unknown: Vec::new(),
        }
    }
}
