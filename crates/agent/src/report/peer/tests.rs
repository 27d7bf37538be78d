use flatroute_api::objects::{Family, FamilyPrefixes, Negotiated, SessionState};
use flatroute_api::values::PeerAsn;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn object() -> Object {
    Object {
        uid: None,
        generation: Some(3),
        spec: BGPPeerSpec::new("10.0.1.1".parse().unwrap(), PeerAsn::External),
    }
}

/// What a node reports of the BGPPeer `tor`.
fn session(is_up: bool, received: u64) -> NodePeer {
    NodePeer {
        name: "tor".to_owned(),
        address: "10.0.1.1".parse().ok(),
        interface: None,
        asn: None,
        state: if is_up {
            SessionState::Established
        } else {
            SessionState::Active
        },
        reason: None,
        since: Some(Time(at(60))),
        flaps: 0,
        last_error: None,
        negotiated: None,
        not_negotiated: Vec::new(),
        prefixes: vec![FamilyPrefixes {
            family: Family::IPv4,
            received,
            accepted: received,
            installed: received / 2,
            advertised: 1,
            stale: 0,
        }],
    }
}

fn held(reason: &str) -> NodePeer {
    NodePeer {
        reason: Some(reason.to_owned()),
        prefixes: Vec::new(),
        ..session(false, 0)
    }
}

/// What a node reports that finds no neighbour.
fn nobody(reason: &str) -> NodePeer {
    NodePeer {
        address: None,
        since: None,
        ..held(reason)
    }
}

fn nodes(sessions: &[&[NodePeer]]) -> Nodes {
    let node = |(n, peers): (usize, &&[NodePeer])| {
        let status = BGPNodeStatusStatus {
            peers: peers.to_vec(),
            ..BGPNodeStatusStatus::default()
        };
        (format!("n{n}"), status)
    };
    sessions.iter().enumerate().map(node).collect()
}

/// Type, status and reason of each condition.
fn words(status: &BGPPeerStatus) -> Vec<String> {
    let word = |c: &Condition| format!("{}={} {}", c.type_, c.status, c.reason);
    status.conditions.iter().map(word).collect()
}

fn decide(object: &Object, objects: &Objects, nodes: &Nodes) -> BGPPeerStatus {
    status("tor", object, objects, nodes, true, &[], at(100))
}

/// What the nodes report; the conditions; how the sentence of `Established` begins.
type Row<'a> = (&'a str, Nodes, [&'a str; 3], &'a str);

fn check(rows: &[Row<'_>]) {
    for (what, nodes, want, sentence) in rows {
        let status = decide(&object(), &Objects::default(), nodes);
        let types = ["Accepted", "ResolvedRefs", "Established"];
        let want: Vec<String> = types.iter().zip(want).map(|(t, w)| format!("{t}={w}")).collect();
        assert_eq!(words(&status), want, "{what}");
        let message = &status.conditions[2].message;
        assert!(message.starts_with(sentence), "{what}: {message}");
    }
}

#[test]
fn sessions_make_the_condition_established() {
    let (up, down) = (|| session(true, 4), || session(false, 0));
    let no_v6 = NodePeer {
        not_negotiated: vec![Family::IPv6],
        ..up()
    };
    let only = |family| NodePeer {
        negotiated: Some(Negotiated {
            families: vec![family],
            ..Negotiated::default()
        }),
        not_negotiated: [Family::IPv4, Family::IPv6]
            .into_iter()
            .filter(|f| *f != family)
            .collect(),
        ..up()
    };
    let other = || NodePeer {
        name: "other".to_owned(),
        ..down()
    };
    let with = |established| ["True Accepted", "True ResolvedRefs", established];
    check(&[
        (
            "all are up",
            nodes(&[&[up()], &[up(), other()]]),
            with("True Established"),
            "2 nodes have it",
        ),
        (
            "one of two sessions of a node is down",
            nodes(&[&[up(), down()]]),
            with("False NotEstablished"),
            "0 of 1 node have it; node n0: 10.0.1.1 is down since 1970-01-01T00:01:00Z",
        ),
        (
            "one node is down",
            nodes(&[&[up()], &[down()]]),
            with("False PartiallyEstablished"),
            "1 of 2 nodes have it; node n1: 10.0.1.1 is down",
        ),
        (
            "all are down",
            nodes(&[&[down()], &[down()]]),
            with("False NotEstablished"),
            "0 of 2 nodes have it; node n0",
        ),
        (
            "nothing is received",
            nodes(&[&[session(true, 0)], &[session(true, 0)]]),
            with("True NoRoutesFromPeer"),
            "no node has received a route",
        ),
        (
            "a family is left out",
            nodes(&[&[up()], &[no_v6]]),
            with("True FamilyNotNegotiated"),
            "node n1: 10.0.1.1 left IPv6 out of its OPEN",
        ),
        (
            "one session carries what the other leaves out",
            nodes(&[&[only(Family::IPv4), only(Family::IPv6)]]),
            with("True Established"),
            "1 node has it",
        ),
    ]);
}

#[test]
fn established_carries_the_reason_of_the_other_conditions() {
    let alone = |reason| nodes(&[&[held(reason)]]);
    check(&[
        (
            "no node has it",
            Nodes::new(),
            [
                "False NoMatchingNodes",
                "True ResolvedRefs",
                "False NoMatchingNodes",
            ],
            "no node runs the agent",
        ),
        (
            "a conflict on one node",
            nodes(&[
                &[session(true, 4)],
                &[held("ConflictingPeer: BGPPeer/a has 10.0.1.1 too; remove one")],
            ]),
            [
                "False ConflictingPeer",
                "True ResolvedRefs",
                "False ConflictingPeer",
            ],
            "node n1: BGPPeer/a has 10.0.1.1 too; remove one",
        ),
        (
            "a missing Secret",
            alone("SecretNotFound: no Secret bgp; create it"),
            ["True Accepted", "False SecretNotFound", "False SecretNotFound"],
            "node n0: no Secret bgp; create it",
        ),
        (
            "a reason of another kind",
            alone("InterfaceNotFound: no eth9; name another"),
            ["False Invalid", "True ResolvedRefs", "False Invalid"],
            "node n0: InterfaceNotFound: no eth9",
        ),
        (
            "a key that the kernel does not take",
            alone("KeyNotSet: EINVAL"),
            ["True Accepted", "True ResolvedRefs", "False NotEstablished"],
            "0 of 1 node have it; node n0: 10.0.1.1 is down since 1970-01-01T00:01:00Z: KeyNotSet: EINVAL",
        ),
    ]);
}

#[test]
fn a_neighbour_that_no_node_finds_is_not_established() {
    check(&[
        (
            "no node finds a gateway",
            nodes(&[
                &[nobody("NoDefaultGateway: node n0 has none; add one")],
                &[nobody("NoDefaultGateway: node n1 has none; add one")],
            ]),
            ["True Accepted", "True ResolvedRefs", "False NoDefaultGateway"],
            "0 of 2 nodes have it; node n0: NoDefaultGateway: node n0 has none; add one",
        ),
        (
            "one node finds a gateway that is down",
            nodes(&[
                &[session(false, 0)],
                &[nobody("NoDefaultGateway: node n1 has none; add one")],
            ]),
            ["True Accepted", "True ResolvedRefs", "False NotEstablished"],
            "0 of 2 nodes have it; node n1: NoDefaultGateway: node n1 has none; add one",
        ),
        (
            "one node finds a gateway that is up",
            nodes(&[
                &[session(true, 4)],
                &[nobody("NoDefaultGateway: node n1 has none; add one")],
            ]),
            ["True Accepted", "True ResolvedRefs", "False PartiallyEstablished"],
            "1 of 2 nodes have it; node n1: NoDefaultGateway: node n1 has none; add one",
        ),
        (
            "nobody advertises on any node's interface",
            nodes(&[
                &[nobody("NoRouterAdvertisement: nobody on eth0 of n0; see")],
                &[nobody("NoRouterAdvertisement: nobody on eth0 of n1; see")],
            ]),
            [
                "True Accepted",
                "True ResolvedRefs",
                "False NoRouterAdvertisement",
            ],
            "0 of 2 nodes have it; node n0: NoRouterAdvertisement: nobody on eth0 of n0; see",
        ),
        (
            "an interface without a link-local address",
            nodes(&[&[nobody("NoLinkLocalAddress: eth0 of n0; see")]]),
            ["True Accepted", "True ResolvedRefs", "False NotEstablished"],
            "0 of 1 node have it; node n0: NoLinkLocalAddress: eth0 of n0; see",
        ),
        (
            "an agent without the capability",
            nodes(&[&[nobody("NoRawSocket: eth0 of n0; see")]]),
            ["True Accepted", "True ResolvedRefs", "False NotEstablished"],
            "0 of 1 node have it; node n0: NoRawSocket: eth0 of n0; see",
        ),
        (
            "no node finds another one",
            nodes(&[&[nobody("NoMatchingNodes: no other Node; label one")]]),
            ["True Accepted", "True ResolvedRefs", "False NoMatchingNodes"],
            "0 of 1 node have it; node n0: NoMatchingNodes: no other Node; label one",
        ),
    ]);
}

#[test]
fn a_range_that_nobody_has_come_from_is_accepted_and_not_established() {
    let mut range = object();
    range.spec.peer_address = None;
    range.spec.listen_range = "10.0.0.0/16".parse().ok();
    let status = decide(&range, &Objects::default(), &nodes(&[]));
    assert_eq!(
        words(&status),
        [
            "Accepted=True Accepted",
            "ResolvedRefs=True ResolvedRefs",
            "Established=False NotEstablished"
        ]
    );
    let message = &status.conditions[2].message;
    assert!(
        message.starts_with("no node has a neighbour from 10.0.0.0/16"),
        "{message}"
    );
    let came = decide(
        &range,
        &Objects::default(),
        &nodes(&[&[session(true, 4)], &[session(true, 6)]]),
    );
    assert_eq!(
        (came.desired_nodes, came.established_nodes, came.received_prefixes),
        (2, 2, 10)
    );
}

#[test]
fn counts_are_of_all_nodes() {
    let found = decide(
        &object(),
        &Objects::default(),
        &nodes(&[&[session(true, 4)], &[session(true, 6)], &[session(false, 0)]]),
    );
    assert_eq!(
        (
            found.desired_nodes,
            found.established_nodes,
            found.received_prefixes,
            found.installed_prefixes
        ),
        (3, 2, 10, 5)
    );
    assert_eq!(found.observed_generation, Some(3));
    assert!(found.conditions.iter().all(|c| c.observed_generation == Some(3)));
}

#[test]
fn a_missing_filter_and_a_neighbour_that_is_down_on_purpose_are_said() {
    let mut with_filter = object();
    with_filter.spec.import_filters = vec!["there".to_owned(), "gone".to_owned()];
    let objects = Objects {
        filters: BTreeSet::from(["there".to_owned()]),
        ..Objects::default()
    };
    let report = nodes(&[&[held("FilterNotFound: no BGPFilter gone; create it")]]);
    let status = decide(&with_filter, &objects, &report);
    assert_eq!(
        words(&status)[1..],
        [
            "ResolvedRefs=False FilterNotFound",
            "Established=False FilterNotFound"
        ]
    );
    assert!(status.conditions[1].message.contains("no usable BGPFilter gone;"));

    let mut down = object();
    down.spec.state = Some(State::Down);
    let status = decide(&down, &objects, &nodes(&[&[session(false, 0)]]));
    assert_eq!(words(&status)[2], "Established=False AdministrativelyDown");
}

#[test]
fn how_far_a_drain_has_come() {
    let mut drained = object();
    drained.spec.state = Some(State::Drained);
    let objects = Objects::default();
    let of = |up: bool, advertised: u64| {
        let mut peer = session(up, 3);
        peer.prefixes[0].advertised = advertised;
        let status = decide(&drained, &objects, &nodes(&[&[peer]]));
        (words(&status)[2].clone(), status.conditions[2].message.clone())
    };
    let (word, message) = of(true, 0);
    assert_eq!(word, "Established=True Drained");
    assert_eq!(
        message,
        "1 node has it drained: nothing is advertised to it any more"
    );
    let (word, message) = of(true, 2);
    assert_eq!(word, "Established=True Drained");
    assert!(
        message.contains("2 prefixes are advertised to it") && message.contains("LastPath"),
        "{message}"
    );
    assert_eq!(of(false, 0).0, "Established=False NotEstablished");
}

#[test]
fn nodes_have_time_to_report() {
    let wait = status(
        "tor",
        &object(),
        &Objects::default(),
        &Nodes::new(),
        false,
        &[],
        at(1),
    );
    assert_eq!(words(&wait)[0], "Accepted=True Accepted");
    assert_eq!(words(&wait)[2], "Established=False NotEstablished");
}

#[test]
fn an_object_that_cannot_be_used_says_why() {
    let problem = Problem::new("BGPPeer", "tor", "spec.interface", "is missing", "name it");
    let status = invalid(&[&problem], &[], at(1));
    assert_eq!(
        words(&status),
        ["Accepted=False Invalid", "Established=False Invalid"]
    );
    assert_eq!(
        status.conditions[0].message,
        "spec.interface: is missing; name it"
    );
}

#[test]
fn figures_weigh_less_than_conditions() {
    let now = |received| {
        decide(
            &object(),
            &Objects::default(),
            &nodes(&[&[session(true, received)]]),
        )
    };
    assert_eq!(weight(&now(4), &now(4)), None);
    assert_eq!(weight(&now(4), &now(5)), Some(Weight::Figures));
    assert_eq!(weight(&now(4), &now(0)), Some(Weight::State));
}

/// What the objects alone decide is told; the rest is not known.
#[test]
fn without_reports_only_the_objects_are_judged() {
    let spec = |text: &str| Object {
        spec: serde_json::from_str(text).unwrap(),
        ..object()
    };
    let objects = Objects {
        node_status_is_off: true,
        ..Objects::default()
    };
    let off = "NodeStatusDisabled";
    for (what, want) in [
        (
            r#"{"peerAddress": "10.0.1.1", "peerASN": 1}"#,
            [off, "ResolvedRefs", off],
        ),
        (
            r#"{"peerAddress": "10.0.1.1", "peerASN": 1, "auth": {"md5": {"secretRef": {"name": "s"}}}}"#,
            [off, off, off],
        ),
        (
            r#"{"peerAddress": "10.0.1.1", "peerASN": 1, "importFilters": ["f"]}"#,
            [off, "FilterNotFound", "FilterNotFound"],
        ),
        (
            r#"{"peerAddress": "10.0.1.1", "peerASN": 1, "importFilters": ["f"], "state": "Down"}"#,
            [off, "FilterNotFound", "AdministrativelyDown"],
        ),
    ] {
        let status = unreported(&spec(what), &objects, &[], at(1));
        let reasons: Vec<&str> = status.conditions.iter().map(|c| c.reason.as_str()).collect();
        assert_eq!(reasons, want, "{what}");
        for condition in &status.conditions {
            assert_eq!(
                condition.status == "Unknown",
                condition.reason == off,
                "{condition:?}"
            );
        }
        assert_eq!((status.desired_nodes, status.observed_generation), (0, Some(3)));
        // The condition to look at says what to do.
        assert!(
            status.conditions[0].message.contains("spec.nodeStatus.mode"),
            "{status:?}"
        );
    }
}
