//! One test a promise, where the model would be a roundabout way to say it.

use std::sync::Arc;

use flatroute_bgp::policy::{
    Action, Condition, Filter, NextHopMode, PrefixLimit, PrefixLimitAction, Rule, Set, Source, Verdict,
};
use flatroute_bgp::rib::{Batch, LimitOutcome, Rib, Usage};
use flatroute_bgp::types::{Asn, Community, Family, NextHop, UnknownAttribute};

use super::support::{drain, fib, hop, hop6, path, peer, prefix, reasons, rib};

const NET: &str = "10.244.2.0/24";

#[test]
fn loop_checks_refuse_with_a_reason() {
    let cases: [(&[u32], NextHop, &str); 8] = [
        (&[65001, 64512], hop(1), "best"),
        (
            &[65001, 64512, 64512],
            hop(1),
            "own AS 64512 stands 2 times in the path, 1 allowed",
        ),
        (
            &[65002],
            hop(1),
            "first AS of the path is 65002, not the peer's 65001",
        ),
        (&[], hop(1), "the path does not begin with the peer's AS 65001"),
        (&[65001, 0], hop(1), "AS 0 in the path"),
        (
            &[65001],
            NextHop::V4("10.0.1.2".parse().unwrap()),
            "next hop 10.0.1.2 is this speaker",
        ),
        (
            &[65001],
            NextHop::V4("0.0.0.0".parse().unwrap()),
            "0.0.0.0 cannot be a next hop",
        ),
        (
            &[65001],
            NextHop::V6 {
                global: "::ffff:10.0.0.1".parse().unwrap(),
                link_local: None,
            },
            "::ffff:10.0.0.1 cannot be a next hop",
        ),
    ];
    for (asns, next_hop, reason) in cases {
        let mut rib = rib();
        let p = rib.peer_up(peer(1, 65001));
        rib.announce(p, next_hop, &path(asns), &[prefix(NET)]);
        assert_eq!(
            reasons(&rib, NET),
            [("peer1".to_owned(), reason.to_owned())],
            "{asns:?}"
        );
        let accepted = usize::from(reason == "best");
        assert_eq!(rib.counts(p, Family::Ipv4).accepted, accepted);
        assert_eq!(fib(&mut rib).len(), accepted);
    }
}

#[test]
fn a_next_hop_off_the_links_is_refused_where_only_such_on_them_are_taken() {
    let mut rib = rib();
    let mut settings = peer(1, 65001);
    settings.next_hops = Some(vec![prefix("10.0.1.0/24"), prefix("fd00:1::/64")]);
    let p = rib.peer_up(settings.clone());
    let v6 = |global: &str| NextHop::V6 {
        global: global.parse().unwrap(),
        link_local: None,
    };
    let off = |addr: &str| format!("NextHopNotOnLink: next hop {addr} is not on a link of this node");
    for (next_hop, reason) in [
        (hop(1), "best".to_owned()),
        (hop(2), off("10.0.2.1")),
        (v6("fd00:1::9"), "best".to_owned()),
        (v6("fd00:2::9"), off("fd00:2::9")),
        (
            v6("fe80::9"),
            "next hop fe80::9 is link-local, and the session is not, so nothing says on which link it is"
                .to_owned(),
        ),
    ] {
        rib.announce(p, next_hop, &path(&[65001]), &[prefix(NET)]);
        assert_eq!(reasons(&rib, NET), [("peer1".to_owned(), reason)], "{next_hop:?}");
    }
    // A link more: what was refused is looked at again.
    rib.announce(p, hop(2), &path(&[65001]), &[prefix(NET)]);
    assert_eq!(fib(&mut rib), []);
    settings.next_hops = Some(vec![prefix("10.0.0.0/16")]);
    rib.set_peer(p, settings);
    assert_eq!(reasons(&rib, NET)[0].1, "best");
}

#[test]
fn an_ipv4_next_hop_cannot_carry_an_ipv6_prefix() {
    let mut rib = rib();
    let p = rib.peer_up(peer(1, 65001));
    rib.announce(p, hop(1), &path(&[65001]), &[prefix("fd00:244::/64")]);
    assert_eq!(
        reasons(&rib, "fd00:244::/64")[0].1,
        "IPv4 next hop for an IPv6 prefix"
    );
}

#[test]
fn a_multicast_prefix_is_refused() {
    for (net, next_hop) in [
        ("224.0.0.0/4", hop(1)),
        ("239.1.0.0/16", hop(1)),
        ("ff02::1/128", hop6(1)),
    ] {
        let mut rib = rib();
        let p = rib.peer_up(peer(1, 65001));
        rib.announce(p, next_hop, &path(&[65001]), &[prefix(net)]);
        assert_eq!(
            reasons(&rib, net)[0].1,
            "a multicast prefix in a unicast family",
            "{net}"
        );
        assert_eq!(fib(&mut rib), [], "{net}");
    }
}

#[test]
fn filters_are_named_as_reasons_and_can_change_without_a_refresh() {
    let mut rib = rib();
    let mut s = peer(1, 65001);
    s.import = Arc::new(Filter {
        rules: vec![Rule {
            name: "rail OwnPodCIDR".into(),
            condition: Condition::default(),
            action: Action::Reject,
            set: Set::default(),
        }],
        default: Verdict::Accept,
    });
    let p = rib.peer_up(s);
    rib.announce(p, hop(1), &path(&[65001]), &[prefix(NET)]);
    assert_eq!(reasons(&rib, NET)[0].1, "filter: rail OwnPodCIDR");
    assert!(fib(&mut rib).is_empty());
    let all = Arc::new(Filter::accept_all());
    rib.set_filters(p, all.clone(), all);
    assert_eq!(reasons(&rib, NET)[0].1, "best");
    assert_eq!(fib(&mut rib).len(), 1);
    rib.set_install(Arc::new(Filter::reject_all()));
    assert_eq!(reasons(&rib, NET)[0].1, "best; not installed: filter: default");
    assert!(fib(&mut rib)[0].paths.is_empty());
}

#[test]
fn two_tors_of_different_ases_share_the_traffic_and_one_that_goes_leaves_the_other() {
    let mut rib = rib();
    let a = rib.peer_up(peer(1, 65001));
    let b = rib.peer_up(peer(2, 65002));
    rib.announce(b, hop(2), &path(&[65002, 64512]), &[prefix(NET)]);
    rib.announce(a, hop(1), &path(&[65001, 64512]), &[prefix(NET)]);
    let changes = fib(&mut rib);
    assert_eq!(changes.len(), 1);
    let hops: Vec<NextHop> = changes[0].paths.iter().map(|p| p.next_hop).collect();
    assert_eq!(hops, [hop(1), hop(2)], "sorted, whoever came first");
    rib.peer_down(a);
    let changes = fib(&mut rib);
    assert_eq!(changes[0].paths.len(), 1);
    rib.peer_down(b);
    assert!(fib(&mut rib)[0].paths.is_empty());
    assert_eq!(rib.usage(), Usage::default());
}

#[test]
fn a_change_that_is_none_for_the_kernel_is_not_told() {
    let mut rib = rib();
    let a = rib.peer_up(peer(1, 65001));
    rib.announce(a, hop(1), &path(&[65001]), &[prefix(NET)]);
    fib(&mut rib);
    rib.announce(a, hop(1), &path(&[65001, 7]), &[prefix(NET)]);
    assert!(fib(&mut rib).is_empty(), "another path, the same next hop");
    rib.withdraw(a, &[prefix(NET)]);
    rib.announce(a, hop(1), &path(&[65001]), &[prefix(NET)]);
    assert!(fib(&mut rib).is_empty(), "a flap cancels out");
}

#[test]
fn external_peers_get_our_as_our_next_hop_and_nothing_internal() {
    let mut rib = rib();
    let from = rib.peer_up(peer(1, 65001));
    let to = rib.peer_up(peer(2, 65002));
    let mut attrs = path(&[65001, 7]);
    attrs.med = Some(5);
    attrs.local_pref = Some(300);
    attrs.unknown = vec![UnknownAttribute {
        flags: 0xc0,
        code: 99,
        value: Box::from([1, 2, 3]),
    }];
    rib.announce(from, hop(1), &attrs, &[prefix(NET)]);
    rib.announce(from, hop6(1), &attrs, &[prefix("fd00:244::/64")]);
    let reach: Vec<_> = drain(&mut rib, to)
        .into_iter()
        .filter_map(|b| match b {
            Batch::Reach { attributes, .. } => Some(attributes),
            Batch::Unreach { .. }
            | Batch::UnreachPaths { .. }
            | Batch::ReachPaths { .. }
            | Batch::EndOfRib(_)
            | Batch::BeginRefresh(_)
            | Batch::EndRefresh(_) => None,
        })
        .collect();
    assert_eq!(reach.len(), 2);
    for a in &reach {
        assert_eq!(a.as_path.to_string(), "64512 65001 7");
        assert_eq!((a.med, a.local_pref), (None, None));
        assert_eq!(a.unknown[0].flags, 0xe0, "Partial");
    }
    assert_eq!(reach[0].next_hop, Some(NextHop::V4("10.0.2.2".parse().unwrap())));
    let own = NextHop::V6 {
        global: "fd00::2:2".parse().unwrap(),
        link_local: Some("fe80::2:2".parse().unwrap()),
    };
    assert_eq!(reach[1].next_hop, Some(own));
    let back = drain(&mut rib, from);
    assert_eq!(
        back,
        [Batch::EndOfRib(Family::Ipv4), Batch::EndOfRib(Family::Ipv6)]
    );
    assert_eq!(
        rib.export_reason(from, prefix(NET)),
        "withheld: learned from this peer"
    );
}

#[test]
fn next_hop_unchanged_passes_it_on_but_never_to_itself() {
    for (address, expected) in [
        ("10.0.2.1", hop(1)),
        ("10.0.1.1", NextHop::V4("10.0.2.2".parse().unwrap())),
    ] {
        let mut rib = rib();
        let from = rib.peer_up(peer(1, 65001));
        let mut s = peer(2, 65002);
        s.next_hop = NextHopMode::Unchanged;
        s.address = address.parse().unwrap();
        let to = rib.peer_up(s);
        rib.announce(from, hop(1), &path(&[65001]), &[prefix(NET)]);
        let Some(Batch::Reach { attributes, .. }) = rib.next_batch(to) else {
            panic!("a route")
        };
        assert_eq!(attributes.next_hop, Some(expected));
    }
}

#[test]
fn without_an_ipv6_address_the_family_is_not_advertised() {
    let mut rib = rib();
    let mut s = peer(1, 65001);
    s.local.ipv6 = None;
    let p = rib.peer_up(s.clone());
    rib.originate(prefix("fd00:244:1::/64"), Source::PodCidrs);
    assert_eq!(
        drain(&mut rib, p),
        [Batch::EndOfRib(Family::Ipv4), Batch::EndOfRib(Family::Ipv6)]
    );
    assert_eq!(
        rib.export_reason(p, prefix("fd00:244:1::/64")),
        "withheld: NoIPv6NextHop"
    );
    s.local.ipv6 = Some("fd00::9".parse().unwrap());
    rib.set_peer(p, s);
    assert!(
        matches!(drain(&mut rib, p)[..], [Batch::Reach { .. }]),
        "told once there is one"
    );
}

#[test]
fn well_known_communities_are_enforced() {
    for (community, external, internal) in [
        (
            Community::NO_EXPORT,
            "withheld: community NO_EXPORT",
            "told (filter: default)",
        ),
        (
            Community::NO_EXPORT_SUBCONFED,
            "withheld: community NO_EXPORT_SUBCONFED",
            "told (filter: default)",
        ),
        (
            Community::NO_ADVERTISE,
            "withheld: community NO_ADVERTISE",
            "withheld: community NO_ADVERTISE",
        ),
    ] {
        let mut rib = rib();
        let from = rib.peer_up(peer(1, 65001));
        let to_external = rib.peer_up(peer(2, 65002));
        let to_internal = rib.peer_up(peer(3, 64512));
        let mut attrs = path(&[65001]);
        attrs.communities = vec![community];
        rib.announce(from, hop(1), &attrs, &[prefix(NET)]);
        assert_eq!(rib.export_reason(to_external, prefix(NET)), external);
        assert_eq!(rib.export_reason(to_internal, prefix(NET)), internal);
    }
}

#[test]
fn prefix_limits_warn_drop_or_end_the_session() {
    let family = Family::Ipv4;
    for (action, outcome, held) in [
        (PrefixLimitAction::Warn, LimitOutcome::Warned { family }, 4),
        (
            PrefixLimitAction::Drop,
            LimitOutcome::Dropped { family, count: 2 },
            2,
        ),
        (PrefixLimitAction::Restart, LimitOutcome::Exceeded { family }, 2),
    ] {
        let mut rib = rib();
        let mut s = peer(1, 65001);
        s.limit = PrefixLimit { limit: 2, action };
        let p = rib.peer_up(s);
        let all: Vec<_> = (1..=4).map(|n| prefix(&format!("10.{n}.0.0/16"))).collect();
        assert_eq!(rib.announce(p, hop(1), &path(&[65001]), &all), outcome);
        assert_eq!(rib.counts(p, family).received, held);
        let again = rib.announce(p, hop(1), &path(&[65001, 7]), &all[..2]);
        assert_eq!(again, LimitOutcome::Within, "those held can change");
        assert_eq!(rib.usage().prefixes, held);
    }
}

#[test]
fn a_prefix_that_stands_twice_in_an_update_counts_once() {
    let mut rib = rib();
    let (p, q) = (rib.peer_up(peer(1, 65001)), rib.peer_up(peer(2, 65002)));
    let twice = [prefix(NET), prefix("10.244.3.0/24"), prefix(NET)];
    rib.announce(p, hop(1), &path(&[65001]), &twice);
    assert_eq!(rib.counts(p, Family::Ipv4).received, 2);
    rib.announce(q, hop(2), &path(&[65002]), &twice);
    rib.withdraw(p, &twice);
    assert_eq!(
        rib.counts(p, Family::Ipv4).received,
        0,
        "also of what another peer still has"
    );
    assert_eq!(rib.counts(q, Family::Ipv4).received, 2);
    rib.withdraw(q, &twice);
    rib.peer_down(p);
    rib.peer_down(q);
    fib(&mut rib);
    assert_eq!(rib.usage(), Usage::default());
}

#[test]
fn with_a_full_limit_a_new_prefix_is_refused_each_time_it_stands_there() {
    let mut rib = rib();
    let mut s = peer(1, 65001);
    s.limit = PrefixLimit {
        limit: 1,
        action: PrefixLimitAction::Drop,
    };
    let p = rib.peer_up(s);
    let new = prefix("10.244.3.0/24");
    let outcome = rib.announce(p, hop(1), &path(&[65001]), &[prefix(NET), new, new, prefix(NET)]);
    assert_eq!(
        outcome,
        LimitOutcome::Dropped {
            family: Family::Ipv4,
            count: 2
        }
    );
    assert_eq!(rib.usage().prefixes, 1);
}

#[test]
fn updates_are_full_whatever_the_order_of_arrival() {
    let mut rib = rib();
    let from = rib.peer_up(peer(1, 65001));
    let to = rib.peer_up(peer(2, 65002));
    for n in 0..200u32 {
        let asn = 100 + n % 4;
        rib.announce(
            from,
            hop(1),
            &path(&[65001, asn]),
            &[prefix(&format!("10.{n}.0.0/16"))],
        );
    }
    rib.originate(prefix("10.244.1.0/24"), Source::PodCidrs);
    let sizes: Vec<usize> = drain(&mut rib, to)
        .iter()
        .filter_map(|b| match b {
            Batch::Reach { prefixes, .. } => Some(prefixes.len()),
            Batch::Unreach { .. }
            | Batch::UnreachPaths { .. }
            | Batch::ReachPaths { .. }
            | Batch::EndOfRib(_)
            | Batch::BeginRefresh(_)
            | Batch::EndRefresh(_) => None,
        })
        .collect();
    assert_eq!(sizes, [50, 50, 50, 50, 1]);
}

#[test]
fn withdrawals_come_first_and_a_route_that_goes_during_a_round_is_not_announced() {
    let mut rib = rib();
    let from = rib.peer_up(peer(1, 65001));
    let to = rib.peer_up(peer(2, 65002));
    let (a, b, c) = (
        prefix("10.1.0.0/16"),
        prefix("10.2.0.0/16"),
        prefix("10.3.0.0/16"),
    );
    rib.announce(from, hop(1), &path(&[65001]), &[a]);
    drain(&mut rib, to);
    rib.announce(from, hop(1), &path(&[65001, 1]), &[b]);
    rib.announce(from, hop(1), &path(&[65001, 2]), &[c]);
    rib.withdraw(from, &[a]);
    let family = Family::Ipv4;
    let prefixes = vec![a];
    assert_eq!(rib.next_batch(to), Some(Batch::Unreach { family, prefixes }));
    assert!(matches!(rib.next_batch(to), Some(Batch::Reach { prefixes, .. }) if prefixes == [b]));
    rib.withdraw(from, &[c]);
    assert_eq!(drain(&mut rib, to), [], "never told, so nothing to take back");
}

#[test]
fn route_refresh_sends_everything_again_and_no_second_end_of_rib() {
    let mut rib = rib();
    let p = rib.peer_up(peer(1, 65001));
    rib.originate(prefix("10.244.1.0/24"), Source::PodCidrs);
    drain(&mut rib, p);
    rib.resend(p, Family::Ipv6);
    assert_eq!(drain(&mut rib, p), []);
    rib.resend(p, Family::Ipv4);
    assert!(matches!(&drain(&mut rib, p)[..], [Batch::Reach { prefixes, .. }] if prefixes.len() == 1));
}

#[test]
fn our_own_route_wins_and_internal_peers_get_a_local_pref() {
    let mut rib = rib();
    let a = rib.peer_up(peer(1, 65001));
    let internal = rib.peer_up(peer(2, 64512));
    rib.announce(a, hop(1), &path(&[65001]), &[prefix(NET)]);
    rib.originate(prefix(NET), Source::NodeAddresses);
    assert_eq!(reasons(&rib, NET)[0].1, "our own route is preferred");
    let Some(Batch::Reach { attributes, .. }) = rib.next_batch(internal) else {
        panic!("a route")
    };
    assert_eq!(attributes.local_pref, Some(100));
    assert_eq!(attributes.as_path.iter().next(), None::<Asn>);
    assert_eq!(
        attributes.next_hop,
        Some(NextHop::V4("10.0.2.2".parse().unwrap()))
    );
}

#[test]
fn the_seed_changes_nothing_that_can_be_seen() {
    let run = |seed| {
        let mut rib = Rib::new(super::support::RELAXED, Arc::new(Filter::accept_all()), seed);
        let a = rib.peer_up(peer(1, 65001));
        let b = rib.peer_up(peer(2, 65002));
        for n in 0..100u32 {
            let net = prefix(&format!("10.{}.0.0/16", n * 7 % 100));
            rib.announce(a, hop(1), &path(&[65001, n % 9]), &[net]);
        }
        (drain(&mut rib, b), fib(&mut rib))
    };
    assert_eq!(run(1), run(2));
}

/// A route that changes and changes back while its round is handed out looks as it was told before. It is told again all
/// the same when it was to be: the peer would take it for gone at EoRR, or has lost it.
#[test]
fn a_route_that_flaps_during_a_refresh_is_told_again() {
    for bracketed in [true, false] {
        let mut rib = rib();
        let from = rib.peer_up(peer(1, 65001));
        let to = rib.peer_up(peer(2, 65002));
        let (a, b) = (prefix("10.1.0.0/24"), prefix("10.2.0.0/24"));
        let other = path(&[65001, 7]);
        rib.announce(from, hop(1), &path(&[65001]), &[a]);
        rib.announce(from, hop(1), &other, &[b]);
        drain(&mut rib, to);
        if bracketed {
            rib.resend_bracketed(to, Family::Ipv4);
            assert_eq!(rib.next_batch(to), Some(Batch::BeginRefresh(Family::Ipv4)));
        } else {
            rib.resend(to, Family::Ipv4);
        }
        // The round is sorted; the second group has not had its turn.
        assert!(matches!(rib.next_batch(to), Some(Batch::Reach { prefixes, .. }) if prefixes == [a]));
        rib.withdraw(from, &[b]);
        rib.announce(from, hop(1), &other, &[b]);
        let rest = drain(&mut rib, to);
        assert!(
            matches!(&rest[0], Batch::Reach { prefixes, .. } if *prefixes == [b]),
            "{rest:?}"
        );
        assert_eq!(rest.get(1), bracketed.then_some(&Batch::EndRefresh(Family::Ipv4)));
    }
}

#[test]
fn a_batch_is_bounded() {
    let mut rib = rib();
    let from = rib.peer_up(peer(1, 65001));
    let to = rib.peer_up(peer(2, 65002));
    let all: Vec<_> = (0..40_000u32)
        .map(|n| flatroute_bgp::types::Prefix::v4(0x0a00_0000 + (n << 8), 24).unwrap())
        .collect();
    let sizes = |rib: &mut Rib| -> Vec<usize> {
        let batches = drain(rib, to);
        let size = |batch: &Batch| match batch {
            Batch::Unreach { prefixes, .. } | Batch::Reach { prefixes, .. } => Some(prefixes.len()),
            Batch::UnreachPaths { .. }
            | Batch::ReachPaths { .. }
            | Batch::EndOfRib(_)
            | Batch::BeginRefresh(_)
            | Batch::EndRefresh(_) => None,
        };
        batches.iter().filter_map(size).collect()
    };
    rib.announce(from, hop(1), &path(&[65001]), &all);
    assert_eq!(sizes(&mut rib), [16_384, 16_384, 7232]);
    rib.withdraw(from, &all);
    assert_eq!(sizes(&mut rib), [16_384, 16_384, 7232]);
}
