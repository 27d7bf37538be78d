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

    /// Links that came back share load from now on.
    fn admit(&mut self) {
        let back: Vec<_> = self.fib.returned().collect();
        back.into_iter().for_each(|back| self.fib.admit(back));
        self.settle();
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

/// RFC 8950: IPv4 routes by IPv6 gateways, alone, beside each other, and beside an IPv4 one; a gateway that changes its
/// family is a change of the route, not another route.
#[test]
fn ipv4_routes_by_ipv6_gateways() {
    in_fresh_netns("by-ipv6", || {
        uplink(1);
        uplink(2);
        both_modes(|settings| {
            let mut node = Node::start(settings);
            node.until("carrier", |fib| {
                fib.interfaces().iter().filter(|found| found.carrier).count() == 5
            });
            node.fib.prefer_source(pref_src());
            node.want("10.244.1.0/24", &["fd00:1::1"]);
            node.want("10.244.2.0/24", &["fd00:1::1", "fd00:2::1"]);
            node.want("10.244.3.0/24", &["10.0.1.1", "fd00:2::1"]);
            node.fib.allow_sweep();
            node.settle();
            let shown = ip("-4 route show proto 79");
            println!("{shown}\n{}", ip("nexthop show"));
            assert_eq!(shown.matches("via inet6 fd00:1::1").count(), 2, "{shown}");
            assert_eq!(shown.matches("via inet6 fd00:2::1").count(), 2, "{shown}");
            assert_eq!(shown.matches("via 10.0.1.1").count(), 1, "{shown}");
            let way = ip("route get 10.244.1.9");
            assert!(
                way.contains("via inet6 fd00:1::1") && way.contains("src 10.0.1.2"),
                "{way}"
            );
            assert_eq!(node.fib.counts().installed_ipv4, 3);
            let legs = |node: &Node, prefix: &str| -> Vec<IpAddr> {
                let prefix = prefix.parse().expect("prefix");
                let installed = node.fib.installed();
                let route = installed.iter().find(|r| r.prefix == prefix).expect("installed");
                route.legs.iter().map(|leg| leg.gateway).collect()
            };
            let all: Vec<IpAddr> = ["10.0.1.1", "fd00:2::1"]
                .map(|a| a.parse().expect("address"))
                .into();
            assert_eq!(legs(&node, "10.244.3.0/24"), all, "seen in the kernel as wanted");

            node.want("10.244.1.0/24", &["10.0.1.1"]);
            node.settle();
            let shown = ip("-4 route show 10.244.1.0/24");
            assert!(
                shown.contains("via 10.0.1.1") && !shown.contains("inet6"),
                "{shown}"
            );
            node.want("10.244.1.0/24", &["fd00:1::1"]);
            node.settle();
            assert!(ip("-4 route show 10.244.1.0/24").contains("via inet6 fd00:1::1"));

            // Another start adopts them by content.
            drop(node);
            let mut node = Node::start(settings);
            node.want("10.244.1.0/24", &["fd00:1::1"]);
            node.fib.allow_sweep();
            node.settle();
            assert_eq!(node.fib.counts().installed_ipv4, 1);
            let shown = ip("-4 route show proto 79");
            assert_eq!(shown.matches("inet6").count(), 1, "{shown}");
            node.fib.desire("10.244.1.0/24".parse().expect("prefix"), None);
            node.settle();
            assert_eq!(ip("-4 route show proto 79"), "");
        });
    });
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

fn lines(command: &str) -> Vec<String> {
    ip(command)
        .lines()
        .map(|line| line.trim().to_owned())
        .filter(|line| !line.is_empty())
        .collect()
}

/// A node with two uplinks that have their carrier, and one route of each shape and family.
fn node_with_routes(settings: Settings) -> Node {
    let mut node = Node::start(settings);
    node.until("carrier", |fib| {
        fib.interfaces().iter().filter(|found| found.carrier).count() == 5
    });
    node.fib.prefer_source(pref_src());
    for (prefix, gateways) in ROUTES {
        node.want(prefix, gateways);
    }
    node.settle();
    assert_eq!(
        node.fib.counts().installed_ipv4 + node.fib.counts().installed_ipv6,
        ROUTES.len()
    );
    node
}

const ROUTES: [(&str, &[&str]); 4] = [
    ("10.244.1.0/24", &["10.0.1.1"]),
    ("10.244.2.0/24", &["10.0.1.1", "10.0.2.1"]),
    ("fd00:244:1::/64", &["fd00:1::1"]),
    ("fd00:244:2::/64", &["fd00:1::1", "fd00:2::1"]),
];

fn shown() -> Vec<String> {
    let mut all = lines("-4 route show proto 79");
    all.extend(lines("-6 route show proto 79"));
    all
}

#[test]
fn what_others_delete_comes_back() {
    in_fresh_netns("drift", || {
        uplink(1);
        uplink(2);
        both_modes(|settings| {
            let mut node = node_with_routes(settings);
            let before = shown();
            for (prefix, _) in ROUTES {
                ip(&format!("route del {prefix} proto 79"));
            }
            let start = Instant::now();
            node.settle();
            println!(
                "four routes repaired {:?} after they were deleted",
                start.elapsed()
            );
            assert_eq!(shown(), before);
            assert_eq!(node.fib.counts().drift, 4);
            if settings.nexthop_objects == NexthopObjects::Auto {
                ip("nexthop flush proto 79");
                node.settle();
                assert_eq!(shown(), before);
            }
            flush();
            node.settle();
            assert_eq!(shown(), before);
            clear();
        });
    });
}

/// Deletes our routes as another program. The tool sends back what it was shown, and the kernel takes that only
/// when it was shown without the legs of a nexthop object.
fn flush() {
    let compat_mode =
        |value| std::fs::write("/proc/sys/net/ipv4/nexthop_compat_mode", value).expect("the sysctl");
    compat_mode("0");
    ip("route flush proto 79");
    ip("-6 route flush proto 79");
    compat_mode("1");
}

fn clear() {
    flush();
    ip("nexthop flush proto 79");
}

#[test]
fn a_foreign_route_stays_until_it_goes() {
    in_fresh_netns("foreign", || {
        uplink(1);
        uplink(2);
        both_modes(|settings| {
            ip("route add 10.244.1.0/24 via 10.0.2.7 metric 512 proto static");
            ip("-6 route add fd00:244:1::/64 via fd00:2::7 metric 512 proto static");
            let mut node = Node::start(settings);
            node.until("carrier", |fib| {
                fib.interfaces().iter().filter(|found| found.carrier).count() == 5
            });
            for (prefix, gateways) in ROUTES {
                node.want(prefix, gateways);
            }
            node.settle();
            assert_eq!(node.fib.counts().foreign, 2);
            assert!(ip("route show 10.244.1.0/24").contains("10.0.2.7"));
            assert!(ip("-6 route show fd00:244:1::/64").contains("fd00:2::7"));
            ip("route del 10.244.1.0/24 proto static");
            ip("-6 route del fd00:244:1::/64 proto static");
            node.settle();
            assert_eq!(node.fib.counts().foreign, 0);
            assert!(ip("route show 10.244.1.0/24").contains("10.0.1.1"));
            assert!(ip("-6 route show fd00:244:1::/64").contains("fd00:1::1"));
            clear();
        });
    });
}

#[test]
fn a_link_that_bounces_loses_nothing_for_good() {
    in_fresh_netns("flap", || {
        uplink(1);
        uplink(2);
        both_modes(|settings| {
            let mut node = node_with_routes(settings);
            let before = shown();
            let carriers = |fib: &Fib| fib.interfaces().iter().filter(|found| found.carrier).count();
            ip("link set tor1 down");
            node.until("carrier loss", |fib| carriers(fib) == 3);
            let v4 = ip("-4 route show 10.244.2.0/24");
            assert!(v4.contains("10.0.2.1"), "the second path carries on: {v4}");
            assert!(!v4.contains("10.0.1.1"), "the dead one is gone: {v4}");
            ip("link set tor1 up");
            node.until("carrier", |fib| carriers(fib) == 5);
            // What has no other way is back at once, what has one waits until the link is admitted.
            assert!(ip("-4 route show 10.244.1.0/24").contains("10.0.1.1"));
            assert!(ip("-6 route show fd00:244:1::/64").contains("fd00:1::1"));
            assert!(!ip("-4 route show 10.244.2.0/24").contains("10.0.1.1"));
            assert!(!ip("-6 route show fd00:244:2::/64").contains("fd00:1::1"));
            node.admit();
            assert_eq!(shown(), before);
            // Faster than anybody can look: only the read-back can tell.
            ip("link set tor1 down");
            ip("link set tor1 up");
            ip("link set tor2 down");
            ip("link set tor2 up");
            node.until("carrier", |fib| carriers(fib) == 5);
            node.admit();
            node.until("everything back", |_| shown() == before);
            clear();
        });
    });
}

#[test]
fn a_restart_adopts_without_a_write_and_sweeps_when_allowed() {
    in_fresh_netns("adoption", || {
        uplink(1);
        uplink(2);
        both_modes(|settings| {
            drop(node_with_routes(settings));
            let before = (shown(), lines("nexthop show"));
            let mut observer = Netlink::open(settings).expect("netlink");
            let mut node = node_with_routes(settings);
            let heard = flatroute_fib_io::fib::Kernel::notices(&mut observer).expect("notices");
            assert_eq!(heard, [], "nothing was written");
            assert_eq!((shown(), lines("nexthop show")), before);
            drop(node);
            node = Node::start(settings);
            node.want(ROUTES[1].0, ROUTES[1].1);
            node.settle();
            assert_eq!(
                shown().len(),
                before.0.len(),
                "nothing is swept before it is allowed"
            );
            node.fib.prefer_source(pref_src());
            node.fib.allow_sweep();
            node.settle();
            assert_eq!(
                node.fib.counts().installed_ipv4 + node.fib.counts().installed_ipv6,
                1
            );
            let left = if settings.nexthop_objects == NexthopObjects::Auto {
                3
            } else {
                0
            };
            assert_eq!(lines("nexthop show").len(), left);
            clear();
        });
    });
}

#[test]
fn a_dead_path_leaves_its_groups_by_one_deletion() {
    in_fresh_netns("dead", || {
        uplink(1);
        uplink(2);
        let mut node = node_with_routes(Settings::default());
        node.fib.path_down("10.0.1.1".parse().expect("address"));
        let ops = node.fib.next_batch();
        assert!(
            matches!(ops[..1], [flatroute_fib_io::fib::Op::DeleteNexthop(_)]),
            "{ops:?}"
        );
        for (op, result) in flatroute_fib_io::fib::Kernel::apply(&mut node.kernel, ops).expect("netlink") {
            node.fib.outcome(op, result);
        }
        node.settle();
        let multipath = ip("route show 10.244.2.0/24");
        assert!(
            multipath.contains("10.0.2.1") && !multipath.contains("10.0.1.1"),
            "{multipath}"
        );
        assert!(
            ip("route show 10.244.1.0/24").contains("10.0.1.1"),
            "a single path is the speaker's to withdraw"
        );
        node.want(ROUTES[1].0, ROUTES[1].1);
        node.settle();
        assert!(
            ip("route show 10.244.2.0/24").contains("10.0.1.1"),
            "named again, alive again"
        );
    });
}

#[test]
fn a_hundred_thousand_routes_and_an_overflowing_queue() {
    in_fresh_netns("many", || {
        uplink(1);
        uplink(2);
        let mut node = node_with_routes(Settings::default());
        let route = via(&["10.0.1.1", "10.0.2.1"]);
        let count: u32 = 100_000;
        for number in 0..count {
            let network = std::net::Ipv4Addr::from(0x1400_0000 + (number << 8));
            let prefix = ipnetwork::IpNetwork::new(network.into(), 24).expect("prefix");
            node.fib.desire(prefix, Some(&route));
        }
        node.settle();
        let expected = usize::try_from(count).expect("fits") + 2;
        assert_eq!(node.fib.counts().installed_ipv4, expected);
        // A hundred thousand deletions are more than the queue of notifications holds.
        flush();
        node.settle();
        assert_eq!(node.fib.counts().installed_ipv4, expected);
        assert_eq!(
            lines("-4 route show proto 79")
                .iter()
                .filter(|line| line.starts_with("20.") || line.contains("nhid"))
                .count(),
            expected
        );
    });
}
