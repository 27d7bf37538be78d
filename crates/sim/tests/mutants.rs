//! A story finds nothing because nothing is wrong, and not because it does not look: with one speaker that has a defect it
//! fails, within a few seeds, and says what is wrong.

use sim::scenario::{Outcome, drains, full_mesh, restarts, swarm};
use sim::trace::Trace;
use sim::world::Mutant;

type Story = fn(u64, Option<Mutant>, Trace) -> Outcome;

/// How many seeds a defect may go unfound: less than a tenth of those that `stories.rs` tells of `swarm`.
const SEEDS: u64 = 8;

/// A defect, the story that finds it, and what that says.
const FOUND: [(Mutant, Story, &[&str]); 21] = [
    (Mutant::HidesWithdrawals, swarm, &["count the same", "hold what"]),
    (Mutant::HidesEndOfRib, swarm, &["has no session over the link"]),
    (Mutant::LosesAnnouncements, swarm, &["do not count the same"]),
    (Mutant::IgnoresTimers, swarm, &["session over the link"]),
    (Mutant::KeepsRoutes, swarm, &["by way of"]),
    (Mutant::OneLeg, swarm, &["by way of"]),
    (Mutant::Gullible, swarm, &["has a route to"]),
    (Mutant::ResetsAll, swarm, &["by a change that resets none"]),
    (Mutant::ForgetsRestart, restarts, &["no way to", "loses them"]),
    (Mutant::FlushesKernel, restarts, &["no way to", "loses them"]),
    (Mutant::SweepsAtOnce, restarts, &["no way to", "loses them"]),
    (Mutant::LeavesAtOnce, drains, &["in a loop"]),
    (Mutant::TellsBeforeKernel, drains, &["in a loop", "no way to"]),
    (Mutant::Dawdles, mesh_of_forty, &["the cold start took"]),
    (Mutant::DeafToFarewells, swarm, &["ended with a NOTIFICATION"]),
    (Mutant::ClaimsForwarding, swarm, &["has lost its own"]),
    (
        Mutant::ChoosesAtOnce,
        restarts,
        &["before it may choose its routes"],
    ),
    (Mutant::KeepsStaleLegs, restarts, &["whose path is stale, beside"]),
    (Mutant::SoftensHardResets, swarm, &["takes leave of"]),
    (Mutant::OutlivesHardResets, swarm, &["ended with a NOTIFICATION"]),
    (Mutant::NeverFull, swarm, &["to take what it sends"]),
];

fn mesh_of_forty(seed: u64, mutant: Option<Mutant>, trace: Trace) -> Outcome {
    full_mesh(40, seed, mutant, trace)
}

#[test]
fn every_defect_of_one_speaker_is_found_and_named() {
    assert_eq!(FOUND.map(|(mutant, _, _)| mutant), Mutant::ALL);
    let mut unfound = Vec::new();
    for (mutant, story, words) in FOUND {
        let failures = (1..=SEEDS).map(|seed| (seed, story(seed, Some(mutant), Trace::silent()).failure));
        let failure = failures
            .into_iter()
            .find_map(|(seed, failure)| Some((seed, failure?)));
        println!("{mutant:?}: {failure:?}");
        if !failure.is_some_and(|(_, failure)| words.iter().any(|words| failure.contains(words))) {
            unfound.push(mutant);
        }
    }
    assert_eq!(unfound, []);
}
