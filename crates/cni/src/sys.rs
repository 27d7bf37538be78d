//! Where the program starts: C's `main` instead of Rust's.
//!
//! A twentieth of an ADD was Rust's own start, and a fifth of a call that does nothing: it reads `/proc/self/maps` and makes a second stack, to say more when the stack
//! overflows. Two other things that it does matter here and are done in its place: the standard descriptors are open, so
//! that no socket of ours gets the number of standard output, and a reader that goes away is an error of a write, not our
//! death. At the end standard output is flushed, as Rust's start would.
#![allow(
    unsafe_code,
    reason = "C's main is a symbol and a pointer; a signal has no safe call"
)]

use std::ffi::{CStr, c_char, c_int};
use std::io::Write as _;
use std::os::fd::IntoRawFd as _;

/// As Cargo.toml says.
#[cfg(target_env = "musl")]
#[global_allocator]
static MEMORY: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

// SAFETY: the C library calls it once, by this name and with this signature, and no other function of ours has the name.
#[unsafe(no_mangle)]
extern "C" fn main(count: c_int, arguments: *const *const c_char) -> c_int {
    // SAFETY: nothing else runs yet, and SIG_IGN is no function of ours that would have to be sound.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
    }
    if open_standard_descriptors().is_err() {
        std::process::abort();
    }
    let arguments = (0..usize::try_from(count).unwrap_or(0)).map(|number| {
        // SAFETY: `main` is given `count` strings that end with a zero and live as long as the process.
        let argument = unsafe { CStr::from_ptr(*arguments.add(number)) };
        argument.to_string_lossy().into_owned()
    });
    let code = crate::run(arguments);
    match std::io::stdout().flush() {
        Ok(()) => code.into(),
        Err(_) => 1,
    }
}

/// Opens `/dev/null` in place of those of the first three descriptors that are closed.
fn open_standard_descriptors() -> std::io::Result<()> {
    let mut all = [0, 1, 2].map(|fd| libc::pollfd {
        fd,
        events: 0,
        revents: 0,
    });
    // SAFETY: the pointer is that of an array of three, which lives longer than the call.
    if unsafe { libc::poll(all.as_mut_ptr(), 3, 0) } < 0 {
        return Err(std::io::Error::last_os_error());
    }
    for each in all {
        if each.revents & libc::POLLNVAL != 0 {
            // The lowest number that is free is this one's.
            let null = std::fs::File::options()
                .read(true)
                .write(true)
                .open("/dev/null")?;
            let _ = null.into_raw_fd();
        }
    }
    Ok(())
}
