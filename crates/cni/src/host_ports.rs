//! Ports of the host that lead to containers, in the kernel.
//!
//! What they are made of stands in `flatroute_nft::host_ports`: static rules in the table `flatroute`, and an element for each
//! port with the attachment's name in it (that of the link's alias). A container without such ports costs nothing here: not
//! even a socket is opened.
//!
//! **Order.** ADD notes in the attachment's lock file that there may be ports, then writes them, all or none, when everything else
//! of the container is there; DEL takes them away right after the link, before anything else. So an ADD that died leaves either no
//! element or a note to look for some; and an address is never given on while a port leads to it. After the link, because the
//! agent puts back ports that another program took away, of containers whose link is there. When the lock files are lost, DEL looks
//! anyway, and GC always does: the elements say whose they are. A port of a container that ended without DEL, as its
//! link says, is free for the next one.
//!
//! **Flows of UDP** that began before a change would not follow it, because a client that keeps its port keeps its flow. ADD
//! makes the kernel forget those that were sent to its ports at the host's own addresses, DEL those that its containers'
//! ports answered: no others. Connections of TCP and SCTP end by themselves. Only a pod with a hostPort of UDP pays for that (some
//! 10 ms a family, because the kernel walks all of its table); translations of service proxies to an address that is given
//! back are for these to forget, and it rests for the cool-down.
//!
//! **127.0.0.1.** A packet with a loopback source leaves only by a link that allows it (`route_localnet`): that is set on the
//! container's own link, after the rules stand which keep the container from using it the other way.

use std::net::IpAddr;

use flatroute_netlink::{LinkChange, LinkSettings, NextHop, Socket};
use flatroute_nft::host_ports::forget_answers;
use flatroute_nft::{Element, Error, HostPort, Kernel};

use crate::error::{CniError, Code, Result};
use crate::identity::{Alias, Identity, brief};
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
    let mut kernel = Kernel::open()?;
    add(&mut kernel, &owner, ports, host)?;
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
    Ok(kernel.forget_arrivals(ports, host)?)
}

/// Adds the ports. A port of a container that is no more is taken from it: every container's link is there before its
/// ports, so one without its link ended, and maybe nobody will ever send DEL for it.
fn add(kernel: &mut Kernel, owner: &str, ports: &[HostPort], host: &mut Socket) -> Result<()> {
    // Each turn takes one container's.
    for _ in 0..ports.len() {
        match kernel.add_host_ports(owner, ports) {
            Err(Error::Taken { owner, holder, .. }) if is_over(&owner, holder.pod(), host)? => {
                kernel.delete_host_ports(|found| found == owner)?;
            }
            result => return Ok(result?),
        }
    }
    Ok(kernel.add_host_ports(owner, ports)?)
}

/// Whether the container of a name of ours has no link any more.
fn is_over(owner: &str, pod: IpAddr, host: &mut Socket) -> Result<bool> {
    let Some(alias) = Alias::parse(owner) else {
        return Ok(false);
    };
    let link = match host.route_to(pod)?.map(|route| route.next_hop) {
        Some(NextHop::Link { index }) => host.link_by_index(index)?,
        Some(NextHop::Gateway { .. }) | None => None,
    };
    Ok(link.is_none_or(|link| link.alias.is_none() || !alias.identity.owns(link.alias.as_deref())))
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
pub(crate) fn collect(network: &str, is_valid: impl Fn(&Attachment) -> bool) -> Result<()> {
    let network = brief(network);
    remove(|owner| {
        Alias::parse(owner)
            .is_some_and(|alias| alias.identity.network == network && !is_valid(&alias.identity.attachment))
    })
}

/// Says what of the ports is missing, and what is there that should not.
///
/// # Errors
/// Code 5 when the kernel cannot be asked.
pub(crate) fn check(
    ports: &[HostPort],
    identity: &Identity,
    host_interface: &str,
    faults: &mut Vec<String>,
) -> Result<()> {
    let mut kernel = Kernel::open()?;
    if ports.iter().any(|port| port.to().is_ipv4())
        && let Some(link) = Socket::open()?.link_by_name(host_interface)?
        && !link.route_localnet
    {
        faults.push(format!(
            "net.ipv4.conf.{host_interface}.route_localnet is 0, so no port of 127.0.0.1 leads to the pod"
        ));
    }
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
}
