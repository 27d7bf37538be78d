//! Capabilities (RFC 5492 §4): a code, a length, a value.
//!
//! Those that change how octets are read (multiprotocol and four-octet AS) must have the length that their RFC
//! says; anything else is a malformed OPEN, because to guess here is to misread every UPDATE. All others that do not
//! look as expected are merely not agreed on: they are kept among the unknown ones, to be shown.
//!
//! A capability that stands twice: families add up, of AS numbers the first one counts.

use crate::types::{Asn, Family, FamilySet};

use super::read::{exactly, octet, short_block};
use super::{Capabilities, UnknownCapability};

const MULTIPROTOCOL: u8 = 1;
const ROUTE_REFRESH: u8 = 2;
const EXTENDED_MESSAGE: u8 = 6;
const FOUR_OCTET_AS: u8 = 65;
const ENHANCED_ROUTE_REFRESH: u8 = 70;

/// What is wrong with a list of capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CapabilityError {
    /// The value goes beyond the parameter.
    #[error("a capability is cut off")]
    CutOff,
    /// A capability that we must understand has a length that is not its own.
    #[error("capability {code} has {len} octets, not 4")]
    Length {
        /// The capability code.
        code: u8,
        /// Its length, in octets.
        len: usize,
    },
}

/// Adds the capabilities of one optional parameter to `capabilities`.
pub(super) fn decode(mut parameter: &[u8], capabilities: &mut Capabilities) -> Result<(), CapabilityError> {
    while !parameter.is_empty() {
        let (rest, code) = octet(parameter).map_err(|_| CapabilityError::CutOff)?;
        let (rest, value) = short_block(rest).map_err(|_| CapabilityError::CutOff)?;
        decode_one(code, value, capabilities)?;
        parameter = rest;
    }
    Ok(())
}

fn decode_one(code: u8, value: &[u8], capabilities: &mut Capabilities) -> Result<(), CapabilityError> {
    let wrong_length = CapabilityError::Length {
        code,
        len: value.len(),
    };
    match (code, value) {
        (MULTIPROTOCOL, _) => {
            let [afi_high, afi_low, _reserved, safi] = exactly(value).ok_or(wrong_length)?;
            let families = capabilities.families.get_or_insert(FamilySet::NONE);
            match Family::from_wire(u16::from_be_bytes([afi_high, afi_low]), safi) {
                Some(family) => families.insert(family),
                None => keep(code, value, capabilities),
            }
        }
        (FOUR_OCTET_AS, _) => {
            let asn = u32::from_be_bytes(exactly(value).ok_or(wrong_length)?);
            capabilities.four_octet_as.get_or_insert(Asn(asn));
        }
        (ROUTE_REFRESH, []) => capabilities.route_refresh = true,
        (EXTENDED_MESSAGE, []) => capabilities.extended_message = true,
        (ENHANCED_ROUTE_REFRESH, []) => capabilities.enhanced_route_refresh = true,
        (_, _) => keep(code, value, capabilities),
    }
    Ok(())
}

fn keep(code: u8, value: &[u8], capabilities: &mut Capabilities) {
    capabilities.unknown.push(UnknownCapability {
        code,
        value: value.into(),
    });
}

/// The capabilities as the value of one optional parameter of at most `room` octets: known ones first, then as
/// many of the unknown ones as fit.
pub(super) fn encode(capabilities: &Capabilities, room: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for family in capabilities.families.unwrap_or(FamilySet::NONE).iter() {
        let [afi_high, afi_low] = family.afi().to_be_bytes();
        put(
            MULTIPROTOCOL,
            &[afi_high, afi_low, 0, family.safi()],
            room,
            &mut out,
        );
    }
    if capabilities.route_refresh {
        put(ROUTE_REFRESH, &[], room, &mut out);
    }
    if capabilities.extended_message {
        put(EXTENDED_MESSAGE, &[], room, &mut out);
    }
    if let Some(asn) = capabilities.four_octet_as {
        put(FOUR_OCTET_AS, &asn.0.to_be_bytes(), room, &mut out);
    }
    if capabilities.enhanced_route_refresh {
        put(ENHANCED_ROUTE_REFRESH, &[], room, &mut out);
    }
    for unknown in &capabilities.unknown {
        put(unknown.code, &unknown.value, room, &mut out);
    }
    out
}

fn put(code: u8, value: &[u8], room: usize, out: &mut Vec<u8>) {
    let len = out.len().saturating_add(value.len()).saturating_add(2);
    if let (Ok(value_len), true) = (u8::try_from(value.len()), len <= room) {
        out.extend_from_slice(&[code, value_len]);
        out.extend_from_slice(value);
    }
}
