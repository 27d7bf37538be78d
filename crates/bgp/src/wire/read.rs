//! The few parsers that everything else is made of, on nom. A parser takes octets and gives back the rest and a
//! value; its only error is "too short", because that is all that these can find wrong. What that means, and
//! what the peer is told, is known only to whoever asked.

use nom::IResult;
use nom::bytes::complete::take;
use nom::number::complete::{be_u8, be_u16, be_u32};

/// The rest of the octets and a value, or "too short".
pub(super) type Parsed<'a, T> = IResult<&'a [u8], T, ()>;

/// One octet.
pub(super) fn octet(input: &[u8]) -> Parsed<'_, u8> {
    be_u8(input)
}

/// Two octets, in network order.
pub(super) fn two_octets(input: &[u8]) -> Parsed<'_, u16> {
    be_u16(input)
}

/// Four octets, in network order.
pub(super) fn four_octets(input: &[u8]) -> Parsed<'_, u32> {
    be_u32(input)
}

/// `count` octets.
pub(super) fn octets(count: usize, input: &[u8]) -> Parsed<'_, &[u8]> {
    take(count)(input)
}

/// As many octets as the first octet says.
pub(super) fn short_block(input: &[u8]) -> Parsed<'_, &[u8]> {
    let (rest, len) = octet(input)?;
    octets(usize::from(len), rest)
}

/// As many octets as the first two octets say.
pub(super) fn long_block(input: &[u8]) -> Parsed<'_, &[u8]> {
    let (rest, len) = two_octets(input)?;
    octets(usize::from(len), rest)
}

/// The octets as exactly `N` of them, when they are.
pub(super) fn exactly<const N: usize>(input: &[u8]) -> Option<[u8; N]> {
    input.try_into().ok()
}
