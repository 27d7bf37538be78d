//! What a process has used: CPU time of all its threads, and the most memory it ever had resident.
//!
//! `/proc/PID/stat` counts in ticks of 10 ms, a tenth of what is measured here; the scheduler's own account of each
//! thread (`/proc/PID/task/TID/schedstat`) is in nanoseconds, time in the kernel included.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// What was used so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    /// In user space and in the kernel.
    pub(super) cpu: Duration,
    /// VmHWM.
    pub(super) peak_bytes: u64,
}

impl Usage {
    pub(super) fn of(pid: u32) -> Result<Self> {
        let own = fs::read_link("/proc/self").context("/proc/self")?;
        if own.to_str() != Some(&std::process::id().to_string()) {
            bail!(
                "/proc is not that of the bench's own process namespace, so CPU time cannot be read; run it as root"
            );
        }
        let cpu = threads(pid)?.values().sum();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).context("status")?;
        Ok(Self {
            cpu,
            peak_bytes: bytes(&status, "VmHWM:")?,
        })
    }
}

/// CPU time of each thread that there is, by its id.
fn threads(pid: u32) -> Result<BTreeMap<OsString, Duration>> {
    let mut threads = BTreeMap::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("process {pid}"))? {
        let thread = thread?;
        let path = thread.path().join("schedstat");
        let text =
            fs::read_to_string(&path).with_context(|| format!("{} (CONFIG_SCHED_INFO)", path.display()))?;
        let nanoseconds = text.split_whitespace().next().and_then(|word| word.parse().ok());
        let time = Duration::from_nanos(nanoseconds.context("schedstat")?);
        threads.insert(thread.file_name(), time);
    }
    Ok(threads)
}

/// What is resident now, and what each thread has done so far.
#[derive(Debug, Clone)]
pub(super) struct Resident {
    /// VmRSS.
    pub(super) bytes: u64,
    /// Of it, what is no page of a file.
    pub(super) own_bytes: u64,
    /// VmHWM.
    pub(super) peak_bytes: u64,
    pub(super) threads: BTreeMap<OsString, Duration>,
    /// How often one of its threads waited for something: that is how often it was woken.
    pub(super) wakes: u64,
}

impl Resident {
    pub(super) fn of(pid: u32) -> Result<Self> {
        let mut wakes = 0;
        for thread in fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("process {pid}"))? {
            let status = fs::read_to_string(thread?.path().join("status")).context("status")?;
            wakes += field(&status, "voluntary_ctxt_switches:")?;
        }
        let status = fs::read_to_string(format!("/proc/{pid}/status")).context("status")?;
        Ok(Self {
            bytes: bytes(&status, "VmRSS:")?,
            own_bytes: bytes(&status, "RssAnon:")?,
            peak_bytes: bytes(&status, "VmHWM:")?,
            threads: threads(pid)?,
            wakes,
        })
    }

    /// CPU time since `before`, of the threads that there are now: one that has ended takes its account with it.
    pub(super) fn cpu_since(&self, before: &Self) -> Duration {
        let since = |(thread, time): (&OsString, &Duration)| {
            time.saturating_sub(before.threads.get(thread).copied().unwrap_or_default())
        };
        self.threads.iter().map(since).sum()
    }
}

fn field(status: &str, name: &'static str) -> Result<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name));
    let number = value.and_then(|value| value.split_whitespace().next()?.parse().ok());
    number.context(name)
}

fn bytes(status: &str, name: &'static str) -> Result<u64> {
    Ok(field(status, name)? * 1024)
}
