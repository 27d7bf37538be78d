//! The pages of docs/rfc name files and tests. This test sees to it that they are there: a page that points to a test
//! which was renamed or removed would claim a proof that nobody runs.
//!
//! What is checked, in table rows: each backticked path that ends in `.rs` is the end of a file's path; each other
//! backticked name in the last column ends in the name of a function or module of the workspace. A name may end in `…`.
#![expect(clippy::unwrap_used, reason = "without the pages there is nothing to check")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every Rust file of the house, and every name of a function or module in them.
#[derive(Default)]
struct House {
    files: Vec<String>,
    names: BTreeSet<String>,
}

impl House {
    fn look(&mut self, dir: &Path) {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() && !path.ends_with("target") {
                self.look(&path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                self.files.push(path.to_str().unwrap().to_owned());
                self.names
                    .insert(path.file_stem().unwrap().to_str().unwrap().to_owned());
                self.read(&fs::read_to_string(&path).unwrap());
            }
        }
    }

    /// Functions and modules, and the names of trials, which are strings.
    fn read(&mut self, text: &str) {
        for line in text.lines().map(str::trim_start) {
            let words: Vec<&str> = line
                .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .collect();
            for pair in words.windows(2) {
                if matches!(pair[0], "fn" | "mod") {
                    self.names.insert(pair[1].to_owned());
                }
            }
            if line.starts_with("name:") {
                self.names.extend(words.iter().map(|w| (*w).to_owned()));
            }
        }
    }

    fn has_file(&self, path: &str) -> bool {
        let path = path.split_once('{').map_or(path, |(before, _)| before);
        self.files.iter().any(|f| f.contains(&format!("/{path}")))
    }

    /// `module::name`, `module::*`, `the_beginning_of_a_name_…`.
    fn has_name(&self, name: &str) -> bool {
        let last = name.trim_end_matches("::*").rsplit("::").next().unwrap_or(name);
        match last.strip_suffix('…') {
            Some(beginning) => self.names.iter().any(|n| n.starts_with(beginning)),
            None => self.names.contains(last),
        }
    }
}

/// The backticked parts of a text.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.contains('_')
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_:*…".contains(c))
}

#[test]
fn what_the_pages_point_to_is_there() {
    let mut house = House::default();
    for dir in ["crates", "testbed", "fuzz"] {
        house.look(&root().join(dir));
    }
    let mut missing = Vec::new();
    let (mut files, mut names) = (0, 0);
    let pages = fs::read_dir(root().join("docs/rfc")).unwrap();
    for page in pages.map(|p| p.unwrap().path()) {
        let text = fs::read_to_string(&page).unwrap();
        let page = page.file_name().unwrap().to_str().unwrap();
        for row in text.lines().filter(|line| line.starts_with('|')) {
            for path in quoted(row).filter(|q| q.ends_with(".rs")) {
                files += 1;
                if !house.has_file(path) {
                    missing.push(format!("{page}: no file {path}"));
                }
            }
            let last = row
                .trim_end_matches(['|', ' '])
                .rsplit(" | ")
                .next()
                .unwrap_or_default();
            for part in quoted(last).flat_map(|q| q.split(": ")).filter(|q| is_name(q)) {
                names += 1;
                if !house.has_name(part) {
                    missing.push(format!("{page}: no test {part}"));
                }
            }
        }
    }
    assert!(
        files > 50 && names > 50,
        "the pages were not understood: {files} files, {names} names"
    );
    assert!(
        missing.is_empty(),
        "docs/rfc points to what is not there:\n{}",
        missing.join("\n")
    );
}
