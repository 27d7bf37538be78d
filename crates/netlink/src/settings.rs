//! Settings of a link that the kernel takes in a message (IFLA_AF_SPEC), beside `/proc/sys/net`.
//!
//! A message costs less than opening a file for each setting. What matters more: some of these files need the lock of
//! all interfaces, and when somebody else holds it, the kernel lets the writer try again and again, at the full speed
//! of a core, and never lets it queue. A message queues.

use netlink_packet_core::{DefaultNla, NLA_F_NESTED};
use netlink_packet_route::link::{AfSpecInet, AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute};

/// The attribute of IPv4's settings (`IFLA_INET_CONF`), and the numbers of four of them (`IPV4_DEVCONF_*`).
const INET_CONF: u16 = 1;
const FORWARDING: u16 = 1;
const PROXY_ARP: u16 = 3;
const RP_FILTER: u16 = 8;
const ROUTE_LOCALNET: u16 = 26;

/// Settings of one link. What is `None` stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkSettings {
    /// `net.ipv4.conf.LINK.forwarding`
    pub forwarding: Option<bool>,
    /// `net.ipv4.conf.LINK.proxy_arp`
    pub proxy_arp: Option<bool>,
    /// `net.ipv4.conf.LINK.rp_filter`: 0 off, 1 strict, 2 loose.
    pub rp_filter: Option<u8>,
    /// `net.ipv4.conf.LINK.route_localnet`: whether packets with an address of the loopback may pass.
    pub route_localnet: Option<bool>,
    /// `net.ipv6.conf.LINK.addr_gen_mode`: whether the kernel gives the link an address fe80::/64 made of its MAC. A
    /// kernel without IPv6, and a link too small for it (an MTU below 1280), refuse the message.
    pub link_local: Option<bool>,
}

impl LinkSettings {
    /// The attribute that says it; none when nothing is to change.
    pub(crate) fn attribute(self) -> Option<LinkAttribute> {
        let numbers: Vec<u8> = [
            (FORWARDING, self.forwarding.map(u32::from)),
            (PROXY_ARP, self.proxy_arp.map(u32::from)),
            (RP_FILTER, self.rp_filter.map(u32::from)),
            (ROUTE_LOCALNET, self.route_localnet.map(u32::from)),
        ]
        .into_iter()
        .filter_map(|(number, value)| Some(attribute(number, value?)))
        .flatten()
        .collect();
        let mut families = Vec::new();
        if !numbers.is_empty() {
            let all = DefaultNla::new(INET_CONF | NLA_F_NESTED, numbers);
            families.push(AfSpecUnspec::Inet(vec![AfSpecInet::Other(all)]));
        }
        if let Some(wanted) = self.link_local {
            let mode = if wanted {
                In6AddrGenMode::Eui64
            } else {
                In6AddrGenMode::None
            };
            families.push(AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(mode)]));
        }
        (!families.is_empty()).then_some(LinkAttribute::AfSpecUnspec(families))
    }
}

/// One attribute with a number in it: length and kind, two bytes each, then the value.
fn attribute(kind: u16, value: u32) -> [u8; 8] {
    let [length_a, length_b] = 8_u16.to_ne_bytes();
    let [kind_a, kind_b] = kind.to_ne_bytes();
    let [a, b, c, d] = value.to_ne_bytes();
    [length_a, length_b, kind_a, kind_b, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::link::LinkAttribute;

    use super::LinkSettings;

    #[test]
    fn nothing_to_change_is_no_attribute() {
        assert_eq!(LinkSettings::default().attribute(), None);
        let some = LinkSettings {
            rp_filter: Some(0),
            ..LinkSettings::default()
        };
        assert!(
            matches!(some.attribute(), Some(LinkAttribute::AfSpecUnspec(_))),
            "zero is a value"
        );
    }
}
