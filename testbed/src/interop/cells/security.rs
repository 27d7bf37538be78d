//! GTSM (RFC 5082) and TCP MD5 (RFC 2385): who has it right gets a session, who has not gets none, and the kernel's own
//! counters say why.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::interop::pair::{Pair, Plan, SESSION};
use crate::interop::peer::Kind;
use crate::wait::{self, Look};

/// The right key.
const KEY: &str = "correct-horse-battery";
/// How many packets must be seen refused before a cell believes that it is refused.
const REFUSALS: u64 = 3;

fn gtsm(kind: Kind) -> Plan {
    let mut plan = Plan::new(kind);
    plan.its.ttl_security = true;
    plan.ours = plan.ours.with("ttlSecurity", "1");
    plan
}

pub(in crate::interop) fn gtsm_we_dial(kind: Kind) -> Result<()> {
    gtsm(kind).start()?.await_session().map(drop)
}

pub(in crate::interop) fn gtsm_peer_dials(kind: Kind) -> Result<()> {
    gtsm(kind).peer_dials().start()?.await_session().map(drop)
}

/// A peer that sends with a TTL below 255 does not get through, whoever dials.
pub(in crate::interop) fn gtsm_refuses(kind: Kind) -> Result<()> {
    let mut plan = gtsm(kind);
    plan.its.ttl_security = false;
    plan.its.passive = false;
    plan.ours = plan.ours.with("connectMode", "Both");
    let pair = plan.start()?;
    refused(&pair, "packets below the least TTL", |pair| {
        pair.tcp_counter("TCPMinTTLDrop")
    })
}

fn keyed(kind: Kind) -> Plan {
    let mut plan = Plan::new(kind);
    plan.its.key = Some(KEY.to_owned());
    plan.ours.key = Some(KEY.to_owned());
    plan
}

pub(in crate::interop) fn md5_we_dial(kind: Kind) -> Result<()> {
    keyed(kind).start()?.await_session().map(drop)
}

pub(in crate::interop) fn md5_peer_dials(kind: Kind) -> Result<()> {
    keyed(kind).peer_dials().start()?.await_session().map(drop)
}

/// Another key than ours, whoever dials.
pub(in crate::interop) fn md5_wrong_key(kind: Kind) -> Result<()> {
    let mut plan = keyed(kind);
    plan.its.key = Some("another".to_owned());
    plan.its.passive = false;
    plan.ours = plan.ours.with("connectMode", "Both");
    let pair = plan.start()?;
    refused(&pair, "packets with a wrong signature", |pair| {
        pair.tcp_counter("TCPMD5Failure")
    })
}

/// No key at the peer at all.
pub(in crate::interop) fn md5_no_key(kind: Kind) -> Result<()> {
    let mut plan = keyed(kind);
    plan.its.key = None;
    plan.its.passive = false;
    plan.ours = plan.ours.with("connectMode", "Both");
    let pair = plan.start()?;
    refused(&pair, "packets without a signature", |pair| {
        pair.tcp_counter("TCPMD5NotFound")
    })
}

/// Waits until the kernel has refused some packets, and sees to it that no session came up meanwhile.
fn refused(pair: &Pair, what: &str, counter: impl Fn(&Pair) -> Result<u64>) -> Result<()> {
    wait::until(&format!("{REFUSALS} {what}"), SESSION, || {
        let ours = pair.ours()?;
        ensure!(ours.state != "Established", "Established all the same: {ours:?}");
        let seen = counter(pair)?;
        Ok(if seen >= REFUSALS {
            Look::Ok(())
        } else {
            Err(format!("{seen} so far"))
        })
    })?;
    let ours = pair.ours()?;
    ensure!(ours.flaps == 0, "it was Established for a while: {ours:?}");
    pair.await_peer("not Established", Duration::from_secs(1), |seen| {
        !seen.established
    })
    .map(drop)
}
