//! Figures of pods, for people: a table for one at a time, one for many at once, and what the budgets say.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{AT_ONCE, CROWD, ONE_BY_ONE, Phase};
use crate::paint;

/// ADD one at a time, dual-stack, against the floor.
const OF_FLOOR: f64 = 1.4;
/// The same against ptp with IPv4 only.
const OF_PTP: f64 = 1.0 / 6.0;
/// CPU time of an ADD among many, against the floor's.
const CPU_OF_FLOOR: f64 = 1.5;

/// All rounds of one contestant.
#[derive(Debug, Default)]
pub(super) struct Samples {
    pub(super) add: Vec<Phase>,
    pub(super) del: Vec<Phase>,
}

/// One verb over all rounds.
#[derive(Debug, Clone, Copy)]
struct Summary {
    p50: Duration,
    p99: Duration,
    cpu: Duration,
    per_second: f64,
}

impl Summary {
    fn of(phases: &[Phase]) -> Option<Self> {
        let mut times: Vec<Duration> = phases
            .iter()
            .flat_map(|phase| phase.times.iter().copied())
            .collect();
        times.sort_unstable();
        let count = u32::try_from(times.len()).ok().filter(|count| *count > 0)?;
        let wall: Duration = phases.iter().map(|phase| phase.wall).sum();
        Some(Self {
            p50: quantile(&times, 50)?,
            p99: quantile(&times, 99)?,
            cpu: phases.iter().map(|phase| phase.cpu).sum::<Duration>() / count,
            per_second: f64::from(count) / wall.as_secs_f64(),
        })
    }
}

/// The value that `percent` of all do not exceed (nearest rank).
fn quantile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

/// Where and with what this run measures.
pub(super) fn conditions(plugin: &Path, rounds: usize) -> Result<String> {
    let version = Command::new(plugin)
        .arg("--version")
        .output()
        .with_context(|| format!("{} --version", plugin.display()))?;
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    let size = fs::metadata(plugin).context("the plugin")?.len();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<&str> = load.split_whitespace().take(3).collect();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    Ok(format!(
        "{}\n  {version} ({} KiB), Linux {}, {cores} cores, load {}; {rounds} rounds of {ONE_BY_ONE} pods one at a time and {CROWD} of which \
         {AT_ONCE} come at once, in turns\n",
        paint::bold("Pods come and go: ADD and DEL of CNI plugins"),
        size / 1024,
        rustix::system::uname().release().to_string_lossy(),
        load.join(" "),
    ))
}

fn milliseconds(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() * 1000.0)
}

type Line<'a> = (&'a str, &'a Samples, &'a Samples);

/// Both tables and the verdicts.
pub(super) fn tables(lines: &[Line<'_>]) -> String {
    let alone = table("one at a time", lines, |line| line.1);
    let crowd = table(&format!("{AT_ONCE} at once"), lines, |line| line.2);
    format!("\n{alone}\n{crowd}{}", verdicts(lines))
}

fn table<'a>(title: &str, lines: &[Line<'a>], which: impl Fn(&Line<'a>) -> &'a Samples) -> String {
    let head = [
        title,
        "ADD ms p50",
        "p99",
        "CPU ms",
        "a second",
        "DEL ms p50",
        "p99",
        "CPU ms",
        "a second",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for line in lines {
        let samples = which(line);
        let mut row = vec![line.0.to_owned()];
        for summary in [&samples.add, &samples.del]
            .into_iter()
            .filter_map(|phases| Summary::of(phases))
        {
            row.extend([
                milliseconds(summary.p50),
                milliseconds(summary.p99),
                milliseconds(summary.cpu),
                format!("{:.0}", summary.per_second),
            ]);
        }
        rows.push(row);
    }
    paint::table(&rows)
}

fn verdicts(lines: &[Line<'_>]) -> String {
    let find = |name: &str| lines.iter().find(|line| line.0 == name);
    let add = |name: &str| find(name).and_then(|line| Summary::of(&line.1.add));
    let many = |name: &str| find(name).and_then(|line| Summary::of(&line.2.add));
    let (ours, floor) = ("flatroute, dual-stack", "floor, dual-stack");
    let p50 = |summary: Summary| summary.p50.as_secs_f64();
    let cpu = |summary: Summary| summary.cpu.as_secs_f64();
    let ratios = [
        (
            "p50 of ADD, one at a time, to the floor's",
            add(ours).map(p50),
            add(floor).map(p50),
            OF_FLOOR,
        ),
        (
            "p50 of ADD, one at a time, to that of ptp with IPv4 only",
            add(ours).map(p50),
            add("ptp + host-local, IPv4").map(p50),
            OF_PTP,
        ),
        (
            "CPU time of an ADD among many to the floor's",
            many(ours).map(cpu),
            many(floor).map(cpu),
            CPU_OF_FLOOR,
        ),
    ];
    let mut text = String::new();
    for (what, ours, theirs, budget) in ratios {
        let (Some(ours), Some(theirs)) = (ours, theirs) else {
            continue;
        };
        let ratio = ours / theirs;
        let words = format!("{what}: {ratio:.2} (budget {budget:.2})");
        let words = if ratio <= budget {
            paint::good(&words)
        } else {
            paint::bad(&words)
        };
        let _ = write!(text, "\n  {words}");
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::quantile;

    #[test]
    fn quantiles_are_values_of_the_sample() {
        let times: Vec<_> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(quantile(&times, 50), Some(Duration::from_millis(100)));
        assert_eq!(quantile(&times, 99), Some(Duration::from_millis(198)));
        assert_eq!(quantile(&times[..1], 99), Some(Duration::from_millis(1)));
        assert_eq!(quantile(&[], 50), None);
    }
}
