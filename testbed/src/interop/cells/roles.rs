//! Roles and ONLY_TO_CUSTOMER (RFC 9234).

use anyhow::{Result, ensure};

use crate::interop::pair::{OURS, Pair, Plan, SESSION, THEIRS, prefix};
use crate::interop::peer::{Kind, Role};

/// Role Mismatch.
const MISMATCH: (u8, u8) = (2, 11);
/// Who gives transit to one of the two, and marks what it says.
const ABOVE: u32 = 65_002;
/// What it has.
const MARKED: [&str; 2] = ["10.8.0.0/24", "fd00:8::/64"];

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

/// What our provider says has its mark, and does not go to a peer. Where we say no role any more, it does.
pub(in crate::interop) fn leak_not_sent(kind: Kind) -> Result<()> {
    let mut plan = below_a_provider(Plan::new(kind));
    plan.ours = plan.ours.with("role", "Peer");
    let mut pair = plan.start()?;
    without_marked(&pair)?;
    pair.change(|ours| ours.without("role"))?;
    for of in MARKED {
        pair.await_route(of, "with the mark", |route| route.only_to_customer == Some(ABOVE))?;
    }
    Ok(())
}

/// We say no role, and pass on what our provider has marked. The peer, which gives us transit, does not take it.
pub(in crate::interop) fn leak_refused_by_peer(kind: Kind) -> Result<()> {
    let mut plan = below_a_provider(Plan::new(kind));
    plan.its.role = Some(Role::Provider);
    let pair = plan.start()?;
    for of in MARKED {
        pair.await_advertised(of)?;
    }
    without_marked(&pair)
}

/// The peer says no role, and passes on what its provider has marked. We, who give it transit, refuse it.
pub(in crate::interop) fn leak_refused_by_us(kind: Kind) -> Result<()> {
    let mut plan = Plan::new(kind).with_neighbour_of_peer(ABOVE, MARKED);
    plan.ours = plan.ours.with("role", "Provider");
    give_transit(&mut plan);
    let pair = plan.start()?;
    pair.await_session()?;
    // The neighbour of the peer speaks IPv4 with it.
    let route = pair.await_received(MARKED[0], "marked", |route| route.only_to_customer == Some(ABOVE))?;
    ensure!(route.reason.contains("route leak"), "another reason: {route:?}");
    for of in THEIRS {
        pair.await_kernel(of, true)?;
    }
    pair.await_kernel(MARKED[0], false)
}

/// We have a provider, whose routes we pass on as far as the roles allow.
fn below_a_provider(plan: Plan) -> Plan {
    let mut plan = plan.with_neighbour_of_ours(ABOVE, MARKED);
    plan.ours = plan.ours.with("advertise", "[PodCIDRs, LearnedRoutes]");
    give_transit(&mut plan);
    plan
}

fn give_transit(plan: &mut Plan) {
    for third in &mut plan.thirds {
        third.its = third.its.clone().with("role", "Provider");
    }
}

/// The peer does not have what our provider has marked. It has our own routes: when it has one of them again that was gone, it was
/// told before of whatever it is to be told.
fn without_marked(pair: &Pair) -> Result<()> {
    pair.await_session()?;
    for of in MARKED {
        pair.await_third_taken(0, of)?;
    }
    pair.await_route(OURS[0], "ours", |_| true)?;
    pair.originate(false)?;
    pair.await_no_route(OURS[0])?;
    pair.originate(true)?;
    for of in OURS {
        pair.await_route(of, "ours again", |_| true)?;
    }
    for of in MARKED {
        let found = pair.peer.route(prefix(of))?;
        ensure!(found.is_none(), "the peer has a leak: {found:?}");
    }
    Ok(())
}
