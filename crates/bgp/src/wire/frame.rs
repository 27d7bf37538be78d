//! Where one message ends and the next begins: the header of RFC 4271 §4.1.
//!
//! Errors are said as soon as they can be seen, not when the message is complete: a peer that claims 65,535
//! octets and sends no more than the header must not make us wait, or keep a buffer, for the rest.

use bytes::{BufMut, BytesMut};

use super::notification::HeaderError;
use super::read::{octet, octets, two_octets};
use super::{DecodeError, Notification};

/// The length of the header, in octets.
pub const HEADER_LEN: usize = 19;
/// The longest message (RFC 4271 §4), in octets, header included.
pub const MAX_LEN: usize = 4096;
/// The longest message when both sides announced extended messages (RFC 8654 §4), in octets, header included.
pub const MAX_EXTENDED_LEN: usize = 65_535;

const MARKER_LEN: usize = 16;

/// The kind of a message (RFC 4271 §4.1, RFC 2918 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MessageKind {
    /// OPEN.
    Open,
    /// UPDATE.
    Update,
    /// NOTIFICATION.
    Notification,
    /// KEEPALIVE.
    Keepalive,
    /// ROUTE-REFRESH.
    RouteRefresh,
}

impl MessageKind {
    /// The type octet of the header.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Open => 1,
            Self::Update => 2,
            Self::Notification => 3,
            Self::Keepalive => 4,
            Self::RouteRefresh => 5,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Open),
            2 => Some(Self::Update),
            3 => Some(Self::Notification),
            4 => Some(Self::Keepalive),
            5 => Some(Self::RouteRefresh),
            _ => None,
        }
    }

    /// The shortest and longest message of this kind, in octets, where `max_len` is agreed on. The length of
    /// ROUTE-REFRESH is checked by its decoder, which has a better answer than Bad Message Length.
    fn lengths(self, max_len: usize) -> (usize, usize) {
        match self {
            // RFC 8654 §4: OPEN and KEEPALIVE never grow.
            Self::Open => (29, max_len.min(MAX_LEN)),
            Self::Update => (23, max_len),
            Self::Notification => (21, max_len),
            Self::Keepalive => (HEADER_LEN, HEADER_LEN),
            Self::RouteRefresh => (HEADER_LEN, max_len),
        }
    }
}

/// One whole message, header checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it is.
    pub kind: MessageKind,
    /// What follows the header.
    pub body: &'a [u8],
    /// The length of the whole message, header included, in octets: what the caller has to consume.
    pub len: usize,
}

/// Finds the first message in `buf`, which may be at most `max_len` octets long. `None`: more octets are needed.
///
/// # Errors
/// Message header errors (RFC 4271 §6.1), as soon as they can be seen: Connection Not Synchronized, Bad Message
/// Length with the length, Bad Message Type with the type.
pub fn split(buf: &[u8], max_len: usize) -> Result<Option<Frame<'_>>, DecodeError> {
    if buf.iter().take(MARKER_LEN).any(|octet| *octet != 0xff) {
        return Err(DecodeError {
            what: "message header: the marker is not all ones".to_owned(),
            notification: Notification::header(HeaderError::NotSynchronized, &[]),
        });
    }
    let Ok((rest, _marker)) = octets(MARKER_LEN, buf) else {
        return Ok(None);
    };
    let Ok((rest, length)) = two_octets(rest) else {
        return Ok(None);
    };
    let len = usize::from(length);
    if len < HEADER_LEN || len > max_len {
        return Err(bad_length(length, HEADER_LEN, max_len));
    }
    let Ok((rest, code)) = octet(rest) else {
        return Ok(None);
    };
    let Some(kind) = MessageKind::from_code(code) else {
        return Err(DecodeError {
            what: format!("message header: type {code} is unknown"),
            notification: Notification::header(HeaderError::BadType, &[code]),
        });
    };
    let (min, max) = kind.lengths(max_len);
    if len < min || len > max {
        return Err(bad_length(length, min, max));
    }
    let Ok((_next, body)) = octets(len.saturating_sub(HEADER_LEN), rest) else {
        return Ok(None);
    };
    Ok(Some(Frame { kind, body, len }))
}

fn bad_length(length: u16, min: usize, max: usize) -> DecodeError {
    DecodeError {
        what: format!("message header: length {length} is not within {min} to {max}"),
        notification: Notification::header(HeaderError::BadLength, &length.to_be_bytes()),
    }
}

/// Appends the header of a message of `len` octets, header included.
pub(super) fn encode_header(kind: MessageKind, len: usize, out: &mut BytesMut) {
    out.reserve(len);
    out.put_bytes(0xff, MARKER_LEN);
    out.put_u16(length_field(len));
    out.put_u8(kind.code());
}

/// A length as it goes into a field of two octets. Callers have bounded it by the longest message.
pub(super) fn length_field(len: usize) -> u16 {
    debug_assert!(
        len <= MAX_EXTENDED_LEN,
        "{len} octets are more than a message holds"
    );
    u16::try_from(len).unwrap_or(u16::MAX)
}
