//! Pods that vanish without DEL or GC: their addresses come back, and nobody else's do. Time is not waited for: a test
//! moves the sightings into the past.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::collections::BTreeSet;
use std::fs::File;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::{Lab, Outcome, Pod, finish, in_lab, ips};
use flatroute_netlink::LinkChange;
use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};

/// More than the plugin wants to lie between two sightings.
const LONG_AGO_MS: u64 = 61_000;
/// How long the kernel may take to remove a namespace.
const PATIENCE: Duration = Duration::from_secs(60);

/// A network with two addresses, 10.244.1.1 and 10.244.1.2.
fn two(lab: &Lab, more: &Value) -> Value {
    let mut config = lab.config(&json!({"podCIDRs": ["10.244.1.0/30"]}));
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

fn sighted(lab: &Lab) -> PathBuf {
    lab.network_dir().join("sighted")
}

/// The addresses that were seen without a pod.
fn sightings(lab: &Lab) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(sighted(lab)) else {
        return Vec::new();
    };
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.split_once('-').map(|(_, address)| address.to_owned()))
        .collect();
    names.sort();
    names
}

/// Moves all sightings into the past.
fn age(lab: &Lab) {
    for entry in std::fs::read_dir(sighted(lab)).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if let Some((time, address)) = name.split_once('-') {
            let then = time.parse::<u64>().unwrap().saturating_sub(LONG_AGO_MS);
            let aged = sighted(lab).join(format!("{then:017}-{address}"));
            std::fs::rename(sighted(lab).join(&name), aged).unwrap();
        }
    }
}

/// The pod's namespace goes, and with it, a moment later, its link.
fn vanish(lab: &Lab, pods: Vec<Pod>, left: usize) {
    drop(pods);
    let deadline = Instant::now() + PATIENCE;
    let is_veth = |name: &String| name.starts_with("fr");
    while lab.host_links().iter().filter(|name| is_veth(name)).count() > left {
        assert!(Instant::now() < deadline, "{:?}", lab.host_links());
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn add(lab: &Lab, id: &str, pod: &Pod, config: &Value) -> Outcome {
    lab.call("ADD", id, &pod.path(), config)
}

fn first_address(outcome: &Outcome) -> IpAddr {
    ips(&outcome.result())[0]
}

#[test]
fn what_a_vanished_pod_had_comes_back_after_two_sightings() {
    in_lab("what_a_vanished_pod_had_comes_back_after_two_sightings", |lab| {
        let wishes = json!({
            "bandwidth": {"ingressRate": 8_000_000, "egressRate": 8_000_000},
            "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}],
        });
        let (config, full) = (
            two(&lab, &json!({})),
            two(&lab, &json!({"runtimeConfig": wishes})),
        );
        let (gone, alive, next) = (Pod::new(), Pod::new(), Pod::new());
        let lost = first_address(&add(&lab, "gone", &gone, &full));
        let living = add(&lab, "alive", &alive, &config).result();
        vanish(&lab, vec![gone], 1);
        // The first sighting frees nothing, and neither does the next one a moment later. Both callers say it.
        let refused = add(&lab, "next", &next, &config);
        assert_eq!(refused.code(), 11);
        assert!(
            refused.stdout.contains("no interface any more: 1,"),
            "{refused:?}"
        );
        assert_eq!(sightings(&lab), [lost.to_string()]);
        let status = lab.call("STATUS", "", "", &config);
        assert_eq!(status.code(), 50);
        assert!(status.stdout.contains("no interface any more: 1,"), "{status:?}");
        assert_eq!(add(&lab, "next", &next, &config).code(), 11);
        assert_eq!((lab.used().len(), lab.attachments().len()), (2, 2));
        // The second one frees the address, with all that DEL would have removed.
        age(&lab);
        assert_eq!(first_address(&add(&lab, "next", &next, &full)), lost);
        assert_eq!(sightings(&lab), Vec::<String>::new());
        assert_eq!((lab.used().len(), lab.attachments().len()), (2, 2));
        assert_eq!(lab.host_links().len(), 3, "{:?}", lab.host_links());
        lab.call(
            "CHECK",
            "alive",
            &alive.path(),
            &two(&lab, &json!({"prevResult": living})),
        )
        .fine();
        // A late DEL takes nothing from the next owner.
        lab.call("DEL", "gone", "", &config).fine();
        assert_eq!((lab.used().len(), lab.attachments().len()), (2, 2));
        for id in ["alive", "next"] {
            lab.call("DEL", id, "", &config).fine();
        }
        lab.assert_clean();
    });
}

#[test]
fn status_alone_brings_addresses_back_and_they_rest() {
    // A runtime that hears code 50 sends no ADD that would look.
    in_lab("status_alone_brings_addresses_back_and_they_rest", |lab| {
        let config = two(&lab, &json!({"cooldown": "1h"}));
        let pods: Vec<_> = (0..2).map(|_| Pod::new()).collect();
        for (number, pod) in pods.iter().enumerate() {
            add(&lab, &format!("c{number}"), pod, &config).result();
        }
        vanish(&lab, pods, 0);
        assert_eq!(lab.call("STATUS", "", "", &config).code(), 50);
        age(&lab);
        lab.call("STATUS", "", "", &config).fine();
        // The cool-down counts from the first sighting.
        let next = Pod::new();
        let resting = add(&lab, "next", &next, &config);
        assert_eq!(resting.code(), 11);
        assert!(resting.stdout.contains("cooldown 3600 s"), "{resting:?}");
        let shorter = two(&lab, &json!({"cooldown": "60s"}));
        add(&lab, "next", &next, &shorter).result();
        lab.call("DEL", "next", "", &config).fine();
        lab.assert_clean();
    });
}

#[test]
fn nobody_at_work_and_nobody_with_a_link_is_robbed() {
    in_lab("nobody_at_work_and_nobody_with_a_link_is_robbed", |lab| {
        let config = two(&lab, &json!({}));
        let (gone, alive, next) = (Pod::new(), Pod::new(), Pod::new());
        add(&lab, "gone", &gone, &config).result();
        // A link that was made with another prefix, and is down: no sighting.
        let other = two(&lab, &json!({"hostInterfacePrefix": "x"}));
        add(&lab, "alive", &alive, &other).result();
        let mut host = lab.socket();
        let links = host.links().unwrap();
        let down = LinkChange {
            up: Some(false),
            ..LinkChange::default()
        };
        let theirs = links.iter().find(|link| link.name.starts_with('x')).unwrap();
        host.change_link(theirs.index, &down).unwrap();
        let refused = || assert_eq!(add(&lab, "next", &next, &config).code(), 11);
        refused();
        assert_eq!(sightings(&lab), Vec::<String>::new());
        // A DEL at work, or an ADD before it made its link, holds the lock file.
        let name = lab.attachments().into_iter().find(|name| name.starts_with("fr"));
        let lock = File::open(lab.network_dir().join("locks").join(name.unwrap())).unwrap();
        vanish(&lab, vec![gone], 0);
        flock(&lock, FlockOperation::LockExclusive).unwrap();
        refused();
        assert_eq!(sightings(&lab), Vec::<String>::new());
        flock(&lock, FlockOperation::Unlock).unwrap();
        refused();
        assert_eq!(sightings(&lab).len(), 1);
        // It is at work at the second look: what was seen before counts for nothing.
        age(&lab);
        flock(&lock, FlockOperation::LockExclusive).unwrap();
        refused();
        flock(&lock, FlockOperation::Unlock).unwrap();
        refused();
        assert_eq!(lab.used().len(), 2);
        // The same address of another attachment is not what was seen.
        age(&lab);
        lab.call("DEL", "gone", "", &config).fine();
        let later = Pod::new();
        add(&lab, "later", &later, &config).result();
        vanish(&lab, vec![later], 0);
        refused();
        assert_eq!(lab.used().len(), 2);
        age(&lab);
        add(&lab, "next", &next, &config).result();
        for id in ["later", "next"] {
            lab.call("DEL", id, "", &config).fine();
        }
        lab.call("DEL", "alive", "", &other).fine();
        lab.assert_clean();
    });
}

#[test]
fn killed_adds_give_back_what_they_took_without_del() {
    in_lab("killed_adds_give_back_what_they_took_without_del", |lab| {
        let config = two(&lab, &json!({}));
        let mut came_back = 0;
        for round in 0..20 {
            let pod = Pod::new();
            let id = format!("k{round}");
            let mut child = lab.start("ADD", &id, "eth0", &pod.path(), &config);
            let before = lab.used().len();
            while child.try_wait().unwrap().is_none() && lab.used().len() == before {}
            child.kill().unwrap();
            child.wait().unwrap();
            vanish(&lab, vec![pod], 0);
            if lab.used().len() < 2 {
                continue;
            }
            assert_eq!(lab.call("STATUS", "", "", &config).code(), 50);
            age(&lab);
            lab.call("STATUS", "", "", &config).fine();
            assert_eq!(lab.used(), Vec::<String>::new());
            came_back += 1;
        }
        assert!(came_back > 0, "no ADD was killed with an address");
    });
}

#[test]
fn sixteen_at_once_share_what_comes_back_and_another_network_keeps_its_own() {
    let test = "sixteen_at_once_share_what_comes_back_and_another_network_keeps_its_own";
    in_lab(test, |lab| {
        let blocks =
            json!({"podCIDRs": ["10.244.1.0/27", "fd00:244:1::/64"], "reserved": ["10.244.1.16/28"]});
        let config = lab.config(&blocks);
        let other = lab.config(&json!({"name": "other", "podCIDRs": ["10.245.1.0/30"]}));
        let pods: Vec<_> = (0..15).map(|_| Pod::new()).collect();
        for (number, pod) in pods.iter().enumerate() {
            add(&lab, &format!("gone{number}"), pod, &config).result();
        }
        let elsewhere = Pod::new();
        add(&lab, "elsewhere", &elsewhere, &other).result();
        vanish(&lab, pods, 1);
        let elsewhere = vec![elsewhere];
        vanish(&lab, elsewhere, 0);
        let pods: Vec<_> = (0..16).map(|_| Pod::new()).collect();
        assert_eq!(add(&lab, "c0", &pods[0], &config).code(), 11);
        assert_eq!(sightings(&lab).len(), 30);
        age(&lab);
        let calls: Vec<_> = pods
            .iter()
            .enumerate()
            .map(|(number, pod)| lab.start("ADD", &format!("c{number}"), "eth0", &pod.path(), &config))
            .collect();
        let outcomes: Vec<_> = calls.into_iter().map(finish).collect();
        let served: Vec<_> = outcomes.iter().filter(|outcome| outcome.ok).collect();
        let addresses: BTreeSet<_> = served.iter().map(|outcome| first_address(outcome)).collect();
        assert_eq!((served.len(), addresses.len()), (15, 15), "{outcomes:?}");
        assert_eq!((lab.used().len(), lab.attachments().len()), (30, 15));
        let theirs = lab.state.path().join("other");
        assert!(theirs.join("10.245.1.1").exists());
        assert!(!theirs.join("sighted").exists());
        lab.call("DEL", "elsewhere", "", &other).fine();
        for number in 0..16 {
            lab.call("DEL", &format!("c{number}"), "", &config).fine();
        }
        lab.assert_clean();
    });
}
