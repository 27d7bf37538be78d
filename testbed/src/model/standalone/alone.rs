//! Sentences that are asked in another way than on a real cluster, because here the testbed is the runtime and writes the
//! manifests.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use flatroute_api::ProblemReason;
use rustix::process::Signal;

use super::{BOUND, Standalone, add, status};
use crate::kernel;
use crate::model::{Answer, ask, not_asked, ok};
use crate::namespace::Namespace;
use crate::pod::{Pod, Runtime};
use crate::probe;
use crate::speaker::{agent, own_program};
use crate::traffic::Stream;
use crate::wait;

/// Packets a second of each stream, and their source ports.
const RATE: (u32, u16) = (500, 16);
/// How long packets go on after the agent is back: its neighbours tell it all they have at once.
const AFTER: Duration = Duration::from_secs(2);
/// How many pods say something as their first act.
const NEWCOMERS: usize = 10;
/// The manifest of a Node that nobody has.
const TWIN: &str = "twin.yaml";

pub(super) fn m1(lab: &mut Standalone) -> Answer {
    let scene = lab.scene();
    let mut seen = BTreeSet::new();
    for pod in scene.everybody() {
        let cidrs = scene.router(&pod.node)?.pod_cidrs.context("pod CIDRs")?;
        for address in pod.ips()? {
            let is_within = match address {
                IpAddr::V4(address) => cidrs.ipv4.contains(address),
                IpAddr::V6(address) => cidrs.ipv6.contains(address),
            };
            ensure!(is_within, "{}: {address} is not of {}", pod.name, pod.node);
            ensure!(seen.insert(address), "two pods have {address}");
        }
    }
    ok(format!(
        "{} addresses, all different, each of its node's range",
        seen.len()
    ))
}

pub(super) fn m14(lab: &mut Standalone) -> Answer {
    let [ipv6] = *lab.order() else {
        return not_asked("here are both; the runs with one are trials of their own");
    };
    let scene = lab.scene();
    for home in scene.everybody() {
        for (what, namespace) in [
            (&home.name, &home.namespace),
            (&home.node, scene.node(&home.node)?),
        ] {
            let others = namespace.addresses()?;
            let other = others
                .iter()
                .find(|address| address.is_ipv6() != ipv6 && !is_of_every_machine(**address));
            ensure!(other.is_none(), "{what} has {other:?}");
            let routes = kernel::routes_of_all_tables(namespace)?;
            let route = routes.iter().find(|route| {
                let prefix = route.prefix;
                prefix.is_ipv6() != ipv6 && !is_of_every_machine(prefix.ip()) && prefix.prefix() > 0
            });
            ensure!(route.is_none_or(is_refusal), "{what} has the route {route:?}");
        }
    }
    ok(format!(
        "all rows are asked in {} alone; neither pods nor nodes have an address or a route of the other",
        if ipv6 { "IPv6" } else { "IPv4" }
    ))
}

fn is_refusal(route: &kernel::KernelRoute) -> bool {
    route.action == kernel::Action::Unreachable
}

/// Loopback, and what IPv6 has on every link.
fn is_of_every_machine(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback(),
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unicast_link_local() || address.is_multicast()
        }
    }
}

/// The order of the result is the order of podCIDRs, also after that order has changed under living pods.
pub(super) fn m15(lab: &mut Standalone) -> Answer {
    let order = lab.order();
    let [first, second] = *order else {
        return not_asked("here is one family");
    };
    let turned = [second, first];
    let node = lab.ground.site.topology.nodes().next().context("a node")?;
    let plugin = own_program("flatroute-cni")?;
    let runtime = Runtime::with_families(&lab.ground.fabric, node, &plugin, &turned)?;
    let asked = || -> Result<()> {
        let pod = add(&runtime, "turned", &turned)?;
        let asked = reaches_both_ways(&pod, &lab.pods, &turned);
        runtime.delete(pod)?;
        asked
    };
    let asked = asked();
    // As it was: the runtime in `lab` reads its list at each call.
    Runtime::with_families(&lab.ground.fabric, node, &plugin, order)?;
    asked?;
    for pod in lab.scene().everybody() {
        let given: Vec<bool> = pod.ips()?.iter().map(IpAddr::is_ipv6).collect();
        ensure!(given == order, "{}: {:?}", pod.name, pod.ips()?);
    }
    ok(
        "results have the order of podCIDRs, and the other one when that is turned; every row is asked in both families",
    )
}

fn reaches_both_ways(pod: &Pod, others: &[Pod], families: &[bool]) -> Result<()> {
    for other in others {
        for ipv6 in families {
            probe::pair(pod, other, *ipv6).map_err(anyhow::Error::msg)?;
            probe::pair(other, pod, *ipv6).map_err(anyhow::Error::msg)?;
        }
    }
    Ok(())
}

/// What a node is for those of its programs that are in no namespace of their own.
#[derive(Debug, PartialEq, Eq)]
struct HostNetwork {
    links: Vec<(String, u32, bool)>,
    addresses: BTreeSet<IpAddr>,
    routes: Vec<String>,
}

impl HostNetwork {
    /// Without pods' links.
    fn of(node: &Namespace) -> Result<Self> {
        let mut netlink = node.netlink()?;
        let (mut links, mut addresses) = (Vec::new(), BTreeSet::new());
        for link in netlink.links()? {
            if link.name == "lo" || link.name.starts_with("to-") {
                let held = netlink.addresses(link.index)?;
                addresses.extend(held.into_iter().map(|held| held.address));
                links.push((link.name, link.mtu, link.up));
            }
        }
        let routes = kernel::routes_of_all_tables(node)?.into_iter();
        let is_own = |route: &kernel::KernelRoute| {
            let hops = route.hops.iter();
            hops.clone().count() == 0
                || hops
                    .clone()
                    .all(|hop| hop.interface.starts_with("to-") || hop.interface == "lo")
        };
        Ok(Self {
            links,
            addresses,
            routes: routes.filter(is_own).map(|route| route.to_string()).collect(),
        })
    }
}

pub(super) fn m21(lab: &mut Standalone) -> Answer {
    let order = lab.order();
    let node = lab.ground.site.topology.nodes().next().context("a node")?;
    let namespace = lab.ground.fabric.namespace(&node.name)?;
    let runtime = lab.runtimes.first().context("a runtime")?;
    let before = HostNetwork::of(namespace)?;
    let pod = add(runtime, "beside", order)?;
    let with = HostNetwork::of(namespace)?;
    runtime.delete(pod)?;
    let after = HostNetwork::of(namespace)?;
    ensure!(
        before == with,
        "a pod changed the node: {before:?} became {with:?}"
    );
    ensure!(
        before == after,
        "a pod's end changed the node: {before:?} became {after:?}"
    );
    let scene = lab.scene();
    for (ipv6, own) in lab
        .ground
        .site
        .addresses(node)
        .into_iter()
        .map(|own| (own.is_ipv6(), own))
    {
        let world = crate::cluster::site::WORLD;
        let world: IpAddr = if ipv6 { world.1.into() } else { world.0.into() };
        let seen = ask::seen_by(scene.outside(), world, namespace)?;
        ensure!(seen == own, "the world saw the node as {seen}");
    }
    ok(
        "links, addresses and routes of a node are the same before, with and after a pod; the world sees its programs as itself",
    )
}

/// The short one; longer ones are in testbed/tests/restarts.rs.
pub(super) fn m24(lab: &mut Standalone) -> Answer {
    let (near, far) = {
        let (near, far) = lab.scene().far_apart()?;
        (near.clone(), far.clone())
    };
    let mut streams = Vec::new();
    for (from, to) in [(&near, &far), (&far, &near)] {
        for ipv6 in lab.order() {
            streams.push(Stream::start(from, to, *ipv6, RATE.0, RATE.1)?);
        }
    }
    let begin = Instant::now();
    let killed = lab
        .speakers
        .iter_mut()
        .find(|speaker| speaker.router() == near.node);
    let killed = killed.context("an agent")?;
    killed.restart(&lab.ground.fabric, Signal::KILL)?;
    wait::until("the sessions of the next agent", BOUND, || {
        // Its socket is there a moment after its process.
        let sessions = match killed.sessions() {
            Ok(sessions) => sessions,
            Err(error) => return Ok(Err(format!("{error:#}"))),
        };
        let down = sessions.iter().find(|session| !session.is_established());
        Ok(match down {
            None if sessions.is_empty() => Err("none is there".to_owned()),
            None => Ok(()),
            Some(down) => Err(format!("{down:?}")),
        })
    })?;
    std::thread::sleep(AFTER);
    let outcomes = Stream::finish(streams)?;
    let end = Instant::now();
    let mut sent = 0;
    for outcome in outcomes {
        let loss = outcome.loss(begin, end);
        ensure!(loss.sent > 0, "{}: nothing was sent", outcome.label);
        ensure!(loss.lost == 0, "{}: {loss:?}", outcome.label);
        sent += loss.sent;
    }
    lab.await_whole()?;
    ok(format!(
        "one agent killed: 0 of {sent} packets lost; longer: testbed/tests/restarts.rs"
    ))
}

/// A Node that has part of another one's range, and an address within it.
pub(super) fn m26(lab: &mut Standalone) -> Answer {
    let node = lab.ground.site.topology.nodes().next().context("a node")?;
    let cidrs = node.pod_cidrs.context("pod CIDRs")?;
    let speaker = lab.speakers.first().context("an agent")?;
    let (mut texts, mut wanted) = (Vec::new(), Vec::new());
    let mut addresses = String::new();
    for ipv6 in lab.order() {
        let (cidr, address) = if *ipv6 {
            (cidrs.ipv6.to_string(), format!("{}9", cidrs.ipv6.network()))
        } else {
            (cidrs.ipv4.to_string(), cidrs.ipv4.network().to_string())
        };
        texts.push(format!("\"{cidr}\""));
        addresses.push_str(&format!("  - {{type: InternalIP, address: \"{address}\"}}\n"));
        wanted.push(format!("{cidr} overlaps with {cidr} of Node twin and 1 more"));
    }
    let twin = format!(
        "apiVersion: v1\nkind: Node\nmetadata: {{name: twin}}\nspec: {{podCIDRs: [{}]}}\nstatus:\n  addresses:\n{addresses}",
        texts.join(", ")
    );
    agent::rewrite(speaker, &[(TWIN.to_owned(), twin)])?;
    let asked = told(&wanted, || status(speaker));
    std::fs::remove_file(speaker.dir().join("manifests").join(TWIN)).context("remove a manifest")?;
    asked?;
    told(&[], || status(speaker))?;
    lab.await_whole()?;
    ok(format!(
        "the agent of a node whose range another Node has, with an address in it, says so: {}",
        wanted.first().context("a family")?
    ))
}

/// Waits until these overlaps are complained of, and no others.
fn told(wanted: &[String], status: impl Fn() -> Result<flatroute_api::control::Status>) -> Result<()> {
    let (_, _) = wait::until("what is said of overlaps", BOUND, || {
        let problems = status()?.problems;
        let found: Vec<&str> = problems
            .iter()
            .filter(|problem| problem.reason == ProblemReason::OverlappingCIDRs)
            .map(|problem| problem.message.as_str())
            .collect();
        let is_said = |wanted: &String| found.iter().any(|found| found.starts_with(wanted));
        Ok(if found.len() == wanted.len() && wanted.iter().all(is_said) {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        })
    })?;
    Ok(())
}

/// One datagram and one answer each way, never repeated: a pod's first act, and the first act of others towards it.
pub(super) fn m28(lab: &mut Standalone) -> Answer {
    let order = lab.order();
    let runtime = lab.runtimes.first().context("a runtime")?;
    let (_, far) = lab.scene().far_apart()?;
    for number in 0..NEWCOMERS {
        let pod = add(runtime, &format!("first{number}"), order)?;
        let say = |from: &Pod, to: &Pod| -> Result<()> {
            for ipv6 in order {
                let (own, target) = (
                    from.address(*ipv6),
                    SocketAddr::new(to.address(*ipv6), probe::PORT),
                );
                let seen = from
                    .namespace
                    .run(|| Ok(probe::ask_by_udp(own, target)?))
                    .with_context(|| format!("the first packet of {} to {}", from.name, to.name))?;
                ensure!(seen == own.to_string(), "{} was seen as {seen}", from.name);
            }
            Ok(())
        };
        let asked = if number % 2 == 0 {
            say(&pod, far).and_then(|()| say(far, &pod))
        } else {
            say(far, &pod).and_then(|()| say(&pod, far))
        };
        runtime.delete(pod)?;
        asked?;
    }
    ok(format!(
        "{NEWCOMERS} pods, to and from the other rack, one datagram each way: all arrived; what STATUS says: crates/cni/tests/kernel.rs"
    ))
}
