//! GC of a thousand attachments that the runtime no longer knows, as after a crash of the runtime.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;

use super::plugin::Plugin;
use super::{Contestant, Families, Pod, Verb, Way};
use crate::paint;

const STALE: usize = 1000;
const ROUNDS: usize = 3;
/// More hands do not make them come quicker.
const AT_ONCE: usize = 4;
/// The conformance suite's bound for it.
const BOUND: Duration = Duration::from_secs(1);

/// Makes them, lets GC remove them, and prints how long that took.
///
/// # Errors
/// The plugin fails, or something of them is left.
pub(super) fn measure(program: &Path) -> Result<()> {
    let pods = Pod::many("stale", STALE)?;
    let mut folder = None;
    let contestant = Contestant::new("flatroute", "gc", |room| {
        let plugin = Plugin::ours(program, Families::Dual, &room)?;
        folder = Some(room.join("pods"));
        Ok(Way::Plugin(plugin))
    })?;
    let Way::Plugin(plugin) = &contestant.way else {
        return Ok(());
    };
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        contestant.go(Verb::Add, &pods, AT_ONCE)?;
        let held = count(&contestant)?;
        ensure!(held == STALE, "{held} links instead of {STALE}");
        let begin = Instant::now();
        contestant
            .host
            .run(|| plugin.call_with("GC", &[("cni.dev/valid-attachments", json!([]))]))?;
        took.push(begin.elapsed());
        let (left, files) = (count(&contestant)?, files(folder.as_deref())?);
        ensure!(left == 0 && files == 0, "GC left {left} links and {files} files");
    }
    took.sort_unstable();
    let (median, most) = (took.get(took.len() / 2), took.last());
    let (median, most) = (
        median.copied().unwrap_or_default(),
        most.copied().unwrap_or_default(),
    );
    let text = format!(
        "GC of {STALE} stale attachments, dual-stack: {:.3} s (most {:.3} s of {ROUNDS} rounds)",
        median.as_secs_f64(),
        most.as_secs_f64()
    );
    let text = if most < BOUND {
        paint::good(&text)
    } else {
        paint::bad(&text)
    };
    println!("\n  {text}");
    pods.into_iter().try_for_each(|pod| pod.namespace.delete())
}

/// How many links of pods the host has.
fn count(contestant: &Contestant) -> Result<usize> {
    let links = contestant.host.netlink()?.links()?;
    Ok(links.iter().filter(|link| link.name != "lo").count())
}

/// How many files say that an address is held or an attachment is there.
fn files(folder: Option<&Path>) -> Result<usize> {
    let Some(folder) = folder else { return Ok(0) };
    let names = |path: &Path| -> Result<usize> { Ok(std::fs::read_dir(path)?.count()) };
    // `lock`, `locks`, `turns` and `released` stay.
    Ok(names(folder)?.saturating_sub(4) + names(&folder.join("locks"))?)
}
