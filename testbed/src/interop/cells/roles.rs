//! Roles and ONLY_TO_CUSTOMER (RFC 9234).

use anyhow::{Result, ensure};

use crate::interop::pair::{OURS, Plan, SESSION, THEIRS};
use crate::interop::peer::{Kind, Role};

/// Role Mismatch.
const MISMATCH: (u8, u8) = (2, 11);

fn plan(kind: Kind, its: Role, ours: &str) -> Plan {
    let mut plan = Plan::new(kind);
    plan.its.role = Some(its);
    plan.ours = plan.ours.with("role", ours);
    plan
}

/// The peer gives us transit: each says so, and there is a session.
pub(in crate::interop) fn roles_agreed(kind: Kind) -> Result<()> {
    let pair = plan(kind, Role::Provider, "Customer").start()?;
    let seen = pair.await_session()?;
    ensure!(
        seen.role == Some(Role::Customer),
        "the peer knows no role of ours: {}",
        seen.answer
    );
    let agreed = pair.ours()?.negotiated.unwrap_or_default();
    ensure!(
        agreed
            .capabilities
            .iter()
            .any(|word| word.to_lowercase() == "role: provider"),
        "we know no role of the peer's: {agreed:?}"
    );
    for of in THEIRS {
        pair.await_kernel(of, true)?;
    }
    Ok(())
}

/// Both say that they give transit. Each reads the other's OPEN and refuses it, so each may say that it was itself, or the
/// other, who ended it.
pub(in crate::interop) fn roles_mismatched(kind: Kind) -> Result<()> {
    let pair = plan(kind, Role::Provider, "Provider").start()?;
    let ours = pair.await_ours("2/11", SESSION, |ours| {
        let error = ours.last_error.as_ref();
        error.is_some_and(|error| (error.code, error.subcode) == (Some(MISMATCH.0), Some(MISMATCH.1)))
    })?;
    pair.await_peer("2/11", SESSION, |seen| {
        !seen.established && seen.notice.as_ref().and_then(|notice| notice.code) == Some(MISMATCH)
    })?;
    ensure!(ours.flaps == 0, "there was a session: {ours:?}");
    Ok(())
}

/// Between two that give each other only what is theirs: each marks what it says with its own ASN.
pub(in crate::interop) fn only_to_customer(kind: Kind) -> Result<()> {
    let plan = plan(kind, Role::Peer, "Peer");
    let (its, ours) = (plan.its.asn, plan.ours.asn);
    let pair = plan.start()?;
    pair.await_session()?;
    for of in OURS {
        pair.await_route(of, "marked by us", |route| route.only_to_customer == Some(ours))?;
    }
    for of in THEIRS {
        pair.await_received(of, "marked by the peer", |route| {
            route.only_to_customer == Some(its)
        })?;
        pair.await_kernel(of, true)?;
    }
    Ok(())
}
