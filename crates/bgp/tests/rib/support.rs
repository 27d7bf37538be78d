//! Short ways to say peers, routes and prefixes.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use flatroute_bgp::policy::{Drain, Filter, NextHopMode, PrefixLimit, PrefixLimitAction};
use flatroute_bgp::rib::{
    Batch, LocalAddresses, Multipath, PeerIndex, PeerSettings, Rib, RouteChange, RouteView,
};
use flatroute_bgp::types::{
    AsPath, Asn, FamilySet, NextHop, PathAttributes, PathIds, PeerName, Prefix, RouterId,
};

pub(crate) const RELAXED: Multipath = Multipath {
    relaxed: true,
    max_paths: 16,
};

pub(crate) fn rib() -> Rib {
    Rib::new(RELAXED, Arc::new(Filter::accept_all()), 7)
}

pub(crate) fn prefix(text: &str) -> Prefix {
    text.parse::<ipnetwork::IpNetwork>().unwrap().into()
}

/// Peer `n` of AS `asn` at 10.0.n.1, with us in AS 64512 at 10.0.n.2; every filter accepts.
pub(crate) fn peer(n: u8, asn: u32) -> PeerSettings {
    PeerSettings {
        name: PeerName::from(format!("peer{n}")),
        asn: Asn(asn),
        local_asn: Asn(64512),
        router_id: RouterId(u32::from(n)),
        local_router_id: RouterId(1000),
        address: IpAddr::V4(Ipv4Addr::new(10, 0, n, 1)),
        interface: None,
        families: FamilySet::BOTH,
        extended_next_hop: false,
        path_ids: PathIds::NONE,
        role: None,
        drain: Drain::None,
        long_lived: false,
        restarted: false,
        relays: false,
        local: LocalAddresses {
            ipv4: Some(Ipv4Addr::new(10, 0, n, 2)),
            ipv6: Some(format!("fd00::{n}:2").parse().unwrap()),
            link_local: Some(format!("fe80::{n}:2").parse().unwrap()),
        },
        next_hop: NextHopMode::Auto,
        reflection: None,
        allow_own_asn: 1,
        next_hops: None,
        limit: PrefixLimit {
            limit: 1_000_000,
            action: PrefixLimitAction::Drop,
        },
        import: Arc::new(Filter::accept_all()),
        export: Arc::new(Filter::accept_all()),
    }
}

pub(crate) fn hop(n: u8) -> NextHop {
    NextHop::V4(Ipv4Addr::new(10, 0, n, 1))
}

pub(crate) fn hop6(n: u8) -> NextHop {
    NextHop::V6 {
        global: format!("fd00::{n}:1").parse().unwrap(),
        link_local: Some(format!("fe80::{n}:1").parse().unwrap()),
    }
}

pub(crate) fn path(asns: &[u32]) -> PathAttributes {
    PathAttributes {
        as_path: AsPath::sequence(asns.iter().copied().map(Asn)),
        ..PathAttributes::local()
    }
}

pub(crate) fn drain(rib: &mut Rib, p: PeerIndex) -> Vec<Batch> {
    let batches = std::iter::from_fn(|| rib.next_batch(p)).collect();
    assert!(!rib.has_pending(p), "a drained peer has nothing pending");
    batches
}

pub(crate) fn fib(rib: &mut Rib) -> Vec<RouteChange> {
    let changes = rib.poll_fib(usize::MAX);
    assert!(!rib.has_fib_pending());
    changes
}

/// `(peer, reason)` of every path received for a prefix.
pub(crate) fn reasons(rib: &Rib, of: &str) -> Vec<(String, String)> {
    let mut out = Vec::new();
    rib.routes(
        RouteView::Received,
        None,
        Some(prefix(of)),
        usize::MAX,
        &mut |r| {
            out.push((r.peer.unwrap().to_string(), r.reason));
        },
    );
    out
}
