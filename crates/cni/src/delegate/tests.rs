use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::given::{ADDRESSES_MAX, Given, ROUTES_MAX};
use super::{Delegate, child};
use crate::error::Code;
use crate::invocation::Verb;

fn delegate(ipam: &Value) -> Option<Delegate> {
    Delegate::of(ipam.as_object().expect("an object"), b"{}")
}

fn given(result: &Value) -> Given {
    Given::read(result.to_string().as_bytes()).unwrap_or_else(|fault| panic!("{fault:?}: {result}"))
}

/// A program that does what `script` says.
fn program(folder: &Path, name: &str, script: &str) {
    let file = folder.join(name);
    fs::write(&file, format!("#!/bin/sh\n{script}\n")).expect("a program");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("a program");
}

#[test]
fn an_ipam_without_a_type_names_nobody() {
    for nobody in [
        json!({}),
        json!({"type": ""}),
        json!({"type": null}),
        json!({"ranges": []}),
    ] {
        assert_eq!(delegate(&nobody), None, "{nobody}");
    }
    assert_eq!(
        delegate(&json!({"type": "static"})).map(|found| found.kind),
        Some("static".into())
    );
    for wrong in [
        json!(7),
        json!({}),
        json!("../x"),
        json!("a/b"),
        json!(".."),
        json!("."),
    ] {
        let found = delegate(&json!({"type": wrong})).expect("somebody");
        let error = found.find_in("/nonexistent:/bin").expect_err("no name");
        assert_eq!(error.code, Code::InvalidConfig, "{wrong}: {error}");
    }
}

#[test]
fn the_first_folder_of_the_path_that_has_the_program_counts() {
    let (one, two) = (
        tempfile::tempdir().expect("a folder"),
        tempfile::tempdir().expect("a folder"),
    );
    let path = format!("{}::/nonexistent:{}", one.path().display(), two.path().display());
    let found = delegate(&json!({"type": "ip"})).expect("somebody");
    let missing = found.find_in(&path).expect_err("nobody has it");
    assert!(
        missing.msg.contains("plugin ip ") && missing.msg.contains(&path),
        "{missing}"
    );
    // Neither a folder nor a file that cannot be run.
    fs::create_dir(one.path().join("ip")).expect("a folder");
    fs::write(two.path().join("ip"), "").expect("a file");
    found.find_in(&path).expect_err("nobody has it");
    program(two.path(), "ip", "exit 0");
    assert_eq!(
        found.find_in(&path).expect("the second").program,
        two.path().join("ip")
    );
    fs::remove_dir(one.path().join("ip")).expect("a folder");
    program(one.path(), "ip", "exit 0");
    assert_eq!(
        found.find_in(&path).expect("the first").program,
        one.path().join("ip")
    );
}

#[test]
fn a_plugin_does_not_call_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let own = std::env::current_exe().expect("own path");
    std::os::unix::fs::symlink(own, folder.path().join("me")).expect("a link");
    let found = delegate(&json!({"type": "me"})).expect("somebody");
    let error = found
        .find_in(&folder.path().to_string_lossy())
        .expect_err("itself");
    assert!(error.msg.contains("this plugin itself"), "{error}");
}

#[test]
fn results_of_all_versions_are_read() {
    let addresses: [IpAddr; 2] = ["10.1.0.7".parse().expect("v4"), "fd00:1::7".parse().expect("v6")];
    for version in ["", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let mut result = json!({
            "ips": [{"address": "10.1.0.7/24", "gateway": "10.1.0.1"}, {"address": "fd00:1::7/64"}],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "10.9.1.2/8", "gw": "10.1.0.1", "scope": 253, "mtu": 0}],
            "dns": {"nameservers": ["10.1.0.1"]},
        });
        if version.starts_with('0') {
            result["ips"][0]["version"] = "4".into();
            result["ips"][1]["version"] = "6".into();
        }
        if !version.is_empty() {
            result["cniVersion"] = version.into();
        }
        let given = given(&result);
        assert_eq!(given.addresses, addresses);
        let destinations: Vec<_> = given
            .destinations
            .iter()
            .flatten()
            .map(ToString::to_string)
            .collect();
        assert_eq!(destinations, ["0.0.0.0/0", "10.0.0.0/8"]);
        assert_eq!(given.dns["nameservers"][0], "10.1.0.1");
    }
    for none in [json!(null), json!([])] {
        let given = given(&json!({"ips": [{"address": "10.1.0.7/24"}], "routes": none}));
        assert_eq!(given.destinations, None);
        assert!(given.dns.is_empty());
    }
}

#[test]
fn answers_that_cannot_be_used_say_why() {
    let ip = json!([{"address": "10.1.0.7/24"}]);
    let many: Vec<_> = (0..=ADDRESSES_MAX)
        .map(|n| json!({"address": format!("10.1.0.{n}/24")}))
        .collect();
    let far: Vec<_> = (0..=ROUTES_MAX).map(|_| json!({"dst": "10.0.0.0/8"})).collect();
    let cases = [
        (json!({}), Code::Delegate, "no address"),
        (json!({"ips": null}), Code::Delegate, "no address"),
        (json!({"ips": many}), Code::Delegate, "more than 32"),
        (
            json!({"ips": [{"address": "10.1.0.0.7"}]}),
            Code::Delegate,
            "10.1.0.0.7",
        ),
        (
            json!({"ips": [{"address": "0.0.0.0/0"}]}),
            Code::Delegate,
            "0.0.0.0/0",
        ),
        (
            json!({"ips": [{"address": "ff02::1/64"}]}),
            Code::Delegate,
            "ff02::1/64",
        ),
        (
            json!({"ips": [{"address": "127.0.0.1/8"}]}),
            Code::Delegate,
            "127.0.0.1/8",
        ),
        (json!({"ips": [ip[0], ip[0]]}), Code::Delegate, "twice"),
        (json!({"ips": [{"gateway": "10.1.0.1"}]}), Code::Decode, "address"),
        (json!({"ips": "10.1.0.7/24"}), Code::Decode, "10.1.0.7/24"),
        (
            json!({"cniVersion": "2.0.0", "ips": ip}),
            Code::IncompatibleVersion,
            "2.0.0",
        ),
        (
            json!({"ips": ip, "routes": far}),
            Code::Delegate,
            "more than 1024",
        ),
        (
            json!({"ips": ip, "routes": [{"gw": "10.1.0.1"}]}),
            Code::Delegate,
            "dst",
        ),
        (
            json!({"ips": ip, "routes": [{"dst": "10.0.0.0/8", "table": 7}]}),
            Code::UnsupportedField,
            "table = 7",
        ),
        (
            json!({"ips": ip, "routes": [{"dst": "::/0", "mtu": 1400}]}),
            Code::UnsupportedField,
            "mtu = 1400",
        ),
    ];
    for (result, code, said) in cases {
        let fault = Given::read(result.to_string().as_bytes()).expect_err("it is of no use");
        assert!(
            fault.code == code && fault.problem.contains(said),
            "{result}: {fault:?}"
        );
    }
    for garbage in ["", "null", "[]", "level=info", "{\"ips\": "] {
        let fault = Given::read(garbage.as_bytes()).expect_err("it is of no use");
        assert!(matches!(fault.code, Code::Decode), "{garbage}: {fault:?}");
    }
}

#[test]
fn a_program_is_fed_heard_and_not_waited_for_without_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |name: &str, script: &str, input: &[u8], patience: u64| {
        program(folder.path(), name, script);
        child::run(
            &folder.path().join(name),
            Verb::Check,
            input,
            Duration::from_secs(patience),
        )
    };
    // More than a pipe holds, in both directions at once.
    let input = vec![b'x'; 300_000];
    let echo = run("echo", "cat; exit 3", &input, 100).expect("an answer");
    assert_eq!((echo.stdout, echo.status.code()), (input.clone(), Some(3)));
    let verb = run("verb", "printf %s \"$CNI_COMMAND\"", b"", 100).expect("an answer");
    assert_eq!(verb.stdout, b"CHECK");
    run("deaf", "exit 0", &input, 100).expect("an answer");
    // It hangs in a program that it started, which goes with it.
    let begun = Instant::now();
    let mark = folder.path().join("late");
    let script = format!("sh -c 'sleep 300; touch {}' & wait", mark.display());
    let failure = run("hangs", &script, b"", 1).expect_err("it hangs");
    assert!(matches!(failure, child::Failure::Hangs), "{failure:?}");
    assert!(
        begun.elapsed() < Duration::from_secs(100),
        "{:?}",
        begun.elapsed()
    );
    let missing = child::run(
        Path::new("/nonexistent/x"),
        Verb::Add,
        b"",
        Duration::from_secs(9),
    );
    assert!(
        matches!(missing, Err(child::Failure::Io("start it", _))),
        "{missing:?}"
    );
}
