//! Keeps what was observed for the next agent, in a task of its own: no disk shall make a keepalive late.

use std::sync::Arc;

use flatroute_api::Problem;
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

/// Keeps the newest, until nobody has any more, and tells what is wrong with that.
pub(crate) async fn run(
    places: Places,
    mut wanted: watch::Receiver<Option<ToKeep>>,
    tell: mpsc::Sender<Vec<Problem>>,
) {
    let mut written: Option<Arc<Observed>> = None;
    let mut troubles = Vec::new();
    loop {
        let touch = Instant::now() + TOUCH_EVERY;
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { return },
            () = sleep_until(touch) => {}
        }
        let Some(new) = wanted.borrow_and_update().clone() else {
            continue;
        };
        let is_new = written
            .as_ref()
            .is_none_or(|old| !Arc::ptr_eq(old, &new.observed));
        if !is_new && !new.confirmed {
            continue;
        }
        let (places, observed) = (places.clone(), Arc::clone(&new.observed));
        let keeping = tokio::task::spawn_blocking(move || keep(&places, &new, is_new));
        let Ok(found) = keeping.await else { return };
        // What could not be written is written anew at the next occasion.
        written = found.is_empty().then_some(observed);
        if found != troubles {
            troubles.clone_from(&found);
            if tell.send(found).await.is_err() {
                return;
            }
        }
        sleep_until(Instant::now() + WRITE_EVERY).await;
    }
}

fn keep(places: &Places, new: &ToKeep, is_new: bool) -> Vec<Problem> {
    let mut troubles = Vec::new();
    if let Some(kept) = &places.kept {
        let outcome = if is_new {
            kept.write(&new.observed)
        } else {
            kept.touch()
        };
        if let Err(error) = outcome {
            let path = kept.path().display();
            let message =
                format!("the objects are not kept for a start without the API server: {path}: {error}");
            let remedy = "make --state-dir a directory that the agent may write, on a disk with room";
            troubles.push(Problem::new(API_SERVER, "", "", message, remedy).because("NotKept"));
        }
    }
    if let (Some(secrets), Some(state), true) = (&places.secrets, &new.observed.state, is_new)
        && let Err(error) = secrets.write(&state.secrets, &new.in_use)
    {
        let dir = secrets.dir().display();
        let message =
            format!("the keys of sessions are not kept for a start without the API server: {dir}: {error}");
        let remedy = "mount a tmpfs there, such as the host's /run, that the agent may write";
        troubles.push(Problem::new(API_SERVER, "", "", message, remedy).because("NotKept"));
    }
    troubles
}
