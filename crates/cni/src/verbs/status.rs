//! STATUS: could an ADD be served now?
//!
//! Runtimes ask every few seconds and take the node out of service on an error, so the answer comes from few, local and
//! steady facts: the configuration is valid, the state directory can be used, and every family has an address that no
//! pod holds. Addresses that only rest are not counted as missing: that passes by itself.

use std::path::Path;

use rustix::fs::Access;

use super::store;
use crate::config::Config;
use crate::error::{CniError, Code, Result};

/// Says whether an ADD would work.
///
/// # Errors
/// Code 50 with the reason.
pub(crate) fn run(config: &Config) -> Result<()> {
    let unavailable = |error: CniError| CniError {
        code: Code::NotAvailable,
        ..error
    };
    let plan = config.address_plan().map_err(unavailable)?;
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
    let used = store.used().map_err(unavailable)?;
    for wish in &plan.wishes {
        let held = used.iter().filter(|address| wish.usable(**address)).count();
        if wish
            .lowest_outside(&used, &std::collections::BTreeSet::new())
            .is_none()
        {
            let msg = format!("no free address in {wish}: pods hold {held}");
            return Err(CniError::new(Code::NotAvailable, msg).because("delete pods or widen the pod CIDR"));
        }
    }
    Ok(())
}
