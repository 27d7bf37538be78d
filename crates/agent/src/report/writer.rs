//! The task that writes of this node: its BGPNodeStatus, and that its network is available.

use std::sync::Arc;
use std::time::{Duration, Instant};

use flatroute_api::BGPNodeStatusStatus;
use k8s_openapi::jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::sleep_until;

use super::pace::{Pace, Weight};
use super::server::{Failure, Server};
use super::{Newest, Snapshot, node, random};
use crate::ready::Ready;

/// How long a task sleeps that has nothing to do.
pub(super) const LONG: Duration = Duration::from_secs(3600);

/// How often what the server has is compared with what was written: somebody may have edited or deleted it.
const VERIFY: Duration = Duration::from_secs(600);

/// Writes, until nobody tells any more. `wrote` becomes true with the first status that is written, or that is deleted
/// because there shall be none.
pub(super) async fn run(server: Server, mut newest: Newest, wrote: watch::Sender<bool>) {
    let mut writer = Writer {
        server,
        known: false,
        is_gone: false,
        before: None,
        owner: None,
        verified: Instant::now(),
        pace: Pace::default(),
        available: Available::default(),
        random: random(),
        wrote,
    };
    loop {
        let snapshot = newest.borrow_and_update().clone();
        let now = Instant::now();
        if let Some(snapshot) = &snapshot {
            writer.write(snapshot, now).await;
            writer.say_available(snapshot, now).await;
        }
        let now = Instant::now();
        let due = snapshot.and_then(|snapshot| writer.due(&snapshot, now));
        tokio::select! {
            changed = newest.changed() => if changed.is_err() { return },
            () = sleep_until(due.unwrap_or(now + LONG).into()) => {}
        }
    }
}

struct Writer {
    server: Server,
    /// Whether `before` is what the server has.
    known: bool,
    /// Whether the object was deleted, because there shall be none.
    is_gone: bool,
    before: Option<BGPNodeStatusStatus>,
    /// The Node that the object is owned by.
    owner: Option<String>,
    verified: Instant,
    pace: Pace,
    available: Available,
    random: f64,
    wrote: watch::Sender<bool>,
}

/// The condition of the Node.
#[derive(Default)]
struct Available {
    /// The Node for which it was seen to.
    done: Option<String>,
    pace: Pace,
}

impl Writer {
    /// When something is to be written at the latest.
    fn due(&self, snapshot: &Snapshot, now: Instant) -> Option<Instant> {
        // Without a Node there is nobody to own the object, nor a condition to set.
        if !snapshot.objects.node_status_is_off {
            snapshot.node_uid.as_ref()?;
        }
        let status = self.pace.due(self.random);
        let available = self.available.pace.due(self.random);
        status.into_iter().chain(available).min().map(|at| at.max(now))
    }

    async fn write(&mut self, snapshot: &Snapshot, now: Instant) {
        if snapshot.objects.node_status_is_off {
            self.delete(now).await;
            return;
        }
        self.is_gone = false;
        let Some(uid) = &snapshot.node_uid else { return };
        if now.saturating_duration_since(self.verified) >= VERIFY {
            self.verified = now;
            self.known = false;
            self.owner = None;
        }
        let status = node::status(snapshot, self.before.as_ref());
        let weight = match &self.before {
            Some(before) if self.known && self.owner.as_ref() == Some(uid) => node::weight(before, &status),
            Some(_) | None => Some(Weight::State),
        };
        self.pace.differs(now, weight);
        if self.pace.due(self.random).is_none_or(|at| at > now) {
            return;
        }
        match self.put(uid, snapshot).await {
            Ok(()) => {
                self.pace.wrote(Instant::now());
                self.random = random();
                self.wrote
                    .send_if_modified(|wrote| !std::mem::replace(wrote, true));
            }
            Err(failure) => {
                if failure == Failure::NotFound {
                    // Deleted meanwhile, or the Node was made again and took the old one with it.
                    self.owner = None;
                    self.before = None;
                }
                tracing::debug!(?failure, "the status of this node was not written");
                self.pace.failed(Instant::now(), random());
            }
        }
    }

    /// Nothing is reported: what was is deleted, once.
    async fn delete(&mut self, now: Instant) {
        self.known = false;
        self.owner = None;
        self.before = None;
        self.pace.differs(now, (!self.is_gone).then_some(Weight::State));
        if self.pace.due(self.random).is_none_or(|at| at > now) {
            return;
        }
        match self.server.delete_node_status().await {
            Ok(()) => {
                self.is_gone = true;
                self.pace.wrote(Instant::now());
                self.wrote
                    .send_if_modified(|wrote| !std::mem::replace(wrote, true));
            }
            Err(failure) => {
                tracing::debug!(?failure, "the status of this node was not deleted");
                self.pace.failed(Instant::now(), random());
            }
        }
    }

    async fn put(&mut self, uid: &str, snapshot: &Snapshot) -> Result<(), Failure> {
        if !self.known {
            self.before = self.server.node_status().await?;
            self.known = true;
        }
        if self.owner.as_deref() != Some(uid) {
            self.server.make_node_status(uid).await?;
            self.owner = Some(uid.to_owned());
        }
        let status = node::status(snapshot, self.before.as_ref());
        if self.before.as_ref() != Some(&status) {
            self.server.write_node_status(&status).await?;
        }
        self.before = Some(status);
        Ok(())
    }

    /// Only ever set to False: what makes it True knows why, and pods that talk are not to be driven away.
    async fn say_available(&mut self, snapshot: &Arc<Snapshot>, now: Instant) {
        let is_due = snapshot.ready == Ready::Yes
            && snapshot.node_uid.is_some()
            && snapshot.node_uid != self.available.done;
        let pace = &mut self.available.pace;
        pace.differs(now, is_due.then_some(Weight::State));
        if pace.due(self.random).is_none_or(|at| at > now) {
            return;
        }
        let message = "flatroute has routes to the pods of other nodes";
        match self.server.network_is_available(message, Timestamp::now()).await {
            Ok(_) => {
                self.available.done.clone_from(&snapshot.node_uid);
                // The next Node, should there be one, need not wait.
                self.available.pace = Pace::default();
            }
            Err(failure) => {
                tracing::debug!(?failure, "the condition NetworkUnavailable was not written");
                self.available.pace.failed(Instant::now(), random());
            }
        }
    }
}
