//! Several paths a prefix (RFC 7911) in one RIB, where the model would be a roundabout way to say it.

use flatroute_bgp::rib::{Batch, LimitOutcome, MAX_PATHS, PeerIndex, PeerSettings, Rib, RouteView, Usage};
use flatroute_bgp::types::{Family, FamilySet, NextHop, PathAttributes, PathId, PathIds, Prefix, RouterId};

use super::support::{drain, fib, hop, path, peer, prefix, reasons, rib};

const NET: &str = "10.244.2.0/24";

/// A peer that says several paths, is told several, or both.
fn several(n: u8, asn: u32, received: FamilySet, sent: FamilySet) -> PeerSettings {
    PeerSettings {
        path_ids: PathIds { received, sent },
        ..peer(n, asn)
    }
}

fn says(n: u8) -> PeerSettings {
    several(n, 65000 + u32::from(n), FamilySet::BOTH, FamilySet::NONE)
}

fn is_told(n: u8) -> PeerSettings {
    several(n, 65000 + u32::from(n), FamilySet::NONE, FamilySet::BOTH)
}

fn by(last: u8) -> NextHop {
    NextHop::V4([10, 0, 1, last].into())
}

fn announce(rib: &mut Rib, p: PeerIndex, asns: &[u32], last: u8, id: u32) -> LimitOutcome {
    rib.announce_paths(p, by(last), &path(asns), &[prefix(NET)], &[PathId(id)])
}

/// What a peer is told now: announced paths with the AS path, and withdrawn ones.
fn told(rib: &mut Rib, p: PeerIndex) -> (Vec<(PathId, String)>, Vec<PathId>) {
    let (mut reach, mut unreach) = (Vec::new(), Vec::new());
    for batch in drain(rib, p) {
        match batch {
            Batch::ReachPaths { attributes, paths } => {
                reach.extend(paths.iter().map(|(_, id)| (*id, attributes.as_path.to_string())));
            }
            Batch::UnreachPaths { paths, .. } => unreach.extend(paths.iter().map(|(_, id)| *id)),
            Batch::EndOfRib(_) => {}
            other @ (Batch::Reach { .. }
            | Batch::Unreach { .. }
            | Batch::BeginRefresh(_)
            | Batch::EndRefresh(_)) => panic!("{other:?}"),
        }
    }
    (reach, unreach)
}

#[test]
fn paths_of_one_peer_are_told_apart_by_their_identifiers() {
    let mut rib = rib();
    let p = rib.peer_up(says(1));
    for (id, asns) in [(0, &[65001, 7][..]), (9, &[65001]), (u32::MAX, &[65001, 8, 9])] {
        announce(&mut rib, p, asns, 10 + u8::try_from(id % 7).unwrap(), id);
    }
    assert_eq!(rib.counts(p, Family::Ipv4).received, 3);
    let why: Vec<String> = reasons(&rib, NET).into_iter().map(|(_, why)| why).collect();
    assert_eq!(why, ["best", "AS path longer (2 > 1)", "AS path longer (3 > 1)"]);
    assert_eq!(fib(&mut rib)[0].paths[0].next_hop, by(12));
    // The same identifier again is the same path, and a withdrawal of one that is not there does nothing.
    announce(&mut rib, p, &[65001, 7], 13, 9);
    assert_eq!(
        fib(&mut rib)[0].paths.len(),
        2,
        "two paths of equal length, side by side"
    );
    rib.withdraw_paths(p, &[prefix(NET); 3], &[PathId(5), PathId(0), PathId(0)]);
    assert_eq!(fib(&mut rib)[0].paths[0].next_hop, by(13));
    // All else being equal the lowest identifier decides.
    rib.announce_paths(p, by(13), &path(&[65001, 7]), &[prefix(NET)], &[PathId(8)]);
    let mut best = Vec::new();
    rib.routes(RouteView::Best, None, None, 9, &mut |r| {
        best.extend(r.path_id.filter(|_| r.best));
    });
    assert_eq!(best, [PathId(8)]);
    rib.peer_down(p);
    fib(&mut rib);
    assert_eq!(rib.usage(), Usage::default());
}

/// The limit of one prefix, and that of prefixes, which counts paths.
#[test]
fn a_peer_has_few_paths_of_a_prefix_and_each_counts() {
    let mut rib = rib();
    let mut settings = says(1);
    settings.limit.limit = 100;
    let p = rib.peer_up(settings);
    let ids = u32::try_from(MAX_PATHS).unwrap();
    for id in 0..ids {
        assert_eq!(announce(&mut rib, p, &[65001], 9, id), LimitOutcome::Within);
    }
    let family = Family::Ipv4;
    let refused = LimitOutcome::ManyPaths { family, count: 1 };
    assert_eq!(announce(&mut rib, p, &[65001], 9, ids), refused);
    assert_eq!(
        announce(&mut rib, p, &[65001, 3], 9, 5),
        LimitOutcome::Within,
        "one that is held may change"
    );
    let other: Vec<Prefix> = vec![prefix("10.1.0.0/16"); MAX_PATHS];
    let identifiers: Vec<PathId> = (0..ids).map(PathId).collect();
    let outcome = rib.announce_paths(p, by(9), &path(&[65001]), &other, &identifiers);
    assert_eq!(
        outcome,
        LimitOutcome::Dropped {
            family,
            count: 2 * MAX_PATHS - 100
        }
    );
    assert_eq!(rib.counts(p, family).received, 100);
    // A path that goes makes room for another.
    rib.withdraw_paths(p, &[prefix(NET)], &[PathId(0)]);
    assert_eq!(announce(&mut rib, p, &[65001], 9, ids), LimitOutcome::Within);
}

#[test]
fn the_best_paths_are_told_up_to_the_limit_and_the_next_one_moves_up() {
    let mut rib = rib();
    let to = rib.peer_up(is_told(200));
    drain(&mut rib, to);
    let count = u8::try_from(MAX_PATHS + 2).unwrap();
    // The longer the path, the worse.
    let peers: Vec<PeerIndex> = (1..=count)
        .map(|n| {
            let p = rib.peer_up(peer(n, 65000 + u32::from(n)));
            let asns: Vec<u32> = std::iter::once(65000 + u32::from(n))
                .chain(10..10 + u32::from(n))
                .collect();
            rib.announce(p, hop(n), &path(&asns), &[prefix(NET)]);
            p
        })
        .collect();
    let (reach, unreach) = told(&mut rib, to);
    assert_eq!((reach.len(), unreach.len()), (MAX_PATHS, 0));
    let worst = format!(" {}", 9 + u32::from(count));
    assert!(
        reach.iter().all(|(_, path)| !path.ends_with(&worst)),
        "the two longest are not told"
    );
    assert_eq!(rib.counts(to, Family::Ipv4).advertised, MAX_PATHS);
    let best = reach[0].0;
    rib.withdraw(peers[0], &[prefix(NET)]);
    let (reach, unreach) = told(&mut rib, to);
    assert_eq!((reach.len(), unreach), (1, vec![best]));
    assert!(
        reach[0].1.ends_with(&format!(" {}", 8 + u32::from(count))),
        "{reach:?}"
    );
}

#[test]
fn an_identifier_stays_with_its_path_and_a_path_is_withdrawn_by_it() {
    let mut rib = rib();
    let (one, two) = (rib.peer_up(peer(1, 65001)), rib.peer_up(says(2)));
    let to = rib.peer_up(is_told(3));
    drain(&mut rib, to);
    rib.announce(one, hop(1), &path(&[65001]), &[prefix(NET)]);
    announce(&mut rib, two, &[65002, 7], 9, 4);
    announce(&mut rib, two, &[65002, 8, 9], 8, 5);
    let (mut reach, _) = told(&mut rib, to);
    reach.sort_by_key(|(_, path)| path.len());
    let ids: Vec<PathId> = reach.iter().map(|(id, _)| *id).collect();
    let paths: Vec<&str> = reach.iter().map(|(_, path)| path.as_str()).collect();
    assert_eq!(paths, ["64512 65001", "64512 65002 7", "64512 65002 8 9"]);
    assert!(ids.iter().all(|id| id.0 > 1) && ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);

    // Other attributes, another order: the same identifier, and nothing is said of the others.
    announce(&mut rib, two, &[65002], 8, 5);
    assert_eq!(
        told(&mut rib, to),
        (vec![(ids[2], "64512 65002".to_owned())], vec![])
    );
    // What comes back before its turn was never away.
    rib.withdraw_paths(two, &[prefix(NET)], &[PathId(4)]);
    announce(&mut rib, two, &[65002, 7], 9, 4);
    assert_eq!(told(&mut rib, to), (vec![], vec![]));
    rib.withdraw_paths(two, &[prefix(NET)], &[PathId(4)]);
    assert_eq!(told(&mut rib, to), (vec![], vec![ids[1]]));
    // A refresh says all of them again.
    rib.resend(to, Family::Ipv4);
    let (again, gone) = told(&mut rib, to);
    assert_eq!((again.len(), gone.len()), (2, 0));
    // A path that cannot be written was not told, and is not withdrawn once more.
    rib.untell_paths(to, &[(prefix(NET), ids[0])]);
    rib.withdraw(one, &[prefix(NET)]);
    assert_eq!(told(&mut rib, to), (vec![], vec![]));
    rib.peer_down(two);
    assert_eq!(told(&mut rib, to), (vec![], vec![ids[2]]));
    assert_eq!(rib.counts(to, Family::Ipv4).advertised, 0);
}

/// A peer that comes back and has agreed on something else: what it had said cannot be matched any more.
#[test]
fn retained_paths_go_when_the_next_session_tells_paths_otherwise() {
    for (before, after, left) in [
        (FamilySet::BOTH, FamilySet::BOTH, 2),
        (FamilySet::BOTH, FamilySet::NONE, 0),
        (FamilySet::NONE, FamilySet::BOTH, 0),
    ] {
        let mut rib = rib();
        let p = rib.peer_up(several(1, 65001, before, FamilySet::NONE));
        announce(&mut rib, p, &[65001], 9, 1);
        let two = if before == FamilySet::BOTH {
            NET
        } else {
            "10.3.0.0/16"
        };
        rib.announce_paths(p, by(8), &path(&[65001]), &[prefix(two)], &[PathId(2)]);
        rib.peer_lost(p, FamilySet::BOTH, 1);
        assert_eq!(rib.retained(p, Family::Ipv4).0, 2);
        let p = rib.peer_back(p, several(1, 65001, after, FamilySet::NONE));
        assert_eq!(rib.retained(p, Family::Ipv4).0, left, "{before:?} {after:?}");
        // What is said now stands beside what is left, each by its identifier.
        announce(&mut rib, p, &[65001], 7, 2);
        assert_eq!(rib.counts(p, Family::Ipv4).received, left.max(1));
        rib.peer_down(p);
        fib(&mut rib);
        assert_eq!(rib.usage(), Usage::default());
    }
}

/// A reflector with several paths: each client hears of each exit, with the originator of each.
#[test]
fn a_reflector_tells_a_client_of_every_path() {
    use flatroute_bgp::policy::Reflection;
    let client = |n: u8, sent| PeerSettings {
        reflection: Some(Reflection {
            cluster_id: RouterId(77),
            client: true,
        }),
        ..several(n, 64512, FamilySet::NONE, sent)
    };
    let mut rib = rib();
    let (one, two) = (
        rib.peer_up(client(1, FamilySet::NONE)),
        rib.peer_up(client(2, FamilySet::NONE)),
    );
    let third = rib.peer_up(client(3, FamilySet::BOTH));
    drain(&mut rib, third);
    for (p, n) in [(one, 1), (two, 2)] {
        rib.announce(p, hop(n), &path(&[65009]), &[prefix(NET)]);
    }
    let mut heard: Vec<(Option<NextHop>, Option<RouterId>)> = Vec::new();
    for batch in drain(&mut rib, third) {
        let Batch::ReachPaths { attributes, .. } = batch else {
            panic!("{batch:?}");
        };
        let PathAttributes {
            next_hop,
            originator_id,
            ..
        } = (*attributes).clone();
        heard.push((next_hop, originator_id));
    }
    heard.sort();
    assert_eq!(
        heard,
        [
            (Some(hop(1)), Some(RouterId(1))),
            (Some(hop(2)), Some(RouterId(2)))
        ]
    );
}
