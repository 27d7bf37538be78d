//! The upstream end-to-end tests of `[sig-network]`, unmodified, run by upstream's own runner against this cluster.
//!
//! Two sets: everything that the Kubernetes project demands of a conforming network (`[Conformance]`), and what it tests of
//! dual-stack clusters. Each specification has its own namespace and cleans up behind itself. The report is the runner's
//! JSON, so that nothing depends on how it words its output.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::Cluster;
use crate::process::Daemon;

/// How many specifications of `[sig-network]` Kubernetes 1.34 marks `[Conformance]`.
pub const CONFORMANCE: usize = 45;
/// All of them, on two cores.
const BOUND: Duration = Duration::from_secs(45 * 60);
/// How many run side by side.
const PROCESSES: &str = "--procs=6";

/// What became of one specification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It held.
    Passed,
    /// It ran and decided not to judge; its reason.
    Skipped(String),
    /// It did not hold; its reason.
    Failed(String),
}

/// One specification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Specification {
    /// Its whole text.
    pub name: String,
    /// What became of it.
    pub verdict: Verdict,
    /// How long it took.
    pub took: Duration,
}

/// A set of specifications, after a run.
#[derive(Debug, Clone)]
pub struct Report {
    /// Those of the set, in the suite's order.
    pub specifications: Vec<Specification>,
    /// How long the run took.
    pub took: Duration,
}

impl Report {
    /// How many passed.
    #[must_use]
    pub fn passed(&self) -> usize {
        let all = self.specifications.iter();
        all.filter(|spec| spec.verdict == Verdict::Passed).count()
    }

    /// Whether all passed or gave a reason not to judge.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let failed = |spec: &Specification| matches!(spec.verdict, Verdict::Failed(_));
        !self.specifications.is_empty() && !self.specifications.iter().any(failed)
    }

    /// A line for each that did not pass.
    #[must_use]
    pub fn remarks(&self) -> Vec<String> {
        let remark = |spec: &Specification| match &spec.verdict {
            Verdict::Passed => None,
            Verdict::Skipped(why) => Some(format!("skipped: {}: {why}", spec.name)),
            Verdict::Failed(why) => Some(format!("FAILED: {}: {why}", spec.name)),
        };
        self.specifications.iter().filter_map(remark).collect()
    }
}

/// Why specifications of a feature cannot be judged here, and the regular expression that they match.
#[must_use]
pub fn left_out() -> Option<(&'static str, &'static str)> {
    let protocol = rustix::net::Protocol::from_raw(rustix::net::ipproto::SCTP.as_raw());
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::SEQPACKET,
        Some(protocol),
    );
    let words = "the specifications of SCTP are left out: this machine's kernel opens no SCTP socket";
    socket
        .is_err()
        .then_some((words, r"\[Feature:SCTPConnectivity\]"))
}

/// Runs the specifications whose text matches `focus` (a regular expression of Go); the log and the report stay in `dir`.
///
/// # Errors
/// The programs are not built, or the run does not come to an end.
pub fn run(cluster: &Cluster, dir: &Path, name: &str, focus: &str) -> Result<Report> {
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    let parts = &cluster.common.parts;
    let mut command = cluster.ground.control.command(&parts.find("ginkgo")?);
    let report = format!("{name}.json");
    command
        .current_dir(dir)
        .args([PROCESSES, "--no-color", "--silence-skips", "--timeout=44m"])
        .arg(format!("--focus={focus}"))
        .args(left_out().map(|(_, feature)| format!("--skip={feature}")))
        .arg(format!("--json-report={report}"))
        .arg(format!("--output-dir={}", dir.display()))
        .arg(parts.find("e2e.test")?)
        .arg("--")
        .arg(format!(
            "-kubeconfig={}",
            cluster.common.secrets.kubeconfig_of("admin").display()
        ))
        .arg(format!("-kubectl-path={}", parts.find("kubectl")?.display()))
        .arg(format!("-num-nodes={}", cluster.nodes.len()))
        .args(["-provider=skeleton", "-dns-domain=cluster.local"]);
    let begun = Instant::now();
    let log = dir.join(format!("{name}.log"));
    let mut runner = Daemon::start("the upstream tests", command, &log)?;
    cluster.await_(
        &format!("the upstream tests ({name}); their log is {}", log.display()),
        BOUND,
        |_| {
            Ok(match runner.expect_running() {
                Ok(()) => Err("they still run".to_owned()),
                Err(_) => Ok(()),
            })
        },
    )?;
    let text = fs::read(dir.join(&report))
        .with_context(|| format!("the runner left no report\n{}", runner.last_words()))?;
    let specifications = read(&serde_json::from_slice(&text).context("the runner's report")?)?;
    ensure!(!specifications.is_empty(), "no specification matches {focus}");
    Ok(Report {
        specifications,
        took: begun.elapsed(),
    })
}

/// The specifications that were chosen: those that did not match are skipped without a word.
fn read(report: &Value) -> Result<Vec<Specification>> {
    let Some(suites) = report.as_array() else {
        bail!("the runner's report is no list of suites");
    };
    let all = suites
        .iter()
        .filter_map(|suite| suite["SpecReports"].as_array())
        .flatten();
    Ok(all
        .filter(|spec| spec["LeafNodeType"] == "It")
        .filter_map(specification)
        .collect())
}

fn specification(spec: &Value) -> Option<Specification> {
    let containers = spec["ContainerHierarchyTexts"].as_array().into_iter().flatten();
    let texts: Vec<&str> = containers
        .filter_map(Value::as_str)
        .chain(spec["LeafNodeText"].as_str())
        .collect();
    let why = spec["Failure"]["Message"].as_str().unwrap_or_default();
    let why = why.lines().next().unwrap_or_default().to_owned();
    let verdict = match spec["State"].as_str()? {
        "passed" => Verdict::Passed,
        "skipped" | "pending" if why.is_empty() => return None,
        "skipped" | "pending" => Verdict::Skipped(why),
        state => Verdict::Failed(format!("{state}: {why}")),
    };
    Some(Specification {
        name: texts.join(" "),
        verdict,
        took: Duration::from_nanos(spec["RunTime"].as_u64().unwrap_or(0)),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Verdict, read};

    #[test]
    fn what_was_not_chosen_is_not_in_the_report() {
        let report = json!([{"SpecReports": [
            {"LeafNodeType": "It", "ContainerHierarchyTexts": ["[sig-network] DNS"], "LeafNodeText": "works", "State": "passed", "RunTime": 5},
            {"LeafNodeType": "It", "ContainerHierarchyTexts": [], "LeafNodeText": "other", "State": "skipped"},
            {"LeafNodeType": "It", "LeafNodeText": "needs SSH", "State": "skipped", "Failure": {"Message": "no key\nat line 5"}},
            {"LeafNodeType": "It", "LeafNodeText": "broken", "State": "timedout", "Failure": {"Message": "slow"}},
            {"LeafNodeType": "SynchronizedBeforeSuite", "LeafNodeText": "", "State": "passed"},
        ]}]);
        let specs = read(&report).expect("a report");
        let verdicts: Vec<_> = specs
            .iter()
            .map(|spec| (spec.name.as_str(), spec.verdict.clone()))
            .collect();
        assert_eq!(
            verdicts,
            [
                ("[sig-network] DNS works", Verdict::Passed),
                ("needs SSH", Verdict::Skipped("no key".to_owned())),
                ("broken", Verdict::Failed("timedout: slow".to_owned())),
            ]
        );
    }
}
