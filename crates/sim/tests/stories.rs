//! The stories that `make test` runs, over fixed seeds. A seed that fails is named with the command that shows it again; a
//! situation that no seed met fails the set, for then the seeds no longer test what they are there for.

use sim::marks::{Mark, Marks};
use sim::scenario::{Outcome, data_centre, drains, full_mesh, restarts, swarm};
use sim::trace::Trace;

/// Tells a story for each seed; the situations that were met.
fn tell(story: &str, seeds: std::ops::RangeInclusive<u64>, run: impl Fn(u64) -> Outcome) -> Marks {
    let mut marks = Marks::default();
    let mut failures = Vec::new();
    for seed in seeds {
        // What is shown when the speaker itself panics: the last of these was it.
        println!("cargo run --profile sim -p sim -- --story {story} --seed {seed} --trace");
        let outcome = run(seed);
        if let Some(failure) = outcome.failure {
            failures.push(format!(
                "{}: {failure}\n    again: {}",
                outcome.name, outcome.again
            ));
        }
        marks.add(&outcome.marks);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    marks
}

#[test]
fn a_hundred_fabrics_of_thirty_nodes_come_to_what_the_model_says_after_all_that_befalls_them() {
    let marks = tell("swarm", 1..=100, |seed| swarm(seed, None, Trace::silent()));
    println!("{marks}");
    let missing = marks.missing(&Mark::ALL);
    let missing: Vec<Mark> = missing
        .into_iter()
        .filter(|m| !Mark::OF_DRAINS.contains(m))
        .collect();
    assert_eq!(missing, [], "situations that no seed met");
}

#[test]
fn processes_that_are_killed_and_come_back_cost_no_packet() {
    let marks = tell("restarts", 1..=40, |seed| restarts(seed, None, Trace::silent()));
    let required = [
        Mark::Restart,
        Mark::RoutesRetained,
        Mark::DeferralEnded,
        Mark::Collision,
        Mark::Reset,
    ];
    assert_eq!(marks.missing(&required), []);
}

#[test]
fn a_tor_that_is_drained_cut_off_and_put_back_costs_no_packet() {
    let marks = tell("drains", 1..=20, |seed| drains(seed, None, Trace::silent()));
    let required = [
        Mark::CutOffAnnounced,
        Mark::CutOffWithdrawn,
        Mark::UpdatesWaited,
        Mark::PowerLoss,
        Mark::CarrierLost,
        Mark::HoldTimerExpired,
        Mark::PartitionOutlived,
    ];
    assert_eq!(marks.missing(&required), []);
}

/// Three hundred speakers that all start in the same millisecond: 44,850 sessions, as many collisions as there may be.
fn mesh_of_three_hundred(seed: u64) {
    let marks = tell("mesh --nodes 300", seed..=seed, |seed| {
        full_mesh(300, seed, None, Trace::silent())
    });
    let required = [
        Mark::SimultaneousConnect,
        Mark::Collision,
        Mark::Established,
        Mark::EndOfRib,
    ];
    assert_eq!(marks.missing(&required), []);
}

#[test]
fn a_mesh_of_three_hundred_starts_in_one_millisecond_1() {
    mesh_of_three_hundred(1);
}

#[test]
fn a_mesh_of_three_hundred_starts_in_one_millisecond_2() {
    mesh_of_three_hundred(2);
}

#[test]
fn a_mesh_of_three_hundred_starts_in_one_millisecond_3() {
    mesh_of_three_hundred(3);
}

#[test]
fn a_data_centre_of_a_thousand_nodes_starts_cold_and_loses_a_spine() {
    let marks = tell("data-centre --nodes 1000", 1..=1, |seed| {
        data_centre(1000, seed, Trace::silent())
    });
    assert_eq!(
        marks.missing(&[Mark::Established, Mark::PowerLoss, Mark::HoldTimerExpired]),
        []
    );
}

#[test]
fn the_same_seed_is_the_same_run_and_another_seed_another_one() {
    type Story = fn(u64) -> Outcome;
    let stories: [Story; 5] = [
        |seed| swarm(seed, None, Trace::silent()),
        |seed| restarts(seed, None, Trace::silent()),
        |seed| drains(seed, None, Trace::silent()),
        |seed| full_mesh(40, seed, None, Trace::silent()),
        |seed| data_centre(60, seed, Trace::silent()),
    ];
    for story in stories {
        let (one, again, other) = (story(7), story(7), story(8));
        assert_eq!(
            (one.digest, one.facts, one.traffic),
            (again.digest, again.facts, again.traffic),
            "{}",
            one.name
        );
        assert_ne!(one.digest, other.digest, "{}: the seed has no effect", one.name);
    }
}

#[test]
fn a_trace_that_is_read_is_the_run_that_it_is_without_readers() {
    use std::cell::Cell;
    use std::rc::Rc;
    let lines = Rc::new(Cell::new(0_u64));
    let counted = lines.clone();
    let read = swarm(
        11,
        None,
        Trace::to(Box::new(move |_| counted.set(counted.get() + 1))),
    );
    let silent = swarm(11, None, Trace::silent());
    assert_eq!(read.digest, silent.digest);
    assert_eq!(lines.get(), read.facts);
}
