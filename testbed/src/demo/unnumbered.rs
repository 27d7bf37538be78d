//! Links without addresses, proven from the kernels: no interface of the fabric has one but the link-local one that the kernel
//! itself gave it, and every route to a pod, of either family, goes by such an address of a neighbour.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};

use super::Teller;
use crate::lab::Lab;

/// The chapter's words, once it is so.
pub(super) fn tell(teller: &Teller, lab: &Lab) -> Result<()> {
    let ends = expect_no_addresses(lab)?;
    let hops = expect_link_local_next_hops(lab)?;
    teller.say(&format!(
        "no address on any of {ends} ends of links but the kernel's own fe80::, and {hops} next hops of nodes, for IPv4 as for"
    ));
    teller.say("IPv6, are a neighbour's (RFC 8950): each found the other by router advertisements");
    Ok(())
}

fn expect_no_addresses(lab: &Lab) -> Result<usize> {
    let topology = lab.fabric.topology();
    for end in topology.ends() {
        let router = &topology.router(end.router).name;
        let mut netlink = lab.fabric.namespace(router)?.netlink()?;
        let link = netlink
            .link_by_name(&end.interface)?
            .with_context(|| format!("{router}: no interface {}", end.interface))?;
        let addresses = netlink.addresses(link.index)?;
        ensure!(
            addresses.iter().all(|address| is_link_local(address.address)),
            "{router}: {} has an address: {addresses:?}",
            end.interface
        );
    }
    Ok(topology.ends().count())
}

fn expect_link_local_next_hops(lab: &Lab) -> Result<usize> {
    let mut count = 0;
    for node in lab.fabric.topology().nodes() {
        for route in lab.routes_to_pods(&node.name)? {
            // The node's own pods are on links of their own.
            for hop in route.hops.iter().filter(|hop| hop.interface.starts_with("to-")) {
                ensure!(
                    hop.gateway.is_some_and(is_link_local),
                    "{}: another next hop than a link-local one: {route}",
                    node.name
                );
                count += 1;
            }
        }
    }
    ensure!(count > 0, "no node has a route to pods of another one");
    Ok(count)
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}
