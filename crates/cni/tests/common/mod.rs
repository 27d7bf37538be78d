//! A laboratory for the plugin: a host namespace and pod namespaces of their own, a state directory of their own.
//!
//! The machine's own network is never touched: the plugin is started from a thread that entered the laboratory's host
//! namespace. Namespaces have no names; a pod's path is that of an open file of the test process.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::fs::File;
use std::io::{Read, Write};
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use flatroute_netlink::{Socket, netns};
use serde_json::{Value, json};

pub const PLUGIN: &str = env!("CARGO_BIN_EXE_flatroute-cni");
pub const HOST_V4: &str = "10.0.0.1";
pub const HOST_V6: &str = "fd00::1";
const PATIENCE: Duration = Duration::from_secs(120);
const INSIDE: &str = "FLATROUTE_TEST_IN_USER_NAMESPACE";

/// Runs `body` in a laboratory. An ordinary user gets one inside a user namespace; where that is forbidden the test
/// is skipped, loudly.
pub fn in_lab(test: &str, body: impl FnOnce(Lab)) {
    match Lab::new() {
        Ok(lab) => return body(lab),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {}
        Err(error) => panic!("cannot make the laboratory: {error}"),
    }
    assert!(
        std::env::var_os(INSIDE).is_none(),
        "no network namespaces inside the user namespace"
    );
    let own = std::env::current_exe().expect("own path");
    let status = Command::new("unshare")
        .args(["--user", "--map-root-user", "--"])
        .arg(own)
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) if status.code() != Some(1) => panic!("{test} failed inside a user namespace: {status}"),
        other => {
            let reason = format!("needs root or user namespaces ({other:?})");
            eprintln!("SKIPPED {test}: {reason}");
            note_skip(test, &reason);
        }
    }
}

/// Appends a test to the list of skips that a run over all test programs keeps (the file `FLATROUTE_SKIPPED`): the
/// runner shows nothing that a passing test prints.
pub fn note_skip(test: &str, reason: &str) {
    let Some(path) = std::env::var_os("FLATROUTE_SKIPPED") else {
        return;
    };
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .expect("the list of skips");
    writeln!(file, "{test}: {reason}").expect("the list of skips");
}

pub struct Lab {
    pub host: File,
    pub state: tempfile::TempDir,
    /// CNI_PATH of the calls.
    pub cni_path: String,
}

pub struct Pod {
    pub netns: File,
}

#[derive(Debug)]
pub struct Outcome {
    pub ok: bool,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The error code; panics when the call succeeded.
    pub fn code(&self) -> u64 {
        assert!(!self.ok, "succeeded unexpectedly: {self:?}");
        let value = self.json();
        assert!(
            value["cniVersion"].is_string() && value["msg"].is_string(),
            "{value}"
        );
        value["code"].as_u64().expect("a code")
    }

    /// The result of an ADD that has to have succeeded.
    #[track_caller]
    pub fn result(&self) -> Value {
        assert!(self.ok, "{self:?}");
        self.json()
    }

    /// A verb without output has to have succeeded.
    #[track_caller]
    pub fn fine(&self) {
        assert!(self.ok && self.stdout.is_empty(), "{self:?}");
    }
}

/// The addresses of a result, in order.
pub fn ips(result: &Value) -> Vec<IpAddr> {
    let address = |ip: &Value| ip["address"].as_str()?.split('/').next()?.parse().ok();
    result["ips"]
        .as_array()
        .expect("ips")
        .iter()
        .map(|ip| address(ip).expect("an address"))
        .collect()
}

impl Pod {
    pub fn new() -> Self {
        Self {
            netns: netns::fresh().expect("a namespace"),
        }
    }

    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.netns.as_raw_fd())
    }

    pub fn socket(&self) -> Socket {
        Socket::open_in(self.netns.as_fd()).expect("a socket")
    }
}

/// Feeds a child and waits for it, not for ever.
pub fn finish(mut child: Child) -> Outcome {
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("wait") {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().expect("kill");
            child.wait().expect("wait");
            panic!("the plugin hangs");
        }
        std::thread::sleep(Duration::from_micros(200));
    };
    let mut outcome = Outcome {
        ok: status.success(),
        stdout: String::new(),
        stderr: String::new(),
    };
    child
        .stdout
        .take()
        .expect("stdout")
        .read_to_string(&mut outcome.stdout)
        .expect("UTF-8");
    child
        .stderr
        .take()
        .expect("stderr")
        .read_to_string(&mut outcome.stderr)
        .expect("UTF-8");
    outcome
}

/// Starts the plugin with this environment and standard input, wherever the calling thread is.
pub fn start(environment: &[(&str, &str)], input: &[u8]) -> Child {
    let mut child = Command::new(PLUGIN)
        .env_clear()
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start the plugin");
    // A plugin that fails early does not read its input: a broken pipe is fine.
    let _ = child.stdin.take().expect("stdin").write_all(input);
    child
}

impl Lab {
    pub fn new() -> std::io::Result<Self> {
        let host = netns::fresh()?;
        let mut socket = Socket::open_in(host.as_fd()).expect("a socket");
        socket.set_up(1).expect("lo up");
        socket
            .add_address(1, HOST_V4.parse().expect("address"), 32)
            .expect("address");
        socket
            .add_address(1, HOST_V6.parse().expect("address"), 128)
            .expect("address");
        // The kernel makes this route from a work queue, which on a busy machine may take longer than an ADD.
        socket
            .add_local_route(1, HOST_V6.parse().expect("address"), 4)
            .expect("route");
        netns::within(host.as_fd(), || {
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("ip_forward");
            std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").expect("forwarding");
        })?;
        Ok(Self {
            host,
            state: tempfile::tempdir()?,
            cni_path: "/nowhere".into(),
        })
    }

    /// A configuration of this laboratory with `more` keys.
    pub fn config(&self, more: &Value) -> Value {
        let mut config = json!({
            "cniVersion": "1.1.0", "name": "net", "type": "flatroute-cni", "cooldown": "0s",
            "podCIDRs": ["10.244.1.0/24", "fd00:244:1::/64"], "stateDir": self.state.path(),
        });
        for (key, value) in more.as_object().expect("an object") {
            config[key] = value.clone();
        }
        config
    }

    pub fn start(&self, verb: &str, id: &str, interface: &str, path: &str, config: &Value) -> Child {
        let environment = [
            ("CNI_COMMAND", verb),
            ("CNI_CONTAINERID", id),
            ("CNI_IFNAME", interface),
            ("CNI_NETNS", path),
            ("CNI_PATH", &self.cni_path),
        ];
        netns::within(self.host.as_fd(), || {
            start(&environment, config.to_string().as_bytes())
        })
        .expect("host")
    }

    /// ADD of `eth0` with CNI_ARGS.
    pub fn add_with_arguments(&self, id: &str, pod: &Pod, arguments: &str, config: &Value) -> Outcome {
        let (path, config) = (pod.path(), config.to_string());
        let environment = [
            ("CNI_COMMAND", "ADD"),
            ("CNI_CONTAINERID", id),
            ("CNI_IFNAME", "eth0"),
            ("CNI_NETNS", &path),
            ("CNI_PATH", &self.cni_path),
            ("CNI_ARGS", arguments),
        ];
        let child = netns::within(self.host.as_fd(), || start(&environment, config.as_bytes()));
        finish(child.expect("host"))
    }

    pub fn call(&self, verb: &str, id: &str, path: &str, config: &Value) -> Outcome {
        finish(self.start(verb, id, "eth0", path, config))
    }

    pub fn add(&self, id: &str, pod: &Pod) -> Value {
        self.call("ADD", id, &pod.path(), &self.config(&json!({})))
            .result()
    }

    pub fn del(&self, id: &str) {
        self.call("DEL", id, "", &self.config(&json!({}))).fine();
    }

    pub fn check(&self, id: &str, pod: &Pod, result: &Value) -> Outcome {
        self.call(
            "CHECK",
            id,
            &pod.path(),
            &self.config(&json!({"prevResult": result})),
        )
    }

    pub fn socket(&self) -> Socket {
        Socket::open_in(self.host.as_fd()).expect("a socket")
    }

    pub fn network_dir(&self) -> PathBuf {
        self.state.path().join("net")
    }

    fn names(&self, directory: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.network_dir().join(directory)) else {
            return Vec::new();
        };
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// The files of addresses in use.
    pub fn used(&self) -> Vec<String> {
        let own = ["lock", "locks", "turns", "released", "sighted"];
        self.names("")
            .into_iter()
            .filter(|name| !own.contains(&name.as_str()))
            .collect()
    }

    pub fn attachments(&self) -> Vec<String> {
        self.names("locks")
    }

    pub fn host_links(&self) -> Vec<String> {
        let links = self.socket().links().expect("links");
        links
            .into_iter()
            .map(|link| link.name)
            .filter(|name| name != "lo")
            .collect()
    }

    /// No link, no route, no address, no lock file of any pod is left.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert_eq!(self.host_links(), Vec::<String>::new());
        assert_eq!(self.used(), Vec::<String>::new());
        assert_eq!(self.attachments(), Vec::<String>::new());
        for ipv6 in [false, true] {
            let routes = self.socket().routes(ipv6).expect("routes");
            assert!(routes.iter().all(|route| route.protocol != 80), "{routes:?}");
        }
    }
}
