//! A test runner for tests that need a world of their own.
//!
//! Rust's own runner starts threads before any test begins, and a program with threads may not enter a user namespace.
//! So the tests of the testbed have `harness = false` and this runner: it runs each trial in a fresh sandbox with a
//! time limit, says at once and again at the end which ones it skipped and why, and prints the same last line as the
//! usual runner, so that counts add up. Skips are also appended to the file that `FLATROUTE_SKIPPED` names, for a
//! summary over all test programs.

use std::env;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::paint;
use crate::process::locate;
use crate::sandbox::{self, Ending};
use crate::speaker::{Software, own_program};

/// Argument of the run that only tries whether sandboxes are possible.
const PROBE: &str = "--try-sandbox";

/// Something that a trial cannot do without. A program of others that is not installed is a reason to skip the trial; one
/// of ours that is not built is a mistake of whoever runs the tests, and the trial fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// BIRD 2 and birdc.
    Bird,
    /// FRR: zebra, bgpd and vtysh.
    Frr,
    /// Our agent.
    Agent,
    /// Our CNI plugin.
    Plugin,
    /// The reference CNI plugins (ptp, bridge, host-local, tuning, sbr).
    ReferencePlugins,
    /// The programs `ip` and `ping`.
    Ping,
}

impl Need {
    fn missing(self) -> Option<String> {
        let found = match self {
            Self::Bird => Software::Bird.find(),
            Self::Frr => Software::Frr.find(),
            Self::Agent => Software::Agent.find(),
            Self::Plugin => own_program("flatroute-cni"),
            Self::ReferencePlugins => reference_plugins(),
            Self::Ping => locate("ip")
                .and_then(|_| locate("ping"))
                .context("ip or ping is not installed: sudo make test-deps"),
        };
        found
            .err()
            .map(|error| error.to_string().lines().next().unwrap_or_default().to_owned())
    }

    /// Whether it comes out of this source tree.
    fn is_ours(self) -> bool {
        match self {
            Self::Bird | Self::Frr | Self::Ping | Self::ReferencePlugins => false,
            Self::Agent | Self::Plugin => true,
        }
    }
}

/// The folder of the reference plugins: where Debian puts them, or what `CNI_REFERENCE` names.
///
/// # Errors
/// One of them is not there.
pub fn reference_plugins() -> Result<PathBuf> {
    let folder = env::var_os("CNI_REFERENCE").map_or_else(|| PathBuf::from("/usr/lib/cni"), PathBuf::from);
    for name in ["ptp", "bridge", "host-local", "tuning", "sbr"] {
        ensure!(
            folder.join(name).is_file(),
            "the CNI plugin {name} is not in {} (Debian: containernetworking-plugins)",
            folder.display()
        );
    }
    Ok(folder)
}

impl Trial {
    /// Why it cannot run, among the needs that are ours or among the others.
    fn lacks(&self, ours: bool) -> Option<String> {
        let mut needs = self.needs.iter().filter(|need| need.is_ours() == ours);
        needs.find_map(|need| need.missing())
    }
}

/// One test.
#[derive(Debug, Clone, Copy)]
pub struct Trial {
    /// Unique in its program.
    pub name: &'static str,
    /// What it cannot do without.
    pub needs: &'static [Need],
    /// It fails when it takes longer.
    pub limit: Duration,
    /// Runs as process 1 of a sandbox.
    pub body: fn() -> Result<()>,
}

/// The `main` of a test program.
#[must_use]
pub fn main(trials: &[Trial]) -> ExitCode {
    sandbox::answer_call();
    let arguments: Vec<String> = env::args().skip(1).collect();
    if sandbox::is_inside() {
        let body = || match trials
            .iter()
            .find(|trial| Some(trial.name) == arguments.first().map(String::as_str))
        {
            Some(trial) => (trial.body)().map(|()| 0),
            None => Ok(0),
        };
        return sandbox::run(Duration::MAX, body).map_or(ExitCode::FAILURE, sandbox::exit_code);
    }
    if arguments.iter().any(|argument| argument == "--list") {
        trials.iter().for_each(|trial| println!("{}: test", trial.name));
        return ExitCode::SUCCESS;
    }
    let exact = arguments.iter().any(|argument| argument == "--exact");
    let filters: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let wanted = |trial: &&Trial| {
        let fits = |filter: &&String| {
            if exact {
                trial.name == *filter
            } else {
                trial.name.contains(filter.as_str())
            }
        };
        filters.is_empty() || filters.iter().any(fits)
    };
    run_all(&trials.iter().filter(wanted).collect::<Vec<_>>(), trials.len())
}

fn run_all(trials: &[&Trial], of: usize) -> ExitCode {
    let start = Instant::now();
    let forbidden = sandbox::probe(PROBE).err().map(|error| format!("{error:#}"));
    let (mut passed, mut failed, mut skipped) = (0, Vec::new(), Vec::new());
    println!("\nrunning {} tests, each in namespaces of its own", trials.len());
    for trial in trials {
        if let Some(reason) = trial.lacks(true) {
            println!("test {} ... {}: {reason}", trial.name, paint::bad("FAILED"));
            failed.push(trial.name);
            continue;
        }
        if let Some(reason) = forbidden.clone().or_else(|| trial.lacks(false)) {
            let first = reason.lines().next().unwrap_or_default();
            println!(
                "test {} ... {}",
                trial.name,
                paint::bold(&format!("SKIPPED: {first}"))
            );
            note_skip(trial.name, first);
            skipped.push(trial.name);
            continue;
        }
        let begun = Instant::now();
        let ending = sandbox::run_with_arguments(trial.limit, vec![trial.name.into()]);
        let took = begun.elapsed().as_secs_f64();
        let verdict = match ending {
            Ok(Ending::Done(0)) => {
                passed += 1;
                println!("test {} ... {} ({took:.1} s)", trial.name, paint::good("ok"));
                continue;
            }
            Ok(Ending::Interrupted) => return ExitCode::from(130),
            Ok(Ending::TimedOut) => format!("took longer than {:.0} s", trial.limit.as_secs_f64()),
            Ok(Ending::Done(_) | Ending::Refused | Ending::Kept(_)) => "failed, see above".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        println!(
            "test {} ... {}: {verdict} ({took:.1} s)",
            trial.name,
            paint::bad("FAILED")
        );
        failed.push(trial.name);
    }
    if let Some(why) = forbidden {
        println!("\n{why}");
    }
    if !failed.is_empty() {
        println!("\nfailures:\n    {}", failed.join("\n    "));
    }
    println!(
        "\ntest result: {}. {passed} passed; {} failed; {} ignored; 0 measured; {} filtered out; finished in {:.2}s\n",
        if failed.is_empty() { "ok" } else { "FAILED" },
        failed.len(),
        skipped.len(),
        of.saturating_sub(trials.len()),
        start.elapsed().as_secs_f64()
    );
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Appends a line to the list of skips that a run over several test programs keeps (the file `FLATROUTE_SKIPPED`).
pub fn note_skip(name: &str, reason: &str) {
    let Some(path) = env::var_os("FLATROUTE_SKIPPED") else {
        return;
    };
    if let Ok(mut file) = fs::OpenOptions::new().create(true).append(true).open(path) {
        drop(writeln!(file, "{name}: {reason}"));
    }
}
