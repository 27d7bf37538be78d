//! What the plugin's start does in place of Rust's own (src/sys.rs).

mod common;

use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::process::{Command, Stdio};

use common::{PLUGIN, Pod, in_lab};
use flatroute_netlink::netns;
use serde_json::json;

#[test]
fn a_reader_that_went_away_is_an_error_and_no_death() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let status = Command::new(PLUGIN)
        .env_clear()
        .env("CNI_COMMAND", "VERSION")
        .stdin(Stdio::null())
        .stdout(writer)
        .status()
        .expect("start the plugin");
    assert_eq!(status.code(), Some(1), "{status}");
}

#[test]
fn closed_descriptors_are_no_sockets() {
    in_lab("closed_descriptors_are_no_sockets", |lab| {
        let pod = Pod::new();
        // Whoever closes standard output and error must not find the answer in a socket or file that got their number.
        let mut command = Command::new("sh");
        command
            .args(["-c", "exec \"$0\" >&- 2>&-", PLUGIN])
            .envs([("CNI_COMMAND", "ADD"), ("CNI_CONTAINERID", "c1")])
            .envs([("CNI_IFNAME", "eth0"), ("CNI_PATH", "/nowhere")])
            .env("CNI_NETNS", pod.path())
            .stdin(Stdio::piped());
        let mut child = netns::within(lab.host.as_fd(), || command.spawn())
            .unwrap()
            .unwrap();
        let config = lab.config(&json!({})).to_string();
        child.stdin.take().unwrap().write_all(config.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        assert!(pod.socket().link_by_name("eth0").unwrap().is_some());
        lab.del("c1");
        lab.assert_clean();
    });
}
