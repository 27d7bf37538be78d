//! `mtu: 0`: the smallest MTU of the uplinks of the pod's families.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::os::fd::AsFd;
use std::process::Command;

use common::{Lab, Pod, in_lab};
use flatroute_netlink::netns;
use serde_json::{Value, json};

/// Runs the `ip` tool on the laboratory's host.
fn ip(lab: &Lab, arguments: &str) {
    let words: Vec<_> = arguments.split_whitespace().collect();
    let run = || Command::new("ip").args(&words).output();
    let output = netns::within(lab.host.as_fd(), run)
        .unwrap()
        .expect("the ip tool");
    assert!(output.status.success(), "ip {arguments}: {output:?}");
}

/// Uplinks `up1` (1400), `up2` (9000) and `up3` (1300), each with a router behind it.
fn uplinks(lab: &Lab) {
    for (number, mtu) in [(1, 1400), (2, 9000), (3, 1300)] {
        ip(
            lab,
            &format!("link add up{number} type veth peer name far{number}"),
        );
        ip(lab, &format!("link set far{number} mtu {mtu} up"));
        ip(lab, &format!("link set up{number} mtu {mtu} up"));
        ip(lab, &format!("addr add 10.1.{number}.2/24 dev up{number}"));
        ip(lab, &format!("addr add fd01:{number}::2/64 dev up{number} nodad"));
    }
}

/// The MTU of a pod made now, by the kernel and by the result.
fn mtu(lab: &Lab, more: &Value) -> u32 {
    let pod = Pod::new();
    let config = lab.config(more);
    let result = lab.call("ADD", "c", &pod.path(), &config).result();
    let link = pod.socket().link_by_name("eth0").unwrap().unwrap();
    assert_eq!(result["interfaces"][1]["mtu"], link.mtu);
    assert_eq!(result["interfaces"][0]["mtu"], link.mtu);
    lab.call("DEL", "c", &pod.path(), &config).fine();
    link.mtu
}

#[test]
fn a_pods_link_is_no_larger_than_its_uplinks() {
    // M16, [70]
    in_lab("a_pods_link_is_no_larger_than_its_uplinks", |lab| {
        uplinks(&lab);
        let both = json!({});
        let (ipv4, ipv6) = (
            json!({"podCIDRs": ["10.244.1.0/24"], "name": "four"}),
            json!({"podCIDRs": ["fd00:244:1::/64"], "name": "six"}),
        );
        // No default route: nothing is known of uplinks.
        assert_eq!(mtu(&lab, &both), 1500);
        ip(&lab, "route add default via 10.1.2.1 metric 10");
        assert_eq!(mtu(&lab, &both), 9000);
        assert_eq!(mtu(&lab, &ipv6), 1500);
        // One route, two legs.
        ip(
            &lab,
            "route replace default metric 10 nexthop via 10.1.1.1 nexthop via 10.1.2.1",
        );
        assert_eq!(mtu(&lab, &both), 1400);
        // The other family's uplink counts for pods that have it.
        ip(&lab, "-6 route add default via fd01:3::1 metric 10");
        assert_eq!(mtu(&lab, &both), 1300);
        assert_eq!(mtu(&lab, &ipv4), 1400);
        assert_eq!(mtu(&lab, &ipv6), 1300);
        // A figure of one's own stays what it is.
        assert_eq!(mtu(&lab, &json!({"mtu": 9100})), 9100);
        // A smaller uplink from now on: pods made from now on.
        ip(&lab, "link set up1 mtu 1290");
        assert_eq!(mtu(&lab, &both), 1290);
        ip(&lab, "link set up1 mtu 1000");
        assert_eq!(mtu(&lab, &ipv4), 1000);
        assert_eq!(mtu(&lab, &both), 1280, "the minimum of IPv6");
    });
}

#[test]
fn legs_are_found_behind_nexthop_objects() {
    // As the agent makes them, with the setting that `prepare` makes: the kernel then says numbers only.
    in_lab("legs_are_found_behind_nexthop_objects", |lab| {
        uplinks(&lab);
        for compatible in ["1", "0"] {
            let set = || std::fs::write("/proc/sys/net/ipv4/nexthop_compat_mode", compatible);
            netns::within(lab.host.as_fd(), set).unwrap().unwrap();
            ip(&lab, "nexthop add id 11 via 10.1.1.1 dev up1");
            ip(&lab, "nexthop add id 12 via 10.1.2.1 dev up2");
            ip(&lab, "nexthop add id 20 group 11/12");
            ip(&lab, "nexthop add id 31 via fd01:2::1 dev up2");
            ip(&lab, "route add default nhid 20");
            ip(&lab, "-6 route add default nhid 31");
            assert_eq!(mtu(&lab, &json!({})), 1400, "compatible: {compatible}");
            assert_eq!(
                mtu(&lab, &json!({"podCIDRs": ["fd00:244:1::/64"], "name": "six"})),
                9000
            );
            for id in [20, 11, 12, 31] {
                ip(&lab, &format!("nexthop del id {id}"));
            }
        }
    });
}

#[test]
fn routes_beside_the_default_route_do_not_hide_it() {
    in_lab("routes_beside_the_default_route_do_not_hide_it", |lab| {
        uplinks(&lab);
        // Laboratories use these networks, and some hosts refuse them.
        ip(&lab, "route add 192.0.2.0/24 via 10.1.3.1");
        ip(&lab, "route add unreachable 198.51.100.0/24");
        ip(&lab, "-6 route add 2001:db8::/64 via fd01:3::1");
        ip(&lab, "-6 route add unreachable 3fff::/20");
        assert_eq!(mtu(&lab, &json!({})), 1500);
        ip(&lab, "route add default via 10.1.2.1");
        ip(&lab, "-6 route add default via fd01:2::1");
        assert_eq!(mtu(&lab, &json!({})), 9000);
        // One that leads nowhere is none.
        ip(&lab, "route replace blackhole default");
        ip(&lab, "-6 route del default");
        ip(&lab, "-6 route add unreachable default metric 10");
        assert_eq!(mtu(&lab, &json!({})), 1500);
    });
}
