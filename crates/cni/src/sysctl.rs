//! IPv6 settings of one interface that the kernel takes in no message.
//!
//! A setting is read first and written only when it differs: a read-only /proc/sys is then no error as long as the
//! values are right. `/proc/sys/net` shows the network namespace of the thread that looks.

use std::path::Path;

use crate::error::{CniError, Code, Result};

const SETTINGS: &str = "/proc/sys/net/ipv6/conf";

/// Whether the kernel has IPv6 (`ipv6.disable=1` takes it away).
pub(crate) fn ipv6_exists() -> bool {
    Path::new(SETTINGS).exists()
}

/// Whether an interface has these settings: the kernel has IPv6, and the MTU is at least IPv6's minimum (1280).
pub(crate) fn ipv6_exists_on(interface: &str) -> bool {
    Path::new(SETTINGS).join(interface).exists()
}

/// Sets `net.ipv6.conf.INTERFACE.KEY`.
///
/// # Errors
/// Code 5, naming the setting and the value.
pub(crate) fn set_ipv6(interface: &str, key: &str, value: &str) -> Result<()> {
    let path = format!("{SETTINGS}/{interface}/{key}");
    let failed = |error: std::io::Error| {
        CniError::new(Code::Io, format!("set {path} to {value}: {error}"))
            .because("the plugin needs CAP_NET_ADMIN and a writable /proc/sys/net")
    };
    let current = std::fs::read_to_string(&path).map_err(failed)?;
    if current.trim() == value {
        return Ok(());
    }
    std::fs::write(&path, value).map_err(failed)
}
