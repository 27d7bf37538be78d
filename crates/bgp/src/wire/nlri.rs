//! Prefixes on the wire (RFC 4271 §4.3, RFC 4760 §5): a length in bits, then as many octets as hold them.
//!
//! This is the hot loop of the codec: a full table is a million turns of it. It reads the address as one word
//! where four (sixteen) octets are left, which is nearly always, and masks away what belongs to the next prefix;
//! only the last few octets of a field are copied one by one. Nothing is allocated per prefix: the vector is
//! reserved from the length of the field.

use bytes::{BufMut, BytesMut};

use crate::types::{Family, Prefix};

/// A field of prefixes with a length beyond the family's, or with fewer octets than a length asks for (RFC 7606
/// §5.3). Where the next prefix begins is unknown then, so nothing of the field is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InvalidField;

/// Appends the prefixes of `field` to `prefixes`.
pub(super) fn decode(field: &[u8], family: Family, prefixes: &mut Vec<Prefix>) -> Result<(), InvalidField> {
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

/// How many of `prefixes`, all of `family`, fit into `room` octets, and how many octets they take.
pub(super) fn fit(prefixes: &[Prefix], family: Family, room: usize) -> (usize, usize) {
    let mut used = 0_usize;
    let mut count = 0_usize;
    for prefix in prefixes.iter().take_while(|p| p.family() == family) {
        let next = used
            .saturating_add(1)
            .saturating_add(octet_len(prefix.prefix_len()));
        if next > room {
            break;
        }
        used = next;
        count = count.saturating_add(1);
    }
    (count, used)
}

/// Appends `prefixes`.
pub(super) fn encode(prefixes: &[Prefix], out: &mut BytesMut) {
    for prefix in prefixes {
        match *prefix {
            Prefix::V4(bits, len) => encode_one(&bits.to_be_bytes(), len, out),
            Prefix::V6(bits, len) => encode_one(&bits.to_be_bytes(), len, out),
        }
    }
}

fn encode_one(address: &[u8], len: u8, out: &mut BytesMut) {
    out.put_u8(len);
    out.put_slice(address.get(..octet_len(len)).unwrap_or(address));
}
