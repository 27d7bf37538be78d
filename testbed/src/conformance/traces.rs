//! What a host's network namespace holds, as lines that can be compared: links, addresses, routes, permanent neighbours,
//! and nf_tables where `nft` is installed. Link-local IPv6 is left out: the kernel makes it when it likes.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use super::invocation::shortened;
use crate::kernel;
use crate::namespace::Namespace;
use crate::process::locate;
use crate::wait;

/// How long the kernel may take to remove the peer of a link that went.
const SETTLE: Duration = Duration::from_secs(3);

/// A comparable picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Traces(BTreeSet<String>);

impl Traces {
    /// The picture of now.
    ///
    /// # Errors
    /// The kernel refuses to be read.
    pub(super) fn of(host: &Namespace) -> Result<Self> {
        let mut netlink = host.netlink()?;
        let mut found = BTreeSet::new();
        for link in netlink.links()? {
            found.insert(format!("link {} {:?}", link.name, link.alias));
            for address in netlink.addresses(link.index)? {
                if !is_link_local(address.address) {
                    found.insert(format!(
                        "address {}/{} on {}",
                        address.address, address.prefix_len, link.name
                    ));
                }
            }
            for neighbour in netlink.neighbours(link.index)? {
                if neighbour.permanent && !neighbour.address.is_multicast() && !link.name.eq("lo") {
                    found.insert(format!("neighbour {} on {}", neighbour.address, link.name));
                }
            }
        }
        for route in kernel::routes_of_all_tables(host)? {
            // 255 is the table of local addresses, which follow from the addresses.
            if route.table != 255 && !is_link_local(route.prefix.ip()) && !route.prefix.ip().is_multicast() {
                found.insert(format!("route {route} in table {}", route.table));
            }
        }
        if let Some(nft) = locate("nft") {
            let output = host.run(|| Ok(Command::new(nft).args(["-s", "list", "ruleset"]).output()?))?;
            let mut place = String::new();
            for line in String::from_utf8_lossy(&output.stdout).lines().map(str::trim) {
                if line.ends_with('{') {
                    place = line.trim_end_matches(" {").to_owned();
                }
                found.insert(format!("nft {place}: {line}"));
            }
        }
        Ok(Self(found))
    }

    /// Waits until nothing is there that was not before.
    ///
    /// # Errors
    /// What is left.
    pub(super) fn nothing_new(&self, host: &Namespace) -> Result<()> {
        self.settle(host, |now| now.0.difference(&self.0).cloned().collect())
            .map_err(|left| left.context("left on the host"))
    }

    /// Waits until everything is as before.
    ///
    /// # Errors
    /// The difference.
    pub(super) fn unchanged(&self, host: &Namespace) -> Result<()> {
        self.settle(host, |now| now.0.symmetric_difference(&self.0).cloned().collect())
            .map_err(|left| left.context("changed on the host"))
    }

    fn settle(&self, host: &Namespace, look: impl Fn(&Self) -> Vec<String>) -> Result<()> {
        let waited = wait::until("the kernel", SETTLE, || {
            let left = look(&Self::of(host)?);
            Ok(if left.is_empty() {
                Ok(())
            } else {
                Err(left.join("; "))
            })
        });
        if waited.is_ok() {
            return Ok(());
        }
        let left = look(&Self::of(host)?);
        bail!("{} things: {}", left.len(), shortened(&left.join("; ")))
    }
}

pub(super) fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}
