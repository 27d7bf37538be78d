//! Network namespaces of the test's own, each held by a thread that lives in it.
//!
//! What shall happen inside of one is handed to its thread; processes started there are born in it. A namespace goes
//! with its thread and its last process, also after a failure: nothing needs to be taken down. It takes
//! root, or `unshare -rn` around the tests; where it is forbidden the test is skipped, loudly.

use std::io::Write as _;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(20);

type Job = Box<dyn FnOnce() + Send>;

pub(crate) struct Namespace {
    jobs: mpsc::Sender<Job>,
    /// The thread that holds it: what `ip link … netns` understands.
    thread: i32,
}

impl Namespace {
    /// Makes one; none, saying why, where that is forbidden.
    pub(crate) fn new() -> Option<Self> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            let entered = enter();
            let is_in = entered.is_ok();
            tell.send(entered.map(|()| rustix::thread::gettid().as_raw_nonzero().get()))
                .expect("somebody waits");
            if is_in {
                inbox.into_iter().for_each(|job| job());
            }
        });
        match told.recv().expect("the thread tells") {
            Ok(thread) => {
                let new = Self { jobs, thread };
                new.ip("link set lo up");
                Some(new)
            }
            Err(error) => {
                note_skip(thread::current().name().unwrap_or("end_to_end"), &error);
                None
            }
        }
    }

    /// Does something inside, and waits for it.
    pub(crate) fn inside<T: Send + 'static>(&self, what: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = mpsc::channel();
        let job = move || drop(tell.send(what()));
        self.jobs.send(Box::new(job)).expect("the thread lives");
        told.recv().expect("done")
    }

    /// Runs the `ip` tool inside and returns what it prints.
    pub(crate) fn ip(&self, arguments: &str) -> String {
        let mut command = Command::new("ip");
        command.args(arguments.split_whitespace());
        let output = self
            .inside(move || command.output())
            .expect("the ip tool (iproute2)");
        assert!(
            output.status.success(),
            "ip {arguments}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// Says that a test was skipped: at once, past the test runner, and in the summary over all test programs that is kept
/// in the file `FLATROUTE_SKIPPED`.
fn note_skip(name: &str, error: &std::io::Error) {
    let line =
        format!("{name}: no network namespace of our own: {error}; run as root, or under `unshare -rn`");
    let _ = writeln!(std::io::stderr(), "SKIPPED {line}");
    let summary = std::env::var_os("FLATROUTE_SKIPPED")
        .map(|path| std::fs::OpenOptions::new().create(true).append(true).open(path));
    if let Some(Ok(mut file)) = summary {
        let _ = writeln!(file, "{line}");
    }
}

/// Joins two namespaces by a link with addresses of both families: `10.0.NUMBER.1` and `.2`,
/// `fd00:0:NUMBER::1` and `::2`, `fe80::1` and `::2`.
pub(crate) fn join(number: u8, one: &Namespace, other: &Namespace) {
    one.ip(&format!(
        "link add link{number} type veth peer name link{number} netns {}",
        other.thread
    ));
    for (end, namespace) in [(1, one), (2, other)] {
        namespace.ip(&format!("addr add 10.0.{number}.{end}/24 dev link{number}"));
        namespace.ip(&format!(
            "-6 addr add fd00:0:{number}::{end}/64 dev link{number} nodad"
        ));
        namespace.ip(&format!("-6 addr add fe80::{end}/64 dev link{number} nodad"));
        namespace.ip(&format!("link set link{number} up"));
    }
}

#[expect(
    unsafe_code,
    reason = "unshare has no safe form; a network namespace of one thread endangers no memory"
)]
fn enter() -> std::io::Result<()> {
    // SAFETY: only the network namespace of this thread changes; no file descriptor table is shared or split.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET)? };
    Ok(())
}

/// Looks again and again until there is what is looked for. What stood in the way is said at the end.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(why) => assert!(start.elapsed() < DEADLINE, "never: {what}; {why}"),
        }
        thread::sleep(Duration::from_millis(25));
    }
}
