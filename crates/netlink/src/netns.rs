//! Work in another network namespace.
//!
//! `setns` moves a thread, not a process. A thread that went to a pod's namespace and cannot come back would do its
//! next work in the wrong place, so here nobody goes and comes back: the closure runs on a fresh thread, which ends
//! in the other namespace. That costs some 30 µs, more on a busy machine, and cannot go wrong. A program that lives for
//! two milliseconds may go by itself ([`visit`]): it does not survive not coming back.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// `f_type` of the file system that namespace files live on (`NSFS_MAGIC`).
const NSFS_MAGIC: u64 = 0x6e73_6673;

/// Runs `work` on a new thread inside the network namespace that `netns` refers to.
///
/// # Errors
/// When the thread cannot be made or `netns` is no network namespace (EINVAL) or may not be entered (EPERM).
pub fn within<T: Send>(netns: BorrowedFd<'_>, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("netns".into())
            .spawn_scoped(scope, || {
                move_into_link_name_space(netns, Some(LinkNameSpaceType::Network))?;
                Ok(work())
            })?;
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Runs `work` inside the network namespace that `netns` refers to, on the calling thread, which comes back to `home`. Ends the
/// process when it cannot.
///
/// # Errors
/// When `netns` is no network namespace (EINVAL) or may not be entered (EPERM).
pub fn visit<T>(netns: BorrowedFd<'_>, home: BorrowedFd<'_>, work: impl FnOnce() -> T) -> io::Result<T> {
    move_into_link_name_space(netns, Some(LinkNameSpaceType::Network))?;
    let result = work();
    if move_into_link_name_space(home, Some(LinkNameSpaceType::Network)).is_err() {
        std::process::abort();
    }
    Ok(result)
}

/// Makes a network namespace, which lives as long as the returned file (or a link, socket or thread in it).
///
/// # Errors
/// EPERM without the right to (root, or inside a user namespace of one's own).
pub fn fresh() -> io::Result<File> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("netns".into())
            .spawn_scoped(scope, || {
                #[expect(
                    deprecated,
                    reason = "what is unsafe is sharing files; a network namespace concerns no memory"
                )]
                rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET)?;
                current()
            })?;
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// The namespace of the calling thread.
///
/// # Errors
/// When `/proc` is not mounted.
pub fn current() -> io::Result<File> {
    File::open("/proc/thread-self/ns/net")
}

/// Opens the namespace file at `path` and makes sure that it is one.
///
/// # Errors
/// The system's error when it cannot be opened; `InvalidInput` when it is no namespace file.
pub fn open(path: impl AsRef<Path>) -> io::Result<File> {
    let file = File::open(path)?;
    let file_system = rustix::fs::fstatfs(&file)?;
    if u64::try_from(file_system.f_type).ok() != Some(NSFS_MAGIC) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the file is no namespace",
        ));
    }
    Ok(file)
}

/// Whether both files refer to one and the same namespace.
///
/// # Errors
/// When one of them cannot be examined.
pub fn same(one: &File, other: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let (one, other) = (one.metadata()?, other.metadata()?);
    Ok(one.dev() == other.dev() && one.ino() == other.ino())
}
