//! Neighbours that come by themselves, from within a range.

use std::time::Duration;

use flatroute_bgp::peer::State;
use flatroute_bgp::policy::{Action, Condition, Filter, Rule, Set, Verdict};
use flatroute_bgp::session::PeerAsn;
use flatroute_bgp::speaker::{
    AdminState, Config, EventKind, FORGET_AFTER, GracefulRestart, Input, RangeConfig, Speaker,
};
use flatroute_bgp::types::{Asn, Family, PeerName};

use crate::fabric::{config, peer, prefix};
use crate::puppet::{World, announce, keepalive, open};
use crate::restarts::{says, says_also};

const SECONDS: fn(u64) -> Duration = Duration::from_secs;

/// Anybody of 192.0.2.0/24 but us, where the nodes of these tests are, as an external neighbour.
fn range(of: &str, limit: usize) -> RangeConfig {
    let mut template = peer(0, 1);
    template.session.peer_asn = PeerAsn::External;
    RangeConfig {
        prefix: prefix(of),
        limit,
        template,
    }
}

fn ranges(of: &[(&str, RangeConfig)]) -> Config {
    let mut config = config(0, &[], &["10.244.0.0/24"]);
    config.ranges = of
        .iter()
        .map(|(name, range)| (PeerName::from(*name), range.clone()))
        .collect();
    config
}

fn world(config: Config) -> World {
    World::of(Speaker::new(7), config)
}

fn names(world: &World) -> Vec<String> {
    let peers = world.speaker.peers(world.now);
    peers.iter().map(|peer| peer.name.to_string()).collect()
}

fn refusals(world: &World) -> Vec<String> {
    let mut reasons = Vec::new();
    for event in &world.events {
        if let EventKind::Refused { reason } = &event.kind {
            reasons.push(reason.clone());
        }
    }
    reasons
}

#[test]
fn who_dials_from_the_range_is_a_neighbour_with_its_settings() {
    let mut world = world(ranges(&[("racks", range("192.0.2.0/24", 10))]));
    assert!(names(&world).is_empty());
    let first = world.established(1, false);
    let second = world.established(2, false);
    assert_eq!(names(&world), ["racks-192.0.2.2", "racks-192.0.2.3"]);
    for (puppet, node) in [(&first, 1), (&second, 2)] {
        world.say(puppet, &announce(node, &[&format!("10.244.{node}.0/24")]));
    }
    let peers = world.speaker.peers(world.now);
    assert!(peers.iter().all(|peer| peer.state == State::Established));
    let asns: Vec<Option<Asn>> = peers.iter().map(|peer| peer.asn).collect();
    assert_eq!(asns, [Some(Asn(65_001)), Some(Asn(65_002))]);
    assert_eq!(world.kernel_has(), ["10.244.1.0/24", "10.244.2.0/24"]);
}

#[test]
fn who_dials_from_elsewhere_is_a_stranger() {
    let mut world = world(ranges(&[("racks", range("192.0.2.128/25", 10))]));
    let puppet = world.connect(1);
    assert!(world.closed.contains_key(&puppet.conn));
    assert!(names(&world).is_empty());
    assert!(
        world
            .events
            .iter()
            .any(|event| matches!(event.kind, EventKind::Stranger(_)))
    );
}

#[test]
fn the_longest_range_counts_and_a_named_address_counts_more() {
    let mut configuration = ranges(&[
        ("all", range("0.0.0.0/0", 10)),
        ("near", range("192.0.2.0/24", 10)),
        ("one", range("192.0.2.4/32", 10)),
    ]);
    configuration.peers = config(0, &[1], &[]).peers;
    let mut world = world(configuration);
    for node in [1, 2, 3] {
        world.established(node, false);
    }
    assert_eq!(names(&world), ["n1", "near-192.0.2.3", "one-192.0.2.4"]);
}

#[test]
fn there_are_as_many_as_the_range_allows_and_who_is_away_makes_room() {
    let mut world = world(ranges(&[("racks", range("192.0.2.0/24", 2))]));
    let first = world.established(1, false);
    world.established(2, false);
    let third = world.connect(3);
    assert!(world.closed.contains_key(&third.conn));
    assert_eq!(names(&world), ["racks-192.0.2.2", "racks-192.0.2.3"]);
    assert_eq!(
        refusals(&world),
        ["192.0.2.4 is one more than the 2 neighbours of its range"]
    );
    world.close(&first);
    world.established(3, false);
    assert_eq!(names(&world), ["racks-192.0.2.3", "racks-192.0.2.4"]);
}

#[test]
fn who_has_gone_is_forgotten_after_a_while() {
    let mut world = world(ranges(&[("racks", range("192.0.2.0/24", 2))]));
    let puppet = world.established(1, false);
    world.pass(SECONDS(3600));
    assert_eq!(names(&world).len(), 1, "a session keeps it");
    world.close(&puppet);
    world.pass(FORGET_AFTER - SECONDS(1));
    assert_eq!(names(&world).len(), 1, "its last error can be read for a while");
    world.pass(SECONDS(2));
    assert!(names(&world).is_empty());
    assert_eq!(world.speaker.poll_timeout(), None, "nothing is left to do");
    world.established(1, false);
    assert_eq!(names(&world), ["racks-192.0.2.2"], "and it may come again");
}

#[test]
fn what_is_kept_for_a_restart_is_not_forgotten() {
    let mut kept = range("192.0.2.0/24", 2);
    kept.template.graceful_restart = GracefulRestart::default();
    let mut world = world(ranges(&[("racks", kept)]));
    let hello = says_also(says(1, &Family::ALL), |said| said.restart_time = 1200);
    let puppet = world.established_with(&hello);
    world.say(&puppet, &announce(1, &["10.244.1.0/24"]));
    world.close(&puppet);
    world.pass(FORGET_AFTER + SECONDS(60));
    assert_eq!(names(&world), ["racks-192.0.2.2"]);
    assert_eq!(world.kernel_has(), ["10.244.1.0/24"]);
    world.pass(SECONDS(1200) + FORGET_AFTER);
    assert!(names(&world).is_empty() && world.kernel_has().is_empty());
}

#[test]
fn they_go_with_their_range_and_change_with_it() {
    let of_range = ranges(&[("racks", range("192.0.2.0/24", 5))]);
    let mut world = world(of_range.clone());
    let puppet = world.established(1, false);
    world.say(&puppet, &announce(1, &["10.244.1.0/24"]));
    world.tell(Input::Configure(of_range.clone()));
    assert_eq!(
        world.speaker.peers(world.now)[0].flaps,
        0,
        "the same again changes nothing"
    );

    let mut down = range("192.0.2.0/24", 5);
    down.template.admin_state = AdminState::Down("maintenance".to_owned());
    world.tell(Input::Configure(ranges(&[("racks", down)])));
    let words = world.last_word(&puppet).to_string();
    assert!(words.contains("maintenance"), "{words}");
    assert!(world.kernel_has().is_empty());
    let refused = world.connect(2);
    assert!(world.closed.contains_key(&refused.conn));
    assert_eq!(refusals(&world), ["its range is down"]);

    world.tell(Input::Configure(of_range));
    let again = world.established(1, false);
    world.tell(Input::Configure(ranges(&[("racks", range("192.0.2.128/25", 5))])));
    assert!(world.closed.contains_key(&again.conn));
    assert!(names(&world).is_empty());
}

#[test]
fn a_named_neighbour_takes_its_address_over() {
    let of_range = ranges(&[("racks", range("192.0.2.0/24", 5))]);
    let mut world = world(of_range.clone());
    let puppet = world.established(1, false);
    let mut named = of_range;
    named.peers = config(0, &[1], &[]).peers;
    world.tell(Input::Configure(named));
    assert!(world.closed.contains_key(&puppet.conn));
    assert_eq!(names(&world), ["n1"]);
}

#[test]
fn filters_mean_them_by_the_name_of_their_range() {
    let mut configuration = ranges(&[("racks", range("192.0.2.0/24", 5))]);
    let only = |name: &str| Filter {
        rules: vec![Rule {
            name: "only".into(),
            condition: Condition {
                peers: Some(vec![PeerName::from(name)]),
                ..Condition::default()
            },
            action: Action::Accept,
            set: Set::default(),
        }],
        default: Verdict::Reject,
    };
    configuration.install = only("racks");
    let mut world = world(configuration.clone());
    let puppet = world.established(1, false);
    world.say(&puppet, &announce(1, &["10.244.1.0/24"]));
    assert_eq!(world.kernel_has(), ["10.244.1.0/24"]);
    configuration.install = only("others");
    world.tell(Input::Configure(configuration));
    assert!(world.kernel_has().is_empty());
}

#[test]
fn who_says_nothing_holds_a_place_for_a_minute_at_most() {
    let mut world = world(ranges(&[("racks", range("192.0.2.0/24", 1))]));
    world.connect(1);
    let second = world.connect(2);
    assert!(world.closed.contains_key(&second.conn));
    world.pass(SECONDS(61));
    let third = world.connect(2);
    world.say(&third, &open(2, false));
    world.say(&third, &keepalive());
    world.hear(&third);
    assert_eq!(names(&world), ["racks-192.0.2.3"]);
}
