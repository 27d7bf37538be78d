//! Enhanced route refresh (RFC 7313), both ways.

use std::time::Duration;

use flatroute_bgp::speaker::{EventKind, Input, REFRESH_TIME};
use flatroute_bgp::types::Family;
use flatroute_bgp::wire::{self, GracefulRestart, Message, RefreshSubtype, RouteRefresh};

use crate::puppet::{CONTEXT, Puppet, World, announce, encoded, keepalive, open_of, route_refresh, withdraw};

fn words(messages: &[Message]) -> Vec<String> {
    messages
        .iter()
        .map(|m| match m {
            Message::RouteRefresh(RouteRefresh { family, subtype }) => {
                format!("{subtype:?} {}", family.unwrap())
            }
            Message::Update(u) if u.end_of_rib.is_some() => "End-of-RIB".to_owned(),
            Message::Update(u) => {
                let prefixes = u.announced.iter().flat_map(|a| &a.prefixes);
                prefixes.map(ToString::to_string).collect::<Vec<_>>().join(" ")
            }
            Message::Open(_) | Message::Notification(_) | Message::Keepalive => format!("{m:?}"),
        })
        .collect()
}

fn refreshed(world: &World) -> Vec<(Family, usize, bool)> {
    let of = |kind: &EventKind| {
        if let EventKind::Refreshed {
            family,
            removed,
            ended,
        } = kind
        {
            Some((*family, *removed, *ended))
        } else {
            None
        }
    };
    world.events.iter().filter_map(|e| of(&e.kind)).collect()
}

const BEGIN: RefreshSubtype = RefreshSubtype::Beginning;
const END: RefreshSubtype = RefreshSubtype::End;

/// A neighbour with three IPv4 routes and one IPv6 route.
fn with_routes() -> (World, Puppet) {
    let mut world = World::new(&[1], &[]);
    let peer = world.established(1, true);
    world.say(
        &peer,
        &announce(1, &["10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24"]),
    );
    world.say(&peer, &announce(1, &["fd00:1::/64"]));
    assert_eq!(world.kernel.len(), 4);
    (world, peer)
}

#[test]
fn a_request_is_answered_between_brackets() {
    let mut world = World::new(&[1], &["10.244.0.0/24", "10.244.1.0/24", "fd00:244::/64"]);
    let peer = world.established(1, true);
    assert!(world.peer(1).negotiated.unwrap().enhanced_route_refresh);
    world.say(&peer, &route_refresh(Family::Ipv4, RefreshSubtype::Normal));
    assert_eq!(
        words(&world.hear(&peer)),
        ["Beginning IPv4", "10.244.0.0/24 10.244.1.0/24", "End IPv4"]
    );
    // Nothing is owed after that, and the other family has its own.
    assert!(world.hear(&peer).is_empty());
    world.say(&peer, &route_refresh(Family::Ipv6, RefreshSubtype::Normal));
    assert_eq!(
        words(&world.hear(&peer)),
        ["Beginning IPv6", "fd00:244::/64", "End IPv6"]
    );
}

#[test]
fn requests_before_the_answer_are_one_and_one_during_it_brings_another() {
    let mut world = World::new(&[1], &["10.244.0.0/24"]);
    let peer = world.established(1, true);
    let request = route_refresh(Family::Ipv4, RefreshSubtype::Normal);
    for _ in 0..1000 {
        world.say(&peer, &request);
    }
    let mut heard = words(&world.pull(&peer, 1));
    assert_eq!(heard, ["Beginning IPv4"]);
    world.say(&peer, &request);
    heard = words(&world.hear(&peer));
    let answer = ["10.244.0.0/24", "End IPv4"];
    assert_eq!(heard, [&answer[..], &["Beginning IPv4"], &answer[..]].concat());
}

#[test]
fn the_answer_begins_after_end_of_rib() {
    let mut world = World::new(&[1], &["10.244.0.0/24"]);
    let peer = world.connect(1);
    world.say(&peer, &crate::puppet::open(1, true));
    world.say(&peer, &keepalive());
    world.say(&peer, &route_refresh(Family::Ipv4, RefreshSubtype::Normal));
    let heard = words(&world.hear(&peer));
    let at = |what: &str| heard.iter().position(|w| w == what).unwrap();
    assert!(at("End-of-RIB") < at("Beginning IPv4"), "{heard:?}");
    assert!(at("Beginning IPv4") < at("End IPv4"), "{heard:?}");
}

#[test]
fn a_neighbour_without_the_capability_sees_and_says_no_brackets() {
    let mut world = World::new(&[1], &["10.244.0.0/24"]);
    let peer = world.established(1, false);
    world.say(&peer, &route_refresh(Family::Ipv4, RefreshSubtype::Normal));
    assert_eq!(words(&world.hear(&peer)), ["10.244.0.0/24"]);
    world.say(&peer, &announce(1, &["10.1.0.0/24"]));
    world.say(&peer, &route_refresh(Family::Ipv4, BEGIN));
    world.say(&peer, &route_refresh(Family::Ipv4, END));
    assert_eq!(world.kernel_has(), ["10.1.0.0/24"]);
}

#[test]
fn what_does_not_come_again_goes_at_the_end_and_serves_until_then() {
    let (mut world, peer) = with_routes();
    world.say(&peer, &route_refresh(Family::Ipv4, BEGIN));
    // The very same announcement, a withdrawal, a new one.
    world.say(&peer, &announce(1, &["10.1.0.0/24"]));
    world.say(&peer, &withdraw(&["10.2.0.0/24"]));
    world.say(&peer, &announce(1, &["10.4.0.0/24"]));
    assert_eq!(
        world.kernel_has(),
        ["10.1.0.0/24", "10.3.0.0/24", "10.4.0.0/24", "fd00:1::/64"]
    );
    world.say(&peer, &route_refresh(Family::Ipv4, END));
    assert_eq!(world.kernel_has(), ["10.1.0.0/24", "10.4.0.0/24", "fd00:1::/64"]);
    assert_eq!(refreshed(&world), [(Family::Ipv4, 1, true)]);
    assert_eq!(world.peer(1).flaps, 0);
}

#[test]
fn beginning_twice_makes_all_stale_again() {
    let (mut world, peer) = with_routes();
    world.say(&peer, &route_refresh(Family::Ipv4, BEGIN));
    world.say(&peer, &announce(1, &["10.1.0.0/24", "10.2.0.0/24"]));
    world.say(&peer, &route_refresh(Family::Ipv4, BEGIN));
    world.say(&peer, &announce(1, &["10.3.0.0/24"]));
    world.say(&peer, &route_refresh(Family::Ipv4, END));
    assert_eq!(world.kernel_has(), ["10.3.0.0/24", "fd00:1::/64"]);
}

#[test]
fn an_end_without_a_beginning_ends_nothing() {
    let (mut world, peer) = with_routes();
    world.say(&peer, &route_refresh(Family::Ipv4, END));
    assert_eq!(world.kernel.len(), 4);
    assert_eq!(refreshed(&world), []);
    world.say(&peer, &route_refresh(Family::Ipv4, BEGIN));
    world.say(&peer, &route_refresh(Family::Ipv6, END));
    assert_eq!(world.kernel.len(), 4, "nor does the end of another family");
}

#[test]
fn a_refresh_that_does_not_end_is_ended() {
    let (mut world, peer) = with_routes();
    world.say(&peer, &route_refresh(Family::Ipv4, BEGIN));
    world.say(&peer, &announce(1, &["10.1.0.0/24"]));
    world.pass(REFRESH_TIME - Duration::from_secs(1));
    assert_eq!(world.kernel.len(), 4);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.kernel_has(), ["10.1.0.0/24", "fd00:1::/64"]);
    assert_eq!(refreshed(&world), [(Family::Ipv4, 2, false)]);
    // The end that comes too late ends nothing.
    world.say(&peer, &route_refresh(Family::Ipv4, END));
    assert_eq!(refreshed(&world).len(), 1);
    assert_eq!(world.speaker.poll_timeout(), None);
}

#[test]
fn a_session_that_ends_in_between_leaves_nothing_stale_for_the_next() {
    let (mut world, peer) = with_routes();
    world.say(&peer, &route_refresh(Family::Ipv4, BEGIN));
    world.close(&peer);
    assert!(world.kernel.is_empty());
    let peer = world.established(1, true);
    world.say(&peer, &announce(1, &["10.1.0.0/24"]));
    world.say(&peer, &route_refresh(Family::Ipv4, END));
    world.pass(REFRESH_TIME * 2);
    assert_eq!(world.kernel_has(), ["10.1.0.0/24"]);
    assert_eq!(refreshed(&world), []);
}

/// A neighbour that restarts gracefully, before its End-of-RIB.
fn who_restarts_gracefully() -> (World, Puppet) {
    let mut world = World::new(&[1], &[]);
    let peer = world.connect(1);
    let mut open = open_of(1, true);
    open.capabilities.graceful_restart = Some(GracefulRestart {
        restarted: false,
        notification: false,
        restart_time: 120,
        families: Vec::new(),
    });
    world.say(&peer, &encoded(|out| open.encode(out)));
    world.say(&peer, &keepalive());
    (world, peer)
}

#[test]
fn a_request_that_may_stay_unanswered_is_said() {
    let (mut world, peer) = who_restarts_gracefully();
    let end_of_rib = encoded(|out| wire::encode_end_of_rib(Family::Ipv4, &CONTEXT, out));
    world.say(&peer, &end_of_rib);
    world.hear(&peer);
    let name = world.peer(1).name;
    world.tell(Input::Refresh(name));
    let of = |kind: &EventKind| {
        if let EventKind::RefreshTooEarly(family) = kind {
            Some(*family)
        } else {
            None
        }
    };
    let early = world.events.iter().filter_map(|e| of(&e.kind));
    assert_eq!(early.collect::<Vec<_>>(), [Family::Ipv6]);
    // The request is made all the same.
    assert_eq!(words(&world.hear(&peer)), ["Normal IPv4", "Normal IPv6"]);
}

#[test]
fn a_beginning_before_end_of_rib_of_who_restarts_gracefully_is_ignored() {
    let (mut world, peer) = who_restarts_gracefully();
    world.say(&peer, &announce(1, &["10.1.0.0/24"]));
    world.say(&peer, &route_refresh(Family::Ipv4, BEGIN));
    world.say(&peer, &route_refresh(Family::Ipv4, END));
    assert_eq!(world.kernel_has(), ["10.1.0.0/24"]);
    let end_of_rib = encoded(|out| wire::encode_end_of_rib(Family::Ipv4, &CONTEXT, out));
    world.say(&peer, &end_of_rib);
    world.say(&peer, &route_refresh(Family::Ipv4, BEGIN));
    world.say(&peer, &route_refresh(Family::Ipv4, END));
    assert!(world.kernel.is_empty());
}
