//! Maps and sets of tuples: the messages that make them and change what is in them, and how that is read back.
//!
//! An entry carries its owner as a comment, which the `nft` program shows. It is added only where there is none with the same
//! key (NLM_F_EXCL): who comes second is told, and never takes a place that is another's.

use flatroute_netlink::{NLM_F_CREATE, NLM_F_EXCL, NetfilterMessage};

use crate::description::{Map, Part};
use crate::encode::{self, Attributes, attr, msg};
use crate::observed::{attributes, comment, find, of_message};

/// The set maps to data (NFT_SET_MAP).
const SET_MAP: u32 = 8;
/// Entries in one message: its list must be shorter than 64 KiB, and an entry has at most some 340 octets.
const ENTRIES_A_MESSAGE: usize = 128;
/// Bits that the `nft` program gives each part in the number of a tuple's type.
const TYPE_BITS: u32 = 6;

/// What is in a map at one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: Vec<u8>,
    /// Nothing in a set.
    pub(crate) data: Vec<u8>,
    pub(crate) comment: String,
}

/// What the kernel says of a set beside its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kind {
    /// `NFT_SET_*`.
    pub flags: u32,
    /// Type and octets of the key; the kernel keeps the type for the `nft` program.
    pub key: (u32, u32),
    /// The same of the data; zeros for a set.
    pub data: (u32, u32),
}

impl Map {
    /// As the kernel tells it.
    pub(crate) fn kind(&self) -> Kind {
        Kind {
            flags: if self.data.is_empty() { 0 } else { SET_MAP },
            key: (type_of(self.key), octets(self.key)),
            data: (type_of(self.data), octets(self.data)),
        }
    }
}

fn type_of(parts: &[Part]) -> u32 {
    parts.iter().fold(0, |sum, part| {
        let part = match part {
            Part::Ipv4 => 7,
            Part::Ipv6 => 8,
            Part::Protocol => 12,
            Part::Port => 13,
        };
        (sum << TYPE_BITS) | part
    })
}

fn octets(parts: &[Part]) -> u32 {
    let octets = parts.iter().map(|part| part.octets()).sum::<usize>();
    u32::try_from(octets).unwrap_or(u32::MAX)
}

/// Makes a map. `id` is another one for each set of a batch.
pub(crate) fn add_map(table: &str, map: &Map, id: u32) -> NetfilterMessage {
    let kind = map.kind();
    let attributes = Attributes::default()
        .text(attr::SET_TABLE, table)
        .text(attr::SET_NAME, map.name)
        .u32(attr::SET_FLAGS, kind.flags)
        .u32(attr::SET_KEY_TYPE, kind.key.0)
        .u32(attr::SET_KEY_LEN, kind.key.1);
    let attributes = if map.data.is_empty() {
        attributes
    } else {
        attributes
            .u32(attr::SET_DATA_TYPE, kind.data.0)
            .u32(attr::SET_DATA_LEN, kind.data.1)
    };
    encode::message(msg::NEW_SET, NLM_F_CREATE, attributes.u32(attr::SET_ID, id))
}

/// Adds entries whose keys are not there yet.
pub(crate) fn add_entries(table: &str, map: &Map, entries: &[Entry]) -> Vec<NetfilterMessage> {
    change(
        (msg::NEW_ELEMENT, NLM_F_CREATE | NLM_F_EXCL),
        (table, map),
        entries,
    )
}

/// Takes out what is at these keys.
pub(crate) fn delete_entries(table: &str, map: &Map, entries: &[Entry]) -> Vec<NetfilterMessage> {
    let keys: Vec<Entry> = entries
        .iter()
        .map(|entry| Entry {
            key: entry.key.clone(),
            ..Entry::default()
        })
        .collect();
    change((msg::DEL_ELEMENT, 0), (table, map), &keys)
}

fn change((kind, flags): (u8, u16), (table, map): (&str, &Map), entries: &[Entry]) -> Vec<NetfilterMessage> {
    let of = |entries: &[Entry]| {
        let list = entries.iter().fold(Attributes::default(), |list, entry| {
            list.nest(attr::LIST_ELEM, element(entry))
        });
        let attributes = Attributes::default()
            .text(attr::ELEMENTS_TABLE, table)
            .text(attr::ELEMENTS_SET, map.name)
            .nest(attr::ELEMENTS, list);
        encode::message(kind, flags, attributes)
    };
    entries.chunks(ENTRIES_A_MESSAGE).map(of).collect()
}

fn element(entry: &Entry) -> Attributes {
    let value = |octets: &[u8]| Attributes::default().bytes(attr::DATA_VALUE, octets);
    let mut element = Attributes::default().nest(attr::ELEMENT_KEY, value(&entry.key));
    if !entry.data.is_empty() {
        element = element.nest(attr::ELEMENT_DATA, value(&entry.data));
    }
    if !entry.comment.is_empty() {
        element = element.bytes(attr::ELEMENT_USERDATA, &encode::userdata(&entry.comment));
    }
    element
}

/// The question for all that is in a map.
pub(crate) fn all_of(table: &str, map: &Map) -> Attributes {
    Attributes::default()
        .text(attr::ELEMENTS_TABLE, table)
        .text(attr::ELEMENTS_SET, map.name)
}

/// The entries of a message of a dump; those that are no tuples of this map are left out.
pub(crate) fn entries<'a>(map: &Map, body: &'a [u8]) -> impl Iterator<Item = Entry> + use<'a> {
    let (key_octets, data_octets) = (octets(map.key), octets(map.data));
    let list = find(of_message(body), attr::ELEMENTS).unwrap_or_default();
    attributes(list).filter_map(move |(_, element)| {
        let value = |kind| {
            find(attributes(element), kind).and_then(|value| find(attributes(value), attr::DATA_VALUE))
        };
        let entry = Entry {
            key: value(attr::ELEMENT_KEY)?.to_vec(),
            data: value(attr::ELEMENT_DATA).unwrap_or_default().to_vec(),
            comment: find(attributes(element), attr::ELEMENT_USERDATA)
                .map(comment)
                .unwrap_or_default(),
        };
        let has = |octets: &[u8], wanted| u32::try_from(octets.len()) == Ok(wanted);
        (has(&entry.key, key_octets) && has(&entry.data, data_octets)).then_some(entry)
    })
}
