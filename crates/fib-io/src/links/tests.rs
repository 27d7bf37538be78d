use super::*;

fn message(length: u8, attributes: Vec<AddressAttribute>) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = 7;
    message.header.prefix_len = length;
    message.attributes = attributes;
    message
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn network(text: &str) -> IpNetwork {
    text.parse().expect("a prefix")
}

#[test]
fn addresses_count_once_they_may_be_used() {
    let with = |flags| {
        message(
            64,
            vec![
                AddressAttribute::Address(ip("fd00::1")),
                AddressAttribute::Flags(flags),
            ],
        )
    };
    let found = Some((7, false, network("fd00::1/64")));
    assert_eq!(address(&with(AddressFlags::Permanent)), found);
    for flags in [
        AddressFlags::Tentative,
        AddressFlags::Tentative | AddressFlags::Optimistic,
        AddressFlags::Dadfailed | AddressFlags::Permanent,
    ] {
        assert_eq!(address(&with(flags)), None, "{flags:?}");
    }
    let last = Some((7, true, network("fd00::1/64")));
    assert_eq!(address(&with(AddressFlags::Deprecated)), last);
    assert_eq!(address(&with(AddressFlags::Secondary)), last);
}

#[test]
fn of_a_pair_only_our_end_is_ours() {
    let pair = vec![
        AddressAttribute::Address(ip("10.0.0.2")),
        AddressAttribute::Local(ip("10.0.0.1")),
    ];
    assert_eq!(
        address(&message(24, pair)),
        Some((7, false, network("10.0.0.1/32")))
    );
    let plain = vec![
        AddressAttribute::Address(ip("10.0.0.1")),
        AddressAttribute::Local(ip("10.0.0.1")),
    ];
    assert_eq!(
        address(&message(24, plain)),
        Some((7, false, network("10.0.0.1/24")))
    );
    assert_eq!(address(&message(24, Vec::new())), None);
}
