//! Limits on prefixes: our three actions, and the peer's limit on us.

use anyhow::{Result, ensure};

use crate::interop::pair::{OURS, Pair, Plan, ROUTE, SESSION, THEIRS, prefix};
use crate::interop::peer::{Kind, Originated};

/// One more of each family than the limit of one.
const MORE: [&str; 2] = ["10.9.1.0/24", "fd00:9:0:1::/64"];

fn limited(kind: Kind, action: &str) -> Result<Pair> {
    let mut plan = Plan::new(kind);
    plan.ours = plan
        .ours
        .with("maxPrefixes", format!("{{limit: 1, action: {action}}}"));
    let pair = plan.start()?;
    pair.await_session()?;
    for of in THEIRS {
        pair.await_kernel(of, true)?;
    }
    Ok(pair)
}

/// Beyond the limit all the same, and said.
pub(in crate::interop) fn warn(kind: Kind) -> Result<()> {
    let mut pair = limited(kind, "Warn")?;
    for of in MORE {
        pair.peer.announce(Originated::plain(prefix(of)))?;
        pair.await_kernel(of, true)?;
    }
    for family in ["IPv4", "IPv6"] {
        pair.await_event("PrefixLimit", family)?;
    }
    pair.await_peer("still Established", ROUTE, |seen| seen.established)?;
    ensure!(pair.ours()?.flaps == 0, "the session was reset");
    Ok(())
}

/// What is held stays, what is beyond is refused, and the session stays.
pub(in crate::interop) fn drop_beyond(kind: Kind) -> Result<()> {
    let mut pair = limited(kind, "Drop")?;
    for of in MORE {
        pair.peer.announce(Originated::plain(prefix(of)))?;
    }
    for family in ["IPv4", "IPv6"] {
        pair.await_event("PrefixLimit", family)?;
    }
    // A route that comes after them, of the same session, says that they have arrived.
    pair.peer.withdraw(prefix(THEIRS[0]))?;
    pair.await_kernel(THEIRS[0], false)?;
    pair.await_kernel(THEIRS[1], true)?;
    for of in MORE {
        pair.await_kernel(of, false)?;
    }
    pair.await_peer("still Established", ROUTE, |seen| seen.established)?;
    ensure!(pair.ours()?.flaps == 0, "the session was reset");
    Ok(())
}

/// Cease, Maximum Number of Prefixes Reached (RFC 4486 §4), and again after a pause.
pub(in crate::interop) fn restart(kind: Kind) -> Result<()> {
    let mut pair = limited(kind, "Restart")?;
    pair.peer.announce(Originated::plain(prefix(MORE[0])))?;
    pair.await_notice(true, (6, 1))?;
    pair.await_our_error("Sent", (6, 1))?;
    pair.await_kernel(THEIRS[0], false)?;
    pair.await_kernel(THEIRS[1], false)
}

/// The peer's limit of one, and we come to send more of each family: it ends the session, and says so. FRR counts before
/// it adds, so only the third ends it.
pub(in crate::interop) fn of_peer(kind: Kind) -> Result<()> {
    let mut plan = Plan::new(kind);
    plan.its.limit = Some(1);
    for address in ["10.1.0.201", "10.1.0.202", "fd00:10:1::201", "fd00:10:1::202"] {
        plan.ours.more_addresses.push(address.parse()?);
    }
    let mut pair = plan.start()?;
    pair.await_session()?;
    for of in OURS {
        pair.await_route(of, "there", |_| true)?;
    }
    pair.change(|ours| ours.with("advertise", "[PodCIDRs, NodeAddresses]"))?;
    pair.await_our_error("Received", (6, 1))?;
    pair.await_peer("not Established", SESSION, |seen| !seen.established)?;
    pair.await_notice(false, (6, 1))
}
