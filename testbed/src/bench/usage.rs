//! What a process has used: CPU time of all its threads, and the most memory it ever had resident.
//!
//! `/proc/PID/stat` counts in ticks of 10 ms, a tenth of what is measured here; the scheduler's own account of each
//! thread (`/proc/PID/task/TID/schedstat`) is in nanoseconds, time in the kernel included.

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
        let mut cpu = Duration::ZERO;
        for thread in fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("process {pid}"))? {
            let path = thread?.path().join("schedstat");
            let text = fs::read_to_string(&path)
                .with_context(|| format!("{} (CONFIG_SCHED_INFO)", path.display()))?;
            let nanoseconds = text.split_whitespace().next().and_then(|word| word.parse().ok());
            cpu += Duration::from_nanos(nanoseconds.context("schedstat")?);
        }
        let status = fs::read_to_string(format!("/proc/{pid}/status")).context("status")?;
        let kilobytes: u64 = status
            .lines()
            .find_map(|line| {
                line.strip_prefix("VmHWM:")?
                    .split_whitespace()
                    .next()?
                    .parse()
                    .ok()
            })
            .context("VmHWM")?;
        Ok(Self {
            cpu,
            peak_bytes: kilobytes * 1024,
        })
    }
}
