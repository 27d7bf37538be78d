//! Follows a directory of manifests by inotify; nothing is polled.
//!
//! Editors write in many ways: in place, or to another name and then renamed over the old one; a mounted ConfigMap
//! swaps a link. All of them are events in the directory. Events carry no content: what counts is what is
//! there when it is read, once the directory has been quiet for a moment, so that a burst of events costs one reading.
//!
//! What matters is that a file was closed after writing, renamed, made or removed. That somebody writes to a file is
//! only noted: until it is closed, [`files`](super::files) believes nothing that it reads there, whoever asked
//! for the reading. The notes are the value of a `watch` channel: kept by the one thread that hears inotify,
//! seen by the reader at any time, and never more than [`MAX_NOTES`]. When events were lost they are
//! thrown away, as the close may have been among those; then the time for which a file must stand still
//! is what protects.
//!
//! The parent is watched too, so that a directory that is removed and made again is found again. While
//! it is away, what it held stays in force. The watch is renewed only when the directory is another one than
//! before, because events between the old watch and the new one are lost.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use flatroute_api::manifest::Merged;
use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::files::{Directory, LOSS, Reading, SETTLE};

/// How long the directory must be quiet before it is read: what was closed last can be believed then.
const QUIET: Duration = SETTLE;
/// How long a stream of events may put off the reading.
const PATIENCE: Duration = Duration::from_millis(500);
/// How many files may be noted as being written; those beyond are not noted.
const MAX_NOTES: usize = 4096;

/// Files that were written to and not closed since.
type Notes = BTreeSet<PathBuf>;

/// A directory that is followed.
pub(crate) struct Standalone {
    path: PathBuf,
    directory: Option<Directory>,
    watcher: RecommendedWatcher,
    /// Device and inode of the directory that is watched.
    watched: Option<(u64, u64)>,
    notes: watch::Receiver<Notes>,
    /// When a file that is not believed yet is looked at again.
    again: Option<Instant>,
}

impl Standalone {
    /// Starts to follow a directory and reads it for the first time.
    ///
    /// # Errors
    /// When the directory cannot be read or watched.
    pub(crate) async fn open(path: &Path) -> anyhow::Result<(Self, Merged)> {
        let path = std::path::absolute(path).context("the directory of manifests")?;
        let (tell, notes) = watch::channel(Notes::new());
        let within = path.clone();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            tell.send_if_modified(|notes| match &event {
                Ok(event) => note(notes, event, &within),
                Err(_) => {
                    notes.clear();
                    true
                }
            });
        })
        .context("inotify")?;
        let cannot = || format!("{}: cannot be watched", path.display());
        if let Some(parent) = path.parent() {
            watcher
                .watch(parent, RecursiveMode::NonRecursive)
                .with_context(cannot)?;
        }
        let mut new = Self {
            directory: Some(Directory::new(&path)),
            path: path.clone(),
            watcher,
            watched: None,
            notes,
            again: None,
        };
        new.follow_name().with_context(cannot)?;
        let unreadable = || format!("{}: cannot be read", path.display());
        let latest = Instant::now() + LOSS;
        let mut merged = new.read().await.with_context(unreadable)?;
        // Files that were written this moment are waited for: an agent that starts without them would only have to
        // change its plan at once.
        while let Some(again) = new.again.filter(|again| *again <= latest) {
            sleep_until(again).await;
            merged = new.read().await.with_context(unreadable)?;
        }
        Ok((new, merged))
    }

    /// Waits for a change and reads it. Not to be dropped while it runs: it has a task of its own.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Merged> {
        loop {
            let due = self.again.unwrap_or_else(Instant::now);
            tokio::select! {
                changed = self.notes.changed() => {
                    changed.context("inotify ended")?;
                    let patience = Instant::now() + PATIENCE;
                    while let Ok(changed) =
                        timeout_at(patience.min(Instant::now() + QUIET), self.notes.changed()).await
                    {
                        changed.context("inotify ended")?;
                    }
                }
                () = sleep_until(due), if self.again.is_some() => {}
            }
            if let Err(error) = self.follow_name() {
                tracing::warn!(directory = %self.path.display(), %error, "is away; what it held stays in force");
                self.again = None;
                continue;
            }
            match self.read().await {
                Ok(merged) => return Ok(merged),
                Err(error) => {
                    tracing::warn!(directory = %self.path.display(), %error, "cannot be read; what it held stays in force");
                    self.again = None;
                }
            }
        }
    }

    /// Watches the directory that has the name now.
    fn follow_name(&mut self) -> anyhow::Result<()> {
        // Asked before watching: when it is swapped in between, it looks swapped at the event that tells of it.
        let found = std::fs::metadata(&self.path).map(|m| (m.dev(), m.ino()));
        if found.is_err() || self.watched != found.as_ref().ok().copied() {
            let _ = self.watcher.unwatch(&self.path);
            self.watched = None;
        }
        let found = found?;
        if self.watched.is_none() {
            self.watcher.watch(&self.path, RecursiveMode::NonRecursive)?;
            self.watched = Some(found);
        }
        Ok(())
    }

    /// Reads beside the runtime: a large manifest must not make a keepalive late.
    async fn read(&mut self) -> std::io::Result<Merged> {
        let mut directory = self
            .directory
            .take()
            .unwrap_or_else(|| Directory::new(&self.path));
        let notes = self.notes.clone();
        let (directory, reading) = tokio::task::spawn_blocking(move || {
            let reading = directory.read(|file| notes.borrow().contains(file));
            (directory, reading)
        })
        .await
        .map_err(std::io::Error::other)?;
        self.directory = Some(directory);
        let Reading { merged, again } = reading?;
        self.again = again.map(|time| Instant::now() + time);
        Ok(merged)
    }
}

/// Notes who is writing, and says whether a reading is due. Reading is an event too; to heed it would be to read for
/// ever. Neighbours of the directory do not matter.
fn note(notes: &mut Notes, event: &notify::Event, within: &Path) -> bool {
    if event.need_rescan() {
        notes.clear();
        return true;
    }
    let mut is_due = false;
    for path in event.paths.iter().filter(|path| path.starts_with(within)) {
        is_due |= match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => {
                notes.remove(path);
                true
            }
            EventKind::Access(_) => false,
            // Once is enough, so that a file that is never closed is looked at one day.
            EventKind::Modify(ModifyKind::Data(_)) => notes.len() < MAX_NOTES && notes.insert(path.clone()),
            EventKind::Modify(ModifyKind::Name(_)) | EventKind::Create(_) | EventKind::Remove(_) => {
                if path == within {
                    notes.clear();
                }
                notes.remove(path);
                true
            }
            EventKind::Modify(ModifyKind::Any | ModifyKind::Metadata(_) | ModifyKind::Other)
            | EventKind::Any
            | EventKind::Other => true,
        };
    }
    is_due
}

#[cfg(test)]
mod tests;
