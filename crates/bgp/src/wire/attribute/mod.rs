//! Path attributes: one table decides (RFC 4271 §5, RFC 7606).
//!
//! A row an attribute says everything that is special about it: its code, its name, the flags it must have, how it
//! is read, written and shown, and what becomes of the UPDATE when it is malformed. The code that walks an
//! UPDATE (`update::decode`) knows rows and no attribute; a new attribute is a new file and a new row.
//!
//! Rules that hold for every row, so that none has to repeat them:
//!
//! * Optional or Transitive flags other than the row's: treat as withdraw (RFC 7606 §3 c). The value is read all the
//!   same, for the prefixes of MP_REACH_NLRI have to be known to be withdrawn. The Partial bit is not judged, but kept
//!   where it has a meaning.
//! * An attribute that stands twice: the first one counts (RFC 7606 §3 g), but twice the prefixes of one kind are
//!   an error of the message.
//! * No row: an optional transitive attribute is kept to be passed on, an optional non-transitive one is
//!   dropped, a well-known one ends the session (RFC 4271 §6.3). `foreign` knows some of these by name.
//! * More of something than `limits` allows: treat as withdraw.
//!
//! Decoders write into a [`Draft`]; what the draft lacks in the end is the business of `update::decode`.

mod aggregator;
mod as4_aggregator;
mod as4_path;
mod as_path;
mod atomic_aggregate;
mod cluster_list;
mod communities;
mod draft;
mod extended_communities;
mod fault;
mod foreign;
mod large_communities;
mod local_pref;
mod med;
pub(super) mod mp_reach;
pub(super) mod mp_unreach;
pub(super) mod next_hop;
mod only_to_customer;
mod origin;
mod originator_id;

use std::fmt;

use bytes::{BufMut, BytesMut};

use crate::types::{Partial, PathAttributes, UnknownAttribute};

use super::frame::length_field;
use super::{Context, Disposition};

pub(super) use draft::{CodeSet, Draft};
pub(super) use fault::Fault;
pub(super) use foreign::known as foreign;

/// The Optional bit of the flags.
pub(super) const OPTIONAL: u8 = 0x80;
/// The Transitive bit of the flags.
pub(super) const TRANSITIVE: u8 = 0x40;
/// The Partial bit of the flags.
pub(super) const PARTIAL: u8 = 0x20;
/// The Extended Length bit of the flags.
pub(super) const EXTENDED_LENGTH: u8 = 0x10;

/// Attributes on their way out.
pub(super) struct Outgoing<'a> {
    /// The attributes.
    attributes: &'a PathAttributes,
    /// What was agreed on with the peer.
    ctx: &'a Context,
}

impl Outgoing<'_> {
    /// The Partial bit, if the attribute came with it.
    fn partial(&self, which: Partial) -> u8 {
        if self.attributes.partial.contains(which) {
            PARTIAL
        } else {
            0
        }
    }
}

/// All that is special about one attribute.
pub(super) struct Row {
    /// The type code.
    pub(super) code: u8,
    /// The name, as in its RFC.
    pub(super) name: &'static str,
    /// The Optional and Transitive bits that it must have.
    pub(super) flags: u8,
    /// What remembers its Partial bit; none where that bit has no meaning.
    pub(super) partial: Partial,
    /// Whether an UPDATE with reachable prefixes must have it (NEXT_HOP apart, which depends on the field).
    pub(super) mandatory: bool,
    /// Whether it is taken from peers of our own AS only, and dropped when others send it.
    pub(super) internal_only: bool,
    /// What becomes of the UPDATE when the value is malformed, unless the fault itself says more.
    pub(super) on_error: Disposition,
    /// Reads the value into the draft.
    pub(super) decode: fn(&[u8], &Context, &mut Draft) -> Result<(), Fault>,
    /// Appends the attribute, header included, if it has to be sent. The two MP attributes are written by the
    /// message, which alone knows the prefixes.
    encode: fn(&Outgoing<'_>, &mut BytesMut),
    /// Shows the value, if there is one, for people.
    display: fn(&PathAttributes) -> Option<String>,
}

/// The table, by type code.
static TABLE: [Row; 17] = [
    origin::ROW,
    as_path::ROW,
    next_hop::ROW,
    med::ROW,
    local_pref::ROW,
    atomic_aggregate::ROW,
    aggregator::ROW,
    communities::ROW,
    originator_id::ROW,
    cluster_list::ROW,
    mp_reach::ROW,
    mp_unreach::ROW,
    extended_communities::ROW,
    as4_path::ROW,
    as4_aggregator::ROW,
    large_communities::ROW,
    only_to_customer::ROW,
];

/// The row of a type code.
pub(super) fn row(code: u8) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.code == code)
}

/// The name of an attribute's type code, such as `AS_PATH`; `None` for one that nobody has defined.
#[must_use]
pub fn name(code: u8) -> Option<&'static str> {
    row(code)
        .map(|row| row.name)
        .or_else(|| foreign(code).map(|foreign| foreign.name))
}

/// The attributes that an UPDATE with reachable prefixes must have.
pub(super) fn mandatory() -> impl Iterator<Item = &'static Row> {
    TABLE.iter().filter(|row| row.mandatory)
}

/// Appends all attributes but the two MP ones, ascending by type code (RFC 4271 §5). NEXT_HOP is written for an IPv4
/// next hop.
pub(super) fn encode(attributes: &PathAttributes, ctx: &Context, out: &mut BytesMut) {
    let outgoing = Outgoing { attributes, ctx };
    let mut unknown = attributes.unknown.iter().peekable();
    for row in &TABLE {
        while let Some(attribute) = unknown.next_if(|a| a.code < row.code) {
            put_unknown(attribute, out);
        }
        (row.encode)(&outgoing, out);
    }
    for attribute in unknown {
        put_unknown(attribute, out);
    }
}

/// An attribute that we do not know goes on as it came, marked as not understood on its way (RFC 4271 §5).
fn put_unknown(attribute: &UnknownAttribute, out: &mut BytesMut) {
    let flags = attribute.flags & (OPTIONAL | TRANSITIVE) | PARTIAL;
    put(flags, attribute.code, &attribute.value, out);
}

/// Appends an attribute.
fn put(flags: u8, code: u8, value: &[u8], out: &mut BytesMut) {
    put_header(flags, code, value.len(), out);
    out.put_slice(value);
}

/// Appends the header of an attribute of `len` octets. An attribute longer than any message is caught
/// when the message is put together.
fn put_header(flags: u8, code: u8, len: usize, out: &mut BytesMut) {
    match u8::try_from(len) {
        Ok(len) => out.put_slice(&[flags, code, len]),
        Err(_) => {
            out.put_slice(&[flags | EXTENDED_LENGTH, code]);
            out.put_u16(u16::try_from(len).unwrap_or(u16::MAX));
        }
    }
}

/// Appends the header of an attribute of `len` octets, always with a length of two octets.
fn put_long_header(flags: u8, code: u8, len: usize, out: &mut BytesMut) {
    out.put_slice(&[flags | EXTENDED_LENGTH, code]);
    out.put_u16(length_field(len));
}

/// A list of values, if there are any.
fn in_words(values: &[impl fmt::Display]) -> Option<String> {
    let words: Vec<String> = values.iter().map(ToString::to_string).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// The members of a list of `N` octets each: at least one, and at most `max`.
fn members<'a, const N: usize>(value: &'a [u8], of: &str, max: usize) -> Result<&'a [[u8; N]], Fault> {
    let (members, rest) = value.as_chunks();
    if members.is_empty() || !rest.is_empty() {
        let expected = format!("a multiple of {N}, not zero");
        return Err(Fault::length(value.len(), &expected));
    }
    if members.len() > max {
        return Err(Fault::too_many(members.len(), of, max));
    }
    Ok(members)
}

/// For rows that the message writes, or that another row writes.
fn encode_nothing(_: &Outgoing<'_>, _: &mut BytesMut) {}

/// For rows that leave nothing to show in the attributes of a route.
fn display_nothing(_: &PathAttributes) -> Option<String> {
    None
}

/// The attributes in words, by type code: `ORIGIN IGP; AS_PATH 64512 65001; NEXT_HOP 192.0.2.1`.
pub fn display(attributes: &PathAttributes) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        let mut separator = "";
        for row in &TABLE {
            if let Some(value) = (row.display)(attributes) {
                write!(f, "{separator}{}", row.name)?;
                if !value.is_empty() {
                    write!(f, " {value}")?;
                }
                separator = "; ";
            }
        }
        for unknown in &attributes.unknown {
            let len = unknown.value.len();
            match foreign(unknown.code) {
                Some(foreign) => write!(f, "{separator}{} ({len} octets)", foreign.name)?,
                None => write!(f, "{separator}attribute {} ({len} octets)", unknown.code)?,
            }
            separator = "; ";
        }
        Ok(())
    })
}
