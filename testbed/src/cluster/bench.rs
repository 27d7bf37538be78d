//! `make cluster-bench`: the same figures ([`super::pace`]) of two clusters that differ in one thing, who carries pods' packets.
//!
//! One cluster after the other comes up on this machine, is measured and goes; carriers take turns, and who is first changes
//! with each round, so that what else the machine does hurts both. Every round's figure is shown: with few rounds, a
//! mean would hide more than it says. What the two have in common, and what they have not, is in docs/cluster.md.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::pace::{self, figure};
use super::site::Shape;
use super::{Carrier, Wishes, exam, under_claim};
use crate::paint;
use crate::process::locate;
use crate::sandbox::{self, Ending};

/// One cluster: up, measured, down.
const LIMIT: Duration = Duration::from_secs(15 * 60);
/// More rounds than this are a day's work.
pub const MOST_ROUNDS: u16 = 20;
/// In the order of columns.
const CARRIERS: [Carrier; 2] = [Carrier::Flatroute, Carrier::Bird];

/// Figures of one cluster.
type Figures = Vec<figure::Figure>;

/// Brings both kinds of cluster up, as often as asked, and prints their figures side by side.
///
/// # Errors
/// A cluster does not come up, or something of it cannot be measured.
pub fn run(wishes: &Wishes, rounds: u16) -> Result<ExitCode> {
    if !(1..=MOST_ROUNDS).contains(&rounds) {
        bail!("ROUNDS={rounds}: it may be 1 to {MOST_ROUNDS}");
    }
    if wishes.shape == Shape::Segment {
        bail!(
            "SHAPE=segment: BIRD on nodes needs ToRs, so there is nothing to measure beside; say SHAPE=racks"
        );
    }
    let results = exam::results(wishes);
    let mut columns = CARRIERS.map(|_| Vec::new());
    let mut loads = Vec::new();
    for round in 0..rounds {
        let mut turns = [0, 1];
        turns.rotate_left(usize::from(round) % CARRIERS.len());
        for turn in turns {
            let carrier = CARRIERS[turn];
            println!(
                "\n{}",
                paint::bold(&format!("Round {} of {rounds}: {}", round + 1, carrier.word()))
            );
            loads.push(load());
            match measure(wishes, carrier, &results)? {
                Ok(figures) => columns[turn].push(figures),
                Err(ending) => return Ok(sandbox::exit_code(ending)),
            }
        }
    }
    println!(
        "\n{}\n{}",
        paint::bold(&format!(
            "{rounds} rounds, families {}, seconds",
            wishes.families.word()
        )),
        conditions(wishes, &loads)
    );
    print!("{}", draw(&columns));
    Ok(ExitCode::SUCCESS)
}

/// One cluster, by this same program inside of a sandbox. A run that did not go well is its ending.
fn measure(
    wishes: &Wishes,
    carrier: Carrier,
    results: &Path,
) -> Result<std::result::Result<Figures, Ending>> {
    let wishes = Wishes {
        carrier,
        ..wishes.clone()
    };
    let file = pace::file(results);
    if file.exists() {
        fs::remove_file(&file).with_context(|| format!("remove {}", file.display()))?;
    }
    let ending = under_claim(&wishes, || sandbox::run_with_arguments(LIMIT, arguments(&wishes)))?;
    if ending != Ending::Done(0) {
        return Ok(Err(ending));
    }
    let text = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
    serde_json::from_slice(&text)
        .with_context(|| file.display().to_string())
        .map(Ok)
}

/// The command line of `cluster test --checks pace` for one cluster.
fn arguments(wishes: &Wishes) -> Vec<OsString> {
    let mut all: Vec<OsString> = ["cluster", "test", "--checks", "pace"]
        .map(OsString::from)
        .to_vec();
    let nodes = wishes.nodes.to_string();
    for (option, value) in [
        ("--switches", wishes.switches.word()),
        ("--families", wishes.families.word()),
        ("--nodes", &nodes),
        ("--proxy", wishes.proxy.mode()),
        ("--carrier", wishes.carrier.word()),
    ] {
        all.extend([option, value].map(OsString::from));
    }
    all.extend(["--image".into(), wishes.image.clone().into_os_string()]);
    all
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("?").to_owned()
}

/// Where and with what this was measured.
fn conditions(wishes: &Wishes, loads: &[String]) -> String {
    let uname = rustix::system::uname();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = processor
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, name)| name);
    let programs = [
        ("containerd", "--version"),
        ("runc", "--version"),
        ("bird", "--version"),
        ("etcd", "--version"),
    ];
    let versions: Vec<_> = programs
        .iter()
        .map(|(program, option)| version(program, option))
        .collect();
    format!(
        "  {cores} cores of {processor}; Linux {}\n  {}\n  {} nodes, kube-proxy with {}; load of the machine before each cluster: {}\n",
        uname.release().to_string_lossy(),
        versions.join("; "),
        wishes.nodes,
        wishes.proxy.mode(),
        loads.join(", ")
    )
}

/// The first line of what a program says of itself, whichever way it says it.
fn version(program: &str, option: &str) -> String {
    let said = locate(program)
        .and_then(|path| Command::new(path).arg(option).output().ok())
        .map(|output| [output.stdout, output.stderr].concat())
        .unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    said.lines().next().unwrap_or(program).to_owned()
}

/// A line for each figure, a column for each carrier with all its rounds.
fn draw(columns: &[Vec<Figures>; 2]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for figure in columns.iter().flatten().flatten() {
        if !names.contains(&figure.name.as_str()) {
            names.push(&figure.name);
        }
    }
    let cell = |rounds: &Vec<Figures>, name: &str| {
        let mut text = String::new();
        for figures in rounds {
            let found = figures.iter().find(|figure| figure.name == name);
            let figure = found.map_or("none".to_owned(), |figure| figure::seconds(figure.took));
            let _ = write!(text, "{}{figure}", if text.is_empty() { "" } else { "  " });
        }
        text
    };
    let mut rows = vec![vec![
        String::new(),
        CARRIERS[0].title().to_owned(),
        CARRIERS[1].title().to_owned(),
    ]];
    rows.extend(names.iter().map(|name| {
        vec![
            (*name).to_owned(),
            cell(&columns[0], name),
            cell(&columns[1], name),
        ]
    }));
    paint::table(&rows)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::draw;
    use crate::cluster::pace::figure::Figure;

    #[test]
    fn every_round_stands_in_its_column_and_what_is_missing_is_seen() {
        let figure = |name: &str, ms| Figure::new(name, Duration::from_millis(ms));
        let ours = vec![
            vec![figure("start", 100), figure("join", 5000)],
            vec![figure("start", 120), figure("join", 6000)],
        ];
        let theirs = vec![
            vec![figure("start", 2000)],
            vec![figure("start", 2500), figure("join", 7000)],
        ];
        let text = draw(&[ours, theirs]);
        let lines: Vec<String> = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            lines,
            [
                "flatroute ptp, host-local, BIRD",
                "start 0.100 0.120 2.000 2.500",
                "join 5.000 6.000 none 7.000"
            ]
        );
    }
}
