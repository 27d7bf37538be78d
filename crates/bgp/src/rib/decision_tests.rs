use proptest::prelude::*;

use super::*;

const MANY: Multipath = Multipath {
    relaxed: true,
    max_paths: 16,
};
const ONE: Multipath = Multipath {
    relaxed: true,
    max_paths: 1,
};

fn candidate(n: u8) -> Candidate {
    Candidate {
        path: u32::from(n),
        attributes: AttrId(u32::from(n)),
        age: Age::Fresh,
        local_pref: 100,
        path_len: 2,
        origin: Origin::Igp,
        med: 0,
        neighbour: Some(Asn(65000 + u32::from(n))),
        external: true,
        path_id: PathId(0),
        peer: (
            RouterId(u32::from(n)),
            0,
            IpAddr::from([10, 0, 0, n]),
            None,
            u16::from(n),
        ),
        step: Step::Best,
    }
}

type Worsen = fn(&mut Candidate);

fn run(mut c: Vec<Candidate>, m: Multipath) -> (Option<usize>, Vec<Step>) {
    let best = decide(&mut c, m, |a, b| a == b);
    (best, c.iter().map(|c| c.step).collect())
}

#[test]
fn each_step_decides_before_all_later_ones() {
    // The loser of each step is better in every later one.
    let worse: [(Step, Worsen, &str); 11] = [
        (
            Step::LongLived,
            |c| c.age = Age::LongLived,
            "a last resort (LLGR_STALE)",
        ),
        (
            Step::LocalPref,
            |c| c.local_pref = 90,
            "LOCAL_PREF lower (90 < 100)",
        ),
        (Step::PathLength, |c| c.path_len = 3, "AS path longer (3 > 2)"),
        (
            Step::Origin,
            |c| c.origin = Origin::Egp,
            "origin worse (Egp > Igp)",
        ),
        (Step::Med, |c| c.med = 5, "MED higher (5) among the paths of AS 7"),
        (
            Step::External,
            |c| c.external = false,
            "internal, where an external path is there",
        ),
        (
            Step::Stale,
            |c| c.age = Age::Stale,
            "equal, but stale, and a fresh path is there",
        ),
        (
            Step::RouterId,
            |c| c.peer.0 = RouterId(8),
            "router id higher (0.0.0.8 > 0.0.0.5)",
        ),
        (Step::ClusterList, |c| c.peer.1 = 2, "CLUSTER_LIST longer (2 > 0)"),
        (
            Step::Address,
            |c| c.peer.2 = IpAddr::from([10, 0, 0, 9]),
            "peer address higher (10.0.0.9 > 10.0.0.5)",
        ),
        (Step::Best, |_| {}, "best"),
    ];
    for (i, (step, change, text)) in worse.iter().enumerate() {
        let mut loser = Candidate {
            neighbour: Some(Asn(7)),
            ..candidate(5)
        };
        let mut winner = loser;
        loser.path = 6;
        change(&mut loser);
        if *step != Step::Best {
            for (_, later, _) in &worse[i + 1..] {
                later(&mut winner);
            }
        } else {
            winner.peer.4 = 6;
        }
        let mut both = [loser, winner];
        let best = decide(&mut both, ONE, |_, _| true).unwrap();
        assert_eq!(both[0].step, *step);
        if *step != Step::Best {
            assert_eq!(best, 1, "{step:?}");
        }
        let shown = Candidate {
            peer: (RouterId(5), 0, IpAddr::from([10, 0, 0, 5]), None, 0),
            ..both[1]
        };
        assert_eq!(reason(&both[0], &shown), *text);
    }
}

#[test]
fn med_counts_only_within_a_neighbouring_as() {
    // Pairwise, 3 beats 1 (MED), 1 beats 2 (router id), 2 beats 3 (router id): a circle. By groups there is none.
    let mut c = [candidate(3), candidate(1), candidate(2)];
    (c[0].neighbour, c[1].neighbour, c[2].neighbour) = (Some(Asn(7)), Some(Asn(7)), Some(Asn(8)));
    (c[0].med, c[1].med) = (0, 10);
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let set: Vec<Candidate> = order.iter().map(|i| c[*i]).collect();
        let (best, steps) = run(set.clone(), ONE);
        assert_eq!(set[best.unwrap()].path, 2, "{order:?}");
        let of = |path| steps[set.iter().position(|c| c.path == path).unwrap()];
        assert_eq!((of(1), of(3)), (Step::Med, Step::RouterId));
    }
}

#[test]
fn relaxed_takes_equal_lengths_strict_wants_the_same_path_and_both_stop_at_the_maximum() {
    let mut c = vec![candidate(3), candidate(1), candidate(2)];
    assert_eq!(
        run(c.clone(), MANY).1,
        [Step::Multipath, Step::Best, Step::Multipath]
    );
    let two = Multipath { max_paths: 2, ..MANY };
    assert_eq!(
        run(c.clone(), two).1,
        [Step::MaxPaths, Step::Best, Step::Multipath]
    );
    c[0].attributes = c[1].attributes;
    let strict = Multipath {
        relaxed: false,
        ..MANY
    };
    assert_eq!(
        run(c.clone(), strict).1,
        [Step::Multipath, Step::Best, Step::PathDiffers]
    );
    c[0].path_len = 3;
    assert_eq!(
        run(c.clone(), MANY).1,
        [Step::PathLength, Step::Best, Step::Multipath]
    );
    for c in &mut c {
        (c.external, c.path_len) = (false, 2);
    }
    assert_eq!(
        run(c, MANY).1,
        [Step::RouterId, Step::Best, Step::RouterId],
        "internal paths are used alone"
    );
}

#[test]
fn nothing_to_choose_from() {
    assert_eq!(run(Vec::new(), MANY), (None, Vec::new()));
}

prop_compose! {
    fn any_candidate()(
        local_pref in 99u32..101, path_len in 1usize..3, origin in 0usize..2, med in 0u32..3,
        neighbour in prop::option::of(0u32..3), external: bool,
    ) -> Candidate {
        Candidate {
            local_pref, path_len, med, external,
            origin: [Origin::Igp, Origin::Egp][origin],
            neighbour: neighbour.map(Asn),
            ..candidate(0)
        }
    }
}

proptest! {
    #[test]
    fn the_order_of_arrival_decides_nothing(
        set in prop::collection::vec(any_candidate(), 1..7), turn in 0usize..7, relaxed: bool, max_paths in 0u16..5,
    ) {
        let mut set = set;
        for (i, c) in (0u8..).zip(&mut set) {
            c.path = u32::from(i);
            c.peer = candidate(i).peer;
            c.attributes = AttrId(c.neighbour.map_or(0, |a| a.0));
        }
        let m = Multipath { relaxed, max_paths };
        let mut turned = set.clone();
        turned.rotate_left(turn % set.len());
        turned.reverse();
        decide(&mut set, m, |a, b| a == b);
        decide(&mut turned, m, |a, b| a == b);
        turned.sort_by_key(|c| c.path);
        let steps = |c: &[Candidate]| c.iter().map(|c| c.step).collect::<Vec<_>>();
        prop_assert_eq!(steps(&set), steps(&turned));
        prop_assert_eq!(set.iter().filter(|c| c.step == Step::Best).count(), 1);
        prop_assert!(set.iter().filter(|c| c.step.is_selected()).count() <= usize::from(max_paths.max(1)));
    }

    #[test]
    fn taking_early_losers_away_changes_nothing_for_the_best(set in prop::collection::vec(any_candidate(), 2..7)) {
        let mut set = set;
        for (i, c) in (0u8..).zip(&mut set) {
            c.path = u32::from(i);
            c.peer = candidate(i).peer;
        }
        let best = decide(&mut set, ONE, |_, _| true).map(|i| set[i].path);
        // Not so for MED and later: one that loses there can have beaten another of its AS on MED.
        let early = [Step::LocalPref, Step::PathLength, Step::Origin];
        let mut kept: Vec<Candidate> = set.iter().copied().filter(|c| !early.contains(&c.step)).collect();
        let again = decide(&mut kept, ONE, |_, _| true).map(|i| kept[i].path);
        prop_assert_eq!(best, again);
    }
}
