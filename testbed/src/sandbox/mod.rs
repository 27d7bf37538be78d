//! A world of one's own: user, mount, network and process-id namespaces that vanish as a whole.
//!
//! Everything that the testbed builds (namespaces, interfaces, routes, daemons, files) lives inside one sandbox, so
//! that taking it down is one act that cannot be forgotten halfway: when the first process of a process-id namespace
//! dies, the kernel kills all others in it; with the last of them go the mount namespace and its tmpfs, and with that
//! the network namespaces. Nothing has to be undone by hand, whatever happened before, `kill -9` included.
//!
//! A program that uses the sandbox calls [`answer_call`] first thing in `main` and later [`run`] with the body that
//! shall run inside. The program then executes itself twice:
//!
//! ```text
//! outside   the program as the user started it; catches Ctrl-C and SIGTERM, enforces the time limit
//!   └─ door    unshares, writes the uid and gid maps (the caller's own id becomes root), waits
//!        └─ init   process 1 of the new world: private mounts, /proc, a tmpfs over /run; then the body
//! ```
//!
//! Each dies with its parent (`PR_SET_PDEATHSIG`), except in a kept sandbox, whose init lets go of the others.
//! `outside` and `init` talk over a socket that is the standard input of the inner ones: "init PID", then maybe "kept".
//!
//! As root no user namespace is made, unless the kernel refuses the others (root in a container without
//! `CAP_SYS_ADMIN`). An ordinary user needs no sub-uids and no set-uid program: one mapped id is enough.

mod refusal;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Context as _, Result, bail};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal, setsid};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Says which of its inner roles a re-executed program has to play.
const ROLE: &str = "FLATROUTE_SANDBOX";
/// The network namespace (a path) of a program started by [`crate::namespace::Namespace::command`].
const NETNS: &str = "FLATROUTE_SANDBOX_NETNS";

/// How a run in the sandbox ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The body came to its end; this is the exit code (0 is success).
    Done(u8),
    /// The system refused the sandbox, as was said on standard error: the body never ran.
    Refused,
    /// The body asked for the sandbox to stay; its first process has this id, seen from outside.
    Kept(u32),
    /// Ctrl-C or SIGTERM: everything inside is gone.
    Interrupted,
    /// The time limit passed: everything inside is gone.
    TimedOut,
}

/// Answers when this process is a re-execution of ours in one of the small roles. Call it first in `main`, before any
/// thread is started; it does not return then.
pub fn answer_call() {
    let answer = match env::var(ROLE).as_deref() {
        Ok("door") => door(),
        Ok("exec") => exec_in_namespace(),
        _ => return,
    };
    let code = match answer {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error:#}");
            1
        }
    };
    std::process::exit(i32::from(code));
}

/// Whether this process is already inside.
#[must_use]
pub fn is_inside() -> bool {
    env::var(ROLE).is_ok_and(|role| role == "init")
}

/// Runs `body` as process 1 of a fresh sandbox, by executing this program again with the same arguments: the caller
/// must come to this same call by them. Inside, it never returns.
///
/// # Errors
/// The system forbids namespaces (the message says what to do), or the inner process cannot be started.
pub fn run(limit: Duration, body: impl FnOnce() -> Result<u8>) -> Result<Ending> {
    if is_inside() {
        let code = match enter().and_then(|()| body()) {
            Ok(code) => code,
            Err(error) => {
                eprintln!("\nfailed: {error:#}");
                1
            }
        };
        std::process::exit(i32::from(code));
    }
    outside(limit, env::args_os().skip(1).collect(), Stdio::inherit()).map(|(ending, _)| ending)
}

/// As [`run`], for a caller that wants another command line inside (a test runner that names one test).
///
/// # Errors
/// As [`run`].
pub fn run_with_arguments(limit: Duration, arguments: Vec<OsString>) -> Result<Ending> {
    outside(limit, arguments, Stdio::inherit()).map(|(ending, _)| ending)
}

/// As [`run_with_arguments`], with what is said inside on standard error beside the ending, instead of on ours: for a
/// caller that runs several at a time.
///
/// # Errors
/// As [`run`].
pub fn run_quietly(limit: Duration, arguments: Vec<OsString>) -> Result<(Ending, String)> {
    outside(limit, arguments, Stdio::piped())
}

/// Tries whether the system lets us have a sandbox: runs this program inside with the argument `argument`, for which
/// its `main` has to call [`run`] with a body that does nothing.
///
/// # Errors
/// Why not, and what to do.
pub fn probe(argument: &str) -> Result<()> {
    match outside(Duration::from_secs(10), vec![argument.into()], Stdio::piped())? {
        (Ending::Done(0), _) => Ok(()),
        (_, words) => bail!(words.trim().to_owned()),
    }
}

// ---------------------------------------------------------------------------------------------------------- outside

enum Word {
    Init(u32),
    Kept,
    Signal,
    Closed,
}

fn outside(limit: Duration, arguments: Vec<OsString>, stderr: Stdio) -> Result<(Ending, String)> {
    let (ours, theirs) = UnixStream::pair().context("socket pair")?;
    let (tell, hear) = mpsc::channel();
    watch_signals(tell.clone())?;
    let mut door = Command::new("/proc/self/exe")
        .arg0(
            env::args_os()
                .next()
                .unwrap_or_else(|| "flatroute-testbed".into()),
        )
        .args(arguments)
        .env(ROLE, "door")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stderr(stderr)
        .spawn()
        .context("start the sandbox")?;
    std::thread::spawn(move || listen(&ours, &tell));
    // Read along: a pipe that nobody reads holds up who writes.
    let read = |mut stderr: ChildStderr| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            drop(stderr.read_to_end(&mut bytes));
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let reader = door.stderr.take().map(read);
    let ending = attend(&mut door, &hear, limit)?;
    let words = reader.and_then(|reader| reader.join().ok()).unwrap_or_default();
    Ok((ending, words))
}

/// Waits for the end, whichever comes first.
fn attend(door: &mut Child, hear: &mpsc::Receiver<Word>, limit: Duration) -> Result<Ending> {
    let deadline = Instant::now() + limit;
    let mut init = None;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match hear.recv_timeout(left) {
            Ok(Word::Init(pid)) => init = Some(pid),
            Ok(Word::Kept) => return Ok(Ending::Kept(init.unwrap_or_default())),
            Ok(Word::Closed) => {
                let status = door.wait().context("wait for the sandbox")?;
                let code = status
                    .code()
                    .and_then(|code| u8::try_from(code).ok())
                    .unwrap_or(1);
                return Ok(if init.is_some() {
                    Ending::Done(code)
                } else {
                    Ending::Refused
                });
            }
            Ok(Word::Signal) => {
                take_down(door, init);
                return Ok(Ending::Interrupted);
            }
            Err(_) => {
                take_down(door, init);
                return Ok(Ending::TimedOut);
            }
        }
    }
}

/// Kills the first process inside (and so all) and waits until it is gone; the door follows by itself.
fn take_down(door: &mut Child, init: Option<u32>) {
    match init
        .and_then(|pid| i32::try_from(pid).ok())
        .and_then(Pid::from_raw)
    {
        // The door has not waited for it yet, so the id cannot have been given to another process.
        Some(pid) => kill_process(pid, Signal::KILL).unwrap_or_default(),
        None => drop(door.kill()),
    }
    drop(door.wait());
}

fn listen(socket: &UnixStream, tell: &mpsc::Sender<Word>) {
    for line in BufReader::new(socket).lines() {
        let Ok(line) = line else { break };
        let word = match line.split_once(' ') {
            Some(("init", pid)) => pid.parse().ok().map(Word::Init),
            _ if line == "kept" => Some(Word::Kept),
            _ => None,
        };
        if let Some(word) = word {
            drop(tell.send(word));
        }
    }
    drop(tell.send(Word::Closed));
}

fn watch_signals(tell: mpsc::Sender<Word>) -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("signal runtime")?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let kinds = [
                SignalKind::interrupt(),
                SignalKind::terminate(),
                SignalKind::hangup(),
            ];
            let [Ok(mut a), Ok(mut b), Ok(mut c)] = kinds.map(signal) else {
                return;
            };
            tokio::select! { _ = a.recv() => (), _ = b.recv() => (), _ = c.recv() => () };
            drop(tell.send(Word::Signal));
        });
    });
    Ok(())
}

// ------------------------------------------------------------------------------------------------------------- door

fn door() -> Result<u8> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("parent death signal")?;
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let as_root = uid.is_root() && crate::sys::unshare_world(false).is_ok();
    if !as_root {
        if let Err(errno) = crate::sys::unshare_world(true) {
            bail!(refusal::explain(
                "new user, mount, network and process namespaces",
                errno
            ));
        }
        let map = || -> std::io::Result<()> {
            fs::write("/proc/self/setgroups", "deny")?;
            fs::write("/proc/self/uid_map", format!("0 {} 1", uid.as_raw()))?;
            fs::write("/proc/self/gid_map", format!("0 {} 1", gid.as_raw()))
        };
        if let Err(error) = map() {
            let errno = rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::PERM);
            bail!(refusal::explain(
                "mapping the user's id into the namespace",
                errno
            ));
        }
    }
    let mut init = Command::new("/proc/self/exe")
        .arg0(
            env::args_os()
                .next()
                .unwrap_or_else(|| "flatroute-testbed".into()),
        )
        .args(env::args_os().skip(1))
        .env(ROLE, "init")
        .spawn()
        .context("start the first process of the sandbox")?;
    say(&format!("init {}", init.id()));
    let status = init.wait().context("wait for the first process of the sandbox")?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1))
}

/// A line to `outside`, over the socket that is our standard input.
fn say(line: &str) {
    let _ = rustix::io::write(rustix::stdio::stdin(), format!("{line}\n").as_bytes());
}

// ------------------------------------------------------------------------------------------------------------- init

fn enter() -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("parent death signal")?;
    // A session of its own: Ctrl-C on the terminal is for `outside`, which then ends us in order.
    let _ = setsid();
    let step = |what: &str, result: rustix::io::Result<()>| {
        result.map_err(|errno| anyhow::anyhow!(refusal::explain(what, errno)))
    };
    step(
        "private mounts",
        mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE),
    )?;
    // Containers cover parts of /proc, and then the kernel refuses a fresh one: the old one does, process ids aside.
    let proc_flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let _ = mount("proc", "/proc", "proc", proc_flags, None);
    let room = choose_room()?;
    step(
        "a tmpfs of our own",
        mount(
            "flatroute",
            &room,
            "tmpfs",
            MountFlags::NOSUID | MountFlags::NODEV,
            Some(c"mode=0755"),
        ),
    )?;
    fs::create_dir_all(room.join("netns")).context("create the directory of network namespaces")?;
    fs::create_dir_all(room.join("lab")).context("create the lab's directory")?;
    ROOM_PATH
        .set(room)
        .ok()
        .context("the sandbox's room was asked for before it was made")?;
    Ok(())
}

static ROOM_PATH: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();

/// The directory (a tmpfs, gone with the sandbox) where the lab keeps everything: `netns/`, `lab/`.
#[must_use]
pub fn room() -> &'static Path {
    // Outside, the answer is where it would be: the choice depends on nothing that changes between outside and inside.
    ROOM_PATH.get_or_init(|| choose_room().unwrap_or_else(|_| "/run".into()))
}

/// `/run`, unless the programs that we must start lie below it (removable media are mounted there).
fn choose_room() -> Result<PathBuf> {
    let exe = env::current_exe().context("path of this program")?;
    let here = env::current_dir().unwrap_or_default();
    ["/run", "/mnt", "/srv", "/media"]
        .map(PathBuf::from)
        .into_iter()
        .find(|room| room.is_dir() && !exe.starts_with(room) && !here.starts_with(room))
        .context("none of /run, /mnt, /srv, /media can carry the lab's files")
}

/// Lets the sandbox outlive the program that started it: from now on it ends when its first process, this one, is
/// killed. Standard output is let go of, so that a pipe behind the program sees its end. Never returns.
///
/// # Errors
/// The kernel refuses one of the steps.
pub fn keep() -> Result<std::convert::Infallible> {
    set_parent_process_death_signal(None).context("parent death signal")?;
    let null = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")
        .context("/dev/null")?;
    std::io::stdout().flush().ok();
    rustix::stdio::dup2_stdout(&null).context("let go of standard output")?;
    rustix::stdio::dup2_stderr(&null).context("let go of standard error")?;
    say("kept");
    rustix::stdio::dup2_stdin(&null).context("let go of standard input")?;
    loop {
        std::thread::park();
    }
}

// ------------------------------------------------------------------------------------------------------------- exec

fn exec_in_namespace() -> Result<u8> {
    let path = env::var_os(NETNS).context("no network namespace named")?;
    let file = fs::File::open(&path).with_context(|| format!("open network namespace {}", path.display()))?;
    move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network))
        .with_context(|| format!("enter network namespace {}", path.display()))?;
    let mut arguments = env::args_os().skip(1);
    let program = arguments.next().context("no program named")?;
    let error = Command::new(&program)
        .args(arguments)
        .env_remove(ROLE)
        .env_remove(NETNS)
        .exec();
    bail!("cannot start {}: {error}", program.display());
}

/// A command that runs `program` inside the network namespace at `netns`: this program again, which moves and then
/// becomes the other one (same process id, same standard streams).
pub(crate) fn command_in(netns: &Path, program: &Path) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.env(ROLE, "exec").env(NETNS, netns).arg(program);
    command
}

/// Success or failure of a whole program, from how its sandbox ended.
#[must_use]
pub fn exit_code(ending: Ending) -> ExitCode {
    match ending {
        Ending::Done(code) => ExitCode::from(code),
        Ending::Refused => ExitCode::FAILURE,
        Ending::Kept(_) => ExitCode::SUCCESS,
        Ending::Interrupted => ExitCode::from(130),
        Ending::TimedOut => ExitCode::from(124),
    }
}
