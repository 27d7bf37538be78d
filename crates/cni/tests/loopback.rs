//! The plugin under the name `loopback`, as containerd calls it before ours.

mod common;

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use common::{Lab, Outcome, PLUGIN, Pod, finish, in_lab};
use flatroute_netlink::netns;
use serde_json::{Value, json};
use std::io::Write as _;
use std::os::fd::AsFd as _;

const LO: u32 = 1;

/// Calls the plugin by its other name.
fn call(lab: &Lab, verb: &str, path: &str, config: &Value) -> Outcome {
    let mut command = Command::new(PLUGIN);
    command
        .arg0("/opt/cni/bin/loopback")
        .env_clear()
        .envs([
            ("CNI_COMMAND", verb),
            ("CNI_CONTAINERID", "c1"),
            ("CNI_IFNAME", "lo"),
            ("CNI_NETNS", path),
            ("CNI_PATH", "/opt/cni/bin"),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = netns::within(lab.host.as_fd(), || command.spawn())
        .expect("the host's namespace")
        .expect("started");
    let mut input = child.stdin.take().expect("stdin");
    input.write_all(config.to_string().as_bytes()).expect("written");
    drop(input);
    finish(child)
}

fn config(version: &str) -> Value {
    json!({"cniVersion": version, "name": "cni-loopback", "type": "loopback"})
}

#[test]
fn lo_comes_up_and_every_version_says_so_in_its_own_way() {
    in_lab("lo_comes_up_and_every_version_says_so_in_its_own_way", |lab| {
        for version in ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
            let pod = Pod::new();
            let is_up = || {
                let link = pod.socket().link_by_index(LO).expect("asked");
                link.expect("lo").up
            };
            assert!(!is_up());
            let checks = version >= "0.4.0";
            if checks {
                let down = call(&lab, "CHECK", &pod.path(), &config(version));
                assert_eq!(down.code(), 101, "{version}");
            }
            let result = call(&lab, "ADD", &pod.path(), &config(version)).result();
            assert!(is_up(), "{version}");
            assert_eq!(result["cniVersion"], version);
            let lo = &result["interfaces"][0];
            assert_eq!((&lo["name"], &lo["sandbox"]), (&json!("lo"), &json!(pod.path())));
            let mut ips = result["ips"].as_array().expect("ips").clone();
            ips.sort_by_key(|ip| ip["address"].as_str().map(|address| address.contains(':')));
            let want = [("127.0.0.1/8", "4"), ("::1/128", "6")];
            assert_eq!(ips.len(), want.len(), "{result}");
            for (ip, (address, family)) in ips.iter().zip(want) {
                assert_eq!((&ip["address"], &ip["interface"]), (&json!(address), &json!(0)));
                let has_family = version < "1.0.0";
                assert_eq!(
                    ip.get("version"),
                    has_family.then_some(&json!(family)),
                    "{version}"
                );
            }
            // A second ADD does no harm, and DEL neither: the namespace goes with the pod.
            call(&lab, "ADD", &pod.path(), &config(version)).result();
            if checks {
                let mut config = config(version);
                config["prevResult"] = result;
                call(&lab, "CHECK", &pod.path(), &config).fine();
            }
            call(&lab, "DEL", &pod.path(), &config(version)).fine();
            call(&lab, "DEL", "", &config(version)).fine();
        }
    });
}

#[test]
fn what_stood_before_it_in_a_chain_is_passed_on() {
    in_lab("what_stood_before_it_in_a_chain_is_passed_on", |lab| {
        let pod = Pod::new();
        let previous = json!({"cniVersion": "1.0.0", "interfaces": [{"name": "eth0"}], "ips": [{"address": "10.0.0.1/24"}]});
        let mut config = config("1.0.0");
        config["prevResult"] = previous.clone();
        assert_eq!(call(&lab, "ADD", &pod.path(), &config).result(), previous);
        let link = pod.socket().link_by_index(LO).expect("asked");
        assert!(link.expect("lo").up);
    });
}

#[test]
fn a_namespace_that_is_none_is_refused() {
    in_lab("a_namespace_that_is_none_is_refused", |lab| {
        let outcome = call(&lab, "ADD", "/nonexistent/netns", &config("0.3.1"));
        assert_eq!(outcome.code(), 5);
        let statuses = call(&lab, "STATUS", "", &config("1.1.0"));
        statuses.fine();
    });
}
