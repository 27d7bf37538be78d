//! What the machine's links and default routes show, and what routers say on its links: addresses for the speaker's next hops,
//! facts for the plan.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use flatroute_bgp_io as bgp_io;
use flatroute_fib_io as fib_io;
use ipnetwork::IpNetwork;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::Event;
use super::carry::tell;
use super::gateways::Gateways;
use super::routers::{self, Memory};

pub(crate) type Links = watch::Receiver<Vec<fib_io::links::Interface>>;
pub(crate) type DefaultRoutes = watch::Receiver<BTreeSet<fib_io::gateways::Gateway>>;
pub(crate) type Heard = watch::Receiver<BTreeMap<u32, flatroute_nd::Heard>>;

/// Gives the speaker the addresses for its next hops, and tells which interfaces, default gateways and routers there are.
pub(crate) async fn carry_links(
    (mut links, mut default_routes, mut heard): (Links, DefaultRoutes, Heard),
    mut memory: Memory,
    bgp: bgp_io::Handle,
    teller: mpsc::Sender<Event>,
) {
    let mut gateways = Gateways::default();
    loop {
        gateways.update(present(&default_routes.borrow_and_update()), Instant::now());
        let (addressed, facts) = {
            let (links, heard) = (links.borrow_and_update(), heard.borrow_and_update());
            if let Err(error) = memory.keep(&heard) {
                let text = format!(
                    "the state directory cannot be written, so a restart has to find its neighbours anew: {error}"
                );
                tell(&teller, "StateNotKept", None, text);
            }
            (addressed(&links), facts(&links, gateways.all(), &heard))
        };
        if bgp.interfaces(addressed).await.is_err() || teller.send(Event::Links(facts)).await.is_err() {
            return;
        }
        let expiry = gateways.next_expiry();
        let changed = tokio::select! {
            changed = links.changed() => changed.map_err(|_| "links are"),
            changed = default_routes.changed() => changed.map_err(|_| "default routes are"),
            changed = heard.changed() => changed.map_err(|_| "router advertisements are"),
            () = tokio::time::sleep_until(expiry.unwrap_or_else(Instant::now)), if expiry.is_some() => Ok(()),
        };
        if let Err(what) = changed {
            let text = format!("the node's {what} out of reach");
            _ = teller.send(Event::Failed(text)).await;
            return;
        }
    }
}

/// The gateways that there are, as facts for a plan.
pub(crate) fn present(found: &BTreeSet<fib_io::gateways::Gateway>) -> BTreeSet<flatroute_plan::Gateway> {
    found
        .iter()
        .map(|gateway| flatroute_plan::Gateway {
            address: gateway.address,
            interface: is_link_local(gateway.address).then_some(gateway.interface),
            protocol: gateway.protocol,
        })
        .collect()
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

pub(crate) fn addressed(links: &[fib_io::links::Interface]) -> Vec<bgp_io::Interface> {
    let interface = |link: &fib_io::links::Interface| bgp_io::Interface {
        index: link.index,
        addresses: link.addresses.clone(),
    };
    links.iter().map(interface).collect()
}

pub(crate) fn facts(
    links: &[fib_io::links::Interface],
    default_gateways: BTreeSet<flatroute_plan::Gateway>,
    heard: &BTreeMap<u32, flatroute_nd::Heard>,
) -> flatroute_plan::Links {
    let is_link_local = |address: &IpNetwork| is_link_local(address.ip());
    let has_address = |index: u32| {
        let mut found = links.iter().filter(|link| link.index == index);
        found.any(|link| link.addresses.iter().any(is_link_local))
    };
    let on_link = |address: &IpNetwork| IpNetwork::new(address.network(), address.prefix()).ok();
    // A prefix of one address, as the link of each pod has, has no room for a neighbour.
    let has_room = |network: &IpNetwork| network.prefix() < if network.is_ipv4() { 32 } else { 128 };
    let networks = |link: &fib_io::links::Interface| -> BTreeSet<IpNetwork> {
        let networks = link
            .addresses
            .iter()
            .filter(|a| !a.ip().is_loopback() && !is_link_local(a));
        networks.filter_map(on_link).filter(has_room).collect()
    };
    flatroute_plan::Links {
        interfaces: links.iter().map(|link| (link.name.clone(), link.index)).collect(),
        on_link: links
            .iter()
            .flat_map(|link| &link.addresses)
            .filter(|address| !address.ip().is_loopback())
            .filter_map(on_link)
            .collect(),
        networks: links
            .iter()
            .map(|link| (link.name.clone(), networks(link)))
            .filter(|(_, networks)| !networks.is_empty())
            .collect(),
        default_gateways,
        addresses: links
            .iter()
            .flat_map(|link| &link.addresses)
            .filter(|address| !address.ip().is_loopback() && !is_link_local(address))
            .map(IpNetwork::ip)
            .collect(),
        heard: routers::facts(heard, has_address),
    }
}
