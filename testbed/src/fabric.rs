//! A topology made real: a network namespace for each router, a veth pair for each link.
//!
//! What is here is what a data centre's wiring would be: interfaces, link addresses, router addresses. No route is
//! added, so what a router knows beyond its own links it has learned.
//!
//! The two ends of a veth pair get different interface indexes, unique in the whole fabric: ends with equal ones report
//! the loss of carrier up to a second late. A router is cut by taking down its ends of all its links, which its
//! neighbours see as loss of carrier, as if its power had gone; its IPv6 addresses go with that and come back when it
//! is restored.

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use flatroute_netlink::{LinkChange, Veth, VethEnd};

use crate::namespace::Namespace;
use crate::topology::{LinkEnd, Numbering, Router, RouterId, Topology};

/// Interface indexes of link ends count up from here.
const FIRST_INDEX: u32 = 100;

/// A topology and the namespaces that it became.
#[derive(Debug)]
pub struct Fabric {
    topology: Topology,
    namespaces: Vec<Namespace>,
}

impl Fabric {
    /// Builds the whole fabric.
    ///
    /// # Errors
    /// The kernel refuses something; the message names the router or the link.
    pub fn build(topology: Topology) -> Result<Self> {
        let mut namespaces = Vec::new();
        for router in &topology.routers {
            let namespace = Namespace::create(&router.name)?;
            // Nothing on these links can hold a second copy of an address: no waiting for detection (RFC 4862 §5.4).
            for which in ["all", "default"] {
                namespace.set(&format!("net/ipv6/conf/{which}/accept_dad"), "0")?;
            }
            let mut netlink = namespace.netlink()?;
            let loopback = netlink.link_by_name("lo")?.context("a namespace without lo")?;
            netlink.add_address(loopback.index, router.ipv4.into(), 32)?;
            netlink.add_address(loopback.index, router.ipv6.into(), 128)?;
            namespaces.push(namespace);
        }
        let fabric = Self { topology, namespaces };
        fabric.wire()?;
        Ok(fabric)
    }

    fn wire(&self) -> Result<()> {
        let mut index = FIRST_INDEX;
        let mut here = flatroute_netlink::Socket::open()?;
        for link in &self.topology.links {
            let (upper, lower) = (
                self.of(link.upper.router).file()?,
                self.of(link.lower.router).file()?,
            );
            let near = VethEnd {
                name: &link.upper.interface,
                index: Some(index),
                netns: Some(upper.as_fd()),
                ..VethEnd::default()
            };
            let peer = VethEnd {
                name: &link.lower.interface,
                index: Some(index + 1),
                netns: Some(lower.as_fd()),
                ..VethEnd::default()
            };
            here.add_veth(&Veth { near, peer }).context("create a link")?;
            index += 2;
        }
        for end in self.topology.ends() {
            self.raise(end)?;
        }
        Ok(())
    }

    /// Takes an interface up and gives it those of its addresses that it does not have.
    fn raise(&self, end: &LinkEnd) -> Result<()> {
        let mut netlink = self.of(end.router).netlink()?;
        let link = netlink
            .link_by_name(&end.interface)?
            .with_context(|| format!("{}: no interface {}", self.router(end).name, end.interface))?;
        netlink.set_up(link.index)?;
        let addresses = match self.topology.numbering {
            Numbering::Numbered => vec![(end.ipv4.into(), 31), (end.ipv6.into(), 127)],
            Numbering::Unnumbered => Vec::new(),
        };
        for (address, length) in addresses {
            match netlink.add_address(link.index, address, length) {
                Err(error) if error.is_exists() => {}
                result => result?,
            }
        }
        Ok(())
    }

    /// The plan that was built.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// A router's namespace.
    ///
    /// # Errors
    /// There is no router of that name.
    pub fn namespace(&self, router: &str) -> Result<&Namespace> {
        self.namespaces
            .iter()
            .find(|namespace| namespace.name() == router)
            .with_context(|| format!("no router {router} in this fabric"))
    }

    fn of(&self, id: RouterId) -> &Namespace {
        &self.namespaces[id.0]
    }

    fn router(&self, end: &LinkEnd) -> &Router {
        self.topology.router(end.router)
    }

    /// Takes all links of a router down at its own end; its neighbours lose carrier. Says when that began and how long
    /// it took.
    ///
    /// # Errors
    /// No such router, or the kernel refuses.
    pub fn cut(&self, router: &str) -> Result<(Instant, Duration)> {
        let mut netlink = self.namespace(router)?.netlink()?;
        let indexes: Vec<u32> = netlink
            .links()?
            .into_iter()
            .filter(|link| link.name.starts_with("to-"))
            .map(|link| link.index)
            .collect();
        let start = Instant::now();
        for index in indexes {
            netlink.change_link(
                index,
                &LinkChange {
                    up: Some(false),
                    ..LinkChange::default()
                },
            )?;
        }
        Ok((start, start.elapsed()))
    }

    /// Undoes [`Fabric::cut`].
    ///
    /// # Errors
    /// No such router, or the kernel refuses.
    pub fn restore(&self, router: &str) -> Result<()> {
        let name = self.namespace(router)?.name();
        self.topology
            .ends()
            .filter(|end| self.router(end).name == name)
            .try_for_each(|end| self.raise(end))
    }
}
