//! The task that writes the status of the BGPPeers, on the one node that holds the Lease; on all others it looks at the Lease
//! now and then.
//!
//! A leader follows the BGPNodeStatus of all nodes, and whenever one changes, or the objects do, it works out anew what each
//! BGPPeer's status should be, at most once a second. Then it writes those that differ, each at its own pace and one at
//! a time, so that the Lease is renewed in time whatever there is to write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use flatroute_api::{BGPPeerStatus, Problem};
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::DynamicObject;
use kube::runtime::watcher::{self, watcher};
use tokio::sync::watch;
use tokio::time::sleep_until;

use super::lease::{CANDIDATE_LOOK, CANDIDATES, DURATION, Held, SPECTATOR_LOOK, Step, Watcher};
use super::pace::{Pace, part};
use super::peer::{self, Nodes};
use super::server::{Failure, Server, status_of};
use super::{Newest, Objects, Snapshot, random};

/// How often the statuses are worked out at most.
const WORK: Duration = Duration::from_secs(1);
/// How long the nodes have to report of an object before it is said that none has it. Each writes within about
/// fifteen seconds.
pub(super) const SETTLE: Duration = Duration::from_secs(30);
/// How long the watch of the nodes may tell nothing before it is begun anew: one that hangs looks like one in which nothing
/// happens.
const SILENCE: Duration = Duration::from_secs(600);
/// How long the server shall let a watch last, in seconds.
const WATCH_SECONDS: u32 = 240;
/// How many objects a page of a list has.
const PAGE: u32 = 100;

type Statuses = BoxStream<'static, Result<watcher::Event<DynamicObject>, watcher::Error>>;

/// Looks at the Lease, and leads while it is ours; until nobody tells any more: then it gives the Lease back. It begins when this node has written its own
/// status, which is what makes it one of those that may be candidates, or shall have none.
pub(super) async fn run(server: Server, mut newest: Newest, mut written: watch::Receiver<bool>) {
    if written.wait_for(|written| *written).await.is_err() {
        return;
    }
    let mut leader = Leader {
        server,
        watcher: Watcher::default(),
        is_candidate: false,
        look_at: Instant::now() + part(CANDIDATE_LOOK / 4, random()),
        reign: None,
    };
    loop {
        let now = Instant::now();
        if leader.look_at <= now {
            leader.look(now).await;
            continue;
        }
        let snapshot = newest.borrow_and_update().clone();
        let mut due = leader.look_at;
        if let (Some(reign), Some(snapshot)) = (&mut leader.reign, &snapshot) {
            due = due.min(reign.work(&mut leader.server, snapshot, now).await);
        }
        tokio::select! {
            changed = newest.changed() => if changed.is_err() { break },
            event = next(&mut leader.reign) => if let Some(reign) = &mut leader.reign { reign.hear(event) },
            () = sleep_until(due.into()) => {}
        }
    }
    if let Err(failure) = leader.give_back().await {
        tracing::debug!(?failure, "the Lease was not given back");
    }
}

struct Leader {
    server: Server,
    watcher: Watcher,
    is_candidate: bool,
    look_at: Instant,
    /// While the Lease is ours.
    reign: Option<Reign>,
}

impl Leader {
    /// Looks at the Lease, does what is to be done about it, and says when to look again.
    async fn look(&mut self, now: Instant) {
        if let Err(failure) = self.try_look(now).await {
            tracing::debug!(?failure, "the Lease for the status of BGPPeers");
        }
        let now = Instant::now();
        if !self.watcher.leads(now) && self.reign.take().is_some() {
            tracing::info!("another agent writes the status of the BGPPeers now");
        }
        let pause = if self.is_candidate || self.reign.is_some() {
            CANDIDATE_LOOK
        } else {
            SPECTATOR_LOOK
        };
        // Spread, so that no two look at the same time for ever; never later than a renewal may be.
        self.look_at = now + pause - part(pause / 5, random());
    }

    /// Takes our name out of the Lease, when it stands there: others need not wait until it has run out.
    async fn give_back(&mut self) -> Result<(), Failure> {
        if self.reign.take().is_none() {
            return Ok(());
        }
        let Some(mut lease) = self.server.lease().await? else {
            return Ok(());
        };
        let spec = lease.spec.get_or_insert_default();
        if spec
            .holder_identity
            .take()
            .is_some_and(|by| by == self.server.node)
        {
            self.server.write_lease(&lease).await?;
        }
        Ok(())
    }

    async fn try_look(&mut self, now: Instant) -> Result<(), Failure> {
        let first = self.server.first_nodes(CANDIDATES).await?;
        self.is_candidate = first.contains(&self.server.node);
        let me = self.server.node.clone();
        let lease = self.server.lease().await?;
        let held = lease.as_ref().map(|lease| Held {
            by: lease
                .spec
                .as_ref()
                .and_then(|spec| spec.holder_identity.clone())
                .unwrap_or_default(),
            version: lease.metadata.resource_version.clone().unwrap_or_default(),
        });
        let step = self.watcher.look(&me, held, self.is_candidate, now);
        if step == Step::Wait {
            self.watcher.lost();
            return Ok(());
        }
        let mut lease = lease.unwrap_or_else(|| self.server.new_lease());
        let mut spec = lease.spec.take().unwrap_or_default();
        let time = Some(MicroTime(Timestamp::now()));
        if step == Step::Take {
            spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |n| n.saturating_add(1)));
            spec.acquire_time.clone_from(&time);
        }
        spec.holder_identity = Some(me);
        spec.lease_duration_seconds = i32::try_from(DURATION.as_secs()).ok();
        spec.renew_time = time;
        lease.spec = Some(spec);
        match self.server.write_lease(&lease).await {
            Ok(_) => self.watcher.renewed(now),
            Err(failure) => {
                if failure == Failure::Conflict {
                    self.watcher.lost();
                }
                return Err(failure);
            }
        }
        if self.reign.is_none() {
            let statuses = self.server.peer_statuses().await?;
            tracing::info!("this agent writes the status of the BGPPeers now");
            self.reign = Some(Reign::new(&self.server, statuses, now));
        }
        Ok(())
    }
}

/// What the watch of the nodes says next; without a reign, nothing ever.
async fn next(reign: &mut Option<Reign>) -> Option<Result<watcher::Event<DynamicObject>, watcher::Error>> {
    match reign {
        Some(reign) => {
            let end = (reign.heard + SILENCE).into();
            let event = tokio::time::timeout_at(end, reign.watch.next()).await;
            event.unwrap_or(None)
        }
        None => std::future::pending().await,
    }
}

/// The time as leader.
struct Reign {
    server: Server,
    watch: Statuses,
    /// When it told something last.
    heard: Instant,
    nodes: Nodes,
    /// The nodes of a list that is being read.
    listing: Option<Nodes>,
    /// Whether all nodes have been listed once.
    listed: bool,
    pages: BTreeMap<String, Page>,
    /// What the statuses were worked out from.
    objects: Option<Arc<Objects>>,
    dirty: bool,
    work_at: Instant,
}

/// The status of one BGPPeer.
struct Page {
    /// As the server has it.
    written: BGPPeerStatus,
    /// As it should be.
    wanted: BGPPeerStatus,
    pace: Pace,
    random: f64,
    /// The generation that the nodes have had time to report of, and from when.
    generation: (Option<i64>, Instant),
}

impl Reign {
    fn new(server: &Server, statuses: Vec<(String, BGPPeerStatus)>, now: Instant) -> Self {
        let page = |status: BGPPeerStatus| Page {
            wanted: status.clone(),
            // What another leader has observed is settled.
            generation: (status.observed_generation, now.checked_sub(SETTLE).unwrap_or(now)),
            written: status,
            pace: Pace::default(),
            random: random(),
        };
        Self {
            server: server.clone(),
            watch: follow(server),
            heard: now,
            nodes: Nodes::new(),
            listing: None,
            listed: false,
            pages: statuses
                .into_iter()
                .map(|(name, status)| (name, page(status)))
                .collect(),
            objects: None,
            dirty: false,
            work_at: now,
        }
    }

    /// Takes what the watch of the nodes says.
    fn hear(&mut self, event: Option<Result<watcher::Event<DynamicObject>, watcher::Error>>) {
        let put = |nodes: &mut Nodes, object: DynamicObject| match status_of(&object) {
            Some(status) => drop(nodes.insert(object.name_any(), status)),
            // Not written yet, or by another version: what was known stays.
            None => _ = nodes.entry(object.name_any()).or_default(),
        };
        match event {
            Some(Ok(watcher::Event::Init)) => self.listing = Some(Nodes::new()),
            Some(Ok(watcher::Event::InitApply(object))) => {
                put(self.listing.get_or_insert_default(), object);
            }
            Some(Ok(watcher::Event::InitDone)) => {
                self.nodes = self.listing.take().unwrap_or_default();
                self.listed = true;
            }
            Some(Ok(watcher::Event::Apply(object))) => put(&mut self.nodes, object),
            Some(Ok(watcher::Event::Delete(object))) => drop(self.nodes.remove(&object.name_any())),
            // It tries again by itself, with growing pauses.
            Some(Err(error)) => tracing::debug!(%error, "the statuses of the nodes"),
            None => self.watch = follow(&self.server),
        }
        self.heard = Instant::now();
        self.dirty = true;
    }

    /// Works out what is to be written, writes one status that is due, and says when to come back.
    async fn work(&mut self, server: &mut Server, snapshot: &Arc<Snapshot>, now: Instant) -> Instant {
        self.dirty |= self.objects.as_ref() != Some(&snapshot.objects);
        if self.listed && self.dirty && self.work_at <= now {
            self.dirty = false;
            self.work_at = now + WORK;
            self.objects = Some(Arc::clone(&snapshot.objects));
            self.decide(&snapshot.objects, snapshot.taken, now);
        }
        let due = |page: &Page| page.pace.due(page.random);
        let next = self
            .pages
            .iter_mut()
            .filter_map(|(name, page)| Some((due(page)?, name, page)))
            .min_by_key(|p| p.0);
        let mut wake = now + SETTLE;
        if let Some((at, name, page)) = next {
            wake = wake.min(at.max(now));
            if at <= now {
                put(server, name, page).await;
            }
        }
        if self.dirty && self.listed {
            wake = wake.min(self.work_at);
        } else if self.listed {
            // Objects settle without an event.
            self.dirty = self.pages.values().any(|page| !page.is_settled(now));
        }
        wake
    }

    fn decide(&mut self, objects: &Objects, clock: Timestamp, now: Instant) {
        let mut faulty: BTreeMap<&str, Vec<&Problem>> = BTreeMap::new();
        let of_peers = objects.problems.iter().filter(|p| p.kind == "BGPPeer");
        for problem in of_peers.filter(|p| !objects.peers.contains_key(&p.name)) {
            faulty.entry(&problem.name).or_default().push(problem);
        }
        let names: BTreeSet<&str> = objects
            .peers
            .keys()
            .map(String::as_str)
            .chain(faulty.keys().copied())
            .collect();
        self.pages.retain(|name, _| names.contains(name.as_str()));
        for name in names {
            let page = self.pages.entry(name.to_owned()).or_insert_with(|| Page {
                written: BGPPeerStatus::default(),
                wanted: BGPPeerStatus::default(),
                pace: Pace::default(),
                random: random(),
                generation: (None, now),
            });
            page.wanted = match (objects.peers.get(name), faulty.get(name)) {
                (Some(object), _) => {
                    if page.generation.0 != object.generation {
                        page.generation = (object.generation, now);
                    }
                    let is_settled = page.is_settled(now);
                    let before = &page.written.conditions;
                    if objects.node_status_is_off {
                        peer::unreported(object, objects, before, clock)
                    } else {
                        peer::status(name, object, objects, &self.nodes, is_settled, before, clock)
                    }
                }
                (None, problems) => {
                    let problems = problems.map(Vec::as_slice).unwrap_or_default();
                    peer::invalid(problems, &page.written.conditions, clock)
                }
            };
            page.pace.differs(now, peer::weight(&page.written, &page.wanted));
        }
    }
}

impl Page {
    fn is_settled(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.generation.1) >= SETTLE
    }
}

async fn put(server: &mut Server, name: &str, page: &mut Page) {
    let outcome = server.write_peer_status(name, &page.wanted).await;
    let now = Instant::now();
    match outcome {
        // Not found: deleted this moment, and soon out of the objects.
        Ok(()) | Err(Failure::NotFound) => {
            page.written = page.wanted.clone();
            page.pace.wrote(now);
            page.random = random();
        }
        Err(failure) => {
            tracing::debug!(?failure, name, "the status of a BGPPeer was not written");
            page.pace.failed(now, random());
        }
    }
}

fn follow(server: &Server) -> Statuses {
    let config = watcher::Config::default().page_size(PAGE).timeout(WATCH_SECONDS);
    let stream = watcher(server.node_statuses(), config);
    kube::runtime::WatchStreamExt::default_backoff(stream.into_stream()).boxed()
}
