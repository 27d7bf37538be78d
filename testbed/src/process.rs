//! Daemons: started with a log, watched, stopped within a bound.
//!
//! A daemon's output goes to a file, and whoever finds that a daemon is not as it should be can put the end of that
//! file into the error ([`Daemon::last_words`]). A daemon that is dropped is killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// A running program of the lab.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts `command` with its output in the file `log`.
    ///
    /// # Errors
    /// The program or the log cannot be opened.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let out = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("{name}: open log {}", log.display()))?;
        let err = out.try_clone().context("second handle of a log")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .with_context(|| format!("{name}: start"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        })
    }

    /// Its process id, inside the sandbox.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails when the program has ended.
    ///
    /// # Errors
    /// It has ended.
    pub fn expect_running(&mut self) -> Result<()> {
        match self
            .child
            .try_wait()
            .with_context(|| format!("{}: wait", self.name))?
        {
            None => Ok(()),
            Some(status) => bail!("{} ended by itself ({status})", self.name),
        }
    }

    /// The last lines of its log.
    #[must_use]
    pub fn last_words(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(15)..).unwrap_or_default();
        let tail: String = tail.iter().map(|line| format!("    {line}\n")).collect();
        format!("  log of {} (its last lines):\n{tail}", self.name)
    }

    /// Its whole log.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// It has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .context("a process id")?;
        kill_process(pid, signal).with_context(|| format!("{}: signal", self.name))
    }

    /// Asks it to end (SIGTERM) and waits at most `bound`, then kills it.
    ///
    /// # Errors
    /// It had to be killed.
    pub fn stop(self, bound: Duration) -> Result<ExitStatus> {
        self.end(Signal::TERM, bound)
    }

    /// Ends it by a signal of the caller's choice and waits at most `bound`, then kills it.
    ///
    /// # Errors
    /// It had to be killed.
    pub fn end(mut self, signal: Signal, bound: Duration) -> Result<ExitStatus> {
        drop(self.signal(signal));
        let what = format!("{} to end", self.name);
        let waited = wait::until(&what, bound, || {
            Ok(self
                .child
                .try_wait()?
                .ok_or_else(|| "still running after the signal".to_owned()))
        });
        waited.map(|(status, _)| status)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Where `program` is: in `PATH`, or where Debian keeps daemons, which is not in an ordinary user's `PATH`.
#[must_use]
pub fn locate(program: &str) -> Option<PathBuf> {
    places()
        .map(|dir| dir.join(program))
        .find(|file| is_program(file))
}

/// As [`locate`], where `other` lies in the same directory: FRR and OpenBGPD both have a `bgpd`.
#[must_use]
pub fn locate_beside(program: &str, other: &str) -> Option<PathBuf> {
    places()
        .find(|dir| is_program(&dir.join(program)) && is_program(&dir.join(other)))
        .map(|dir| dir.join(program))
}

fn places() -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let also = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/lib/frr"].map(PathBuf::from);
    let named: Vec<PathBuf> = std::env::split_paths(&path).collect();
    named.into_iter().chain(also)
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
