//! The fabric itself, proved without any program of ours: BIRD on every router, pods wired by hand.
//!
//! When these fail, the testbed is wrong; when only the others fail, the product is.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use flatroute_testbed::capture::Capture;
use flatroute_testbed::lab::{Cast, Lab, Wiring};
use flatroute_testbed::probe::{self, Matrix};
use flatroute_testbed::speaker::Software;
use flatroute_testbed::topology::Topology;
use flatroute_testbed::traffic::Stream;
use flatroute_testbed::trial::{self, Need, Trial};

const BIRD: Cast = Cast {
    nodes: Software::Bird,
    fabric: Software::Bird,
};

fn main() -> ExitCode {
    let limit = Duration::from_secs(60);
    trial::main(&[
        Trial {
            name: "a_namespace_begins_empty",
            needs: &[],
            limit,
            body: a_namespace_begins_empty,
        },
        Trial {
            name: "a_route_that_bgp_did_not_teach_is_seen",
            needs: &[],
            limit,
            body: a_planted_route,
        },
        Trial {
            name: "nobody_reaches_anybody_without_routes",
            needs: &[],
            limit,
            body: nobody_without_routes,
        },
        Trial {
            name: "bird_joins_two_racks",
            needs: &[Need::Bird],
            limit,
            body: bird_joins_two_racks,
        },
        Trial {
            name: "a_cut_tor_is_felt_and_comes_back",
            needs: &[Need::Bird],
            limit,
            body: a_cut_tor,
        },
    ])
}

fn a_namespace_begins_empty() -> Result<()> {
    let lab = Lab::build(Topology::one_rack())?;
    for node in lab.fabric.topology().nodes() {
        let routes = lab.routes_to_pods(&node.name)?;
        ensure!(
            routes.is_empty(),
            "{} begins with routes to pods: {routes:?}",
            node.name
        );
        let namespace = lab.fabric.namespace(&node.name)?;
        let links = namespace.netlink()?.links()?;
        ensure!(
            links.iter().all(|link| link.name == "lo" || link.carrier),
            "a link without carrier: {links:?}"
        );
    }
    let mut indexes: Vec<u32> = Vec::new();
    for router in &lab.fabric.topology().routers {
        let links = lab.fabric.namespace(&router.name)?.netlink()?.links()?;
        indexes.extend(
            links
                .iter()
                .filter(|link| link.name != "lo")
                .map(|link| link.index),
        );
    }
    let count = indexes.len();
    indexes.sort_unstable();
    indexes.dedup();
    ensure!(
        indexes.len() == count,
        "two ends of links share an interface index"
    );
    Ok(())
}

fn a_planted_route() -> Result<()> {
    let lab = Lab::build(Topology::one_rack())?;
    ensure!(lab.other_routes_to_pods(None)?.is_empty(), "there is none yet");
    let node = lab.fabric.topology().find("node1").context("node1")?;
    let gateway = lab.fabric.topology().neighbours(node)[0].remote.clone();
    let mut netlink = lab.fabric.namespace("node1")?.netlink()?;
    // A default route, and one to a single address within node2's pod CIDR.
    for (destination, prefix_len, via) in [
        ("0.0.0.0", 0, gateway.ipv4.into()),
        ("fd00:244:2::7", 128, gateway.ipv6.into()),
    ] {
        netlink.add_route(&flatroute_netlink::Route {
            destination: destination.parse()?,
            prefix_len,
            next_hop: flatroute_netlink::NextHop::Gateway {
                via,
                index: None,
                onlink: false,
            },
            source: None,
            protocol: 4,
        })?;
    }
    let seen = lab.other_routes_to_pods(Some(79))?;
    ensure!(
        seen.len() == 2 && seen.iter().all(|route| route.starts_with("node1: ")),
        "both are seen, and nothing else: {seen:?}"
    );
    ensure!(
        lab.other_routes_to_pods(Some(4))?.is_empty(),
        "what carries the protocol of the learned ones is left out"
    );
    Ok(())
}

fn nobody_without_routes() -> Result<()> {
    let mut lab = Lab::build(Topology::one_rack())?;
    lab.add_pods(Wiring::Hand, 1)?;
    let matrix = Matrix::probe(&lab.pods)?;
    ensure!(
        matrix.reached() == (0, 2),
        "pods of different nodes talk without any route: {}",
        matrix.table()
    );
    ensure!(
        matrix.failures().len() == 4,
        "both families of both pairs fail: {:?}",
        matrix.failures()
    );
    Ok(())
}

fn bird_joins_two_racks() -> Result<()> {
    let mut lab = Lab::start(Topology::two_racks(), BIRD)?;
    let (sessions, _) = lab.await_sessions(Duration::from_secs(20))?;
    ensure!(
        sessions.iter().map(|(_, sessions)| sessions.len()).sum::<usize>() == 32,
        "16 links, two ends each"
    );
    lab.await_routes(Duration::from_secs(10), None)?;
    lab.add_pods(Wiring::Hand, 2)?;
    let matrix = Matrix::probe(&lab.pods)?;
    ensure!(
        matrix.reached() == (56, 56),
        "{}\n{}",
        matrix.table(),
        matrix.failures().join("\n")
    );

    let target = lab.pod("node3-pod1")?;
    let capture = Capture::start(&target.namespace)?;
    let source = lab.pod("node1-pod1")?;
    for ipv6 in [false, true] {
        let to = std::net::SocketAddr::new(target.address(ipv6), probe::PORT);
        source
            .namespace
            .run(|| Ok(probe::ask_by_udp(source.address(ipv6), to)?))?;
    }
    let seen = capture.finish()?;
    for ipv6 in [false, true] {
        let mut arrived = seen
            .keys()
            .filter(|seen| seen.source == source.address(ipv6) && seen.ports.is_some());
        ensure!(
            arrived.next().is_some_and(|seen| seen.ttl == 64 - 5),
            "five routers on the way: {seen:?}"
        );
    }
    ensure!(
        !seen.keys().any(|seen| seen.is_tunnel()),
        "a tunnel in a fabric without one: {seen:?}"
    );
    lab.stop()
}

fn a_cut_tor() -> Result<()> {
    let mut lab = Lab::start(Topology::two_racks(), BIRD)?;
    lab.await_sessions(Duration::from_secs(20))?;
    lab.await_routes(Duration::from_secs(10), None)?;
    lab.add_pods(Wiring::Hand, 1)?;
    let (from, to) = (lab.pod("node1-pod1")?.clone(), lab.pod("node3-pod1")?.clone());
    let begin = Instant::now();
    let streams = vec![
        Stream::start(&from, &to, false, 1000, 16)?,
        Stream::start(&to, &from, true, 1000, 16)?,
    ];
    std::thread::sleep(Duration::from_millis(300));
    let (cut, _) = lab.fabric.cut("tor1a")?;
    lab.await_routes(Duration::from_secs(10), Some("tor1a"))?;
    lab.fabric.restore("tor1a")?;
    lab.await_routes(Duration::from_secs(20), None)?;
    for outcome in Stream::finish(streams)? {
        let (before, all) = (outcome.loss(begin, cut), outcome.loss(begin, Instant::now()));
        ensure!(
            before.lost == 0 && before.sent > 200,
            "{}: {before:?} before the cut",
            outcome.label
        );
        ensure!(all.lost < all.sent / 2, "{}: {all:?}", outcome.label);
    }
    lab.stop()
}
