//! `cargo run -p sim -- --seed 7 --trace`: runs stories of the simulator and prints what they found; a story that failed by the
//! command that shows it again.

use std::process::{Command, ExitCode};

use clap::{Parser, ValueEnum};
use sim::marks::Marks;
use sim::scenario::{Outcome, data_centre, drains, full_mesh, restarts, swarm};
use sim::trace::Trace;
use sim::world::Mutant;

/// The sizes of the planner's table.
const MESHES: [usize; 4] = [10, 30, 100, 300];
/// The sizes of the planner's table.
const DATA_CENTRES: [usize; 5] = [40, 100, 200, 500, 1000];

/// What is simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Story {
    /// A fabric of thirty nodes under swarms of faults.
    Swarm,
    /// The same fabric whose processes are killed and come back, without a lost packet.
    Restarts,
    /// The same fabrics, with two ToRs a rack; one is drained, cut off and put back, without a lost packet.
    Drains,
    /// Nodes on one link that all start in the same millisecond.
    Mesh,
    /// Racks of twenty nodes, two ToRs each, four spines: a cold start and the loss of a spine.
    DataCentre,
    /// What a planner needs: messages, octets, time, memory, as the number of nodes grows.
    Table,
}

impl Story {
    fn word(self) -> &'static str {
        match self {
            Self::Swarm => "swarm",
            Self::Restarts => "restarts",
            Self::Drains => "drains",
            Self::Mesh => "mesh",
            Self::DataCentre => "data-centre",
            Self::Table => "table",
        }
    }

    fn size(self) -> usize {
        match self {
            Self::Swarm | Self::Restarts | Self::Drains | Self::Table => 30,
            Self::Mesh => 300,
            Self::DataCentre => 1000,
        }
    }
}

/// Speakers, plans and kernels of flatroute in a world that one seed decides.
#[derive(Debug, Parser)]
#[command(name = "sim", version)]
struct Arguments {
    /// What is simulated.
    #[arg(long, value_enum, default_value_t = Story::Swarm)]
    story: Story,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, one after the other.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// How many nodes, for `mesh` (300) and `data-centre` (1000); a swarm has thirty.
    #[arg(long)]
    nodes: Option<usize>,
    /// Prints all that happens, a line each.
    #[arg(long)]
    trace: bool,
    /// A defect that one speaker of a swarm or of restarts has, to see whether it is found.
    #[arg(long, hide = true, value_parser = mutant)]
    mutant: Option<Mutant>,
    /// Prints a row of the planner's table and nothing else.
    #[arg(long, hide = true)]
    row: bool,
}

fn mutant(name: &str) -> Result<Mutant, String> {
    let named = Mutant::ALL
        .into_iter()
        .find(|mutant| format!("{mutant:?}") == name);
    named.ok_or_else(|| format!("it is none of {:?}", Mutant::ALL))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.story == Story::Table {
        return table();
    }
    let mut marks = Marks::default();
    let mut failed = 0;
    for seed in arguments.seed..arguments.seed.saturating_add(arguments.seeds) {
        let outcome = run(&arguments, seed);
        if arguments.row {
            row(&outcome, arguments.nodes.unwrap_or_default());
        } else {
            println!("{}", words(&outcome));
        }
        if let Some(failure) = &outcome.failure {
            failed += 1;
            println!("FAILED {}: {failure}", outcome.name);
            println!("  again, with a trace: {}", outcome.again);
        }
        marks.add(&outcome.marks);
    }
    if !arguments.row {
        println!("\nsituations:\n{marks}");
        println!("{} of {} seeds failed", failed, arguments.seeds);
    }
    if failed > 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn run(arguments: &Arguments, seed: u64) -> Outcome {
    let trace = if arguments.trace {
        Trace::to(Box::new(|line| println!("{line}")))
    } else {
        Trace::silent()
    };
    let nodes = arguments.nodes.unwrap_or_else(|| arguments.story.size());
    match arguments.story {
        Story::Swarm | Story::Table => swarm(seed, arguments.mutant, trace),
        Story::Restarts => restarts(seed, arguments.mutant, trace),
        Story::Drains => drains(seed, arguments.mutant, trace),
        Story::Mesh => full_mesh(nodes, seed, arguments.mutant, trace),
        Story::DataCentre => data_centre(nodes, seed, trace),
    }
}

fn words(outcome: &Outcome) -> String {
    format!(
        "{}: {} facts, {} sessions, {} messages, {:.1} s of virtual time, digest {:016x}",
        outcome.name,
        outcome.facts,
        outcome.sessions,
        outcome.traffic.total(),
        outcome.took.as_secs_f64(),
        outcome.digest
    )
}

/// The planner's table: each row is a process of its own, so that its memory is its own.
fn table() -> ExitCode {
    println!(
        "| world | nodes | speakers | sessions | messages | of them UPDATEs | MB sent | time to converge | after losing a spine | paths held | memory of all |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    let meshes = MESHES.iter().map(|nodes| (Story::Mesh, nodes));
    let centres = DATA_CENTRES.iter().map(|nodes| (Story::DataCentre, nodes));
    for (story, nodes) in meshes.chain(centres) {
        let status = std::env::current_exe().and_then(|program| {
            Command::new(program)
                .args(["--row", "--story", story.word(), "--nodes", &nodes.to_string()])
                .status()
        });
        if !status.is_ok_and(|status| status.success()) {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn row(outcome: &Outcome, nodes: usize) {
    let world = if outcome.reconverged.is_some() {
        "data centre"
    } else {
        "mesh"
    };
    let millis = |time: std::time::Duration| format!("{} ms", time.as_millis());
    println!(
        "| {world} | {nodes} | {} | {} | {} | {} | {:.2} | {} | {} | {} | {} MB |",
        outcome.speakers,
        outcome.sessions,
        outcome.cold.total(),
        outcome.cold.updates(),
        outcome.cold.octets as f64 / 1e6,
        millis(outcome.converged),
        outcome.reconverged.map_or_else(|| "–".to_owned(), millis),
        outcome.paths,
        peak_megabytes()
    );
}

/// The most memory that this process had, as Linux counts it.
fn peak_megabytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    kilobytes.and_then(|k| k.parse::<u64>().ok()).unwrap_or(0) / 1024
}
