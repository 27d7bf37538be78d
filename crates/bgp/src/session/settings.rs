use std::time::Duration;

use crate::types::{Asn, FamilySet, Role, RouterId};
use crate::wire::AddPathMode;

/// Which AS the peer must be of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerAsn {
    /// Exactly this one.
    Exact(Asn),
    /// Any but ours.
    External,
    /// Ours.
    Internal,
}

/// Who opens the TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectMode {
    /// This speaker dials and refuses what is dialled to it.
    Active,
    /// This speaker waits.
    Passive,
    /// Either; two connections at once are resolved by identifiers (RFC 4271 §6.8).
    Both,
}

/// What a session is negotiated with. A change of any of these resets the session; nothing else does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Our AS towards this peer.
    pub local_asn: Asn,
    /// Our BGP identifier.
    pub router_id: RouterId,
    /// The AS that the peer must say it is of.
    pub peer_asn: PeerAsn,
    /// Who dials.
    pub connect_mode: ConnectMode,
    /// The hold time to propose: zero, or 3 s to 65,535 s.
    pub hold_time: Duration,
    /// The interval between KEEPALIVEs; `None`: a third of the negotiated hold time.
    pub keepalive_time: Option<Duration>,
    /// How long what we send may wait for the peer to take any of it (RFC 9687); zero: for ever; `None`: twice the
    /// negotiated hold time, and for ever without one.
    pub send_hold_time: Option<Duration>,
    /// The pause before another attempt to connect; it doubles with each failure up to 32 times this, and is
    /// jittered.
    pub connect_retry_time: Duration,
    /// The families to offer.
    pub families: FamilySet,
    /// Whether to offer IPv4 prefixes by IPv6 next hops (RFC 8950): of use where the session itself runs over IPv6.
    pub extended_next_hop: bool,
    /// Which way to offer several paths a prefix (RFC 7911), in all families; `None`: neither.
    pub add_path: Option<AddPathMode>,
    /// What our AS is to the peer's (RFC 9234). Towards an internal peer it means nothing, and is not said.
    pub role: Option<Role>,
}
