//! Route reflection (RFC 4456) in one RIB: who is told what of whom, what is added, and what is refused.

use flatroute_bgp::policy::{NextHopMode, Reflection};
use flatroute_bgp::rib::{Batch, PeerIndex, PeerSettings, Rib};
use flatroute_bgp::types::{NextHop, PathAttributes, Prefix, RouterId};

use super::support::{drain, fib, hop, hop6, path, peer, prefix, reasons, rib};

const NET: &str = "10.244.2.0/24";
const CLUSTER: RouterId = RouterId(0x0a00_00fe);

/// An internal peer of a reflector.
fn member(n: u8, client: bool) -> PeerSettings {
    PeerSettings {
        reflection: Some(Reflection {
            cluster_id: CLUSTER,
            client,
        }),
        ..peer(n, 64512)
    }
}

/// Past End-of-RIB.
fn settle(rib: &mut Rib, peers: &[PeerIndex]) {
    for p in peers {
        drain(rib, *p);
    }
}

/// What a peer was told of one route, with the prefixes.
fn told(rib: &mut Rib, p: PeerIndex) -> Option<(PathAttributes, Vec<Prefix>)> {
    match drain(rib, p).as_slice() {
        [] => None,
        [Batch::Reach { attributes, prefixes }] => Some(((**attributes).clone(), prefixes.clone())),
        other => panic!("{other:?}"),
    }
}

/// §6, as a table: each kind of sender, and who hears of it.
#[test]
fn clients_are_told_all_and_all_are_told_of_clients() {
    for (from, want) in [
        // client, another client, not a client, external
        (0, [false, true, true, true]),
        (1, [true, false, true, true]),
        (2, [true, true, false, true]),
        (3, [true, true, true, false]),
    ] {
        let mut rib = rib();
        let peers: Vec<PeerIndex> = [
            member(1, true),
            member(2, true),
            member(3, false),
            PeerSettings {
                reflection: member(4, false).reflection,
                ..peer(4, 65004)
            },
        ]
        .into_iter()
        .map(|settings| rib.peer_up(settings))
        .collect();
        let fourth = rib.peer_up(member(5, false));
        settle(&mut rib, &peers);
        settle(&mut rib, &[fourth]);
        let asns: &[u32] = if from == 3 { &[65004] } else { &[] };
        rib.announce(
            peers[from],
            hop(u8::try_from(from).unwrap() + 1),
            &path(asns),
            &[prefix(NET)],
        );
        let heard: Vec<bool> = peers.iter().map(|p| told(&mut rib, *p).is_some()).collect();
        assert_eq!(heard, want, "from peer {from}");
        // Another one that is no client hears of clients and of external peers only.
        assert_eq!(told(&mut rib, fourth).is_some(), from != 2, "from peer {from}");
        if from == 2 {
            assert_eq!(
                rib.export_reason(fourth, prefix(NET)),
                "withheld: learned from an internal peer"
            );
        }
        rib.withdraw(peers[from], &[prefix(NET)]);
        for (p, heard) in peers.iter().zip(want) {
            let batches = drain(&mut rib, *p);
            assert_eq!(
                matches!(batches.as_slice(), [Batch::Unreach { .. }]),
                heard,
                "{batches:?}"
            );
        }
    }
}

/// §8, §10: ORIGINATOR_ID once, our cluster in front, and all else as it was.
#[test]
fn what_is_reflected_says_where_it_has_been_and_changes_in_nothing_else() {
    let mut rib = rib();
    let client = rib.peer_up(member(1, true));
    let second = rib.peer_up(member(2, true));
    let third = rib.peer_up(member(3, true));
    settle(&mut rib, &[client, second, third]);
    let as_sent = PathAttributes {
        med: Some(7),
        local_pref: Some(120),
        ..path(&[65009])
    };
    rib.announce(client, hop(9), &as_sent, &[prefix(NET)]);
    let reflected = PathAttributes {
        next_hop: Some(hop(9)),
        originator_id: Some(RouterId(1)),
        cluster_list: vec![CLUSTER],
        ..as_sent.clone()
    };
    assert_eq!(
        told(&mut rib, second),
        Some((reflected.clone(), vec![prefix(NET)]))
    );
    assert_eq!(told(&mut rib, third), Some((reflected, vec![prefix(NET)])));

    // From another reflector: the originator stays, the list grows.
    let twice = PathAttributes {
        originator_id: Some(RouterId(77)),
        cluster_list: vec![RouterId(5), RouterId(6)],
        ..as_sent
    };
    rib.announce(client, hop(9), &twice, &[prefix(NET)]);
    let (attributes, _) = told(&mut rib, second).unwrap();
    assert_eq!(attributes.originator_id, Some(RouterId(77)));
    assert_eq!(attributes.cluster_list, [CLUSTER, RouterId(5), RouterId(6)]);
}

/// Two clients that say the very same of two prefixes: each has its own ORIGINATOR_ID.
#[test]
fn equal_attributes_of_two_clients_have_two_originators() {
    let mut rib = rib();
    let (one, two) = (rib.peer_up(member(1, true)), rib.peer_up(member(2, true)));
    let third = rib.peer_up(member(3, true));
    settle(&mut rib, &[one, two, third]);
    rib.announce(one, hop(9), &path(&[]), &[prefix("10.1.0.0/16")]);
    rib.announce(two, hop(9), &path(&[]), &[prefix("10.2.0.0/16")]);
    let mut said: Vec<(String, Option<RouterId>)> = Vec::new();
    for batch in drain(&mut rib, third) {
        let Batch::Reach { attributes, prefixes } = batch else {
            panic!("{batch:?}");
        };
        said.extend(prefixes.iter().map(|p| (p.to_string(), attributes.originator_id)));
    }
    said.sort();
    assert_eq!(
        said,
        [
            ("10.1.0.0/16".to_owned(), Some(RouterId(1))),
            ("10.2.0.0/16".to_owned(), Some(RouterId(2)))
        ]
    );
}

/// §8: what has been through our own cluster, or comes from us, is refused with a reason; a peer is not told what it
/// originated.
#[test]
fn loops_are_refused_coming_in_and_not_made_going_out() {
    let mut rib = rib();
    let from = rib.peer_up(member(1, false));
    let client = rib.peer_up(member(2, true));
    settle(&mut rib, &[from, client]);
    let other = RouterId(9);
    for (originator, clusters, reason, told) in [
        (Some(other), vec![other], "best", true),
        (
            Some(other),
            vec![other, CLUSTER],
            "CLUSTER_LIST has this speaker's cluster 10.0.0.254",
            false,
        ),
        (
            Some(RouterId(1000)),
            vec![other],
            "ORIGINATOR_ID 0.0.3.232 is this speaker",
            false,
        ),
        // Peer 2 is the originator.
        (Some(RouterId(2)), vec![other], "best", false),
    ] {
        rib.withdraw(from, &[prefix(NET)]);
        drain(&mut rib, client);
        let attributes = PathAttributes {
            originator_id: originator,
            cluster_list: clusters,
            ..path(&[])
        };
        rib.announce(from, hop(1), &attributes, &[prefix(NET)]);
        assert_eq!(reasons(&rib, NET), [("peer1".to_owned(), reason.to_owned())]);
        assert_eq!(drain(&mut rib, client).is_empty(), !told, "{attributes:?}");
    }
    assert_eq!(
        rib.export_reason(client, prefix(NET)),
        "withheld: the peer is the originator of the route"
    );

    // Who is no reflector has no cluster, and takes the same list.
    let plain = rib.peer_up(peer(3, 64512));
    let attributes = PathAttributes {
        cluster_list: vec![CLUSTER],
        ..path(&[])
    };
    rib.announce(plain, hop(3), &attributes, &[prefix("10.3.0.0/16")]);
    assert_eq!(reasons(&rib, "10.3.0.0/16")[0].1, "best");
}

/// A reflector does not become the next hop because the real one cannot be told; it does when it is told to.
#[test]
fn a_reflector_takes_no_traffic_upon_itself() {
    let mut rib = rib();
    let client = rib.peer_up(member(1, true));
    // The reflector has no IPv6 address, which it does not need to pass one on.
    let mut without_ipv6 = member(2, true);
    without_ipv6.local.ipv6 = None;
    let second = rib.peer_up(without_ipv6);
    let itself = rib.peer_up(PeerSettings {
        next_hop: NextHopMode::ItSelf,
        ..member(3, true)
    });
    let on_link = rib.peer_up(PeerSettings {
        address: "fe80::9".parse().unwrap(),
        interface: Some(4),
        ..member(4, true)
    });
    settle(&mut rib, &[client, second, itself, on_link]);
    let net6 = "fd00:244::/64";
    rib.announce(client, hop6(9), &path(&[]), &[prefix(net6)]);
    let global = |hop: NextHop| NextHop::V6 {
        global: hop.addr().to_string().parse().unwrap(),
        link_local: None,
    };
    assert_eq!(told(&mut rib, second).unwrap().0.next_hop, Some(global(hop6(9))));
    let own = told(&mut rib, itself).unwrap().0.next_hop.unwrap();
    assert_eq!(own.addr().to_string(), "fd00::3:2");

    fib(&mut rib);
    // A link-local address alone, of who is on such a link, an address that the peer itself has, an IPv6 one for IPv4 to who does not take it.
    let local = NextHop::V6 {
        global: "fe80::9".parse().unwrap(),
        link_local: None,
    };
    for (from, net, hop) in [
        (on_link, "fd00:245::/64", local),
        (client, NET, hop(2)),
        (client, NET, hop6(9)),
    ] {
        rib.announce(from, hop, &path(&[]), &[prefix(net)]);
        let batches = drain(&mut rib, second);
        let tells = batches.iter().any(|b| matches!(b, Batch::Reach { .. }));
        assert!(!tells, "{hop:?}: {batches:?}");
        assert_eq!(
            rib.export_reason(second, prefix(net)),
            "withheld: the peer cannot be told its next hop, and a reflector takes nobody's place"
        );
        assert_eq!(fib(&mut rib).len(), 1, "it goes into our own kernel");
    }
}

/// A change of who is a client, or of the cluster, is made in place.
#[test]
fn a_peer_becomes_a_client_without_a_reset() {
    let mut rib = rib();
    let (from, to) = (rib.peer_up(member(1, false)), rib.peer_up(member(2, false)));
    settle(&mut rib, &[from, to]);
    rib.announce(from, hop(1), &path(&[]), &[prefix(NET)]);
    assert_eq!(told(&mut rib, to), None);
    for (change, tells) in [
        ((from, member(1, true)), true),
        ((from, member(1, false)), false),
        ((to, member(2, true)), true),
        ((to, peer(2, 64512)), false),
    ] {
        rib.set_peer(change.0, change.1);
        let batches = drain(&mut rib, to);
        let [batch] = batches.as_slice() else {
            panic!("{batches:?}")
        };
        assert_eq!(matches!(batch, Batch::Reach { .. }), tells);
    }
    // Another cluster: what had been through it is taken, and what is reflected says the other one.
    let cluster = |id| {
        Some(Reflection {
            cluster_id: RouterId(id),
            client: true,
        })
    };
    let attributes = PathAttributes {
        cluster_list: vec![CLUSTER],
        ..path(&[])
    };
    rib.set_peer(from, member(1, true));
    rib.set_peer(to, member(2, true));
    drain(&mut rib, to);
    rib.announce(from, hop(1), &attributes, &[prefix(NET)]);
    assert!(matches!(drain(&mut rib, to).as_slice(), [Batch::Unreach { .. }]));
    for (p, n) in [(from, 1), (to, 2)] {
        rib.set_peer(
            p,
            PeerSettings {
                reflection: cluster(4),
                ..peer(n, 64512)
            },
        );
    }
    assert_eq!(told(&mut rib, to).unwrap().0.cluster_list, [RouterId(4), CLUSTER]);
}
