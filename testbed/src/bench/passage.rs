//! All of row 2: which routers, which tables, how many rounds, and the figures for people, which are those of row 3 too.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::feeder::Feeder;
use super::ground::Transport;
use super::report::{median, seconds};
use super::table::Set;
use super::through::{self, GivenUp, Load, Part, Passage};
use super::transit::Transit;
use super::{Wishes, mrt};
use crate::paint;

/// New rounds are not begun after this (since the bench began), so that the figures so far are printed.
const BUDGET: Duration = Duration::from_secs(450);

/// One router's rounds of one row.
#[derive(Debug)]
pub(super) struct Line {
    transit: Transit,
    rounds: Vec<Passage>,
    failed: Option<String>,
}

impl Line {
    /// Whether there is a point in another round.
    fn is_open(&self) -> bool {
        let slow = |part: &Part| part.time > through::SLOW;
        let slow = |round: &Passage| slow(&round.through) || slow(&round.withdrawal);
        self.failed.is_none() && !self.rounds.iter().any(slow)
    }
}

/// Whether our own agent was measured.
pub(super) fn is_well(lines: &[Line]) -> bool {
    let ours = |line: &&Line| line.transit == Transit::Flatroute;
    !lines.iter().filter(ours).any(|line| line.failed.is_some())
}

/// Measures and prints all of row 2; false when our own agent failed.
pub(super) fn measure(feeders: &[Feeder], wishes: &Wishes, begin: Instant) -> Result<bool> {
    let transits = Transit::asked_for(wishes)?;
    let source = match &wishes.table {
        Some(file) => format!(
            "IPv4 routes of {}, the rest made in its likeness; IPv6 routes made",
            file.file_name().unwrap_or_default().to_string_lossy()
        ),
        None => "IPv4 routes made (no --table); IPv6 routes made".to_owned(),
    };
    let title = "Routes in from one peer and out to another, then the withdrawal of all";
    print!("{}", conditions(&transits, title, &source)?);
    let Some(feeder) = feeders.first() else {
        return Ok(true);
    };
    let mut well = true;
    for transport in wishes.transports() {
        let real = match &wishes.table {
            Some(file) if *transport == Transport::Ipv4 => mrt::read(file, feeder.asn())?,
            Some(_) | None => Vec::new(),
        };
        for routes in &wishes.sizes {
            let load = Load::new(feeder, *transport, *routes, &real)?;
            let lines = rounds(feeders, &load, &transits, wishes.rounds(*routes), begin)?;
            let floor = through::floor(feeders, &load)?;
            print!("{}", table(&load, &lines, Some(&floor), &real));
            well &= is_well(&lines);
        }
    }
    Ok(well)
}

/// All rounds of one table.
pub(super) fn rounds(
    feeders: &[Feeder],
    load: &Load,
    transits: &[Transit],
    count: usize,
    begin: Instant,
) -> Result<Vec<Line>> {
    let mut lines: Vec<Line> = transits
        .iter()
        .map(|transit| Line {
            transit: transit.clone(),
            rounds: Vec::new(),
            failed: None,
        })
        .collect();
    for round in 0..count {
        // Everyone is first once.
        let daemons = lines.len().max(1);
        for step in 0..lines.len() {
            let Some(line) = lines
                .get_mut((round + step) % daemons)
                .filter(|line| line.is_open())
            else {
                continue;
            };
            if begin.elapsed() > BUDGET {
                break;
            }
            match through::pass(feeders, load, &line.transit) {
                Ok(passage) => line.rounds.push(passage),
                Err(error) => {
                    let given_up = error.chain().find_map(|cause| cause.downcast_ref::<GivenUp>());
                    line.failed = Some(match given_up {
                        Some(given_up) => given_up.to_string(),
                        None => format!("{error:#}"),
                    });
                }
            }
        }
    }
    Ok(lines)
}

/// Where and with what it is measured.
pub(super) fn conditions(transits: &[Transit], title: &str, source: &str) -> Result<String> {
    let mut text = format!("{}\n", paint::bold(title));
    let versions = transits
        .iter()
        .map(Transit::version)
        .collect::<Result<Vec<_>>>()?;
    let missing = Transit::missing();
    let missing = if missing.is_empty() {
        String::new()
    } else {
        format!(" (not installed: {})", missing.join(", "))
    };
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<&str> = load.split_whitespace().take(3).collect();
    let _ = write!(
        text,
        "  {}{missing}\n  {source}; nothing goes into the kernel; load {}\n  \
         from the first byte fed until the sink has every prefix; rounds alternate; one round only for who needs more than {} s\n",
        versions.join(", "),
        load.join(" "),
        through::SLOW.as_secs()
    );
    Ok(text)
}

/// The figures of one table.
pub(super) fn table(load: &Load, lines: &[Line], floor: Option<&Passage>, real: &[Set]) -> String {
    let family = match load.transport {
        Transport::Ipv4 => "IPv4",
        Transport::Ipv6 => "IPv6",
    };
    let real: usize = real.iter().map(|set| set.prefixes.len()).sum();
    let title = match load.feeders() {
        1 => format!("{family}, {} routes", load.routes),
        peers => format!("{family}, {peers} peers, {} routes", load.routes),
    };
    let mut rows = vec![
        [
            &title,
            "median s",
            "min",
            "max",
            "routes/s",
            "CPU s",
            "withdrawal s",
            "CPU s",
            "peak MiB",
            "B/route",
            "rounds",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    let mut failures = String::new();
    for line in lines {
        rows.extend(cells(load, line));
        let late = line
            .rounds
            .is_empty()
            .then(|| "not measured: the time was up".to_owned());
        if let Some(failed) = line.failed.clone().or(late) {
            let _ = writeln!(
                failures,
                "  {}",
                paint::bad(&format!("{}: {failed}", line.transit.title()))
            );
        }
    }
    rows.extend(floor.map(copying));
    let mut text = format!(
        "\n{}  {} sets of attributes, {:.1} routes each, {} of the routes real\n{failures}",
        paint::table(&rows),
        load.sets,
        f64::from(load.routes) / load.sets as f64,
        real.min(usize::try_from(load.routes).unwrap_or(real))
    );
    let find = |transit: &Transit| lines.iter().find(|line| line.transit == *transit);
    if let Some(ours) = find(&Transit::Flatroute) {
        for other in lines.iter().filter(|line| line.transit != Transit::Flatroute) {
            text.push_str(&verdict(ours, other));
        }
    }
    text
}

/// The row of what feeder and sink need alone.
fn copying(floor: &Passage) -> Vec<String> {
    let mut cells = vec![String::new(); 7];
    for (at, cell) in [
        (0, "copying alone".to_owned()),
        (1, seconds(floor.through.time)),
        (6, seconds(floor.withdrawal.time)),
    ] {
        cells[at] = cell;
    }
    cells
}

fn cells(load: &Load, line: &Line) -> Option<Vec<String>> {
    let rounds = &line.rounds;
    let time = median(rounds, |round| round.through.time)?;
    Some(vec![
        line.transit.title().to_owned(),
        seconds(time),
        seconds(rounds.iter().map(|round| round.through.time).min()?),
        seconds(rounds.iter().map(|round| round.through.time).max()?),
        format!("{:.0}k", f64::from(load.routes) / time.as_secs_f64() / 1000.0),
        seconds(median(rounds, |round| round.through.cpu)?),
        seconds(median(rounds, |round| round.withdrawal.time)?),
        seconds(median(rounds, |round| round.withdrawal.cpu)?),
        rounds
            .iter()
            .map(|round| round.peak_bytes)
            .max()?
            .div_ceil(1024 * 1024)
            .to_string(),
        (rounds.iter().map(|round| round.grown_bytes).max()? / u64::from(load.routes)).to_string(),
        rounds.len().to_string(),
    ])
}

fn verdict(ours: &Line, other: &Line) -> String {
    let ratio = |of: &dyn Fn(&Passage) -> Duration| {
        let (a, b) = (median(&ours.rounds, of)?, median(&other.rounds, of)?);
        Some(a.as_secs_f64() / b.as_secs_f64())
    };
    let (Some(time), Some(cpu), Some(withdrawal), Some(withdrawal_cpu)) = (
        ratio(&|round| round.through.time),
        ratio(&|round| round.through.cpu),
        ratio(&|round| round.withdrawal.time),
        ratio(&|round| round.withdrawal.cpu),
    ) else {
        return String::new();
    };
    let words = format!(
        "flatroute takes {time:.2} of the time of {} and {cpu:.2} of its CPU; withdrawal: {withdrawal:.2} and {withdrawal_cpu:.2}",
        other.transit.title()
    );
    let words = if time <= 1.0 && withdrawal <= 1.0 {
        paint::good(&words)
    } else {
        paint::bad(&words)
    };
    format!("  {words}\n")
}
