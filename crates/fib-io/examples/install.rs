//! How fast routes reach the kernel: 100,000 IPv4 routes with one next hop and with two, in a fresh network
//! namespace, written (a) by a bare writer that only sends prepared batches and (b) by the whole crate, from the
//! wish to the acknowledgement. Needs root. `cargo run --release -p flatroute-fib-io --example install`

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use flatroute_fib_io::fib::{
    DesiredRoute, Fib, Kernel as _, KernelRoute, MAX_BATCH, NextHop, Op, RouteTarget, Settings, Target, turn,
};
use flatroute_fib_io::netlink::Netlink;
use flatroute_lab::{in_fresh_netns, ip};
use ipnetwork::IpNetwork;

const ROUTES: u32 = 100_000;
const ROUNDS: usize = 3;

fn main() {
    in_fresh_netns("install", measure);
}

fn measure() {
    for (number, peer) in [(1, "tor1"), (2, "tor2")] {
        ip(&format!("link add up{number} type veth peer name {peer}"));
        ip(&format!("addr add 10.0.{number}.2/24 dev up{number}"));
        ip(&format!("link set {peer} up"));
        ip(&format!("link set up{number} up"));
    }
    std::thread::sleep(Duration::from_millis(200));
    std::fs::write("/proc/sys/net/ipv4/nexthop_compat_mode", "0").expect("the sysctl");
    for gateways in [&["10.0.1.1"][..], &["10.0.1.1", "10.0.2.1"]] {
        let hop = |text: &&str| NextHop {
            gateway: text.parse().expect("address"),
            interface: None,
        };
        let route = DesiredRoute {
            target: RouteTarget::Via(gateways.iter().map(hop).collect()),
            pref_src: None,
        };
        for _ in 0..ROUNDS {
            let ours = ours(&route);
            let bare = bare();
            println!(
                "{} next hop(s): bare {:>7.0} routes/s, flatroute {:>7.0} routes/s, ratio {:.2}",
                gateways.len(),
                f64::from(ROUTES) / bare.as_secs_f64(),
                f64::from(ROUTES) / ours.as_secs_f64(),
                bare.as_secs_f64() / ours.as_secs_f64(),
            );
        }
    }
}

fn prefixes() -> impl Iterator<Item = IpNetwork> {
    (0..ROUTES).map(|n| IpNetwork::new(Ipv4Addr::from(0x1400_0000 + (n << 8)).into(), 24).expect("prefix"))
}

/// The crate. It leaves its nexthop object and the routes behind.
fn ours(route: &DesiredRoute) -> Duration {
    let (mut fib, mut kernel) = start();
    let wishes: Vec<_> = prefixes().collect();
    let begin = Instant::now();
    for chunk in wishes.chunks(MAX_BATCH) {
        for prefix in chunk {
            fib.desire(*prefix, Some(route));
        }
        turn(&mut fib, &mut kernel).expect("netlink");
    }
    settle(&mut fib, &mut kernel);
    let elapsed = begin.elapsed();
    assert_eq!(fib.counts().installed_ipv4, prefixes().count());
    elapsed
}

/// The bare writer: the same routes, deleted first and added again as prepared values.
fn bare() -> Duration {
    let mut kernel = Netlink::open(Settings::default()).expect("netlink");
    let routes: Vec<KernelRoute> = kernel.routes().expect("routes");
    let Some(Target::Nexthop(nexthop)) = routes.first().map(|route| route.target.clone()) else {
        panic!("the kernel has no nexthop objects");
    };
    ip("route flush proto 79");
    let add = |prefix| {
        Op::AddRoute(KernelRoute {
            prefix,
            target: Target::Nexthop(nexthop),
            pref_src: None,
        })
    };
    let batches: Vec<Vec<Op>> = prefixes()
        .map(add)
        .collect::<Vec<_>>()
        .chunks(MAX_BATCH)
        .map(<[Op]>::to_vec)
        .collect();
    let begin = Instant::now();
    for batch in batches {
        let answers = kernel.apply(batch).expect("netlink");
        assert!(answers.iter().all(|(_, answer)| answer.is_ok()));
    }
    let elapsed = begin.elapsed();
    ip("route flush proto 79");
    elapsed
}

fn start() -> (Fib, Netlink) {
    let settings = Settings::default();
    let mut kernel = Netlink::open(settings).expect("netlink");
    let mut fib = Fib::new(settings, kernel.has_nexthops());
    settle(&mut fib, &mut kernel);
    (fib, kernel)
}

fn settle(fib: &mut Fib, kernel: &mut Netlink) {
    while turn(fib, kernel).expect("netlink") {}
}
