//! Those who judge a world must see what is wrong with it: each of them is shown a world that one thing is wrong with.
#![expect(
    clippy::unwrap_used,
    reason = "a world that is not as it was built has failed"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use flatroute_bgp::types::FamilySet;
use sim::kernel::Kernel;
use sim::model::{Prediction, predict};
use sim::topology::{Fabric, HostId, fabric};
use sim::trace::Trace;
use sim::verify;
use sim::world::{Options, World};

/// A small fabric at rest, and what it is at rest with.
fn at_rest(whole_kernels: bool) -> (World, Prediction) {
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
