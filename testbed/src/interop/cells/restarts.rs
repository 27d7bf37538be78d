//! Graceful restart (RFC 4724), in both roles: who goes away without a word is waited for.
//!
//! "Kept" is looked at again and again while a side is away and comes back, so that a route which left for a moment would be
//! seen; a look takes milliseconds.

use anyhow::{Result, ensure};

use crate::interop::pair::{OURS, Pair, Plan, ROUTE, SESSION, THEIRS, prefix};
use crate::interop::peer::Kind;
use crate::wait;

/// How long the peer asks to be waited for, in seconds.
const RESTART_TIME: u16 = 60;

/// kill -9, as in [`super::endings::killed`], but the peer has said that it comes back: its routes stay in our kernel until
/// it has announced them again.
pub(in crate::interop) fn peer_restarts(kind: Kind) -> Result<()> {
    let mut plan = Plan::new(kind);
    plan.its.graceful_restart = Some(RESTART_TIME);
    let mut pair = plan.start()?;
    pair.await_session()?;
    for of in THEIRS {
        pair.await_kernel(of, true)?;
    }
    pair.peer.signal(rustix::process::Signal::KILL)?;
    while_kept(&pair, "our session to end", || {
        Ok(pair.ours()?.state != "Established")
    })?;
    pair.restart_peer()?;
    while_kept(&pair, "the session to be back", || {
        let seen = pair.peer.neighbour()?;
        Ok(seen.established && seen.received == [1, 1] && pair.ours()?.state == "Established")
    })?;
    for of in THEIRS {
        pair.await_received(of, "announced again", |_| true)?;
    }
    // What comes over the new session still counts.
    pair.peer.withdraw(prefix(THEIRS[0]))?;
    pair.await_kernel(THEIRS[0], false)?;
    pair.await_kernel(THEIRS[1], true)
}

/// Waits, and looks each time whether the peer's routes are in our kernel.
pub(super) fn while_kept(pair: &Pair, what: &str, done: impl Fn() -> Result<bool>) -> Result<()> {
    pair.explained(wait::until(what, SESSION, || {
        for of in THEIRS {
            ensure!(
                pair.forwards(of)?,
                "{of} left our kernel while we waited for {what}"
            );
        }
        Ok(if done()? {
            Ok(())
        } else {
            Err("not yet".to_owned())
        })
    }))
}

/// Our agent is killed. The peer sees the connection end, keeps our routes and says so; a new agent takes over, and they
/// are fresh again. At no look are they missing.
pub(in crate::interop) fn we_restart(kind: Kind) -> Result<()> {
    let mut plan = Plan::new(kind);
    // The others wait for whoever asks them to, without being told.
    plan.its.graceful_restart = match kind {
        Kind::Gobgp => Some(RESTART_TIME),
        Kind::Bird | Kind::Frr | Kind::Openbgpd | Kind::Exabgp => None,
    };
    let mut pair = plan.start()?;
    pair.await_session()?;
    for of in OURS {
        pair.await_route(of, "there", |route| !route.stale)?;
    }
    for of in THEIRS {
        pair.await_kernel(of, true)?;
    }
    pair.kill_agent()?;
    pair.await_peer("not Established", ROUTE, |seen| !seen.established)?;
    for of in OURS {
        let waits = pair.peer.neighbour()?.waits;
        pair.await_route(of, "kept as stale", |route| route.stale || waits)?;
    }
    pair.start_agent_again()?;
    let mut looks = 0_u32;
    pair.explained(wait::until("fresh routes over a new session", SESSION, || {
        let mut fresh = pair.peer.neighbour()?.established;
        for of in OURS {
            let route = pair.peer.route(prefix(of))?;
            ensure!(route.is_some(), "{of} left the peer at look {looks}");
            fresh &= route.is_some_and(|route| !route.stale);
        }
        for of in THEIRS {
            ensure!(pair.forwards(of)?, "{of} left our kernel at look {looks}");
        }
        looks += 1;
        Ok(if fresh { Ok(()) } else { Err("not yet".to_owned()) })
    }))?;
    pair.await_session()?;
    // A fresh route can be withdrawn, and a stale one would go only when the peer has waited long enough.
    pair.originate(false)?;
    for of in OURS {
        pair.await_no_route(of)?;
    }
    Ok(())
}
