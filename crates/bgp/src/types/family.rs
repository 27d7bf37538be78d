use std::fmt;

/// An address family that this speaker routes: AFI and SAFI of RFC 4760, unicast only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// AFI 1, SAFI 1.
    Ipv4,
    /// AFI 2, SAFI 1.
    Ipv6,
}

impl Family {
    /// Both families, in the order in which they are always walked.
    pub const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    /// The address family identifier.
    #[must_use]
    pub fn afi(self) -> u16 {
        match self {
            Self::Ipv4 => 1,
            Self::Ipv6 => 2,
        }
    }

    /// The subsequent address family identifier: unicast.
    #[must_use]
    pub fn safi(self) -> u8 {
        1
    }

    /// The family of an AFI and SAFI, when it is one of ours.
    #[must_use]
    pub fn from_wire(afi: u16, safi: u8) -> Option<Self> {
        match (afi, safi) {
            (1, 1) => Some(Self::Ipv4),
            (2, 1) => Some(Self::Ipv6),
            _ => None,
        }
    }

    /// The longest prefix length of this family, in bits.
    #[must_use]
    pub fn max_len(self) -> u8 {
        match self {
            Self::Ipv4 => 32,
            Self::Ipv6 => 128,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        })
    }
}

/// A set of families; iterated in the order of [`Family::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FamilySet {
    ipv4: bool,
    ipv6: bool,
}

impl FamilySet {
    /// No family.
    pub const NONE: Self = Self {
        ipv4: false,
        ipv6: false,
    };
    /// Both families.
    pub const BOTH: Self = Self {
        ipv4: true,
        ipv6: true,
    };

    /// Whether `family` is a member.
    #[must_use]
    pub fn contains(self, family: Family) -> bool {
        match family {
            Family::Ipv4 => self.ipv4,
            Family::Ipv6 => self.ipv6,
        }
    }

    /// Adds `family`.
    pub fn insert(&mut self, family: Family) {
        match family {
            Family::Ipv4 => self.ipv4 = true,
            Family::Ipv6 => self.ipv6 = true,
        }
    }

    /// Takes `family` out.
    pub fn remove(&mut self, family: Family) {
        match family {
            Family::Ipv4 => self.ipv4 = false,
            Family::Ipv6 => self.ipv6 = false,
        }
    }

    /// The members of both sets.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self {
            ipv4: self.ipv4 && other.ipv4,
            ipv6: self.ipv6 && other.ipv6,
        }
    }

    /// Whether there is no member.
    #[must_use]
    pub fn is_empty(self) -> bool {
        !self.ipv4 && !self.ipv6
    }

    /// The members, IPv4 first.
    pub fn iter(self) -> impl Iterator<Item = Family> {
        Family::ALL.into_iter().filter(move |f| self.contains(*f))
    }
}

impl FromIterator<Family> for FamilySet {
    fn from_iter<I: IntoIterator<Item = Family>>(iter: I) -> Self {
        let mut set = Self::NONE;
        for family in iter {
            set.insert(family);
        }
        set
    }
}

/// The families whose prefixes carry path identifiers (RFC 7911), by direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PathIds {
    /// In what comes from the peer.
    pub received: FamilySet,
    /// In what is sent to it.
    pub sent: FamilySet,
}

impl PathIds {
    /// None: one path a prefix, both ways.
    pub const NONE: Self = Self {
        received: FamilySet::NONE,
        sent: FamilySet::NONE,
    };
}
