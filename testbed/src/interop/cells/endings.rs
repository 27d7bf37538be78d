//! How sessions end: in order with a text, or because the other side is dead, frozen or deaf.

use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::process::Signal;

use crate::fabric::Fabric;
use crate::interop::ours::Burden;
use crate::interop::pair::{OURS, Plan, ROUTE, SESSION, THEIRS};
use crate::interop::peer::Kind;

/// The text of a shutdown (RFC 9003), with letters beyond ASCII.
const TEXT: &str = "maintenance of rack 1, back at 14:00 – Grüße";

/// Our shutdown's text arrives at the peer.
pub(in crate::interop) fn we_shut(kind: Kind) -> Result<()> {
    let mut pair = Plan::new(kind).start()?;
    pair.await_session()?;
    pair.change(|ours| {
        ours.with("state", "Down")
            .with("stateMessage", format!("\"{TEXT}\""))
    })?;
    pair.await_notice(true, (6, 2))?;
    pair.await_peer("our text", ROUTE, |seen| {
        seen.notice.as_ref().is_some_and(|notice| notice.text == TEXT)
    })?;
    pair.await_kernel(THEIRS[0], false)?;
    pair.change(|ours| ours.without("state").without("stateMessage"))?;
    pair.await_session().map(drop)
}

/// The peer's text arrives at us.
pub(in crate::interop) fn peer_shuts(kind: Kind) -> Result<()> {
    let mut pair = Plan::new(kind).start()?;
    pair.await_session()?;
    pair.await_kernel(THEIRS[0], true)?;
    // BIRD's command line takes the letters of ASCII only.
    let text = TEXT.split(" –").next().unwrap_or_default();
    pair.peer.shut(text)?;
    pair.await_event("PeerDown", text)?;
    pair.await_kernel(THEIRS[0], false)?;
    pair.await_peer("not Established", ROUTE, |seen| !seen.established)?;
    pair.peer.open()?;
    pair.await_session()?;
    pair.await_kernel(THEIRS[0], true)
}

/// kill -9: the kernel closes the connection, the session ends at once, its routes leave.
pub(in crate::interop) fn killed(kind: Kind) -> Result<()> {
    let mut pair = Plan::new(kind).start()?;
    pair.await_session()?;
    for of in THEIRS {
        pair.await_kernel(of, true)?;
    }
    pair.peer.signal(Signal::KILL)?;
    // Far below the hold time of 90 s.
    pair.await_ours("not Established", Duration::from_secs(5), |peer| {
        peer.state != "Established"
    })?;
    for of in THEIRS {
        pair.await_kernel(of, false)?;
    }
    pair.restart_peer()?;
    pair.await_session()?;
    for of in OURS {
        pair.await_route(of, "back", |_| true)?;
    }
    Ok(())
}

/// SIGSTOP: the connection stays, nothing comes, and our hold timer ends it. Then the peer wakes up.
pub(in crate::interop) fn frozen(kind: Kind) -> Result<()> {
    let mut plan = Plan::new(kind);
    plan.its.hold = 3;
    plan.ours = plan.ours.with("timers", "{connectRetryTime: 1s, holdTime: 3s}");
    let pair = plan.start()?;
    pair.await_session()?;
    let agreed = pair.ours()?.negotiated.unwrap_or_default();
    ensure!(agreed.hold_time == 3, "another hold time: {agreed:?}");
    for of in THEIRS {
        pair.await_kernel(of, true)?;
    }
    pair.peer.signal(Signal::STOP)?;
    pair.await_event("PeerDown", "Hold Timer Expired")?;
    for of in THEIRS {
        pair.await_kernel(of, false)?;
    }
    pair.peer.signal(Signal::CONT)?;
    pair.await_session()?;
    for of in THEIRS {
        pair.await_kernel(of, true)?;
    }
    Ok(())
}

/// The peer keeps its connection but takes nothing off it: our send hold timer (RFC 9687) ends the session. A stopped
/// process sends nothing either, so the hold time is 0: nothing but the send hold timer can notice. Buffers are made
/// small, so that a few messages fill them.
pub(in crate::interop) fn deaf(kind: Kind) -> Result<()> {
    let mut plan = Plan::new(kind);
    plan.its.small_buffers = true;
    plan.ours = plan
        .ours
        .with("timers", "{connectRetryTime: 1s, holdTime: 0s, sendHoldTime: 3s}");
    let small_buffers = |fabric: &Fabric| {
        for router in &fabric.topology().routers {
            let namespace = fabric.namespace(&router.name)?;
            for buffer in ["rmem", "wmem"] {
                namespace.set(&format!("net/ipv4/tcp_{buffer}"), "4096 4096 4096")?;
            }
        }
        Ok(())
    };
    let mut pair = plan.start_with(small_buffers)?;
    pair.await_session()?;
    for of in THEIRS {
        pair.await_kernel(of, true)?;
    }
    pair.peer.signal(Signal::STOP)?;
    // Some 5 kB a route, two routes, and again with each change; half of it where messages are short, and more often,
    // because OpenBGPD asks for large buffers itself.
    let (half, last) = match kind {
        Kind::Openbgpd => (true, 64_640),
        Kind::Bird | Kind::Frr | Kind::Gobgp | Kind::Exabgp => (false, 64_604),
    };
    for high in 64_600..last {
        pair.change(|mut ours| {
            ours.burden = Some(Burden { high, half });
            ours
        })?;
        pair.await_plan(&format!("{high}:0"))?;
    }
    pair.await_event("PeerDown", "Send Hold Timer")?;
    for of in THEIRS {
        pair.await_kernel(of, false)?;
    }
    pair.peer.signal(Signal::CONT)?;
    pair.await_peer("Established again", SESSION, |seen| seen.established)
        .map(drop)
}
