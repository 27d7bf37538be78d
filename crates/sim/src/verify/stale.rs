//! Stale paths beside fresh ones. A neighbour that is away may forward still, but where an equal path comes from one that is there
//! the flows leave it: no kernel sends some of a prefix's packets to who is away and the others to who is there.

use std::collections::BTreeSet;
use std::net::IpAddr;

use flatroute_bgp::rib::RouteView;
use flatroute_bgp::speaker::{RouteEntry, RouteQuery};
use flatroute_bgp::types::PeerName;

use crate::topology::HostId;
use crate::world::World;

/// What becomes of the stale paths that a host keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stale {
    /// How many there are.
    pub stale: usize,
    /// How many of them gave way to fresh ones in the kernel.
    pub left: usize,
}

/// No route of a host's kernel has legs by a session that is gone, or by what was not said again since, beside legs by what a
/// neighbour says now.
///
/// # Errors
/// The first route that has, in words.
pub fn stale(world: &World, host: HostId) -> Result<Stale, String> {
    let machine = &world.machines[host];
    let Some(speaker) = &machine.speaker else {
        return Ok(Stale::default());
    };
    let present: BTreeSet<PeerName> = speaker
        .peers(world.now)
        .into_iter()
        .filter(|peer| peer.negotiated.is_some())
        .map(|peer| peer.name)
        .collect();
    let query = RouteQuery {
        view: RouteView::Accepted,
        peer: None,
        within: None,
        limit: usize::MAX,
    };
    let paths = speaker.routes(&query);
    let is_stale = |path: &RouteEntry| path.stale || path.peer.as_ref().is_some_and(|p| !present.contains(p));
    let of_gateway = |path: &RouteEntry, gateway: &IpAddr| {
        path.attributes.next_hop.is_some_and(|hop| hop.addr() == *gateway)
    };
    let mut found = Stale::default();
    for (prefix, gateways) in machine.kernel.routes() {
        let known: Vec<&RouteEntry> = paths.iter().filter(|path| path.prefix == prefix).collect();
        let mut legs = known
            .iter()
            .filter(|path| gateways.iter().any(|gateway| of_gateway(path, gateway)));
        let (old, new): (Vec<&RouteEntry>, Vec<&RouteEntry>) = legs.by_ref().partition(|path| is_stale(path));
        if let (Some(old), Some(new)) = (old.first(), new.first()) {
            let of = |path: &RouteEntry| path.peer.as_ref().map_or_else(String::new, ToString::to_string);
            return Err(format!(
                "the kernel of {} has {prefix} by way of {}, whose path is stale, beside {}, whose path is not",
                world.name(host),
                of(old),
                of(new)
            ));
        }
        let kept = known.iter().filter(|path| is_stale(path)).count();
        found.stale += kept;
        if old.is_empty() && !new.is_empty() {
            found.left += kept;
        }
    }
    Ok(found)
}
