//! What keeps a cell from running: why a version of a peer cannot take part, as it was seen, and what we lack ourselves.

use flatroute_api::objects::Kind as Object;
use flatroute_api::unsupported;

use crate::interop::peer::{Kind, Version};

pub(super) fn no_two_octets(kind: Kind, _: Version) -> Option<&'static str> {
    match kind {
        Kind::Bird | Kind::Frr | Kind::Openbgpd | Kind::Exabgp => None,
        Kind::Gobgp => Some("it always offers ASNs of four octets"),
    }
}

pub(super) fn no_advertisements(kind: Kind, _: Version) -> Option<&'static str> {
    match kind {
        Kind::Bird | Kind::Frr => None,
        Kind::Gobgp | Kind::Openbgpd | Kind::Exabgp => Some("it sends no router advertisements"),
    }
}

pub(super) fn no_refresh_by_peer(kind: Kind, _: Version) -> Option<&'static str> {
    match kind {
        Kind::Bird | Kind::Frr | Kind::Openbgpd | Kind::Exabgp => None,
        Kind::Gobgp => Some("its softresetin judges anew what it holds, and asks nobody"),
    }
}

const FAILS_AT_REFRESH: &str = "asked for its routes again, it ends the session over a fault of its own";

const ANSWERS_NO_REFRESH: &str =
    "it answers no ROUTE-REFRESH of anybody: it takes every family for one that was not agreed on";

pub(super) fn no_refresh_of_peer(kind: Kind, _: Version) -> Option<&'static str> {
    match kind {
        Kind::Bird | Kind::Frr | Kind::Gobgp => None,
        Kind::Openbgpd => Some(ANSWERS_NO_REFRESH),
        Kind::Exabgp => Some(FAILS_AT_REFRESH),
    }
}

pub(super) fn no_hold_time_of_zero(kind: Kind, _: Version) -> Option<&'static str> {
    match kind {
        Kind::Bird | Kind::Frr | Kind::Openbgpd | Kind::Exabgp => None,
        Kind::Gobgp => Some("it ends a session with a hold time of 0 at its first write"),
    }
}

pub(super) fn no_enhanced_refresh(kind: Kind, _: Version) -> Option<&'static str> {
    match kind {
        Kind::Bird | Kind::Frr => None,
        Kind::Gobgp => Some("it does not know RFC 7313"),
        Kind::Openbgpd => Some(ANSWERS_NO_REFRESH),
        Kind::Exabgp => Some(FAILS_AT_REFRESH),
    }
}

pub(super) fn no_extended_messages(kind: Kind, version: Version) -> Option<&'static str> {
    match kind {
        Kind::Gobgp if version < Version(4, 7, 0) => Some("it knows RFC 8654 from version 4.7 on"),
        Kind::Openbgpd if version < Version(8, 9, 0) => Some("this version does not know RFC 8654"),
        Kind::Bird | Kind::Frr | Kind::Gobgp | Kind::Openbgpd | Kind::Exabgp => None,
    }
}

pub(super) fn no_restarter(kind: Kind, _: Version) -> Option<&'static str> {
    match kind {
        Kind::Bird | Kind::Frr | Kind::Gobgp | Kind::Exabgp => None,
        Kind::Openbgpd => Some("it waits for others that restart, but does not restart itself"),
    }
}

pub(super) fn no_restart_helper(kind: Kind, _: Version) -> Option<&'static str> {
    match kind {
        Kind::Bird | Kind::Frr | Kind::Gobgp | Kind::Openbgpd => None,
        Kind::Exabgp => Some("it keeps no routes of a neighbour that is away"),
    }
}

pub(super) fn no_shutdown_text_read(kind: Kind, _: Version) -> Option<&'static str> {
    match kind {
        Kind::Bird | Kind::Frr | Kind::Gobgp | Kind::Openbgpd => None,
        Kind::Exabgp => Some("it fails at the text of a shutdown, and answers 1/0"),
    }
}

pub(super) fn no_shutdown_text_sent(kind: Kind, _: Version) -> Option<&'static str> {
    match kind {
        Kind::Bird | Kind::Frr | Kind::Gobgp | Kind::Openbgpd => None,
        Kind::Exabgp => Some("its teardown takes no text"),
    }
}

pub(super) fn no_ipv4_over_ipv6(kind: Kind, _: Version) -> Option<&'static str> {
    match kind {
        Kind::Bird | Kind::Frr | Kind::Gobgp | Kind::Exabgp => None,
        Kind::Openbgpd => Some("on Linux it tells 127.0.0.1 as the next hop of IPv4 over IPv6"),
    }
}

pub(super) fn no_md5_of_listener(kind: Kind, _: Version) -> Option<&'static str> {
    match kind {
        Kind::Bird | Kind::Frr | Kind::Gobgp | Kind::Exabgp => None,
        Kind::Openbgpd => Some("on Linux it signs only what it dials itself"),
    }
}

pub(super) fn no_prefix_limit(kind: Kind, _: Version) -> Option<&'static str> {
    match kind {
        Kind::Bird | Kind::Frr | Kind::Gobgp | Kind::Openbgpd => None,
        Kind::Exabgp => Some("it has no limit on prefixes"),
    }
}

pub(super) fn no_roles(kind: Kind, _: Version) -> Option<&'static str> {
    match kind {
        Kind::Bird | Kind::Frr | Kind::Openbgpd => None,
        Kind::Gobgp | Kind::Exabgp => Some("it says no role, and knows none (RFC 9234)"),
    }
}

pub(super) fn no_word_of_leaks(kind: Kind, version: Version) -> Option<&'static str> {
    match kind {
        Kind::Openbgpd => Some("it shows what it has received, and not whether it refuses it by role"),
        Kind::Bird | Kind::Frr | Kind::Gobgp | Kind::Exabgp => no_roles(kind, version),
    }
}

pub(super) fn no_reflection(kind: Kind, _: Version) -> Option<&'static str> {
    match kind {
        Kind::Bird | Kind::Frr | Kind::Gobgp | Kind::Openbgpd => None,
        Kind::Exabgp => Some("it passes nothing on"),
    }
}

pub(super) fn no_own_originator(kind: Kind, _: Version) -> Option<&'static str> {
    match kind {
        Kind::Bird | Kind::Frr | Kind::Openbgpd | Kind::Exabgp => None,
        Kind::Gobgp => Some("it sends no route to a neighbour with the identifier that the route came from"),
    }
}

pub(super) fn no_long_lived(kind: Kind, _: Version) -> Option<&'static str> {
    match kind {
        Kind::Bird | Kind::Frr | Kind::Gobgp => None,
        Kind::Openbgpd | Kind::Exabgp => Some("it does not offer it (RFC 9494)"),
    }
}

// What we cannot do yet, found by itself.

pub(super) fn no_md5() -> Option<&'static str> {
    unsupported::field(Object::BGPPeer, "spec.auth").then_some("BGPPeer spec.auth is not supported yet")
}

pub(super) fn no_send_hold_time() -> Option<&'static str> {
    unsupported::field(Object::BGPPeer, "spec.timers.sendHoldTime")
        .then_some("BGPPeer spec.timers.sendHoldTime is not supported yet")
}

/// The control socket says whether it was agreed on, or not.
pub(super) fn no_enhanced_refresh_of_ours() -> Option<&'static str> {
    let agreed = serde_json::to_value(flatroute_api::control::Negotiated::default()).unwrap_or_default();
    agreed
        .get("enhancedRouteRefresh")
        .is_none()
        .then_some("enhanced route refresh is not offered yet")
}
