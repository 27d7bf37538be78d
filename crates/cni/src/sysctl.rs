//! IPv6 settings of one interface that the kernel takes in no message.
//!
//! A setting that cannot be written is read: a read-only /proc/sys is no error as long as the values are right. Only what
//! differs from the kernel's defaults is set here, and nothing in pods: a name such as `eth0`, which every pod has, takes
//! the kernel the longer to find the more pods there are. `/proc/sys/net` shows the network namespace of the thread that looks.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
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
    if set_ipv6_if_exists(interface, key, value)? {
        return Ok(());
    }
    let msg = format!("{interface} has no setting net.ipv6.conf.{interface}.{key}");
    Err(CniError::new(Code::Io, msg).because("does the kernel have IPv6?"))
}

/// The same; false when the interface has no such setting ([`ipv6_exists_on`]).
pub(crate) fn set_ipv6_if_exists(interface: &str, key: &str, value: &str) -> Result<bool> {
    let path = format!("{SETTINGS}/{interface}/{key}");
    let failed = |error: std::io::Error| {
        CniError::new(Code::Io, format!("set {path} to {value}: {error}"))
            .because("the plugin needs CAP_NET_ADMIN and a writable /proc/sys/net")
    };
    // Not made when it is missing: /proc would say that it may not be.
    let written = File::options()
        .write(true)
        .open(&path)
        .and_then(|mut file| file.write_all(value.as_bytes()));
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => match std::fs::read_to_string(&path) {
            Ok(current) if current.trim() == value => Ok(true),
            Ok(_) | Err(_) => Err(failed(error)),
        },
    }
}
