//! Sentences about what happens on the way: tunnels, TTL, MTU, ICMP errors.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::{Scene, ok};
use crate::capture::{Capture, Seen};
use crate::cluster::exam::Verdict;
use crate::cluster::upstream;
use crate::namespace::Namespace;
use crate::pod::Pod;
use crate::probe;
use crate::process::locate;

/// What a pod's packets begin with.
const FIRST_TTL: u8 = 64;
/// Of every link here.
const MTU: u32 = 1500;
/// What the spine's links to the other rack are narrowed to.
const NARROW: u32 = 1400;
/// A port at which nobody listens.
const DISCARD: u16 = 33434;

pub(super) fn m4(scene: &Scene<'_>) -> Result<(Verdict, String)> {
    let (near, far) = scene.far_apart()?;
    let wires = [
        Capture::start(scene.node(&near.node)?)?,
        Capture::start(scene.node(&far.node)?)?,
    ];
    let inside = Capture::start(&far.namespace)?;
    let mut pairs = 0;
    for from in &scene.hello {
        for to in scene.hello.iter().filter(|to| to.name != from.name) {
            for ipv6 in scene.families() {
                probe::pair(from, to, *ipv6).map_err(anyhow::Error::msg)?;
                ensure!(
                    ping(from, to, *ipv6, 56)?.0,
                    "{} does not answer an echo of {}",
                    to.name,
                    from.name
                );
                pairs += 1;
            }
        }
    }
    let mut frames = 0;
    for wire in wires {
        for (seen, count) in wire.finish()? {
            ensure!(!seen.is_tunnel(), "an envelope on the wire: {seen:?}");
            frames += count;
        }
    }
    let arrived = inside.finish()?;
    let topology = &scene.cluster.common.site.topology;
    let hops = topology.hops(
        scene.cluster.router(&near.node)?,
        scene.cluster.router(&far.node)?,
    );
    for ipv6 in scene.families() {
        let from = near.address(*ipv6);
        let mut ttls = arrived
            .keys()
            .filter(|seen| seen.source == from)
            .map(|seen| seen.ttl);
        let ttl = ttls
            .next()
            .with_context(|| format!("nothing of {from} arrived"))?;
        ensure!(
            ttl == FIRST_TTL - hops,
            "a TTL of {ttl}, and {hops} routers are on the way"
        );
    }
    ok(format!(
        "{pairs} pairs by TCP, UDP and ICMP echo{}, own addresses seen; no envelope among {frames} frames; TTL fell by {hops} between racks",
        about_sctp()
    ))
}

/// What was not asked of SCTP, and why.
pub(super) fn about_sctp() -> &'static str {
    match upstream::left_out() {
        Some(_) => " (not SCTP: this kernel has none)",
        None => " (SCTP: by upstream's specifications)",
    }
}

pub(super) fn m16(scene: &Scene<'_>) -> Result<(Verdict, String)> {
    let (near, far) = scene.far_apart()?;
    for ipv6 in scene.families() {
        let most = MTU - if *ipv6 { 48 } else { 28 };
        ensure!(
            ping(near, far, *ipv6, most)?.0,
            "{most} octets of payload do not pass"
        );
        ensure!(
            !ping(near, far, *ipv6, most + 1)?.0,
            "{} octets pass unfragmented",
            most + 1
        );
    }
    // The spine's links to the other rack get narrower: its error must reach the pod, which then knows.
    let spine = scene.node("spine1")?;
    set_mtu(scene, spine, far, NARROW)?;
    let asked = || -> Result<()> {
        for ipv6 in scene.families() {
            let most = MTU - if *ipv6 { 48 } else { 28 };
            let (_, words) = ping(near, far, *ipv6, most)?;
            let (_, again) = ping(near, far, *ipv6, most)?;
            let told = format!("{words}{again}");
            ensure!(
                told.contains(&NARROW.to_string()),
                "the pod did not learn of the narrow link: {told}"
            );
            let fits = NARROW - if *ipv6 { 48 } else { 28 };
            ensure!(
                ping(near, far, *ipv6, fits)?.0,
                "{fits} octets do not pass the narrow link"
            );
        }
        Ok(())
    };
    let result = asked();
    set_mtu(scene, spine, far, MTU)?;
    result?;
    ok(format!(
        "{MTU} passes and {} does not; a link of {NARROW} on the way is told to the pod",
        MTU + 1
    ))
}

/// Sets the MTU of the spine's links to the ToRs of a pod's rack.
fn set_mtu(scene: &Scene<'_>, spine: &Namespace, pod: &Pod, mtu: u32) -> Result<()> {
    let rack = scene.cluster.router(&pod.node)?.rack;
    let ip = locate("ip").context("`ip` is not installed")?;
    for tor in ["a", "b"] {
        let status = spine
            .command(&ip)
            .args([
                "link",
                "set",
                "dev",
                &format!("to-tor{rack}{tor}"),
                "mtu",
                &mtu.to_string(),
            ])
            .status()
            .context("run ip")?;
        ensure!(
            status.success(),
            "the MTU of the spine's link to tor{rack}{tor} cannot be set"
        );
    }
    Ok(())
}

/// One echo request that may not be fragmented, with `size` octets of payload: whether it was answered, and what ping said.
pub(super) fn ping(from: &Pod, to: &Pod, ipv6: bool, size: u32) -> Result<(bool, String)> {
    let program = locate("ping").context("ping is not installed: sudo make test-deps")?;
    let output = from
        .namespace
        .command(&program)
        .args([
            "-n",
            "-c",
            "1",
            "-W",
            "2",
            "-M",
            "do",
            "-s",
            &size.to_string(),
            &to.address(ipv6).to_string(),
        ])
        .output()
        .context("run ping")?;
    let words = [output.stdout, output.stderr].concat();
    Ok((
        output.status.success(),
        String::from_utf8_lossy(&words).into_owned(),
    ))
}

pub(super) fn m17(scene: &Scene<'_>) -> Result<(Verdict, String)> {
    let (near, far) = scene.far_apart()?;
    let mut routers = Vec::new();
    for ipv6 in scene.families() {
        let capture = Capture::start(&near.namespace)?;
        for ttl in 1..=4 {
            near.namespace.run(|| {
                let any: IpAddr = near.address(*ipv6);
                let socket = UdpSocket::bind((any, 0))?;
                if *ipv6 {
                    rustix::net::sockopt::set_ipv6_unicast_hops(&socket, Some(ttl))?;
                } else {
                    socket.set_ttl(u32::from(ttl))?;
                }
                drop(socket.send_to(b"where?", SocketAddr::new(far.address(*ipv6), DISCARD)));
                Ok(())
            })?;
            std::thread::sleep(Duration::from_millis(100));
        }
        let error = if *ipv6 { 58 } else { 1 };
        let own = near.address(*ipv6);
        let mut sources: Vec<IpAddr> = capture
            .finish()?
            .into_keys()
            .filter(|seen| seen.protocol == error && seen.destination == own)
            .map(|seen| seen.source)
            .filter(|source| !is_link_local(*source))
            .collect();
        sources.sort();
        sources.dedup();
        let node = scene.node(&near.node)?.addresses()?;
        let of_node = sources
            .iter()
            .any(|source| node.contains(source) && !source.is_unspecified());
        ensure!(of_node, "none of {sources:?} is an address of the node");
        ensure!(
            sources.len() >= 3,
            "errors of {sources:?} only, of four routers on the way"
        );
        routers.push(sources.len());
    }
    ok(format!(
        "the node, then {routers:?} routers in all, each by an address that can be reached"
    ))
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_unspecified(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// Limited broadcast; all hosts of the link and mDNS (RFC 5771); all nodes and all mDNS of a site (RFC 4291).
const TO_MANY: [&str; 5] = [
    "255.255.255.255",
    "224.0.0.1",
    "224.0.0.251",
    "ff02::1",
    "ff05::fb",
];

/// Nothing is promised, and this says what there is: no pod hears what another says to everybody.
pub(super) fn m23(scene: &Scene<'_>) -> Result<(Verdict, String)> {
    let (near, far) = scene.far_apart()?;
    let hearers = [(&scene.pair, "the same node"), (far, "the other rack")];
    let captures = hearers
        .iter()
        .map(|(pod, _)| Capture::start(&pod.namespace))
        .collect::<Result<Vec<_>>>()?;
    let own = Capture::start(&near.namespace)?;
    let mut wanted = 0;
    for target in TO_MANY {
        let target: IpAddr = target.parse().context("an address")?;
        if !scene.families().contains(&target.is_ipv6()) {
            continue;
        }
        wanted += 1;
        near.namespace.run(|| {
            let socket = UdpSocket::bind((near.address(target.is_ipv6()), 0))?;
            socket.set_broadcast(target.is_ipv4())?;
            drop(socket.send_to(b"everybody?", SocketAddr::new(target, DISCARD)));
            Ok(())
        })?;
    }
    // What arrives at all arrives before what is sent afterwards.
    for (pod, _) in hearers {
        for ipv6 in scene.families() {
            probe::pair(near, pod, *ipv6).map_err(anyhow::Error::msg)?;
        }
    }
    let to_many = |seen: &Seen| seen.ports.is_some_and(|(_, port)| port == DISCARD);
    let said = own.finish()?.into_keys().filter(to_many).count();
    ensure!(said == wanted, "{said} of {wanted} datagrams left the pod");
    for (capture, (_, place)) in captures.into_iter().zip(hearers) {
        let heard = capture.finish()?.into_keys().find(to_many);
        ensure!(heard.is_none(), "a pod of {place} heard {heard:?}");
    }
    ok(format!(
        "none is promised, and there is none: {said} datagrams to broadcast and multicast addresses, heard by no pod here or there"
    ))
}
