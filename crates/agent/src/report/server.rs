//! The writes, as requests to the API server: each with a field manager of its own where it is a server-side apply, each
//! with a bound on its time, and each failure in one of a few shapes. What is forbidden is told once, with verb and
//! resource, until it works again.

use std::collections::BTreeSet;
use std::time::Duration;

use flatroute_api::{BGPNodeStatus, BGPNodeStatusStatus, BGPPeer, BGPPeerStatus};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::events::Happening;

/// How long the server may take for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many objects a page of a list has.
const PAGE: u32 = 100;
/// The field managers, one for each kind of write.
const NODE_STATUS_MANAGER: &str = "flatroute-node-status";
const PEER_STATUS_MANAGER: &str = "flatroute-peer-status";
const NETWORK_MANAGER: &str = "flatroute-network";
/// The name of the Lease.
pub(super) const LEASE: &str = "flatroute-peer-status";
/// Events about objects without a namespace stand here.
const EVENTS_NAMESPACE: &str = "default";
/// The condition of a Node that says that pods cannot be reached.
const NETWORK_UNAVAILABLE: &str = "NetworkUnavailable";

/// Why a write came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// No answer, or a busy server: it will pass.
    Away(String),
    /// We may not.
    Forbidden,
    /// There is no such object.
    NotFound,
    /// Another was faster, or it is there already.
    Conflict,
    /// The server does not take it.
    Refused(String),
}

/// The way to the server.
#[derive(Clone)]
pub(super) struct Server {
    client: Client,
    /// The name of our Node.
    pub(super) node: String,
    /// Our namespace.
    namespace: String,
    /// What is forbidden and was told.
    forbidden: BTreeSet<(&'static str, &'static str)>,
    teller: mpsc::Sender<Happening>,
}

impl Server {
    pub(super) fn new(
        client: Client,
        node: String,
        namespace: String,
        teller: mpsc::Sender<Happening>,
    ) -> Self {
        Self {
            client,
            node,
            namespace,
            forbidden: BTreeSet::new(),
            teller,
        }
    }

    /// The status that the server has of this node; none when it has no such object.
    pub(super) async fn node_status(&mut self) -> Result<Option<BGPNodeStatusStatus>, Failure> {
        let node = self.node.clone();
        let api = self.dynamic::<BGPNodeStatus>();
        let found = self
            .ask("get", "bgpnodestatuses.flatroute.io", api.get_opt(&node))
            .await?;
        Ok(found.map(|object| status_of(&object).unwrap_or_default()))
    }

    /// Makes the object of this node, owned by its Node, so that it goes with it.
    pub(super) async fn make_node_status(&mut self, node_uid: &str) -> Result<(), Failure> {
        let node = self.node.clone();
        let object = json!({
            "apiVersion": flatroute_api::API_VERSION,
            "kind": "BGPNodeStatus",
            "metadata": {
                "name": node,
                "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": node, "uid": node_uid}],
            },
        });
        let api = self.dynamic::<BGPNodeStatus>();
        let params = PatchParams::apply(NODE_STATUS_MANAGER).force();
        let patch = Patch::Apply(&object);
        let applied = api.patch(&node, &params, &patch);
        self.ask("patch", "bgpnodestatuses.flatroute.io", applied)
            .await
            .map(drop)
    }

    /// Deletes the object of this node; it is well when there is none.
    pub(super) async fn delete_node_status(&mut self) -> Result<(), Failure> {
        let node = self.node.clone();
        let api = self.dynamic::<BGPNodeStatus>();
        let params = DeleteParams::default();
        let deleted = api.delete(&node, &params);
        match self.ask("delete", "bgpnodestatuses.flatroute.io", deleted).await {
            Ok(_) | Err(Failure::NotFound) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    pub(super) async fn write_node_status(&mut self, status: &BGPNodeStatusStatus) -> Result<(), Failure> {
        let node = self.node.clone();
        let api = self.dynamic::<BGPNodeStatus>();
        let object = of_status("BGPNodeStatus", &node, &json!(status));
        let params = PatchParams::apply(NODE_STATUS_MANAGER).force();
        let patch = Patch::Apply(&object);
        let applied = api.patch_status(&node, &params, &patch);
        self.ask("patch", "bgpnodestatuses.flatroute.io/status", applied)
            .await
            .map(drop)
    }

    /// Sets the Node's condition NetworkUnavailable to False, when it is not.
    pub(super) async fn network_is_available(
        &mut self,
        message: &str,
        now: Timestamp,
    ) -> Result<bool, Failure> {
        let node = self.node.clone();
        let api: Api<Node> = Api::all(self.client.clone());
        let own = ListParams::default().fields(&format!("metadata.name={node}"));
        // The verb list is had for the watch of the Node; get would be one more.
        let nodes = self.ask("list", "nodes", api.list(&own)).await?.items;
        let status = nodes.into_iter().next().ok_or(Failure::NotFound)?.status;
        let has_it = |c: &NodeCondition| c.type_ == NETWORK_UNAVAILABLE && c.status == "False";
        if status
            .and_then(|s| s.conditions)
            .is_some_and(|all| all.iter().any(has_it))
        {
            return Ok(false);
        }
        let time = Time(super::condition::seconds(now));
        let object = json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": node},
            "status": {"conditions": [{
                "type": NETWORK_UNAVAILABLE,
                "status": "False",
                "reason": "FlatrouteIsUp",
                "message": message,
                "lastTransitionTime": time,
                "lastHeartbeatTime": time,
            }]},
        });
        let params = PatchParams::apply(NETWORK_MANAGER).force();
        let patch = Patch::Apply(&object);
        let applied = api.patch_status(&node, &params, &patch);
        self.ask("patch", "nodes/status", applied).await.map(|_| true)
    }

    /// The statuses of all BGPPeers, by name, as they stand.
    pub(super) async fn peer_statuses(&mut self) -> Result<Vec<(String, BGPPeerStatus)>, Failure> {
        let api = self.dynamic::<BGPPeer>();
        let mut params = ListParams::default().limit(PAGE);
        let mut all = Vec::new();
        loop {
            let page = self
                .ask("list", "bgppeers.flatroute.io", api.list(&params))
                .await?;
            let read = |object: DynamicObject| {
                let status = status_of(&object).unwrap_or_default();
                object.metadata.name.map(|name| (name, status))
            };
            all.extend(page.items.into_iter().filter_map(read));
            match page.metadata.continue_.filter(|next| !next.is_empty()) {
                Some(next) => params.continue_token = Some(next),
                None => return Ok(all),
            }
        }
    }

    pub(super) async fn write_peer_status(
        &mut self,
        name: &str,
        status: &BGPPeerStatus,
    ) -> Result<(), Failure> {
        let api = self.dynamic::<BGPPeer>();
        let object = of_status("BGPPeer", name, &json!(status));
        let params = PatchParams::apply(PEER_STATUS_MANAGER).force();
        let patch = Patch::Apply(&object);
        let applied = api.patch_status(name, &params, &patch);
        self.ask("patch", "bgppeers.flatroute.io/status", applied)
            .await
            .map(drop)
    }

    /// The names of the first BGPNodeStatuses, in the server's order.
    pub(super) async fn first_nodes(&mut self, count: u32) -> Result<Vec<String>, Failure> {
        let api = self.dynamic::<BGPNodeStatus>();
        let params = ListParams::default().limit(count);
        let listed = self.ask("list", "bgpnodestatuses.flatroute.io", api.list_metadata(&params));
        let names = listed
            .await?
            .items
            .into_iter()
            .filter_map(|object| object.metadata.name);
        Ok(names.take(count as usize).collect())
    }

    /// What the leader reads: all BGPNodeStatuses.
    pub(super) fn node_statuses(&self) -> Api<DynamicObject> {
        self.dynamic::<BGPNodeStatus>()
    }

    pub(super) async fn lease(&mut self) -> Result<Option<Lease>, Failure> {
        let api = self.leases();
        self.ask("get", "leases.coordination.k8s.io", api.get_opt(LEASE))
            .await
    }

    /// Creates the Lease, or replaces the version that was read.
    pub(super) async fn write_lease(&mut self, lease: &Lease) -> Result<Lease, Failure> {
        let api = self.leases();
        let params = PostParams::default();
        if lease.metadata.resource_version.is_none() {
            return self
                .ask("create", "leases.coordination.k8s.io", api.create(&params, lease))
                .await;
        }
        self.ask(
            "update",
            "leases.coordination.k8s.io",
            api.replace(LEASE, &params, lease),
        )
        .await
    }

    pub(super) fn new_lease(&self) -> Lease {
        let mut lease = Lease::default();
        lease.metadata.name = Some(LEASE.to_owned());
        lease.metadata.namespace = Some(self.namespace.clone());
        lease
    }

    pub(super) async fn create_event(&mut self, event: &Event) -> Result<(), Failure> {
        let api = self.events();
        let params = PostParams::default();
        let created = api.create(&params, event);
        self.ask("create", "events.events.k8s.io", created)
            .await
            .map(drop)
    }

    pub(super) async fn count_event(
        &mut self,
        name: &str,
        count: i32,
        last: Timestamp,
    ) -> Result<(), Failure> {
        let api = self.events();
        let series = json!({"series": {"count": count, "lastObservedTime": MicroTime(last)}});
        let (params, patch) = (PatchParams::default(), Patch::Merge(&series));
        let patched = api.patch(name, &params, &patch);
        self.ask("patch", "events.events.k8s.io", patched).await.map(drop)
    }

    /// The namespace that our events stand in.
    pub(super) fn events_namespace() -> &'static str {
        EVENTS_NAMESPACE
    }

    fn events(&self) -> Api<Event> {
        Api::namespaced(self.client.clone(), EVENTS_NAMESPACE)
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Objects of ours without their types: what another version wrote into one must not hide all others.
    fn dynamic<K: kube::Resource<DynamicType = ()>>(&self) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &ApiResource::erase::<K>(&()))
    }

    async fn ask<T>(
        &mut self,
        verb: &'static str,
        resource: &'static str,
        answer: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Failure> {
        let outcome = match timeout(PATIENCE, answer).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(failure(&error)),
            Err(_) => Err(Failure::Away(format!(
                "no answer within {} s",
                PATIENCE.as_secs()
            ))),
        };
        self.note(verb, resource, outcome.as_ref().err());
        outcome
    }

    fn note(&mut self, verb: &'static str, resource: &'static str, failure: Option<&Failure>) {
        match failure {
            None | Some(Failure::NotFound | Failure::Conflict | Failure::Refused(_)) => {
                self.forbidden.remove(&(verb, resource));
            }
            Some(Failure::Away(why)) => tracing::debug!("{verb} {resource}: {why}"),
            Some(Failure::Forbidden) => {
                if self.forbidden.insert((verb, resource)) {
                    let text = format!(
                        "we may not {verb} {resource}: its part of the status stays unwritten; add the verb to the roles \
                         flatroute-agent, or apply deploy/base again"
                    );
                    let happening = Happening {
                        kind: "Forbidden".to_owned(),
                        text,
                        ..Happening::default()
                    };
                    if let Err(error) = self.teller.try_send(happening) {
                        tracing::warn!(%error, "we may not {verb} {resource}");
                    }
                }
            }
        }
    }
}

fn failure(error: &kube::Error) -> Failure {
    let kube::Error::Api(status) = error else {
        return Failure::Away(error.to_string());
    };
    let text = || format!("{}: {}", status.code, status.message);
    match status.code {
        401 | 429 | 500.. => Failure::Away(text()),
        403 => Failure::Forbidden,
        404 => Failure::NotFound,
        409 => Failure::Conflict,
        _ => Failure::Refused(text()),
    }
}

fn of_status(kind: &str, name: &str, status: &Value) -> Value {
    json!({
        "apiVersion": flatroute_api::API_VERSION,
        "kind": kind,
        "metadata": {"name": name},
        "status": status,
    })
}

/// The status of an object; none when there is none, or another version wrote it.
pub(super) fn status_of<S: serde::de::DeserializeOwned>(object: &DynamicObject) -> Option<S> {
    object
        .data
        .get("status")
        .and_then(|status| serde_json::from_value(status.clone()).ok())
}
