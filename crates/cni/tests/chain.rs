//! The plugin among others: behind and before other plugins of a list, and several networks in one pod, as meta plugins attach
//! them. The others are the reference plugins, where they are installed. Numbers in brackets: the black-box checklist.

mod common;

use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Lab, Outcome, PLUGIN, Pod, finish, in_lab, ips, note_skip};
use flatroute_netlink::netns;
use flatroute_nft::{Kernel, PodNetwork};
use serde_json::{Value, json};

/// Where Debian puts the reference plugins.
const REFERENCE: &str = "/usr/lib/cni";
const PATIENCE: Duration = Duration::from_secs(20);

/// A list of plugins, run as libcni does it.
struct Chain<'a> {
    lab: &'a Lab,
    version: &'static str,
    plugins: Vec<Value>,
}

impl Chain<'_> {
    fn call(&self, plugin: &Value, verb: &str, id: &str, path: &str, previous: Option<&Value>) -> Outcome {
        self.call_for("eth0", plugin, verb, id, path, previous)
    }

    fn call_for(
        &self,
        interface: &str,
        plugin: &Value,
        verb: &str,
        id: &str,
        path: &str,
        previous: Option<&Value>,
    ) -> Outcome {
        let kind = plugin["type"].as_str().expect("a type");
        let program = match kind {
            "flatroute-cni" => PathBuf::from(PLUGIN),
            "loopback" => self.lab.state.path().join("loopback"),
            other => Path::new(REFERENCE).join(other),
        };
        let mut request = plugin.clone();
        request["cniVersion"] = self.version.into();
        request["name"] = "net".into();
        if let Some(previous) = previous {
            request["prevResult"] = previous.clone();
        }
        let command = || {
            let mut child = Command::new(&program)
                .env_clear()
                .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
                .env("CNI_COMMAND", verb)
                .env("CNI_CONTAINERID", id)
                .env("CNI_IFNAME", interface)
                .env("CNI_NETNS", path)
                .env("CNI_PATH", REFERENCE)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("start a plugin");
            let _ = child
                .stdin
                .take()
                .expect("stdin")
                .write_all(request.to_string().as_bytes());
            child
        };
        finish(netns::within(self.lab.host.as_fd(), command).expect("host"))
    }

    fn add(&self, id: &str, pod: &Pod) -> Value {
        let mut result = None;
        for plugin in &self.plugins {
            let outcome = self.call(plugin, "ADD", id, &pod.path(), result.as_ref());
            assert!(outcome.ok, "ADD by {}: {outcome:?}", plugin["type"]);
            result = Some(outcome.json());
        }
        result.expect("a plugin")
    }

    fn check(&self, id: &str, pod: &Pod, result: &Value) {
        // portmap looks for rules of IPv4 among those of IPv6, and so finds fault with every pod that has both.
        for plugin in self.plugins.iter().filter(|plugin| plugin["type"] != "portmap") {
            let outcome = self.call(plugin, "CHECK", id, &pod.path(), Some(result));
            assert!(outcome.ok, "CHECK by {}: {outcome:?}", plugin["type"]);
        }
    }

    fn del(&self, id: &str, path: &str, result: &Value) {
        // sbr insists on a namespace; nothing of it is anywhere else.
        let lacks = |plugin: &&Value| path.is_empty() && plugin["type"] == "sbr";
        for plugin in self.plugins.iter().rev().filter(|plugin| !lacks(plugin)) {
            let outcome = self.call(plugin, "DEL", id, path, Some(result));
            assert!(outcome.ok, "DEL by {}: {outcome:?}", plugin["type"]);
        }
    }
}

/// Those of `kinds` that are installed; a loud skip for the others.
fn installed<'a>(test: &str, kinds: &[&'a str]) -> Vec<&'a str> {
    let has_iptables = Path::new("/usr/sbin/iptables").exists();
    let is_there = |kind: &&str| {
        let needs_iptables = matches!(*kind, "portmap" | "firewall");
        Path::new(REFERENCE).join(kind).is_file() && (has_iptables || !needs_iptables)
    };
    let (there, missing): (Vec<_>, Vec<_>) = kinds.iter().copied().partition(is_there);
    if !missing.is_empty() {
        let reason = format!(
            "{} (Debian: containernetworking-plugins, iptables) not installed",
            missing.join(", ")
        );
        eprintln!("SKIPPED {test}: {reason}");
        note_skip(test, &reason);
    }
    there
}

fn ours(lab: &Lab, more: &Value) -> Value {
    let mut plugin = json!({
        "type": "flatroute-cni", "cooldown": "0s", "podCIDRs": ["10.244.1.0/24", "fd00:244:1::/64"], "stateDir": lab.state.path(),
    });
    for (key, value) in more.as_object().expect("an object") {
        plugin[key] = value.clone();
    }
    plugin
}

/// The host's address of the family.
fn near(family: IpAddr) -> IpAddr {
    let text = if family.is_ipv4() {
        common::HOST_V4
    } else {
        common::HOST_V6
    };
    text.parse().expect("an address")
}

fn bind(at: &File, address: IpAddr) -> UdpSocket {
    let socket = netns::within(at.as_fd(), || UdpSocket::bind(SocketAddr::from((address, 0))));
    let socket = socket.expect("a namespace").expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a limit");
    socket
}

/// One datagram from the host to `address` in `pod`, and one back to where it came from.
#[track_caller]
fn answers(lab: &Lab, pod: &Pod, address: IpAddr) {
    let (host, pod) = (bind(&lab.host, near(address)), bind(&pod.netns, address));
    let mut buffer = [0; 16];
    host.send_to(b"there", pod.local_addr().expect("an address"))
        .expect("send");
    let (length, from) = pod
        .recv_from(&mut buffer)
        .unwrap_or_else(|error| panic!("to {address}: {error}"));
    assert_eq!(buffer.get(..length), Some(&b"there"[..]));
    pod.send_to(b"back", from).expect("send");
    let (_, back) = host
        .recv_from(&mut buffer)
        .unwrap_or_else(|error| panic!("from {address}: {error}"));
    assert_eq!(back.ip(), address);
}

/// ADD, CHECK, traffic and DEL of a pod; then of one whose namespace goes first.
fn goes_through(chain: &Chain<'_>) {
    let pod = Pod::new();
    let result = chain.add("c", &pod);
    let position = result["interfaces"]
        .as_array()
        .and_then(|list| list.iter().position(|each| each["name"] == "eth0"));
    let held: Vec<_> = result["ips"]
        .as_array()
        .expect("ips")
        .iter()
        .filter(|ip| ip["interface"] == json!(position))
        .collect();
    assert_eq!(held.len(), 2, "{result}");
    if chain
        .plugins
        .first()
        .is_some_and(|first| first["type"] == "loopback")
    {
        assert_eq!(result["interfaces"][0]["name"], "lo");
        let ip = &result["ips"][0];
        assert_eq!(
            (&ip["address"], &ip["interface"]),
            (&json!("127.0.0.1/8"), &json!(0))
        );
    }
    chain.check("c", &pod, &result);
    for ip in held {
        let address = ip["address"].as_str().and_then(|text| text.split('/').next());
        let address = address.and_then(|text| text.parse().ok()).expect("an address");
        answers(chain.lab, &pod, address);
    }
    chain.del("c", &pod.path(), &result);
    chain.lab.assert_clean();
    let result = chain.add("d", &pod);
    drop(pod);
    chain.del("d", "", &result);
    chain.lab.assert_clean();
}

#[test]
fn first_middle_and_last() {
    // [59, 60, 92, 115]
    let test = "first_middle_and_last";
    in_lab(test, |lab| {
        symlink(PLUGIN, lab.state.path().join("loopback")).expect("a link");
        let ground = lab.state.path().join("tuning");
        let followers = [
            json!({"type": "tuning", "dataDir": ground, "sysctl": {"net.ipv4.conf.eth0.arp_filter": "1"}, "mtu": 1400}),
            json!({"type": "sbr"}),
            json!({"type": "bandwidth", "ingressRate": 8_000_000, "ingressBurst": 8_000_000, "egressRate": 8_000_000, "egressBurst": 8_000_000}),
            json!({"type": "portmap", "runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}}),
            json!({"type": "firewall", "backend": "iptables"}),
        ];
        let kinds: Vec<_> = followers
            .iter()
            .map(|plugin| plugin["type"].as_str().expect("a type"))
            .collect();
        let there = installed(test, &kinds);
        let followers = followers
            .iter()
            .filter(|plugin| there.contains(&plugin["type"].as_str().expect("a type")));
        let before = json!({"type": "loopback"});
        let dns = json!({"nameservers": ["10.96.0.10"]});
        for version in ["0.4.0", "1.0.0"] {
            // Alone behind another one; between two; and before each of the others, then before all.
            let mut lists: Vec<Vec<Value>> = vec![vec![before.clone(), ours(&lab, &json!({"dns": dns}))]];
            lists.extend(
                followers
                    .clone()
                    .map(|last| vec![before.clone(), ours(&lab, &json!({})), last.clone()]),
            );
            lists.push(
                [ours(&lab, &json!({}))]
                    .into_iter()
                    .chain(followers.clone().cloned())
                    .collect(),
            );
            for plugins in lists {
                let chain = Chain {
                    lab: &lab,
                    version,
                    plugins,
                };
                if chain.plugins.len() == 2 {
                    let pod = Pod::new();
                    assert_eq!(chain.add("c", &pod)["dns"], dns);
                    chain.del("c", &pod.path(), &json!({}));
                }
                goes_through(&chain);
            }
        }
    });
}

#[test]
fn everything_of_prev_result_comes_out_again() {
    // [59]
    in_lab("everything_of_prev_result_comes_out_again", |lab| {
        let pod = Pod::new();
        let previous = json!({
            "cniVersion": "1.1.0",
            "interfaces": [{"name": "br0", "mtu": 9000}, {"name": "dummy0", "sandbox": pod.path(), "pciID": "0000:00:1f.6"}],
            "ips": [{"address": "192.0.2.9/24", "gateway": "192.0.2.1", "interface": 1}, {"address": "192.0.2.10/24"}],
            "routes": [{"dst": "198.51.100.0/24", "table": 100, "mtu": 1400}],
            "dns": {"nameservers": ["192.0.2.53"], "domain": "a", "options": ["ndots:2"]},
        });
        let config = lab
            .config(&json!({"prevResult": previous, "dns": {"nameservers": ["10.96.0.10"], "domain": "b"}}));
        let result = lab.call("ADD", "c", &pod.path(), &config).result();
        for list in ["interfaces", "ips", "routes"] {
            let before = previous[list].as_array().expect("a list");
            let now = result[list].as_array().expect("a list");
            assert_eq!(now.get(..before.len()), Some(before.as_slice()), "{list}");
            assert_eq!(
                now.len() - before.len(),
                if list == "routes" { 3 } else { 2 },
                "{list}: {now:?}"
            );
        }
        assert_eq!(result["interfaces"][3]["name"], "eth0");
        for place in [2, 3] {
            assert_eq!(result["ips"][place]["interface"], 3);
        }
        assert_eq!(
            result["dns"],
            json!({"nameservers": ["192.0.2.53", "10.96.0.10"], "domain": "a", "options": ["ndots:2"]})
        );
        lab.call("DEL", "c", "", &config).fine();
        // One with nothing in it is nothing.
        for empty in [
            json!({}),
            json!({"interfaces": null, "ips": null, "routes": null, "dns": null}),
            json!(null),
        ] {
            let config = lab.config(&json!({"prevResult": empty}));
            let result = lab.call("ADD", "c", &pod.path(), &config).result();
            assert_eq!(
                (ips(&result).len(), &result["ips"][0]["interface"]),
                (2, &json!(1))
            );
            lab.call("DEL", "c", "", &config).fine();
        }
        lab.assert_clean();
    });
}

#[test]
fn networks_side_by_side_in_one_pod() {
    // [58, 97]
    let test = "networks_side_by_side_in_one_pod";
    in_lab(test, |lab| {
        let pod = Pod::new();
        let first = lab.config(&json!({}));
        let second = lab.config(&json!({"name": "storage", "podCIDRs": ["10.9.0.0/24", "fd00:9::/64"]}));
        let call = |verb: &str, interface: &str, config: &Value| {
            finish(lab.start(verb, "c", interface, &pod.path(), config))
        };
        let defaults = || {
            let mut socket = pod.socket();
            let mut routes = socket.routes(false).expect("routes");
            routes.extend(socket.routes(true).expect("routes"));
            routes.retain(|route| route.prefix_len == 0);
            routes
        };
        let made = call("ADD", "eth0", &first).result();
        let before = defaults();
        let check = |interface: &str, config: &Value, result: &Value| {
            let mut config = config.clone();
            config["prevResult"] = result.clone();
            call("CHECK", interface, &config).fine();
        };
        // Names as meta plugins choose them, the longest that there may be among them; and the same network once more.
        let mut more = Vec::new();
        for (interface, config) in [("net1", &second), ("pod16c477c70208", &second), ("net2", &first)] {
            let result = call("ADD", interface, config).result();
            assert!(
                !result["routes"].to_string().contains("/0"),
                "no default route: {result}"
            );
            more.push((interface, config, result));
        }
        assert_eq!(defaults(), before);
        assert_eq!((lab.host_links().len(), lab.used().len()), (4, 4));
        let check_all = |more: &[(&str, &Value, Value)]| {
            check("eth0", &first, &made);
            for (interface, config, result) in more {
                check(interface, config, result);
            }
        };
        check_all(&more);
        for ip in ips(&made) {
            answers(&lab, &pod, ip);
        }
        // GC of one network does not see the other; of one attachment of a pod, not the other.
        let gc = |config: &Value, valid: &[&str]| {
            let mut config = config.clone();
            let valid: Vec<_> = valid
                .iter()
                .map(|name| json!({"containerID": "c", "ifname": name}))
                .collect();
            config["cni.dev/valid-attachments"] = valid.into();
            lab.call("GC", "", "", &config).fine();
        };
        gc(&second, &["net1"]);
        more.remove(1);
        check_all(&more);
        gc(&second, &[]);
        more.remove(0);
        check_all(&more);
        gc(&first, &["eth0"]);
        check("eth0", &first, &made);
        assert_eq!((lab.host_links().len(), lab.used().len()), (1, 2));
        call("DEL", "eth0", &first).fine();
        lab.assert_clean();
    });
}

#[test]
fn a_second_network_answers_by_its_own_interface_with_sbr() {
    // [58, 115]
    let test = "a_second_network_answers_by_its_own_interface_with_sbr";
    if installed(test, &["sbr"]).is_empty() {
        return;
    }
    in_lab(test, |lab| {
        // With the agent's table, which takes nothing from a pod's link that is not of an address behind it.
        let network = PodNetwork {
            pod_cidrs: ["10.244.1.0/24", "fd00:244:1::/64", "10.9.0.0/24", "fd00:9::/64"]
                .map(|text| text.parse().expect("a network"))
                .into(),
            masquerade: None,
        };
        let apply = || Kernel::open()?.apply(&network.table());
        netns::within(lab.host.as_fd(), apply)
            .expect("host")
            .expect("the table");
        let pod = Pod::new();
        let first = lab.add("c", &pod);
        let plugin =
            json!({"name": "storage", "cniVersion": "1.0.0", "podCIDRs": ["10.9.0.0/24", "fd00:9::/64"]});
        let plugin = ours(&lab, &plugin);
        let second = finish(lab.start("ADD", "c", "net1", &pod.path(), &plugin)).result();
        for (one, other) in ips(&first).into_iter().zip(ips(&second)) {
            // By the default route, which is the first interface's, its packets are forged ones.
            let host = bind(&lab.host, near(one));
            let to = host.local_addr().expect("an address");
            drop(bind(&pod.netns, other).send_to(b"forged", to));
            bind(&pod.netns, one).send_to(b"own", to).expect("send");
            assert_eq!(host.recv_from(&mut [0; 16]).expect("a datagram").1.ip(), one);
        }
        let chain = Chain {
            lab: &lab,
            version: "1.0.0",
            plugins: Vec::new(),
        };
        let sbr = |verb: &str| {
            let outcome = chain.call_for(
                "net1",
                &json!({"type": "sbr"}),
                verb,
                "c",
                &pod.path(),
                Some(&second),
            );
            assert!(outcome.ok, "{verb}: {outcome:?}");
        };
        sbr("ADD");
        for ip in ips(&first).into_iter().chain(ips(&second)) {
            answers(&lab, &pod, ip);
        }
        let mut check = plugin.clone();
        check["prevResult"] = second.clone();
        finish(lab.start("CHECK", "c", "net1", &pod.path(), &check)).fine();
        sbr("DEL");
        finish(lab.start("DEL", "c", "net1", &pod.path(), &plugin)).fine();
        lab.del("c");
        lab.assert_clean();
    });
}
