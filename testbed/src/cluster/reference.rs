//! The same cluster without us: the standard plugins ptp and host-local, and BIRD on every node.
//!
//! It shows that the lab itself is right when ours fails, and what ours is measured beside. Each node's BIRD has the
//! sessions that `discover: DefaultGateways` would make, one a family with each ToR.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use ipnetwork::IpNetwork;
use serde_json::json;

use super::ground::Ground;
use super::node::Node;
use crate::speaker::{Speaker, bird};
use crate::topology::{NODE_ASN, Router};

/// Where Debian keeps the standard plugins.
const PLUGINS: &str = "/usr/lib/cni";

/// Gives a node plugins, a conflist and BIRD.
///
/// # Errors
/// A plugin or BIRD is missing.
pub fn install(ground: &Ground, node: &Node, router: &Router, cidrs: &[IpNetwork]) -> Result<Speaker> {
    for plugin in ["ptp", "host-local", "loopback", "portmap"] {
        let from = format!("{PLUGINS}/{plugin}");
        fs::copy(&from, node.path(&format!("/opt/cni/bin/{plugin}")))
            .with_context(|| format!("copy {from}"))?;
    }
    let ranges: Vec<_> = cidrs
        .iter()
        .map(|cidr| json!([{"subnet": cidr.to_string()}]))
        .collect();
    let default = |cidr: &IpNetwork| json!({"dst": if cidr.is_ipv6() { "::/0" } else { "0.0.0.0/0" }});
    let routes: Vec<_> = cidrs.iter().map(default).collect();
    let conflist = json!({
        "cniVersion": "1.0.0",
        "name": "reference",
        "plugins": [
            {"type": "ptp", "ipam": {"type": "host-local", "ranges": ranges, "routes": routes}},
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    });
    for name in [
        "net/ipv4/fib_multipath_hash_policy",
        "net/ipv6/fib_multipath_hash_policy",
    ] {
        ground.fabric.namespace(&node.name)?.set(name, "1")?;
    }
    for name in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        ground.fabric.namespace(&node.name)?.set(name, "1")?;
    }
    let speaker = Speaker::start_bird(&ground.fabric, router, &configuration(ground, router, cidrs))?;
    let text = serde_json::to_string_pretty(&conflist).context("a conflist")?;
    let (part, whole) = ("/etc/cni/net.d/.conflist", "/etc/cni/net.d/10-reference.conflist");
    fs::write(node.path(part), text).context("write the conflist")?;
    fs::rename(node.path(part), node.path(whole)).context("put the conflist in place")?;
    ensure!(!cidrs.is_empty(), "{} has no pod CIDRs", node.name);
    Ok(speaker)
}

fn configuration(ground: &Ground, router: &Router, cidrs: &[IpNetwork]) -> String {
    let mut text =
        bird::preamble(router).replace("accept; }; };", "if source = RTS_BGP then accept; reject; }; };");
    for cidr in cidrs {
        let family = if cidr.is_ipv6() { "ipv6" } else { "ipv4" };
        let _ = writeln!(
            text,
            "protocol static pods_{family} {{ {family}; route {cidr} unreachable; }}"
        );
    }
    for neighbour in ground.site.topology.neighbours(router) {
        for ipv6 in ground.site.families.order() {
            let (family, local, remote) = if *ipv6 {
                (
                    "ipv6",
                    neighbour.local.ipv6.to_string(),
                    neighbour.remote.ipv6.to_string(),
                )
            } else {
                (
                    "ipv4",
                    neighbour.local.ipv4.to_string(),
                    neighbour.remote.ipv4.to_string(),
                )
            };
            let _ = write!(
                text,
                "
protocol bgp to_{name}_{family} {{
    local {local} as {NODE_ASN};
    neighbor {remote} as {asn};
    hold time 30;
    connect delay time 1;
    connect retry time 2;
    error wait time 1, 4;
    allow local as 1;
    {family} {{ import all; export where source = RTS_STATIC; }};
}}
",
                name = neighbour.router.name,
                asn = neighbour.router.asn,
            );
        }
    }
    text
}
