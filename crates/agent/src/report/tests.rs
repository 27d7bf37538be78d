//! The report against a real API server, with the rights that deploy/base gives an agent.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use flatroute_api::{BGPNodeStatus, BGPPeer, Problem, ProblemReason, control};
use flatroute_lab::apiserver::{ADMIN, AGENT, ApiServer, Parts, STRANGER, User};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::ListParams;
use tokio::runtime::Runtime;

use super::*;
use crate::observe::connection::Connection;
use crate::ready::Ready;

/// How long anything may take: pauses after failures are among it.
const DEADLINE: Duration = Duration::from_secs(60);

const OBJECTS: &str = "
apiVersion: v1
kind: Node
metadata: {name: n1}
---
apiVersion: v1
kind: Node
metadata: {name: n2}
---
apiVersion: flatroute.io/v1alpha1
kind: BGPPeer
metadata: {name: tor}
spec: {peerAddress: 10.0.1.1, peerASN: 65001}
---
apiVersion: flatroute.io/v1alpha1
kind: BGPPeer
metadata: {name: gateways}
spec: {discover: DefaultGateways, peerASN: 65001}
";

/// A server with our definitions, an agent's rights, two Nodes and a BGPPeer.
fn server(test: &str) -> Option<ApiServer> {
    let server = ApiServer::start(&Parts::find_or_skip(test)?).expect("an API server");
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/base");
    let read = |name: &str| std::fs::read_to_string(base.join(name)).expect(name);
    let definitions: Vec<String> = flatroute_api::crd::files()
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    server.apply(&definitions.join("---\n")).expect("definitions");
    let rights = [read("namespace.yaml"), read("rbac.yaml")].join("\n---\n");
    server.apply(&rights).expect("rights");
    let waited = server.kubectl(&[
        "wait",
        "--for=condition=Established",
        "crd",
        "--all",
        "--timeout=60s",
    ]);
    waited.expect("the definitions are served");
    server.apply(OBJECTS).expect("objects");
    Some(server)
}

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime")
}

async fn client(server: &ApiServer, user: User) -> kube::Client {
    let connection = Connection::open(Some(&server.kubeconfig(user))).await;
    connection.expect("a kubeconfig").client
}

/// Looks again and again until there is what is looked for.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match look().await {
            Ok(found) => return found,
            Err(why) => assert!(start.elapsed() < DEADLINE, "never: {what}; {why}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A node with one session to the neighbour of the BGPPeer.
fn snapshot(uid: &str, state: &str, received: u64, objects: &Arc<Objects>) -> Snapshot {
    let session: control::Peer = serde_json::from_value(serde_json::json!({
        "name": "tor", "address": "10.0.1.1", "asn": 65001, "localASN": 64512, "state": state, "sinceSeconds": 5, "flaps": 0,
        "prefixes": [{"family": "IPv4", "received": received, "accepted": received, "installed": received, "advertised": 1}],
    }))
    .expect("a session");
    Snapshot {
        taken: Timestamp::now(),
        node_uid: Some(uid.to_owned()),
        router_id: "10.0.0.1".parse().ok(),
        local_asn: 64512,
        ready: Ready::Yes,
        restarting: false,
        peers: vec![Peer {
            object: "tor".to_owned(),
            session,
            not_negotiated: Vec::new(),
        }],
        fib: control::FibStatus::default(),
        behind: Duration::ZERO,
        objects: Arc::clone(objects),
    }
}

/// The BGPPeers as an agent has them whose node has no default gateway.
async fn objects(api: &Api<BGPPeer>) -> Arc<Objects> {
    let mut peers = BTreeMap::new();
    for name in ["tor", "gateways"] {
        let peer = api.get(name).await.expect("the BGPPeer");
        let object = Object {
            uid: peer.metadata.uid,
            generation: peer.metadata.generation,
            spec: peer.spec,
        };
        peers.insert(name.to_owned(), object);
    }
    let nobody = Problem::new("BGPPeer", "gateways", "spec.discover", "there is none", "add one")
        .because(ProblemReason::NoDefaultGateway);
    Arc::new(Objects {
        peers,
        problems: vec![nobody],
        ..Objects::default()
    })
}

async fn uid(nodes: &Api<Node>, name: &str) -> String {
    let node = nodes.get(name).await.expect("the Node");
    node.metadata.uid.expect("a UID")
}

#[test]
fn nodes_neighbours_and_events_are_told_to_a_real_api_server() {
    let Some(server) = server("nodes_neighbours_and_events_are_told_to_a_real_api_server") else {
        return;
    };
    runtime().block_on(tell_all(&server));
    // What a reader sees.
    let table = server
        .kubectl(&["get", "frpeer,frnode", "-o", "wide"])
        .expect("a table");
    assert!(table.contains("PartiallyEstablished"), "{table}");
}

async fn tell_all(server: &ApiServer) {
    let admin = client(server, ADMIN).await;
    let (nodes, peers): (Api<Node>, Api<BGPPeer>) = (Api::all(admin.clone()), Api::all(admin.clone()));
    let objects = objects(&peers).await;
    let (teller, mut told) = mpsc::channel(16);
    let agent = client(server, AGENT).await;
    let [one, two] =
        ["n1", "n2"].map(|node| Report::start(agent.clone(), node, "flatroute-system", teller.clone()));
    let (uid_one, uid_two) = (uid(&nodes, "n1").await, uid(&nodes, "n2").await);
    one.is_now(snapshot(&uid_one, "Established", 4, &objects));
    two.is_now(snapshot(&uid_two, "Active", 0, &objects));

    let statuses: Api<BGPNodeStatus> = Api::all(admin.clone());
    let status = until("the status of n1", async || {
        let found = statuses.get("n1").await.map_err(|error| error.to_string())?;
        found.status.clone().ok_or_else(|| format!("{found:?}"))
    })
    .await;
    assert_eq!((status.desired_peers, status.established_peers), (2, 1));
    let owners = statuses
        .get("n1")
        .await
        .expect("n1")
        .metadata
        .owner_references
        .expect("an owner");
    assert_eq!(
        (owners[0].kind.as_str(), owners[0].uid.as_str()),
        ("Node", uid_one.as_str())
    );

    peers_are_told(&peers).await;
    let leases: Api<Lease> = Api::namespaced(admin.clone(), "flatroute-system");
    let lease = leases
        .get(server::LEASE)
        .await
        .expect("the Lease")
        .spec
        .expect("a spec");
    assert!(
        matches!(lease.holder_identity.as_deref(), Some("n1" | "n2")),
        "{lease:?}"
    );

    until("the network is available", async || {
        let status = nodes.get("n2").await.map_err(|error| error.to_string())?.status;
        let all = status.and_then(|s| s.conditions).unwrap_or_default();
        let has_it = all
            .iter()
            .any(|c| c.type_ == "NetworkUnavailable" && c.status == "False");
        has_it.then_some(()).ok_or_else(|| format!("{all:?}"))
    })
    .await;

    tell_events(&one, &admin, &objects).await;
    assert!(told.try_recv().is_err(), "nothing was forbidden");
}

/// Waits for the status of both BGPPeers.
async fn peers_are_told(peers: &Api<BGPPeer>) {
    until("the status of the BGPPeer", async || {
        let found = peers.get("tor").await.map_err(|error| error.to_string())?.status;
        let status = found.ok_or("none")?;
        let established = status
            .conditions
            .iter()
            .find(|c| c.type_ == "Established")
            .ok_or("no condition")?;
        let is_it = (status.desired_nodes, status.established_nodes) == (2, 1)
            && established.reason == "PartiallyEstablished"
            && established.message.contains("node n2: 10.0.1.1 is down since")
            && status.observed_generation == Some(1);
        is_it.then_some(()).ok_or_else(|| format!("{status:?}"))
    })
    .await;
    until("the status of the BGPPeer that finds nobody", async || {
        let found = peers.get("gateways").await.map_err(|error| error.to_string())?;
        let status = found.status.ok_or("none")?;
        let of = |kind: &str| {
            let condition = status.conditions.iter().find(|c| c.type_ == kind);
            condition.map(|c| [&c.status, &c.reason, &c.message].map(String::as_str))
        };
        let why = "0 of 2 nodes have it; node n1: NoDefaultGateway: there is none; add one";
        let is_it = status.desired_nodes == 2
            && of("Accepted") == Some(["True", "Accepted", "2 nodes shall have it"])
            && of("Established") == Some(["False", "NoDefaultGateway", why]);
        is_it.then_some(()).ok_or_else(|| format!("{status:?}"))
    })
    .await;
}

/// An event of a BGPPeer, and one that every node tells.
async fn tell_events(one: &Report, admin: &kube::Client, objects: &Arc<Objects>) {
    let told = |reason, about, note: &str| Told {
        reason,
        about,
        everywhere: false,
        note: note.to_owned(),
    };
    let tor = About::Peer("tor".to_owned());
    one.tell(told(
        Reason::PeerDown,
        tor,
        "Cease, Administrative Shutdown (6/2)",
    ));
    one.tell(told(
        Reason::FIBDrift,
        About::Node,
        "another program changed our route",
    ));
    let events: Api<Event> = Api::namespaced(admin.clone(), "default");
    let found = until("two events", async || {
        let list = events
            .list(&ListParams::default())
            .await
            .map_err(|error| error.to_string())?;
        let ours = |event: &Event| event.reporting_controller.as_deref() == Some("flatroute.io/agent");
        let ours: Vec<Event> = list.items.into_iter().filter(ours).collect();
        (ours.len() == 2)
            .then_some(ours.clone())
            .ok_or_else(|| format!("{ours:?}"))
    })
    .await;
    let of = |reason: &str| {
        let event = found
            .iter()
            .find(|event| event.reason.as_deref() == Some(reason))
            .expect("it");
        (event.type_.clone(), event.regarding.clone().expect("an object"))
    };
    let (kind, regarding) = of("PeerDown");
    assert_eq!(
        (kind.as_deref(), regarding.kind.as_deref()),
        (Some("Warning"), Some("BGPPeer"))
    );
    assert_eq!(regarding.uid, objects.peers["tor"].uid);
    assert_eq!(of("FIBDrift").1.kind.as_deref(), Some("Node"));
}

#[test]
fn the_newest_state_is_written_when_the_server_is_back() {
    let Some(mut server) = server("the_newest_state_is_written_when_the_server_is_back") else {
        return;
    };
    let runtime = runtime();
    let (report, uid, objects) = runtime.block_on(async {
        let admin = client(&server, ADMIN).await;
        let (teller, _told) = mpsc::channel(16);
        let agent = client(&server, AGENT).await;
        let report = Report::start(agent, "n1", "flatroute-system", teller);
        let uid = uid(&Api::all(admin.clone()), "n1").await;
        (report, uid, objects(&Api::all(admin)).await)
    });
    server.stop_server();
    runtime.block_on(async {
        // While it is away, the state changes often, and is tried to be written at least once.
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(3) {
            let state = if start.elapsed().as_millis().is_multiple_of(2) {
                "Active"
            } else {
                "Established"
            };
            report.is_now(snapshot(&uid, state, 1, &objects));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        report.is_now(snapshot(&uid, "Established", 77, &objects));
    });
    server.start_server().expect("ready again");
    runtime.block_on(async {
        let statuses: Api<BGPNodeStatus> = Api::all(client(&server, ADMIN).await);
        until("the newest state", async || {
            let found = statuses.get("n1").await.map_err(|error| error.to_string())?;
            let status = found.status.unwrap_or_default();
            let received = status
                .peers
                .iter()
                .find_map(|peer| peer.prefixes.first())
                .map(|p| p.received);
            (received == Some(77))
                .then_some(())
                .ok_or_else(|| format!("{status:?}"))
        })
        .await;
    });
}

#[test]
fn what_is_forbidden_is_told_once_and_an_event_is_counted() {
    let Some(server) = server("what_is_forbidden_is_told_once_and_an_event_is_counted") else {
        return;
    };
    runtime().block_on(async {
        let (teller, mut told) = mpsc::channel(16);
        let writes = |client| server::Server::new(client, "n1".to_owned(), "flatroute-system".to_owned(), teller.clone());
        let mut stranger = writes(client(&server, STRANGER).await);
        for _ in 0..3 {
            assert_eq!(stranger.node_status().await, Err(server::Failure::Forbidden));
            assert_eq!(stranger.lease().await.map(drop), Err(server::Failure::Forbidden));
        }
        let texts: Vec<String> = std::iter::from_fn(|| told.try_recv().ok()).map(|h| h.text).collect();
        assert_eq!(texts.len(), 2, "{texts:?}");
        assert!(texts[0].starts_with("we may not get bgpnodestatuses.flatroute.io"), "{texts:?}");

        let mut agent = writes(client(&server, AGENT).await);
        let event: Event = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "x.1", "namespace": "default"},
            "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "flatroute.io/agent",
            "reportingInstance": "i", "action": "Peering", "reason": "PeerDown", "type": "Warning", "note": "n",
            "regarding": {"apiVersion": "v1", "kind": "Node", "name": "n1"},
        }))
        .expect("an event");
        assert_eq!(agent.create_event(&event).await, Ok(()));
        assert_eq!(agent.create_event(&event).await, Err(server::Failure::Conflict));
        assert_eq!(agent.count_event("x.1", 9, Timestamp::now()).await, Ok(()));
        assert_eq!(agent.count_event("x.2", 9, Timestamp::now()).await, Err(server::Failure::NotFound));
        let events: Api<Event> = Api::namespaced(client(&server, ADMIN).await, "default");
        let series = events.get("x.1").await.expect("the event").series;
        assert_eq!(series.map(|s| s.count), Some(9));
    });
}

#[test]
fn without_node_status_the_object_goes_and_peers_say_that_nothing_is_known() {
    let Some(server) = server("without_node_status_the_object_goes_and_peers_say_that_nothing_is_known")
    else {
        return;
    };
    runtime().block_on(async {
        let admin = client(&server, ADMIN).await;
        let (peers, statuses): (Api<BGPPeer>, Api<BGPNodeStatus>) =
            (Api::all(admin.clone()), Api::all(admin.clone()));
        let on = objects(&peers).await;
        let off = Arc::new(Objects {
            node_status_is_off: true,
            ..Objects::clone(&on)
        });
        let (teller, mut told) = mpsc::channel(16);
        let report = Report::start(client(&server, AGENT).await, "n1", "flatroute-system", teller);
        let uid = uid(&Api::all(admin), "n1").await;
        let established = async |wanted: [&str; 2]| {
            until(wanted[1], async || {
                let found = peers.get("tor").await.map_err(|error| error.to_string())?.status;
                let all = found.unwrap_or_default().conditions;
                let is_it =
                    |c: &&Condition| c.type_ == "Established" && [c.status.as_str(), &c.reason] == wanted;
                all.iter().find(is_it).map(drop).ok_or_else(|| format!("{all:?}"))
            })
            .await;
        };
        for round in 0..2 {
            report.is_now(snapshot(&uid, "Established", 4, &on));
            established(["True", "Established"]).await;
            let found = statuses
                .get_opt("n1")
                .await
                .expect("an answer")
                .and_then(|object| object.status);
            assert_eq!(
                found.map(|status| status.established_peers),
                Some(1),
                "round {round}"
            );

            report.is_now(snapshot(&uid, "Established", 4, &off));
            established(["Unknown", "NodeStatusDisabled"]).await;
            until("no object", async || match statuses.get_opt("n1").await {
                Ok(None) => Ok(()),
                other => Err(format!("{other:?}")),
            })
            .await;
        }
        // The state goes on to change, and is not written.
        report.is_now(snapshot(&uid, "Active", 0, &off));
        tokio::time::sleep(pace::STATE_PAUSE * 5 / 4 + pace::COLLECT * 2).await;
        assert_eq!(statuses.get_opt("n1").await.expect("an answer"), None);
        assert!(told.try_recv().is_err(), "nothing was forbidden");
        report.stop().await;
    });
}
