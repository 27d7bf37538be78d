//! What `/v1/peers` says.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// `GET /v1/peers`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Peers {
    /// The neighbours, by name.
    pub peers: Vec<Peer>,
}

/// One neighbour; also `GET /v1/peers/{name}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    /// The name of its object.
    pub name: String,
    /// Its address; absent while nobody has been found on the interface that alone names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The interface of a link-local address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Its ASN: as configured, or as it said when any is allowed and the session is up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asn: Option<u32>,
    /// Our ASN towards it.
    #[serde(rename = "localASN")]
    pub local_asn: u32,
    /// `Idle`, `Connect`, `Active`, `OpenSent`, `OpenConfirm` or `Established`.
    pub state: String,
    /// Why the node does not try to have the session, when something is missing: `SecretNotFound: …`, `NoRouterAdvertisement: …`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// With `state: Drained`: `Announced` while what it is told says GRACEFUL_SHUTDOWN, `Withdrawn` once it is told only what no
    /// other neighbour is (RFC 8326).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<String>,
    /// How long it has been in this state.
    pub since_seconds: u64,
    /// How often it left Established.
    pub flaps: u64,
    /// How many UPDATEs with errors it has sent that its session survived (RFC 7606).
    #[serde(default)]
    pub malformed_updates: u64,
    /// The last error, also after recovery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
    /// What was agreed; only while Established.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub negotiated: Option<Negotiated>,
    /// How long ago its last UPDATE came; until one has, how long it has been Established. 0 when it is not.
    #[serde(default)]
    pub silent_seconds: u64,
    /// Its routes that outlived their session (RFC 4724); absent when there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retained: Option<Retained>,
    /// Prefixes, by family; while it is away, those of the families that are kept.
    pub prefixes: Vec<PrefixCounts>,
}

/// Routes that outlived their session and have not been said again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Retained {
    /// How many.
    pub routes: u64,
    /// How many of them are kept as a last resort only (RFC 9494).
    pub long_lived: u64,
    /// How long ago the session was lost that the oldest of them came by.
    pub since_seconds: u64,
    /// After how long the first of them go, or become a last resort.
    pub left_seconds: u64,
}

/// The last error of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastError {
    /// `Sent`, `Received`, or `Local` when no NOTIFICATION was exchanged.
    pub direction: String,
    /// The error code of the NOTIFICATION (RFC 4271 §4.5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u8>,
    /// Its subcode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subcode: Option<u8>,
    /// In words.
    pub text: String,
    /// How long ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_ago: Option<u64>,
}

/// What a session has agreed on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Negotiated {
    /// `IPv4`, `IPv6`.
    pub families: Vec<String>,
    /// The hold time, in seconds; 0: none.
    pub hold_time: u64,
    /// The interval between KEEPALIVEs, in seconds.
    pub keepalive_time: u64,
    /// The neighbour's BGP identifier.
    #[serde(rename = "routerID")]
    pub router_id: String,
    /// The neighbour's ASN.
    pub asn: u32,
    /// What the neighbour said that it can do, in words: `route refresh`, `add-path: IPv4 receive`.
    pub capabilities: Vec<String>,
    /// Whether ASNs have four octets on the wire (RFC 6793).
    #[serde(rename = "fourOctetASN")]
    pub four_octet_asn: bool,
    /// Whether either may ask for the routes again (RFC 2918).
    pub route_refresh: bool,
    /// Whether messages may be up to 65,535 octets long (RFC 8654).
    pub extended_messages: bool,
    /// How long the neighbour may take nothing of what is sent to it, in seconds; 0: for ever (RFC 9687).
    pub send_hold_time: u64,
    /// Whether routes that are sent again stand between brackets (RFC 7313).
    pub enhanced_route_refresh: bool,
    /// The families of which several paths of a prefix are received or sent (RFC 7911): `IPv4 received`, `IPv4 sent`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add_path: Vec<String>,
    /// What happens to the neighbour's routes when the session is lost; absent: they go (RFC 4724).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graceful_restart: Option<GracefulRestart>,
}

/// How the neighbour's routes outlive a session (RFC 4724).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GracefulRestart {
    /// How long it may be away, in seconds.
    pub restart_time: u64,
    /// The families whose routes are kept.
    pub families: Vec<String>,
    /// Those of them that it said it went on forwarding before this session (F).
    pub forwarding: Vec<String>,
    /// Whether it said that it had restarted (R).
    pub restarted: bool,
    /// Whether NOTIFICATIONs and an expired hold timer are restarts too (N, RFC 8538).
    pub notification: bool,
    /// For how long routes stay as a last resort after that, in seconds, by family (RFC 9494).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub long_lived_stale_time: BTreeMap<String, u64>,
}

/// Prefixes of a neighbour in one family.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PrefixCounts {
    /// `IPv4` or `IPv6`.
    pub family: String,
    /// Received.
    pub received: u64,
    /// Accepted by the import filters.
    pub accepted: u64,
    /// In use and allowed into the kernel.
    pub installed: u64,
    /// Advertised to it.
    pub advertised: u64,
    /// Whether it has said End-of-RIB: all that it had when the session came up has been received (RFC 4724 §2).
    #[serde(rename = "endOfRIB")]
    pub end_of_rib: bool,
    /// How many of those received outlived their session and have not been said again (RFC 4724).
    pub stale: u64,
}
