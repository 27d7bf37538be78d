//! Long-lived graceful restart (RFC 9494): who stays away longer than it asked to be waited for becomes a last resort.

use std::net::IpAddr;

use anyhow::{Result, ensure};

use super::restarts::while_kept;
use crate::interop::pair::{OURS, Plan, ROUTE, THEIRS};
use crate::interop::peer::{Community, Kind, PeerRoute};
use crate::topology::FIRST_TOR_ASN;

/// LLGR_STALE, as a community and as we show it.
const STALE: Community = (65535, 6);
const STALE_WORD: &str = "65535:6";
/// The restart time, in seconds: whoever is away is away for longer.
const RESTART_TIME: u16 = 2;
/// How long routes are a last resort, in seconds: longer than a cell.
const LAST_RESORT: u32 = 300;
/// The ASN of a third speaker.
const THIRD: u32 = 65_002;

/// The peer is killed and stays away. Its routes become a last resort: a worse path of a third speaker takes the place of the
/// first one, and the second one, which nobody else has, stays in our kernel. It comes back, and is preferred again.
pub(in crate::interop) fn peer_stays_away(kind: Kind) -> Result<()> {
    let mut plan = Plan::new(kind).with_neighbour_of_ours(THIRD, [THEIRS[0], "fd00:8::/64"]);
    plan.its.graceful_restart = Some(RESTART_TIME);
    plan.its.long_lived = Some(LAST_RESORT);
    plan.ours = plan.ours.with(
        "gracefulRestart",
        format!("{{longLivedStaleTime: {LAST_RESORT}s}}"),
    );
    for third in &mut plan.thirds {
        third.its = third.its.clone().with("set", "{prepend: 3}");
    }
    let mut pair = plan.start()?;
    pair.await_session()?;
    let (its, third) = (IpAddr::V4(pair.link()?.upper.ipv4), pair.third_address(0)?);
    pair.await_third_taken(0, THEIRS[0])?;
    pair.await_gateways(THEIRS[0], &[its])?;
    pair.await_kernel(THEIRS[1], true)?;

    pair.peer.signal(rustix::process::Signal::KILL)?;
    while_kept(&pair, "its routes to be a last resort", || {
        let retained = pair.ours()?.retained.unwrap_or_default();
        Ok(retained.long_lived == 2)
    })?;
    pair.await_received(THEIRS[0], "stale, and worse for it", |route| {
        route.stale && !route.best && route.reason.contains("a last resort (LLGR_STALE)")
    })?;
    pair.await_best(THEIRS[1], "stale, with LLGR_STALE", |route| {
        route.stale && route.communities == [STALE_WORD]
    })?;
    pair.await_gateways(THEIRS[0], &[third])?;
    ensure!(pair.forwards(THEIRS[1])?, "{} left our kernel", THEIRS[1]);

    pair.restart_peer()?;
    pair.await_session()?;
    for of in THEIRS {
        pair.await_best(of, "fresh, of the peer, without LLGR_STALE", |route| {
            !route.stale && route.communities.is_empty() && route.as_path == FIRST_TOR_ASN.to_string()
        })?;
    }
    pair.await_gateways(THEIRS[0], &[its])
}

/// Our agent is killed and stays away: the peer shows our routes with LLGR_STALE, until a new agent has told them again.
pub(in crate::interop) fn we_stay_away(kind: Kind) -> Result<()> {
    let long_lived = |route: &PeerRoute| route.communities.contains(&STALE);
    let mut plan = Plan::new(kind);
    plan.its.graceful_restart = Some(RESTART_TIME);
    plan.its.long_lived = Some(LAST_RESORT);
    plan.ours = plan.ours.with(
        "gracefulRestart",
        format!("{{restartTime: {RESTART_TIME}s, longLivedStaleTime: {LAST_RESORT}s}}"),
    );
    let mut pair = plan.start()?;
    pair.await_session()?;
    for of in OURS {
        pair.await_route(of, "there", |route| !route.stale && !long_lived(route))?;
    }
    pair.kill_agent()?;
    pair.await_peer("not Established", ROUTE, |seen| !seen.established)?;
    for of in OURS {
        pair.await_route(of, "a last resort", long_lived)?;
    }
    pair.start_agent_again()?;
    pair.await_session()?;
    for of in OURS {
        pair.await_route(of, "fresh", |route| !route.stale && !long_lived(route))?;
    }
    // A fresh route can be withdrawn.
    pair.originate(false)?;
    for of in OURS {
        pair.await_no_route(of)?;
    }
    Ok(())
}
