use std::collections::BTreeMap;
use std::sync::Arc;

use flatroute_api::{BGPPeerSpec, Problem, ProblemReason};

use super::*;
use crate::report::snapshot::{Object, Objects};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn session(state: &str, since: u64) -> control::Peer {
    serde_json::from_value(serde_json::json!({
        "name": "tor-a", "address": "10.0.1.1", "asn": 65001, "localASN": 64512, "state": state,
        "sinceSeconds": since, "flaps": 0, "prefixes": [],
    }))
    .unwrap()
}

fn snapshot(taken: i64, session: control::Peer) -> Snapshot {
    Snapshot {
        taken: at(taken),
        node_uid: Some("uid".to_owned()),
        router_id: "10.0.0.1".parse().ok(),
        local_asn: 64512,
        ready: Ready::Yes,
        restarting: false,
        peers: vec![Peer {
            object: "tor-a".to_owned(),
            session,
            not_negotiated: Vec::new(),
        }],
        fib: control::FibStatus::default(),
        behind: Duration::ZERO,
        objects: Arc::default(),
    }
}

fn with_counts(taken: i64, received: u64) -> Snapshot {
    let mut session = session("Established", taken.unsigned_abs() - 1);
    session.prefixes = vec![control::PrefixCounts {
        family: "IPv4".to_owned(),
        received,
        ..control::PrefixCounts::default()
    }];
    snapshot(taken, session)
}

fn refused(state: &str, text: &str, ago: u64) -> control::Peer {
    control::Peer {
        last_error: Some(control::LastError {
            direction: "Received".to_owned(),
            code: Some(2),
            subcode: Some(2),
            text: text.to_owned(),
            seconds_ago: Some(ago),
        }),
        ..session(state, 3)
    }
}

#[test]
fn a_restart_shows_what_is_waited_for_and_what_is_kept() {
    let mut away = session("Active", 3);
    away.prefixes = vec![control::PrefixCounts {
        family: "IPv4".to_owned(),
        received: 7,
        stale: 7,
        ..control::PrefixCounts::default()
    }];
    let restarting = Snapshot {
        restarting: true,
        ready: Ready::Waiting("NoRoutes: IPv4".to_owned()),
        ..snapshot(1000, away)
    };
    let first = status(&restarting, None);
    assert_eq!(first.phase, Some(NodePhase::Restarting));
    let prefixes = &first.peers[0].prefixes[0];
    assert_eq!((prefixes.received, prefixes.stale), (7, 7));
    let chosen = Snapshot {
        restarting: false,
        ..restarting
    };
    let then = status(&chosen, Some(&first));
    assert_eq!(then.phase, Some(NodePhase::Starting));
    assert_eq!(weight(&first, &then), Some(Weight::State));
}

/// One snapshot after the other, and how much the second matters.
#[test]
fn only_what_matters_is_written_soon() {
    let ready = |ready| Snapshot {
        ready,
        ..snapshot(1010, session("Established", 20))
    };
    let up = |taken, since| snapshot(taken, session("Established", since));
    let down = |taken, state| snapshot(taken, session(state, 2));
    let failing = |taken, state, text, ago| snapshot(taken, refused(state, text, ago));
    let behind = |seconds| Snapshot {
        behind: Duration::from_secs(seconds),
        ..up(1010, 20)
    };
    let rows = [
        ("nothing, ten seconds later", up(1000, 10), up(1010, 20), None),
        ("ages are read one second off", up(1000, 10), up(1010, 21), None),
        (
            "up again after a flap",
            up(1000, 10),
            up(1010, 3),
            Some(Weight::State),
        ),
        ("up", down(1000, "Active"), up(1010, 3), Some(Weight::State)),
        ("down", up(1000, 10), down(1010, "Active"), Some(Weight::State)),
        (
            "a dead one is tried",
            down(1000, "Active"),
            down(1010, "Connect"),
            None,
        ),
        (
            "a dead one answers",
            down(1000, "Active"),
            down(1010, "OpenSent"),
            Some(Weight::Figures),
        ),
        (
            "the same refusal again",
            failing(1000, "Active", "Bad Peer AS", 1),
            failing(1010, "Connect", "Bad Peer AS", 2),
            None,
        ),
        (
            "another refusal",
            failing(1000, "Active", "Bad Peer AS", 1),
            failing(1010, "Active", "Hold Timer Expired", 2),
            Some(Weight::State),
        ),
        (
            "more routes",
            with_counts(1000, 5),
            with_counts(1010, 9),
            Some(Weight::Figures),
        ),
        (
            "the first routes",
            with_counts(1000, 0),
            with_counts(1010, 9),
            Some(Weight::State),
        ),
        (
            "ready",
            ready(Ready::Waiting("NoRoutes: x".to_owned())),
            ready(Ready::Yes),
            Some(Weight::State),
        ),
        ("behind for a moment", behind(0), behind(9), None),
        ("behind for long", behind(0), behind(10), Some(Weight::State)),
    ];
    for (what, before, after, want) in rows {
        weighs(what, &before, &after, want);
    }
}

fn weighs(what: &str, before: &Snapshot, after: &Snapshot, want: Option<Weight>) {
    let before = status(before, None);
    let after = status(after, Some(&before));
    assert_eq!(weight(&before, &after), want, "{what}: {before:#?} {after:#?}");
}

#[test]
fn a_status_says_all_that_is_known() {
    let mut peer = refused("Established", "Cease, Administrative Shutdown (6/2)", 60);
    peer.negotiated = Some(control::Negotiated {
        families: vec!["IPv4".to_owned()],
        hold_time: 90,
        keepalive_time: 30,
        router_id: "192.0.2.1".to_owned(),
        ..control::Negotiated::default()
    });
    let mut snapshot = snapshot(1000, peer);
    snapshot.peers[0].not_negotiated = vec![Family::IPv6];
    snapshot.fib = control::FibStatus {
        installed: 7,
        failed: 1,
        ..control::FibStatus::default()
    };
    let json = serde_json::to_value(status(&snapshot, None)).unwrap();
    assert_eq!(json["routerID"], "10.0.0.1");
    assert_eq!(
        (&json["desiredPeers"], &json["establishedPeers"]),
        (&1.into(), &1.into())
    );
    assert_eq!(json["phase"], "Running");
    let peer = &json["peers"][0];
    assert_eq!(peer["since"], "1970-01-01T00:16:37Z");
    assert_eq!(peer["lastError"]["time"], "1970-01-01T00:15:40Z");
    assert_eq!(peer["negotiated"]["families"][0], "IPv4");
    assert_eq!(peer["notNegotiated"][0], "IPv6");
    let conditions = json["conditions"].as_array().unwrap();
    let words: Vec<_> = conditions
        .iter()
        .map(|c| [&c["type"], &c["status"], &c["reason"]].map(|word| word.as_str().unwrap()))
        .collect();
    assert_eq!(
        words,
        [
            ["NetworkReady", "True", "Ready"],
            ["FIBSynced", "False", "RoutesFailed"]
        ]
    );
}

#[test]
fn a_bgp_peer_without_a_session_is_listed_with_the_reason() {
    let spec = BGPPeerSpec::new(
        "10.0.1.9".parse().unwrap(),
        flatroute_api::values::PeerAsn::External,
    );
    let object = Object {
        uid: None,
        generation: Some(1),
        spec,
    };
    let problem = |name: &str| {
        Problem::new(
            "BGPPeer",
            name,
            "spec.importFilters",
            "no BGPFilter x",
            "create it",
        )
        .because(ProblemReason::FilterNotFound)
    };
    let objects = Objects {
        peers: BTreeMap::from([("tor-a".to_owned(), object.clone()), ("tor-b".to_owned(), object)]),
        problems: vec![
            problem("tor-a"),
            problem("tor-b"),
            problem("tor-b"),
            problem("unknown"),
        ],
        ..Objects::default()
    };
    let snapshot = Snapshot {
        objects: Arc::new(objects),
        ..snapshot(1000, session("Established", 1))
    };
    let status = status(&snapshot, None);
    let listed: Vec<_> = status
        .peers
        .iter()
        .map(|p| (p.name.as_str(), p.reason.as_deref()))
        .collect();
    assert_eq!(
        listed,
        [
            ("tor-a", None),
            ("tor-b", Some("FilterNotFound: no BGPFilter x; create it"))
        ]
    );
    assert_eq!((status.desired_peers, status.established_peers), (2, 1));
}

#[test]
fn a_bgp_peer_that_finds_no_neighbour_is_listed_without_an_address() {
    let spec = BGPPeerSpec {
        peer_address: None,
        discover: Some(flatroute_api::objects::Discover::DefaultGateways),
        ..BGPPeerSpec::new(
            "10.0.1.9".parse().unwrap(),
            flatroute_api::values::PeerAsn::External,
        )
    };
    let object = Object {
        uid: None,
        generation: Some(1),
        spec,
    };
    let problem = Problem::new("BGPPeer", "tors", "spec.discover", "none here", "add one")
        .because(ProblemReason::NoDefaultGateway);
    let objects = Objects {
        peers: BTreeMap::from([("tors".to_owned(), object)]),
        problems: vec![problem],
        ..Objects::default()
    };
    let snapshot = Snapshot {
        peers: Vec::new(),
        objects: Arc::new(objects),
        ..snapshot(1000, session("Established", 1))
    };
    let status = status(&snapshot, None);
    assert_eq!((status.desired_peers, status.established_peers), (1, 0));
    let listed = serde_json::to_value(&status.peers).unwrap();
    assert_eq!(
        listed,
        serde_json::json!([{
            "name": "tors", "state": "Idle", "flaps": 0, "reason": "NoDefaultGateway: none here; add one"
        }])
    );
}

#[test]
fn a_status_is_bounded_and_counts_go_on() {
    let mut snapshot = snapshot(1000, session("Active", 1));
    let first = snapshot.peers[0].clone();
    snapshot.peers = (0..600)
        .map(|n| {
            let mut peer = first.clone();
            peer.object = format!("p{n:03}");
            peer.session.reason = Some("x".repeat(5000));
            peer
        })
        .collect();
    let status = status(&snapshot, None);
    assert_eq!(
        (status.peers.len(), status.desired_peers),
        (MAX_STATUS_PEERS, 600)
    );
    assert!(
        status
            .peers
            .iter()
            .all(|p| p.reason.as_ref().unwrap().len() <= 1024)
    );
}
