//! Network namespaces of the test's own, each held by a thread that lives in it, and drivers that run inside.
//!
//! Threads that a namespace's thread starts are born in it. A namespace goes with its last thread, process and socket, also
//! after a failure: nothing needs to be taken down. It takes root, or `unshare -rn` around the tests; where it is
//! forbidden the test is skipped, loudly.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::mpsc;
use std::thread;

use flatroute_bgp::speaker::Config;
use tokio::sync::oneshot;

use crate::world::Node;

type Job = Box<dyn FnOnce() + Send>;

pub(crate) struct Namespace {
    jobs: mpsc::Sender<Job>,
    /// The thread that holds it: what `ip link … netns` understands.
    thread: i32,
}

/// A driver inside of a namespace; it ends with this value, and its sockets are closed then.
pub(crate) struct Inside {
    pub(crate) node: Node,
    running: Option<(oneshot::Sender<()>, thread::JoinHandle<()>)>,
}

impl Drop for Inside {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            drop(stop);
            // It has said why if it failed.
            _ = thread.join();
        }
    }
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
                note_skip(thread::current().name().unwrap_or("netns"), &error);
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

    /// Takes a link from another one.
    pub(crate) fn take(&self, link: &str, from: &Self) {
        from.ip(&format!("link set {link} netns {}", self.thread));
    }

    /// The index of an interface.
    pub(crate) fn index(&self, interface: &str) -> u32 {
        let line = self.ip(&format!("-o link show dev {interface}"));
        let number = line.split(':').next().expect("a line");
        number.parse().expect("an index")
    }

    /// A counter of TCP's that the kernel keeps for the namespace, such as `TCPMD5NotFound`.
    pub(crate) fn counter(&self, name: &'static str) -> u64 {
        self.inside(move || {
            // Not /proc/net: that is a link to the process' first thread.
            let text = std::fs::read_to_string("/proc/thread-self/net/netstat").expect("the counters");
            let mut lines = text.lines().filter_map(|l| l.strip_prefix("TcpExt:"));
            let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
            let mut both = names.split_whitespace().zip(values.split_whitespace());
            let found = both.find(|(n, _)| *n == name).expect("the counter");
            found.1.parse().expect("a number")
        })
    }

    /// Writes a sysctl of the namespace.
    pub(crate) fn sysctl(&self, path: &'static str, value: &'static str) {
        let write = move || std::fs::write(format!("/proc/sys/{path}"), value);
        self.inside(write).expect("the sysctl");
    }

    /// Starts a driver inside, on a runtime of its own.
    pub(crate) fn driver(&self, listen: SocketAddr, config: Config) -> Inside {
        let (tell, told) = mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let node = Node::listening(listen, config).await;
                tell.send(node).expect("somebody waits");
                // Whoever dropped it wants the end.
                _ = stopped.await;
            });
        };
        let thread = self.inside(move || thread::spawn(run));
        Inside {
            node: told.recv().expect("the driver starts"),
            running: Some((stop, thread)),
        }
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

/// Joins two namespaces by a link `upNUMBER` – `torNUMBER`. The first has `10.0.NUMBER.1`, `fd00:NUMBER::1` and `fe80::1`,
/// the second `.2` and `::2`.
pub(crate) fn join(number: u8, one: &Namespace, other: &Namespace) {
    one.ip(&format!(
        "link add up{number} type veth peer name tor{number} netns {}",
        other.thread
    ));
    for (end, name, namespace) in [(1, "up", one), (2, "tor", other)] {
        namespace.ip(&format!("addr add 10.0.{number}.{end}/24 dev {name}{number}"));
        namespace.ip(&format!(
            "-6 addr add fd00:{number}::{end}/64 dev {name}{number} nodad"
        ));
        namespace.ip(&format!("-6 addr add fe80::{end}/64 dev {name}{number} nodad"));
        namespace.ip(&format!("link set {name}{number} up"));
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
