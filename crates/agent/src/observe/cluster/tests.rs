//! Against an API server that does as it is told.

mod earlier;
mod faults;
mod objects;

use std::time::Duration;

use flatroute_api::values::PeerAsn;
use flatroute_api::{Node, ProblemReason};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::super::fake::{CONFIG_MAPS, CONFIGURATIONS, FILTERS, Fake, Fault, NODES, PEERS, SECRETS, SLICES};
use super::*;

/// Short enough for tests, long enough for a busy machine.
const PACE: Pace = Pace {
    answer: Duration::from_millis(1000),
    watch: Duration::from_secs(20),
    silence: Duration::from_secs(20),
    first_pause: Duration::from_millis(10),
    longest_pause: Duration::from_millis(100),
    settled: Duration::from_millis(200),
};

/// A cluster that is followed.
struct Story {
    server: Fake,
    observed: mpsc::Receiver<anyhow::Result<Observed>>,
    state_dir: Option<PathBuf>,
    secrets_dir: Option<PathBuf>,
}

impl Story {
    /// A server with one Node, `n1`, that is followed once `set` has been done to it.
    async fn begin(pace: Pace, set: impl FnOnce(&Fake)) -> Self {
        let server = Fake::start().await;
        server.put(NODES, node("n1", "10.244.1.0/24"));
        set(&server);
        let mut new = Self {
            observed: mpsc::channel(1).1,
            server,
            state_dir: None,
            secrets_dir: None,
        };
        new.follow(pace);
        new
    }

    /// Follows from the beginning, like an agent that starts.
    fn follow(&mut self, pace: Pace) {
        let (send, observed) = mpsc::channel(1);
        let options = Options {
            connection: self.server.connection(),
            node: "n1".to_owned(),
            namespace: "flatroute-system".to_owned(),
            pace,
            state_dir: self.state_dir.clone(),
            secrets_dir: self.secrets_dir.clone(),
        };
        tokio::spawn(follow(options, send));
        self.observed = observed;
    }

    /// Waits for what is wanted; a bounded wait, and nothing is polled.
    async fn until(&mut self, what: &str, wanted: impl Fn(&Observed) -> bool) -> Observed {
        let mut last = None;
        let found = timeout(Duration::from_secs(20), async {
            loop {
                let observed = self.observed.recv().await.unwrap().unwrap();
                if wanted(&observed) {
                    return observed;
                }
                last = Some(observed);
            }
        });
        match found.await {
            Ok(found) => found,
            Err(_) => panic!("{what}: never seen; last was {last:#?}"),
        }
    }
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(test);
}

fn node(name: &str, pod_cidr: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"rack": "r1"}, "managedFields": [{"manager": "kubelet"}]},
        "spec": {"podCIDR": pod_cidr, "podCIDRs": [pod_cidr]},
        "status": {"addresses": [{"type": "InternalIP", "address": "10.0.1.11"}], "images": [{"names": ["x"]}]},
    })
}

fn peer(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "flatroute.io/v1alpha1", "kind": "BGPPeer", "metadata": {"name": name}, "spec": spec})
}

fn tor(name: &str, asn: u32) -> Value {
    peer(name, &json!({"peerAddress": "10.0.1.1", "peerASN": asn}))
}

fn names(observed: &Observed) -> Vec<&str> {
    let state = observed.state.as_ref();
    state
        .into_iter()
        .flat_map(|s| s.peers.keys().map(String::as_str))
        .collect()
}

fn has(observed: &Observed, reason: &str) -> bool {
    observed.problems.iter().any(|p| p.reason.as_str() == reason)
}

fn secret(name: &str, password: &str) -> Value {
    let password = serde_json::to_value(k8s_openapi::ByteString(password.as_bytes().to_vec())).unwrap();
    json!({"metadata": {"name": name, "namespace": "flatroute-system"}, "data": {"password": password, "other": "eA=="}})
}

fn signed(name: &str, rack: &str) -> Value {
    peer(
        name,
        &json!({
            "nodeSelector": {"matchLabels": {"rack": rack}},
            "peerAddress": "10.0.1.1", "peerASN": 65001,
            "auth": {"md5": {"secretRef": {"name": name}}},
        }),
    )
}

fn password(observed: &Observed, name: &str) -> Option<String> {
    let secrets = &observed.state.as_ref()?.secrets;
    let secret = secrets.get(&("flatroute-system".to_owned(), name.to_owned()))?;
    let octets = secret.value("password")?.octets().to_vec();
    String::from_utf8(octets).ok()
}
