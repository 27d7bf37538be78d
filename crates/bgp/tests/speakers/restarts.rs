//! What the stories of graceful restart share: configurations, OPENs and events.

use std::time::Duration;

use flatroute_bgp::rib::RouteView;
use flatroute_bgp::speaker::{Config, EventKind, GracefulRestart, RouteQuery, Sweep};
use flatroute_bgp::types::Family;
use flatroute_bgp::wire::{self, GracefulFamily, LongLivedFamily, Message, Open};

use crate::fabric::config;
use crate::puppet::{CONTEXT, World, encoded, open_of};

pub(crate) const RESTART_TIME: Duration = Duration::from_secs(120);

/// Neighbours that are offered graceful restart as by default, and with notifications; all relay.
pub(crate) fn graceful(others: &[usize], pods: &[&str], notification: bool) -> Config {
    let mut config = config(0, others, pods);
    for peer in config.peers.values_mut() {
        peer.relays = true;
        peer.graceful_restart = GracefulRestart {
            notification,
            ..GracefulRestart::default()
        };
    }
    config
}

/// An OPEN of a node that keeps both families, F in those of `forwarding`.
pub(crate) fn says(node: usize, forwarding: &[Family]) -> Open {
    let mut open = open_of(node, true);
    open.capabilities.graceful_restart = Some(wire::GracefulRestart {
        restarted: false,
        notification: false,
        restart_time: 120,
        families: Family::ALL
            .map(|family| GracefulFamily {
                family: family.into(),
                forwarding: forwarding.contains(&family),
            })
            .into(),
    });
    open
}

/// The same with its graceful restart capability altered.
pub(crate) fn says_also(open: Open, alter: impl FnOnce(&mut wire::GracefulRestart)) -> Open {
    let mut open = open;
    alter(open.capabilities.graceful_restart.as_mut().unwrap());
    open
}

/// The same with long-lived graceful restart of a family.
pub(crate) fn for_long(mut open: Open, family: Family, seconds: u32, forwarding: bool) -> Open {
    open.capabilities
        .long_lived_graceful_restart
        .push(LongLivedFamily {
            family: family.into(),
            forwarding,
            stale_time: seconds,
        });
    open
}

pub(crate) fn end_of_rib(family: Family) -> Vec<u8> {
    encoded(|out| wire::encode_end_of_rib(family, &CONTEXT, out))
}

/// Stale routes that were removed.
pub(crate) fn swept(world: &World) -> Vec<(Family, usize, Sweep)> {
    let of = |kind: &EventKind| {
        if let EventKind::Swept {
            family,
            removed,
            cause,
        } = kind
        {
            Some((*family, *removed, *cause))
        } else {
            None
        }
    };
    world.events.iter().filter_map(|e| of(&e.kind)).collect()
}

/// `prefix reason` of the routes of a view, `stale` before those that are.
pub(crate) fn shown(world: &World, view: RouteView) -> Vec<String> {
    let query = RouteQuery {
        view,
        limit: 100,
        ..RouteQuery::default()
    };
    let line = |r: &flatroute_bgp::speaker::RouteEntry| {
        let stale = if r.stale { "stale " } else { "" };
        format!("{stale}{} {}", r.prefix, r.reason)
    };
    world.speaker.routes(&query).iter().map(line).collect()
}

/// What UPDATEs say, in words: `-` before withdrawn prefixes.
pub(crate) fn updates(messages: &[Message]) -> Vec<String> {
    let mut words = Vec::new();
    for message in messages {
        let Message::Update(update) = message else {
            continue;
        };
        words.extend(update.end_of_rib.map(|family| format!("End-of-RIB {family}")));
        words.extend(update.withdrawn.iter().map(|p| format!("-{p}")));
        let announced = update.announced.iter().flat_map(|a| &a.prefixes);
        words.extend(announced.map(ToString::to_string));
    }
    words
}
