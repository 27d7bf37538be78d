//! Capabilities in an OPEN: what is read from octets, in words; what is malformed is kept, and never read beyond.

use flatroute_bgp::types::{Asn, Role};
use flatroute_bgp::wire::{
    Capabilities, Context, GracefulFamily, GracefulRestart, Message, Open, UnknownCapability,
};

use super::bytes::{hex, read};

/// An OPEN with these capabilities in one parameter.
fn open(capabilities: &[u8]) -> Vec<u8> {
    let len = u8::try_from(capabilities.len()).unwrap();
    let mut message = hex("M0000 01 04 fde9 005a c0000202");
    message.extend([len + 2, 2, len]);
    message.extend(capabilities);
    let total = u16::try_from(message.len()).unwrap().to_be_bytes();
    message[16..18].copy_from_slice(&total);
    message
}

fn capabilities(text: &str) -> Capabilities {
    match read(&open(&hex(text)), &Context::before_open()) {
        Ok(Message::Open(open)) => open.capabilities,
        other => panic!("{text}: {other:?}"),
    }
}

/// Each code, good and malformed. A malformed one stands under its name and number, with its octets.
#[test]
fn in_words() {
    for (octets, words) in [
        ("010400010001", "multiprotocol: IPv4"),
        ("010400020001", "multiprotocol: IPv6"),
        ("010400190041", "multiprotocol: AFI 25 SAFI 65"),
        ("0200", "route refresh"),
        ("020100", "route refresh (2): 0x00"),
        ("0600", "extended messages"),
        ("060100", "extended messages (6): 0x00"),
        ("4600", "enhanced route refresh"),
        ("460100", "enhanced route refresh (70): 0x00"),
        ("4104fa56ea00", "four-octet AS: 4200000000"),
        // RFC 8950
        ("0506 0001 0001 0002", "extended next hop: IPv4 by IPv6"),
        (
            "050c 0001 0001 0002 0001 0080 0002",
            "extended next hop: IPv4 by IPv6, AFI 1 SAFI 128 by IPv6",
        ),
        ("0506 0001 0101 0002", "extended next hop (5): 0x000101010002"),
        ("0505 0001 0001 00", "extended next hop (5): 0x0001000100"),
        ("0500", "extended next hop (5)"),
        // RFC 9234
        ("090100", "role: provider"),
        ("090101", "role: route server"),
        ("090102", "role: route server client"),
        ("090103", "role: customer"),
        ("090104", "role: peer"),
        ("090105", "role (9): 0x05"),
        ("0900", "role (9)"),
        ("09020000", "role (9): 0x0000"),
        // RFC 4724, RFC 8538
        ("4002 0078", "graceful restart: 120 s"),
        (
            "400a c078 00010180 00020100",
            "graceful restart: 120 s, has restarted, also after NOTIFICATIONs, IPv4 (forwarding kept), IPv6",
        ),
        ("4002 0fff", "graceful restart: 4095 s"),
        ("4005 0078 000101", "graceful restart (64): 0x0078000101"),
        ("4001 00", "graceful restart (64): 0x00"),
        ("4000", "graceful restart (64)"),
        // RFC 9494
        (
            "4707 000101 80 000e10",
            "long-lived graceful restart: IPv4 3600 s (forwarding kept)",
        ),
        (
            "470e 000101 00 ffffff 000201 00 000000",
            "long-lived graceful restart: IPv4 16777215 s, IPv6 0 s",
        ),
        ("4704 00010180", "long-lived graceful restart (71): 0x00010180"),
        ("4700", "long-lived graceful restart (71)"),
        // RFC 7911
        (
            "4508 00010101 00020103",
            "add-path: IPv4 receive, IPv6 send and receive",
        ),
        ("4504 00018002", "add-path: AFI 1 SAFI 128 send"),
        ("4504 00010100", "add-path (69): 0x00010100"),
        ("4508 00010101 00020104", "add-path (69): 0x0001010100020104"),
        ("4503 000101", "add-path (69): 0x000101"),
        // Texts: hostile ones are escaped, false lengths are not followed.
        ("4909 04 746f7231 03 6c6162", "FQDN: \"tor1\", domain \"lab\""),
        ("4906 04 746f7231 00", "FQDN: \"tor1\", domain \"\""),
        ("4904 02 1b5b 00", "FQDN: \"\\u{1b}[\", domain \"\""),
        ("4904 ff 746f 00", "FQDN (73): 0xff746f00"),
        ("4905 02 746f ff 00", "FQDN (73): 0x02746fff00"),
        ("4903 02 746f", "FQDN (73): 0x02746f"),
        ("4904 01 ff 01 61", "FQDN (73): 0x01ff0161"),
        ("4900", "FQDN (73)"),
        ("4b04 03 666f6f", "software version: \"foo\""),
        ("4b04 03 66 0a 6f", "software version: \"f\\no\""),
        ("4b05 ff 666f6f00", "software version (75): 0xff666f6f00"),
        ("4b01 00", "software version (75): 0x00"),
        ("4b00", "software version (75)"),
        // By name and octets only.
        (
            "030700010001010101",
            "outbound route filtering (3): 0x00010001010101",
        ),
        ("07030800 01", "BGPsec (7): 0x080001"),
        ("4400", "multisession (68)"),
        ("4300", "dynamic capability (67)"),
        ("8000", "route refresh (before the standard) (128)"),
        ("c8020102", "capability 200: 0x0102"),
    ] {
        let read = capabilities(octets);
        assert_eq!(read.in_words(), [words], "{octets}");
        // What is written again reads the same.
        let mut out = bytes::BytesMut::new();
        let again = Open {
            version: 4,
            asn: Asn(65001),
            hold_time: 90,
            router_id: flatroute_bgp::types::RouterId(1),
            capabilities: read.clone(),
        };
        again.encode(&mut out);
        let Ok(Message::Open(again)) = self::read(&out, &Context::before_open()) else {
            panic!("{octets}");
        };
        assert_eq!(again.capabilities, read, "{octets}");
    }
    let long = format!("c8ff{}", "ab".repeat(255));
    assert_eq!(
        capabilities_of_extended(&long).in_words(),
        [format!("capability 200: 0x{}… (255 octets)", "ab".repeat(32))]
    );
}

/// The same in the longer form of parameters.
fn capabilities_of_extended(text: &str) -> Capabilities {
    let octets = hex(text);
    let len = u16::try_from(octets.len()).unwrap();
    let mut message = hex("M0000 01 04 fde9 005a c0000202 ff ff");
    message.extend((len + 3).to_be_bytes());
    message.push(2);
    message.extend(len.to_be_bytes());
    message.extend(octets);
    let total = u16::try_from(message.len()).unwrap().to_be_bytes();
    message[16..18].copy_from_slice(&total);
    match read(&message, &Context::before_open()) {
        Ok(Message::Open(open)) => open.capabilities,
        other => panic!("{text}: {other:?}"),
    }
}

/// RFC 4724 §3: the last graceful restart counts. Lists add up. Of others the first counts, and one that says something else
/// is shown.
#[test]
fn capabilities_that_stand_twice() {
    let read = capabilities("4002 0078 4006 803c 00010100");
    let family = flatroute_bgp::types::Family::Ipv4.into();
    assert_eq!(
        read.graceful_restart,
        Some(GracefulRestart {
            restarted: true,
            notification: false,
            restart_time: 60,
            families: vec![GracefulFamily {
                family,
                forwarding: false
            }],
        })
    );
    let read = capabilities("4504 00010101 4504 00020102");
    assert_eq!(read.in_words(), ["add-path: IPv4 receive, IPv6 send"]);
    let read = capabilities("090100 090103 090100");
    assert_eq!(read.role, Some(Role::Provider));
    assert_eq!(
        read.unknown,
        [UnknownCapability {
            code: 9,
            value: [3].into()
        }]
    );
}

/// Every beginning of a list of capabilities is answered: read as far as it goes, or refused.
#[test]
fn every_truncation_is_answered() {
    let all = hex(
        "010400010001 0200 0506000100010002 0600 090100 400a807800010180 00020100 4104fa56ea00 450400010101 4600 \
         470700010180000e10 4909 04746f723103 6c6162 4b0403666f6f",
    );
    let whole = read(&open(&all), &Context::before_open());
    assert!(matches!(whole, Ok(Message::Open(open)) if open.capabilities.in_words().len() == 12));
    for cut in 0..all.len() {
        match read(&open(&all[..cut]), &Context::before_open()) {
            Ok(Message::Open(open)) => assert!(open.capabilities.in_words().len() < 12, "{cut}"),
            Err(error) => assert_eq!(
                (error.notification.code, error.notification.subcode),
                (2, 0),
                "{cut}"
            ),
            other => panic!("{cut}: {other:?}"),
        }
    }
    // Each octet damaged in turn.
    for at in 0..all.len() {
        for octet in [0, 1, 0x7f, 0xff] {
            let mut damaged = all.clone();
            damaged[at] = octet;
            if let Ok(Message::Open(open)) = read(&open(&damaged), &Context::before_open()) {
                assert!(!open.capabilities.in_words().is_empty());
            }
        }
    }
}
