//! OPEN (RFC 4271 §4.2), with optional parameters in both lengths (RFC 9072).
//!
//! What can be judged without knowing our own configuration is judged here: the version, a hold time of one or two
//! seconds, an identifier or an AS of zero. Whether the AS is the one expected is the session's question.

use bytes::{BufMut, BytesMut};

use crate::types::{Asn, RouterId};

use super::capability;
use super::frame::{HEADER_LEN, MAX_LEN, MessageKind, encode_header, length_field};
use super::notification::OpenError;
use super::read::{Parsed, four_octets, long_block, octet, short_block, two_octets};
use super::{Capabilities, DecodeError, Notification, Open};

/// The only version there is.
const VERSION: u8 = 4;
/// The optional parameter that holds capabilities (RFC 5492 §4).
const CAPABILITIES: u8 = 2;
/// The parameter type that says that lengths take two octets (RFC 9072 §2).
const EXTENDED: u8 = 255;
/// The octets of an OPEN before its optional parameters, header included.
const FIXED_LEN: usize = HEADER_LEN.saturating_add(10);

struct Fixed<'a> {
    version: u8,
    asn: u16,
    hold_time: u16,
    router_id: u32,
    /// The length octet of the parameters and all that follows it.
    parameters: &'a [u8],
}

fn fixed(body: &[u8]) -> Parsed<'_, Fixed<'_>> {
    let (rest, version) = octet(body)?;
    let (rest, asn) = two_octets(rest)?;
    let (rest, hold_time) = two_octets(rest)?;
    let (parameters, router_id) = four_octets(rest)?;
    let fixed = Fixed {
        version,
        asn,
        hold_time,
        router_id,
        parameters,
    };
    Ok((&[], fixed))
}

/// Decodes the body of an OPEN.
pub(super) fn decode(body: &[u8]) -> Result<Open, DecodeError> {
    let Ok((_, open)) = fixed(body) else {
        return Err(error(OpenError::Unspecific, &[], "shorter than its fixed fields"));
    };
    if open.version != VERSION {
        let highest = u16::from(VERSION).to_be_bytes();
        let what = format!("version {}, not {VERSION}", open.version);
        return Err(error(OpenError::UnsupportedVersion, &highest, &what));
    }
    let capabilities = parameters(open.parameters)?;
    let asn = capabilities.four_octet_as.unwrap_or(Asn(open.asn.into()));
    if asn.is_reserved() {
        return Err(error(OpenError::BadPeerAs, &[], "AS 0 is reserved (RFC 7607)"));
    }
    if matches!(open.hold_time, 1 | 2) {
        let what = format!(
            "a hold time of {} s; 0, or 3 s and more, is allowed",
            open.hold_time
        );
        return Err(error(OpenError::UnacceptableHoldTime, &[], &what));
    }
    if open.router_id == 0 {
        return Err(error(OpenError::BadIdentifier, &[], "the BGP identifier is zero"));
    }
    Ok(Open {
        version: open.version,
        asn,
        hold_time: open.hold_time,
        router_id: RouterId(open.router_id),
        capabilities,
    })
}

fn error(error: OpenError, data: &[u8], what: &str) -> DecodeError {
    DecodeError {
        what: format!("OPEN: {what}"),
        notification: Notification::open(error, data),
    }
}

fn malformed(what: &str) -> DecodeError {
    error(OpenError::Unspecific, &[], what)
}

/// A parser of a block with a length before it: of one octet, or of two.
type Block = fn(&[u8]) -> Parsed<'_, &[u8]>;

/// The parameters, from their length octet to the end of the message. All of the message must be accounted for.
fn parameters(field: &[u8]) -> Result<Capabilities, DecodeError> {
    let overrun = || malformed("the optional parameters are not as long as their length says");
    let (rest, len) = octet(field).map_err(|_| overrun())?;
    // RFC 9072 §2: the first length is ignored, unless it is zero, once a type of 255 follows.
    let (rest, block, parameter): (_, _, Block) = match rest.split_first() {
        Some((&EXTENDED, rest)) if len != 0 => {
            let (rest, block) = long_block(rest).map_err(|_| overrun())?;
            (rest, block, long_block)
        }
        Some(_) | None => {
            let (rest, block) = short_block(field).map_err(|_| overrun())?;
            (rest, block, short_block)
        }
    };
    if !rest.is_empty() {
        return Err(overrun());
    }
    let mut capabilities = Capabilities::default();
    let mut block = block;
    while let Some((&kind, rest)) = block.split_first() {
        let (rest, value) = parameter(rest).map_err(|_| malformed("an optional parameter is cut off"))?;
        if kind != CAPABILITIES {
            let what = format!("optional parameter {kind} is unknown");
            return Err(error(OpenError::UnsupportedParameter, &[], &what));
        }
        capability::decode(value, &mut capabilities).map_err(|e| malformed(&e.to_string()))?;
        block = rest;
    }
    Ok(capabilities)
}

impl Open {
    /// Appends the message, all capabilities in one parameter. The two-octet field holds AS_TRANS when the number does
    /// not fit (RFC 6793 §9). Lengths take two octets when they must (RFC 9072). Of unknown capabilities
    /// those are left out that do not fit into a message of 4,096 octets.
    pub fn encode(&self, out: &mut BytesMut) {
        // The longer form of the parameters takes 4 octets for the first lengths and 3 for a parameter.
        let room = MAX_LEN.saturating_sub(FIXED_LEN).saturating_sub(6);
        let capabilities = capability::encode(&self.capabilities, room);
        let parameter_len = capabilities.len().saturating_add(2);
        let short = u8::try_from(parameter_len).ok().filter(|len| *len != u8::MAX);
        let parameters_len = match short {
            _ if capabilities.is_empty() => 0,
            Some(len) => usize::from(len),
            None => capabilities.len().saturating_add(6),
        };
        encode_header(MessageKind::Open, FIXED_LEN.saturating_add(parameters_len), out);
        out.put_u8(self.version);
        out.put_u16(self.asn.two_octets());
        out.put_u16(self.hold_time);
        out.put_u32(self.router_id.0);
        match (short, u8::try_from(capabilities.len())) {
            _ if capabilities.is_empty() => out.put_u8(0),
            (Some(parameters_len), Ok(len)) => out.put_slice(&[parameters_len, CAPABILITIES, len]),
            (None, _) | (Some(_), Err(_)) => {
                out.put_slice(&[u8::MAX, EXTENDED]);
                out.put_u16(length_field(capabilities.len().saturating_add(3)));
                out.put_u8(CAPABILITIES);
                out.put_u16(length_field(capabilities.len()));
            }
        }
        out.put_slice(&capabilities);
    }
}
