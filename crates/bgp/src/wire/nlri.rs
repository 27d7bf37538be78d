//! Prefixes on the wire (RFC 4271 §4.3, RFC 4760 §5): a length in bits, then as many octets as hold them.
//!
//! This is the hot loop of the codec: a full table is a million turns of it. It reads the address as one word
//! where four (sixteen) octets are left, which is nearly always, and masks away what belongs to the next prefix;
//! only the last few octets of a field are copied one by one. Nothing is allocated per prefix: the vector is
//! reserved from the length of the field.
//!
//! Where both sides agreed on it, four octets of a path identifier stand before each prefix (RFC 7911 §3). That is another
//! loop, so that those who did not agree pay nothing; and another vector, empty for them.

use bytes::{BufMut, BytesMut};

use crate::types::{Family, PathId, Prefix};

/// The octets of a path identifier.
const ID_LEN: usize = 4;

/// Prefixes as a field has them.
#[derive(Debug, Default)]
pub(super) struct Nlri {
    pub(super) prefixes: Vec<Prefix>,
    /// One for each prefix, or none at all.
    pub(super) ids: Vec<PathId>,
}

impl Nlri {
    /// Moves the prefixes of another field behind these, without copying them into an empty vector.
    pub(super) fn append(&mut self, mut from: Self) {
        if self.prefixes.is_empty() {
            *self = from;
            return;
        }
        if !self.ids.is_empty() || !from.ids.is_empty() {
            self.ids.resize(self.prefixes.len(), PathId::default());
            from.ids.resize(from.prefixes.len(), PathId::default());
        }
        self.prefixes.append(&mut from.prefixes);
        self.ids.append(&mut from.ids);
    }
}

/// Something that stands in a field: a prefix, with a path identifier before it or not.
pub trait Destination: Copy {
    /// The prefix.
    fn prefix(self) -> Prefix;
    /// The identifier; `None` where none is written.
    fn path_id(self) -> Option<PathId>;
}

impl Destination for Prefix {
    #[inline]
    fn prefix(self) -> Prefix {
        self
    }

    #[inline]
    fn path_id(self) -> Option<PathId> {
        None
    }
}

/// For peers that path identifiers were agreed on with.
impl Destination for (Prefix, PathId) {
    #[inline]
    fn prefix(self) -> Prefix {
        self.0
    }

    #[inline]
    fn path_id(self) -> Option<PathId> {
        Some(self.1)
    }
}

/// A field of prefixes with a length beyond the family's, or with fewer octets than a length asks for (RFC 7606
/// §5.3). Where the next prefix begins is unknown then, so nothing of the field is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InvalidField;

/// Appends what stands in `field`, which has path identifiers or not.
pub(super) fn decode(
    field: &[u8],
    family: Family,
    with_ids: bool,
    to: &mut Nlri,
) -> Result<(), InvalidField> {
    if !with_ids {
        return decode_prefixes(field, family, &mut to.prefixes);
    }
    let mut rest = field;
    while !rest.is_empty() {
        let (id, prefix) = rest.split_first_chunk::<ID_LEN>().ok_or(InvalidField)?;
        let (&len, _) = prefix.split_first().ok_or(InvalidField)?;
        let end = octet_len(len).saturating_add(1);
        let (prefix, next) = prefix.split_at_checked(end).ok_or(InvalidField)?;
        decode_prefixes(prefix, family, &mut to.prefixes)?;
        to.ids.push(PathId(u32::from_be_bytes(*id)));
        rest = next;
    }
    Ok(())
}

fn decode_prefixes(field: &[u8], family: Family, prefixes: &mut Vec<Prefix>) -> Result<(), InvalidField> {
    match family {
        Family::Ipv4 => decode_as::<4>(field, prefixes, |octets, len| {
            Prefix::v4(u32::from_be_bytes(octets), len).ok()
        }),
        Family::Ipv6 => decode_as::<16>(field, prefixes, |octets, len| {
            Prefix::v6(u128::from_be_bytes(octets), len).ok()
        }),
    }
}

#[inline]
fn decode_as<const N: usize>(
    mut field: &[u8],
    prefixes: &mut Vec<Prefix>,
    prefix: impl Fn([u8; N], u8) -> Option<Prefix>,
) -> Result<(), InvalidField> {
    // A guess: a /24 takes four octets, a /64 nine. A field of shorter prefixes makes the vector grow, at most
    // to one prefix an octet.
    prefixes.reserve(field.len().div_euclid(if N == 4 { 4 } else { 9 }));
    while let Some((&len, rest)) = field.split_first() {
        let (octets, rest) = address::<N>(rest, octet_len(len)).ok_or(InvalidField)?;
        prefixes.push(prefix(octets, len).ok_or(InvalidField)?);
        field = rest;
    }
    Ok(())
}

/// An address of which `count` octets are present, and what follows those.
#[inline]
fn address<const N: usize>(field: &[u8], count: usize) -> Option<([u8; N], &[u8])> {
    let (present, rest) = field.split_at_checked(count)?;
    if let Some(word) = field.first_chunk::<N>() {
        return Some((*word, rest));
    }
    let mut word = [0; N];
    for (to, from) in word.iter_mut().zip(present) {
        *to = *from;
    }
    Some((word, rest))
}

/// How many octets hold a prefix of `len` bits.
#[inline]
fn octet_len(len: u8) -> usize {
    usize::from(len.div_ceil(8))
}

/// How many of `destinations`, all of `family`, fit into `room` octets, and how many octets they take.
pub(super) fn fit(destinations: &[impl Destination], family: Family, room: usize) -> (usize, usize) {
    let mut used = 0_usize;
    let mut count = 0_usize;
    for one in destinations.iter().take_while(|d| d.prefix().family() == family) {
        let next = used
            .saturating_add(if one.path_id().is_some() { 1 + ID_LEN } else { 1 })
            .saturating_add(octet_len(one.prefix().prefix_len()));
        if next > room {
            break;
        }
        used = next;
        count = count.saturating_add(1);
    }
    (count, used)
}

/// Appends `destinations`.
pub(super) fn encode(destinations: &[impl Destination], out: &mut BytesMut) {
    for one in destinations {
        if let Some(id) = one.path_id() {
            out.put_u32(id.0);
        }
        match one.prefix() {
            Prefix::V4(bits, len) => encode_one(&bits.to_be_bytes(), len, out),
            Prefix::V6(bits, len) => encode_one(&bits.to_be_bytes(), len, out),
        }
    }
}

#[inline]
fn encode_one(address: &[u8], len: u8, out: &mut BytesMut) {
    out.put_u8(len);
    out.put_slice(address.get(..octet_len(len)).unwrap_or(address));
}
