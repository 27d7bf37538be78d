//! What an IPAM plugin gives: addresses, routes, DNS (CNI 1.1.0 §5, "Delegated plugins (IPAM)").
//!
//! The shape is the same from 0.3.0 to 1.1.0 but for things that are not read here. A pod of ours is a host of its own behind a router that
//! is the same for all, so of each field that much is used as makes sense there:
//!
//! * **ips**: the addresses, in their order. The prefix length is not used: a pod has /32 and /128, and nobody shares its link. Nor is the
//!   gateway: there is one neighbour on the link, 169.254.1.1 and fe80::1.
//! * **routes**: where there are some, the pod gets those and no others, over our gateway whatever `gw` says; so a default route only
//!   when it is among them. Where there is none, the pod gets a default route for each family, as with addresses of our own.
//!   Routes of a family that the pod has no address of are left out. A route that asks for more (a table, a metric, …) is refused.
//! * **dns**: goes into the result where the configuration has none.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::Code;
use crate::version::SpecVersion;

/// More addresses for one pod than this are a mistake.
pub(super) const ADDRESSES_MAX: usize = 32;
/// More routes for one pod than this are a mistake.
pub(super) const ROUTES_MAX: usize = 1024;
/// Keys of a route that we would have to drop. `scope` is not among them: it follows from the gateway.
const UNSUPPORTED: [&str; 4] = ["mtu", "advmss", "priority", "table"];

/// What ADD of the plugin gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Given {
    /// The pod's addresses, in order, one at least.
    pub(crate) addresses: Vec<IpAddr>,
    /// Where the pod's routes lead; `None` when the plugin names no route.
    pub(crate) destinations: Option<Vec<IpNetwork>>,
    /// `dns`
    pub(crate) dns: Map<String, Value>,
}

/// Why an answer cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// The kind.
    pub(super) code: Code,
    /// In words.
    pub(super) problem: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Raw {
    cni_version: String,
    ips: Option<Vec<RawIp>>,
    routes: Option<Vec<Map<String, Value>>>,
    dns: Option<Map<String, Value>>,
}

#[derive(Debug, Deserialize)]
struct RawIp {
    address: String,
}

impl Given {
    /// Reads the result.
    pub(super) fn read(stdout: &[u8]) -> Result<Self, Fault> {
        let fault = |code, problem: String| Fault {
            code,
            problem: format!("its result: {problem}"),
        };
        let decode = |error: serde_json::Error| fault(Code::Decode, error.to_string());
        let object: Map<String, Value> = serde_json::from_slice(stdout).map_err(decode)?;
        let raw: Raw = serde_json::from_value(object.into()).map_err(decode)?;
        // A result without a version has the configuration's.
        if !raw.cni_version.is_empty() {
            SpecVersion::parse(&raw.cni_version).map_err(|error| fault(error.code, error.msg))?;
        }
        let refused = |problem: String| fault(Code::Delegate, problem);
        let ips = raw.ips.unwrap_or_default();
        if ips.is_empty() {
            return Err(refused("ips is empty: it gave no address".into()));
        }
        if ips.len() > ADDRESSES_MAX {
            return Err(refused(format!("{} ips, more than {ADDRESSES_MAX}", ips.len())));
        }
        let mut addresses = Vec::with_capacity(ips.len());
        for ip in &ips {
            let address = address(&ip.address)
                .ok_or_else(|| refused(format!("ips: {:?} is no address that a pod may have", ip.address)))?;
            if addresses.contains(&address) {
                return Err(refused(format!("ips: {address} stands there twice")));
            }
            addresses.push(address);
        }
        let routes = raw.routes.unwrap_or_default();
        if routes.len() > ROUTES_MAX {
            return Err(refused(format!(
                "{} routes, more than {ROUTES_MAX}",
                routes.len()
            )));
        }
        let destinations = routes
            .iter()
            .map(destination)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|(code, problem)| fault(code, format!("routes: {problem}")))?;
        Ok(Self {
            addresses,
            destinations: (!destinations.is_empty()).then_some(destinations),
            dns: raw.dns.unwrap_or_default(),
        })
    }
}

fn address(text: &str) -> Option<IpAddr> {
    let address = text.parse::<IpNetwork>().ok()?.ip();
    (!address.is_unspecified() && !address.is_multicast() && !address.is_loopback()).then_some(address)
}

fn destination(route: &Map<String, Value>) -> Result<IpNetwork, (Code, String)> {
    let unset = |value: &Value| matches!(value, Value::Null) || value.as_u64() == Some(0);
    if let Some((key, value)) = UNSUPPORTED
        .iter()
        .find_map(|key| route.get_key_value(*key).filter(|(_, value)| !unset(value)))
    {
        return Err((
            Code::UnsupportedField,
            format!("{key} = {value} is not supported"),
        ));
    }
    let dst = route.get("dst").and_then(Value::as_str).unwrap_or_default();
    let network: IpNetwork = dst.parse().map_err(|_| {
        (
            Code::Delegate,
            format!("dst {dst:?} is no network such as 10.0.0.0/8"),
        )
    })?;
    // Bits of the host are no mistake here: the kernel would refuse them.
    IpNetwork::new(network.network(), network.prefix())
        .map_err(|error| (Code::Delegate, format!("dst {dst:?}: {error}")))
}
