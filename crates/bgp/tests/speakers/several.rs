//! Several paths a prefix (RFC 7911) between whole speakers: what is agreed on, octets both ways, restarts, refreshes, limits.

use std::time::Duration;

use flatroute_bgp::rib::{MAX_PATHS, RouteView};
use flatroute_bgp::speaker::{Config, EventKind, NextHopMode, RouteQuery, Speaker};
use flatroute_bgp::types::{
    AsPath, Asn, Family, FamilySet, NextHop, PathAttributes, PathId, PathIds, PeerName, Prefix,
};
use flatroute_bgp::wire::{self, AddPath, AddPathMode, AfiSafi, Context, Message, Open, RefreshSubtype};

use crate::fabric::{Fabric, address, config, prefix};
use crate::puppet::{CONTEXT, Puppet, World, encoded, open_of, route_refresh};
use crate::restarts::{end_of_rib, graceful, says, swept};
use crate::retained::{name, reconfigured};

const NET: &str = "10.1.0.0/24";
const SECONDS: fn(u64) -> Duration = Duration::from_secs;

/// Both families, as a peer may say it.
fn offered(mode: AddPathMode) -> Vec<AddPath> {
    Family::ALL
        .map(|family| AddPath {
            family: family.into(),
            mode,
        })
        .into()
}

/// The same OPEN with several paths.
fn with(mut open: Open, add_path: Vec<AddPath>) -> Open {
    open.capabilities.add_path = add_path;
    open
}

fn takes(mut config: Config, mode: Option<AddPathMode>) -> Config {
    for peer in config.peers.values_mut() {
        peer.session.add_path = mode;
    }
    config
}

/// An UPDATE of node 1 with paths of prefixes, by that node and others.
fn paths(of: &[(&str, u32)], last: u8, asns: &[u32]) -> Vec<u8> {
    let paths: Vec<(Prefix, PathId)> = of.iter().map(|(p, id)| (prefix(p), PathId(*id))).collect();
    let attributes = PathAttributes {
        as_path: AsPath::sequence(std::iter::once(65_001).chain(asns.iter().copied()).map(Asn)),
        next_hop: Some(NextHop::V4([192, 0, 2, last].into())),
        ..PathAttributes::local()
    };
    encoded(|out| _ = wire::encode_reach(&paths, &attributes, &CONTEXT, out).unwrap())
}

fn taken_back(of: &[(&str, u32)]) -> Vec<u8> {
    let paths: Vec<(Prefix, PathId)> = of.iter().map(|(p, id)| (prefix(p), PathId(*id))).collect();
    encoded(|out| _ = wire::encode_unreach(&paths, &CONTEXT, out))
}

/// The identifiers of the paths that are held of the prefix, stale ones negative.
fn held(world: &World) -> Vec<i64> {
    let query = RouteQuery {
        view: RouteView::Received,
        within: Some(prefix(NET)),
        limit: 1000,
        ..RouteQuery::default()
    };
    let mut ids: Vec<i64> = world
        .speaker
        .routes(&query)
        .iter()
        .map(|r| i64::from(r.path_id.unwrap().0) * if r.stale { -1 } else { 1 })
        .collect();
    ids.sort_unstable();
    ids
}

/// A neighbour that says several paths, and a speaker that takes them, with graceful restart.
fn says_several() -> (World, Puppet, Open) {
    let config = takes(graceful(&[1, 2], &[], false), Some(AddPathMode::Receive));
    let mut world = World::of(Speaker::new(7), config);
    let open = with(says(1, &Family::ALL), offered(AddPathMode::Send));
    let peer = world.established_with(&open);
    world.say(&peer, &paths(&[(NET, 1), ("10.2.0.0/24", 1)], 11, &[]));
    world.say(&peer, &paths(&[(NET, 2)], 12, &[]));
    world.say(&peer, &paths(&[(NET, 3)], 13, &[7]));
    for family in Family::ALL {
        world.say(&peer, &end_of_rib(family));
    }
    assert_eq!(held(&world), [1, 2, 3]);
    (world, peer, open)
}

#[test]
fn a_direction_is_agreed_on_when_one_sends_and_the_other_receives() {
    use AddPathMode::{Both, Receive, Send};
    let four: FamilySet = [Family::Ipv4].into_iter().collect();
    let one = |mode| {
        vec![AddPath {
            family: Family::Ipv4.into(),
            mode,
        }]
    };
    let ids = |received, sent| PathIds { received, sent };
    let (none, both) = (FamilySet::NONE, FamilySet::BOTH);
    let foreign = AddPath {
        family: AfiSafi { afi: 25, safi: 70 },
        mode: Both,
    };
    for (ours, theirs, want) in [
        (None, offered(Both), PathIds::NONE),
        (Some(Both), vec![], PathIds::NONE),
        (Some(Both), vec![foreign], PathIds::NONE),
        (Some(Both), offered(Both), ids(both, both)),
        (Some(Both), offered(Send), ids(both, none)),
        (Some(Both), offered(Receive), ids(none, both)),
        (Some(Receive), offered(Both), ids(both, none)),
        (Some(Receive), offered(Receive), PathIds::NONE),
        (Some(Send), offered(Send), PathIds::NONE),
        (Some(Send), offered(Receive), ids(none, both)),
        (Some(Both), one(Send), ids(four, none)),
        // Said twice: the last word counts.
        (Some(Both), [one(Send), one(Receive)].concat(), ids(none, four)),
    ] {
        let mut world = World::of(Speaker::new(7), takes(config(0, &[1], &[]), ours));
        world.established_with(&with(open_of(1, true), theirs.clone()));
        let context = world.peer(1).negotiated.unwrap().context;
        assert_eq!(context.path_ids, want, "{ours:?} {theirs:?}");
    }
}

#[test]
fn paths_come_by_identifier_and_go_by_it() {
    let (mut world, peer, _) = says_several();
    let hops = |world: &World| {
        world.kernel[&prefix(NET)]
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        hops(&world),
        ["192.0.2.11", "192.0.2.12"],
        "equal paths of one neighbour"
    );
    world.say(&peer, &taken_back(&[(NET, 1), (NET, 9)]));
    assert_eq!(
        (held(&world), hops(&world)),
        (vec![2, 3], vec!["192.0.2.12".to_owned()])
    );
    // A path whose attributes are malformed (ORIGIN 9) is treated as withdrawn, and it alone.
    let mut bad = paths(&[(NET, 2)], 12, &[]);
    let origin = bad.windows(4).position(|w| w == [0x40, 1, 1, 0]).unwrap();
    bad[origin + 3] = 9;
    world.say(&peer, &bad);
    assert_eq!(
        (held(&world), hops(&world)),
        (vec![3], vec!["192.0.2.13".to_owned()])
    );
    assert_eq!(world.peer(1).flaps, 0);
}

#[test]
fn a_field_of_another_form_than_agreed_on_ends_the_session() {
    let (mut world, peer, _) = says_several();
    world.say(&peer, &crate::puppet::announce(1, &["203.0.113.0/24"]));
    let word = world.last_word(&peer);
    assert_eq!((word.code, word.subcode), (3, 10));
}

#[test]
fn what_outlives_a_session_is_taken_over_path_by_path() {
    let (mut world, peer, open) = says_several();
    world.pass(SECONDS(10));
    world.close(&peer);
    assert_eq!(held(&world), [-3, -2, -1]);
    let peer = world.established_with(&open);
    world.say(&peer, &paths(&[(NET, 2)], 12, &[]));
    world.say(&peer, &paths(&[(NET, 4)], 14, &[]));
    assert_eq!(held(&world), [-3, -1, 2, 4]);
    world.say(&peer, &end_of_rib(Family::Ipv4));
    assert_eq!(held(&world), [2, 4]);
    let gone: usize = swept(&world).iter().map(|(_, removed, _)| removed).sum();
    assert_eq!(gone, 3, "two paths of one prefix, and one of the other");

    // Back without several paths: nothing that was said can be matched.
    world.pass(SECONDS(10));
    world.close(&peer);
    world.established_with(&says(1, &Family::ALL));
    assert_eq!(world.kernel.len(), 0);
}

#[test]
fn a_refresh_takes_away_the_paths_that_do_not_come_again() {
    let (mut world, peer, _) = says_several();
    world.say(&peer, &route_refresh(Family::Ipv4, RefreshSubtype::Beginning));
    world.say(&peer, &paths(&[(NET, 3)], 13, &[7]));
    world.say(&peer, &route_refresh(Family::Ipv4, RefreshSubtype::End));
    assert_eq!(held(&world), [3]);
    assert_eq!(world.kernel.len(), 1);
}

#[test]
fn too_many_paths_of_a_prefix_are_refused_and_that_is_told_once() {
    let (mut world, peer, _) = says_several();
    let many: Vec<(&str, u32)> = (10..110).map(|id| (NET, id)).collect();
    world.say(&peer, &paths(&many, 14, &[8]));
    world.say(&peer, &paths(&many, 14, &[8]));
    assert_eq!(held(&world).len(), MAX_PATHS);
    let told = |kind: &EventKind| {
        if let EventKind::PrefixLimit { what, .. } = kind {
            Some(what.clone())
        } else {
            None
        }
    };
    let told: Vec<String> = world.events.iter().filter_map(|e| told(&e.kind)).collect();
    assert_eq!(
        told,
        ["more than 64 paths of one prefix; 39 of this UPDATE and all further ones are refused"]
    );
    assert_eq!(world.peer(1).flaps, 0);
}

#[test]
fn another_direction_resets_the_session_and_is_offered_in_the_next_open() {
    let (mut world, _, open) = says_several();
    reconfigured(&mut world, |c| {
        let peer = c.peers.get_mut(&name(1)).unwrap();
        peer.session.add_path = Some(AddPathMode::Both);
    });
    assert_eq!(world.peer(1).flaps, 1);
    let puppet = world.connect(1);
    let Some(Message::Open(ours)) = world.hear(&puppet).into_iter().next() else {
        panic!("no OPEN");
    };
    assert_eq!(ours.capabilities.add_path, offered(AddPathMode::Both));
    drop(open);
}

/// 1 and 2 have a prefix, 0 tells 3 of both, over octets; 4 hears of one.
#[test]
fn a_neighbour_is_told_of_every_way_and_loses_one_at_a_time() {
    for seed in 0..20 {
        let mut fabric = Fabric::new(5, seed);
        let mut middle = config(0, &[1, 2, 3, 4], &[]);
        for (peer, mode) in [("n3", Some(AddPathMode::Send)), ("n4", None)] {
            let peer = middle.peers.get_mut(&PeerName::from(peer)).unwrap();
            peer.session.add_path = mode;
            peer.next_hop = NextHopMode::Unchanged;
        }
        fabric.configure(0, middle);
        for n in [1, 2] {
            fabric.configure(n, config(n, &[0], &["10.1.0.0/24", "fd00:1::/64"]));
        }
        fabric.configure(3, takes(config(3, &[0], &[]), Some(AddPathMode::Both)));
        fabric.configure(4, takes(config(4, &[0], &[]), Some(AddPathMode::Both)));
        fabric.run(SECONDS(60));
        let by = |fabric: &Fabric, node: usize, net: &str| -> Vec<String> {
            let route = fabric.fib(node).get(&prefix(net));
            let legs = route.iter().flat_map(|r| r.paths.iter());
            legs.map(|p| p.next_hop.addr().to_string()).collect()
        };
        let (one, two) = (address(1).to_string(), address(2).to_string());
        assert_eq!(by(&fabric, 3, NET), [one.clone(), two.clone()], "seed {seed}");
        assert_eq!(by(&fabric, 3, "fd00:1::/64").len(), 2, "seed {seed}");
        assert_eq!(by(&fabric, 4, NET), [one.as_str()], "seed {seed}");
        let counts = |fabric: &Fabric, node: &str| {
            let peer = fabric.speaker(0).peer(&PeerName::from(node), fabric.now).unwrap();
            peer.prefixes[0].counts.advertised
        };
        assert_eq!((counts(&fabric, "n3"), counts(&fabric, "n4")), (2, 1));

        fabric.configure(1, config(1, &[0], &[]));
        fabric.run(SECONDS(1));
        assert_eq!(by(&fabric, 3, NET), [two.as_str()], "seed {seed}");
        fabric.configure(1, config(1, &[0], &["10.1.0.0/24"]));
        fabric.run(SECONDS(1));
        assert_eq!(by(&fabric, 3, NET), [one, two], "seed {seed}");
        assert!(fabric.speaker(3).end_of_rib_from_all());
        // The whole of it again, asked for: nothing changes.
        fabric.tell(3, flatroute_bgp::speaker::Input::Refresh(PeerName::from("n0")));
        fabric.run(SECONDS(2));
        assert_eq!(by(&fabric, 3, NET).len(), 2, "seed {seed}");
        let context: Context = fabric
            .speaker(3)
            .peer(&PeerName::from("n0"), fabric.now)
            .and_then(|p| p.negotiated)
            .unwrap()
            .context;
        assert_eq!(context.path_ids.received, FamilySet::BOTH);
        for n in 1..5 {
            assert_eq!(super::flaps(fabric.speaker(n), fabric.now), 0);
        }
    }
}
