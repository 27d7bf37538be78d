use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

fn port(text: (&str, u16), to: &str) -> HostPort {
    let address = (!text.0.is_empty()).then(|| text.0.parse().unwrap());
    HostPort::new(Protocol::Tcp, address, text.1, to.parse().unwrap()).unwrap()
}

#[test]
fn ports_say_where_they_are_and_where_they_lead() {
    for (at, to, want) in [
        (
            ("", 8080),
            "10.0.0.1:80",
            "hostPort 8080 tcp of IPv4 to 10.0.0.1:80",
        ),
        (
            ("", 1),
            "[fd00::1]:65535",
            "hostPort 1 tcp of IPv6 to [fd00::1]:65535",
        ),
        (
            ("192.0.2.1", 53),
            "10.0.0.1:53",
            "hostPort 53 tcp of 192.0.2.1 to 10.0.0.1:53",
        ),
    ] {
        assert_eq!(Element::Port(port(at, to)).to_string(), want);
    }
    let mixed = HostPort::new(
        Protocol::Tcp,
        Some("fd00::1".parse().unwrap()),
        1,
        "10.0.0.1:1".parse().unwrap(),
    );
    assert_eq!(mixed, None);
}

#[test]
fn a_pod_has_one_way_to_itself_a_family_however_many_ports() {
    let ports = [
        port(("", 1), "10.0.0.1:80"),
        port(("", 2), "10.0.0.1:80"),
        port(("", 1), "[fd00::1]:80"),
        port(("", 1), "10.0.0.1:80"),
    ];
    let elements = Element::of(&ports);
    let hairpins = elements
        .iter()
        .filter(|element| matches!(element, Element::Hairpin(_)));
    assert_eq!((elements.len(), hairpins.count()), (5, 2));
}

/// What a chain or map of the plugin's is called, the agent's part never names, and the other way round.
#[test]
fn the_two_parts_of_the_table_share_no_name() {
    let (ours, agents) = (table(), crate::PodNetwork::default().table());
    for name in ours.own_chains.iter().chain(ours.own_sets) {
        assert!(!agents.own_chains.contains(name) && !agents.own_sets.contains(name));
    }
    let names = ours.maps.iter().map(|map| map.name);
    assert!(names.eq(ours.own_sets.iter().copied()));
    let names = ours.chains.iter().map(|chain| chain.name);
    assert!(names.eq(ours.own_chains.iter().copied()));
}

fn element() -> impl Strategy<Value = Element> {
    let ipv4 = any::<u32>().prop_map(|bits| IpAddr::from(Ipv4Addr::from_bits(bits)));
    let ipv6 = any::<u128>().prop_map(|bits| IpAddr::from(Ipv6Addr::from_bits(bits)));
    let protocol = prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp), Just(Protocol::Sctp)];
    let family = prop_oneof![
        (ipv4.clone(), proptest::option::of(ipv4.clone())),
        (ipv6.clone(), proptest::option::of(ipv6.clone())),
    ];
    let port = (protocol, family, any::<u16>(), any::<u16>()).prop_map(|(protocol, (to, at), one, two)| {
        Element::Port(HostPort::new(protocol, at, one, SocketAddr::new(to, two)).unwrap())
    });
    prop_oneof![port, prop_oneof![ipv4, ipv6].prop_map(Element::Hairpin)]
}

proptest! {
    #[test]
    fn what_is_written_reads_the_same(element in element(), owner in "[a-z0-9. -]{0,250}") {
        let owned = Owned { element, owner };
        let read = Owned::decode(&owned.encode());
        prop_assert!(read.contains(&owned), "{read:?}");
    }

    #[test]
    fn any_octets_are_read_without_harm(body in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _ = (Owned::decode(&body), crate::Flow::decode(&body));
    }
}
