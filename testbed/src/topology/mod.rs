//! Fabrics as values: who stands where, which link joins whom, and every address and number that follows from it.
//!
//! A [`Topology`] is plain data, made by a function such as [`Topology::two_racks`] and drawn by
//! [`Topology::drawing`]. Nothing here touches the system; `crate::fabric` builds it, `crate::speaker` configures it.
//!
//! Numbers follow from positions, so that a reader of a trace knows where an address belongs:
//!
//! ```text
//! router addresses   10.RACK.0.N      fd00:10:RACK::N        nodes: N = 1, 2 …; ToRs: N = 101, 102 …; spines: rack 0
//! links              172.31.x.y/31    fd00:172:31:LINK::/127 the upper router has the even end
//! pod CIDRs          10.244.N.0/24    fd00:244:N::/64        N counts the nodes through all racks
//! ASNs               nodes 64512, ToRs 65001, 65002 …, all spines 65100
//! ```
//!
//! Links need no addresses: [`Topology::unnumbered`] leaves them to the kernel's own link-local ones.
//!
//! Two facts of BGP shape the plan. Nodes share an ASN, so a path from one rack to the other holds the receiver's own
//! ASN once, and nodes must allow that. The ToRs of a rack do not share one, so multipath on the nodes must not ask for
//! equal AS_PATHs, only for equally long ones.

mod drawing;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnetwork::{Ipv4Network, Ipv6Network};

/// The ASN of every node.
pub const NODE_ASN: u32 = 64512;
/// The ASN that all spines share.
pub const SPINE_ASN: u32 = 65100;
/// The ToRs count up from here.
pub const FIRST_TOR_ASN: u32 = 65001;

/// What a router is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Joins the racks.
    Spine,
    /// Top of rack: joins the nodes of one rack.
    Tor,
    /// A machine with pods: originates its pod CIDRs and forwards for nobody else.
    Node,
}

/// An index into [`Topology::routers`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouterId(pub usize);

/// A spine, a ToR or a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Router {
    /// Unique; also the name of its network namespace and, for nodes, of the Node object.
    pub name: String,
    /// What it is for.
    pub tier: Tier,
    /// 1 and up; 0 for spines.
    pub rack: u16,
    /// Its autonomous system.
    pub asn: u32,
    /// On its loopback interface; also its BGP identifier and, for nodes, the Node's InternalIP.
    pub ipv4: Ipv4Addr,
    /// As `ipv4`.
    pub ipv6: Ipv6Addr,
    /// What it originates; only nodes do.
    pub pod_cidrs: Option<PodCidrs>,
}

/// A node's pod CIDRs, one of each family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PodCidrs {
    /// A /24.
    pub ipv4: Ipv4Network,
    /// A /64.
    pub ipv6: Ipv6Network,
}

/// One end of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkEnd {
    /// Whose interface it is.
    pub router: RouterId,
    /// The interface's name: `to-` and the neighbour's name.
    pub interface: String,
    /// Within the link's /31.
    pub ipv4: Ipv4Addr,
    /// Within the link's /127.
    pub ipv6: Ipv6Addr,
}

/// A point-to-point link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The end of the router that is nearer to the spines.
    pub upper: LinkEnd,
    /// The other end.
    pub lower: LinkEnd,
}

/// What addresses links have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbering {
    /// A /31 and a /127 each.
    Numbered,
    /// The link-local ones that the kernel gives to every interface, and no others.
    Unnumbered,
}

/// A neighbour over a link, as one router sees it.
#[derive(Debug, Clone, Copy)]
pub struct Neighbour<'a> {
    /// Our end.
    pub local: &'a LinkEnd,
    /// Their end.
    pub remote: &'a LinkEnd,
    /// Who they are.
    pub router: &'a Router,
}

/// A whole fabric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// Spines first, then ToRs, then nodes.
    pub routers: Vec<Router>,
    /// Upper ends in the order of `routers`.
    pub links: Vec<Link>,
    /// Whether the links have the addresses of their ends.
    pub numbering: Numbering,
}

/// How large a fabric shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Racks.
    pub racks: u16,
    /// ToRs in each rack; every node is wired to all of them.
    pub tors: u16,
    /// Nodes in each rack.
    pub nodes: u16,
    /// Spines; every ToR is wired to all of them.
    pub spines: u16,
}

impl Topology {
    /// The fabric of the demo: two racks of two ToRs and two nodes, two spines.
    #[must_use]
    pub fn two_racks() -> Self {
        Self::leaf_spine(Size {
            racks: 2,
            tors: 2,
            nodes: 2,
            spines: 2,
        })
    }

    /// The smallest fabric with a choice of paths: one rack of two ToRs and two nodes, no spine.
    #[must_use]
    pub fn one_rack() -> Self {
        Self::leaf_spine(Size {
            racks: 1,
            tors: 2,
            nodes: 2,
            spines: 0,
        })
    }

    /// A fabric in which every node is wired to every ToR of its rack, and every ToR to every spine.
    #[must_use]
    pub fn leaf_spine(size: Size) -> Self {
        let mut routers = Vec::new();
        for n in 1..=size.spines {
            routers.push(Router::new(format!("spine{n}"), Tier::Spine, 0, n, SPINE_ASN));
        }
        let mut asn = FIRST_TOR_ASN;
        for rack in 1..=size.racks {
            for n in 1..=size.tors {
                let name = format!("tor{rack}{}", letter(n));
                routers.push(Router::new(name, Tier::Tor, rack, 100 + n, asn));
                asn += 1;
            }
        }
        let mut count = 0;
        for rack in 1..=size.racks {
            for n in 1..=size.nodes {
                count += 1;
                let mut node = Router::new(format!("node{count}"), Tier::Node, rack, n, NODE_ASN);
                node.pod_cidrs = Some(PodCidrs::of(count));
                routers.push(node);
            }
        }
        let mut topology = Self {
            routers,
            links: Vec::new(),
            numbering: Numbering::Numbered,
        };
        topology.wire();
        topology
    }

    /// The same without addresses on its links: neighbours find each other, and next hops are link-local.
    #[must_use]
    pub fn unnumbered(self) -> Self {
        Self {
            numbering: Numbering::Unnumbered,
            ..self
        }
    }

    fn wire(&mut self) {
        let joined = |upper: &Router, lower: &Router| match (upper.tier, lower.tier) {
            (Tier::Spine, Tier::Tor) => true,
            (Tier::Tor, Tier::Node) => upper.rack == lower.rack,
            (Tier::Spine, Tier::Spine | Tier::Node)
            | (Tier::Tor, Tier::Spine | Tier::Tor)
            | (Tier::Node, _) => false,
        };
        for (u, upper) in self.routers.iter().enumerate() {
            for (l, lower) in self.routers.iter().enumerate() {
                if joined(upper, lower) {
                    let number = u16::try_from(self.links.len()).unwrap_or(u16::MAX);
                    let end = |router, neighbour: &Router, side: u16| LinkEnd {
                        router: RouterId(router),
                        interface: format!("to-{}", neighbour.name),
                        ipv4: Ipv4Addr::from(
                            u32::from(Ipv4Addr::new(172, 31, 0, 0)) + u32::from(number * 2 + side),
                        ),
                        ipv6: Ipv6Addr::new(0xfd00, 0x172, 0x31, number, 0, 0, 0, side),
                    };
                    self.links.push(Link {
                        upper: end(u, lower, 0),
                        lower: end(l, upper, 1),
                    });
                }
            }
        }
    }

    /// The router with that id.
    ///
    /// # Panics
    /// The id comes from another topology.
    #[must_use]
    pub fn router(&self, id: RouterId) -> &Router {
        &self.routers[id.0]
    }

    /// The router with that name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Router> {
        self.routers.iter().find(|router| router.name == name)
    }

    /// All routers of a tier, in order.
    pub fn tier(&self, tier: Tier) -> impl Iterator<Item = &Router> {
        self.routers.iter().filter(move |router| router.tier == tier)
    }

    /// The nodes, in order.
    pub fn nodes(&self) -> impl Iterator<Item = &Router> {
        self.tier(Tier::Node)
    }

    /// All ends of links, in order.
    pub fn ends(&self) -> impl Iterator<Item = &LinkEnd> {
        self.links.iter().flat_map(|link| [&link.upper, &link.lower])
    }

    /// The neighbours of a router, in the order of the links.
    #[must_use]
    pub fn neighbours(&self, of: &Router) -> Vec<Neighbour<'_>> {
        let mut found = Vec::new();
        for link in &self.links {
            for (local, remote) in [(&link.upper, &link.lower), (&link.lower, &link.upper)] {
                if self.router(local.router).name == of.name {
                    found.push(Neighbour {
                        local,
                        remote,
                        router: self.router(remote.router),
                    });
                }
            }
        }
        found
    }

    /// How many routers a packet passes between two nodes, both nodes counted: what its TTL falls by from pod to pod.
    #[must_use]
    pub fn hops(&self, from: &Router, to: &Router) -> u8 {
        match (from.name == to.name, from.rack == to.rack) {
            (true, _) => 1,
            (false, true) => 3,
            (false, false) => 5,
        }
    }
}

impl Router {
    fn new(name: String, tier: Tier, rack: u16, number: u16, asn: u32) -> Self {
        let [_, rack_octet] = rack.to_be_bytes();
        let [_, octet] = number.to_be_bytes();
        let ipv4 = Ipv4Addr::new(10, rack_octet, 0, octet);
        let ipv6 = Ipv6Addr::new(0xfd00, 0x10, rack, 0, 0, 0, 0, number);
        Self {
            name,
            tier,
            rack,
            asn,
            ipv4,
            ipv6,
            pod_cidrs: None,
        }
    }
}

impl PodCidrs {
    fn of(node: u16) -> Self {
        let [_, octet] = node.to_be_bytes();
        Self {
            ipv4: Ipv4Network::new_checked(Ipv4Addr::new(10, 244, octet, 0), 24)
                .expect("24 is a prefix length"),
            ipv6: Ipv6Network::new_checked(Ipv6Addr::new(0xfd00, 0x244, node, 0, 0, 0, 0, 0), 64)
                .expect("64 is a prefix length"),
        }
    }
}

fn letter(n: u16) -> char {
    char::from_u32(u32::from(b'a') + u32::from(n.saturating_sub(1))).unwrap_or('?')
}
