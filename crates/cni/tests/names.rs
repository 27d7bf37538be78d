//! Names of networks and containers of any length: an alias and the comment of an nf_tables element are short, and GC must not
//! take one attachment for another, nor a valid one for a stale one.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::os::fd::AsFd;

use common::{Lab, Pod, in_lab, ips};
use flatroute_netlink::netns;
use flatroute_nft::Kernel;
use serde_json::{Value, json};

/// Container ids that differ in their last character only, longer than an alias.
fn ids(length: usize) -> [String; 2] {
    ["1", "2"].map(|last| format!("{}{last}", "c".repeat(length - 1)))
}

fn gc(lab: &Lab, config: &Value, valid: &[&str]) {
    let entry = |id: &&str| json!({"containerID": id, "ifname": "eth0"});
    let mut config = config.clone();
    config["cni.dev/valid-attachments"] = valid.iter().map(entry).collect();
    lab.call("GC", "", "", &config).fine();
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story")]
fn names_of_any_length_keep_their_pods() {
    in_lab("names_of_any_length_keep_their_pods", |lab| {
        let owners = || {
            let read = || Kernel::open()?.host_ports();
            let all = netns::within(lab.host.as_fd(), read)
                .unwrap()
                .unwrap()
                .into_iter();
            let owners: std::collections::BTreeSet<String> = all.map(|owned| owned.owner).collect();
            owners.len()
        };
        for (network, length) in [(3, 300), (200, 64), (200, 300), (77, 81), (81, 80)] {
            let network = "n".repeat(network);
            let ids = ids(length);
            let pods = [Pod::new(), Pod::new(), Pod::new()];
            let config = |port: u16| {
                let mapping = json!([{"hostPort": port, "containerPort": 80}]);
                lab.config(&json!({"name": network, "runtimeConfig": {"portMappings": mapping}}))
            };
            let add = |which: usize, port: u16| {
                let config = config(port);
                let result = lab
                    .call("ADD", &ids[which], &pods[which].path(), &config)
                    .result();
                let mut checked = config;
                checked["prevResult"] = result.clone();
                lab.call("CHECK", &ids[which], &pods[which].path(), &checked)
                    .fine();
                result
            };
            let results = [add(0, 8080), add(1, 8081)];
            let aliases = lab
                .socket()
                .links()
                .unwrap()
                .into_iter()
                .filter_map(|link| link.alias);
            assert!(
                aliases.clone().all(|alias| alias.len() < 255),
                "{:?}",
                aliases.collect::<Vec<_>>()
            );
            let left = || (lab.host_links().len(), owners());
            assert_eq!(left(), (2, 2));
            gc(&lab, &config(0), &[&ids[0], &ids[1]]);
            assert_eq!(left(), (2, 2), "both are valid");
            // Another network, whatever its name begins with.
            let other = lab.config(&json!({"name": format!("{network}x")}));
            gc(&lab, &other, &[]);
            assert_eq!(left(), (2, 2), "of another network");
            gc(&lab, &config(0), &[&ids[1]]);
            assert_eq!(left(), (1, 1), "the other is not");
            // The files are lost, and the link says whose the address is.
            std::fs::remove_dir_all(lab.state.path().join(&network)).unwrap();
            let next = lab.call(
                "ADD",
                "next",
                &pods[2].path(),
                &lab.config(&json!({"name": network})),
            );
            let taken = ips(&results[1]);
            assert!(
                ips(&next.result()).iter().all(|ip| !taken.contains(ip)),
                "{next:?}"
            );
            gc(&lab, &config(0), &[&ids[1], "next"]);
            assert_eq!(left(), (2, 1));
            for id in [ids[1].as_str(), "next"] {
                lab.call("DEL", id, "", &config(0)).fine();
            }
            assert_eq!(left(), (0, 0));
            let dir = lab.state.path().join(&network);
            assert_eq!(std::fs::read_dir(dir.join("locks")).unwrap().count(), 0);
            std::fs::remove_dir_all(dir).unwrap();
        }
    });
}

#[test]
fn a_plain_name_is_never_taken_for_a_cut_one() {
    in_lab("a_plain_name_is_never_taken_for_a_cut_one", |lab| {
        // '~' is in no name that the specification allows.
        let pod = Pod::new();
        for id in ["c~1", "~"] {
            assert_eq!(
                lab.call("ADD", id, &pod.path(), &lab.config(&json!({}))).code(),
                4
            );
        }
        assert_eq!(
            lab.call("ADD", "c", &pod.path(), &lab.config(&json!({"name": "n~1"})))
                .code(),
            7
        );
    });
}
