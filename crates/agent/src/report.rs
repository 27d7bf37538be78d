//! Report: what the agent writes back into the API server, so that nobody needs a shell on a node to know how it is doing.
//!
//! ```text
//!             watch: newest Snapshot      ┌── node ───► BGPNodeStatus, the Node's NetworkUnavailable
//!  the loop ─────────────────────────────►├── leader ─► status of BGPPeers (one agent, by a Lease)
//!   in run    bounded: what happened      └── scribe ─► Events
//!            ─────────────────────────────►
//! ```
//!
//! Three tasks, and none of them can hold up the loop: the snapshot is replaced, never queued, and an event that finds no
//! room is dropped. While the API server is away each task keeps the newest state (the events a bounded book of them)
//! and writes it when the server is back. What is decided is decided in pure functions with the time as an
//! argument: [`node`] and [`peer`] what is written, [`pace`], [`book`] and [`lease`] when and by whom.
//!
//! At rest nothing is written but the Lease. The page `docs/status.md` says what a reader sees, and which verbs it takes.

mod book;
mod condition;
mod leader;
mod lease;
mod node;
mod pace;
mod peer;
mod scribe;
mod server;
mod snapshot;
mod writer;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::events::Happening;

pub(crate) use book::{About, Reason, Told};
pub(crate) use snapshot::{Object, Objects, Peer, Snapshot};

/// How many events may wait for the scribe.
const MAX_WAITING: usize = 64;

/// How long the Lease may take to be given back: the program waits for it, and without it the Lease runs out by itself.
const GIVE_BACK: Duration = Duration::from_secs(1);

/// The newest state; none before the first.
type Newest = watch::Receiver<Option<Arc<Snapshot>>>;

/// The owner's ends of the channels.
#[derive(Debug)]
pub(crate) struct Report {
    snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    events: mpsc::Sender<Told>,
    leader: JoinHandle<()>,
}

impl Report {
    /// Starts the tasks; they end when this is stopped or dropped. `teller` hears what goes wrong with the writing itself.
    pub(crate) fn start(
        client: kube::Client,
        node: &str,
        namespace: &str,
        teller: mpsc::Sender<Happening>,
    ) -> Self {
        let server = server::Server::new(client, node.to_owned(), namespace.to_owned(), teller);
        let (snapshots, newest) = watch::channel(None);
        let (events, told) = mpsc::channel(MAX_WAITING);
        let (wrote, written) = watch::channel(false);
        tokio::spawn(writer::run(server.clone(), newest.clone(), wrote));
        let leader = tokio::spawn(leader::run(server.clone(), newest.clone(), written));
        tokio::spawn(scribe::run(server, newest, told));
        Self {
            snapshots,
            events,
            leader,
        }
    }

    /// Ends the tasks; who leads gives the Lease back before, so that another need not wait until it has run out.
    pub(crate) async fn stop(self) {
        drop((self.snapshots, self.events));
        if timeout(GIVE_BACK, self.leader).await.is_err() {
            tracing::debug!("the Lease was not given back in time");
        }
    }

    /// Replaces the state.
    pub(crate) fn is_now(&self, snapshot: Snapshot) {
        self.snapshots.send_replace(Some(Arc::new(snapshot)));
    }

    /// Tells of something; dropped when there is too much of it.
    pub(crate) fn tell(&self, told: Told) {
        if self.events.try_send(told).is_err() {
            tracing::debug!("an event was dropped: the API server is slow");
        }
    }
}

/// Somewhere from 0 to 1.
fn random() -> f64 {
    let number = u32::try_from(RandomState::new().hash_one(()) >> 32).unwrap_or(0);
    f64::from(number) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests;
