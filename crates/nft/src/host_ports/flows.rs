//! Flows of UDP that have to follow a change of ports.
//!
//! A client that keeps its port keeps its flow, and what becomes of a flow is decided by its first packet. So when a port begins to
//! lead to a pod, flows that were sent there before are forgotten, and when it ends, those that its pod answered: no others.

use flatroute_netlink::Socket;

use super::{Element, HostPort, Protocol};
use crate::description::Width;
use crate::{Conntrack, Error, Kernel, Result};

/// Flows are told for each family by itself.
const FAMILIES: [Width; 2] = [Width::Ipv4, Width::Ipv6];

/// The one port, if it is the only one: the kernel then tells of its flows alone, and of all others only once.
fn only(ports: &[u16]) -> Option<u16> {
    let (first, rest) = ports.split_first()?;
    rest.iter().all(|port| port == first).then_some(*first)
}

impl Kernel {
    /// Forgets flows of UDP that began before their destination led to a pod. `host` tells the node's own addresses.
    ///
    /// # Errors
    /// [`Error::NoConntrack`], and what else is refused.
    pub fn forget_arrivals(&mut self, ports: &[HostPort], host: &mut Socket) -> Result<()> {
        let is_udp = |port: &&HostPort| port.protocol() == Protocol::Udp;
        let udp: Vec<&HostPort> = ports.iter().filter(is_udp).collect();
        if udp.is_empty() {
            return Ok(());
        }
        let mut conntrack = Conntrack::open()?;
        let mut flows = Vec::new();
        for family in FAMILIES {
            let of_family = udp.iter().filter(|port| Width::of(port.to().ip()) == family);
            let of_family: Vec<u16> = of_family.map(|port| port.port()).collect();
            if !of_family.is_empty() {
                flows.extend(conntrack.udp_to(family, only(&of_family))?);
            }
        }
        flows.retain(|flow| {
            let to = flow.original.destination;
            udp.iter().any(|port| port.takes(Protocol::Udp.number(), to))
        });
        if flows.is_empty() {
            return Ok(());
        }
        let all = self.host_ports()?;
        for flow in flows {
            let to = flow.original.destination;
            // What arrived since the elements were written goes the right way, and so does what a port of one address takes
            // before ours.
            let is_right = all.iter().any(|owned| match owned.element {
                Element::Port(port) => {
                    port.takes(Protocol::Udp.number(), to) && port.to() == flow.reply.source
                }
                Element::Hairpin(_) => false,
            });
            if !is_right && host.is_own(to.ip()).map_err(Error::Netlink)? {
                conntrack.forget(&flow)?;
            }
        }
        Ok(())
    }
}

/// Forgets flows of UDP that pods answered by what is gone.
///
/// # Errors
/// [`Error::NoConntrack`], and what else is refused.
pub fn forget_answers(gone: &[Element]) -> Result<()> {
    let udp = gone.iter().filter_map(|element| match element {
        Element::Port(port) if port.protocol() == Protocol::Udp => Some(port.to()),
        Element::Port(_) | Element::Hairpin(_) => None,
    });
    let udp: Vec<_> = udp.collect();
    if udp.is_empty() {
        return Ok(());
    }
    let mut conntrack = Conntrack::open()?;
    for family in FAMILIES {
        let of_family = udp.iter().filter(|to| Width::of(to.ip()) == family);
        let of_family: Vec<u16> = of_family.map(|to| to.port()).collect();
        if of_family.is_empty() {
            continue;
        }
        for flow in conntrack.udp_from(family, only(&of_family))? {
            if udp.contains(&flow.reply.source) {
                conntrack.forget(&flow)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_port_is_asked_for_alone() {
        assert_eq!(only(&[]), None);
        assert_eq!(only(&[80, 80]), Some(80));
        assert_eq!(only(&[80, 81]), None);
    }
}
