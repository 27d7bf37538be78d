//! The loop: commands, notifications and time go in, writes and events come out.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use flatroute_fib::{
    Counts, DesiredRoute, Fib, InstalledRoute, MAX_BATCH, NexthopId, PrefSrc, Report, Return, Settings, turn,
};
use ipnetwork::IpNetwork;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::netlink::Netlink;
use crate::socket::Error;

/// Commands are taken while fewer routes than this wait to be written.
const ROOM: usize = 4 * MAX_BATCH;
/// How long after a refusal the routes are tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long a link has to be back before it shares load with links that never left. Repair at the far end takes
/// milliseconds, but a neighbour whose first answer got lost is asked again after a second only.
const SETTLE: Duration = Duration::from_millis(1500);
/// Links that come back within this time are admitted in one go.
const TOGETHER: Duration = Duration::from_millis(100);

/// What the rest of the node asks of the kernel routes.
#[derive(Debug)]
pub enum Command {
    /// Learned routes that changed, newest state each; `None` withdraws.
    Routes {
        /// At most a few thousand.
        routes: Vec<(IpNetwork, Option<DesiredRoute>)>,
        /// Hears when all that was asked for until then is written, refused or waiting.
        written: Option<oneshot::Sender<()>>,
    },
    /// The whole set of routes that do not come from the speaker.
    Static(Vec<(IpNetwork, DesiredRoute)>),
    /// A gateway is dead: it leaves all groups at once. Routes that name it in a later [`Command::Routes`] bring
    /// it back.
    PathDown(IpAddr),
    /// From now on what nothing wants is removed.
    SweepAllowed,
    /// The node's own addresses.
    PrefSrc(PrefSrc),
    /// Asks for the routes as the kernel holds them.
    Dump {
        /// Where the answer goes.
        reply: oneshot::Sender<Vec<InstalledRoute>>,
    },
    /// Asks for the figures.
    Status {
        /// Where the answer goes.
        reply: oneshot::Sender<Counts>,
    },
    /// Asks for the group members by which a gateway is reached: what a failure detector may delete.
    Members {
        /// The gateway.
        gateway: IpAddr,
        /// Where the answer goes.
        reply: oneshot::Sender<Vec<NexthopId>>,
    },
}

/// What the kernel routes have to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Everything that was asked for is written, refused or waiting; the figures then.
    Settled(Counts),
    /// A refused write, a foreign route or a repair.
    Report(Report),
}

/// The running thread. It ends when the channel of commands is closed; the routes stay.
#[derive(Debug)]
pub struct Handle {
    end: oneshot::Receiver<Result<(), Error>>,
}

impl Handle {
    /// Waits for the end.
    ///
    /// # Errors
    /// When the kernel could no longer be reached.
    pub async fn join(self) -> Result<(), Error> {
        self.end.await.unwrap_or(Err(Error::Died))
    }
}

/// Starts the thread, in the network namespace of the calling one. Both channels should be small (8 is enough):
/// the bound on commands is what lets changes coalesce at their source.
///
/// Events that find the channel full wait here; of figures only the newest are kept.
///
/// # Errors
/// When netlink is out of reach or no thread can be had.
pub fn spawn(
    settings: Settings,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<Event>,
) -> Result<Handle, Error> {
    let kernel = Netlink::open(settings)?;
    let fib = Fib::new(settings, kernel.has_nexthops());
    let (end, ended) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(Error::Thread)?;
    let task = Task {
        fib,
        kernel,
        commands,
        events,
        settled: None,
        report: None,
        askers: Vec::new(),
        commanded: 0,
        returned: BTreeMap::new(),
    };
    thread::Builder::new()
        .name("fib".to_owned())
        .spawn(move || {
            let result = runtime.block_on(task.run());
            if let Err(error) = &result {
                tracing::error!(%error, "kernel routes are no longer maintained");
            }
            let _ = end.send(result);
        })
        .map_err(Error::Thread)?;
    Ok(Handle { end: ended })
}

struct Task {
    fib: Fib,
    kernel: Netlink,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<Event>,
    /// The figures of the last rest, until they are sent.
    settled: Option<Counts>,
    /// A report that found the channel full.
    report: Option<Report>,
    /// Who wants to hear when all is written.
    askers: Vec<oneshot::Sender<()>>,
    /// Commands carried out.
    commanded: u64,
    /// Links that came back, and when each is admitted.
    returned: BTreeMap<Return, Instant>,
}

/// What woke the loop.
enum Wake {
    Command(Option<Command>),
    Kernel,
    Retry,
    Returned,
    Events,
}

impl Task {
    async fn run(mut self) -> Result<(), Error> {
        let listener: OwnedFd = self.kernel.as_fd().try_clone_to_owned().map_err(Error::Thread)?;
        let listener = watch(listener).map_err(Error::Thread)?;
        // The state of affairs that was last told: anything since makes the next rest worth an event.
        let mut told = None;
        loop {
            self.admit_returned();
            let more = turn(&mut self.fib, &mut self.kernel)?;
            let now = (self.commanded, self.fib.answers());
            if !more && told != Some(now) {
                told = Some(now);
                self.settled = Some(self.fib.counts());
            }
            if !more {
                for asker in self.askers.drain(..) {
                    // Whoever asked may have gone.
                    let _ = asker.send(());
                }
            }
            self.send_events();
            if more {
                if self.fib.pending() < ROOM
                    && let Ok(command) = self.commands.try_recv()
                {
                    self.command(command);
                }
                continue;
            }
            match self.wait(&listener).await {
                Wake::Command(Some(command)) => self.command(command),
                Wake::Command(None) => return Ok(()),
                Wake::Retry => self.fib.retry(),
                Wake::Kernel | Wake::Returned | Wake::Events => {}
            }
        }
    }

    /// Admits the links that have been back for long enough, and notes when those that came back since may follow.
    fn admit_returned(&mut self) {
        let now = Instant::now();
        let listed: Vec<Return> = self.fib.returned().collect();
        self.returned.retain(|back, _| listed.contains(back));
        for back in listed {
            let newest = self.returned.values().copied().max();
            let shared = newest.filter(|due| *due + TOGETHER > now + SETTLE);
            self.returned
                .entry(back)
                .or_insert_with(|| shared.unwrap_or(now + SETTLE));
        }
        let fib = &mut self.fib;
        self.returned.retain(|back, due| {
            let waits = *due > now;
            if !waits {
                fib.admit(*back);
            }
            waits
        });
    }

    async fn wait(&mut self, listener: &AsyncFd<OwnedFd>) -> Wake {
        let has_events = self.settled.is_some() || self.report.is_some();
        let has_events = has_events && !self.events.is_closed();
        let wants_retry = self.fib.wants_retry();
        // The last turn may have brought news of a link.
        self.admit_returned();
        let due = self.returned.values().copied().min();
        let admission = due.unwrap_or_else(Instant::now);
        tokio::select! {
            biased;
            ready = listener.readable() => {
                if let Ok(mut ready) = ready {
                    ready.clear_ready();
                }
                Wake::Kernel
            }
            command = self.commands.recv() => Wake::Command(command),
            _ = self.events.reserve(), if has_events => Wake::Events,
            () = tokio::time::sleep_until(admission), if due.is_some() => Wake::Returned,
            () = tokio::time::sleep(RETRY), if wants_retry => Wake::Retry,
        }
    }

    fn command(&mut self, command: Command) {
        let asks = matches!(
            command,
            Command::Dump { .. } | Command::Status { .. } | Command::Members { .. }
        );
        self.commanded = self.commanded.wrapping_add(u64::from(!asks));
        match command {
            Command::Routes { routes, written } => {
                self.askers.extend(written);
                for (prefix, route) in routes {
                    self.fib.desire(prefix, route.as_ref());
                }
            }
            Command::Static(routes) => self.fib.desire_static(&routes),
            Command::PathDown(gateway) => self.fib.path_down(gateway),
            Command::SweepAllowed => self.fib.allow_sweep(),
            Command::PrefSrc(pref_src) => self.fib.prefer_source(pref_src),
            Command::Dump { reply } => drop(reply.send(self.fib.installed())),
            Command::Status { reply } => drop(reply.send(self.fib.counts())),
            Command::Members { gateway, reply } => drop(reply.send(self.fib.members(gateway))),
        }
    }

    fn send_events(&mut self) {
        while let Some(report) = self.report.take().or_else(|| self.fib.poll_report()) {
            tracing::debug!(?report, "kernel route");
            let Ok(permit) = self.events.try_reserve() else {
                self.report = Some(report);
                break;
            };
            permit.send(Event::Report(report));
        }
        if let Some(counts) = self.settled.take() {
            match self.events.try_reserve() {
                Ok(permit) => permit.send(Event::Settled(counts)),
                Err(_) => self.settled = Some(counts),
            }
        }
    }
}

#[expect(
    deprecated,
    reason = "the successor is unsafe for types with a lying `AsRawFd`; `OwnedFd` tells the truth"
)]
pub(crate) fn watch(descriptor: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(descriptor, tokio::io::Interest::READABLE)
}
