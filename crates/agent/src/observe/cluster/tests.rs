//! Against an API server that does as it is told.

use std::time::Duration;

use flatroute_api::Node;
use flatroute_api::values::PeerAsn;
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
        let observed = story
            .until("all listed", |o| o.state.is_some() && o.problems.is_empty())
            .await;
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
                    s.peers
                        .get("c")
                        .is_some_and(|c| c.spec.peer_asn == Some(PeerAsn::Number(65003 + round)))
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
        // What is listed is known all the same.
        story
            .until("hanging", |o| {
                let hangs = o.problems.iter().any(|p| p.message.contains("no answer within"));
                hangs && names(o) == ["a", "b", "c"]
            })
            .await;
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
fn a_heartbeat_of_a_node_changes_nothing() {
    run(async {
        let mut story = Story::begin(PACE, |server| server.put(NODES, node("n2", "10.244.2.0/24"))).await;
        story.until("all listed", |o| o.state.is_some()).await;
        for beat in 0..20 {
            let mut heard = node("n2", "10.244.2.0/24");
            heard["status"]["conditions"] = json!([{"type": "Ready", "lastHeartbeatTime": beat}]);
            story.server.put(NODES, heard);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        story.server.put(PEERS, tor("a", 65001));
        // The very next thing that is told is the neighbour.
        let next = timeout(Duration::from_secs(20), story.observed.recv()).await;
        assert_eq!(names(&next.unwrap().unwrap().unwrap()), ["a"]);
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

#[test]
fn what_a_crd_of_another_version_let_pass_is_a_problem_and_what_was_in_force_stays() {
    run(async {
        let mut story = Story::begin(PACE, |server| {
            server.put(PEERS, tor("a", 65001));
            server.put(
                PEERS,
                peer(
                    "b",
                    &json!({"peerAddress": "10.0.1.2", "peerASN": 65002, "laterField": 1}),
                ),
            );
            server.put(
                CONFIGURATIONS,
                json!({"metadata": {"name": "other"}, "spec": {"localASN": 1}}),
            );
        })
        .await;
        let said = |o: &Observed| -> Vec<String> { o.problems.iter().map(ToString::to_string).collect() };
        let observed = story.until("all listed", |o| o.state.is_some()).await;
        assert_eq!(names(&observed), ["a"]);
        assert_eq!(
            said(&observed),
            [
                "BGPConfiguration/other: metadata.name: only the object named default is read; name it default",
                "BGPPeer/b: spec.laterField: unknown field; remove it, or bring the CustomResourceDefinitions and the agents to the same version",
            ]
        );
        // What runs is not taken down by an edit with a fault.
        story.server.put(
            PEERS,
            peer(
                "a",
                &json!({"peerAddress": "10.0.1.1", "peerASN": 65009, "ttlSecurity": 1, "multihop": 2}),
            ),
        );
        let observed = story
            .until("a fault", |o| o.problems.iter().any(|p| p.name == "a"))
            .await;
        assert_eq!(names(&observed), ["a"]);
        assert_eq!(
            observed.state.as_ref().unwrap().peers["a"].spec.peer_asn,
            Some(PeerAsn::Number(65001))
        );
        assert!(
            said(&observed)[1].contains("(what was in force before stays)"),
            "{:?}",
            said(&observed)
        );
        // Another one of that name never was in force.
        story.server.delete(PEERS, "a");
        story.server.put(
            PEERS,
            peer("a", &json!({"peerAddress": "10.0.1.1", "peerASN": 0})),
        );
        let observed = story
            .until("made again", |o| {
                names(o).is_empty() && o.state.is_some() && said(o).len() > 2
            })
            .await;
        assert!(!said(&observed)[1].contains("stays"), "{:?}", said(&observed));
    });
}

#[test]
fn a_fault_of_a_node_costs_only_itself() {
    run(async {
        let mut story = Story::begin(PACE, |server| {
            let mut own = node("n1", "10.244.1.0/24");
            own["metadata"]["annotations"] =
                json!({"flatroute.io/asn": "many", "long": "x".repeat(300), "short": "65007"});
            server.put(NODES, own);
        })
        .await;
        let observed = story.until("all listed", |o| o.state.is_some()).await;
        let own = &observed.state.as_ref().unwrap().nodes["n1"];
        assert_eq!(own.pod_cidrs().collect::<Vec<_>>(), ["10.244.1.0/24"]);
        let kept: Vec<_> = own.metadata.annotations.iter().flatten().collect();
        assert_eq!(kept, [(&"short".to_owned(), &"65007".to_owned())]);
        let problem = &observed.problems[0];
        assert_eq!(
            (problem.name.as_str(), problem.field.as_str()),
            ("n1", "metadata.annotations[flatroute.io/asn]")
        );
    });
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

#[test]
fn only_secrets_that_a_neighbour_of_this_node_names_are_asked_for() {
    run(async {
        let mut story = Story::begin(PACE, |server| {
            server.put(PEERS, signed("ours", "r1"));
            server.put(PEERS, signed("theirs", "r2"));
            for name in ["ours", "theirs", "nobodys"] {
                server.put(SECRETS, secret(name, "hunter2"));
            }
        })
        .await;
        // Not one state with the neighbour and without its key.
        let first = story.until("a first state", |o| o.state.is_some()).await;
        assert_eq!(names(&first), ["ours", "theirs"]);
        assert_eq!(password(&first, "ours").as_deref(), Some("hunter2"));
        assert_eq!(first.state.as_ref().unwrap().secrets.len(), 1);
        let shown = format!("{first:?}");
        assert!(
            !shown.contains("hunter2") && !shown.contains("aHVudGVyMg"),
            "{shown}"
        );
        story.server.put(SECRETS, secret("ours", "hunter3"));
        story
            .until("another key", |o| {
                password(o, "ours").as_deref() == Some("hunter3")
            })
            .await;
        story.server.delete(SECRETS, "ours");
        story
            .until("no key", |o| o.state.is_some() && password(o, "ours").is_none())
            .await;
        story.server.put(SECRETS, secret("ours", "hunter4"));
        story
            .until("a key again", |o| {
                password(o, "ours").as_deref() == Some("hunter4")
            })
            .await;
        story.server.delete(PEERS, "ours");
        story
            .until("nobody names it", |o| {
                o.state.as_ref().is_some_and(|s| s.secrets.is_empty())
            })
            .await;
        let asked = story.server.asked();
        for secrets in asked.iter().filter(|a| a.contains("/secrets")) {
            assert!(
                secrets.contains("fieldSelector=metadata.name%3Dours"),
                "{secrets}"
            );
        }
    });
}

#[test]
fn a_secret_that_may_not_be_read_costs_its_own_session_only() {
    run(async {
        let mut story = Story::begin(PACE, |server| {
            server.put(PEERS, signed("ours", "r1"));
            server.put(PEERS, tor("plain", 65001));
            server.fault("list", SECRETS, Some(Fault::Status(403)));
        })
        .await;
        let observed = story.until("a state", |o| o.state.is_some()).await;
        assert_eq!(
            (names(&observed), password(&observed, "ours")),
            (vec!["ours", "plain"], None)
        );
        let problem = observed
            .problems
            .iter()
            .find(|p| p.reason == "Forbidden")
            .unwrap();
        assert!(
            problem
                .to_string()
                .contains("add the verb list on secrets of the core group to the Role flatroute-agent"),
            "{problem}"
        );
        story.server.put(SECRETS, secret("ours", "hunter2"));
        story.server.fault("list", SECRETS, None);
        story
            .until("granted", |o| {
                password(o, "ours").is_some() && o.problems.is_empty()
            })
            .await;
    });
}

#[test]
fn a_restart_without_the_server_goes_on_with_what_was_known() {
    let Ok(memory) = tempfile::tempdir_in("/dev/shm") else {
        flatroute_lab::note_skip_of(
            "a_restart_without_the_server_goes_on_with_what_was_known",
            "no /dev/shm",
        );
        return;
    };
    let disk = tempfile::tempdir().unwrap();
    run(async {
        let mut story = Story::begin(PACE, |server| {
            server.put(PEERS, signed("ours", "r1"));
            server.put(SECRETS, secret("ours", "hunter2"));
            server.put(CONFIG_MAPS, json!({"metadata": {"name": "kubeadm-config"}, "data": {"ClusterConfiguration": "networking: {podSubnet: 10.244.0.0/16}\n"}}));
            server.put(SLICES, json!({"metadata": {"name": "kubernetes"}, "endpoints": [{"addresses": ["10.0.9.9"]}]}));
        })
        .await;
        story.state_dir = Some(disk.path().join("state"));
        story.secrets_dir = Some(memory.path().join("secrets"));
        story.follow(PACE);
        let known = story.until("all listed", |o| o.state.is_some()).await;
        let file = disk.path().join("state/last-known-good.json");
        for path in [&file, &memory.path().join("secrets/ours")] {
            let written = timeout(Duration::from_secs(10), async {
                while !path.exists() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            });
            written.await.expect("what is known is kept");
        }
        assert!(!std::fs::read_to_string(&file).unwrap().contains("aHVudGVyMg"));

        story.server.stop().await;
        story.server.delete(PEERS, "ours");
        story.server.put(PEERS, tor("new", 65002));
        story.follow(PACE);
        let waiting = story.until("away", |o| has(o, "APIServerUnreachable")).await;
        assert_eq!((waiting.state, waiting.stale), (None, None));
        let stale = story.until("the copy", |o| o.state.is_some()).await;
        assert_eq!(names(&stale), ["ours"]);
        assert_eq!(password(&stale, "ours").as_deref(), Some("hunter2"));
        assert!(has(&stale, "Stale") && stale.stale.is_some_and(|s| s.age() < Duration::from_secs(60)));
        assert_eq!(stale.awaited.len(), 5, "{:?}", stale.awaited);
        assert_eq!(
            (&stale.api_server, &stale.kubeadm_pod_subnets),
            (&known.api_server, &known.kubeadm_pod_subnets)
        );
        assert_eq!(stale.kubeadm_pod_subnets, ["10.244.0.0/16".parse().unwrap()]);
        assert!(stale.api_server.contains(&"10.0.9.9".parse().unwrap()));
        assert_eq!(stale.state.as_ref().unwrap().nodes, known.state.unwrap().nodes);

        // It ends with the first full list, not before: a server that tells only half is not believed.
        story.server.fault("list", FILTERS, Some(Fault::Status(403)));
        story.server.again().await;
        let half = story.until("half", |o| o.awaited == ["BGPFilters"]).await;
        assert_eq!((names(&half), half.stale.is_some()), (vec!["ours"], true));
        story.server.fault("list", FILTERS, None);
        let fresh = story
            .until("all listed", |o| o.stale.is_none() && o.problems.is_empty())
            .await;
        assert_eq!(
            (names(&fresh), &fresh.problems, &fresh.awaited),
            (vec!["new"], &vec![], &vec![])
        );
        // Nor does it come back.
        story.server.stop().await;
        let away = story
            .until("away again", |o| has(o, "APIServerUnreachable"))
            .await;
        assert_eq!((names(&away), away.stale), (vec!["new"], None));
    });
}

#[test]
fn a_copy_that_is_not_ours_is_refused_with_a_reason() {
    let disk = tempfile::tempdir().unwrap();
    std::fs::write(disk.path().join("last-known-good.json"), "{\"format\":7}\n{}\n").unwrap();
    run(async {
        let mut story = Story::begin(PACE, |_| {}).await;
        story.server.stop().await;
        story.state_dir = Some(disk.path().to_owned());
        story.follow(PACE);
        let refused = story.until("refused", |o| has(o, "CopyRefused")).await;
        assert_eq!((refused.state, refused.stale), (None, None));
        let problem = refused
            .problems
            .iter()
            .find(|p| p.reason == "CopyRefused")
            .unwrap();
        assert!(problem.message.contains("it has the format 7"), "{problem}");
        story.server.again().await;
        story
            .until("all listed", |o| o.state.is_some() && o.problems.is_empty())
            .await;
    });
}

#[test]
fn five_hundred_changes_a_second_are_a_few_states() {
    run(async {
        let mut story = Story::begin(PACE, |server| server.put(PEERS, tor("p0", 1))).await;
        story.until("all listed", |o| o.state.is_some()).await;
        let start = Instant::now();
        let mut states = 0;
        let mut tick = tokio::time::interval(Duration::from_millis(2));
        for change in 1..=1500_u32 {
            tick.tick().await;
            story.server.put(PEERS, tor(&format!("p{}", change % 50), change));
            while story.observed.try_recv().is_ok() {
                states += 1;
            }
        }
        let last = |o: &Observed| {
            let peers = &o.state.as_ref().unwrap().peers;
            peers
                .get("p0")
                .is_some_and(|p| p.spec.peer_asn == Some(PeerAsn::Number(1500)))
        };
        let observed = story.until("the last one", last).await;
        assert_eq!(observed.state.unwrap().peers.len(), 50);
        // At most two a second, and one for the end.
        let bound = 2 * start.elapsed().as_secs() + 3;
        assert!(states >= 2 && states <= bound, "{states} states, at most {bound}");
    });
}
