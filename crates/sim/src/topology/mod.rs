//! Who stands where: hosts, links between two of them, and the objects that each plans from. Plain values, built by [`fabric`]
//! and [`mesh`]; nothing here moves.
//!
//! The sessions that shall be there ([`Topology::adjacencies`]) are written down by whoever builds the topology and not read
//! out of a plan: the reference model must not learn from the machine that it judges.

mod fabric;
mod mesh;
mod objects;

use std::collections::BTreeMap;
use std::net::IpAddr;

use flatroute_api::ClusterState;
use flatroute_bgp::rib::LocalAddresses;
use flatroute_bgp::types::{FamilySet, Prefix};
use flatroute_plan::Facts;
use ipnetwork::IpNetwork;

pub use fabric::{Fabric, fabric};
pub use mesh::mesh;
pub use objects::pods;

/// A host's place in [`Topology::hosts`].
pub type HostId = usize;
/// A link's place in [`Topology::links`].
pub type LinkId = usize;
/// A set of objects' place in [`Topology::states`].
pub type StateId = usize;

/// The ASN of all nodes: the default of the API.
pub const NODE_ASN: u32 = flatroute_api::DEFAULT_ASN;

/// What a host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// A node with pods.
    Node,
    /// A top-of-rack switch, which passes on what it learns.
    Tor,
    /// A spine, which does too.
    Spine,
    /// A neighbour of somebody that does what no speaker of ours would do.
    Rogue,
}

impl Role {
    /// Whether it tells its neighbours what it learned from others.
    #[must_use]
    pub fn relays(self) -> bool {
        match self {
            Self::Node | Self::Rogue => false,
            Self::Tor | Self::Spine => true,
        }
    }
}

/// One end of a link, as its host sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The link.
    pub link: LinkId,
    /// Which of the link's two ends this is.
    pub end: usize,
    /// Who is at the other end.
    pub remote: HostId,
    /// The index of the interface.
    pub interface: u32,
    /// Our addresses on it.
    pub local: LocalAddresses,
    /// The same with their networks.
    pub networks: Vec<IpNetwork>,
    /// The other end's addresses.
    pub remote_addresses: Vec<IpAddr>,
}

/// One host.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    /// Its name, also that of its Node.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// Its ASN.
    pub asn: u32,
    /// The objects that it plans from.
    pub state: StateId,
    /// What its machine tells beside the objects.
    pub facts: Facts,
    /// Its own addresses, on no link.
    pub addresses: Vec<IpAddr>,
    /// Its ends of links.
    pub ports: Vec<Port>,
    /// The port to each address of a neighbour.
    pub by_address: BTreeMap<IpAddr, usize>,
}

/// A link between two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The hosts at its ends.
    pub ends: [HostId; 2],
}

/// Everything that stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Topology {
    /// The hosts.
    pub hosts: Vec<Host>,
    /// The links.
    pub links: Vec<Link>,
    /// The objects: those of the cluster, and those of each switch.
    pub states: Vec<ClusterState>,
    /// The links over which a session shall be.
    pub adjacencies: Vec<LinkId>,
    /// The families that are routed.
    pub families: FamilySet,
    /// The pod CIDRs of each host.
    pub pods: Vec<Vec<Prefix>>,
}

impl Topology {
    /// A new host without links.
    fn host(&mut self, name: String, role: Role, asn: u32, state: StateId) -> HostId {
        self.hosts.push(Host {
            name,
            role,
            asn,
            state,
            facts: Facts::default(),
            addresses: Vec::new(),
            ports: Vec::new(),
            by_address: BTreeMap::new(),
        });
        self.pods.push(Vec::new());
        self.hosts.len() - 1
    }

    /// Joins two hosts, each with its addresses and networks.
    fn join(&mut self, ends: &[(HostId, u32, Vec<IpNetwork>); 2]) -> LinkId {
        let link = self.links.len();
        self.links.push(Link {
            ends: [ends[0].0, ends[1].0],
        });
        for end in 0..2 {
            let (host, interface, networks) = &ends[end];
            let (remote, _, remote_networks) = &ends[1 - end];
            let port = Port {
                link,
                end,
                remote: *remote,
                interface: *interface,
                local: local(networks),
                networks: networks.clone(),
                remote_addresses: remote_networks.iter().map(|n| n.ip()).collect(),
            };
            if let Some(host) = self.hosts.get_mut(*host) {
                for address in &port.remote_addresses {
                    host.by_address.insert(*address, host.ports.len());
                }
                host.ports.push(port);
            }
        }
        link
    }

    /// The host with this address on a link.
    #[must_use]
    pub fn neighbour(&self, host: HostId, address: IpAddr) -> Option<&Port> {
        let host = self.hosts.get(host)?;
        host.ports.get(*host.by_address.get(&address)?)
    }

    /// All hosts of these roles.
    pub fn of_role(&self, roles: &'static [Role]) -> impl Iterator<Item = HostId> {
        let hosts = (0..).zip(&self.hosts);
        hosts.filter_map(|(id, host)| roles.contains(&host.role).then_some(id))
    }
}

fn local(networks: &[IpNetwork]) -> LocalAddresses {
    let mut local = LocalAddresses::default();
    for network in networks {
        match network {
            IpNetwork::V4(v4) => local.ipv4 = Some(v4.ip()),
            IpNetwork::V6(v6) => local.ipv6 = Some(v6.ip()),
        }
    }
    local
}
