//! The prefix limit with its three actions (RFC 4486 §4), and the limits of a session.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use flatroute_bgp::peer::State;
use flatroute_bgp::rib::LocalAddresses;
use flatroute_bgp::speaker::{EventKind, Input, Output, PrefixLimit, PrefixLimitAction};
use flatroute_bgp::types::{ConnId, Family, PeerName};
use flatroute_bgp::wire::Notification;

use crate::fabric::{address, config};
use crate::puppet::{Puppet, World, announce, withdraw};

/// A speaker that takes three prefixes of a family from node 1.
fn limited(action: PrefixLimitAction) -> (World, Puppet) {
    let mut world = World::new(&[1], &[]);
    configure(&mut world, 3, action);
    let peer = world.established(1, true);
    (world, peer)
}

fn configure(world: &mut World, limit: u32, action: PrefixLimitAction) {
    let mut config = config(0, &[1], &[]);
    let peer = config.peers.get_mut(&PeerName::from("n1")).unwrap();
    peer.session.connect_mode = flatroute_bgp::session::ConnectMode::Passive;
    peer.max_prefixes = PrefixLimit { limit, action };
    world.tell(Input::Configure(config));
}

fn said(world: &World) -> usize {
    let limit = |kind: &EventKind| matches!(kind, EventKind::PrefixLimit { .. });
    world.events.iter().filter(|e| limit(&e.kind)).count()
}

const FOUR: [&str; 4] = ["10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24", "10.4.0.0/24"];

#[test]
fn drop_refuses_what_is_beyond_and_keeps_what_is_held() {
    let (mut world, peer) = limited(PrefixLimitAction::Drop);
    world.say(&peer, &announce(1, &FOUR));
    assert_eq!(world.kernel_has(), FOUR[..3]);
    assert_eq!(said(&world), 1);
    // Those held may change; the other family has a limit of its own.
    world.say(&peer, &announce(1, &FOUR[..1]));
    world.say(&peer, &announce(1, &["fd00:1::/64"]));
    assert_eq!(world.kernel.len(), 4);
    // When the peer takes some back there is room again, for what it says from then on. What was refused is not asked
    // for; a refresh brings it.
    world.say(&peer, &withdraw(&FOUR[..1]));
    assert_eq!(world.kernel.len(), 3);
    assert!(world.hear(&peer).is_empty(), "nothing is asked");
    world.say(&peer, &announce(1, &FOUR[3..]));
    assert_eq!(world.kernel_has(), [FOUR[1], FOUR[2], FOUR[3], "fd00:1::/64"]);
    assert_eq!((said(&world), world.peer(1).flaps), (1, 0), "told once a session");
}

#[test]
fn warn_takes_all_and_says_it_once() {
    let (mut world, peer) = limited(PrefixLimitAction::Warn);
    for n in 0..100 {
        world.say(&peer, &announce(1, &[&format!("10.1.{n}.0/24")]));
    }
    assert_eq!(
        (world.kernel.len(), said(&world), world.peer(1).flaps),
        (100, 1, 0)
    );
}

#[test]
fn restart_says_6_1_with_family_and_limit_and_keeps_the_peer_out_for_a_growing_pause() {
    let (mut world, mut peer) = limited(PrefixLimitAction::Restart);
    let mut pauses = Vec::new();
    for _ in 0..4 {
        world.say(&peer, &announce(1, &FOUR));
        assert_eq!(
            world.last_word(&peer),
            Notification::max_prefixes(Family::Ipv4, 3)
        );
        assert_eq!(world.last_word(&peer).data, [0, 1, 1, 0, 0, 0, 3], "RFC 4486 §4");
        assert!(world.kernel.is_empty(), "its routes go with the session");
        assert_ne!(world.peer(1).state, State::Established);
        // The peer dials again and again, and hears the reason each time.
        let began = world.now;
        loop {
            world.pass(Duration::from_secs(1));
            peer = world.established(1, true);
            if world.peer(1).state == State::Established {
                break;
            }
            assert_eq!(
                world.last_word(&peer),
                Notification::max_prefixes(Family::Ipv4, 3)
            );
        }
        pauses.push(world.now.since(began));
    }
    for (pause, base) in pauses.iter().zip([5, 10, 20, 40]) {
        let base = Duration::from_secs(base);
        assert!(
            *pause >= base * 3 / 4 && *pause <= base * 5 / 4 + Duration::from_secs(1),
            "{pauses:?}"
        );
    }
    // Within the limit it stays.
    world.say(&peer, &announce(1, &FOUR[..3]));
    assert_eq!((world.kernel.len(), world.peer(1).state), (3, State::Established));
}

#[test]
fn a_lower_limit_keeps_what_is_held_and_a_higher_one_takes_more() {
    let (mut world, peer) = limited(PrefixLimitAction::Drop);
    world.say(&peer, &announce(1, &FOUR[..3]));
    configure(&mut world, 1, PrefixLimitAction::Drop);
    assert_eq!((world.kernel.len(), world.peer(1).flaps), (3, 0));
    world.say(&peer, &announce(1, &FOUR[3..]));
    assert_eq!(world.kernel.len(), 3);
    configure(&mut world, 10, PrefixLimitAction::Drop);
    world.say(&peer, &announce(1, &FOUR[3..]));
    assert_eq!((world.kernel.len(), world.peer(1).flaps), (4, 0));
}

#[test]
fn events_that_nobody_fetches_are_bounded() {
    // One peer alone is told of less than that.
    let peers: Vec<usize> = (1..=20).collect();
    let mut world = World::new(&peers, &[]);
    for (n, peer) in (0..10_000).zip(peers.iter().cycle()) {
        let conn = ConnId::Accepted(n);
        let remote = SocketAddr::new(IpAddr::V4(address(*peer)), 50_000);
        let local = LocalAddresses::default();
        world
            .speaker
            .handle(Input::Accepted { conn, remote, local }, world.now);
        world
            .speaker
            .handle(Input::Closed { conn, error: None }, world.now);
    }
    let mut events = 0;
    while let Some(output) = world.speaker.poll_output() {
        events += usize::from(matches!(output, Output::Event(_)));
    }
    assert_eq!(events, 4096);
}
