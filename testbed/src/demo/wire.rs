//! A look at the wire: what the outermost headers between two racks say.
//!
//! Three captures at once: at the node that sends, at the node that receives, inside the receiving pod. The first two
//! see everything on the nodes' uplinks, BGP included; the third proves what arrives.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, ensure};

use super::Teller;
use super::story::FLOWS;
use crate::capture::{Capture, Seen};
use crate::lab::Lab;
use crate::paint::table;
use crate::pod::Pod;
use crate::probe;

/// What a pod's packets begin with.
const FIRST_TTL: u8 = 64;
/// TCP port of BGP.
const BGP: u16 = 179;

/// What each place saw.
struct Views {
    near: BTreeMap<Seen, u64>,
    far: BTreeMap<Seen, u64>,
    inside: BTreeMap<Seen, u64>,
}

/// The chapter.
pub(super) fn tell(teller: &Teller, lab: &Lab) -> Result<()> {
    teller.chapter("What is on the wire");
    let (from, to) = (lab.pod("node1-pod1")?, lab.pod("node3-pod1")?);
    teller.say(&format!(
        "capturing at {}, at {} and inside {} while {} asks it",
        from.node, to.node, to.name, from.name
    ));
    let views = capture(lab, from, to)?;
    print_headers(lab, &views, from, to)?;
    let on_links = || views.near.keys().chain(views.far.keys());
    let wrapped: Vec<_> = on_links()
        .chain(views.inside.keys())
        .filter(|seen| seen.is_tunnel())
        .collect();
    ensure!(
        wrapped.is_empty(),
        "encapsulated packets on the wire: {wrapped:?}"
    );
    let strangers: Vec<_> = on_links().filter(|seen| !is_expected(lab, seen)).collect();
    ensure!(
        strangers.is_empty(),
        "packets that are neither pods' nor BGP's nor neighbour discovery's: {strangers:?}"
    );
    let frames: u64 = views.near.values().chain(views.far.values()).sum();
    teller.say(&format!(
        "{frames} frames at both nodes: pods' own addresses outermost, and BGP and neighbour discovery;"
    ));
    teller.say(
        "none is IP in IP (protocols 4, 41), GRE (47), IPsec, VXLAN or Geneve; TTL fell by one a router",
    );
    for ipv6 in [false, true] {
        let leaving = |seen: &&Seen| seen.destination == to.address(ipv6) && seen.ttl == FIRST_TTL - 1;
        let uplinks: BTreeSet<_> = views.near.keys().filter(leaving).map(|seen| seen.mac).collect();
        let family = if ipv6 { "IPv6" } else { "IPv4" };
        teller.say(&format!(
            "{FLOWS} flows of {family} left {} by {} uplinks",
            from.node,
            uplinks.len()
        ));
        ensure!(
            uplinks.len() == 2,
            "the flows did not spread over both uplinks: is fib_multipath_hash_policy 1?"
        );
    }
    Ok(())
}

fn capture(lab: &Lab, from: &Pod, to: &Pod) -> Result<Views> {
    let near = Capture::start(lab.fabric.namespace(&from.node)?)?;
    let far = Capture::start(lab.fabric.namespace(&to.node)?)?;
    let inside = Capture::start(&to.namespace)?;
    for ipv6 in [false, true] {
        let target = SocketAddr::new(to.address(ipv6), probe::PORT);
        for _ in 0..FLOWS {
            let asked = from
                .namespace
                .run(|| Ok(probe::ask_by_udp(from.address(ipv6), target)?));
            asked.with_context(|| format!("{} asks {target}", from.name))?;
        }
    }
    Ok(Views {
        near: near.finish()?,
        far: far.finish()?,
        inside: inside.finish()?,
    })
}

/// One packet of each family at each place, and the TTL that it must have there.
fn print_headers(lab: &Lab, views: &Views, from: &Pod, to: &Pod) -> Result<()> {
    let node = |name: &str| lab.fabric.topology().find(name).context("a pod on no node");
    let hops = lab.fabric.topology().hops(node(&from.node)?, node(&to.node)?);
    let mut rows = vec![
        ["where", "outer source", "outer destination", "protocol", "TTL"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for ipv6 in [false, true] {
        let wanted = |seen: &&Seen, ttl| {
            (seen.source, seen.destination) == (from.address(ipv6), to.address(ipv6)) && seen.ttl == ttl
        };
        for (place, view, passed) in [
            (format!("{} uplinks", from.node), &views.near, 1),
            (format!("{} uplinks", to.node), &views.far, hops - 1),
            (format!("in {}", to.name), &views.inside, hops),
        ] {
            let ttl = FIRST_TTL - passed;
            let seen = view.keys().find(|seen| wanted(seen, ttl) && seen.ports.is_some());
            let seen =
                seen.with_context(|| format!("{place}: no packet with TTL {ttl}; seen: {:?}", view.keys()))?;
            let (source, destination) = (seen.source.to_string(), seen.destination.to_string());
            rows.push(vec![
                place,
                source,
                destination,
                seen.protocol_name(),
                ttl.to_string(),
            ]);
        }
    }
    print!("{}", table(&rows));
    Ok(())
}

/// Pod to pod, BGP, neighbour discovery and the like on one link: nothing else belongs on a node's links.
fn is_expected(lab: &Lab, seen: &Seen) -> bool {
    let is_pod = |address: IpAddr| {
        lab.pods
            .iter()
            .any(|pod| [false, true].iter().any(|v6| pod.address(*v6) == address))
    };
    let is_bgp = seen.protocol == 6 && seen.ports.is_some_and(|(from, to)| from == BGP || to == BGP);
    // ICMPv6, or hop-by-hop options before it (multicast listener reports).
    let is_discovery = matches!(seen.protocol, 58 | 0);
    (is_pod(seen.source) && is_pod(seen.destination)) || is_bgp || is_discovery
}
