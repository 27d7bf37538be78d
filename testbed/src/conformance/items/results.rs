//! Items 38 to 46: what ADD says, against the specification's version and against the kernel.

use anyhow::{Context as _, Result, bail, ensure};
use ipnetwork::IpNetwork;
use serde_json::{Value, json};

use super::super::attachment::{Attachment, text};
use super::super::verdict::{Item, Verdict, item, not_applicable};
use super::super::world::World;
use crate::kernel::{self, Action};

pub(super) const ITEMS: &[Item] = &[
    item(
        38,
        "for each version that VERSION lists, the result has that cniVersion and that version's shape",
        every_version,
    ),
    item(
        39,
        "interfaces has the pod's, its sandbox being CNI_NETNS byte for byte, and the host's end of a veth pair",
        interfaces,
    ),
    item(40, "the mac of interfaces is the kernel's", macs),
    item(
        41,
        "the mtu of interfaces, from 1.1.0 on, is the kernel's; before, there is none",
        mtus,
    ),
    item(
        42,
        "interface of an entry of ips is the place of the pod's interface",
        places,
    ),
    item(
        43,
        "ips stand in the order of the networks of the configuration",
        order,
    ),
    item(
        44,
        "address of ips is what the interface has, with its prefix length",
        prefixes,
    ),
    item(
        45,
        "the pod has the routes of the result, and the result the pod's default routes",
        routes,
    ),
    item(
        46,
        "dns is what the configuration, or runtimeConfig.dns, says",
        dns,
    ),
];

fn every_version(world: &World<'_>) -> Result<Verdict> {
    for version in &world.suite.supported {
        let network = world
            .network
            .at(version)
            .named(&format!("{}-{}", world.network.name, version));
        let attachment = world
            .add_to(&network, &world.pod()?, "eth0")
            .with_context(|| version.clone())?;
        shape(&attachment.result, version).with_context(|| version.clone())?;
        attachment.delete().with_context(|| version.clone())?;
    }
    Ok(Verdict::Pass)
}

fn shape(result: &Value, version: &str) -> Result<()> {
    let said = text(result, "cniVersion").unwrap_or_default();
    ensure!(said == version, "the result has cniVersion {said:?}");
    if version < "0.3.0" {
        ensure!(
            result.get("ip4").is_some() || result.get("ip6").is_some(),
            "neither ip4 nor ip6"
        );
        ensure!(
            result.get("ips").is_none(),
            "ips, which that version does not have"
        );
        return Ok(());
    }
    let ips = result.get("ips").and_then(Value::as_array).context("no ips")?;
    for ip in ips {
        let address: IpNetwork = text(ip, "address").context("no address")?.parse()?;
        let family = if address.is_ipv4() { "4" } else { "6" };
        match text(ip, "version").as_deref() {
            Some(said) if version >= "1.0.0" => {
                bail!("ips has version {said:?}, which that version does not have")
            }
            None if version >= "1.0.0" => {}
            Some(said) if said == family => {}
            other => bail!("ips has version {other:?} for {address}"),
        }
    }
    if version < "1.1.0" {
        for interface in result
            .get("interfaces")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            ensure!(
                interface.get("mtu").is_none(),
                "interfaces has mtu, which that version does not have"
            );
        }
    }
    Ok(())
}

fn is_on_host(interface: &Value) -> bool {
    text(interface, "sandbox").unwrap_or_default().is_empty()
}

fn interfaces(world: &World<'_>) -> Result<Verdict> {
    let attachment = world.attach()?;
    attachment.position()?;
    let mut host = world.host.netlink()?;
    let listed: Vec<String> = attachment
        .list("interfaces")
        .iter()
        .filter(|interface| is_on_host(interface))
        .filter_map(|interface| text(interface, "name"))
        .collect();
    let mut has_veth = false;
    for name in &listed {
        let link = host
            .link_by_name(name)?
            .with_context(|| format!("the host has no {name}"))?;
        has_veth |= link.kind.as_deref() == Some("veth");
    }
    let is_veth = attachment.pod.link("eth0")?.kind.as_deref() == Some("veth");
    ensure!(
        has_veth || !is_veth,
        "the host's end of the veth pair is not among {listed:?}"
    );
    attachment.delete()?;
    Ok(Verdict::Pass)
}

/// Each entry of `interfaces` with the link that it speaks of.
fn links(world: &World<'_>, attachment: &Attachment<'_>) -> Result<Vec<(Value, flatroute_netlink::Link)>> {
    let mut found = Vec::new();
    for interface in attachment.list("interfaces") {
        let name = text(&interface, "name").context("an interface without name")?;
        let link = if is_on_host(&interface) {
            let link = world.host.netlink()?.link_by_name(&name)?;
            link.with_context(|| format!("the host has no {name}"))?
        } else {
            attachment.pod.link(&name)?
        };
        found.push((interface, link));
    }
    Ok(found)
}

fn macs(world: &World<'_>) -> Result<Verdict> {
    let attachment = world.attach()?;
    for (interface, link) in links(world, &attachment)? {
        let Some(said) = text(&interface, "mac").filter(|mac| !mac.is_empty()) else {
            continue;
        };
        let is = link
            .mac
            .unwrap_or_default()
            .map(|byte| format!("{byte:02x}"))
            .join(":");
        ensure!(
            said.eq_ignore_ascii_case(&is),
            "{} has {is}, the result says {said}",
            link.name
        );
    }
    let position = attachment.position()?;
    let ours = attachment
        .list("interfaces")
        .get(position)
        .and_then(|interface| text(interface, "mac"));
    ensure!(
        ours.is_some_and(|mac| !mac.is_empty()),
        "the pod's interface has no mac in the result"
    );
    attachment.delete()?;
    Ok(Verdict::Pass)
}

fn mtus(world: &World<'_>) -> Result<Verdict> {
    let attachment = world.attach()?;
    let newest = world.network.version.as_str() >= "1.1.0";
    for (interface, link) in links(world, &attachment)? {
        match interface.get("mtu").and_then(Value::as_u64) {
            Some(_) if !newest => bail!("interfaces has mtu in {}", world.network.version),
            Some(said) => ensure!(
                said == u64::from(link.mtu),
                "{} has {}, the result says {said}",
                link.name,
                link.mtu
            ),
            None if newest && !is_on_host(&interface) => bail!("{} has no mtu in the result", link.name),
            None => {}
        }
    }
    attachment.delete()?;
    Ok(Verdict::Pass)
}

fn places(world: &World<'_>) -> Result<Verdict> {
    let attachment = world.attach()?;
    let position = u64::try_from(attachment.position()?)?;
    for ip in attachment.list("ips") {
        let said = ip.get("interface").and_then(Value::as_u64);
        ensure!(
            said == Some(position),
            "{ip}: the pod's interface is the one at {position}"
        );
    }
    attachment.delete()?;
    Ok(Verdict::Pass)
}

fn order(world: &World<'_>) -> Result<Verdict> {
    let attachment = world.attach()?;
    let addresses = attachment.addresses()?;
    attachment.delete()?;
    if addresses.iter().all(IpNetwork::is_ipv4) || addresses.iter().all(IpNetwork::is_ipv6) {
        return not_applicable("the configuration gives addresses of one family");
    }
    let networks = world.network.prefixes();
    let place = |address: &IpNetwork| networks.iter().position(|network| network.contains(address.ip()));
    let places: Vec<Option<usize>> = addresses.iter().map(place).collect();
    if places.contains(&None) {
        return not_applicable("the configuration does not name the networks of the addresses");
    }
    ensure!(places.is_sorted(), "{addresses:?} out of {networks:?}");
    Ok(Verdict::Pass)
}

fn prefixes(world: &World<'_>) -> Result<Verdict> {
    let attachment = world.attach()?;
    let held = attachment.pod.addresses("eth0")?;
    for said in attachment.addresses()? {
        let found = held
            .iter()
            .any(|held| held.address == said.ip() && held.prefix_len == said.prefix());
        ensure!(found, "the result says {said}, the interface has {held:?}");
    }
    attachment.delete()?;
    Ok(Verdict::Pass)
}

fn routes(world: &World<'_>) -> Result<Verdict> {
    let attachment = world.attach()?;
    let is = kernel::routes(&attachment.pod.namespace)?;
    let mut said = Vec::new();
    for route in attachment.list("routes") {
        let destination: IpNetwork = text(&route, "dst").context("a route without dst")?.parse()?;
        let gateway = text(&route, "gw").map(|gateway| gateway.parse()).transpose()?;
        let fits = |hop: &kernel::Hop| gateway.is_none() || hop.gateway == gateway;
        let found = is
            .iter()
            .any(|route| route.prefix == destination && route.hops.iter().any(fits));
        ensure!(found, "the pod has no route {destination} via {gateway:?}");
        said.push(destination);
    }
    for route in is
        .iter()
        .filter(|route| route.prefix.prefix() == 0 && route.action == Action::Forward)
    {
        ensure!(
            said.contains(&route.prefix),
            "the result does not have the pod's {route}"
        );
    }
    attachment.delete()?;
    Ok(Verdict::Pass)
}

fn dns(world: &World<'_>) -> Result<Verdict> {
    let ours = json!({"nameservers": ["10.96.0.10"], "domain": "cluster.local", "search": ["svc.cluster.local"], "options": ["ndots:5"]});
    let network = world
        .network
        .edited(|conf| drop(conf.insert("dns".into(), ours.clone())));
    let attachment = world.add_to(&network, &world.pod()?, "eth0")?;
    let said = attachment.result.get("dns").cloned().unwrap_or_default();
    ensure!(said == ours, "the configuration has {ours}, the result {said}");
    attachment.delete()?;
    if world.network.declares("dns") {
        let mut network = world.network.clone();
        let wish = json!({"servers": ["10.96.0.11"], "searches": ["a.b"], "options": ["ndots:2"]});
        network.runtime.insert("dns".into(), wish);
        let attachment = world.add_to(&network, &world.pod()?, "eth0")?;
        let said = attachment.result.get("dns").cloned().unwrap_or_default();
        for (key, value) in [
            ("nameservers", "10.96.0.11"),
            ("search", "a.b"),
            ("options", "ndots:2"),
        ] {
            ensure!(
                said.get(key) == Some(&json!([value])),
                "runtimeConfig.dns is not in the result: {said}"
            );
        }
        attachment.delete()?;
    }
    Ok(Verdict::Pass)
}
