//! Routes, withdrawals, communities.

use anyhow::{Result, ensure};

use crate::interop::pair::{OURS, Plan, ROUTE, THEIRS, prefix};
use crate::interop::peer::{Kind, Originated};

/// The peer withdraws its routes and announces them again; the session stays.
pub(in crate::interop) fn peer_withdraws(kind: Kind) -> Result<()> {
    let mut pair = Plan::new(kind).start()?;
    pair.await_session()?;
    for of in THEIRS {
        pair.await_kernel(of, true)?;
        pair.peer.withdraw(prefix(of))?;
        pair.await_kernel(of, false)?;
        let left = pair.received()?;
        ensure!(
            !left.iter().any(|route| route.prefix == of),
            "still received: {left:?}"
        );
        pair.peer.announce(Originated::plain(prefix(of)))?;
        pair.await_kernel(of, true)?;
    }
    ensure!(pair.ours()?.flaps == 0, "withdrawals reset the session");
    Ok(())
}

/// Our Node loses its pod CIDRs and gets them back; the session stays.
pub(in crate::interop) fn we_withdraw(kind: Kind) -> Result<()> {
    let pair = Plan::new(kind).start()?;
    pair.await_session()?;
    for of in OURS {
        pair.await_route(of, "there", |_| true)?;
    }
    pair.originate(false)?;
    for of in OURS {
        pair.await_no_route(of)?;
    }
    pair.await_peer("Established without routes", ROUTE, |seen| {
        seen.established && seen.received == [0, 0]
    })?;
    pair.originate(true)?;
    for of in OURS {
        pair.await_route(of, "back", |_| true)?;
    }
    ensure!(pair.ours()?.flaps == 0, "withdrawals reset the session");
    Ok(())
}

pub(in crate::interop) fn communities_to_peer(kind: Kind) -> Result<()> {
    let mut plan = Plan::new(kind);
    plan.ours = plan.ours.with("set", "{communities: [\"64512:7\", \"65001:9\"]}");
    let pair = plan.start()?;
    pair.await_session()?;
    for of in OURS {
        pair.await_route(of, "64512:7 and 65001:9", |route| {
            route.communities.iter().copied().eq([(64512, 7), (65001, 9)])
        })?;
    }
    Ok(())
}

pub(in crate::interop) fn communities_to_us(kind: Kind) -> Result<()> {
    let mut plan = Plan::new(kind);
    for route in &mut plan.its.originated {
        route.communities = vec![(64512, 7), (65001, 9)];
    }
    let pair = plan.start()?;
    pair.await_session()?;
    for of in THEIRS {
        pair.await_received(of, "64512:7 and 65001:9", |route| {
            route.communities == ["64512:7", "65001:9"]
        })?;
    }
    Ok(())
}

/// NO_ADVERTISE and NO_EXPORT from the peer have their names.
pub(in crate::interop) fn well_known_communities(kind: Kind) -> Result<()> {
    let mut plan = Plan::new(kind);
    for route in &mut plan.its.originated {
        route.communities = vec![(65001, 9)];
    }
    plan.ours = plan
        .ours
        .with("set", "{communities: [\"no-export\", \"no-advertise\"]}");
    let pair = plan.start()?;
    pair.await_session()?;
    for of in OURS {
        pair.await_route(of, "NO_EXPORT and NO_ADVERTISE", |route| {
            route
                .communities
                .iter()
                .copied()
                .eq([(65535, 65281), (65535, 65282)])
        })?;
    }
    Ok(())
}

/// Switched on by the field that it needs.
pub(in crate::interop) fn large_to_peer(kind: Kind) -> Result<()> {
    let mut plan = Plan::new(kind);
    plan.ours = plan.ours.with("set", "{largeCommunities: [\"4200000001:7:8\"]}");
    let pair = plan.start()?;
    pair.await_session()?;
    for of in OURS {
        pair.await_route(of, "4200000001:7:8", |route| {
            route.large.iter().copied().eq([(4_200_000_001, 7, 8)])
        })?;
    }
    Ok(())
}

/// As our control socket shows them.
pub(in crate::interop) fn large_to_us(kind: Kind) -> Result<()> {
    let mut plan = Plan::new(kind);
    for route in &mut plan.its.originated {
        route.large = vec![(65001, 4_200_000_000, 3)];
    }
    let pair = plan.start()?;
    pair.await_session()?;
    for of in THEIRS {
        pair.await_received(of, "65001:4200000000:3", |route| {
            let shown = serde_json::to_string(route).unwrap_or_default();
            shown.contains("\"65001:4200000000:3\"")
        })?;
    }
    Ok(())
}
