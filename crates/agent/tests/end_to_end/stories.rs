//! What a user does with the agent, and what must come of it.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use flatroute_api::control::{Config, Error, Peers, Status, Why};

use super::agent::{Agent, bgp_peer};
use super::lab::{join, until};

/// n1, n2 and so on, in namespaces of their own, with these ASNs.
fn agents<const N: usize>(asns: [Option<u32>; N]) -> Option<[Agent; N]> {
    let agents: Option<Vec<Agent>> = (1..)
        .zip(asns)
        .map(|(number, asn)| Agent::new(number, asn))
        .collect();
    agents?.try_into().ok()
}

/// n1 (AS 64512) and n2 (AS 65002) on one link, each with a BGPPeer of four lines.
fn pair() -> Option<(Agent, Agent)> {
    let [mut one, mut two] = agents([None, Some(65002)])?;
    join(12, &one.namespace, &two.namespace);
    one.write("peers.yaml", &bgp_peer("two", "10.0.12.2", 65002));
    two.write("peers.yaml", &bgp_peer("one", "10.0.12.1", 64512));
    one.start();
    two.start();
    Some((one, two))
}

#[test]
fn four_lines_give_a_session_and_routes_of_both_families() {
    let Some((one, two)) = pair() else { return };
    let peer = one.established("two");
    let families = peer.negotiated.expect("negotiated").families;
    assert_eq!(families, ["IPv4", "IPv6"]);
    one.kernel_has(&two.pod_cidrs(), true);
    two.kernel_has(&one.pod_cidrs(), true);
    let kernel = two.kernel();
    for via in ["10.0.12.1", "fd00:0:12::1"] {
        assert!(kernel.contains(&format!("via {via} dev link12")), "{kernel}");
    }
    control_socket(&one, &two);
    why(&one);
}

/// What becomes of an address: of the other's pods, of our own, of this node, of nobody.
fn why(one: &Agent) {
    let ask = |address: &str| -> Why { one.ask(&format!("GET /v1/why?address={address}")).expect(address) };
    for (address, verdict) in [
        (
            "10.244.2.7",
            "10.244.2.7 goes to 10.0.12.2 by 10.244.2.0/24, from two",
        ),
        (
            "10.244.1.7",
            "10.244.1.7 is in 10.244.1.0/24, which is this node's own, and no pod has it: unreachable",
        ),
        ("10.0.12.1", "10.0.12.1 is an address of this node"),
        (
            "192.0.2.1",
            "the kernel has no route to 192.0.2.1: no neighbour has sent a route to it",
        ),
    ] {
        assert_eq!(ask(address).verdict, verdict);
    }
    let answer = ask("10.244.2.7");
    let kernel = answer.kernel.expect("a route");
    assert_eq!(
        (kernel.prefix.as_str(), kernel.protocol.as_str(), kernel.next_hops),
        ("10.244.2.0/24", "flatroute (79)", vec!["10.0.12.2".to_owned()])
    );
    assert_eq!(answer.prefix.as_deref(), Some("10.244.2.0/24"));
    let path = &answer.paths[0];
    assert_eq!(
        (path.peer.as_deref(), path.reason.as_str()),
        (Some("two"), "best")
    );
    let told = &answer.advertised[0];
    assert_eq!(
        (told.peer.as_str(), told.reason.as_str()),
        ("two", "withheld: learned from this peer")
    );
    let (status, body) = one.ask_raw("GET /v1/why?address=pod").expect("an answer");
    assert_eq!(status, 400, "{body}");
}

/// Every question of the control socket, answered in its type.
fn control_socket(one: &Agent, two: &Agent) {
    let mode = std::fs::metadata(one.socket())
        .expect("the socket")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let status: Status = one.ask("GET /v1/status").expect("status");
    assert_eq!(
        (
            status.node.as_str(),
            status.local_asn,
            status.peers,
            status.established
        ),
        ("n1", 64512, 1, 1)
    );
    assert_eq!(status.router_id, "10.255.0.1");
    assert_eq!(one.problems().expect("status"), []);
    // The other's two prefixes and our own two unreachable ones.
    until("four routes are installed", || {
        let fib = one.ask::<Status>("GET /v1/status")?.fib;
        (fib.installed == 4)
            .then_some(())
            .ok_or_else(|| format!("{fib:?}"))
    });
    let peers: Peers = one.ask("GET /v1/peers").expect("peers");
    assert_eq!(peers.peers.len(), 1);
    let config: Config = one.ask("GET /v1/config").expect("config");
    assert_eq!(config.peers["two"].asns, "64512 -> 65002");
    let originated = one.pod_cidrs().map(|prefix| format!("{prefix} (PodCIDRs)"));
    assert_eq!(config.originate, originated);

    let prefixes = |query: &str| -> Vec<String> {
        let routes = one.routes(query).expect(query);
        routes.into_iter().map(|route| route.prefix).collect()
    };
    for view in ["received", "accepted"] {
        assert_eq!(
            prefixes(&format!("view={view}&peer=two")),
            two.pod_cidrs(),
            "{view}"
        );
    }
    until("the routes are advertised", || {
        let found = prefixes("view=advertised&peer=two");
        (found == one.pod_cidrs())
            .then_some(())
            .ok_or(format!("{found:?}"))
    });
    for view in ["best", "kernel"] {
        let found = prefixes(&format!("view={view}"));
        for prefix in one.pod_cidrs().iter().chain(&two.pod_cidrs()) {
            assert!(found.contains(prefix), "{view}: {found:?} without {prefix}");
        }
    }
    let within = prefixes("view=kernel&prefix=10.244.2.0/24");
    assert_eq!(within, ["10.244.2.0/24"]);

    let kinds: Vec<String> = one.events().into_iter().map(|event| event.kind).collect();
    for kind in ["PeerEstablished", "EndOfRib"] {
        assert!(
            kinds.iter().any(|found| found == kind),
            "{kinds:?} without {kind}"
        );
    }
    let (status, body) = one.ask_raw("GET /v1/peers/nobody").expect("an answer");
    let error: Error = serde_json::from_str(&body).expect("an error");
    assert_eq!((status, error.error.contains("nobody")), (404, true));
}

#[test]
fn a_link_local_neighbour_is_told_with_the_name_of_its_interface() {
    let Some([mut one, mut two]) = agents([None, Some(65002)]) else {
        return;
    };
    join(12, &one.namespace, &two.namespace);
    let through = |peer: String| peer.replace("peerASN", "interface: link12, peerASN");
    one.write("peers.yaml", &through(bgp_peer("two", "\"fe80::2\"", 65002)));
    two.write("peers.yaml", &through(bgp_peer("one", "\"fe80::1\"", 64512)));
    one.start();
    two.start();
    let peer = one.established("two");
    assert_eq!(peer.interface.as_deref(), Some("link12"));
    // The interface is known before the first plan, so that nothing was ever wrong with it.
    let kinds: Vec<String> = one.events().into_iter().map(|event| event.kind).collect();
    assert!(
        !kinds.iter().any(|kind| kind == "ConfigurationInvalid"),
        "{kinds:?}"
    );
    assert_eq!(one.problems().expect("status"), []);
}

#[test]
fn an_edit_takes_effect_and_leaves_other_sessions_alone() {
    let Some([mut one, mut two, mut three]) = agents([None, Some(65002), Some(65003)]) else {
        return;
    };
    join(12, &one.namespace, &two.namespace);
    join(13, &one.namespace, &three.namespace);
    let (to_two, to_three) = (
        bgp_peer("two", "10.0.12.2", 65002),
        bgp_peer("three", "10.0.13.2", 65003),
    );
    one.write("peers.yaml", &(to_two.clone() + &to_three));
    for (other, address) in [(&mut two, "10.0.12.1"), (&mut three, "10.0.13.1")] {
        other.write("peers.yaml", &bgp_peer("one", address, 64512));
        other.start();
    }
    one.start();
    one.established("two");
    one.established("three");
    one.kernel_has(&two.pod_cidrs(), true);
    one.kernel_has(&three.pod_cidrs(), true);

    // Administratively down, by an editor that writes in place and takes its time.
    let down = to_three.replace("65003}", "65003, state: Down, stateMessage: rack move}");
    let mut file = std::fs::File::create(one.manifest("peers.yaml")).expect("truncated");
    std::thread::sleep(Duration::from_millis(200));
    file.write_all(to_two.as_bytes()).expect("written");
    std::thread::sleep(Duration::from_millis(200));
    file.write_all(down.as_bytes()).expect("written");
    drop(file);
    one.kernel_has(&three.pod_cidrs(), false);
    let error = until("the other end was told", || {
        three.peer("one")?.last_error.ok_or_else(|| "no error".to_owned())
    });
    assert_eq!(
        (error.direction.as_str(), error.code, error.subcode),
        ("Received", Some(6), Some(2)),
        "{error:?}"
    );
    assert!(error.text.contains("rack move"), "{error:?}");

    // Up again, renamed over as other editors do; then a third neighbour comes without harm to either.
    one.write("peers.tmp", &(to_two.clone() + &to_three));
    std::fs::rename(one.manifest("peers.tmp"), one.manifest("peers.yaml")).expect("renamed");
    one.established("three");
    one.kernel_has(&three.pod_cidrs(), true);
    one.write("more.yaml", &bgp_peer("four", "10.0.13.9", 65009));
    until("the new neighbour is configured", || one.peer("four"));
    let peer = one.peer("two").expect("two");
    assert_eq!((peer.state.as_str(), peer.flaps), ("Established", 0));
    assert_eq!(peer.last_error, None);
    assert_eq!(two.peer("one").expect("one").flaps, 0);
    one.kernel_has(&two.pod_cidrs(), true);
}

/// n1 has gone without a word, and this neighbour keeps its routes.
fn is_kept_by(two: &Agent) {
    let peer = two.peer("one").expect("one");
    assert_ne!(peer.state, "Established");
    let error = peer.last_error.expect("the connection ended");
    assert_eq!(
        (error.direction.as_str(), error.code),
        ("Local", None),
        "{error:?}"
    );
    let away = peer.retained.expect("retained");
    assert_eq!((away.routes, away.long_lived), (2, 0));
    assert!((1..=120).contains(&away.left_seconds), "{away:?}");
    let stale = two.routes("view=received&peer=one").expect("routes");
    assert!(
        stale.len() == 2 && stale.iter().all(|route| route.stale),
        "{stale:?}"
    );
}

#[test]
fn an_agent_that_stops_says_nothing_and_the_next_one_takes_its_place() {
    let Some((mut one, two)) = pair() else { return };
    one.established("two");
    one.kernel_has(&two.pod_cidrs(), true);
    two.kernel_has(&one.pod_cidrs(), true);
    let (routes, of_neighbour) = (one.kernel(), two.kernel());
    let watched = [one.dir_file("monitor.log"), two.dir_file("monitor.log")];
    let mut monitors = [one.monitor(&watched[0]), two.monitor(&watched[1])];

    assert!(one.terminate().success());
    until("the neighbour keeps the routes", || {
        let events = two.events();
        let kept = events.iter().any(|event| event.kind == "RoutesRetained");
        kept.then_some(()).ok_or_else(|| format!("{events:?}"))
    });
    is_kept_by(&two);
    assert_eq!(one.kernel(), routes, "the routes stay");
    assert!(!one.socket().exists(), "the socket goes");

    one.start();
    one.established("two");
    let graceful = two
        .established("one")
        .negotiated
        .expect("agreed")
        .graceful_restart;
    let graceful = graceful.expect("graceful restart");
    assert_eq!(
        (graceful.restarted, graceful.restart_time, graceful.forwarding),
        (true, 120, vec!["IPv4".to_owned(), "IPv6".to_owned()])
    );
    two.kernel_has(&one.pod_cidrs(), true);
    // End-of-RIB from all is what allows the sweep.
    until("End-of-RIB of both families", || {
        let events = one.events();
        let count = events.iter().filter(|event| event.kind == "EndOfRib").count();
        (count >= 2).then_some(()).ok_or_else(|| format!("{events:?}"))
    });
    until("all is installed", || {
        let fib = one.ask::<Status>("GET /v1/status")?.fib;
        (fib.installed == 4)
            .then_some(())
            .ok_or_else(|| format!("{fib:?}"))
    });
    assert_eq!(one.kernel(), routes, "adopted as they were");
    assert_eq!(two.kernel(), of_neighbour, "the neighbour's stay");
    // A monitor is heard up to a route of our own making.
    for ((agent, other), (watched, monitor)) in [(&one, &two), (&two, &one)]
        .into_iter()
        .zip(watched.iter().zip(&mut monitors))
    {
        agent.namespace.ip("route add 192.0.2.0/24 dev lo");
        let seen = until("the monitor is through", || {
            let seen = std::fs::read_to_string(watched).map_err(|error| error.to_string())?;
            if seen.contains("192.0.2.0/24") {
                Ok(seen)
            } else {
                Err(seen)
            }
        });
        monitor.kill().expect("it runs");
        monitor.wait().expect("it ends");
        for prefix in other.pod_cidrs() {
            assert!(!seen.contains(&prefix), "{prefix} was touched: {seen}");
        }
    }
}

#[test]
fn an_agent_that_ends_while_its_kubelet_shuts_the_machine_down_says_so() {
    let Some((mut one, two)) = pair() else { return };
    one.established("two");
    two.kernel_has(&one.pod_cidrs(), true);
    let node = std::fs::read_to_string(one.manifest("node.yaml")).expect("a manifest");
    let says = |text: &str| {
        let ready =
            format!("{{type: Ready, status: \"False\", reason: KubeletNotReady, message: \"{text}\"}}");
        node.replacen("status:\n", &format!("status:\n  conditions: [{ready}]\n"), 1)
    };
    let routes = one.kernel();
    one.write(
        "node.yaml",
        &says("[container runtime is down, node is shutting down]"),
    );
    // The agent tells of what it has read last when that is wrong: so this was read too.
    one.write("wrong.yaml", "kind: [");
    until("the change is read", || {
        let problems = one.problems()?;
        (!problems.is_empty())
            .then_some(())
            .ok_or_else(|| "not yet".to_owned())
    });
    // Until it ends, its pods may need the network.
    assert_eq!(two.peer("one").expect("one").flaps, 0);
    assert!(one.terminate().success());
    two.kernel_has(&one.pod_cidrs(), false);
    let peer = two.peer("one").expect("one");
    let error = peer.last_error.expect("a NOTIFICATION");
    assert_eq!((error.code, error.subcode), (Some(6), Some(2)), "{error:?}");
    assert_eq!((peer.retained, one.kernel()), (None, routes));
}

#[test]
fn an_agent_that_follows_another_says_whom_it_waits_for() {
    let Some((mut one, two)) = pair() else { return };
    // A dead one: so the choice waits as long as it may.
    let ghost = bgp_peer("ghost", "10.0.12.9", 65009);
    one.write("peers.yaml", &(bgp_peer("two", "10.0.12.2", 65002) + &ghost));
    one.established("two");
    one.kernel_has(&two.pod_cidrs(), true);
    let routes = one.kernel();
    one.kill();
    one.start();
    one.established("two");
    let status: Status = one.ask("GET /v1/status").expect("status");
    let restarting = status.restarting.expect("it waits");
    let waiting: Vec<(&str, &str)> = restarting
        .waiting
        .iter()
        .map(|awaited| (awaited.peer.as_str(), awaited.what.as_str()))
        .collect();
    assert_eq!(waiting, [("ghost", "its session")]);
    assert!(restarting.left_seconds <= 15, "{restarting:?}");
    // Meanwhile the neighbour needs not wait: it is told all that is told it in any case.
    two.kernel_has(&one.pod_cidrs(), true);
    until("the choice", || {
        let status = one.ask::<Status>("GET /v1/status")?;
        status
            .restarting
            .map_or(Ok(()), |restarting| Err(format!("{restarting:?}")))
    });
    let chosen = one
        .events()
        .into_iter()
        .find(|event| event.kind == "RoutesSelected");
    let text = chosen.expect("an event").text;
    assert!(text.contains("not heard by then: ghost"), "{text}");
    assert_eq!(one.kernel(), routes, "all the same");
}

#[test]
fn a_node_that_shuts_down_says_so_and_stays_without_sessions_until_its_agent_is_started_again() {
    let Some((mut one, two)) = pair() else { return };
    one.established("two");
    one.kernel_has(&two.pod_cidrs(), true);
    two.kernel_has(&one.pod_cidrs(), true);
    let routes = one.kernel();

    let (status, body) = one.ask_raw("POST /v1/node:shutdown").expect("an answer");
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("every neighbour was told"), "{body}");
    // By then it was.
    two.kernel_has(&one.pod_cidrs(), false);
    let peer = two.peer("one").expect("one");
    let error = peer.last_error.expect("a NOTIFICATION");
    assert_eq!(
        (error.direction.as_str(), error.code, error.subcode),
        ("Received", Some(6), Some(2)),
        "{error:?}"
    );
    assert!(error.text.contains("the node shuts down"), "{error:?}");
    assert_eq!(peer.retained, None);

    // It answers, and no change brings a session up.
    one.write("peers.yaml", &bgp_peer("also-two", "10.0.12.2", 65002));
    let status = until("the change is planned", || {
        let config = one.ask::<Config>("GET /v1/config")?;
        let planned = config.peers.contains_key("also-two");
        planned.then_some(()).ok_or_else(|| format!("{config:?}"))?;
        one.ask::<Status>("GET /v1/status")
    });
    assert_eq!((status.shut_down, status.established), (true, 0));
    let (status, body) = one.ask_raw("POST /v1/node:shutdown").expect("an answer");
    assert_eq!(status, 200, "asked again: {body}");
    assert_eq!(one.kernel(), routes, "its own routes stay");
    assert_eq!(two.peer("one").expect("one").flaps, 1);

    // Whoever starts it again wants its sessions; its neighbours keep nothing for it.
    one.write("peers.yaml", &bgp_peer("two", "10.0.12.2", 65002));
    assert!(one.terminate().success());
    one.start();
    let graceful = two
        .established("one")
        .negotiated
        .expect("agreed")
        .graceful_restart;
    let graceful = graceful.expect("graceful restart");
    assert_eq!((graceful.restarted, graceful.forwarding), (false, Vec::new()));
    two.kernel_has(&one.pod_cidrs(), true);
}
