//! CHECK: is everything that ADD made still there?
//!
//! The expectation is `prevResult`, which the runtime kept; the facts are the address files, the host's link, bandwidth and
//! routes, the pod's link, addresses, neighbours and routes, and the ports of the host that were asked for. More than ADD made is fine: later plugins of the
//! chain may add to it, in the kernel and in the result, and move routes to other tables. All faults are reported at once. Where another
//! plugin gave the addresses, it is asked too.

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd;

use flatroute_netlink::{NextHop, Route, Socket};
use serde_json::Value;

use super::{add::open_netns, identity, store};
use crate::bandwidth::Limits;
use crate::config::Config;
use crate::error::{CniError, Code, Result};
use crate::host_ports;
use crate::identity::{Alias, HOST_MAC, Identity};
use crate::invocation::{Invocation, Verb};
use crate::pod::gateway;
use crate::port_mappings;
use crate::result::mac_text;

/// What `prevResult` says about this attachment.
struct Expected {
    mac: Option<String>,
    addresses: Vec<IpAddr>,
    routes: Vec<(IpAddr, u8, Option<IpAddr>)>,
}

/// Verifies the attachment.
///
/// # Errors
/// Code 7 without a usable `prevResult`; code 101 with everything that is missing or changed.
pub(crate) fn run(call: &Invocation, config: &Config) -> Result<()> {
    let previous = config.prev_result().ok_or_else(|| {
        CniError::new(
            Code::InvalidConfig,
            "network configuration: prevResult: missing, CHECK needs it",
        )
    })?;
    let mut expected = Expected::read(previous, call)?;
    let identity = identity(config, &call.attachment);
    let (_, pod_netns) = open_netns(call)?;
    let mut faults = Vec::new();
    check_addresses(config, &identity, &mut expected, &mut faults)?;
    let limits = config.bandwidth()?;
    let host_interface = identity.host_interface(&config.prefix);
    check_host(&host_interface, &identity, &expected, &limits, &mut faults)?;
    check_pod(&pod_netns, &call.attachment.interface, &expected, &mut faults)?;
    let mappings = port_mappings::read(config.port_mappings())?;
    if !mappings.is_empty() {
        let ports = port_mappings::ports(&mappings, &expected.addresses)?;
        host_ports::check(&ports, &identity, &host_interface, &mut faults)?;
    }
    if let Some(delegate) = &config.delegate
        && let Err(error) = delegate.find().and_then(|plugin| plugin.call(Verb::Check))
    {
        if faults.is_empty() {
            return Err(error);
        }
        faults.push(error.msg);
    }
    if faults.is_empty() {
        return Ok(());
    }
    Err(CniError::new(Code::Drifted, "the attachment is not as ADD made it").because(faults.join("; ")))
}

impl Expected {
    fn read(previous: &Value, call: &Invocation) -> Result<Self> {
        let fault = |problem: &str| {
            CniError::new(
                Code::InvalidConfig,
                format!("network configuration: prevResult: {problem}"),
            )
        };
        let list = |key: &str| {
            previous
                .get(key)
                .and_then(Value::as_array)
                .map(Vec::as_slice)
                .unwrap_or_default()
        };
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let interfaces = list("interfaces");
        let position = interfaces.iter().position(|interface| {
            text(interface, "name").as_deref() == Some(call.attachment.interface.as_str())
                && text(interface, "sandbox").as_deref() == Some(call.netns.as_str())
        });
        let position = position
            .ok_or_else(|| fault("no interface with the name CNI_IFNAME in the sandbox CNI_NETNS"))?;
        let index_of = |ip: &Value| {
            ip.get("interface")
                .and_then(Value::as_u64)
                .and_then(|index| index.try_into().ok())
        };
        let addresses = list("ips")
            .iter()
            .filter(|ip| index_of(ip) == Some(position))
            .map(|ip| {
                let address = text(ip, "address")?;
                address.split('/').next()?.parse().ok()
            });
        let addresses: Option<Vec<IpAddr>> = addresses.collect();
        let routes = list("routes").iter().map(|route| {
            let destination = text(route, "dst")?;
            let (address, length) = destination.split_once('/')?;
            let via = text(route, "gw").map(|via| via.parse()).transpose().ok()?;
            Some((address.parse().ok()?, length.parse().ok()?, via))
        });
        let routes: Option<Vec<_>> = routes.collect();
        Ok(Self {
            mac: interfaces
                .get(position)
                .and_then(|interface| text(interface, "mac")),
            addresses: addresses.ok_or_else(|| fault("an address in ips cannot be read"))?,
            routes: routes.ok_or_else(|| fault("a route cannot be read"))?,
        })
    }
}

/// Leaves the addresses in `expected` that this plugin gave or passed on: later plugins of the chain may have put more on the
/// same interface, and those are not ours to judge.
fn check_addresses(
    config: &Config,
    identity: &Identity,
    expected: &mut Expected,
    faults: &mut Vec<String>,
) -> Result<()> {
    let (held, place) = match config.delegate {
        None => {
            let locked = store(config).lock_as_is()?;
            let held = locked.map(|locked| locked.held_by(&identity.attachment));
            (
                held.unwrap_or_default(),
                store(config).dir().display().to_string(),
            )
        }
        // The plugin that gave them has the records; here they stand in the alias of the link.
        Some(_) => match addresses_of_link(config, identity)? {
            Some(addresses) => (addresses, "the alias of the host interface".to_owned()),
            None => return Ok(()),
        },
    };
    let is_ours = |address: &IpAddr| {
        held.contains(address) || (config.delegate.is_none() && in_pools(config, *address))
    };
    expected.addresses.retain(is_ours);
    if held.is_empty() && expected.addresses.is_empty() {
        faults.push(format!("no address is recorded for this container in {place}"));
    }
    for address in expected
        .addresses
        .iter()
        .filter(|address| !held.contains(address))
    {
        faults.push(format!("{address} is not recorded for this container in {place}"));
    }
    for address in held
        .iter()
        .filter(|address| !expected.addresses.contains(address))
    {
        faults.push(format!(
            "this container holds {address}, which prevResult does not have"
        ));
    }
    Ok(())
}

/// Whether an address is one of `podCIDRs`; yes when those cannot be read.
fn in_pools(config: &Config, address: IpAddr) -> bool {
    config.address_plan().map_or(true, |plan| {
        let mut blocks = plan.wishes.iter().flat_map(|wish| &wish.blocks);
        blocks.any(|block| block.cidr.contains(address))
    })
}

/// What the alias of the host interface says; `None` without link, or when the addresses did not fit.
fn addresses_of_link(config: &Config, identity: &Identity) -> Result<Option<Vec<IpAddr>>> {
    let link = Socket::open()?.link_by_name(&identity.host_interface(&config.prefix))?;
    let alias = link.and_then(|link| Alias::parse(link.alias.as_deref()?));
    Ok(alias
        .map(|alias| alias.addresses)
        .filter(|addresses| !addresses.is_empty()))
}

fn check_host(
    name: &str,
    identity: &Identity,
    expected: &Expected,
    limits: &Limits,
    faults: &mut Vec<String>,
) -> Result<()> {
    let mut host = Socket::open()?;
    let Some(link) = host.link_by_name(name)? else {
        faults.push(format!("the host interface {name} is gone"));
        return Ok(());
    };
    if !link
        .alias
        .as_deref()
        .is_some_and(|alias| identity.owns(Some(alias)))
    {
        faults.push(format!(
            "the host interface {name} has the alias {:?}",
            link.alias.as_deref().unwrap_or_default()
        ));
    }
    if !link.up {
        faults.push(format!("the host interface {name} is down"));
    }
    let neighbours = host.neighbours(link.index)?;
    for address in &expected.addresses {
        let next_hop = host.route_to(*address)?.map(|route| route.next_hop);
        if next_hop != Some(NextHop::Link { index: link.index }) {
            faults.push(format!("the host's route to {address} over {name} is gone"));
        }
        if !neighbours
            .iter()
            .any(|neighbour| neighbour.address == *address && neighbour.permanent)
        {
            faults.push(format!(
                "the host's permanent neighbour {address} on {name} is gone"
            ));
        }
    }
    if let Some(shaping) = limits.plan(identity, name, link.mtu)? {
        faults.extend(shaping.faults(&mut host, &link)?);
    }
    Ok(())
}

fn check_pod(pod_netns: &File, interface: &str, expected: &Expected, faults: &mut Vec<String>) -> Result<()> {
    let mut pod = Socket::open_in(pod_netns.as_fd())?;
    let Some(link) = pod.link_by_name(interface)? else {
        faults.push(format!("the pod's interface {interface} is gone"));
        return Ok(());
    };
    if !link.up {
        faults.push(format!("the pod's interface {interface} is down"));
    }
    let mac = link.mac.map(mac_text);
    if expected.mac.is_some() && mac != expected.mac {
        faults.push(format!(
            "the pod's interface {interface} has the MAC {}",
            mac.unwrap_or_default()
        ));
    }
    let addresses = pod.addresses(link.index)?;
    let neighbours = pod.neighbours(link.index)?;
    for address in &expected.addresses {
        match addresses.iter().find(|found| found.address == *address) {
            None => faults.push(format!("{interface} does not have the address {address}")),
            Some(found) if found.tentative => faults.push(format!("{address} on {interface} is tentative")),
            Some(_) => {}
        }
        let via = gateway(*address);
        let known = |each: &flatroute_netlink::Neighbour| {
            each.address == via && each.mac == Some(HOST_MAC) && each.permanent
        };
        if !neighbours.iter().any(known) {
            faults.push(format!("the permanent neighbour {via} on {interface} is gone"));
        }
    }
    // Of all tables: a later plugin may have moved them to one of its own, as sbr does.
    let mut routes = pod.routes_of_all_tables(false)?;
    if expected
        .routes
        .iter()
        .any(|(destination, ..)| destination.is_ipv6())
    {
        routes.extend(pod.routes_of_all_tables(true)?);
    }
    for wanted in expected
        .routes
        .iter()
        .filter(|wanted| !routes.iter().any(|route| is_route(route, wanted)))
    {
        faults.push(format!("the pod's route to {}/{} is gone", wanted.0, wanted.1));
    }
    Ok(())
}

fn is_route(route: &Route, (destination, prefix_len, gateway): &(IpAddr, u8, Option<IpAddr>)) -> bool {
    let via = match route.next_hop {
        NextHop::Gateway { via, .. } => Some(via),
        NextHop::Link { .. } => None,
    };
    route.destination == *destination
        && route.prefix_len == *prefix_len
        && (gateway.is_none() || via == *gateway)
}
