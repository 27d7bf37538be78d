//! Pods wired by the testbed itself, for tests of the fabric alone: a veth pair, host routes, permanent neighbours.
//!
//! The shape is that of the plugin's pods, so that a packet takes the same way: no bridge, a /32 and a /128, a gateway
//! that nobody owns and whose neighbour entry is permanent.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result};
use flatroute_netlink::{NextHop, Route, Socket, Veth, VethEnd};

use super::{POD_INTERFACE, Pod};
use crate::fabric::Fabric;
use crate::namespace::Namespace;
use crate::topology::Router;

/// The gateway of both families.
const GATEWAY: (Ipv4Addr, Ipv6Addr) = (
    Ipv4Addr::new(169, 254, 1, 1),
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1),
);
/// Route protocol of what a hand makes (RTPROT_STATIC).
const STATIC: u8 = 4;

/// One end of the pair, with the socket of its namespace.
struct End {
    netlink: Socket,
    index: u32,
    mac: [u8; 6],
}

/// Wires the pod of that number on a node; its addresses follow from the number.
///
/// # Errors
/// The kernel refuses something.
pub fn wire_by_hand(fabric: &Fabric, node: &Router, number: u16) -> Result<Pod> {
    let cidrs = node
        .pod_cidrs
        .with_context(|| format!("{} has no pod CIDRs", node.name))?;
    let name = format!("{}-pod{number}", node.name);
    let namespace = Namespace::create(&name)?;
    let ipv4 = Ipv4Addr::from(u32::from(cidrs.ipv4.network()) + 10 + u32::from(number));
    let ipv6 = Ipv6Addr::from(u128::from(cidrs.ipv6.network()) + 10 + u128::from(number));
    let [_, octet] = number.to_be_bytes();
    let end = |namespace: &Namespace, base: u32, side: u8| -> Result<End> {
        Ok(End {
            netlink: namespace.netlink()?,
            index: base + u32::from(number),
            mac: [2, 0xfb, 0, 0, side, octet],
        })
    };
    let mut host = end(fabric.namespace(&node.name)?, 50, 0)?;
    let mut pod = end(&namespace, 10, 1)?;
    let file = namespace.file()?;
    let host_name = format!("pod{number}");
    let near = VethEnd {
        name: &host_name,
        index: Some(host.index),
        mac: Some(host.mac),
        ..VethEnd::default()
    };
    let peer = VethEnd {
        name: POD_INTERFACE,
        index: Some(pod.index),
        mac: Some(pod.mac),
        netns: Some(file.as_fd()),
        ..VethEnd::default()
    };
    host.netlink.add_veth(&Veth { near, peer })?;
    host.netlink.set_up(host.index)?;
    pod.netlink.set_up(pod.index)?;
    address(&mut host, &mut pod, ipv4.into(), GATEWAY.0.into())?;
    address(&mut host, &mut pod, ipv6.into(), GATEWAY.1.into())?;
    Ok(Pod {
        name,
        node: node.name.clone(),
        namespace,
        ipv4,
        ipv6,
        result: None,
        wishes: serde_json::Map::new(),
    })
}

/// One family: the address in the pod, the routes and neighbours on both sides.
fn address(host: &mut End, pod: &mut End, address: IpAddr, gateway: IpAddr) -> Result<()> {
    let (length, any) = match address {
        IpAddr::V4(_) => (32, Ipv4Addr::UNSPECIFIED.into()),
        IpAddr::V6(_) => (128, Ipv6Addr::UNSPECIFIED.into()),
    };
    let route = |destination, prefix_len, next_hop| Route {
        destination,
        prefix_len,
        next_hop,
        source: None,
        protocol: STATIC,
    };
    pod.netlink.add_address(pod.index, address, length)?;
    pod.netlink
        .add_permanent_neighbour(pod.index, gateway, host.mac)?;
    host.netlink
        .add_permanent_neighbour(host.index, address, pod.mac)?;
    host.netlink
        .add_route(&route(address, length, NextHop::Link { index: host.index }))?;
    let default = NextHop::Gateway {
        via: gateway,
        index: Some(pod.index),
        onlink: true,
    };
    Ok(pod.netlink.add_route(&route(any, 0, default))?)
}
