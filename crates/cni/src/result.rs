//! The result of ADD, in the shape of each version (CNI 1.1.0 §5, "Add Success").
//!
//! When other plugins stand before us in the chain, their result (`prevResult`) goes out again with ours appended:
//! its values are kept as they came, only our indexes into `interfaces` are shifted.

use std::net::IpAddr;

use flatroute_netlink::{Mac, NextHop, Route};
use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::identity::HOST_MAC;
use crate::pod::{PodLink, Wired, gateway, host_prefix};

/// Scope "link" of a route, as a number (RT_SCOPE_LINK).
const SCOPE_LINK: u8 = 253;

/// `aa:bb:cc:dd:ee:ff`
pub(crate) fn mac_text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// The result of an ADD that made `link`; `dns` as [`crate::dns::of`] says.
pub(crate) fn of_add(config: &Config, link: &PodLink, wired: &Wired, sandbox: &str, dns: &Value) -> Value {
    let list = |key: &str| -> Vec<Value> {
        let previous = config
            .prev_result()
            .and_then(|result| result.get(key))
            .and_then(Value::as_array);
        previous.cloned().unwrap_or_default()
    };
    let mut interfaces = list("interfaces");
    let container_interface = interfaces.len().saturating_add(1);
    interfaces.extend(interfaces_of(config, link, wired, sandbox));
    let mut ips = list("ips");
    ips.extend(
        link.addresses
            .iter()
            .map(|address| ip_of(config, *address, container_interface)),
    );
    let mut routes = list("routes");
    routes.extend(wired.routes.iter().map(|route| route_of(config, route)));
    json!({
        "cniVersion": config.version.as_str(),
        "interfaces": interfaces,
        "ips": ips,
        "routes": routes,
        "dns": dns,
    })
}

fn interfaces_of(config: &Config, link: &PodLink, wired: &Wired, sandbox: &str) -> [Value; 2] {
    let mut host = json!({"name": link.host_interface, "mac": mac_text(HOST_MAC)});
    let mut pod = json!({"name": link.pod_interface, "mac": mac_text(link.pod_mac), "sandbox": sandbox});
    if config.version.has_mtu() {
        for interface in [&mut host, &mut pod] {
            if let Some(fields) = interface.as_object_mut() {
                fields.insert("mtu".into(), wired.mtu.into());
            }
        }
    }
    [host, pod]
}

fn ip_of(config: &Config, address: IpAddr, interface: usize) -> Value {
    let mut ip = json!({
        "address": format!("{address}/{}", host_prefix(address)),
        "gateway": gateway(address).to_string(),
        "interface": interface,
    });
    if config.version.ips_have_version()
        && let Some(fields) = ip.as_object_mut()
    {
        fields.insert("version".into(), if address.is_ipv4() { "4" } else { "6" }.into());
    }
    ip
}

fn route_of(config: &Config, route: &Route) -> Value {
    let mut value = Map::new();
    value.insert(
        "dst".into(),
        format!("{}/{}", route.destination, route.prefix_len).into(),
    );
    match route.next_hop {
        NextHop::Gateway { via, .. } => {
            value.insert("gw".into(), via.to_string().into());
        }
        NextHop::Link { .. } if config.version.has_mtu() => {
            value.insert("scope".into(), SCOPE_LINK.into());
        }
        NextHop::Link { .. } => {}
    }
    Value::Object(value)
}
