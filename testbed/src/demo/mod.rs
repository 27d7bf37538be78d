//! The demo: the main job, told as a story that a newcomer can follow and check.
//!
//! A fabric of two racks comes up, pods get addresses, every pod reaches every other, a look at the wire shows that
//! nothing is wrapped, a ToR loses its power and comes back. Each chapter prints what it saw; one that sees something
//! else than promised fails the demo, with the reason and the logs that belong to it. Nothing is left behind: the whole
//! lab lives in a [`crate::sandbox`].

pub mod keep;
mod story;
mod unnumbered;
mod wire;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::lab::{Cast, Lab, Wiring};
use crate::paint;
use crate::sandbox::{self, Ending};
use crate::speaker::{Software, own_program};
use crate::topology::{Numbering, Topology};

/// Nothing in the demo may take longer than this altogether.
const LIMIT: Duration = Duration::from_secs(180);

/// What the user asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wishes {
    /// Who runs what.
    pub cast: Cast,
    /// How pods are wired.
    pub wiring: Wiring,
    /// What addresses the links have.
    pub numbering: Numbering,
    /// Leave the lab up at the end.
    pub keep: bool,
}

/// Runs the demo: outside the sandbox it checks, starts and cleans up; inside it tells the story.
///
/// # Errors
/// Something is missing, or the system forbids namespaces.
pub fn run(wishes: &Wishes) -> Result<ExitCode> {
    if !sandbox::is_inside() {
        check(wishes)?;
    }
    let ending = sandbox::run(LIMIT, || inside(wishes))?;
    match ending {
        Ending::Done(0) | Ending::Refused => {}
        Ending::Done(_) => println!(
            "{}",
            paint::bad("The demo failed; the reason stands above. The lab is gone, nothing is left behind.")
        ),
        Ending::Interrupted => println!("\nInterrupted. The lab is gone, nothing is left behind."),
        Ending::TimedOut => println!(
            "\n{}",
            paint::bad(&format!(
                "The demo took longer than {} s and was ended. Nothing is left behind.",
                LIMIT.as_secs()
            ))
        ),
        Ending::Kept(pid) => print!("{}", keep::remember(pid)?),
    }
    Ok(sandbox::exit_code(ending))
}

/// Everything that can be known to fail before anything is built.
fn check(wishes: &Wishes) -> Result<()> {
    for software in [wishes.cast.nodes, wishes.cast.fabric] {
        software.find()?;
        ensure!(
            software.finds_neighbours() || wishes.numbering == Numbering::Numbered,
            "UNNUMBERED=1: {} does not find its neighbours by router advertisements; flatroute and FRR do (TOR=flatroute or TOR=frr)",
            software.title()
        );
    }
    if wishes.wiring == Wiring::Plugin {
        own_program("flatroute-cni")?;
    }
    if wishes.keep {
        keep::refuse_a_second()?;
    }
    Ok(())
}

fn inside(wishes: &Wishes) -> Result<u8> {
    let teller = Teller::new();
    let topology = match wishes.numbering {
        Numbering::Numbered => Topology::two_racks(),
        Numbering::Unnumbered => Topology::two_racks().unnumbered(),
    };
    let mut lab = story::rise(&teller, topology, wishes)?;
    story::routes(&teller, &mut lab, wishes)?;
    if wishes.numbering == Numbering::Unnumbered {
        unnumbered::tell(&teller, &lab)?;
    }
    story::matrix(&teller, &lab)?;
    wire::tell(&teller, &lab)?;
    story::cut(&teller, &mut lab)?;
    if wishes.keep {
        teller.chapter("The lab stays up.");
        std::mem::forget(lab);
        match sandbox::keep()? {}
    }
    teller.chapter("Taking everything down");
    lab.stop().context("take the lab down")?;
    teller.say("pods deleted through the plugin, daemons stopped; the namespaces vanish with this process");
    println!(
        "\n{} in {:.0} s.",
        paint::good("Everything worked"),
        teller.elapsed().as_secs_f64()
    );
    Ok(0)
}

/// Prints with the time since the start, so that a reader sees progress and cost.
#[derive(Debug)]
pub(crate) struct Teller {
    start: Instant,
}

impl Teller {
    /// The clock starts now.
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// Since when.
    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    pub(crate) fn chapter(&self, title: &str) {
        println!(
            "\n{}",
            paint::bold(&format!(
                "── {title} {}",
                "─".repeat(74_usize.saturating_sub(title.chars().count()))
            ))
        );
        drop(std::io::stdout().flush());
    }

    pub(crate) fn say(&self, text: &str) {
        println!(
            "{} {text}",
            paint::dim(&format!("[{:5.1} s]", self.start.elapsed().as_secs_f64()))
        );
        drop(std::io::stdout().flush());
    }
}

/// Used by the story for waits.
const SESSIONS_BOUND: Duration = Duration::from_secs(20);
/// Used by the story for waits.
const ROUTES_BOUND: Duration = Duration::from_secs(15);

/// The words for a piece of software and its place.
fn cast_in_words(cast: Cast) -> String {
    let of = |software: Software| paint::bold(software.title());
    format!(
        "{} on the nodes, {} on ToRs and spines",
        of(cast.nodes),
        of(cast.fabric)
    )
}

fn lab_with_pods(mut lab: Lab, wiring: Wiring) -> Result<Lab> {
    lab.add_pods(wiring, 2)?;
    Ok(lab)
}
