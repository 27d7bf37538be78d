//! NOTIFICATION (RFC 4271 §4.5): the codes, their names, and the constructors for what this speaker says.
//!
//! A NOTIFICATION is kept as the octets that were received, because the last word of a peer is worth showing
//! even where its code is newer than this program. [`Display`](std::fmt::Display) puts it into words; text that a peer
//! chose is escaped, so that it can go into a log or a status field as it is.

use std::fmt::{self, Write as _};

use bytes::{BufMut, BytesMut};

use crate::types::Family;

use super::frame::{HEADER_LEN, MAX_LEN, MessageKind, encode_header};
use super::read::{exactly, octet, short_block};
use super::{DecodeError, Notification};

/// The longest text of a shutdown communication (RFC 9003 §2), in octets of UTF-8.
const MAX_TEXT_LEN: usize = 255;
/// How many octets of data that we cannot put into words are shown.
const MAX_SHOWN_DATA: usize = 32;

/// Message Header Error subcodes (RFC 4271 §6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// The marker is wrong.
    NotSynchronized,
    /// The length is wrong; data: the length.
    BadLength,
    /// The type is unknown; data: the type.
    BadType,
}

/// OPEN Message Error subcodes (RFC 4271 §6.2, RFC 5492 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// None of the others.
    Unspecific,
    /// Not version 4; data: the highest version that we talk.
    UnsupportedVersion,
    /// Not the AS that we expect.
    BadPeerAs,
    /// The identifier is zero, or ours.
    BadIdentifier,
    /// An optional parameter is unknown.
    UnsupportedParameter,
    /// A hold time of 1 or 2 seconds.
    UnacceptableHoldTime,
    /// A capability that we insist on is missing; data: that capability.
    UnsupportedCapability,
    /// The roles do not correspond (RFC 9234 §4.2).
    RoleMismatch,
}

/// UPDATE Message Error subcodes (RFC 4271 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateError {
    /// The lengths do not add up, or an attribute that may not stand twice does.
    MalformedAttributeList,
    /// A well-known attribute is unknown to us; data: the attribute.
    UnrecognizedWellKnown,
    /// A mandatory attribute is missing; data: its code.
    MissingWellKnown,
    /// The flags conflict with the attribute's type; data: the attribute.
    AttributeFlags,
    /// The length conflicts with the attribute's type; data: the attribute.
    AttributeLength,
    /// ORIGIN has an undefined value; data: the attribute.
    InvalidOrigin,
    /// NEXT_HOP is no host address; data: the attribute.
    InvalidNextHop,
    /// An optional attribute is malformed; data: the attribute.
    OptionalAttribute,
    /// A field of prefixes is malformed.
    InvalidNetwork,
    /// AS_PATH is malformed.
    MalformedAsPath,
}

/// The state in which a message came that has no place in it: the subcodes of Finite State Machine Error (RFC
/// 6608 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FsmErrorState {
    /// None of the others.
    Unspecified,
    /// OpenSent.
    OpenSent,
    /// OpenConfirm.
    OpenConfirm,
    /// Established.
    Established,
}

/// Cease subcodes (RFC 4486 §3, RFC 8538 §3, RFC 9384 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CeaseSubcode {
    /// Maximum Number of Prefixes Reached.
    MaxPrefixes,
    /// Administrative Shutdown; may carry a text.
    AdministrativeShutdown,
    /// Peer De-configured.
    PeerDeconfigured,
    /// Administrative Reset; may carry a text.
    AdministrativeReset,
    /// Connection Rejected.
    ConnectionRejected,
    /// Other Configuration Change.
    OtherConfigurationChange,
    /// Connection Collision Resolution.
    ConnectionCollisionResolution,
    /// Out of Resources.
    OutOfResources,
    /// Hard Reset.
    HardReset,
    /// BFD Down.
    BfdDown,
}

impl HeaderError {
    fn subcode(self) -> u8 {
        match self {
            Self::NotSynchronized => 1,
            Self::BadLength => 2,
            Self::BadType => 3,
        }
    }
}

impl OpenError {
    fn subcode(self) -> u8 {
        match self {
            Self::Unspecific => 0,
            Self::UnsupportedVersion => 1,
            Self::BadPeerAs => 2,
            Self::BadIdentifier => 3,
            Self::UnsupportedParameter => 4,
            Self::UnacceptableHoldTime => 6,
            Self::UnsupportedCapability => 7,
            Self::RoleMismatch => 11,
        }
    }
}

impl UpdateError {
    fn subcode(self) -> u8 {
        match self {
            Self::MalformedAttributeList => 1,
            Self::UnrecognizedWellKnown => 2,
            Self::MissingWellKnown => 3,
            Self::AttributeFlags => 4,
            Self::AttributeLength => 5,
            Self::InvalidOrigin => 6,
            Self::InvalidNextHop => 8,
            Self::OptionalAttribute => 9,
            Self::InvalidNetwork => 10,
            Self::MalformedAsPath => 11,
        }
    }
}

impl FsmErrorState {
    fn subcode(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::OpenSent => 1,
            Self::OpenConfirm => 2,
            Self::Established => 3,
        }
    }
}

impl CeaseSubcode {
    /// The subcode's number.
    #[must_use]
    pub fn subcode(self) -> u8 {
        match self {
            Self::MaxPrefixes => 1,
            Self::AdministrativeShutdown => 2,
            Self::PeerDeconfigured => 3,
            Self::AdministrativeReset => 4,
            Self::ConnectionRejected => 5,
            Self::OtherConfigurationChange => 6,
            Self::ConnectionCollisionResolution => 7,
            Self::OutOfResources => 8,
            Self::HardReset => 9,
            Self::BfdDown => 10,
        }
    }

    /// Whether the data is a shutdown communication (RFC 9003 §2).
    fn has_text(self) -> bool {
        match self {
            Self::AdministrativeShutdown | Self::AdministrativeReset => true,
            Self::MaxPrefixes
            | Self::PeerDeconfigured
            | Self::ConnectionRejected
            | Self::OtherConfigurationChange
            | Self::ConnectionCollisionResolution
            | Self::OutOfResources
            | Self::HardReset
            | Self::BfdDown => false,
        }
    }
}

impl Notification {
    fn of(code: u8, subcode: u8, data: &[u8]) -> Self {
        Self {
            code,
            subcode,
            data: data.to_vec(),
        }
    }

    /// Message Header Error, code 1.
    #[must_use]
    pub fn header(error: HeaderError, data: &[u8]) -> Self {
        Self::of(1, error.subcode(), data)
    }

    /// OPEN Message Error, code 2.
    #[must_use]
    pub fn open(error: OpenError, data: &[u8]) -> Self {
        Self::of(2, error.subcode(), data)
    }

    /// UPDATE Message Error, code 3.
    #[must_use]
    pub fn update(error: UpdateError, data: &[u8]) -> Self {
        Self::of(3, error.subcode(), data)
    }

    /// Hold Timer Expired, code 4 (RFC 4271 §6.5).
    #[must_use]
    pub fn hold_timer_expired() -> Self {
        Self::of(4, 0, &[])
    }

    /// Send Hold Timer Expired, code 8 (RFC 9687 §4).
    #[must_use]
    pub fn send_hold_timer_expired() -> Self {
        Self::of(8, 0, &[])
    }

    /// Finite State Machine Error, code 5 (RFC 4271 §6.6, RFC 6608).
    #[must_use]
    pub fn fsm_error(state: FsmErrorState) -> Self {
        Self::of(5, state.subcode(), &[])
    }

    /// Cease, code 6 (RFC 4486). `text` is for the operator at the other end and goes with Administrative Shutdown
    /// and Administrative Reset only (RFC 9003 §2); it is cut to 255 octets at a character.
    #[must_use]
    pub fn cease(subcode: CeaseSubcode, text: &str) -> Self {
        let mut data = Vec::new();
        if subcode.has_text() && !text.is_empty() {
            let text = cut(text, MAX_TEXT_LEN);
            data.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
            data.extend_from_slice(text.as_bytes());
        }
        Self {
            code: 6,
            subcode: subcode.subcode(),
            data,
        }
    }

    /// Cease, Hard Reset, with the NOTIFICATION that it stands for (RFC 8538 §3.1): the peer shall not keep our routes.
    #[must_use]
    pub fn hard_reset(inner: &Self) -> Self {
        let mut data = vec![inner.code, inner.subcode];
        data.extend_from_slice(&inner.data);
        Self {
            code: 6,
            subcode: CeaseSubcode::HardReset.subcode(),
            data,
        }
    }

    /// The NOTIFICATION inside a Hard Reset (RFC 8538 §3.1). `None` when this is none, or when a code is missing in it:
    /// then it is a Hard Reset all the same, for a reason that was not said.
    #[must_use]
    pub fn inner(&self) -> Option<Self> {
        match (self.code, self.subcode, self.data.as_slice()) {
            (6, 9, [code, subcode, data @ ..]) => Some(Self::of(*code, *subcode, data)),
            _ => None,
        }
    }

    /// Cease, Maximum Number of Prefixes Reached, with the family and the limit (RFC 4486 §4).
    #[must_use]
    pub fn max_prefixes(family: Family, limit: u32) -> Self {
        let mut data = family.afi().to_be_bytes().to_vec();
        data.push(family.safi());
        data.extend_from_slice(&limit.to_be_bytes());
        Self {
            code: 6,
            subcode: CeaseSubcode::MaxPrefixes.subcode(),
            data,
        }
    }

    /// The text of a shutdown communication (RFC 9003 §2), as the peer wrote it: hostile. `None` when there is none,
    /// or when it is not what its length says, or no UTF-8.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        if self.code != 6 || !matches!(self.subcode, 2 | 4) {
            return None;
        }
        let (rest, text) = short_block(&self.data).ok()?;
        if !rest.is_empty() || text.is_empty() {
            return None;
        }
        std::str::from_utf8(text).ok()
    }

    /// The whole message.
    #[must_use]
    pub fn octets(&self) -> Vec<u8> {
        let mut out = BytesMut::new();
        self.encode(&mut out);
        out.to_vec()
    }

    /// Appends the message. Data beyond what a message of 4,096 octets holds is cut off.
    pub fn encode(&self, out: &mut BytesMut) {
        let fixed = HEADER_LEN.saturating_add(2);
        let data = self
            .data
            .get(..MAX_LEN.saturating_sub(fixed))
            .unwrap_or(&self.data);
        encode_header(MessageKind::Notification, fixed.saturating_add(data.len()), out);
        out.put_u8(self.code);
        out.put_u8(self.subcode);
        out.put_slice(data);
    }
}

/// The longest beginning of `text` of at most `max` octets that ends at a character.
fn cut(text: &str, max: usize) -> &str {
    (0..=max.min(text.len()))
        .rev()
        .find_map(|end| text.get(..end))
        .unwrap_or_default()
}

/// Decodes the body of a NOTIFICATION. A NOTIFICATION is never answered with one, so nothing in it is an error
/// but a body of fewer than two octets, which `split` has refused before.
pub(super) fn decode(body: &[u8]) -> Result<Notification, DecodeError> {
    let parsed = octet(body).and_then(|(rest, code)| {
        let (data, subcode) = octet(rest)?;
        Ok(Notification::of(code, subcode, data))
    });
    // This cannot be reached through `split`.
    parsed.map_err(|_| DecodeError {
        what: "NOTIFICATION: shorter than its two codes".to_owned(),
        notification: Notification::header(HeaderError::BadLength, &[]),
    })
}

fn code_name(code: u8) -> Option<&'static str> {
    Some(match code {
        1 => "Message Header Error",
        2 => "OPEN Message Error",
        3 => "UPDATE Message Error",
        4 => "Hold Timer Expired",
        5 => "Finite State Machine Error",
        6 => "Cease",
        7 => "ROUTE-REFRESH Message Error",
        8 => "Send Hold Timer Expired",
        _ => return None,
    })
}

fn subcode_name(code: u8, subcode: u8) -> Option<&'static str> {
    Some(match (code, subcode) {
        (1, 1) => "Connection Not Synchronized",
        (1, 2) => "Bad Message Length",
        (1, 3) => "Bad Message Type",
        (2, 1) => "Unsupported Version Number",
        (2, 2) => "Bad Peer AS",
        (2, 3) => "Bad BGP Identifier",
        (2, 4) => "Unsupported Optional Parameter",
        (2, 6) => "Unacceptable Hold Time",
        (2, 7) => "Unsupported Capability",
        (2, 11) => "Role Mismatch",
        (3, 1) => "Malformed Attribute List",
        (3, 2) => "Unrecognized Well-known Attribute",
        (3, 3) => "Missing Well-known Attribute",
        (3, 4) => "Attribute Flags Error",
        (3, 5) => "Attribute Length Error",
        (3, 6) => "Invalid ORIGIN Attribute",
        (3, 8) => "Invalid NEXT_HOP Attribute",
        (3, 9) => "Optional Attribute Error",
        (3, 10) => "Invalid Network Field",
        (3, 11) => "Malformed AS_PATH",
        (5, 1) => "Unexpected Message in OpenSent",
        (5, 2) => "Unexpected Message in OpenConfirm",
        (5, 3) => "Unexpected Message in Established",
        (6, 1) => "Maximum Number of Prefixes Reached",
        (6, 2) => "Administrative Shutdown",
        (6, 3) => "Peer De-configured",
        (6, 4) => "Administrative Reset",
        (6, 5) => "Connection Rejected",
        (6, 6) => "Other Configuration Change",
        (6, 7) => "Connection Collision Resolution",
        (6, 8) => "Out of Resources",
        (6, 9) => "Hard Reset",
        (6, 10) => "BFD Down",
        (7, 1) => "Invalid Message Length",
        _ => return None,
    })
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_codes(f)?;
        match self.inner() {
            // One inside the inner one makes no sense, and is shown as octets.
            Some(inner) => {
                f.write_str(": ")?;
                inner.fmt_codes(f)?;
                inner.fmt_data(f)
            }
            None => self.fmt_data(f),
        }
    }
}

impl Notification {
    fn fmt_codes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match code_name(self.code) {
            Some(name) => f.write_str(name)?,
            None => write!(f, "error code {}", self.code)?,
        }
        match subcode_name(self.code, self.subcode) {
            Some(name) => write!(f, ", {name}")?,
            None if self.subcode == 0 => {}
            None => write!(f, ", subcode {}", self.subcode)?,
        }
        write!(f, " ({}/{})", self.code, self.subcode)
    }

    fn fmt_data(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = self.text() {
            return write!(f, ": \"{}\"", text.escape_debug());
        }
        match (self.code, self.subcode) {
            (1, 2) if let Some(length) = exactly(&self.data) => {
                write!(f, ": length {}", u16::from_be_bytes(length))
            }
            (1, 3) if let [kind] = self.data.as_slice() => write!(f, ": type {kind}"),
            (2, 1) if let Some(version) = exactly(&self.data) => {
                write!(f, ": highest version {}", u16::from_be_bytes(version))
            }
            (3, 3) if let [code] = self.data.as_slice() => match super::attribute::name(*code) {
                Some(name) => write!(f, ": {name}"),
                None => write!(f, ": attribute {code}"),
            },
            (6, 1)
                if let [a, b, safi, limit @ ..] = self.data.as_slice()
                    && let Some(limit) = exactly(limit) =>
            {
                let (afi, limit) = (u16::from_be_bytes([*a, *b]), u32::from_be_bytes(limit));
                match Family::from_wire(afi, *safi) {
                    Some(family) => write!(f, ": {family}, limit {limit}"),
                    None => write!(f, ": AFI {afi}, SAFI {safi}, limit {limit}"),
                }
            }
            _ => fmt_octets(&self.data, f),
        }
    }
}

/// Octets in hexadecimal, the first few of them; nothing when there are none.
fn fmt_octets(data: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if data.is_empty() {
        return Ok(());
    }
    f.write_str(": data ")?;
    for octet in data.iter().take(MAX_SHOWN_DATA) {
        write!(f, "{octet:02x}")?;
    }
    if data.len() > MAX_SHOWN_DATA {
        f.write_char('…')?;
    }
    Ok(())
}
