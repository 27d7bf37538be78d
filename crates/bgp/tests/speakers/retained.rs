//! Routes that outlive their session (RFC 4724 §4.2): which stay, how they are used, what ends them.

use std::time::Duration;

use flatroute_bgp::peer::{COLLISION_TIME, State};
use flatroute_bgp::policy::{Filter, PrefixLimit, PrefixLimitAction, Verdict};
use flatroute_bgp::rib::RouteView;
use flatroute_bgp::speaker::{
    AdminState, Config, EventKind, GracefulRestart, GracefulRestartMode, Input, STALE_TIME, Speaker, Sweep,
};
use flatroute_bgp::types::{Family, PeerName};
use flatroute_bgp::wire::{CeaseSubcode, Notification, Open};

use crate::puppet::{Puppet, World, announce, encoded, keepalive, open_of, withdraw};
use crate::restarts::{RESTART_TIME, end_of_rib, graceful, says, says_also, shown, swept, updates};

const BOTH: [Family; 2] = Family::ALL;
const MILLIS: fn(u64) -> Duration = Duration::from_millis;
const SECONDS: fn(u64) -> Duration = Duration::from_secs;

pub(crate) fn name(node: usize) -> PeerName {
    PeerName::from(format!("n{node}"))
}

/// Neighbour 1 with three IPv4 routes and an IPv6 route, after this OPEN.
pub(crate) fn with_routes(config: Config, open: &Open) -> (World, Puppet) {
    let mut world = World::of(Speaker::new(7), config);
    let peer = world.established_with(open);
    world.say(
        &peer,
        &announce(1, &["10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24"]),
    );
    world.say(&peer, &announce(1, &["fd00:1::/64"]));
    for family in BOTH {
        world.say(&peer, &end_of_rib(family));
    }
    assert_eq!(world.kernel.len(), 4);
    (world, peer)
}

pub(crate) fn plain() -> (World, Puppet) {
    with_routes(graceful(&[1, 2], &[], false), &says(1, &BOTH))
}

#[test]
fn routes_outlive_a_lost_session_and_the_next_one_takes_them_over() {
    let (mut world, peer) = plain();
    let other = world.established_with(&says(2, &BOTH));
    world.pass(SECONDS(1));
    world.close(&peer);
    assert_eq!(world.kernel.len(), 4, "the kernel goes on");
    assert!(
        shown(&world, RouteView::Best)
            .iter()
            .all(|r| r.starts_with("stale "))
    );
    let summary = world.peer(1);
    assert_eq!(summary.state, State::Active);
    assert_eq!(
        summary
            .prefixes
            .iter()
            .map(|p| (p.family, p.stale, p.counts.received))
            .collect::<Vec<_>>(),
        [(Family::Ipv4, 3, 3), (Family::Ipv6, 1, 1)]
    );
    assert_eq!(summary.retained.unwrap().left, RESTART_TIME);
    world.pass(SECONDS(100));

    let back = world.established_with(&says(1, &BOTH));
    world.say(&back, &announce(1, &["10.1.0.0/24", "10.4.0.0/24"]));
    assert_eq!(
        updates(&world.hear(&other)),
        ["10.4.0.0/24"],
        "the neighbours see no change of what did not change"
    );
    assert_eq!(world.kernel.len(), 5);
    assert_eq!(world.peer(1).prefixes[0].stale, 2);
    world.say(&back, &withdraw(&["10.2.0.0/24"]));
    assert_eq!(updates(&world.hear(&other)), ["-10.2.0.0/24"]);
    world.say(&back, &end_of_rib(Family::Ipv4));
    assert_eq!(updates(&world.hear(&other)), ["-10.3.0.0/24"]);
    assert_eq!(world.kernel_has(), ["10.1.0.0/24", "10.4.0.0/24", "fd00:1::/64"]);
    assert_eq!(
        world.peer(1).prefixes[1].stale,
        1,
        "the other family has not ended"
    );
    world.say(&back, &end_of_rib(Family::Ipv6));
    assert_eq!(world.kernel_has(), ["10.1.0.0/24", "10.4.0.0/24"]);
    assert_eq!(
        swept(&world),
        [
            (Family::Ipv4, 1, Sweep::EndOfRib),
            (Family::Ipv6, 1, Sweep::EndOfRib)
        ]
    );
    assert_eq!(world.peer(1).retained, None);
}

#[test]
fn what_the_neighbour_did_not_go_on_forwarding_goes_when_it_is_back() {
    for (open, left) in [
        (says(1, &[Family::Ipv6]), vec!["fd00:1::/64"]),
        (says(1, &[]), vec![]),
        (
            says_also(says(1, &BOTH), |g| {
                g.families.retain(|f| f.family != Family::Ipv6.into());
            }),
            vec!["10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24"],
        ),
        (open_of(1, true), vec![]),
    ] {
        let (mut world, peer) = plain();
        world.close(&peer);
        world.established_with(&open);
        assert_eq!(world.kernel_has(), left);
        assert!(swept(&world).iter().all(|s| s.2 == Sweep::NotForwarding));
    }
    // Of a session of one family only, the other family's routes.
    let (mut world, peer) = plain();
    world.close(&peer);
    let mut open = says(1, &BOTH);
    open.capabilities.families = Some([Family::Ipv4].into_iter().collect());
    world.established_with(&open);
    assert_eq!(world.kernel.len(), 3);
}

#[test]
fn who_does_not_come_back_in_time_loses_its_routes() {
    let (mut world, peer) = plain();
    world.pass(SECONDS(5));
    world.close(&peer);
    world.pass(RESTART_TIME - MILLIS(1));
    assert_eq!(world.kernel.len(), 4);
    world.pass(MILLIS(1));
    assert!(world.kernel.is_empty());
    assert_eq!(
        swept(&world),
        [
            (Family::Ipv4, 3, Sweep::Expired),
            (Family::Ipv6, 1, Sweep::Expired)
        ]
    );
    assert_eq!(world.speaker.usage(), flatroute_bgp::rib::Usage::default());
}

#[test]
fn who_is_back_and_never_done_loses_what_it_has_not_said_again() {
    let (mut world, peer) = plain();
    world.close(&peer);
    world.pass(SECONDS(10));
    let back = world.established_with(&says(1, &BOTH));
    world.say(&back, &announce(1, &["10.1.0.0/24"]));
    world.pass(STALE_TIME - MILLIS(1));
    assert_eq!(world.kernel.len(), 4);
    world.pass(MILLIS(1));
    assert_eq!(world.kernel_has(), ["10.1.0.0/24"]);
    assert!(swept(&world).iter().all(|s| s.2 == Sweep::StaleTime));
}

#[test]
fn several_losses_in_a_row_do_not_lengthen_the_first_deadline() {
    let (mut world, mut peer) = plain();
    for loss in 0..5 {
        world.close(&peer);
        world.pass(SECONDS(3));
        peer = world.established_with(&says(1, &BOTH));
        if loss == 2 {
            world.say(&peer, &announce(1, &["10.1.0.0/24"]));
        }
        assert_eq!(world.kernel.len(), 4);
    }
    // Lost at 0, 3, 6, 9 and 12 s. What was said at 9 s was lost at 9 s.
    world.close(&peer);
    assert_eq!(world.peer(1).retained.unwrap().left, RESTART_TIME - SECONDS(15));
    world.pass(RESTART_TIME - SECONDS(15));
    assert_eq!(world.kernel_has(), ["10.1.0.0/24"], "its own time began later");
    world.pass(SECONDS(9) - MILLIS(1));
    assert_eq!(world.kernel.len(), 1);
    world.pass(MILLIS(1));
    assert!(world.kernel.is_empty());
}

/// A way in which a session ends.
type Ending = (&'static str, fn(&mut World, &Puppet));

pub(crate) fn reconfigured(world: &mut World, change: impl FnOnce(&mut Config)) {
    let mut config = graceful(&[1, 2], &[], false);
    for peer in config.peers.values_mut() {
        peer.session.connect_mode = flatroute_bgp::session::ConnectMode::Passive;
    }
    change(&mut config);
    world.tell(Input::Configure(config));
}

#[test]
fn what_is_over_for_good_takes_its_routes_along() {
    let endings: [Ending; 8] = [
        ("a NOTIFICATION of the neighbour", |w, p| {
            w.say(
                p,
                &Notification::cease(CeaseSubcode::OtherConfigurationChange, "").octets(),
            );
        }),
        ("an error of the neighbour", |w, p| {
            w.say(p, b"GET / HTTP/1.1\r\n\r\n");
        }),
        ("shutdown", |w, _| w.tell(Input::Shutdown { text: String::new() })),
        ("removed", |w, _| {
            reconfigured(w, |c| _ = c.peers.remove(&name(1)));
        }),
        ("down", |w, _| {
            reconfigured(w, |c| {
                c.peers.get_mut(&name(1)).unwrap().admin_state = AdminState::Down("maintenance".to_owned());
            });
        }),
        ("held", |w, _| {
            reconfigured(w, |c| {
                c.peers.get_mut(&name(1)).unwrap().admin_state = AdminState::Held("no key".to_owned());
            });
        }),
        ("no longer graceful", |w, _| {
            reconfigured(w, |c| {
                c.peers.get_mut(&name(1)).unwrap().graceful_restart = GracefulRestart::DISABLED;
            });
        }),
        ("too many prefixes", |w, p| {
            reconfigured(w, |c| {
                c.peers.get_mut(&name(1)).unwrap().max_prefixes = PrefixLimit {
                    limit: 3,
                    action: PrefixLimitAction::Restart,
                };
            });
            w.say(p, &announce(1, &["10.9.0.0/24"]));
        }),
    ];
    for (what, end) in endings {
        let (mut world, peer) = plain();
        end(&mut world, &peer);
        assert!(world.kernel.is_empty(), "{what}");
        assert_eq!(
            world.speaker.usage(),
            flatroute_bgp::rib::Usage::default(),
            "{what}"
        );
    }
    // The same of a neighbour that is away already.
    for (what, end) in &endings[2..7] {
        let (mut world, peer) = plain();
        world.close(&peer);
        assert_eq!(world.kernel.len(), 4);
        end(&mut world, &peer);
        assert!(world.kernel.is_empty(), "{what}, while it is away");
        assert!(swept(&world).iter().all(|s| s.2 == Sweep::Ended), "{what}");
    }
}

#[test]
fn nothing_is_kept_of_who_does_not_offer_it_or_is_not_offered_it() {
    let (mut world, peer) = with_routes(graceful(&[1], &[], false), &open_of(1, true));
    world.close(&peer);
    assert!(world.kernel.is_empty());
    let mut config = graceful(&[1], &[], false);
    config.peers.get_mut(&name(1)).unwrap().graceful_restart = GracefulRestart::DISABLED;
    let (mut world, peer) = with_routes(config, &says(1, &BOTH));
    world.close(&peer);
    assert!(world.kernel.is_empty());
    // Only what the neighbour listed is kept.
    let only = says_also(says(1, &BOTH), |g| {
        g.families.retain(|f| f.family == Family::Ipv4.into());
    });
    let (mut world, peer) = with_routes(graceful(&[1], &[], false), &only);
    world.close(&peer);
    assert_eq!(world.kernel.len(), 3);
    // A helper keeps, too.
    let mut config = graceful(&[1], &[], false);
    config.peers.get_mut(&name(1)).unwrap().graceful_restart.mode = GracefulRestartMode::HelperOnly;
    let (mut world, peer) = with_routes(config, &says(1, &BOTH));
    world.close(&peer);
    assert_eq!(world.kernel.len(), 4);
}

#[test]
fn a_new_connection_takes_the_place_of_a_session_that_the_neighbour_has_forgotten() {
    let open = encoded(|out| says(1, &BOTH).encode(out));
    let (mut world, old) = plain();
    // As late as the loser of a collision: it waits, and is refused.
    let early = world.connect(1);
    world.say(&early, &open);
    world.pass(SECONDS(3));
    assert_eq!(world.last_word(&early).subcode, 7);
    world.pass(COLLISION_TIME);
    // A connection alone proves nothing, nor does an OPEN of another AS.
    let silent = world.connect(1);
    assert!(!world.closed.contains_key(&old.conn));
    let mut wrong = says(1, &BOTH);
    wrong.asn = flatroute_bgp::types::Asn(65_009);
    wrong.capabilities.four_octet_as = Some(wrong.asn);
    world.say(&silent, &encoded(|out| wrong.encode(out)));
    assert!(!world.closed.contains_key(&old.conn));
    world.pass(SECONDS(3));
    let new = world.connect(1);
    world.say(&new, &open[..10]);
    assert!(!world.closed.contains_key(&old.conn));
    world.say(&new, &open[10..]);
    assert_eq!(
        world.closed.get(&old.conn),
        Some(&Vec::new()),
        "closed without a NOTIFICATION"
    );
    assert_eq!(world.kernel.len(), 4);
    world.say(&new, &keepalive());
    world.hear(&new);
    assert_eq!(world.peer(1).state, State::Established);
    assert_eq!((world.peer(1).flaps, world.peer(1).prefixes[0].stale), (1, 3));

    // Without graceful restart it waits for the session to end, and is refused.
    let (mut world, old) = with_routes(graceful(&[1], &[], false), &open_of(1, true));
    world.pass(COLLISION_TIME * 2);
    let new = world.connect(1);
    world.say(&new, &open);
    world.pass(SECONDS(3));
    assert!(!world.closed.contains_key(&old.conn));
    assert_eq!(world.last_word(&new).subcode, 7);
}

#[test]
fn a_stale_path_gives_way_to_an_equal_fresh_one_and_to_no_longer_one() {
    let (mut world, peer) = plain();
    let other = world.established_with(&says(2, &BOTH));
    world.say(&other, &announce(2, &["10.1.0.0/24"]));
    let longer = flatroute_bgp::types::PathAttributes {
        as_path: flatroute_bgp::types::AsPath::sequence([65_002, 7].map(flatroute_bgp::types::Asn)),
        next_hop: Some(flatroute_bgp::types::NextHop::V4(crate::fabric::address(2))),
        ..flatroute_bgp::types::PathAttributes::local()
    };
    let prefix = [crate::fabric::prefix("10.2.0.0/24")];
    let message = encoded(|out| {
        _ = flatroute_bgp::wire::encode_reach(&prefix, &longer, &crate::puppet::CONTEXT, out).unwrap();
    });
    world.say(&other, &message);
    let hops = |world: &World, p: &str| world.kernel[&crate::fabric::prefix(p)].len();
    assert_eq!((hops(&world, "10.1.0.0/24"), hops(&world, "10.2.0.0/24")), (2, 1));
    world.close(&peer);
    let best = shown(&world, RouteView::Accepted).join("\n");
    assert!(
        best.contains("stale 10.1.0.0/24 equal, but stale, and a fresh path is there"),
        "{best}"
    );
    assert!(best.contains("stale 10.2.0.0/24 best; stale"), "{best}");
    assert!(best.contains("\n10.2.0.0/24 AS path longer"), "{best}");
    assert_eq!(hops(&world, "10.1.0.0/24"), 1, "the flows leave who is away");
    let back = world.established_with(&says(1, &BOTH));
    world.say(&back, &announce(1, &["10.1.0.0/24"]));
    assert_eq!(hops(&world, "10.1.0.0/24"), 2);
}

#[test]
fn new_filters_hold_for_the_routes_of_who_is_away() {
    let (mut world, peer) = plain();
    world.close(&peer);
    let nothing = || Filter {
        rules: Vec::new(),
        default: Verdict::Reject,
    };
    reconfigured(&mut world, |c| {
        c.peers.get_mut(&name(1)).unwrap().import = nothing();
    });
    assert!(world.kernel.is_empty());
    reconfigured(&mut world, |c| c.install = nothing());
    reconfigured(&mut world, |_| ());
    assert_eq!(world.kernel.len(), 4);
    assert!(
        shown(&world, RouteView::Best)
            .iter()
            .all(|r| r.starts_with("stale "))
    );
    assert_eq!(world.peer(1).flaps, 1);
}

#[test]
fn stale_routes_leave_room_within_the_prefix_limit() {
    for (action, kept) in [(PrefixLimitAction::Drop, 3), (PrefixLimitAction::Restart, 0)] {
        let mut config = graceful(&[1], &[], false);
        config.peers.get_mut(&name(1)).unwrap().max_prefixes = PrefixLimit { limit: 3, action };
        let (mut world, peer) = with_routes(config, &says(1, &BOTH));
        world.close(&peer);
        let back = world.established_with(&says(1, &BOTH));
        world.say(
            &back,
            &announce(1, &["10.4.0.0/24", "10.5.0.0/24", "10.6.0.0/24"]),
        );
        assert_eq!(world.kernel.len(), 7, "all new ones have room");
        // What it said before its loss counts again when it says it again.
        world.say(&back, &announce(1, &["10.1.0.0/24"]));
        world.say(&back, &end_of_rib(Family::Ipv4));
        world.say(&back, &end_of_rib(Family::Ipv6));
        assert_eq!(world.kernel.len(), kept, "{action:?}");
    }
    // However often it comes and goes, it holds no more than twice the limit.
    let mut config = graceful(&[1], &[], false);
    let action = PrefixLimitAction::Drop;
    config.peers.get_mut(&name(1)).unwrap().max_prefixes = PrefixLimit { limit: 3, action };
    let (mut world, mut peer) = with_routes(config, &says(1, &BOTH));
    for n in 0..12 {
        world.close(&peer);
        peer = world.established_with(&says(1, &BOTH));
        let prefixes = [0, 1, 2].map(|i| format!("10.{}.{i}.0/24", 10 + n));
        world.say(&peer, &announce(1, &prefixes.each_ref().map(String::as_str)));
        assert!(world.peer(1).prefixes[0].counts.received <= 6);
    }
}

#[test]
fn a_loss_is_told_with_how_much_is_kept_and_how_long() {
    let (mut world, peer) = plain();
    world.close(&peer);
    let told = world.events.iter().find_map(|e| {
        if let EventKind::Retained { routes, time } = &e.kind {
            Some((*routes, *time))
        } else {
            None
        }
    });
    assert_eq!(told, Some((4, RESTART_TIME)));
}
