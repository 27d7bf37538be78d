//! One watch: list in pages, then follow the changes, for ever.
//!
//! ```text
//!         ┌───────── 410 Gone, or our own kind ────┐
//!         ▼                                        │
//!   list, a page at a time ──── the whole list ──► watch from its version ──► one change after the other
//!         │ ▲                                      │ ▲
//!         └─┘ failed: back off, the first page     └─┘ ended, silent or failed: again from the newest version
//! ```
//!
//! **Our own kinds are listed again whenever a watch ends**, because the end may be that of an older definition: when a
//! CustomResourceDefinition changes, a watch from before goes on for a moment and drops the fields that are new, and the
//! objects of that moment never come again. They are few; Nodes, which are many and whose definition does not change, are
//! watched on from the newest version.
//!
//! A list is told as a whole when its last page is there, and replaces what was known in one step: listing again is
//! never a moment of emptiness. A failure is told, and what was known stays.
//!
//! **A list without any Node is one** ([`Failure::NoNodes`]): an agent runs on a Node, so the server is that of another cluster or has
//! lost its data. Believed, it would take the routes of every node away in the same moment. That the own Node is deleted, a watch
//! tells, or a list that has other ones.
//!
//! **A watch that hangs** looks like one in which nothing happens. The server is asked to end each watch after a few
//! minutes, and it sends a bookmark about every minute; one that is silent for longer than [`Pace::silence`] is given up
//! and begun again from the newest version, which costs one request.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::marker::PhantomData;
use std::time::Duration;

use futures::{AsyncBufReadExt as _, StreamExt as _};
use kube::api::{ListParams, Request, WatchEvent, WatchParams};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::failure::{Failure, Verb};
use super::source::{Asker, Source};
use super::trimmed::{NodeObject, OurObject, SecretObject, Seen, Trimmed};

/// How many objects a page of a list has at most.
const PAGE: u32 = 100;

/// How fast and how patient a watch is; another one in tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// How long a page of a list, or the start of a watch, may take.
    pub(crate) answer: Duration,
    /// How long the server shall let a watch last: from this to a quarter more, so that not all nodes come at once.
    pub(crate) watch: Duration,
    /// How long a watch may be silent. More than a minute, which is how often the server sends a bookmark.
    pub(crate) silence: Duration,
    /// The first pause after a failure; each further one is twice as long.
    pub(crate) first_pause: Duration,
    /// The longest pause.
    pub(crate) longest_pause: Duration,
    /// A watch that has lasted for this long was a good one: the next pause is a first one again.
    pub(crate) settled: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(30),
            watch: Duration::from_secs(240),
            silence: Duration::from_secs(150),
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(30),
            settled: Duration::from_secs(5),
        }
    }
}

/// The pauses after failures: each twice as long as the one before, and somewhere from half of it to all, so that a
/// thousand nodes do not knock together at a server that comes back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    next: Duration,
    pace: Pace,
}

impl Backoff {
    pub(crate) fn new(pace: Pace) -> Self {
        Self {
            next: pace.first_pause,
            pace,
        }
    }

    pub(crate) fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = pause.saturating_mul(2).min(self.pace.longest_pause);
        pause / 2 + part(pause / 2)
    }

    pub(crate) fn reset(&mut self) {
        self.next = self.pace.first_pause;
    }
}

/// A random part of a time.
pub(crate) fn part(of: Duration) -> Duration {
    let random = u32::try_from(RandomState::new().hash_one(()) >> 48).unwrap_or(0);
    of / (1 << 16) * random
}

/// What a watch tells.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) source: Source,
    /// Which of the watches of this source, one after the other, tells it.
    pub(crate) watch: u64,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    /// These are all.
    Listed(Vec<Seen>),
    /// This one is new, or another than before.
    Changed(Seen),
    /// This one is gone.
    Deleted(String),
    /// It failed, so many times in a row.
    Failed(Failure, u32),
    /// It works again.
    Works,
}

/// A watch.
pub(crate) struct Watch {
    pub(crate) client: kube::Client,
    pub(crate) source: Source,
    pub(crate) asker: Asker,
    pub(crate) pace: Pace,
    pub(crate) number: u64,
    pub(crate) tell: mpsc::Sender<Heard>,
}

/// Nobody listens any more.
struct Unheard;

impl Watch {
    /// Watches until nobody listens.
    pub(crate) async fn run(self) {
        let _unheard = match self.source {
            Source::Peers | Source::Filters | Source::Configuration => {
                Running::<OurObject>::new(self).run().await
            }
            Source::OwnNode | Source::Nodes => Running::<NodeObject>::new(self).run().await,
            Source::Secret(_) => Running::<SecretObject>::new(self).run().await,
        };
    }
}

struct Running<T> {
    watch: Watch,
    request: Request,
    fields: Option<String>,
    backoff: Backoff,
    failures: u32,
    objects: PhantomData<T>,
}

/// A page of a list.
#[derive(Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
struct Page<T> {
    #[serde(default)]
    metadata: PageMetadata,
    items: Option<Vec<T>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PageMetadata {
    resource_version: Option<String>,
    #[serde(rename = "continue")]
    next: Option<String>,
}

impl<T: Trimmed> Running<T> {
    fn new(watch: Watch) -> Self {
        Self {
            request: Request::new(watch.source.path(&watch.asker)),
            fields: watch.source.fields(&watch.asker),
            backoff: Backoff::new(watch.pace),
            failures: 0,
            watch,
            objects: PhantomData,
        }
    }

    async fn run(mut self) -> Result<(), Unheard> {
        loop {
            match self.list().await {
                Ok((objects, version)) => {
                    self.tell(What::Listed(objects)).await?;
                    self.follow(version).await?;
                }
                Err(failure) => self.failed(failure).await?,
            }
        }
    }

    async fn tell(&self, what: What) -> Result<(), Unheard> {
        let heard = Heard {
            source: self.watch.source.clone(),
            watch: self.watch.number,
            what,
        };
        self.watch.tell.send(heard).await.map_err(|_| Unheard)
    }

    async fn failed(&mut self, failure: Failure) -> Result<(), Unheard> {
        self.failures = self.failures.saturating_add(1);
        tracing::debug!(source = %self.watch.source, ?failure, "the API server did not answer as wanted");
        self.tell(What::Failed(failure, self.failures)).await?;
        sleep(self.backoff.pause()).await;
        Ok(())
    }

    /// The whole list, and its version.
    async fn list(&self) -> Result<(Vec<Seen>, String), Failure> {
        let mut params = ListParams {
            field_selector: self.fields.clone(),
            limit: Some(PAGE),
            ..ListParams::default()
        };
        let mut all = Vec::new();
        loop {
            let page = self.page(&params).await?;
            let kind = self.watch.source.kind();
            all.extend(page.items.into_iter().flatten().map(|object| object.read(kind)));
            match page.metadata.next.filter(|next| !next.is_empty()) {
                Some(next) => params.continue_token = Some(next),
                None => {
                    let version = page.metadata.resource_version.filter(|v| !v.is_empty());
                    let missing = || Failure::Refused("a list without metadata.resourceVersion".to_owned());
                    let version = version.ok_or_else(missing)?;
                    if all.is_empty() && self.lacks_all().await? {
                        return Err(Failure::NoNodes);
                    }
                    return Ok((all, version));
                }
            }
        }
    }

    /// Whether a list that is empty stands for a cluster that has no Node.
    async fn lacks_all(&self) -> Result<bool, Failure> {
        match self.watch.source {
            Source::OwnNode => {
                let one = ListParams {
                    limit: Some(1),
                    ..ListParams::default()
                };
                Ok(self.page(&one).await?.items.is_none_or(|nodes| nodes.is_empty()))
            }
            Source::Nodes => Ok(true),
            Source::Peers | Source::Filters | Source::Configuration | Source::Secret(_) => Ok(false),
        }
    }

    async fn page(&self, params: &ListParams) -> Result<Page<T>, Failure> {
        let request = self
            .request
            .list(params)
            .map_err(|error| Failure::Refused(error.to_string()))?;
        // As text: the client would log what it cannot read, and that may be a Secret.
        let text = self.in_time(self.watch.client.request_text(request)).await?;
        let text = text.map_err(|error| Failure::of(&error, Verb::List))?;
        serde_json::from_str(&text).map_err(|error| unreadable("a list", &error))
    }

    async fn in_time<F: Future>(&self, answer: F) -> Result<F::Output, Failure> {
        let patience = self.watch.pace.answer;
        timeout(patience, answer)
            .await
            .map_err(|_| Failure::Away(format!("no answer within {} s", patience.as_secs_f32())))
    }

    /// Follows the changes, until the list must be made again.
    async fn follow(&mut self, mut version: String) -> Result<(), Unheard> {
        loop {
            let start = Instant::now();
            let ended = self.changes(&mut version).await?;
            let lasted = start.elapsed() >= self.watch.pace.settled;
            if lasted {
                self.backoff.reset();
            }
            match ended {
                // At once the first time; a server that always says so is asked less and less often.
                Err(Failure::Gone) => {
                    if !lasted {
                        sleep(self.backoff.pause()).await;
                    }
                    return Ok(());
                }
                Err(failure) => self.failed(failure).await?,
                Ok(()) if lasted => sleep(part(self.watch.pace.first_pause)).await,
                Ok(()) => sleep(self.backoff.pause()).await,
            }
            if self.watch.source.is_ours() {
                return Ok(());
            }
        }
    }

    /// One request to watch, until it ends.
    async fn changes(&mut self, version: &mut String) -> Result<Result<(), Failure>, Unheard> {
        let time = self.watch.pace.watch;
        let params = WatchParams {
            field_selector: self.fields.clone(),
            timeout: Some(
                u32::try_from((time + part(time / 4)).as_secs())
                    .unwrap_or(u32::MAX)
                    .max(1),
            ),
            bookmarks: true,
            ..WatchParams::default()
        };
        let request = match self.request.watch(&params, version) {
            Ok(request) => request,
            Err(error) => return Ok(Err(Failure::Refused(error.to_string()))),
        };
        let lines = match self.in_time(self.watch.client.request_stream(request)).await {
            Ok(Ok(stream)) => stream.lines(),
            Ok(Err(error)) => return Ok(Err(Failure::of(&error, Verb::Watch))),
            Err(failure) => return Ok(Err(failure)),
        };
        let mut lines = std::pin::pin!(lines);
        if self.failures > 0 {
            self.failures = 0;
            self.tell(What::Works).await?;
        }
        loop {
            let line = match timeout(self.watch.pace.silence, lines.next()).await {
                Ok(Some(Ok(line))) => line,
                Ok(Some(Err(error))) => return Ok(Err(Failure::Away(error.to_string()))),
                Ok(None) => return Ok(Ok(())),
                Err(_) => {
                    let source = &self.watch.source;
                    tracing::info!(%source, "the watch was silent for too long and is begun again");
                    return Ok(Ok(()));
                }
            };
            let event: WatchEvent<T> = match serde_json::from_str(&line) {
                Ok(event) => event,
                // The connection broke in the middle of it.
                Err(error) if error.is_eof() => return Ok(Ok(())),
                Err(error) => return Ok(Err(unreadable("an event", &error))),
            };
            let (object, gone) = match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, false),
                WatchEvent::Deleted(object) => (object, true),
                WatchEvent::Bookmark(bookmark) => {
                    version.clone_from(&bookmark.metadata.resource_version);
                    continue;
                }
                WatchEvent::Error(status) => return Ok(Err(Failure::of_status(&status, Verb::Watch))),
            };
            if let Some(newer) = &object.metadata().resource_version {
                version.clone_from(newer);
            }
            let what = if gone {
                What::Deleted(object.metadata().name.clone())
            } else {
                What::Changed(object.read(self.watch.source.kind()))
            };
            self.tell(what).await?;
        }
    }
}

/// Without the reader's words, which may quote what it read.
fn unreadable(what: &str, error: &serde_json::Error) -> Failure {
    Failure::Refused(format!(
        "{what} that cannot be read, at line {} column {}",
        error.line(),
        error.column()
    ))
}
