//! STATUS: could an ADD be served now?
//!
//! Runtimes ask every few seconds and take the node out of service on an error, so the answer comes from few, local and
//! steady facts: the configuration is valid, the kernel has its families, the state directory can be used, and every family has an address that no
//! pod holds. Addresses that only rest are not counted as missing: that passes by itself. Nor are those
//! that nobody has any more ([`crate::reclaim`]), once they are freed. Where another plugin gives them, it is
//! asked instead.

use std::path::Path;

use flatroute_netlink::Socket;
use rustix::fs::Access;

use super::store;
use crate::config::{AddressPlan, Config};
use crate::delegate::Delegate;
use crate::error::{CniError, Code, Result};
use crate::invocation::Verb;
use crate::ipam::{Store, Wish};
use crate::{pod, reclaim};

/// Asks the plugin that gives the addresses. What it says, 50 or 51, goes out as it came.
fn ask(delegate: &Delegate) -> Result<()> {
    let unavailable = |error: CniError| CniError {
        code: Code::NotAvailable,
        relayed: error.relayed.filter(|code| matches!(code, 50 | 51)),
        ..error
    };
    let plugin = delegate.find().map_err(unavailable)?;
    plugin.call(Verb::Status).map_err(unavailable)
}

fn unavailable(error: CniError) -> CniError {
    CniError {
        code: Code::NotAvailable,
        ..error
    }
}

/// Says whether an ADD would work.
///
/// # Errors
/// Code 50 with the reason.
pub(crate) fn run(config: &Config) -> Result<()> {
    config.check_ipam().map_err(unavailable)?;
    let plan = match &config.delegate {
        Some(_) => None,
        None => Some(config.address_plan().map_err(unavailable)?),
    };
    if let Some(plan) = &plan {
        let families: Vec<bool> = plan.wishes.iter().map(Wish::is_ipv4).collect();
        pod::check_families(&families).map_err(unavailable)?;
    }
    config.mtu().map_err(unavailable)?;
    let store = store(config);
    let existing = store
        .dir()
        .ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("/"));
    rustix::fs::access(existing, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| {
        CniError::new(
            Code::NotAvailable,
            format!("stateDir: {} is not writable: {error}", existing.display()),
        )
    })?;
    if let Some(delegate) = &config.delegate {
        return ask(delegate);
    }
    let Some(plan) = plan else { return Ok(()) };
    if lacking(&store, &plan)?.is_none() {
        return Ok(());
    }
    // While this is the answer no ADD may come that would look.
    let found = Socket::open()
        .map_err(CniError::from)
        .and_then(|mut host| reclaim::look(config, &store, &mut host));
    match lacking(&store, &plan)? {
        Some(error) => Err(reclaim::explain(error, found)),
        None => Ok(()),
    }
}

/// What to say of the first family of which pods hold all addresses.
fn lacking(store: &Store, plan: &AddressPlan) -> Result<Option<CniError>> {
    let used = store.used().map_err(unavailable)?;
    let full = plan
        .wishes
        .iter()
        .find(|wish| wish.lowest_outside(used.iter().copied()).is_none());
    Ok(full.map(|wish| {
        let held = used.iter().filter(|address| wish.usable(**address)).count();
        let msg = format!("no free address in {wish}: pods hold {held}");
        CniError::new(Code::NotAvailable, msg).because("delete pods or widen the pod CIDR")
    }))
}
