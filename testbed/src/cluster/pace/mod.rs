//! How quick a cluster is, in figures that do not depend on who carries its pods' packets: a hundred pods on a node, and a
//! node that joins.
//!
//! The figures are for comparison ([`super::bench`]): a machine that plays four nodes on two cores is no measure of real ones.

mod crowd;
pub mod figure;
mod newcomer;
mod runtime;
mod watch;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use self::figure::{Figure, seconds};
use super::Cluster;
use super::exam::{Row, Verdict};

/// One of the things that are measured.
type Measure = fn(&mut Cluster) -> Result<Vec<Figure>>;

/// Measures, and leaves the figures in `dir` for who compares.
///
/// # Errors
/// The figures cannot be written. What cannot be measured is a row of the table.
pub fn run(cluster: &mut Cluster, dir: &Path) -> Result<Vec<Row>> {
    let mut figures = Vec::new();
    let mut failed = Vec::new();
    let parts: [(&str, Measure); 2] = [
        ("a hundred pods", a_hundred_pods),
        ("a node joins", newcomer::measure),
    ];
    for (name, part) in parts {
        cluster.teller.say(&format!("measured: {name}"));
        match part(cluster) {
            Ok(found) => figures.extend(found),
            Err(error) => failed.push(Row {
                name: name.to_owned(),
                verdict: Verdict::Failed,
                detail: format!("{error:#}"),
            }),
        }
    }
    let row = |figure: &Figure| Row {
        name: figure.name.clone(),
        verdict: Verdict::Ok,
        detail: format!("{} s", seconds(figure.took)),
    };
    let rows = figures.iter().map(row).chain(failed).collect();
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    let text = serde_json::to_vec_pretty(&figures).context("figures as JSON")?;
    let path = file(dir);
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    Ok(rows)
}

/// Where the figures of the last run are.
pub(super) fn file(dir: &Path) -> PathBuf {
    dir.join("pace.json")
}

/// On the second node: the last one joins anew, and the first one has the pod that asks.
fn a_hundred_pods(cluster: &mut Cluster) -> Result<Vec<Figure>> {
    let node = cluster.nodes.get(1).context("a second node")?;
    crowd::measure(cluster, node)
}
