//! As much of BGP (RFC 4271, RFC 4760) as feeders and sink need: OPEN, KEEPALIVE, full UPDATEs, and counting prefixes.
//!
//! It is written apart from our speaker, so that what it announces is not what our encoder would.

use std::net::IpAddr;
use std::ops::Range;

use anyhow::{Context as _, Result};
use ipnetwork::IpNetwork;

use super::ground::Transport;
use super::watch::prefix;

pub(super) const PORT: u16 = 179;
pub(super) const OPEN: u8 = 1;
pub(super) const UPDATE: u8 = 2;
pub(super) const NOTIFICATION: u8 = 3;
pub(super) const KEEPALIVE: u8 = 4;

pub(super) const ORIGIN: u8 = 1;
pub(super) const AS_PATH: u8 = 2;
pub(super) const MULTI_EXIT_DISC: u8 = 4;
pub(super) const ATOMIC_AGGREGATE: u8 = 6;
pub(super) const AGGREGATOR: u8 = 7;
pub(super) const COMMUNITIES: u8 = 8;
pub(super) const WELL_KNOWN: u8 = 0x40;
pub(super) const OPTIONAL: u8 = 0x80;
pub(super) const OPTIONAL_TRANSITIVE: u8 = 0xc0;

/// What the speakers of the bench offer: longer than any round, so that no KEEPALIVE need follow.
pub(super) const HOLD_SECONDS: u16 = 240;
const HEADER_BYTES: usize = 19;
/// RFC 4271 §4.1, without extended messages.
const LARGEST: usize = 4096;
const AS_TRANS: u16 = 23456;
const NEXT_HOP: u8 = 3;
const MP_REACH: u8 = 14;
const MP_UNREACH: u8 = 15;
const EXTENDED_LENGTH: u8 = 0x10;

/// Path attributes on the wire, but for the next hop, which goes between the two parts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Attributes {
    /// ORIGIN and AS_PATH.
    pub(super) before: Vec<u8>,
    /// The others, in the order of their codes.
    pub(super) after: Vec<u8>,
}

fn afi(transport: Transport) -> u8 {
    match transport {
        Transport::Ipv4 => 1,
        Transport::Ipv6 => 2,
    }
}

fn framed(kind: u8, body: &[u8]) -> Result<Vec<u8>> {
    let length = u16::try_from(HEADER_BYTES + body.len()).context("a message of fewer than 65536 bytes")?;
    let mut out = vec![0xff; 16];
    out.extend(length.to_be_bytes());
    out.push(kind);
    out.extend(body);
    Ok(out)
}

/// OPEN with the capabilities multiprotocol (the family of `transport`) and 4-octet AS.
pub(super) fn open(transport: Transport, asn: u32, id: [u8; 4]) -> Result<Vec<u8>> {
    let mut body = vec![4];
    body.extend(u16::try_from(asn).unwrap_or(AS_TRANS).to_be_bytes());
    body.extend(HOLD_SECONDS.to_be_bytes());
    body.extend(id);
    body.extend([14, 2, 12, 1, 4, 0, afi(transport), 0, 1, 65, 4]);
    body.extend(asn.to_be_bytes());
    framed(OPEN, &body)
}

/// KEEPALIVE.
pub(super) fn keepalive() -> [u8; HEADER_BYTES] {
    let mut message = [0xff; HEADER_BYTES];
    [message[16], message[17], message[18]] = [0, 19, KEEPALIVE];
    message
}

/// AS_PATH of one sequence; none when it is too long for one.
pub(super) fn as_path(asns: impl Iterator<Item = u32>) -> Option<Vec<u8>> {
    let asns: Vec<u8> = asns.flat_map(u32::to_be_bytes).collect();
    let count = u8::try_from(asns.len() / 4).ok()?;
    let [high, low] = u16::try_from(2 + asns.len()).ok()?.to_be_bytes();
    let mut out = if high == 0 {
        vec![WELL_KNOWN, AS_PATH, low]
    } else {
        vec![WELL_KNOWN | EXTENDED_LENGTH, AS_PATH, high, low]
    };
    out.extend([2, count]);
    out.extend(asns);
    Some(out)
}

/// The routes of these numbers in UPDATEs that are as full as they may be, then End-of-RIB (RFC 4724 §2).
pub(super) fn announcements(
    transport: Transport,
    asn: u32,
    next_hop: IpAddr,
    routes: Range<u32>,
) -> Result<Vec<u8>> {
    let mut before = vec![WELL_KNOWN, ORIGIN, 1, 0];
    before.extend(as_path(std::iter::once(asn)).context("a path of one")?);
    let attributes = Attributes {
        before,
        after: Vec::new(),
    };
    let mut out = Vec::new();
    let prefixes = routes.map(|number| prefix(transport, number));
    announce(&mut out, &attributes, next_hop, prefixes)?;
    out.extend(end_of_rib(transport)?);
    Ok(out)
}

/// RFC 4724 §2.
pub(super) fn end_of_rib(transport: Transport) -> Result<Vec<u8>> {
    let body = match transport {
        Transport::Ipv4 => vec![0; 4],
        Transport::Ipv6 => vec![0, 0, 0, 6, OPTIONAL, MP_UNREACH, 3, 0, 2, 1],
    };
    framed(UPDATE, &body)
}

/// UPDATEs that announce prefixes with the same attributes, as full as they may be.
pub(super) fn announce(
    out: &mut Vec<u8>,
    attributes: &Attributes,
    next_hop: IpAddr,
    prefixes: impl IntoIterator<Item = IpNetwork>,
) -> Result<()> {
    let mut all = attributes.before.clone();
    let mut reach = Vec::new();
    match next_hop {
        IpAddr::V4(address) => {
            all.extend([WELL_KNOWN, NEXT_HOP, 4]);
            all.extend(address.octets());
        }
        IpAddr::V6(address) => {
            reach.extend([0, afi(Transport::Ipv6), 1, 16]);
            reach.extend(address.octets());
            reach.push(0);
        }
    }
    all.extend(&attributes.after);
    // Header, two lengths, attributes, and for IPv6 the head of MP_REACH_NLRI.
    let fixed = HEADER_BYTES + 4 + all.len() + if next_hop.is_ipv6() { 4 + reach.len() } else { 0 };
    for nlri in full(LARGEST - fixed, prefixes) {
        out.extend(update(&all, &reach, next_hop, &nlri)?);
    }
    Ok(())
}

/// UPDATEs that withdraw prefixes, as full as they may be.
pub(super) fn withdraw(
    out: &mut Vec<u8>,
    transport: Transport,
    prefixes: impl IntoIterator<Item = IpNetwork>,
) -> Result<()> {
    // Header and two lengths; for IPv6 the head of MP_UNREACH_NLRI: flags, code, length, AFI, SAFI.
    let fixed = HEADER_BYTES
        + 4
        + match transport {
            Transport::Ipv4 => 0,
            Transport::Ipv6 => 7,
        };
    for nlri in full(LARGEST - fixed, prefixes) {
        let mut body = Vec::new();
        match transport {
            Transport::Ipv4 => {
                body.extend(length(nlri.len())?);
                body.extend(&nlri);
                body.extend([0, 0]);
            }
            Transport::Ipv6 => {
                body.extend([0, 0]);
                body.extend(length(7 + nlri.len())?);
                body.extend([OPTIONAL | EXTENDED_LENGTH, MP_UNREACH]);
                body.extend(length(3 + nlri.len())?);
                body.extend([0, afi(transport), 1]);
                body.extend(&nlri);
            }
        }
        out.extend(framed(UPDATE, &body)?);
    }
    Ok(())
}

/// Prefixes on the wire, in pieces of at most `room` bytes.
fn full(room: usize, prefixes: impl IntoIterator<Item = IpNetwork>) -> Vec<Vec<u8>> {
    let mut pieces: Vec<Vec<u8>> = Vec::new();
    for prefix in prefixes {
        let mut one = Vec::with_capacity(17);
        push(&mut one, prefix);
        match pieces.last_mut() {
            Some(piece) if piece.len() + one.len() <= room => piece.extend(one),
            Some(_) | None => pieces.push(one),
        }
    }
    pieces
}

fn push(nlri: &mut Vec<u8>, prefix: IpNetwork) {
    let bytes = usize::from(prefix.prefix().div_ceil(8));
    nlri.push(prefix.prefix());
    match prefix.ip() {
        IpAddr::V4(address) => nlri.extend(address.octets().iter().take(bytes)),
        IpAddr::V6(address) => nlri.extend(address.octets().iter().take(bytes)),
    }
}

fn length(bytes: usize) -> Result<[u8; 2]> {
    u16::try_from(bytes)
        .map(u16::to_be_bytes)
        .context("a short field")
}

fn update(attributes: &[u8], reach: &[u8], next_hop: IpAddr, nlri: &[u8]) -> Result<Vec<u8>> {
    let mut all = attributes.to_vec();
    if next_hop.is_ipv6() {
        all.extend([OPTIONAL | EXTENDED_LENGTH, MP_REACH]);
        all.extend(length(reach.len() + nlri.len())?);
        all.extend(reach);
        all.extend(nlri);
    }
    let mut body = vec![0, 0];
    body.extend(length(all.len())?);
    body.extend(all);
    if next_hop.is_ipv4() {
        body.extend(nlri);
    }
    framed(UPDATE, &body)
}

/// The first message of `bytes` when it is there whole: type, body, length.
pub(super) fn message(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let length = usize::from(u16::from_be_bytes([*bytes.get(16)?, *bytes.get(17)?]));
    Some((*bytes.get(18)?, bytes.get(HEADER_BYTES..length)?, length))
}

/// What an UPDATE says of a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Announced,
    Withdrawn,
}

/// How many prefixes an UPDATE announces, in its own field (IPv4) and in MP_REACH_NLRI; none when it is malformed.
pub(super) fn prefixes_in(body: &[u8]) -> Option<u32> {
    let mut count = 0;
    visit(body, |said, _, _| count += u32::from(said == Said::Announced))?;
    Some(count)
}

/// Shows every prefix of an UPDATE: what is said of it, its length, its octets; none when it is malformed.
pub(super) fn visit(body: &[u8], mut each: impl FnMut(Said, u8, &[u8])) -> Option<()> {
    let (withdrawn, rest) = sized(body)?;
    let (mut attributes, nlri) = sized(rest)?;
    nlri_of(withdrawn, |bits, octets| each(Said::Withdrawn, bits, octets))?;
    nlri_of(nlri, |bits, octets| each(Said::Announced, bits, octets))?;
    while !attributes.is_empty() {
        let (_, kind, value, next) = attribute(attributes)?;
        attributes = next;
        if kind == MP_REACH {
            let next_hop = usize::from(*value.get(3)?);
            let nlri = value.get(next_hop + 5..)?;
            nlri_of(nlri, |bits, octets| each(Said::Announced, bits, octets))?;
        } else if kind == MP_UNREACH {
            nlri_of(value.get(3..)?, |bits, octets| {
                each(Said::Withdrawn, bits, octets);
            })?;
        }
    }
    Some(())
}

/// The first path attribute: flags, type, value, and what follows.
pub(super) fn attribute(bytes: &[u8]) -> Option<(u8, u8, &[u8], &[u8])> {
    let [flags, kind, rest @ ..] = bytes else {
        return None;
    };
    let (value, next) = if flags & EXTENDED_LENGTH != 0 {
        sized(rest)?
    } else {
        let (length, rest) = rest.split_first()?;
        rest.split_at_checked(usize::from(*length))?
    };
    Some((*flags, *kind, value, next))
}

/// A field behind its two-byte length, and what follows.
pub(super) fn sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

fn nlri_of(mut bytes: &[u8], mut each: impl FnMut(u8, &[u8])) -> Option<()> {
    while let Some((bits, rest)) = bytes.split_first() {
        let (octets, rest) = rest.split_at_checked(usize::from(bits.div_ceil(8)))?;
        each(*bits, octets);
        bytes = rest;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::ground::Transport;
    use super::{LARGEST, Said, UPDATE, announcements, message, prefixes_in, visit, withdraw};
    use crate::bench::watch::prefix;

    #[test]
    fn announces_every_route_in_full_messages() {
        for (transport, most) in [(Transport::Ipv4, 1013), (Transport::Ipv6, 448)] {
            let (local, _) = transport.link(1);
            let bytes = announcements(transport, 65001, local, 0..3000).expect("encodes");
            let (mut at, mut counts) = (0, Vec::new());
            while let Some((kind, body, length)) = message(&bytes[at..]) {
                assert!(kind == UPDATE && length <= LARGEST);
                counts.push(prefixes_in(body).expect("well-formed"));
                at += length;
            }
            assert_eq!(at, bytes.len());
            assert_eq!(counts.iter().sum::<u32>(), 3000);
            assert_eq!(counts.last(), Some(&0), "End-of-RIB");
            assert_eq!(counts.first(), Some(&most), "full messages");
        }
    }

    #[test]
    fn withdraws_every_route_in_full_messages() {
        for (transport, most) in [(Transport::Ipv4, 1018), (Transport::Ipv6, 451)] {
            let mut bytes = Vec::new();
            withdraw(&mut bytes, transport, (0..3000).map(|n| prefix(transport, n))).expect("encodes");
            let (mut at, mut counts) = (0, Vec::new());
            while let Some((kind, body, length)) = message(&bytes[at..]) {
                assert!(kind == UPDATE && length <= LARGEST);
                let mut count = 0;
                visit(body, |said, _, _| count += i32::from(said == Said::Withdrawn)).expect("well-formed");
                counts.push(count);
                at += length;
            }
            assert_eq!((at, counts.iter().sum()), (bytes.len(), 3000));
            assert_eq!(counts.first(), Some(&most), "full messages");
        }
    }

    #[test]
    fn what_is_cut_short_is_not_counted() {
        assert_eq!(prefixes_in(&[0, 0, 0, 9, 1]), None);
    }
}
