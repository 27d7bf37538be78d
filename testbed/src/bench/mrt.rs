//! Routes of a real table: the IPv4 unicast RIB of an MRT file (RFC 6396, TABLE_DUMP_V2), as a feeder can announce it.
//!
//! Of each prefix the first path is taken that every receiver accepts in the same way: no AS_SET and none of the bench's
//! own ASNs in its AS path, no well-known community, nothing but attributes that all know. What is left out is little,
//! and the same for all.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use ipnetwork::{IpNetwork, Ipv4Network};

use super::receiver::ASN;
use super::table::Set;
use super::talk::{self, Attributes};

const TABLE_DUMP_V2: u16 = 13;
const RIB_IPV4_UNICAST: u16 = 2;
/// Segment type of RFC 4271 §4.3.
const AS_SEQUENCE: u8 = 2;
const AS_TRANS: u32 = 23456;
/// Those of the receiver and its peers, whose paths would be loops, and those that stand for none.
const UNFIT_ASNS: [u32; 5] = [0, AS_TRANS, ASN, 65001, 65002];
/// The upper half of the well-known communities (RFC 1997, RFC 7999, RFC 8326).
const WELL_KNOWN_COMMUNITIES: [u8; 2] = [0xff, 0xff];

/// Reads the table; a file whose name ends in `.bz2` goes through `bzip2`. Sets are in the order of their first prefix.
pub(super) fn read(file: &Path, first: u32) -> Result<Vec<Set>> {
    let bytes = if file.extension().is_some_and(|end| end == "bz2") {
        let output = Command::new("bzip2")
            .arg("-dc")
            .arg(file)
            .output()
            .context("run bzip2")?;
        if !output.status.success() {
            bail!(
                "bzip2 -dc {}: {}",
                file.display(),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        output.stdout
    } else {
        fs::read(file).with_context(|| format!("read {}", file.display()))?
    };
    let sets = parse(&bytes, first).with_context(|| format!("{} is cut short", file.display()))?;
    if sets.is_empty() {
        bail!(
            "{} has no IPv4 routes: it must be an MRT file of type TABLE_DUMP_V2",
            file.display()
        );
    }
    Ok(sets)
}

/// None when a record is cut short.
fn parse(mut bytes: &[u8], first: u32) -> Option<Vec<Set>> {
    let mut sets: Vec<Set> = Vec::new();
    let mut known: HashMap<Attributes, usize> = HashMap::new();
    while !bytes.is_empty() {
        let (header, rest) = bytes.split_first_chunk::<12>()?;
        let [_, _, _, _, kind @ .., _, _, _, _] = header;
        let [_, _, _, _, _, _, _, _, length @ ..] = header;
        let (record, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        bytes = rest;
        let [a, b, c, d] = *kind;
        if [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])] != [TABLE_DUMP_V2, RIB_IPV4_UNICAST] {
            continue;
        }
        let (prefix, attributes) = route(record, first)?;
        let (Some(prefix), Some(attributes)) = (prefix, attributes) else {
            continue;
        };
        let at = *known.entry(attributes.clone()).or_insert_with(|| {
            sets.push(Set {
                attributes,
                prefixes: Vec::new(),
            });
            sets.len() - 1
        });
        sets.get_mut(at)?.prefixes.push(prefix);
    }
    Some(sets)
}

/// One prefix with the first of its paths that is fit.
fn route(record: &[u8], first: u32) -> Option<(Option<IpNetwork>, Option<Attributes>)> {
    let (_, rest) = record.split_first_chunk::<4>()?;
    let (bits, rest) = rest.split_first()?;
    let (octets, rest) = rest.split_at_checked(usize::from(bits.div_ceil(8)))?;
    let mut address = [0; 4];
    address.get_mut(..octets.len())?.copy_from_slice(octets);
    let prefix = Ipv4Network::new_checked(address.into(), *bits).map(IpNetwork::V4);
    let prefix = prefix.filter(super::table::is_fit);
    let (count, mut rest) = rest.split_first_chunk::<2>()?;
    for _ in 0..u16::from_be_bytes(*count) {
        let (_, behind) = rest.split_first_chunk::<6>()?;
        let (attributes, next) = talk::sized(behind)?;
        rest = next;
        let fit = fit(attributes, first);
        if fit.is_some() {
            return Some((prefix, fit));
        }
    }
    Some((prefix, None))
}

/// The attributes as the feeder, whose AS is `first`, announces them; none when this path is left out.
fn fit(mut attributes: &[u8], first: u32) -> Option<Attributes> {
    let mut out = Attributes::default();
    let mut found = [false; 2];
    while !attributes.is_empty() {
        let (_, kind, value, next) = talk::attribute(attributes)?;
        attributes = next;
        match kind {
            talk::ORIGIN => {
                found[0] = true;
                out.before.extend([talk::WELL_KNOWN, kind, 1, *value.first()?]);
            }
            talk::AS_PATH => {
                found[1] = true;
                path(value, first, &mut out.before)?;
            }
            talk::MULTI_EXIT_DISC if value.len() == 4 => {
                out.after.extend([talk::OPTIONAL, kind, 4]);
                out.after.extend(value);
            }
            talk::ATOMIC_AGGREGATE => out.after.extend([talk::WELL_KNOWN, kind, 0]),
            talk::AGGREGATOR if value.len() == 8 => {
                out.after.extend([talk::OPTIONAL_TRANSITIVE, kind, 8]);
                out.after.extend(value);
            }
            talk::COMMUNITIES if value.len() % 4 == 0 && value.len() < 256 => {
                if value
                    .chunks(4)
                    .any(|community| community.starts_with(&WELL_KNOWN_COMMUNITIES))
                {
                    return None;
                }
                out.after
                    .extend([talk::OPTIONAL_TRANSITIVE, kind, u8::try_from(value.len()).ok()?]);
                out.after.extend(value);
            }
            _ => {}
        }
    }
    (found == [true; 2]).then_some(out)
}

/// The path with `first` in front, when it is one sequence of ASNs that cause no trouble.
fn path(value: &[u8], first: u32, out: &mut Vec<u8>) -> Option<()> {
    let [AS_SEQUENCE, count, asns @ ..] = value else {
        return None;
    };
    let asns = asns.as_chunks::<4>().0;
    let ordinary = asns.len() == usize::from(*count)
        && value.len() == 2 + 4 * asns.len()
        && asns
            .iter()
            .all(|asn| !UNFIT_ASNS.contains(&u32::from_be_bytes(*asn)));
    if !ordinary {
        return None;
    }
    out.extend(talk::as_path(
        std::iter::once(first).chain(asns.iter().map(|asn| u32::from_be_bytes(*asn))),
    )?);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::{fit, parse};

    /// A record of one prefix with two paths: the first has an AS_SET.
    fn record() -> Vec<u8> {
        let attributes = |kind: u8| {
            let mut out = vec![0x40, 1, 1, 0, 0x40, 2, 6, kind, 1, 0, 0, 0, 7];
            out.extend([0x40, 3, 4, 192, 0, 2, 1, 0x80, 4, 4, 0, 0, 0, 9]);
            out
        };
        let mut body = vec![0, 0, 0, 1, 16, 20, 1, 0, 2];
        for kind in [1, 2] {
            body.extend([0, 0, 0, 0, 0, 0, 0, 27]);
            body.extend(attributes(kind));
        }
        let mut out = vec![0, 0, 0, 0, 0, 13, 0, 2, 0, 0, 0];
        out.push(u8::try_from(body.len()).expect("short"));
        out.extend(body);
        out
    }

    #[test]
    fn a_path_is_taken_with_our_asn_in_front_and_without_its_next_hop() {
        let sets = parse(&record(), 65001).expect("whole");
        assert_eq!(sets.len(), 1);
        assert_eq!(sets[0].prefixes[0].to_string(), "20.1.0.0/16");
        let path = [0x40, 2, 10, 2, 2, 0, 0, 0xfd, 0xe9, 0, 0, 0, 7];
        assert_eq!(sets[0].attributes.before, [&[0x40, 1, 1, 0][..], &path].concat());
        assert_eq!(sets[0].attributes.after, [0x80, 4, 4, 0, 0, 0, 9]);
    }

    #[test]
    fn what_is_cut_short_is_no_table() {
        let whole = record();
        assert!(parse(&whole[..whole.len() - 1], 65001).is_none());
    }

    #[test]
    fn well_known_communities_and_our_own_asns_are_left_out() {
        let with = |asn: u8, community: [u8; 4]| {
            let mut out = vec![0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfc, asn, 0xc0, 8, 4];
            out.extend(community);
            fit(&out, 65001).is_some()
        };
        assert!(with(1, [0, 1, 0, 1]));
        assert!(!with(1, [0xff, 0xff, 0xff, 1]));
        assert!(!with(0, [0, 1, 0, 1]), "64512 is the receiver's");
    }
}
