//! The few things that the state directory asks of a file system and a clock: a lock that is not waited for without
//! end, the names in a directory that may be missing, the removal of what may be gone, and the time since boot.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use crate::error::{CniError, Code, Result, io_error};

/// How long to wait for a lock before the runtime is told to try again.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
const LOCK_POLL: Duration = Duration::from_micros(500);
/// How long to wait for a turn: long enough for some thousand pods before us, and for a hundred on a machine whose kernel is
/// busy with other links. A kubelet waits for minutes.
const TURN_PATIENCE: Duration = Duration::from_secs(60);
/// The longest pause between two looks. A hundred who look every few milliseconds keep two cores so busy that the kernel's own
/// threads, on which those with a turn wait (RCU), hardly run.
const TURN_POLL_MAX: Duration = Duration::from_millis(50);

/// Time since boot, suspended time included.
pub(super) fn since_boot() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::try_from(now).unwrap_or_default()
}

/// Takes an exclusive lock, waiting at most [`LOCK_PATIENCE`].
pub(super) fn flock(file: &File, path: &Path) -> Result<()> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) if Instant::now() < deadline => {
                std::thread::sleep(LOCK_POLL);
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let msg = format!("{} is locked by another process for too long", path.display());
                return Err(CniError::new(Code::TryAgainLater, msg));
            }
            Err(error) => return Err(io_error(format!("lock {}", path.display()))(error)),
        }
    }
}

/// Takes an exclusive lock on any one of `files`, asking ever less often, for at most [`TURN_PATIENCE`].
pub(super) fn flock_any(files: &[File], dir: &Path) -> Result<File> {
    let deadline = Instant::now() + TURN_PATIENCE;
    let mut pause = LOCK_POLL;
    loop {
        for file in files {
            match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    return file
                        .try_clone()
                        .map_err(io_error(format!("lock {}", dir.display())));
                }
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {}
                Err(error) => return Err(io_error(format!("lock {}", dir.display()))(error)),
            }
        }
        if Instant::now() > deadline {
            let msg = format!("too many pods are being made at once ({})", dir.display());
            return Err(CniError::new(Code::TryAgainLater, msg));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(TURN_POLL_MAX);
    }
}

/// The names in a directory; none when it does not exist.
pub(super) fn names(dir: &Path) -> Result<Vec<String>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_error(format!("list {}", dir.display()))(error)),
    };
    entries
        .map(|entry| {
            Ok(entry
                .map_err(io_error(format!("list {}", dir.display())))?
                .file_name())
        })
        .filter_map(|name| name.map(|name| name.into_string().ok()).transpose())
        .collect()
}

pub(super) fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io_error(format!("remove {}", path.display()))(error))
        }
        _ => Ok(()),
    }
}
