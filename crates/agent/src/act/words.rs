//! What the speaker and the kernel know, in the words of the control socket.

use flatroute_api::control;
use flatroute_bgp::peer::Direction;
use flatroute_bgp::speaker::{EventKind, PeerSummary, RouteEntry};
use flatroute_fib as fib;

use crate::control::query::RouteQuery;

pub(super) fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// A neighbour. `name_of` knows the interfaces; one that has gone is told by its index.
pub(super) fn peer(peer: &PeerSummary, name_of: impl Fn(u32) -> Option<String>) -> control::Peer {
    control::Peer {
        name: peer.name.to_string(),
        address: peer.address,
        interface: peer
            .interface
            .map(|index| name_of(index).unwrap_or_else(|| format!("#{index}"))),
        asn: peer.asn.map(|asn| asn.0),
        local_asn: peer.local_asn.0,
        state: peer.state.to_string(),
        reason: peer.held.clone(),
        since_seconds: peer.since.as_secs(),
        flaps: peer.flaps,
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
        }),
        prefixes: peer
            .prefixes
            .iter()
            .map(|p| control::PrefixCounts {
                family: p.family.to_string(),
                received: number(p.counts.received),
                accepted: number(p.counts.accepted),
                installed: number(p.counts.installed),
                advertised: number(p.counts.advertised),
            })
            .collect(),
    }
}

pub(super) fn route(entry: &RouteEntry) -> control::Route {
    control::Route {
        peer: entry.peer.as_ref().map(ToString::to_string),
        best: entry.best,
        multipath: entry.multipath,
        installed: entry.installed,
        reason: entry.reason.clone(),
        ..crate::control::route::route(entry.prefix, &entry.attributes)
    }
}

/// The kernel's routes that were asked for.
pub(super) fn kernel_routes(routes: Vec<fib::InstalledRoute>, query: &RouteQuery) -> control::Routes {
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
                next_hops: route.legs.iter().map(|leg| leg.gateway.to_string()).collect(),
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

/// The kind and the text of an event.
pub(super) fn event(kind: &EventKind) -> (&'static str, String) {
    match kind {
        EventKind::Transition { from, to, cause } => ("Transition", format!("{from} -> {to}: {cause}")),
        EventKind::Established => ("PeerEstablished", "the session is up".to_owned()),
        EventKind::Down { reason } => ("PeerDown", reason.clone()),
        EventKind::Malformed { what } => ("MalformedUpdate", what.clone()),
        EventKind::PrefixLimit { family, what } => ("PrefixLimit", format!("{family}: {what}")),
        EventKind::EndOfRib(family) => ("EndOfRib", format!("all {family} routes have been received")),
        EventKind::Stranger(address) => (
            "Stranger",
            format!("refused a connection from {address}: no BGPPeer has this address"),
        ),
        EventKind::Refused { reason } => (
            "ConnectionRefused",
            format!("a connection from its address was closed unheard: {reason}"),
        ),
        EventKind::Unsendable { prefixes, what } => (
            "RouteUnsendable",
            format!("{prefixes} prefixes are not advertised: {what}"),
        ),
    }
}

/// The same of what the kernel's routes have to tell.
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
