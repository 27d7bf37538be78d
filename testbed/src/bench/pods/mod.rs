//! Row 5: pods. What ADD and DEL of a CNI plugin cost, one at a time and many at once, and GC of very many.
//!
//! Contestants are our plugin, with two families and with one, ptp and bridge with host-local (IPv4 only: with IPv6 they wait
//! for duplicate address detection, more than a second), and the *floor* ([`floor`]): what no plugin can be quicker than,
//! an empty program and the same messages to the kernel. All do the same with the same pods in turns; who begins changes
//! with each round. Each has a host namespace of its own. Pods' namespaces are made before and kept, because making and
//! removing them is the runtime's work, and the kernel does the removing whenever it likes.
//!
//! A call is measured as a runtime sees it: from the start of the process until its output is read and it has ended. CPU time
//! is what the kernel accounts to ended children (getrusage), so children of plugins count, and the bench's own threads do not.

mod figures;
mod floor;
mod plugin;
mod stale;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use nix::sys::resource::{UsageWho, getrusage};

use super::{ROUNDS, Wishes};
use crate::namespace::Namespace;
use crate::sandbox;
use crate::speaker::own_program;
use figures::Samples;
use floor::Floor;
use plugin::Plugin;

/// Pods of a round that come and go one at a time.
const ONE_BY_ONE: usize = 40;
/// Pods of a round of which [`AT_ONCE`] come and go at once.
const CROWD: usize = 96;
/// A kubelet starts pods as fast as it is told of them; a node that boots gets some dozens.
const AT_ONCE: usize = 16;

/// What a runtime asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Add,
    Del,
}

/// One of the pods, without any interface.
#[derive(Debug)]
pub(super) struct Pod {
    pub(super) number: u32,
    pub(super) id: String,
    pub(super) namespace: Namespace,
}

impl Pod {
    fn many(name: &str, count: usize) -> Result<Vec<Self>> {
        (0..count)
            .map(|number| {
                let id = format!("{name}-{number}");
                Ok(Self {
                    number: u32::try_from(number)?,
                    namespace: Namespace::create(&id)?,
                    id,
                })
            })
            .collect()
    }
}

/// Families of a pod's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Families {
    Dual,
    Ipv4,
}

enum Way {
    Plugin(Plugin),
    Floor(Floor),
}

/// Somebody who makes and removes pods' interfaces, and how long that took.
struct Contestant {
    name: String,
    host: Namespace,
    way: Way,
    alone: Samples,
    crowd: Samples,
}

impl Contestant {
    fn new(name: &str, short: &str, way: impl FnOnce(PathBuf) -> Result<Way>) -> Result<Self> {
        let host = Namespace::create(&format!("pods-{short}"))?;
        host.forward()?;
        let room = sandbox::room().join("lab").join(format!("pods-{short}"));
        std::fs::create_dir_all(&room).context("a folder for a plugin's records")?;
        Ok(Self {
            name: name.to_owned(),
            host,
            way: way(room)?,
            alone: Samples::default(),
            crowd: Samples::default(),
        })
    }

    fn plugin(name: &str, short: &str, make: impl FnOnce(PathBuf) -> Result<Plugin>) -> Result<Self> {
        Self::new(name, short, |room| make(room).map(Way::Plugin))
    }

    /// All that there are on this machine.
    fn all(wishes: &Wishes) -> Result<Vec<Self>> {
        let ours = own_plugin(wishes)?;
        let mut all = Vec::new();
        for (families, word) in [(Families::Dual, "dual-stack"), (Families::Ipv4, "IPv4")] {
            let (name, short) = (format!("flatroute, {word}"), format!("ours-{word}"));
            all.push(Self::plugin(&name, &short, |room| {
                Plugin::ours(&ours, families, &room)
            })?);
            if let Some(other) = &wishes.against {
                let name = format!("--against, {word}");
                all.push(Self::plugin(&name, &format!("against-{word}"), |room| {
                    Plugin::ours(other, families, &room)
                })?);
            }
        }
        for kind in ["ptp", "bridge"] {
            match plugin::reference(kind) {
                Some(_) if wishes.alone => {}
                Some(program) => all.push(Self::plugin(
                    &format!("{kind} + host-local, IPv4"),
                    kind,
                    |room| Plugin::theirs(kind, &program, &room),
                )?),
                None => println!("  {kind} is not installed (sudo make test-deps), so it is left out."),
            }
        }
        for (families, word) in [(Families::Dual, "dual-stack"), (Families::Ipv4, "IPv4")] {
            let (name, short) = (format!("floor, {word}"), format!("floor-{word}"));
            all.push(Self::new(&name, &short, |room| {
                Floor::new(families, &room).map(Way::Floor)
            })?);
        }
        Ok(all)
    }

    /// One verb for all of `pods`, `at_once` at a time.
    fn go(&self, verb: Verb, pods: &[Pod], at_once: usize) -> Result<Phase> {
        let (before, begin) = (children()?, Instant::now());
        let worker = |first: usize| -> Result<(Vec<Duration>, Duration)> {
            self.host.enter()?;
            let mut own = Duration::ZERO;
            let mut times = Vec::new();
            for pod in pods.iter().skip(first).step_by(at_once) {
                let start = Instant::now();
                own += match &self.way {
                    Way::Plugin(plugin) => plugin.call(verb, pod).map(|()| Duration::ZERO),
                    Way::Floor(floor) => floor.call(verb, pod, &self.host),
                }
                .with_context(|| format!("{}, {verb:?} of {}", self.name, pod.id))?;
                times.push(start.elapsed());
            }
            Ok((times, own))
        };
        let done = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..at_once)
                .map(|first| scope.spawn(move || worker(first)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().map_err(|_| anyhow!("a worker panicked"))?)
                .collect::<Result<Vec<_>>>()
        })?;
        let wall = begin.elapsed();
        let own: Duration = done.iter().map(|(_, own)| *own).sum();
        Ok(Phase {
            cpu: children()?.saturating_sub(before) + own,
            times: done.into_iter().flat_map(|(times, _)| times).collect(),
            wall,
        })
    }

    fn round(&mut self, pods: &[Pod]) -> Result<()> {
        for (count, at_once) in [(ONE_BY_ONE, 1), (CROWD, AT_ONCE)] {
            let pods = pods.get(..count).unwrap_or(pods);
            let add = self.go(Verb::Add, pods, at_once)?;
            let del = self.go(Verb::Del, pods, at_once)?;
            let samples = if at_once == 1 {
                &mut self.alone
            } else {
                &mut self.crowd
            };
            samples.add.push(add);
            samples.del.push(del);
        }
        Ok(())
    }
}

/// What one verb took for some pods.
#[derive(Debug)]
pub(super) struct Phase {
    /// Each call.
    pub(super) times: Vec<Duration>,
    /// Of all processes.
    pub(super) cpu: Duration,
    /// From the first to the last.
    pub(super) wall: Duration,
}

/// CPU time of all children that have ended and were waited for, and of theirs.
fn children() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("getrusage")?;
    let time = |value: nix::sys::time::TimeVal| -> Result<Duration> {
        let seconds = u64::try_from(value.tv_sec()).context("CPU time")?;
        let micros = u64::try_from(value.tv_usec()).context("CPU time")?;
        Ok(Duration::from_secs(seconds) + Duration::from_micros(micros))
    };
    Ok(time(usage.user_time())? + time(usage.system_time())?)
}

/// The plugin that is measured: the one that was named, or the one that was built with this program.
pub(super) fn own_plugin(wishes: &Wishes) -> Result<PathBuf> {
    match &wishes.plugin {
        Some(path) => std::path::absolute(path).context("--plugin"),
        None => own_program("flatroute-cni"),
    }
}

/// Measures and prints.
///
/// # Errors
/// A plugin fails, or the kernel refuses a namespace.
pub(super) fn measure(wishes: &Wishes) -> Result<()> {
    let ours = own_plugin(wishes)?;
    let rounds = wishes.rounds.unwrap_or(ROUNDS).max(1);
    print!("{}", figures::conditions(&ours, rounds)?);
    let pods = Pod::many("pod", CROWD)?;
    let mut contestants = Contestant::all(wishes)?;
    // Unmeasured: what a plugin makes once (a bridge, a directory) and what the page cache lacks.
    for contestant in &contestants {
        let first = pods.get(..1).unwrap_or_default();
        contestant.go(Verb::Add, first, 1)?;
        contestant.go(Verb::Del, first, 1)?;
    }
    for round in 0..rounds {
        let count = contestants.len().max(1);
        for turn in 0..count {
            let index = (round + turn) % count;
            if let Some(contestant) = contestants.get_mut(index) {
                contestant.round(&pods)?;
            }
        }
    }
    let lines: Vec<_> = contestants
        .iter()
        .map(|each| (each.name.as_str(), &each.alone, &each.crowd))
        .collect();
    print!("{}", figures::tables(&lines));
    stale::measure(&ours)
}
