//! Keeps what was observed for the next agent, in a task of its own: no disk shall make a keepalive late.

use std::sync::Arc;

use flatroute_api::{Problem, ProblemReason};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::Observed;
use super::failure::API_SERVER;
use super::kept::{Kept, TOUCH_EVERY, WRITE_EVERY};
use super::session_secrets::{InUse, SessionSecrets};

/// What to keep.
#[derive(Clone, Debug)]
pub(crate) struct ToKeep {
    /// A complete state from the server.
    pub(crate) observed: Arc<Observed>,
    /// The keys of sessions that are in use.
    pub(crate) in_use: InUse,
    /// Whether it is true now: every watch works.
    pub(crate) confirmed: bool,
}

/// Where to keep it; what is none is not kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    pub(crate) kept: Option<Kept>,
    pub(crate) secrets: Option<SessionSecrets>,
}

/// Keeps the newest, until nobody has any more, and tells what is wrong with that. At the end nothing waits for its time: the
/// next agent may start without the API server.
pub(crate) async fn run(
    places: Places,
    mut wanted: watch::Receiver<Option<ToKeep>>,
    tell: mpsc::Sender<Vec<Problem>>,
) {
    let mut done = Done::default();
    let mut troubles = Vec::new();
    let mut is_last = false;
    loop {
        let due = match &done.objects {
            Some((_, at)) if done.is_behind => *at + WRITE_EVERY,
            _ => Instant::now() + TOUCH_EVERY,
        };
        tokio::select! {
            changed = wanted.changed() => is_last = changed.is_err(),
            () = sleep_until(due) => {}
        }
        let Some(new) = wanted.borrow_and_update().clone() else {
            if is_last {
                return;
            }
            continue;
        };
        if is_last && done.is_behind {
            done.objects = None;
        }
        let places = places.clone();
        let keeping = tokio::task::spawn_blocking(move || {
            let found = done.keep(&places, &new);
            (done, found)
        });
        let Ok((then, found)) = keeping.await else { return };
        done = then;
        if is_last {
            return;
        }
        if found != troubles {
            troubles.clone_from(&found);
            if tell.send(found).await.is_err() {
                return;
            }
        }
    }
}

/// What was done last.
#[derive(Debug, Default)]
struct Done {
    /// The objects that were written, and when.
    objects: Option<(Arc<Observed>, Instant)>,
    /// There are newer ones, to be written in their time.
    is_behind: bool,
    touched: Option<Instant>,
    secrets: Option<(Arc<Observed>, InUse)>,
    /// What is wrong with the one and with the other.
    troubles: [Option<Problem>; 2],
}

impl Done {
    /// Keeps what is new. Objects wait for their time, keys do not: they are few, and in memory.
    fn keep(&mut self, places: &Places, new: &ToKeep) -> Vec<Problem> {
        if let Some(kept) = &places.kept {
            self.keep_objects(kept, new);
        }
        if let Some(secrets) = &places.secrets {
            self.keep_secrets(secrets, new);
        }
        self.troubles.iter().flatten().cloned().collect()
    }

    fn keep_objects(&mut self, kept: &Kept, new: &ToKeep) {
        let now = Instant::now();
        let same = |(old, _): &(Arc<Observed>, Instant)| Arc::ptr_eq(old, &new.observed);
        let outcome = if !self.objects.as_ref().is_some_and(same) {
            self.is_behind = self
                .objects
                .as_ref()
                .is_some_and(|(_, at)| now < *at + WRITE_EVERY);
            if self.is_behind {
                return;
            }
            self.objects = Some((Arc::clone(&new.observed), now));
            kept.write(&new.observed)
        } else if new.confirmed && self.touched.is_none_or(|at| now >= at + WRITE_EVERY) {
            kept.touch()
        } else {
            return;
        };
        self.touched = Some(now);
        if outcome.is_err() {
            // Written anew when there is an occasion.
            self.objects = None;
        }
        self.troubles[0] = outcome.err().map(|error| {
            let path = kept.path().display();
            let message =
                format!("the objects are not kept for a start without the API server: {path}: {error}");
            let remedy = "make --state-dir a directory that the agent may write, on a disk with room";
            Problem::new(API_SERVER, "", "", message, remedy).because(ProblemReason::NotKept)
        });
    }

    fn keep_secrets(&mut self, secrets: &SessionSecrets, new: &ToKeep) {
        let same =
            |(old, in_use): &(Arc<Observed>, InUse)| Arc::ptr_eq(old, &new.observed) && *in_use == new.in_use;
        let Some(state) = new
            .observed
            .state
            .as_ref()
            .filter(|_| !self.secrets.as_ref().is_some_and(same))
        else {
            return;
        };
        let outcome = secrets.write(&state.secrets, &new.in_use);
        self.secrets = outcome
            .is_ok()
            .then(|| (Arc::clone(&new.observed), new.in_use.clone()));
        self.troubles[1] = outcome.err().map(|error| {
            let dir = secrets.dir().display();
            let message = format!(
                "the keys of sessions are not kept for a start without the API server: {dir}: {error}"
            );
            let remedy = "mount a tmpfs there, such as the host's /run, that the agent may write";
            Problem::new(API_SERVER, "", "", message, remedy).because(ProblemReason::NotKept)
        });
    }
}

#[cfg(test)]
mod tests;
