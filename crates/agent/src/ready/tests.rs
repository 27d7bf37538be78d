use super::*;

fn session(negotiated: FamilySet, end_of_rib: FamilySet, silent: u64) -> Option<Session> {
    Some(Session {
        negotiated,
        end_of_rib,
        silent: Duration::from_secs(silent),
    })
}

fn peer(name: &str, offered: FamilySet, session: Option<Session>) -> Peer {
    Peer {
        name: name.to_owned(),
        fabric: true,
        offered,
        held: None,
        session,
    }
}

fn facts(peers: Vec<Peer>) -> Facts {
    Facts {
        stale: None,
        lacks_pod_cidrs: false,
        peers,
        kernel: Kernel {
            wanted: 2,
            installed: 2,
            ..Kernel::default()
        },
    }
}

fn missing(facts: &Facts) -> String {
    judge(facts).map_or_else(|missing| missing.to_string(), |()| "ready".to_owned())
}

const NONE: FamilySet = FamilySet::NONE;
const BOTH: FamilySet = FamilySet::BOTH;

fn v4() -> FamilySet {
    FamilySet::from_iter([Family::Ipv4])
}

fn v6() -> FamilySet {
    FamilySet::from_iter([Family::Ipv6])
}

/// An Established neighbour that was offered both families.
fn up(name: &str, negotiated: FamilySet, end_of_rib: FamilySet, silent: u64) -> Peer {
    peer(name, BOTH, session(negotiated, end_of_rib, silent))
}

/// One that is not.
fn dead(name: &str, offered: FamilySet) -> Peer {
    peer(name, offered, None)
}

/// Neighbours, and how the answer begins.
#[test]
fn one_neighbour_a_family_that_has_sent_all_is_enough() {
    let node = Peer {
        fabric: false,
        ..dead("n2", BOTH)
    };
    let only = |name, family: FamilySet| peer(name, family, session(family, family, 0));
    let dead_b = "NoRoutes: IPv6: b is not Established";
    let rows: [(&str, Vec<Peer>, &str); 14] = [
        ("nobody to wait for", vec![], "ready"),
        (
            "not up",
            vec![dead("a", BOTH)],
            "NoRoutes: IPv4: a is not Established",
        ),
        (
            "up, nothing said",
            vec![up("a", BOTH, NONE, 0)],
            "NoRoutes: IPv4: a is Established",
        ),
        (
            "one family said",
            vec![up("a", BOTH, v4(), 0)],
            "NoRoutes: IPv6: a is Established",
        ),
        ("both said", vec![up("a", BOTH, BOTH, 0)], "ready"),
        (
            "almost silent",
            vec![up("a", BOTH, NONE, 9)],
            "NoRoutes: IPv4: a is Established",
        ),
        ("silent", vec![up("a", BOTH, NONE, 10)], "ready"),
        (
            "the other is dead",
            vec![up("a", BOTH, BOTH, 0), dead("b", BOTH)],
            "ready",
        ),
        ("a family each", vec![only("a", v4()), only("b", v6())], "ready"),
        ("one of them dead", vec![only("a", v4()), dead("b", v6())], dead_b),
        (
            "left out, nobody else has it",
            vec![up("a", v4(), v4(), 0)],
            "ready",
        ),
        (
            "left out, another may",
            vec![up("a", v4(), v4(), 0), dead("b", BOTH)],
            dead_b,
        ),
        (
            "the nearest explains it",
            vec![dead("a", BOTH), up("b", BOTH, NONE, 3)],
            "NoRoutes: IPv4: b (and 1 more) is Established",
        ),
        ("a node", vec![node], "ready"),
    ];
    for (what, peers, want) in rows {
        let got = missing(&facts(peers));
        assert!(got.starts_with(want), "{what}: {got}");
    }
}

#[test]
fn a_neighbour_without_its_key_is_named_with_the_reason() {
    let held = Peer {
        held: Some("SecretNotFound: bgp".to_owned()),
        ..peer("a", BOTH, None)
    };
    assert_eq!(
        missing(&facts(vec![held.clone()])),
        "NoRoutes: IPv4: a is held down: SecretNotFound: bgp"
    );
    // One that is only not up yet is nearer to an answer.
    assert_eq!(
        missing(&facts(vec![held, peer("b", BOTH, None)])),
        "NoRoutes: IPv4: b (and 1 more) is not Established"
    );
}

#[test]
fn a_stale_copy_and_a_node_without_pod_cidrs_come_first() {
    let dead = vec![peer("a", BOTH, None)];
    let mut facts = facts(dead);
    facts.lacks_pod_cidrs = true;
    assert!(missing(&facts).starts_with("NoPodCIDRs: "));
    facts.stale = Some("a copy of 12:00".to_owned());
    assert_eq!(missing(&facts), "NotListed: a copy of 12:00");
}

#[test]
fn the_kernel_holds_what_was_chosen() {
    let k = Kernel {
        wanted: 4,
        installed: 4,
        ..Kernel::default()
    };
    let rows = [
        ("all of it", k, "ready"),
        ("nothing is wanted", Kernel::default(), "ready"),
        (
            "some are pending",
            Kernel {
                installed: 3,
                pending: 1,
                ..k
            },
            "NotInstalled: 3 of 4",
        ),
        (
            "more are on their way",
            Kernel {
                handing_over: true,
                ..k
            },
            "NotInstalled: 4 of 4",
        ),
        (
            "one is refused",
            Kernel {
                installed: 3,
                failed: 1,
                ..k
            },
            "ready",
        ),
        (
            "all are refused",
            Kernel {
                installed: 0,
                failed: 4,
                ..k
            },
            "NotInstalled: the kernel took none",
        ),
    ];
    for (what, kernel, want) in rows {
        let got = missing(&Facts {
            kernel,
            ..facts(vec![])
        });
        assert!(got.starts_with(want), "{what}: {got}");
    }
}

#[test]
fn what_a_neighbour_left_out_of_its_open_is_said() {
    let peers = [
        peer("a", BOTH, session(v4(), NONE, 0)),
        peer("b", v4(), session(v4(), NONE, 0)),
        peer("c", BOTH, None),
    ];
    let found: Vec<_> = not_negotiated(&peers).collect();
    assert_eq!(found, [("a", Family::Ipv6)]);
    // Another session carries what this one leaves out.
    let both = [
        peer("a", BOTH, session(v4(), NONE, 0)),
        peer("b", BOTH, session(BOTH, NONE, 0)),
    ];
    assert_eq!(not_negotiated(&both).next(), None);
}
