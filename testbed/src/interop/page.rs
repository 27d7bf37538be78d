//! The table as text: printed after a run, and kept between two marks in `docs/interop.md`.
//!
//! The page says with which versions it was made. A run that comes out differently fails, unless the peer has another
//! version and the difference is only whether it supports something: that is news, no fault of ours.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::peer::Kind;
use super::rows::ROWS;

/// The command that repairs the page.
pub const REPAIR: &str = "make interop WRITE=1";
const BEGIN: &str = "<!-- begin of the table: made by `make interop WRITE=1`, do not edit -->";
const END: &str = "<!-- end of the table -->";

/// How a cell came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It holds.
    Pass,
    /// It does not.
    Fail,
    /// The peer cannot, for this reason.
    NotSupported(String),
    /// We cannot yet, for this reason.
    NotYet(String),
}

impl Outcome {
    fn word(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "**fails**",
            Self::NotSupported(_) => "not supported",
            Self::NotYet(_) => "not yet",
        }
    }

    fn reason(&self) -> Option<&str> {
        match self {
            Self::Pass | Self::Fail => None,
            Self::NotSupported(reason) | Self::NotYet(reason) => Some(reason),
        }
    }
}

/// What a run found: versions of the peers, and outcomes by row and peer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// Of the peers that are there.
    pub versions: BTreeMap<Kind, String>,
    /// By row's key.
    pub cells: BTreeMap<(&'static str, Kind), Outcome>,
}

impl Table {
    /// As Markdown, for people and for the page.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut notes: Vec<String> = Vec::new();
        let mut text = String::from("|");
        let heads = Kind::ALL.map(|kind| match self.versions.get(&kind) {
            Some(version) => format!(" {} {version} |", kind.title()),
            None => format!(" {} |", kind.title()),
        });
        let _ = writeln!(
            text,
            " |{}\n|---|{}",
            heads.concat(),
            "---|".repeat(Kind::ALL.len())
        );
        let mut group = "";
        for row in ROWS {
            if row.group != group {
                group = row.group;
                let _ = writeln!(text, "| **{group}** |{}", " |".repeat(Kind::ALL.len()));
            }
            let _ = write!(text, "| {} |", row.title);
            for kind in Kind::ALL {
                let _ = match self.cells.get(&(row.key, kind)) {
                    None => write!(text, " – |"),
                    Some(outcome) => write!(text, " {}{} |", outcome.word(), note(outcome, kind, &mut notes)),
                };
            }
            text.push('\n');
        }
        if !notes.is_empty() {
            text.push('\n');
        }
        for (number, note) in notes.iter().enumerate() {
            let _ = writeln!(text, "{}. {note}", number + 1);
        }
        text
    }
}

/// The mark of the outcome's reason, which joins the notes.
fn note(outcome: &Outcome, kind: Kind, notes: &mut Vec<String>) -> String {
    let Some(reason) = outcome.reason() else {
        return String::new();
    };
    let text = match outcome {
        Outcome::NotSupported(_) => format!("{}: {reason}.", kind.title()),
        Outcome::Pass | Outcome::Fail | Outcome::NotYet(_) => format!("flatroute: {reason}."),
    };
    let at = notes.iter().position(|note| *note == text).unwrap_or_else(|| {
        notes.push(text);
        notes.len() - 1
    });
    format!(" ({})", at + 1)
}

/// Where the page is.
#[must_use]
pub fn path() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/interop.md"))
}

/// The page with a new table.
///
/// # Errors
/// The page has no marks.
pub fn with_table(page: &str, table: &Table) -> Result<String> {
    let (before, rest) = page
        .split_once(BEGIN)
        .context("docs/interop.md has no mark where the table begins")?;
    let (_, after) = rest
        .split_once(END)
        .context("docs/interop.md has no mark where the table ends")?;
    Ok(format!("{before}{BEGIN}\n\n{}\n{END}{after}", table.markdown()))
}

/// Where the page says something else than the run: lines that are wrong, and lines that are only news.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drift {
    /// Must be repaired.
    pub wrong: Vec<String>,
    /// Follows from another version of the peer.
    pub news: Vec<String>,
}

/// Compares the page with the cells that ran.
#[must_use]
pub fn drift(page: &str, table: &Table) -> Drift {
    let mut found = Drift::default();
    let rows = read(page);
    let heads = rows.get("").cloned().unwrap_or_default();
    for ((key, kind), outcome) in &table.cells {
        let column = Kind::ALL
            .iter()
            .position(|other| other == kind)
            .unwrap_or_default();
        let title = ROWS
            .iter()
            .find(|row| row.key == *key)
            .map_or("", |row| row.title);
        let said = rows
            .get(title)
            .and_then(|cells| cells.get(column))
            .map_or("nothing", String::as_str);
        let said = said.split(" (").next().unwrap_or_default();
        if said == outcome.word() {
            continue;
        }
        let line = format!(
            "{}, \"{title}\": the page says {said}, the run {}",
            kind.title(),
            outcome.word()
        );
        let ours = table.versions.get(kind).map(String::as_str);
        let other_version = ours.is_some_and(|ours| Some(ours) != version(&heads, column));
        let about_support = match outcome {
            Outcome::Pass => said == "not supported",
            Outcome::NotSupported(_) => said == "pass",
            Outcome::Fail | Outcome::NotYet(_) => false,
        };
        if other_version && about_support {
            found.news.push(line);
        } else {
            found.wrong.push(line);
        }
    }
    for title in rows.keys() {
        if !title.is_empty() && !title.starts_with("**") && !ROWS.iter().any(|row| row.title == *title) {
            found.wrong.push(format!("\"{title}\" is no row any more"));
        }
    }
    found
}

fn version(heads: &[String], column: usize) -> Option<&str> {
    heads.get(column).and_then(|head| head.split(' ').nth(1))
}

/// The cells of the page's table by the first of each line.
fn read(page: &str) -> BTreeMap<String, Vec<String>> {
    let inside = page
        .split_once(BEGIN)
        .and_then(|(_, rest)| rest.split_once(END))
        .map_or("", |(table, _)| table);
    let cells = |line: &str| {
        let line = line.strip_prefix('|')?.strip_suffix('|')?;
        let mut cells = line.split('|').map(|cell| cell.trim().to_owned());
        Some((cells.next()?, cells.collect::<Vec<_>>()))
    };
    inside
        .lines()
        .filter(|line| !line.starts_with("|--"))
        .filter_map(cells)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{BEGIN, END, Kind, Outcome, ROWS, Table, drift, with_table};

    fn table(outcome: &Outcome) -> Table {
        let mut table = Table::default();
        for kind in Kind::ALL {
            table.versions.insert(kind, "1.2.3".to_owned());
            for row in ROWS {
                table.cells.insert((row.key, kind), outcome.clone());
            }
        }
        table
    }

    fn page(table: &Table) -> String {
        with_table(&format!("# Page\n\n{BEGIN}\nold\n{END}\nafter\n"), table).expect("it has marks")
    }

    #[test]
    fn what_was_written_is_read_back_as_the_same() {
        for outcome in [
            Outcome::Pass,
            Outcome::NotYet("one thing".to_owned()),
            Outcome::NotSupported("another (thing)".to_owned()),
        ] {
            let table = table(&outcome);
            let page = page(&table);
            assert_eq!(drift(&page, &table), super::Drift::default(), "{page}");
            assert!(
                page.starts_with("# Page\n") && page.ends_with("after\n"),
                "{page}"
            );
            assert_eq!(with_table(&page, &table).expect("it has marks"), page);
        }
    }

    #[test]
    fn another_outcome_is_wrong() {
        let page = page(&table(&Outcome::Pass));
        let mut run = table(&Outcome::Pass);
        let key = ROWS[3].key;
        run.cells.insert((key, Kind::Frr), Outcome::Fail);
        let wrong = drift(&page, &run).wrong;
        let expected = format!(
            "FRR, \"{}\": the page says pass, the run **fails**",
            ROWS[3].title
        );
        assert_eq!(wrong, [expected]);
    }

    #[test]
    fn another_version_that_can_more_is_news() {
        let mut old = table(&Outcome::Pass);
        let lacking = Outcome::NotSupported("too old".to_owned());
        old.cells.insert((ROWS[0].key, Kind::Gobgp), lacking);
        let page = page(&old);
        let mut run = table(&Outcome::Pass);
        assert_eq!(drift(&page, &run).wrong.len(), 1, "the same version");
        run.versions.insert(Kind::Gobgp, "9.9.9".to_owned());
        let found = drift(&page, &run);
        assert_eq!((found.wrong.len(), found.news.len()), (0, 1), "{found:?}");
    }

    #[test]
    fn a_row_that_is_gone_and_a_row_that_is_new_are_wrong() {
        let full = table(&Outcome::Pass);
        let text = page(&full).replace(ROWS[0].title, "something else");
        let wrong = drift(&text, &full).wrong;
        assert_eq!(
            wrong.len(),
            Kind::ALL.len() + 1,
            "the cells of the new row, one old row: {wrong:?}"
        );
    }

    #[test]
    fn a_column_that_did_not_run_is_no_drift() {
        let page = page(&table(&Outcome::Pass));
        let mut run = table(&Outcome::Pass);
        run.cells.retain(|(_, kind), _| *kind != Kind::Frr);
        assert_eq!(drift(&page, &run), super::Drift::default());
    }
}
