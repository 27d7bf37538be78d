//! Values that every room of this crate shares: numbers with a meaning, prefixes, path attributes.
//!
//! They are plain data. Encoding lives in `wire`, comparison of routes in `rib`; a type stands here when two
//! rooms need it.

mod asn;
mod attributes;
mod community;
mod family;
mod names;
mod prefix;
mod role;
mod time;

pub use asn::{Asn, RouterId};
pub use attributes::{
    Aggregator, AsPath, NextHop, Origin, Partial, PathAttributes, Segment, SegmentKind, UnknownAttribute,
};
pub use community::{Community, ExtendedCommunity, LargeCommunity};
pub use family::{Family, FamilySet, PathIds};
pub use names::{ConnId, PeerName};
pub use prefix::{PathId, Prefix, PrefixError};
pub use role::Role;
pub use time::Instant;
