//! An agent and a real API server, in one network namespace, with the definitions and the rights of `deploy/`.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use flatroute_api::Problem;
use flatroute_api::control::{Config, Status};
use flatroute_lab::apiserver::{AGENT, ApiServer, Parts};

use super::agent::Agent;
use super::lab::until;

/// What `deploy/base` grants to the agent.
pub(crate) const RBAC: [&str; 2] = [
    include_str!("../../../../deploy/base/namespace.yaml"),
    include_str!("../../../../deploy/base/rbac.yaml"),
];

/// The CustomResourceDefinitions.
pub(crate) const DEFINITIONS: [&str; 3] = [
    include_str!("../../../../deploy/crds/flatroute.io_bgppeers.yaml"),
    include_str!("../../../../deploy/crds/flatroute.io_bgpfilters.yaml"),
    include_str!("../../../../deploy/crds/flatroute.io_bgpconfigurations.yaml"),
];

/// Makes of a definition one that lets fields pass that nobody knows, as one of another version does.
const LAX: &str = r#"[{"op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/x-kubernetes-preserve-unknown-fields", "value": true}]"#;

const NODE: &str = "
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {rack: r1}}
spec: {podCIDR: 10.244.1.0/24, podCIDRs: [10.244.1.0/24]}
";

const SECRET: &str = "
apiVersion: v1
kind: Secret
metadata: {name: tor, namespace: flatroute-system}
stringData: {password: hunter2}
";

fn peer(spec: &str) -> String {
    format!(
        "apiVersion: flatroute.io/v1alpha1\nkind: BGPPeer\nmetadata: {{name: tor}}\nspec: {{peerAddress: 192.0.2.1, {spec}}}\n"
    )
}

/// An API server in the namespace of an agent.
struct World {
    agent: Agent,
    server: Arc<Mutex<ApiServer>>,
}

impl World {
    fn new(test: &str) -> Option<Self> {
        let parts = Parts::find_or_skip(test)?;
        let agent = Agent::new(1, None)?;
        // The API server wants a default route, to have an address that it could tell of.
        for link in [
            "link add uplink type veth peer name other",
            "addr add 192.0.2.2/24 dev uplink",
            "link set uplink up",
            "link set other up",
            "route add default via 192.0.2.1",
        ] {
            agent.namespace.ip(link);
        }
        let server = agent
            .namespace
            .inside(move || ApiServer::start(&parts))
            .expect("an API server");
        Some(Self {
            agent,
            server: Arc::new(Mutex::new(server)),
        })
    }

    /// Does something with the server, in its namespace.
    fn server<T: Send + 'static>(&self, what: impl FnOnce(&mut ApiServer) -> T + Send + 'static) -> T {
        let server = Arc::clone(&self.server);
        self.agent
            .namespace
            .inside(move || what(&mut server.lock().expect("no other use")))
    }

    fn apply(&self, objects: &str) {
        let objects = objects.to_owned();
        // A definition is served a moment after it is taken.
        until("applied", || {
            let objects = objects.clone();
            self.server(move |server| server.apply(&objects).map_err(|error| error.to_string()))
        });
    }

    fn kubeconfig(&self) -> PathBuf {
        self.server.lock().expect("no other use").kubeconfig(AGENT)
    }

    fn status(&self) -> Result<Status, String> {
        self.agent.ask("GET /v1/status")
    }

    /// Waits for objects from there, and a configuration as wanted.
    fn config(&self, from: &str, wanted: impl Fn(&Config) -> bool) -> Config {
        until(&format!("objects from {from}"), || {
            let status = self.status()?;
            let config: Config = self.agent.ask("GET /v1/config")?;
            if status.objects.from == from && wanted(&config) {
                return Ok(config);
            }
            Err(format!("{:?} {config:?}", status.objects))
        })
    }

    fn is_well(&self) {
        until("all is well", || {
            let problems = self.agent.problems()?;
            if problems.is_empty() {
                Ok(())
            } else {
                Err(format!("{problems:?}"))
            }
        });
    }

    fn problem(&self, reason: &str) -> Problem {
        until(reason, || {
            let status = self.status()?;
            let found = status.problems.iter().find(|p| p.reason.as_str() == reason);
            found.cloned().ok_or_else(|| format!("{:?}", status.problems))
        })
    }
}

fn asns(config: &Config) -> Vec<&str> {
    config.peers.values().map(|peer| peer.asns.as_str()).collect()
}

#[test]
fn an_agent_lives_with_a_real_api_server_and_without() {
    let Some(mut world) = World::new("an_agent_lives_with_a_real_api_server_and_without") else {
        return;
    };
    // Keys are kept in memory only.
    let memory = tempfile::tempdir_in("/dev/shm").expect("a directory in memory");
    std::os::unix::fs::symlink(memory.path(), world.agent.dir_file("run")).expect("a link");
    let kubeconfig = world.kubeconfig();
    world.agent.start_in_cluster(&kubeconfig);
    it_waits_for_what_is_missing(&world);
    it_follows_edits(&world);
    it_starts_without_the_server(&mut world);
    it_follows_its_node(&world);
    it_keeps_the_newest_when_it_stops(&mut world);
}

/// Nothing is there, and nothing is granted: it waits, and says for what.
fn it_waits_for_what_is_missing(world: &World) {
    let refused = world.problem("Forbidden");
    assert!(
        refused.remedy.contains("the ClusterRole flatroute-agent"),
        "{refused}"
    );
    assert_eq!(world.status().expect("a status").objects.from, "Nowhere");
    for objects in RBAC {
        world.apply(objects);
    }
    let missing = world.problem("NotInstalled");
    assert!(missing.remedy.contains("deploy/crds"), "{missing}");
    for objects in DEFINITIONS {
        world.apply(objects);
    }
    world.apply(NODE);
    world.apply(&peer("peerASN: 65001"));
    let config = world.config("APIServer", |config| asns(config) == ["64512 -> 65001"]);
    assert_eq!(config.originate, ["10.244.1.0/24 (PodCIDRs)"]);
    world.is_well();
}

/// An edit, one with a fault, and a key that may not be read at first.
fn it_follows_edits(world: &World) {
    world.apply(&peer("peerASN: 65002"));
    world.config("APIServer", |config| asns(config) == ["64512 -> 65002"]);
    world.server(|server| {
        let lax = ["patch", "crd", "bgppeers.flatroute.io", "--type=json", "-p", LAX];
        server.kubectl(&lax).expect("a lax definition")
    });
    // A definition takes effect a moment after it is taken.
    until("a field that nobody knows", || {
        world.apply(&peer("peerASN: 65003, peerPrt: 1"));
        let kept = world.server(|server| {
            let get = [
                "get",
                "bgppeers.flatroute.io",
                "tor",
                "-o",
                "jsonpath={.spec.peerPrt}",
            ];
            server.kubectl(&get).map_err(|error| error.to_string())
        });
        if kept? == "1" {
            Ok(())
        } else {
            Err("it was dropped".to_owned())
        }
    });
    let fault = world.problem("UnknownField");
    assert!(
        fault.message.ends_with("(what was in force before stays)"),
        "{fault}"
    );
    world.server(|server| {
        let take = [
            "delete",
            "rolebinding",
            "flatroute-agent",
            "-n",
            "flatroute-system",
        ];
        server.kubectl(&take).expect("the right is taken back")
    });
    world.apply(SECRET);
    world.apply(&peer("peerASN: 65004, auth: {md5: {secretRef: {name: tor}}}"));
    let refused = world.problem("Forbidden");
    assert!(refused.remedy.contains("the Role flatroute-agent"), "{refused}");
    let held = || world.agent.peer("tor").map(|peer| peer.reason);
    until("held down", || match held()? {
        Some(reason) if reason.starts_with("SecretNotFound") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    world.apply(RBAC[1]);
    until("the key", || match held()? {
        None => Ok(()),
        Some(other) => Err(other),
    });
}

/// A restart without the server has the same plan with its key, until the server is back.
fn it_starts_without_the_server(world: &mut World) {
    until("kept", || {
        let kept = std::fs::read_to_string(world.agent.dir_file("state/last-known-good.json"));
        match kept {
            Ok(text) if text.contains("65004") => Ok(()),
            Ok(text) => Err(text),
            Err(error) => Err(error.to_string()),
        }
    });
    let before: Config = world.agent.ask("GET /v1/config").expect("a configuration");
    world.server(ApiServer::stop_server);
    assert!(world.agent.terminate().success());
    let kubeconfig = world.kubeconfig();
    world.agent.start_in_cluster(&kubeconfig);
    world.problem("APIServerUnreachable");
    let stale = world.config("LastKnownGood", |_| true);
    assert!(
        stale
            .objects
            .is_some_and(|o| o.stale_seconds.is_some_and(|age| age < 120))
    );
    assert_eq!((stale.peers, stale.originate), (before.peers, before.originate));
    world.problem("Stale");
    let events: Vec<String> = world.agent.events().into_iter().map(|e| e.kind).collect();
    assert!(events.contains(&"Stale".to_owned()), "{events:?}");

    world.server(|server| server.start_server().expect("it starts again"));
    world.apply(&peer("peerASN: 65005, auth: {md5: {secretRef: {name: tor}}}"));
    world.config("APIServer", |config| asns(config) == ["64512 -> 65005"]);
    world.is_well();
}

/// Two edits within the time between two writings of the copy, and a regular stop.
fn it_keeps_the_newest_when_it_stops(world: &mut World) {
    for asn in [65006, 65007] {
        world.apply(&peer(&format!("peerASN: {asn}")));
        world.config("APIServer", |config| asns(config) == [format!("64512 -> {asn}")]);
    }
    assert!(world.agent.terminate().success());
    let kept = std::fs::read_to_string(world.agent.dir_file("state/last-known-good.json"));
    let kept = kept.expect("a copy");
    assert!(kept.contains("65007"), "{kept}");
}

/// A node whose Node is deleted announces nothing and has no neighbours; one that is made again under its name has both.
fn it_follows_its_node(world: &World) {
    world.server(|server| server.kubectl(&["delete", "node", "n1"]).expect("deleted"));
    world.config("APIServer", |config| {
        config.originate.is_empty() && config.peers.is_empty()
    });
    world.apply(&NODE.replace("10.244.1.", "10.244.9."));
    world.config("APIServer", |config| {
        config.originate == ["10.244.9.0/24 (PodCIDRs)"] && config.peers.len() == 1
    });
}
