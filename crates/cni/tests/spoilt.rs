//! Pods whose configuration or state directory is no longer what it was when they began: a key with a wrong type, another boot.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs::File;

use common::{Pod, in_lab};
use rustix::fs::FlockOperation;
use serde_json::json;

#[test]
fn del_needs_names_and_nothing_else() {
    in_lab("del_needs_names_and_nothing_else", |lab| {
        let spoilt = [
            json!({"podCIDRs": 7}),
            json!({"podCIDRs": [7]}),
            json!({"pools": "gold"}),
            json!({"reserved": "10.244.1.9"}),
            json!({"cooldown": 5}),
            json!({"mtu": "big"}),
            json!({"mtu": -1}),
            json!({"dns": 5, "args": 5, "prevResult": 5}),
            json!({"runtimeConfig": "none"}),
            json!({"runtimeConfig": {"mac": 5, "ips": 5, "ipRanges": 5, "portMappings": 5, "bandwidth": 5, "dns": 5}}),
            json!({"ipam": "host-local"}),
            json!({"hostInterfacePrefix": 7}),
            json!({"hostInterfacePrefix": "much too long"}),
            json!({"cni.dev/valid-attachments": "none"}),
        ];
        let pod = Pod::new();
        for more in spoilt {
            let result = lab.add("c1", &pod);
            let config = lab.config(&more);
            lab.call("DEL", "c1", &pod.path(), &config).fine();
            lab.assert_clean();
            // Twice, and of a pod that never was.
            lab.call("DEL", "c1", "", &config).fine();
            // Who makes something, or vouches for it, needs all of it.
            let mut config = lab.config(&json!({"prevResult": result}));
            for (key, value) in more.as_object().unwrap() {
                config[key] = value.clone();
            }
            if !more["podCIDRs"].is_null() {
                for verb in ["ADD", "CHECK", "STATUS"] {
                    assert_eq!(
                        lab.call(verb, "c1", &pod.path(), &config).code(),
                        7,
                        "{verb} {more}"
                    );
                }
            }
        }
        // Without these nobody can know what to remove.
        for more in [
            json!({"name": 7}),
            json!({"name": ""}),
            json!({"stateDir": 7}),
            json!({"stateDir": "here"}),
        ] {
            assert_eq!(lab.call("DEL", "c1", "", &lab.config(&more)).code(), 7, "{more}");
        }
    });
}

#[test]
fn gc_needs_names_and_its_list() {
    in_lab("gc_needs_names_and_its_list", |lab| {
        let pod = Pod::new();
        lab.add("c1", &pod);
        let gc = |list| {
            let more = json!({"podCIDRs": 7, "mtu": "big", "cni.dev/valid-attachments": list});
            lab.call("GC", "", "", &lab.config(&more))
        };
        // What cannot be read must not look like an empty list.
        for list in [
            json!(null),
            json!("none"),
            json!([{"containerID": 7, "ifname": "eth0"}]),
        ] {
            assert_eq!(gc(list.clone()).code(), 7, "{list}");
            assert_eq!(lab.host_links().len(), 1);
        }
        gc(json!([{"containerID": "c1", "ifname": "eth0"}])).fine();
        assert_eq!(lab.host_links().len(), 1);
        gc(json!([])).fine();
        lab.assert_clean();
    });
}

#[test]
fn lock_files_of_another_boot_go() {
    in_lab("lock_files_of_another_boot_go", |lab| {
        let pods = [Pod::new(), Pod::new(), Pod::new()];
        lab.add("c1", &pods[0]);
        lab.add("c2", &pods[1]);
        // As after a boot: no link, another boot's id.
        let mut host = lab.socket();
        for link in host.links().unwrap().iter().filter(|link| link.name != "lo") {
            host.delete_link(link.index).unwrap();
        }
        let dir = lab.network_dir();
        std::fs::write(dir.join("lock"), "other-boot").unwrap();
        let before = lab.attachments();
        assert_eq!(before.len(), 2);
        // Somebody works on one of them in this boot.
        let busy = File::open(dir.join("locks").join(&before[0])).unwrap();
        rustix::fs::flock(&busy, FlockOperation::LockExclusive).unwrap();
        lab.add("c3", &pods[2]);
        let after = lab.attachments();
        assert_eq!(after.len(), 2, "{after:?}");
        assert!(
            after.contains(&before[0]) && !after.contains(&before[1]),
            "{after:?}"
        );
        drop(busy);
        // In the same boot they stay, whatever became of their links.
        lab.add("c4", &pods[0]);
        assert_eq!(lab.attachments().len(), 3);
        for id in ["c1", "c2", "c3", "c4"] {
            lab.del(id);
        }
        lab.assert_clean();
    });
}
