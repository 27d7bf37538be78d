//! What there shall be, as values.
//!
//! Only the expressions that our rules are made of are here. Each is one expression of the kernel's and not one of the
//! `nft` language: how nf_tables works does not change, and nothing has to be compiled.

use std::net::IpAddr;

use crate::Ranges;

/// A table of the family inet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// The sets of prefixes that there shall be.
    pub sets: Vec<Set>,
    /// The maps that there shall be.
    pub maps: Vec<Map>,
    /// The chains that there shall be.
    pub chains: Vec<Chain>,
    /// Names of sets that are removed where they are neither in `sets` nor in `maps`.
    pub own_sets: &'static [&'static str],
    /// Names of chains that are removed where they are not in `chains`.
    pub own_chains: &'static [&'static str],
}

/// A set of prefixes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Its name.
    pub name: &'static str,
    /// Whose addresses.
    pub width: Width,
    /// What is in it.
    pub ranges: Ranges,
}

/// A map from tuples to tuples, or a set of tuples. What is in it is put there and taken out one by one: the comparison of
/// tables looks only at its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Map {
    /// Its name.
    pub name: &'static str,
    /// What is looked for.
    pub key: &'static [Part],
    /// What is found; nothing: it is a set.
    pub data: &'static [Part],
}

/// A part of a tuple. Each fills whole words of four octets, in network order, with zeros behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// An IPv4 address.
    Ipv4,
    /// An IPv6 address.
    Ipv6,
    /// The number of a transport protocol.
    Protocol,
    /// A port.
    Port,
}

/// A family of addresses, as the width of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Width {
    /// 4 octets.
    Ipv4,
    /// 16 octets.
    Ipv6,
}

/// A base chain whose policy is to accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: &'static str,
    /// Its type: `filter` or `nat`.
    pub kind: &'static str,
    /// Where packets come to it.
    pub hook: Hook,
    /// When, among the chains of that hook.
    pub priority: i32,
    /// In order.
    pub rules: Vec<Rule>,
}

/// Where packets come to a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Before it is decided where they go.
    Prerouting,
    /// When the node itself has made them.
    Output,
    /// When they leave.
    Postrouting,
}

/// A rule: packets for which everything before the last expression holds get what that says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it is for, in a few words; the comment has it.
    pub name: &'static str,
    /// In order.
    pub expressions: Vec<Expression>,
}

/// What is known of a packet beside its octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// The family: 2 or 10.
    NfProto,
    /// The transport protocol; behind all extension headers.
    L4Proto,
    /// The group of the link that it came by.
    IifGroup,
    /// The group of the link that it leaves by.
    OifGroup,
}

/// What the routing table says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fib {
    /// The index of the link by which its source is reached, if it is the one that the packet came by; else 0.
    WayBack,
    /// What kind of address its destination is (`RTN_*`): 2 is one of the node's own.
    Destination,
}

/// How sources are translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nat {
    /// To an address of the link that the packet leaves by.
    Masquerade,
    /// To this address.
    Source(IpAddr),
}

/// One part of a tuple of the packet's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// What is known of the packet.
    Meta(Key),
    /// Octets of the network header.
    Network {
        /// From here.
        offset: u32,
        /// So many.
        length: u32,
    },
    /// Octets of the transport header.
    Transport {
        /// From here.
        offset: u32,
        /// So many.
        length: u32,
    },
}

/// A step of a rule. All use one register, and tuples those behind it too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// Loads what is known of the packet.
    Meta(Key),
    /// Loads octets of the network header.
    Network {
        /// From here.
        offset: u32,
        /// So many.
        length: u32,
    },
    /// Loads octets of the transport header.
    Transport {
        /// From here.
        offset: u32,
        /// So many.
        length: u32,
    },
    /// Loads several side by side, as the key of a map.
    Tuple(&'static [Load]),
    /// Loads what the routing table says.
    Fib(Fib),
    /// Goes on if the register is this.
    Is(Vec<u8>),
    /// Goes on if it is not.
    IsNot(Vec<u8>),
    /// Goes on if it is in a set.
    In(&'static str),
    /// Goes on if it is not.
    NotIn(&'static str),
    /// Counts.
    Counter,
    /// Translates the destination to the address of this family and the port that a map has for the tuple; goes on if it has
    /// none.
    DestinationOf(Width, &'static str),
    /// Translates the source, with a port at random (two flows that begin at once get different ones).
    Nat(Nat),
    /// Ends this chain.
    Accept,
    /// Ends the packet.
    Drop,
}

impl Rule {
    /// What a comment of ours begins with.
    pub(crate) const MARK: &'static str = "flatroute: ";

    /// The comment: whose it is, what for, and a hash of what it does.
    #[must_use]
    pub fn comment(&self) -> String {
        let hash = fnv(&crate::encode::expressions(&self.expressions));
        format!("{}{} [{hash:08x}]", Self::MARK, self.name)
    }
}

/// FNV-1a of 32 bits: the same in every version.
fn fnv(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

impl Part {
    /// The octets that it fills.
    pub(crate) fn octets(self) -> usize {
        match self {
            Self::Ipv4 | Self::Protocol | Self::Port => 4,
            Self::Ipv6 => 16,
        }
    }
}

impl Width {
    /// The width of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }

    /// In octets.
    #[must_use]
    pub fn octets(self) -> usize {
        match self {
            Self::Ipv4 => 4,
            Self::Ipv6 => 16,
        }
    }

    /// The largest address as a number.
    pub(crate) fn max(self) -> u128 {
        match self {
            Self::Ipv4 => u128::from(u32::MAX),
            Self::Ipv6 => u128::MAX,
        }
    }
}
