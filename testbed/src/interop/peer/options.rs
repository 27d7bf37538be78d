//! How the peer shall be configured, and where it stands.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use ipnetwork::IpNetwork;

use super::{Community, Large};
use crate::namespace::Namespace;
use crate::topology::LinkEnd;

/// What the TCP connection runs over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// IPv4.
    IPv4,
    /// IPv6.
    IPv6,
}

impl Transport {
    /// The address of an end of the link.
    #[must_use]
    pub fn of(self, end: &LinkEnd) -> IpAddr {
        match self {
            Self::IPv4 => end.ipv4.into(),
            Self::IPv6 => end.ipv6.into(),
        }
    }
}

/// A route that the peer originates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Originated {
    /// Where to.
    pub prefix: IpNetwork,
    /// What it carries.
    pub communities: Vec<Community>,
    /// What it carries.
    pub large: Vec<Large>,
}

impl Originated {
    /// A route without communities.
    #[must_use]
    pub fn plain(prefix: IpNetwork) -> Self {
        Self {
            prefix,
            communities: Vec::new(),
            large: Vec::new(),
        }
    }
}

/// How the peer shall be configured.
#[derive(Debug, Clone)]
pub struct Options {
    /// What the session runs over.
    pub transport: Transport,
    /// Whether it waits for us to dial.
    pub passive: bool,
    /// Its ASN.
    pub asn: u32,
    /// The ASN that it expects of us.
    pub our_asn: u32,
    /// The hold time that it offers, in seconds.
    pub hold: u16,
    /// Whether it speaks 2-octet ASNs only.
    pub two_octet: bool,
    /// How many prefixes a family it takes from us before it ends the session.
    pub limit: Option<u32>,
    /// GTSM (RFC 5082), one hop.
    pub ttl_security: bool,
    /// The key of TCP MD5 (RFC 2385).
    pub key: Option<String>,
    /// Whether it asks for the smallest buffers, where it asks for any.
    pub small_buffers: bool,
    /// Whether it offers graceful restart (RFC 4724) of its own, and for how long at most, in seconds. What it does for
    /// us as a helper it does without.
    pub graceful_restart: Option<u16>,
    /// Whether this start is a restart, where the daemon has to be told.
    pub restarted: bool,
    /// For how long routes are a last resort after a restart that took too long (RFC 9494), in seconds; otherwise it offers
    /// nothing of that.
    pub long_lived: Option<u32>,
    /// Whether it offers several paths of a prefix, both ways (RFC 7911).
    pub add_path: bool,
    /// What it is to us (RFC 9234).
    pub role: Option<Role>,
    /// Whether its internal neighbours are its clients, and of which cluster (RFC 4456).
    pub cluster: Option<Ipv4Addr>,
    /// The ASN of a second neighbour, for IPv4; each is told what the other says.
    pub beside: Option<u32>,
    /// What it originates.
    pub originated: Vec<Originated>,
    /// What it says as if somebody had told it. Only of ExaBGP, which passes nothing on by itself.
    pub passed_on: Vec<PassedOn>,
}

/// What one neighbour is to the other (RFC 9234).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Gives transit.
    Provider,
    /// Gets transit.
    Customer,
    /// Neither.
    Peer,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Provider, Self::Customer, Self::Peer];

    /// Its name in the configurations of most daemons.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Customer => "customer",
            Self::Peer => "peer",
        }
    }
}

/// A route that seems to come from somebody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOn {
    /// Where to.
    pub prefix: IpNetwork,
    /// Its AS_PATH, without the speaker's own ASN.
    pub path: Vec<u32>,
    /// ORIGINATOR_ID (RFC 4456).
    pub originator: Option<Ipv4Addr>,
    /// CLUSTER_LIST (RFC 4456).
    pub clusters: Vec<Ipv4Addr>,
}

/// Where the peer stands.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its namespace.
    pub namespace: Namespace,
    /// Where its files lie.
    pub dir: PathBuf,
    /// Its end of the link.
    pub its: LinkEnd,
    /// Our end.
    pub ours: LinkEnd,
    /// Both ends of the link to a second neighbour, its own first.
    pub beside: Option<(LinkEnd, LinkEnd)>,
    /// Its BGP identifier.
    pub id: Ipv4Addr,
}
