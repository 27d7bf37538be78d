//! RFC 8950 with BIRD as the ToR: links that have IPv6 addresses only carry IPv4 routes, and IPv4 packets.
//!
//! The fabric is the usual rack, but every IPv4 address of a link is taken away before anything starts; the routers keep
//! theirs on the loopback. The sessions run over IPv6. What is asserted: BIRD's command line, both kernels, packets.

use std::net::{SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use flatroute_api::control::{Peer, Peers};
use flatroute_testbed::control;
use flatroute_testbed::fabric::Fabric;
use flatroute_testbed::kernel::{self, KernelRoute};
use flatroute_testbed::process::locate;
use flatroute_testbed::speaker::{Speaker, agent, bird};
use flatroute_testbed::topology::{Neighbour, Router, Size, Tier, Topology};
use flatroute_testbed::trial::{self, Need, Trial};
use flatroute_testbed::wait;

/// Where the packets go.
const PORT: u16 = 7000;
/// For anything that takes a session to come up.
const BOUND: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let limit = Duration::from_secs(90);
    trial::main(&[Trial {
        name: "ipv4_routes_over_links_of_ipv6",
        needs: &[Need::Bird, Need::Agent],
        limit,
        body: ipv4_over_ipv6,
    }])
}

fn ipv4_over_ipv6() -> Result<()> {
    println!("extended next hops with {}", bird::version()?);
    let fabric = Fabric::build(Topology::leaf_spine(Size {
        racks: 1,
        tors: 1,
        nodes: 2,
        spines: 0,
    }))?;
    for router in &fabric.topology().routers {
        without_ipv4(&fabric, router)?;
    }
    let topology = fabric.topology().clone();
    let router = topology.tier(Tier::Tor).next().context("a ToR")?;
    let tor = Speaker::start_bird(&fabric, router, &configuration(&topology, router))?;
    let start = |node| Speaker::start_agent(&fabric, node, &over_ipv6(&topology, node));
    let nodes: Vec<Speaker> = topology.nodes().map(start).collect::<Result<_>>()?;

    for number in 1..=2 {
        let node = topology.find(&format!("node{number}")).context("a node")?;
        let link = topology.neighbours(node).into_iter().next().context("a link")?;
        at_bird(&tor, &nodes, number, &link)?;
        let speaker = nodes.get(number - 1).context("a speaker")?;
        let peer = await_peer(speaker)?;
        let negotiated = peer.negotiated.context("nothing negotiated")?;
        let offered = "extended next hop: IPv4 by IPv6";
        ensure!(
            negotiated
                .capabilities
                .iter()
                .any(|word| word.starts_with(offered)),
            "BIRD does not offer it: {:?}",
            negotiated.capabilities
        );
        // The other node's pods, by the ToR's IPv6 address.
        let prefix = format!("10.244.{}.0/24", 3 - number);
        let gateway = link.remote.ipv6.into();
        await_kernel(&fabric, &node.name, &prefix, |route| {
            route.hops.iter().any(|hop| hop.gateway == Some(gateway))
        })?;
        await_kernel(&fabric, &router.name, &format!("10.244.{number}.0/24"), |route| {
            route
                .hops
                .iter()
                .any(|hop| hop.gateway == Some(link.local.ipv6.into()))
        })?;
    }
    packets(&fabric)
}

/// Takes the IPv4 addresses of a router's links away, and lets it forward.
fn without_ipv4(fabric: &Fabric, router: &Router) -> Result<()> {
    let namespace = fabric.namespace(&router.name)?;
    namespace.set("net/ipv4/ip_forward", "1")?;
    namespace.set("net/ipv6/conf/all/forwarding", "1")?;
    for neighbour in fabric.topology().neighbours(router) {
        let address = format!("{}/31", neighbour.local.ipv4);
        ip(
            fabric,
            router,
            &["addr", "del", &address, "dev", &neighbour.local.interface],
        )?;
    }
    Ok(())
}

/// Runs the `ip` tool in the namespace of a router.
fn ip(fabric: &Fabric, router: &Router, arguments: &[&str]) -> Result<()> {
    let path = locate("ip").context("the ip tool (iproute2) is not installed")?;
    let output = fabric
        .namespace(&router.name)?
        .command(&path)
        .args(arguments)
        .output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{}: ip {arguments:?}: {error}",
        router.name
    );
    Ok(())
}

/// BIRD with sessions over IPv6 that carry IPv4 too.
fn configuration(topology: &Topology, router: &Router) -> String {
    let mut text = bird::preamble(router);
    for neighbour in topology.neighbours(router) {
        text.push_str(&format!(
            "protocol bgp to_{peer} {{
    local {local} as {asn};
    neighbor {remote} as {remote_asn};
    connect delay time 1;
    connect retry time 2;
    error wait time 1, 4;
    ipv4 {{ import all; export all; extended next hop on; }};
    ipv6 {{ import all; export all; }};
}}
",
            peer = neighbour.router.name,
            local = neighbour.local.ipv6,
            asn = router.asn,
            remote = neighbour.remote.ipv6,
            remote_asn = neighbour.router.asn,
        ));
    }
    text
}

/// The usual manifests, with the ToR's IPv6 address in place of the other.
fn over_ipv6(topology: &Topology, router: &Router) -> Vec<(String, String)> {
    let mut files = agent::manifests(topology, router);
    for (_, text) in &mut files {
        for neighbour in topology.neighbours(router) {
            let (ipv4, ipv6) = (neighbour.remote.ipv4, neighbour.remote.ipv6);
            *text = text.replace(
                &format!("peerAddress: {ipv4}"),
                &format!("peerAddress: \"{ipv6}\""),
            );
        }
    }
    files
}

/// The session at BIRD, the capability, and the node's route with its IPv6 next hop.
fn at_bird(tor: &Speaker, nodes: &[Speaker], number: usize, link: &Neighbour<'_>) -> Result<()> {
    let next_hop = format!("BGP.next_hop: {}", link.local.ipv6);
    for (question, words) in [
        (
            format!("show protocols all to_node{number}"),
            ["Established", "Extended next hop"],
        ),
        (
            format!("show route for 10.244.{number}.0/24 all"),
            ["BGP.as_path: 64512", next_hop.as_str()],
        ),
    ] {
        let waited = wait::until(&format!("birdc {question}: {words:?}"), BOUND, || {
            let answer = bird::ask(tor, &question)?;
            let ours = answer.rsplit("Neighbor capabilities").next().unwrap_or_default();
            Ok(
                if words.iter().all(|word| answer.contains(word)) && ours.contains(words[1]) {
                    Ok(())
                } else {
                    Err(format!("it says\n{answer}"))
                },
            )
        });
        let last_words = || nodes.iter().map(Speaker::last_words).collect::<String>();
        waited.map_err(|error| anyhow!("{error:#}\n{}", last_words()))?;
    }
    Ok(())
}

fn await_peer(node: &Speaker) -> Result<Peer> {
    let (peer, _) = wait::until("our own view of the session", BOUND, || {
        let answer: Peers = control::fetch(&agent::socket(node), "/v1/peers")?;
        let peer = answer.peers.into_iter().next().context("a peer")?;
        Ok(if peer.state == "Established" {
            Ok(peer)
        } else {
            Err(format!("{peer:?}"))
        })
    })?;
    Ok(peer)
}

fn await_kernel(
    fabric: &Fabric,
    router: &str,
    prefix: &str,
    fits: impl Fn(&KernelRoute) -> bool,
) -> Result<()> {
    wait::until(
        &format!("the kernel of {router}: {prefix} by IPv6"),
        BOUND,
        || {
            let routes = kernel::routes(fabric.namespace(router)?)?;
            let found = routes
                .iter()
                .any(|route| route.prefix.to_string() == prefix && fits(route));
            let list = || {
                routes
                    .iter()
                    .map(|route| format!("\n    {route}"))
                    .collect::<String>()
            };
            Ok(if found {
                Ok(())
            } else {
                Err(format!("it has{}", list()))
            })
        },
    )?;
    Ok(())
}

/// IPv4 packets go from node to node, and back, over links without an IPv4 address.
fn packets(fabric: &Fabric) -> Result<()> {
    for number in 1..=2 {
        let node = fabric
            .topology()
            .find(&format!("node{number}"))
            .context("a node")?;
        let address = format!("10.244.{number}.1/32");
        ip(fabric, node, &["addr", "add", &address, "dev", "lo"])?;
    }
    let [here, there] = [1, 2].map(|number| SocketAddr::from(([10, 244, number, 1], PORT)));
    let bind = |node: &str, address: SocketAddr| -> Result<UdpSocket> {
        let socket = fabric.namespace(node)?.run(|| Ok(UdpSocket::bind(address)?))?;
        socket.set_read_timeout(Some(BOUND))?;
        Ok(socket)
    };
    let (node1, node2) = (bind("node1", here)?, bind("node2", there)?);
    for (from, to, source, target) in [(&node1, &node2, here, there), (&node2, &node1, there, here)] {
        from.send_to(b"over IPv6 links", target)?;
        let mut buffer = [0; 64];
        let (length, seen) = to.recv_from(&mut buffer).context("nothing arrived")?;
        ensure!(
            seen == source && buffer.starts_with(b"over IPv6 links"),
            "{length} octets from {seen}"
        );
    }
    Ok(())
}
