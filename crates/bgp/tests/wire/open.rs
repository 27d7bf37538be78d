//! OPEN and ROUTE-REFRESH: good ones and hostile ones.

use flatroute_bgp::types::{Asn, Family, FamilySet, RouterId};
use flatroute_bgp::wire::{Capabilities, Context, Message, Open, RefreshSubtype, UnknownCapability};

use super::bytes::{hex, read};

/// Code, subcode and data of the answer.
fn refused(message: &str) -> (u8, u8, Vec<u8>) {
    let sent = read(&hex(message), &Context::before_open())
        .unwrap_err()
        .notification;
    (sent.code, sent.subcode, sent.data)
}

fn accepted(message: &str) -> Open {
    match read(&hex(message), &Context::before_open()) {
        Ok(Message::Open(open)) => open,
        other => panic!("{message}: {other:?}"),
    }
}

#[test]
fn hostile_opens() {
    for (message, subcode, data) in [
        // Extended parameters (RFC 9072): nothing parseable, cut off, header of a parameter cut off.
        ("M00220104fde9005ac0000202ffff00020001", 0, ""),
        ("M001d0104fde9005ac0000202ff", 0, ""),
        ("M00220104fde9005ac0000202ffff00030200", 0, ""),
        // A four-octet AS capability of no octets must not read the next one.
        ("M00270104fde9005ac00002020a02084100010400010001", 0, ""),
        // A multiprotocol capability of 3 octets.
        ("M00240104fde9005ac000020207020501030001 01", 0, ""),
        // Octets after the parameters; a capability cut off; a parameter cut off.
        ("M001e0104fde9005ac00002020000", 0, ""),
        ("M00210104fde9005ac00002020402020104", 0, ""),
        ("M00200104fde9005ac000020203020502", 0, ""),
        ("M001d0103fde9005ac000020200", 1, "0004"),
        ("M001d01040000005ac000020200", 2, ""),
        ("M00250104fde9005ac000020208020641 0400000000", 2, ""),
        ("M001d0104fde9005a0000000000", 3, ""),
        ("M00200104fde9005ac000020203 010100", 4, ""),
        ("M001d0104fde90001c000020200", 6, ""),
        ("M001d0104fde90002c000020200", 6, ""),
    ] {
        assert_eq!(refused(message), (2, subcode, hex(data)), "{message}");
    }
}

#[test]
fn capabilities_in_any_packing() {
    let open = accepted("M001d0104fde90000c000020200");
    assert_eq!(open.capabilities, Capabilities::default());
    assert_eq!(
        (open.asn, open.hold_time, open.router_id),
        (Asn(65001), 0, RouterId(0xc000_0202))
    );

    let want = Capabilities {
        families: Some(FamilySet::BOTH),
        four_octet_as: Some(Asn(4_200_000_000)),
        route_refresh: true,
        extended_message: true,
        enhanced_route_refresh: true,
        ..Capabilities::default()
    };
    let list = "010400010001 010400020001 0200 0600 4104fa56ea00 4600";
    let one = hex(list);
    let each: String = list
        .split(' ')
        .map(|c| format!("02{:02x}{c}", c.len() / 2))
        .collect();
    let each = hex(&each);
    for (parameters, extended) in [
        (format!("02{:02x}{list}", one.len()), false),
        (each.iter().map(|o| format!("{o:02x}")).collect(), false),
        (format!("02{:04x}{list}", one.len()), true),
    ] {
        let parameters = hex(&parameters);
        let len = parameters.len();
        let head = if extended {
            format!("ffff{len:04x}")
        } else {
            format!("{len:02x}")
        };
        let mut message = hex(&format!("M000001 045ba0005ac0000202 {head}"));
        message.extend(parameters);
        let total = u16::try_from(message.len()).unwrap().to_be_bytes();
        message[16..18].copy_from_slice(&total);
        let Ok(Message::Open(open)) = read(&message, &Context::before_open()) else {
            panic!("{message:02x?}");
        };
        assert_eq!(open.capabilities, want);
        assert_eq!(open.asn, Asn(4_200_000_000));
    }
}

#[test]
fn unknown_capabilities_are_kept() {
    // A family that is not ours, route refresh with a value, a version with a false inner length, a short LLGR.
    let open = accepted("M00350104fde9005ac0000202 180216 010400190041 020100 4b05ff666f6f00 470400010180");
    let unknown: Vec<(u8, usize)> = open
        .capabilities
        .unknown
        .iter()
        .map(|c| (c.code, c.value.len()))
        .collect();
    assert_eq!(unknown, [(1, 4), (2, 1), (75, 5), (71, 4)]);
    assert_eq!(open.capabilities.families, Some(FamilySet::NONE));
    assert!(!open.capabilities.route_refresh);
}

#[test]
fn an_open_of_many_capabilities_uses_the_extended_form_and_stays_in_bounds() {
    let mut open = Open {
        version: 4,
        asn: Asn(65001),
        hold_time: 90,
        router_id: RouterId(1),
        capabilities: Capabilities::default(),
    };
    for count in [0, 1, 120, 126, 127, 128, 1000, 2000, 3000] {
        let unknown = UnknownCapability {
            code: 200,
            value: [].into(),
        };
        open.capabilities.unknown = vec![unknown; count];
        let mut out = bytes::BytesMut::new();
        open.encode(&mut out);
        let Ok(Message::Open(read)) = read(&out, &Context::before_open()) else {
            panic!("{count}");
        };
        assert_eq!(read.capabilities.unknown.len(), count.min(2030), "{count}");
        assert!(out.len() <= 4096);
    }
}

#[test]
fn route_refresh() {
    let of = |message: &str| match read(&hex(message), &Context::before_open()) {
        Ok(Message::RouteRefresh(refresh)) => refresh.family.map(|family| (family, refresh.subtype)),
        other => panic!("{other:?}"),
    };
    let (v4, v6) = (Family::Ipv4, Family::Ipv6);
    assert_eq!(of("M0017050001 0001"), Some((v4, RefreshSubtype::Normal)));
    assert_eq!(of("M0017050002 0001"), Some((v6, RefreshSubtype::Normal)));
    assert_eq!(of("M0017050001 0080"), None);
    assert_eq!(of("M0017050001 0101"), Some((v4, RefreshSubtype::Beginning)));
    assert_eq!(of("M0017050002 0201"), Some((v6, RefreshSubtype::End)));
    assert_eq!(
        of("M0017050001 0301"),
        None,
        "an unknown subtype asks for nothing"
    );
    for message in [
        "M0013 05",
        "M0016 05 0001 00",
        "M0018 05 0001 01 01 00",
        "M0018 05 0001 00 01 00",
    ] {
        assert_eq!(
            refused(message),
            (7, 1, hex(message)),
            "all of the message is the data"
        );
    }
}
