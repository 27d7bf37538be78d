//! What a neighbour says wrong, and what people see of it.

use std::time::Duration;

use flatroute_bgp::peer::{Direction, State};
use flatroute_bgp::speaker::{EVENT_BURST, EVENT_INTERVAL, EventKind};
use flatroute_bgp::types::PeerName;
use flatroute_bgp::wire::{CeaseSubcode, Disposition, Message, Notification};

use crate::puppet::{Puppet, World, announce, encoded, malformed};

/// Text that must not reach a terminal, a log line or a status as it is: line feeds, an escape sequence, NUL, a change
/// of the writing direction, an 8-bit control character, a separator of lines, a byte order mark.
const HOSTILE: &str =
    "ok\r\nERROR all is lost\u{1b}[2J\u{0}\u{202e}gnp.exe\u{2066}\u{9b}31m\u{2028}\u{feff}\u{7f}\"\\";

fn is_tame(text: &str) -> bool {
    let bidi = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !text
        .chars()
        .any(|c| c.is_control() || bidi(c) || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}'))
}

/// All that people can see of the neighbours.
fn texts(world: &World) -> Vec<String> {
    let mut all = Vec::new();
    for event in &world.events {
        match &event.kind {
            EventKind::Transition { cause, .. } => all.push(cause.clone()),
            EventKind::Down { reason } | EventKind::Refused { reason } => all.push(reason.clone()),
            EventKind::Notification {
                notification, why, ..
            } => {
                all.push(notification.to_string());
                all.push(why.clone());
            }
            EventKind::Malformed { offence, .. } => all.push(offence.what.clone()),
            EventKind::PrefixLimit { what, .. } | EventKind::Unsendable { what, .. } => {
                all.push(what.clone());
            }
            EventKind::Established
            | EventKind::EndOfRib(_)
            | EventKind::Refreshed { .. }
            | EventKind::Retained { .. }
            | EventKind::LongLived { .. }
            | EventKind::Swept { .. }
            | EventKind::DeferralEnded { .. }
            | EventKind::RefreshTooEarly(_)
            | EventKind::Stranger(_) => {}
        }
    }
    all.extend(world.peer(1).last_error.map(|e| e.text));
    all
}

fn cease(subcode: u8, data: &[u8]) -> Vec<u8> {
    Notification {
        code: 6,
        subcode,
        data: data.to_vec(),
    }
    .octets()
}

fn with_length(text: &[u8]) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()], text].concat()
}

#[test]
fn hostile_text_is_escaped_wherever_people_see_it() {
    let not_utf8 = with_length(b"\xff\xfe\x1b[31mred\r\n");
    let overlong = [&[255], &b"drain\x1b[0m"[..]].concat();
    // A hard reset with a shutdown and its text inside (RFC 8538 §3).
    let inside = [&[6, 2], &with_length(HOSTILE.as_bytes())[..]].concat();
    for (subcode, data) in [
        (2, with_length(HOSTILE.as_bytes())),
        (4, with_length(HOSTILE.as_bytes())),
        (2, not_utf8),
        (2, overlong),
        (9, inside),
        (9, vec![]),
        (77, HOSTILE.as_bytes().to_vec()),
    ] {
        let mut world = World::new(&[1], &[]);
        let peer = world.established(1, true);
        world.say(&peer, &cease(subcode, &data));
        assert_ne!(world.peer(1).state, State::Established);
        for text in texts(&world) {
            assert!(is_tame(&text), "6/{subcode}: {text:?}");
        }
        let said = world.events.iter().any(
            |e| matches!(&e.kind, EventKind::Down { reason } if reason.contains(&format!("6/{subcode}"))),
        );
        assert!(said, "{:?}", world.events);
    }
}

#[test]
fn a_text_of_ours_reaches_the_neighbour_as_it_is_and_people_escaped() {
    let mut world = World::new(&[1], &[]);
    let peer = world.established(1, true);
    let text = HOSTILE.to_owned();
    world.tell(flatroute_bgp::speaker::Input::Shutdown { text });
    assert_eq!(world.last_word(&peer).text(), Some(HOSTILE));
    assert!(texts(&world).iter().all(|t| is_tame(t)), "{:?}", texts(&world));
}

fn notifications(world: &World) -> Vec<(Direction, u8, u8, Vec<u8>)> {
    let of = |kind: &EventKind| {
        if let EventKind::Notification {
            direction,
            notification: n,
            message,
            ..
        } = kind
        {
            Some((*direction, n.code, n.subcode, message.clone()))
        } else {
            None
        }
    };
    world.events.iter().filter_map(|e| of(&e.kind)).collect()
}

#[test]
fn notifications_are_events_with_the_message_that_was_the_reason() {
    let mut world = World::new(&[1], &[]);
    let peer = world.established(1, true);
    world.say(&peer, b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(
        notifications(&world),
        [(Direction::Sent, 1, 1, b"GET / HTTP/1.1\r\n\r\n".to_vec())]
    );
    let peer = world.established(1, true);
    world.say(&peer, &Notification::hold_timer_expired().octets());
    assert_eq!(notifications(&world)[1], (Direction::Received, 4, 0, vec![]));
    // Also before there is a session.
    let peer = world.connect(1);
    world.say(&peer, &crate::puppet::open(2, true));
    let (direction, code, subcode, message) = notifications(&world).pop().unwrap();
    assert_eq!((direction, code, subcode), (Direction::Sent, 2, 2));
    assert_eq!(message, crate::puppet::open(2, true));
}

#[test]
fn an_update_with_errors_is_an_event_that_says_all() {
    let mut world = World::new(&[1], &[]);
    let peer = world.established(1, true);
    world.say(&peer, &announce(1, &["203.0.113.0/24", "10.1.0.0/24"]));
    world.say(&peer, &malformed());
    assert_eq!(
        world.kernel_has(),
        ["10.1.0.0/24"],
        "a route accepted before goes"
    );
    let offence = world.events.iter().find_map(|e| {
        if let EventKind::Malformed { offence, .. } = &e.kind {
            Some(offence.clone())
        } else {
            None
        }
    });
    let offence = offence.unwrap();
    assert_eq!(
        (offence.attribute, offence.disposition),
        (Some(2), Disposition::TreatAsWithdraw)
    );
    assert_eq!(offence.prefixes[0].to_string(), "203.0.113.0/24");
    assert_eq!(offence.message, malformed());
    assert_eq!(world.peer(1).malformed_updates, 1);
}

#[test]
fn a_flood_of_errors_is_counted_and_told_in_a_trickle() {
    let mut world = World::new(&[1, 2], &[]);
    let noisy = world.established(1, true);
    let quiet = world.established(2, true);
    let burst = usize::try_from(EVENT_BURST).unwrap();
    let told = |world: &World| {
        let malformed = world
            .events
            .iter()
            .filter(|e| matches!(e.kind, EventKind::Malformed { .. }));
        malformed.map(|e| e.untold).collect::<Vec<_>>()
    };
    for _ in 0..10_000 {
        world.say(&noisy, &malformed());
    }
    assert_eq!(told(&world), vec![0; burst]);
    world.say(&quiet, &malformed());
    assert_eq!(told(&world).len(), burst + 1, "another's allowance is its own");
    world.pass(EVENT_INTERVAL);
    world.say(&noisy, &malformed());
    assert_eq!(told(&world).last(), Some(&(10_000 - u64::from(EVENT_BURST))));
    assert_eq!(world.peer(1).malformed_updates, 10_001);
    assert_eq!(world.peer(1).flaps, 0);
}

/// Connections are cheap, and each makes the machine move several times.
#[test]
fn a_peer_that_comes_and_goes_is_told_of_in_a_trickle() {
    let mut world = World::new(&[1, 2], &[]);
    for _ in 0..1000 {
        let puppet = world.established(1, true);
        world.close(&puppet);
    }
    let of = |world: &World, name: &str| {
        let name = Some(PeerName::from(name));
        world.events.iter().filter(|e| e.peer == name).count()
    };
    let burst = usize::try_from(EVENT_BURST).unwrap();
    // Closed without a NOTIFICATION, so none of those is among them.
    assert_eq!(of(&world, "n1"), burst);
    assert_eq!(world.peer(1).flaps, 1000, "all are counted");
    world.established(2, true);
    assert!(of(&world, "n2") > 2, "another's allowance is its own");
    world.pass(EVENT_INTERVAL);
    world.established(1, true);
    let last = world
        .events
        .iter()
        .rfind(|e| e.peer == Some(PeerName::from("n1")));
    assert!(last.unwrap().untold > 3000, "{last:?}");
}

/// What can be read hurts only its own prefixes.
#[test]
fn an_error_in_one_family_does_not_hurt_the_other() {
    let mut world = World::new(&[1], &[]);
    let peer = world.established(1, true);
    world.say(&peer, &announce(1, &["203.0.113.0/24", "10.1.0.0/24"]));
    world.say(&peer, &announce(1, &["fd00:1::/64"]));
    world.say(&peer, &malformed());
    assert_eq!(world.kernel_has(), ["10.1.0.0/24", "fd00:1::/64"]);

    // The other way round: an IPv6 announcement whose AS_PATH overruns itself.
    let mut v6 = announce(1, &["fd00:1::/64"]);
    let at = v6.windows(4).position(|w| w == [0x40, 2, 6, 2]).unwrap();
    // The count of its segment.
    v6[at + 4] = 6;
    world.say(&peer, &v6);
    assert_eq!(world.kernel_has(), ["10.1.0.0/24"]);
    assert_eq!(world.peer(1).flaps, 0);
    assert_eq!(world.peer(1).malformed_updates, 2);
}

/// The session of a neighbour is reset while UPDATEs to it wait, and others wait to be told of its routes.
#[test]
fn a_reset_while_updates_wait_leaves_nothing_behind() {
    let pods: Vec<String> = (0..2000)
        .map(|n| format!("10.{}.{}.0/24", n / 256, n % 256))
        .collect();
    let pods: Vec<&str> = pods.iter().map(String::as_str).collect();
    let mut world = World::new(&[1, 2], &pods);
    let slow = world.connect(1);
    world.say(&slow, &crate::puppet::open(1, true));
    world.say(&slow, &crate::puppet::keepalive());
    let other = world.established(2, true);
    // A message of many: the rest of a batch waits, and End-of-RIB behind it.
    let first = world.pull(&slow, 1);
    assert!(!first.is_empty());
    world.say(&slow, &announce(1, &["192.168.1.0/24", "192.168.2.0/24"]));
    assert_eq!(world.kernel.len(), 2);
    // `other` has not been told of them yet when the session goes.
    world.close(&slow);
    assert!(world.kernel.is_empty());
    assert!(world.hear(&other).is_empty(), "what cancels out is not told");
    assert!(
        world.hear(&slow).is_empty(),
        "nothing waits for a connection that is gone"
    );

    // Told, and then gone: withdrawn.
    let slow = world.connect(1);
    world.say(&slow, &crate::puppet::open(1, true));
    world.say(&slow, &crate::puppet::keepalive());
    world.say(&slow, &announce(1, &["192.168.1.0/24"]));
    assert_eq!(prefixes(&world.hear(&other)), (1, 0));
    world.pull(&slow, 1);
    world.say(
        &slow,
        &encoded(|out| Notification::cease(CeaseSubcode::AdministrativeReset, "").encode(out)),
    );
    assert_eq!(prefixes(&world.hear(&other)), (0, 1));
    assert!(world.kernel.is_empty());

    // The next session is told everything from the start.
    let mut next = Vec::new();
    let puppet = world.connect(1);
    world.say(&puppet, &crate::puppet::open(1, true));
    world.say(&puppet, &crate::puppet::keepalive());
    next.extend(world.hear(&puppet));
    assert_eq!(prefixes(&next), (2000, 0));
    let ends = next
        .iter()
        .filter(|m| matches!(m, Message::Update(u) if u.end_of_rib.is_some()));
    assert_eq!(ends.count(), 2);
}

/// How many prefixes are announced and withdrawn.
fn prefixes(messages: &[Message]) -> (usize, usize) {
    messages.iter().fold((0, 0), |(announced, withdrawn), m| match m {
        Message::Update(u) => (
            announced + u.announced.iter().map(|a| a.prefixes.len()).sum::<usize>(),
            withdrawn + u.withdrawn.len(),
        ),
        Message::Open(_) | Message::Notification(_) | Message::Keepalive | Message::RouteRefresh(_) => {
            (announced, withdrawn)
        }
    })
}

#[test]
fn strangers_are_told_little_and_counted() {
    let mut world = World::new(&[1], &[]);
    for _ in 0..1000 {
        let stranger: Puppet = world.connect(9);
        assert!(
            world.closed[&stranger.conn].is_empty(),
            "a stranger is told nothing"
        );
    }
    let told = world
        .events
        .iter()
        .filter(|e| matches!(e.kind, EventKind::Stranger(_)));
    assert_eq!(told.count(), usize::try_from(EVENT_BURST).unwrap());
    world.pass(Duration::from_secs(5));
    world.connect(9);
    let told = world
        .events
        .iter()
        .filter(|e| matches!(e.kind, EventKind::Stranger(_)));
    assert_eq!(told.count(), usize::try_from(EVENT_BURST).unwrap() + 1);
}
