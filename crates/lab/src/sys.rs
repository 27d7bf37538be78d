//! Entering a network namespace: rustix marks unsafe what could part a process from its threads.
#![allow(unsafe_code)]

use std::io;

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Gives the calling thread a network namespace of its own.
pub(crate) fn enter() -> io::Result<()> {
    // SAFETY: only the network namespace of this thread changes; no file descriptor table is shared or split.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET)? };
    Ok(())
}
