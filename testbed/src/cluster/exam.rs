//! `make cluster-test`: a cluster comes up, is put to the test, and goes; a table at the end says what held.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};

use super::site::Shape;
use super::{
    Cluster, Wishes, annotations, mesh, model, networks, operations, pace, privileges, remove, upstream,
};
use crate::paint;
use crate::sandbox;

/// All of it, on two cores.
const LIMIT: Duration = Duration::from_secs(2 * 3600);
/// The upstream specifications that every conforming network must pass.
const CONFORMANCE: &str = r"\[sig-network\].*\[Conformance\]";
/// What upstream tests of dual-stack clusters.
const DUAL_STACK: &str = r"\[sig-network\].*\[Feature:IPv6DualStack\]";

/// What became of something that was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It held.
    Ok,
    /// It did not.
    Failed,
    /// It was not asked here; the detail says why.
    NotAsked,
}

impl Verdict {
    /// In a table.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "FAILED",
            Self::NotAsked => "not asked",
        }
    }
}

/// A line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What was asked.
    pub name: String,
    /// What became of it.
    pub verdict: Verdict,
    /// What was seen.
    pub detail: String,
}

/// A part of the exam.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The upstream end-to-end tests.
    Upstream,
    /// What operators do, under traffic.
    Operations,
    /// The sentences of the network model.
    Model,
    /// What pods ask for by annotations.
    Annotations,
    /// Several networks in a pod, by Multus.
    Multus,
    /// How quick it is.
    Pace,
    /// Nodes that are neighbours of each other, on a segment.
    Mesh,
    /// What the agents may do at the API server, and did: the last, so that it covers the other parts.
    Privileges,
    /// docs/remove.md: really the last, since nothing is left.
    Remove,
}

impl Part {
    /// Those that a cluster of a shape is asked when nobody chooses.
    #[must_use]
    pub fn usual(shape: Shape) -> BTreeSet<Self> {
        match shape {
            Shape::Racks => [
                Self::Upstream,
                Self::Operations,
                Self::Model,
                Self::Annotations,
                Self::Privileges,
                Self::Remove,
            ]
            .into(),
            Shape::Segment => [Self::Mesh].into(),
        }
    }

    /// Whether it can be asked of a cluster of a shape.
    fn fits(self, shape: Shape) -> bool {
        match self {
            Self::Upstream | Self::Remove => true,
            Self::Operations
            | Self::Model
            | Self::Annotations
            | Self::Multus
            | Self::Privileges
            | Self::Pace => shape == Shape::Racks,
            Self::Mesh => shape == Shape::Segment,
        }
    }
}

impl std::str::FromStr for Part {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "upstream" => Ok(Self::Upstream),
            "operations" => Ok(Self::Operations),
            "model" => Ok(Self::Model),
            "annotations" => Ok(Self::Annotations),
            "multus" => Ok(Self::Multus),
            "privileges" => Ok(Self::Privileges),
            "pace" => Ok(Self::Pace),
            "mesh" => Ok(Self::Mesh),
            "remove" => Ok(Self::Remove),
            _ => bail!(
                "CHECKS={text}: there is no such part; it may be upstream, operations, model, annotations, multus, privileges, pace, mesh or remove, several with commas"
            ),
        }
    }
}

/// Brings a cluster up, runs the parts (after operations always what the agents may), prints the table and takes the cluster down.
///
/// # Errors
/// A part is not for this shape, or the cluster does not come up.
pub fn run(wishes: &Wishes, parts: &BTreeSet<Part>) -> Result<ExitCode> {
    if let Some(part) = parts.iter().find(|part| !part.fits(wishes.shape)) {
        bail!(
            "CHECKS: {part:?} is not for SHAPE={:?}: operations, model, annotations, multus, privileges and pace need racks, mesh needs a segment",
            wishes.shape
        );
    }
    let results = results(wishes);
    let mut parts = parts.clone();
    if parts.contains(&Part::Operations) {
        parts.insert(Part::Privileges);
    }
    super::with(wishes, LIMIT, |cluster| examine(cluster, &parts, &results)).map(sandbox::exit_code)
}

/// Where reports stay: `target/cluster.results`.
pub(super) fn results(wishes: &Wishes) -> PathBuf {
    wishes.state.dir().with_extension("results")
}

fn examine(mut cluster: Cluster, parts: &BTreeSet<Part>, results: &Path) -> Result<u8> {
    let mut table = Vec::new();
    for part in parts {
        match part {
            Part::Upstream => {
                cluster.teller.chapter("The upstream tests, unmodified");
                let families = cluster.common.site.families.order().len();
                table.push(upstream_row(
                    &cluster,
                    results,
                    "conformance",
                    CONFORMANCE,
                    Some(upstream::CONFORMANCE),
                ));
                if families > 1 {
                    table.push(upstream_row(&cluster, results, "dual-stack", DUAL_STACK, None));
                }
            }
            Part::Operations => {
                cluster
                    .teller
                    .chapter("Operations, under traffic between the racks");
                table.extend(operations::run(&mut cluster)?);
            }
            Part::Model => {
                cluster.teller.chapter("The network model, sentence by sentence");
                table.extend(model::run(&mut cluster)?);
            }
            Part::Annotations => {
                cluster.teller.chapter("What pods ask for by annotations");
                table.extend(annotations::run(&cluster)?);
            }
            Part::Multus => {
                cluster.teller.chapter("Several networks in a pod");
                table.extend(networks::run(&cluster)?);
            }
            Part::Privileges => {
                cluster.teller.chapter("What the agents may do, and did");
                table.extend(privileges::run(&cluster)?);
            }
            Part::Remove => {
                cluster.teller.chapter("Removed without a trace");
                table.extend(remove::run(&cluster));
            }
            Part::Pace => {
                cluster
                    .teller
                    .chapter("How quick it is: a hundred pods on a node, and a node that joins");
                table.extend(pace::run(&mut cluster, results)?);
            }
            Part::Mesh => {
                cluster
                    .teller
                    .chapter("Nodes on one segment, without an object and with one");
                table.extend(mesh::run(&cluster)?);
            }
        }
    }
    cluster.teller.chapter("What held");
    Ok(conclude(&table))
}

/// Prints the table; the exit code.
fn conclude(table: &[Row]) -> u8 {
    print!("{}", draw(table));
    let failed = table.iter().filter(|row| row.verdict == Verdict::Failed).count();
    if failed > 0 {
        println!(
            "\n{}",
            paint::bad(&format!("{failed} of {} did not hold.", table.len()))
        );
        return 1;
    }
    println!(
        "\n{} ({} rows)",
        paint::good("Everything that was asked held"),
        table.len()
    );
    0
}

fn upstream_row(cluster: &Cluster, results: &Path, name: &str, focus: &str, count: Option<usize>) -> Row {
    let title = format!("upstream [sig-network], {name}");
    match upstream::run(cluster, results, name, focus) {
        Ok(report) => {
            for remark in report.remarks() {
                cluster.teller.say(&remark);
            }
            let all = report.specifications.len();
            let complete = count.is_none_or(|count| count == all && report.passed() == count);
            Row {
                name: title,
                verdict: if report.is_good() && complete {
                    Verdict::Ok
                } else {
                    Verdict::Failed
                },
                detail: format!(
                    "{} of {} passed, in {:.0} s{}",
                    report.passed(),
                    count.unwrap_or(all),
                    report.took.as_secs_f64(),
                    match (count, upstream::left_out()) {
                        (None, Some((why, _))) => format!("; {why}"),
                        _ => String::new(),
                    }
                ),
            }
        }
        Err(error) => Row {
            name: title,
            verdict: Verdict::Failed,
            detail: format!("{error:#}"),
        },
    }
}

/// The table, for a terminal.
#[must_use]
pub fn draw(rows: &[Row]) -> String {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let detail = row.detail.lines().next().unwrap_or_default();
            vec![row.verdict.word().to_owned(), row.name.clone(), detail.to_owned()]
        })
        .collect();
    paint::table(&cells)
}
