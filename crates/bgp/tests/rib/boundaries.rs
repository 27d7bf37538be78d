//! What of a route stays inside the AS, and which next hop goes with it.

use std::sync::Arc;

use flatroute_bgp::policy::{Action, Condition, Filter, Rule, Set, Source, Verdict};
use flatroute_bgp::rib::{Batch, PeerSettings, Rib};
use flatroute_bgp::types::{Asn, ExtendedCommunity, LargeCommunity, NextHop, PathAttributes, RouterId};

use super::support::{drain, fib, hop, hop6, path, peer, prefix, reasons, rib};

const NET: &str = "10.244.2.0/24";

/// RFC 4456 §8: our own route, reflected back to us.
#[test]
fn an_originator_id_of_ours_is_refused() {
    let mut rib = rib();
    let settings = peer(1, 64512);
    let (own, other) = (settings.local_router_id, RouterId(77));
    let p = rib.peer_up(settings);
    for (originator, reason) in [
        (own, format!("ORIGINATOR_ID {own} is this speaker")),
        (other, "best".to_owned()),
    ] {
        let attributes = PathAttributes {
            originator_id: Some(originator),
            ..path(&[65001])
        };
        rib.announce(p, hop(1), &attributes, &[prefix(NET)]);
        assert_eq!(reasons(&rib, NET), [("peer1".to_owned(), reason)]);
    }
}

/// RFC 4456 §8, RFC 4360 §6: what stays inside an AS is not in what another AS is told.
#[test]
fn what_stays_inside_the_as_is_not_told_outside() {
    let mut rib = rib();
    let inside = rib.peer_up(peer(1, 64512));
    let outside = rib.peer_up(peer(2, 65002));
    drain(&mut rib, outside);
    let (target, bandwidth) = (
        ExtendedCommunity(0x0002_fde9_0000_0001),
        ExtendedCommunity(0x4004 << 48),
    );
    let attributes = PathAttributes {
        originator_id: Some(RouterId(77)),
        cluster_list: vec![RouterId(78)],
        extended_communities: vec![bandwidth, target],
        large_communities: vec![LargeCommunity {
            global: 1,
            local1: 2,
            local2: 3,
        }],
        only_to_customer: Some(Asn(65009)),
        ..path(&[65001])
    };
    rib.announce(inside, hop(1), &attributes, &[prefix(NET)]);
    let batches = drain(&mut rib, outside);
    let [Batch::Reach { attributes: sent, .. }] = batches.as_slice() else {
        panic!("{batches:?}");
    };
    assert_eq!(
        (sent.originator_id, sent.cluster_list.as_slice()),
        (None, &[][..])
    );
    assert_eq!(sent.extended_communities, [target]);
    assert_eq!(sent.large_communities, attributes.large_communities);
    assert_eq!(sent.only_to_customer, Some(Asn(65009)));
}

/// RFC 8950: without an IPv4 address of ours an IPv6 one is told, to who takes that; and so is one that was learned.
#[test]
fn ipv4_routes_go_by_ipv6_where_that_was_agreed_on() {
    let without_ipv4 = |n: u8, asn: u32, extended_next_hop: bool| {
        let mut settings = peer(n, asn);
        settings.local.ipv4 = None;
        settings.extended_next_hop = extended_next_hop;
        settings
    };
    let sent = |rib: &mut Rib, p| match drain(rib, p).as_slice() {
        [] => None,
        [Batch::Reach { attributes, .. }] => attributes.next_hop,
        other => panic!("{other:?}"),
    };
    let mut rib = rib();
    let from = rib.peer_up(without_ipv4(1, 65001, true));
    let takes = rib.peer_up(without_ipv4(2, 65002, true));
    let refuses = rib.peer_up(without_ipv4(3, 65003, false));
    let both = rib.peer_up(PeerSettings {
        extended_next_hop: true,
        ..peer(4, 65004)
    });
    let inside = rib.peer_up(PeerSettings {
        extended_next_hop: true,
        ..peer(5, 64512)
    });
    let inside_without = rib.peer_up(peer(6, 64512));
    for p in [takes, refuses, both, inside, inside_without] {
        drain(&mut rib, p);
    }
    rib.announce(from, hop6(1), &path(&[65001]), &[prefix(NET)]);
    assert_eq!(reasons(&rib, NET), [("peer1".to_owned(), "best".to_owned())]);
    let changes = fib(&mut rib);
    assert_eq!(changes[0].paths[0].next_hop, hop6(1), "it goes into the kernel");
    let ours = NextHop::V6 {
        global: "fd00::2:2".parse().unwrap(),
        link_local: Some("fe80::2:2".parse().unwrap()),
    };
    assert_eq!(sent(&mut rib, takes), Some(ours));
    assert_eq!(sent(&mut rib, refuses), None, "there is no next hop to tell");
    let v4 = |n: u8| NextHop::V4([10, 0, n, 2].into());
    assert_eq!(
        sent(&mut rib, both),
        Some(v4(4)),
        "an IPv4 address is better known"
    );
    let learned = NextHop::V6 {
        global: "fd00::1:1".parse().unwrap(),
        link_local: None,
    };
    assert_eq!(sent(&mut rib, inside), Some(learned));
    assert_eq!(sent(&mut rib, inside_without), Some(v4(6)));
}

/// A neighbour to which nothing learned can pass costs nothing for what is learned, and hears of it when its filter opens.
#[test]
fn who_hears_only_what_is_ours_has_nothing_pending_for_what_is_learned() {
    let ours = Arc::new(Filter {
        rules: vec![Rule {
            name: "built-in PodCIDRs".into(),
            condition: Condition {
                sources: Some(vec![Source::PodCidrs]),
                ..Condition::default()
            },
            action: Action::Accept,
            set: Set::default(),
        }],
        default: Verdict::Reject,
    });
    let all = Arc::new(Filter::accept_all());
    let mut rib = rib();
    let p = rib.peer_up(peer(1, 65001));
    let other = rib.peer_up(PeerSettings {
        export: ours.clone(),
        ..peer(2, 65002)
    });
    drain(&mut rib, other);
    rib.announce(p, hop(1), &path(&[65001]), &[prefix(NET)]);
    assert!(!rib.has_pending(other), "it is not even looked at");
    rib.originate(prefix("10.244.9.0/24"), Source::PodCidrs);
    assert_eq!(drain(&mut rib, other).len(), 1);
    rib.originate(prefix(NET), Source::PodCidrs);
    assert_eq!(drain(&mut rib, other).len(), 1, "ours while it is ours");
    rib.unoriginate(prefix(NET));
    let batches = drain(&mut rib, other);
    assert!(
        matches!(batches.as_slice(), [Batch::Unreach { .. }]),
        "{batches:?}"
    );
    rib.set_filters(other, all.clone(), all.clone());
    let batches = drain(&mut rib, other);
    assert!(
        matches!(batches.as_slice(), [Batch::Reach { prefixes, .. }] if *prefixes == [prefix(NET)]),
        "{batches:?}"
    );
    rib.set_filters(other, all, ours);
    let batches = drain(&mut rib, other);
    assert!(
        matches!(batches.as_slice(), [Batch::Unreach { .. }]),
        "{batches:?}"
    );
}

/// RFC 8950 on a link that nobody has numbered: a peer at a link-local address is told ours, for both families, and is reached
/// by its own on its interface.
#[test]
fn a_peer_at_a_link_local_address_gives_and_gets_link_local_next_hops() {
    const NET6: &str = "fd00:244:2::/64";
    let on_link = |n: u8, asn: u32, extended_next_hop: bool| PeerSettings {
        address: format!("fe80::{n}:1").parse().unwrap(),
        interface: Some(u32::from(n)),
        extended_next_hop,
        ..peer(n, asn)
    };
    let alone = |address: &str| NextHop::V6 {
        global: address.parse().unwrap(),
        link_local: None,
    };
    let mut rib = rib();
    let from = rib.peer_up(on_link(1, 65001, true));
    let takes = rib.peer_up(on_link(2, 65002, true));
    let refuses = rib.peer_up(on_link(3, 65003, false));
    let inside = rib.peer_up(on_link(4, 64512, true));
    for p in [takes, refuses, inside] {
        drain(&mut rib, p);
    }
    rib.announce(from, hop6(1), &path(&[65001]), &[prefix(NET)]);
    rib.announce(from, alone("fe80::1:1"), &path(&[65001]), &[prefix(NET6)]);
    for change in fib(&mut rib) {
        let leg = &change.paths[0];
        assert_eq!(
            (leg.next_hop, leg.interface),
            (alone("fe80::1:1"), Some(1)),
            "{change:?}"
        );
    }
    let told = |rib: &mut Rib, p| {
        let of = |batch: &Batch| {
            let Batch::Reach { attributes, .. } = batch else {
                panic!("{batch:?}")
            };
            attributes.next_hop
        };
        drain(rib, p).iter().map(of).collect::<Vec<_>>()
    };
    let ours = Some(alone("fe80::2:2"));
    assert_eq!(told(&mut rib, takes), [ours, ours]);
    let ipv4 = Some(NextHop::V4([10, 0, 3, 2].into()));
    assert_eq!(told(&mut rib, refuses), [ipv4, Some(alone("fe80::3:2"))]);
    // What is global may be passed on inside the AS; what is not is us.
    let learned = Some(NextHop::V6 {
        global: "fd00::1:1".parse().unwrap(),
        link_local: None,
    });
    let own = Some(NextHop::V6 {
        global: "fd00::4:2".parse().unwrap(),
        link_local: Some("fe80::4:2".parse().unwrap()),
    });
    assert_eq!(told(&mut rib, inside), [learned, own]);
    // An IPv4 next hop, or a global one, lies wherever it lies.
    rib.announce(from, hop(1), &path(&[65001]), &[prefix(NET)]);
    let changes = fib(&mut rib);
    assert_eq!(
        (changes[0].paths[0].next_hop, changes[0].paths[0].interface),
        (hop(1), None)
    );
}
