//! What a changed path costs when its prefix has several: `cargo bench -p flatroute-bgp --bench decision`.
//!
//! A thousand prefixes, each with a path from every one of N peers. One peer says all of them again, alternately better and worse
//! than the others, so that each time the election of each prefix comes out otherwise.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use flatroute_bgp::policy::{Drain, Filter, NextHopMode, PrefixLimit, PrefixLimitAction};
use flatroute_bgp::rib::{LocalAddresses, Multipath, PeerIndex, PeerSettings, Rib};
use flatroute_bgp::types::{
    AsPath, Asn, FamilySet, NextHop, PathAttributes, PathIds, PeerName, Prefix, RouterId,
};

const PREFIXES: u32 = 1000;

fn settings(n: u8) -> PeerSettings {
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
        allow_own_asn: 0,
        next_hops: None,
        limit: PrefixLimit {
            limit: u32::MAX,
            action: PrefixLimitAction::Drop,
        },
        import: Arc::new(Filter::accept_all()),
        export: Arc::new(Filter::accept_all()),
    }
}

fn announce(rib: &mut Rib, peer: PeerIndex, n: u8, tail: u32, prefixes: &[Prefix]) {
    let path = std::iter::once(Asn(65000 + u32::from(n))).chain((0..tail).map(|i| Asn(100 + i)));
    let attributes = PathAttributes {
        as_path: AsPath::sequence(path),
        ..PathAttributes::local()
    };
    let next_hop = NextHop::V4(Ipv4Addr::new(10, 0, n, 1));
    rib.announce(peer, next_hop, &attributes, prefixes);
}

fn election(c: &mut Criterion) {
    let prefixes: Vec<Prefix> = (0..PREFIXES)
        .map(|i| Prefix::v4(0x1400_0000 | i << 8, 24).expect("good input"))
        .collect();
    let mut group = c.benchmark_group("decision");
    group.throughput(Throughput::Elements(PREFIXES.into()));
    for peers in [1_u8, 2, 4, 16, 64] {
        let multipath = Multipath {
            relaxed: true,
            max_paths: 16,
        };
        let mut rib = Rib::new(multipath, Arc::new(Filter::accept_all()), 0x5eed);
        let indexes: Vec<(u8, PeerIndex)> = (1..=peers).map(|n| (n, rib.peer_up(settings(n)))).collect();
        for (n, peer) in &indexes {
            announce(&mut rib, *peer, *n, 3, &prefixes);
        }
        let (n, peer) = indexes[0];
        let mut longer = false;
        group.bench_function(BenchmarkId::new("paths", peers), |b| {
            b.iter(|| {
                longer = !longer;
                let tail = if longer { 4 } else { 2 };
                announce(&mut rib, peer, n, tail, black_box(&prefixes));
            });
        });
    }
}

criterion_group!(benches, election);
criterion_main!(benches);
