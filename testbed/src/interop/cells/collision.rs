//! Two connections meet (RFC 4271 §6.8), and not by luck.
//!
//! Both sides dial in the dark: each kernel believes that the other's Ethernet address is one that nobody has, so that
//! SYNs go nowhere, and no carrier is lost. Then both programs are stopped, the light goes on, and the two kernels
//! open both connections between themselves. When the programs go on, each finds the connection that it dialled open,
//! and one more to accept. One session has to come of it, and stay.

use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use flatroute_netlink::Mac;
use rustix::process::Signal;

use super::sessions::stays;
use crate::fabric::Fabric;
use crate::interop::pair::{Plan, SESSION};
use crate::interop::peer::Kind;
use crate::namespace::Namespace;
use crate::topology::LinkEnd;
use crate::wait;

/// An Ethernet address that nobody has.
const NOBODY: Mac = [2, 0, 0, 0, 0, 0x99];
/// How long the kernels may take to open what both have dialled: a SYN is sent again every second at first, then less often.
const OPENING: Duration = Duration::from_secs(12);
/// States of a TCP connection in /proc/net/tcp.
const ESTABLISHED: &str = "01";
const SYN_SENT: &str = "02";
/// The port of BGP, as it stands there.
const BGP: &str = ":00B3";

pub(in crate::interop) fn collision(kind: Kind) -> Result<()> {
    let mut plan = Plan::new(kind);
    plan.its.passive = false;
    // With it our first attempt goes on until the peer has begun its own, which may be seconds later.
    let patient = "{connectRetryTime: 30s, holdTime: 90s}";
    plan.ours = plan.ours.with("connectMode", "Both").with("timers", patient);
    let pair = plan.start_with(|fabric| switch(fabric, false))?;
    let link = pair.link()?;
    let ends = [
        namespace(&pair.fabric, &link.lower)?,
        namespace(&pair.fabric, &link.upper)?,
    ];
    wait::until("both to dial", SESSION, || {
        let dialling = counts(&ends, SYN_SENT)?;
        let fits = dialling == [1, 1];
        Ok(if fits {
            Ok(())
        } else {
            Err(format!("SYNs are on their way: {dialling:?}"))
        })
    })?;
    pair.peer.signal(Signal::STOP)?;
    pair.agent.signal(Signal::STOP)?;
    switch(&pair.fabric, true)?;
    let opened = wait::until("two connections", OPENING, || {
        let open = counts(&ends, ESTABLISHED)?;
        Ok(if open == [2, 2] {
            Ok(())
        } else {
            Err(format!("there are {open:?}"))
        })
    });
    pair.peer.signal(Signal::CONT)?;
    pair.agent.signal(Signal::CONT)?;
    opened?;
    stays(&pair)?;
    wait::until("one connection", SESSION, || {
        let open = counts(&ends, ESTABLISHED)?;
        Ok(if open == [1, 1] {
            Ok(())
        } else {
            Err(format!("there are {open:?}"))
        })
    })?;
    let peer = pair.ours()?;
    ensure!(peer.flaps == 0, "it did not stay: {peer:?}");
    Ok(())
}

/// Says at both ends who the other one is: the truth, or nobody.
fn switch(fabric: &Fabric, light: bool) -> Result<()> {
    for link in &fabric.topology().links {
        for (end, other) in [(&link.lower, &link.upper), (&link.upper, &link.lower)] {
            let mac = if light {
                interface(fabric, other)?.1
            } else {
                NOBODY
            };
            let (index, _) = interface(fabric, end)?;
            namespace(fabric, end)?
                .netlink()?
                .add_permanent_neighbour(index, IpAddr::V4(other.ipv4), mac)?;
        }
    }
    Ok(())
}

/// Index and Ethernet address of an end.
fn interface(fabric: &Fabric, end: &LinkEnd) -> Result<(u32, Mac)> {
    let link = namespace(fabric, end)?.netlink()?.link_by_name(&end.interface)?;
    let link = link.with_context(|| format!("no link {}", end.interface))?;
    Ok((
        link.index,
        link.mac.context("a link without an Ethernet address")?,
    ))
}

fn namespace<'f>(fabric: &'f Fabric, end: &LinkEnd) -> Result<&'f Namespace> {
    fabric.namespace(&fabric.topology().router(end.router).name)
}

/// How many connections of BGP are in this state, at each end.
fn counts(ends: &[&Namespace; 2], state: &str) -> Result<[usize; 2]> {
    let count = |end: &Namespace| -> Result<usize> {
        let text = end
            .run(|| fs::read_to_string("/proc/thread-self/net/tcp").context("read the connections of TCP"))?;
        let is_bgp = |line: &&str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let port = |at: usize| words.get(at).is_some_and(|word| word.ends_with(BGP));
            words.get(3) == Some(&state) && (port(1) || port(2))
        };
        Ok(text.lines().filter(is_bgp).count())
    };
    Ok([count(ends[0])?, count(ends[1])?])
}
