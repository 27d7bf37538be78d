//! `flatroute-agent run --respawn`: a parent that starts the agent again at once when it dies.
//!
//! Neighbours keep the routes of an agent that is away for the restart time (RFC 4724), 120 s unless configured. A kubelet
//! that starts a container again waits longer each time (0, 10, 20, 40, 80, 160, 300 s), so after a few deaths in a row the
//! restart time would be over before the next agent is there. So the container's first process is this parent: it does
//! nothing but wait, and has little that could go wrong: no runtime, no thread, no socket.
//!
//! ```text
//!              SIGTERM, SIGINT                 ended by a signal, or with a code but 0 and 2
//! kubelet ───────► parent ───────► agent ───────────► parent ───────► the next agent
//! ```
//!
//! - An agent that is asked to end, or that says so by its code (0: done, 2: wrong usage), is the last one, and so is one
//!   that makes [`MAX_DEATHS`] within [`WINDOW`]: the parent ends with its code, for whoever started the parent to see.
//! - The next one starts at once. Only after one that lived shorter than [`SHORT`] there is a pause, which doubles with each of
//!   them in a row from [`FIRST_PAUSE`] to [`LONGEST_PAUSE`].
//! - No agent outlives its parent: two of them would fight over sessions and routes. The kernel kills it when the parent
//!   dies (`PR_SET_PDEATHSIG`; in a container with process ids of its own the parent is the first, whose end ends all).
//!
//! The agent is told of those before it, in the environment, and tells it as an event: what the parent mends, the kubelet does not
//! count.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use flatroute_api::control;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, WaitOptions, WaitStatus, getpid, getppid, kill_process, wait};

use crate::cli::LogFormat;
use crate::events::Happening;

/// An agent that lives shorter than this is not started again at once.
const SHORT: Duration = Duration::from_secs(1);
/// The pause after the first of those.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The pause at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// With so many deaths within [`WINDOW`] the parent gives up.
const MAX_DEATHS: usize = 10;
/// How long a death counts.
const WINDOW: Duration = Duration::from_secs(60);

/// The option that makes the parent; the agent does not get it.
const OPTION: &str = "--respawn";
/// The environment variable by which the agent knows its parent and those before it: process id, deaths, and how the last died.
const VARIABLE: &str = "FLATROUTE_RESPAWN";

/// The agents before this one, under the same parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Predecessors {
    /// How many there were.
    pub(crate) count: u64,
    /// How the last one ended, in words.
    pub(crate) last: String,
}

impl Predecessors {
    /// The same for the control socket.
    pub(crate) fn described(&self) -> control::Respawned {
        control::Respawned {
            deaths: self.count,
            last: self.last.clone(),
        }
    }

    /// What the agent tells of them.
    pub(crate) fn happening(&self) -> Happening {
        let Self { count, last } = self;
        Happening {
            kind: "AgentRespawned".to_owned(),
            text: format!(
                "the agent before this one {last}; its log has the reason, if it had the time for it (deaths since its parent's start: {count})"
            ),
            ..Happening::default()
        }
    }
}

/// The parent: starts the agent with the arguments of this process and ends when the last one has ended.
pub(crate) fn main(format: LogFormat) -> ExitCode {
    match Parent::open(format).and_then(|mut parent| parent.run()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            say(format, "ERROR", &format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// A line of the log, like the agent's own.
fn say(format: LogFormat, level: &str, text: &str) {
    match format {
        LogFormat::Text => eprintln!("flatroute-agent run {OPTION}: {text}"),
        LogFormat::Json => {
            let line = serde_json::json!({"level": level, "fields": {"message": text}, "target": "flatroute_agent::respawn"});
            eprintln!("{line}");
        }
    }
}

/// In the agent: ties its life to its parent's, if it has one that respawns it.
///
/// # Errors
/// When the parent has died already, or the kernel refuses.
pub(crate) fn follow_parent() -> anyhow::Result<Option<Predecessors>> {
    let Some(text) = std::env::var_os(VARIABLE) else {
        return Ok(None);
    };
    let (parent, predecessors) = text.to_str().and_then(read).with_context(|| {
        format!("the environment variable {VARIABLE} is not what the parent sets; unset it")
    })?;
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .context("PR_SET_PDEATHSIG")?;
    // The parent has them blocked, and what it starts begins like it.
    signals().thread_unblock().context("unblock signals")?;
    // It may have died before that.
    if getppid().map(Pid::as_raw_pid) != Some(parent) {
        bail!("the parent that started this agent has died");
    }
    Ok(predecessors)
}

/// What [`VARIABLE`] says.
fn read(text: &str) -> Option<(i32, Option<Predecessors>)> {
    let mut parts = text.splitn(3, ' ');
    let parent = parts.next()?.parse().ok()?;
    let count = parts.next()?.parse().ok()?;
    let last = parts.next().unwrap_or_default().to_owned();
    Some((parent, (count > 0).then_some(Predecessors { count, last })))
}

fn written(parent: i32, count: u64, last: &str) -> String {
    format!("{parent} {count} {last}")
}

/// What the parent waits for.
fn signals() -> SigSet {
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD]
        .into_iter()
        .collect()
}

struct Parent {
    format: LogFormat,
    /// The program, and what it is called with.
    name: OsString,
    arguments: Vec<OsString>,
    signals: SignalFd,
    deaths: Deaths,
    /// How many agents have died, and how the last one did.
    count: u64,
    last: String,
}

/// What a wait brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Woken {
    Asked(rustix::process::Signal),
    ChildChanged,
    TimeOver,
}

impl Parent {
    fn open(format: LogFormat) -> anyhow::Result<Self> {
        let mut arguments = std::env::args_os();
        let name = arguments.next().unwrap_or_else(|| "flatroute-agent".into());
        let set = signals();
        // They wait in the descriptor instead.
        set.thread_block().context("block signals")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Self {
            format,
            name,
            arguments: arguments
                .filter(|argument| argument != OsStr::new(OPTION))
                .collect(),
            signals: SignalFd::with_flags(&set, flags).context("signalfd")?,
            deaths: Deaths::default(),
            count: 0,
            last: String::new(),
        })
    }

    fn run(&mut self) -> anyhow::Result<u8> {
        loop {
            let (child, began) = (self.start()?, Instant::now());
            let (status, asked) = self.accompany(child)?;
            let code = code(status);
            if asked || matches!(code, 0 | 2) {
                return Ok(code);
            }
            self.count += 1;
            self.last = words(status);
            let now = Instant::now();
            let Some(pause) = self.deaths.died(now - began, now) else {
                let (last, within) = (&self.last, WINDOW.as_secs());
                let text =
                    format!("the agent {last}; it died {MAX_DEATHS} times within {within} s: giving up");
                say(self.format, "ERROR", &text);
                return Ok(code);
            };
            let text = format!("the agent {}; starting it again, time {}", self.last, self.count);
            say(self.format, "WARN", &text);
            if self.asked_within(pause)? {
                return Ok(code);
            }
        }
    }

    fn start(&self) -> anyhow::Result<Pid> {
        // This very program, also when another one has taken its place on the disk.
        let child = Command::new("/proc/self/exe")
            .arg0(&self.name)
            .args(&self.arguments)
            .env(VARIABLE, written(getpid().as_raw_pid(), self.count, &self.last))
            .spawn()
            .context("the agent cannot be started")?;
        i32::try_from(child.id())
            .ok()
            .and_then(Pid::from_raw)
            .context("a process id")
    }

    /// Passes on what the parent is asked, until the child has ended. Gives how, and whether it was asked to.
    fn accompany(&self, child: Pid) -> anyhow::Result<(WaitStatus, bool)> {
        let mut asked = false;
        loop {
            // All that have ended: as the first process of a container it is the parent of orphans too.
            while let Some((pid, status)) = ended()? {
                if pid == child {
                    return Ok((status, asked));
                }
            }
            match self.woken(None)? {
                Woken::Asked(signal) => {
                    asked = true;
                    // It may have ended just now, and is not reaped: the number is still its own.
                    kill_process(child, signal).context("pass a signal on")?;
                }
                Woken::ChildChanged | Woken::TimeOver => {}
            }
        }
    }

    /// Whether the parent is asked to end within this time.
    fn asked_within(&self, pause: Duration) -> anyhow::Result<bool> {
        let end = Instant::now() + pause;
        loop {
            match self.woken(Some(end.saturating_duration_since(Instant::now())))? {
                Woken::Asked(_) => return Ok(true),
                Woken::ChildChanged => {}
                Woken::TimeOver => return Ok(false),
            }
        }
    }

    fn woken(&self, within: Option<Duration>) -> anyhow::Result<Woken> {
        let within = within.map(Timespec::try_from).transpose()?;
        loop {
            if let Some(info) = self.signals.read_signal().context("read a signal")? {
                let is = |signal: Signal| i32::try_from(info.ssi_signo) == Ok(signal as i32);
                return Ok(if is(Signal::SIGTERM) {
                    Woken::Asked(rustix::process::Signal::TERM)
                } else if is(Signal::SIGINT) {
                    Woken::Asked(rustix::process::Signal::INT)
                } else {
                    Woken::ChildChanged
                });
            }
            let descriptor = self.signals.as_fd();
            match poll(
                &mut [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)],
                within.as_ref(),
            ) {
                Ok(0) => return Ok(Woken::TimeOver),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("wait for a signal"),
            }
        }
    }
}

/// A child that has ended and is reaped herewith.
fn ended() -> io::Result<Option<(Pid, WaitStatus)>> {
    match wait(WaitOptions::NOHANG) {
        Err(rustix::io::Errno::CHILD) => Ok(None),
        result => Ok(result?),
    }
}

/// The code that says the same of the parent: a shell's way for signals.
fn code(status: WaitStatus) -> u8 {
    let signalled = || status.terminating_signal().map(|signal| 128 + signal);
    let code = status.exit_status().or_else(signalled);
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// How a child ended.
fn words(status: WaitStatus) -> String {
    match status.terminating_signal() {
        Some(number) => match Signal::try_from(number) {
            Ok(signal) => format!("was ended by {signal}"),
            Err(_) => format!("was ended by signal {number}"),
        },
        None => format!("ended with code {}", code(status)),
    }
}

/// When agents have died lately.
#[derive(Debug, Default)]
struct Deaths {
    lately: VecDeque<Instant>,
    /// How many in a row lived short.
    short: u32,
}

impl Deaths {
    /// One died now. Says how long to wait before the next starts; none: there is no next one.
    fn died(&mut self, lived: Duration, now: Instant) -> Option<Duration> {
        self.lately
            .retain(|at| now.saturating_duration_since(*at) < WINDOW);
        self.lately.push_back(now);
        if self.lately.len() >= MAX_DEATHS {
            return None;
        }
        if lived >= SHORT {
            self.short = 0;
            return Some(Duration::ZERO);
        }
        let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(self.short));
        self.short += 1;
        Some(pause.min(LONGEST_PAUSE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pauses before each next one, with these lives in milliseconds.
    fn pauses(lives: &[u64]) -> Vec<Option<u128>> {
        let mut deaths = Deaths::default();
        let mut now = Instant::now();
        let died = |lived: &u64| {
            let lived = Duration::from_millis(*lived);
            now += lived;
            let pause = deaths.died(lived, now);
            now += pause.unwrap_or_default();
            pause.map(|pause| pause.as_millis())
        };
        lives.iter().map(died).collect()
    }

    #[test]
    fn one_that_has_lived_is_followed_at_once() {
        assert_eq!(pauses(&[3000; 5]), [Some(0); 5]);
        assert_eq!(pauses(&[3_600_000; 40]), [Some(0); 40]);
    }

    #[test]
    fn one_that_cannot_live_is_tried_less_and_less_and_then_no_more() {
        let found = pauses(&[10; 10]);
        let wanted: Vec<Option<u128>> = [100, 200, 400, 800, 1600, 2000, 2000, 2000, 2000]
            .map(Some)
            .into_iter()
            .chain([None])
            .collect();
        assert_eq!(found, wanted);
        // A life between them forgives the pause, not the number.
        let lives = [10, 10, 2000, 10, 10, 10, 10, 10, 10, 10];
        let found = pauses(&lives);
        assert_eq!(&found[..4], [Some(100), Some(200), Some(0), Some(100)]);
        assert_eq!(found[9], None);
    }

    #[test]
    fn deaths_are_forgotten_after_a_while() {
        // Nine within a minute are borne, for ever.
        assert_eq!(pauses(&[6700; 200]), [Some(0); 200]);
        assert_eq!(pauses(&[6000; 12]).iter().filter(|p| p.is_none()).count(), 3);
    }

    #[test]
    fn the_agent_reads_what_the_parent_writes() {
        let last = "was ended by SIGKILL";
        let predecessors = Predecessors {
            count: 3,
            last: last.to_owned(),
        };
        assert_eq!(read(&written(17, 3, last)), Some((17, Some(predecessors))));
        assert_eq!(read(&written(1, 0, "")), Some((1, None)));
        for wrong in ["", "17", "x 1 y", "17 -1"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
