//! Routes go in, stay in, and come out.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use flatroute_fib_io::fib::{
    DesiredRoute, Fib, NextHop, NexthopObjects, PrefSrc, RouteTarget, Settings, turn,
};
use flatroute_fib_io::netlink::Netlink;

use super::lab::{in_fresh_netns, ip, uplink};

const DEADLINE: Duration = Duration::from_secs(20);

/// The machine on the real kernel, turned by hand.
struct Node {
    fib: Fib,
    kernel: Netlink,
}

impl Node {
    fn start(settings: Settings) -> Self {
        let kernel = Netlink::open(settings).expect("netlink");
        let fib = Fib::new(settings, kernel.has_nexthops());
        let mut node = Self { fib, kernel };
        node.settle();
        node
    }

    fn settle(&mut self) {
        let start = Instant::now();
        while turn(&mut self.fib, &mut self.kernel).expect("netlink works") {
            assert!(
                start.elapsed() < DEADLINE,
                "does not settle: {:?}",
                self.fib.counts()
            );
        }
    }

    /// Turns until `condition` holds.
    fn until(&mut self, what: &str, mut condition: impl FnMut(&Fib) -> bool) {
        let start = Instant::now();
        loop {
            self.settle();
            if condition(&self.fib) {
                return;
            }
            assert!(
                start.elapsed() < DEADLINE,
                "never: {what}; {:?}",
                self.fib.counts()
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn want(&mut self, prefix: &str, gateways: &[&str]) {
        let route = via(gateways);
        self.fib.desire(prefix.parse().expect("prefix"), Some(&route));
    }
}

fn via(gateways: &[&str]) -> DesiredRoute {
    let hop = |gateway: &&str| NextHop {
        gateway: gateway.parse().expect("address"),
        interface: None,
    };
    DesiredRoute {
        target: RouteTarget::Via(gateways.iter().map(hop).collect()),
        pref_src: None,
    }
}

fn both_modes(test: impl Fn(Settings)) {
    for nexthop_objects in [NexthopObjects::Auto, NexthopObjects::Disabled] {
        test(Settings {
            nexthop_objects,
            ..Settings::default()
        });
    }
}

fn pref_src() -> PrefSrc {
    PrefSrc {
        ipv4: Some([10, 0, 1, 2].into()),
        ipv6: Some("fd00:1::2".parse().expect("address")),
    }
}

#[test]
fn single_and_multipath_routes_of_both_families() {
    in_fresh_netns("install", || {
        uplink(1);
        uplink(2);
        both_modes(|settings| {
            let mut node = Node::start(settings);
            node.until("carrier", |fib| {
                fib.interfaces().iter().filter(|found| found.carrier).count() == 5
            });
            node.fib.prefer_source(pref_src());
            node.want("10.244.1.0/24", &["10.0.1.1"]);
            node.want("10.244.2.0/24", &["10.0.1.1", "10.0.2.1"]);
            node.want("fd00:244:1::/64", &["fd00:1::1"]);
            node.want("fd00:244:2::/64", &["fd00:1::1", "fd00:2::1"]);
            let unreachable = DesiredRoute {
                target: RouteTarget::Unreachable,
                pref_src: None,
            };
            let own = |prefix: &str| (prefix.parse().expect("prefix"), unreachable.clone());
            node.fib
                .desire_static(&[own("10.244.9.0/24"), own("fd00:244:9::/64")]);
            node.fib.allow_sweep();
            node.settle();
            let v4 = ip("-4 route show proto 79");
            let v6 = ip("-6 route show proto 79");
            println!("{v4}\n{v6}\n{}", ip("nexthop show"));
            let line = |text: &str, start: &str| {
                text.split("\n")
                    .find(|line| line.starts_with(start))
                    .map(str::to_owned)
                    .unwrap_or_default()
            };
            assert!(line(&v4, "10.244.1.0/24").contains("src 10.0.1.2"));
            assert!(line(&v6, "fd00:244:1::/64").contains("src fd00:1::2"));
            assert_eq!(v4.matches("via 10.0.1.1").count(), 2, "{v4}");
            assert_eq!(v4.matches("via 10.0.2.1").count(), 1, "{v4}");
            assert_eq!(v6.matches("via fd00:1::1").count(), 2, "{v6}");
            assert_eq!(v6.matches("via fd00:2::1").count(), 1, "{v6}");
            assert!(
                line(&v4, "unreachable 10.244.9.0/24").contains("metric 512"),
                "{v4}"
            );
            assert!(
                line(&v6, "unreachable fd00:244:9::/64").contains("metric 512"),
                "{v6}"
            );
            assert_eq!(node.fib.counts().installed_ipv4, 3);
            let gateways = |route: &flatroute_fib_io::fib::InstalledRoute| -> Vec<IpAddr> {
                route.legs.iter().map(|leg| leg.gateway).collect()
            };
            let installed = node.fib.installed();
            assert_eq!(
                gateways(&installed[1]),
                ["10.0.1.1", "10.0.2.1"].map(|text| text.parse::<IpAddr>().expect("ip"))
            );
            for route in installed {
                node.fib.desire(route.prefix, None);
            }
            node.fib.desire_static(&[]);
            node.settle();
            assert_eq!(
                ip("-4 route show proto 79") + &ip("-6 route show proto 79") + &ip("nexthop show"),
                ""
            );
        });
    });
}
