//! Those who judge a world must see what is wrong with it: each of them is shown a world that one thing is wrong with.
#![expect(
    clippy::unwrap_used,
    reason = "a world that is not as it was built has failed"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::BytesMut;
use flatroute_bgp::types::{AsPath, Asn, Family, FamilySet, NextHop, PathAttributes};
use flatroute_bgp::wire;
use sim::faults::{self, Fault};
use sim::kernel::Kernel;
use sim::model::{Prediction, predict};
use sim::topology::{Fabric, HostId, fabric};
use sim::trace::Trace;
use sim::verify;
use sim::world::{Death, Options, World};

/// A small fabric at rest, and what it is at rest with.
fn at_rest(whole_kernels: bool) -> (World, Prediction) {
    at_rest_with(whole_kernels, false)
}

/// The same, where a NOTIFICATION may be a restart.
fn at_rest_with(whole_kernels: bool, notification: bool) -> (World, Prediction) {
    let topology = fabric(&Fabric {
        racks: 2,
        nodes: 2,
        tors: 2,
        spines: 2,
        families: FamilySet::BOTH,
        shared_asns: false,
        discovers: true,
        hold: Duration::from_secs(9),
        retry: Duration::from_secs(1),
        notification,
        rogues: false,
    });
    let options = Options {
        whole_kernels,
        cuts: true,
        watches: true,
        window: 4096,
        think: Duration::from_millis(1),
        writes: Duration::from_millis(1),
        latency: [Duration::from_micros(100), Duration::from_millis(2)],
        mutant: None,
    };
    let mut world = World::new(topology, options, 3, Trace::silent());
    world.start_all(Duration::from_secs(1));
    world.run(Duration::from_secs(30));
    let prediction = predict(&world.topology, |_| true, |_| true).unwrap();
    assert_eq!(world.failure, None);
    assert_eq!(all(&world, &prediction), [const { Ok(()) }; 5]);
    (world, prediction)
}

fn all(world: &World, prediction: &Prediction) -> [Result<(), String>; 5] {
    [
        verify::sessions(world, prediction),
        verify::kernels(world, prediction),
        verify::reach(world, prediction),
        verify::packets(world),
        verify::tables(world, prediction, usize::MAX),
    ]
}

fn named(world: &World, name: &str) -> HostId {
    world.topology.hosts.iter().position(|h| h.name == name).unwrap()
}

/// A world whose kernels are maps, one of which is changed.
fn with_routes(
    host: &str,
    change: impl FnOnce(&World, &mut BTreeMap<flatroute_bgp::types::Prefix, Vec<std::net::IpAddr>>),
) -> (World, Prediction) {
    let (mut world, prediction) = at_rest(false);
    let host = named(&world, host);
    let Kernel::Plain(mut routes) =
        std::mem::replace(&mut world.machines[host].kernel, Kernel::Plain(BTreeMap::new()))
    else {
        panic!("a map was asked for")
    };
    change(&world, &mut routes);
    world.machines[host].kernel = Kernel::Plain(routes);
    (world, prediction)
}

fn first_prefix(world: &World, owner: &str) -> flatroute_bgp::types::Prefix {
    world.topology.pods[named(world, owner)][0]
}

#[test]
fn a_route_that_is_missing_is_missed_by_model_and_packets() {
    let (world, prediction) = with_routes("spine1", |world, routes| {
        routes.remove(&first_prefix(world, "node3")).unwrap();
    });
    let [sessions, kernels, reach, packets, tables] = all(&world, &prediction);
    assert_eq!((sessions, tables), (Ok(()), Ok(())));
    assert!(
        kernels
            .unwrap_err()
            .starts_with("spine1 has 10.128.3.0/24 by way of {}")
    );
    assert_eq!(reach.unwrap_err(), "spine1 has no way to 10.128.3.0/24");
    assert!(packets.unwrap_err().contains("ends at spine1"));
}

#[test]
fn a_leg_that_is_missing_is_missed_by_the_model() {
    let (world, prediction) = with_routes("node0", |world, routes| {
        routes
            .get_mut(&first_prefix(world, "node3"))
            .unwrap()
            .pop()
            .unwrap();
    });
    assert!(
        verify::kernels(&world, &prediction)
            .unwrap_err()
            .starts_with("node0 has")
    );
    assert_eq!(verify::packets(&world), Ok(()));
}

#[test]
fn a_route_that_nobody_shall_have_is_seen() {
    let (world, prediction) = with_routes("node0", |world, routes| {
        let hops = routes[&first_prefix(world, "node3")].clone();
        routes.insert(first_prefix(world, "node0"), hops);
    });
    let words = verify::kernels(&world, &prediction).unwrap_err();
    assert!(words.ends_with("which nobody shall have"), "{words}");
}

#[test]
fn packets_that_go_round_are_followed_until_it_is_clear() {
    let (world, _) = with_routes("tor1-0", |world, routes| {
        // To node3 by way of a spine, which sends it back.
        let spine = world.topology.hosts[named(world, "tor1-0")]
            .ports
            .iter()
            .find(|port| port.remote == named(world, "spine0"))
            .unwrap();
        routes.insert(first_prefix(world, "node3"), vec![spine.remote_addresses[0]]);
    });
    assert!(
        verify::packets(&world)
            .unwrap_err()
            .contains("goes round in a loop")
    );
}

#[test]
fn a_link_that_loses_packets_is_seen_before_its_sessions_are_gone() {
    let (mut world, prediction) = at_rest(true);
    world.links[0].cut = [true, true];
    assert!(
        verify::packets(&world)
            .unwrap_err()
            .contains("over a link that loses them")
    );
    assert_eq!(verify::sessions(&world, &prediction), Ok(()));
    world.run(Duration::from_secs(20));
    let words = verify::sessions(&world, &prediction).unwrap_err();
    assert!(words.contains("has no session over the link"), "{words}");
    let without = predict(&world.topology, |link| link != 0, |_| true).unwrap();
    assert_eq!(all(&world, &without), [const { Ok(()) }; 5]);
}

#[test]
fn what_was_said_and_has_not_arrived_is_a_difference_of_both_ends() {
    let (mut world, prediction) = at_rest(true);
    let node = named(&world, "node3");
    // The node tells that its pods are gone, and the octets are lost for a while.
    for port in world.topology.hosts[node].ports.clone() {
        world.links[port.link].cut[port.end] = true;
    }
    let state = world.topology.hosts[node].state;
    world.edit(state, |state| {
        state.nodes.get_mut("node3").unwrap().spec.pod_cidrs = None;
    });
    world.run(Duration::from_secs(2));
    let words = verify::tables(&world, &prediction, usize::MAX).unwrap_err();
    assert!(words.contains("does not hold what node3 told it"), "{words}");
}

#[test]
fn what_is_left_at_the_end_is_seen() {
    let (world, _) = at_rest(true);
    assert!(verify::emptiness(&world).unwrap_err().contains("still keeps"));
}

#[test]
fn a_tor_that_is_cut_off_without_a_drain_costs_packets_of_others() {
    let (mut world, _) = at_rest(true);
    let tor = named(&world, "tor0-0");
    world.excused.insert(tor);
    assert_eq!(verify::packets(&world), Ok(()));
    for port in world.topology.hosts[tor].ports.clone() {
        world.links[port.link].cut = [true; 2];
    }
    let words = verify::packets(&world).unwrap_err();
    assert!(words.contains("over a link that loses them"), "{words}");
    assert!(!words.starts_with("tor0-0"), "{words}");
}

/// Ends a host's process now; it comes back after a while.
fn die(world: &mut World, host: HostId, death: Death, back: Duration) {
    faults::order(world, Duration::ZERO, Fault::Die(host, death, back));
    world.run(Duration::from_micros(1));
}

#[test]
fn what_a_switch_that_has_restarted_says_too_early_is_seen() {
    let (mut world, _) = at_rest(true);
    let tor = named(&world, "tor0-0");
    let learned = first_prefix(&world, "node3");
    die(&mut world, tor, Death::Killed, Duration::from_millis(200));
    let session = (0..5_000).find_map(|_| {
        world.run(Duration::from_millis(1));
        let machine = &world.machines[tor];
        let speaker = machine.speaker.as_ref().filter(|_| machine.unchosen)?;
        speaker
            .peers(world.now)
            .into_iter()
            .find_map(|peer| peer.negotiated)
    });
    let session = session.unwrap();
    let encoded = |encode: &dyn Fn(&mut BytesMut)| {
        let mut octets = BytesMut::new();
        encode(&mut octets);
        octets
    };
    let attributes = PathAttributes {
        as_path: AsPath::sequence([Asn(1)]),
        next_hop: Some(NextHop::V4([192, 0, 2, 1].into())),
        ..PathAttributes::local()
    };
    let alive = encoded(&|out| wire::encode_keepalive(out));
    let told = encoded(&|out| {
        assert_eq!(
            wire::encode_reach(&[learned], &attributes, &session.context, out),
            Ok(1)
        );
    });
    let ended = encoded(&|out| wire::encode_end_of_rib(Family::Ipv4, &session.context, out));
    assert_eq!(verify::early(&world, tor, session.conn, &alive), Ok(()));
    let words = verify::early(&world, tor, session.conn, &[alive, told.clone()].concat()).unwrap_err();
    assert!(words.starts_with("tor0-0 tells"), "{words}");
    assert!(
        words.ends_with("of 10.128.3.0/24 before it may choose its routes"),
        "{words}"
    );
    let words = verify::early(&world, tor, session.conn, &ended).unwrap_err();
    assert!(words.starts_with("tor0-0 says End-of-RIB"), "{words}");
    // Later it may.
    world.run(Duration::from_secs(20));
    assert!(!world.machines[tor].unchosen);
    assert_eq!(verify::early(&world, tor, session.conn, &told), Ok(()));
    assert_eq!(world.failure, None);
}

#[test]
fn a_stale_leg_beside_a_fresh_one_is_seen() {
    let (mut world, _) = at_rest(false);
    let (node, tor) = (named(&world, "node0"), named(&world, "tor0-0"));
    assert_eq!(verify::stale(&world, node), Ok(verify::Stale::default()));
    die(&mut world, tor, Death::Killed, Duration::from_secs(60));
    world.run(Duration::from_secs(1));
    let found = verify::stale(&world, node).unwrap();
    assert!(found.stale > 0 && found.left == found.stale, "{found:?}");
    let gateways = world.topology.hosts[node]
        .ports
        .iter()
        .map(|port| port.remote_addresses[0])
        .collect();
    let prefix = first_prefix(&world, "node3");
    let Kernel::Plain(routes) = &mut world.machines[node].kernel else {
        panic!("a map was asked for")
    };
    assert_eq!(routes.insert(prefix, gateways).unwrap().len(), 1);
    let words = verify::stale(&world, node).unwrap_err();
    assert!(
        words.starts_with("the kernel of node0 has 10.128.3.0/24"),
        "{words}"
    );
    assert!(words.contains("whose path is stale, beside"), "{words}");
}

#[test]
fn routes_that_outlive_a_farewell_are_seen_and_a_restart_leaves_such() {
    for (death, notification) in [
        (Death::Killed, false),
        (Death::Shutdown, false),
        (Death::Shutdown, true),
    ] {
        let (mut world, _) = at_rest_with(true, notification);
        let (node, tor) = (named(&world, "node0"), named(&world, "tor0-0"));
        let ports = world.topology.hosts[node].ports.iter();
        let link = ports.clone().find(|port| port.remote == tor).unwrap().link;
        die(&mut world, tor, death, Duration::from_secs(60));
        world.run(Duration::from_secs(1));
        assert_eq!(world.failure, None);
        let found = verify::forgotten(&world, node, link);
        assert_eq!(found.is_err(), death == Death::Killed, "{death:?}: {found:?}");
        if let Err(words) = found {
            assert!(words.starts_with("node0 keeps routes"), "{words}");
        }
    }
}

#[test]
fn who_takes_leave_without_a_hard_reset_where_it_must_be_one_is_seen() {
    for (notification, wrong) in [(true, verify::SHUTDOWN), (false, verify::HARD_RESET)] {
        let (mut world, _) = at_rest_with(true, notification);
        let tor = named(&world, "tor0-0");
        let endings = verify::endings(&world, tor);
        assert_eq!(endings.len(), world.topology.hosts[tor].ports.len());
        assert!(endings.iter().all(|ending| ending.agreed == notification));
        die(&mut world, tor, Death::Shutdown, Duration::from_secs(60));
        assert_eq!(verify::leave(&world, tor, &endings), Ok(()));
        for said in [Some(wrong), None] {
            let conn = world.conns.get_mut(endings[0].key).unwrap();
            conn.farewell[endings[0].side.at()] = said;
            let words = verify::leave(&world, tor, &endings).unwrap_err();
            assert!(words.starts_with("tor0-0 takes leave of"), "{words}");
        }
    }
}

#[test]
fn octets_that_nobody_takes_for_longer_than_the_send_hold_time_are_seen() {
    let (mut world, _) = at_rest(true);
    let tor = named(&world, "tor0-0");
    let ending = verify::endings(&world, tor)[0];
    let wait = |world: &mut World, seconds: u64| {
        let since = world.now - Duration::from_secs(seconds);
        world.conns.get_mut(ending.key).unwrap().ends[ending.side.at()].waiting_since = Some(since);
        verify::waiting(world, ending.key, ending.side)
    };
    assert_eq!(verify::waiting(&world, ending.key, ending.side), Ok(()));
    // Twice the hold time of 9 s, and a little.
    assert_eq!(wait(&mut world, 18), Ok(()));
    let words = wait(&mut world, 20).unwrap_err();
    assert!(words.starts_with("tor0-0 has waited 20s for"), "{words}");
}
