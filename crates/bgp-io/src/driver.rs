//! The task that owns the speaker.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::Poll;

use flatroute_bgp::speaker::{Input, Output, Speaker, Target};
use flatroute_bgp::types::{ConnId, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time;

use crate::connection::{Connection, Ready};
use crate::local::{Interface, local_addresses};
use crate::{
    Command, LISTEN_RETRY, MAX_ACCEPTED, Options, READ_CHUNK, ROUTE_BATCH, Status, WRITE_CHUNK, socket,
};

/// Closed connections that may linger at once; beyond it the oldest are cut off.
const MAX_ENDING: usize = 256;
/// How long no connection is taken after one could not be.
const ACCEPT_RETRY: time::Duration = time::Duration::from_secs(1);

struct Listener {
    address: SocketAddr,
    socket: Result<TcpListener, String>,
}

/// Everything that the task owns.
pub(crate) struct Driver {
    speaker: Speaker,
    started: time::Instant,
    commands: mpsc::Receiver<Command>,
    options: Options,
    interfaces: Vec<Interface>,
    listeners: Vec<Listener>,
    next_listen: Option<time::Instant>,
    /// No connection is taken before this moment: the last attempt failed, as when descriptors run out.
    next_accept: Option<time::Instant>,
    connections: BTreeMap<ConnId, Connection>,
    ending: VecDeque<Connection>,
    dialling: JoinSet<(ConnId, io::Result<TcpStream>)>,
    aborts: BTreeMap<ConnId, AbortHandle>,
    accepted: u64,
    last_served: Option<ConnId>,
    /// Whether some socket may have room for UPDATEs that wait.
    more: bool,
    events_dropped: u64,
    buffer: Box<[u8]>,
    stopping: Option<oneshot::Sender<()>>,
}

/// The first thing that happened.
enum Happening {
    Command(Option<Command>),
    Accepted(io::Result<(TcpStream, SocketAddr)>),
    Dialled(ConnId, io::Result<TcpStream>),
    Ready(ConnId, Ready),
    EndingReady(usize),
    RouteRoom,
    More,
    Deadline,
}

impl Driver {
    pub(crate) fn new(options: Options, commands: mpsc::Receiver<Command>) -> Self {
        let mut driver = Self {
            speaker: Speaker::new(options.seed),
            started: time::Instant::now(),
            commands,
            options,
            interfaces: Vec::new(),
            listeners: Vec::new(),
            next_listen: None,
            next_accept: None,
            more: false,
            connections: BTreeMap::new(),
            ending: VecDeque::new(),
            dialling: JoinSet::new(),
            aborts: BTreeMap::new(),
            accepted: 0,
            last_served: None,
            events_dropped: 0,
            buffer: vec![0; READ_CHUNK].into_boxed_slice(),
            stopping: None,
        };
        driver.listen(&driver.options.listen.clone());
        driver
    }

    pub(crate) async fn run(mut self) {
        loop {
            self.drain();
            if self.stopping.is_some() && self.connections.is_empty() && self.ending.is_empty() {
                break;
            }
            let happening = self.wait().await;
            if !self.happened(happening) {
                break;
            }
        }
        if let Some(stopped) = self.stopping.take() {
            // Whoever asked may have given up waiting.
            _ = stopped.send(());
        }
    }

    fn now(&self) -> Instant {
        Instant::from_micros(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// Waits for the first thing that happens. Every branch can be dropped without loss.
    async fn wait(&mut self) -> Happening {
        let deadline = self.deadline();
        let has_routes = self.speaker.has_fib_changes() && !self.options.routes.is_closed();
        let after = self.last_served;
        let more = self.more;
        let accepting = self.next_accept.is_none();
        let Self {
            commands,
            listeners,
            dialling,
            connections,
            ending,
            options,
            ..
        } = self;
        tokio::select! {
            biased;
            command = commands.recv() => Happening::Command(command),
            () = time::sleep_until(deadline.unwrap_or_else(time::Instant::now)), if deadline.is_some() => Happening::Deadline,
            happening = poll_fn(|cx| {
                for listener in listeners.iter().filter_map(|l| l.socket.as_ref().ok()).filter(|_| accepting) {
                    if let Poll::Ready(accepted) = listener.poll_accept(cx) {
                        return Poll::Ready(Happening::Accepted(accepted));
                    }
                }
                for (number, connection) in ending.iter().enumerate() {
                    if connection.poll_ready(cx).is_ready() {
                        return Poll::Ready(Happening::EndingReady(number));
                    }
                }
                // Taking turns: those after the one that was served last come first. All are polled before this
                // is pending, so each has its waker.
                let later = connections.iter().filter(|(id, _)| after.is_none_or(|after| **id > after));
                let earlier = connections.iter().filter(|(id, _)| after.is_some_and(|after| **id <= after));
                for (id, connection) in later.chain(earlier) {
                    if let Poll::Ready(ready) = connection.poll_ready(cx) {
                        return Poll::Ready(Happening::Ready(*id, ready));
                    }
                }
                Poll::Pending
            }) => happening,
            Some(dialled) = dialling.join_next() => match dialled {
                Ok((conn, result)) => Happening::Dialled(conn, result),
                // Only a dial that the speaker gave up is aborted; nobody waits for its end.
                Err(_) => Happening::Deadline,
            },
            room = options.routes.reserve(), if has_routes => {
                drop(room);
                Happening::RouteRoom
            }
            () = std::future::ready(()), if more => Happening::More,
        }
    }

    fn deadline(&self) -> Option<time::Instant> {
        let speaker = self
            .speaker
            .poll_timeout()
            .map(|at| self.started + time::Duration::from_micros(at.as_micros()));
        let ending = self.ending.iter().filter_map(Connection::deadline).min();
        [speaker, ending, self.next_listen, self.next_accept]
            .into_iter()
            .flatten()
            .min()
    }

    /// Tells the speaker one fact. Returns whether to go on.
    fn happened(&mut self, happening: Happening) -> bool {
        let now = self.now();
        match happening {
            Happening::Command(Some(command)) => self.command(command),
            Happening::Command(None) => return false,
            Happening::Accepted(Ok((stream, remote))) => self.accept(stream, remote),
            Happening::Accepted(Err(error)) => {
                tracing::warn!(%error, "cannot take a connection");
                self.next_accept = Some(time::Instant::now() + ACCEPT_RETRY);
            }
            Happening::More => {}
            Happening::Dialled(conn, result) => self.dialled(conn, result),
            Happening::Ready(conn, ready) => {
                self.last_served = Some(conn);
                match ready {
                    Ready::Read => self.read(conn),
                    Ready::Write => self.flush(conn),
                }
            }
            Happening::EndingReady(number) => self.read_ending(number),
            Happening::RouteRoom => {
                if let Ok(room) = self.options.routes.try_reserve() {
                    room.send(self.speaker.poll_fib(ROUTE_BATCH));
                }
            }
            Happening::Deadline => {
                let clock = time::Instant::now();
                self.ending.retain(|c| c.deadline().is_none_or(|at| at > clock));
                self.next_accept = self.next_accept.filter(|at| *at > clock);
                if self.next_listen.is_some_and(|at| at <= clock) {
                    let wanted: Vec<SocketAddr> = self.listeners.iter().map(|l| l.address).collect();
                    self.listen(&wanted);
                }
                if self.speaker.poll_timeout().is_some_and(|at| at <= now) {
                    self.speaker.handle(Input::Timeout, now);
                }
            }
        }
        true
    }

    fn command(&mut self, command: Command) {
        let now = self.now();
        // A question whose asker has gone needs no answer.
        match command {
            Command::Configure(config) => self.speaker.handle(Input::Configure(config), now),
            Command::Listen(addresses) => self.listen(&addresses),
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
            Command::Refresh(peer) => self.speaker.handle(Input::Refresh(peer), now),
            Command::ResendRoutes => self.speaker.resend_fib(),
            Command::Shutdown(text, reply) => {
                self.listeners.clear();
                self.next_listen = None;
                self.speaker.handle(Input::Shutdown { text }, now);
                self.stopping = Some(reply);
            }
        }
    }

    fn status(&self, now: Instant) -> Status {
        Status {
            peers: self.speaker.peers(now),
            end_of_rib_from_all: self.speaker.end_of_rib_from_all(),
            listeners: self
                .listeners
                .iter()
                .map(|l| (l.address, l.socket.as_ref().err().cloned()))
                .collect(),
            events_dropped: self.events_dropped,
        }
    }

    /// Opens what is missing among `wanted`, closes what is not in it, keeps the rest.
    fn listen(&mut self, wanted: &[SocketAddr]) {
        self.next_listen = None;
        self.listeners
            .retain(|l| wanted.contains(&l.address) && l.socket.is_ok());
        for &address in wanted {
            if self.listeners.iter().any(|l| l.address == address) {
                continue;
            }
            let socket = socket::listen(address).map_err(|error| error.to_string());
            match &socket {
                Ok(_) => tracing::info!(%address, "listening"),
                Err(error) => {
                    tracing::warn!(%address, %error, "cannot listen; neighbours cannot dial this node, trying again");
                    self.next_listen = Some(time::Instant::now() + LISTEN_RETRY);
                }
            }
            self.listeners.push(Listener { address, socket });
        }
    }

    fn accept(&mut self, stream: TcpStream, remote: SocketAddr) {
        let taken = self
            .connections
            .keys()
            .filter(|c| matches!(c, ConnId::Accepted(_)))
            .count();
        if taken >= MAX_ACCEPTED {
            tracing::warn!(%remote, "refused: {MAX_ACCEPTED} accepted connections are open");
            return;
        }
        let Ok(connection) = Connection::new(stream) else {
            return;
        };
        let conn = ConnId::Accepted(self.accepted);
        self.accepted += 1;
        let local = local_addresses(connection.local, &self.interfaces);
        self.connections.insert(conn, connection);
        let now = self.now();
        self.speaker.handle(Input::Accepted { conn, remote, local }, now);
    }

    fn dialled(&mut self, conn: ConnId, result: io::Result<TcpStream>) {
        let now = self.now();
        if self.aborts.remove(&conn).is_none() {
            return;
        }
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

    /// Reads a connection that is ending, to its end.
    fn read_ending(&mut self, number: usize) {
        let Some(connection) = self.ending.get_mut(number) else {
            return;
        };
        let over = match connection.read(&mut self.buffer) {
            Ok(Some(0)) | Err(_) => true,
            Ok(Some(_) | None) => connection.flush().is_err(),
        };
        if over {
            self.ending.remove(number);
        }
    }

    /// Carries out all that the speaker says, and sends at most a chunk on each connection whose socket has room.
    fn drain(&mut self) {
        loop {
            while let Some(output) = self.speaker.poll_output() {
                self.carry_out(output);
            }
            let now = self.now();
            let mut broken = Vec::new();
            self.more = false;
            for (conn, connection) in &mut self.connections {
                if !connection.has_room() {
                    continue;
                }
                self.speaker
                    .poll_transmit(*conn, &mut connection.unsent, WRITE_CHUNK, now);
                if let Err(error) = connection.flush() {
                    broken.push((*conn, error));
                } else if connection.has_room() && self.speaker.has_updates(*conn) {
                    self.more = true;
                }
            }
            if broken.is_empty() {
                break;
            }
            for (conn, error) in broken {
                self.broken(conn, &error);
            }
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Dial { conn, target } => self.dial(conn, target),
            Output::Adopt { conn, ttl } => {
                let adopted = self
                    .connections
                    .get(&conn)
                    .map(|c| socket::adopt(c.stream(), ttl));
                if let Some(Err(error)) = adopted {
                    self.broken(conn, &error);
                }
            }
            Output::Close { conn, last } => self.close(conn, &last),
            Output::Event(event) => {
                if self.options.events.try_send(event).is_err() {
                    self.events_dropped += 1;
                }
            }
        }
    }

    fn dial(&mut self, conn: ConnId, target: Target) {
        let abort = self
            .dialling
            .spawn(async move { (conn, socket::dial(target).await) });
        self.aborts.insert(conn, abort);
    }

    fn close(&mut self, conn: ConnId, last: &[u8]) {
        if let Some(abort) = self.aborts.remove(&conn) {
            abort.abort();
        }
        let Some(mut connection) = self.connections.remove(&conn) else {
            return;
        };
        if connection.end(last, time::Instant::now()).is_ok() {
            self.ending.push_back(connection);
            while self.ending.len() > MAX_ENDING {
                self.ending.pop_front();
            }
        }
    }
}
