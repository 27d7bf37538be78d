//! Identifiers of nexthop objects.
//!
//! Identifiers follow from content, so that an agent that starts again finds its objects under the names that it
//! would give them. They lie in a range of their own: `0x46` in the top byte, the role in the next four bits, a
//! 20-bit hash of the content below. Where two contents hash alike, or another program sits on the identifier,
//! the next free one is taken ([`candidates`]).

use std::net::IpAddr;

use crate::types::{Leg, NexthopId};

/// First identifier of the range.
const BASE: u32 = 0x4600_0000;
/// Bits that the hash may use.
const HASH_MASK: u32 = 0x000f_ffff;
/// How many identifiers are tried before a set is given up.
const ATTEMPTS: u32 = 64;

/// What an object is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Named by routes with a single path.
    Single,
    /// Member of groups only.
    Member,
    /// A group.
    Group,
}

impl Role {
    const fn bits(self) -> u32 {
        match self {
            Self::Single => 0,
            Self::Member => 0x0010_0000,
            Self::Group => 0x0020_0000,
        }
    }
}

/// The role that an identifier stands for, if it lies in our range.
pub(crate) const fn role(id: NexthopId) -> Option<Role> {
    if id.0 & 0xff00_0000 != BASE {
        return None;
    }
    match id.0 & 0x00f0_0000 {
        0 => Some(Role::Single),
        0x0010_0000 => Some(Role::Member),
        0x0020_0000 => Some(Role::Group),
        _ => None,
    }
}

/// The identifiers that an object of this content may have, the preferred one first.
pub(crate) fn candidates(role: Role, legs: &[Leg]) -> impl Iterator<Item = NexthopId> + use<> {
    let hash = hash(legs);
    (0..ATTEMPTS).map(move |n| NexthopId(BASE | role.bits() | (hash.wrapping_add(n) & HASH_MASK)))
}

/// FNV-1a: small, fixed for ever, and good enough for a few thousand sets.
fn hash(legs: &[Leg]) -> u32 {
    let mut state: u32 = 0x811c_9dc5;
    let mut feed = |bytes: &[u8]| {
        for byte in bytes {
            state = (state ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    };
    for leg in legs {
        match leg.gateway {
            IpAddr::V4(gateway) => feed(&gateway.octets()),
            IpAddr::V6(gateway) => feed(&gateway.octets()),
        }
        feed(&leg.interface.to_be_bytes());
    }
    state ^ (state >> 20)
}
