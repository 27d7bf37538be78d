//! The one place of the testbed that leaves Rust's guarantees: moving the calling thread into fresh namespaces.
//!
//! `unshare(2)` is unsafe in rustix because of `CLONE_FILES` alone, which gives a thread a file table of its own, so
//! that a descriptor number means different files in different threads. The functions here never pass that flag.
#![allow(unsafe_code)]

use rustix::io;
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Gives the calling process fresh mount, network and process-id namespaces, and with `user` a user namespace that
/// owns them. The process-id namespace begins with the next child.
///
/// # Errors
/// Whatever the kernel answers; `crate::sandbox::refusal` turns it into advice.
pub(crate) fn unshare_world(user: bool) -> io::Result<()> {
    let mut flags = UnshareFlags::NEWNS | UnshareFlags::NEWNET | UnshareFlags::NEWPID;
    if user {
        flags |= UnshareFlags::NEWUSER;
    }
    // SAFETY: no CLONE_FILES among the flags, see the module's essay.
    unsafe { unshare_unsafe(flags) }
}

/// Gives the calling thread a fresh network namespace.
///
/// # Errors
/// Whatever the kernel answers.
pub(crate) fn unshare_network() -> io::Result<()> {
    // SAFETY: no CLONE_FILES among the flags, see the module's essay.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }
}
