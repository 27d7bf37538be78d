//! Messages in octets, for what is read or written here by hand: kinds that `netlink-packet-route` does not know, and answers
//! that say much more than anybody asks for.

use netlink_packet_core::{DecodeError, NetlinkDeserializable, NetlinkHeader, NetlinkSerializable};

/// A message without its netlink header.
#[derive(Debug, Clone)]
pub(crate) struct Octets {
    pub(crate) kind: u16,
    pub(crate) body: Vec<u8>,
}

impl Octets {
    /// A message that begins with `header`.
    pub(crate) fn new(kind: u16, header: &[u8]) -> Self {
        let body = header.to_vec();
        Self { kind, body }
    }

    /// Adds an attribute: length and kind, two octets each, the value, and zeros up to a multiple of four.
    pub(crate) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len().saturating_add(4)).unwrap_or(u16::MAX);
        self.body.extend(length.to_ne_bytes());
        self.body.extend(kind.to_ne_bytes());
        self.body.extend(value);
        self.body.resize(self.body.len().next_multiple_of(4), 0);
        self
    }
}

/// The number at the beginning of a value.
pub(crate) fn number(octets: &[u8]) -> Option<u32> {
    octets
        .first_chunk::<4>()
        .map(|number| u32::from_ne_bytes(*number))
}

impl NetlinkSerializable for Octets {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.body.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.body);
    }
}

impl NetlinkDeserializable for Octets {
    type Error = DecodeError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self {
            kind: header.message_type,
            body: payload.to_vec(),
        })
    }
}
