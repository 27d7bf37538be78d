use std::net::Ipv4Addr;

use crate::types::{Aggregator, AsPath, Asn, Family, NextHop, PathAttributes, UnknownAttribute};
use crate::wire::limits::MAX_UNKNOWN_OCTETS;
use crate::wire::nlri::Nlri;

use super::Fault;

/// What the attributes of one UPDATE have said so far.
pub(in crate::wire) struct Draft {
    /// Whether the NLRI field holds prefixes: only then NEXT_HOP means anything (RFC 4760 §3).
    pub(in crate::wire) has_nlri: bool,
    /// Attributes that go with a route as they are.
    pub(in crate::wire) attributes: PathAttributes,
    /// NEXT_HOP, which is for the prefixes of the NLRI field.
    pub(in crate::wire) next_hop: Option<Ipv4Addr>,
    /// MP_REACH_NLRI.
    pub(in crate::wire) reach: Option<Reach>,
    /// MP_UNREACH_NLRI.
    pub(in crate::wire) unreach: Option<Unreach>,
    /// AS4_PATH, of a peer that knows two-octet numbers only.
    pub(in crate::wire) as4_path: Option<AsPath>,
    /// AS4_AGGREGATOR, of such a peer.
    pub(in crate::wire) as4_aggregator: Option<Aggregator>,
}

/// MP_REACH_NLRI, as far as it can be used.
pub(in crate::wire) struct Reach {
    /// `None` when no next hop in it can be used, or the family was not agreed on.
    pub(in crate::wire) next_hop: Option<NextHop>,
    /// The prefixes; none when the family was not agreed on.
    pub(in crate::wire) nlri: Nlri,
    /// Whether the attribute held no prefixes at all. Those of a family that was not agreed on are not looked for, so it
    /// is taken to have some.
    pub(in crate::wire) empty: bool,
}

/// MP_UNREACH_NLRI, as far as it can be used.
pub(in crate::wire) struct Unreach {
    /// `None` when the family was not agreed on.
    pub(in crate::wire) family: Option<Family>,
    /// The prefixes.
    pub(in crate::wire) nlri: Nlri,
}

impl Draft {
    pub(in crate::wire) fn new(has_nlri: bool) -> Self {
        Self {
            has_nlri,
            attributes: PathAttributes::local(),
            next_hop: None,
            reach: None,
            unreach: None,
            as4_path: None,
            as4_aggregator: None,
        }
    }

    /// Whether the UPDATE announces anything, as far as is known.
    pub(in crate::wire) fn is_reachable(&self) -> bool {
        self.has_nlri || self.reach.as_ref().is_some_and(|reach| !reach.empty)
    }

    /// Keeps an attribute that we do not know, in the order of type codes.
    pub(in crate::wire) fn keep(&mut self, attribute: UnknownAttribute) -> Result<(), Fault> {
        let unknown = &mut self.attributes.unknown;
        let octets = unknown
            .iter()
            .map(|a| a.value.len())
            .fold(attribute.value.len(), usize::saturating_add);
        if octets > MAX_UNKNOWN_OCTETS {
            let of = "octets in unknown attributes";
            return Err(Fault::too_many(octets, of, MAX_UNKNOWN_OCTETS));
        }
        let at = unknown.partition_point(|a| a.code < attribute.code);
        unknown.insert(at, attribute);
        Ok(())
    }

    /// Joins what a two-octet speaker and the four-octet speakers behind it said (RFC 6793 §4.2.3).
    pub(in crate::wire) fn merge_as4(&mut self) {
        let as4_aggregator = self.as4_aggregator.take();
        let as4_path = self.as4_path.take();
        match &mut self.attributes.aggregator {
            // Somebody who knows two octets only has aggregated since: both are stale.
            Some(aggregator) if aggregator.asn != Asn::TRANS && as4_aggregator.is_some() => return,
            Some(aggregator) if aggregator.asn == Asn::TRANS => {
                *aggregator = as4_aggregator.unwrap_or(*aggregator);
            }
            Some(_) | None => {}
        }
        if let Some(as4_path) = as4_path {
            super::as4_path::merge(&mut self.attributes.as_path, as4_path);
        }
    }
}

/// A set of type codes.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::wire) struct CodeSet {
    low: u128,
    high: u128,
}

impl CodeSet {
    /// Adds `code`; whether it is new.
    pub(in crate::wire) fn insert(&mut self, code: u8) -> bool {
        let half = if code < 128 { &mut self.low } else { &mut self.high };
        let bit = 1_u128.checked_shl(u32::from(code & 127)).unwrap_or(0);
        let new = *half & bit == 0;
        *half |= bit;
        new
    }

    /// Whether `code` is the only member.
    pub(in crate::wire) fn is_only(self, code: u8) -> bool {
        let mut only = Self::default();
        only.insert(code);
        self == only
    }

    pub(in crate::wire) fn contains(mut self, code: u8) -> bool {
        !self.insert(code)
    }
}
