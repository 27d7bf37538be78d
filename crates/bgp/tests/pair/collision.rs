//! Both nodes dial. Whatever the order of events, both end up with the same one session, and no established
//! session is lost on the way there (RFC 4271 §6.8, RFC 6286 §2.3).

use std::collections::BTreeSet;
use std::time::Duration;

use flatroute_bgp::peer::{COLLISION_PATIENCE, Input, State};

use crate::harness::{Dice, Pair, Slicing, Who, secs, settings};

fn dice_of(seed: u64) -> (Pair, Dice) {
    let mut dice = Dice(seed ^ 0x5eed);
    // Identifiers either way round, or equal: then the AS decides.
    let (a, b) = match dice.below(3) {
        0 => (settings(64512, 1), settings(64513, 2)),
        1 => (settings(64512, 2), settings(64513, 1)),
        _ => (settings(64512, 7), settings(64513, 7)),
    };
    let mut pair = Pair::new(a, b, seed);
    pair.slicing = match dice.below(3) {
        0 => Slicing::Whole,
        1 => Slicing::Octets,
        _ => Slicing::Random,
    };
    (pair, dice)
}

/// Latencies up to 800 ms, each direction of each connection its own; starts up to 2 s apart.
#[test]
fn every_order_of_two_connections_gives_one_session_at_once() {
    let mut winners = BTreeSet::new();
    let mut collided = 0;
    for seed in 0..3000 {
        let (mut pair, mut dice) = dice_of(seed);
        pair.latency = Duration::from_millis(1 + dice.below(800));
        pair.input(Who::A, Input::Start);
        let apart = dice.upto(Duration::from_millis(2000));
        pair.run(apart);
        pair.input(Who::B, Input::Start);
        pair.run_until(secs(10), Pair::agreed);
        pair.run(secs(200));
        assert!(pair.agreed(), "seed {seed}: {:?}", pair.story());
        assert_eq!(
            (pair.a.ups.len(), pair.b.ups.len()),
            (1, 1),
            "seed {seed}: {:?}",
            pair.story()
        );
        assert!(
            pair.a.dials.len() <= 2 && pair.b.dials.len() <= 2,
            "seed {seed}: it had to retry"
        );
        if pair.a.dials.len() == 1 && pair.b.dials.len() == 1 {
            collided += 1;
            winners.insert((
                pair.a.peer.settings().router_id.0,
                format!("{:?}", pair.a.ups[0].conn),
            ));
        }
    }
    // The seeds have to reach what they are for: both dialled, and either side's connection has won.
    assert!(collided > 1000, "only {collided} collisions");
    assert!(winners.len() >= 4, "{winners:?}");
}

/// With equal latencies everywhere and a common start, both OPENs are seen before anything is promised: the
/// connection of the higher identifier (or AS) stays.
#[test]
fn the_connection_of_the_higher_identifier_stays() {
    for (a, b, a_wins) in [
        (settings(64512, 1), settings(64513, 2), false),
        (settings(64512, 2), settings(64513, 1), true),
        (settings(64512, 7), settings(64513, 7), false),
        (settings(64513, 7), settings(64512, 7), true),
    ] {
        let mut pair = Pair::new(a, b, 1);
        pair.latency = Duration::ZERO;
        pair.start();
        pair.run(secs(1));
        assert!(pair.agreed());
        let dialled = format!("{:?}", pair.a.ups[0].conn).starts_with("Dialled");
        assert_eq!(dialled, a_wins);
    }
}

/// Latencies of many seconds outlast every patience: sessions may need more than one attempt, but get there, and
/// never two at once (the harness checks that).
#[test]
fn patience_that_ends_too_early_only_costs_time() {
    for seed in 0..300 {
        let (mut pair, mut dice) = dice_of(seed);
        pair.latency = secs(1 + dice.below(12));
        pair.start();
        pair.run_until(secs(1200), Pair::agreed);
    }
}

/// A preferred connection on which nothing is heard does not keep the other from becoming the session; it gets
/// its patience, no more.
#[test]
fn a_silent_preferred_connection_loses_after_a_while() {
    for seed in 0..50 {
        let mut pair = Pair::plain(seed);
        pair.latency = Duration::ZERO;
        pair.mute = Some(Who::B);
        pair.start();
        pair.run(COLLISION_PATIENCE - secs(1));
        assert_eq!(pair.states(), (State::OpenSent, State::OpenSent));
        pair.run_until(secs(2), Pair::agreed);
        pair.run(secs(200));
        assert_eq!((pair.a.downs.len(), pair.b.downs.len()), (0, 0));
    }
}

/// The world itself: one seed tells one story.
#[test]
fn the_same_seed_tells_the_same_story() {
    let tell = |seed| {
        let (mut pair, mut dice) = dice_of(seed);
        pair.latency = Duration::from_millis(1 + dice.below(800));
        pair.start();
        pair.run(secs(5));
        pair.reset();
        pair.run(secs(50));
        (pair.story(), pair.a.dials.clone(), pair.b.dials.clone())
    };
    for seed in 0..20 {
        assert_eq!(tell(seed), tell(seed));
    }
    assert_ne!(tell(1).1, tell(2).1);
}
