use std::io::ErrorKind;
use std::net::{IpAddr, UdpSocket};
use std::panic::resume_unwind;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::skip::note_skip;
use crate::sys;

/// How long a socket waits: for its port, and for a packet.
const PATIENCE: Duration = Duration::from_secs(5);

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace, held by a thread that lives in it. What shall happen inside is handed to that thread; threads
/// and processes that it starts are born there.
pub struct Namespace {
    jobs: mpsc::Sender<Job>,
    thread: i32,
}

impl Namespace {
    /// Makes one whose loopback is up. None, saying why, where that is forbidden: then the test ends here.
    ///
    /// # Panics
    /// The machine is at its limits.
    #[must_use]
    pub fn new() -> Option<Self> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            let entered = sys::enter();
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
                note_skip(thread::current().name().unwrap_or("a test"), &error);
                None
            }
        }
    }

    /// The thread that holds it: what `ip link … netns` understands.
    #[must_use]
    pub fn thread(&self) -> i32 {
        self.thread
    }

    /// Does something inside, and waits for it.
    ///
    /// # Panics
    /// It did.
    pub fn inside<T: Send + 'static>(&self, what: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = mpsc::channel();
        let job = move || drop(tell.send(what()));
        self.jobs.send(Box::new(job)).expect("the thread lives");
        told.recv().expect("done")
    }

    /// Runs the `ip` tool inside and returns what it prints.
    ///
    /// # Panics
    /// It is not there, or it fails.
    #[allow(clippy::must_use_candidate, reason = "mostly called for what it does")]
    pub fn ip(&self, arguments: &str) -> String {
        let arguments = arguments.to_owned();
        self.inside(move || ip(&arguments))
    }

    /// A socket for datagrams inside, whose reads end after 5 s.
    ///
    /// Another test's child process holds a copy of every open socket from its fork to its exec, so a port that was just
    /// given back can stay taken for a moment: that is waited for.
    ///
    /// # Panics
    /// The address is not there, or the port stays taken.
    #[must_use]
    pub fn udp(&self, address: IpAddr, port: u16) -> UdpSocket {
        let deadline = Instant::now() + PATIENCE;
        let socket = loop {
            match self.inside(move || UdpSocket::bind((address, port))) {
                Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(1));
                }
                made => break made.expect("a socket"),
            }
        };
        socket.set_read_timeout(Some(PATIENCE)).expect("a bound");
        socket
    }

    /// Gives a link an address (alone, or with the length of its prefix), and waits until packets to it arrive: the kernel makes
    /// the route to an IPv6 address of its own later, in a work queue, which on a busy machine has its turn late.
    ///
    /// # Panics
    /// The kernel refuses, or the route does not come.
    pub fn address(&self, address: &str, link: &str) {
        let nodad = if address.contains(':') { " nodad" } else { "" };
        self.ip(&format!("address add {address} dev {link}{nodad}"));
        let alone = address.split('/').next().unwrap_or(address);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let way = self.ip(&format!("route get {alone}"));
            if way.starts_with("local ") {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{address} on {link} has no route: {way}"
            );
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Takes a link from another one.
    pub fn take(&self, link: &str, from: &Self) {
        from.ip(&format!("link set {link} netns {}", self.thread));
    }

    /// The index of an interface.
    ///
    /// # Panics
    /// There is none of this name.
    #[must_use]
    pub fn index(&self, interface: &str) -> u32 {
        let line = self.ip(&format!("-o link show dev {interface}"));
        let number = line.split(':').next().expect("a line");
        number.parse().expect("an index")
    }

    /// A counter of TCP's that the kernel keeps for the namespace, such as `TCPMD5NotFound`.
    ///
    /// # Panics
    /// The kernel does not know it.
    #[must_use]
    pub fn counter(&self, name: &'static str) -> u64 {
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
    ///
    /// # Panics
    /// The kernel refuses.
    pub fn sysctl(&self, path: &'static str, value: &'static str) {
        let write = move || std::fs::write(format!("/proc/sys/{path}"), value);
        self.inside(write).expect("the sysctl");
    }
}

/// Runs `test` on a thread with a network namespace of its own, loopback up. Skips, saying why, where that is forbidden.
///
/// # Panics
/// The test did.
pub fn in_fresh_netns(name: &str, test: impl FnOnce() + Send + 'static) {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
        if let Err(error) = sys::enter() {
            return Some(error);
        }
        ip("link set lo up");
        test();
        None
    });
    match thread.expect("a thread").join() {
        Ok(None) => {}
        Ok(Some(error)) => note_skip(thread::current().name().unwrap_or(name), &error),
        Err(panic) => resume_unwind(panic),
    }
}

/// Runs the `ip` tool in the namespace of the calling thread and returns what it prints.
///
/// # Panics
/// It is not there, or it fails.
#[allow(clippy::must_use_candidate, reason = "mostly called for what it does")]
pub fn ip(arguments: &str) -> String {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .expect("the ip tool (iproute2)");
    assert!(
        output.status.success(),
        "ip {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
