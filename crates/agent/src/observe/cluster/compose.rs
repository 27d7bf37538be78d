//! Puts together what is given on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use flatroute_api::manifest::Object;
use flatroute_api::{ClusterState, Kind, Problem, ProblemReason};
use flatroute_plan::{Listing, ObjectSource, Synced};

use super::super::failure::API_SERVER;
use super::super::kept::Copy;
use super::super::readings::Readings;
use super::super::source::Source;
use super::super::{Observed, connection};
use super::{Cluster, Earlier};

/// What the readings are called among what is awaited.
const READINGS: &str = "kubeadm-config and the API server's addresses";
/// What an earlier copy is called.
const COPY: &str = "the last known good objects";

impl Cluster {
    /// All objects of these sources, when they are known; else what is awaited.
    pub(super) fn state(&self, wanted: &BTreeSet<Source>) -> Result<Synced<ClusterState>, Vec<String>> {
        let names = wanted.iter().map(ToString::to_string);
        let all = names.chain([READINGS.to_owned()]);
        let mut listing = Listing::of(ClusterState::default(), all);
        if self.readings.is_some() {
            listing.listed(READINGS, |_| {});
        }
        for source in wanted {
            let Some(followed) = self.followed.get(source) else {
                continue;
            };
            if followed.listed {
                listing.listed(&source.to_string(), |state| {
                    followed.store.fill(state, &self.options.namespace);
                });
            } else if let (Source::Secret(name), true) = (source, followed.is_given_up) {
                let key = (self.options.namespace.clone(), name.clone());
                let known = self.known_secrets.get(&key).cloned();
                listing.listed(&source.to_string(), |state| {
                    state.secrets.extend(known.map(|secret| (key, secret)));
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
            Some(Object::BGPPeer(_) | Object::BGPFilter(_))
            | Some(Object::BGPConfiguration(_) | Object::Secret(_))
            | None => _ = state.nodes.remove(name),
        });
        state
    }

    /// What is given on now. A copy of an earlier time ends with the first complete state.
    pub(super) fn observed(&mut self) -> Observed {
        let readings = self.readings.clone().unwrap_or_default();
        let (state, awaited) = match self.state(&self.wanted()) {
            Ok(state) => (Some(state), Vec::new()),
            Err(awaited) => (None, awaited),
        };
        if state.is_some() {
            self.earlier = Earlier::Over;
        }
        let mut problems = self.troubles();
        let stores = self.followed.values();
        problems.extend(stores.flat_map(|followed| followed.store.problems().cloned()));
        problems.extend(state.as_ref().and_then(|state| self.without_pod_cidr(state)));
        let mut observed = Observed {
            state,
            awaited,
            problems,
            api_server: readings.api_server.clone(),
            kubeadm_pod_subnets: readings.kubeadm_pod_subnets.clone(),
            source: ObjectSource::ApiServer,
            stale: None,
        };
        match &self.earlier {
            Earlier::Used(copy) => self.take_earlier(copy, &readings, &mut observed),
            Earlier::Refused(why) => observed.problems.push(self.refused(why)),
            Earlier::NotAsked | Earlier::Over => {}
        }
        observed.problems.sort();
        observed.problems.dedup();
        observed
    }

    fn take_earlier(&self, copy: &Copy, readings: &Readings, observed: &mut Observed) {
        let mut listing = Listing::of(ClusterState::default(), [COPY]);
        listing.listed(COPY, |state| {
            *state = copy.state.clone();
            state.secrets.clone_from(&self.known_secrets);
        });
        observed.state = listing.synced().ok();
        observed.stale = Some(copy.stale);
        observed.api_server.extend(copy.api_server.iter().copied());
        let host: Option<IpAddr> = connection::literal(&self.options.connection.host);
        observed.api_server.extend(host);
        if readings.kubeadm_pod_subnets.is_empty() {
            observed.kubeadm_pod_subnets.clone_from(&copy.kubeadm_pod_subnets);
        }
        observed.problems.extend(copy.problems.iter().cloned());
        let message = format!(
            "the objects in force are a copy of {}: the server has not told all of them since this agent was started",
            copy.stale.time()
        );
        let remedy = "see what else is said of the API server; the copy ends when all is listed";
        let server = &self.options.connection.server;
        observed
            .problems
            .push(Problem::new(API_SERVER, server, "", message, remedy).because(ProblemReason::Stale));
    }

    fn refused(&self, why: &str) -> Problem {
        let path = self
            .places
            .kept
            .as_ref()
            .map(|kept| kept.path().display().to_string());
        let message = format!(
            "the copy of the objects in {} is not used: {why}",
            path.unwrap_or_default()
        );
        let remedy = "nothing when the server comes back, which replaces it; else give the --state-dir of this node and version";
        let server = &self.options.connection.server;
        Problem::new(API_SERVER, server, "", message, remedy).because(ProblemReason::CopyRefused)
    }

    /// What is wrong with the way to the objects. A server that is away is one problem, not one a watch.
    fn troubles(&self) -> Vec<Problem> {
        let server = &self.options.connection.server;
        let all = self
            .followed
            .iter()
            .filter_map(|(source, followed)| followed.problem(source, server));
        let mut found: BTreeMap<(String, ProblemReason), Problem> = BTreeMap::new();
        for problem in all {
            found
                .entry((problem.name.clone(), problem.reason))
                .or_insert(problem);
        }
        found.into_values().chain(self.not_kept.iter().cloned()).collect()
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
        let problem = Problem::new(Kind::Node.as_str(), name, "spec.podCIDRs", message, remedy);
        Some(problem.because(ProblemReason::NoPodCIDRs))
    }
}
