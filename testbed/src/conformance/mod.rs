//! A conformance suite for CNI plugins, anybody's: 116 numbered items, each judged by what a runtime can see.
//!
//! A plugin is a program ([`invocation`]): variables and standard input go in, standard output and an exit code come out, and
//! the kernel has changed. Nothing else is looked at. Every item gets a host of its own ([`world`]), a network namespace with
//! an uplink and pods beside it, in a sandbox where `/run` and `/var/lib` are empty and vanish at the end ([`ground`]). The
//! plugins of a list are run as libcni does it ([`attachment`]). Whether an address is free shows by filling the pool
//! ([`pool`]), what is left on the host by a picture before and after ([`traces`]).
//!
//! An item that a configuration or a plugin's versions promise nothing about is *not applicable*; one that cannot be brought
//! about from outside is *not provoked*, and keeps its number, so that a plugin's own tests can refer to it.

mod attachment;
mod ground;
mod invocation;
mod items;
mod network;
pub mod page;
mod pool;
mod table;
mod traces;
mod verdict;
mod world;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

pub use table::{Counts, Report};
pub use verdict::{Item, Proof, Verdict};
pub use world::Suite;

use crate::namespace::Namespace;
use crate::sandbox;
use invocation::Call;
use network::Network;

/// A whole run is given up after so long.
const LIMIT: Duration = Duration::from_secs(1800);
/// The newest version that the items know.
const NEWEST: &str = "1.1.0";

/// What a user asks for.
#[derive(Debug)]
pub struct Wishes {
    /// Where the plugins are.
    pub plugin_dir: PathBuf,
    /// A `.conflist`, or a `.conf` with one plugin.
    pub conf: PathBuf,
    /// The items; all when empty.
    pub only: BTreeSet<u8>,
    /// JSON instead of the table.
    pub json: bool,
}

/// Reads `14,22-30`.
///
/// # Errors
/// It is no such list, or names numbers that no item has.
pub fn numbers(text: &str) -> Result<BTreeSet<u8>> {
    let mut found = BTreeSet::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let read = |text: &str| {
            text.trim()
                .parse::<u8>()
                .with_context(|| format!("--only: {part:?} is no number or range"))
        };
        let (first, last) = (read(first)?, read(last)?);
        ensure!(
            first <= last
                && items::all().any(|item| item.number == first)
                && items::all().any(|item| item.number == last),
            "--only: {part:?}: the items are 1 to 116"
        );
        found.extend(first..=last);
    }
    Ok(found)
}

/// The command.
///
/// # Errors
/// The sandbox, the plugins or the configuration cannot be used.
pub fn run(wishes: &Wishes) -> Result<ExitCode> {
    let body = || {
        let suite = Suite::open(&wishes.plugin_dir, &wishes.conf)?;
        if !wishes.json {
            println!("{}\n", suite.title());
        }
        let report = suite.run(&wishes.only, |item, verdict| {
            if !wishes.json {
                println!("{}", table::line(item, verdict));
            }
        })?;
        if wishes.json {
            println!("{:#}", report.json(&suite));
        } else {
            println!("\n{}", report.summary());
        }
        Ok(u8::from(report.counts().failed > 0))
    };
    Ok(sandbox::exit_code(sandbox::run(LIMIT, body)?))
}

impl Suite {
    /// Makes everything ready, inside the sandbox: reads the configuration, and asks each of its plugins, that of `ipam.type` too, for
    /// its versions.
    ///
    /// # Errors
    /// The configuration is wrong, a plugin is missing or lists no version that the items know.
    pub fn open(plugin_dir: &Path, conf: &Path) -> Result<Self> {
        ensure!(sandbox::is_inside(), "the suite runs in a sandbox only");
        let plugin_dir =
            std::fs::canonicalize(plugin_dir).with_context(|| plugin_dir.display().to_string())?;
        let mut network = Network::read(conf)?;
        ground::cover(&[&plugin_dir, &std::env::current_exe()?])?;
        let host = Namespace::create("conformance-versions")?;
        let mut supported: Option<Vec<String>> = None;
        let kinds = (0..network.plugins.len()).map(|index| network.kind(index));
        for kind in kinds.chain(network.delegate()) {
            let program = plugin_dir.join(kind);
            ensure!(program.is_file(), "{} is not there", program.display());
            let listed = versions(&program, &plugin_dir, &host)?;
            supported = Some(match supported {
                None => listed,
                Some(before) => before
                    .into_iter()
                    .filter(|version| listed.contains(version))
                    .collect(),
            });
        }
        host.delete()?;
        let mut supported = supported.unwrap_or_default();
        supported.retain(|version| version.as_str() <= NEWEST);
        supported.sort();
        let Some(newest) = supported.last() else {
            bail!("the plugins have no version of CNI up to {NEWEST} in common");
        };
        network.version.clone_from(newest);
        Ok(Self {
            plugin_dir,
            network,
            supported,
            capacity: Mutex::new(None),
        })
    }

    /// What is tested, in a line.
    #[must_use]
    pub fn title(&self) -> String {
        let kinds: Vec<&str> = (0..self.network.plugins.len())
            .map(|index| self.network.kind(index))
            .collect();
        let ipam = self
            .network
            .delegate()
            .map(|kind| format!(" with {kind}"))
            .unwrap_or_default();
        format!(
            "{}{ipam}: CNI {} (cniVersion {} where an item does not say otherwise)",
            kinds.join(", "),
            self.supported.join(", "),
            self.network.version
        )
    }

    /// Judges the items of these numbers, all when there are none; `say` hears of each.
    ///
    /// # Errors
    /// The machine does not let an item have its world.
    pub fn run(&self, only: &BTreeSet<u8>, mut say: impl FnMut(&Item, &Verdict)) -> Result<Report> {
        let mut report = Report::default();
        for item in items::all().filter(|item| only.is_empty() || only.contains(&item.number)) {
            let verdict = self
                .judge(item)
                .with_context(|| format!("item {}", item.number))?;
            say(item, &verdict);
            report.verdicts.push((item.number, verdict));
        }
        Ok(report)
    }
}

fn versions(program: &Path, plugin_dir: &Path, host: &Namespace) -> Result<Vec<String>> {
    let call = Call {
        program: program.to_owned(),
        env: std::collections::BTreeMap::default(),
        stdin: format!("{{\"cniVersion\":\"{NEWEST}\"}}").into_bytes(),
    };
    // What libcni fills in, for plugins that ask for more than the specification says.
    let call = call
        .with("CNI_COMMAND", "VERSION")
        .with("CNI_NETNS", "dummy")
        .with("CNI_IFNAME", "dummy")
        .with("CNI_PATH", &plugin_dir.to_string_lossy());
    let said = call.run(host).and_then(|answer| answer.result());
    let said = said.with_context(|| format!("VERSION of {}", program.display()))?;
    let listed = said.get("supportedVersions").and_then(Value::as_array);
    let listed = listed.with_context(|| format!("VERSION of {}: no supportedVersions", program.display()))?;
    Ok(listed
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn numbers_and_ranges() {
        let found: Vec<u8> = numbers("14,22-24").expect("a list").into_iter().collect();
        assert_eq!(found, [14, 22, 23, 24]);
        assert!(numbers("").expect("nothing").is_empty());
        for wrong in ["0", "117", "9-3", "a", "1-", "300"] {
            assert!(numbers(wrong).is_err(), "{wrong}");
        }
    }
}
