//! The manifests of a directory, read again and again.
//!
//! Only files named `*.yaml`, `*.yml` or `*.json` that do not begin with a dot count: the rest are the drafts and
//! swap files of editors, and the `..data` of mounted ConfigMaps, whose files are reached through their links.
//!
//! A mistake in a manifest does not take down what runs: an object whose new version has a fault stays in force as
//! it was, as it would with an API server, which refuses such a version. The problem says so. Only what is
//! taken out of a readable file, or a file that is removed, takes an object away.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use flatroute_api::manifest::{self, Located, MAX_FILE_BYTES, Merged, Parsed};
use flatroute_api::{Place, Problem};

/// How many files are read.
const MAX_FILES: usize = 4096;

/// A directory, and what it held when it was last read.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    files: BTreeMap<PathBuf, Known>,
}

/// What is known of a file.
#[derive(Debug, Default)]
struct Known {
    text: Option<String>,
    parsed: Parsed,
}

impl Directory {
    /// A directory that has not been read yet.
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            files: BTreeMap::new(),
        }
    }

    /// Reads the directory. What did not change is not parsed again.
    pub(crate) fn read(&mut self) -> io::Result<Merged> {
        let mut before = std::mem::take(&mut self.files);
        let listing = match list(&self.path) {
            Ok(listing) => listing,
            Err(error) => {
                self.files = before;
                return Err(error);
            }
        };
        for path in listing.files {
            let known = before.remove(&path);
            match read_file(&path) {
                Err(Unreadable::Gone) => {}
                Err(Unreadable::Refused(problem)) => {
                    let refused = Parsed {
                        objects: Vec::new(),
                        problems: vec![*problem],
                    };
                    let parsed = with_predecessors(refused, known.unwrap_or_default().parsed);
                    self.files.insert(path, Known { text: None, parsed });
                }
                Ok(text) => {
                    let known = known.unwrap_or_default();
                    let known = if known.text.as_ref() == Some(&text) {
                        known
                    } else {
                        let parsed = manifest::parse(&path.display().to_string(), &text);
                        Known {
                            text: Some(text),
                            parsed: with_predecessors(parsed, known.parsed),
                        }
                    };
                    self.files.insert(path, known);
                }
            }
        }
        let mut merged = manifest::merge(self.files.values().map(|k| k.parsed.clone()));
        merged.problems.extend(listing.problem);
        Ok(merged)
    }
}

/// Reads a directory or one file, once.
pub(crate) fn read_once(path: &Path) -> io::Result<Merged> {
    if std::fs::metadata(path)?.is_dir() {
        return Directory::new(path).read();
    }
    match read_file(path) {
        Ok(text) => Ok(manifest::merge([manifest::parse(
            &path.display().to_string(),
            &text,
        )])),
        Err(Unreadable::Gone) => Err(io::ErrorKind::NotFound.into()),
        Err(Unreadable::Refused(problem)) => Ok(Merged {
            problems: vec![*problem],
            ..Merged::default()
        }),
    }
}

struct Listed {
    files: Vec<PathBuf>,
    problem: Option<Problem>,
}

fn list(dir: &Path) -> io::Result<Listed> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let hidden = path
            .file_name()
            .and_then(|n| n.to_str())
            .is_none_or(|n| n.starts_with('.'));
        let named = path
            .extension()
            .is_some_and(|e| e == "yaml" || e == "yml" || e == "json");
        if !hidden && named && std::fs::metadata(&path).is_ok_and(|m| m.is_file()) {
            files.push(path);
        }
    }
    files.sort();
    let problem = (files.len() > MAX_FILES).then(|| {
        let message = format!(
            "holds {} manifests, of which the first {MAX_FILES} are read",
            files.len()
        );
        at(dir, Problem::new("", "", "", message, "join some of them"))
    });
    files.truncate(MAX_FILES);
    Ok(Listed { files, problem })
}

enum Unreadable {
    Gone,
    Refused(Box<Problem>),
}

fn read_file(path: &Path) -> Result<String, Unreadable> {
    let refused = |message: String, remedy: &str| {
        Unreadable::Refused(Box::new(at(path, Problem::new("", "", "", message, remedy))))
    };
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_FILE_BYTES)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    match File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Unreadable::Gone),
        Err(error) => {
            return Err(refused(
                format!("cannot be read: {error}"),
                "make it readable, or remove it",
            ));
        }
    }
    String::from_utf8(bytes)
        .map_err(|_| refused("is not UTF-8 text".to_owned(), "save it as UTF-8, or remove it"))
}

fn at(path: &Path, problem: Problem) -> Problem {
    Problem {
        place: Some(Place {
            file: path.display().to_string(),
            document: 1,
            line: 1,
        }),
        ..problem
    }
}

/// Adds the objects of the version before that the new one has only a faulty version of.
fn with_predecessors(mut new: Parsed, old: Parsed) -> Parsed {
    if new.problems.is_empty() || old.objects.is_empty() {
        return new;
    }
    // A document without a readable name may have been any of the objects that are missing now.
    let any = new
        .problems
        .iter()
        .any(|p| p.kind.is_empty() || p.name.is_empty());
    let faulty: BTreeSet<(String, String)> = new
        .problems
        .iter()
        .map(|p| (p.kind.clone(), p.name.clone()))
        .collect();
    let same = |a: &Located, b: &Located| {
        (a.object.kind(), &a.namespace, &a.name) == (b.object.kind(), &b.namespace, &b.name)
    };
    for object in old.objects {
        let key = (object.object.kind().as_str().to_owned(), object.name.clone());
        if !new.objects.iter().any(|o| same(o, &object)) && (any || faulty.contains(&key)) {
            for problem in new
                .problems
                .iter_mut()
                .filter(|p| p.name.is_empty() || (&p.kind, &p.name) == (&key.0, &key.1))
            {
                const KEPT: &str = " (what was in force before stays)";
                if !problem.message.ends_with(KEPT) {
                    problem.message.push_str(KEPT);
                }
            }
            new.objects.push(object);
        }
    }
    new
}
