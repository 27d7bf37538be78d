//! What OPENs say of restarts, what becomes of a change of it, and where NOTIFICATIONs are restarts (RFC 4724 §3, RFC 8538).

use std::time::Duration;

use flatroute_bgp::speaker::{Config, GracefulRestart, GracefulRestartMode, Input, Speaker};
use flatroute_bgp::types::{Family, Role};
use flatroute_bgp::wire::{CeaseSubcode, Message, Notification, Open, UnknownCapability};

use crate::fabric::config;
use crate::puppet::{World, encoded, keepalive, open_of};
use crate::restarts::{graceful, says, says_also};
use crate::retained::{name, plain, reconfigured, with_routes};

const BOTH: [Family; 2] = Family::ALL;
const SECONDS: fn(u64) -> Duration = Duration::from_secs;

/// A change of what is configured, and whether it resets the session.
type Alteration = (&'static str, fn(&mut GracefulRestart), bool);

#[test]
fn only_other_terms_reset_a_session_and_only_where_they_mean_something() {
    let change = |f: fn(&mut GracefulRestart)| {
        move |c: &mut Config| f(&mut c.peers.get_mut(&name(1)).unwrap().graceful_restart)
    };
    let changes: [Alteration; 5] = [
        ("time", |g| g.restart_time = SECONDS(60), false),
        ("helper", |g| g.mode = GracefulRestartMode::HelperOnly, true),
        ("disabled", |g| *g = GracefulRestart::DISABLED, true),
        (
            "notification, which the neighbour does not have",
            |g| g.notification = true,
            false,
        ),
        (
            "long-lived, which the neighbour does not have",
            |g| g.long_lived_stale_time = SECONDS(9),
            false,
        ),
    ];
    for (what, f, resets) in changes {
        let (mut world, _) = plain();
        reconfigured(&mut world, change(f));
        assert_eq!(world.peer(1).flaps, u64::from(resets), "{what}");
        let (mut world, _) = with_routes(graceful(&[1, 2], &[], false), &open_of(1, true));
        reconfigured(&mut world, change(f));
        assert_eq!(
            world.peer(1).flaps,
            0,
            "{what}: the neighbour has no graceful restart"
        );
    }
}

#[test]
fn an_open_says_what_is_offered_and_what_was_kept() {
    let said = |world: &mut World, open: &Open| {
        let puppet = world.connect(1);
        let Message::Open(Open {
            capabilities: ours, ..
        }) = world.hear(&puppet).remove(0)
        else {
            panic!("not an OPEN")
        };
        world.say(&puppet, &encoded(|out| open.encode(out)));
        world.say(&puppet, &keepalive());
        world.hear(&puppet);
        world.close(&puppet);
        ours.graceful_restart.map(|g| g.to_string())
    };
    let mut world = World::of(Speaker::new(7), graceful(&[1], &[], false));
    assert_eq!(
        said(&mut world, &says(1, &BOTH)).unwrap(),
        "120 s, IPv4, IPv6",
        "after a cold start"
    );
    assert_eq!(
        said(&mut world, &says(1, &BOTH)).unwrap(),
        "120 s, IPv4 (forwarding kept), IPv6 (forwarding kept)",
        "after a loss of the session in the same process"
    );
    let altered = |change: fn(&mut GracefulRestart)| {
        let mut config = graceful(&[1], &[], false);
        change(&mut config.peers.get_mut(&name(1)).unwrap().graceful_restart);
        World::of(Speaker::new(7), config)
    };
    let mut world = altered(|g| g.mode = GracefulRestartMode::HelperOnly);
    assert_eq!(said(&mut world, &says(1, &BOTH)).unwrap(), "120 s");
    let mut world = altered(|g| g.notification = true);
    assert_eq!(
        said(&mut world, &says(1, &BOTH)).unwrap(),
        "120 s, also after NOTIFICATIONs, IPv4, IPv6"
    );
    let mut world = altered(|g| *g = GracefulRestart::DISABLED);
    assert_eq!(said(&mut world, &says(1, &BOTH)), None);
}

#[test]
fn a_notification_is_a_restart_where_both_say_so_and_a_hard_reset_is_not() {
    let cease = Notification::cease(CeaseSubcode::OtherConfigurationChange, "");
    let hard = Notification::hard_reset(&Notification::cease(CeaseSubcode::AdministrativeShutdown, ""));
    let agreed = || {
        let open = says_also(says(1, &BOTH), |g| g.notification = true);
        with_routes(graceful(&[1, 2], &[], true), &open)
    };
    for (notification, kept) in [(&cease, 4), (&Notification::hold_timer_expired(), 4), (&hard, 0)] {
        let (mut world, peer) = agreed();
        world.say(&peer, &notification.octets());
        assert_eq!(world.kernel.len(), kept, "received {notification}");
    }
    // And ours: what is found wrong is a restart, what ends it for good is a Hard Reset with the reason inside.
    let (mut world, peer) = agreed();
    world.say(&peer, b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!((world.last_word(&peer).code, world.kernel.len()), (1, 4));
    let (mut world, peer) = agreed();
    world.tell(Input::Shutdown {
        text: "gone".to_owned(),
    });
    let inner = Notification::cease(CeaseSubcode::AdministrativeShutdown, "gone");
    assert_eq!(world.last_word(&peer), Notification::hard_reset(&inner));
    assert!(world.kernel.is_empty());
    // A plain one where it is not agreed on.
    let (mut world, peer) = plain();
    world.tell(Input::Shutdown {
        text: "gone".to_owned(),
    });
    assert_eq!(world.last_word(&peer), inner);
}

#[test]
fn an_expired_hold_timer_ends_all_unless_both_take_it_for_a_restart() {
    for (ours, theirs, kept) in [
        (false, false, 0),
        (true, false, 0),
        (false, true, 0),
        (true, true, 4),
    ] {
        let mut open = says_also(says(1, &BOTH), |g| g.notification = theirs);
        open.hold_time = 90;
        let (mut world, peer) = with_routes(graceful(&[1], &[], ours), &open);
        world.pass(SECONDS(90));
        assert_eq!(world.last_word(&peer), Notification::hold_timer_expired());
        assert_eq!(world.kernel.len(), kept, "ours {ours}, theirs {theirs}");
    }
}

/// RFC 9234 §4.2: a role that is none, or two that differ. Where we have no role, nothing depends on it.
#[test]
fn a_doubtful_role_is_refused_where_roles_matter() {
    let unknown = |value: &[u8]| UnknownCapability {
        code: 9,
        value: value.into(),
    };
    let opens: [(Option<Role>, Vec<UnknownCapability>, bool); 5] = [
        (Some(Role::Provider), Vec::new(), true),
        (None, Vec::new(), true),
        (None, vec![unknown(&[9])], false),
        (None, vec![unknown(&[0, 0])], false),
        (Some(Role::Provider), vec![unknown(&[3])], false),
    ];
    for (said, unknown, good) in opens {
        for ours in [Some(Role::Customer), None] {
            let mut config = config(0, &[1], &[]);
            config.peers.get_mut(&name(1)).unwrap().session.role = ours;
            let mut world = World::of(Speaker::new(7), config);
            let mut open = open_of(1, true);
            open.capabilities.role = said;
            open.capabilities.unknown.clone_from(&unknown);
            let puppet = world.connect(1);
            world.say(&puppet, &encoded(|out| open.encode(out)));
            world.say(&puppet, &keepalive());
            let up = world.peer(1).negotiated.is_some();
            assert_eq!(up, good || ours.is_none(), "{said:?} {unknown:?} {ours:?}");
            if !up {
                let error = world.peer(1).last_error.unwrap();
                assert_eq!((error.code, error.subcode), (2, 11), "{error:?}");
            }
        }
    }
}
