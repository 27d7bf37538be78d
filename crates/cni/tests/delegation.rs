//! Addresses from another plugin (`ipam.type`): a script that notes how it was called, and the reference plugins host-local and
//! static where they are installed. Numbers in brackets: the black-box checklist.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{Lab, Outcome, Pod, finish, in_lab, ips, note_skip};
use serde_json::{Value, json};

/// Where Debian puts the reference plugins.
const REFERENCE: &str = "/usr/lib/cni";
const V4: &str = r#"{"cniVersion":"1.1.0","ips":[{"address":"10.7.0.5/24","gateway":"10.7.0.1"}]}"#;
const DUAL: &str = r#"{"cniVersion":"1.1.0","ips":[{"address":"fd00:7::5/64"},{"address":"10.7.0.5/24"}],"dns":{"nameservers":["10.7.0.1"]}}"#;
const MURMUR: &str = "the script was here";

/// An IPAM plugin that is a script: it notes its calls, and answers what it is told to.
struct Script {
    folder: tempfile::TempDir,
}

impl Script {
    fn new(lab: &mut Lab) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().display();
        let script = format!(
            "#!/bin/sh\nPATH=/usr/bin:/bin\nat={place}/$CNI_COMMAND\ncat >$at.stdin\nenv >$at.env\n\
             echo \"begin $CNI_COMMAND\" >>{place}/calls\necho '{MURMUR}' >&2\n\
             [ ! -e $at.slow ] || sleep $(cat $at.slow)\n[ ! -e $at.says ] || cat $at.says\n\
             echo \"end $CNI_COMMAND\" >>{place}/calls\n[ ! -e $at.exits ] || exit $(cat $at.exits)\n"
        );
        let program = folder.path().join("script");
        fs::write(&program, script).expect("a script");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a script");
        lab.cni_path = format!("/nonexistent:{}", folder.path().display());
        let new = Self { folder };
        new.tell("ADD", "says", DUAL);
        new
    }

    fn at(&self, verb: &str, what: &str) -> PathBuf {
        self.folder.path().join(format!("{verb}.{what}"))
    }

    /// `says`, `exits` or `slow` of a verb; empty takes it back.
    fn tell(&self, verb: &str, what: &str, text: &str) {
        if text.is_empty() {
            fs::remove_file(self.at(verb, what)).expect("something to take back");
        } else {
            fs::write(self.at(verb, what), text).expect("an order");
        }
    }

    fn fails(&self, verb: &str, code: u32) {
        let error = json!({"cniVersion": "1.1.0", "code": code, "msg": "I refuse", "details": "for ever"});
        self.tell(verb, "says", &error.to_string());
        self.tell(verb, "exits", "1");
    }

    fn heard(&self, verb: &str) -> (Value, String) {
        let stdin = fs::read(self.at(verb, "stdin")).expect("it was called");
        let env = fs::read_to_string(self.at(verb, "env")).expect("it was called");
        (serde_json::from_slice(&stdin).expect("JSON"), env)
    }

    /// The verbs since the last time.
    fn calls(&self) -> Vec<String> {
        let file = self.folder.path().join("calls");
        let text = fs::read_to_string(&file).unwrap_or_default();
        drop(fs::remove_file(&file));
        text.lines()
            .filter_map(|line| Some(line.strip_prefix("begin ")?.to_owned()))
            .collect()
    }
}

fn config(lab: &Lab, more: &Value) -> Value {
    let mut config = json!({
        "cniVersion": "1.1.0", "name": "net", "type": "flatroute-cni", "stateDir": lab.state.path(),
        "ipam": {"type": "script", "x-mark": "kept"},
    });
    for (key, value) in more.as_object().expect("an object") {
        config[key] = value.clone();
    }
    config
}

fn with_previous(config: &Value, result: &Value) -> Value {
    let mut config = config.clone();
    config["prevResult"] = result.clone();
    config
}

#[track_caller]
fn says(outcome: &Outcome, code: u64, words: &[&str]) {
    assert_eq!(outcome.code(), code, "{outcome:?}");
    for word in words {
        assert!(outcome.stdout.contains(word), "{word}: {outcome:?}");
    }
}

#[test]
fn every_verb_reaches_the_plugin_of_ipam_type() {
    // [42–44, 46, 65, 82, 92]
    in_lab("every_verb_reaches_the_plugin_of_ipam_type", |mut lab| {
        let script = Script::new(&mut lab);
        let (pod, config) = (Pod::new(), config(&lab, &json!({})));
        lab.call("STATUS", "c", "", &config).fine();
        let outcome = lab.call("ADD", "c", &pod.path(), &config);
        let result = outcome.result();
        assert!(outcome.stderr.contains(MURMUR), "{outcome:?}");
        let (request, env) = script.heard("ADD");
        assert_eq!(request, config, "all of standard input");
        let variables = [
            "CNI_COMMAND=ADD".to_owned(),
            "CNI_CONTAINERID=c".into(),
            "CNI_IFNAME=eth0".into(),
            format!("CNI_NETNS={}", pod.path()),
            format!("CNI_PATH={}", lab.cni_path),
        ];
        for variable in variables {
            assert!(env.lines().any(|line| line == variable), "{variable}: {env}");
        }
        assert_eq!(
            result["ips"],
            json!([
                {"address": "fd00:7::5/128", "gateway": "fe80::1", "interface": 1},
                {"address": "10.7.0.5/32", "gateway": "169.254.1.1", "interface": 1},
            ])
        );
        assert_eq!(result["dns"], json!({"nameservers": ["10.7.0.1"]}));
        let mut socket = pod.socket();
        let index = socket.link_by_name("eth0").expect("links").expect("eth0").index;
        let addresses = socket.addresses(index).expect("addresses");
        for ip in ips(&result) {
            assert!(
                addresses.iter().any(|held| held.address == ip && !held.tentative),
                "{addresses:?}"
            );
            assert!(
                lab.socket().route_to(ip).expect("a look-up").is_some(),
                "the host's route to {ip}"
            );
        }
        assert_eq!(lab.used(), Vec::<String>::new(), "the plugin keeps the records");

        // A later plugin put an address of its own on the interface.
        let mut longer = result.clone();
        longer["ips"]
            .as_array_mut()
            .expect("ips")
            .push(json!({"address": "10.8.0.1/24", "interface": 1}));
        lab.call("CHECK", "c", &pod.path(), &with_previous(&config, &longer))
            .fine();
        assert_eq!(script.heard("CHECK").0["prevResult"], longer);
        let mut shorter = result.clone();
        shorter["ips"].as_array_mut().expect("ips").pop();
        let outcome = lab.call("CHECK", "c", &pod.path(), &with_previous(&config, &shorter));
        says(&outcome, 101, &["holds 10.7.0.5"]);

        drop(pod);
        lab.call("DEL", "c", "", &with_previous(&config, &result)).fine();
        assert_eq!(script.heard("DEL").0["prevResult"], result);
        lab.assert_clean();
        lab.call("DEL", "c", "", &config).fine();
        assert_eq!(script.calls(), ["STATUS", "ADD", "CHECK", "CHECK", "DEL", "DEL"]);
    });
}

#[test]
fn a_failed_add_tells_the_plugin_del() {
    // [48, 54, 66]
    in_lab("a_failed_add_tells_the_plugin_del", |mut lab| {
        let script = Script::new(&mut lab);
        let (pod, config) = (Pod::new(), config(&lab, &json!({})));
        let add = |pod: &Pod| lab.call("ADD", "c", &pod.path(), &config);
        script.fails("ADD", 123);
        says(
            &add(&pod),
            123,
            &["IPAM plugin script: ADD: I refuse", "for ever"],
        );
        assert_eq!(script.calls(), ["ADD", "DEL"]);
        assert_eq!(script.heard("DEL").0, config);
        // No error object, an answer of no use, one that nobody can read.
        script.tell("ADD", "says", "panic: oh");
        says(&add(&pod), 103, &["script", "exit status: 1"]);
        script.tell("ADD", "exits", "");
        says(&add(&pod), 6, &["script"]);
        script.tell("ADD", "says", "{}");
        says(&add(&pod), 103, &["gave no address"]);
        assert_eq!(script.calls(), ["ADD", "DEL", "ADD", "DEL", "ADD", "DEL"]);
        lab.assert_clean();

        // The DEL fails too: the lock stays, and tells the next DEL that there is something to do.
        script.fails("ADD", 11);
        script.fails("DEL", 7);
        says(&add(&pod), 11, &["ADD: I refuse"]);
        assert_eq!(lab.attachments().len(), 1);
        says(
            &lab.call("DEL", "c", "", &config),
            7,
            &["IPAM plugin script: DEL: I refuse"],
        );
        script.tell("DEL", "says", "");
        script.tell("DEL", "exits", "");
        lab.call("DEL", "c", "", &config).fine();
        lab.assert_clean();
    });
}

#[test]
fn an_add_that_fails_here_tells_the_plugin_del() {
    // [48]: the interface is there already, then the host's route is somebody else's.
    in_lab("an_add_that_fails_here_tells_the_plugin_del", |mut lab| {
        let script = Script::new(&mut lab);
        let (pod, config) = (Pod::new(), config(&lab, &json!({})));
        let add = |pod: &Pod| lab.call("ADD", "c", &pod.path(), &config);
        script.tell("ADD", "says", V4);
        lab.call(
            "ADD",
            "other",
            &pod.path(),
            &lab.config(&json!({"name": "first"})),
        )
        .result();
        script.calls();
        says(&add(&pod), 100, &["eth0 exists already in the pod"]);
        assert_eq!(script.calls(), ["ADD", "DEL"]);
        let route = flatroute_netlink::Route {
            destination: "10.7.0.5".parse().expect("an address"),
            prefix_len: 32,
            next_hop: flatroute_netlink::NextHop::Link { index: 1 },
            source: None,
            protocol: 4,
        };
        lab.socket().add_route(&route).expect("a route");
        let fresh = Pod::new();
        says(&add(&fresh), 11, &["10.7.0.5 already, over lo"]);
        assert_eq!(script.calls(), ["ADD", "DEL"]);
        lab.socket().delete_route(&route).expect("a route");
        assert_eq!(lab.attachments(), Vec::<String>::new());

        // With an MTU that IPv6 does not allow.
        script.tell("ADD", "says", DUAL);
        let mut small = config.clone();
        small["mtu"] = 1000.into();
        says(&lab.call("ADD", "c", &fresh.path(), &small), 7, &["1280"]);
        assert_eq!(script.calls(), ["ADD", "DEL"]);
        lab.call("DEL", "other", "", &lab.config(&json!({"name": "first"})))
            .fine();
        lab.assert_clean();
    });
}

#[test]
fn an_attachment_is_not_asked_for_twice() {
    // [57]: a DEL after the second ADD would take the address of a pod that lives.
    in_lab("an_attachment_is_not_asked_for_twice", |mut lab| {
        let script = Script::new(&mut lab);
        let (pod, config) = (Pod::new(), config(&lab, &json!({})));
        lab.call("ADD", "c", &pod.path(), &config).result();
        assert_eq!(script.calls(), ["ADD"]);
        says(&lab.call("ADD", "c", &pod.path(), &config), 100, &[]);
        fs::remove_dir_all(lab.network_dir()).expect("records");
        says(
            &lab.call("ADD", "c", &pod.path(), &config),
            100,
            &["exists already"],
        );
        assert_eq!(script.calls(), Vec::<String>::new());
        lab.call("DEL", "c", "", &config).fine();
        lab.assert_clean();
    });
}

#[test]
fn a_plugin_that_is_not_there_is_named() {
    // [67]
    in_lab("a_plugin_that_is_not_there_is_named", |mut lab| {
        let script = Script::new(&mut lab);
        let (pod, good) = (Pod::new(), config(&lab, &json!({})));
        let absent = config(&lab, &json!({"ipam": {"type": "there-is-none"}}));
        let path = lab.cni_path.clone();
        for verb in ["ADD", "STATUS"] {
            let outcome = lab.call(verb, "c", &pod.path(), &absent);
            says(
                &outcome,
                if verb == "ADD" { 7 } else { 50 },
                &["there-is-none", "CNI_PATH", &path],
            );
        }
        // Nothing was begun, so nothing stands in the way of a pod that goes.
        lab.call("DEL", "c", "", &absent).fine();
        lab.assert_clean();
        let result = lab.call("ADD", "c", &pod.path(), &good).result();
        says(
            &lab.call("CHECK", "c", &pod.path(), &with_previous(&absent, &result)),
            7,
            &["there-is-none"],
        );
        says(&lab.call("DEL", "c", "", &absent), 7, &["there-is-none"]);
        assert_eq!(
            (lab.host_links().len(), lab.attachments().len()),
            (0, 1),
            "our part is done"
        );
        lab.call("DEL", "c", "", &good).fine();
        assert_eq!(script.calls(), ["ADD", "DEL"]);
        lab.assert_clean();

        let both = config(&lab, &json!({"podCIDRs": ["10.1.0.0/24"], "cooldown": "1s"}));
        says(
            &lab.call("ADD", "c", &pod.path(), &both),
            7,
            &["ipam.type", "podCIDRs, cooldown"],
        );
        says(
            &lab.call("STATUS", "c", "", &both),
            50,
            &["ipam.type", "podCIDRs, cooldown"],
        );
        let asking =
            json!({"io.kubernetes.cri.pod-annotations": {"other": "x", "cni.flatroute.io/pool": "blue"}});
        let asking = config(&lab, &json!({"runtimeConfig": asking}));
        says(
            &lab.call("ADD", "c", &pod.path(), &asking),
            7,
            &["cni.flatroute.io/pool", "script"],
        );
        // An object that names nobody is none.
        for nobody in [json!({}), json!({"type": ""}), json!(null)] {
            let own = lab.config(&json!({"ipam": nobody}));
            lab.call("ADD", "own", &pod.path(), &own).result();
            lab.call("DEL", "own", "", &own).fine();
        }
        assert_eq!(script.calls(), Vec::<String>::new());
    });
}

#[test]
fn gc_and_status_go_on_and_come_back() {
    // [100, 102, 109]
    in_lab("gc_and_status_go_on_and_come_back", |mut lab| {
        let script = Script::new(&mut lab);
        let (pod, config) = (
            Pod::new(),
            config(&lab, &json!({"cni.dev/valid-attachments": []})),
        );
        lab.call("ADD", "c", &pod.path(), &config).result();
        script.fails("GC", 5);
        says(
            &lab.call("GC", "", "", &config),
            102,
            &["1 removals failed", "IPAM plugin script: GC: I refuse"],
        );
        lab.assert_clean();
        script.tell("GC", "says", "");
        script.tell("GC", "exits", "");
        lab.call("GC", "", "", &config).fine();
        assert_eq!(script.heard("GC").0, config);
        for (its, ours) in [(50, 50), (51, 51), (1, 50), (999, 50)] {
            script.fails("STATUS", its);
            says(
                &lab.call("STATUS", "", "", &config),
                ours,
                &["IPAM plugin script: STATUS: I refuse"],
            );
        }
        script.tell("STATUS", "exits", "");
        script.tell("STATUS", "slow", "300");
        let begun = Instant::now();
        says(
            &lab.call("STATUS", "", "", &config),
            50,
            &["script", "did not end within 5 s"],
        );
        assert!(
            begun.elapsed() < Duration::from_secs(100),
            "{:?}",
            begun.elapsed()
        );
    });
}

#[test]
fn routes_are_those_that_the_plugin_names() {
    in_lab("routes_are_those_that_the_plugin_names", |mut lab| {
        let script = Script::new(&mut lab);
        let config = config(&lab, &json!({}));
        let link = json!({"dst": "169.254.1.1/32", "scope": 253});
        let (v4, v6) = (
            json!({"dst": "0.0.0.0/0", "gw": "169.254.1.1"}),
            json!({"dst": "::/0", "gw": "fe80::1"}),
        );
        let ten = json!({"dst": "10.0.0.0/8", "gw": "169.254.1.1"});
        let cases = [
            (json!(null), vec![v6.clone(), link.clone(), v4.clone()]),
            (
                json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0", "gw": "fd00:7::1"}]),
                vec![v6, link.clone(), v4],
            ),
            (json!([{"dst": "10.0.0.0/8", "gw": "10.7.0.1"}]), vec![link, ten]),
        ];
        for (named, made) in cases {
            let mut answer: Value = serde_json::from_str(DUAL).expect("JSON");
            answer["routes"] = named.clone();
            script.tell("ADD", "says", &answer.to_string());
            let pod = Pod::new();
            let result = lab.call("ADD", "c", &pod.path(), &config).result();
            assert_eq!(result["routes"], Value::from(made), "{named}");
            lab.call("CHECK", "c", &pod.path(), &with_previous(&config, &result))
                .fine();
            let defaults = [false, true]
                .into_iter()
                .flat_map(|ipv6| pod.socket().routes(ipv6).expect("routes"))
                .filter(|route| route.prefix_len == 0);
            let told = result["routes"].to_string();
            assert_eq!(defaults.count(), told.matches("/0\"").count(), "{told}");
            lab.call("DEL", "c", "", &config).fine();
        }
        // More than the refusals of which fit into a socket's buffer, for a second interface that gets none of them.
        let many =
            (0..600).map(|number| json!({"dst": format!("10.{}.{}.0/24", 100 + number / 200, number % 200)}));
        let mut answer: Value = serde_json::from_str(V4).expect("JSON");
        answer["routes"] = many.collect();
        script.tell("ADD", "says", &answer.to_string());
        let pod = Pod::new();
        for (id, interface, made) in [("c", "eth0", 601), ("d", "net1", 1)] {
            let outcome = finish(lab.start("ADD", id, interface, &pod.path(), &config)).result();
            assert_eq!(
                outcome["routes"].as_array().expect("a list").len(),
                made,
                "{interface}"
            );
            answer["ips"][0]["address"] = json!("10.7.0.78/24");
            script.tell("ADD", "says", &answer.to_string());
        }
        for (id, interface) in [("c", "eth0"), ("d", "net1")] {
            finish(lab.start("DEL", id, interface, "", &config)).fine();
        }
        // An IPv4 pod does not get what is meant for IPv6.
        let mut answer: Value = serde_json::from_str(V4).expect("JSON");
        answer["routes"] = json!([{"dst": "::/0"}]);
        script.tell("ADD", "says", &answer.to_string());
        let pod = Pod::new();
        assert_eq!(
            lab.call("ADD", "c", &pod.path(), &config).result()["routes"],
            json!([])
        );
        lab.call("DEL", "c", "", &config).fine();
        answer["routes"] = json!([{"dst": "10.0.0.0/8", "table": 7}]);
        script.tell("ADD", "says", &answer.to_string());
        says(&lab.call("ADD", "c", &pod.path(), &config), 2, &["table = 7"]);
        lab.assert_clean();
    });
}

#[test]
fn what_a_killed_add_left_at_work_is_waited_for() {
    // [52]
    in_lab("what_a_killed_add_left_at_work_is_waited_for", |mut lab| {
        let script = Script::new(&mut lab);
        let (pod, config) = (Pod::new(), config(&lab, &json!({})));
        script.tell("ADD", "slow", "1");
        let mut child = lab.start("ADD", "c", "eth0", &pod.path(), &config);
        let calls = script.folder.path().join("calls");
        let deadline = Instant::now() + Duration::from_secs(60);
        while !calls.exists() {
            assert!(Instant::now() < deadline, "the script was not started");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().expect("kill");
        child.wait().expect("wait");
        lab.call("DEL", "c", "", &config).fine();
        let said = fs::read_to_string(&calls).expect("calls");
        assert_eq!(said, "begin ADD\nend ADD\nbegin DEL\nend DEL\n");
        lab.assert_clean();
    });
}

/// The reference plugin of this name, or a loud skip.
fn reference(test: &str, name: &str) -> bool {
    let there = Path::new(REFERENCE).join(name).is_file();
    if !there {
        let reason = format!("{name} (Debian: containernetworking-plugins) is not installed");
        eprintln!("SKIPPED {test}: {reason}");
        note_skip(test, &reason);
    }
    there
}

#[test]
fn host_local_and_static_give_addresses() {
    let test = "host_local_and_static_give_addresses";
    if !reference(test, "host-local") || !reference(test, "static") {
        return;
    }
    in_lab(test, |mut lab| {
        lab.cni_path = REFERENCE.into();
        let records = lab.state.path().join("host-local");
        let ipams = [
            json!({"type": "host-local", "dataDir": records, "ranges": [
                [{"subnet": "10.7.0.0/24", "rangeStart": "10.7.0.5"}], [{"subnet": "fd00:7::/64", "rangeStart": "fd00:7::5"}],
            ], "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}),
            json!({"type": "static", "addresses": [{"address": "10.7.0.5/24"}, {"address": "fd00:7::5/64"}]}),
        ];
        for ipam in &ipams {
            for version in ["0.3.0", "0.3.1", "0.4.0", "1.0.0"] {
                let (pod, config) = (
                    Pod::new(),
                    config(&lab, &json!({"ipam": ipam, "cniVersion": version})),
                );
                let id = format!("c-{version}");
                let result = lab.call("ADD", &id, &pod.path(), &config).result();
                assert_eq!(result["cniVersion"], version);
                let last: Vec<_> = ips(&result).iter().map(ToString::to_string).collect();
                assert_eq!(last.len(), 2, "{result}");
                if version >= "0.4.0" {
                    lab.call("CHECK", &id, &pod.path(), &with_previous(&config, &result))
                        .fine();
                }
                if version == "1.0.0" && ipam["type"] == "host-local" {
                    // Its record is gone: it says so, and so do we.
                    let record = records.join("net").join(&last[0]);
                    let text = fs::read(&record).expect("a record");
                    for ip in &last {
                        fs::remove_file(records.join("net").join(ip)).expect("a record");
                    }
                    let outcome = lab.call("CHECK", &id, &pod.path(), &with_previous(&config, &result));
                    assert!(
                        !outcome.ok && outcome.stdout.contains("IPAM plugin host-local: CHECK"),
                        "{outcome:?}"
                    );
                    fs::write(&record, text).expect("a record");
                }
                lab.call("DEL", &id, "", &config).fine();
                lab.assert_clean();
                for ip in &last {
                    assert!(!records.join("net").join(ip).exists(), "{ip} is still held");
                }
            }
        }
        // What host-local says when it has no more.
        let one = json!({"type": "host-local", "dataDir": records, "ranges": [[
            {"subnet": "10.7.1.0/24", "rangeStart": "10.7.1.9", "rangeEnd": "10.7.1.9"}]]});
        let config = config(&lab, &json!({"name": "one", "ipam": one, "cniVersion": "1.0.0"}));
        let (first, second) = (Pod::new(), Pod::new());
        lab.call("ADD", "first", &first.path(), &config).result();
        let outcome = finish(lab.start("ADD", "second", "net1", &second.path(), &config));
        assert!(
            !outcome.ok && outcome.stdout.contains("IPAM plugin host-local: ADD"),
            "{outcome:?}"
        );
        lab.call("DEL", "first", "", &config).fine();
        lab.assert_clean();
    });
}
