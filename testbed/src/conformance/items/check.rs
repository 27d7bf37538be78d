//! Items 83 to 93: CHECK.

use anyhow::{Context as _, Result, ensure};
use flatroute_netlink::packet::AddressFamily;
use flatroute_netlink::packet::RouteNetlinkMessage;
use flatroute_netlink::packet::address::{AddressAttribute, AddressMessage};
use flatroute_netlink::{LinkChange, NextHop, Route};
use serde_json::{Value, json};

use super::super::attachment::{Attachment, text};
use super::super::ground;
use super::super::verdict::{Item, Verdict, item, not_applicable, not_provoked};
use super::super::world::World;
use super::protocol::since;

pub(super) const ITEMS: &[Item] = &[
    item(83, "CHECK after ADD succeeds", |world| {
        attached(world, |attachment, _| {
            attachment.check()?;
            Ok(Verdict::Pass)
        })
    }),
    item(84, "CHECK: the pod's interface is down: an error", |world| {
        attached(world, down)
    }),
    item(85, "CHECK: an address is gone: an error", |world| {
        attached(world, address_gone)
    }),
    item(86, "CHECK: the pod's default route is gone: an error", |world| {
        attached(world, default_route_gone)
    }),
    item(
        87,
        "CHECK: the host's route to the pod is gone: an error",
        |world| attached(world, host_route_gone),
    ),
    item(
        88,
        "CHECK: the record of the address is gone: an error",
        |world| attached(world, record_gone),
    ),
    item(
        89,
        "CHECK: the host's end of the pair is gone: an error",
        |world| attached(world, host_end_gone),
    ),
    item(90, "CHECK without prevResult: code 7", |world| {
        attached(world, |attachment, world| {
            let call = attachment
                .call(0, "CHECK")
                .edited(|conf| drop(conf.remove("prevResult")))?;
            world.run(&call)?.refused(&[7])?;
            Ok(Verdict::Pass)
        })
    }),
    item(
        91,
        "CHECK with another container's prevResult: an error",
        |world| attached(world, other_previous),
    ),
    item(
        92,
        "CHECK: a later plugin added routes and addresses: it succeeds",
        |world| attached(world, additions),
    ),
    item(
        93,
        "CHECK without any daemon of the plugin: it succeeds, or an error; it does not hang",
        |world| attached(world, alone),
    ),
];

fn attached(
    world: &World<'_>,
    run: impl FnOnce(&Attachment<'_>, &World<'_>) -> Result<Verdict>,
) -> Result<Verdict> {
    since(world, "0.4.0", |world| {
        let attachment = world.attach()?;
        let verdict = run(&attachment, world)?;
        attachment.delete().context("afterwards")?;
        Ok(verdict)
    })
}

/// CHECK passes before a change; the plugins together must see it.
fn sees(attachment: &Attachment<'_>, change: impl FnOnce() -> Result<()>) -> Result<Verdict> {
    attachment.check().context("before the change")?;
    change()?;
    attachment.check_first()?.refusal()?;
    Ok(Verdict::Pass)
}

fn down(attachment: &Attachment<'_>, _: &World<'_>) -> Result<Verdict> {
    let pod = &attachment.pod;
    let index = pod.link("eth0")?.index;
    // The addresses stay, those of IPv6 too.
    pod.namespace
        .set("net/ipv6/conf/eth0/keep_addr_on_down", "1")
        .unwrap_or_default();
    sees(attachment, || {
        let change = LinkChange {
            up: Some(false),
            ..LinkChange::default()
        };
        Ok(pod.namespace.netlink()?.change_link(index, &change)?)
    })
}

fn address_gone(attachment: &Attachment<'_>, _: &World<'_>) -> Result<Verdict> {
    let address = *attachment.addresses()?.first().context("no address")?;
    let index = attachment.pod.link("eth0")?.index;
    let mut message = AddressMessage::default();
    message.header.family = if address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    message.header.prefix_len = address.prefix();
    message.header.index = index;
    message.attributes.push(AddressAttribute::Local(address.ip()));
    message.attributes.push(AddressAttribute::Address(address.ip()));
    sees(attachment, || {
        let what = || format!("remove {address}");
        let mut netlink = attachment.pod.namespace.netlink()?;
        Ok(netlink.request(RouteNetlinkMessage::DelAddress(message), 0, what)?)
    })
}

fn default_route_gone(attachment: &Attachment<'_>, _: &World<'_>) -> Result<Verdict> {
    let mut netlink = attachment.pod.namespace.netlink()?;
    let mut routes = netlink.routes(false)?;
    routes.extend(netlink.routes(true)?);
    let Some(route) = routes.into_iter().find(|route| route.prefix_len == 0) else {
        return not_applicable("the pod has no default route");
    };
    sees(attachment, || Ok(netlink.delete_route(&route)?))
}

fn host_routes(attachment: &Attachment<'_>, world: &World<'_>) -> Result<Vec<Route>> {
    let addresses = attachment.addresses()?;
    let mut netlink = world.host.netlink()?;
    let mut routes = netlink.routes(false)?;
    routes.extend(netlink.routes(true)?);
    let is_to_pod = |route: &Route| {
        let is_host = route.prefix_len == if route.destination.is_ipv4() { 32 } else { 128 };
        is_host && addresses.iter().any(|address| address.ip() == route.destination)
    };
    routes.retain(is_to_pod);
    Ok(routes)
}

fn host_route_gone(attachment: &Attachment<'_>, world: &World<'_>) -> Result<Verdict> {
    let Some(route) = host_routes(attachment, world)?.into_iter().next() else {
        return not_applicable("the host has no route for this pod alone");
    };
    sees(attachment, || Ok(world.host.netlink()?.delete_route(&route)?))
}

fn record_gone(attachment: &Attachment<'_>, _: &World<'_>) -> Result<Verdict> {
    attachment.check().context("before the change")?;
    if !ground::forget()? {
        return not_provoked("the plugin's records cannot be told from the machine's files here");
    }
    attachment.check_first()?.refusal()?;
    Ok(Verdict::Pass)
}

fn host_end_gone(attachment: &Attachment<'_>, world: &World<'_>) -> Result<Verdict> {
    let mut netlink = world.host.netlink()?;
    for interface in attachment.list("interfaces") {
        let is_host = text(&interface, "sandbox").unwrap_or_default().is_empty();
        let name = text(&interface, "name").unwrap_or_default();
        let link = if is_host {
            netlink.link_by_name(&name)?
        } else {
            None
        };
        if let Some(link) = link.filter(|link| link.kind.as_deref() == Some("veth")) {
            return sees(attachment, || Ok(netlink.delete_link(link.index)?));
        }
    }
    not_applicable("the result names no host's end of a veth pair")
}

fn other_previous(attachment: &Attachment<'_>, world: &World<'_>) -> Result<Verdict> {
    let other = world.attach()?;
    let call = attachment
        .call(0, "CHECK")
        .edited(|conf| drop(conf.insert("prevResult".into(), other.result.clone())))?;
    world.run(&call)?.refusal()?;
    other.delete()?;
    Ok(Verdict::Pass)
}

fn additions(attachment: &Attachment<'_>, world: &World<'_>) -> Result<Verdict> {
    let index = attachment.pod.link("eth0")?.index;
    let mut netlink = attachment.pod.namespace.netlink()?;
    netlink.add_address(index, "198.51.100.9".parse()?, 32)?;
    netlink.add_route(&Route {
        destination: "203.0.113.0".parse()?,
        prefix_len: 24,
        next_hop: NextHop::Link { index },
        source: None,
        protocol: 4,
    })?;
    attachment
        .check_first()?
        .silent()
        .context("with more in the kernel")?;
    let mut longer = attachment.result.clone();
    let extra = [
        ("routes", json!({"dst": "203.0.113.0/24"})),
        ("interfaces", json!({"name": "later0"})),
    ];
    for (key, value) in extra {
        if let Some(list) = longer.get_mut(key).and_then(Value::as_array_mut) {
            list.push(value);
        }
    }
    let call = attachment
        .call(0, "CHECK")
        .edited(|conf| drop(conf.insert("prevResult".into(), longer)))?;
    world.run(&call)?.silent().context("with more in prevResult")?;
    Ok(Verdict::Pass)
}

fn alone(attachment: &Attachment<'_>, _: &World<'_>) -> Result<Verdict> {
    const PROMPT_S: f64 = 10.0;
    let answer = attachment.check_first()?;
    ensure!(
        answer.took.as_secs_f64() < PROMPT_S,
        "it took {:.1} s",
        answer.took.as_secs_f64()
    );
    if answer.code == Some(0) {
        answer.silent()?;
    } else {
        answer.refusal()?;
    }
    Ok(Verdict::Pass)
}
