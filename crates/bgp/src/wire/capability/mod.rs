//! Capabilities (RFC 5492 §4): a code, a length, a value.
//!
//! Those that change how octets are read (multiprotocol and four-octet AS) must have the length that their RFC
//! says; anything else is a malformed OPEN, because to guess here is to misread every UPDATE. All others that do not
//! look as expected are merely not agreed on: they are kept among the unknown ones, to be shown.
//!
//! A capability that stands twice: families and other lists add up, of graceful restart the last one counts (RFC 4724
//! §3), of all others the first; a second one that says something else is kept among the unknown ones.
//!
//! That a capability is understood here does not mean that this speaker does what it says. What it advertises itself is
//! the session's business, and is what it does.

pub(super) mod values;
mod words;

use crate::types::{Asn, Family, FamilySet, Role};

use super::Capabilities;
use super::read::{Parsed, exactly, octet, short_block, two_octets};

use values::{
    AddPath, AddPathMode, AfiSafi, ExtendedNextHop, Fqdn, GracefulFamily, GracefulRestart, LongLivedFamily,
    MAX_RESTART_TIME, UnknownCapability,
};

const MULTIPROTOCOL: u8 = 1;
const ROUTE_REFRESH: u8 = 2;
const EXTENDED_NEXT_HOP: u8 = 5;
const EXTENDED_MESSAGE: u8 = 6;
const ROLE: u8 = 9;
const GRACEFUL_RESTART: u8 = 64;
const FOUR_OCTET_AS: u8 = 65;
const ADD_PATH: u8 = 69;
const ENHANCED_ROUTE_REFRESH: u8 = 70;
const LONG_LIVED_GRACEFUL_RESTART: u8 = 71;
const FQDN: u8 = 73;
const SOFTWARE_VERSION: u8 = 75;

/// The F bit of a family of graceful restart.
const FORWARDING: u8 = 0x80;
/// The R bit of graceful restart.
const RESTARTED: u16 = 0x8000;
/// The N bit of graceful restart (RFC 8538 §2).
const NOTIFICATION: u16 = 0x4000;
/// The longest software version, in octets (draft-abraitis-bgp-version-capability).
const MAX_VERSION_LEN: usize = 64;

/// What is wrong with a list of capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CapabilityError {
    /// The value goes beyond the parameter.
    #[error("a capability is cut off")]
    CutOff,
    /// A capability that we must understand has a length that is not its own.
    #[error("capability {code} has {len} octets, not 4")]
    Length {
        /// The capability code.
        code: u8,
        /// Its length, in octets.
        len: usize,
    },
}

/// Adds the capabilities of one optional parameter to `capabilities`.
pub(super) fn decode(mut parameter: &[u8], capabilities: &mut Capabilities) -> Result<(), CapabilityError> {
    while !parameter.is_empty() {
        let (rest, code) = octet(parameter).map_err(|_| CapabilityError::CutOff)?;
        let (rest, value) = short_block(rest).map_err(|_| CapabilityError::CutOff)?;
        decode_one(code, value, capabilities)?;
        parameter = rest;
    }
    Ok(())
}

fn decode_one(code: u8, value: &[u8], capabilities: &mut Capabilities) -> Result<(), CapabilityError> {
    let wrong_length = CapabilityError::Length {
        code,
        len: value.len(),
    };
    match (code, value) {
        (MULTIPROTOCOL, _) => {
            let [afi_high, afi_low, _reserved, safi] = exactly(value).ok_or(wrong_length)?;
            let families = capabilities.families.get_or_insert(FamilySet::NONE);
            match Family::from_wire(u16::from_be_bytes([afi_high, afi_low]), safi) {
                Some(family) => families.insert(family),
                None => keep(code, value, capabilities),
            }
        }
        (FOUR_OCTET_AS, _) => {
            let asn = u32::from_be_bytes(exactly(value).ok_or(wrong_length)?);
            capabilities.four_octet_as.get_or_insert(Asn(asn));
        }
        (ROUTE_REFRESH, []) => capabilities.route_refresh = true,
        (EXTENDED_MESSAGE, []) => capabilities.extended_message = true,
        (ENHANCED_ROUTE_REFRESH, []) => capabilities.enhanced_route_refresh = true,
        (_, _) => {
            if decode_informative(code, value, capabilities).is_none() {
                keep(code, value, capabilities);
            }
        }
    }
    Ok(())
}

/// Capabilities that change nothing about how octets are read. `None`: not one of these, or not as its RFC says.
fn decode_informative(code: u8, value: &[u8], capabilities: &mut Capabilities) -> Option<()> {
    match code {
        EXTENDED_NEXT_HOP => capabilities.extended_next_hop.extend(extended_next_hop(value)?),
        ROLE => {
            let [role] = exactly(value)?;
            first(&mut capabilities.role, role_of(role)?)?;
        }
        GRACEFUL_RESTART => capabilities.graceful_restart = Some(graceful_restart(value)?),
        ADD_PATH => capabilities.add_path.extend(add_path(value)?),
        LONG_LIVED_GRACEFUL_RESTART => capabilities
            .long_lived_graceful_restart
            .extend(long_lived(value)?),
        FQDN => first(&mut capabilities.fqdn, fqdn(value)?)?,
        SOFTWARE_VERSION => first(&mut capabilities.software_version, software_version(value)?)?,
        _ => return None,
    }
    Some(())
}

/// The first one counts; `None` for another that says something else.
fn first<T: PartialEq>(slot: &mut Option<T>, value: T) -> Option<()> {
    if slot.as_ref().is_some_and(|first| *first != value) {
        return None;
    }
    *slot = Some(value);
    Some(())
}

/// The value as pieces of `N` octets, at least one.
fn pieces<const N: usize>(value: &[u8]) -> Option<&[[u8; N]]> {
    let (pieces, []) = value.as_chunks::<N>() else {
        return None;
    };
    Some(pieces).filter(|pieces| !pieces.is_empty())
}

fn family(afi_high: u8, afi_low: u8, safi: u8) -> AfiSafi {
    AfiSafi {
        afi: u16::from_be_bytes([afi_high, afi_low]),
        safi,
    }
}

/// RFC 9234 §4.1.
fn role_code(role: Role) -> u8 {
    match role {
        Role::Provider => 0,
        Role::RouteServer => 1,
        Role::RouteServerClient => 2,
        Role::Customer => 3,
        Role::Peer => 4,
    }
}

fn role_of(code: u8) -> Option<Role> {
    match code {
        0 => Some(Role::Provider),
        1 => Some(Role::RouteServer),
        2 => Some(Role::RouteServerClient),
        3 => Some(Role::Customer),
        4 => Some(Role::Peer),
        _ => None,
    }
}

impl Capabilities {
    /// Whether the sender says of its role what nobody can act on: two different ones, one that no RFC names, or none in
    /// as many octets as that takes.
    #[must_use]
    pub fn has_doubtful_role(&self) -> bool {
        self.unknown.iter().any(|unknown| unknown.code == ROLE)
    }
}

/// RFC 8950 §4: AFI, SAFI in two octets, AFI of the next hop.
fn extended_next_hop(value: &[u8]) -> Option<Vec<ExtendedNextHop>> {
    let piece = |piece: &[u8; 6]| match *piece {
        [a, b, 0, safi, c, d] => Some(ExtendedNextHop {
            family: family(a, b, safi),
            next_hop_afi: u16::from_be_bytes([c, d]),
        }),
        _ => None,
    };
    pieces(value)?.iter().map(piece).collect()
}

/// RFC 4724 §3: flags and restart time, then AFI, SAFI and flags of each family; it may have none.
fn graceful_restart(value: &[u8]) -> Option<GracefulRestart> {
    let (families, head) = two_octets(value).ok()?;
    let (families, []) = families.as_chunks::<4>() else {
        return None;
    };
    let families = families.iter().map(|[a, b, safi, flags]| GracefulFamily {
        family: family(*a, *b, *safi),
        forwarding: flags & FORWARDING != 0,
    });
    Some(GracefulRestart {
        restarted: head & RESTARTED != 0,
        notification: head & NOTIFICATION != 0,
        restart_time: head & MAX_RESTART_TIME,
        families: families.collect(),
    })
}

/// RFC 7911 §4: AFI, SAFI, direction. Another direction than three makes all of it not understood.
fn add_path(value: &[u8]) -> Option<Vec<AddPath>> {
    let piece = |[a, b, safi, mode]: &[u8; 4]| {
        let mode = match mode {
            1 => AddPathMode::Receive,
            2 => AddPathMode::Send,
            3 => AddPathMode::Both,
            _ => return None,
        };
        let family = family(*a, *b, *safi);
        Some(AddPath { family, mode })
    };
    pieces(value)?.iter().map(piece).collect()
}

/// RFC 9494 §3.1: AFI, SAFI, flags, a time of three octets.
fn long_lived(value: &[u8]) -> Option<Vec<LongLivedFamily>> {
    let piece = |[a, b, safi, flags, c, d, e]: &[u8; 7]| LongLivedFamily {
        family: family(*a, *b, *safi),
        forwarding: flags & FORWARDING != 0,
        stale_time: u32::from_be_bytes([0, *c, *d, *e]),
    };
    Some(pieces(value)?.iter().map(piece).collect())
}

/// Two texts, each with a length before it.
fn fqdn(value: &[u8]) -> Option<Fqdn> {
    fn texts(value: &[u8]) -> Parsed<'_, (&[u8], &[u8])> {
        let (rest, host) = short_block(value)?;
        let (rest, domain) = short_block(rest)?;
        Ok((rest, (host, domain)))
    }
    let Ok(([], (host, domain))) = texts(value) else {
        return None;
    };
    Some(Fqdn {
        host: text(host)?,
        domain: text(domain)?,
    })
}

/// One text with a length before it.
fn software_version(value: &[u8]) -> Option<String> {
    let Ok(([], version)) = short_block(value) else {
        return None;
    };
    text(version).filter(|_| !version.is_empty() && version.len() <= MAX_VERSION_LEN)
}

fn text(octets: &[u8]) -> Option<String> {
    std::str::from_utf8(octets).ok().map(ToOwned::to_owned)
}

fn keep(code: u8, value: &[u8], capabilities: &mut Capabilities) {
    capabilities.unknown.push(UnknownCapability {
        code,
        value: value.into(),
    });
}

/// The capabilities as the value of one optional parameter of at most `room` octets: known ones first, then as
/// many of the unknown ones as fit.
pub(super) fn encode(capabilities: &Capabilities, room: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for family in capabilities.families.unwrap_or(FamilySet::NONE).iter() {
        let [afi_high, afi_low] = family.afi().to_be_bytes();
        put(
            MULTIPROTOCOL,
            &[afi_high, afi_low, 0, family.safi()],
            room,
            &mut out,
        );
    }
    if capabilities.route_refresh {
        put(ROUTE_REFRESH, &[], room, &mut out);
    }
    if capabilities.extended_message {
        put(EXTENDED_MESSAGE, &[], room, &mut out);
    }
    if let Some(asn) = capabilities.four_octet_as {
        put(FOUR_OCTET_AS, &asn.0.to_be_bytes(), room, &mut out);
    }
    if capabilities.enhanced_route_refresh {
        put(ENHANCED_ROUTE_REFRESH, &[], room, &mut out);
    }
    for (code, value) in informative(capabilities) {
        put(code, &value, room, &mut out);
    }
    for unknown in &capabilities.unknown {
        put(unknown.code, &unknown.value, room, &mut out);
    }
    out
}

/// The values of those that change nothing about how octets are read.
fn informative(c: &Capabilities) -> Vec<(u8, Vec<u8>)> {
    let mut out = Vec::new();
    let mut list = |code, value: Vec<u8>| {
        if !value.is_empty() {
            out.push((code, value));
        }
    };
    let next_hops = c.extended_next_hop.iter();
    let next_hops =
        next_hops.flat_map(|n| [octets(n.family), [0, n.family.safi], n.next_hop_afi.to_be_bytes()]);
    list(EXTENDED_NEXT_HOP, next_hops.flatten().collect());
    list(ROLE, c.role.iter().map(|role| role_code(*role)).collect());
    if let Some(restart) = &c.graceful_restart {
        list(GRACEFUL_RESTART, restart_octets(restart));
    }
    let paths = c.add_path.iter().flat_map(|path| {
        let [a, b] = octets(path.family);
        let mode = match path.mode {
            AddPathMode::Receive => 1,
            AddPathMode::Send => 2,
            AddPathMode::Both => 3,
        };
        [a, b, path.family.safi, mode]
    });
    list(ADD_PATH, paths.collect());
    let long_lived = c.long_lived_graceful_restart.iter().flat_map(|f| {
        let ([a, b], [_, c, d, e]) = (octets(f.family), f.stale_time.to_be_bytes());
        [
            a,
            b,
            f.family.safi,
            if f.forwarding { FORWARDING } else { 0 },
            c,
            d,
            e,
        ]
    });
    list(LONG_LIVED_GRACEFUL_RESTART, long_lived.collect());
    if let Some(name) = &c.fqdn {
        list(FQDN, [sized(&name.host), sized(&name.domain)].concat());
    }
    if let Some(version) = &c.software_version {
        list(SOFTWARE_VERSION, sized(version));
    }
    out
}

fn octets(family: AfiSafi) -> [u8; 2] {
    family.afi.to_be_bytes()
}

fn restart_octets(restart: &GracefulRestart) -> Vec<u8> {
    let bit = |is: bool, bit: u16| if is { bit } else { 0 };
    let head = bit(restart.restarted, RESTARTED)
        | bit(restart.notification, NOTIFICATION)
        | restart.restart_time & MAX_RESTART_TIME;
    let mut out = head.to_be_bytes().to_vec();
    for f in &restart.families {
        let [a, b] = octets(f.family);
        out.extend([a, b, f.family.safi, if f.forwarding { FORWARDING } else { 0 }]);
    }
    out
}

/// A text with its length before it. One that is too long for that makes the capability too long too, and is left out with it.
fn sized(text: &str) -> Vec<u8> {
    let len = u8::try_from(text.len()).unwrap_or(u8::MAX);
    [&[len], text.as_bytes()].concat()
}

fn put(code: u8, value: &[u8], room: usize, out: &mut Vec<u8>) {
    let len = out.len().saturating_add(value.len()).saturating_add(2);
    if let (Ok(value_len), true) = (u8::try_from(value.len()), len <= room) {
        out.extend_from_slice(&[code, value_len]);
        out.extend_from_slice(value);
    }
}
