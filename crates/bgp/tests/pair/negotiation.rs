//! What two OPENs agree on, or fall out over.

use flatroute_bgp::peer::{Direction, Input, LastError, State};
use flatroute_bgp::session::{PeerAsn, Settings};
use flatroute_bgp::types::{Asn, Family, FamilySet, Role};

use crate::harness::{Pair, Who, secs, settings};

fn run(a: Settings, b: Settings) -> Pair {
    let mut pair = Pair::new(a, b, 11);
    pair.start();
    pair.run(secs(2));
    pair
}

/// Neither comes up; one side says `code`, and the other hears it.
#[track_caller]
fn refused(a: Settings, b: Settings, code: (u8, u8)) -> LastError {
    let pair = run(a, b);
    assert!(pair.a.ups.is_empty() && pair.b.ups.is_empty());
    let errors: Vec<LastError> = [&pair.a, &pair.b]
        .into_iter()
        .map(|n| n.peer.status().last_error.unwrap())
        .collect();
    for error in &errors {
        assert_eq!((error.code, error.subcode), code, "{errors:?}");
        assert_ne!(error.direction, Direction::Local);
    }
    errors
        .into_iter()
        .find(|e| e.direction == Direction::Sent)
        .expect("one of both said it")
}

#[test]
fn a_wrong_as_is_refused_with_2_2() {
    let mut a = settings(64512, 1);
    a.peer_asn = PeerAsn::Exact(Asn(64999));
    let error = refused(a, settings(64513, 2), (2, 2));
    assert!(
        error.text.contains("AS 64513") && error.text.contains("64999"),
        "{}",
        error.text
    );

    // External, but of our own AS; internal, but of another.
    refused(settings(64512, 1), settings(64512, 2), (2, 2));
    let mut a = settings(64512, 1);
    a.peer_asn = PeerAsn::Internal;
    refused(a, settings(64513, 2), (2, 2));
}

#[test]
fn four_octet_numbers_and_internal_peers_are_welcome() {
    let (mut a, mut b) = (settings(4_200_000_001, 1), settings(4_200_000_002, 2));
    a.peer_asn = PeerAsn::Exact(Asn(4_200_000_002));
    b.peer_asn = PeerAsn::Exact(Asn(4_200_000_001));
    let pair = run(a, b);
    assert!(pair.agreed());
    assert_eq!(pair.a.ups[0].peer_asn, Asn(4_200_000_002));
    assert!(pair.a.ups[0].context.four_octet_as && !pair.a.ups[0].context.internal);

    let (mut a, mut b) = (settings(64512, 1), settings(64512, 2));
    a.peer_asn = PeerAsn::Internal;
    b.peer_asn = PeerAsn::Internal;
    let pair = run(a, b);
    assert!(pair.agreed() && pair.b.ups[0].context.internal);
}

#[test]
fn our_own_identifier_inside_our_as_is_refused_with_2_3() {
    let (mut a, mut b) = (settings(64512, 9), settings(64512, 9));
    a.peer_asn = PeerAsn::Internal;
    b.peer_asn = PeerAsn::Internal;
    refused(a, b, (2, 3));
}

#[test]
fn without_a_common_family_there_is_no_session() {
    let (mut a, mut b) = (settings(64512, 1), settings(64513, 2));
    a.families = FamilySet::from_iter([Family::Ipv4]);
    b.families = FamilySet::from_iter([Family::Ipv6]);
    let error = refused(a, b, (2, 7));
    assert!(
        error.text.contains("no address family in common"),
        "{}",
        error.text
    );
}

#[test]
fn the_intersection_of_families_and_the_smaller_hold_time_hold() {
    let (mut a, mut b) = (settings(64512, 1), settings(64513, 2));
    a.hold_time = secs(30);
    b.families = FamilySet::from_iter([Family::Ipv6]);
    let pair = run(a, b);
    for node in [&pair.a, &pair.b] {
        let n = &node.ups[0];
        assert_eq!(n.families, FamilySet::from_iter([Family::Ipv6]));
        assert_eq!(n.context.families, n.families);
        assert_eq!((n.hold_time, n.keepalive), (secs(30), secs(10)));
        assert!(n.route_refresh && n.context.extended_message);
        assert_eq!(node.peer.status().negotiated.as_ref(), Some(n));
    }
}

/// RFC 8950 §4: in force where both offer it, and IPv4 was agreed on.
#[test]
fn ipv4_by_ipv6_takes_two() {
    let extended = |offered: bool, families: FamilySet, settings: Settings| Settings {
        extended_next_hop: offered,
        families,
        ..settings
    };
    let ipv6 = FamilySet::from_iter([Family::Ipv6]);
    for (a, b, families, agreed) in [
        (true, true, FamilySet::BOTH, true),
        (true, false, FamilySet::BOTH, false),
        (false, true, FamilySet::BOTH, false),
        (true, true, ipv6, false),
    ] {
        let pair = run(
            extended(a, FamilySet::BOTH, settings(64512, 1)),
            extended(b, families, settings(64513, 2)),
        );
        assert!(pair.agreed());
        for node in [&pair.a, &pair.b] {
            assert_eq!(node.ups[0].context.extended_next_hop, agreed, "{a} {b}");
        }
        let offered = pair.a.ups[0].capabilities.in_words();
        let word = "extended next hop: IPv4 by IPv6".to_owned();
        assert_eq!(offered.contains(&word), b && families == FamilySet::BOTH);
    }
}

#[test]
fn hold_time_zero_means_no_keepalives_and_no_expiry() {
    let mut a = settings(64512, 1);
    a.hold_time = secs(0);
    let mut pair = run(a, settings(64513, 2));
    assert!(pair.agreed());
    assert_eq!(
        (pair.a.peer.poll_timeout(), pair.b.peer.poll_timeout()),
        (None, None)
    );
    assert!(!pair.step(pair.now + secs(100_000)), "nothing is said any more");
    pair.black_hole = true;
    pair.run(secs(100_000));
    assert_eq!(pair.states(), (State::Established, State::Established));
}

#[test]
fn the_shortest_hold_time_lives() {
    let mut a = settings(64512, 1);
    a.hold_time = secs(3);
    let mut pair = run(a, settings(64513, 2));
    pair.run(secs(600));
    assert_eq!((pair.a.downs.len(), pair.b.downs.len()), (0, 0));
}

#[test]
fn a_configured_keepalive_time_only_shortens() {
    let (mut a, mut b) = (settings(64512, 1), settings(64513, 2));
    a.keepalive_time = Some(secs(5));
    b.keepalive_time = Some(secs(60));
    let pair = run(a, b);
    assert_eq!(
        (pair.a.ups[0].keepalive, pair.b.ups[0].keepalive),
        (secs(5), secs(30))
    );
}

#[test]
fn a_correction_of_the_wrong_as_brings_the_session() {
    let mut a = settings(64512, 1);
    a.peer_asn = PeerAsn::Exact(Asn(1));
    let mut pair = run(a, settings(64513, 2));
    pair.run(secs(600));
    let now = pair.now;
    pair.a.peer.set_settings(settings(64512, 1), now);
    pair.input(Who::A, Input::Timeout);
    pair.run_until(secs(1), Pair::agreed);
}

/// RFC 9234 §4.2, table 2: who says its role must say the one that ours calls for; who says none is believed to have it.
#[test]
fn roles_correspond_or_there_is_no_session() {
    let with = |role: Option<Role>, settings: Settings| Settings { role, ..settings };
    let all = [
        Role::Provider,
        Role::RouteServer,
        Role::RouteServerClient,
        Role::Customer,
        Role::Peer,
    ];
    let pairs = [
        (Role::Provider, Role::Customer),
        (Role::RouteServer, Role::RouteServerClient),
        (Role::Peer, Role::Peer),
    ];
    for ours in all {
        assert!(run(with(Some(ours), settings(64512, 1)), settings(64513, 2)).agreed());
        for theirs in all {
            let (a, b) = (
                with(Some(ours), settings(64512, 1)),
                with(Some(theirs), settings(64513, 2)),
            );
            if pairs.contains(&(ours, theirs)) || pairs.contains(&(theirs, ours)) {
                let pair = run(a, b);
                assert!(pair.agreed());
                assert_eq!(pair.a.ups[0].capabilities.role, Some(theirs));
            } else {
                let error = refused(a, b, (2, 11));
                assert!(error.text.contains("correct role here"), "{}", error.text);
            }
        }
    }
}

/// RFC 9234 §4: between internal peers roles are not said, and nothing is made of one.
#[test]
fn internal_peers_have_no_roles() {
    let internal = |role: Option<Role>, id: u32| Settings {
        role,
        peer_asn: PeerAsn::Internal,
        ..settings(64512, id)
    };
    let pair = run(internal(Some(Role::Provider), 1), internal(Some(Role::Peer), 2));
    assert!(pair.agreed());
    assert_eq!(pair.a.ups[0].capabilities.role, None);
}
