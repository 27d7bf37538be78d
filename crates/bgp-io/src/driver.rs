//! The task that owns the speaker.
//!
//! It is a loop of three steps: carry out all that the speaker says, wait for the first thing that happens, tell the
//! speaker. Nothing in it waits for anybody: what has no room stays where it is, and room is one more thing that
//! happens. Four rules keep it fair:
//!
//! * listeners, endings and connections take turns in being asked first, and so do the connections among
//!   themselves, so nobody is heard only when all others are silent;
//! * a connection that has its turn is read and written; a peer that never stops talking cannot keep us from answering;
//! * routes go to the kernel's receiver in every round, not when the sockets are quiet;
//! * after [`SLICE`] the other tasks of the runtime have their turn, and with them its poll of the sockets.
//!
//! A process that stood still (a paused machine) finds its hold timers expired, and KEEPALIVEs that came in
//! time in its sockets: when a deadline is seen late, the sockets are read before the timers are judged.

mod accept;
mod handover;
mod sockets;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;

use flatroute_bgp::speaker::{AdminState, Auth, Config, Input, Output, Speaker, Target};
use flatroute_bgp::types::{ConnId, Instant};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time;

use crate::connection::{Connection, Ready};
use crate::dials::Dials;
use crate::ending::Endings;
use crate::keys::Keys;
use crate::listeners::{Listeners, Waiting};
use crate::local::{Interface, local_addresses};
use crate::told::Told;
use crate::{
    Command, KEY_NOT_SET, Options, READ_CHUNK, ROUTE_BATCH, RouteBatch, Status, WRITE_CHUNK, socket,
};
use handover::Handover;
use sockets::Sockets;

/// How long the task works before the others of the runtime have their turn.
const SLICE: time::Duration = time::Duration::from_millis(2);
/// A deadline that is seen this much later than it was is a sign that the process stood still.
const LATE: time::Duration = time::Duration::from_secs(1);

/// Everything that the task owns.
pub(crate) struct Driver {
    speaker: Speaker,
    started: time::Instant,
    commands: mpsc::Receiver<Command>,
    options: Options,
    /// The configuration that is wanted.
    config: Config,
    interfaces: Vec<Interface>,
    listeners: Listeners,
    connections: BTreeMap<ConnId, Connection>,
    endings: Endings,
    dials: Dials,
    accepted: u64,
    refused: u64,
    strangers_told: Told,
    neighbours_told: Told,
    last_served: Option<ConnId>,
    handover: Handover,
    /// Whether some socket may have room for UPDATEs that wait.
    more: bool,
    events_dropped: u64,
    buffer: Box<[u8]>,
    /// [`Command::Shutdown`] has come.
    stopped: bool,
    /// Who wants to know when every neighbour has been told.
    stopping: Vec<oneshot::Sender<()>>,
    /// How often the task has waited: says which kind of socket is asked first.
    turns: usize,
}

/// The first thing that happened.
enum Happening {
    Command(Option<Command>),
    Accepted(io::Result<(TcpStream, SocketAddr)>),
    Dialled(ConnId, io::Result<TcpStream>),
    Ready(ConnId, Ready),
    EndingReady(usize),
    Deadline,
    /// Nothing that the speaker has to know, but there is something to carry on with.
    Turn,
}

impl Driver {
    pub(crate) fn new(options: Options, commands: mpsc::Receiver<Command>) -> Self {
        let speaker = match options.restart {
            Some(restart) => Speaker::restarted(options.seed, restart, Instant::ZERO),
            None => Speaker::new(options.seed),
        };
        let mut driver = Self {
            speaker,
            started: time::Instant::now(),
            commands,
            options,
            config: Config::default(),
            interfaces: Vec::new(),
            listeners: Listeners::default(),
            connections: BTreeMap::new(),
            endings: Endings::default(),
            handover: Handover::default(),
            more: false,
            dials: Dials::default(),
            accepted: 0,
            refused: 0,
            strangers_told: Told::default(),
            neighbours_told: Told::default(),
            last_served: None,
            events_dropped: 0,
            buffer: vec![0; READ_CHUNK].into_boxed_slice(),
            stopped: false,
            stopping: Vec::new(),
            turns: 0,
        };
        let addresses = std::mem::take(&mut driver.options.listen);
        let none = driver.listeners.listen_on(addresses, time::Instant::now());
        debug_assert!(none.is_empty(), "new listeners hold no connections");
        driver
    }

    pub(crate) async fn run(mut self) {
        let mut slice = time::Instant::now();
        loop {
            self.drain();
            if self.connections.is_empty() && self.endings.is_empty() {
                for asker in self.stopping.drain(..) {
                    // Whoever asked may have given up waiting.
                    _ = asker.send(());
                }
            }
            if slice.elapsed() >= SLICE {
                tokio::task::yield_now().await;
                slice = time::Instant::now();
            }
            let happening = self.wait().await;
            if matches!(happening, Happening::Deadline) && self.is_late() {
                // The runtime looks at the sockets now.
                tokio::task::yield_now().await;
                self.read_all();
                self.drain();
            }
            if !self.happened(happening) {
                break;
            }
        }
    }

    fn now(&self) -> Instant {
        Instant::from_micros(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// Waits for the first thing that happens. Every branch can be dropped without loss.
    async fn wait(&mut self) -> Happening {
        let deadline = self.deadline();
        let has_routes = self.speaker.has_fib_changes() && !self.options.routes.is_closed();
        let more = self.more;
        self.turns = self.turns.wrapping_add(1);
        let sockets = Sockets {
            listeners: &self.listeners,
            endings: &self.endings,
            connections: &self.connections,
            last_served: self.last_served,
            turn: self.turns,
        };
        let (commands, dials, routes) = (&mut self.commands, &mut self.dials, &self.options.routes);
        let is_out = self.handover.is_out();
        tokio::select! {
            biased;
            command = commands.recv() => Happening::Command(command),
            () = time::sleep_until(deadline.unwrap_or_else(time::Instant::now)), if deadline.is_some() => Happening::Deadline,
            happening = poll_fn(|cx| sockets.poll(cx)) => happening,
            (conn, result) = dials.next() => Happening::Dialled(conn, result),
            // The room is used when all is carried out.
            _ = routes.reserve(), if has_routes => Happening::Turn,
            () = self.handover.arrival(), if is_out => Happening::Turn,
            () = std::future::ready(()), if more => Happening::Turn,
        }
    }

    fn deadline(&self) -> Option<time::Instant> {
        let speaker = self.speaker.poll_timeout().map(|at| self.moment(at));
        let held = self.handover.holds_until(time::Instant::now());
        [speaker, held, self.endings.deadline(), self.listeners.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// A moment of the speaker's clock on ours.
    fn moment(&self, at: Instant) -> time::Instant {
        self.started + time::Duration::from_micros(at.as_micros())
    }

    /// Whether the speaker's deadline is long over.
    fn is_late(&self) -> bool {
        self.speaker
            .poll_timeout()
            .is_some_and(|at| self.moment(at).elapsed() > LATE)
    }

    /// Tells the speaker one fact. Returns whether to go on.
    fn happened(&mut self, happening: Happening) -> bool {
        let now = self.now();
        match happening {
            Happening::Command(Some(command)) => self.command(command),
            Happening::Command(None) => return false,
            Happening::Accepted(Ok((stream, remote))) => self.accept(stream, remote),
            Happening::Accepted(Err(error)) => self.listeners.failed(&error, time::Instant::now()),
            Happening::Dialled(conn, result) => self.dialled(conn, result),
            Happening::Ready(conn, ready) => {
                self.last_served = Some(conn);
                match ready {
                    Ready::Read => {
                        self.read(conn);
                        self.flush(conn);
                    }
                    Ready::Write => self.flush(conn),
                }
            }
            Happening::EndingReady(place) => self.endings.serve(place, &mut self.buffer),
            Happening::Deadline => {
                let clock = time::Instant::now();
                self.endings.expire(clock);
                if let Some(waiting) = self.listeners.expire(clock) {
                    self.configure(waiting);
                }
                if self.speaker.poll_timeout().is_some_and(|at| at <= now) {
                    self.speaker.handle(Input::Timeout, now);
                }
            }
            Happening::Turn => {}
        }
        true
    }

    fn command(&mut self, command: Command) {
        let now = self.now();
        // A question whose asker has gone needs no answer.
        match command {
            // Once all has ended, nobody is let in any more.
            Command::Configure(_) | Command::Listen(_) if self.stopped => {}
            Command::Configure(config) => {
                let keys = Keys::of(&config);
                self.config = config;
                let waiting = self.listeners.set_keys(keys, time::Instant::now());
                self.configure(waiting);
            }
            Command::Listen(addresses) => {
                let waiting = self.listeners.listen_on(addresses, time::Instant::now());
                self.configure(waiting);
            }
            Command::Interfaces(interfaces) => {
                self.interfaces = interfaces;
                for (conn, connection) in &self.connections {
                    let local = local_addresses(connection.local, &self.interfaces);
                    self.speaker
                        .handle(Input::LocalAddresses { conn: *conn, local }, now);
                }
            }
            Command::Status(reply) => _ = reply.send(self.status(now)),
            Command::Routes(query, reply) => _ = reply.send(self.speaker.routes(&query)),
            Command::Why(address, reply) => _ = reply.send(self.speaker.why(address)),
            Command::Refresh(peer) => self.speaker.handle(Input::Refresh(peer), now),
            Command::ResendRoutes => self.speaker.resend_fib(),
            Command::Shutdown(text, reply) => {
                self.listeners.close();
                self.speaker.handle(Input::Shutdown { text }, now);
                self.stopped = true;
                self.stopping.push(reply);
            }
        }
    }

    /// Gives the speaker the configuration that is wanted, with the neighbours held down whose keys are not in force at
    /// the listeners; then takes the connections that waited there.
    fn configure(&mut self, waiting: Waiting) {
        let mut config = self.config.clone();
        for peer in config.peers.values_mut() {
            let refusal = match &peer.auth {
                Auth::None => None,
                Auth::Md5(_) => self.listeners.refusal(peer.address, peer.interface),
            };
            if let (Some(refusal), AdminState::Up) = (refusal, &peer.admin_state) {
                peer.admin_state = AdminState::Held(format!("{KEY_NOT_SET}: {refusal}"));
            }
        }
        for range in config.ranges.values_mut() {
            let refusal = match &range.template.auth {
                Auth::None => None,
                Auth::Md5(_) => self.listeners.refusal_of(range.prefix),
            };
            if let (Some(refusal), AdminState::Up) = (refusal, &range.template.admin_state) {
                range.template.admin_state = AdminState::Held(format!("{KEY_NOT_SET}: {refusal}"));
            }
        }
        self.speaker.handle(Input::Configure(config), self.now());
        for (stream, remote) in waiting {
            self.carry_out_all();
            self.accept(stream, remote);
        }
    }

    fn status(&self, now: Instant) -> Status {
        Status {
            now,
            peers: self.speaker.peers(now),
            end_of_rib_from_all: self.speaker.end_of_rib_from_all(),
            restarting: self.speaker.restarting(now),
            routes_pending: self.speaker.has_fib_changes(),
            listeners: self.listeners.status(),
            events_dropped: self.events_dropped,
            refused: self.refused,
        }
    }

    fn dialled(&mut self, conn: ConnId, result: io::Result<TcpStream>) {
        let now = self.now();
        match result.and_then(Connection::new) {
            Ok(connection) => {
                let local = local_addresses(connection.local, &self.interfaces);
                self.connections.insert(conn, connection);
                self.speaker.handle(Input::Connected { conn, local }, now);
            }
            Err(error) => self.speaker.handle(
                Input::ConnectFailed {
                    conn,
                    error: error.to_string(),
                },
                now,
            ),
        }
    }

    fn read(&mut self, conn: ConnId) {
        let now = self.now();
        let Some(connection) = self.connections.get(&conn) else {
            return;
        };
        match connection.read(&mut self.buffer) {
            Ok(None) => {}
            Ok(Some(0)) => {
                self.connections.remove(&conn);
                self.speaker.handle(Input::Closed { conn, error: None }, now);
            }
            Ok(Some(count)) => {
                let bytes = self.buffer.get(..count).unwrap_or_default();
                self.speaker.handle(Input::Received { conn, bytes }, now);
            }
            Err(error) => self.broken(conn, &error),
        }
    }

    fn broken(&mut self, conn: ConnId, error: &io::Error) {
        let now = self.now();
        self.connections.remove(&conn);
        self.speaker.handle(
            Input::Closed {
                conn,
                error: Some(error.to_string()),
            },
            now,
        );
    }

    fn flush(&mut self, conn: ConnId) {
        if let Some(connection) = self.connections.get_mut(&conn)
            && let Err(error) = connection.flush()
        {
            self.broken(conn, &error);
        }
    }

    /// Tells the speaker what all connections have received, one after the other, and sends what they have room for:
    /// that too counts as life.
    fn read_all(&mut self) {
        let conns: Vec<ConnId> = self.connections.keys().copied().collect();
        for conn in conns {
            self.read(conn);
            self.flush(conn);
            self.carry_out_all();
        }
    }

    /// Carries out all that the speaker says, hands a batch of routes to the kernel's receiver when that has room, and sends at
    /// most a chunk on each connection whose socket has room.
    fn drain(&mut self) {
        self.carry_out_all();
        self.hand_over();
        let now = self.now();
        let is_held = self.handover.holds_until(time::Instant::now()).is_some();
        // What is not an UPDATE has no limit.
        let limit = if is_held { 0 } else { WRITE_CHUNK };
        let mut broken = Vec::new();
        self.more = false;
        for (conn, connection) in &mut self.connections {
            if !connection.has_room() {
                continue;
            }
            self.speaker
                .poll_transmit(*conn, &mut connection.unsent, limit, now);
            let wrote = !connection.unsent.is_empty();
            if let Err(error) = connection.flush() {
                broken.push((*conn, error));
            } else if connection.has_room() && wrote {
                // There may be more; and if not, the speaker learns from the next pull that the socket took all.
                self.more = true;
            }
        }
        for (conn, error) in broken {
            self.broken(conn, &error);
            // What follows from it may want to be sent.
            self.more = true;
        }
        self.carry_out_all();
    }

    fn hand_over(&mut self) {
        if self.speaker.has_fib_changes()
            && let Ok(room) = self.options.routes.try_reserve()
        {
            let changes = self.speaker.poll_fib(ROUTE_BATCH, self.now());
            if !changes.is_empty() {
                let (written, receiver) = oneshot::channel();
                room.send(RouteBatch { changes, written });
                self.handover.begin(receiver);
            }
        }
        let waits = self.speaker.has_fib_changes() && !self.options.routes.is_closed();
        self.handover.look(waits, time::Instant::now());
    }

    fn carry_out_all(&mut self) {
        while let Some(output) = self.speaker.poll_output() {
            self.carry_out(output);
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Dial { conn, target } => self.dial(conn, target),
            Output::Close { conn, last } => self.close(conn, &last),
            Output::Event(event) => {
                if self.options.events.try_send(event).is_err() {
                    self.events_dropped += 1;
                }
            }
        }
    }

    fn dial(&mut self, conn: ConnId, target: Target) {
        if let Err(error) = self.dials.start(conn, socket::dial(target)) {
            let now = self.now();
            self.speaker.handle(Input::ConnectFailed { conn, error }, now);
        }
    }

    fn close(&mut self, conn: ConnId, last: &[u8]) {
        self.dials.abort(conn);
        let Some(mut connection) = self.connections.remove(&conn) else {
            return;
        };
        // A stranger, most of all, has nothing to wait for.
        if last.is_empty() && connection.is_silent() {
            return;
        }
        if connection.end(last, time::Instant::now()).is_ok() {
            self.endings.add(connection);
        }
    }
}
