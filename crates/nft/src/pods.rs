//! The table that there is: sources of pods are checked, and what leaves the cluster is masqueraded.
//!
//! **Where packets of pods come in** (`pods-in`, before connections are tracked). Nobody else's packets get past its first
//! rule: the links of pods have a group of their own. Router advertisements are dropped, and what DHCP servers
//! say; then whatever comes from an address that the host would not answer over that very link. The host has one
//! route for each address of a pod, so that is exactly what is not the pod's own. The rule is one, and static: it needs no
//! element for each pod, so nothing has to be written while a pod is wired, and no pod can be missed.
//!
//! **Where packets leave the node** (`pods-out`). Between pods, and between pods and nodes, nobody's address is ever
//! changed. Elsewhere the way back to a pod is not known, unless it is in `direct`, so the source becomes the node's.
//! Which of its addresses that is matters on a node with several uplinks: the kernel drops a masqueraded connection
//! whose route moves to another link (it remembers the link, `nf_nat_oif_changed`), which happens to many of them
//! whenever a path of an ECMP route comes or goes. So where the node has an address that does not hang on an uplink's
//! choice, sources are translated to that one; only without it they are masqueraded.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use flatroute_netlink::POD_LINK_GROUP;
use ipnetwork::IpNetwork;

use crate::description::{Chain, Expression, Fib, Hook, Key, Nat, Rule, Set, Table, Width};
use crate::ranges::Ranges;

/// The name of the table.
pub const TABLE: &str = "flatroute";

/// Before connections are tracked.
pub(crate) const PRIORITY_RAW: i32 = -300;
/// Where sources are translated.
pub(crate) const PRIORITY_SOURCE_NAT: i32 = 100;

/// What is known of this node's pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodNetwork {
    /// Whence they have their addresses.
    pub pod_cidrs: BTreeSet<IpNetwork>,
    /// How they reach what is outside; none: with their own addresses.
    pub masquerade: Option<Masquerade>,
}

/// How pods reach what is outside of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Masquerade {
    /// What they reach with their own addresses.
    pub direct: BTreeSet<IpNetwork>,
    /// The address that IPv4 sources become; none: one of the link that a packet leaves by.
    pub source_ipv4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub source_ipv6: Option<Ipv6Addr>,
}

/// What one family has.
struct Family {
    width: Width,
    nf_proto: u8,
    pods: &'static str,
    direct: &'static str,
    source: Expression,
    destination: Expression,
    rule: &'static str,
}

const IPV4: Family = Family {
    width: Width::Ipv4,
    nf_proto: 2,
    pods: "pods-ipv4",
    direct: "direct-ipv4",
    source: Expression::Network {
        offset: 12,
        length: 4,
    },
    destination: Expression::Network {
        offset: 16,
        length: 4,
    },
    rule: "masquerade IPv4",
};
const IPV6: Family = Family {
    width: Width::Ipv6,
    nf_proto: 10,
    pods: "pods-ipv6",
    direct: "direct-ipv6",
    source: Expression::Network {
        offset: 8,
        length: 16,
    },
    destination: Expression::Network {
        offset: 24,
        length: 16,
    },
    rule: "masquerade IPv6",
};

impl PodNetwork {
    /// The table.
    #[must_use]
    pub fn table(&self) -> Table {
        let mut sets = Vec::new();
        let mut chains = vec![pods_in()];
        if let Some(masquerade) = &self.masquerade {
            let mut rules = Vec::new();
            for family in [IPV4, IPV6] {
                let pods = Ranges::of(family.width, &self.pod_cidrs);
                if pods.is_empty() {
                    continue;
                }
                rules.push(masquerade.rule(&family));
                let set = |name, ranges| Set {
                    name,
                    width: family.width,
                    ranges,
                };
                sets.push(set(family.pods, pods));
                sets.push(set(family.direct, Ranges::of(family.width, &masquerade.direct)));
            }
            chains.push(Chain {
                name: "pods-out",
                kind: "nat",
                hook: Hook::Postrouting,
                priority: PRIORITY_SOURCE_NAT,
                rules,
            });
        }
        Table {
            name: TABLE,
            sets,
            maps: Vec::new(),
            chains,
            own_sets: &["pods-ipv4", "direct-ipv4", "pods-ipv6", "direct-ipv6"],
            own_chains: &["pods-in", "pods-out"],
        }
    }
}

impl Masquerade {
    fn rule(&self, family: &Family) -> Rule {
        let address: Option<IpAddr> = match family.width {
            Width::Ipv4 => self.source_ipv4.map(IpAddr::V4),
            Width::Ipv6 => self.source_ipv6.map(IpAddr::V6),
        };
        Rule {
            name: family.rule,
            expressions: vec![
                Expression::Meta(Key::NfProto),
                Expression::Is(vec![family.nf_proto]),
                family.source.clone(),
                Expression::In(family.pods),
                family.destination.clone(),
                Expression::NotIn(family.direct),
                Expression::Counter,
                Expression::Nat(address.map_or(Nat::Masquerade, Nat::Source)),
            ],
        }
    }
}

fn pods_in() -> Chain {
    let drop = |name, conditions: Vec<Expression>| Rule {
        name,
        expressions: conditions
            .into_iter()
            .chain([Expression::Counter, Expression::Drop])
            .collect(),
    };
    let others = Rule {
        name: "not from a pod",
        expressions: vec![
            Expression::Meta(Key::IifGroup),
            Expression::IsNot(POD_LINK_GROUP.to_ne_bytes().to_vec()),
            Expression::Accept,
        ],
    };
    Chain {
        name: "pods-in",
        kind: "filter",
        hook: Hook::Prerouting,
        priority: PRIORITY_RAW,
        rules: vec![
            others,
            drop("router advertisement", transport(IPV6.nf_proto, 58, &[134])),
            drop(
                "DHCPv4 server",
                transport(IPV4.nf_proto, 17, &67_u16.to_be_bytes()),
            ),
            drop(
                "DHCPv6 server",
                transport(IPV6.nf_proto, 17, &547_u16.to_be_bytes()),
            ),
            drop(
                "source of another",
                vec![
                    Expression::Fib(Fib::WayBack),
                    Expression::Is(0_u32.to_ne_bytes().to_vec()),
                ],
            ),
        ],
    }
}

/// Holds for packets of a family and protocol whose transport header begins so.
fn transport(nf_proto: u8, protocol: u8, begins: &[u8]) -> Vec<Expression> {
    vec![
        Expression::Meta(Key::NfProto),
        Expression::Is(vec![nf_proto]),
        Expression::Meta(Key::L4Proto),
        Expression::Is(vec![protocol]),
        Expression::Transport {
            offset: 0,
            length: u32::try_from(begins.len()).unwrap_or(0),
        },
        Expression::Is(begins.to_vec()),
    ]
}
