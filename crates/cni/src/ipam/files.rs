//! The few things that the state directory asks of a file system and a clock: a lock that is not waited for without
//! end, the names in a directory that may be missing, the removal of what may be gone, and the time since boot.
//!
//! **Waiting for a lock.** Mostly it is free in a fraction of a millisecond, and looking a few times is cheapest. With
//! hundreds before us looking is what makes it slow: they take the cores from those who hold the lock. So after a few
//! looks we queue in the kernel, which wakes one at a time, in order. The kernel's wait has no bound; a thread does it,
//! and is left behind when ours is over.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use crate::error::{CniError, Code, Result, io_error};

/// How long to wait for a lock before the runtime is told to try again.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
/// How often a lock is looked at before we queue for it, with a pause that doubles each time.
const LOOKS: u32 = 4;
const LOOK_PAUSE: Duration = Duration::from_micros(250);
/// How long to wait for a turn: long enough for some thousand pods before us, and for a hundred on a machine whose kernel is
/// busy with other links. A kubelet waits for minutes.
const TURN_PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two looks for a turn. Only the first of the queue looks.
const TURN_PAUSE: Duration = Duration::from_micros(250);
/// More than the id of a boot.
const SHORT_BYTES: usize = 64;

/// Time since boot, suspended time included.
pub(super) fn since_boot() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::try_from(now).unwrap_or_default()
}

/// Takes an exclusive lock, waiting at most [`LOCK_PATIENCE`].
pub(super) fn flock(file: &File, path: &Path) -> Result<()> {
    if take(file, LOCK_PATIENCE).map_err(io_error(format!("lock {}", path.display())))? {
        return Ok(());
    }
    let msg = format!("{} is locked by another process for too long", path.display());
    Err(CniError::new(Code::TryAgainLater, msg))
}

/// Takes one of `count` turns, which are locked files of that number in `dir`, for at most [`TURN_PATIENCE`]. Whoever finds
/// none free waits in the queue, which is a lock as well; its first looks for all.
pub(super) fn take_turn(dir: &Path, count: usize) -> Result<File> {
    let failed = || io_error(format!("take a turn in {}", dir.display()));
    let deadline = Instant::now() + TURN_PATIENCE;
    if let Some(turn) = free(dir, count).map_err(failed())? {
        return Ok(turn);
    }
    let queue = open(&dir.join("queue")).map_err(failed())?;
    let mut first = take(&queue, TURN_PATIENCE).map_err(failed())?;
    while first {
        if let Some(turn) = free(dir, count).map_err(failed())? {
            return Ok(turn);
        }
        std::thread::sleep(TURN_PAUSE);
        first = Instant::now() < deadline;
    }
    let msg = format!("too many pods are being made at once ({})", dir.display());
    Err(CniError::new(Code::TryAgainLater, msg))
}

/// A turn that nobody has.
fn free(dir: &Path, count: usize) -> io::Result<Option<File>> {
    for number in 0..count {
        let file = open(&dir.join(number.to_string()))?;
        if try_lock(&file)? {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

fn open(path: &Path) -> io::Result<File> {
    File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

/// Takes an exclusive lock if it is free.
pub(super) fn try_lock(file: &File) -> io::Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Takes a lock within `patience`; false when that was not enough.
fn take(file: &File, patience: Duration) -> io::Result<bool> {
    let mut pause = LOOK_PAUSE;
    for _ in 0..LOOKS {
        if try_lock(file)? {
            return Ok(true);
        }
        std::thread::sleep(pause);
        pause *= 2;
    }
    // The lock is that of the open file, whichever thread asked for it.
    let (file, (give, taken)) = (file.try_clone()?, mpsc::channel());
    std::thread::Builder::new().name("lock".into()).spawn(move || {
        let result = loop {
            match rustix::fs::flock(&file, FlockOperation::LockExclusive) {
                Err(rustix::io::Errno::INTR) => {}
                result => break result,
            }
        };
        let _ = give.send(result);
    })?;
    match taken.recv_timeout(patience) {
        Ok(result) => result.map(|()| true).map_err(io::Error::from),
        Err(_) => Ok(false),
    }
}

/// What a file says that says less than [`SHORT_BYTES`], which takes one call to read.
pub(super) fn read_short(mut file: &File) -> io::Result<String> {
    let mut bytes = [0; SHORT_BYTES];
    let length = file.read(&mut bytes)?;
    Ok(String::from_utf8_lossy(bytes.get(..length).unwrap_or_default()).into_owned())
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
