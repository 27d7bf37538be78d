//! Route reflection (RFC 4456): ours for the peer, the peer's for us, and routes that come back to where they have been.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};

use crate::interop::pair::{OURS, Pair, Plan, THEIRS, prefix};
use crate::interop::peer::{Kind, PassedOn};
use crate::topology::NODE_ASN;

/// What a third speaker of our AS originates.
const ITS_OWN: [&str; 2] = ["10.8.0.0/24", "fd00:8::/64"];
/// The cluster of the reflector.
const CLUSTER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);

/// The peer is our client, a third speaker is none: each is told of the other, with ORIGINATOR_ID, CLUSTER_LIST and the next
/// hop that it had. When the peer is no client any more, neither is told, and no session ends.
pub(in crate::interop) fn we_reflect(kind: Kind) -> Result<()> {
    let mut plan = Plan::internal(kind).with_neighbour_of_ours(NODE_ASN, ITS_OWN);
    plan.ours = plan
        .ours
        .annotated("flatroute.io/cluster-id", CLUSTER.to_string())
        .with("routeReflectorClient", "Enabled");
    let mut pair = plan.start()?;
    pair.await_session()?;
    let (third, address) = (pair.third_id(0)?, pair.third_address(0)?.to_string());
    let what = format!("of {third}, via {address}, reflected by {CLUSTER}");
    pair.await_route(ITS_OWN[0], &what, |route| {
        route.originator == Some(third)
            && route.clusters == [CLUSTER]
            && route.next_hop == address
            && route.path.is_empty()
    })?;
    let its = pair.its_id()?.to_string();
    pair.await_third(
        0,
        THEIRS[0],
        &format!("of {its}, reflected by {CLUSTER}"),
        |route| route.originator_id.as_ref() == Some(&its) && route.cluster_list == [CLUSTER.to_string()],
    )?;
    pair.change(|ours| ours.with("routeReflectorClient", "Disabled"))?;
    pair.await_no_route(ITS_OWN[0])?;
    pair.await_third_without(0, THEIRS[0])?;
    pair.await_route(OURS[0], "still there", |route| route.originator.is_none())?;
    ensure!(pair.ours()?.flaps == 0, "the change reset the session");
    Ok(())
}

/// A peer that reflects, or seems to: us, a third speaker beside us, and the cluster.
fn reflector(kind: Kind, originator: Option<Ipv4Addr>) -> Plan {
    match kind {
        Kind::Bird | Kind::Frr | Kind::Gobgp | Kind::Openbgpd => {
            let mut plan = Plan::internal(kind).with_neighbour_of_peer(NODE_ASN, ITS_OWN);
            plan.its.cluster = Some(CLUSTER);
            if let Some(id) = originator {
                for third in &mut plan.thirds {
                    third.its = third
                        .its
                        .clone()
                        .annotated("flatroute.io/router-id", id.to_string());
                }
            }
            plan
        }
        Kind::Exabgp => {
            let mut plan = Plan::internal(kind);
            plan.its.passed_on.push(PassedOn {
                prefix: prefix(ITS_OWN[0]),
                path: Vec::new(),
                originator: originator.or(Some(Ipv4Addr::new(10, 99, 0, 2))),
                clusters: vec![CLUSTER],
            });
            plan
        }
    }
}

/// The peer reflects between us and another client: we show what it adds, and the other has our route by it.
pub(in crate::interop) fn peer_reflects(kind: Kind) -> Result<()> {
    let pair = reflector(kind, None).start()?;
    pair.await_session()?;
    let (third, us) = (pair.third_id(0)?.to_string(), Plan::our_id()?.to_string());
    let clusters = [CLUSTER.to_string()];
    pair.await_received(
        ITS_OWN[0],
        &format!("of {third}, reflected by {CLUSTER}"),
        |route| route.originator_id.as_ref() == Some(&third) && route.cluster_list == clusters,
    )?;
    pair.await_third(0, OURS[0], &format!("of {us}, reflected by {CLUSTER}"), |route| {
        route.originator_id.as_ref() == Some(&us) && route.cluster_list == clusters
    })?;
    Ok(())
}

/// The other client has our identifier: what it says, the peer reflects to us as ours.
pub(in crate::interop) fn own_originator(kind: Kind) -> Result<()> {
    let us = Plan::our_id()?;
    let pair = reflector(kind, Some(us)).start()?;
    refused(&pair, &format!("ORIGINATOR_ID {us} is this speaker"))?;
    pair.await_kernel(THEIRS[0], true)
}

/// We are a reflector of the same cluster.
pub(in crate::interop) fn own_cluster(kind: Kind) -> Result<()> {
    let mut plan = reflector(kind, None);
    plan.ours = plan
        .ours
        .annotated("flatroute.io/cluster-id", CLUSTER.to_string())
        .with("routeReflectorClient", "Enabled");
    let pair = plan.start()?;
    refused(
        &pair,
        &format!("CLUSTER_LIST has this speaker's cluster {CLUSTER}"),
    )
}

/// The route is there, and refused for this reason.
fn refused(pair: &Pair, reason: &str) -> Result<()> {
    pair.await_session()?;
    pair.await_received(ITS_OWN[0], reason, |route| {
        route.reason.contains(reason) && !route.best
    })?;
    ensure!(!pair.forwards(ITS_OWN[0])?, "{} is in our kernel", ITS_OWN[0]);
    ensure!(pair.ours()?.flaps == 0, "the session was reset");
    Ok(())
}
