//! What the machine's links and default routes show: addresses for the speaker's next hops, facts for the plan.

use std::collections::BTreeSet;
use std::net::IpAddr;

use flatroute_bgp_io as bgp_io;
use flatroute_fib_io as fib_io;
use ipnetwork::IpNetwork;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::Event;
use super::gateways::Gateways;

pub(crate) type Links = watch::Receiver<Vec<fib_io::links::Interface>>;
pub(crate) type DefaultRoutes = watch::Receiver<BTreeSet<fib_io::gateways::Gateway>>;

/// Gives the speaker the addresses for its next hops, and tells which interfaces and default gateways there are.
pub(crate) async fn carry_links(
    (mut links, mut default_routes): (Links, DefaultRoutes),
    bgp: bgp_io::Handle,
    teller: mpsc::Sender<Event>,
) {
    let mut gateways = Gateways::default();
    loop {
        gateways.update(present(&default_routes.borrow_and_update()), Instant::now());
        let (addressed, facts) = {
            let links = links.borrow_and_update();
            (addressed(&links), facts(&links, gateways.all()))
        };
        if bgp.interfaces(addressed).await.is_err() || teller.send(Event::Links(facts)).await.is_err() {
            return;
        }
        let expiry = gateways.next_expiry();
        let changed = tokio::select! {
            changed = links.changed() => changed.map_err(|_| "links are"),
            changed = default_routes.changed() => changed.map_err(|_| "default routes are"),
            () = tokio::time::sleep_until(expiry.unwrap_or_else(Instant::now)), if expiry.is_some() => Ok(()),
        };
        if let Err(what) = changed {
            let text = format!("the node's {what} out of reach over netlink");
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
) -> flatroute_plan::Links {
    let on_link = |address: &IpNetwork| IpNetwork::new(address.network(), address.prefix()).ok();
    flatroute_plan::Links {
        interfaces: links.iter().map(|link| (link.name.clone(), link.index)).collect(),
        on_link: links
            .iter()
            .flat_map(|link| &link.addresses)
            .filter(|address| !address.ip().is_loopback())
            .filter_map(on_link)
            .collect(),
        default_gateways,
        addresses: links
            .iter()
            .flat_map(|link| &link.addresses)
            .map(IpNetwork::ip)
            .filter(|address| !address.is_loopback() && !is_link_local(*address))
            .collect(),
    }
}
