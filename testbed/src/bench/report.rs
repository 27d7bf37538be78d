//! Figures for people: the conditions first, then each row with both receivers under one another.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::ground::Transport;
use super::raw::Written;
use super::{Shape, Wishes};
use crate::paint;
use crate::speaker::{Software, bird};

/// One round of one receiver.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figure {
    /// From Established to all routes in the kernel.
    pub(super) time: Duration,
    /// Of the receiver.
    pub(super) cpu: Duration,
    /// Of the receiver.
    pub(super) peak_bytes: u64,
    /// By how much the peak grew since before the sessions.
    pub(super) grown_bytes: u64,
    /// Until the receiver's socket had taken the last byte.
    pub(super) sent: Duration,
}

/// All rounds of one row.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) floor: Duration,
    pub(super) ours: Vec<Figure>,
    pub(super) bird: Vec<Figure>,
    /// Of a writer that does nothing else, beside so many listeners.
    pub(super) raw: Vec<Written>,
    pub(super) listeners: usize,
}

/// Where and with what this run measures.
pub(super) fn conditions(wishes: &Wishes) -> Result<String> {
    let agent = Command::new(Software::Agent.find()?)
        .arg("--version")
        .output()
        .context("flatroute-agent --version")?;
    let agent = String::from_utf8_lossy(&agent.stdout).trim().to_owned();
    let uname = rustix::system::uname();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<&str> = load.split_whitespace().take(3).collect();
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = processor
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, name)| name);
    let mut text = format!(
        "{}\n",
        paint::bold(&format!(
            "{} routes from BGP peers into the kernel",
            wishes.routes
        ))
    );
    let _ = write!(
        text,
        "  {agent}, {}, Linux {}, {cores} cores ({processor}), load {}\n  \
         from Established to every route in the kernel; {} rounds, alternating; CPU and memory of the receiver\n",
        bird::version().unwrap_or_else(|_| "no BIRD".to_owned()),
        uname.release().to_string_lossy(),
        load.join(" "),
        wishes.rounds(wishes.routes)
    );
    Ok(text)
}

/// One row, both receivers.
pub(super) fn row(shape: Shape, row: &Row) -> String {
    let family = match shape.transport {
        Transport::Ipv4 => "IPv4",
        Transport::Ipv6 => "IPv6",
    };
    let legs = if shape.hops == 1 { "next hop" } else { "next hops" };
    let title = format!("{family}, {} {legs}", shape.hops);
    let cells = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let mut rows = vec![cells(&[
        &title,
        "median s",
        "min",
        "max",
        "routes/s",
        "CPU s",
        "peak MiB",
        "B/route",
        "taken after s",
    ])];
    rows.extend(line("flatroute", shape, &row.ours));
    rows.extend(line("BIRD", shape, &row.bird));
    rows.extend(raw_writer(shape, &row.raw));
    let mut feeders = cells(&["reading alone"]);
    feeders.push(seconds(row.floor));
    rows.push(feeders);
    let mut text = format!("\n{}", paint::table(&rows));
    let time = |figures: &[Figure]| Some(median(figures, |f| f.time)?.as_secs_f64());
    let cpu = |figures: &[Figure]| Some(median(figures, |f| f.cpu)?.as_secs_f64());
    if let (Some(our_time), Some(their_time), Some(our_cpu), Some(their_cpu)) =
        (time(&row.ours), time(&row.bird), cpu(&row.ours), cpu(&row.bird))
    {
        let verdict = format!(
            "flatroute takes {:.2} of BIRD's time and {:.2} of its CPU",
            our_time / their_time,
            our_cpu / their_cpu
        );
        let verdict = if our_time <= their_time {
            paint::good(&verdict)
        } else {
            paint::bad(&verdict)
        };
        let _ = writeln!(text, "  {verdict}");
    }
    let raw = |of: fn(&Written) -> Duration| Some(median(&row.raw, of)?.as_secs_f64());
    if let (Some(our_time), Some(our_cpu), Some(raw_time), Some(raw_cpu)) =
        (time(&row.ours), cpu(&row.ours), raw(|w| w.time), raw(|w| w.cpu))
    {
        let _ = writeln!(
            text,
            "  the raw writer, beside {} listeners too, takes {:.2} of flatroute's time and {:.2} of its CPU",
            row.listeners,
            raw_time / our_time,
            raw_cpu / our_cpu
        );
    }
    text
}

fn raw_writer(shape: Shape, rounds: &[Written]) -> Option<Vec<String>> {
    let time = median(rounds, |round| round.time)?;
    Some(vec![
        "raw writer".to_owned(),
        seconds(time),
        seconds(rounds.iter().map(|round| round.time).min()?),
        seconds(rounds.iter().map(|round| round.time).max()?),
        format!("{:.0}k", f64::from(shape.routes) / time.as_secs_f64() / 1000.0),
        seconds(median(rounds, |round| round.cpu)?),
    ])
}

fn line(name: &str, shape: Shape, figures: &[Figure]) -> Option<Vec<String>> {
    let time = median(figures, |f| f.time)?;
    let least = figures.iter().map(|f| f.time).min()?;
    let most = figures.iter().map(|f| f.time).max()?;
    let peak = figures.iter().map(|f| f.peak_bytes).max()?;
    let grown = figures.iter().map(|f| f.grown_bytes).max()?;
    Some(vec![
        name.to_owned(),
        seconds(time),
        seconds(least),
        seconds(most),
        format!("{:.0}k", f64::from(shape.routes) / time.as_secs_f64() / 1000.0),
        seconds(median(figures, |f| f.cpu)?),
        format!("{}", peak.div_ceil(1024 * 1024)),
        format!("{}", grown / u64::from(shape.routes)),
        seconds(median(figures, |f| f.sent)?),
    ])
}

pub(super) fn seconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64())
}

/// The middle one, or the mean of the two in the middle; none of none.
pub(super) fn median<T>(figures: &[T], of: impl Fn(&T) -> Duration) -> Option<Duration> {
    let mut sorted: Vec<Duration> = figures.iter().map(of).collect();
    sorted.sort_unstable();
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get(sorted.len().checked_sub(1)? / 2)?;
    Some((*upper + *lower) / 2)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Figure, median};

    #[test]
    fn the_median_is_in_the_middle() {
        let figure = |milliseconds| Figure {
            time: Duration::from_millis(milliseconds),
            cpu: Duration::ZERO,
            peak_bytes: 0,
            grown_bytes: 0,
            sent: Duration::ZERO,
        };
        let of = |times: &[u64]| {
            let figures: Vec<_> = times.iter().copied().map(figure).collect();
            median(&figures, |f| f.time).map(|time| time.as_millis())
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[9, 1, 5]), Some(5));
        assert_eq!(of(&[9, 1, 5, 3]), Some(4));
    }
}
