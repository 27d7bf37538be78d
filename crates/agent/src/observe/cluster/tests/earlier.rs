//! A start without the server.

use super::*;

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
            .find(|p| p.reason == ProblemReason::CopyRefused)
            .unwrap();
        assert!(problem.message.contains("it has the format 7"), "{problem}");
        story.server.again().await;
        story
            .until("all listed", |o| o.state.is_some() && o.problems.is_empty())
            .await;
    });
}
