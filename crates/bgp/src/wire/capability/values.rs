//! What capabilities say, as values: those that the wire of this speaker understands, whether or not it acts on them.

use crate::types::Family;

/// An address family of any speaker, ours or not (RFC 4760 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AfiSafi {
    /// Address family identifier.
    pub afi: u16,
    /// Subsequent address family identifier.
    pub safi: u8,
}

impl From<Family> for AfiSafi {
    fn from(family: Family) -> Self {
        Self {
            afi: family.afi(),
            safi: family.safi(),
        }
    }
}

/// The longest restart time that the capability can say, in seconds (RFC 4724 §3): 12 bits.
pub const MAX_RESTART_TIME: u16 = 0x0fff;
/// The longest long-lived stale time that the capability can say, in seconds (RFC 9494 §3.1): 24 bits.
pub const MAX_LONG_LIVED_STALE_TIME: u32 = 0x00ff_ffff;

/// Graceful restart (RFC 4724 §3, RFC 8538 §2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GracefulRestart {
    /// The speaker has restarted (R).
    pub restarted: bool,
    /// NOTIFICATIONs and an expired hold timer are restarts too (N, RFC 8538).
    pub notification: bool,
    /// How long its routes may be kept while it is away, in seconds: at most 4,095.
    pub restart_time: u16,
    /// The families.
    pub families: Vec<GracefulFamily>,
}

/// A family of graceful restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GracefulFamily {
    /// The family.
    pub family: AfiSafi,
    /// It went on forwarding while it restarted (F).
    pub forwarding: bool,
}

/// A family of long-lived graceful restart (RFC 9494 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongLivedFamily {
    /// The family.
    pub family: AfiSafi,
    /// It went on forwarding while it restarted (F).
    pub forwarding: bool,
    /// How long its stale routes may be kept, in seconds: at most 16,777,215.
    pub stale_time: u32,
}

/// A family of which several paths a prefix are sent (RFC 7911 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddPath {
    /// The family.
    pub family: AfiSafi,
    /// In which direction.
    pub mode: AddPathMode,
}

/// The Send/Receive field of add-path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddPathMode {
    /// 1: able to receive several paths.
    Receive,
    /// 2: able to send several paths.
    Send,
    /// 3: both.
    Both,
}

/// Prefixes of a family may have next hops of another (RFC 8950 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtendedNextHop {
    /// The family of the prefixes. (Its SAFI has two octets in this capability alone; one is enough for all there are.)
    pub family: AfiSafi,
    /// The AFI of the next hops.
    pub next_hop_afi: u16,
}

/// The name of the speaker (draft-walton-bgp-hostname-capability), as the peer wrote it: hostile text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fqdn {
    /// The name of the host.
    pub host: String,
    /// Its domain; may be empty.
    pub domain: String,
}

/// A capability that this speaker does not understand, kept to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownCapability {
    /// The capability code.
    pub code: u8,
    /// Its value.
    pub value: Box<[u8]>,
}
