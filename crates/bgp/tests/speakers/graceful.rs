//! Graceful restart between whole speakers (RFC 4724): whoever restarts, no packet is lost, at no moment. What a kernel
//! holds stays there while its process is away, and after every single event each node's packets are followed to the
//! watched prefixes, along every leg.

use std::time::Duration;

use flatroute_bgp::session::Settings;
use flatroute_bgp::speaker::{Config, EventKind, GracefulRestart, SELECTION_DEFERRAL};

use crate::fabric::{Fabric, config};

const SECONDS: fn(u64) -> Duration = Duration::from_secs;
const MILLIS: fn(u64) -> Duration = Duration::from_millis;

/// A node whose neighbours are all offered graceful restart.
fn graceful(node: usize, others: &[usize], pods: &[&str], relays: bool) -> Config {
    let mut config = config(node, others, pods);
    for peer in config.peers.values_mut() {
        peer.graceful_restart = GracefulRestart::default();
        peer.relays = relays;
        // As an agent sets it: soon back.
        peer.session = Settings {
            connect_retry_time: SECONDS(1),
            ..peer.session.clone()
        };
    }
    config
}

const PODS: [&str; 4] = [
    "10.244.0.0/24",
    "fd00:244::/64",
    "10.244.1.0/24",
    "fd00:244:1::/64",
];
const NODES: usize = 6;

/// Nodes 0 and 1 with pods, behind ToRs 2 and 3, each connected to spines 4 and 5: 0 and 1 are connected to both ToRs.
fn fabric(seed: u64) -> Fabric {
    let mut fabric = Fabric::new(NODES, seed);
    fabric.configure(0, graceful(0, &[2, 3], &PODS[..2], false));
    fabric.configure(1, graceful(1, &[2, 3], &PODS[2..], false));
    for tor in [2, 3] {
        fabric.configure(tor, graceful(tor, &[0, 1, 4, 5], &[], true));
    }
    for spine in [4, 5] {
        fabric.configure(spine, graceful(spine, &[2, 3], &[], true));
    }
    fabric.run(SECONDS(30));
    assert_eq!(fabric.established(2), 4, "seed {seed}");
    fabric.watch(&PODS);
    fabric
}

/// Racks: node 0 behind ToR 2, node 1 behind ToR 3, joined by spines 4 and 5 only: what a ToR knows of the other rack, it
/// knows from spines.
fn racks(seed: u64) -> Fabric {
    let mut fabric = Fabric::new(NODES, seed);
    fabric.configure(0, graceful(0, &[2], &PODS[..2], false));
    fabric.configure(1, graceful(1, &[3], &PODS[2..], false));
    fabric.configure(2, graceful(2, &[0, 4, 5], &[], true));
    fabric.configure(3, graceful(3, &[1, 4, 5], &[], true));
    for spine in [4, 5] {
        fabric.configure(spine, graceful(spine, &[2, 3], &[], true));
    }
    fabric.run(SECONDS(30));
    fabric.watch(&PODS);
    fabric
}

#[test]
fn one_restart_loses_no_packet_whoever_it_is() {
    for seed in 0..6 {
        for node in 0..NODES {
            for mut fabric in [fabric(seed), racks(seed)] {
                fabric.restart(node, true);
                fabric.run(SECONDS(200));
                assert!(
                    fabric.speaker(node).end_of_rib_from_all(),
                    "seed {seed}, node {node}"
                );
                assert_eq!(fabric.speaker(node).restarting(fabric.now), None);
                nothing_is_stale(&fabric);
            }
        }
    }
}

#[test]
fn a_process_that_is_away_for_a_minute_loses_no_packet() {
    for node in 0..NODES {
        let mut fabric = racks(3);
        fabric.die(node);
        fabric.run(SECONDS(60));
        fabric.revive(node, true);
        fabric.run(SECONDS(200));
        nothing_is_stale(&fabric);
    }
}

#[test]
fn five_kills_three_seconds_apart_lose_no_packet() {
    for seed in 0..4 {
        for node in 0..NODES {
            let mut fabric = racks(seed);
            for kill in 0..5 {
                fabric.restart(node, true);
                fabric.run(SECONDS(3) + MILLIS(seed * 97 * kill));
            }
            fabric.run(SECONDS(200));
            nothing_is_stale(&fabric);
        }
    }
}

#[test]
fn a_whole_fabric_that_restarts_at_once_loses_no_packet() {
    for seed in 0..12 {
        for mut fabric in [fabric(seed), racks(seed)] {
            for node in 0..NODES {
                fabric.restart(node, true);
            }
            fabric.run(SECONDS(30));
            for node in 0..NODES {
                assert_eq!(fabric.speaker(node).restarting(fabric.now), None);
                // None had to wait to the very end.
                let ended = fabric.events(node).iter().find_map(|e| {
                    if let EventKind::DeferralEnded { after, missing } = &e.kind {
                        Some((*after, missing.clone()))
                    } else {
                        None
                    }
                });
                let (after, missing) = ended.unwrap();
                assert!(missing.is_empty(), "seed {seed}, node {node}: {missing:?}");
                assert!(after < SELECTION_DEFERRAL, "seed {seed}, node {node}: {after:?}");
            }
            fabric.run(SECONDS(200));
            nothing_is_stale(&fabric);
        }
    }
}

#[test]
fn a_fabric_whose_agents_are_killed_five_times_one_after_the_other_loses_no_packet() {
    for seed in 0..4 {
        let mut fabric = racks(seed);
        for _ in 0..5 {
            for node in 0..NODES {
                fabric.restart(node, true);
                fabric.run(MILLIS(500));
            }
        }
        fabric.run(SECONDS(200));
        nothing_is_stale(&fabric);
    }
}

fn nothing_is_stale(fabric: &Fabric) {
    for node in 0..NODES {
        for peer in fabric.speaker(node).peers(fabric.now) {
            assert_eq!(peer.retained, None, "node {node}");
            assert!(peer.prefixes.iter().all(|p| p.stale == 0), "node {node}");
        }
    }
}
