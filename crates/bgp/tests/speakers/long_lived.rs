//! Long-lived graceful restart (RFC 9494): a last resort, for who knows what that is.

use std::time::Duration;

use flatroute_bgp::rib::RouteView;
use flatroute_bgp::speaker::{Config, EventKind, STALE_TIME, Speaker, Sweep};
use flatroute_bgp::types::{AsPath, Asn, Community, Family, NextHop, PathAttributes, PeerName};
use flatroute_bgp::wire::{self, Message, Open};

use crate::fabric::{address, prefix};
use crate::puppet::{CONTEXT, Puppet, World, announce, encoded, open_of};
use crate::restarts::{RESTART_TIME, end_of_rib, for_long, graceful, says, shown, swept, updates};

const BOTH: [Family; 2] = Family::ALL;
const SECONDS: fn(u64) -> Duration = Duration::from_secs;
const MILLIS: fn(u64) -> Duration = Duration::from_millis;
/// What is configured here.
const OURS: Duration = Duration::from_secs(3600);

fn long(others: &[usize]) -> Config {
    let mut config = graceful(others, &[], false);
    for peer in config.peers.values_mut() {
        peer.graceful_restart.long_lived_stale_time = OURS;
    }
    config
}

fn says_long(node: usize) -> Open {
    for_long(says(node, &BOTH), Family::Ipv4, 1000, true)
}

fn announce_with(node: usize, path: &[u32], prefixes: &[&str], communities: &[Community]) -> Vec<u8> {
    let attributes = PathAttributes {
        as_path: AsPath::sequence(path.iter().copied().map(Asn)),
        next_hop: Some(NextHop::V4(address(node))),
        communities: communities.to_vec(),
        ..PathAttributes::local()
    };
    let prefixes: Vec<_> = prefixes.iter().map(|p| prefix(p)).collect();
    encoded(|out| _ = wire::encode_reach(&prefixes, &attributes, &CONTEXT, out).unwrap())
}

/// Neighbour 1, which keeps IPv4 for long, with two IPv4 routes, one of them NO_LLGR, and one IPv6 route; neighbour 2 knows
/// what LLGR_STALE is, neighbour 3 does not.
fn world() -> (World, [Puppet; 3]) {
    let mut world = World::of(Speaker::new(7), long(&[1, 2, 3]));
    let one = world.established_with(&says_long(1));
    let two = world.established_with(&says_long(2));
    let three = world.established_with(&says(3, &BOTH));
    world.say(&one, &announce(1, &["10.1.0.0/24"]));
    world.say(&one, &announce(1, &["fd00:1::/64"]));
    world.say(
        &one,
        &announce_with(1, &[65_001], &["10.2.0.0/24"], &[Community::NO_LLGR]),
    );
    for peer in [&two, &three] {
        world.hear(peer);
    }
    assert_eq!(world.kernel.len(), 3);
    (world, [one, two, three])
}

fn communities(messages: &[Message]) -> Vec<Vec<Community>> {
    let of = |m: &Message| {
        let Message::Update(update) = m else { return None };
        (!update.announced.is_empty()).then(|| update.attributes.communities.clone())
    };
    messages.iter().filter_map(of).collect()
}

#[test]
fn after_the_restart_time_routes_are_a_last_resort_for_who_knows_what_that_is() {
    let (mut world, [one, two, three]) = world();
    world.close(&one);
    world.pass(RESTART_TIME - MILLIS(1));
    assert!(world.hear(&two).is_empty() && world.hear(&three).is_empty());
    world.pass(MILLIS(1));
    let heard = world.hear(&two);
    assert_eq!(updates(&heard), ["-10.2.0.0/24", "-fd00:1::/64", "10.1.0.0/24"]);
    assert_eq!(communities(&heard), [vec![Community::LLGR_STALE]]);
    let mut heard = updates(&world.hear(&three));
    heard.sort();
    assert_eq!(heard, ["-10.1.0.0/24", "-10.2.0.0/24", "-fd00:1::/64"]);
    assert_eq!(
        world.kernel_has(),
        ["10.1.0.0/24"],
        "in use while nothing else is there"
    );
    assert_eq!(world.peer(1).retained.unwrap().long_lived, 1);
    let told = world.events.iter().find_map(|e| {
        if let EventKind::LongLived { family, routes, time } = &e.kind {
            Some((*family, *routes, *time))
        } else {
            None
        }
    });
    assert_eq!(
        told,
        Some((Family::Ipv4, 1, SECONDS(1000))),
        "the smaller of both times"
    );
    assert_eq!(
        swept(&world),
        [
            (Family::Ipv4, 1, Sweep::Expired),
            (Family::Ipv6, 1, Sweep::Expired)
        ]
    );
    world.pass(SECONDS(1000) - MILLIS(1));
    assert_eq!(world.kernel.len(), 1);
    world.pass(MILLIS(1));
    assert!(world.kernel.is_empty());
    assert_eq!(updates(&world.hear(&two)), ["-10.1.0.0/24"]);
}

#[test]
fn our_own_configuration_bounds_the_time_and_offers_the_capability() {
    let mut config = long(&[1]);
    config
        .peers
        .get_mut(&PeerName::from("n1"))
        .unwrap()
        .graceful_restart
        .long_lived_stale_time = SECONDS(10);
    let mut world = World::of(Speaker::new(7), config);
    let one = world.connect(1);
    let Message::Open(ours) = world.hear(&one).remove(0) else {
        panic!("not an OPEN")
    };
    let words = ours.capabilities.in_words();
    assert!(
        words.contains(&"long-lived graceful restart: IPv4 10 s, IPv6 10 s".to_owned()),
        "{words:?}"
    );
    world.close(&one);
    let one = world.established_with(&says_long(1));
    world.say(&one, &announce(1, &["10.1.0.0/24"]));
    world.close(&one);
    world.pass(RESTART_TIME + SECONDS(10) - MILLIS(1));
    assert_eq!(world.kernel.len(), 1);
    world.pass(MILLIS(1));
    assert!(world.kernel.is_empty());
    // Zero is the default: the capability is neither offered nor, when it is offered to us, kept to.
    let mut world = World::of(Speaker::new(7), graceful(&[1], &[], false));
    let one = world.established_with(&says_long(1));
    world.say(&one, &announce(1, &["10.1.0.0/24"]));
    world.close(&one);
    world.pass(RESTART_TIME);
    assert!(world.kernel.is_empty());
}

#[test]
fn a_family_that_only_the_long_lived_capability_lists_is_a_last_resort_at_once() {
    let mut open = says_long(1);
    open.capabilities
        .graceful_restart
        .as_mut()
        .unwrap()
        .families
        .clear();
    let mut world = World::of(Speaker::new(7), long(&[1]));
    let one = world.established_with(&open);
    world.say(&one, &announce(1, &["10.1.0.0/24"]));
    world.close(&one);
    assert_eq!(world.peer(1).retained.unwrap().long_lived, 1);
    world.pass(SECONDS(1000));
    assert!(world.kernel.is_empty());
}

#[test]
fn any_other_path_is_better_than_a_last_resort() {
    let (mut world, [one, two, _]) = world();
    let longer = announce_with(2, &[65_002, 7, 8, 9], &["10.1.0.0/24"], &[]);
    world.say(&two, &longer);
    let hop = |world: &World| world.kernel[&prefix("10.1.0.0/24")].clone();
    world.close(&one);
    assert_eq!(
        hop(&world),
        [std::net::IpAddr::V4(address(1))],
        "stale, but shorter"
    );
    world.pass(RESTART_TIME);
    assert_eq!(hop(&world), [std::net::IpAddr::V4(address(2))]);
    let all = shown(&world, RouteView::Accepted).join("\n");
    assert!(
        all.contains("stale 10.1.0.0/24 a last resort (LLGR_STALE)"),
        "{all}"
    );
    // One that comes as a last resort from elsewhere is one here, too, and goes on to who knows what it is.
    let (mut world, [one, two, three]) = self::world();
    world.say(
        &two,
        &announce_with(2, &[65_002], &["10.9.0.0/24"], &[Community::LLGR_STALE]),
    );
    world.say(
        &three,
        &announce_with(3, &[65_003, 7, 8], &["10.8.0.0/24", "10.9.0.0/24"], &[]),
    );
    assert_eq!(
        world.kernel[&prefix("10.9.0.0/24")],
        [std::net::IpAddr::V4(address(3))]
    );
    world.say(&three, &crate::puppet::withdraw(&["10.9.0.0/24"]));
    assert_eq!(
        world.kernel[&prefix("10.9.0.0/24")],
        [std::net::IpAddr::V4(address(2))]
    );
    let heard = world.hear(&one);
    let stale = communities(&heard)
        .into_iter()
        .filter(|c| c.contains(&Community::LLGR_STALE));
    assert_eq!(stale.count(), 1);
    assert!(!updates(&world.hear(&three)).contains(&"10.9.0.0/24".to_owned()));
}

#[test]
fn who_is_back_takes_its_last_resorts_over_or_loses_them() {
    for (open, kept) in [
        (says_long(1), true),
        (for_long(says(1, &BOTH), Family::Ipv4, 1000, false), false),
        (says(1, &BOTH), false),
        (open_of(1, true), false),
    ] {
        let (mut world, [one, two, _]) = world();
        world.close(&one);
        world.pass(RESTART_TIME + SECONDS(1));
        world.hear(&two);
        let one = world.established_with(&open);
        assert_eq!(world.kernel.len(), usize::from(kept));
        if kept {
            world.say(&one, &announce(1, &["10.1.0.0/24"]));
            let heard = world.hear(&two);
            assert_eq!(communities(&heard), [Vec::new()], "no last resort any more");
            world.say(&one, &end_of_rib(Family::Ipv4));
            assert_eq!(world.kernel.len(), 1);
            assert_eq!(world.peer(1).retained, None);
        }
    }
    // Being back does not lengthen their time.
    let (mut world, [one, ..]) = world();
    world.close(&one);
    world.pass(RESTART_TIME + SECONDS(990));
    world.established_with(&says_long(1));
    world.pass(SECONDS(10) - MILLIS(1));
    assert_eq!(world.kernel.len(), 1);
    world.pass(MILLIS(1));
    assert!(world.kernel.is_empty());
    const { assert!(STALE_TIME.as_secs() > 10) };
}
