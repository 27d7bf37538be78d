//! IPv6 settings of one interface that the kernel takes in no message.
//!
//! A setting that cannot be written is read: a read-only /proc/sys is no error as long as the values are right. Only what
//! differs from the kernel's defaults is set here, and nothing in pods: a name such as `eth0`, which every pod has, takes
//! the kernel the longer to find the more pods there are. `/proc/sys/net` shows the network namespace of the thread that looks.

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
/// Code 5, naming the setting and the value, unless it has that value already.
pub(crate) fn set_ipv6(interface: &str, key: &str, value: &str) -> Result<()> {
    let path = format!("{SETTINGS}/{interface}/{key}");
    let failed = |error: std::io::Error| {
        CniError::new(Code::Io, format!("set {path} to {value}: {error}"))
            .because("the plugin needs CAP_NET_ADMIN and a writable /proc/sys/net")
    };
    std::fs::write(&path, value).or_else(|error| match std::fs::read_to_string(&path) {
        Ok(current) if current.trim() == value => Ok(()),
        Ok(_) | Err(_) => Err(failed(error)),
    })
}
