//! A program under a small shell that ends it when this process ends, however it ends, and tells the end of its log when it does
//! not become ready.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Pid;

/// How long each of the two may take to be ready. They need three seconds on a machine that does nothing else.
const READY: Duration = Duration::from_secs(120);

/// A program that ends when this process does.
#[derive(Debug)]
pub(super) struct Guarded {
    shell: Child,
    log: PathBuf,
    pid_file: PathBuf,
}

/// Runs the program; ends it when standard input ends, which this process holds; ends with it when it ends by itself. When
/// it has ended the program it removes the folder that it was given, if any: a server that all tests share is never dropped.
const GUARD: &str = r#"
pid_file=$1; folder=$2; shift 2
exec 3<&0
"$@" </dev/null 3<&- &
pid=$!
echo $pid >"$pid_file.new" && mv "$pid_file.new" "$pid_file"
{ read -r _ <&3; kill -9 $pid; } 2>/dev/null &
guard=$!
exec 3<&-
wait $pid
ended=$?
kill -9 $guard 2>/dev/null
# 137: killed. One that ends by itself leaves a log that somebody reads.
[ -n "$folder" ] && [ $ended -eq 137 ] || exit 1
cd /
for attempt in 1 2 3 4 5 6 7 8 9; do
    rm -rf "$folder" 2>/dev/null && break
    sleep 0.2
done
exit 1
"#;

/// What becomes of a program's folder when it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AtTheEnd {
    /// It is removed, with all that is in it.
    RemoveAll,
    /// It stays.
    LeaveAll,
}

impl Guarded {
    pub(super) fn spawn(
        dir: &Path,
        name: &str,
        program: &Path,
        arguments: &[String],
        at_the_end: AtTheEnd,
    ) -> io::Result<Self> {
        let folder = match at_the_end {
            AtTheEnd::RemoveAll => dir.as_os_str(),
            AtTheEnd::LeaveAll => OsStr::new(""),
        };
        let log = dir.join(format!("{name}.log"));
        let pid_file = dir.join(format!("{name}.pid"));
        _ = fs::remove_file(&pid_file);
        let said = File::create(&log)?;
        let shell = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .arg(&pid_file)
            .arg(folder)
            .arg(program)
            .args(arguments)
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(said.try_clone()?)
            .stderr(said)
            .spawn()?;
        Ok(Self { shell, log, pid_file })
    }

    pub(super) fn pid(&self) -> Option<Pid> {
        Pid::from_raw(fs::read_to_string(&self.pid_file).ok()?.trim().parse().ok()?)
    }

    /// Waits until it is ready. Fails with the end of its log when it ends, or takes too long.
    pub(super) fn until(&mut self, is_ready: impl Fn() -> bool) -> io::Result<()> {
        let deadline = Instant::now() + READY;
        while !is_ready() {
            let ended = self.shell.try_wait()?.is_some();
            if ended || Instant::now() > deadline {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let end = lines[lines.len().saturating_sub(20)..].join("\n");
                let what = if ended { "ended" } else { "is not ready in time" };
                return Err(io::Error::other(format!("{} {what}:\n{end}", self.log.display())));
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        _ = self.shell.wait();
    }
}
