use flatroute_plan::{Facts, Listing, Origin, plan};

use super::*;

fn happening(kind: &str, peer: Option<&str>) -> Happening {
    Happening {
        kind: kind.to_owned(),
        peer: peer.map(str::to_owned),
        text: "text".to_owned(),
        ..Happening::default()
    }
}

/// The plan of a node with a BGPPeer `tor` and no other.
fn tor() -> Plan {
    let text = "---\napiVersion: flatroute.io/v1alpha1\nkind: BGPPeer\nmetadata: {name: tor}\nspec: {peerAddress: 10.0.1.1, peerASN: 65001}\n\
                ---\napiVersion: v1\nkind: Node\nmetadata: {name: n1}\nspec: {podCIDR: 10.244.1.0/24}\n";
    let merged = flatroute_api::manifest::merge([flatroute_api::manifest::parse("m.yaml", text)]);
    let mut listing = Listing::of(ClusterState::default(), ["m"]);
    listing.listed("m", |state| *state = merged.state);
    plan("n1", &listing.synced().unwrap(), &Facts::default())
}

#[test]
fn what_happens_becomes_events_by_the_names_of_the_api() {
    let mut plan = tor();
    let mut comes_from = |name: &str, object: Option<&str>| {
        let origin = Origin {
            object: object.map(str::to_owned),
            node: None,
            outlives: false,
        };
        plan.origins.insert(PeerName::from(name), origin);
    };
    comes_from("gw-10.0.0.1", Some("gw"));
    comes_from("mesh:n2", None);
    let of = |name: &str| About::Peer(name.to_owned());
    let rows = [
        (
            "PeerEstablished",
            Some("tor"),
            Some((Reason::PeerEstablished, of("tor"), "text")),
        ),
        (
            "PeerDown",
            Some("gw-10.0.0.1"),
            Some((Reason::PeerDown, of("gw"), "gw-10.0.0.1: text")),
        ),
        (
            "PeerDown",
            Some("mesh:n2"),
            Some((Reason::PeerDown, About::Node, "mesh:n2: text")),
        ),
        (
            "PrefixLimit",
            Some("tor"),
            Some((Reason::PrefixLimit, of("tor"), "text")),
        ),
        (
            "MalformedUpdate",
            Some("tor"),
            Some((Reason::RouteRejected, of("tor"), "text")),
        ),
        (
            "ForeignRoute",
            None,
            Some((Reason::RouteRejected, About::Node, "text")),
        ),
        ("FIBDrift", None, Some((Reason::FIBDrift, About::Node, "text"))),
        (
            "AgentRespawned",
            None,
            Some((Reason::AgentRespawned, About::Node, "text")),
        ),
        ("PodRulesInForce", None, None),
        ("Transition", Some("tor"), None),
        ("EndOfRib", Some("tor"), None),
        ("Forbidden", None, None),
    ];
    for (kind, peer, want) in rows {
        let got = told(&happening(kind, peer), Some(&plan));
        let got = got.as_ref().map(|t| (t.reason, t.about.clone(), t.note.as_str()));
        assert_eq!(got, want, "{kind} {peer:?}");
    }
}

#[test]
fn what_happens_to_the_rules_for_pods_is_told_of_the_node() {
    for (kind, want) in [
        ("PodRulesFailed", Reason::PodRulesFailed),
        ("PodRulesDrift", Reason::PodRulesDrift),
    ] {
        let got = told(&happening(kind, None), None).expect("an Event");
        assert_eq!((got.reason, got.about), (want, About::Node));
    }
}

#[test]
fn problems_are_told_of_their_object() {
    let problem = |kind: &str, reason: ProblemReason| {
        Problem::new(kind, "x", "spec.a", "is wrong", "mend it").because(reason)
    };
    let rows = [
        (
            problem("BGPPeer", ProblemReason::Invalid),
            Some((Reason::ConfigurationInvalid, true)),
        ),
        (
            problem("BGPPeer", ProblemReason::SecretNotFound),
            Some((Reason::AuthFailed, true)),
        ),
        (
            problem("BGPPeer", ProblemReason::SecretInvalid),
            Some((Reason::AuthFailed, true)),
        ),
        (
            problem("BGPFilter", ProblemReason::Invalid),
            Some((Reason::ConfigurationInvalid, false)),
        ),
        (
            problem("Node", ProblemReason::ReversePathFilter),
            Some((Reason::NodeNotPrepared, false)),
        ),
        (problem("APIServer", ProblemReason::Forbidden), None),
    ];
    for (problem, want) in rows {
        let got = of_problem(&problem, true).map(|t| (t.reason, matches!(t.about, About::Peer(_))));
        assert_eq!(got, want, "{problem}");
    }
    let told = of_problem(&problem("BGPPeer", ProblemReason::Invalid), true).unwrap();
    assert!(told.everywhere && told.note.contains("spec.a: is wrong; mend it"));
}

#[test]
fn a_session_is_told_with_its_object_and_with_what_it_left_out() {
    let plan = tor();
    let mut seen = Seen::default();
    let session_ = crate::ready::Session {
        negotiated: FamilySet::NONE,
        end_of_rib: FamilySet::NONE,
        silent: Duration::ZERO,
    };
    seen.sessions.insert("tor".to_owned(), session_);
    let peer: control::Peer = serde_json::from_value(serde_json::json!({
        "name": "tor", "address": "10.0.1.1", "localASN": 64512, "state": "Established", "sinceSeconds": 1, "flaps": 0, "prefixes": []
    }))
    .unwrap();
    let told = session(&peer, &plan, &seen);
    assert_eq!(
        (told.object.as_str(), told.not_negotiated),
        ("tor", vec![Family::IPv4])
    );
}

#[test]
fn that_nodes_have_no_status_is_read_from_the_configuration() {
    for (spec, off) in [
        ("{}", false),
        ("{nodeStatus: {}}", false),
        ("{nodeStatus: {mode: Enabled}}", false),
        ("{nodeStatus: {mode: Disabled}}", true),
    ] {
        let text = format!(
            "apiVersion: flatroute.io/v1alpha1\nkind: BGPConfiguration\nmetadata: {{name: default}}\nspec: {spec}\n"
        );
        let merged = flatroute_api::manifest::merge([flatroute_api::manifest::parse("m.yaml", &text)]);
        assert_eq!(objects(&merged.state, &[]).node_status_is_off, off, "{spec}");
    }
    assert!(!objects(&ClusterState::default(), &[]).node_status_is_off);
}
