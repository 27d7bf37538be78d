//! `flatroute-cni install`, killed wherever it may be, and side by side with others. [113, 112, 111]

#![allow(unreachable_pub, reason = "a test")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PLUGIN: &str = env!("CARGO_BIN_EXE_flatroute-cni");
const PATIENCE: Duration = Duration::from_secs(60);

/// A node: where plugins and configurations are.
struct Node {
    dir: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a directory"),
        }
    }

    fn bin(&self) -> std::path::PathBuf {
        self.dir.path().join("bin")
    }

    fn conf(&self) -> std::path::PathBuf {
        self.dir.path().join("net.d")
    }

    fn start(&self, pod_cidr: &str) -> Child {
        Command::new(PLUGIN)
            .arg("install")
            .arg("--bin-dir")
            .arg(self.bin())
            .arg("--conf-dir")
            .arg(self.conf())
            .args(["--pod-cidr", pod_cidr])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start the installer")
    }

    fn install(&self, pod_cidr: &str) {
        let output = self.start(pod_cidr).wait_with_output().expect("ended");
        assert!(output.status.success(), "{output:?}");
    }

    /// What is there under a name that a runtime looks at is whole.
    fn assert_whole(&self) {
        let plugin = self.bin().join("flatroute-cni");
        if plugin.exists() {
            assert!(
                fs::read(&plugin).expect("read") == fs::read(PLUGIN).expect("read"),
                "a half plugin"
            );
            assert_eq!(mode(&plugin), 0o755);
        }
        let loopback = self.bin().join("loopback");
        if loopback.symlink_metadata().is_ok() {
            assert!(loopback.exists(), "a loopback that leads nowhere");
        }
        let conflist = self.conf().join("10-flatroute.conflist");
        if let Ok(text) = fs::read_to_string(&conflist) {
            let value: serde_json::Value = serde_json::from_str(&text).expect("a whole conflist");
            assert_eq!(value["plugins"][0]["type"], "flatroute-cni");
            assert_eq!(mode(&conflist), 0o644);
        }
    }

    fn assert_complete(&self) {
        self.assert_whole();
        assert_eq!(names(&self.bin()), ["flatroute-cni", "loopback"]);
        assert_eq!(names(&self.conf()), ["10-flatroute.conflist"]);
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("metadata").permissions().mode() & 0o7777
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    let names: BTreeSet<_> = entries
        .map(|entry| entry.expect("entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.into_iter().collect()
}

#[test]
fn killed_at_any_point_it_leaves_a_whole_directory() {
    let began = Instant::now();
    Node::new().install("10.1.0.0/24");
    // The shortest run so far: kills are spread over that time and a little more.
    let mut run = began.elapsed();
    let (mut kills, mut at_work, mut left_over) = (0_u32, 0, 0);
    // At least this often, and until kills have met an installer at work and between making a file and naming it.
    while kills < 100 || at_work < 20 || left_over == 0 {
        assert!(
            began.elapsed() < PATIENCE,
            "of {kills} kills {at_work} met it at work, {left_over} with a file in its hands"
        );
        // By turns on a node that has nothing yet, and on one that has everything.
        let node = Node::new();
        let is_new = kills % 2 == 0;
        if !is_new {
            node.install("10.1.0.0/24");
        }
        let mut installer = node.start("10.2.0.0/24");
        std::thread::sleep(run * (kills / 2 % 50) / 45);
        installer.kill().expect("killed");
        kills += 1;
        at_work += usize::from(!installer.wait().expect("ended").success());
        node.assert_whole();
        if !is_new {
            assert!(node.bin().join("flatroute-cni").exists(), "the old one is gone");
        }
        let hidden = |names: Vec<String>| names.iter().filter(|name| name.starts_with('.')).count();
        left_over += hidden(names(&node.bin())) + hidden(names(&node.conf()));
        // The next one finishes the work and clears up.
        let next = Instant::now();
        node.install("10.3.0.0/24");
        run = run.min(next.elapsed());
        node.assert_complete();
    }
}

#[test]
fn many_at_once_take_turns() {
    let node = Node::new();
    let installers: Vec<_> = (0..12).map(|n| node.start(&format!("10.{n}.0.0/24"))).collect();
    for installer in installers {
        let output = installer.wait_with_output().expect("ended");
        assert!(output.status.success(), "{output:?}");
    }
    node.assert_complete();
}

#[test]
fn a_plugin_at_work_is_replaced() {
    // [113] No "text file busy", and the one at work ends well.
    let node = Node::new();
    node.install("10.1.0.0/24");
    let mut at_work = Command::new(node.bin().join("flatroute-cni"))
        .env("CNI_COMMAND", "VERSION")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("started");
    node.install("10.2.0.0/24");
    drop(at_work.stdin.take());
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = at_work.try_wait().expect("wait") {
            break status;
        }
        assert!(Instant::now() < deadline, "the plugin hangs");
        std::thread::sleep(Duration::from_millis(1));
    };
    assert!(status.success());
    node.assert_complete();
}

#[test]
fn a_loopback_that_works_is_left_alone() {
    let node = Node::new();
    fs::create_dir_all(node.bin()).expect("made");
    let loopback = node.bin().join("loopback");
    fs::write(&loopback, "somebody else's").expect("written");
    node.install("10.1.0.0/24");
    assert_eq!(fs::read_to_string(&loopback).expect("read"), "somebody else's");
    // One that leads nowhere is none.
    fs::remove_file(&loopback).expect("removed");
    symlink("gone", &loopback).expect("linked");
    node.install("10.1.0.0/24");
    assert_eq!(
        fs::read_link(&loopback).expect("a link"),
        Path::new("flatroute-cni")
    );
    node.assert_complete();
}

#[test]
fn what_fails_is_told_with_its_name() {
    let node = Node::new();
    fs::write(node.bin(), "a file where a directory should be").expect("written");
    let output = node.start("10.1.0.0/24").wait_with_output().expect("ended");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(&node.bin().display().to_string()), "{text}");
    for (arguments, words) in [
        (vec!["install"], "--bin-dir is missing"),
        (
            vec!["install", "--bin-dir", "/x", "--conf-dir", "/y"],
            "go together",
        ),
        (
            vec![
                "install",
                "--bin-dir",
                "/x",
                "--conf-dir",
                "/y",
                "--pod-cidr",
                "10.0.0.0/40",
            ],
            "10.0.0.0/40",
        ),
        (vec!["install", "--bin"], "--bin"),
    ] {
        let output = Command::new(PLUGIN).args(&arguments).output().expect("started");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?} {text}");
        assert!(text.contains(words), "{arguments:?} {text}");
    }
}
