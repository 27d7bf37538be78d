//! What is asked for, and what becomes of the objects.

use super::*;

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
            .find(|p| p.reason == ProblemReason::Forbidden)
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
