use crate::types::{Asn, Family, FamilySet, NextHop, PathAttributes, PathId, Prefix, Role, RouterId};

use super::capability::values::{
    AddPath, ExtendedNextHop, Fqdn, GracefulRestart, LongLivedFamily, UnknownCapability,
};

/// A BGP message, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// OPEN (RFC 4271 §4.2).
    Open(Open),
    /// UPDATE (RFC 4271 §4.3).
    Update(Update),
    /// NOTIFICATION (RFC 4271 §4.5).
    Notification(Notification),
    /// KEEPALIVE (RFC 4271 §4.4).
    Keepalive,
    /// ROUTE-REFRESH (RFC 2918).
    RouteRefresh(RouteRefresh),
}

/// OPEN. `asn` is the four-octet number where the capability carries one, else the two-octet field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The version field; 4 is the only one that this speaker talks.
    pub version: u8,
    /// The sender's AS.
    pub asn: Asn,
    /// The proposed hold time in seconds: 0, or 3 and more.
    pub hold_time: u16,
    /// The sender's BGP identifier.
    pub router_id: RouterId,
    /// What the sender can do.
    pub capabilities: Capabilities,
}

/// The capabilities of an OPEN (RFC 5492).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Multiprotocol extensions (RFC 4760): our families among those announced. `None` when the capability is
    /// absent altogether, which means IPv4 unicast.
    pub families: Option<FamilySet>,
    /// Four-octet AS numbers (RFC 6793): the number that the capability carries.
    pub four_octet_as: Option<Asn>,
    /// Route refresh (RFC 2918).
    pub route_refresh: bool,
    /// Extended messages of up to 65,535 octets (RFC 8654).
    pub extended_message: bool,
    /// Enhanced route refresh (RFC 7313).
    pub enhanced_route_refresh: bool,
    /// Extended next hops (RFC 8950).
    pub extended_next_hop: Vec<ExtendedNextHop>,
    /// Several paths a prefix (RFC 7911).
    pub add_path: Vec<AddPath>,
    /// Graceful restart (RFC 4724).
    pub graceful_restart: Option<GracefulRestart>,
    /// Long-lived graceful restart (RFC 9494). It means nothing without graceful restart.
    pub long_lived_graceful_restart: Vec<LongLivedFamily>,
    /// The role of the sender (RFC 9234).
    pub role: Option<Role>,
    /// The name of the sender.
    pub fqdn: Option<Fqdn>,
    /// The software of the sender, as it wrote it: hostile text.
    pub software_version: Option<String>,
    /// All others (also multiprotocol ones for families that are not ours, and those that are malformed), in the order
    /// received.
    pub unknown: Vec<UnknownCapability>,
}

/// NOTIFICATION: why a session ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notification {
    /// The error code.
    pub code: u8,
    /// The error subcode.
    pub subcode: u8,
    /// What the code defines.
    pub data: Vec<u8>,
}

/// ROUTE-REFRESH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteRefresh {
    /// The family that is meant; `None` when the message is to be ignored: the family is not one of ours (RFC 2918
    /// §4), or the subtype is unknown (RFC 7313 §5).
    pub family: Option<Family>,
    /// What is said of it.
    pub subtype: RefreshSubtype,
}

/// The message subtype of ROUTE-REFRESH (RFC 7313 §3.2). The two others than a request have a meaning only when both
/// sides announced enhanced route refresh; without that the session ignores them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefreshSubtype {
    /// 0: send me all your routes.
    Normal,
    /// 1, BoRR: here begin all my routes.
    Beginning,
    /// 2, EoRR: those were all my routes.
    End,
}

/// UPDATE, as the speaker uses it. Dispositions of RFC 7606 are already applied: prefixes whose attributes were
/// malformed stand in `withdrawn`, discarded attributes are gone, and `errors` says what happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// Prefixes that the peer takes back, of both families, including those treated as withdrawn.
    pub withdrawn: Vec<Prefix>,
    /// Their path identifiers (RFC 7911), one each; empty where none were agreed on.
    pub withdrawn_ids: Vec<PathId>,
    /// Prefixes that the peer announces with `attributes`, to be applied after `withdrawn`: those of the NLRI field,
    /// then those of MP_REACH_NLRI. Two entries at most; of one family only when the peer wrote IPv4 prefixes in both.
    pub announced: Vec<Announcement>,
    /// The attributes of `announced`, without a next hop (each announcement has its own).
    pub attributes: PathAttributes,
    /// The family whose initial routes end here (RFC 4724 §2).
    pub end_of_rib: Option<Family>,
    /// What was wrong, in the order found; empty for a good message.
    pub errors: Vec<super::AttributeError>,
}

/// The prefixes of one family in an UPDATE, with their next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Where packets to these prefixes go.
    pub next_hop: NextHop,
    /// The prefixes.
    pub prefixes: Vec<Prefix>,
    /// Their path identifiers (RFC 7911), one each; empty where none were agreed on.
    pub path_ids: Vec<PathId>,
}
