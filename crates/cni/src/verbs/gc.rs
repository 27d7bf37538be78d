//! GC: what is not in the runtime's list of valid attachments goes.
//!
//! Four kinds of traces are looked at: ports of the host, links and devices for bandwidth whose alias names this network,
//! address files, and lock files. The
//! specification promises that no ADD or DEL of the network runs meanwhile. Removal goes on after a failure; all
//! failures are reported at the end. A plugin that gives the addresses is told too.

use std::collections::BTreeSet;

use flatroute_netlink::{Link, Socket};

use super::{identity, is_pod_link, links_of_network, store};
use crate::bandwidth;
use crate::config::Config;
use crate::error::{CniError, Code, Result};
use crate::host_ports;
use crate::invocation::{Attachment, Verb};
use crate::ipam::Rest;
use crate::removal::delete_links;

/// Removes everything of this network that is not in the list.
///
/// # Errors
/// Code 7 without a list; code 102 when some removals failed.
pub(crate) fn run(config: &Config) -> Result<()> {
    let valid: Vec<_> = config
        .valid_attachments()?
        .iter()
        .map(|attachment| identity(config, attachment))
        .collect();
    let valid_names: BTreeSet<_> = valid
        .iter()
        .map(|identity| identity.host_interface(&config.prefix))
        .collect();
    let is_valid = |attachment: &Attachment| valid.iter().any(|one| one.attachment == *attachment);
    let store = store(config);
    let mut host = Socket::open()?;
    let is_of_pod = |link: &Link| is_pod_link(link) || bandwidth::is_device(link);
    let mut doomed: BTreeSet<_> = links_of_network(&mut host, &config.network, is_of_pod)?
        .into_iter()
        .filter(|(_, alias)| !is_valid(&alias.identity.attachment))
        .map(|(link, _)| link.index)
        .collect();
    // Before the address files: a link without alias is known by the name of its lock file only.
    let stale: Vec<_> = store
        .attachments()?
        .into_iter()
        .filter(|name| !valid_names.contains(name))
        .collect();
    for name in &stale {
        if let Some(link) = host.link_by_name(name)?
            && link.kind.as_deref() == Some("veth")
            && link.alias.is_none()
        {
            doomed.insert(link.index);
        }
        doomed.extend(bandwidth::device(&mut host, name, |alias| alias.is_none())?);
    }
    let failures = delete_links(&mut host, &doomed);
    // Then, as in DEL: nothing may lead to an address that is given back.
    let ports = host_ports::collect(&config.network, is_valid);
    let mut failures: Vec<_> = failures.into_iter().map(|error| error.msg).collect();
    let mut note = |result: Result<()>| failures.extend(result.err().map(|error| error.msg));
    note(ports);
    if let Some(mut locked) = store.lock_as_is()? {
        for record in locked.records() {
            if !is_valid(&record.attachment) {
                note(locked.release(record.address, Rest::Cooldown));
            }
        }
    }
    if let Some(delegate) = &config.delegate {
        note(delegate.find().and_then(|plugin| plugin.call(Verb::Gc)));
    }
    for name in &stale {
        note(
            store
                .resume(name)
                .and_then(|lock| lock.map_or(Ok(()), |lock| lock.end())),
        );
    }
    if failures.is_empty() {
        return Ok(());
    }
    Err(
        CniError::new(Code::Partial, format!("{} removals failed", failures.len()))
            .because(failures.join("; ")),
    )
}
