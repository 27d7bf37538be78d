//! NOTIFICATION: how it is shown, what is inside it, what fits into it.

use flatroute_bgp::types::Family;
use flatroute_bgp::wire::{
    CeaseSubcode, Context, FsmErrorState, HeaderError, Message, Notification, OpenError, UpdateError,
};

use super::bytes::{hex, read};

#[test]
fn notifications_are_shown_in_words_and_hostile_text_is_escaped() {
    let shown = |message: &str| match read(&hex(message), &Context::before_open()) {
        Ok(Message::Notification(notification)) => notification.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(shown("M0015030609"), "Cease, Hard Reset (6/9)");
    assert_eq!(
        shown("M001b030602ff647261696e"),
        "Cease, Administrative Shutdown (6/2): data ff647261696e"
    );
    assert_eq!(
        shown("M001c030602 06 0d0a 22 e280ae"),
        "Cease, Administrative Shutdown (6/2): \"\\r\\n\\\"\\u{202e}\""
    );
    assert_eq!(
        shown("M0018030602 02 fffe"),
        "Cease, Administrative Shutdown (6/2): data 02fffe"
    );
    assert_eq!(shown("M00150363 07"), "error code 99, subcode 7 (99/7)");
    assert_eq!(shown("M0015030800"), "Send Hold Timer Expired (8/0)");
    assert_eq!(shown("M001503020b"), "OPEN Message Error, Role Mismatch (2/11)");
    assert_eq!(shown("M0015030400"), "Hold Timer Expired (4/0)");
    let cases = [
        (
            Notification::header(HeaderError::BadLength, &[0, 18]),
            "Message Header Error, Bad Message Length (1/2): length 18",
        ),
        (
            Notification::open(OpenError::UnsupportedVersion, &[0, 4]),
            "OPEN Message Error, Unsupported Version Number (2/1): highest version 4",
        ),
        (
            Notification::update(UpdateError::MissingWellKnown, &[2]),
            "UPDATE Message Error, Missing Well-known Attribute (3/3): AS_PATH",
        ),
        (
            Notification::fsm_error(FsmErrorState::OpenConfirm),
            "Finite State Machine Error, Unexpected Message in OpenConfirm (5/2)",
        ),
        (Notification::hold_timer_expired(), "Hold Timer Expired (4/0)"),
        (
            Notification::cease(CeaseSubcode::AdministrativeReset, "drain"),
            "Cease, Administrative Reset (6/4): \"drain\"",
        ),
        (
            Notification::cease(CeaseSubcode::PeerDeconfigured, "not sent"),
            "Cease, Peer De-configured (6/3)",
        ),
        (
            Notification::max_prefixes(Family::Ipv6, 100),
            "Cease, Maximum Number of Prefixes Reached (6/1): IPv6, limit 100",
        ),
    ];
    for (notification, words) in cases {
        assert_eq!(notification.to_string(), words);
    }
}

#[test]
fn a_shutdown_text_is_cut_at_a_character() {
    let notification = Notification::cease(CeaseSubcode::AdministrativeShutdown, &"ü".repeat(200));
    assert_eq!(
        notification.data.len(),
        255,
        "127 characters of 2 octets, and the length"
    );
    assert_eq!(notification.text(), Some("ü".repeat(127).as_str()));
}

#[test]
fn a_notification_fits_into_a_message() {
    let notification = Notification::update(UpdateError::OptionalAttribute, &[7; 60_000]);
    let mut out = bytes::BytesMut::new();
    notification.encode(&mut out);
    assert_eq!(out.len(), 4096);
    assert!(
        matches!(read(&out, &Context::before_open()), Ok(Message::Notification(n)) if n.data.len() == 4075)
    );
}

/// RFC 8538 §3.1: the reason stands inside; a Hard Reset without one, or with half of one, is one all the same.
#[test]
fn a_hard_reset_says_what_is_inside() {
    let shown = |data: &str| {
        let data = hex(data);
        let mut message = hex("M0000 03 0609");
        message.extend(&data);
        let len = u16::try_from(message.len()).unwrap().to_be_bytes();
        message[16..18].copy_from_slice(&len);
        match read(&message, &Context::before_open()) {
            Ok(Message::Notification(notification)) => (notification.to_string(), notification.inner()),
            other => panic!("{other:?}"),
        }
    };
    let of = |code, subcode, data: &str| {
        Some(Notification {
            code,
            subcode,
            data: hex(data),
        })
    };
    for (data, words, inner) in [
        ("", "Cease, Hard Reset (6/9)", None),
        ("06", "Cease, Hard Reset (6/9): data 06", None),
        (
            "0602",
            "Cease, Hard Reset (6/9): Cease, Administrative Shutdown (6/2)",
            of(6, 2, ""),
        ),
        (
            "0602 05 647261696e",
            "Cease, Hard Reset (6/9): Cease, Administrative Shutdown (6/2): \"drain\"",
            of(6, 2, "05647261696e"),
        ),
        (
            "0602 ff 1b5b",
            "Cease, Hard Reset (6/9): Cease, Administrative Shutdown (6/2): data ff1b5b",
            of(6, 2, "ff1b5b"),
        ),
        (
            "0400",
            "Cease, Hard Reset (6/9): Hold Timer Expired (4/0)",
            of(4, 0, ""),
        ),
        (
            "0609 0609 0602",
            "Cease, Hard Reset (6/9): Cease, Hard Reset (6/9): data 06090602",
            of(6, 9, "06090602"),
        ),
        (
            "6307",
            "Cease, Hard Reset (6/9): error code 99, subcode 7 (99/7)",
            of(99, 7, ""),
        ),
    ] {
        assert_eq!(shown(data), (words.to_owned(), inner), "{data}");
    }
    let reason = Notification::cease(CeaseSubcode::AdministrativeReset, "new version");
    assert_eq!(Notification::hard_reset(&reason).inner(), Some(reason));
    assert_eq!(Notification::hold_timer_expired().inner(), None);
}
