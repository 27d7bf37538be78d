//! `docs/conformance.md`: a table of all items with a column a plugin, between two marks. A test writes and compares its own
//! column; the others stay as they are.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::items::GROUPS;
use super::table::Report;
use super::verdict::Verdict;

/// The command that repairs the page.
pub const REPAIR: &str = "WRITE=1 cargo test -p flatroute-testbed --test conformance";
const BEGIN: &str = "<!-- begin of the table: made by the test, do not edit -->";
const END: &str = "<!-- end of the table -->";
/// What a cell says of an item that was not in the run.
const UNKNOWN: &str = "?";

/// A column of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Column {
    /// Our plugin with addresses of its own.
    Flatroute,
    /// Our plugin with an IPAM plugin.
    Delegating,
    /// The reference plugin ptp with host-local.
    Ptp,
    /// The reference plugin bridge with host-local.
    Bridge,
}

impl Column {
    const ALL: [Self; 4] = [Self::Flatroute, Self::Delegating, Self::Ptp, Self::Bridge];

    fn title(self) -> &'static str {
        match self {
            Self::Flatroute => "flatroute-cni",
            Self::Delegating => "with `ipam.type`",
            Self::Ptp => "ptp",
            Self::Bridge => "bridge",
        }
    }

    /// What a cell says. Only the first column has room for reasons, and what a failure saw differs from run to run.
    fn cell(self, verdict: &Verdict) -> String {
        match (self, verdict) {
            (Self::Flatroute, verdict) if !verdict.detail().is_empty() => {
                format!("{}: {}", verdict.word(), verdict.detail())
            }
            (_, Verdict::NotApplicable(_)) => "–".to_owned(),
            (_, verdict) => verdict.word().to_owned(),
        }
    }
}

/// Where the page is.
#[must_use]
pub fn path() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/conformance.md"))
}

/// The cells of one column, by the number of the item.
type Cells = BTreeMap<u8, String>;

/// The page with one column of its table, and the line with the sum below, as `report` has it. Cells of `left_out` stay.
///
/// # Errors
/// The page has no marks.
pub fn with_column(page: &str, column: Column, report: &Report, left_out: &[u8]) -> Result<String> {
    let (before, rest) = page
        .split_once(BEGIN)
        .context("docs/conformance.md has no mark where the table begins")?;
    let (table, after) = rest
        .split_once(END)
        .context("docs/conformance.md has no mark where the table ends")?;
    let mut columns: BTreeMap<Column, Cells> = Column::ALL
        .into_iter()
        .map(|column| (column, read(table, column)))
        .collect();
    let mut sums: BTreeMap<Column, String> = Column::ALL
        .into_iter()
        .filter_map(|column| Some((column, sum_of(table, column)?)))
        .collect();
    let cells = columns.entry(column).or_default();
    for (number, verdict) in &report.verdicts {
        if !left_out.contains(number) {
            cells.insert(*number, column.cell(verdict));
        }
    }
    if left_out.is_empty() {
        sums.insert(column, report.summary());
    }
    Ok(format!(
        "{before}{BEGIN}\n\n{}\n{END}{after}",
        written(&columns, &sums)
    ))
}

/// What the page says of an item.
///
/// # Errors
/// The page has no marks.
pub fn cell(page: &str, column: Column, number: u8) -> Result<String> {
    let (_, rest) = page.split_once(BEGIN).context("no mark")?;
    let (table, _) = rest.split_once(END).context("no mark")?;
    Ok(read(table, column)
        .remove(&number)
        .unwrap_or_else(|| UNKNOWN.to_owned()))
}

/// Whether a verdict is what a cell says.
#[must_use]
pub fn says(cell: &str, column: Column, verdict: &Verdict) -> bool {
    column.cell(verdict) == cell
}

fn read(table: &str, column: Column) -> Cells {
    let place = Column::ALL
        .iter()
        .position(|each| *each == column)
        .unwrap_or_default();
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        let number = cells.first()?.parse().ok()?;
        let cell = cells.get(place.saturating_add(2))?;
        Some((number, (*cell).to_owned()))
    };
    table.lines().filter_map(row).collect()
}

fn sum_of(table: &str, column: Column) -> Option<String> {
    let begin = format!("- {}: ", column.title());
    let line = table.lines().find_map(|line| line.strip_prefix(&begin))?;
    Some(line.trim_end_matches('.').to_owned())
}

fn written(columns: &BTreeMap<Column, Cells>, sums: &BTreeMap<Column, String>) -> String {
    let titles: Vec<&str> = columns.keys().map(|column| column.title()).collect();
    let mut text = format!(
        "| # | item | {} |\n|---|---|{}\n",
        titles.join(" | "),
        "---|".repeat(titles.len())
    );
    for (group, items) in GROUPS {
        let _ = writeln!(text, "| | **{group}** | {}|", "| ".repeat(titles.len()));
        for item in items {
            let cells: Vec<&str> = columns
                .values()
                .map(|cells| cells.get(&item.number).map_or(UNKNOWN, String::as_str))
                .collect();
            let _ = writeln!(
                text,
                "| {} | {} | {} |",
                item.number,
                item.words,
                cells.join(" | ")
            );
        }
    }
    text.push('\n');
    for (column, sum) in sums {
        let _ = writeln!(text, "- {}: {sum}.", column.title());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::{Report, Verdict};
    use super::{BEGIN, Column, END, cell, says, with_column};

    fn report(verdicts: &[(u8, Verdict)]) -> Report {
        Report {
            verdicts: verdicts.to_vec(),
        }
    }

    #[test]
    fn a_column_is_replaced_and_nothing_else() {
        let failed = || Verdict::Fail("seen".into());
        let page = format!("# Page\n{BEGIN}\nformer rows\n{END}\nafter\n");
        let first = report(&[(1, failed()), (2, Verdict::Pass)]);
        let page = with_column(&page, Column::Flatroute, &first, &[]).expect("it has marks");
        assert!(
            page.starts_with("# Page\n") && page.ends_with("after\n") && !page.contains("former rows"),
            "{page}"
        );
        let other = report(&[(1, Verdict::NotApplicable("why".into())), (2, failed())]);
        let page = with_column(&page, Column::Bridge, &other, &[2]).expect("it has marks");
        let at = |column, number| cell(&page, column, number).expect("it has marks");
        assert_eq!(
            (at(Column::Flatroute, 1), at(Column::Flatroute, 2)),
            ("FAIL: seen".into(), "pass".into())
        );
        assert_eq!(
            (at(Column::Bridge, 1), at(Column::Bridge, 2)),
            ("–".into(), "?".into())
        );
        assert!(says(&at(Column::Flatroute, 1), Column::Flatroute, &failed()));
        assert!(!says(&at(Column::Bridge, 1), Column::Bridge, &Verdict::Pass));
        assert!(
            page.contains("- flatroute-cni: 1 passed, 1 failed") && !page.contains("- bridge"),
            "{page}"
        );
        assert_eq!(
            with_column(&page, Column::Flatroute, &first, &[]).expect("it has marks"),
            page
        );
        assert!(with_column("# Page\n", Column::Ptp, &first, &[]).is_err());
    }
}
