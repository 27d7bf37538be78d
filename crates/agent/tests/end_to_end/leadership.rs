//! Who writes the status of BGPPeers: four agents in namespaces of their own, a real API server, and one leader after the
//! other that goes, first without a word (SIGKILL), then by the rules (SIGTERM).
//!
//! Whether ever two wrote is read from the server's audit log, in which each agent has an address of its own.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use flatroute_lab::apiserver::{AGENT, ApiServer, Parts};
use serde_json::Value;

use super::agent::{Agent, bgp_peer};
use super::api_server::{DEFINITIONS, RBAC};
use super::lab::until;
use super::relay::{Relay, source};

/// How long a Lease stands unchanged before it is taken.
const STANDS: Duration = Duration::from_secs(30);
/// docs/status.md: a candidate looks every 8 to 10 s. So the last renewal is seen within 10 s, and that it has stood for
/// [`STANDS`] within 10 s more.
const TAKEN: Duration = Duration::from_secs(10 + 30 + 10);
/// A Lease without a holder is taken at the next look.
const TAKEN_WHEN_FREE: Duration = Duration::from_secs(10);
/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(15);

/// What kubectl prints of an object.
fn field(server: &ApiServer, object: &[&str], path: &str) -> Result<String, String> {
    let path = format!("-o=jsonpath={{{path}}}");
    let arguments = [&["get"], object, &[&path]].concat();
    server.kubectl(&arguments).map_err(|error| error.to_string())
}

fn holder(server: &ApiServer) -> Result<String, String> {
    let lease = ["lease", "-n", "flatroute-system", "flatroute-peer-status"];
    match field(server, &lease, ".spec.holderIdentity")? {
        nobody if nobody.is_empty() => Err("nobody holds it".to_owned()),
        holder => Ok(holder),
    }
}

/// Like [`until`], with a bound of its own. Returns how long it took, too.
fn within<T>(what: &str, bound: Duration, mut look: impl FnMut() -> Result<T, String>) -> (T, Duration) {
    let start = Instant::now();
    loop {
        match look() {
            Ok(found) => return (found, start.elapsed()),
            Err(why) => assert!(start.elapsed() < bound, "not within {bound:?}: {what}; {why}"),
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Gives the BGPPeer another ASN, and with it another generation.
fn edit(server: &ApiServer, asn: u32) -> String {
    server.apply(&bgp_peer("tor", "192.0.2.1", asn)).expect("applied");
    field(server, &["bgppeer", "tor"], ".metadata.generation").expect("a generation")
}

/// Whether the status is about this generation.
fn observed(server: &ApiServer, generation: &str) -> Result<(), String> {
    match field(server, &["bgppeer", "tor"], ".status.observedGeneration")? {
        observed if observed == generation => Ok(()),
        other => Err(format!("observedGeneration: {other:?} instead of {generation}")),
    }
}

struct World {
    server: ApiServer,
    agents: BTreeMap<String, (Agent, Relay)>,
}

impl World {
    fn new(test: &str) -> Option<Self> {
        let parts = Parts::find_or_skip(test)?;
        let agents: Vec<Agent> = (1..=4).map_while(|number| Agent::new(number, None)).collect();
        if agents.len() < 4 {
            return None;
        }
        let server = ApiServer::start(&parts).expect("an API server");
        let nodes: String = (1..=4)
            .map(|n| format!("---\napiVersion: v1\nkind: Node\nmetadata: {{name: n{n}}}\nspec: {{podCIDR: 10.244.{n}.0/24}}\n"))
            .collect();
        let peer = bgp_peer("tor", "192.0.2.1", 65001);
        let objects = [&RBAC[..], &DEFINITIONS, &[NODE_STATUSES, &nodes, &peer]].concat();
        for objects in objects {
            // A definition is served a moment after it is taken.
            until("applied", || {
                server.apply(objects).map_err(|error| error.to_string())
            });
        }
        let with_relay = |agent: Agent| {
            let relay = Relay::start(&agent.namespace, server.port(), agent.number);
            (format!("n{}", agent.number), (agent, relay))
        };
        let agents = agents.into_iter().map(with_relay).collect();
        Some(Self { server, agents })
    }

    fn start(&mut self, name: &str) {
        let kubeconfig = self.server.kubeconfig(AGENT);
        let (agent, _) = self.agents.get_mut(name).expect("an agent");
        agent.start_in_cluster(&kubeconfig);
        until("its status", || {
            field(&self.server, &["bgpnodestatus", name], ".metadata.name").map(drop)
        });
    }

    fn agent(&mut self, name: &str) -> &mut Agent {
        &mut self.agents.get_mut(name).expect("an agent").0
    }
}

const NODE_STATUSES: &str = include_str!("../../../../deploy/crds/flatroute.io_bgpnodestatuses.yaml");

#[test]
fn another_leads_when_the_leader_dies_and_at_once_when_it_stops() {
    let Some(mut world) = World::new("another_leads_when_the_leader_dies_and_at_once_when_it_stops") else {
        return;
    };
    for name in ["n1", "n2", "n3", "n4"] {
        world.start(name);
    }
    let first = until("a leader", || holder(&world.server));
    until("a status", || observed(&world.server, "1"));

    world.agent(&first).kill();
    let generation = edit(&world.server, 65002);
    let next = |server: &ApiServer, before: &str| match holder(server)? {
        holder if holder != before => Ok(holder),
        holder => Err(format!("{holder} holds it")),
    };
    let (second, _) = within("another leader", TAKEN + SLACK, || next(&world.server, &first));
    within("its status", SLACK, || observed(&world.server, &generation));

    assert!(world.agent(&second).terminate().success());
    let generation = edit(&world.server, 65003);
    let (third, took) = within("a third leader", TAKEN_WHEN_FREE + SLACK, || {
        next(&world.server, &second)
    });
    within("its status", SLACK, || observed(&world.server, &generation));
    assert!(took < STANDS, "the Lease was not given back: {took:?}");

    let reigns = [first, second, third];
    let log = std::fs::read_to_string(world.server.audit_log()).expect("the audit log");
    judge(&log, &reigns.each_ref().map(String::as_str));
}

/// What one of the agents asked, and was given.
#[derive(Debug)]
struct Request {
    at: String,
    by: String,
    verb: String,
    resource: String,
}

fn requests(log: &str) -> Vec<Request> {
    let addresses: BTreeMap<String, String> = (1..=4)
        .map(|n| (source(n).to_string(), format!("n{n}")))
        .collect();
    let mut all = Vec::new();
    for line in log.lines() {
        let event: Value = serde_json::from_str(line).expect("an event");
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let code = event["responseStatus"]["code"].as_u64();
        if code.is_some_and(|code| code < 300) {
            all.push(Request {
                at: word(&event["requestReceivedTimestamp"]),
                by: addresses[event["sourceIPs"][0].as_str().expect("an address")].clone(),
                verb: word(&event["verb"]),
                resource: format!(
                    "{}/{}",
                    word(&event["objectRef"]["resource"]),
                    word(&event["objectRef"]["subresource"])
                ),
            });
        }
    }
    all.sort_by(|a, b| a.at.cmp(&b.at));
    all
}

/// Who writes a status is who has written the Lease last; each leads once; a Lease that is held is left alone for as long as it
/// must stand; the fourth is no candidate.
fn judge(log: &str, reigns: &[&str; 3]) {
    let requests = requests(log);
    let (mut last_of_lease, mut leaders, mut writes): (Option<&Request>, Vec<&str>, usize) =
        (None, Vec::new(), 0);
    let mut pauses = Vec::new();
    for request in &requests {
        match (request.resource.as_str(), request.verb.as_str()) {
            ("leases/", "create" | "update") => {
                if let Some(before) = last_of_lease.filter(|before| before.by != request.by) {
                    // Also over midnight.
                    pauses.push((seconds(&request.at) - seconds(&before.at)).rem_euclid(86_400.0));
                }
                last_of_lease = Some(request);
            }
            ("bgppeers/status", _) => {
                let leader = last_of_lease.map(|lease| lease.by.as_str());
                assert_eq!(leader, Some(request.by.as_str()), "{request:?} without the Lease");
                writes += 1;
                if leaders.last() != Some(&request.by.as_str()) {
                    leaders.push(&request.by);
                }
            }
            _ => {}
        }
    }
    assert_eq!(leaders, reigns);
    assert!(writes >= 3, "{writes} writes");
    let [dead, stopped] = pauses[..] else {
        panic!("{pauses:?}")
    };
    let bound = (TAKEN + SLACK).as_secs_f64();
    assert!(
        (STANDS.as_secs_f64()..bound).contains(&dead),
        "a dead leader's Lease was taken after {dead} s"
    );
    assert!(
        stopped < (TAKEN_WHEN_FREE + SLACK).as_secs_f64(),
        "one that was given back, after {stopped} s"
    );
    let looks = |name: &str| {
        let looks = requests
            .iter()
            .filter(|r| r.by == name && (r.resource.as_str(), r.verb.as_str()) == ("leases/", "get"));
        looks.count()
    };
    // At its start, and then after minutes only.
    assert!(
        !reigns.contains(&"n4") && looks("n4") <= 1,
        "n4 looked {} times",
        looks("n4")
    );
    assert!(
        looks(reigns[2]) > 3,
        "the third leader looked {} times",
        looks(reigns[2])
    );
    println!("pauses of the Lease: {dead:.1} s after SIGKILL, {stopped:.1} s after SIGTERM; {writes} writes");
}

/// Of `2026-01-01T12:34:56.789012Z`, the seconds of the day.
fn seconds(time: &str) -> f64 {
    let time = time
        .split_once('T')
        .map_or(time, |(_, time)| time)
        .trim_end_matches('Z');
    let parts = time.split(':').map(|part| part.parse::<f64>().expect("a time"));
    parts.fold(0.0, |all, part| all * 60.0 + part)
}
