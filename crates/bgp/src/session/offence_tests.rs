//! What is said of messages that were wrong, and what is kept of them.

use super::tests::{NOW, keepalive, open, session_in, short_refresh, update_with_errors};
use super::*;
use crate::types::Prefix;

#[test]
fn what_is_kept_of_an_update_with_errors_is_bounded() {
    let mut s = session_in("Established");
    s.handle(Input::Received(&update_with_errors()), NOW);
    let Some(Output::Offending(offence)) = s.poll_output() else {
        panic!("no offence");
    };
    assert_eq!(offence.attribute, Some(2));
    assert_eq!(offence.disposition, wire::Disposition::TreatAsWithdraw);
    assert_eq!(offence.prefixes, [Prefix::v4(0xcb00_7100, 24).unwrap()]);
    assert_eq!(offence.prefixes_total, 1);
    assert_eq!(offence.message, update_with_errors());

    // Five errors and a thousand prefixes in a message of 5,000 octets and more.
    if let Phase::Established(n) = &mut s.phase {
        n.context.extended_message = true;
    }
    let mut attributes = vec![0x40, 1, 1, 9, 0x40, 2, 2, 2, 0, 0x40, 3, 4, 192, 0, 2, 2];
    attributes.extend([0xc0, 8, 0, 0x80, 4, 1, 1, 0xc0, 7, 1, 0]);
    let mut message = vec![0xff; 16];
    let len = 23 + attributes.len() + 4000 + 1500;
    message.extend(u16::try_from(len).unwrap().to_be_bytes());
    message.extend([2, 0, 0]);
    message.extend(u16::try_from(attributes.len()).unwrap().to_be_bytes());
    message.extend(attributes);
    for n in 0..1375u16 {
        let [high, low] = n.to_be_bytes();
        message.extend([24, 10, high, low]);
    }
    s.poll_output();
    s.handle(Input::Received(&message), NOW);
    let Some(Output::Offending(offence)) = s.poll_output() else {
        panic!("no offence");
    };
    assert_eq!(offence.message, message[..MAX_MESSAGE_SHOWN]);
    assert_eq!(offence.prefixes.len(), MAX_PREFIXES_SHOWN);
    assert_eq!(offence.prefixes_total, 1375);
    assert_eq!(
        offence.what.matches(" (the ").count(),
        MAX_ERRORS_SHOWN,
        "{}",
        offence.what
    );
    assert!(offence.what.ends_with("; and 1 more errors"), "{}", offence.what);
}

#[test]
fn a_message_that_ends_the_session_is_kept_beside_the_reason() {
    let blamed = |message: &[u8]| {
        let mut s = session_in("Established");
        s.handle(Input::Received(message), NOW);
        match s.poll_output() {
            Some(Output::Ended(End::Sent { message, .. })) => message,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(blamed(b"GET / HTTP/1.1\r\n\r\n"), b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(blamed(&open(64513)), open(64513));
    assert_eq!(blamed(&short_refresh()), short_refresh());
    assert_eq!(blamed(&[0; 10_000]).len(), MAX_MESSAGE_SHOWN);
    // No message is to blame for what a timer ends.
    let mut s = session_in("Established");
    s.handle(Input::Received(&keepalive()), NOW);
    s.step(Event::Expired(Timer::Hold), NOW);
    match s.poll_output() {
        Some(Output::Ended(End::Sent { message, .. })) => assert!(message.is_empty()),
        other => panic!("{other:?}"),
    };
}

/// A malformed message where none of its kind belongs: the complaint is of the state (RFC 6608), not of what is in it.
#[test]
fn what_has_no_place_is_not_judged_by_what_is_in_it() {
    let message = |kind: u8, body: &[u8]| {
        let len = u8::try_from(body.len() + 19).unwrap();
        [&[0xff; 16], &[0, len, kind][..], body].concat()
    };
    let overrun = message(2, &[0, 0, 0xff, 0xff]);
    let short_refresh = message(5, &[]);
    let version_3 = message(1, &[3, 0xfd, 0xe9, 0, 90, 1, 1, 1, 1, 0]);
    for (state, octets, says) in [
        ("OpenSent", &overrun, [5, 1, 2]),
        ("OpenSent", &short_refresh, [5, 1, 5]),
        ("OpenConfirm", &overrun, [5, 2, 2]),
        ("OpenConfirm", &short_refresh, [5, 2, 5]),
        ("Established", &version_3, [5, 3, 1]),
    ] {
        let mut session = session_in(state);
        session.handle(Input::Received(octets), NOW);
        let mut out = BytesMut::new();
        session.poll_transmit(&mut out, NOW);
        assert!(out.ends_with(&says), "{state}: {out:02x?}");
        assert_eq!(session.state(), State::Idle, "{state}");
    }
    let mut session = session_in("OpenConfirm");
    session.handle(Input::Received(&version_3), NOW);
    let mut out = BytesMut::new();
    session.poll_transmit(&mut out, NOW);
    assert!(out.ends_with(&[2, 1, 0, 4]), "{out:02x?}");
}
