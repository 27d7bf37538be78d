//! Which of our addresses a neighbour is told as next hop: those on the interface that the session runs over.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use flatroute_bgp::rib::LocalAddresses;
use ipnetwork::IpNetwork;

/// An interface of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its index.
    pub index: u32,
    /// Its addresses with their prefix lengths.
    pub addresses: Vec<IpNetwork>,
}

/// Our addresses on the interface that holds `local`: the address itself for its own kind, and the first address
/// of each other kind. A link-local one may be held by several interfaces (VLANs of one card share theirs), so its
/// scope says which one is meant. An address that no interface holds (yet) stands alone.
#[must_use]
pub fn local_addresses(local: SocketAddr, interfaces: &[Interface]) -> LocalAddresses {
    let address = local.ip().to_canonical();
    let scope = match local {
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => Some(v6.scope_id()),
        SocketAddr::V4(_) | SocketAddr::V6(_) => None,
    };
    let holder = interfaces
        .iter()
        .filter(|i| scope.is_none_or(|scope| i.index == scope))
        .find(|i| i.addresses.iter().any(|a| a.ip() == address));
    let mut local = LocalAddresses::default();
    for candidate in holder.into_iter().flat_map(|i| &i.addresses).map(IpNetwork::ip) {
        match candidate {
            IpAddr::V4(v4) => _ = local.ipv4.get_or_insert(v4),
            IpAddr::V6(v6) if v6.is_unicast_link_local() => _ = local.link_local.get_or_insert(v6),
            IpAddr::V6(v6) if is_global(v6) => _ = local.ipv6.get_or_insert(v6),
            IpAddr::V6(_) => {}
        }
    }
    match address {
        IpAddr::V4(v4) if v4 != Ipv4Addr::UNSPECIFIED => local.ipv4 = Some(v4),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => local.link_local = Some(v6),
        IpAddr::V6(v6) if is_global(v6) => local.ipv6 = Some(v6),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    local
}

/// Usable as the global next hop: also a unique local address (RFC 4193), never a link-local one.
fn is_global(addr: Ipv6Addr) -> bool {
    !addr.is_loopback() && !addr.is_unspecified() && !addr.is_multicast() && !addr.is_unicast_link_local()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(index: u32, addresses: &[&str]) -> Interface {
        Interface {
            index,
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn both_families_come_from_the_interface_of_the_session() {
        let interfaces = [
            interface(1, &["127.0.0.1/8", "::1/128"]),
            interface(2, &["10.0.1.1/31", "fe80::2/64", "fd00:1::1/127"]),
            interface(3, &["10.0.2.1/31", "fe80::3/64", "fd00:2::1/127"]),
        ];
        let local = local_addresses("10.0.2.1:179".parse().unwrap(), &interfaces);
        assert_eq!(local.ipv4, Some("10.0.2.1".parse().unwrap()));
        assert_eq!(local.ipv6, Some("fd00:2::1".parse().unwrap()));
        assert_eq!(local.link_local, Some("fe80::3".parse().unwrap()));
    }

    #[test]
    fn an_interface_without_a_global_ipv6_address_offers_none() {
        let interfaces = [interface(2, &["10.0.1.1/31", "fe80::2/64"])];
        let local = local_addresses("10.0.1.1:179".parse().unwrap(), &interfaces);
        assert_eq!(local.ipv6, None);
        assert_eq!(local.link_local, Some("fe80::2".parse().unwrap()));
    }
    #[test]
    fn a_link_local_address_means_the_interface_of_its_scope() {
        let interfaces = [
            interface(2, &["10.0.1.1/31", "fe80::9/64"]),
            interface(3, &["10.0.2.1/31", "fe80::3/64", "fe80::9/64"]),
        ];
        let scoped = std::net::SocketAddrV6::new("fe80::9".parse().unwrap(), 179, 0, 3);
        let local = local_addresses(scoped.into(), &interfaces);
        assert_eq!(local.ipv4, Some("10.0.2.1".parse().unwrap()));
        assert_eq!(local.link_local, Some("fe80::9".parse().unwrap()));
    }
}
