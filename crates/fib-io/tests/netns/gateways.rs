//! The observer of default routes.

use std::collections::BTreeSet;
use std::time::Duration;

use flatroute_fib_io::gateways::{Gateway, observe};
use tokio::sync::watch;
use tokio::time::timeout;

use super::lab::{in_fresh_netns, ip, uplink};

const DEADLINE: Duration = Duration::from_secs(10);

type Gateways = watch::Receiver<BTreeSet<Gateway>>;

fn with_observer(name: &str, before: fn(), story: impl AsyncFnOnce(Gateways) + Send + 'static) {
    in_fresh_netns(name, move || {
        before();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async { story(observe().expect("netlink")).await });
    });
}

fn index(name: &str) -> u32 {
    let shown = ip(&format!("-o link show {name}"));
    let number = shown.split(':').next().expect("an index");
    number.trim().parse().expect("a number")
}

/// Waits until these are the gateways: address, interface, protocol.
async fn until(gateways: &mut Gateways, what: &str, wanted: &[(&str, &str, u8)]) {
    let gateway = |(address, interface, protocol): &(&str, &str, u8)| Gateway {
        address: address.parse().expect("an address"),
        interface: index(interface),
        protocol: *protocol,
    };
    let wanted: BTreeSet<Gateway> = wanted.iter().map(gateway).collect();
    if timeout(DEADLINE, gateways.wait_for(|found| *found == wanted))
        .await
        .is_ok_and(|found| found.is_ok())
    {
        return;
    }
    panic!("never: {what}: {wanted:?}; {:?}", gateways.borrow());
}

#[test]
fn default_routes_of_both_families_are_followed() {
    let before = || {
        uplink(1);
        uplink(2);
        ip("route add default via 10.0.1.1 proto static");
    };
    with_observer("gateways", before, async |mut gateways| {
        let first = ("10.0.1.1", "up1", 4);
        until(&mut gateways, "what was there", &[first]).await;

        // Another one, less preferred; other routes and other tables do not count.
        ip("route add default via 10.0.2.1 proto dhcp metric 100");
        ip("route add 10.9.0.0/16 via 10.0.1.7");
        ip("route add default via 10.0.1.8 table 100");
        ip("route add default dev up1 metric 900");
        ip("route add unreachable default metric 901");
        let second = ("10.0.2.1", "up2", 16);
        until(&mut gateways, "one more", &[first, second]).await;

        // IPv6, link-local and global, as equal paths.
        ip("-6 route add default proto ra nexthop via fe80::1 dev up1 nexthop via fd00:2::1 dev up2");
        let (third, fourth) = (("fe80::1", "up1", 9), ("fd00:2::1", "up2", 9));
        until(&mut gateways, "IPv6", &[first, second, third, fourth]).await;

        // IPv4 by way of IPv6.
        ip("-4 route add default via inet6 fe80::9 dev up2 metric 200");
        let fifth = ("fe80::9", "up2", 3);
        until(
            &mut gateways,
            "a mixed one",
            &[first, second, third, fourth, fifth],
        )
        .await;

        // A link that goes takes its routes along, without a word of their own; one leg of several stays, dead.
        ip("link set up1 down");
        until(&mut gateways, "a link down", &[second, third, fourth, fifth]).await;
        ip("route del default via 10.0.2.1");
        ip("-6 route del default");
        until(&mut gateways, "routes removed", &[fifth]).await;
        ip("link del up2");
        until(&mut gateways, "nothing", &[]).await;
    });
}

#[test]
fn a_route_on_nexthop_objects_shows_its_gateways() {
    let before = || {
        std::fs::write("/proc/sys/net/ipv4/nexthop_compat_mode", "0").expect("the sysctl of this namespace");
        uplink(1);
        uplink(2);
    };
    with_observer("objects", before, async |mut gateways| {
        until(&mut gateways, "nothing", &[]).await;
        ip("nexthop add id 1 via 10.0.1.1 dev up1");
        ip("nexthop add id 2 via 10.0.2.1 dev up2");
        ip("nexthop add id 3 group 1/2,2");
        ip("route add default nhid 3 proto 196");
        let (first, second) = (("10.0.1.1", "up1", 196), ("10.0.2.1", "up2", 196));
        until(&mut gateways, "a group", &[first, second]).await;
        ip("nexthop replace id 3 group 1");
        until(&mut gateways, "a smaller group", &[first]).await;
        ip("nexthop replace id 1 via 10.0.1.9 dev up1");
        until(&mut gateways, "another gateway", &[("10.0.1.9", "up1", 196)]).await;
    });
}

#[test]
fn many_other_routes_ring_nothing_and_lose_nothing() {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    with_observer(
        "routes",
        || uplink(1),
        async |mut gateways| {
            let mut batch = Command::new("ip")
                .args(["-batch", "-"])
                .stdin(Stdio::piped())
                .spawn()
                .expect("the ip tool (iproute2)");
            let mut input = batch.stdin.take().expect("a pipe");
            for number in 0..20_000_u32 {
                let (high, low) = (number / 250, number % 250);
                writeln!(
                    input,
                    "route add 10.{}.{}.{low}/32 via 10.0.1.1",
                    high / 250 + 8,
                    high % 250
                )
                .expect("written");
            }
            writeln!(input, "route add default via 10.0.1.1 proto static").expect("written");
            drop(input);
            assert!(batch.wait().expect("ends").success());
            until(&mut gateways, "the one that counts", &[("10.0.1.1", "up1", 4)]).await;
            ip("route del default");
            until(&mut gateways, "none", &[]).await;
        },
    );
}
