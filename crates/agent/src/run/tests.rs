use super::*;
use flatroute_api::manifest;
use tokio::sync::oneshot;

const NODE: &str = "---\napiVersion: v1\nkind: Node\nmetadata: {name: n1}\nspec: {podCIDR: 10.244.1.0/24}\n";

fn peer(asn: u32) -> String {
    format!(
        "---\napiVersion: flatroute.io/v1alpha1\nkind: BGPPeer\nmetadata: {{name: a}}\nspec: {{peerAddress: 10.0.1.1, peerASN: {asn}}}\n"
    )
}

fn merged(text: &str) -> Observed {
    manifest::merge([manifest::parse("m.yaml", text)]).into()
}

/// Tells what it is told to do.
struct Fake {
    told: mpsc::UnboundedSender<String>,
    events: mpsc::Receiver<Event>,
}

impl Act for Fake {
    async fn apply(&mut self, plan: &Plan) -> anyhow::Result<()> {
        let asns: Vec<String> = plan.describe().peers.values().map(|p| p.asns.clone()).collect();
        self.told.send(format!("apply {}", asns.join(" "))).unwrap();
        Ok(())
    }

    async fn event(&mut self) -> Event {
        match self.events.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }

    async fn peers(&mut self) -> anyhow::Result<Vec<control::Peer>> {
        Ok(Vec::new())
    }

    async fn seen(&mut self) -> anyhow::Result<Seen> {
        Ok(Seen {
            fib: control::FibStatus {
                installed: 3,
                ..control::FibStatus::default()
            },
            ..Seen::default()
        })
    }

    async fn routes(&mut self, _: &crate::control::query::RouteQuery) -> anyhow::Result<control::Routes> {
        anyhow::bail!("no routes now")
    }

    async fn why(&mut self, _: std::net::IpAddr) -> anyhow::Result<control::Why> {
        anyhow::bail!("nobody knows")
    }

    async fn refresh(&mut self, _: &str) -> anyhow::Result<bool> {
        Ok(false)
    }

    async fn leave(&mut self) -> anyhow::Result<()> {
        self.told.send("leave".to_owned()).unwrap();
        Ok(())
    }

    async fn shutdown(&mut self, _: &str) -> anyhow::Result<()> {
        self.told.send("shutdown".to_owned()).unwrap();
        Ok(())
    }
}

async fn ask(requests: &mpsc::Sender<Request>, query: Query) -> Answer {
    let (reply, answer) = oneshot::channel();
    requests.send(Request { query, reply }).await.unwrap();
    timeout(Duration::from_secs(10), answer).await.unwrap().unwrap()
}

/// What a signal makes of the neighbours: kept for the next agent, or told, when the kubelet says that the node shuts down.
#[test]
fn a_signal_is_a_restart_unless_the_node_shuts_down() {
    let shutting_down =
        "status: {conditions: [{type: Ready, status: \"False\", message: node is shutting down}]}\n";
    for (status, want) in [("", "leave"), (shutting_down, "shutdown")] {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(async {
                let (told, mut heard) = mpsc::unbounded_channel();
                let (_tell, events) = mpsc::channel(1);
                let (change, changes) = mpsc::channel(1);
                let (_ask, requests) = mpsc::channel(1);
                let (stop, stopped) = oneshot::channel::<()>();
                let act = Fake { told, events };
                let mut owner = Owner::new(act, "n1", ObjectSource::Standalone, Links::default());
                let text = peer(65001) + NODE + status;
                change.send(Ok(merged(&text))).await.unwrap();
                let stopped = async { drop(stopped.await) };
                let task = tokio::spawn(async move { owner.run(changes, requests, stopped).await });
                assert_eq!(heard.recv().await.unwrap(), "apply 64512 -> 65001");
                drop(stop);
                let ended = timeout(Duration::from_secs(10), task).await.unwrap();
                ended.unwrap().unwrap();
                assert_eq!(heard.recv().await.unwrap(), want);
            });
    }
}

#[test]
fn equal_plans_cause_nothing_and_changes_are_applied() {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async {
            let (told, mut heard) = mpsc::unbounded_channel();
            let (tell, events) = mpsc::channel(4);
            let (change, changes) = mpsc::channel(1);
            let (ask_tx, requests) = mpsc::channel(4);
            let (stop, stopped) = oneshot::channel::<()>();
            let mut owner = Owner::new(
                Fake { told, events },
                "n1",
                ObjectSource::Standalone,
                Links::default(),
            );
            change
                .send(Ok(merged(&(NODE.to_owned() + &peer(65001)))))
                .await
                .unwrap();
            let task =
                tokio::spawn(
                    async move { owner.run(changes, requests, async { drop(stopped.await) }).await },
                );
            // An equal state, then another one: only the second is applied.
            change.send(Ok(merged(&(peer(65001) + NODE)))).await.unwrap();
            change
                .send(Ok(merged(&(peer(65002) + NODE + "---\nkind: ["))))
                .await
                .unwrap();
            let links = Links {
                interfaces: [("eth0".to_owned(), 2)].into(),
                ..Links::default()
            };
            tell.send(Event::Links(links)).await.unwrap();
            assert_eq!(heard.recv().await.unwrap(), "apply 64512 -> 65001");
            assert_eq!(heard.recv().await.unwrap(), "apply 64512 -> 65002");

            let Answer::Status(status) = ask(&ask_tx, Query::Status).await else {
                panic!("no status")
            };
            assert_eq!(
                (status.fib.installed, status.problems.len(), status.node.as_str()),
                (3, 1, "n1")
            );
            let Answer::Config(config) = ask(&ask_tx, Query::Config).await else {
                panic!("no config")
            };
            assert_eq!((config.peers.len(), config.problems.len()), (1, 1));
            assert!(matches!(
                ask(&ask_tx, Query::Peer("b".to_owned())).await,
                Answer::NotFound(_)
            ));
            assert!(matches!(
                ask(&ask_tx, Query::Refresh("a".to_owned())).await,
                Answer::Conflict(_)
            ));
            let Answer::Events(events) = ask(&ask_tx, Query::Events).await else {
                panic!("no events")
            };
            assert_eq!(events.events[0].kind, "ConfigurationInvalid");

            drop(stop);
            timeout(Duration::from_secs(10), task)
                .await
                .unwrap()
                .unwrap()
                .unwrap();
            assert_eq!(heard.recv().await.unwrap(), "leave");
            assert_eq!(heard.recv().await, None);
        });
}

#[test]
fn what_can_no_longer_be_carried_out_ends_the_agent() {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async {
            let (told, _heard) = mpsc::unbounded_channel();
            let (tell, events) = mpsc::channel(1);
            let (_change, changes) = mpsc::channel(1);
            let (_ask, requests) = mpsc::channel(1);
            let mut owner = Owner::new(
                Fake { told, events },
                "n1",
                ObjectSource::Standalone,
                Links::default(),
            );
            tell.send(Event::Failed("netlink is gone".to_owned()))
                .await
                .unwrap();
            let error = owner
                .run(changes, requests, std::future::pending())
                .await
                .unwrap_err();
            assert_eq!(error.to_string(), "netlink is gone");
        });
}
