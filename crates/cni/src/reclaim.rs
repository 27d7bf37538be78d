//! Addresses that nobody has any more come back by themselves.
//!
//! DEL and GC give addresses back. A runtime that lost its own records calls neither for a pod that is gone, and one such pod
//! after the other the pool would shrink. So whoever finds no free address, ADD or STATUS, looks before it says so:
//! an attachment is lost when no link of its name or with its alias exists and nobody holds its lock file. The lock is held from
//! before an ADD takes addresses until its link is there, and by every DEL, so nobody at work is robbed; a link that is there, in
//! whatever state, keeps its addresses. One look is not trusted: it leaves a sighting ([`crate::ipam::Sightings`]), and only a
//! second look, [`RECLAIM_AFTER`] later, frees. Then the same goes as with DEL: ports of the host, the device for bandwidth, the
//! addresses, the lock file. The cool-down counts from the first sighting.
//!
//! Lock files without addresses stay for DEL and GC, and for the first ADD after a boot: they hold nothing back, and may stand
//! for addresses that another plugin gave.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use flatroute_netlink::Socket;

use crate::bandwidth;
use crate::config::Config;
use crate::error::{CniError, Result};
use crate::host_ports;
use crate::identity::{Alias, Identity};
use crate::ipam::{AttachmentLock, Claim, Rest, Sighting, Sightings, Store};
use crate::verbs::{is_pod_link, survivors};

/// How long after the first sighting an address may be freed: far longer than any ADD or DEL works.
const RECLAIM_AFTER: Duration = Duration::from_secs(60);

/// What a look found and did not free.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    waiting: BTreeSet<IpAddr>,
    /// Until the first of them may be freed.
    soonest: Option<Duration>,
    failures: Vec<String>,
}

/// Who an address file says has addresses.
struct Holder {
    identity: Identity,
    addresses: Vec<IpAddr>,
}

/// Looks for lost attachments, and frees the addresses of those that were seen lost long enough ago.
///
/// # Errors
/// Code 5, or 11 when a lock is not to be had. What fails for one attachment is noted, and the others go on.
pub(crate) fn look(config: &Config, store: &Store, host: &mut Socket) -> Result<Lost> {
    // Before all else: while we wait for it, others free what we would have seen.
    let mut sightings = store.sightings()?;
    let mut holders = holders(config, store, host)?;
    // After the address files: a link is made after them, and who is in between holds a lock.
    let alive = alive(config, host)?;
    holders.retain(|name, _| !alive.contains(name));
    let mut lost = Lost::default();
    for (name, holder) in &holders {
        match holder.reclaim(name, store, host, &mut sightings) {
            Ok(None) => {}
            Ok(Some(wait)) => {
                lost.waiting.extend(&holder.addresses);
                lost.soonest = Some(lost.soonest.map_or(wait, |soonest| soonest.min(wait)));
            }
            Err(error) => {
                lost.waiting.extend(&holder.addresses);
                lost.failures.push(error.msg);
            }
        }
    }
    sightings.keep_only(&lost.waiting)?;
    Ok(lost)
}

/// Adds to an error about missing addresses what a look found.
pub(crate) fn explain(mut error: CniError, found: Result<Lost>) -> CniError {
    let found = found.unwrap_or_else(|error| Lost {
        failures: vec![error.msg],
        ..Lost::default()
    });
    if let Some(soonest) = found.soonest {
        error.details = format!(
            "{}; addresses whose pod has no interface any more: {}, the first of them comes back in {:.0} s, when the next \
             ADD or STATUS looks",
            error.details,
            found.waiting.len(),
            soonest.as_secs_f32().ceil()
        );
    }
    if !found.failures.is_empty() {
        error.details = format!(
            "{}; addresses without a pod could not be freed: {}",
            error.details,
            found.failures.join("; ")
        );
    }
    error
}

/// All attachments with addresses, by the name of their lock file.
fn holders(config: &Config, store: &Store, host: &mut Socket) -> Result<BTreeMap<String, Holder>> {
    let locked = store.lock(|| survivors(host, &config.network))?;
    let mut holders = BTreeMap::new();
    for record in locked.records() {
        let identity = Identity::new(&config.network, &record.attachment);
        holders
            .entry(identity.host_interface(&config.prefix))
            .or_insert_with(|| Holder {
                identity,
                addresses: Vec::new(),
            })
            .addresses
            .push(record.address);
    }
    Ok(holders)
}

/// The names of all links, and those that would be the names of attachments in their aliases: `hostInterfacePrefix` may
/// have been another one when they were made. The device for bandwidth outlives the pod, and does not count.
fn alive(config: &Config, host: &mut Socket) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for link in host.links()? {
        let alias = link.alias.as_deref().filter(|_| is_pod_link(&link));
        let alias = alias.and_then(Alias::parse);
        names.extend(alias.map(|alias| alias.identity.host_interface(&config.prefix)));
        names.insert(link.name);
    }
    Ok(names)
}

impl Holder {
    /// Notes that the attachment looks lost, and frees what it has when it is time; else says how long that takes. `None` when
    /// nothing is left to do, or when somebody works on it.
    fn reclaim(
        &self,
        name: &str,
        store: &Store,
        host: &mut Socket,
        sightings: &mut Sightings,
    ) -> Result<Option<Duration>> {
        let claim = store.claim(name)?;
        if matches!(claim, Claim::Busy) {
            return Ok(None);
        }
        let mut seen = Vec::new();
        for address in &self.addresses {
            let sighting = sightings.note(*address)?;
            seen.extend(sighting.map(|sighting| (*address, sighting)));
        }
        let wait = seen
            .iter()
            .map(|(_, sighting)| RECLAIM_AFTER.saturating_sub(sighting.age))
            .max();
        // Without any address left, DEL or GC was quicker.
        let Some(wait) = wait else { return Ok(None) };
        if !wait.is_zero() {
            return Ok(Some(wait));
        }
        let (lock, may_have_ports) = match claim {
            Claim::Busy => return Ok(None),
            Claim::Held(lock) => {
                let noted = lock.has_host_ports();
                (lock, noted)
            }
            // Without a lock file there is no note about ports either.
            Claim::Missing => (store.begin(name)?, true),
        };
        if may_have_ports {
            host_ports::withdraw(&self.identity)?;
        }
        self.free(name, store, host, &seen, sightings, lock)?;
        Ok(None)
    }

    fn free(
        &self,
        name: &str,
        store: &Store,
        host: &mut Socket,
        seen: &[(IpAddr, Sighting)],
        sightings: &Sightings,
        lock: AttachmentLock,
    ) -> Result<()> {
        bandwidth::remove(host, name, |alias| self.identity.owns(alias))?;
        if let Some(mut locked) = store.lock_as_is()? {
            for (address, sighting) in seen {
                // GC may have been quicker, and another ADD too.
                let theirs = locked.holds(&self.identity.attachment, *address);
                if theirs && sightings.stands(sighting.since, *address)? {
                    locked.release(*address, Rest::Since(sighting.since))?;
                }
            }
        }
        lock.end()
    }
}
