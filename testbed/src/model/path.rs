//! Sentences about what happens on the way: tunnels, TTL, MTU, ICMP errors.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::{Answer, Scene, ok, reach};
use crate::capture::{Capture, Seen};
use crate::namespace::Namespace;
use crate::pod::Pod;
use crate::probe;
use crate::process::locate;
use crate::wait;

/// What a pod's packets begin with.
const FIRST_TTL: u8 = 64;
/// Of every link here.
const MTU: u32 = 1500;
/// What the spine's links to the other rack are narrowed to.
const NARROW: u32 = 1400;
/// The protocols of ICMP.
const TIME_EXCEEDED: (u8, u8) = (1, 58);
/// How long an ICMP error may take.
const ANSWERED: Duration = Duration::from_secs(10);
/// A port at which nobody listens.
const DISCARD: u16 = 33434;

pub(crate) fn m4(scene: &Scene<'_>) -> Answer {
    let (near, far) = scene.far_apart()?;
    let wires = [
        Capture::start(scene.node(&near.node)?)?,
        Capture::start(scene.node(&far.node)?)?,
    ];
    let inside = Capture::start(&far.namespace)?;
    let mut pairs = 0;
    for from in scene.pods {
        for to in scene.pods.iter().filter(|to| to.name != from.name) {
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
    let topology = &scene.ground.site.topology;
    let hops = topology.hops(scene.router(&near.node)?, scene.router(&far.node)?);
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
        let of_sockets = |seen: &&Seen| seen.source == from && seen.ports.is_some();
        let split = arrived.keys().filter(of_sockets).find(|seen| !seen.dont_fragment);
        ensure!(split.is_none(), "on the way it lost its DF: {split:?}");
        reach::sctp(near, far, *ipv6)?;
    }
    ok(format!(
        "{pairs} pairs by TCP, UDP and ICMP echo, {}: own addresses seen; no envelope among {frames} frames; TTL fell by {hops} between racks, DF kept",
        reach::SCTP
    ))
}

pub(crate) fn m16(scene: &Scene<'_>) -> Answer {
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
            // One that has not learned yet.
            reach::transfer(scene.pair, far, *ipv6)?;
        }
        Ok(())
    };
    let result = asked();
    set_mtu(scene, spine, far, MTU)?;
    result?;
    ok(format!(
        "{MTU} passes and {} does not; a link of {NARROW} on the way is told to the pod, and {} octets pass it by TCP",
        MTU + 1,
        reach::OCTETS
    ))
}

/// Sets the MTU of the spine's links to the ToRs of a pod's rack.
fn set_mtu(scene: &Scene<'_>, spine: &Namespace, pod: &Pod, mtu: u32) -> Result<()> {
    let rack = scene.router(&pod.node)?.rack;
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
pub(crate) fn ping(from: &Pod, to: &Pod, ipv6: bool, size: u32) -> Result<(bool, String)> {
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

pub(crate) fn m17(scene: &Scene<'_>) -> Answer {
    let (near, far) = scene.far_apart()?;
    let mut routers = Vec::new();
    for ipv6 in scene.families() {
        let capture = Capture::start(&near.namespace)?;
        let (own, error) = (
            near.address(*ipv6),
            if *ipv6 { TIME_EXCEEDED.1 } else { TIME_EXCEEDED.0 },
        );
        let told =
            |seen: &Seen| seen.protocol == error && seen.destination == own && !is_link_local(seen.source);
        for ttl in 1..=4 {
            send_with(near, far.address(*ipv6), ttl)?;
            let what = format!("an answer to a packet with TTL {ttl}");
            wait::until(&what, ANSWERED, || {
                let count = capture.count(told);
                Ok(if count >= u64::from(ttl) {
                    Ok(())
                } else {
                    Err(format!("{count} errors came"))
                })
            })?;
        }
        let mut sources: Vec<IpAddr> = capture
            .finish()?
            .into_keys()
            .filter(told)
            .map(|seen| seen.source)
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

/// A datagram to a port at which nobody listens, that may pass so many routers but one.
fn send_with(from: &Pod, to: IpAddr, ttl: u8) -> Result<()> {
    from.namespace.run(|| {
        let socket = UdpSocket::bind((from.address(to.is_ipv6()), 0))?;
        if to.is_ipv6() {
            rustix::net::sockopt::set_ipv6_unicast_hops(&socket, Some(ttl))?;
        } else {
            socket.set_ttl(u32::from(ttl))?;
        }
        drop(socket.send_to(b"where?", SocketAddr::new(to, DISCARD)));
        Ok(())
    })
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
pub(crate) fn m23(scene: &Scene<'_>) -> Answer {
    let (near, far) = scene.far_apart()?;
    let hearers = [(scene.pair, "the same node"), (far, "the other rack")];
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
