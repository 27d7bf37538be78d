//! The first seconds after a restart of our own (RFC 4724 §4.1): whom the choice of routes waits for, and who is told
//! what meanwhile.

use std::time::Duration;

use flatroute_bgp::peer::State;
use flatroute_bgp::session::ConnectMode;
use flatroute_bgp::speaker::{
    AdminState, Config, EventKind, Input, RESTARTING_PEER_PATIENCE, Restart, SELECTION_DEFERRAL, SILENCE,
    Speaker,
};
use flatroute_bgp::types::{Family, FamilySet, Instant, PeerName};
use flatroute_bgp::wire::{Message, Open};

use crate::puppet::{Puppet, World, announce, encoded, keepalive, open_of};
use crate::restarts::{RESTART_TIME, end_of_rib, graceful, says, says_also, updates};

const BOTH: [Family; 2] = Family::ALL;
const MILLIS: fn(u64) -> Duration = Duration::from_millis;
const PODS: [&str; 1] = ["10.244.0.0/24"];

fn warm(config: Config) -> World {
    let restart = Restart {
        forwarding: FamilySet::BOTH,
    };
    World::of(Speaker::restarted(7, restart, Instant::ZERO), config)
}

fn restarted(node: usize) -> Open {
    says_also(says(node, &BOTH), |g| g.restarted = true)
}

fn ends(world: &mut World, peer: &Puppet) {
    for family in BOTH {
        world.say(peer, &end_of_rib(family));
    }
}

/// When routes were chosen, and who was missing.
fn chosen(world: &World) -> Option<(Duration, Vec<String>)> {
    world.events.iter().find_map(|e| {
        if let EventKind::DeferralEnded { after, missing } = &e.kind {
            Some((*after, missing.iter().map(ToString::to_string).collect()))
        } else {
            None
        }
    })
}

fn waiting(world: &World) -> Vec<String> {
    let restarting = world.speaker.restarting(world.now);
    let words = restarting.map_or_else(Vec::new, |r| r.waiting);
    words
        .iter()
        .map(|(peer, what)| format!("{peer} {what}"))
        .collect()
}

#[test]
fn a_cold_start_waits_for_nobody() {
    let mut world = World::of(Speaker::new(7), graceful(&[1, 2], &PODS, false));
    assert_eq!(world.speaker.restarting(world.now), None);
    let peer = world.connect(1);
    world.say(&peer, &encoded(|out| says(1, &BOTH).encode(out)));
    world.say(&peer, &keepalive());
    world.say(&peer, &announce(1, &["10.1.0.0/24"]));
    assert_eq!(world.kernel.len(), 1);
    assert_eq!(
        updates(&world.hear(&peer)),
        ["10.244.0.0/24", "End-of-RIB IPv4", "End-of-RIB IPv6"]
    );
}

#[test]
fn the_choice_waits_for_the_end_of_rib_of_every_family_of_every_neighbour() {
    let mut world = warm(graceful(&[1, 2], &PODS, false));
    assert_eq!(waiting(&world), ["n1 its session", "n2 its session"]);
    let one = world.established_with(&says(1, &BOTH));
    world.say(&one, &announce(1, &["10.1.0.0/24"]));
    ends(&mut world, &one);
    let two = world.established_with(&says(2, &BOTH));
    world.say(&two, &announce(2, &["10.2.0.0/24"]));
    world.say(&two, &end_of_rib(Family::Ipv4));
    world.pass(MILLIS(4000));
    assert_eq!(waiting(&world), ["n2 its End-of-RIB of IPv6"]);
    assert!(world.kernel.is_empty(), "the kernel keeps what it has");
    assert!(!world.speaker.has_fib_changes());
    assert_eq!(
        world.peer(1).prefixes[0].counts.advertised,
        1,
        "our own route only"
    );
    assert!(
        updates(&world.hear(&one)).is_empty(),
        "neither a learned route nor End-of-RIB"
    );

    world.say(&two, &end_of_rib(Family::Ipv6));
    assert_eq!(chosen(&world), Some((MILLIS(4000), vec![])));
    assert_eq!(world.speaker.restarting(world.now), None);
    assert_eq!(world.kernel_has(), ["10.1.0.0/24", "10.2.0.0/24"]);
    for (peer, learned) in [(&one, "10.2.0.0/24"), (&two, "10.1.0.0/24")] {
        assert_eq!(
            updates(&world.hear(peer)),
            [learned, "End-of-RIB IPv4", "End-of-RIB IPv6"],
            "what was chosen comes before End-of-RIB"
        );
    }
}

#[test]
fn our_own_routes_are_told_at_once_and_to_who_is_told_no_others_end_of_rib_is() {
    let mut config = graceful(&[1, 2], &PODS, false);
    config.peers.get_mut(&PeerName::from("n2")).unwrap().relays = false;
    let mut world = warm(config);
    let says_all = |world: &mut World, node| {
        let puppet = world.connect(node);
        world.say(&puppet, &encoded(|out| says(node, &BOTH).encode(out)));
        world.say(&puppet, &keepalive());
        updates(&world.hear(&puppet))
    };
    assert_eq!(says_all(&mut world, 1), ["10.244.0.0/24"]);
    assert_eq!(
        says_all(&mut world, 2),
        ["10.244.0.0/24", "End-of-RIB IPv4", "End-of-RIB IPv6"]
    );
    // A new prefix of ours meanwhile is told, too.
    let mut config = graceful(&[1, 2], &["10.244.0.0/24", "10.244.9.0/24"], false);
    for peer in config.peers.values_mut() {
        peer.session.connect_mode = ConnectMode::Passive;
    }
    world.tell(Input::Configure(config));
    assert_eq!(world.peer(1).state, State::Established);
    assert_eq!(world.peer(1).prefixes[0].counts.advertised, 1);
    let conn = flatroute_bgp::types::ConnId::Accepted(0);
    assert_eq!(updates(&world.hear(&Puppet { conn })), ["10.244.9.0/24"]);
    assert!(world.speaker.restarting(world.now).is_some());
}

#[test]
fn who_restarts_too_is_told_what_was_learned_and_waited_for_no_longer_than_patience() {
    let mut world = warm(graceful(&[1, 2], &PODS, false));
    let one = world.established_with(&restarted(1));
    let two = world.established_with(&restarted(2));
    world.pass(MILLIS(1000));
    world.say(&one, &announce(1, &["10.1.0.0/24"]));
    assert_eq!(
        updates(&world.hear(&two)),
        ["10.1.0.0/24"],
        "at once, and without End-of-RIB"
    );
    assert!(world.kernel.is_empty());
    // What it says begins its patience anew.
    world.pass(RESTARTING_PEER_PATIENCE - MILLIS(1));
    assert_eq!(chosen(&world), None);
    assert_eq!(waiting(&world), ["n1 its End-of-RIB of IPv4 and IPv6"]);
    world.pass(MILLIS(1));
    assert_eq!(chosen(&world).unwrap().0, MILLIS(6000));
    assert_eq!(updates(&world.hear(&two)), ["End-of-RIB IPv4", "End-of-RIB IPv6"]);
    assert_eq!(world.kernel_has(), ["10.1.0.0/24"]);
}

#[test]
fn who_has_no_graceful_restart_is_heard_when_it_is_silent() {
    for open in [
        open_of(1, true),
        says_also(says(1, &BOTH), |g| g.families.clear()),
        says_also(says(1, &BOTH), |g| {
            g.families.retain(|f| f.family == Family::Ipv4.into());
        }),
    ] {
        let mut world = warm(graceful(&[1], &PODS, false));
        let peer = world.established_with(&open);
        world.pass(MILLIS(700));
        world.say(&peer, &announce(1, &["10.1.0.0/24"]));
        world.say(&peer, &end_of_rib(Family::Ipv4));
        world.pass(SILENCE - MILLIS(1));
        assert_eq!(chosen(&world), None);
        world.pass(MILLIS(1));
        assert_eq!(chosen(&world), Some((SILENCE + MILLIS(700), vec![])));
        assert_eq!(world.kernel.len(), 1);
    }
}

#[test]
fn nobody_is_waited_for_longer_than_the_deferral() {
    let mut world = warm(graceful(&[1, 2], &PODS, false));
    let one = world.established_with(&says(1, &BOTH));
    world.say(&one, &announce(1, &["10.1.0.0/24"]));
    ends(&mut world, &one);
    world.pass(SELECTION_DEFERRAL - MILLIS(1));
    assert!(world.kernel.is_empty());
    world.pass(MILLIS(1));
    assert_eq!(chosen(&world), Some((SELECTION_DEFERRAL, vec!["n2".to_owned()])));
    assert_eq!(world.kernel.len(), 1);
    // And without any configuration, or with one that comes late.
    let mut world = warm(Config::default());
    world.events.clear();
    assert_eq!(
        world.speaker.restarting(world.now),
        None,
        "nobody is to be waited for"
    );
    let restart = Restart {
        forwarding: FamilySet::NONE,
    };
    let mut speaker = Speaker::restarted(7, restart, Instant::ZERO);
    assert!(
        speaker.restarting(Instant::ZERO).is_some(),
        "it is not known who is to be waited for"
    );
    let late = Instant::ZERO + SELECTION_DEFERRAL;
    assert_eq!(speaker.poll_timeout(), Some(late));
    speaker.handle(Input::Timeout, late);
    assert_eq!(speaker.restarting(late), None);
}

#[test]
fn who_shall_be_down_is_not_waited_for_and_who_is_held_is() {
    let with = |state: AdminState| {
        let mut config = graceful(&[1, 2], &PODS, false);
        config.peers.get_mut(&PeerName::from("n2")).unwrap().admin_state = state;
        let mut world = warm(config);
        let one = world.established_with(&says(1, &BOTH));
        ends(&mut world, &one);
        chosen(&world).is_some()
    };
    assert!(with(AdminState::Down(String::new())));
    assert!(!with(AdminState::Held("no key yet".to_owned())));
}

#[test]
fn an_open_says_that_we_have_restarted_until_the_neighbour_is_met_and_routes_are_chosen() {
    let said = |world: &mut World, node: usize| {
        let puppet = world.connect(node);
        let Message::Open(ours) = world.hear(&puppet).remove(0) else {
            panic!("not an OPEN")
        };
        world.say(&puppet, &encoded(|out| says(node, &BOTH).encode(out)));
        (puppet, ours.capabilities.graceful_restart.unwrap().to_string())
    };
    let restart = Restart {
        forwarding: [Family::Ipv4].into_iter().collect(),
    };
    let mut world = World::of(
        Speaker::restarted(7, restart, Instant::ZERO),
        graceful(&[1, 2, 3], &PODS, false),
    );
    let first = "120 s, has restarted, IPv4 (forwarding kept), IPv6";
    let (puppet, words) = said(&mut world, 1);
    assert_eq!(words, first);
    world.close(&puppet);
    let (puppet, words) = said(&mut world, 1);
    assert_eq!(words, first, "the first attempt came to nothing");
    world.say(&puppet, &keepalive());
    world.close(&puppet);
    let (puppet, words) = said(&mut world, 1);
    assert_eq!(
        words, first,
        "met, but routes are not chosen: it must not wait for them if it has restarted since"
    );
    world.close(&puppet);
    world.pass(SELECTION_DEFERRAL);
    assert!(chosen(&world).is_some());
    let (_, words) = said(&mut world, 1);
    assert_eq!(words, "120 s, IPv4 (forwarding kept), IPv6 (forwarding kept)");
    let (_, words) = said(&mut world, 2);
    assert_eq!(words, first, "each neighbour for itself");
    world.pass(RESTART_TIME);
    let (_, words) = said(&mut world, 3);
    assert_eq!(words, "120 s, IPv4 (forwarding kept), IPv6", "too late to say so");
}
