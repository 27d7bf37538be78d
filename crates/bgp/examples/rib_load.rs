//! How fast and how big the RIB is: N synthetic IPv4 routes from one peer to another, and the kernel's share.
//!
//! `cargo run --release -p flatroute-bgp --example rib_load -- [routes] [receivers]` (1,000,000 and 1 unless said)
//! prints nanoseconds of CPU a route of each step and octets a path. One set of attributes serves six prefixes, as in a
//! full table.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use flatroute_bgp::policy::{Drain, Filter, NextHopMode, PrefixLimit, PrefixLimitAction};
use flatroute_bgp::rib::{Batch, LocalAddresses, Multipath, PeerIndex, PeerSettings, Rib};
use flatroute_bgp::types::{
    AsPath, Asn, Community, Family, FamilySet, NextHop, PathAttributes, PathIds, PeerName, Prefix, RouterId,
};

fn peer(n: u8) -> PeerSettings {
    PeerSettings {
        name: PeerName::from(format!("peer{n}")),
        asn: Asn(65000 + u32::from(n)),
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
            ..LocalAddresses::default()
        },
        next_hop: NextHopMode::Auto,
        reflection: None,
        allow_own_asn: 1,
        next_hops: None,
        limit: PrefixLimit {
            limit: u32::MAX,
            action: PrefixLimitAction::Drop,
        },
        import: Arc::new(Filter::accept_all()),
        export: Arc::new(Filter::accept_all()),
    }
}

fn attributes(n: u32) -> PathAttributes {
    let len = 2 + n % 5;
    let tail = (0..len).map(|i| Asn(1000 + n.wrapping_mul(31).wrapping_add(i * 7919) % 60_000));
    PathAttributes {
        as_path: AsPath::sequence([Asn(65001)].into_iter().chain(tail)),
        communities: (0..n % 4).map(|i| Community(n.wrapping_mul(17) + i)).collect(),
        ..PathAttributes::local()
    }
}

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm
        .split_whitespace()
        .nth(1)
        .and_then(|n| n.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096
}

fn drain(rib: &mut Rib, p: PeerIndex) -> (usize, usize) {
    let (mut routes, mut batches) = (0, 0);
    while let Some(batch) = rib.next_batch(p) {
        batches += 1;
        routes += match batch {
            Batch::Unreach { prefixes, .. } | Batch::Reach { prefixes, .. } => prefixes.len(),
            Batch::UnreachPaths { paths, .. } | Batch::ReachPaths { paths, .. } => paths.len(),
            Batch::EndOfRib(_) | Batch::BeginRefresh(_) | Batch::EndRefresh(_) => 0,
        };
    }
    (routes, batches)
}

/// Time on a CPU so far: a busy machine does not spoil the figure, but for its caches.
fn cpu_ns() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let ns = stat.split_whitespace().next().and_then(|n| n.parse().ok());
    ns.unwrap_or(f64::NAN)
}

fn timed<T>(what: &str, routes: u32, step: impl FnOnce() -> T) -> T {
    let start = cpu_ns();
    let out = step();
    let ns = (cpu_ns() - start) / f64::from(routes);
    println!("{what:<28} {ns:>8.1} ns a route");
    out
}

fn main() {
    let mut args = std::env::args().skip(1).filter_map(|a| a.parse::<u32>().ok());
    let routes = args.next().unwrap_or(1_000_000).max(1);
    let receivers = args.next().unwrap_or(1).clamp(1, 200);
    let prefixes: Vec<Prefix> = (0..routes)
        .filter_map(|n| Prefix::v4((1 << 24) + n.wrapping_mul(256), 24).ok())
        .collect();
    let multipath = Multipath {
        relaxed: true,
        max_paths: 16,
    };
    let before = resident();
    let mut rib = Rib::new(multipath, Arc::new(Filter::accept_all()), 0x5eed);
    let from = rib.peer_up(peer(1));
    let to: Vec<PeerIndex> = (2..)
        .take(receivers as usize)
        .map(|n| rib.peer_up(peer(n)))
        .collect();
    let hop = NextHop::V4(Ipv4Addr::new(10, 0, 1, 1));
    timed("announce", routes, || {
        for (n, six) in (0..).zip(prefixes.chunks(6)) {
            rib.announce(from, hop, &attributes(n), six);
        }
    });
    let (told, batches) = timed("told to all receivers", routes, || {
        to.iter()
            .map(|p| drain(&mut rib, *p))
            .fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1))
    });
    timed("told to the kernel", routes, || {
        while !rib.poll_fib(256).is_empty() {}
    });
    let after = resident();
    let usage = rib.usage();
    println!("{told} routes told in {batches} batches; {usage:?}");
    println!(
        "resident: {:.1} octets a path ({} MiB)",
        (after.saturating_sub(before)) as f64 / f64::from(routes),
        after >> 20
    );
    timed("withdraw", routes, || {
        for some in prefixes.chunks(300) {
            rib.withdraw(from, some);
        }
    });
    timed("withdrawals told", routes, || {
        for p in &to {
            drain(&mut rib, *p);
        }
        while !rib.poll_fib(256).is_empty() {}
    });
    drain(&mut rib, from);
    println!("left: {:?}, {:?}", rib.usage(), rib.counts(from, Family::Ipv4));
}
