//! What stands in the kernel, read from its dumps.
//!
//! Only what the comparison needs is kept: of a rule its place, its handle and its comment. Attributes that nobody here knows
//! are skipped, as newer kernels have more of them; a message that is cut is an error of nobody and reads as if what is
//! missing were not there, which is then written.

use std::collections::BTreeMap;

use crate::description::Width;
use crate::encode::{self, INTERVAL_END, SET_INTERVAL, UDATA_COMMENT, attr, msg};
use crate::maps::Kind;
use crate::ranges::{Range, Ranges};

/// The table as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Whether there is one.
    pub exists: bool,
    /// Whether somebody has put it to sleep: no packet meets its chains.
    pub dormant: bool,
    /// Its chains, by name.
    pub chains: BTreeMap<String, ObservedChain>,
    /// Its sets, by name.
    pub sets: BTreeMap<String, ObservedSet>,
}

/// A chain as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedChain {
    /// Type; empty for one that is no base chain.
    pub kind: String,
    /// Hook and priority of a base chain.
    pub place: Option<(u32, i32)>,
    /// Whether what passes it is dropped.
    pub drops: bool,
    /// Its rules, in order.
    pub rules: Vec<ObservedRule>,
}

/// A rule as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedRule {
    /// What the kernel calls it.
    pub handle: u64,
    /// Its comment; empty without one.
    pub comment: String,
}

/// A set as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedSet {
    /// Whether it is a set of intervals of this family's addresses, and nothing else.
    pub width: Option<Width>,
    /// What the kernel says of it.
    pub kind: Kind,
    /// What is in it; none: no such intervals could be read.
    pub ranges: Option<Ranges>,
}

/// The attributes of a list.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (length, rest) = bytes.split_first_chunk::<2>()?;
        let (kind, _) = rest.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_ne_bytes(*length));
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        // The two highest bits are flags.
        Some((u16::from_ne_bytes(*kind) & 0x3fff, value))
    })
}

/// The attributes behind the nfgenmsg.
pub(crate) fn of_message(body: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    attributes(body.get(4..).unwrap_or_default())
}

pub(crate) fn find<'a>(mut list: impl Iterator<Item = (u16, &'a [u8])>, kind: u16) -> Option<&'a [u8]> {
    list.find(|(k, _)| *k == kind).map(|(_, value)| value)
}

pub(crate) fn number(value: Option<&[u8]>) -> Option<u32> {
    Some(u32::from_be_bytes(*value?.first_chunk()?))
}

pub(crate) fn text(value: Option<&[u8]>) -> String {
    let value = value.unwrap_or_default();
    let value = value.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(value).into_owned()
}

/// The number of the generation.
pub(crate) fn generation(body: &[u8]) -> Option<u32> {
    number(find(of_message(body), attr::GENERATION_ID))
}

impl Observed {
    /// Takes a message of a dump: a table, chain, rule or set; others are left aside. What is in sets comes for each set by
    /// itself. `kind` is that of the netlink header, `body` what follows it.
    pub fn take(&mut self, table: &str, kind: u16, body: &[u8]) {
        let is = |message| kind == encode::kind(message);
        if is(msg::NEW_TABLE) {
            self.table(table, body);
        } else if is(msg::NEW_CHAIN) {
            self.chain(table, body);
        } else if is(msg::NEW_RULE) {
            self.rule(table, body);
        } else if is(msg::NEW_SET) {
            self.set(table, body);
        }
    }

    /// Takes a table from a dump.
    fn table(&mut self, name: &str, body: &[u8]) {
        const DORMANT: u32 = 1;
        if text(find(of_message(body), attr::TABLE_NAME)) == name {
            self.exists = true;
            let flags = number(find(of_message(body), attr::TABLE_FLAGS)).unwrap_or(0);
            self.dormant = flags & DORMANT != 0;
        }
    }

    /// Takes a chain.
    fn chain(&mut self, table: &str, body: &[u8]) {
        const DROP: u32 = 0;
        let of = |kind| find(of_message(body), kind);
        if text(of(attr::CHAIN_TABLE)) != table {
            return;
        }
        let place = of(attr::CHAIN_HOOK).and_then(|hook| {
            let hook_number = number(find(attributes(hook), attr::HOOK_NUMBER))?;
            let priority = find(attributes(hook), attr::HOOK_PRIORITY)?;
            Some((hook_number, i32::from_be_bytes(*priority.first_chunk()?)))
        });
        let chain = self.chains.entry(text(of(attr::CHAIN_NAME))).or_default();
        chain.kind = text(of(attr::CHAIN_TYPE));
        chain.place = place;
        chain.drops = number(of(attr::CHAIN_POLICY)) == Some(DROP);
    }

    /// Takes a rule; they come in order.
    fn rule(&mut self, table: &str, body: &[u8]) {
        let of = |kind| find(of_message(body), kind);
        let handle = of(attr::RULE_HANDLE).and_then(|handle| handle.first_chunk());
        let Some(handle) = handle.filter(|_| text(of(attr::RULE_TABLE)) == table) else {
            return;
        };
        let rule = ObservedRule {
            handle: u64::from_be_bytes(*handle),
            comment: of(attr::RULE_USERDATA).map(comment).unwrap_or_default(),
        };
        let chain = self.chains.entry(text(of(attr::RULE_CHAIN))).or_default();
        chain.rules.push(rule);
    }

    /// Takes a set, without what is in it.
    fn set(&mut self, table: &str, body: &[u8]) {
        let of = |kind| find(of_message(body), kind);
        if text(of(attr::SET_TABLE)) != table {
            return;
        }
        let told = |kind| number(of(kind)).unwrap_or(0);
        let kind = Kind {
            flags: told(attr::SET_FLAGS),
            key: (told(attr::SET_KEY_TYPE), told(attr::SET_KEY_LEN)),
            data: (told(attr::SET_DATA_TYPE), told(attr::SET_DATA_LEN)),
        };
        let is = |width: &Width| {
            kind.flags == SET_INTERVAL && kind.key == (encode::key_type(*width), encode::key_length(*width))
        };
        let set = ObservedSet {
            width: [Width::Ipv4, Width::Ipv6].into_iter().find(is),
            kind,
            ranges: None,
        };
        self.sets.insert(text(of(attr::SET_NAME)), set);
    }

    /// Takes all that is in a set, from the messages of one dump.
    pub fn elements<'a>(&mut self, set: &str, bodies: impl Iterator<Item = &'a [u8]>) {
        let Some(set) = self.sets.get_mut(set) else { return };
        let Some(width) = set.width else { return };
        let lists = bodies.filter_map(|body| find(of_message(body), attr::ELEMENTS));
        let elements = lists.flat_map(attributes).map(|(_, element)| {
            let key = find(attributes(element), attr::ELEMENT_KEY)?;
            let key = find(attributes(key), attr::DATA_VALUE)?;
            let key = key.get(..width.octets())?;
            let key = key
                .iter()
                .fold(0_u128, |sum, octet| (sum << 8) | u128::from(*octet));
            let flags = number(find(attributes(element), attr::ELEMENT_FLAGS)).unwrap_or(0);
            Some((key, flags & INTERVAL_END != 0))
        });
        let elements: Option<Vec<_>> = elements.collect();
        set.ranges = elements.and_then(|elements| intervals(width, elements));
    }
}

/// Pairs starts with ends; none when they are no pairs.
fn intervals(width: Width, mut elements: Vec<(u128, bool)>) -> Option<Ranges> {
    // Where one ends and the next starts, the end comes first.
    elements.sort_by_key(|(key, is_end)| (*key, !is_end));
    let mut ranges = Vec::new();
    let mut open = None;
    for (key, is_end) in elements {
        match (open.take(), is_end) {
            (None, false) => open = Some(key),
            (Some(first), true) => ranges.push(Range {
                first,
                last: key.checked_sub(1)?,
            }),
            // The `nft` program says that nothing is below the first interval.
            (None, true) if key == 0 => {}
            (None, true) | (Some(_), false) => return None,
        }
    }
    ranges.extend(open.map(|first| Range {
        first,
        last: width.max(),
    }));
    // As they stand: neighbours stay two, so that they differ from one.
    let is_plain =
        |pair: &[Range]| pair.first().map(|r| r.last.saturating_add(1)) < pair.get(1).map(|r| r.first);
    ranges
        .windows(2)
        .all(is_plain)
        .then(|| Ranges::from_ranges(width, ranges))
}

/// The comment among the user data.
pub(crate) fn comment(mut userdata: &[u8]) -> String {
    while let [kind, length, rest @ ..] = userdata {
        let length = usize::from(*length);
        if *kind == UDATA_COMMENT {
            return text(rest.get(..length));
        }
        userdata = rest.get(length..).unwrap_or_default();
    }
    String::new()
}

#[cfg(test)]
mod tests;
