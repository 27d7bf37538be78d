//! How a pair is configured, and how it is built: the peer's namespace, ours, and where a cell needs a third speaker, its own.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, Result};

use super::{Pair, THEIRS, prefix};
use crate::fabric::Fabric;
use crate::interop::ours::{self, Ours};
use crate::interop::peer::{Kind, Options, Originated, Peer, Place, Transport};
use crate::sandbox;
use crate::speaker::Speaker;
use crate::topology::{FIRST_TOR_ASN, Link, NODE_ASN, PodCidrs, Router, Size, Tier, Topology};

/// How a pair is configured, before it is started.
#[derive(Debug, Clone)]
pub struct Plan {
    kind: Kind,
    /// The peer's side.
    pub its: Options,
    /// Our side.
    pub ours: Ours,
    /// Further agents, where two speakers are not enough.
    pub thirds: Vec<Third>,
}

/// Whose neighbour a third speaker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// The peer's; there is at most one.
    Peer,
    /// Ours.
    Us,
}

/// Another agent of ours with one neighbour, in a namespace of its own.
#[derive(Debug, Clone)]
pub struct Third {
    /// Whose neighbour it is, over a link between the two.
    pub beside: Beside,
    /// How it is configured.
    pub its: Ours,
    /// What it originates, of IPv4 and of IPv6.
    pub cidrs: [&'static str; 2],
}

impl Third {
    /// The router of the fabric that it runs on, the `n`th of those beside the same neighbour.
    fn router(&self, fabric: &Fabric, n: usize) -> Result<Router> {
        let tier = match self.beside {
            Beside::Peer => Tier::Node,
            Beside::Us => Tier::Tor,
        };
        let mut routers = fabric.topology().tier(tier).skip(1);
        let mut router = routers.nth(n).context("a third router")?.clone();
        let [ipv4, ipv6] = self.cidrs;
        router.pod_cidrs = Some(PodCidrs {
            ipv4: ipv4.parse().context("a prefix of IPv4")?,
            ipv6: ipv6.parse().context("a prefix of IPv6")?,
        });
        Ok(router)
    }
}

/// A third speaker that runs.
pub(super) struct Running {
    pub(super) speaker: Speaker,
    pub(super) router: Router,
    /// Its neighbour's address.
    pub(super) neighbour: IpAddr,
}

impl Plan {
    /// The ordinary case: IPv4 transport, we dial, the peer waits, a route of each family from the peer.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        let its = Options {
            transport: Transport::IPv4,
            passive: true,
            asn: FIRST_TOR_ASN,
            our_asn: NODE_ASN,
            hold: 90,
            two_octet: false,
            limit: None,
            ttl_security: false,
            key: None,
            small_buffers: false,
            graceful_restart: None,
            restarted: false,
            long_lived: None,
            add_path: false,
            role: None,
            cluster: None,
            beside: None,
            originated: THEIRS
                .iter()
                .map(|text| Originated::plain(prefix(text)))
                .collect(),
            passed_on: Vec::new(),
        };
        Self {
            kind,
            its,
            ours: Ours::new(FIRST_TOR_ASN).with("connectMode", "Active"),
            thirds: Vec::new(),
        }
    }

    /// Our identifier, as the fabric will have it.
    ///
    /// # Errors
    /// There is no node in it.
    pub fn our_id() -> Result<Ipv4Addr> {
        let smallest = Topology::leaf_spine(Size {
            racks: 1,
            tors: 1,
            nodes: 1,
            spines: 0,
        });
        Ok(smallest.nodes().next().context("a node")?.ipv4)
    }

    /// The same inside one AS: ours.
    #[must_use]
    pub fn internal(kind: Kind) -> Self {
        let mut plan = Self::new(kind);
        plan.its.asn = NODE_ASN;
        plan.ours.peer_asn = NODE_ASN;
        plan
    }

    /// With a neighbour of the peer's beside us.
    #[must_use]
    pub fn with_neighbour_of_peer(mut self, asn: u32, cidrs: [&'static str; 2]) -> Self {
        self.its.beside = Some(asn);
        let mut its = Ours::new(self.its.asn).with("families", "[IPv4]");
        its.asn = asn;
        self.thirds.push(Third {
            beside: Beside::Peer,
            its,
            cidrs,
        });
        self
    }

    /// With a neighbour of ours beside the peer.
    #[must_use]
    pub fn with_neighbour_of_ours(mut self, asn: u32, cidrs: [&'static str; 2]) -> Self {
        let mut its = Ours::new(self.ours.asn);
        its.asn = asn;
        self.thirds.push(Third {
            beside: Beside::Us,
            its,
            cidrs,
        });
        self
    }

    /// The peer dials and we wait.
    #[must_use]
    pub fn peer_dials(mut self) -> Self {
        self.its.passive = false;
        self.ours = self.ours.with("connectMode", "Passive");
        self
    }

    /// Builds the link and starts both sides.
    ///
    /// # Errors
    /// One does not start.
    pub fn start(self) -> Result<Pair> {
        self.start_with(|_| Ok(()))
    }

    /// As [`Plan::start`], with something done to the fabric before.
    ///
    /// # Errors
    /// As [`Plan::start`], or that of `prepare`.
    pub fn start_with(self, prepare: impl FnOnce(&Fabric) -> Result<()>) -> Result<Pair> {
        let beside = |whom| self.thirds.iter().filter(|third| third.beside == whom).count();
        let fabric = Fabric::build(Topology::leaf_spine(Size {
            racks: 1,
            tors: 1 + u16::try_from(beside(Beside::Us))?,
            nodes: 1 + u16::try_from(beside(Beside::Peer))?,
            spines: 0,
        }))?;
        prepare(&fabric)?;
        let peer = self.start_peer(&fabric)?;
        let node = fabric.topology().nodes().next().context("a node")?;
        let address = self.its.transport.of(&link(&fabric)?.upper);
        let mut manifests = self.ours.manifests(node, address);
        let mut thirds = Vec::new();
        for (n, third) in self.thirds.iter().enumerate() {
            let before = self.thirds.iter().take(n);
            let n = before.filter(|other| other.beside == third.beside).count();
            let router = third.router(&fabric, n)?;
            let neighbour = match third.beside {
                Beside::Peer => self.its.transport.of(&between(
                    &fabric,
                    &router_of(&fabric, Tier::Tor)?.name,
                    &router.name,
                )?
                .upper),
                Beside::Us => {
                    let link = between(&fabric, &router.name, &node.name)?;
                    let its = self.its.transport.of(&link.upper);
                    manifests.push(ours::neighbour_beside(n, its, third.its.asn));
                    self.its.transport.of(&link.lower)
                }
            };
            let speaker = Speaker::start_agent(&fabric, &router, &third.its.manifests(&router, neighbour))?;
            thirds.push(Running {
                speaker,
                router,
                neighbour,
            });
        }
        let agent = Speaker::start_agent(&fabric, node, &manifests)?;
        Ok(Pair {
            fabric,
            plan: self,
            peer,
            agent,
            thirds,
        })
    }

    pub(super) fn start_peer(&self, fabric: &Fabric) -> Result<Box<dyn Peer>> {
        let router = router_of(fabric, Tier::Tor)?;
        let dir = sandbox::room().join("lab").join(&router.name);
        fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        let links = &fabric.topology().links;
        let link = link(fabric)?;
        let second = links
            .iter()
            .skip(1)
            .find(|other| other.upper.router == link.upper.router);
        let place = Place {
            namespace: fabric.namespace(&router.name)?.clone(),
            dir,
            its: link.upper.clone(),
            ours: link.lower.clone(),
            beside: second.map(|link| (link.upper.clone(), link.lower.clone())),
            id: router.ipv4,
        };
        self.kind.start(place, self.its.clone())
    }
}

/// The link between the peer and us.
pub(super) fn link(fabric: &Fabric) -> Result<&Link> {
    fabric.topology().links.first().context("a link")
}

/// The link between a router and a node.
pub(super) fn between<'a>(fabric: &'a Fabric, upper: &str, lower: &str) -> Result<&'a Link> {
    let topology = fabric.topology();
    let joins = |link: &&Link| {
        topology.router(link.upper.router).name == upper && topology.router(link.lower.router).name == lower
    };
    let found = topology.links.iter().find(joins);
    found.with_context(|| format!("no link between {upper} and {lower}"))
}

/// The first router of a tier: the peer's, or ours.
pub(super) fn router_of(fabric: &Fabric, tier: Tier) -> Result<&Router> {
    fabric.topology().tier(tier).next().context("a router")
}
