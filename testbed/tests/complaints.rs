//! docs/complaints.md: there are twenty-six lines, and whatever test one of them names is there.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The lines of the table: number, complaint, reports, and what holds here.
fn rows(page: &str) -> Vec<[&str; 4]> {
    page.lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| #"))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            <[&str; 4]>::try_from(cells).unwrap_or_else(|cells| panic!("{} cells: {line}", cells.len()))
        })
        .collect()
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// What is wrong with the names in a cell: files, then tests in the last file that was named, as functions or as names of trials.
fn faults(cell: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut file: Option<(&str, String)> = None;
    let mut found = 0;
    for word in quoted(cell) {
        let is_file = Path::new(word)
            .extension()
            .is_some_and(|extension| extension == "rs");
        if is_file {
            match fs::read_to_string(root().join(word)) {
                Ok(text) => file = Some((word, text)),
                Err(error) => faults.push(format!("{word}: {error}")),
            }
        } else if let Some(target) = word.strip_prefix("make ") {
            let makefile = fs::read_to_string(root().join("Makefile")).expect("a Makefile");
            if !makefile.contains(&format!("\n{target}:")) {
                faults.push(format!("there is no `make {target}`"));
            }
        } else if word
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            && word != "rp_filter"
        {
            match &file {
                Some((_, text))
                    if text.contains(&format!("fn {word}(")) || text.contains(&format!("\"{word}\"")) =>
                {
                    found += 1;
                }
                Some((file, _)) => faults.push(format!("there is no {word} in {file}")),
                None => faults.push(format!("{word} is in no file")),
            }
        }
    }
    if found == 0 {
        faults.push(format!("no test is named: {cell}"));
    }
    faults
}

#[test]
fn every_test_that_answers_a_complaint_is_there() {
    let page = fs::read_to_string(root().join("docs/complaints.md")).expect("the page");
    let rows = rows(&page);
    let numbers: Vec<String> = rows.iter().map(|[number, ..]| (*number).to_owned()).collect();
    assert_eq!(numbers, (1..=26).map(|n| n.to_string()).collect::<Vec<_>>());
    let mut all = Vec::new();
    for [number, complaint, reports, here] in rows {
        assert!(!complaint.is_empty() && reports.contains('#'), "{number}");
        all.extend(faults(here).into_iter().map(|fault| format!("{number}: {fault}")));
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn a_test_that_is_not_there_is_missed() {
    let own = "`testbed/tests/complaints.rs`";
    assert_eq!(
        faults(&format!("{own}: `a_test_that_is_not_there_is_missed`")),
        Vec::<String>::new()
    );
    for cell in [
        format!("{own}: `a_test_of_{}`", "yesterday"),
        "`testbed/tests/nothing.rs`: `main`".to_owned(),
        "`faults`".to_owned(),
        format!("`make coffee`; {own}: `faults`"),
        "we believe so".to_owned(),
    ] {
        assert!(!faults(&cell).is_empty(), "{cell}");
    }
}
