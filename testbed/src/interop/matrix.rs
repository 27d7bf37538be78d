//! Runs the cells, a few at a time, each in a sandbox of its own, and prints the table.
//!
//! A cell's name is `PEER::ROW`, so `cargo test -p flatroute-testbed --test matrix -- frr::` runs a column. A peer that
//! is not installed makes its column skipped, loudly. Only a run of everything may rewrite the page.

use std::collections::VecDeque;
use std::env;
use std::fs;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use super::page::{self, Outcome, Table};
use super::peer::{Kind, Version};
use super::rows::{ROWS, Row};
use crate::paint;
use crate::sandbox::{self, Ending};
use crate::speaker::Software;
use crate::trial::note_skip;

/// How many cells run at a time: most of their time is waiting.
const AT_A_TIME: usize = 3;
/// Argument of the run that only tries whether sandboxes are possible.
const PROBE: &str = "--try-sandbox";
/// Argument that rewrites the page.
const WRITE: &str = "--write";

/// One promise against one peer.
#[derive(Clone, Copy)]
struct Cell {
    row: &'static Row,
    kind: Kind,
}

impl Cell {
    fn name(self) -> String {
        format!("{}::{}", self.kind.key(), self.row.key)
    }

    /// By rows, so that a whole row comes early.
    fn all() -> Vec<Self> {
        let of_row = |row| Kind::ALL.map(|kind| Self { row, kind });
        ROWS.iter().flat_map(of_row).collect()
    }
}

/// The `main` of the test program.
#[must_use]
pub fn main() -> ExitCode {
    sandbox::answer_call();
    let arguments: Vec<String> = env::args().skip(1).collect();
    if sandbox::is_inside() {
        let name = arguments.first().cloned().unwrap_or_default();
        let body = || match Cell::all().into_iter().find(|cell| cell.name() == name) {
            Some(cell) => (cell.row.body)(cell.kind).map(|()| 0),
            None if name == PROBE => Ok(0),
            None => bail!("there is no cell {name}"),
        };
        return sandbox::run(std::time::Duration::MAX, body).map_or(ExitCode::FAILURE, sandbox::exit_code);
    }
    if arguments.iter().any(|argument| argument == "--list") {
        for cell in Cell::all() {
            println!("{}: test", cell.name());
        }
        return ExitCode::SUCCESS;
    }
    let exact = arguments.iter().any(|argument| argument == "--exact");
    let filters: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let wanted = |cell: &Cell| {
        let name = cell.name();
        let fits = |filter: &&String| {
            if exact {
                name == **filter
            } else {
                name.contains(filter.as_str())
            }
        };
        filters.is_empty() || filters.iter().any(fits)
    };
    let cells: Vec<Cell> = Cell::all().into_iter().filter(wanted).collect();
    let write = arguments.iter().any(|argument| argument == WRITE);
    match run(&cells, write) {
        Ok(code) => code,
        Err(error) => {
            println!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What a run adds up to.
#[derive(Debug, Default)]
struct Sum {
    table: Table,
    failed: Vec<String>,
    passed: usize,
    ignored: usize,
}

fn run(cells: &[Cell], write: bool) -> Result<ExitCode> {
    let start = Instant::now();
    let total = Cell::all().len();
    println!("\nrunning {} cells, each in namespaces of its own", cells.len());
    let mut sum = Sum::default();
    Software::Agent.find()?;
    let forbidden = sandbox::probe(PROBE).err().map(|error| format!("{error:#}"));
    let versions = find_peers(cells, forbidden.as_deref(), &mut sum);
    let (ready, waiting): (Vec<Cell>, Vec<Cell>) = cells
        .iter()
        .filter(|cell| versions.iter().any(|(kind, _)| *kind == cell.kind))
        .partition(|cell| excuse(**cell, &versions).is_none());
    for cell in waiting {
        if let Some(outcome) = excuse(cell, &versions) {
            say_excuse(cell, &outcome);
            sum.ignored += 1;
            sum.table.cells.insert((cell.row.key, cell.kind), outcome);
        }
    }
    let Some(finished) = run_side_by_side(ready) else {
        return Ok(ExitCode::from(130));
    };
    for (cell, outcome) in finished {
        match outcome {
            Outcome::Pass => sum.passed += 1,
            Outcome::Fail => sum.failed.push(cell.name()),
            Outcome::NotSupported(_) | Outcome::NotYet(_) => sum.ignored += 1,
        }
        sum.table.cells.insert((cell.row.key, cell.kind), outcome);
    }
    println!("\n{}", sum.table.markdown());
    let whole = cells.len() == total && versions.len() == Kind::ALL.len();
    if write {
        rewrite(&sum.table, whole)?;
    }
    compare(&mut sum)?;
    if !sum.failed.is_empty() {
        println!("\nfailures:\n    {}", sum.failed.join("\n    "));
    }
    println!(
        "\ntest result: {}. {} passed; {} failed; {} ignored; 0 measured; {} filtered out; finished in {:.2}s\n",
        if sum.failed.is_empty() { "ok" } else { "FAILED" },
        sum.passed,
        sum.failed.len(),
        sum.ignored,
        total.saturating_sub(cells.len()),
        start.elapsed().as_secs_f64()
    );
    Ok(if sum.failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The peers that are there; the columns of the others are skipped, and that is said.
fn find_peers(cells: &[Cell], forbidden: Option<&str>, sum: &mut Sum) -> Vec<(Kind, Version)> {
    let mut versions = Vec::new();
    for kind in Kind::ALL {
        let column = cells.iter().filter(|cell| cell.kind == kind).count();
        if column == 0 {
            continue;
        }
        let version = match forbidden {
            Some(reason) => Err(reason.to_owned()),
            None => kind.version().map_err(|error| format!("{error:#}")),
        };
        match version {
            Ok(version) => {
                println!("peer: {} {version}", kind.title());
                sum.table.versions.insert(kind, version.to_string());
                versions.push((kind, version));
            }
            Err(reason) => {
                let first = reason.lines().next().unwrap_or_default();
                let name = format!("interop matrix, {column} cells with {}", kind.title());
                println!("{name} ... {}", paint::bold(&format!("SKIPPED: {first}")));
                note_skip(&name, first);
                sum.ignored += column;
            }
        }
    }
    versions
}

/// Why a cell need not run.
fn excuse(cell: Cell, versions: &[(Kind, Version)]) -> Option<Outcome> {
    let (_, version) = versions.iter().find(|(kind, _)| *kind == cell.kind)?;
    let lacking = (cell.row.lacking)(cell.kind, *version);
    let not_yet = || (cell.row.not_yet)().map(|reason| Outcome::NotYet(reason.to_owned()));
    lacking
        .map(|reason| Outcome::NotSupported(reason.to_owned()))
        .or_else(not_yet)
}

fn say_excuse(cell: Cell, outcome: &Outcome) {
    let name = cell.name();
    match outcome {
        Outcome::NotYet(reason) => {
            println!("test {name} ... {}", paint::bold(&format!("NOT YET: {reason}")));
            note_skip(&format!("interop matrix, {name}"), &format!("not yet: {reason}"));
        }
        Outcome::NotSupported(reason) => {
            println!("test {name} ... not supported by {}: {reason}", cell.kind.title());
        }
        Outcome::Pass | Outcome::Fail => {}
    }
}

/// Runs the cells on a few threads; nothing when Ctrl-C ended it.
fn run_side_by_side(cells: Vec<Cell>) -> Option<Vec<(Cell, Outcome)>> {
    let queue = Mutex::new(VecDeque::from(cells));
    let finished = Mutex::new(Vec::new());
    let interrupted = AtomicBool::new(false);
    let next = || queue.lock().ok().and_then(|mut queue| queue.pop_front());
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(cell) = next().filter(|_| !interrupted.load(Ordering::Relaxed)) {
                    match run_cell(cell) {
                        Some(outcome) => {
                            if let Ok(mut finished) = finished.lock() {
                                finished.push((cell, outcome));
                            }
                        }
                        None => interrupted.store(true, Ordering::Relaxed),
                    }
                }
            });
        }
    });
    if interrupted.into_inner() {
        return None;
    }
    finished.into_inner().ok()
}

fn run_cell(cell: Cell) -> Option<Outcome> {
    let begun = Instant::now();
    let name = cell.name();
    let ending = sandbox::run_quietly(cell.row.limit, vec![name.clone().into()]);
    let took = begun.elapsed().as_secs_f64();
    let verdict = match ending {
        Ok((Ending::Done(0), _)) => {
            println!("test {name} ... {} ({took:.1} s)", paint::good("ok"));
            return Some(Outcome::Pass);
        }
        Ok((Ending::Interrupted, _)) => return None,
        Ok((Ending::TimedOut, _)) => format!("took longer than {:.0} s", cell.row.limit.as_secs_f64()),
        Ok((Ending::Done(_) | Ending::Refused | Ending::Kept(_), words)) => words.trim().to_owned(),
        Err(error) => format!("{error:#}"),
    };
    println!(
        "test {name} ... {} ({took:.1} s)\n{verdict}\n",
        paint::bad("FAILED")
    );
    Some(Outcome::Fail)
}

fn rewrite(table: &Table, whole: bool) -> Result<()> {
    if !whole {
        bail!("{WRITE}: the page needs every cell and every peer, and some are missing in this run");
    }
    if table.cells.values().any(|outcome| *outcome == Outcome::Fail) {
        bail!("{WRITE}: some cells failed, so the page stays as it is");
    }
    let path = page::path();
    let old = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    fs::write(&path, page::with_table(&old, table)?).with_context(|| format!("write {}", path.display()))?;
    println!("docs/interop.md is written");
    Ok(())
}

/// The page against the run; a difference is one more failure.
fn compare(sum: &mut Sum) -> Result<()> {
    let path = page::path();
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let drift = page::drift(&text, &sum.table);
    for line in &drift.news {
        println!("another version of a peer: {line}");
    }
    if drift.wrong.is_empty() {
        println!("test docs_interop_md_says_the_same ... {}", paint::good("ok"));
        sum.passed += 1;
        return Ok(());
    }
    println!(
        "test docs_interop_md_says_the_same ... {}:\n    {}\n    to repair it: {}",
        paint::bad("FAILED"),
        drift.wrong.join("\n    "),
        page::REPAIR
    );
    sum.failed.push("docs_interop_md_says_the_same".to_owned());
    Ok(())
}
