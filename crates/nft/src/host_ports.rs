//! Ports of the node that lead to pods (Kubernetes: hostPort), as the part of the table that is the plugin's.
//!
//! **What is static** ([`table`]). Four maps, from (protocol, port) and from (address, protocol, port), for each family, to a
//! pod's address and port; and four chains that look there. A port of one address goes before the same port of all.
//!
//! * `host-ports-in` and `host-ports-own` change destinations, of what comes in and of what the node itself sends. Their first
//!   rule lets go of everything that is not sent to one of the node's own addresses: what only passes through is nobody's
//!   hostPort (CVE-2025-67499), and costs one look-up.
//! * `host-ports-out` changes two kinds of sources, without which the answer would not come back: of a pod that reaches itself
//!   by a port of the node (its address comes twice, which the sets `hairpin-*` say), and of the node's loopback.
//! * `host-ports-guard`: a loopback source can only leave by a link with `route_localnet`, and by such a link a pod could send to
//!   what listens on the node's loopback (CVE-2020-8558). So packets that come from pods to 127.0.0.0/8 are dropped, before
//!   connections are tracked: answers do not have that destination yet then.
//!
//! `[::1]` leads nowhere: IPv6 has no `route_localnet`, and Kubernetes has no such port either. What listens there is left alone.
//!
//! **What comes and goes** ([`Element`]). A port is one element, written and taken away with its pod, in time that does not depend
//! on how many there are. Each carries the name of its owner, so that what a pod has is found without any other record.
//! The agent's comparison of its own part ([`crate::PodNetwork`]) knows none of these names and leaves all of it alone.

mod elements;
mod entries;
mod flows;
mod memory;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use flatroute_netlink::POD_LINK_GROUP;

use crate::description::{Chain, Expression, Fib, Hook, Key, Load, Map, Nat, Part, Rule, Table, Width};
use crate::pods::{PRIORITY_RAW, PRIORITY_SOURCE_NAT, TABLE};

pub use elements::Owned;
pub use flows::forget_answers;
pub use memory::Memory;

/// The longest name of an owner, in octets: the kernel keeps 256 for an element, the lengths included.
pub const MAX_OWNER: usize = 250;

/// Where destinations are translated.
const PRIORITY_DESTINATION_NAT: i32 = -100;
/// The kernel's word for the node's own addresses (RTN_LOCAL).
const LOCAL: u32 = 2;

/// A transport protocol that has ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP
    Tcp,
    /// UDP
    Udp,
    /// SCTP
    Sctp,
}

/// A port of the node that leads to a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    protocol: Protocol,
    address: Option<IpAddr>,
    port: u16,
    to: SocketAddr,
}

/// Something that is in a map of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    /// A port of the node.
    Port(HostPort),
    /// A pod with such ports: what it sends to itself by the node gets another source.
    Hairpin(IpAddr),
}

/// The maps of one family.
struct Family {
    width: Width,
    nf_proto: u8,
    ports: Map,
    ports_at: Map,
    hairpin: Map,
    port: &'static [Load],
    port_at: &'static [Load],
    addresses: &'static [Load],
    names: [&'static str; 3],
}

const PROTOCOL: Load = Load::Meta(Key::L4Proto);
const PORT: Load = Load::Transport { offset: 2, length: 2 };
const SOURCE_IPV4: Load = Load::Network {
    offset: 12,
    length: 4,
};
const DESTINATION_IPV4: Load = Load::Network {
    offset: 16,
    length: 4,
};
const SOURCE_IPV6: Load = Load::Network {
    offset: 8,
    length: 16,
};
const DESTINATION_IPV6: Load = Load::Network {
    offset: 24,
    length: 16,
};

const IPV4: Family = Family {
    width: Width::Ipv4,
    nf_proto: 2,
    ports: Map {
        name: "host-ports-ipv4",
        key: &[Part::Protocol, Part::Port],
        data: &[Part::Ipv4, Part::Port],
    },
    ports_at: Map {
        name: "host-ports-at-ipv4",
        key: &[Part::Ipv4, Part::Protocol, Part::Port],
        data: &[Part::Ipv4, Part::Port],
    },
    hairpin: Map {
        name: "hairpin-ipv4",
        key: &[Part::Ipv4, Part::Ipv4],
        data: &[],
    },
    port: &[PROTOCOL, PORT],
    port_at: &[DESTINATION_IPV4, PROTOCOL, PORT],
    addresses: &[SOURCE_IPV4, DESTINATION_IPV4],
    names: ["hostPort at an IPv4 address", "hostPort IPv4", "hairpin IPv4"],
};
const IPV6: Family = Family {
    width: Width::Ipv6,
    nf_proto: 10,
    ports: Map {
        name: "host-ports-ipv6",
        key: &[Part::Protocol, Part::Port],
        data: &[Part::Ipv6, Part::Port],
    },
    ports_at: Map {
        name: "host-ports-at-ipv6",
        key: &[Part::Ipv6, Part::Protocol, Part::Port],
        data: &[Part::Ipv6, Part::Port],
    },
    hairpin: Map {
        name: "hairpin-ipv6",
        key: &[Part::Ipv6, Part::Ipv6],
        data: &[],
    },
    port: &[PROTOCOL, PORT],
    port_at: &[DESTINATION_IPV6, PROTOCOL, PORT],
    addresses: &[SOURCE_IPV6, DESTINATION_IPV6],
    names: ["hostPort at an IPv6 address", "hostPort IPv6", "hairpin IPv6"],
};

/// All maps.
const MAPS: [Map; 6] = [
    IPV4.ports,
    IPV4.ports_at,
    IPV4.hairpin,
    IPV6.ports,
    IPV6.ports_at,
    IPV6.hairpin,
];

/// The static part. It is the same on every node.
#[must_use]
pub fn table() -> Table {
    Table {
        name: TABLE,
        sets: Vec::new(),
        maps: MAPS.to_vec(),
        chains: vec![
            guard(),
            translation("host-ports-in", Hook::Prerouting, None),
            translation("host-ports-own", Hook::Output, Some(loopback_ipv6())),
            way_out(),
        ],
        own_sets: &[
            "host-ports-ipv4",
            "host-ports-at-ipv4",
            "hairpin-ipv4",
            "host-ports-ipv6",
            "host-ports-at-ipv6",
            "hairpin-ipv6",
        ],
        own_chains: &[
            "host-ports-guard",
            "host-ports-in",
            "host-ports-own",
            "host-ports-out",
        ],
    }
}

fn guard() -> Chain {
    let mut expressions = vec![Expression::Meta(Key::IifGroup), is_pod_link()];
    expressions.extend(loopback_ipv4(DESTINATION_FIRST));
    expressions.extend([Expression::Counter, Expression::Drop]);
    Chain {
        name: "host-ports-guard",
        kind: "filter",
        hook: Hook::Prerouting,
        priority: PRIORITY_RAW,
        rules: vec![Rule {
            name: "from a pod to the node's loopback",
            expressions,
        }],
    }
}

fn translation(name: &'static str, hook: Hook, more: Option<Rule>) -> Chain {
    let others = Rule {
        name: "not to the node",
        expressions: vec![
            Expression::Fib(Fib::Destination),
            Expression::IsNot(LOCAL.to_ne_bytes().to_vec()),
            Expression::Accept,
        ],
    };
    let mut rules = vec![others];
    rules.extend(more);
    for family in [IPV4, IPV6] {
        let [at, any, _] = family.names;
        let rule = |name, tuple, map: Map| Rule {
            name,
            expressions: vec![
                Expression::Meta(Key::NfProto),
                Expression::Is(vec![family.nf_proto]),
                Expression::Tuple(tuple),
                Expression::DestinationOf(family.width, map.name),
            ],
        };
        rules.push(rule(at, family.port_at, family.ports_at));
        rules.push(rule(any, family.port, family.ports));
    }
    Chain {
        name,
        kind: "nat",
        hook,
        priority: PRIORITY_DESTINATION_NAT,
        rules,
    }
}

fn loopback_ipv6() -> Rule {
    Rule {
        name: "to the loopback of IPv6",
        expressions: vec![
            Expression::Meta(Key::NfProto),
            Expression::Is(vec![IPV6.nf_proto]),
            Expression::Network {
                offset: 24,
                length: 16,
            },
            Expression::Is(Ipv6Addr::LOCALHOST.octets().to_vec()),
            Expression::Accept,
        ],
    }
}

fn way_out() -> Chain {
    let mut rules = Vec::new();
    for family in [IPV4, IPV6] {
        let [_, _, name] = family.names;
        rules.push(Rule {
            name,
            expressions: vec![
                Expression::Meta(Key::NfProto),
                Expression::Is(vec![family.nf_proto]),
                Expression::Tuple(family.addresses),
                Expression::In(family.hairpin.name),
                Expression::Nat(Nat::Masquerade),
            ],
        });
    }
    let mut expressions = vec![Expression::Meta(Key::OifGroup), is_pod_link()];
    expressions.extend(loopback_ipv4(SOURCE_FIRST));
    expressions.push(Expression::Nat(Nat::Masquerade));
    rules.push(Rule {
        name: "from the node's loopback",
        expressions,
    });
    Chain {
        name: "host-ports-out",
        kind: "nat",
        hook: Hook::Postrouting,
        priority: PRIORITY_SOURCE_NAT,
        rules,
    }
}

fn is_pod_link() -> Expression {
    Expression::Is(POD_LINK_GROUP.to_ne_bytes().to_vec())
}

/// The first octet of an IPv4 packet's source, and of its destination.
const SOURCE_FIRST: u32 = 12;
const DESTINATION_FIRST: u32 = 16;

/// Holds for IPv4 packets one of whose addresses is in 127.0.0.0/8.
fn loopback_ipv4(offset: u32) -> [Expression; 4] {
    [
        Expression::Meta(Key::NfProto),
        Expression::Is(vec![IPV4.nf_proto]),
        Expression::Network { offset, length: 1 },
        Expression::Is(vec![127]),
    ]
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// Its number (IANA).
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// Its name in CNI: `tcp`, `udp`, `sctp`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl HostPort {
    /// A port of all addresses of the node of one family, or of one address. None when the pod's address is of another family.
    #[must_use]
    pub fn new(protocol: Protocol, address: Option<IpAddr>, port: u16, to: SocketAddr) -> Option<Self> {
        let fits = address.is_none_or(|address| address.is_ipv4() == to.is_ipv4());
        fits.then_some(Self {
            protocol,
            address,
            port,
            to,
        })
    }

    /// The protocol.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The port of the node.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it leads.
    #[must_use]
    pub fn to(&self) -> SocketAddr {
        self.to
    }

    /// Whether what is sent there is sent to this port, if the address is one of the node's own.
    #[must_use]
    pub fn takes(&self, protocol: u8, destination: SocketAddr) -> bool {
        protocol == self.protocol.number()
            && destination.port() == self.port
            && destination.is_ipv4() == self.to.is_ipv4()
            && self.address.is_none_or(|address| address == destination.ip())
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.to.is_ipv4() { "IPv4" } else { "IPv6" };
        write!(f, "hostPort {} {}", self.port, self.protocol.name())?;
        match self.address {
            Some(address) => write!(f, " of {address}"),
            None => write!(f, " of {family}"),
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => write!(f, "{port} to {}", port.to),
            Self::Hairpin(address) => write!(f, "the way of {address} to itself"),
        }
    }
}

impl Element {
    /// The elements of a pod's ports: one a port, and one for each of its addresses.
    #[must_use]
    pub fn of(ports: &[HostPort]) -> Vec<Self> {
        let hairpins = ports.iter().map(|port| Self::Hairpin(port.to.ip()));
        let ports = ports.iter().map(|port| Self::Port(*port));
        let all: std::collections::BTreeSet<Self> = ports.chain(hairpins).collect();
        all.into_iter().collect()
    }

    /// The pod's address.
    #[must_use]
    pub fn pod(&self) -> IpAddr {
        match self {
            Self::Port(port) => port.to.ip(),
            Self::Hairpin(address) => *address,
        }
    }
}

#[cfg(test)]
mod tests;
