//! A server that is away, forgets, hangs, refuses or lacks our kinds.

use super::*;

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

/// A server that has lost its data, or that of another cluster: what its watch tells, or a list with other Nodes, is believed.
#[test]
fn a_list_without_any_node_is_not_believed() {
    run(async {
        let mut story = Story::begin(PACE, |_| {}).await;
        let has_own = |o: &Observed| o.state.as_ref().map(|state| state.nodes.contains_key("n1"));
        story.until("all listed", |o| has_own(o) == Some(true)).await;
        // Deleted while nobody looks, and forgotten.
        story.server.stop().await;
        story.server.delete(NODES, "n1");
        story.server.forget();
        story.server.again().await;
        let lost = story.until("no Node", |o| {
            o.problems
                .iter()
                .any(|p| p.message.contains("lists no Node at all"))
        });
        assert_eq!(has_own(&lost.await), Some(true));
        // Nor by an agent that starts now.
        story.follow(PACE);
        let waiting = story.until("waiting", |o| has(o, "Refused") && o.awaited == ["own Node"]);
        assert_eq!(has_own(&waiting.await), None);
        story.server.put(NODES, node("n2", "10.244.2.0/24"));
        story.until("another Node", |o| has_own(o) == Some(false)).await;
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
            .find(|p| p.reason == ProblemReason::Forbidden)
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
