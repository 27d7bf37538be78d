//! Pods with a limited bandwidth: real transfers, and nothing left of the devices afterwards.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use common::{HOST_V4, HOST_V6, Lab, Pod, in_lab, ips};
use flatroute_netlink::{LinkChange, POD_LINK_GROUP, SHAPER_LINK_GROUP, netns};
use flatroute_nft::{Kernel, PodNetwork};
use serde_json::{Value, json};

/// Octets of a transfer.
const AMOUNT: usize = 600_000;
/// To the pod, in bit/s.
const INGRESS: u64 = 16_000_000;
/// From the pod, in bit/s.
const EGRESS: u64 = 8_000_000;
/// How long anything may take on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(60);

fn limited(lab: &Lab) -> Value {
    let wish = json!({
        "ingressRate": INGRESS, "ingressBurst": u32::MAX, "egressRate": EGRESS, "egressBurst": u32::MAX,
    });
    lab.config(&json!({"runtimeConfig": {"bandwidth": wish}}))
}

/// Sends [`AMOUNT`] octets over one connection and returns how long it took until the last one was read.
fn transfer(from: &File, to: &File, address: IpAddr) -> Duration {
    let listener = netns::within(to.as_fd(), || TcpListener::bind((address, 0)))
        .unwrap()
        .unwrap();
    let there: SocketAddr = listener.local_addr().unwrap();
    let began = Instant::now();
    let sender = netns::within(from.as_fd(), || TcpStream::connect_timeout(&there, PATIENCE))
        .unwrap()
        .unwrap();
    let (mut receiver, _) = listener.accept().unwrap();
    for stream in [&sender, &receiver] {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
    }
    let sending = std::thread::spawn(move || {
        let mut sender = sender;
        sender.write_all(&vec![7; AMOUNT]).expect("sent");
    });
    let mut received = vec![0; AMOUNT];
    receiver.read_exact(&mut received).expect("received");
    let took = began.elapsed();
    sending.join().expect("sent");
    took
}

/// What a transfer takes at least: the burst is 50 ms of the rate, and nothing but the rate comes on top.
fn least(rate: u64) -> Duration {
    let all = Duration::from_millis(u64::try_from(AMOUNT).unwrap() * 8 * 1000 / rate);
    all.saturating_sub(Duration::from_millis(50))
}

#[test]
fn transfers_take_the_time_that_their_rate_asks_for() {
    in_lab("transfers_take_the_time_that_their_rate_asks_for", |lab| {
        let pod = Pod::new();
        let result = lab.call("ADD", "c", &pod.path(), &limited(&lab)).result();
        for (address, host) in ips(&result).into_iter().zip([HOST_V4, HOST_V6]) {
            let host: IpAddr = host.parse().unwrap();
            for (way, rate, took) in [
                ("to", INGRESS, transfer(&lab.host, &pod.netns, address)),
                ("from", EGRESS, transfer(&pod.netns, &lab.host, host)),
            ] {
                let least = least(rate);
                assert!(took >= least, "{way} {address}: {took:?}, {least:?} at least");
                // A fortieth of the rate would be a broken queue, however busy the machine is.
                assert!(took < least * 40, "{way} {address}: {took:?}, {least:?} at least");
            }
        }
        lab.del("c");
        lab.assert_clean();
    });
}

#[test]
fn a_rate_for_one_direction_leaves_the_other_alone() {
    in_lab("a_rate_for_one_direction_leaves_the_other_alone", |lab| {
        let pod = Pod::new();
        let wish =
            json!({"ingressRate": 1_000_000, "ingressBurst": u32::MAX, "egressRate": 0, "egressBurst": 0});
        let config = lab.config(&json!({"runtimeConfig": {"bandwidth": wish}}));
        let result = lab.call("ADD", "c", &pod.path(), &config).result();
        assert_eq!(lab.host_links().len(), 1, "no device for packets from the pod");
        let mut host = lab.socket();
        let link = host
            .link_by_name(result["interfaces"][0]["name"].as_str().unwrap())
            .unwrap()
            .unwrap();
        assert_eq!(host.token_bucket(link.index).unwrap().unwrap().0, 125_000);
        assert_eq!(host.redirect(link.index).unwrap(), None);
        lab.del("c");
        // A pod without limits has nothing of it.
        let result = lab.add("plain", &pod);
        let name = result["interfaces"][0]["name"].as_str().unwrap();
        let link = host.link_by_name(name).unwrap().unwrap();
        assert_eq!(host.token_bucket(link.index).unwrap(), None);
        assert_eq!(lab.host_links(), [name]);
        lab.del("plain");
        lab.assert_clean();
    });
}

#[test]
fn the_check_of_sources_still_sees_the_pods_link() {
    in_lab("the_check_of_sources_still_sees_the_pods_link", |lab| {
        let network = PodNetwork {
            pod_cidrs: ["10.244.1.0/24"].map(|text| text.parse().unwrap()).into(),
            masquerade: None,
        };
        let apply = || Kernel::open()?.apply(&network.table());
        netns::within(lab.host.as_fd(), apply).unwrap().unwrap();
        let pod = Pod::new();
        let result = lab.call("ADD", "c", &pod.path(), &limited(&lab)).result();
        let own = ips(&result)[0];
        let forged: IpAddr = "10.244.1.9".parse().unwrap();
        let index = pod.socket().link_by_name("eth0").unwrap().unwrap().index;
        pod.socket().add_address(index, forged, 32).unwrap();
        let socket = |there: &File, address: IpAddr| {
            let socket = netns::within(there.as_fd(), || UdpSocket::bind((address, 0)))
                .unwrap()
                .unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket
        };
        let at_host = socket(&lab.host, HOST_V4.parse().unwrap());
        let to = at_host.local_addr().unwrap();
        socket(&pod.netns, forged).send_to(b"forged", to).unwrap();
        socket(&pod.netns, own).send_to(b"own", to).unwrap();
        // The bucket keeps the order: had the first one passed, it would be heard first.
        let mut word = [0; 16];
        let (length, from) = at_host.recv_from(&mut word).unwrap();
        assert_eq!((&word[..length], from.ip()), (b"own".as_slice(), own));
        lab.del("c");
    });
}

/// The device of the only limited pod.
fn device(lab: &Lab) -> flatroute_netlink::Link {
    let links = lab.socket().links().unwrap();
    let mut devices = links
        .into_iter()
        .filter(|link| link.kind.as_deref() == Some("ifb"));
    devices.next().expect("a device")
}

#[test]
fn check_compares_rates_and_finds_what_is_missing() {
    in_lab("check_compares_rates_and_finds_what_is_missing", |lab| {
        let pod = Pod::new();
        let config = limited(&lab);
        let result = lab.call("ADD", "c", &pod.path(), &config).result();
        let device = device(&lab);
        assert_eq!((device.group, device.up), (SHAPER_LINK_GROUP, true));
        assert_ne!(device.group, POD_LINK_GROUP);
        assert_eq!(device.alias.as_deref(), Some("flatroute net c eth0"));
        let check = |change: &dyn Fn(&mut Value)| {
            let mut config = config.clone();
            config["prevResult"] = result.clone();
            change(&mut config);
            lab.call("CHECK", "c", &pod.path(), &config)
        };
        check(&|_| ()).fine();
        for (key, words) in [
            ("ingressRate", "the bandwidth to the pod"),
            ("egressRate", "the bandwidth from the pod"),
        ] {
            let other = check(&|config| config["runtimeConfig"]["bandwidth"][key] = json!(9_000_000));
            assert_eq!(other.code(), 101);
            assert!(other.stdout.contains(words), "{other:?}");
        }
        let mut host = lab.socket();
        let down = LinkChange {
            up: Some(false),
            ..LinkChange::default()
        };
        host.change_link(device.index, &down).unwrap();
        let outcome = check(&|_| ());
        assert_eq!(outcome.code(), 101);
        assert!(outcome.stdout.contains("is down"), "{outcome:?}");
        host.delete_link(device.index).unwrap();
        let outcome = check(&|_| ());
        assert_eq!(outcome.code(), 101);
        assert!(outcome.stdout.contains("is gone"), "{outcome:?}");
        lab.call("DEL", "c", &pod.path(), &config).fine();
        lab.assert_clean();
        // A pod that was made without them.
        let mut plain = lab.config(&json!({}));
        let result = lab.call("ADD", "d", &pod.path(), &plain).result();
        plain["runtimeConfig"] = config["runtimeConfig"].clone();
        plain["prevResult"] = result;
        let outcome = lab.call("CHECK", "d", &pod.path(), &plain);
        assert_eq!(outcome.code(), 101);
        assert!(outcome.stdout.contains("is not limited"), "{outcome:?}");
        lab.del("d");
    });
}

#[test]
fn devices_go_with_del_and_gc_even_after_the_namespace() {
    in_lab("devices_go_with_del_and_gc_even_after_the_namespace", |lab| {
        let config = limited(&lab);
        let (first, second, third) = (Pod::new(), Pod::new(), Pod::new());
        lab.call("ADD", "first", &first.path(), &config).result();
        lab.call("ADD", "second", &second.path(), &config).result();
        lab.call("ADD", "third", &third.path(), &config).result();
        assert_eq!(lab.host_links().len(), 6);
        // The state directory is lost: links alone say what is in use, and devices are no links of pods.
        std::fs::remove_dir_all(lab.network_dir()).unwrap();
        let fourth = Pod::new();
        let result = lab.call("ADD", "fourth", &fourth.path(), &config).result();
        assert_eq!(ips(&result)[0].to_string(), "10.244.1.4");
        // The namespace goes first, and with it the host end.
        let gone = first.socket().link_by_name("eth0").unwrap().unwrap();
        first.socket().delete_link(gone.index).unwrap();
        drop(first);
        assert_eq!(lab.host_links().len(), 7);
        lab.call("DEL", "first", "", &config).fine();
        assert_eq!(lab.host_links().len(), 6);
        let valid = json!([{"containerID": "second", "ifname": "eth0"}]);
        lab.call(
            "GC",
            "",
            "",
            &lab.config(&json!({"cni.dev/valid-attachments": valid})),
        )
        .fine();
        assert_eq!(lab.host_links().len(), 2, "{:?}", lab.host_links());
        lab.del("second");
        lab.assert_clean();
    });
}

#[test]
fn another_prefix_since_add_leaves_no_device() {
    in_lab("another_prefix_since_add_leaves_no_device", |lab| {
        let pod = Pod::new();
        let mut config = limited(&lab);
        config["hostInterfacePrefix"] = json!("old");
        lab.call("ADD", "c", &pod.path(), &config).result();
        lab.call("DEL", "c", &pod.path(), &lab.config(&json!({}))).fine();
        assert_eq!(lab.host_links(), Vec::<String>::new());
    });
}

#[test]
fn killed_at_any_point_leaves_no_device_after_del() {
    in_lab("killed_at_any_point_leaves_no_device_after_del", |lab| {
        let pod = Pod::new();
        let config = limited(&lab);
        let (mut devices, mut seed) = (0, 0x2468_ace0_u32);
        for round in 0..600 {
            if round >= 60 && devices >= 10 {
                break;
            }
            let id = format!("k{round}");
            let mut child = lab.start("ADD", &id, "eth0", &pod.path(), &config);
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let stage = round % 3;
            while child.try_wait().expect("wait").is_none() && lab.host_links().len() < stage {}
            let until = Instant::now() + Duration::from_micros(u64::from((seed >> 8) % 1500));
            while Instant::now() < until {
                std::hint::spin_loop();
            }
            child.kill().expect("kill");
            child.wait().expect("wait");
            devices += usize::from(lab.host_links().iter().any(|name| name.starts_with("ifb")));
            if round % 4 == 0 {
                lab.call(
                    "GC",
                    "",
                    "",
                    &lab.config(&json!({"cni.dev/valid-attachments": []})),
                )
                .fine();
            } else {
                lab.del(&id);
            }
            lab.assert_clean();
        }
        assert!(devices >= 10, "only {devices} kills left a device to clean up");
    });
}

#[test]
fn senseless_bandwidths_are_refused_and_leave_nothing() {
    in_lab("senseless_bandwidths_are_refused_and_leave_nothing", |lab| {
        let pod = Pod::new();
        for (wish, words) in [
            (json!({"ingressRate": 10}), "ingressRate: 10 bit/s is not between"),
            (
                json!({"egressBurst": 8_000_000}),
                "egressBurst: 8000000 without egressRate",
            ),
            (
                json!({"egressRate": 1_000_000, "egressBurst": 8}),
                "no packet of MTU 1500",
            ),
            (json!({"egressRate": "1M"}), "no whole number"),
            (json!([1]), "runtimeConfig.bandwidth"),
        ] {
            let config = lab.config(&json!({"runtimeConfig": {"bandwidth": wish}}));
            let outcome = lab.call("ADD", "c", &pod.path(), &config);
            assert_eq!(outcome.code(), 7);
            assert!(
                outcome.json()["msg"].as_str().unwrap().contains(words),
                "{outcome:?}"
            );
            // What ADD refuses, DEL does not stumble over.
            lab.call("DEL", "c", &pod.path(), &config).fine();
            lab.assert_clean();
        }
    });
}
