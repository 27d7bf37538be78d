//! The sentence about pods that speak for others: as another pod, as somebody outside, as a router, as a DHCP server.
//!
//! What is dropped cannot be waited for. So each pod says afterwards, on the same way, something of its own; when that has
//! arrived, what did not come before it was dropped. And a capture in the pod shows that all of it was really said.

use std::net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket};

use anyhow::{Context as _, Result, ensure};
use flatroute_netlink::NextHop;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, ipproto, sendto, socket_with, sockopt};

use super::{Answer, Scene, ask, ok};
use crate::capture::Capture;
use crate::cluster::ground::batch;
use crate::kernel;
use crate::namespace::Namespace;
use crate::pod::Pod;
use crate::probe;

/// Somebody outside (RFC 5737, RFC 3849).
const STRANGER: [&str; 2] = ["203.0.113.66", "2001:db8:66::66"];
/// The ports of DHCP servers (RFC 2131, RFC 8415).
const DHCP: [u16; 2] = [67, 547];
/// The protocol number of routes that router advertisements made (RTPROT_RA).
const FROM_ADVERTISEMENTS: u8 = 9;
/// A router advertisement (RFC 4861 §4.2): type, code, checksum (the kernel's), hop limit, flags, a lifetime of 1800 s, timers.
const ADVERTISEMENT: [u8; 16] = [134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];

pub(crate) fn m22(scene: &Scene<'_>) -> Answer {
    let (near, far) = scene.far_apart()?;
    let mut said = 0;
    for ipv6 in scene.families() {
        let stranger: IpAddr = STRANGER[usize::from(*ipv6)].parse().context("an address")?;
        let forged = [scene.pair.address(*ipv6), far.address(*ipv6), stranger];
        // With it an address of IPv6 can be sent from at once, and not when a thread of the kernel's has run.
        let at_once = if *ipv6 { " nodad" } else { "" };
        let lines = |verb: &str, more: &str| -> Vec<String> {
            let line = |address| format!("address {verb} {address} dev lo{more}");
            forged.iter().map(line).collect()
        };
        batch(&near.namespace, *ipv6, &lines("add", at_once))?;
        let asked = unguarded(scene, near, *ipv6, || forge(scene, (near, far), *ipv6, &forged));
        batch(&near.namespace, *ipv6, &lines("del", ""))?;
        said += asked?;
        serve_addresses(scene, near, *ipv6)?;
    }
    advertise(scene, near)?;
    // It is the same pod as before, to everybody.
    for ipv6 in scene.families() {
        probe::pair(near, far, *ipv6).map_err(anyhow::Error::msg)?;
    }
    ok(format!(
        "{said} packets with the address of a pod beside it, of one in the other rack, of a stranger: none came to a node, a pod or outside; its DHCP is not heard{}",
        if scene.families().contains(&true) {
            ", nor its router advertisement, even by a host that would listen"
        } else {
            ""
        }
    ))
}

/// Does something while a pod's link lacks the kernel's own check of sources (of IPv4), which on a link without an address
/// is strict whatever it is set to: what is asked for is a check that holds in both families.
fn unguarded<T>(scene: &Scene<'_>, pod: &Pod, ipv6: bool, work: impl FnOnce() -> Result<T>) -> Result<T> {
    if ipv6 {
        return work();
    }
    let node = scene.node(&pod.node)?;
    let setting = format!("net/ipv4/conf/{}/rp_filter", link_of(node, pod, ipv6)?);
    let before = node.read(&setting)?;
    node.set(&setting, "0")?;
    let done = work();
    node.set(&setting, &before)?;
    done
}

/// Sends from addresses of others to a node, a pod of the other rack and the world; how many packets.
fn forge(scene: &Scene<'_>, (near, far): (&Pod, &Pod), ipv6: bool, forged: &[IpAddr]) -> Result<u64> {
    let router = scene.router(&near.node)?;
    let control = scene.ground.site.control();
    let pick = |ipv4, of_ipv6| -> IpAddr {
        if ipv6 {
            IpAddr::V6(of_ipv6)
        } else {
            IpAddr::V4(ipv4)
        }
    };
    let node = scene.node(&near.node)?;
    let hearers = [
        (node, pick(router.ipv4, router.ipv6)),
        (scene.outside(), pick(control.1, control.2)),
    ];
    let mut inboxes = hearers
        .iter()
        .map(|(namespace, address)| ask::open(namespace, *address))
        .collect::<Result<Vec<_>>>()?;
    // A pod whose own address is not forged here: to that one the forger would answer itself.
    let others = scene.pods.iter().rev();
    let mut others = others.filter(|pod| pod.name != near.name && pod.name != far.name);
    if let Some(pod) = others.next() {
        inboxes.push(ask::open(&pod.namespace, pod.address(ipv6))?);
    }
    let own = near.address(ipv6);
    let (inside, wire) = (Capture::start(&near.namespace)?, Capture::start(node)?);
    for inbox in &inboxes {
        let target = inbox.local_addr().context("a socket's address")?;
        for source in forged.iter().chain([&own]) {
            let send = || Ok(UdpSocket::bind((*source, 0))?.send_to(b"it is I", target)?);
            near.namespace
                .run(send)
                .with_context(|| format!("{} sends as {source} to {target}", near.name))?;
        }
        let (_, seen) = ask::receive(inbox).with_context(|| format!("{} to {target}", near.name))?;
        ensure!(seen.ip() == own, "{target} heard the pod {own} as {}", seen.ip());
    }
    let is_forged = |seen: &crate::capture::Seen| seen.ports.is_some() && forged.contains(&seen.source);
    let targets = inboxes
        .iter()
        .filter_map(|inbox| inbox.local_addr().ok())
        .map(|at| at.ip());
    let targets: Vec<IpAddr> = targets.collect();
    let said = inside
        .finish()?
        .into_iter()
        .filter(|(seen, _)| is_forged(seen) && targets.contains(&seen.destination))
        .map(|(_, count)| count)
        .sum();
    let wanted = forged.len() * inboxes.len();
    ensure!(
        said == wanted as u64,
        "{said} of {wanted} forged packets left the pod"
    );
    // On the node they are seen where they come in; what a router passes on has a smaller TTL.
    let passed = wire
        .finish()?
        .into_keys()
        .find(|seen| is_forged(seen) && targets.contains(&seen.destination) && seen.ttl < 64);
    ensure!(passed.is_none(), "the node passed on {passed:?}");
    Ok(said)
}

/// What a DHCP server would say is not heard by the node.
fn serve_addresses(scene: &Scene<'_>, pod: &Pod, ipv6: bool) -> Result<()> {
    let router = scene.router(&pod.node)?;
    let address: IpAddr = if ipv6 {
        router.ipv6.into()
    } else {
        router.ipv4.into()
    };
    let inbox = ask::open(scene.node(&pod.node)?, address)?;
    let target = inbox.local_addr().context("a socket's address")?;
    let own = pod.address(ipv6);
    for (port, word) in [(DHCP[usize::from(ipv6)], "offer"), (0, "own")] {
        let send = || Ok(UdpSocket::bind((own, port))?.send_to(word.as_bytes(), target)?);
        pod.namespace
            .run(send)
            .with_context(|| format!("{}: from port {port}", pod.name))?;
    }
    let (word, _) = ask::receive(&inbox)?;
    ensure!(word == b"own", "{} heard a DHCP server in {}", pod.node, pod.name);
    Ok(())
}

/// What a router in a pod advertises is not heeded by the node, even where the link's own setting would let it.
fn advertise(scene: &Scene<'_>, pod: &Pod) -> Result<()> {
    if !scene.families().contains(&true) {
        return Ok(());
    }
    let node = scene.node(&pod.node)?;
    let setting = format!("net/ipv6/conf/{}/accept_ra", link_of(node, pod, true)?);
    let before = node.read(&setting)?;
    node.set(&setting, "2")?;
    let asked = || -> Result<()> {
        let inbox = ask::open(node, scene.router(&pod.node)?.ipv6.into())?;
        let target = inbox.local_addr().context("a socket's address")?;
        let own = pod.address(true);
        let inside = Capture::start(&pod.namespace)?;
        pod.namespace.run(|| {
            send_advertisement(pod)?;
            Ok(UdpSocket::bind((own, 0))?.send_to(b"own", target)?)
        })?;
        ask::receive(&inbox)?;
        let all_nodes: IpAddr = "ff02::1".parse().context("an address")?;
        let said = inside
            .finish()?
            .into_keys()
            .any(|seen| (seen.protocol, seen.ttl, seen.destination) == (58, 255, all_nodes));
        ensure!(said, "the advertisement did not leave the pod");
        let heeded = kernel::routes_of_all_tables(node)?
            .into_iter()
            .find(|route| route.protocol == FROM_ADVERTISEMENTS);
        ensure!(heeded.is_none(), "{} heeded it: {heeded:?}", pod.node);
        Ok(())
    };
    let asked = asked();
    node.set(&setting, &before)?;
    asked
}

/// The node's end of a pod's link.
fn link_of(node: &Namespace, pod: &Pod, ipv6: bool) -> Result<String> {
    let mut netlink = node.netlink()?;
    let route = netlink.route_to(pod.address(ipv6))?.context("a route to a pod")?;
    let NextHop::Link { index } = route.next_hop else {
        anyhow::bail!("{} is not on a link of {}", pod.name, pod.node);
    };
    let link = netlink.link_by_index(index)?.context("a pod's link")?;
    Ok(link.name)
}

/// In the pod's namespace.
fn send_advertisement(pod: &Pod) -> Result<()> {
    let mut netlink = flatroute_netlink::Socket::open()?;
    let links = netlink.links()?;
    let own = links.iter().find(|link| link.name != "lo" && link.up);
    let index = own.with_context(|| format!("{}: a link", pod.name))?.index;
    let socket = socket_with(
        AddressFamily::INET6,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(ipproto::ICMPV6),
    )
    .context("open a raw socket")?;
    sockopt::set_ipv6_multicast_hops(&socket, 255).context("the hop limit")?;
    let all_nodes = SocketAddrV6::new("ff02::1".parse().context("an address")?, 0, 0, index);
    sendto(
        &socket,
        &ADVERTISEMENT,
        SendFlags::empty(),
        &SocketAddr::V6(all_nodes),
    )
    .context("send")?;
    Ok(())
}
