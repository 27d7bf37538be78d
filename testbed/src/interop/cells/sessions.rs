//! Who dials, over what, and who may speak to whom.

use anyhow::{Result, ensure};

use crate::interop::pair::{OURS, Pair, Plan, SESSION, THEIRS};
use crate::interop::peer::{Capability, Kind, Transport};

/// An ASN of four octets.
const WIDE: u32 = 4_200_000_001;
/// What stands for it where there are two (RFC 6793 §9).
const AS_TRANS: u32 = 23_456;
/// An ASN that nobody has.
const NOBODY: u32 = 64_999;

pub(in crate::interop) fn we_dial(kind: Kind) -> Result<()> {
    let pair = Plan::new(kind).start()?;
    let seen = pair.await_session()?;
    for capability in [Capability::RouteRefresh, Capability::FourOctetAsn] {
        ensure!(
            seen.capabilities.contains(&capability),
            "no {capability:?} from us: {}",
            seen.answer
        );
    }
    Ok(())
}

pub(in crate::interop) fn peer_dials(kind: Kind) -> Result<()> {
    Plan::new(kind).peer_dials().start()?.await_session().map(drop)
}

/// Both may dial; one session must come of it and stay.
pub(in crate::interop) fn both_dial(kind: Kind) -> Result<()> {
    let mut plan = Plan::new(kind);
    plan.its.passive = false;
    plan.ours = plan.ours.with("connectMode", "Both");
    let pair = plan.start()?;
    stays(&pair)
}

/// A whole session, that has not flapped.
pub(super) fn stays(pair: &Pair) -> Result<()> {
    pair.await_session()?;
    // Routes both ways, so that it is a whole session and not the short life of the one that loses.
    for prefix in OURS {
        pair.await_route(prefix, "there", |_| true)?;
    }
    for prefix in THEIRS {
        pair.await_kernel(prefix, true)?;
    }
    let peer = pair.ours()?;
    ensure!(
        peer.state == "Established" && peer.flaps == 0,
        "it did not stay: {peer:?}"
    );
    Ok(())
}

/// The links of the lab, and more.
const RANGE: &str = "172.31.0.0/16";

/// Our agent has no neighbour, until the peer dials from within a range.
pub(in crate::interop) fn from_a_range(kind: Kind) -> Result<()> {
    comes(kind, |plan| plan)
}

/// The same with a key for the whole range, and GTSM.
pub(in crate::interop) fn from_a_guarded_range(kind: Kind) -> Result<()> {
    comes(kind, |mut plan| {
        plan.its.key = Some("of-the-range".to_owned());
        plan.ours.key = plan.its.key.clone();
        plan.its.ttl_security = true;
        plan.ours = plan.ours.with("ttlSecurity", "1");
        plan
    })
}

fn comes(kind: Kind, guarded: impl FnOnce(Plan) -> Plan) -> Result<()> {
    let mut plan = guarded(Plan::new(kind));
    plan.its.passive = false;
    plan.ours.range = Some(RANGE);
    plan.ours = plan.ours.without("connectMode");
    let pair = plan.start()?;
    pair.await_session()?;
    both_ways(&pair)?;
    let (name, address) = (pair.ours()?.name, pair.link()?.upper.ipv4);
    ensure!(name == format!("peer-{address}"), "its name is {name}");
    Ok(())
}

/// Both families over IPv6.
pub(in crate::interop) fn over_ipv6(kind: Kind) -> Result<()> {
    let mut plan = Plan::new(kind);
    plan.its.transport = Transport::IPv6;
    let pair = plan.start()?;
    pair.await_session()?;
    both_ways(&pair)
}

/// Both families over IPv4.
pub(in crate::interop) fn over_ipv4(kind: Kind) -> Result<()> {
    let pair = Plan::new(kind).start()?;
    pair.await_session()?;
    both_ways(&pair)
}

fn both_ways(pair: &Pair) -> Result<()> {
    let link = pair.link()?;
    let next_hops = [link.lower.ipv4.to_string(), link.lower.ipv6.to_string()];
    for (prefix, next_hop) in OURS.into_iter().zip(next_hops) {
        let what = format!("next hop {next_hop}, path 64512, IGP");
        pair.await_route(prefix, &what, |route| {
            route.next_hop == next_hop && route.path == [64512] && route.origin == Some(0)
        })?;
    }
    for prefix in THEIRS {
        pair.await_received(prefix, "path 65001", |route| route.as_path == "65001")?;
        pair.await_kernel(prefix, true)?;
    }
    Ok(())
}

/// Four octets on both sides.
pub(in crate::interop) fn wide_asn(kind: Kind) -> Result<()> {
    let mut plan = Plan::new(kind);
    (plan.its.asn, plan.its.our_asn) = (WIDE + 1, WIDE);
    (plan.ours.asn, plan.ours.peer_asn) = (WIDE, WIDE + 1);
    let pair = plan.start()?;
    pair.await_session()?;
    pair.await_route(OURS[0], "path of four octets", |route| route.path == [WIDE])?;
    pair.await_received(THEIRS[0], "path of four octets", |route| {
        route.as_path == (WIDE + 1).to_string()
    })?;
    Ok(())
}

/// We have four octets, the peer offers none of that: paths go out with AS_TRANS and an AS4_PATH (RFC 6793 §4.2.2).
/// Most read our ASN from our OPEN all the same. BIRD, OpenBGPD and ExaBGP make the true path again of the two attributes; FRR, having seen
/// that we know four octets, ignores AS4_PATH as the RFC demands, and keeps AS_TRANS.
pub(in crate::interop) fn two_octet_peer(kind: Kind) -> Result<()> {
    let mut plan = Plan::new(kind);
    plan.its.two_octet = true;
    plan.its.our_asn = WIDE;
    plan.ours.asn = WIDE;
    let pair = plan.start()?;
    pair.await_peer("Established", SESSION, |seen| seen.established)?;
    let path = match kind {
        Kind::Bird | Kind::Openbgpd | Kind::Exabgp => WIDE,
        Kind::Frr | Kind::Gobgp => AS_TRANS,
    };
    let what = format!("path {path}");
    pair.await_route(OURS[0], &what, |route| route.path == [path])?;
    pair.await_received(THEIRS[0], "path 65001", |route| route.as_path == "65001")?;
    pair.await_kernel(THEIRS[0], true)?;
    let agreed = pair.ours()?.negotiated.unwrap_or_default();
    ensure!(
        !agreed.four_octet_asn,
        "we think that it knows four octets: {agreed:?}"
    );
    Ok(())
}

/// We expect another ASN than the peer has: OPEN Message Error, Bad Peer AS (RFC 4271 §6.2), sent by us.
pub(in crate::interop) fn wrong_asn_of_peer(kind: Kind) -> Result<()> {
    let mut plan = Plan::new(kind);
    plan.ours.peer_asn = NOBODY;
    let pair = plan.start()?;
    pair.await_our_error("Sent", (2, 2))?;
    pair.await_notice(true, (2, 2))?;
    ensure!(!pair.peer.neighbour()?.established, "Established all the same");
    Ok(())
}

/// The peer expects another ASN than we have.
pub(in crate::interop) fn wrong_asn_of_ours(kind: Kind) -> Result<()> {
    let mut plan = Plan::new(kind);
    plan.its.our_asn = NOBODY;
    let pair = plan.start()?;
    pair.await_notice(false, (2, 2))?;
    pair.await_our_error("Received", (2, 2))?;
    ensure!(!pair.peer.neighbour()?.established, "Established all the same");
    Ok(())
}
