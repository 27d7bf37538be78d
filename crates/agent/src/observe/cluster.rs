//! The owner of all that is known from the API server: it starts and ends the watches, keeps what they tell, and gives on
//! a state when it is complete and has been quiet for a moment.
//!
//! **What is asked for grows out of what is known.** The neighbours, filters, the configuration and the own Node always;
//! the other Nodes only when the plan needs them; Secrets only those that a neighbour of this node names. A watch that
//! is new is waited for before the next state is given on. Secrets are waited for only for a while ([`SECRET_PATIENCE`]),
//! because a missing one costs its own neighbour only; Nodes without end, because half of them would look like all.
//!
//! **Many changes are one.** A state is given on when nothing has changed for [`QUIET`], at the latest [`PATIENCE`]
//! after the first change, and only when it differs from the one before: whatever the server tells, there are never
//! more than two plans a second. While the receiver is busy, changes add up here.

mod compose;
mod needs;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use flatroute_api::Problem;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::Observed;
use super::connection::Connection;
use super::failure::Failure;
use super::keeper::{self, Places, ToKeep};
use super::kept::{Copy, Kept, START_PATIENCE};
use super::readings::{self, Readings};
use super::session_secrets::{Secrets, SessionSecrets};
use super::source::{Asker, BASE, Source};
use super::store::Store;
use super::watch::{Heard, Pace, Watch, What};

/// How long nothing must change before a state is given on.
const QUIET: Duration = Duration::from_millis(50);
/// How long a stream of changes may put that off.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long a Secret is waited for.
const SECRET_PATIENCE: Duration = Duration::from_secs(5);
/// How often in a row a watch must fail to get an answer before that is a problem.
const AWAY: u32 = 2;
/// How many things the watches may have told that were not heard yet.
const DEPTH: usize = 64;

/// What to follow.
pub(crate) struct Options {
    pub(crate) connection: Connection,
    /// The name of our Node.
    pub(crate) node: String,
    /// Our namespace.
    pub(crate) namespace: String,
    pub(crate) pace: Pace,
    /// Where the objects last known to be good are kept; nowhere when it is none.
    pub(crate) state_dir: Option<PathBuf>,
    /// Where the keys of sessions are kept, in memory.
    pub(crate) secrets_dir: Option<PathBuf>,
}

/// Follows the objects, until nobody takes what is observed; ends when the newest are kept.
pub(crate) async fn follow(options: Options, observed: mpsc::Sender<anyhow::Result<Observed>>) {
    Cluster::new(options).run(observed).await;
}

struct Cluster {
    options: Options,
    asker: Asker,
    followed: BTreeMap<Source, Followed>,
    watches: JoinSet<()>,
    /// How many watches were begun.
    begun: u64,
    tell: mpsc::Sender<Heard>,
    heard: mpsc::Receiver<Heard>,
    readings: Option<Readings>,
    places: Places,
    /// What an earlier agent has left of the keys of sessions.
    known_secrets: Secrets,
    earlier: Earlier,
    /// What is wrong with keeping.
    not_kept: Vec<Problem>,
    /// What was given on last.
    last: Option<Arc<Observed>>,
    /// When something changed first and last since then.
    changed: Option<(Instant, Instant)>,
}

/// What is done with the copy of an earlier time.
enum Earlier {
    /// Nothing yet.
    NotAsked,
    /// It is in force.
    Used(Box<Copy>),
    /// It is not used, and why.
    Refused(String),
    /// It is not needed any more, or there is none.
    Over,
}

/// A watch, and what it has told.
struct Followed {
    number: u64,
    handle: AbortHandle,
    since: Instant,
    store: Store,
    listed: bool,
    /// It was waited for long enough: what it would tell can be done without.
    is_given_up: bool,
    failure: Option<(Failure, u32)>,
}

impl Followed {
    fn problem(&self, source: &Source, server: &str) -> Option<Problem> {
        match &self.failure {
            Some((Failure::Away(_), times)) if *times < AWAY => None,
            Some((failure, _)) => Some(failure.problem(source, server)),
            None => None,
        }
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

impl Cluster {
    fn new(options: Options) -> Self {
        let (tell, heard) = mpsc::channel(DEPTH);
        let asker = Asker {
            node: options.node.clone(),
            namespace: options.namespace.clone(),
        };
        Self {
            places: Places {
                kept: options
                    .state_dir
                    .as_ref()
                    .map(|dir| Kept::new(dir, &options.node)),
                secrets: options.secrets_dir.as_deref().map(SessionSecrets::new),
            },
            options,
            asker,
            followed: BTreeMap::new(),
            watches: JoinSet::new(),
            begun: 0,
            tell,
            heard,
            readings: None,
            known_secrets: Secrets::new(),
            earlier: Earlier::NotAsked,
            not_kept: Vec::new(),
            last: None,
            changed: None,
        }
    }

    async fn run(mut self, observed: mpsc::Sender<anyhow::Result<Observed>>) {
        let (keep, wanted) = watch::channel(None);
        let (tell, not_kept) = mpsc::channel(1);
        let keeper = tokio::spawn(keeper::run(self.places.clone(), wanted, tell));
        self.go_round(observed, &keep, not_kept).await;
        // What is newest is kept before the end. A keeper that has failed has nothing more to do.
        drop(keep);
        let _ = keeper.await;
    }

    async fn go_round(
        &mut self,
        observed: mpsc::Sender<anyhow::Result<Observed>>,
        keep: &watch::Sender<Option<ToKeep>>,
        mut not_kept: mpsc::Receiver<Vec<Problem>>,
    ) {
        for source in BASE {
            self.begin(source);
        }
        let (tell, mut readings) = mpsc::channel(1);
        let reading = readings::run(self.options.connection.clone(), self.options.pace, tell);
        self.watches.spawn(reading);
        if let Some(secrets) = &self.places.secrets {
            self.known_secrets = secrets.read();
        }
        let earlier = Instant::now() + START_PATIENCE;
        loop {
            let (due, patience) = (self.due(), self.patience());
            let now = Instant::now();
            tokio::select! {
                Some(heard) = self.heard.recv() => {
                    if self.hear(heard) {
                        self.has_changed();
                    }
                }
                Some(new) = readings.recv() => {
                    if self.readings.as_ref() != Some(&new) {
                        self.readings = Some(new);
                        self.has_changed();
                    }
                }
                Some(troubles) = not_kept.recv() => {
                    self.not_kept = troubles;
                    self.has_changed();
                }
                // Watches end when we end them; one that fails in itself must not look like one that has nothing to tell.
                Some(ended) = self.watches.join_next() => if let Err(error) = ended && error.is_panic() {
                    let error = anyhow::anyhow!("a watch of the API server has failed: {error}");
                    // Whoever listened may have gone, and then nothing is to be said.
                    let _ = observed.send(Err(error)).await;
                    return;
                },
                permit = observed.reserve(), if due.is_some_and(|due| due <= now) => {
                    let Ok(permit) = permit else { return };
                    if let Some(new) = self.give(keep) {
                        permit.send(Ok(new));
                    }
                }
                () = sleep_until(due.unwrap_or(now)), if due.is_some_and(|due| due > now) => {}
                () = sleep_until(patience.unwrap_or(now)), if patience.is_some() => self.give_up(),
                () = sleep_until(earlier), if matches!(self.earlier, Earlier::NotAsked) => self.take_copy(),
                () = observed.closed() => return,
            }
        }
    }

    /// What to give on, if it differs from what was; what is complete is kept for later agents.
    fn give(&mut self, keep: &watch::Sender<Option<ToKeep>>) -> Option<Observed> {
        self.changed = None;
        self.want();
        let new = self.observed();
        let differs = self.last.as_deref() != Some(&new);
        if differs {
            self.last = Some(Arc::new(new));
        }
        let last = self.last.as_ref()?;
        if let (Some(state), None) = (&last.state, last.stale) {
            keep.send_replace(Some(ToKeep {
                in_use: needs::keys_in_use(state, &self.options.node),
                observed: Arc::clone(last),
                confirmed: self.followed.values().all(|followed| followed.failure.is_none()),
            }));
        }
        differs.then(|| Observed::clone(last))
    }

    /// The server has had its time: a copy of an earlier time is taken, when there is a good one.
    fn take_copy(&mut self) {
        let read = self.places.kept.as_ref().map_or(Ok(None), Kept::read);
        self.earlier = match read {
            Ok(Some(copy)) => Earlier::Used(Box::new(copy)),
            Ok(None) => Earlier::Over,
            Err(why) => Earlier::Refused(why),
        };
        self.has_changed();
    }

    /// When a Secret has been waited for long enough.
    fn patience(&self) -> Option<Instant> {
        let waiting = self.followed.iter().filter(|(source, followed)| {
            matches!(source, Source::Secret(_)) && !followed.listed && !followed.is_given_up
        });
        waiting
            .map(|(_, followed)| followed.since + SECRET_PATIENCE)
            .min()
    }

    fn give_up(&mut self) {
        let now = Instant::now();
        for (source, followed) in &mut self.followed {
            if matches!(source, Source::Secret(_)) && now >= followed.since + SECRET_PATIENCE {
                followed.is_given_up = true;
            }
        }
        self.has_changed();
    }

    fn begin(&mut self, source: Source) {
        self.begun += 1;
        let watch = Watch {
            client: self.options.connection.client.clone(),
            source: source.clone(),
            asker: self.asker.clone(),
            pace: self.options.pace,
            number: self.begun,
            tell: self.tell.clone(),
        };
        let followed = Followed {
            number: self.begun,
            handle: self.watches.spawn(watch.run()),
            since: Instant::now(),
            store: Store::default(),
            listed: false,
            is_given_up: false,
            failure: None,
        };
        self.followed.insert(source, followed);
    }

    /// Takes what a watch tells. Says whether it changes anything.
    fn hear(&mut self, heard: Heard) -> bool {
        let Heard { source, watch, what } = heard;
        let Some(followed) = self.followed.get_mut(&source).filter(|f| f.number == watch) else {
            // A watch that was ended.
            return false;
        };
        match what {
            What::Listed(all) => {
                // What failed may be the watch: it is over when that begins.
                let first = !std::mem::replace(&mut followed.listed, true);
                followed.store.replace(all) | first
            }
            What::Changed(seen) => followed.store.change(seen),
            What::Deleted(name) => followed.store.remove(&name),
            What::Failed(failure, times) => {
                // Those that may not be read need not be waited for.
                followed.is_given_up |=
                    matches!(source, Source::Secret(_)) && matches!(failure, Failure::Forbidden(_));
                followed.failure = Some((failure, times));
                true
            }
            What::Works => followed.failure.take().is_some(),
        }
    }

    /// Begins the watches that are needed now and ends those that are not.
    fn want(&mut self) {
        let wanted = self.wanted();
        self.followed.retain(|source, _| wanted.contains(source));
        let missing: Vec<Source> = wanted
            .into_iter()
            .filter(|source| !self.followed.contains_key(source))
            .collect();
        for source in missing {
            self.begin(source);
        }
    }

    /// What is needed, as far as it is known what is. While the first lists are not there, nothing beyond them.
    fn wanted(&self) -> BTreeSet<Source> {
        let mut wanted: BTreeSet<Source> = BASE.into();
        let base = BASE.iter().all(|source| self.has_listed(source));
        let (true, Some(readings)) = (base, &self.readings) else {
            return wanted;
        };
        let Ok(state) = self.state(&wanted) else {
            return wanted;
        };
        wanted.extend(needs::beyond(&state, readings, &self.options.node));
        wanted
    }

    fn has_listed(&self, source: &Source) -> bool {
        self.followed.get(source).is_some_and(|followed| followed.listed)
    }

    fn has_changed(&mut self) {
        let now = Instant::now();
        let first = self.changed.map_or(now, |(first, _)| first);
        self.changed = Some((first, now));
    }

    /// When the next state may be given on.
    fn due(&self) -> Option<Instant> {
        self.changed
            .map(|(first, last)| (first + PATIENCE).min(last + QUIET))
    }
}

#[cfg(test)]
mod tests;
