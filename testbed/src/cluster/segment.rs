//! The other shape of a site: all nodes on one segment of layer 2, the first of them with the control plane, as kubeadm makes
//! it; and nobody but the nodes speaks BGP.
//!
//! ```text
//! segment ──┬── node1 (with the control plane), node2 …   10.1.0.N, fd00:10:1::N
//!           └── the gateway, which is the bridge itself   10.1.0.254, fd00:10:1::fe
//! ```
//!
//! Here flatroute gets no object at all: nodes on one link are neighbours of each other (`nodeMesh: Auto`). The default route
//! is there because addresses of Services need some route before kube-proxy gives them another destination; the gateway
//! forwards nothing, so it cannot stand in for a learned route. The control plane is on a node because pods talk to the API
//! server with their own addresses, and a machine that is no node would know no way back.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result};
use flatroute_netlink::packet::link::InfoKind;
use flatroute_netlink::{LinkChange, Veth, VethEnd};

use super::ground::batch;
use super::site::{Families, Site};
use crate::fabric::Fabric;
use crate::namespace::Namespace;

/// The name of the switch's network namespace.
pub const NAME: &str = "segment";
/// The interface of every machine on it.
pub const INTERFACE: &str = "to-segment";
/// The default gateway.
pub const GATEWAY: (Ipv4Addr, Ipv6Addr) = (
    Ipv4Addr::new(10, 1, 0, 254),
    Ipv6Addr::new(0xfd00, 0x10, 1, 0, 0, 0, 0, 0xfe),
);
/// Prefix lengths of the segment, IPv4 and IPv6.
const LENGTHS: (u8, u8) = (24, 64);
/// The bridge.
const BRIDGE: &str = "bridge";
/// Interface indexes: of the ports, two for each, count up from here.
const FIRST_INDEX: u32 = 100;

/// Makes the switch, plugs every node in, and returns the one with the control plane.
pub(super) fn join(fabric: &Fabric, site: &Site) -> Result<Namespace> {
    let switch = Namespace::create(NAME)?;
    let mut netlink = switch.netlink()?;
    netlink.add_link(BRIDGE, InfoKind::Bridge)?;
    let bridge = netlink.link_by_name(BRIDGE)?.context("the bridge")?.index;
    for which in ["all", "default"] {
        switch.set(&format!("net/ipv6/conf/{which}/accept_dad"), "0")?;
    }
    netlink.set_up(bridge)?;
    netlink.add_address(bridge, GATEWAY.0.into(), LENGTHS.0)?;
    netlink.add_address(bridge, GATEWAY.1.into(), LENGTHS.1)?;
    let mut index = FIRST_INDEX;
    for router in site.topology.nodes() {
        let namespace = fabric.namespace(&router.name)?;
        // An address of the segment belongs to the interface there.
        batch(
            namespace,
            false,
            &[format!("address del {}/32 dev lo", router.ipv4)],
        )?;
        batch(
            namespace,
            true,
            &[format!("address del {}/128 dev lo", router.ipv6)],
        )?;
        let own = (router.ipv4, router.ipv6);
        plug(
            (&switch, bridge),
            (namespace, &router.name),
            index,
            own,
            site.families,
        )?;
        index += 2;
    }
    let first = site.topology.nodes().next().context("a node")?;
    fabric.namespace(&first.name).cloned()
}

/// A cable between the switch and a machine, with the machine's addresses.
fn plug(
    (switch, bridge): (&Namespace, u32),
    (machine, name): (&Namespace, &str),
    index: u32,
    own: (Ipv4Addr, Ipv6Addr),
    families: Families,
) -> Result<()> {
    let (upper, lower) = (switch.file()?, machine.file()?);
    let port = format!("to-{name}");
    let near = VethEnd {
        name: &port,
        index: Some(index),
        netns: Some(upper.as_fd()),
        ..VethEnd::default()
    };
    let peer = VethEnd {
        name: INTERFACE,
        index: Some(index + 1),
        netns: Some(lower.as_fd()),
        ..VethEnd::default()
    };
    flatroute_netlink::Socket::open()?
        .add_veth(&Veth { near, peer })
        .with_context(|| format!("the cable of {name}"))?;
    let mut netlink = switch.netlink()?;
    netlink.change_link(
        index,
        &LinkChange {
            up: Some(true),
            controller: Some(bridge),
            ..LinkChange::default()
        },
    )?;
    let mut netlink = machine.netlink()?;
    netlink.set_up(index + 1)?;
    if families.has(false) {
        netlink.add_address(index + 1, own.0.into(), LENGTHS.0)?;
    }
    if families.has(true) {
        netlink.add_address(index + 1, own.1.into(), LENGTHS.1)?;
    }
    Ok(())
}

/// The segment, for a terminal.
pub(super) fn drawing(site: &Site) -> String {
    let mut text = "one segment, 10.1.0.0/24 and fd00:10:1::/64\n".to_owned();
    let mut role = ", control plane";
    for router in site.topology.nodes() {
        let machine = format!("{}{role}", router.name);
        text.push_str(&format!("  ├── {machine:22} {}, {}\n", router.ipv4, router.ipv6));
        role = "";
    }
    text.push_str(&format!("  └── {:22} {}, {}\n", "gateway", GATEWAY.0, GATEWAY.1));
    text
}
