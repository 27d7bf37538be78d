use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::policy::{Filter, NextHopMode, PrefixLimit, Source, Verdict};
use crate::rib::Multipath;
use crate::session::Settings;
use crate::speaker::Auth;
use crate::types::{PeerName, Prefix};

/// All that a speaker is told to be. A plain value: two equal ones mean that nothing is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The neighbours.
    pub peers: BTreeMap<PeerName, PeerConfig>,
    /// The prefixes that this speaker originates.
    pub originate: BTreeSet<Origination>,
    /// Which paths may be used side by side.
    pub multipath: Multipath,
    /// Which learned routes go into the kernel, asked after the import filter. The rails come first.
    pub install: Filter,
}

impl Default for Config {
    /// No neighbour, no prefix, and nothing goes into the kernel.
    fn default() -> Self {
        Self {
            peers: BTreeMap::new(),
            originate: BTreeSet::new(),
            multipath: Multipath {
                relaxed: true,
                max_paths: 16,
            },
            install: Filter {
                rules: Vec::new(),
                default: Verdict::Reject,
            },
        }
    }
}

/// A prefix of our own, and why it is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origination {
    /// The prefix.
    pub prefix: Prefix,
    /// What it is.
    pub source: Source,
}

/// One neighbour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// Its address.
    pub address: IpAddr,
    /// The interface index of a link-local address.
    pub interface: Option<u32>,
    /// Its TCP port.
    pub port: u16,
    /// Our address towards it; `None`: the kernel's choice.
    pub source_address: Option<IpAddr>,
    /// What the session is negotiated with.
    pub session: Settings,
    /// How far away it may be.
    pub ttl: Ttl,
    /// How its segments are known to be its own.
    pub auth: Auth,
    /// Which next hop it is told.
    pub next_hop: NextHopMode,
    /// How often our own AS may stand in a path that it sends.
    pub allow_own_asn: u8,
    /// Where the next hops in what it sends may lie; `None`: anywhere.
    pub next_hops: Option<Vec<Prefix>>,
    /// How many prefixes a family it may send.
    pub max_prefixes: PrefixLimit,
    /// What is taken from it.
    pub import: Filter,
    /// What it is told.
    pub export: Filter,
    /// Whether the session shall be up.
    pub admin_state: AdminState,
}

/// How far away a neighbour may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// On the link: sent with TTL 1 (the default of external peers).
    Direct,
    /// At most this many hops away.
    Multihop(u8),
    /// Sent with 255, and refused below 256 minus this many hops (GTSM, RFC 5082).
    Security(u8),
}

/// Whether a session shall be up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminState {
    /// Yes.
    Up,
    /// No; the peer is told why (Cease/2 with this text, RFC 9003).
    Down(String),
    /// It shall be, but this is missing for it, such as the key of its segments. The peer is told Cease/2 without a text;
    /// this one is for our own people.
    Held(String),
}
