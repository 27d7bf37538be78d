//! Several paths of one prefix over one session (RFC 7911).

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use flatroute_api::control::Route;

use crate::interop::pair::{Plan, ROUTE, THEIRS, prefix};
use crate::interop::peer::{Kind, PassedOn, PeerRoute};

/// A neighbour of the peer's that has the peer's prefix too.
const BEHIND: u32 = 64_513;
/// Neighbours of ours that have one prefix.
const THIRDS: [u32; 2] = [65_002, 65_003];
/// That prefix, of each family.
const SHARED: [&str; 2] = ["10.8.0.0/24", "fd00:8::/64"];

/// The peer has its own path and that of a neighbour, and tells us both; then its own goes.
pub(in crate::interop) fn paths_to_us(kind: Kind) -> Result<()> {
    let mut plan = match kind {
        Kind::Bird | Kind::Frr | Kind::Gobgp | Kind::Openbgpd => {
            Plan::new(kind).with_neighbour_of_peer(BEHIND, [THEIRS[0], SHARED[1]])
        }
        Kind::Exabgp => {
            let mut plan = Plan::new(kind);
            plan.its.passed_on.push(PassedOn {
                prefix: prefix(THEIRS[0]),
                path: vec![BEHIND],
                originator: None,
                clusters: Vec::new(),
            });
            plan
        }
    };
    plan.its.add_path = true;
    plan.ours = plan.ours.with("addPath", "Receive");
    let (short, long) = (plan.its.asn.to_string(), format!("{} {BEHIND}", plan.its.asn));
    let mut pair = plan.start()?;
    pair.await_session()?;
    pair.await_ours("two families received with path identifiers", ROUTE, |ours| {
        let agreed = ours.negotiated.clone().unwrap_or_default();
        agreed.add_path == ["IPv4 received", "IPv6 received"]
    })?;
    let paths =
        |routes: &[Route]| -> BTreeSet<String> { routes.iter().map(|route| route.as_path.clone()).collect() };
    pair.await_received_paths(THEIRS[0], "two paths", |routes| {
        let ids: BTreeSet<Option<u32>> = routes.iter().map(|route| route.path_id).collect();
        ids.len() == 2 && !ids.contains(&None) && paths(routes) == [short.clone(), long.clone()].into()
    })?;
    pair.await_kernel(THEIRS[0], true)?;
    pair.peer.withdraw(prefix(THEIRS[0]))?;
    pair.await_received_paths(THEIRS[0], "one path", |routes| {
        paths(routes) == [long.clone()].into()
    })?;
    ensure!(pair.forwards(THEIRS[0])?, "{} left our kernel", THEIRS[0]);
    ensure!(pair.ours()?.flaps == 0, "the session was reset");
    Ok(())
}

/// Two neighbours of ours have one prefix: we use both paths and tell the peer both; then one goes.
pub(in crate::interop) fn paths_to_peer(kind: Kind) -> Result<()> {
    let mut plan = Plan::new(kind);
    for asn in THIRDS {
        plan = plan.with_neighbour_of_ours(asn, SHARED);
    }
    plan.its.add_path = true;
    plan.ours = plan
        .ours
        .with("addPath", "Send")
        .with("advertise", "[PodCIDRs, LearnedRoutes]");
    let ours = plan.ours.asn;
    let pair = plan.start()?;
    pair.await_session()?;
    pair.await_gateways(SHARED[0], &[pair.third_address(0)?, pair.third_address(1)?])?;
    let paths = |routes: &[PeerRoute]| -> BTreeSet<Vec<u32>> {
        routes.iter().map(|route| route.path.clone()).collect()
    };
    let both: BTreeSet<Vec<u32>> = THIRDS.iter().map(|asn| vec![ours, *asn]).collect();
    for of in SHARED {
        pair.await_paths(of, "two paths", |routes| {
            routes.len() == 2 && paths(routes) == both
        })?;
    }
    let last = both.into_iter().next_back().context("a path")?;
    pair.third_withdraws(0)?;
    for of in SHARED {
        pair.await_paths(of, "one path", |routes| {
            routes.len() == 1 && paths(routes) == [last.clone()].into()
        })?;
    }
    ensure!(pair.ours()?.flaps == 0, "the session was reset");
    Ok(())
}
