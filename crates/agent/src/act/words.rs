//! What the speaker and the kernel know, in the words of the control socket.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use flatroute_api::control;
use flatroute_bgp::peer::Direction;
use flatroute_bgp::session::{Graceful, Offence};
use flatroute_bgp::speaker::{
    Drain, Event, EventKind, PeerSummary, PrefixCounts, Restarting, RouteEntry, Sweep,
};
use flatroute_bgp::types::{Family, FamilySet, Instant, PathIds, PeerName};
use flatroute_bgp::wire::{Disposition, Notification, attribute_name};
use flatroute_fib as fib;

use crate::control::query::RouteQuery;
use crate::events::{Error, Happening};
use crate::ready;

pub(super) fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// The figures of the kernel's routes.
pub(super) fn fib(counts: &fib::Counts) -> control::FibStatus {
    control::FibStatus {
        installed: number(counts.installed_ipv4.saturating_add(counts.installed_ipv6)),
        failed: number(counts.failed.saturating_add(counts.foreign)),
        drift: counts.drift,
        pending: number(counts.pending),
        waiting: number(counts.waiting),
        resyncs: counts.resyncs,
    }
}

/// The same for readiness.
pub(super) fn kernel(counts: &fib::Counts, handing_over: bool) -> ready::Kernel {
    let figures = fib(counts);
    ready::Kernel {
        handing_over,
        wanted: number(counts.wanted),
        installed: figures.installed,
        pending: figures.pending,
        failed: figures.failed,
    }
}

/// The Established sessions, for readiness.
pub(super) fn sessions(peers: &[PeerSummary]) -> BTreeMap<String, ready::Session> {
    let session = |peer: &PeerSummary| {
        let ended = peer.prefixes.iter().filter(|p| p.end_of_rib);
        let session = ready::Session {
            negotiated: peer.negotiated.as_ref()?.families,
            end_of_rib: ended.map(|p| p.family).collect(),
            silent: peer.silent,
        };
        Some((peer.name.to_string(), session))
    };
    peers.iter().filter_map(session).collect()
}

/// A neighbour. `name_of` knows the interfaces; one that has gone is told by its index.
pub(super) fn peer(peer: &PeerSummary, name_of: impl Fn(u32) -> Option<String>) -> control::Peer {
    control::Peer {
        name: peer.name.to_string(),
        address: Some(peer.address),
        interface: peer
            .interface
            .map(|index| name_of(index).unwrap_or_else(|| format!("#{index}"))),
        asn: peer.asn.map(|asn| asn.0),
        local_asn: peer.local_asn.0,
        state: peer.state.to_string(),
        reason: peer.held.clone(),
        drain: match peer.drain {
            Drain::None => None,
            Drain::Announced => Some("Announced".to_owned()),
            Drain::Withdrawn => Some("Withdrawn".to_owned()),
        },
        since_seconds: peer.since.as_secs(),
        flaps: peer.flaps,
        malformed_updates: peer.malformed_updates,
        last_error: peer.last_error.as_ref().map(|error| {
            let notified = !matches!(error.direction, Direction::Local);
            control::LastError {
                direction: match error.direction {
                    Direction::Sent => "Sent",
                    Direction::Received => "Received",
                    Direction::Local => "Local",
                }
                .to_owned(),
                code: notified.then_some(error.code),
                subcode: notified.then_some(error.subcode),
                text: error.text.clone(),
                seconds_ago: Some(peer.last_error_age.as_secs()),
            }
        }),
        negotiated: peer.negotiated.as_ref().map(|n| control::Negotiated {
            families: n.families.iter().map(|f| f.to_string()).collect(),
            hold_time: n.hold_time.as_secs(),
            keepalive_time: n.keepalive.as_secs(),
            router_id: n.peer_router_id.to_string(),
            asn: n.peer_asn.0,
            capabilities: n.capabilities.in_words(),
            four_octet_asn: n.context.four_octet_as,
            route_refresh: n.route_refresh,
            extended_messages: n.context.extended_message,
            send_hold_time: n.send_hold_time.as_secs(),
            enhanced_route_refresh: n.enhanced_route_refresh,
            add_path: add_path(n.context.path_ids),
            graceful_restart: n
                .graceful_restart
                .as_ref()
                .filter(|graceful| graceful.keeps_any())
                .map(graceful_restart),
        }),
        silent_seconds: peer.silent.as_secs(),
        retained: peer.retained.map(|retained| control::Retained {
            routes: number(retained.routes),
            long_lived: number(retained.long_lived),
            since_seconds: retained.since.as_secs(),
            left_seconds: retained.left.as_secs(),
        }),
        prefixes: peer.prefixes.iter().map(prefixes).collect(),
    }
}

fn prefixes(prefixes: &PrefixCounts) -> control::PrefixCounts {
    control::PrefixCounts {
        family: prefixes.family.to_string(),
        received: number(prefixes.counts.received),
        accepted: number(prefixes.counts.accepted),
        installed: number(prefixes.counts.installed),
        advertised: number(prefixes.counts.advertised),
        end_of_rib: prefixes.end_of_rib,
        stale: number(prefixes.stale),
    }
}

fn graceful_restart(graceful: &Graceful) -> control::GracefulRestart {
    let words = |families: FamilySet| families.iter().map(|family| family.to_string()).collect();
    control::GracefulRestart {
        restart_time: graceful.restart_time.as_secs(),
        families: words(graceful.families),
        forwarding: words(graceful.forwarding),
        restarted: graceful.restarted,
        notification: graceful.notification,
        long_lived_stale_time: graceful
            .long_lived
            .iter()
            .map(|(family, long_lived)| (family.to_string(), long_lived.stale_time.as_secs()))
            .collect(),
    }
}

/// The families of several paths a prefix, by direction.
fn add_path(ids: PathIds) -> Vec<String> {
    let received = ids.received.iter().map(|f| format!("{f} received"));
    received
        .chain(ids.sent.iter().map(|f| format!("{f} sent")))
        .collect()
}

/// What an agent that has restarted waits for.
pub(super) fn restarting(restarting: &Restarting, now: Instant) -> control::Restarting {
    let awaited = |(peer, what): &(PeerName, String)| control::Awaited {
        peer: peer.to_string(),
        what: what.clone(),
    };
    control::Restarting {
        left_seconds: restarting.until.since(now).as_secs(),
        waiting: restarting.waiting.iter().map(awaited).collect(),
    }
}

pub(super) fn route(entry: &RouteEntry) -> control::Route {
    control::Route {
        peer: entry.peer.as_ref().map(ToString::to_string),
        path_id: entry.path_id.map(|id| id.0),
        best: entry.best,
        multipath: entry.multipath,
        installed: entry.installed,
        stale: entry.stale,
        reason: entry.reason.clone(),
        ..crate::control::route::route(entry.prefix, &entry.attributes)
    }
}

/// The kernel's routes that were asked for.
pub(super) fn kernel_routes(
    routes: Vec<fib::InstalledRoute>,
    query: &RouteQuery,
    name_of: impl Fn(u32) -> Option<String>,
) -> control::Routes {
    // A link-local next hop means nothing without its interface.
    let next_hop = |leg: &fib::Leg| match leg.gateway {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            let interface = name_of(leg.interface).unwrap_or_else(|| format!("#{}", leg.interface));
            format!("{v6}%{interface}")
        }
        IpAddr::V4(_) | IpAddr::V6(_) => leg.gateway.to_string(),
    };
    let wanted = |route: &fib::InstalledRoute| {
        query.prefix.is_none_or(|within| {
            within.prefix() <= route.prefix.prefix() && within.contains(route.prefix.network())
        })
    };
    let mut found: Vec<fib::InstalledRoute> = routes.into_iter().filter(wanted).collect();
    found.sort_by_key(|route| route.prefix);
    control::Routes {
        truncated: found.len() > query.limit,
        routes: found
            .into_iter()
            .take(query.limit)
            .map(|route| control::Route {
                prefix: route.prefix.to_string(),
                next_hops: route.legs.iter().map(&next_hop).collect(),
                multipath: route.legs.len() > 1,
                installed: true,
                reason: if route.legs.is_empty() {
                    "this node's own prefix: addresses that no pod has are unreachable".to_owned()
                } else {
                    "acknowledged by the kernel".to_owned()
                },
                ..control::Route::default()
            })
            .collect(),
    }
}

/// What the speaker tells.
pub(super) fn event(event: Event) -> Happening {
    Happening {
        untold: event.untold,
        ..happening(event.peer.map(|p| p.to_string()), event.kind)
    }
}

fn happening(peer: Option<String>, kind: EventKind) -> Happening {
    let plain = |kind: &str, text: String| Happening {
        kind: kind.to_owned(),
        peer: peer.clone(),
        text,
        ..Happening::default()
    };
    match kind {
        EventKind::Transition { from, to, cause } => plain("Transition", format!("{from} -> {to}: {cause}")),
        EventKind::Established => plain("PeerEstablished", "the session is up".to_owned()),
        EventKind::Down { reason } => plain("PeerDown", reason),
        EventKind::Malformed { offence } => offending(peer, *offence),
        EventKind::Notification {
            direction,
            notification,
            why,
            message,
        } => notified(peer, direction, &notification, &why, message),
        EventKind::PrefixLimit { family, what } => plain("PrefixLimit", format!("{family}: {what}")),
        EventKind::EndOfRib(family) => plain("EndOfRib", format!("all {family} routes have been received")),
        EventKind::Refreshed {
            family,
            removed,
            ended,
        } => plain("RouteRefresh", {
            let end = if ended {
                "have been received again"
            } else {
                "were to come again, and took too long"
            };
            format!("all {family} routes {end}; {removed} that did not come are removed")
        }),
        EventKind::Retained { routes, time } => plain("RoutesRetained", retained(routes, time)),
        EventKind::LongLived { family, routes, time } => {
            plain("RoutesRetained", retained_for_long(family, routes, time))
        }
        EventKind::Swept {
            family,
            removed,
            cause,
        } => plain("RoutesSwept", swept(family, removed, cause)),
        EventKind::DeferralEnded { after, missing } => plain("RoutesSelected", selected(after, &missing)),
        EventKind::RefreshTooEarly(family) => plain(
            "RouteRefresh",
            format!(
                "asked for all {family} routes again, but the neighbour has not said End-of-RIB, before which it may not \
                 answer (RFC 7313 §4); FRR says it only to neighbours with graceful restart: reset the session there if \
                 its routes are needed again"
            ),
        ),
        EventKind::Stranger(address) => plain(
            "Stranger",
            format!("refused a connection from {address}: no BGPPeer has this address"),
        ),
        EventKind::Refused { reason } => plain(
            "ConnectionRefused",
            format!("a connection from its address was closed unheard: {reason}"),
        ),
        EventKind::Unsendable { prefixes, what } => plain(
            "RouteUnsendable",
            format!("{prefixes} prefixes are not advertised: {what}"),
        ),
    }
}

fn retained(routes: usize, time: Duration) -> String {
    format!(
        "{routes} routes are kept as stale ones for {} s at most, until the session is back",
        time.as_secs()
    )
}

fn retained_for_long(family: Family, routes: usize, time: Duration) -> String {
    format!(
        "the session is not back: {routes} {family} routes are kept as a last resort for {} s at most",
        time.as_secs()
    )
}

fn swept(family: Family, removed: usize, cause: Sweep) -> String {
    let why = match cause {
        Sweep::EndOfRib => "the neighbour is back and did not say them again",
        Sweep::NotForwarding => "the neighbour is back and did not go on forwarding",
        Sweep::StaleTime => "the neighbour is back and takes too long to say all its routes",
        Sweep::Expired => "the neighbour has not come back in time",
        Sweep::TooManyLosses => "the neighbour has come and gone too often",
        Sweep::Ended => "the session is over for good",
    };
    format!("{removed} stale {family} routes are removed: {why}")
}

fn selected(after: Duration, missing: &[PeerName]) -> String {
    let missing: Vec<String> = missing.iter().map(ToString::to_string).collect();
    let heard = if missing.is_empty() {
        "all neighbours have said what they have".to_owned()
    } else {
        format!("not heard by then: {}", missing.join(", "))
    };
    let millis = after.as_millis();
    format!("routes are chosen from now on, {millis} ms after the start; {heard}")
}

fn offending(peer: Option<String>, offence: Offence) -> Happening {
    let shown: Vec<String> = offence.prefixes.iter().map(ToString::to_string).collect();
    let more = offence.prefixes_total.saturating_sub(shown.len());
    let mut text = offence.what;
    if !shown.is_empty() {
        text = format!("{text}: {}", shown.join(", "));
    }
    if more > 0 {
        text = format!("{text} and {more} more prefixes");
    }
    Happening {
        kind: "MalformedUpdate".to_owned(),
        peer,
        text,
        bytes: None,
        error: Some(Error {
            message: offence.message,
            attribute: offence.attribute.map(|code| match attribute_name(code) {
                Some(name) => format!("{name} ({code})"),
                None => format!("attribute {code}"),
            }),
            disposition: Some(disposition(offence.disposition).to_owned()),
            prefixes: shown,
        }),
        ..Happening::default()
    }
}

fn disposition(disposition: Disposition) -> &'static str {
    match disposition {
        Disposition::DiscardAttribute => "DiscardAttribute",
        Disposition::TreatAsWithdraw => "TreatAsWithdraw",
        Disposition::ResetSession => "ResetSession",
    }
}

fn notified(
    peer: Option<String>,
    direction: Direction,
    notification: &Notification,
    why: &str,
    message: Vec<u8>,
) -> Happening {
    let kind = match direction {
        // A NOTIFICATION has a sender: `Local` is for what TCP does.
        Direction::Sent | Direction::Local => "NotificationSent",
        Direction::Received => "NotificationReceived",
    };
    Happening {
        kind: kind.to_owned(),
        peer,
        text: if why.is_empty() {
            notification.to_string()
        } else {
            format!("{notification}: {why}")
        },
        bytes: Some(notification.octets()),
        error: (!message.is_empty()).then(|| Error {
            message,
            disposition: Some(disposition(Disposition::ResetSession).to_owned()),
            ..Error::default()
        }),
        untold: 0,
    }
}

/// The kind and the text of what the kernel's routes have to tell.
pub(super) fn report(report: &fib::Report) -> (&'static str, String) {
    match report {
        fib::Report::Failed { prefix, error } => {
            let remedy = if error.starts_with("Operation not permitted") {
                "the agent needs the capability NET_ADMIN in its network namespace"
            } else {
                "it is tried again every second and when a link changes"
            };
            (
                "RouteFailed",
                format!("the kernel refused the route to {prefix}: {error}; {remedy}"),
            )
        }
        fib::Report::Foreign { prefix } => (
            "ForeignRoute",
            format!(
                "another program's route to {prefix} stands at our metric and is not replaced; remove it, or set \
                 kernel.metric of BGPConfiguration"
            ),
        ),
        fib::Report::Drift { prefix } => (
            "FIBDrift",
            format!("another program changed our route to {prefix}; it is repaired"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> flatroute_bgp::types::Prefix {
        text.parse::<ipnetwork::IpNetwork>().unwrap().into()
    }

    #[test]
    fn an_update_with_errors_says_all_that_is_known_of_it() {
        let offence = Offence {
            what: "AS_PATH: a segment of no ASes (the prefixes are treated as withdrawn)".to_owned(),
            disposition: Disposition::TreatAsWithdraw,
            attribute: Some(2),
            prefixes: vec![prefix("203.0.113.0/24"), prefix("2001:db8::/32")],
            prefixes_total: 5,
            message: vec![0xff, 1],
        };
        let kind = EventKind::Malformed {
            offence: Box::new(offence),
        };
        let told = event(Event {
            at: Instant::ZERO,
            peer: Some(PeerName::from("tor")),
            kind,
            untold: 7,
        });
        assert_eq!(
            (told.kind.as_str(), told.peer.as_deref()),
            ("MalformedUpdate", Some("tor"))
        );
        assert_eq!(
            told.text,
            "AS_PATH: a segment of no ASes (the prefixes are treated as withdrawn): 203.0.113.0/24, 2001:db8::/32 and 3 \
             more prefixes"
        );
        let error = told.error.unwrap();
        assert_eq!(error.attribute.as_deref(), Some("AS_PATH (2)"));
        assert_eq!(error.disposition.as_deref(), Some("TreatAsWithdraw"));
        assert_eq!(
            (error.prefixes.len(), error.message, told.untold),
            (2, vec![0xff, 1], 7)
        );
    }

    #[test]
    fn a_notification_has_its_octets_and_no_hostile_text() {
        let hostile = "bye\r\n\u{1b}[2J\u{202e}";
        let notification =
            Notification::cease(flatroute_bgp::wire::CeaseSubcode::AdministrativeShutdown, hostile);
        let kind = EventKind::Notification {
            direction: Direction::Received,
            notification: notification.clone(),
            why: String::new(),
            message: Vec::new(),
        };
        let told = happening(None, kind);
        assert_eq!(told.kind, "NotificationReceived");
        assert_eq!(
            told.text,
            r#"Cease, Administrative Shutdown (6/2): "bye\r\n\u{1b}[2J\u{202e}""#
        );
        assert_eq!(told.bytes, Some(notification.octets()));
        assert_eq!(told.error, None);
    }

    #[test]
    fn a_notification_of_ours_names_the_message_that_was_the_reason() {
        let kind = EventKind::Notification {
            direction: Direction::Sent,
            notification: Notification::hold_timer_expired(),
            why: "no KEEPALIVE or UPDATE from the peer for 90 s".to_owned(),
            message: vec![1, 2],
        };
        let told = happening(None, kind);
        assert_eq!(told.kind, "NotificationSent");
        assert_eq!(
            told.text,
            "Hold Timer Expired (4/0): no KEEPALIVE or UPDATE from the peer for 90 s"
        );
        let error = told.error.unwrap();
        assert_eq!(
            (error.message, error.disposition.as_deref()),
            (vec![1, 2], Some("ResetSession"))
        );
    }
}
