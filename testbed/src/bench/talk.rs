//! As much of BGP (RFC 4271, RFC 4760) as feeders and sink need: OPEN, KEEPALIVE, full UPDATEs, and counting prefixes.
//!
//! It is written apart from our speaker, so that what it announces is not what our encoder would.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use ipnetwork::IpNetwork;

use super::ground::Transport;
use super::watch::prefix;

pub(super) const PORT: u16 = 179;
pub(super) const OPEN: u8 = 1;
pub(super) const UPDATE: u8 = 2;
pub(super) const NOTIFICATION: u8 = 3;
pub(super) const KEEPALIVE: u8 = 4;

const HEADER_BYTES: usize = 19;
/// RFC 4271 §4.1, without extended messages.
const LARGEST: usize = 4096;
const AS_TRANS: u16 = 23456;
/// Longer than any round, so that no KEEPALIVE need follow.
const HOLD_SECONDS: u16 = 90;
const ORIGIN: u8 = 1;
const AS_PATH: u8 = 2;
const NEXT_HOP: u8 = 3;
const MP_REACH: u8 = 14;
const MP_UNREACH: u8 = 15;
const WELL_KNOWN: u8 = 0x40;
const OPTIONAL: u8 = 0x80;
const EXTENDED_LENGTH: u8 = 0x10;

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

/// All routes in UPDATEs that are as full as they may be, then End-of-RIB (RFC 4724 §2).
pub(super) fn announcements(
    transport: Transport,
    asn: u32,
    next_hop: IpAddr,
    routes: u32,
) -> Result<Vec<u8>> {
    let mut attributes = vec![WELL_KNOWN, ORIGIN, 1, 0, WELL_KNOWN, AS_PATH, 6, 2, 1];
    attributes.extend(asn.to_be_bytes());
    let mut reach = vec![0, afi(transport), 1];
    match next_hop {
        IpAddr::V4(address) => {
            attributes.extend([WELL_KNOWN, NEXT_HOP, 4]);
            attributes.extend(address.octets());
        }
        IpAddr::V6(address) => {
            reach.push(16);
            reach.extend(address.octets());
            reach.push(0);
        }
    }
    // Header, two lengths, attributes, and for IPv6 the head of MP_REACH_NLRI.
    let fixed = HEADER_BYTES + 4 + attributes.len() + if next_hop.is_ipv6() { 4 + reach.len() } else { 0 };
    let (mut out, mut nlri) = (Vec::new(), Vec::new());
    for number in 0..routes {
        let mut one = Vec::with_capacity(17);
        push(&mut one, prefix(transport, number));
        if fixed + nlri.len() + one.len() > LARGEST {
            out.extend(update(&attributes, &reach, next_hop, &nlri)?);
            nlri.clear();
        }
        nlri.extend(one);
    }
    out.extend(update(&attributes, &reach, next_hop, &nlri)?);
    let end = match transport {
        Transport::Ipv4 => vec![0; 4],
        Transport::Ipv6 => vec![0, 0, 0, 6, OPTIONAL, MP_UNREACH, 3, 0, 2, 1],
    };
    out.extend(framed(UPDATE, &end)?);
    Ok(out)
}

fn push(nlri: &mut Vec<u8>, prefix: IpNetwork) {
    let bytes = usize::from(prefix.prefix().div_ceil(8));
    nlri.push(prefix.prefix());
    match prefix.ip() {
        IpAddr::V4(address) => nlri.extend(address.octets().iter().take(bytes)),
        IpAddr::V6(address) => nlri.extend(address.octets().iter().take(bytes)),
    }
}

fn update(attributes: &[u8], reach: &[u8], next_hop: IpAddr, nlri: &[u8]) -> Result<Vec<u8>> {
    let length = |bytes: usize| {
        u16::try_from(bytes)
            .map(u16::to_be_bytes)
            .context("a short field")
    };
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

/// How many prefixes an UPDATE announces, in its own field (IPv4) and in MP_REACH_NLRI; none when it is malformed.
pub(super) fn prefixes_in(body: &[u8]) -> Option<u32> {
    let (_, rest) = sized(body)?;
    let (mut attributes, nlri) = sized(rest)?;
    let mut prefixes = nlri_count(nlri)?;
    while let [flags, kind, rest @ ..] = attributes {
        let (value, next) = if flags & EXTENDED_LENGTH != 0 {
            sized(rest)?
        } else {
            let (length, rest) = rest.split_first()?;
            rest.split_at_checked(usize::from(*length))?
        };
        if *kind == MP_REACH {
            let next_hop = usize::from(*value.get(3)?);
            prefixes += nlri_count(value.get(next_hop + 5..)?)?;
        }
        attributes = next;
    }
    Some(prefixes)
}

/// A field behind its two-byte length, and what follows.
fn sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

fn nlri_count(mut bytes: &[u8]) -> Option<u32> {
    let mut count = 0;
    while let Some((bits, rest)) = bytes.split_first() {
        bytes = rest.get(usize::from(bits.div_ceil(8))..)?;
        count += 1;
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::super::ground::Transport;
    use super::{LARGEST, UPDATE, announcements, message, prefixes_in};

    #[test]
    fn announces_every_route_in_full_messages() {
        for (transport, most) in [(Transport::Ipv4, 1013), (Transport::Ipv6, 448)] {
            let (local, _) = transport.link(1);
            let bytes = announcements(transport, 65001, local, 3000).expect("encodes");
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
    fn what_is_cut_short_is_not_counted() {
        assert_eq!(prefixes_in(&[0, 0, 0, 9, 1]), None);
    }
}
