//! What is wrong with the settings of a node, as a running agent sees it.

use std::thread;
use std::time::{Duration, Instant};

use flatroute_api::ProblemReason;
use flatroute_api::control::Status;

use super::agent::{Agent, bgp_peer};
use super::lab::{Namespace, join, until};

/// How long the agent may take to see a change: it looks every 15 s.
const DEADLINE: Duration = Duration::from_secs(60);

/// What is told: reason, object and field, in the order of `problems`.
fn told(agent: &Agent) -> Vec<(ProblemReason, String, String)> {
    let status: Status = agent.ask("GET /v1/status").expect("an answer");
    let problems = status.problems.into_iter();
    problems
        .map(|p| (p.reason, format!("{}/{}", p.kind, p.name), p.field))
        .collect()
}

fn becomes(agent: &Agent, want: &[(ProblemReason, &str)]) {
    let want: Vec<_> = want
        .iter()
        .map(|(reason, field)| (*reason, "Node/n1".to_owned(), (*field).to_owned()))
        .collect();
    let start = Instant::now();
    loop {
        let found = told(agent);
        if found == want {
            return;
        }
        assert!(start.elapsed() < DEADLINE, "never: {want:?}; {found:?}");
        thread::sleep(Duration::from_millis(100));
    }
}

/// How many events of a kind there are.
fn count(agent: &Agent, kind: &str) -> usize {
    agent.events().iter().filter(|event| event.kind == kind).count()
}

/// A sysctl that another program sets is told with its remedy, once, and is gone when it is mended; an agent that starts says it at once.
#[test]
fn what_a_node_lacks_is_told_until_it_is_mended() {
    use ProblemReason::{ForwardingDisabled, NodeNotPrepared, ReversePathFilter};
    let (Some(mut agent), Some(tor)) = (Agent::new(1, None), Namespace::new()) else {
        return;
    };
    agent.prepare();
    join(1, &agent.namespace, &tor);
    // An interface that is no uplink may be as it likes.
    agent.namespace.ip("link add aside type veth peer name beside");
    agent.namespace.ip("address add 10.9.9.1/24 dev aside");
    agent.namespace.ip("link set aside up");
    agent.namespace.sysctl("net/ipv4/conf/aside/rp_filter", "1");
    agent.write("tor.yaml", &bgp_peer("tor", "10.0.1.2", 65001));
    agent.start();
    becomes(&agent, &[]);

    agent.namespace.sysctl("net/ipv4/conf/link1/rp_filter", "1");
    agent.namespace.sysctl("net/ipv4/ip_forward", "0");
    agent.namespace.sysctl("net/ipv6/fib_multipath_hash_policy", "0");
    let wrong = [
        (ReversePathFilter, "net.ipv4.conf.link1.rp_filter"),
        (ForwardingDisabled, "net.ipv4.ip_forward"),
        (NodeNotPrepared, "net.ipv6.fib_multipath_hash_policy"),
    ];
    becomes(&agent, &wrong);
    let events = agent.events();
    let told = events.iter().find(|event| event.kind == "ReversePathFilter");
    let told = &told.expect("an event").text;
    assert!(
        told.contains("sysctl -w net.ipv4.conf.link1.rp_filter=2"),
        "{told}"
    );

    assert!(agent.terminate().success());
    agent.start();
    becomes(&agent, &wrong);
    for kind in ["ReversePathFilter", "ForwardingDisabled", "NodeNotPrepared"] {
        assert_eq!(
            (count(&agent, kind), count(&agent, &format!("{kind}Over"))),
            (1, 0)
        );
    }

    agent.namespace.sysctl("net/ipv4/conf/link1/rp_filter", "2");
    agent.namespace.sysctl("net/ipv4/ip_forward", "1");
    agent.namespace.sysctl("net/ipv6/fib_multipath_hash_policy", "1");
    becomes(&agent, &[]);
    for kind in ["ReversePathFilter", "ForwardingDisabled", "NodeNotPrepared"] {
        assert_eq!(
            (count(&agent, kind), count(&agent, &format!("{kind}Over"))),
            (1, 1)
        );
    }
    assert_eq!(count(&agent, "ConfigurationInvalid"), 0);
}

/// Another program that takes a route of ours each second or so is a problem with a remedy; once is an event only.
#[test]
fn a_program_that_deletes_our_routes_again_and_again_is_a_problem() {
    let Some(mut agent) = Agent::new(1, None) else {
        return;
    };
    agent.prepare();
    agent.start();
    let own = format!("unreachable {} ", agent.pod_cidrs()[0]);
    let start = Instant::now();
    let (mut deleted, problem) = (0, ProblemReason::RoutesContested);
    loop {
        until("our route is there", || {
            let shown = agent.kernel();
            shown.contains(&own).then_some(()).ok_or(shown)
        });
        let status: Status = agent.ask("GET /v1/status").expect("an answer");
        if let Some(told) = status.problems.iter().find(|p| p.reason == problem) {
            assert!(told.remedy.contains("ManageForeignRoutes=no"), "{told}");
            break;
        }
        assert!(start.elapsed() < DEADLINE, "never, after {deleted}");
        agent.namespace.ip(&format!("route del {own}"));
        deleted += 1;
        thread::sleep(Duration::from_millis(1100));
    }
    assert!(deleted > 3, "{deleted}");
    assert_eq!(count(&agent, "RoutesContested"), 1);
    assert!(count(&agent, "FIBDrift") >= 4);
}
