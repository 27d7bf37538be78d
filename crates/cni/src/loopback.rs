//! The `loopback` plugin: containerd asks for it in a network of its own before ours.
//!
//! Installed under the name `loopback` when a node has none. ADD brings `lo` up and says so; the kernel gives it its
//! addresses.

use std::os::fd::AsFd;

use flatroute_netlink::Socket;
use serde_json::{Value, json};

use crate::config::Config;
use crate::error::{CniError, Code, Result};
use crate::invocation::Invocation;
use crate::verbs::add::open_netns;

const LOOPBACK_INDEX: u32 = 1;

/// ADD of the loopback plugin.
///
/// # Errors
/// When the namespace cannot be entered.
pub(crate) fn add(call: &Invocation, config: &Config) -> Result<Value> {
    let (_, netns) = open_netns(call)?;
    let mut socket = Socket::open_in(netns.as_fd())?;
    socket.set_up(LOOPBACK_INDEX)?;
    if let Some(previous) = config.prev_result() {
        return Ok(previous.clone());
    }
    let ips: Vec<_> = socket
        .addresses(LOOPBACK_INDEX)?
        .into_iter()
        .map(|found| {
            let mut ip =
                json!({"address": format!("{}/{}", found.address, found.prefix_len), "interface": 0});
            if config.version.ips_have_version()
                && let Some(fields) = ip.as_object_mut()
            {
                fields.insert(
                    "version".into(),
                    if found.address.is_ipv4() { "4" } else { "6" }.into(),
                );
            }
            ip
        })
        .collect();
    Ok(json!({
        "cniVersion": config.version.as_str(),
        "interfaces": [{"name": "lo", "mac": "00:00:00:00:00:00", "sandbox": call.netns}],
        "ips": ips,
        "dns": {},
    }))
}

/// CHECK of the loopback plugin.
///
/// # Errors
/// Code 101 when `lo` is down.
pub(crate) fn check(call: &Invocation) -> Result<()> {
    let (_, netns) = open_netns(call)?;
    let link = Socket::open_in(netns.as_fd())?.link_by_index(LOOPBACK_INDEX)?;
    if link.is_some_and(|link| link.up) {
        return Ok(());
    }
    Err(CniError::new(
        Code::Drifted,
        "lo is down in the container's network namespace",
    ))
}
