//! Neighbours that an interface finds.

use flatroute_bgp::types::Family;

use super::*;

fn heard(on: &[(&str, u32, Option<Heard>)]) -> Facts {
    let listened = on
        .iter()
        .filter_map(|(_, index, heard)| Some((*index, heard.clone()?)));
    Facts {
        links: Links {
            interfaces: on
                .iter()
                .map(|(name, index, _)| ((*name).to_owned(), *index))
                .collect(),
            heard: listened.collect(),
            ..Links::default()
        },
        ..Facts::default()
    }
}

fn router(address: &str, several: bool) -> Option<Heard> {
    Some(Heard::Router {
        address: address.parse().unwrap(),
        several,
    })
}

fn told(plan: &Plan) -> Vec<String> {
    let problems = plan.problems.iter();
    problems.map(|p| format!("[{}] {p}", p.reason)).collect()
}

fn tors() -> String {
    NODE_V4.to_owned()
        + &object("BGPPeer", "tor-a", "{interface: up1, peerASN: External}")
        + &object("BGPPeer", "tor-b", "{interface: up2, peerASN: Internal}")
}

#[test]
fn who_is_heard_on_an_interface_is_the_neighbour() {
    let facts = heard(&[
        ("up1", 7, router("fe80::1", false)),
        ("up2", 8, router("fe80::1", false)),
        ("up3", 9, router("fe80::3", false)),
    ]);
    let plan = planned(&tors(), &facts);
    assert_eq!(told(&plan), [""; 0]);
    let peers = &plan.speaker.peers;
    assert_eq!(peers.len(), 2);
    for (name, index) in [("tor-a", 7), ("tor-b", 8)] {
        let peer = &peers[&PeerName::from(name)];
        assert_eq!(
            (peer.address, peer.interface),
            ("fe80::1".parse().unwrap(), Some(index))
        );
        assert!(peer.session.extended_next_hop);
        assert_eq!(plan.origins[&PeerName::from(name)].object.as_deref(), Some(name));
    }
    let sought: Vec<_> = plan
        .sought
        .iter()
        .map(|(n, s)| (n.as_str(), s.index, s.outcome))
        .collect();
    assert_eq!(
        sought,
        [
            ("tor-a", Some(7), Outcome::Found),
            ("tor-b", Some(8), Outcome::Found)
        ]
    );
}

#[test]
fn the_families_are_those_of_the_pods_too() {
    let node = "---\napiVersion: v1\nkind: Node\nmetadata: {name: n1}\nspec: {podCIDRs: [10.244.1.0/24, 'fd00:244:1::/64']}\n\
                status: {addresses: [{type: InternalIP, address: 10.255.0.1}]}\n";
    let both = object("BGPPeer", "tor", "{interface: up1, peerASN: External}");
    let one = object(
        "BGPPeer",
        "tor",
        "{interface: up1, peerASN: External, families: [IPv6]}",
    );
    let facts = heard(&[("up1", 7, router("fe80::1", false))]);
    for (object, families) in [
        (both, FamilySet::BOTH),
        (one, [Family::Ipv6].into_iter().collect()),
    ] {
        let plan = planned(&(node.to_owned() + &object), &facts);
        let peer = &plan.speaker.peers[&PeerName::from("tor")];
        assert_eq!(
            (peer.session.families, plan.sought["tor"].families),
            (families, families)
        );
    }
}

#[test]
fn why_nobody_is_found_is_told() {
    let cases = [
        (None, ""),
        (Some(Heard::Waiting), ""),
        (
            Some(Heard::Silent),
            "[NoRouterAdvertisement] BGPPeer/tor-a: spec.interface: nobody has sent",
        ),
        (
            Some(Heard::NoLinkLocalAddress),
            "[NoLinkLocalAddress] BGPPeer/tor-a: spec.interface: interface up1",
        ),
        (
            Some(Heard::Deaf("no".to_owned())),
            "[NoRawSocket] BGPPeer/tor-a: spec.interface: interface up1",
        ),
    ];
    for (what, want) in cases {
        let facts = heard(&[("up1", 7, what.clone()), ("up2", 8, router("fe80::2", false))]);
        let plan = planned(&tors(), &facts);
        let found = told(&plan);
        assert_eq!(found.len(), usize::from(!want.is_empty()), "{what:?}: {found:?}");
        assert!(
            found.iter().all(|told| told.starts_with(want)),
            "{what:?}: {found:?}"
        );
        // The other one is there, and this one is listened for.
        let peers: Vec<_> = plan.speaker.peers.keys().map(PeerName::as_str).collect();
        assert_eq!(peers, ["tor-b"], "{what:?}");
        let outcomes = [&plan.sought["tor-a"], &plan.sought["tor-b"]].map(|sought| sought.outcome);
        assert_eq!(outcomes, [Outcome::Missing, Outcome::Found], "{what:?}");
    }
    let plan = planned(&tors(), &heard(&[("up2", 8, router("fe80::2", false))]));
    assert_eq!(told(&plan).len(), 1);
    assert_eq!(plan.problems[0].reason, ProblemReason::InterfaceNotFound);
    let nowhere = &plan.sought["tor-a"];
    assert_eq!((nowhere.index, nowhere.outcome), (None, Outcome::Missing));
}

#[test]
fn of_several_routers_one_is_the_neighbour_and_that_is_told() {
    let facts = heard(&[
        ("up1", 7, router("fe80::1", true)),
        ("up2", 8, router("fe80::2", false)),
    ]);
    let plan = planned(&tors(), &facts);
    assert_eq!(plan.speaker.peers.len(), 2);
    assert_eq!(plan.problems.len(), 1);
    assert_eq!(plan.problems[0].reason, ProblemReason::SeveralRouters);
}

#[test]
fn what_is_down_is_not_missing_and_who_is_not_selected_does_not_listen() {
    let spec = "{interface: up1, peerASN: External, state: Down}";
    let facts = heard(&[("up1", 7, Some(Heard::Silent))]);
    let plan = planned(&(NODE_V4.to_owned() + &object("BGPPeer", "tor", spec)), &facts);
    assert_eq!(plan.sought["tor"].outcome, Outcome::Unwanted);
    let spec = "{interface: up1, peerASN: External, nodeSelector: {matchLabels: {rack: r9}}}";
    let plan = planned(&(NODE_V4.to_owned() + &object("BGPPeer", "tor", spec)), &facts);
    assert_eq!((plan.sought.len(), told(&plan)), (0, vec![]));
}

/// One object names the address that another one's interface finds: the first by name has it, and the other is told.
#[test]
fn an_address_that_another_object_names_is_a_conflict() {
    let manifests = NODE_V4.to_owned()
        + &object(
            "BGPPeer",
            "a",
            "{peerAddress: fe80::1, interface: up1, peerASN: External}",
        )
        + &object("BGPPeer", "b", "{interface: up1, peerASN: External}");
    let plan = planned(&manifests, &heard(&[("up1", 7, router("fe80::1", false))]));
    let peers: Vec<_> = plan.speaker.peers.keys().map(PeerName::as_str).collect();
    assert_eq!(peers, ["a"]);
    assert_eq!(plan.problems[0].reason, ProblemReason::ConflictingPeer);
    assert_eq!(
        (plan.problems[0].name.as_str(), plan.problems[0].field.as_str()),
        ("b", "spec.interface")
    );
}
