//! Follows a directory of manifests by inotify; nothing is polled.
//!
//! Editors write in many ways: in place, or to another name and then renamed over the old one; a mounted ConfigMap
//! swaps a link. All of them are events in the directory. Whatever comes, the directory is read again once it has
//! been quiet for a moment, so that a burst of events costs one reading and a half-written file is rarely seen.
//! Events carry no content: what counts is what is there when it is read.
//!
//! The parent is watched too, so that a directory that is removed and made again is found again. While
//! it is away, what it held stays in force.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use flatroute_api::manifest::Merged;
use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::files::Directory;

/// How long the directory must be quiet before it is read.
const QUIET: Duration = Duration::from_millis(50);
/// How long a stream of events may put off the reading.
const PATIENCE: Duration = Duration::from_millis(500);

/// A directory that is followed.
pub(crate) struct Standalone {
    path: PathBuf,
    directory: Option<Directory>,
    watcher: RecommendedWatcher,
    changed: mpsc::Receiver<()>,
}

impl Standalone {
    /// Starts to follow a directory and reads it for the first time.
    ///
    /// # Errors
    /// When the directory cannot be read or watched.
    pub(crate) async fn open(path: &Path) -> anyhow::Result<(Self, Merged)> {
        let path = std::path::absolute(path).context("the directory of manifests")?;
        // One place is enough: what is told is that something changed, not what.
        let (tell, changed) = mpsc::channel(1);
        let within = path.clone();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|e| !matters(&e, &within)) {
                return;
            }
            // Full means that a reading is due already.
            let _ = tell.try_send(());
        })
        .context("inotify")?;
        let watching = || format!("{}: cannot be watched", path.display());
        watcher
            .watch(&path, RecursiveMode::NonRecursive)
            .with_context(watching)?;
        if let Some(parent) = path.parent() {
            watcher
                .watch(parent, RecursiveMode::NonRecursive)
                .with_context(watching)?;
        }
        let mut new = Self {
            directory: Some(Directory::new(&path)),
            path,
            watcher,
            changed,
        };
        let merged = new
            .read()
            .await
            .with_context(|| format!("{}: cannot be read", new.path.display()))?;
        Ok((new, merged))
    }

    /// Waits for a change and reads it. Not to be dropped while it runs: it has a task of its own.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Merged> {
        loop {
            self.changed.recv().await.context("inotify ended")?;
            let patience = Instant::now() + PATIENCE;
            while timeout_at(patience.min(Instant::now() + QUIET), self.changed.recv())
                .await
                .is_ok()
            {}
            // The directory may be another one than before: the watch follows the name.
            let _ = self.watcher.unwatch(&self.path);
            if self
                .watcher
                .watch(&self.path, RecursiveMode::NonRecursive)
                .is_err()
            {
                tracing::warn!(directory = %self.path.display(), "is away; what it held stays in force");
                continue;
            }
            match self.read().await {
                Ok(merged) => return Ok(merged),
                Err(error) => {
                    tracing::warn!(directory = %self.path.display(), %error, "cannot be read; what it held stays in force");
                }
            }
        }
    }

    /// Reads beside the runtime: a large manifest must not make a keepalive late.
    async fn read(&mut self) -> std::io::Result<Merged> {
        let mut directory = self
            .directory
            .take()
            .unwrap_or_else(|| Directory::new(&self.path));
        let (directory, merged) = tokio::task::spawn_blocking(move || {
            let merged = directory.read();
            (directory, merged)
        })
        .await
        .map_err(std::io::Error::other)?;
        self.directory = Some(directory);
        merged
    }
}

/// Reading is an event too; to heed it would be to read for ever. Neighbours of the directory do not matter.
fn matters(event: &notify::Event, within: &Path) -> bool {
    if !event.need_rescan() && !event.paths.iter().any(|p| p.starts_with(within)) {
        return false;
    }
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    }
}

#[cfg(test)]
mod tests;
