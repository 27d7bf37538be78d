use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Asn, Community, ExtendedCommunity, LargeCommunity, RouterId};

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
    /// A global IPv6 address, with the link-local one of the same interface when the sender gave it; or a link-local one alone.
    V6 {
        /// The global address; a link-local one where there is no other.
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

    /// Whether it means something on one link only: there is no global address.
    #[must_use]
    pub fn is_link_local(self) -> bool {
        match self {
            Self::V4(_) => false,
            Self::V6 { global, .. } => global.is_unicast_link_local(),
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

impl fmt::Display for UnknownAttribute {
    /// The code and the value in hexadecimal, the first octets of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "attribute {}: 0x", self.code)?;
        for octet in self.value.iter().take(MAX_SHOWN_OCTETS) {
            write!(f, "{octet:02x}")?;
        }
        if self.value.len() > MAX_SHOWN_OCTETS {
            write!(f, "… ({} octets)", self.value.len())?;
        }
        Ok(())
    }
}

/// How many octets of an unknown attribute are shown.
const MAX_SHOWN_OCTETS: usize = 64;

/// Which of the optional transitive attributes that this speaker knows came with the Partial bit: somebody on the way
/// did not know them, and who passes them on must go on saying so (RFC 4271 §5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partial(pub(crate) u8);

impl Partial {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// AGGREGATOR.
    pub const AGGREGATOR: Self = Self(1);
    /// COMMUNITIES.
    pub const COMMUNITIES: Self = Self(1 << 1);
    /// EXTENDED COMMUNITIES.
    pub const EXTENDED_COMMUNITIES: Self = Self(1 << 2);
    /// LARGE_COMMUNITY.
    pub const LARGE_COMMUNITIES: Self = Self(1 << 3);
    /// ONLY_TO_CUSTOMER.
    pub const ONLY_TO_CUSTOMER: Self = Self(1 << 4);

    /// Whether all of `other` are members.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Adds `other`.
    pub fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }
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
    /// EXTENDED COMMUNITIES, in the order received. Those that are not transitive never leave this AS.
    pub extended_communities: Vec<ExtendedCommunity>,
    /// LARGE_COMMUNITY, in the order received, none twice.
    pub large_communities: Vec<LargeCommunity>,
    /// ORIGINATOR_ID (RFC 4456): who brought the route into this AS. Never received from, or sent to, another AS.
    pub originator_id: Option<RouterId>,
    /// CLUSTER_LIST (RFC 4456): the clusters that reflected the route, the last one first. Like ORIGINATOR_ID.
    pub cluster_list: Vec<RouterId>,
    /// ONLY_TO_CUSTOMER (RFC 9234): passed on as it came.
    pub only_to_customer: Option<Asn>,
    /// Which of them came with the Partial bit.
    pub partial: Partial,
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
            extended_communities: Vec::new(),
            large_communities: Vec::new(),
            originator_id: None,
            cluster_list: Vec::new(),
            only_to_customer: None,
            partial: Partial::NONE,
            unknown: Vec::new(),
        }
    }
}
