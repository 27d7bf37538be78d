//! Against an API server that does as it is told.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use super::super::fake::{CONFIGURATIONS, FILTERS, Fake, Fault, NODES, PEERS};
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
    observed.problems.iter().any(|p| p.reason == reason)
}

#[test]
fn a_state_is_given_on_when_all_have_been_listed() {
    run(async {
        let mut story = Story::begin(PACE, |server| {
            server.put(PEERS, tor("a", 65001));
            server.put(
                CONFIGURATIONS,
                json!({"metadata": {"name": "default"}, "spec": {"localASN": 64513, "podNetwork": {"clusterCIDRs": ["10.244.0.0/16"]}}}),
            );
            server.fault("list", FILTERS, Some(Fault::Status(403)));
        })
        .await;
        let observed = story.until("waiting", |o| has(o, "Forbidden")).await;
        assert_eq!(observed.state, None);
        assert_eq!(observed.awaited, ["BGPFilters"]);
        let said: Vec<String> = observed.problems.iter().map(ToString::to_string).collect();
        assert!(said[0].contains("we may not list BGPFilters"), "{said:?}");
        assert!(
            said[0].contains(
                "add the verb list on bgpfilters of flatroute.io to the ClusterRole flatroute-agent"
            ),
            "{said:?}"
        );

        story.server.fault("list", FILTERS, None);
        let observed = story.until("all listed", |o| o.state.is_some()).await;
        assert_eq!(names(&observed), ["a"]);
        assert_eq!((observed.problems, observed.awaited), (vec![], vec![]));
        let state = observed.state.unwrap();
        assert_eq!(state.configuration.as_ref().unwrap().spec.local_asn, Some(64513));
        let node = &state.nodes["n1"];
        assert_eq!(node.pod_cidrs().collect::<Vec<_>>(), ["10.244.1.0/24"]);
        assert_eq!(node.metadata.managed_fields, None);
        assert!(observed.api_server.contains(&"127.0.0.1".parse().unwrap()));
        // Nothing needs the other Nodes.
        let asked = story.server.asked();
        for nodes in asked.iter().filter(|a| a.contains(NODES)) {
            assert!(nodes.contains("fieldSelector=metadata.name%3Dn1"), "{nodes}");
        }

        story.server.put(PEERS, tor("b", 65002));
        story.until("another one", |o| names(o) == ["a", "b"]).await;
        story.server.delete(PEERS, "a");
        story.until("one less", |o| names(o) == ["b"]).await;
    });
}

#[test]
fn while_the_server_is_away_the_state_stays_and_what_was_missed_comes_after() {
    run(async {
        let mut story = Story::begin(PACE, |server| {
            server.put(PEERS, tor("a", 65001));
            server.put(PEERS, tor("b", 65002));
        })
        .await;
        story.until("all listed", |o| names(o) == ["a", "b"]).await;
        story.server.stop().await;
        let away = story.until("away", |o| has(o, "APIServerUnreachable")).await;
        assert_eq!(names(&away), ["a", "b"]);
        let about: Vec<_> = away.problems.iter().filter(|p| p.kind == "APIServer").collect();
        assert_eq!(about.len(), 1, "{about:?}");
        assert!(about[0].message.contains("refused"), "{}", about[0]);

        // Deleted, changed and made while nobody looks.
        story.server.delete(PEERS, "a");
        story.server.put(PEERS, tor("c", 65003));
        story.server.again().await;
        let back = story
            .until("back", |o| names(o) == ["b", "c"] && o.problems.is_empty())
            .await;
        assert_eq!(back.awaited, Vec::<String>::new());
    });
}

#[test]
fn what_is_gone_is_listed_again_without_a_moment_of_emptiness() {
    run(async {
        let mut story = Story::begin(PACE, |server| {
            server.put(PEERS, tor("a", 65001));
            server.put(PEERS, tor("b", 65002));
        })
        .await;
        story.until("all listed", |o| names(o) == ["a", "b"]).await;
        for round in 0..3 {
            story.server.stop().await;
            story.server.delete(PEERS, if round == 0 { "a" } else { "c" });
            story.server.put(PEERS, tor("c", 65003 + round));
            // What they would continue from is forgotten: the watches must list again.
            story.server.forget();
            story.server.again().await;
            let seen = story.until("listed again", |o| {
                // Never less than what stays.
                assert!(names(o).contains(&"b"), "{:?}", names(o));
                o.state.as_ref().is_some_and(|s| {
                    s.peers.get("c").is_some_and(|c| {
                        c.spec.peer_asn == Some(flatroute_api::values::PeerAsn::Number(65003 + round))
                    })
                })
            });
            assert_eq!(names(&seen.await), ["b", "c"]);
        }
        let lists = story.server.asked();
        let lists = lists
            .iter()
            .filter(|a| a.starts_with(&format!("list {PEERS}")))
            .count();
        assert!((4..20).contains(&lists), "listed {lists} times");
    });
}

#[test]
fn a_watch_that_hangs_is_begun_again() {
    run(async {
        let pace = Pace {
            silence: Duration::from_millis(300),
            ..PACE
        };
        let mut story = Story::begin(pace, |server| {
            server.put(PEERS, tor("a", 65001));
            server.fault("watch", PEERS, Some(Fault::Silence));
        })
        .await;
        story.until("all listed", |o| names(o) == ["a"]).await;
        story.server.put(PEERS, tor("b", 65002));
        story.server.fault("watch", PEERS, None);
        story.until("after the silence", |o| names(o) == ["a", "b"]).await;
        // No answer at all is a failure, after a while.
        story.server.fault("watch", PEERS, Some(Fault::Hang));
        story.server.stop().await;
        story.server.put(PEERS, tor("c", 65003));
        story.server.again().await;
        let hangs = |o: &Observed| o.problems.iter().any(|p| p.message.contains("no answer within"));
        assert_eq!(names(&story.until("hanging", hangs).await), ["a", "b"]);
        story.server.fault("watch", PEERS, None);
        story
            .until("answered", |o| {
                names(o) == ["a", "b", "c"] && o.problems.is_empty()
            })
            .await;
    });
}

#[test]
fn a_verb_that_is_missing_is_named_and_the_others_go_on() {
    run(async {
        let mut story = Story::begin(PACE, |server| {
            server.put(PEERS, tor("a", 65001));
            server.fault("watch", FILTERS, Some(Fault::Status(403)));
        })
        .await;
        let observed = story
            .until("forbidden", |o| o.state.is_some() && has(o, "Forbidden"))
            .await;
        assert_eq!(names(&observed), ["a"]);
        let problem = observed
            .problems
            .iter()
            .find(|p| p.reason == "Forbidden")
            .unwrap();
        assert_eq!(
            problem.to_string(),
            "APIServer/bgpfilters.flatroute.io: we may not watch BGPFilters: nothing new is planned; add the verb watch on bgpfilters of \
             flatroute.io to the ClusterRole flatroute-agent, or apply deploy/base again"
        );
        story.server.put(PEERS, tor("b", 65002));
        story
            .until("the others go on", |o| {
                names(o) == ["a", "b"] && has(o, "Forbidden")
            })
            .await;
        story.server.fault("watch", FILTERS, None);
        story.until("granted", |o| o.problems.is_empty()).await;
    });
}

#[test]
fn a_server_without_our_kinds_says_what_to_install() {
    run(async {
        let mut story = Story::begin(PACE, |server| {
            server.fault("list", PEERS, Some(Fault::Status(404)));
        })
        .await;
        let observed = story.until("not installed", |o| has(o, "NotInstalled")).await;
        let said = observed.problems[0].to_string();
        assert!(said.contains("kubectl apply -f deploy/crds"), "{said}");
        assert_eq!(observed.awaited, ["BGPPeers"]);
    });
}

#[test]
fn a_node_waits_for_its_pod_cidrs_and_may_get_others() {
    run(async {
        let mut story = Story::begin(PACE, |server| {
            server.put(NODES, json!({"metadata": {"name": "n1"}}));
        })
        .await;
        let bare = story.until("without", |o| o.state.is_some()).await;
        assert!(has(&bare, "NoPodCIDRs"));
        let cidrs = |o: &Observed| -> Vec<String> {
            let node = o.state.as_ref().and_then(|s| s.nodes.get("n1"));
            node.into_iter()
                .flat_map(Node::pod_cidrs)
                .map(str::to_owned)
                .collect()
        };
        story.server.put(NODES, node("n1", "10.244.1.0/24"));
        let one = story.until("with", |o| cidrs(o) == ["10.244.1.0/24"]).await;
        assert_eq!(one.problems, []);
        story.server.put(NODES, node("n1", "10.244.7.0/24"));
        story.until("others", |o| cidrs(o) == ["10.244.7.0/24"]).await;
        story.server.delete(NODES, "n1");
        story.until("deleted", |o| cidrs(o).is_empty()).await;
        story.server.put(NODES, node("n1", "10.244.9.0/24"));
        let again = story.until("made again", |o| cidrs(o) == ["10.244.9.0/24"]).await;
        assert_eq!(again.problems, []);
    });
}

#[test]
fn the_other_nodes_are_listed_in_pages_and_only_while_they_are_needed() {
    run(async {
        let mut story = Story::begin(PACE, |server| {
            // With it no mesh is wanted, which would need them too.
            server.put(PEERS, tor("a", 65001));
            for i in 0..250 {
                server.put(NODES, node(&format!("other{i}"), &format!("10.244.{i}.0/24")));
            }
        })
        .await;
        let count = |o: &Observed| o.state.as_ref().map(|s| s.nodes.len());
        // Not one state with some of them.
        let first = story.until("a first state", |o| o.state.is_some()).await;
        assert_eq!(count(&first), Some(251));
        let all = story.server.asked();
        let pages: Vec<_> = all
            .iter()
            .filter(|a| a.starts_with(&format!("list {NODES}")) && !a.contains("fieldSelector"))
            .collect();
        assert_eq!(pages.len(), 3, "{pages:?}");
        assert!(pages.iter().all(|p| p.contains("limit=100")), "{pages:?}");

        // With the cluster's pod CIDRs known they are not needed, without them they are again.
        let configuration = json!({"metadata": {"name": "default"}, "spec": {"podNetwork": {"clusterCIDRs": ["10.244.0.0/16"]}}});
        story.server.put(CONFIGURATIONS, configuration);
        story.until("only the own one", |o| count(o) == Some(1)).await;
        story.server.delete(CONFIGURATIONS, "default");
        story
            .until("all again", |o| {
                let nodes = count(o);
                assert!(nodes.is_none_or(|n| n == 1 || n == 251), "{nodes:?}");
                nodes == Some(251)
            })
            .await;
    });
}
