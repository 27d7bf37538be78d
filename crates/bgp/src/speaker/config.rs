use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::policy::{Filter, NextHopMode, PrefixLimit, Reflection, Source, Verdict};
use crate::rib::Multipath;
use crate::session::Settings;
use crate::speaker::Auth;
use crate::types::{PeerName, Prefix};

/// All that a speaker is told to be. A plain value: two equal ones mean that nothing is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The neighbours.
    pub peers: BTreeMap<PeerName, PeerConfig>,
    /// Where others may come from by themselves.
    pub ranges: BTreeMap<PeerName, RangeConfig>,
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
            ranges: BTreeMap::new(),
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

/// Neighbours that come by themselves: whoever dials from an address within the prefix is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeConfig {
    /// The prefix.
    pub prefix: Prefix,
    /// How many there may be at once.
    pub limit: usize,
    /// What each of them is, its address aside; none is dialled.
    pub template: PeerConfig,
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
    /// What it is to this speaker as a route reflector (RFC 4456); `None`: this speaker is none.
    pub reflection: Option<Reflection>,
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
    /// What is agreed on with it about restarts.
    pub graceful_restart: GracefulRestart,
    /// Whether `export` may let learned routes through to it. A restarting speaker tells such a neighbour that it has
    /// said everything (End-of-RIB) only when it knows what to pass on.
    pub relays: bool,
    /// Whether the session shall be up.
    pub admin_state: AdminState,
    /// Whether it shall carry nothing, up or not (RFC 8326).
    pub drained: bool,
}

/// What is agreed on with a neighbour about restarts (RFC 4724).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GracefulRestart {
    /// How much of it.
    pub mode: GracefulRestartMode,
    /// How long the neighbour may keep our routes while we are away: at most 4,095 s, whole seconds.
    pub restart_time: Duration,
    /// For how long after that it may keep them as a last resort, and for how long we keep its own at most (RFC 9494):
    /// up to 16,777,215 s, whole seconds. Zero: not at all, and the capability is not offered.
    pub long_lived_stale_time: Duration,
    /// Whether NOTIFICATIONs and an expired hold timer are restarts too, where the neighbour says the same (RFC 8538).
    pub notification: bool,
}

/// How much of graceful restart a neighbour is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GracefulRestartMode {
    /// Both roles: it keeps our routes, and we keep its own.
    Auto,
    /// We keep its routes; it is not asked to keep ours.
    HelperOnly,
    /// None: a session that ends takes its routes along.
    Disabled,
}

impl GracefulRestart {
    /// Nothing is offered and nothing kept.
    pub const DISABLED: Self = Self {
        mode: GracefulRestartMode::Disabled,
        restart_time: Duration::ZERO,
        long_lived_stale_time: Duration::ZERO,
        notification: false,
    };
}

impl Default for GracefulRestart {
    /// Both roles, 120 s, nothing long-lived, and a NOTIFICATION ends all.
    fn default() -> Self {
        Self {
            mode: GracefulRestartMode::Auto,
            restart_time: Duration::from_secs(120),
            long_lived_stale_time: Duration::ZERO,
            notification: false,
        }
    }
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
