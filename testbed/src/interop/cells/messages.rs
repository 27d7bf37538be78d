//! Route refresh and extended messages.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use crate::interop::pair::{OURS, Plan, ROUTE, THEIRS, prefix};
use crate::interop::peer::{Capability, Kind, Originated};

/// So many communities need 4 octets each: more than the 4,096 octets of a message of RFC 4271.
const MANY: u16 = 1_100;

fn many() -> Vec<(u16, u16)> {
    (0..MANY).map(|low| (64_513, low)).collect()
}

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
    for of in THEIRS {
        pair.peer.announce(Originated {
            communities: many(),
            ..Originated::plain(prefix(of))
        })?;
        let what = format!("{MANY} communities");
        let wanted: BTreeSet<String> = many().iter().map(|(high, low)| format!("{high}:{low}")).collect();
        pair.await_received(of, &what, |route| {
            route.communities.iter().cloned().collect::<BTreeSet<_>>() == wanted
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
    let list: Vec<String> = many()
        .iter()
        .map(|(high, low)| format!("\"{high}:{low}\""))
        .collect();
    plan.ours = plan
        .ours
        .with("set", format!("{{communities: [{}]}}", list.join(", ")));
    let pair = plan.start()?;
    pair.await_session()?;
    for of in OURS {
        let what = format!("{MANY} communities");
        pair.await_communities(of, &what, &many())?;
    }
    ensure!(pair.ours()?.flaps == 0, "the session was reset");
    Ok(())
}
