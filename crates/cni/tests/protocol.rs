//! The protocol between runtime and plugin, as far as no kernel is needed.
//!
//! Numbers in brackets are those of the black-box checklist for CNI 1.1 that the project keeps.

mod common;

use common::{Outcome, PLUGIN, finish, start};
use serde_json::{Value, json};

const CONF: &str =
    r#"{"cniVersion":"1.1.0","name":"net","podCIDRs":["10.1.0.0/24"],"stateDir":"/nonexistent/x"}"#;

fn run(environment: &[(&str, &str)], input: &str) -> Outcome {
    finish(start(environment, input.as_bytes()))
}

/// A valid environment with some variables replaced; an empty value removes one.
fn with(changes: &[(&str, &str)], input: &str) -> Outcome {
    let mut environment = vec![
        ("CNI_COMMAND", "ADD"),
        ("CNI_CONTAINERID", "c1"),
        ("CNI_NETNS", "/nonexistent/netns"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_PATH", "/nowhere"),
    ];
    environment.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    environment.extend(changes.iter().copied().filter(|(_, value)| !value.is_empty()));
    run(&environment, input)
}

#[test]
fn says_what_it_is_without_a_command() {
    // [1]
    let outcome = run(&[], "");
    assert!(outcome.ok && outcome.stdout.is_empty(), "{outcome:?}");
    assert!(
        outcome.stderr.contains("flatroute-cni") && outcome.stderr.contains("1.1.0"),
        "{outcome:?}"
    );
}

#[test]
fn refuses_bad_environments_with_code_4() {
    // [2–7, 10, 11, 14–16, 27, 33]
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[("CNI_COMMAND", "FOO")], "FOO"),
        (&[("CNI_COMMAND", "add")], "add"),
        (&[("CNI_CONTAINERID", "")], "CNI_CONTAINERID"),
        (&[("CNI_NETNS", "")], "CNI_NETNS"),
        (&[("CNI_IFNAME", "")], "CNI_IFNAME"),
        (&[("CNI_NETNS", ""), ("CNI_IFNAME", "")], "CNI_NETNS, CNI_IFNAME"),
        (&[("CNI_COMMAND", "CHECK"), ("CNI_NETNS", "")], "CNI_NETNS"),
        (&[("CNI_COMMAND", "GC"), ("CNI_PATH", "")], "CNI_PATH"),
        (&[("CNI_COMMAND", "STATUS"), ("CNI_PATH", "")], "CNI_PATH"),
        (&[("CNI_CONTAINERID", "a/b")], "CNI_CONTAINERID"),
        (&[("CNI_CONTAINERID", "a b")], "CNI_CONTAINERID"),
        (&[("CNI_CONTAINERID", "-a")], "CNI_CONTAINERID"),
        (&[("CNI_IFNAME", "abcdefghijklmnop")], "CNI_IFNAME"),
        (&[("CNI_IFNAME", "..")], "CNI_IFNAME"),
        (&[("CNI_IFNAME", "a/b")], "CNI_IFNAME"),
        (&[("CNI_IFNAME", "a:b")], "CNI_IFNAME"),
        (&[("CNI_IFNAME", "a b")], "CNI_IFNAME"),
        (&[("CNI_ARGS", "a")], "CNI_ARGS"),
        (&[("CNI_ARGS", "a=b=c;")], "CNI_ARGS"),
    ];
    for (changes, named) in cases {
        let outcome = with(changes, CONF);
        assert_eq!(outcome.code(), 4, "{changes:?}");
        assert!(
            outcome.json()["msg"]
                .as_str()
                .is_some_and(|msg| msg.contains(named)),
            "{changes:?} {outcome:?}"
        );
    }
}

#[test]
fn refuses_bad_configurations() {
    // [17–27]
    let conf = |more: Value| {
        let mut conf: Value = serde_json::from_str(CONF).expect("JSON");
        for (key, value) in more.as_object().expect("an object") {
            conf[key] = value.clone();
        }
        conf.to_string()
    };
    let cases = [
        ("ADD", "not JSON".to_owned(), 6),
        ("ADD", String::new(), 6),
        ("ADD", "[]".to_owned(), 6),
        ("ADD", r#"{"cniVersion":"1.1.0"}"#.to_owned(), 7),
        ("ADD", conf(json!({"name": "bad name!"})), 7),
        ("ADD", conf(json!({"name": "../x"})), 7),
        ("ADD", conf(json!({"cniVersion": "9.9.9"})), 1),
        ("ADD", r#"{"name":"net"}"#.to_owned(), 1),
        ("CHECK", conf(json!({"cniVersion": "0.3.1"})), 1),
        ("GC", conf(json!({"cniVersion": "1.0.0"})), 1),
        ("STATUS", conf(json!({"cniVersion": "1.0.0"})), 1),
        ("ADD", conf(json!({"podCIDRs": []})), 7),
        ("ADD", conf(json!({"podCIDRs": ["10.0.0.0/33"]})), 7),
        (
            "ADD",
            conf(json!({"podCIDRs": ["10.0.0.0/24", "10.1.0.0"], "pools": {"a": {}}})),
            7,
        ),
        ("ADD", conf(json!({"podCIDRs": "10.0.0.0/24"})), 7),
        ("ADD", conf(json!({"cooldown": "soon"})), 7),
        ("ADD", conf(json!({"mtu": 12})), 7),
        ("ADD", conf(json!({"mtu": 1000, "podCIDRs": ["fd00::/64"]})), 7),
        ("ADD", conf(json!({"hostInterfacePrefix": "toolong"})), 7),
        ("ADD", conf(json!({"stateDir": "relative"})), 7),
        ("ADD", conf(json!({"ipam": {"type": "host-local"}})), 7),
        (
            "ADD",
            conf(json!({"runtimeConfig": {"portMappings": [{"hostPort": 1}]}})),
            7,
        ),
        (
            "ADD",
            conf(json!({"runtimeConfig": {"mac": "01:00:00:00:00:00"}})),
            7,
        ),
        ("CHECK", conf(json!({})), 7),
        ("GC", conf(json!({})), 7),
        ("STATUS", conf(json!({"podCIDRs": []})), 50),
    ];
    for (verb, input, code) in cases {
        let outcome = with(&[("CNI_COMMAND", verb)], &input);
        assert_eq!(outcome.code(), code, "{verb} {input}: {outcome:?}");
        assert_eq!(
            outcome.stdout.matches("\"code\"").count(),
            1,
            "one object: {outcome:?}"
        );
    }
}

#[test]
fn answers_version_whatever_surrounds_it() {
    // [13]
    for (environment, input, echoed) in [
        (vec![("CNI_COMMAND", "VERSION")], "", "1.1.0"),
        (
            vec![
                ("CNI_COMMAND", "VERSION"),
                ("CNI_NETNS", "dummy"),
                ("CNI_IFNAME", "a b c"),
            ],
            "garbage",
            "1.1.0",
        ),
        (
            vec![("CNI_COMMAND", "VERSION")],
            r#"{"cniVersion":"0.4.0"}"#,
            "0.4.0",
        ),
    ] {
        let answer = run(&environment, input).result();
        assert_eq!(answer["cniVersion"], echoed);
        assert_eq!(
            answer["supportedVersions"],
            json!(["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"])
        );
    }
}

#[test]
fn accepts_what_does_not_concern_it() {
    // [12, 28–32, 34, 35, 110]: STATUS reaches its end with all of it.
    let directory = tempfile::tempdir().expect("a directory");
    let conf = json!({
        "cniVersion": "1.1.0", "name": "net", "podCIDRs": ["10.1.0.0/24"], "stateDir": directory.path(),
        "unknown": {"a": 1}, "args": {"cni": {}}, "cni.dev/foo": [1], "padding": "x".repeat(1 << 20),
    });
    let environment = [
        ("CNI_COMMAND", "STATUS"),
        ("CNI_PATH", "/nowhere"),
        ("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAME=p"),
        ("TRACEPARENT", "00-1-1-00"),
    ];
    run(&environment, &conf.to_string()).fine();
    assert_eq!(
        std::fs::read_dir(directory.path()).expect("list").count(),
        0,
        "STATUS has no side effects"
    );
}

#[test]
fn refuses_namespaces_that_are_none() {
    // [49, 50, 51]
    let directory = tempfile::tempdir().expect("a directory");
    let conf = json!({"cniVersion": "1.1.0", "name": "net", "podCIDRs": ["10.1.0.0/24"], "stateDir": directory.path()});
    let own = format!("/proc/{}/ns/net", std::process::id());
    for (path, code) in [
        ("/nonexistent/netns", 5),
        ("/proc/self/cmdline", 5),
        (own.as_str(), 8),
    ] {
        assert_eq!(
            with(&[("CNI_NETNS", path)], &conf.to_string()).code(),
            code,
            "{path}"
        );
    }
    assert_eq!(
        std::fs::read_dir(directory.path()).expect("list").count(),
        0,
        "nothing is left"
    );
}

#[test]
fn installs_itself_and_runs_under_another_name() {
    // [36, 111, 112]
    let directory = tempfile::tempdir().expect("a directory");
    let (bin, conf) = (directory.path().join("bin"), directory.path().join("net.d"));
    for _ in 0..2 {
        let status = std::process::Command::new(PLUGIN)
            .args([
                "install",
                "--pod-cidr",
                "10.1.0.0/24",
                "--pod-cidr=fd00::/64",
                "--bin-dir",
            ])
            .arg(&bin)
            .arg("--conf-dir")
            .arg(&conf)
            .stdout(std::process::Stdio::null())
            .status();
        assert!(status.expect("install").success());
    }
    let names = |path: &std::path::Path| {
        let entries = std::fs::read_dir(path).expect("list");
        let mut names: Vec<_> = entries.map(|entry| entry.expect("entry").file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&bin), ["flatroute-cni", "loopback"]);
    assert_eq!(names(&conf), ["10-flatroute.conflist"]);
    let text = std::fs::read_to_string(conf.join("10-flatroute.conflist")).expect("read");
    let conflist: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        conflist["plugins"][0]["podCIDRs"],
        json!(["10.1.0.0/24", "fd00::/64"])
    );
    for name in ["flatroute-cni", "loopback"] {
        let output = std::process::Command::new(bin.join(name))
            .env("CNI_COMMAND", "VERSION")
            .output();
        assert!(output.expect("run").status.success());
    }
}
