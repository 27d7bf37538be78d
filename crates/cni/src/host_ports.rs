//! Ports of the host that lead to containers, in the kernel.
//!
//! What they are made of stands in `flatroute_nft::host_ports`: static rules in the table `flatroute`, and an element for each
//! port with the attachment's name in it (that of the link's alias). A container without such ports costs nothing here: not
//! even a socket is opened.
//!
//! **Order.** ADD notes in the attachment's lock file that there may be ports, then writes them, all or none, when everything else
//! of the container is there; DEL takes them away before anything else. So an ADD that died leaves either no element or a note
//! to look for some; and an address is never given on while a port leads to it. When the lock files are lost, DEL looks
//! anyway, and GC always does: the elements say whose they are.
//!
//! **Flows of UDP** that began before a change would not follow it, because a client that keeps its port keeps its flow. ADD
//! makes the kernel forget those that were sent to its ports at the host's own addresses, DEL those that its containers'
//! ports answered: no others. Connections of TCP and SCTP end by themselves.
//!
//! **127.0.0.1.** A packet with a loopback source leaves only by a link that allows it (`route_localnet`): that is set on the
//! container's own link, after the rules stand which keep the container from using it the other way.

use std::net::IpAddr;

use flatroute_netlink::{LinkChange, LinkSettings, Socket};
use flatroute_nft::host_ports::MAX_OWNER;
use flatroute_nft::{Conntrack, Element, Error, HostPort, Kernel, Protocol, Width};

use crate::error::{CniError, Code, Result};
use crate::identity::{Alias, Identity};
use crate::invocation::Attachment;

/// Makes the ports lead to the container.
///
/// # Errors
/// Code 11 when a port leads elsewhere, 2 when the kernel lacks what it takes, 5 for what else is refused.
pub(crate) fn publish(
    ports: &[HostPort],
    identity: &Identity,
    host_interface: &str,
    host: &mut Socket,
) -> Result<()> {
    let owner = identity.alias(&[]);
    if owner.len() > MAX_OWNER {
        let msg = format!(
            "runtimeConfig.portMappings: the names of network, container and interface are longer than {MAX_OWNER} bytes together"
        );
        return Err(CniError::new(Code::InvalidConfig, msg));
    }
    Kernel::open()?.add_host_ports(&owner, ports)?;
    if ports.iter().any(|port| port.to().is_ipv4())
        && let Some(link) = host.link_by_name(host_interface)?
    {
        let settings = LinkSettings {
            route_localnet: Some(true),
            ..LinkSettings::default()
        };
        host.change_link(
            link.index,
            &LinkChange {
                settings,
                ..LinkChange::default()
            },
        )?;
    }
    forget_arrivals(ports, host)
}

/// Takes away what leads to the attachment, whatever that is.
///
/// # Errors
/// Code 5 for what the kernel refuses.
pub(crate) fn withdraw(identity: &Identity) -> Result<()> {
    let owner = identity.alias(&[]);
    remove(|found| found == owner)
}

/// Takes away what leads to attachments of this network that are not valid.
///
/// # Errors
/// Code 5 for what the kernel refuses.
pub(crate) fn collect(network: &str, valid: &[Attachment]) -> Result<()> {
    remove(|owner| {
        Alias::parse(owner).is_some_and(|alias| {
            alias.identity.network == network && !valid.contains(&alias.identity.attachment)
        })
    })
}

/// Says what of the ports is missing, and what is there that should not.
///
/// # Errors
/// Code 5 when the kernel cannot be asked.
pub(crate) fn check(ports: &[HostPort], identity: &Identity, faults: &mut Vec<String>) -> Result<()> {
    let mut kernel = Kernel::open()?;
    if !kernel.has_host_port_rules()? {
        faults.push("the rules for hostPort in the table inet flatroute are gone or changed".to_owned());
    }
    let owner = identity.alias(&[]);
    let all = kernel.host_ports()?.into_iter();
    let found: Vec<Element> = all
        .filter(|owned| owned.owner == owner)
        .map(|owned| owned.element)
        .collect();
    let expected = Element::of(ports);
    let missing = expected.iter().filter(|element| !found.contains(element));
    faults.extend(missing.map(|element| format!("{element} is gone")));
    let extra = found.iter().filter(|element| !expected.contains(element));
    faults.extend(extra.map(|element| format!("{element} is there, and not asked for")));
    Ok(())
}

fn remove(is_unwanted: impl Fn(&str) -> bool) -> Result<()> {
    let mut kernel = match Kernel::open() {
        Ok(kernel) => kernel,
        // Nothing can be there.
        Err(Error::NoNfTables(_)) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let gone = kernel.delete_host_ports(is_unwanted)?;
    match forget_answers(&gone) {
        // Without it no such port could be made.
        Err(Error::NoConntrack(_)) => Ok(()),
        result => Ok(result?),
    }
}

/// The one port, if it is the only one: the kernel then tells of its flows alone, and of all others only once.
fn only(mut ports: impl Iterator<Item = u16>) -> Option<u16> {
    let first = ports.next()?;
    ports.all(|port| port == first).then_some(first)
}

/// Forgets flows of UDP that began before their destination led to the container.
fn forget_arrivals(ports: &[HostPort], host: &mut Socket) -> Result<()> {
    for family in [Width::Ipv4, Width::Ipv6] {
        let is = |port: &&HostPort| port.protocol() == Protocol::Udp && Width::of(port.to().ip()) == family;
        let udp: Vec<&HostPort> = ports.iter().filter(is).collect();
        if udp.is_empty() {
            continue;
        }
        let mut conntrack = Conntrack::open()?;
        let number = only(udp.iter().map(|port| port.port()));
        for flow in conntrack.udp_to(family, number)? {
            let to = flow.original.destination;
            let taken = udp.iter().find(|port| port.takes(Protocol::Udp.number(), to));
            // What arrived since the element was written goes the right way already.
            let is_stale = taken.is_some_and(|port| flow.reply.source != port.to());
            if is_stale && host.is_own(to.ip())? {
                conntrack.forget(&flow)?;
            }
        }
    }
    Ok(())
}

/// Forgets flows of UDP that containers answered by what is gone.
fn forget_answers(gone: &[Element]) -> flatroute_nft::Result<()> {
    let udp = gone.iter().filter_map(|element| match element {
        Element::Port(port) if port.protocol() == Protocol::Udp => Some(port.to()),
        Element::Port(_) | Element::Hairpin(_) => None,
    });
    let udp: Vec<_> = udp.collect();
    let mut pods: Vec<IpAddr> = udp.iter().map(|to| to.ip()).collect();
    pods.sort_unstable();
    pods.dedup();
    for pod in pods {
        let of_pod = udp.iter().filter(|to| to.ip() == pod);
        let number = only(of_pod.map(|to| to.port()));
        let mut conntrack = Conntrack::open()?;
        for flow in conntrack.udp_answered_by(pod, number)? {
            if udp.contains(&flow.reply.source) {
                conntrack.forget(&flow)?;
            }
        }
    }
    Ok(())
}

impl From<Error> for CniError {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        let (code, details) = match error {
            Error::NoNfTables(_) | Error::LacksPart(_) | Error::NoConntrack(_) => (
                Code::UnsupportedField,
                "pods without hostPort can be started all the same",
            ),
            Error::Taken { .. } => (
                Code::TryAgainLater,
                "DEL of that attachment frees it; end that pod, or choose another hostPort or hostIP",
            ),
            Error::Contended(_) => (Code::TryAgainLater, ""),
            Error::NotPermitted(_) | Error::Refused(_) | Error::Netlink(_) => (Code::Io, ""),
        };
        Self::new(code, format!("runtimeConfig.portMappings: {text}")).because(details)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_kernel_that_cannot_is_an_unsupported_field_with_the_remedy() {
        let refused = || flatroute_netlink::Error::Refused {
            what: "list rules of nf_tables".to_owned(),
            source: io::Error::from_raw_os_error(22),
            text: None,
        };
        for (error, code, part) in [
            (
                Error::NoNfTables(refused()),
                Code::UnsupportedField,
                "load the module nf_tables",
            ),
            (Error::LacksPart(refused()), Code::UnsupportedField, "nft_nat"),
            (
                Error::NoConntrack(refused()),
                Code::UnsupportedField,
                "load the module nf_conntrack_netlink",
            ),
            (Error::NotPermitted(refused()), Code::Io, "NET_ADMIN"),
            (Error::Contended(3), Code::TryAgainLater, "3 times"),
        ] {
            let error = CniError::from(error);
            assert_eq!(error.code, code, "{error}");
            assert!(
                error.msg.starts_with("runtimeConfig.portMappings: ") && error.msg.contains(part),
                "{error}"
            );
        }
    }

    #[test]
    fn one_port_is_asked_for_alone() {
        assert_eq!(only([].into_iter()), None);
        assert_eq!(only([80, 80].into_iter()), Some(80));
        assert_eq!(only([80, 81].into_iter()), None);
    }
}
