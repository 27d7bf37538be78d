//! Routes that say goodbye (RFC 8326), and what a peer that is drained is told.

use std::collections::BTreeSet;

use flatroute_bgp::policy::{Action, Condition, Drain, Filter, PrefixRange, Rule, Set, Source, Verdict};
use flatroute_bgp::rib::{Batch, PeerIndex, PeerSettings, Rib};
use flatroute_bgp::types::{Community, FamilySet, PathAttributes, Prefix};

use super::support::{drain, fib, hop, path, peer, prefix, reasons, rib};

const NET: &str = "10.244.2.0/24";
const OURS: [&str; 2] = ["10.244.1.0/24", "10.244.9.0/24"];

/// Peer `n` of AS 65000 + n.
fn with(n: u8, drain: Drain) -> PeerSettings {
    PeerSettings {
        drain,
        ..peer(n, 65000 + u32::from(n))
    }
}

/// Lets everybody be told until nobody has anything pending; what `p` holds then.
fn settle(rib: &mut Rib, peers: &[PeerIndex], told: &mut [BTreeSet<Prefix>]) {
    while peers.iter().any(|p| rib.has_pending(*p)) {
        for (p, told) in peers.iter().zip(told.iter_mut()) {
            for batch in drain(rib, *p) {
                match batch {
                    Batch::Reach { prefixes, .. } => told.extend(prefixes),
                    Batch::Unreach { prefixes, .. } => told.retain(|t| !prefixes.contains(t)),
                    Batch::UnreachPaths { .. }
                    | Batch::ReachPaths { .. }
                    | Batch::EndOfRib(_)
                    | Batch::BeginRefresh(_)
                    | Batch::EndRefresh(_) => {}
                }
            }
        }
    }
}

/// The communities with which a peer is told now of our first prefix.
fn communities_of(rib: &mut Rib, p: PeerIndex) -> Vec<Community> {
    let batches = drain(rib, p);
    let mut of_ours = batches.iter().filter_map(|batch| match batch {
        Batch::Reach { attributes, prefixes } => prefixes.contains(&prefix(OURS[0])).then_some(attributes),
        Batch::Unreach { .. }
        | Batch::UnreachPaths { .. }
        | Batch::ReachPaths { .. }
        | Batch::EndOfRib(_)
        | Batch::BeginRefresh(_)
        | Batch::EndRefresh(_) => None,
    });
    of_ours.next().unwrap().communities.clone()
}

fn all() -> BTreeSet<Prefix> {
    OURS.iter().map(|p| prefix(p)).collect()
}

/// §4.3: a route of an external peer with GRACEFUL_SHUTDOWN is the last choice; inside the AS LOCAL_PREF says so.
#[test]
fn a_route_that_says_goodbye_is_the_last_choice() {
    let mut rib = rib();
    let (near, far) = (rib.peer_up(peer(1, 65001)), rib.peer_up(peer(2, 65002)));
    let goodbye = PathAttributes {
        communities: vec![Community::GRACEFUL_SHUTDOWN],
        ..path(&[65001])
    };
    rib.announce(near, hop(1), &path(&[65001]), &[prefix(NET)]);
    rib.announce(far, hop(2), &path(&[65002, 65003]), &[prefix(NET)]);
    assert_eq!(reasons(&rib, NET)[0], ("peer1".to_owned(), "best".to_owned()));
    rib.announce(near, hop(1), &goodbye, &[prefix(NET)]);
    assert_eq!(
        reasons(&rib, NET),
        [
            ("peer2".to_owned(), "best".to_owned()),
            ("peer1".to_owned(), "LOCAL_PREF lower (0 < 100)".to_owned())
        ]
    );
    rib.withdraw(far, &[prefix(NET)]);
    assert_eq!(
        fib(&mut rib).last().unwrap().paths.len(),
        1,
        "it is used while it is the only one"
    );

    // An internal peer's LOCAL_PREF is as it says.
    let inside = rib.peer_up(peer(3, 64512));
    let preferred = PathAttributes {
        local_pref: Some(50),
        ..goodbye.clone()
    };
    rib.announce(inside, hop(3), &preferred, &[prefix(NET)]);
    assert_eq!(reasons(&rib, NET)[0], ("peer3".to_owned(), "best".to_owned()));
}

/// What a drained peer is told says goodbye, and what it says is the last choice: at once, in place.
#[test]
fn a_drained_peer_is_told_and_is_the_last_choice() {
    let mut rib = rib();
    let (p, other) = (
        rib.peer_up(with(1, Drain::None)),
        rib.peer_up(with(2, Drain::None)),
    );
    rib.originate(prefix(OURS[0]), Source::PodCidrs);
    rib.announce(p, hop(1), &path(&[65001]), &[prefix(NET)]);
    rib.announce(other, hop(2), &path(&[65002]), &[prefix(NET)]);
    drain(&mut rib, p);
    drain(&mut rib, other);
    assert_eq!(fib(&mut rib)[0].paths.len(), 2);
    rib.set_peer(p, with(1, Drain::Announced));
    assert_eq!(communities_of(&mut rib, p), [Community::GRACEFUL_SHUTDOWN]);
    assert!(fib(&mut rib).is_empty(), "others first, the kernel last");
    rib.settle();
    rib.settle();
    assert_eq!(fib(&mut rib)[0].paths.len(), 1, "it leaves the multipath");
    rib.set_peer(p, with(1, Drain::None));
    assert_eq!(communities_of(&mut rib, p), []);
    assert_eq!(fib(&mut rib)[0].paths.len(), 2);
}

/// Accepts one prefix.
fn only(one: &str) -> Filter {
    let range = PrefixRange {
        prefix: prefix(one),
        ge: 24,
        le: 24,
    };
    Filter {
        rules: vec![Rule {
            name: "only".into(),
            condition: Condition {
                prefixes: Some(vec![range]),
                ..Condition::default()
            },
            action: Action::Accept,
            set: Set::default(),
        }],
        default: Verdict::Reject,
    }
}

/// Two peers that were told our prefixes, and then the first was drained: what each holds.
fn one_of_two() -> (Rib, [PeerIndex; 2], [BTreeSet<Prefix>; 2]) {
    let mut rib = rib();
    for ours in OURS {
        rib.originate(prefix(ours), Source::PodCidrs);
    }
    let peers = [1, 2].map(|n| rib.peer_up(with(n, Drain::None)));
    let mut told = [BTreeSet::new(), BTreeSet::new()];
    settle(&mut rib, &peers, &mut told);
    rib.set_peer(peers[0], with(1, Drain::Withdrawn));
    settle(&mut rib, &peers, &mut told);
    assert_eq!(told, [BTreeSet::new(), all()]);
    (rib, peers, told)
}

/// What others are told is withdrawn from a drained peer, what nobody else is told stays; and so whatever becomes of what
/// the others are told.
#[test]
fn a_drain_takes_no_prefix_off_the_network() {
    let (mut rib, peers, mut told) = one_of_two();
    let [p, other] = peers;
    let reason = rib.export_reason(p, prefix(OURS[0]));
    assert_eq!(reason, "withheld: the peer is drained, and others are told");

    // The other may have one of them no more; then it is drained too, and then neither.
    let partly = PeerSettings {
        export: only(OURS[1]).into(),
        ..with(2, Drain::None)
    };
    rib.set_peer(other, partly);
    settle(&mut rib, &peers, &mut told);
    assert_eq!(
        told,
        [
            BTreeSet::from([prefix(OURS[0])]),
            BTreeSet::from([prefix(OURS[1])])
        ]
    );
    let reason = rib.export_reason(p, prefix(OURS[0]));
    assert!(
        reason.ends_with("LastPath: the peer is drained, but no other is told"),
        "{reason}"
    );
    rib.set_peer(other, with(2, Drain::Announced));
    settle(&mut rib, &peers, &mut told);
    assert_eq!(told, [all(), all()]);
    rib.set_peer(other, with(2, Drain::None));
    settle(&mut rib, &peers, &mut told);
    assert_eq!(told, [BTreeSet::new(), all()]);

    // What could not be sent to the other is not elsewhere.
    rib.untell(other, &[prefix(OURS[0])]);
    settle(&mut rib, &peers, &mut told);
    assert_eq!(told[0], BTreeSet::from([prefix(OURS[0])]));
}

/// The same, whatever becomes of the others themselves.
#[test]
fn who_is_drained_steps_in_while_others_are_away() {
    let (mut rib, [p, other], mut told) = one_of_two();
    rib.peer_down(other);
    settle(&mut rib, &[p], &mut told[..1]);
    assert_eq!(told[0], all());
    let other = rib.peer_up(with(2, Drain::None));
    told[1].clear();
    settle(&mut rib, &[p, other], &mut told);
    assert_eq!(told, [BTreeSet::new(), all()]);

    rib.peer_lost(other, FamilySet::BOTH, 1);
    settle(&mut rib, &[p], &mut told[..1]);
    assert_eq!(told[0], all());
    rib.peer_back(other, with(2, Drain::None));
    told[1].clear();
    settle(&mut rib, &[p, other], &mut told);
    assert_eq!(told, [BTreeSet::new(), all()]);

    for ours in OURS {
        rib.unoriginate(prefix(ours));
    }
    settle(&mut rib, &[p, other], &mut told);
    assert_eq!(told[0], BTreeSet::new());
    rib.peer_down(p);
    rib.peer_down(other);
    fib(&mut rib);
    assert_eq!(rib.usage(), flatroute_bgp::rib::Usage::default());
}

/// Who is of another kind, or held to the link, does not carry what a drained peer carried.
#[test]
fn a_neighbour_on_the_link_is_no_other_path() {
    for other in [
        PeerSettings {
            next_hops: Some(Vec::new()),
            ..with(2, Drain::None)
        },
        peer(2, 64512),
        with(2, Drain::Withdrawn),
    ] {
        let mut rib = rib();
        rib.originate(prefix(OURS[0]), Source::PodCidrs);
        let (p, other) = (rib.peer_up(with(1, Drain::Withdrawn)), rib.peer_up(other));
        let mut told = [BTreeSet::new(), BTreeSet::new()];
        settle(&mut rib, &[p, other], &mut told);
        assert_eq!(told[0], BTreeSet::from([prefix(OURS[0])]));
    }
}
