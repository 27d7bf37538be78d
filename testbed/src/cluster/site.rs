//! The site as a value: who stands where, which addresses things have, and which static routes make machines reachable.
//!
//! The fabric is the demo's (`crate::topology`): nodes have a loopback address each and a link to every ToR of their
//! rack. Behind the spine stands one more machine, with the control plane. What is static is what a data centre's own
//! routing would do: every router knows the addresses of all nodes (loopbacks and links, because masquerading takes a
//! link's address) and of the control plane. Addresses of pods are in none of these routes: they must be learned.
//!
//! ```text
//! nodes           10.RACK.0.N      fd00:10:RACK::N     links 172.31.x.y/31, fd00:172:31:LINK::/127
//! control plane   10.9.0.1         fd00:10:9::1        link  172.30.0.0/31, fd00:172:30::/127
//! pods            10.244.0.0/16    fd00:244::/48       a /24 and a /64 for each node
//! services        10.96.0.0/16     fd00:96::/112
//! the world       198.51.100.9     2001:db8::9         on the machine of the control plane, with 169.254.169.254
//! ```
//!
//! That is the shape `racks`. In the other one, `segment`, all nodes are plugged into one switch of layer 2
//! ([`super::segment`]), nobody but them speaks BGP, and no static route is needed but the default.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Result, bail};

use super::segment;
use crate::topology::{Router, Size, Tier, Topology};

/// Pod addresses of the cluster, IPv4 and IPv6.
pub const POD_CIDRS: [&str; 2] = ["10.244.0.0/16", "fd00:244::/48"];
/// Addresses of Services, IPv4 and IPv6.
pub const SERVICE_CIDRS: [&str; 2] = ["10.96.0.0/16", "fd00:96::/112"];
/// Where the API server's own Service is.
pub const API_SERVICE: [&str; 2] = ["10.96.0.1", "fd00:96::1"];
/// Where CoreDNS is.
pub const DNS_SERVICE: [&str; 2] = ["10.96.0.10", "fd00:96::a"];
/// The control plane's machine, behind the spine.
pub const CONTROL: (Ipv4Addr, Ipv6Addr) = (
    Ipv4Addr::new(10, 9, 0, 1),
    Ipv6Addr::new(0xfd00, 0x10, 9, 0, 0, 0, 0, 1),
);
/// What that machine also is: somebody in no private range (RFC 5737, RFC 3849).
pub const WORLD: (Ipv4Addr, Ipv6Addr) = (
    Ipv4Addr::new(198, 51, 100, 9),
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9),
);
/// And what a cloud's machines ask about themselves: a link-local address (RFC 3927) that is not on their link.
pub const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// The spine's end of its link to the control plane; the other end is the next address.
pub const SPINE_END: (Ipv4Addr, Ipv6Addr) = (
    Ipv4Addr::new(172, 30, 0, 0),
    Ipv6Addr::new(0xfd00, 0x172, 0x30, 0, 0, 0, 0, 0),
);
/// The control plane's end of that link.
pub const CONTROL_END: (Ipv4Addr, Ipv6Addr) = (
    Ipv4Addr::new(172, 30, 0, 1),
    Ipv6Addr::new(0xfd00, 0x172, 0x30, 0, 0, 0, 0, 1),
);
/// The name of the control plane's network namespace, behind the spine.
pub const CONTROL_NAME: &str = "control";
/// The spine's interface to it.
pub const TO_CONTROL: &str = "to-control";
/// The control plane's interface.
pub const TO_SPINE: &str = "to-spine1";
/// A node's `unreachable` routes for the pod CIDRs have this metric: below every learned one.
pub const LAST_METRIC: u32 = 9999;
/// Racks; nodes are spread over them.
pub const RACKS: u16 = 2;
/// More nodes than this do not fit into a machine, nor into a rack's addresses.
pub const MOST_NODES: u16 = 32;

/// Which families the cluster has, and which of them comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Families {
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
    /// Both, IPv4 first.
    Dual,
    /// Both, IPv6 first.
    Dual64,
}

impl std::str::FromStr for Families {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "v4" => Ok(Self::V4),
            "v6" => Ok(Self::V6),
            "dual" => Ok(Self::Dual),
            "dual64" => Ok(Self::Dual64),
            _ => bail!(
                "FAMILIES={text}: there is no such choice; it may be v4, v6, dual (IPv4 first) or dual64 (IPv6 first)"
            ),
        }
    }
}

impl Families {
    /// As the user says it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
            Self::Dual => "dual",
            Self::Dual64 => "dual64",
        }
    }

    /// Whether each family is IPv6, the first one first.
    #[must_use]
    pub fn order(self) -> &'static [bool] {
        match self {
            Self::V4 => &[false],
            Self::V6 => &[true],
            Self::Dual => &[false, true],
            Self::Dual64 => &[true, false],
        }
    }

    /// Whether it has that family.
    #[must_use]
    pub fn has(self, ipv6: bool) -> bool {
        self.order().contains(&ipv6)
    }

    /// Those of a pair (IPv4, IPv6) that the cluster has, in its order.
    #[must_use]
    pub fn pick<T: Clone>(self, pair: &[T; 2]) -> Vec<T> {
        let of = |ipv6: &bool| pair[usize::from(*ipv6)].clone();
        self.order().iter().map(of).collect()
    }

    /// As [`Families::pick`], with commas, as the options of Kubernetes want it.
    #[must_use]
    pub fn join(self, pair: &[&str; 2]) -> String {
        self.pick(pair).join(",")
    }
}

/// How machines are wired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Two racks of two ToRs below a spine, with the control plane behind it.
    Racks,
    /// All nodes on one segment of layer 2, the first with the control plane.
    Segment,
}

impl std::str::FromStr for Shape {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "racks" => Ok(Self::Racks),
            "segment" => Ok(Self::Segment),
            _ => {
                bail!("SHAPE={text}: there is no such choice; it may be racks, or segment (all nodes on one)")
            }
        }
    }
}

/// Everything that follows from the user's wishes about the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// How machines are wired.
    pub shape: Shape,
    /// Which families.
    pub families: Families,
    /// Spine, ToRs and nodes; on a segment nodes alone, and no links.
    pub topology: Topology,
}

/// What is somewhere in the fabric, for [`Site::hops`].
enum Place<'a> {
    Node(&'a Router),
    /// A link between this ToR and a node.
    Link(&'a Router),
    Control,
}

impl Site {
    /// A site with that many nodes, the first half of them in the first rack.
    ///
    /// # Errors
    /// Fewer than two nodes, or more than [`MOST_NODES`].
    pub fn new(shape: Shape, families: Families, nodes: u16) -> Result<Self> {
        if !(2..=MOST_NODES).contains(&nodes) {
            bail!("NODES={nodes}: it may be 2 to {MOST_NODES}, since each is a whole node on this machine");
        }
        let (racks, tors, spines) = match shape {
            Shape::Racks => (RACKS, 2, 1),
            Shape::Segment => (1, 0, 0),
        };
        let mut topology = Topology::leaf_spine(Size {
            racks,
            tors,
            nodes: nodes.div_ceil(racks),
            spines,
        });
        if !nodes.is_multiple_of(racks) {
            topology.routers.pop();
            let left = topology.routers.len();
            topology.links.retain(|link| link.lower.router.0 < left);
        }
        // Kubernetes says which node has which.
        topology
            .routers
            .iter_mut()
            .for_each(|router| router.pod_cidrs = None);
        Ok(Self {
            shape,
            families,
            topology,
        })
    }

    /// The site, for a terminal.
    #[must_use]
    pub fn drawing(&self) -> String {
        match self.shape {
            Shape::Racks => self.topology.drawing(),
            Shape::Segment => segment::drawing(self),
        }
    }

    /// The network namespace that the control plane is in, and its addresses there. On a segment it is that of the first node.
    #[must_use]
    pub fn control(&self) -> (&str, Ipv4Addr, Ipv6Addr) {
        let first = self.topology.nodes().next();
        match (self.shape, first) {
            (Shape::Segment, Some(node)) => (&node.name, node.ipv4, node.ipv6),
            (Shape::Racks, _) | (Shape::Segment, None) => (CONTROL_NAME, CONTROL.0, CONTROL.1),
        }
    }

    /// Where nodes and users find the API server: its address of the first family, ready for a URL.
    #[must_use]
    pub fn api_server(&self) -> String {
        let (_, ipv4, ipv6) = self.control();
        match self.families.order() {
            [true, ..] => format!("https://[{ipv6}]:6443"),
            _ => format!("https://{ipv4}:6443"),
        }
    }

    /// A node's own addresses, in the cluster's order.
    #[must_use]
    pub fn addresses(&self, node: &Router) -> Vec<IpAddr> {
        self.families.pick(&[node.ipv4.into(), node.ipv6.into()])
    }

    /// The static routes of a router, one family, as lines for `ip -batch`. They replace what is there, so that they can
    /// be set again after a link's return.
    #[must_use]
    pub fn routes(&self, router: &Router, ipv6: bool) -> Vec<String> {
        if router.tier == Tier::Node {
            return self.routes_of_node(router, ipv6);
        }
        let mut lines = Vec::new();
        let mut add = |prefix: String, place: &Place<'_>| {
            let hops = self.hops(router, place, ipv6);
            if !hops.is_empty() {
                lines.push(format!("route replace {prefix} {}", hops.join(" ")));
            }
        };
        for node in self.topology.nodes() {
            add(host(node.ipv4, node.ipv6, ipv6), &Place::Node(node));
            for neighbour in self.topology.neighbours(node) {
                let link = if ipv6 {
                    format!("{}/127", neighbour.remote.ipv6)
                } else {
                    format!("{}/31", neighbour.remote.ipv4)
                };
                add(link, &Place::Link(neighbour.router));
            }
        }
        add(host(CONTROL.0, CONTROL.1, ipv6), &Place::Control);
        add(host(WORLD.0, WORLD.1, ipv6), &Place::Control);
        if !ipv6 {
            add(format!("{METADATA}/32"), &Place::Control);
        }
        lines
    }

    /// A node's default routes, over all its ToRs or by the segment's gateway, and nothing else that could carry packets to pods.
    fn routes_of_node(&self, node: &Router, ipv6: bool) -> Vec<String> {
        let hops: Vec<String> = match self.shape {
            Shape::Racks => self
                .topology
                .neighbours(node)
                .iter()
                .map(|n| hop(n.remote.ipv4, n.remote.ipv6, &n.local.interface, ipv6))
                .collect(),
            Shape::Segment => vec![hop(
                segment::GATEWAY.0,
                segment::GATEWAY.1,
                segment::INTERFACE,
                ipv6,
            )],
        };
        let source = if ipv6 {
            node.ipv6.to_string()
        } else {
            node.ipv4.to_string()
        };
        let pods = POD_CIDRS[usize::from(ipv6)];
        vec![
            format!("route replace default src {source} {}", hops.join(" ")),
            format!("route replace unreachable {pods} metric {LAST_METRIC}"),
        ]
    }

    fn hops(&self, from: &Router, to: &Place<'_>, ipv6: bool) -> Vec<String> {
        let below = |router: &Router| match to {
            Place::Node(node) => {
                node.name == router.name || (router.tier == Tier::Tor && router.rack == node.rack)
            }
            Place::Link(tor) => tor.name == router.name,
            Place::Control => false,
        };
        match (from.tier, to) {
            // Its own link is there already.
            (Tier::Tor, Place::Link(tor)) if tor.name == from.name => return Vec::new(),
            (Tier::Spine, Place::Control) => {
                return vec![hop(CONTROL_END.0, CONTROL_END.1, TO_CONTROL, ipv6)];
            }
            _ => {}
        }
        let neighbours = self.topology.neighbours(from);
        let down = neighbours
            .iter()
            .filter(|n| n.router.tier > from.tier && below(n.router));
        let mut found: Vec<_> = down.collect();
        if found.is_empty() {
            found = neighbours.iter().filter(|n| n.router.tier < from.tier).collect();
        }
        found
            .iter()
            .map(|n| hop(n.remote.ipv4, n.remote.ipv6, &n.local.interface, ipv6))
            .collect()
    }
}

fn host(ipv4: Ipv4Addr, ipv6_address: Ipv6Addr, ipv6: bool) -> String {
    if ipv6 {
        format!("{ipv6_address}/128")
    } else {
        format!("{ipv4}/32")
    }
}

fn hop(ipv4: Ipv4Addr, ipv6_address: Ipv6Addr, interface: &str, ipv6: bool) -> String {
    if ipv6 {
        format!("nexthop via {ipv6_address} dev {interface}")
    } else {
        format!("nexthop via {ipv4} dev {interface}")
    }
}

#[cfg(test)]
mod tests {
    use super::{Families, Shape, Site};

    fn site(nodes: u16) -> Site {
        Site::new(Shape::Racks, Families::Dual, nodes).expect("a site")
    }

    #[test]
    fn no_static_route_covers_a_pod_but_to_refuse_it() {
        for shape in [Shape::Racks, Shape::Segment] {
            let site = Site::new(shape, Families::Dual, 4).expect("a site");
            for router in &site.topology.routers {
                for ipv6 in [false, true] {
                    for line in site.routes(router, ipv6) {
                        let pods = line.contains("10.244.") || line.contains("fd00:244:");
                        assert_eq!(pods, line.contains("unreachable"), "{}: {line}", router.name);
                    }
                }
            }
        }
    }

    #[test]
    fn on_a_segment_there_are_nodes_alone() {
        let site = Site::new(Shape::Segment, Families::Dual64, 3).expect("a site");
        let names: Vec<&str> = site.topology.routers.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names, ["node1", "node2", "node3"]);
        assert_eq!(site.api_server(), "https://[fd00:10:1::1]:6443");
        assert_eq!(
            site.routes(&site.topology.routers[2], false)[0],
            "route replace default src 10.1.0.3 nexthop via 10.1.0.254 dev to-segment"
        );
    }

    #[test]
    fn every_node_has_a_default_route_over_both_tors() {
        let site = site(4);
        let node = site.topology.find("node3").expect("exists");
        assert_eq!(
            site.routes(node, false),
            [
                "route replace default src 10.2.0.1 nexthop via 172.31.0.16 dev to-tor2a nexthop via 172.31.0.20 dev to-tor2b",
                "route replace unreachable 10.244.0.0/16 metric 9999",
            ]
        );
    }

    #[test]
    fn tors_know_their_own_nodes_and_the_way_up() {
        let site = site(4);
        let lines = site.routes(site.topology.find("tor1a").expect("exists"), false);
        let has = |start: &str, hop: &str| {
            assert!(
                lines.iter().any(|l| l.starts_with(start) && l.ends_with(hop)),
                "{start} {hop}: {lines:#?}"
            );
        };
        has("route replace 10.1.0.1/32", "dev to-node1");
        has("route replace 10.2.0.1/32", "dev to-spine1");
        has("route replace 10.9.0.1/32", "dev to-spine1");
        let spine = site.routes(site.topology.find("spine1").expect("exists"), false);
        let node1 = spine.iter().find(|l| l.contains("10.1.0.1/32")).expect("a route");
        assert!(
            node1.contains("to-tor1a") && node1.contains("to-tor1b"),
            "{node1}"
        );
    }

    #[test]
    fn an_odd_node_more_stands_in_the_first_rack() {
        let site = site(3);
        let racks: Vec<u16> = site.topology.nodes().map(|node| node.rack).collect();
        assert_eq!(racks, [1, 1, 2]);
        assert!(Site::new(Shape::Racks, Families::Dual, 1).is_err());
    }
}
