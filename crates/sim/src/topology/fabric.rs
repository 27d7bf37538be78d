//! A Clos fabric routed to the host: racks of nodes, ToRs, spines; each link has two addresses a family and one session.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use flatroute_api::objects::Discover;
use flatroute_api::values::PeerAsn;
use flatroute_api::{BGPPeerSpec, ClusterState};
use flatroute_bgp::types::{Family, FamilySet};
use flatroute_plan::{Facts, Gateway, Links, ObjectSource};
use ipnetwork::IpNetwork;

use super::objects::{self, Pace};
use super::{HostId, LinkId, NODE_ASN, Role, Topology};

/// The cluster's objects come first among the states.
const CLUSTER: usize = 0;
/// The protocol number of a default route that the operator made (RTPROT_STATIC).
const STATIC: u8 = 4;

/// What a fabric is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fabric {
    /// How many racks.
    pub racks: usize,
    /// How many nodes in each.
    pub nodes: usize,
    /// How many ToRs in each; every node has a link to each.
    pub tors: usize,
    /// How many spines; every ToR has a link to each.
    pub spines: usize,
    /// The families.
    pub families: FamilySet,
    /// Whether the ToRs of a rack have one ASN, and all spines one, or each its own.
    pub shared_asns: bool,
    /// Whether nodes find their ToRs by their default routes, or have an object for each link.
    pub discovers: bool,
    /// The hold time of all sessions.
    pub hold: Duration,
    /// The first pause between attempts to connect.
    pub retry: Duration,
    /// Whether a NOTIFICATION, or an expired hold timer, is a restart too (RFC 8538), and a Hard Reset is none.
    pub notification: bool,
    /// Whether a host with bad intentions is the neighbour of the first node, and another one of the first ToR.
    pub rogues: bool,
}

struct Builder {
    topology: Topology,
    shape: Fabric,
    pace: Pace,
}

/// Builds it.
#[must_use]
pub fn fabric(shape: &Fabric) -> Topology {
    let mut builder = Builder {
        topology: Topology {
            families: shape.families,
            ..Topology::default()
        },
        shape: *shape,
        pace: Pace {
            hold: shape.hold,
            retry: shape.retry,
            notification: shape.notification,
        },
    };
    builder.state();
    let spines: Vec<HostId> = (0..shape.spines).map(|i| builder.spine(i)).collect();
    let mut nodes = Vec::new();
    for rack in 0..shape.racks {
        let tors: Vec<HostId> = (0..shape.tors).map(|i| builder.tor(rack, i)).collect();
        for (tor, spine) in tors.iter().flat_map(|t| spines.iter().map(move |s| (*t, *s))) {
            builder.connect(tor, spine);
        }
        for number in 0..shape.nodes {
            let node = builder.node(rack * shape.nodes + number);
            nodes.push(node);
            for tor in &tors {
                builder.connect(node, *tor);
            }
        }
    }
    if shape.discovers {
        builder.discovery();
    }
    if shape.rogues {
        let tor = builder.topology.of_role(&[Role::Tor]).next();
        for victim in nodes.first().copied().into_iter().chain(tor) {
            builder.rogue(victim);
        }
    }
    builder.topology
}

/// An address made of a number.
fn address(family: Family, v4: u32, v6: u128, number: usize) -> IpAddr {
    let number = u32::try_from(number).expect("few hosts");
    match family {
        Family::Ipv4 => IpAddr::V4(Ipv4Addr::from_bits(v4 + number)),
        Family::Ipv6 => IpAddr::V6(Ipv6Addr::from_bits(v6 + u128::from(number))),
    }
}

impl Builder {
    fn state(&mut self) -> usize {
        let state = ClusterState {
            configuration: Some(objects::configuration()),
            ..ClusterState::default()
        };
        self.topology.states.push(state);
        self.topology.states.len() - 1
    }

    /// A host with addresses of its own and a Node among its objects.
    fn host(&mut self, name: String, role: Role, asn: u32, state: usize) -> HostId {
        let host = self.topology.host(name, role, asn, state);
        let families = self.shape.families.iter();
        let addresses: Vec<IpAddr> = families
            .map(|family| address(family, 0x0a00_0001, 0xfd00_0001 << 96, host))
            .collect();
        self.topology.hosts[host].addresses = addresses;
        host
    }

    fn switch(&mut self, name: String, role: Role, asn: u32) -> HostId {
        let state = self.state();
        let host = self.host(name, role, asn, state);
        let this = &self.topology.hosts[host];
        let node = objects::node(&this.name, &this.addresses, &[], Some(asn));
        let name = this.name.clone();
        self.topology.states[state].nodes.insert(name, node);
        host
    }

    fn asn(&self, base: u32, group: usize, number: usize, in_group: usize) -> u32 {
        let own = group * in_group + number;
        let offset = if self.shape.shared_asns { group } else { own };
        base + u32::try_from(offset).expect("few switches")
    }

    fn spine(&mut self, number: usize) -> HostId {
        let asn = self.asn(4_200_000_000, 0, number, 0);
        self.switch(format!("spine{number}"), Role::Spine, asn)
    }

    fn tor(&mut self, rack: usize, number: usize) -> HostId {
        let asn = self.asn(4_210_000_000, rack, number, self.shape.tors);
        self.switch(format!("tor{rack}-{number}"), Role::Tor, asn)
    }

    fn node(&mut self, number: usize) -> HostId {
        let host = self.host(format!("node{number}"), Role::Node, NODE_ASN, CLUSTER);
        let pods = objects::pods(self.shape.families, number);
        let this = &mut self.topology.hosts[host];
        this.facts = Facts {
            source: ObjectSource::ApiServer,
            links: Links::default(),
            ..Facts::default()
        };
        let node = objects::node(&this.name, &this.addresses, &pods, None);
        let name = this.name.clone();
        self.topology.states[CLUSTER].nodes.insert(name, node);
        self.topology.pods[host] = pods;
        host
    }

    /// A link with its addresses and what both ends need to have a session over it; the second end is a switch or a rogue.
    fn connect(&mut self, below: HostId, above: HostId) -> LinkId {
        let number = self.topology.links.len();
        let end = |host: HostId, which: usize, topology: &Topology, families: FamilySet| {
            let network = |family| {
                let address = address(family, 0xac10_0000, 0xfd00_0172 << 96, number * 2 + which);
                let len = if address.is_ipv4() { 31 } else { 127 };
                IpNetwork::new(address, len).expect("a length of its family")
            };
            let interface = u32::try_from(topology.hosts[host].ports.len()).expect("few ports") + 2;
            (host, interface, families.iter().map(network).collect::<Vec<_>>())
        };
        let ends = [(below, 0), (above, 1)]
            .map(|(host, which)| end(host, which, &self.topology, self.shape.families));
        let link = self.topology.join(&ends);
        let networks = ends.map(|(_, _, networks)| networks);
        for (host, networks) in [below, above].into_iter().zip(&networks) {
            let on_link = &mut self.topology.hosts[host].facts.links.on_link;
            on_link.extend(
                networks
                    .iter()
                    .map(|n| IpNetwork::new(n.network(), n.prefix()).expect("a network")),
            );
        }
        if self.topology.hosts[above].role != Role::Rogue {
            self.topology.adjacencies.push(link);
            self.neighbours(below, above, [networks[0][0].ip(), networks[1][0].ip()]);
        }
        link
    }

    /// The objects of a session: the switch names its neighbour, a node finds its switch or names it.
    fn neighbours(&mut self, below: HostId, above: HostId, [down, up]: [IpAddr; 2]) {
        let hosts = &self.topology.hosts;
        let (lower, upper) = (hosts[below].clone(), hosts[above].clone());
        let states = &mut self.topology.states;
        let spec = objects::transit(down, lower.asn, self.pace);
        objects::insert(&mut states[upper.state], &lower.name, spec);
        match lower.role {
            Role::Node if self.shape.discovers => {
                let gateway = Gateway {
                    address: up,
                    interface: None,
                    protocol: STATIC,
                };
                let facts = &mut self.topology.hosts[below].facts;
                facts.links.default_gateways.insert(gateway);
            }
            Role::Node => {
                let spec = BGPPeerSpec {
                    node_selector: Some(objects::only(&lower.name)),
                    ..objects::peer(up, PeerAsn::Number(upper.asn), self.pace)
                };
                let name = format!("{}-{}", lower.name, upper.name);
                objects::insert(&mut states[CLUSTER], &name, spec);
            }
            Role::Tor | Role::Spine | Role::Rogue => {
                let spec = objects::transit(up, upper.asn, self.pace);
                objects::insert(&mut states[lower.state], &upper.name, spec);
            }
        }
    }

    fn discovery(&mut self) {
        let spec = BGPPeerSpec {
            peer_address: None,
            discover: Some(Discover::DefaultGateways),
            ..objects::peer(IpAddr::V4(Ipv4Addr::UNSPECIFIED), PeerAsn::External, self.pace)
        };
        objects::insert(&mut self.topology.states[CLUSTER], "tors", spec);
    }

    fn rogue(&mut self, victim: HostId) {
        let name = format!("rogue-{}", self.topology.hosts[victim].name);
        let state = self.state();
        let rogue = self.host(name, Role::Rogue, 4_220_000_000, state);
        self.connect(victim, rogue);
        objects::victimize(&mut self.topology, victim, rogue, self.pace);
    }
}
