//! One run of another plugin: its standard input is given, its standard output taken, its standard error left where ours goes.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::invocation::Verb;

/// A result is some kilobytes; one who says more loses his reader.
const OUTPUT_MAX_BYTES: u64 = 1024 * 1024;
/// How long standard output may stay open after the plugin ended (something that it started still holds it).
const PIPE_PATIENCE: Duration = Duration::from_secs(2);
/// How often a program is tried that somebody is just writing (ETXTBSY), and the pause between.
const BUSY_ATTEMPTS: u32 = 50;
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// A run that came to its end.
#[derive(Debug)]
pub(super) struct Answer {
    /// How it ended.
    pub(super) status: ExitStatus,
    /// What it said.
    pub(super) stdout: Vec<u8>,
}

/// A run that did not.
#[derive(Debug)]
pub(super) enum Failure {
    /// A system call failed: what was tried, and how.
    Io(&'static str, io::Error),
    /// It took too long, and was killed.
    Hangs,
}

fn failed(step: &'static str) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure::Io(step, error)
}

/// Runs `program` with our environment, in which CNI_COMMAND is `verb`, for at most `patience`.
pub(super) fn run(program: &Path, verb: Verb, input: &[u8], patience: Duration) -> Result<Answer, Failure> {
    let deadline = Instant::now() + patience;
    let mut child = start(program, verb).map_err(failed("start it"))?;
    // Threads of their own, not scoped: whoever keeps a pipe open must not keep us.
    if let Some(mut stdin) = child.stdin.take() {
        let input = input.to_vec();
        // A plugin that fails early does not read its input: a broken pipe is fine.
        std::thread::spawn(move || drop(stdin.write_all(&input)));
    }
    let (give, take) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let read = stdout.take(OUTPUT_MAX_BYTES).read_to_end(&mut bytes);
            drop(give.send(read.map(|_| bytes)));
        });
    }
    let ended = has_ended(&child, deadline).map_err(failed("wait for it"))?;
    if !ended {
        // With all that it started: it was made the first of a process group.
        let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
        child.wait().map_err(failed("wait for it"))?;
        return Err(Failure::Hangs);
    }
    let status = child.wait().map_err(failed("wait for it"))?;
    let stdout = take.recv_timeout(PIPE_PATIENCE).map_err(|_| {
        Failure::Io(
            "read its standard output",
            io::Error::new(io::ErrorKind::TimedOut, "still open though it has ended"),
        )
    })?;
    Ok(Answer {
        status,
        stdout: stdout.map_err(failed("read its standard output"))?,
    })
}

fn start(program: &Path, verb: Verb) -> io::Result<Child> {
    let mut attempt = 1;
    loop {
        let started = Command::new(program)
            .env("CNI_COMMAND", verb.as_str())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .process_group(0)
            .spawn();
        match started {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && attempt < BUSY_ATTEMPTS => {
                attempt += 1;
                std::thread::sleep(BUSY_PAUSE);
            }
            result => return result,
        }
    }
}

/// Waits until the child has ended; false when that takes longer than until `deadline`.
fn has_ended(child: &Child, deadline: Instant) -> io::Result<bool> {
    let pidfd: OwnedFd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(
            &mut [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)],
            Some(&left),
        ) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
