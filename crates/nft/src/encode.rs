//! Octets: messages and expressions as the kernel reads them.
//!
//! The numbers are those of `linux/netfilter/nf_tables.h`. Numbers in attributes are big-endian, except for the data of
//! comparisons, which is as it stands in the register: what the kernel loads from a packet in network order, what
//! it loads from its own variables in the machine's.

use std::net::IpAddr;

use flatroute_netlink::{NLM_F_APPEND, NLM_F_CREATE, NetfilterMessage};

use crate::description::{Chain, Expression, Fib, Hook, Key, Load, Nat, Rule, Set, Width};
use crate::ranges::Range;

/// NFNL_SUBSYS_NFTABLES.
pub(crate) const SUBSYSTEM: u16 = 10;
/// NFPROTO_INET.
pub(crate) const INET: u8 = 1;

/// Messages (`enum nf_tables_msg_types`).
pub(crate) mod msg {
    pub(crate) const NEW_TABLE: u8 = 0;
    pub(crate) const GET_TABLE: u8 = 1;
    pub(crate) const DEL_TABLE: u8 = 2;
    pub(crate) const NEW_CHAIN: u8 = 3;
    pub(crate) const GET_CHAIN: u8 = 4;
    pub(crate) const DEL_CHAIN: u8 = 5;
    pub(crate) const NEW_RULE: u8 = 6;
    pub(crate) const GET_RULE: u8 = 7;
    pub(crate) const DEL_RULE: u8 = 8;
    pub(crate) const NEW_SET: u8 = 9;
    pub(crate) const GET_SET: u8 = 10;
    pub(crate) const DEL_SET: u8 = 11;
    pub(crate) const NEW_ELEMENT: u8 = 12;
    pub(crate) const GET_ELEMENT: u8 = 13;
    pub(crate) const DEL_ELEMENT: u8 = 14;
    pub(crate) const NEW_GENERATION: u8 = 15;
    pub(crate) const GET_GENERATION: u8 = 16;
}

/// Attributes.
pub(crate) mod attr {
    pub(crate) const LIST_ELEM: u16 = 1;
    pub(crate) const DATA_VALUE: u16 = 1;
    pub(crate) const DATA_VERDICT: u16 = 2;
    pub(crate) const VERDICT_CODE: u16 = 1;
    pub(crate) const TABLE_NAME: u16 = 1;
    pub(crate) const TABLE_FLAGS: u16 = 2;
    pub(crate) const CHAIN_TABLE: u16 = 1;
    pub(crate) const CHAIN_NAME: u16 = 3;
    pub(crate) const CHAIN_HOOK: u16 = 4;
    pub(crate) const CHAIN_POLICY: u16 = 5;
    pub(crate) const CHAIN_TYPE: u16 = 7;
    pub(crate) const HOOK_NUMBER: u16 = 1;
    pub(crate) const HOOK_PRIORITY: u16 = 2;
    pub(crate) const RULE_TABLE: u16 = 1;
    pub(crate) const RULE_CHAIN: u16 = 2;
    pub(crate) const RULE_HANDLE: u16 = 3;
    pub(crate) const RULE_EXPRESSIONS: u16 = 4;
    pub(crate) const RULE_USERDATA: u16 = 7;
    pub(crate) const EXPR_NAME: u16 = 1;
    pub(crate) const EXPR_DATA: u16 = 2;
    pub(crate) const SET_TABLE: u16 = 1;
    pub(crate) const SET_NAME: u16 = 2;
    pub(crate) const SET_FLAGS: u16 = 3;
    pub(crate) const SET_KEY_TYPE: u16 = 4;
    pub(crate) const SET_KEY_LEN: u16 = 5;
    pub(crate) const SET_DATA_TYPE: u16 = 6;
    pub(crate) const SET_DATA_LEN: u16 = 7;
    pub(crate) const SET_ID: u16 = 10;
    pub(crate) const ELEMENTS_TABLE: u16 = 1;
    pub(crate) const ELEMENTS_SET: u16 = 2;
    pub(crate) const ELEMENTS: u16 = 3;
    pub(crate) const ELEMENT_KEY: u16 = 1;
    pub(crate) const ELEMENT_DATA: u16 = 2;
    pub(crate) const ELEMENT_FLAGS: u16 = 3;
    pub(crate) const ELEMENT_USERDATA: u16 = 6;
    pub(crate) const GENERATION_ID: u16 = 1;
}

/// The elements of the set are intervals (NFT_SET_INTERVAL).
pub(crate) const SET_INTERVAL: u32 = 4;
/// The element ends one: the first address behind it (NFT_SET_ELEM_INTERVAL_END).
pub(crate) const INTERVAL_END: u32 = 1;
/// The comment among the user data of a rule or an element (NFTNL_UDATA_RULE_COMMENT, NFTNL_UDATA_SET_ELEM_COMMENT).
pub(crate) const UDATA_COMMENT: u8 = 0;
/// An attribute that holds attributes.
const NESTED: u16 = 0x8000;
/// The first register of sixteen octets.
const REGISTER: u32 = 1;
/// Its first word, which has a number of its own; the words behind it are numbered on.
const REGISTER_WORD: u32 = 8;
/// Intervals in one message: its list must be shorter than 64 KiB.
const RANGES_A_MESSAGE: usize = 256;
/// A port at random for each flow (NF_NAT_RANGE_PROTO_RANDOM_FULLY).
const RANDOM_FULLY: u32 = 0x10;

/// Attributes one after the other.
#[derive(Default)]
pub(crate) struct Attributes(Vec<u8>);

impl Attributes {
    /// Of an attribute's kind: it holds attributes.
    pub(crate) const NESTED: u16 = NESTED;

    pub(crate) fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        let length = value.len().saturating_add(4);
        // Nothing of ours is as long as that: lists are cut into messages.
        self.0
            .extend(u16::try_from(length).unwrap_or(u16::MAX).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub(crate) fn u32(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// In the machine's order, as a few attributes have it.
    pub(crate) fn raw_u32(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_ne_bytes())
    }

    pub(crate) fn text(self, kind: u16, value: &str) -> Self {
        let mut value = value.as_bytes().to_vec();
        value.push(0);
        self.bytes(kind, &value)
    }

    #[allow(clippy::needless_pass_by_value, reason = "it is made for this")]
    pub(crate) fn nest(self, kind: u16, inner: Self) -> Self {
        self.bytes(kind | NESTED, &inner.0)
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// The number of a message within its subsystem.
pub(crate) fn kind(message: u8) -> u16 {
    (SUBSYSTEM << 8) | u16::from(message)
}

/// An nfgenmsg of the family inet, and attributes.
pub(crate) fn body(attributes: Attributes) -> Vec<u8> {
    let mut body = vec![INET, 0, 0, 0];
    body.extend(attributes.into_bytes());
    body
}

pub(crate) fn message(message: u8, flags: u16, attributes: Attributes) -> NetfilterMessage {
    NetfilterMessage {
        kind: kind(message),
        flags,
        port: 0,
        body: body(attributes),
    }
}

/// Makes the table; one that stands is made to work again (`dormant` is taken off).
pub(crate) fn add_table(table: &str) -> NetfilterMessage {
    let attributes = Attributes::default()
        .text(attr::TABLE_NAME, table)
        .u32(attr::TABLE_FLAGS, 0);
    message(msg::NEW_TABLE, NLM_F_CREATE, attributes)
}

/// The number of a hook in the family inet.
pub(crate) fn hook_number(hook: Hook) -> u32 {
    match hook {
        Hook::Prerouting => 0,
        Hook::Output => 3,
        Hook::Postrouting => 4,
    }
}

/// Makes a base chain.
pub(crate) fn add_chain(table: &str, chain: &Chain) -> NetfilterMessage {
    const ACCEPT: u32 = 1;
    let hook = Attributes::default()
        .u32(attr::HOOK_NUMBER, hook_number(chain.hook))
        .bytes(attr::HOOK_PRIORITY, &chain.priority.to_be_bytes());
    let attributes = Attributes::default()
        .text(attr::CHAIN_TABLE, table)
        .text(attr::CHAIN_NAME, chain.name)
        .text(attr::CHAIN_TYPE, chain.kind)
        .u32(attr::CHAIN_POLICY, ACCEPT)
        .nest(attr::CHAIN_HOOK, hook);
    message(msg::NEW_CHAIN, NLM_F_CREATE, attributes)
}

/// Removes a chain that has no rules.
pub(crate) fn delete_chain(table: &str, name: &str) -> NetfilterMessage {
    let attributes = Attributes::default()
        .text(attr::CHAIN_TABLE, table)
        .text(attr::CHAIN_NAME, name);
    message(msg::DEL_CHAIN, 0, attributes)
}

/// Makes a set. `id` is another one for each set of a batch.
pub(crate) fn add_set(table: &str, set: &Set, id: u32) -> NetfilterMessage {
    let attributes = Attributes::default()
        .text(attr::SET_TABLE, table)
        .text(attr::SET_NAME, set.name)
        .u32(attr::SET_FLAGS, SET_INTERVAL)
        .u32(attr::SET_KEY_TYPE, key_type(set.width))
        .u32(attr::SET_KEY_LEN, key_length(set.width))
        .u32(attr::SET_ID, id);
    message(msg::NEW_SET, NLM_F_CREATE, attributes)
}

/// What the `nft` program calls the key: `ipv4_addr`, `ipv6_addr`.
pub(crate) fn key_type(width: Width) -> u32 {
    match width {
        Width::Ipv4 => 7,
        Width::Ipv6 => 8,
    }
}

pub(crate) fn key_length(width: Width) -> u32 {
    match width {
        Width::Ipv4 => 4,
        Width::Ipv6 => 16,
    }
}

/// Removes a set that no rule uses.
pub(crate) fn delete_set(table: &str, name: &str) -> NetfilterMessage {
    let attributes = Attributes::default()
        .text(attr::SET_TABLE, table)
        .text(attr::SET_NAME, name);
    message(msg::DEL_SET, 0, attributes)
}

/// Adds intervals to a set.
pub(crate) fn add_elements(table: &str, set: &str, width: Width, ranges: &[Range]) -> Vec<NetfilterMessage> {
    elements((msg::NEW_ELEMENT, NLM_F_CREATE), (table, set), width, ranges)
}

/// Takes intervals out of a set.
pub(crate) fn delete_elements(
    table: &str,
    set: &str,
    width: Width,
    ranges: &[Range],
) -> Vec<NetfilterMessage> {
    elements((msg::DEL_ELEMENT, 0), (table, set), width, ranges)
}

/// Empties a set.
pub(crate) fn flush_set(table: &str, set: &str) -> NetfilterMessage {
    let attributes = Attributes::default()
        .text(attr::ELEMENTS_TABLE, table)
        .text(attr::ELEMENTS_SET, set);
    message(msg::DEL_ELEMENT, 0, attributes)
}

fn elements(
    (kind, flags): (u8, u16),
    (table, set): (&str, &str),
    width: Width,
    ranges: &[Range],
) -> Vec<NetfilterMessage> {
    let of = |ranges: &[Range]| {
        let list = ranges.iter().fold(Attributes::default(), |list, range| {
            let list = list.nest(attr::LIST_ELEM, element(width, range.first, 0));
            // What reaches to the last address has no end.
            match range.last.checked_add(1).filter(|end| *end <= width.max()) {
                Some(end) => list.nest(attr::LIST_ELEM, element(width, end, INTERVAL_END)),
                None => list,
            }
        });
        let attributes = Attributes::default()
            .text(attr::ELEMENTS_TABLE, table)
            .text(attr::ELEMENTS_SET, set)
            .nest(attr::ELEMENTS, list);
        message(kind, flags, attributes)
    };
    ranges.chunks(RANGES_A_MESSAGE).map(of).collect()
}

fn element(width: Width, key: u128, flags: u32) -> Attributes {
    let key = key.to_be_bytes();
    let key = key
        .get(key.len().saturating_sub(width.octets())..)
        .unwrap_or_default();
    let key = Attributes::default().bytes(attr::DATA_VALUE, key);
    let element = Attributes::default().nest(attr::ELEMENT_KEY, key);
    match flags {
        0 => element,
        flags => element.u32(attr::ELEMENT_FLAGS, flags),
    }
}

/// Adds a rule behind those of its chain.
pub(crate) fn add_rule(table: &str, chain: &str, rule: &Rule) -> NetfilterMessage {
    let attributes = Attributes::default()
        .text(attr::RULE_TABLE, table)
        .text(attr::RULE_CHAIN, chain)
        .bytes(attr::RULE_EXPRESSIONS | NESTED, &expressions(&rule.expressions))
        .bytes(attr::RULE_USERDATA, &userdata(&rule.comment()));
    message(msg::NEW_RULE, NLM_F_CREATE | NLM_F_APPEND, attributes)
}

/// Removes a rule, or all of a chain.
pub(crate) fn delete_rule(table: &str, chain: &str, handle: Option<u64>) -> NetfilterMessage {
    let attributes = Attributes::default()
        .text(attr::RULE_TABLE, table)
        .text(attr::RULE_CHAIN, chain);
    let attributes = match handle {
        Some(handle) => attributes.bytes(attr::RULE_HANDLE, &handle.to_be_bytes()),
        None => attributes,
    };
    message(msg::DEL_RULE, 0, attributes)
}

/// The comment as the `nft` program writes it: kind, length, text and a zero.
pub(crate) fn userdata(comment: &str) -> Vec<u8> {
    let mut text = comment.as_bytes().to_vec();
    text.truncate(usize::from(u8::MAX).saturating_sub(1));
    text.push(0);
    let mut out = vec![UDATA_COMMENT, u8::try_from(text.len()).unwrap_or(u8::MAX)];
    out.extend(text);
    out
}

/// The expressions of a rule, a list of attributes.
pub(crate) fn expressions(all: &[Expression]) -> Vec<u8> {
    let list = all.iter().fold(Attributes::default(), |list, one| {
        parts(one).into_iter().fold(list, |list, (name, data)| {
            let one = Attributes::default()
                .text(attr::EXPR_NAME, name)
                .nest(attr::EXPR_DATA, data);
            list.nest(attr::LIST_ELEM, one)
        })
    });
    list.into_bytes()
}

/// The expressions of the kernel's that make one of ours.
fn parts(of: &Expression) -> Vec<(&'static str, Attributes)> {
    const DROP: u32 = 0;
    const ACCEPT: u32 = 1;
    match of {
        Expression::Meta(key) => vec![load(Load::Meta(*key), REGISTER)],
        Expression::Network { offset, length } => {
            let (offset, length) = (*offset, *length);
            vec![load(Load::Network { offset, length }, REGISTER)]
        }
        Expression::Transport { offset, length } => {
            let (offset, length) = (*offset, *length);
            vec![load(Load::Transport { offset, length }, REGISTER)]
        }
        Expression::Tuple(loads) => tuple(loads),
        Expression::Fib(fib) => vec![("fib", routing(*fib))],
        Expression::Is(data) => vec![("cmp", compare(0, data))],
        Expression::IsNot(data) => vec![("cmp", compare(1, data))],
        Expression::In(set) => vec![("lookup", lookup(set, false))],
        Expression::NotIn(set) => vec![("lookup", lookup(set, true))],
        Expression::Counter => vec![("counter", Attributes::default())],
        Expression::DestinationOf(width, map) => destination_of(*width, map),
        Expression::Nat(nat) => translate(*nat),
        Expression::Accept => vec![("immediate", verdict(ACCEPT))],
        Expression::Drop => vec![("immediate", verdict(DROP))],
    }
}

fn load(what: Load, register: u32) -> (&'static str, Attributes) {
    const NETWORK: u32 = 1;
    const TRANSPORT: u32 = 2;
    match what {
        Load::Meta(key) => ("meta", meta(key, register)),
        Load::Network { offset, length } => ("payload", payload((NETWORK, offset, length), register)),
        Load::Transport { offset, length } => ("payload", payload((TRANSPORT, offset, length), register)),
    }
}

fn tuple(loads: &[Load]) -> Vec<(&'static str, Attributes)> {
    let mut register = REGISTER_WORD;
    let mut out = Vec::new();
    for what in loads {
        out.push(load(*what, register));
        let words = match what {
            Load::Meta(_) => 1,
            Load::Network { length, .. } | Load::Transport { length, .. } => length.div_ceil(4),
        };
        register = register.saturating_add(words);
    }
    out
}

fn meta(key: Key, register: u32) -> Attributes {
    let key = match key {
        Key::NfProto => 15,
        Key::L4Proto => 16,
        Key::IifGroup => 21,
        Key::OifGroup => 22,
    };
    // NFTA_META_KEY, NFTA_META_DREG.
    Attributes::default().u32(2, key).u32(1, register)
}

fn payload((base, offset, length): (u32, u32, u32), register: u32) -> Attributes {
    // NFTA_PAYLOAD_DREG, _BASE, _OFFSET, _LEN.
    Attributes::default()
        .u32(1, register)
        .u32(2, base)
        .u32(3, offset)
        .u32(4, length)
}

fn routing(fib: Fib) -> Attributes {
    const OUT_INDEX: u32 = 1;
    const KIND_OF_ADDRESS: u32 = 3;
    const SOURCE_ADDRESS: u32 = 1;
    const DESTINATION_ADDRESS: u32 = 2;
    const IN_LINK: u32 = 8;
    let (flags, result) = match fib {
        Fib::WayBack => (SOURCE_ADDRESS | IN_LINK, OUT_INDEX),
        Fib::Destination => (DESTINATION_ADDRESS, KIND_OF_ADDRESS),
    };
    // NFTA_FIB_FLAGS, _RESULT, _DREG.
    Attributes::default()
        .u32(3, flags)
        .u32(2, result)
        .u32(1, REGISTER)
}

fn compare(operation: u32, data: &[u8]) -> Attributes {
    // NFTA_CMP_SREG, _OP, _DATA.
    Attributes::default()
        .u32(1, REGISTER)
        .u32(2, operation)
        .nest(3, Attributes::default().bytes(attr::DATA_VALUE, data))
}

fn lookup(set: &str, inverted: bool) -> Attributes {
    // NFTA_LOOKUP_SREG, _SET, _FLAGS.
    Attributes::default()
        .u32(2, REGISTER)
        .text(1, set)
        .u32(5, u32::from(inverted))
}

fn verdict(code: u32) -> Attributes {
    const VERDICT_REGISTER: u32 = 0;
    let code = Attributes::default().u32(attr::VERDICT_CODE, code);
    let data = Attributes::default().nest(attr::DATA_VERDICT, code);
    // NFTA_IMMEDIATE_DREG, _DATA.
    Attributes::default().u32(1, VERDICT_REGISTER).nest(2, data)
}

fn destination_of(width: Width, map: &str) -> Vec<(&'static str, Attributes)> {
    const DESTINATION: u32 = 1;
    let (family, words) = match width {
        Width::Ipv4 => (2, 1),
        Width::Ipv6 => (10, 4),
    };
    // NFTA_LOOKUP_SREG, _SET, _DREG.
    let lookup = Attributes::default()
        .u32(2, REGISTER)
        .text(1, map)
        .u32(3, REGISTER);
    // NFTA_NAT_TYPE, _FAMILY, _REG_ADDR_MIN, _REG_PROTO_MIN: the port lies behind the address.
    let nat = Attributes::default()
        .u32(1, DESTINATION)
        .u32(2, family)
        .u32(3, REGISTER)
        .u32(5, REGISTER_WORD.saturating_add(words));
    vec![("lookup", lookup), ("nat", nat)]
}

fn translate(nat: Nat) -> Vec<(&'static str, Attributes)> {
    const SOURCE: u32 = 0;
    let (family, address) = match nat {
        // NFTA_MASQ_FLAGS.
        Nat::Masquerade => return vec![("masq", Attributes::default().u32(1, RANDOM_FULLY))],
        Nat::Source(IpAddr::V4(address)) => (2, address.octets().to_vec()),
        Nat::Source(IpAddr::V6(address)) => (10, address.octets().to_vec()),
    };
    let data = Attributes::default().bytes(attr::DATA_VALUE, &address);
    let load = Attributes::default().u32(1, REGISTER).nest(2, data);
    // NFTA_NAT_TYPE, _FAMILY, _REG_ADDR_MIN, _FLAGS.
    let nat = Attributes::default()
        .u32(1, SOURCE)
        .u32(2, family)
        .u32(3, REGISTER)
        .u32(7, RANDOM_FULLY);
    vec![("immediate", load), ("nat", nat)]
}

#[cfg(test)]
mod tests;
