//! The kernel follows a move off a path that says goodbye (RFC 8326) later than the neighbours, and only while that path stands.

use flatroute_bgp::rib::{Batch, Loss, PeerIndex, PeerSettings, Rib};
use flatroute_bgp::types::{Community, Family, FamilySet, NextHop, PathAttributes};

use super::support::{drain, fib, hop, path, peer, prefix, rib};

const NET: &str = "10.244.2.0/24";

fn goodbye(asns: &[u32]) -> PathAttributes {
    PathAttributes {
        communities: vec![Community::GRACEFUL_SHUTDOWN],
        ..path(asns)
    }
}

/// The peers by whom the kernel sends to the prefix, if it was told now.
fn told(rib: &mut Rib) -> Option<Vec<String>> {
    let mut changes = fib(rib);
    let change = changes.pop()?;
    assert!(changes.is_empty() && change.prefix == prefix(NET));
    Some(change.paths.iter().map(|leg| leg.peer.to_string()).collect())
}

/// A direct path of peer 1 that has just said goodbye, a longer one of peer 2, and peer 3 who has been told of the first.
fn world() -> (Rib, [PeerIndex; 3]) {
    let mut rib = rib();
    let peers = [1, 2, 3].map(|n| rib.peer_up(peer(n, 65000 + u32::from(n))));
    let [one, two, three] = peers;
    rib.announce(one, hop(1), &path(&[65001]), &[prefix(NET)]);
    rib.announce(two, hop(2), &path(&[65002, 65004]), &[prefix(NET)]);
    assert_eq!(told(&mut rib).unwrap(), ["peer1"]);
    drain(&mut rib, three);
    rib.announce(one, hop(1), &goodbye(&[65001]), &[prefix(NET)]);
    (rib, peers)
}

#[test]
fn neighbours_are_told_at_once_and_the_kernel_after_two_calls() {
    let (mut rib, [_, _, three]) = world();
    assert_eq!(told(&mut rib), None);
    assert!(rib.is_lingering());
    let batches = drain(&mut rib, three);
    let [Batch::Reach { attributes, .. }] = batches.as_slice() else {
        panic!("{batches:?}")
    };
    assert_eq!(attributes.as_path, path(&[64512, 65002, 65004]).as_path);
    rib.settle();
    assert_eq!(told(&mut rib), None);
    rib.settle();
    assert_eq!(told(&mut rib).unwrap(), ["peer2"]);
    assert!(!rib.is_lingering());
    rib.settle();
    assert_eq!(told(&mut rib), None);
}

/// On links without addresses a next hop is another one in the kernel than in the UPDATE, or has no interface there.
#[test]
fn next_hops_on_a_link_linger_too() {
    let both = |n: u8| NextHop::V6 {
        global: format!("fd00::{n}:1").parse().unwrap(),
        link_local: Some(format!("fe80::{n}:1").parse().unwrap()),
    };
    for next_hop in [both, hop] {
        let mut rib = rib();
        let [one, two] = [1, 2].map(|n: u8| {
            rib.peer_up(PeerSettings {
                address: format!("fe80::{n}:1").parse().unwrap(),
                interface: Some(u32::from(n)),
                extended_next_hop: true,
                ..peer(n, 65000 + u32::from(n))
            })
        });
        rib.announce(one, next_hop(1), &path(&[65001]), &[prefix(NET)]);
        rib.announce(two, next_hop(2), &path(&[65002, 65004]), &[prefix(NET)]);
        assert_eq!(told(&mut rib).unwrap(), ["peer1"]);
        rib.announce(one, next_hop(1), &goodbye(&[65001]), &[prefix(NET)]);
        assert_eq!(told(&mut rib), None, "{:?}", next_hop(1));
        rib.settle();
        rib.settle();
        assert_eq!(told(&mut rib).unwrap(), ["peer2"]);
    }
}

#[test]
fn news_of_better_paths_do_not_prolong_it() {
    let (mut rib, [_, two, three]) = world();
    assert_eq!(told(&mut rib), None);
    rib.settle();
    rib.announce(three, hop(3), &path(&[65003]), &[prefix(NET)]);
    assert_eq!(told(&mut rib), None);
    rib.settle();
    assert_eq!(told(&mut rib).unwrap(), ["peer3"]);
    // What it moved off by itself is not what says goodbye.
    rib.announce(two, hop(2), &path(&[65002]), &[prefix(NET)]);
    assert_eq!(told(&mut rib).unwrap(), ["peer2", "peer3"]);
}

#[test]
fn a_path_that_goes_or_changes_its_next_hop_is_left_at_once() {
    type Step = fn(&mut Rib, PeerIndex);
    let steps: [(&str, Step, &str); 5] = [
        ("withdrawn", |rib, one| rib.withdraw(one, &[prefix(NET)]), "peer2"),
        ("session gone", |rib, one| rib.peer_down(one), "peer2"),
        (
            "session lost, paths kept",
            |rib, one| _ = rib.peer_lost(one, FamilySet::BOTH, 1),
            "peer2",
        ),
        (
            "another next hop",
            |rib, one| _ = rib.announce(one, hop(9), &goodbye(&[65001]), &[prefix(NET)]),
            "peer2",
        ),
        (
            "said goodbye and came back",
            |rib, one| _ = rib.announce(one, hop(9), &path(&[65001]), &[prefix(NET)]),
            "peer1",
        ),
    ];
    for (what, step, after) in steps {
        for settled in [false, true] {
            let (mut rib, [one, ..]) = world();
            assert_eq!(told(&mut rib), None, "{what}");
            if settled {
                rib.settle();
            }
            step(&mut rib, one);
            assert_eq!(told(&mut rib).unwrap(), [after], "{what}");
            assert!(!rib.is_lingering(), "{what}");
            rib.settle();
            rib.settle();
            assert_eq!(told(&mut rib), None, "{what}");
        }
    }
}

#[test]
fn it_costs_nothing_when_all_are_gone() {
    for calls in 0..4 {
        let (mut rib, [one, two, three]) = world();
        assert_eq!(told(&mut rib), None);
        for _ in 0..calls {
            rib.settle();
        }
        for p in [two, one, three] {
            _ = rib.peer_lost(p, FamilySet::BOTH, 1);
            rib.sweep(p, Family::Ipv4, Loss::Any);
        }
        fib(&mut rib);
        assert_eq!(rib.usage(), flatroute_bgp::rib::Usage::default(), "{calls}");
    }
}

#[test]
fn a_kernel_that_lost_its_state_is_told_at_once() {
    let (mut rib, _) = world();
    assert_eq!(told(&mut rib), None);
    rib.resend_fib();
    assert_eq!(told(&mut rib).unwrap(), ["peer2"]);
    assert!(!rib.is_lingering());
}
