//! The manifests of a directory, read again and again.
//!
//! Only files named `*.yaml`, `*.yml` or `*.json` that do not begin with a dot count: the rest are the drafts and
//! swap files of editors, and the `..data` of mounted ConfigMaps, whose files are reached through their links.
//!
//! A mistake in a manifest does not take down what runs: an object whose new version has a fault stays in force as
//! it was, as it would with an API server, which refuses such a version. The problem says so. Only what is
//! taken out of a readable file, or a file that is removed, takes an object away.
//!
//! **A file that is being written is never believed.** Whoever writes in place truncates first, and an agent that
//! takes the empty file for an order withdraws the node's pod CIDRs. So a new content counts only when it has stood
//! still for a while, by its change time and by our own clock, and how long depends on what it would do:
//! - [`SETTLE`] when whoever wrote it has closed it. This is longer than news of the first write needs to arrive: when
//!   nobody is known to be writing then, nobody was when the content came to be as it is;
//! - [`LOSS`] when the file has lost all its objects, or is gone: some programs truncate or remove, close, and write
//!   anew in a second step;
//! - [`ABANDONED`] while somebody still has it open after writing to it.
//!
//! Until then what was known of the file stays in force, and the reading says when to look again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use flatroute_api::manifest::{self, Located, MAX_FILE_BYTES, Merged, Parsed};
use flatroute_api::{Kind, Place, Problem, ProblemReason};

/// How many files are read.
const MAX_FILES: usize = 4096;
/// How long a content must have stood still.
pub(crate) const SETTLE: Duration = Duration::from_millis(100);
/// The same when it takes all objects of the file away.
pub(crate) const LOSS: Duration = Duration::from_millis(500);
/// The same when the file was written to and has not been closed.
pub(crate) const ABANDONED: Duration = Duration::from_secs(10);

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
    /// Its permissions.
    mode: u32,
    /// What it looked like when it was last looked at, and since when it has.
    seen: Option<(Option<Stamp>, Instant)>,
}

/// What a reading found.
#[derive(Debug)]
pub(crate) struct Reading {
    /// What is in force.
    pub(crate) merged: Merged,
    /// When a file that is not believed yet should be looked at again.
    pub(crate) again: Option<Duration>,
}

/// What changes whenever a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            file: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// How long ago that was by the wall clock; none when the clock was set back since.
    fn age(self) -> Option<Duration> {
        let (seconds, nanoseconds) = self.changed;
        let since = Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanoseconds).ok()?);
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH.checked_add(since)?)
            .ok()
    }
}

impl Known {
    /// For how long the file has looked like this.
    fn stood_still(&mut self, stamp: Option<Stamp>) -> Duration {
        let since = match self.seen {
            Some((before, since)) if before == stamp => since,
            Some(_) | None => Instant::now(),
        };
        self.seen = Some((stamp, since));
        let by_clock = stamp.and_then(Stamp::age).unwrap_or_default();
        since.elapsed().max(by_clock)
    }

    /// Takes a file that could not be read.
    fn refuse(&mut self, problem: Problem) {
        let refused = Parsed {
            objects: Vec::new(),
            problems: vec![problem],
        };
        self.text = None;
        self.parsed = with_predecessors(refused, std::mem::take(&mut self.parsed));
    }

    /// Takes a content if it can be believed; otherwise says how long to wait.
    fn take(&mut self, path: &Path, content: Content, written: bool) -> Option<Duration> {
        let stood = self.stood_still(Some(content.stamp));
        if self.text.as_ref() == Some(&content.text) {
            return None;
        }
        let new = manifest::parse(&path.display().to_string(), &content.text);
        let loses = new.objects.is_empty() && new.problems.is_empty() && !self.parsed.objects.is_empty();
        let needed = match (written, loses) {
            (true, _) => ABANDONED,
            (false, true) => LOSS,
            (false, false) => SETTLE,
        };
        if !content.steady || stood < needed {
            return Some(needed.saturating_sub(stood).max(Duration::from_millis(10)));
        }
        self.text = Some(content.text);
        self.parsed = with_predecessors(new, std::mem::take(&mut self.parsed));
        None
    }
}

impl Directory {
    /// A directory that has not been read yet.
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            files: BTreeMap::new(),
        }
    }

    /// Reads the directory. What did not change is not parsed again. `written` tells which files somebody has
    /// written to and not closed; it is asked after a file has been read.
    pub(crate) fn read(&mut self, written: impl Fn(&Path) -> bool) -> io::Result<Reading> {
        let listing = list(&self.path)?;
        let mut before = std::mem::take(&mut self.files);
        let mut again: Option<Duration> = None;
        let mut wait = |time: Duration| again = Some(again.map_or(time, |other| other.min(time)));
        for path in listing.files {
            match read_file(&path) {
                Err(Unreadable::Gone) => {}
                Err(Unreadable::Refused(problem)) => {
                    let mut known = before.remove(&path).unwrap_or_default();
                    known.refuse(*problem);
                    self.files.insert(path, known);
                }
                Ok(content) => {
                    let mut known = before.remove(&path).unwrap_or_default();
                    known.mode = content.mode;
                    if let Some(time) = known.take(&path, content, written(&path)) {
                        wait(time);
                    }
                    self.files.insert(path, known);
                }
            }
        }
        let mut parsed: Vec<Parsed> = self.files.values().map(|k| k.parsed.clone()).collect();
        let elsewhere: BTreeSet<_> = parsed.iter().flat_map(|p| &p.objects).map(key).collect();
        // What is left are files that are gone. What has moved to another file is found there.
        for (path, mut known) in before {
            let stood = known.stood_still(None);
            known.parsed.problems.clear();
            known.parsed.objects.retain(|o| !elsewhere.contains(&key(o)));
            known.text = None;
            if !known.parsed.objects.is_empty() && stood < LOSS {
                wait(LOSS.saturating_sub(stood));
                parsed.push(known.parsed.clone());
                self.files.insert(path, known);
            }
        }
        let exposed = self
            .files
            .iter()
            .flat_map(|(path, k)| exposed(path, k.mode, &k.parsed));
        let mut merged = manifest::merge(parsed);
        merged.problems.extend(exposed);
        merged.problems.extend(listing.problem);
        Ok(Reading { merged, again })
    }
}

fn key(located: &Located) -> (Kind, String, String) {
    (
        located.object.kind(),
        located.namespace.clone(),
        located.name.clone(),
    )
}

/// Reads a directory or one file, once, as it is.
pub(crate) fn read_once(path: &Path) -> io::Result<Merged> {
    let (files, problem) = if std::fs::metadata(path)?.is_dir() {
        let listing = list(path)?;
        (listing.files, listing.problem)
    } else {
        (vec![path.to_owned()], None)
    };
    let mut open = Vec::new();
    let parsed = files.iter().filter_map(|file| match read_file(file) {
        Ok(content) => {
            let parsed = manifest::parse(&file.display().to_string(), &content.text);
            open.extend(exposed(file, content.mode, &parsed));
            Some(parsed)
        }
        Err(Unreadable::Gone) => None,
        Err(Unreadable::Refused(problem)) => Some(Parsed {
            objects: Vec::new(),
            problems: vec![*problem],
        }),
    });
    let mut merged = manifest::merge(parsed);
    merged.problems.extend(open);
    merged.problems.extend(problem);
    Ok(merged)
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

/// A file that was read.
struct Content {
    text: String,
    /// The permissions of the file.
    mode: u32,
    stamp: Stamp,
    /// It looked the same before and after.
    steady: bool,
}

fn read_file(path: &Path) -> Result<Content, Unreadable> {
    let refused = |message: String, remedy: &str| {
        Unreadable::Refused(Box::new(at(path, Problem::new("", "", "", message, remedy))))
    };
    let limit = u64::try_from(MAX_FILE_BYTES)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    let read = || {
        let mut file = File::open(path)?;
        let before = Stamp::of(&file.metadata()?);
        let mut bytes = Vec::new();
        (&mut file).take(limit).read_to_end(&mut bytes)?;
        let metadata = file.metadata()?;
        Ok((bytes, before, Stamp::of(&metadata), metadata.mode()))
    };
    let (bytes, before, after, mode) = read().map_err(|error: io::Error| {
        if error.kind() == io::ErrorKind::NotFound {
            Unreadable::Gone
        } else {
            refused(
                format!("cannot be read: {error}"),
                "make it readable, or remove it",
            )
        }
    })?;
    let text = String::from_utf8(bytes)
        .map_err(|_| refused("is not UTF-8 text".to_owned(), "save it as UTF-8, or remove it"))?;
    Ok(Content {
        text,
        mode,
        stamp: after,
        steady: before == after,
    })
}

/// What is wrong with the permissions of a file that holds Secrets: the rest of what we read may be read by all.
fn exposed(path: &Path, mode: u32, parsed: &Parsed) -> Vec<Problem> {
    const OTHERS_READ: u32 = 0o004;
    if mode & OTHERS_READ == 0 {
        return Vec::new();
    }
    let problem = |located: &Located| {
        let message = format!(
            "stands in a file that every user of this machine may read (mode {:04o})",
            mode & 0o7777
        );
        let remedy = format!("chmod 600 {}", path.display());
        let kind = Kind::Secret.as_str();
        Problem {
            place: Some(located.place.clone()),
            ..Problem::new(kind, &located.name, "", message, remedy)
        }
        .because(ProblemReason::SecretReadableByOthers)
    };
    let secrets = parsed.objects.iter().filter(|o| o.object.kind() == Kind::Secret);
    secrets.map(problem).collect()
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
