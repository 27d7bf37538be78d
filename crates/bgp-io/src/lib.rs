//! Sockets and the clock for the speaker.
//!
//! The speaker of `flatroute-bgp` is a pure machine; this crate is what stands between it and the world. One task
//! owns the speaker, the listener and every connection. It waits for the first thing that happens — a command,
//! a new connection, octets, room in a socket, room at the kernel's receiver, a deadline — tells the speaker this
//! one fact, and then carries out all that the speaker answers.
//!
//! ```text
//!        commands (bounded)                 route changes (bounded)
//!  agent ─────────────────►┌──────────────┐───────────────────────► fib
//!        ◄─────────────────│  driver task │
//!         events (bounded) │   Speaker    │◄──────► TCP connections, listener
//!                          └──────────────┘
//! ```
//!
//! What keeps one neighbour from hurting another:
//!
//! * UPDATEs are pulled from the speaker only when the socket has taken all that was pulled before, so a peer that
//!   stops reading costs one buffer of [`WRITE_CHUNK`] octets, and its changes coalesce in the RIB;
//! * a connection is read at most [`READ_CHUNK`] octets at a time, and all sockets take turns (see `driver`);
//! * the kernel's receiver gets the next batch of routes only when it has room for one, and UPDATEs follow what they rest on
//!   (see `driver::handover`);
//! * events are dropped, and counted, when nobody reads them; the task never waits for a reader.
//!
//! Who may come in is decided before the speaker hears of a connection (`driver::accept`): a stranger, one too many, and
//! a neighbour without its key (RFC 2385) or from too far away (RFC 5082) are closed unheard. A socket option that cannot
//! be set is a reason not to have the session, never one to have it without.
//!
//! A connection that the speaker closes is flushed, shut down for writing and read until the peer closes too, at
//! most [`LINGER`]: closing at once with unread octets would send a reset that can overtake the NOTIFICATION.

mod connection;
mod dials;
mod driver;
mod ending;
mod keys;
mod listeners;
mod local;
mod socket;
mod sys;
mod told;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use flatroute_bgp::rib::RouteChange;
use flatroute_bgp::speaker::{Config, Event, PeerSummary, Restart, Restarting, RouteEntry, RouteQuery, Why};
use flatroute_bgp::types::{Instant, PeerName};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

pub use local::{Interface, local_addresses};
pub use told::{MAX_TOLD, TELL_PAUSE};

/// The word before the colon of a neighbour's [`AdminState::Held`](flatroute_bgp::speaker::AdminState::Held) when the kernel has
/// not taken its key.
pub const KEY_NOT_SET: &str = "KeyNotSet";
/// How many octets are read from a connection before the next one has its turn.
pub const READ_CHUNK: usize = 64 * 1024;
/// How many octets are pulled from the speaker for a connection at once.
pub const WRITE_CHUNK: usize = 64 * 1024;
/// How many route changes are handed to the kernel's receiver at once. A few of such batches are on their way at any time, and what
/// they take stays with the allocator after a flood.
pub const ROUTE_BATCH: usize = 512;
/// How long UPDATEs wait for the kernel at most.
pub const KERNEL_PATIENCE: Duration = Duration::from_millis(100);
/// How long a closed connection may take to deliver its last octets.
pub const LINGER: Duration = Duration::from_secs(1);
/// How long the driver waits before it tries again to listen on an address that was refused.
pub const LISTEN_RETRY: Duration = Duration::from_secs(5);
/// How many connections that the listener took may be open at once, all peers together.
pub const MAX_ACCEPTED: usize = 1024;
/// How many of them may wait for the peer's OPEN.
pub const MAX_HALF_OPEN: usize = 256;
/// How many of them one address may have, those included that deliver their last octets.
pub const MAX_PER_ADDRESS: usize = 8;
/// How many connections are being opened at once.
pub const MAX_DIALS: usize = 256;
/// How many commands may wait.
const COMMANDS: usize = 16;

/// Route changes for the kernel, newest state each.
#[derive(Debug)]
pub struct RouteBatch {
    /// At most [`ROUTE_BATCH`], and never none.
    pub changes: Vec<RouteChange>,
    /// Wants to hear when they are written, refused, or given up: UPDATEs wait for it, [`KERNEL_PATIENCE`] at most. Dropping it
    /// says so as well.
    pub written: oneshot::Sender<()>,
}

/// What the driver needs at its start.
#[derive(Debug)]
pub struct Options {
    /// Where to listen; empty: nowhere.
    pub listen: Vec<SocketAddr>,
    /// The seed of the speaker's jitter and hash tables.
    pub seed: u64,
    /// What a process before this one, in the same boot, has left in the kernel; none: this is a cold start.
    pub restart: Option<Restart>,
    /// Receives what the kernel shall hold. Bounded: the speaker keeps what does not fit.
    pub routes: mpsc::Sender<RouteBatch>,
    /// Receives events. Bounded: what does not fit is dropped and counted in [`Status::events_dropped`].
    pub events: mpsc::Sender<Event>,
}

/// How the driver and its speaker are doing.
#[derive(Clone, Debug)]
pub struct Status {
    /// The speaker's clock.
    pub now: Instant,
    /// Every neighbour.
    pub peers: Vec<PeerSummary>,
    /// Whether every neighbour that shall be up has sent all that it has.
    pub end_of_rib_from_all: bool,
    /// After a restart: what is waited for before routes are chosen.
    pub restarting: Option<Restarting>,
    /// Whether there are route changes that the kernel's receiver has had no room for.
    pub routes_pending: bool,
    /// Where the driver listens (port 0 has become the one that the kernel chose), and why not where it cannot.
    pub listeners: Vec<(SocketAddr, Option<String>)>,
    /// Events that nobody had room for.
    pub events_dropped: u64,
    /// Connections that were closed before the speaker heard of them: strangers', and neighbours' without what is required
    /// of them.
    pub refused: u64,
}

/// The task is gone: the program has a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the BGP task has ended")]
pub struct Gone;

#[derive(Debug)]
enum Command {
    Configure(Config),
    Listen(Vec<SocketAddr>),
    Interfaces(Vec<Interface>),
    Status(oneshot::Sender<Status>),
    Routes(RouteQuery, oneshot::Sender<Vec<RouteEntry>>),
    Why(IpAddr, oneshot::Sender<Why>),
    Refresh(PeerName),
    ResendRoutes,
    Shutdown(String, oneshot::Sender<()>),
}

/// Talks to the driver's task. Calls wait while its queue of commands is full. When the last handle is dropped, the
/// task ends at once and closes its connections without a word.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
}

impl Handle {
    /// Replaces the speaker's configuration; equal ones cause nothing.
    ///
    /// # Errors
    /// [`Gone`], here and in every other call.
    pub async fn configure(&self, config: Config) -> Result<(), Gone> {
        self.send(Command::Configure(config)).await
    }

    /// Replaces the addresses to listen on. Those that stay are not touched.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn listen(&self, addresses: Vec<SocketAddr>) -> Result<(), Gone> {
        self.send(Command::Listen(addresses)).await
    }

    /// Tells the interfaces of the machine: from them come the next hops that neighbours are told.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn interfaces(&self, interfaces: Vec<Interface>) -> Result<(), Gone> {
        self.send(Command::Interfaces(interfaces)).await
    }

    /// How the speaker is doing.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn status(&self) -> Result<Status, Gone> {
        self.ask(Command::Status).await
    }

    /// Routes.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn routes(&self, query: RouteQuery) -> Result<Vec<RouteEntry>, Gone> {
        self.ask(|reply| Command::Routes(query, reply)).await
    }

    /// What becomes of an address, with reasons.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn why(&self, address: IpAddr) -> Result<Why, Gone> {
        self.ask(|reply| Command::Why(address, reply)).await
    }

    /// Asks a peer for its routes again; nothing happens when there is none of this name or it cannot.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn refresh(&self, peer: PeerName) -> Result<(), Gone> {
        self.send(Command::Refresh(peer)).await
    }

    /// Hands every route to the kernel's receiver once more.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn resend_routes(&self) -> Result<(), Gone> {
        self.send(Command::ResendRoutes).await
    }

    /// Says Cease to every peer with `text` as the reason, and waits until it is delivered (at most [`LINGER`]). From then
    /// on the task only answers questions; no session comes up again.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn shutdown(&self, text: String) -> Result<(), Gone> {
        self.ask(|reply| Command::Shutdown(text, reply)).await
    }

    async fn send(&self, command: Command) -> Result<(), Gone> {
        self.commands.send(command).await.map_err(|_| Gone)
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Gone> {
        let (reply, answer) = oneshot::channel();
        self.send(command(reply)).await?;
        answer.await.map_err(|_| Gone)
    }
}

/// Starts the driver in a task of its own on the current tokio runtime.
#[must_use]
pub fn spawn(options: Options) -> (Handle, JoinHandle<()>) {
    let (sender, receiver) = mpsc::channel(COMMANDS);
    let driver = driver::Driver::new(options, receiver);
    (Handle { commands: sender }, tokio::spawn(driver.run()))
}
