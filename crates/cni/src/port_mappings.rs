//! `runtimeConfig.portMappings`: what the runtime wants, as ports of the host (CNI conventions, Kubernetes: `hostPort`).
//!
//! ```json
//! [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": ""}]
//! ```
//!
//! `protocol` is tcp (also when it is missing), udp or sctp, in letters of any case. `hostIP` says of which address of the host: missing, empty: of
//! all, in each family that the container has; `0.0.0.0`, `::`: of all of one family; else of that one, which the host
//! need not have yet. The same port may lead to several containers by different addresses or protocols. What asks
//! for something that cannot be is refused by its place in the list, before anything is done.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use flatroute_nft::{HostPort, Protocol};
use serde_json::Value;

use crate::config::invalid;
use crate::error::Result;

/// How many mappings a container may have: what they become is written as one message of nf_tables, which has to fit into the
/// default send buffer of a socket.
pub(crate) const MAX_MAPPINGS: usize = 256;

/// One mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PortMapping {
    /// Its place in the list.
    place: usize,
    protocol: Protocol,
    at: At,
    host_port: u16,
    container_port: u16,
}

/// Of which addresses of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// All.
    Every,
    /// All of a family.
    EveryIpv4,
    EveryIpv6,
    /// This one.
    One(IpAddr),
}

impl At {
    /// The address, and whether the family is concerned.
    fn of_family(self, ipv4: bool) -> Option<Option<IpAddr>> {
        match self {
            Self::Every => Some(None),
            Self::EveryIpv4 => ipv4.then_some(None),
            Self::EveryIpv6 => (!ipv4).then_some(None),
            Self::One(address) => (address.is_ipv4() == ipv4).then_some(Some(address)),
        }
    }
}

fn field(place: usize, name: &str) -> String {
    format!("runtimeConfig.portMappings[{place}].{name}")
}

/// Reads the list; an absent one is empty.
///
/// # Errors
/// Code 7, naming the place and the field.
pub(crate) fn read(value: &Value) -> Result<Vec<PortMapping>> {
    let list = match value {
        Value::Null => &[],
        Value::Array(list) => list.as_slice(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            return Err(invalid(
                "runtimeConfig.portMappings",
                format!("{value} is no list of mappings"),
            ));
        }
    };
    if list.len() > MAX_MAPPINGS {
        let problem = format!("{} mappings; at most {MAX_MAPPINGS} are possible", list.len());
        return Err(invalid("runtimeConfig.portMappings", problem));
    }
    let mappings = list
        .iter()
        .enumerate()
        .map(|(place, value)| one(place, value))
        .collect::<Result<Vec<_>>>()?;
    check_apart(&mappings)?;
    Ok(mappings)
}

fn one(place: usize, value: &Value) -> Result<PortMapping> {
    if !value.is_object() {
        let problem = format!("{value} is no object such as {{\"hostPort\": 8080, \"containerPort\": 80}}");
        return Err(invalid(&format!("runtimeConfig.portMappings[{place}]"), problem));
    }
    Ok(PortMapping {
        place,
        protocol: protocol(place, value)?,
        at: at(place, value)?,
        host_port: port(place, value, "hostPort")?,
        container_port: port(place, value, "containerPort")?,
    })
}

fn port(place: usize, value: &Value, name: &str) -> Result<u16> {
    let found = value.get(name).unwrap_or(&Value::Null);
    let number = found.as_u64().and_then(|number| u16::try_from(number).ok());
    number.filter(|port| *port != 0).ok_or_else(|| {
        let problem = if found.is_null() {
            "missing; it has to be a port from 1 to 65535".to_owned()
        } else {
            format!("{found} is no port from 1 to 65535")
        };
        invalid(&field(place, name), problem)
    })
}

/// A text; nothing when it is missing or empty.
fn text<'a>(place: usize, value: &'a Value, name: &str) -> Result<Option<&'a str>> {
    match value.get(name).unwrap_or(&Value::Null) {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            Err(invalid(&field(place, name), format!("{other} is no text")))
        }
    }
}

fn protocol(place: usize, value: &Value) -> Result<Protocol> {
    let Some(text) = text(place, value, "protocol")? else {
        return Ok(Protocol::Tcp);
    };
    let is = |protocol: &Protocol| protocol.name().eq_ignore_ascii_case(text);
    Protocol::ALL.into_iter().find(is).ok_or_else(|| {
        invalid(
            &field(place, "protocol"),
            format!("{text:?} is none of tcp, udp, sctp"),
        )
    })
}

fn at(place: usize, value: &Value) -> Result<At> {
    let Some(text) = text(place, value, "hostIP")? else {
        return Ok(At::Every);
    };
    let wrong = |problem: String| Err(invalid(&field(place, "hostIP"), problem));
    let Ok(address) = text.parse::<IpAddr>() else {
        return wrong(format!("{text:?} is no address such as 192.0.2.1 or 2001:db8::1"));
    };
    let address = address.to_canonical();
    if address.is_multicast() {
        return wrong(format!("{address} is no address of one host"));
    }
    match address {
        IpAddr::V4(address) if address.is_unspecified() => Ok(At::EveryIpv4),
        IpAddr::V6(address) if address.is_unspecified() => Ok(At::EveryIpv6),
        IpAddr::V6(Ipv6Addr::LOCALHOST) => wrong(
            "::1 cannot lead to a pod: the kernel routes nothing from there; name another address, or none"
                .to_owned(),
        ),
        address @ (IpAddr::V4(_) | IpAddr::V6(_)) => Ok(At::One(address)),
    }
}

/// Refuses two that lead from the same place to different ones.
fn check_apart(mappings: &[PortMapping]) -> Result<()> {
    let mut seen = BTreeMap::new();
    for mapping in mappings {
        for ipv4 in [true, false] {
            let Some(address) = mapping.at.of_family(ipv4) else {
                continue;
            };
            let key = (ipv4, address, mapping.protocol, mapping.host_port);
            let first: &PortMapping = seen.entry(key).or_insert(mapping);
            if first.container_port != mapping.container_port {
                let problem = format!(
                    "{} leads to containerPort {} already, by portMappings[{}]",
                    mapping.host_port, first.container_port, first.place
                );
                return Err(invalid(&field(mapping.place, "hostPort"), problem));
            }
        }
    }
    Ok(())
}

/// The ports that lead to a container with these addresses; to the first of each family.
///
/// # Errors
/// Code 7 for a `hostIP` of a family that the container does not have.
pub(crate) fn ports(mappings: &[PortMapping], addresses: &[IpAddr]) -> Result<Vec<HostPort>> {
    let mut out = Vec::new();
    for mapping in mappings {
        let before = out.len();
        for ipv4 in [true, false] {
            let pod = addresses.iter().find(|address| address.is_ipv4() == ipv4);
            if let (Some(pod), Some(address)) = (pod, mapping.at.of_family(ipv4)) {
                let to = SocketAddr::new(*pod, mapping.container_port);
                out.extend(HostPort::new(mapping.protocol, address, mapping.host_port, to));
            }
        }
        if out.len() == before {
            let (at, family) = match mapping.at {
                At::Every => ("every address".to_owned(), "IP"),
                At::EveryIpv4 => ("0.0.0.0".to_owned(), "IPv4"),
                At::EveryIpv6 => ("::".to_owned(), "IPv6"),
                At::One(address) => (
                    address.to_string(),
                    if address.is_ipv4() { "IPv4" } else { "IPv6" },
                ),
            };
            return Err(invalid(
                &field(mapping.place, "hostIP"),
                format!("{at} cannot lead to the pod, which has no {family} address"),
            ));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
