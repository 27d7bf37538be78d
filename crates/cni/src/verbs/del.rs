//! DEL: whatever there is of the attachment goes; what is gone already is fine.
//!
//! Only facts of this host are used: the link of the computed name, the address files that carry the container's id. The
//! pod's namespace is never entered, so it does not matter whether it is gone, or whether its path now leads to the
//! namespace of somebody else. The pod's end goes with the host's, and with the link its routes and neighbours. Ports of the host
//! go next ([`host_ports`]): nothing may lead to an address that is given back. The plugin that gave the addresses, if there is one, hears of it
//! last, when nothing uses them any more.

use std::net::IpAddr;

use flatroute_netlink::{Link, NextHop, Socket};

use super::{identity, store};
use crate::bandwidth;
use crate::config::Config;
use crate::error::Result;
use crate::host_ports;
use crate::identity::{Alias, Identity, LINK_GROUP};
use crate::invocation::Invocation;
use crate::ipam::{AttachmentLock, Locked, Rest};
use crate::removal::{delete_link, is_marked};

/// Detaches the container.
///
/// # Errors
/// Only when something is there and cannot be removed.
pub(crate) fn run(call: &Invocation, config: &Config) -> Result<()> {
    let identity = identity(config, &call.attachment);
    let store = store(config);
    let name = identity.host_interface(&config.prefix);
    let lock = store.resume(&name)?;
    let mut host = Socket::open()?;
    // The link first: while it exists, its route would be in the way of the address's next owner.
    let mut said = Vec::new();
    if let Some(link) = host.link_by_name(&name)?
        && is_ours(&link, &identity)
    {
        said = link
            .alias
            .as_deref()
            .and_then(Alias::parse)
            .map_or(said, |alias| alias.addresses);
        delete_link(&mut host, link.index)?;
    }
    if lock.as_ref().is_none_or(AttachmentLock::has_host_ports) {
        host_ports::withdraw(&identity)?;
    }
    bandwidth::remove(&mut host, &name, |alias| identity.owns(alias))?;
    if let Some(mut locked) = store.lock_as_is()? {
        let holds = |address: &IpAddr| locked.holds(&identity.attachment, *address);
        // The alias was written when all addresses were taken; the files of all others need not be read then.
        if said.is_empty() || !said.iter().all(holds) {
            release(&mut locked, &mut host, &identity)?;
        } else {
            for address in said {
                locked.release(address, Rest::Cooldown)?;
            }
        }
    }
    if let Some(delegate) = &config.delegate {
        delegate.del(lock.is_some())?;
    }
    lock.map_or(Ok(()), |lock| lock.end())
}

fn is_ours(link: &Link, identity: &Identity) -> bool {
    link.kind.as_deref() == Some("veth")
        && (link.group == LINK_GROUP || is_marked(link.group))
        && identity.owns(link.alias.as_deref())
}

/// Gives the attachment's addresses back. A link that still has one of them (its name was made with another
/// `hostInterfacePrefix`) goes before.
pub(crate) fn release(locked: &mut Locked, host: &mut Socket, identity: &Identity) -> Result<()> {
    for address in locked.held_by(&identity.attachment) {
        if let Some(NextHop::Link { index }) = host.route_to(address)?.map(|route| route.next_hop)
            && let Some(link) = host.link_by_index(index)?
            && link.alias.is_some()
            && is_ours(&link, identity)
        {
            delete_link(host, index)?;
            bandwidth::remove(host, &link.name, |alias| identity.owns(alias))?;
        }
        locked.release(address, Rest::Cooldown)?;
    }
    Ok(())
}
