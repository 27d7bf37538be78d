//! Neighbours that are drained while their sessions stay (RFC 8326): when what is said to them.

use flatroute_bgp::speaker::{Config, DRAIN_TIME, Input, LINGER_TIME};
use flatroute_bgp::types::Community;
use flatroute_bgp::wire::Message;

use crate::fabric::config;
use crate::puppet::{Puppet, World, announce};
use crate::retained::name;

const OURS: &str = "10.244.0.0/24";

fn drained(which: &[usize]) -> Config {
    let mut config = config(0, &[1, 2], &[OURS]);
    for peer in config.peers.values_mut() {
        peer.session.connect_mode = flatroute_bgp::session::ConnectMode::Passive;
    }
    for node in which {
        config.peers.get_mut(&name(*node)).unwrap().drained = true;
    }
    config
}

/// What a neighbour is told of our prefix now: `+` with `!` where GRACEFUL_SHUTDOWN is on it, `-`.
fn told(world: &mut World, puppet: &Puppet) -> Vec<String> {
    let mut all = Vec::new();
    for message in world.hear(puppet) {
        let Message::Update(update) = message else {
            continue;
        };
        let goodbye = update
            .attributes
            .communities
            .contains(&Community::GRACEFUL_SHUTDOWN);
        let mark = if goodbye { "!" } else { "" };
        let announced = update.announced.iter().flat_map(|a| &a.prefixes);
        all.extend(announced.map(|p| format!("+{p}{mark}")));
        all.extend(update.withdrawn.iter().map(|p| format!("-{p}")));
    }
    all.retain(|said| said.contains(OURS));
    all
}

#[test]
fn a_drain_says_goodbye_then_withdraws_and_is_undone() {
    let mut world = World::new(&[1, 2], &[OURS]);
    let one = world.established(1, true);
    let two = world.established(2, true);
    world.say(&one, &announce(1, &["10.1.0.0/24"]));
    world.say(&two, &announce(2, &["10.1.0.0/24"]));
    told(&mut world, &one);
    assert_eq!(world.kernel[&crate::fabric::prefix("10.1.0.0/24")].len(), 2);

    world.tell(Input::Configure(drained(&[1])));
    assert_eq!(told(&mut world, &one), [format!("+{OURS}!")]);
    assert_eq!(world.kernel[&crate::fabric::prefix("10.1.0.0/24")].len(), 2);
    world.pass(LINGER_TIME * 2);
    assert_eq!(world.kernel[&crate::fabric::prefix("10.1.0.0/24")].len(), 1);
    world.pass(DRAIN_TIME - LINGER_TIME * 2 - std::time::Duration::from_millis(1));
    assert_eq!(told(&mut world, &one), [""; 0]);
    world.pass(std::time::Duration::from_millis(1));
    assert_eq!(told(&mut world, &one), [format!("-{OURS}")]);
    assert_eq!(world.peer(1).flaps, 0);

    // The other is lost: this is the last path, until the other is back and told.
    world.close(&two);
    assert_eq!(told(&mut world, &one), [format!("+{OURS}!")]);
    let two = world.established(2, true);
    assert_eq!(told(&mut world, &one), [format!("-{OURS}")]);

    // Its own session is lost and comes back: it was drained long ago.
    world.close(&one);
    let one = world.connect(1);
    world.say(&one, &crate::puppet::open(1, true));
    world.say(&one, &crate::puppet::keepalive());
    assert_eq!(told(&mut world, &one), [""; 0]);

    world.tell(Input::Configure(drained(&[])));
    assert_eq!(told(&mut world, &one), [format!("+{OURS}")]);
    assert_eq!(told(&mut world, &two), [""; 0]);
    assert_eq!(world.peer(1).flaps, 1);
}

#[test]
fn when_all_are_drained_all_are_told() {
    let mut world = World::of(flatroute_bgp::speaker::Speaker::new(7), drained(&[1, 2]));
    for node in [1, 2] {
        let puppet = world.connect(node);
        world.say(&puppet, &crate::puppet::open(node, true));
        world.say(&puppet, &crate::puppet::keepalive());
        assert_eq!(told(&mut world, &puppet), [format!("+{OURS}!")]);
        world.pass(DRAIN_TIME * 2);
        assert_eq!(told(&mut world, &puppet), [""; 0]);
    }
}
