//! A kept lab: how to look inside it from outside, and how to remove it.
//!
//! What is remembered is the first process of the sandbox: its id, and when it started, so that another process that
//! was given the same id later is never mistaken for it. Killing it removes everything.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::process::locate;
use crate::{sandbox, wait};

/// `$XDG_STATE_HOME/flatroute/lab`, or below `~/.local/state`.
fn note() -> Result<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME")
        .filter(|value| !value.is_empty())
        .map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    Ok(state
        .or_else(home)
        .context("neither XDG_STATE_HOME nor HOME is set")?
        .join("flatroute/lab"))
}

/// When a process started, in clock ticks since boot; `None` when there is none.
pub(crate) fn started(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may hold anything; count from behind it.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19).map(str::to_owned)
}

/// The kept lab that is still up, if any.
fn standing() -> Result<Option<u32>> {
    let Ok(text) = fs::read_to_string(note()?) else {
        return Ok(None);
    };
    let Some((pid, start)) = text.trim().split_once(' ') else {
        return Ok(None);
    };
    let pid: u32 = pid.parse().context("the note of the kept lab")?;
    Ok((started(pid).as_deref() == Some(start)).then_some(pid))
}

/// Fails when a lab is already kept.
///
/// # Errors
/// There is one.
pub fn refuse_a_second() -> Result<()> {
    match standing()? {
        Some(pid) => bail!("a lab is already up (process {pid}). To remove it:  make demo-clean"),
        None => Ok(()),
    }
}

/// Notes a kept lab down; returns how to look inside it.
///
/// # Errors
/// The note cannot be written.
pub fn remember(pid: u32) -> Result<String> {
    let note = note()?;
    if let Some(dir) = note.parent() {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    }
    let start = started(pid).context("the kept lab is not there")?;
    fs::write(&note, format!("{pid} {start}\n")).with_context(|| format!("write {}", note.display()))?;
    Ok(signpost(pid))
}

/// Removes the kept lab; says what it did.
///
/// # Errors
/// It does not go away.
pub fn clean() -> Result<String> {
    let Some(pid) = standing()? else {
        drop(fs::remove_file(note()?));
        return Ok("no lab is up: nothing to do".to_owned());
    };
    let process = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .context("a process id")?;
    kill_process(process, Signal::KILL).with_context(|| format!("end process {pid}"))?;
    wait::until("the lab to go", Duration::from_secs(10), || {
        Ok(if started(pid).is_none() {
            Ok(())
        } else {
            Err(format!("process {pid} is still there"))
        })
    })?;
    fs::remove_file(note()?).context("remove the note of the kept lab")?;
    Ok(format!("the lab (process {pid} and all below it) is gone"))
}

/// Command lines that work from any shell of the same user.
#[must_use]
pub fn signpost(pid: u32) -> String {
    let user = if rustix::process::geteuid().is_root() && !in_user_namespace(pid) {
        ""
    } else {
        " -U --preserve-credentials"
    };
    let enter = format!("nsenter -t {pid}{user} -m --");
    let mut text = String::from("\nTo look inside (names: spine1, tor1a, node1, node1-pod1 …):\n\n");
    let room = sandbox::room().display().to_string();
    // Only what works on this machine: a line that fails teaches nothing.
    for (tool, command) in [
        ("ip", "nsenter --net=ROOM/netns/node1 ip route"),
        ("ip", "nsenter --net=ROOM/netns/node1 ip nexthop"),
        (
            "curl",
            "curl -s --unix-socket ROOM/lab/node1/agent.sock http://localhost/v1/peers",
        ),
        ("ping", "nsenter --net=ROOM/netns/node1-pod1 ping -c 3 10.244.3.2"),
        ("bash", "nsenter --net=ROOM/netns/tor1a bash"),
        ("ls", "ls ROOM/lab/node1"),
    ] {
        if locate(tool).is_none() {
            continue;
        }
        let _ = writeln!(text, "  {enter} {}", command.replace("ROOM", &room));
    }
    text.push_str("\nTo remove it:  make demo-clean\n");
    text
}

/// Whether that process lives in another user namespace than this one.
fn in_user_namespace(pid: u32) -> bool {
    let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/user")).ok();
    of(&pid.to_string()) != of("self")
}
