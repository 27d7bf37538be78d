//! ADD: a lock file, addresses, a link, a result; on failure the same backwards.
//!
//! The lock file of the attachment comes first and goes last. As long as it exists there may be something to clean up,
//! so a second ADD of the same attachment fails at once and DEL knows that it has work, whenever the first one died.
//! Ports of the host come last, when what they lead to is there ([`crate::host_ports`]).

use std::net::IpAddr;

use flatroute_netlink::{Socket, netns};
use serde_json::Value;

use super::{identity, store, survivors};
use crate::config::{AddressPlan, Config};
use crate::error::{CniError, Code, Result, io_error};
use crate::host_ports;
use crate::identity::Identity;
use crate::invocation::Invocation;
use crate::ipam::{Rest, Store};
use crate::pod::PodLink;
use crate::port_mappings;
use crate::removal::delete_link;
use crate::{bandwidth, mtu, result};

/// Attaches the container.
///
/// # Errors
/// Whatever failed first; nothing of this ADD is left then.
pub(crate) fn run(call: &Invocation, config: &Config) -> Result<Value> {
    config.check_supported()?;
    let plan = config.address_plan()?;
    let (mac, mtu, limits) = (config.mac()?, config.mtu()?, config.bandwidth()?);
    let mappings = port_mappings::read(config.port_mappings())?;
    let pod_netns = open_netns(call)?;
    let identity = identity(config, &call.attachment);
    let name = identity.host_interface(&config.prefix);
    let store = store(config);
    let _turn = store.turn()?;
    let mut host = Socket::open()?;
    let mtu = match mtu {
        Some(mtu) => mtu,
        None => mtu::of_uplinks(&mut host, &plan.wishes)?.unwrap_or(mtu::DEFAULT),
    };
    let shaping = limits.plan(&identity, &name, mtu)?;
    let lock = store.begin(&name)?;
    let addresses = match allocate(&store, &mut host, &identity, &plan) {
        Ok(addresses) => addresses,
        Err(error) => {
            lock.end()?;
            return Err(error);
        }
    };
    let link = PodLink {
        shaping,
        ..PodLink::plan(&identity, &config.prefix, addresses, mac, mtu)
    };
    let wired = link.apply(&mut host, &pod_netns);
    // After a conflict over a route the address must not be the next one given out.
    let rest = match &wired {
        Err(error) if error.code == Code::TryAgainLater => Rest::Cooldown,
        Err(_) | Ok(_) => Rest::None,
    };
    let done = wired.and_then(|wired| {
        if !mappings.is_empty() {
            let ports = port_mappings::ports(&mappings, &link.addresses)?;
            lock.note_host_ports()?;
            host_ports::publish(&ports, &identity, &link.host_interface, &mut host)?;
        }
        Ok(wired)
    });
    match done {
        Ok(wired) => Ok(result::of_add(config, &link, &wired, &call.netns)),
        Err(error) => {
            // The first error is the one to tell; what cannot be undone now DEL will find by the lock file.
            let ports = if lock.has_host_ports() {
                host_ports::withdraw(&identity)
            } else {
                Ok(())
            };
            if ports
                .and_then(|()| undo(&store, &mut host, &identity, &link, &error, rest))
                .is_ok()
            {
                lock.end()?;
            }
            Err(error)
        }
    }
}

/// Opens CNI_NETNS and makes sure that it is a network namespace and not our own.
pub(crate) fn open_netns(call: &Invocation) -> Result<std::fs::File> {
    let path = call.netns_path();
    let file = netns::open(&path).map_err(|error| {
        CniError::new(Code::Io, format!("open CNI_NETNS {}: {error}", path.display()))
            .because("it has to be the path of an existing network namespace")
    })?;
    let own = netns::current().map_err(io_error("open the plugin's own network namespace"))?;
    if netns::same(&file, &own).map_err(io_error("compare network namespaces"))? {
        let msg = format!(
            "CNI_NETNS {} is the plugin's own network namespace",
            path.display()
        );
        return Err(CniError::new(Code::InvalidNetns, msg));
    }
    Ok(file)
}

/// One address a wish, or none at all.
fn allocate(
    store: &Store,
    host: &mut Socket,
    identity: &Identity,
    plan: &AddressPlan,
) -> Result<Vec<IpAddr>> {
    let mut locked = store.lock(|| survivors(host, &identity.network))?;
    let mut addresses = Vec::with_capacity(plan.wishes.len());
    for wish in &plan.wishes {
        match locked.allocate(wish, &identity.attachment, plan.cooldown) {
            Ok(address) => addresses.push(address),
            Err(error) => {
                for address in addresses {
                    locked.release(address, Rest::None)?;
                }
                return Err(error);
            }
        }
    }
    Ok(addresses)
}

fn undo(
    store: &Store,
    host: &mut Socket,
    identity: &Identity,
    link: &PodLink,
    error: &CniError,
    rest: Rest,
) -> Result<()> {
    if let Some(found) = host.link_by_name(&link.host_interface)?
        && error.code != Code::Exists
        && identity.owns(found.alias.as_deref())
    {
        delete_link(host, found.index)?;
    }
    if link.shaping.is_some() {
        bandwidth::remove(host, &link.host_interface, |alias| identity.owns(alias))?;
    }
    if let Some(mut locked) = store.lock_as_is()? {
        for address in &link.addresses {
            locked.release(*address, rest)?;
        }
    }
    Ok(())
}
