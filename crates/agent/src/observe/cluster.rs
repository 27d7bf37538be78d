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

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use flatroute_api::manifest::Object;
use flatroute_api::{ClusterState, Kind, Node, Problem};
use flatroute_plan::{Facts, Listing, ObjectSource, Synced, needs_other_nodes, selects};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::Observed;
use super::connection::Connection;
use super::failure::Failure;
use super::readings::{self, Readings};
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
/// What the readings are called among what is awaited.
const READINGS: &str = "kubeadm-config and the API server's addresses";

/// What to follow.
pub(crate) struct Options {
    pub(crate) connection: Connection,
    /// The name of our Node.
    pub(crate) node: String,
    /// Our namespace.
    pub(crate) namespace: String,
    pub(crate) pace: Pace,
}

/// Follows the objects, until nobody takes what is observed.
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
    /// What was given on last.
    last: Option<Observed>,
    /// When something changed first and last since then.
    changed: Option<(Instant, Instant)>,
}

/// A watch, and what it has told.
struct Followed {
    number: u64,
    handle: AbortHandle,
    since: Instant,
    store: Store,
    listed: bool,
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
            options,
            asker,
            followed: BTreeMap::new(),
            watches: JoinSet::new(),
            begun: 0,
            tell,
            heard,
            readings: None,
            last: None,
            changed: None,
        }
    }

    async fn run(mut self, observed: mpsc::Sender<anyhow::Result<Observed>>) {
        for source in BASE {
            self.begin(source);
        }
        let (tell, mut readings) = mpsc::channel(1);
        let reading = readings::run(self.options.connection.clone(), self.options.pace, tell);
        self.watches.spawn(reading);
        loop {
            let due = self.due();
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
                // Watches that have ended; those that were ended by us among them.
                Some(_) = self.watches.join_next() => {}
                permit = observed.reserve(), if due.is_some_and(|due| due <= Instant::now()) => {
                    let Ok(permit) = permit else { return };
                    self.changed = None;
                    let new = self.observed();
                    if self.last.as_ref() != Some(&new) {
                        self.last = Some(new.clone());
                        permit.send(Ok(new));
                    }
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some_and(|due| due > Instant::now()) => {}
                () = observed.closed() => return,
            }
        }
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
        let changed = match what {
            What::Listed(all) => {
                let first = !std::mem::replace(&mut followed.listed, true);
                let recovered = followed.failure.take().is_some();
                followed.store.replace(all) | first | recovered
            }
            What::Changed(seen) => followed.store.change(seen),
            What::Deleted(name) => followed.store.remove(&name),
            What::Failed(failure, times) => {
                followed.failure = Some((failure, times));
                true
            }
            What::Works => followed.failure.take().is_some(),
        };
        if changed {
            self.want();
        }
        changed
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
        let state = self.state(&wanted);
        let Ok(state) = state else { return wanted };
        let facts = Facts {
            kubeadm_pod_subnets: readings.kubeadm_pod_subnets.clone(),
            ..Facts::default()
        };
        if needs_other_nodes(&state, &facts) {
            wanted.insert(Source::Nodes);
        }
        wanted.extend(self.secrets_named(&state).into_iter().map(Source::Secret));
        wanted
    }

    /// The Secrets that the neighbours of this node name.
    fn secrets_named(&self, state: &ClusterState) -> BTreeSet<String> {
        let nobody = Node::default();
        let node = state.nodes.get(&self.options.node).unwrap_or(&nobody);
        let ours = state
            .peers
            .values()
            .filter(|peer| selects(peer.spec.node_selector.as_ref(), &node.labels()));
        ours.filter_map(|peer| peer.spec.auth.as_ref())
            .map(|auth| auth.md5.secret_ref.name.clone())
            .collect()
    }

    fn has_listed(&self, source: &Source) -> bool {
        self.followed.get(source).is_some_and(|followed| followed.listed)
    }

    /// Whether a source that is wanted need not be waited for any longer.
    fn is_known(&self, source: &Source) -> bool {
        let Some(followed) = self.followed.get(source) else {
            return false;
        };
        let may_be_missing = match source {
            Source::Secret(_) => followed.since.elapsed() >= SECRET_PATIENCE || followed.failure.is_some(),
            Source::Peers | Source::Filters | Source::Configuration | Source::OwnNode | Source::Nodes => {
                false
            }
        };
        followed.listed || may_be_missing
    }

    /// All objects of these sources, when they are known; else what is awaited.
    fn state(&self, wanted: &BTreeSet<Source>) -> Result<Synced<ClusterState>, Vec<String>> {
        let names = wanted.iter().map(ToString::to_string);
        let all = names.chain([READINGS.to_owned()]);
        let mut listing = Listing::of(ClusterState::default(), all);
        if self.readings.is_some() {
            listing.listed(READINGS, |_| {});
        }
        for source in wanted.iter().filter(|source| self.is_known(source)) {
            if let Some(followed) = self.followed.get(source) {
                listing.listed(&source.to_string(), |state| {
                    followed.store.fill(state, &self.options.namespace);
                });
            }
        }
        listing
            .synced()
            .map(|state| self.with_own_node(state))
            .map_err(|listing| listing.awaited().map(str::to_owned).collect())
    }

    /// Two watches tell of the own Node; what its own one says counts.
    fn with_own_node(&self, mut state: Synced<ClusterState>) -> Synced<ClusterState> {
        let own = self.followed.get(&Source::OwnNode);
        let name = &self.options.node;
        state.update(|state| match own.and_then(|own| own.store.object(name)) {
            Some(Object::Node(node)) => _ = state.nodes.insert(name.clone(), (**node).clone()),
            Some(
                Object::BGPPeer(_) | Object::BGPFilter(_) | Object::BGPConfiguration(_) | Object::Secret(_),
            )
            | None => _ = state.nodes.remove(name),
        });
        state
    }

    fn observed(&self) -> Observed {
        let readings = self.readings.clone().unwrap_or_default();
        let (state, awaited) = match self.state(&self.wanted()) {
            Ok(state) => (Some(state), Vec::new()),
            Err(awaited) => (None, awaited),
        };
        let mut problems: Vec<Problem> = self
            .followed
            .values()
            .flat_map(|followed| followed.store.problems().cloned())
            .collect();
        problems.extend(self.troubles());
        problems.extend(state.as_ref().and_then(|state| self.without_pod_cidr(state)));
        problems.sort();
        problems.dedup();
        Observed {
            state,
            awaited,
            problems,
            api_server: readings.api_server,
            kubeadm_pod_subnets: readings.kubeadm_pod_subnets,
            source: ObjectSource::ApiServer,
            stale: None,
        }
    }

    /// What is wrong with the way to the objects. A server that is away is one problem, not one a watch.
    fn troubles(&self) -> Vec<Problem> {
        let server = &self.options.connection.server;
        let all = self
            .followed
            .iter()
            .filter_map(|(source, followed)| followed.problem(source, server));
        let mut found: BTreeMap<(String, String), Problem> = BTreeMap::new();
        for problem in all {
            found
                .entry((problem.name.clone(), problem.reason.clone()))
                .or_insert(problem);
        }
        found.into_values().collect()
    }

    /// A Node that waits for its pod CIDRs: every node does for a moment, so it is told, and nothing else.
    fn without_pod_cidr(&self, state: &ClusterState) -> Option<Problem> {
        let node = state.nodes.get(&self.options.node)?;
        if node.pod_cidrs().next().is_some() {
            return None;
        }
        let message = "is empty: the node has no addresses for pods, and announces none";
        let remedy = "wait for kube-controller-manager, which sets it with --allocate-node-cidrs=true and --cluster-cidr";
        let name = &self.options.node;
        Some(Problem::new(Kind::Node.as_str(), name, "spec.podCIDRs", message, remedy).because("NoPodCIDRs"))
    }

    fn has_changed(&mut self) {
        let now = Instant::now();
        let first = self.changed.map_or(now, |(first, _)| first);
        self.changed = Some((first, now));
        // The readings decide too what is needed.
        self.want();
    }

    /// When the next state may be given on.
    fn due(&self) -> Option<Instant> {
        let quiet = self
            .changed
            .map(|(first, last)| (first + PATIENCE).min(last + QUIET));
        let patience = self
            .followed
            .iter()
            .filter(|(source, followed)| matches!(source, Source::Secret(_)) && !followed.listed)
            .map(|(_, followed)| followed.since + SECRET_PATIENCE)
            .filter(|end| {
                self.last.as_ref().is_some_and(|last| last.state.is_none()) && *end > Instant::now()
            })
            .min();
        quiet.into_iter().chain(patience).min()
    }
}

#[cfg(test)]
mod tests;
