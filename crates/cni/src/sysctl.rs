//! Kernel settings of one interface.
//!
//! A setting is read first and written only when it differs: a read-only /proc/sys is then no error as long as the
//! values are right. `/proc/sys/net` shows the network namespace of the thread that looks.

use crate::error::{CniError, Code, Result};

/// A family of `/proc/sys/net`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// `/proc/sys/net/ipv4`
    Ipv4,
    /// `/proc/sys/net/ipv6`
    Ipv6,
}

/// Whether the kernel has IPv6 (`ipv6.disable=1` takes it away).
pub(crate) fn ipv6_exists() -> bool {
    std::path::Path::new("/proc/sys/net/ipv6/conf").exists()
}

/// Whether an interface has IPv6: the kernel gives it none when its MTU is below 1280 (RFC 8200 §5).
pub(crate) fn has_ipv6(interface: &str) -> bool {
    std::path::Path::new("/proc/sys/net/ipv6/conf")
        .join(interface)
        .exists()
}

/// Sets `net.FAMILY.conf.INTERFACE.KEY`.
///
/// # Errors
/// Code 5, naming the setting and the value.
pub(crate) fn set(family: Family, interface: &str, key: &str, value: &str) -> Result<()> {
    let directory = match family {
        Family::Ipv4 => "ipv4",
        Family::Ipv6 => "ipv6",
    };
    let path = format!("/proc/sys/net/{directory}/conf/{interface}/{key}");
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
