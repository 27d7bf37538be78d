//! Whole speakers in virtual time: against each other, and against neighbours whose every octet a test decides, who do
//! what no speaker of ours would do.
#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

mod fabric;

#[path = "speakers/drained.rs"]
mod drained;
#[path = "speakers/dynamic.rs"]
mod dynamic;
#[path = "speakers/errors.rs"]
mod errors;
#[path = "speakers/graceful.rs"]
mod graceful;
#[path = "speakers/limits.rs"]
mod limits;
#[path = "speakers/long_lived.rs"]
mod long_lived;
#[path = "speakers/losses.rs"]
mod losses;
#[path = "speakers/puppet.rs"]
mod puppet;
#[path = "speakers/reflection.rs"]
mod reflection;
#[path = "speakers/refresh.rs"]
mod refresh;
#[path = "speakers/restarting.rs"]
mod restarting;
#[path = "speakers/restarts.rs"]
mod restarts;
#[path = "speakers/retained.rs"]
mod retained;
#[path = "speakers/several.rs"]
mod several;
#[path = "speakers/terms.rs"]
mod terms;
#[path = "speakers/unsendable.rs"]
mod unsendable;

use std::time::Duration;

use fabric::{FAMILIES, Fabric, accept_all, address, config, prefix};
use flatroute_bgp::peer::State;
use flatroute_bgp::policy::{Action, Condition, Filter, PrefixRange, Rule, Set, Source, Verdict};
use flatroute_bgp::rib::RouteView;
use flatroute_bgp::speaker::{
    AdminState, EventKind, Input, PrefixLimit, PrefixLimitAction, RouteQuery, Speaker,
};
use flatroute_bgp::types::{Instant, PeerName};

const SECONDS: fn(u64) -> Duration = Duration::from_secs;

/// Two nodes that know each other.
fn pair(seed: u64) -> Fabric {
    let mut fabric = Fabric::new(2, seed);
    fabric.configure(0, config(0, &[1], &["10.244.0.0/24", "fd00:244::/64"]));
    fabric.configure(1, config(1, &[0], &["10.244.1.0/24", "fd00:244:1::/64"]));
    fabric
}

fn flaps(speaker: &Speaker, now: Instant) -> u64 {
    speaker.peers(now).iter().map(|p| p.flaps).sum()
}

#[test]
fn pod_cidrs_of_both_families_reach_the_other_nodes_kernel() {
    for seed in 0..50 {
        let mut fabric = pair(seed);
        fabric.run(SECONDS(30));
        assert_eq!(fabric.established(0), 1, "seed {seed}");
        let learned: Vec<String> = fabric.fib(0).keys().map(ToString::to_string).collect();
        assert_eq!(learned, ["10.244.1.0/24", "fd00:244:1::/64"], "seed {seed}");
        let via: Vec<String> = fabric
            .fib(0)
            .values()
            .map(|c| c.paths[0].next_hop.addr().to_string())
            .collect();
        assert_eq!(
            via,
            [address(1).to_string(), "2001:db8::2".to_owned()],
            "seed {seed}"
        );
        assert!(fabric.speaker(0).end_of_rib_from_all(), "seed {seed}");
        let peer = fabric.speaker(0).peer(&PeerName::from("n1"), fabric.now).unwrap();
        assert_eq!(
            peer.prefixes.iter().map(|p| p.family).collect::<Vec<_>>(),
            FAMILIES
        );
        for family in &peer.prefixes {
            let c = family.counts;
            assert_eq!(
                (c.received, c.accepted, c.installed, c.advertised),
                (1, 1, 1, 1),
                "seed {seed}"
            );
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_events() {
    let run = |seed| {
        let mut fabric = pair(seed);
        fabric.run(SECONDS(300));
        format!("{:?}{:?}", fabric.events(0), fabric.events(1))
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8), "the seed has no effect");
}

#[test]
fn two_ways_to_the_same_prefix_are_used_side_by_side() {
    // 0 reaches 3 through 1 and through 2, which are of different ASes.
    let mut fabric = Fabric::new(4, 3);
    fabric.configure(0, config(0, &[1, 2], &[]));
    fabric.configure(1, config(1, &[0, 3], &[]));
    fabric.configure(2, config(2, &[0, 3], &[]));
    fabric.configure(3, config(3, &[1, 2], &["10.244.3.0/24"]));
    fabric.run(SECONDS(60));
    let route = &fabric.fib(0)[&prefix("10.244.3.0/24")];
    let mut via: Vec<String> = route
        .paths
        .iter()
        .map(|p| p.next_hop.addr().to_string())
        .collect();
    via.sort();
    assert_eq!(via, [address(1).to_string(), address(2).to_string()]);

    // One of them falls silent: its path goes with the hold time, the other stays all along.
    fabric.black_hole(0, 1, true);
    fabric.run(SECONDS(100));
    let route = &fabric.fib(0)[&prefix("10.244.3.0/24")];
    assert_eq!(route.paths.len(), 1);
    assert_eq!(route.paths[0].next_hop.addr().to_string(), address(2).to_string());

    fabric.black_hole(0, 1, false);
    fabric.run(SECONDS(400));
    assert_eq!(fabric.fib(0)[&prefix("10.244.3.0/24")].paths.len(), 2);
}

#[test]
fn a_changed_filter_moves_routes_and_resets_nothing() {
    let mut fabric = pair(1);
    fabric.run(SECONDS(30));
    assert_eq!(fabric.fib(0).len(), 2);

    let mut changed = config(0, &[1], &["10.244.0.0/24", "fd00:244::/64"]);
    let rule = Rule {
        name: "filter no-v6 rule 1".into(),
        condition: Condition {
            prefixes: Some(vec![PrefixRange {
                prefix: prefix("::/0"),
                ge: 0,
                le: 128,
            }]),
            ..Condition::default()
        },
        action: Action::Reject,
        set: Set::default(),
    };
    let import = &mut changed.peers.get_mut(&PeerName::from("n1")).unwrap().import;
    import.rules.insert(0, rule);
    fabric.configure(0, changed);
    fabric.run(SECONDS(1));
    assert_eq!(
        fabric.fib(0).keys().map(ToString::to_string).collect::<Vec<_>>(),
        ["10.244.1.0/24"]
    );
    let refused = fabric.speaker(0).routes(&RouteQuery {
        view: RouteView::Received,
        within: Some(prefix("fd00:244:1::/64")),
        limit: 10,
        ..RouteQuery::default()
    });
    assert_eq!(refused.len(), 1);
    assert!(
        refused[0].reason.contains("filter no-v6 rule 1"),
        "{}",
        refused[0].reason
    );

    fabric.configure(0, config(0, &[1], &["10.244.0.0/24", "fd00:244::/64"]));
    fabric.run(SECONDS(1));
    assert_eq!(
        fabric.fib(0).len(),
        2,
        "the refused route was kept, and comes back without a refresh"
    );
    assert_eq!(flaps(fabric.speaker(0), fabric.now), 0);
}

#[test]
fn an_export_filter_takes_routes_back_from_the_neighbour() {
    let mut fabric = pair(2);
    fabric.run(SECONDS(30));
    let mut changed = config(0, &[1], &["10.244.0.0/24", "fd00:244::/64"]);
    changed.peers.get_mut(&PeerName::from("n1")).unwrap().export = Filter {
        rules: Vec::new(),
        default: Verdict::Reject,
    };
    fabric.configure(0, changed);
    fabric.run(SECONDS(1));
    assert!(fabric.fib(1).is_empty());
    assert_eq!(flaps(fabric.speaker(1), fabric.now), 0);
}

#[test]
fn originated_prefixes_come_and_go_in_place() {
    let mut fabric = pair(4);
    fabric.run(SECONDS(30));
    fabric.configure(0, config(0, &[1], &["10.244.9.0/24"]));
    fabric.run(SECONDS(1));
    assert_eq!(
        fabric.fib(1).keys().map(ToString::to_string).collect::<Vec<_>>(),
        ["10.244.9.0/24"]
    );
    assert_eq!(flaps(fabric.speaker(0), fabric.now), 0);
}

#[test]
fn one_peers_change_leaves_the_others_alone() {
    let mut fabric = Fabric::new(3, 5);
    fabric.configure(0, config(0, &[1, 2], &["10.244.0.0/24"]));
    fabric.configure(1, config(1, &[0], &[]));
    fabric.configure(2, config(2, &[0], &[]));
    fabric.run(SECONDS(30));
    let mut changed = config(0, &[1, 2], &["10.244.0.0/24"]);
    changed
        .peers
        .get_mut(&PeerName::from("n1"))
        .unwrap()
        .session
        .hold_time = SECONDS(30);
    fabric.configure(0, changed);
    fabric.run(SECONDS(60));
    let peer = |name: &str| fabric.speaker(0).peer(&PeerName::from(name), fabric.now).unwrap();
    assert_eq!(peer("n1").flaps, 1);
    assert_eq!(peer("n1").negotiated.unwrap().hold_time, SECONDS(30));
    assert_eq!(peer("n2").flaps, 0);
    assert_eq!(fabric.established(0), 2);
}

#[test]
fn a_peer_that_is_removed_takes_its_routes_along_and_is_told_why() {
    let mut fabric = pair(6);
    fabric.run(SECONDS(30));
    fabric.configure(0, config(0, &[], &["10.244.0.0/24"]));
    fabric.run(SECONDS(1));
    assert!(fabric.fib(0).is_empty());
    assert!(fabric.fib(1).is_empty());
    let error = fabric
        .speaker(1)
        .peer(&PeerName::from("n0"), fabric.now)
        .unwrap()
        .last_error
        .unwrap();
    assert_eq!(
        (error.code, error.subcode),
        (6, 3),
        "Cease, Peer De-configured: {error:?}"
    );
    fabric.run(SECONDS(60));
    assert!(
        fabric
            .events(0)
            .iter()
            .any(|e| matches!(e.kind, EventKind::Stranger(_)))
    );
}

#[test]
fn an_administrative_shutdown_says_its_text_and_ends_when_it_is_lifted() {
    let mut fabric = pair(8);
    fabric.run(SECONDS(30));
    let mut down = config(0, &[1], &["10.244.0.0/24", "fd00:244::/64"]);
    down.peers.get_mut(&PeerName::from("n1")).unwrap().admin_state =
        AdminState::Down("moving rack 12".to_owned());
    fabric.configure(0, down);
    fabric.run(SECONDS(120));
    assert_eq!(fabric.established(0), 0);
    let error = fabric
        .speaker(1)
        .peer(&PeerName::from("n0"), fabric.now)
        .unwrap()
        .last_error;
    assert!(error.is_some());
    let told = fabric
        .events(1)
        .iter()
        .any(|e| format!("{:?}", e.kind).contains("moving rack 12"));
    assert!(told, "the reason is in no event: {:?}", fabric.events(1));
    fabric.configure(0, config(0, &[1], &["10.244.0.0/24", "fd00:244::/64"]));
    fabric.run(SECONDS(300));
    assert_eq!(fabric.established(0), 1);
}

#[test]
fn the_prefix_limit_drops_what_is_beyond_it_or_resets_the_session() {
    let many: Vec<String> = (0..20).map(|n| format!("10.244.{n}.0/24")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (action, routes) in [(PrefixLimitAction::Drop, 5), (PrefixLimitAction::Warn, 20)] {
        let mut fabric = Fabric::new(2, 9);
        let mut limited = config(0, &[1], &[]);
        limited.peers.get_mut(&PeerName::from("n1")).unwrap().max_prefixes = PrefixLimit { limit: 5, action };
        fabric.configure(0, limited);
        fabric.configure(1, config(1, &[0], &many));
        fabric.run(SECONDS(30));
        assert_eq!(fabric.fib(0).len(), routes, "{action:?}");
        assert_eq!(fabric.established(0), 1);
        assert!(
            fabric
                .events(0)
                .iter()
                .any(|e| matches!(e.kind, EventKind::PrefixLimit { .. }))
        );
    }
    let mut fabric = Fabric::new(2, 9);
    let mut limited = config(0, &[1], &[]);
    limited.peers.get_mut(&PeerName::from("n1")).unwrap().max_prefixes = PrefixLimit {
        limit: 5,
        action: PrefixLimitAction::Restart,
    };
    fabric.configure(0, limited);
    fabric.configure(1, config(1, &[0], &many));
    fabric.run(SECONDS(20));
    let error = fabric
        .speaker(1)
        .peer(&PeerName::from("n0"), fabric.now)
        .unwrap()
        .last_error
        .unwrap();
    assert_eq!((error.code, error.subcode), (6, 1), "{error:?}");
}

#[test]
fn shutdown_tells_every_peer_and_dials_nobody_again() {
    let mut fabric = pair(10);
    fabric.run(SECONDS(30));
    fabric.tell(
        0,
        Input::Shutdown {
            text: "reboot".to_owned(),
        },
    );
    fabric.run(SECONDS(600));
    assert_eq!(fabric.established(1), 0);
    assert!(fabric.fib(1).is_empty());
    let peer = fabric.speaker(0).peer(&PeerName::from("n1"), fabric.now).unwrap();
    assert_eq!(peer.state, State::Idle);
}

#[test]
fn a_refresh_brings_the_routes_again_and_changes_nothing() {
    let mut fabric = pair(11);
    fabric.run(SECONDS(30));
    let before = format!("{:?}", fabric.fib(0));
    fabric.tell(0, Input::Refresh(PeerName::from("n1")));
    fabric.run(SECONDS(2));
    assert_eq!(before, format!("{:?}", fabric.fib(0)));
    assert_eq!(flaps(fabric.speaker(0), fabric.now), 0);
}

#[test]
fn what_is_not_meant_for_the_kernel_is_still_passed_on() {
    let mut fabric = Fabric::new(3, 12);
    let mut middle = config(1, &[0, 2], &[]);
    middle.install = Filter {
        rules: Vec::new(),
        default: Verdict::Reject,
    };
    fabric.configure(0, config(0, &[1], &["10.244.0.0/24"]));
    fabric.configure(1, middle);
    fabric.configure(2, config(2, &[1], &[]));
    fabric.run(SECONDS(60));
    assert!(fabric.fib(1).is_empty());
    assert!(fabric.fib(2).contains_key(&prefix("10.244.0.0/24")));
    let only_own = accept_all(&[Source::PodCidrs]);
    let mut stub = config(1, &[0, 2], &[]);
    for peer in stub.peers.values_mut() {
        peer.export = only_own.clone();
    }
    fabric.configure(1, stub);
    fabric.run(SECONDS(1));
    assert!(fabric.fib(2).is_empty(), "a stub passes nothing on");
}
