//! Route refresh and extended messages.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use crate::interop::ours::Burden;
use crate::interop::pair::{OURS, Plan, ROUTE, THEIRS, prefix};
use crate::interop::peer::{Capability, Kind, Originated};

const BURDEN: Burden = Burden {
    high: 64_513,
    half: false,
};

/// The peer asks for our routes again and gets them.
pub(in crate::interop) fn peer_refreshes(kind: Kind) -> Result<()> {
    let pair = Plan::new(kind).start()?;
    pair.await_session()?;
    for of in OURS {
        pair.await_route(of, "there", |_| true)?;
    }
    let before = pair.peer.neighbour()?.updates;
    pair.peer.refresh()?;
    pair.await_peer("more UPDATEs", ROUTE, |seen| {
        seen.updates >= before + 2 && seen.established && seen.received == [1, 1]
    })?;
    ensure!(pair.ours()?.flaps == 0, "the refresh reset the session");
    Ok(())
}

/// We ask for the peer's routes again.
pub(in crate::interop) fn we_refresh(kind: Kind) -> Result<()> {
    let pair = Plan::new(kind).start()?;
    pair.await_session()?;
    for of in THEIRS {
        pair.await_kernel(of, true)?;
    }
    let before = pair.peer.neighbour()?.served;
    pair.refresh()?;
    pair.await_peer("both families asked for", ROUTE, |seen| {
        seen.served >= before + 2 && seen.established
    })?;
    for of in THEIRS {
        pair.await_received(of, "still there", |_| true)?;
    }
    ensure!(pair.ours()?.flaps == 0, "the refresh reset the session");
    Ok(())
}

/// RFC 7313 is agreed on, and both refreshes leave the routes as they were.
pub(in crate::interop) fn enhanced_refresh(kind: Kind) -> Result<()> {
    let pair = Plan::new(kind).start()?;
    let seen = pair.await_session()?;
    ensure!(
        seen.capabilities.contains(&Capability::EnhancedRefresh),
        "not offered by us: {}",
        seen.answer
    );
    for of in THEIRS {
        pair.await_kernel(of, true)?;
    }
    let before = pair.peer.neighbour()?;
    pair.peer.refresh()?;
    pair.await_peer("our routes again", ROUTE, |seen| {
        seen.updates >= before.updates + 2 && seen.received == [1, 1]
    })?;
    pair.refresh()?;
    pair.await_peer("its routes asked for", ROUTE, |seen| {
        seen.served >= before.served + 2 && seen.established
    })?;
    // We tell of this only when EoRR came after BoRR.
    for family in ["IPv4", "IPv6"] {
        pair.await_event(
            "RouteRefresh",
            &format!("all {family} routes have been received again; 0 "),
        )?;
    }
    for of in THEIRS {
        pair.await_received(of, "still there", |_| true)?;
        pair.await_kernel(of, true)?;
    }
    ensure!(pair.ours()?.flaps == 0, "a refresh reset the session");
    Ok(())
}

/// A route that fits no message of 4,096 octets, from the peer.
pub(in crate::interop) fn extended_to_us(kind: Kind) -> Result<()> {
    let mut pair = Plan::new(kind).start()?;
    let seen = pair.await_session()?;
    ensure!(
        seen.capabilities.contains(&Capability::ExtendedMessage),
        "not offered by us: {}",
        seen.answer
    );
    let communities: BTreeSet<String> = BURDEN
        .communities()
        .iter()
        .map(|(a, b)| format!("{a}:{b}"))
        .collect();
    let large: BTreeSet<String> = BURDEN
        .large()
        .iter()
        .map(|(a, b, c)| format!("{a}:{b}:{c}"))
        .collect();
    for of in THEIRS {
        pair.peer.announce(Originated {
            communities: BURDEN.communities(),
            large: BURDEN.large(),
            ..Originated::plain(prefix(of))
        })?;
        pair.await_received(of, "with all its communities", |route| {
            let set = |words: &[String]| words.iter().cloned().collect::<BTreeSet<_>>();
            set(&route.communities) == communities && set(&route.large_communities) == large
        })?;
    }
    let ours = pair.ours()?;
    ensure!(
        ours.flaps == 0 && ours.negotiated.is_some_and(|agreed| agreed.extended_messages),
        "not agreed on, or reset"
    );
    Ok(())
}

/// The same from us.
pub(in crate::interop) fn extended_to_peer(kind: Kind) -> Result<()> {
    let mut plan = Plan::new(kind);
    plan.ours.burden = Some(BURDEN);
    let pair = plan.start()?;
    pair.await_session()?;
    for of in OURS {
        pair.await_communities(of, &BURDEN.communities(), &BURDEN.large())?;
    }
    ensure!(pair.ours()?.flaps == 0, "the session was reset");
    Ok(())
}
