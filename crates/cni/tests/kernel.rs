//! Pods wired for real, in namespaces that the tests make. Numbers in brackets: the black-box checklist.

mod common;

use std::collections::BTreeSet;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use common::{HOST_V4, HOST_V6, Lab, Pod, finish, in_lab, ips};
use flatroute_netlink::{LinkChange, NextHop, netns};
use serde_json::{Value, json};

#[test]
fn add_check_del_del() {
    // [28, 39–47, 71–75, 83]
    in_lab("add_check_del_del", |lab| {
        let pod = Pod::new();
        let result = lab.add("c1", &pod);
        assert_eq!(result["cniVersion"], "1.1.0");
        assert_eq!(result["interfaces"][1]["sandbox"], pod.path());
        assert!(result["interfaces"][0].get("sandbox").is_none());
        assert_eq!(
            ips(&result),
            [
                "10.244.1.1".parse::<IpAddr>().unwrap(),
                "fd00:244:1::1".parse().unwrap()
            ]
        );
        assert!(
            result["ips"]
                .as_array()
                .unwrap()
                .iter()
                .all(|ip| ip["interface"] == 1)
        );

        let mut socket = pod.socket();
        let link = socket.link_by_name("eth0").unwrap().expect("eth0");
        assert!(link.up && link.operational);
        assert_eq!(result["interfaces"][1]["mtu"], link.mtu);
        let mac = link.mac.unwrap().map(|byte| format!("{byte:02x}")).join(":");
        assert_eq!(result["interfaces"][1]["mac"], *mac);
        let addresses = socket.addresses(link.index).unwrap();
        assert!(
            addresses.iter().all(|address| !address.tentative),
            "{addresses:?}"
        );
        for ip in ips(&result) {
            let length = if ip.is_ipv4() { 32 } else { 128 };
            assert!(
                addresses
                    .iter()
                    .any(|found| found.address == ip && found.prefix_len == length)
            );
        }

        lab.check("c1", &pod, &result).fine();
        lab.call(
            "DEL",
            "c1",
            &pod.path(),
            &lab.config(&json!({"prevResult": result})),
        )
        .fine();
        lab.assert_clean();
        assert_eq!(pod.socket().link_by_name("eth0").unwrap(), None);
        lab.del("c1");
        lab.del("never-added");
        lab.call(
            "DEL",
            "c1",
            "",
            &lab.config(&json!({"prevResult": {"garbage": 1}})),
        )
        .fine();
        assert_eq!(lab.check("c1", &pod, &result).code(), 101);
    });
}

#[test]
fn first_packets_arrive() {
    // [47] and "first packet after ADD returns": one datagram each way and family, never repeated.
    in_lab("first_packets_arrive", |lab| {
        let within = |netns: &std::fs::File, address: &str| {
            let socket = netns::within(netns.as_fd(), || UdpSocket::bind((address, 0)))
                .unwrap()
                .unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            socket
        };
        let mut previous: Option<(Pod, Vec<IpAddr>)> = None;
        for round in 0..20 {
            let pod = Pod::new();
            let (host4, host6) = (within(&lab.host, HOST_V4), within(&lab.host, HOST_V6));
            let (pod4, pod6) = (within(&pod.netns, "0.0.0.0"), within(&pod.netns, "::"));
            let result = lab.add(&format!("c{round}"), &pod);
            let addresses = ips(&result);
            let mut buffer = [0; 16];
            // From the pod and from the host, in alternating order.
            for step in 0..2 {
                for (address, ours, theirs) in [(addresses[0], &host4, &pod4), (addresses[1], &host6, &pod6)]
                {
                    if (round + step) % 2 == 0 {
                        theirs.send_to(b"up", ours.local_addr().unwrap()).unwrap();
                        let (_, source) = ours.recv_from(&mut buffer).unwrap_or_else(|error| {
                            panic!("pod {address} to host in round {round}: {error}")
                        });
                        assert_eq!(source.ip(), address, "the host sees the pod's own address");
                    } else {
                        ours.send_to(b"down", (address, theirs.local_addr().unwrap().port()))
                            .unwrap();
                        theirs.recv_from(&mut buffer).unwrap_or_else(|error| {
                            panic!("host to pod {address} in round {round}: {error}")
                        });
                    }
                }
            }
            if let Some((other, theirs)) = &previous {
                for (number, any) in ["0.0.0.0", "::"].into_iter().enumerate() {
                    let (from, to) = (within(&pod.netns, any), within(&other.netns, any));
                    from.send_to(b"over", (theirs[number], to.local_addr().unwrap().port()))
                        .unwrap();
                    let (_, source) = to.recv_from(&mut buffer).expect("pod to pod");
                    assert_eq!(
                        source.ip(),
                        addresses[number],
                        "the pod sees the other's own address"
                    );
                }
            }
            previous = Some((pod, addresses));
        }
    });
}

#[test]
fn hundred_adds_and_dels_at_once() {
    // [56, 79]
    in_lab("hundred_adds_and_dels_at_once", |lab| {
        let config = lab.config(&json!({}));
        let pods: Vec<_> = (0..100).map(|_| Pod::new()).collect();
        let start = |verb: &'static str| -> Vec<_> {
            let each = pods.iter().enumerate();
            let started: Vec<_> = each
                .map(|(number, pod)| lab.start(verb, &format!("c{number}"), "eth0", &pod.path(), &config))
                .collect();
            started.into_iter().map(finish).collect()
        };
        let mut seen = BTreeSet::new();
        for outcome in start("ADD") {
            for ip in ips(&outcome.result()) {
                assert!(seen.insert(ip), "{ip} was given twice");
            }
        }
        assert_eq!(
            (seen.len(), lab.host_links().len(), lab.used().len()),
            (200, 100, 200)
        );
        for outcome in start("DEL") {
            outcome.fine();
        }
        lab.assert_clean();
    });
}

#[test]
fn killed_at_any_point_leaves_nothing_after_del() {
    // [52, 57]
    in_lab("killed_at_any_point_leaves_nothing_after_del", |lab| {
        let pod = Pod::new();
        let config = lab.config(&json!({}));
        let (mut nothing, mut addresses_only, mut links, mut seed) = (0, 0, 0, 0x1234_5678_u32);
        let mut host = lab.socket();
        let mut sees_link = || host.links().is_ok_and(|links| links.len() > 1);
        // At least 200 kills, and as many more as it takes to have hit every stage.
        for round in 0..1500 {
            if round >= 200 && nothing > 0 && addresses_only > 0 && links > 0 {
                break;
            }
            let id = format!("k{round}");
            let mut child = lab.start("ADD", &id, "eth0", &pod.path(), &config);
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // A stage to wait for, and a random time after it.
            while child.try_wait().expect("wait").is_none() {
                let reached = match round % 4 {
                    0 => true,
                    1 => !lab.attachments().is_empty(),
                    2 => !lab.used().is_empty(),
                    _ => sees_link(),
                };
                if reached {
                    break;
                }
            }
            let most = [2000, 200, 20, 2000][round % 4];
            let until = Instant::now() + Duration::from_micros(u64::from((seed >> 8) % most));
            while Instant::now() < until {
                std::hint::spin_loop();
            }
            child.kill().expect("kill");
            child.wait().expect("wait");
            match (lab.used().is_empty(), lab.host_links().is_empty()) {
                (true, true) => nothing += 1,
                (false, true) => addresses_only += 1,
                (_, false) => links += 1,
            }
            lab.del(&id);
            lab.assert_clean();
            assert_eq!(pod.socket().link_by_name("eth0").unwrap(), None);
        }
        println!(
            "killed before anything: {nothing}, with addresses only: {addresses_only}, with a link: {links}"
        );
        assert!(
            nothing > 0 && addresses_only > 0 && links > 0,
            "{nothing} {addresses_only} {links}"
        );
        let result = lab.add("after", &pod);
        lab.check("after", &pod, &result).fine();
    });
}

#[test]
fn both_orders_and_single_families() {
    // [43, 44], checklist 68's IPv4-only half
    in_lab("both_orders_and_single_families", |lab| {
        for (number, cidrs) in [
            json!(["fd00:1::/64", "10.1.0.0/24"]),
            json!(["10.1.0.0/24"]),
            json!(["fd00:1::/64"]),
        ]
        .iter()
        .enumerate()
        {
            let (pod, id) = (Pod::new(), format!("c{number}"));
            let config = lab.config(&json!({"podCIDRs": cidrs, "name": format!("net{number}")}));
            let result = lab.call("ADD", &id, &pod.path(), &config).result();
            let families: Vec<_> = ips(&result).iter().map(IpAddr::is_ipv6).collect();
            let expected: Vec<_> = cidrs
                .as_array()
                .unwrap()
                .iter()
                .map(|cidr| cidr.as_str().unwrap().contains(':'))
                .collect();
            assert_eq!(families, expected);
            let mut with_result = config.clone();
            with_result["prevResult"] = result;
            lab.call("CHECK", &id, &pod.path(), &with_result).fine();
            lab.call("DEL", &id, &pod.path(), &config).fine();
        }
        lab.assert_clean();
    });
}

#[test]
fn results_have_the_shape_of_their_version() {
    // [38, 41]
    in_lab("results_have_the_shape_of_their_version", |lab| {
        for version in ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
            let pod = Pod::new();
            let config = lab.config(&json!({"cniVersion": version}));
            let result = lab.call("ADD", version, &pod.path(), &config).result();
            assert_eq!(result["cniVersion"], version);
            let old = version.starts_with('0');
            assert_eq!(
                result["ips"][0]["version"],
                if old { json!("4") } else { Value::Null }
            );
            assert_eq!(
                result["ips"][1]["version"],
                if old { json!("6") } else { Value::Null }
            );
            assert_eq!(result["interfaces"][1]["mtu"].is_number(), version == "1.1.0");
            lab.call("DEL", version, "", &config).fine();
        }
    });
}

#[test]
fn pools_end_rest_and_turn() {
    // [53, 54, 107] and the order of reuse
    in_lab("pools_end_rest_and_turn", |lab| {
        let small = |more: Value| {
            let mut config = lab.config(
                &json!({"podCIDRs": ["10.244.1.0/24", "fd00:244:1::/126"], "reserved": ["fd00:244:1::2"]}),
            );
            for (key, value) in more.as_object().unwrap() {
                config[key] = value.clone();
            }
            config
        };
        let pods: Vec<_> = (0..6).map(|_| Pod::new()).collect();
        let add = |id: &str, pod: usize, config: &Value| lab.call("ADD", id, &pods[pod].path(), config);
        let v6 = |outcome: common::Outcome| ips(&outcome.result())[1].to_string();
        let plain = small(json!({}));
        lab.call("STATUS", "c", "", &plain).fine();
        assert_eq!(v6(add("a", 0, &plain)), "fd00:244:1::1");
        assert_eq!(v6(add("b", 1, &plain)), "fd00:244:1::3");
        let full = add("c", 2, &plain);
        assert_eq!(full.code(), 11);
        assert!(full.stdout.contains("fd00:244:1::/126"), "{full:?}");
        assert_eq!(lab.used().len(), 4, "the first family's address was given back");
        assert_eq!(lab.attachments().len(), 2);
        assert_eq!(lab.call("STATUS", "c", "", &plain).code(), 50);
        // The one that was freed first comes first; before its cool-down is over none comes.
        lab.call("DEL", "b", "", &plain).fine();
        lab.call("DEL", "a", "", &plain).fine();
        lab.call("STATUS", "c", "", &plain).fine();
        let resting = add("c", 2, &small(json!({"cooldown": "1h"})));
        assert_eq!(resting.code(), 11);
        assert!(resting.stdout.contains("cooldown"), "{resting:?}");
        assert_eq!(v6(add("c", 2, &plain)), "fd00:244:1::3");
        assert_eq!(v6(add("d", 3, &plain)), "fd00:244:1::1");
        for id in ["c", "d"] {
            lab.call("DEL", id, "", &plain).fine();
        }
        lab.assert_clean();
    });
}

#[test]
fn another_boot_and_lost_state() {
    // [81, 114]
    in_lab("another_boot_and_lost_state", |lab| {
        let (alive, second, third) = (Pod::new(), Pod::new(), Pod::new());
        let held = ips(&lab.add("alive", &alive));
        // A state directory of another boot: its addresses are forgotten, those of existing links are not.
        let dir = lab.network_dir();
        for name in ["10.244.1.2", "10.244.1.3", "fd00:244:1::2"] {
            std::fs::write(dir.join(name), "other-boot\nold\neth0\n").unwrap();
        }
        std::fs::write(dir.join("released"), "1 10.244.1.2\n").unwrap();
        std::fs::write(dir.join("lock"), "other-boot").unwrap();
        assert_eq!(ips(&lab.add("second", &second))[0].to_string(), "10.244.1.2");
        assert_eq!(lab.used().len(), 4, "{:?}", lab.used());
        // The whole directory lost: links put their addresses back in.
        std::fs::remove_dir_all(&dir).unwrap();
        lab.call("DEL", "unknown", "", &lab.config(&json!({}))).fine();
        let result = lab.add("third", &third);
        assert!(ips(&result).iter().all(|ip| !held.contains(ip)), "{result}");
        assert_eq!(ips(&result)[0].to_string(), "10.244.1.3");
        for id in ["alive", "second", "third"] {
            lab.del(id);
        }
        lab.assert_clean();
    });
}

#[test]
fn old_and_new_sandbox_do_not_meet() {
    // [48, 58, 74, 78, 80]
    in_lab("old_and_new_sandbox_do_not_meet", |lab| {
        let (old, new) = (Pod::new(), Pod::new());
        lab.add("old", &old);
        let result = lab.add("new", &new);
        // The path of the old sandbox leads to the new one's namespace now.
        lab.call("DEL", "old", &new.path(), &lab.config(&json!({})))
            .fine();
        lab.check("new", &new, &result).fine();
        // The interface exists: an error, nothing touched, nothing kept.
        let second = lab.call("ADD", "intruder", &new.path(), &lab.config(&json!({})));
        assert_eq!(second.code(), 100);
        assert_eq!(
            lab.call("ADD", "new", &new.path(), &lab.config(&json!({})))
                .code(),
            100
        );
        assert_eq!(
            (lab.used().len(), lab.attachments().len(), lab.host_links().len()),
            (2, 1, 1)
        );
        lab.check("new", &new, &result).fine();
        // A second interface in the same pod works and leaves the default route alone.
        let extra = finish(lab.start("ADD", "new", "eth1", &new.path(), &lab.config(&json!({})))).result();
        assert_eq!(extra["routes"], json!([{"dst": "169.254.1.1/32", "scope": 253}]));
        lab.check("new", &new, &result).fine();
        finish(lab.start("DEL", "new", "eth1", "", &lab.config(&json!({})))).fine();
        lab.check("new", &new, &result).fine();
        // The namespace goes before DEL.
        drop(new);
        lab.del("new");
        lab.assert_clean();
    });
}

#[test]
fn an_ipv6_address_does_not_wait_for_the_kernels_work_queue() {
    // Complaint: ADDs that took a minute on a busy machine. The kernel's own route to the address has metric 0 and comes
    // when its work queue had a turn; the plugin's is there when ADD returns, and so is a usable link-local address.
    in_lab(
        "an_ipv6_address_does_not_wait_for_the_kernels_work_queue",
        |lab| {
            for round in 0..20 {
                let pod = Pod::new();
                let result = lab.add(&format!("c{round}"), &pod);
                let mut socket = pod.socket();
                let link = socket.link_by_name("eth0").unwrap().unwrap();
                let text = netns::within(pod.netns.as_fd(), || {
                    std::fs::read_to_string("/proc/thread-self/net/ipv6_route").unwrap()
                })
                .unwrap();
                let IpAddr::V6(address) = ips(&result)[1] else {
                    panic!("{result}")
                };
                let digits: String = address
                    .octets()
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect();
                let ours = |line: &str| {
                    let words: Vec<_> = line.split_whitespace().collect();
                    words[0] == digits && words[1] == "80" && words[5] == "00000400"
                };
                assert!(text.lines().any(ours), "{text}");
                let usable: Vec<_> = socket.addresses(link.index).unwrap();
                let link_local = |address: &flatroute_netlink::Address| matches!(address.address, IpAddr::V6(address) if address.is_unicast_link_local());
                assert_eq!(
                    usable.iter().filter(|each| link_local(each)).count(),
                    1,
                    "{usable:?}"
                );
                assert!(usable.iter().all(|each| !each.tentative), "{usable:?}");
            }
        },
    );
}

#[test]
fn ipv6_is_enabled_where_it_is_needed() {
    in_lab("ipv6_is_enabled_where_it_is_needed", |lab| {
        let disable = |netns: &std::fs::File| {
            netns::within(netns.as_fd(), || {
                std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1").unwrap();
                std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").unwrap();
            })
            .unwrap();
        };
        let pod = Pod::new();
        disable(&pod.netns);
        disable(&lab.host);
        let result = lab.add("c", &pod);
        lab.check("c", &pod, &result).fine();
        let lo = pod.socket().addresses(1).unwrap();
        assert!(lo.iter().any(|each| each.address.is_ipv6()), "{lo:?}");
        lab.del("c");
        lab.assert_clean();
    });
}

#[test]
fn settings_of_the_host_end() {
    in_lab("settings_of_the_host_end", |lab| {
        let (dual, small) = (Pod::new(), Pod::new());
        // A host that forwards nothing by default, and whose defaults are the opposite of what we want.
        netns::within(lab.host.as_fd(), || {
            for (name, value) in [
                ("ipv4/ip_forward", "0"),
                ("ipv4/conf/default/proxy_arp", "1"),
                ("ipv4/conf/default/rp_filter", "1"),
            ] {
                std::fs::write(format!("/proc/sys/net/{name}"), value).unwrap();
            }
        })
        .unwrap();
        let read = |result: &Value, name: &str| {
            let host = result["interfaces"][0]["name"].as_str().unwrap();
            let path = format!("/proc/sys/net/{}", name.replace('*', host));
            netns::within(lab.host.as_fd(), || std::fs::read_to_string(path).ok())
                .unwrap()
                .map(|text| text.trim().to_owned())
        };
        let result = lab.add("dual", &dual);
        // Below IPv6's minimum the link has no IPv6 settings at all.
        let config = lab.config(&json!({"podCIDRs": ["10.9.0.0/24"], "name": "small", "mtu": 1000}));
        let result4 = lab.call("ADD", "small", &small.path(), &config).result();
        for (name, wanted) in [
            ("ipv4/conf/*/forwarding", "1"),
            ("ipv4/conf/*/proxy_arp", "0"),
            ("ipv4/conf/*/rp_filter", "2"),
        ] {
            assert_eq!(read(&result, name).as_deref(), Some(wanted), "{name}");
            assert_eq!(read(&result4, name).as_deref(), Some(wanted), "{name}");
        }
        for (name, wanted) in [
            ("ipv6/conf/*/addr_gen_mode", "1"),
            ("ipv6/conf/*/accept_ra", "0"),
            ("ipv6/conf/*/forwarding", "1"),
        ] {
            assert_eq!(read(&result, name).as_deref(), Some(wanted), "{name}");
            assert_eq!(read(&result4, name), None, "{name}");
        }
        assert_eq!(result4["interfaces"][1]["mtu"], 1000);
        let mut host = lab.socket();
        let link = host
            .link_by_name(result["interfaces"][0]["name"].as_str().unwrap())
            .unwrap()
            .unwrap();
        let addresses: Vec<_> = host
            .addresses(link.index)
            .unwrap()
            .into_iter()
            .map(|each| each.address)
            .collect();
        assert_eq!(addresses, ["fe80::1".parse::<IpAddr>().unwrap()]);
        lab.del("dual");
        lab.call("DEL", "small", "", &config).fine();
        lab.assert_clean();
    });
}

type Drift<'a> = &'a dyn Fn(&Lab, &Pod, &Value);

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn check_finds_what_is_missing() {
    // [84–92]
    in_lab("check_finds_what_is_missing", |lab| {
        let drifts: &[(&str, Drift<'_>)] = &[
            ("is down", &|_, pod, _| {
                let mut socket = pod.socket();
                let link = socket.link_by_name("eth0").unwrap().unwrap();
                socket
                    .change_link(
                        link.index,
                        &LinkChange {
                            up: Some(false),
                            ..LinkChange::default()
                        },
                    )
                    .unwrap();
            }),
            ("route to 0.0.0.0/0", &|_, pod, _| {
                let mut socket = pod.socket();
                let default = socket
                    .routes(false)
                    .unwrap()
                    .into_iter()
                    .find(|route| route.prefix_len == 0)
                    .unwrap();
                socket.delete_route(&default).unwrap();
            }),
            ("host's route to 10.244.1.1", &|lab, _, _| {
                let mut socket = lab.socket();
                let route = socket
                    .routes(false)
                    .unwrap()
                    .into_iter()
                    .find(|route| route.protocol == 80)
                    .unwrap();
                socket.delete_route(&route).unwrap();
            }),
            ("is not recorded", &|lab, _, result| {
                std::fs::remove_file(lab.network_dir().join(ips(result)[0].to_string())).unwrap();
            }),
            ("host interface", &|lab, _, result| {
                let mut socket = lab.socket();
                let name = result["interfaces"][0]["name"].as_str().unwrap();
                let link = socket.link_by_name(name).unwrap().unwrap();
                socket.delete_link(link.index).unwrap();
            }),
        ];
        for (said, drift) in drifts {
            let pod = Pod::new();
            // The same address every time.
            let lab = Lab::new().unwrap();
            let result = lab.add("c", &pod);
            lab.check("c", &pod, &result).fine();
            drift(&lab, &pod, &result);
            let outcome = lab.check("c", &pod, &result);
            assert_eq!(outcome.code(), 101);
            assert!(outcome.stdout.contains(said), "{said}: {outcome:?}");
            lab.del("c");
            lab.assert_clean();
        }
        let (one, two) = (Pod::new(), Pod::new());
        let (of_one, of_two) = (lab.add("one", &one), lab.add("two", &two));
        assert_eq!(
            lab.check("one", &one, &of_two).code(),
            7,
            "another container's sandbox"
        );
        let mut forged = of_one.clone();
        forged["ips"] = of_two["ips"].clone();
        assert_eq!(lab.check("one", &one, &forged).code(), 101);
        // What later plugins add is no drift.
        let index = one.socket().link_by_name("eth0").unwrap().unwrap().index;
        one.socket()
            .add_address(index, "192.0.2.1".parse().unwrap(), 32)
            .unwrap();
        lab.check("one", &one, &of_one).fine();
    });
}

#[test]
fn gc_removes_what_is_not_valid() {
    // [94–99, 101]
    in_lab("gc_removes_what_is_not_valid", |lab| {
        let pods: Vec<_> = (0..4).map(|_| Pod::new()).collect();
        for (number, pod) in pods.iter().take(3).enumerate() {
            lab.add(&format!("c{number}"), pod);
        }
        let other = lab.config(&json!({"name": "other", "podCIDRs": ["10.9.0.0/24"]}));
        lab.call("ADD", "c0", &pods[3].path(), &other).result();
        let gc = |more: Value| lab.call("GC", "", "", &lab.config(&more));
        let entry = |id: &str| json!({"containerID": id, "ifname": "eth0"});
        assert_eq!(gc(json!({})).code(), 7);
        assert_eq!(lab.host_links().len(), 4);
        gc(json!({"cni.dev/valid-attachments": [entry("c0"), entry("c1"), entry("c2")]})).fine();
        assert_eq!(lab.host_links().len(), 4);
        gc(json!({"cni.dev/attachments": [entry("c0"), entry("c2")]})).fine();
        assert_eq!(
            (lab.host_links().len(), lab.used().len(), lab.attachments().len()),
            (3, 4, 2)
        );
        // A GC that was killed after it had marked what was to go: DEL and the next GC still know it.
        let mut socket = lab.socket();
        let marked = LinkChange {
            group: Some(0x7900_0001),
            ..LinkChange::default()
        };
        for link in socket.links().unwrap().iter().filter(|link| link.name != "lo") {
            socket.change_link(link.index, &marked).unwrap();
        }
        lab.del("c2");
        assert_eq!((lab.host_links().len(), lab.used().len()), (2, 2));
        let (four, five) = (Pod::new(), Pod::new());
        lab.add("c4", &four);
        lab.add("c5", &five);
        gc(json!({"cni.dev/valid-attachments": []})).fine();
        // That of the other network, which was marked but is not ours to delete, is still there.
        assert_eq!(
            (lab.host_links().len(), lab.used().len(), lab.attachments().len()),
            (1, 0, 0)
        );
        lab.call("DEL", "c0", "", &other).fine();
        lab.assert_clean();
    });
}

#[test]
fn a_foreign_route_is_reported_and_its_address_rests() {
    in_lab("a_foreign_route_is_reported_and_its_address_rests", |lab| {
        let mut socket = lab.socket();
        let route = flatroute_netlink::Route {
            destination: "10.244.1.1".parse().unwrap(),
            prefix_len: 32,
            next_hop: NextHop::Link { index: 1 },
            source: None,
            protocol: 4,
        };
        socket.add_route(&route).unwrap();
        let pod = Pod::new();
        let outcome = lab.call("ADD", "c", &pod.path(), &lab.config(&json!({})));
        assert_eq!(outcome.code(), 11);
        assert!(
            outcome.stdout.contains("10.244.1.1 already, over lo"),
            "{outcome:?}"
        );
        lab.assert_clean();
        assert_eq!(ips(&lab.add("c", &pod))[0].to_string(), "10.244.1.2");
    });
}

#[test]
fn runtime_wishes_are_honoured() {
    // [59, 61, 46]; runtimeConfig.ips
    in_lab("runtime_wishes_are_honoured", |lab| {
        let pod = Pod::new();
        let config = lab.config(&json!({
            "mtu": 1400,
            "runtimeConfig": {
                "mac": "02:00:00:00:00:07", "ips": ["10.244.1.77/32"],
                "dns": {"servers": ["10.96.0.10"], "searches": ["x"], "options": []},
            },
            "prevResult": {"interfaces": [{"name": "before"}], "ips": [{"address": "192.0.2.9/24", "interface": 0}]},
        }));
        let result = lab.call("ADD", "c", &pod.path(), &config).result();
        assert_eq!(result["interfaces"][0]["name"], "before");
        assert_eq!(result["interfaces"][2]["mac"], "02:00:00:00:00:07");
        assert_eq!(result["interfaces"][2]["mtu"], 1400);
        assert_eq!(
            ips(&result)[..2],
            [
                "192.0.2.9".parse::<IpAddr>().unwrap(),
                "10.244.1.77".parse().unwrap()
            ]
        );
        assert_eq!(result["ips"][1]["interface"], 2);
        assert_eq!(
            result["dns"],
            json!({"nameservers": ["10.96.0.10"], "search": ["x"]})
        );
        lab.check("c", &pod, &result).fine();
        let other = Pod::new();
        let taken = lab.call("ADD", "d", &other.path(), &config);
        assert_eq!(taken.code(), 11);
    });
}
