//! What people have complained of about CNI plugins, where no other test asks for it. Numbers in brackets: docs/complaints.md.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{Lab, Outcome, PLUGIN, Pod, finish, in_lab, ips};
use flatroute_netlink::netns;
use serde_json::{Value, json};

/// `NET_ADDR_SET`: user space has chosen the address; what follows the policy of the distribution leaves it alone.
const SET: &str = "3";

/// Starts a script in a namespace, with mounts of its own.
fn start(netns: &File, script: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Child {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--", "sh", "-ec", script, "sh"])
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let started = netns::within(netns.as_fd(), || command.spawn());
    started.unwrap().expect("unshare of util-linux")
}

/// A node drains although the configuration is spoilt, the state is lost, the pod's namespace is gone and no agent runs.
#[test]
fn del_works_when_all_but_the_link_is_gone() {
    // [2, 3]
    in_lab("del_works_when_all_but_the_link_is_gone", |lab| {
        let pod = Pod::new();
        let first = ips(&lab.add("c", &pod));
        std::fs::remove_dir_all(lab.network_dir()).unwrap();
        let spoilt = lab.config(&json!({"podCIDRs": [], "mtu": 7, "cooldown": "soon"}));
        assert_eq!(lab.call("ADD", "d", &pod.path(), &spoilt).code(), 7);
        for netns in ["", "/proc/1/no/such/namespace"] {
            lab.call("DEL", "c", netns, &spoilt).fine();
        }
        lab.assert_clean();
        assert_eq!(ips(&lab.add("c", &Pod::new())), first, "its addresses are free");
    });
}

/// A node whose state directory has no room left, neither for octets nor for files, gets its addresses back all the same.
#[test]
fn a_full_disk_keeps_no_address() {
    // [1, 3]
    in_lab("a_full_disk_keeps_no_address", |lab| {
        let script = "
            mount -t tmpfs -o size=64k,nr_inodes=24 none \"$2\"
            export CNI_IFNAME=eth0 CNI_PATH=/nowhere
            config=$(cat)
            call() { printf %s \"$config\" | CNI_COMMAND=$1 CNI_CONTAINERID=$2 CNI_NETNS=$3 \"$PLUGIN\"; }
            call ADD c \"$1\" >/dev/null
            dd if=/dev/zero of=\"$2/full\" bs=4k 2>/dev/null || true
            number=0
            while touch \"$2/full$number\" 2>/dev/null; do number=$((number + 1)); done
            rm -f \"$2/net/released\"
            : >\"$2/one-more\"
            call DEL c ''
            ls \"$2/net\" \"$2/net/locks\"";
        let pod = Pod::new();
        let path = pod.path();
        let state = lab.state.path().to_string_lossy().into_owned();
        let mut child = start(&lab.host, script, &[&path, &state], &[("PLUGIN", PLUGIN)]);
        let mut stdin = child.stdin.take().unwrap();
        stdin
            .write_all(lab.config(&json!({})).to_string().as_bytes())
            .unwrap();
        drop(stdin);
        let outcome = finish(child);
        assert!(outcome.ok, "{outcome:?}");
        for left in ["10.244.1.1", "fd00:244:1::1", "fr"] {
            assert!(!outcome.stdout.contains(left), "{outcome:?}");
        }
        assert_eq!(lab.host_links(), Vec::<String>::new());
    });
}

/// No policy of udev gives a pod's link another address than the one that permanent neighbours have.
#[test]
fn addresses_of_links_are_set_and_not_drawn() {
    // [8]
    in_lab("addresses_of_links_are_set_and_not_drawn", |lab| {
        let pod = Pod::new();
        let result = lab.add("c", &pod);
        let host = result["interfaces"][0]["name"].as_str().unwrap();
        for (netns, name) in [(&lab.host, host), (&pod.netns, "eth0")] {
            let read = "mount -t sysfs none /sys; cat /sys/class/net/$1/addr_assign_type";
            let outcome = finish(start(netns, read, &[name], &[]));
            assert!(outcome.ok, "{outcome:?}");
            assert_eq!(outcome.stdout.trim(), SET, "{name}");
        }
    });
}

/// With nothing below `/proc/sys/net/ipv6`, as after `ipv6.disable=1`, pods of IPv4 are served, and others are refused with
/// the remedy.
#[test]
fn a_machine_without_ipv6_serves_ipv4() {
    // [23]
    in_lab("a_machine_without_ipv6_serves_ipv4", |lab| {
        let call = |verb: &str, pod: &Pod, config: &Value| -> Outcome {
            let path = pod.path();
            let environment = [
                ("CNI_COMMAND", verb),
                ("CNI_CONTAINERID", "c"),
                ("CNI_IFNAME", "eth0"),
                ("CNI_NETNS", path.as_str()),
                ("CNI_PATH", "/nowhere"),
            ];
            let hide = "mount -t tmpfs none /proc/sys/net/ipv6; exec \"$1\"";
            let mut child = start(&lab.host, hide, &[PLUGIN], &environment);
            let mut stdin = child.stdin.take().unwrap();
            stdin.write_all(config.to_string().as_bytes()).unwrap();
            drop(stdin);
            finish(child)
        };
        let pod = Pod::new();
        let both = call("ADD", &pod, &lab.config(&json!({})));
        assert_eq!(both.code(), 7);
        assert!(both.stdout.contains("the kernel has no IPv6"), "{both:?}");
        lab.assert_clean();
        let ipv4 = lab.config(&json!({"podCIDRs": ["10.244.1.0/24"]}));
        let mut checked = ipv4.clone();
        checked["prevResult"] = call("ADD", &pod, &ipv4).result();
        call("CHECK", &pod, &checked).fine();
        call("DEL", &pod, &ipv4).fine();
        lab.assert_clean();
    });
}

/// Whoever starts the plugin while another version takes its place gets one of the two, and never "text file busy".
#[test]
fn the_plugin_is_replaced_under_load() {
    // [14]
    in_lab("the_plugin_is_replaced_under_load", |lab| {
        let bin = lab.state.path().join("bin");
        let install = || {
            let mut command = Command::new(PLUGIN);
            command.arg("install").arg("--bin-dir").arg(&bin);
            let output = command.output().unwrap();
            assert!(output.status.success(), "{output:?}");
        };
        install();
        let plugin = bin.join("flatroute-cni");
        let (done, config) = (AtomicBool::new(false), lab.config(&json!({})).to_string());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    install();
                }
            });
            let pod = Pod::new();
            let path = pod.path();
            for round in 0..60 {
                for verb in ["ADD", "DEL"] {
                    let id = format!("c{round}");
                    let start = || {
                        Command::new(&plugin)
                            .env_clear()
                            .env("CNI_COMMAND", verb)
                            .env("CNI_CONTAINERID", &id)
                            .env("CNI_IFNAME", "eth0")
                            .env("CNI_NETNS", &path)
                            .env("CNI_PATH", "/nowhere")
                            .stdin(Stdio::piped())
                            .stdout(Stdio::piped())
                            .stderr(Stdio::piped())
                            .spawn()
                    };
                    let started = netns::within(lab.host.as_fd(), start).unwrap();
                    // A failed assertion must not leave the other thread at work.
                    if started.is_err() {
                        done.store(true, Ordering::Release);
                    }
                    let mut child =
                        started.unwrap_or_else(|error| panic!("{verb} in round {round}: {error}"));
                    let _ = child.stdin.take().unwrap().write_all(config.as_bytes());
                    let outcome = finish(child);
                    if !outcome.ok {
                        done.store(true, Ordering::Release);
                    }
                    assert!(outcome.ok, "{verb} in round {round}: {outcome:?}");
                }
            }
            done.store(true, Ordering::Release);
        });
        lab.assert_clean();
    });
}

/// A runtime that asks every few seconds hears the same while pods come and go, so that the node does not flap.
#[test]
fn status_is_steady_while_pods_come_and_go() {
    // [26]
    in_lab("status_is_steady_while_pods_come_and_go", |lab| {
        let config = lab.config(&json!({"podCIDRs": ["10.244.1.0/26", "fd00:244:1::/64"]}));
        let done = AtomicBool::new(false);
        let asked = std::thread::scope(|scope| {
            let asking = scope.spawn(|| {
                let mut asked = 0;
                while !done.load(Ordering::Acquire) || asked == 0 {
                    lab.call("STATUS", "", "", &config).fine();
                    asked += 1;
                }
                asked
            });
            let churn = |lab: &Lab, verb: &'static str, pods: &[Pod]| -> bool {
                let started: Vec<_> = pods
                    .iter()
                    .enumerate()
                    .map(|(number, pod)| lab.start(verb, &format!("c{number}"), "eth0", &pod.path(), &config))
                    .collect();
                started.into_iter().map(finish).all(|outcome| outcome.ok)
            };
            // Nearly all that the pool holds.
            let pods: Vec<Pod> = (0..40).map(|_| Pod::new()).collect();
            let begun = Instant::now();
            let mut rounds = 0;
            let mut held = true;
            while held && (rounds < 3 || begun.elapsed() < Duration::from_secs(1)) {
                held = churn(&lab, "ADD", &pods) && churn(&lab, "DEL", &pods);
                rounds += 1;
            }
            done.store(true, Ordering::Release);
            assert!(held, "an ADD or a DEL failed");
            asking.join().expect("every STATUS succeeds")
        });
        println!("STATUS was asked {asked} times");
        assert!(asked >= 5, "only {asked} times");
        lab.assert_clean();
    });
}
