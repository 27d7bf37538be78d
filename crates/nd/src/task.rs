//! A task for each interface, and one that starts and ends them. What is heard stands in one `watch` channel, newest state only.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::Ipv6Addr;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use crate::link::{Link, State};
use crate::socket::LinkSocket;

/// How long after a socket could not be opened, or broke, the next one is.
const REOPEN: Duration = Duration::from_secs(5);
/// How many messages are taken in a row; then comes [`BREATH`]. A flood beyond that is dropped by the kernel.
const IN_A_ROW: u32 = 64;
/// The pause that a flood costs its link.
const BREATH: Duration = Duration::from_millis(10);

/// What is known of an interface that is listened on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// What its link says.
    Link(State),
    /// It cannot be listened on, and why.
    Deaf(String),
}

type Table = BTreeMap<u32, Heard>;

/// The way to the tasks, which end with the last of these.
#[derive(Clone, Debug)]
pub struct Handle {
    wanted: watch::Sender<BTreeSet<u32>>,
    heard: watch::Receiver<Table>,
}

impl Handle {
    /// Listens and advertises on the interfaces with these indices, and on no others.
    pub fn want(&self, interfaces: BTreeSet<u32>) {
        self.wanted.send_if_modified(|old| {
            let is_new = *old != interfaces;
            *old = interfaces;
            is_new
        });
    }

    /// What is heard, by index. Until the first [`Handle::want`], what is remembered.
    #[must_use]
    pub fn heard(&self) -> watch::Receiver<Table> {
        self.heard.clone()
    }
}

/// Starts. `remembered`: the neighbours that an earlier process had, by index.
///
/// # Panics
/// Outside of a tokio runtime with I/O and time.
#[must_use]
pub fn spawn(remembered: BTreeMap<u32, Ipv6Addr>) -> Handle {
    let first = remembered.iter().map(|(index, address)| {
        let state = State::Router {
            address: *address,
            several: false,
        };
        (*index, Heard::Link(state))
    });
    let (teller, heard) = watch::channel(first.collect());
    let (wanted, wishes) = watch::channel(BTreeSet::new());
    tokio::spawn(follow(wishes, remembered, teller));
    Handle { wanted, heard }
}

async fn follow(
    mut wishes: watch::Receiver<BTreeSet<u32>>,
    mut remembered: BTreeMap<u32, Ipv6Addr>,
    teller: watch::Sender<Table>,
) {
    let mut tasks: BTreeMap<u32, JoinHandle<()>> = BTreeMap::new();
    while wishes.changed().await.is_ok() {
        let wanted = wishes.borrow_and_update().clone();
        for index in tasks.keys().copied().collect::<Vec<_>>() {
            if !wanted.contains(&index)
                && let Some(task) = tasks.remove(&index)
            {
                task.abort();
                // Its end is an error of cancellation, and that is what was asked for.
                _ = task.await;
            }
        }
        for index in &wanted {
            // Remembered once: an interface that is wanted again later has to be heard.
            let neighbour = remembered.remove(index);
            tasks.entry(*index).or_insert_with(|| {
                let started = Instant::now();
                let seed = RandomState::new().hash_one(index);
                let link = Link::new(seed, neighbour, Duration::ZERO);
                tokio::spawn(serve(*index, link, started, teller.clone()))
            });
        }
        remembered.clear();
        teller.send_if_modified(|table| {
            let before = table.len();
            table.retain(|index, _| wanted.contains(index));
            table.len() != before
        });
    }
    for task in tasks.into_values() {
        task.abort();
    }
}

fn tell(teller: &watch::Sender<Table>, index: u32, heard: Heard) {
    teller.send_if_modified(|table| {
        let is_new = table.get(&index) != Some(&heard);
        table.insert(index, heard);
        is_new
    });
}

async fn serve(index: u32, mut link: Link, started: Instant, teller: watch::Sender<Table>) {
    loop {
        let error = match LinkSocket::open(index) {
            Ok(socket) => attend(index, &socket, &mut link, started, &teller).await,
            Err(error) => error,
        };
        let text = if error.kind() == io::ErrorKind::PermissionDenied {
            "a raw ICMPv6 socket needs the capability NET_RAW".to_owned()
        } else {
            format!("a raw ICMPv6 socket: {error}")
        };
        // A neighbour that is known stays known: its session needs no advertisement.
        match link.state(started.elapsed()) {
            known @ State::Router { .. } => {
                tracing::warn!(index, "router advertisements: {text}");
                tell(&teller, index, Heard::Link(known));
            }
            State::Waiting | State::Silent => tell(&teller, index, Heard::Deaf(text)),
        }
        sleep(REOPEN).await;
    }
}

/// Serves a link until its socket breaks.
async fn attend(
    index: u32,
    socket: &LinkSocket,
    link: &mut Link,
    started: Instant,
    teller: &watch::Sender<Table>,
) -> io::Error {
    let mut in_a_row = 0;
    loop {
        let now = started.elapsed();
        while let Some(transmit) = link.poll_transmit(now) {
            if let Err(error) = socket.send(transmit) {
                tracing::debug!(index, %error, "a router message was not sent");
                link.failed(transmit, now);
            }
        }
        tell(teller, index, Heard::Link(link.state(now)));
        if in_a_row >= IN_A_ROW {
            sleep(BREATH).await;
            in_a_row = 0;
        }
        tokio::select! {
            arrival = socket.receive() => {
                in_a_row += 1;
                match arrival {
                    Ok((from, Ok(message))) => link.heard(from, message, started.elapsed()),
                    Ok((from, Err(why))) => {
                        tracing::debug!(index, %from, "a router message was dropped: {why}");
                    }
                    Err(error) => return error,
                }
            }
            () = sleep_until(started + link.poll_timeout(now)) => in_a_row = 0,
        }
    }
}
