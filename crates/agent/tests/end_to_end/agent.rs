//! A running agent with its manifests.

use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use flatroute_api::control::{Event, Events, Peer, Route, Routes, Status};
use flatroute_api::{Problem, ProblemReason};
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use super::lab::{Namespace, http, until};

pub(crate) struct Agent {
    pub(crate) number: u8,
    pub(crate) namespace: Namespace,
    dir: TempDir,
    process: Option<Child>,
}

impl Agent {
    /// Node `nNUMBER` with its pod CIDRs; `asn` unless it has the default one.
    pub(crate) fn new(number: u8, asn: Option<u32>) -> Option<Self> {
        let namespace = Namespace::new()?;
        namespace.ip(&format!("addr add 10.255.0.{number}/32 dev lo"));
        namespace.ip(&format!("-6 addr add fd00:255::{number}/128 dev lo"));
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("manifests")).expect("a directory");
        let new = Self {
            number,
            namespace,
            dir,
            process: None,
        };
        let [v4, v6] = new.pod_cidrs();
        let mut node = format!(
            "apiVersion: v1\nkind: Node\nmetadata: {{name: n{number}}}\nspec:\n  podCIDR: {v4}\n  podCIDRs: [\"{v4}\", \"{v6}\"]\n\
             status:\n  addresses: [{{type: InternalIP, address: 10.255.0.{number}}}, {{type: InternalIP, address: \"fd00:255::{number}\"}}]\n"
        );
        if let Some(asn) = asn {
            write!(
                node,
                "---\napiVersion: flatroute.io/v1alpha1\nkind: BGPConfiguration\nmetadata: {{name: default}}\nspec: {{localASN: {asn}}}\n"
            )
            .expect("written");
        }
        new.write("node.yaml", &node);
        Some(new)
    }

    pub(crate) fn pod_cidrs(&self) -> [String; 2] {
        [
            format!("10.244.{}.0/24", self.number),
            format!("fd00:244:{}::/64", self.number),
        ]
    }

    pub(crate) fn manifest(&self, name: &str) -> PathBuf {
        self.dir.path().join("manifests").join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.manifest(name), text).expect("written");
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("run/agent.sock")
    }

    /// Starts it and waits until it answers.
    pub(crate) fn start(&mut self) {
        self.start_with(&[]);
    }

    /// The same, with more options.
    pub(crate) fn start_with(&mut self, more: &[&str]) {
        let manifests = self.manifest("");
        self.start_on("--standalone", &manifests, more);
    }

    /// The same with the objects of an API server.
    #[allow(dead_code, reason = "the program `hostile` needs none")]
    pub(crate) fn start_in_cluster(&mut self, kubeconfig: &Path) {
        self.start_on("--kubeconfig", kubeconfig, &["--http-listen", "off"]);
    }

    fn start_on(&mut self, source: &str, objects: &Path, more: &[&str]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flatroute-agent"));
        command
            .args(["run", "--node-name", &format!("n{}", self.number)])
            .arg(source)
            .arg(objects)
            .env_remove("POD_NAMESPACE")
            .arg("--control-socket")
            .arg(self.socket())
            .arg("--state-dir")
            .arg(self.dir.path().join("state"))
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(self.log());
        let process = self.namespace.inside(move || command.spawn());
        self.process = Some(process.expect("the agent starts"));
        until("the agent answers", || self.ask::<Status>("GET /v1/status"));
    }

    /// What it logs, from all its lives.
    fn log(&self) -> File {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir_file("agent.log"));
        log.expect("a file")
    }

    fn process(&mut self) -> &mut Child {
        self.process.as_mut().expect("it was started")
    }

    /// Its resident memory, in KiB.
    #[allow(dead_code, reason = "for the floods of the program `hostile`")]
    pub(crate) fn resident(&self) -> u64 {
        let id = self.process.as_ref().expect("it was started").id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.expect("VmRSS").parse().expect("a number")
    }

    /// The process that was started.
    #[allow(dead_code, reason = "the program `hostile` needs none")]
    pub(crate) fn id(&self) -> i32 {
        let id = self.process.as_ref().expect("it was started").id();
        i32::try_from(id).expect("an id")
    }

    /// SIGTERM, and the end.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        let id = i32::try_from(self.process().id()).expect("an id");
        let id = rustix::process::Pid::from_raw(id).expect("an id");
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("it runs");
        self.end()
    }

    /// SIGKILL, and the end: it says nothing to anybody any more.
    #[allow(dead_code, reason = "the program `hostile` needs none")]
    pub(crate) fn kill(&mut self) {
        let process = self.process();
        process.kill().expect("it runs");
        process.wait().expect("it ends");
    }

    /// Waits for the end.
    pub(crate) fn end(&mut self) -> ExitStatus {
        let process = self.process();
        until("the agent ends", || {
            let ended = process.try_wait().map_err(|error| error.to_string())?;
            ended.ok_or_else(|| "it runs".to_owned())
        })
    }

    /// Asks the control socket and reads the answer into its type. `request` is `METHOD PATH`.
    pub(crate) fn ask<T: DeserializeOwned>(&self, request: &str) -> Result<T, String> {
        let (status, body) = self.ask_raw(request).map_err(|error| error.to_string())?;
        if status != 200 {
            return Err(format!("{request}: {status}: {body}"));
        }
        serde_json::from_str(&body).map_err(|error| format!("{request}: {error}: {body}"))
    }

    /// The same, as status and text.
    pub(crate) fn ask_raw(&self, request: &str) -> std::io::Result<(u16, String)> {
        let stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        http(stream, request)
    }

    /// What is wrong, but for the settings of the node: a new namespace has the kernel's own, and `settings` asks for them.
    #[allow(dead_code, reason = "the program `hostile` needs none")]
    pub(crate) fn problems(&self) -> Result<Vec<Problem>, String> {
        use ProblemReason::{ForwardingDisabled, IPv6Disabled, NodeNotPrepared, ReversePathFilter};
        let mut problems = self.ask::<Status>("GET /v1/status")?.problems;
        let of_settings = [
            ForwardingDisabled,
            IPv6Disabled,
            NodeNotPrepared,
            ReversePathFilter,
        ];
        problems.retain(|problem| !of_settings.contains(&problem.reason));
        Ok(problems)
    }

    /// Sets the node's sysctls as `flatroute-agent prepare` does. The machine's own check of sources, which new namespaces
    /// may inherit, is not the test's.
    #[allow(dead_code, reason = "the program `hostile` needs none")]
    pub(crate) fn prepare(&self) {
        self.namespace.sysctl("net/ipv4/conf/all/rp_filter", "0");
        self.namespace.sysctl("net/ipv4/conf/default/rp_filter", "0");
        let mut command = Command::new(env!("CARGO_BIN_EXE_flatroute-agent"));
        command.arg("prepare").stdin(Stdio::null());
        let output = self.namespace.inside(move || command.output());
        let output = output.expect("prepare runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    pub(crate) fn peer(&self, name: &str) -> Result<Peer, String> {
        self.ask(&format!("GET /v1/peers/{name}"))
    }

    /// Waits for an Established session.
    pub(crate) fn established(&self, name: &str) -> Peer {
        until(&format!("n{}: {name} Established", self.number), || {
            let peer = self.peer(name)?;
            if peer.state == "Established" {
                return Ok(peer);
            }
            Err(format!("{peer:?}"))
        })
    }

    pub(crate) fn routes(&self, query: &str) -> Result<Vec<Route>, String> {
        let answer: Routes = self.ask(&format!("GET /v1/routes?{query}"))?;
        Ok(answer.routes)
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        let answer: Result<Events, String> = self.ask("GET /v1/events");
        answer.expect("events").events
    }

    /// What the kernel itself shows of our routes, both families.
    pub(crate) fn kernel(&self) -> String {
        self.namespace.ip("route show proto 79") + &self.namespace.ip("-6 route show proto 79")
    }

    /// A place for a file of the test.
    pub(crate) fn dir_file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `ip monitor route` into a file, from now on. To be killed.
    pub(crate) fn monitor(&self, into: &Path) -> Child {
        let mut command = Command::new("ip");
        let log = File::create(into).expect("a file");
        command
            .args(["monitor", "route"])
            .stdin(Stdio::null())
            .stdout(log);
        let child = self
            .namespace
            .inside(move || command.spawn())
            .expect("ip monitor");
        // It listens once it reports something.
        until("ip monitor listens", || {
            self.namespace.ip("route add 198.51.100.0/24 dev lo");
            self.namespace.ip("route del 198.51.100.0/24 dev lo");
            let seen = std::fs::read_to_string(into).map_err(|error| error.to_string())?;
            if seen.contains("198.51.100.0/24") {
                Ok(())
            } else {
                Err(seen)
            }
        });
        child
    }

    /// Waits until the kernel has (or no longer has) the routes to these prefixes.
    pub(crate) fn kernel_has(&self, prefixes: &[String], wanted: bool) {
        until(
            &format!("n{}: {prefixes:?} in the kernel: {wanted}", self.number),
            || {
                let found = self.kernel();
                let has = |prefix: &String| found.lines().any(|line| line.starts_with(&format!("{prefix} ")));
                if prefixes.iter().all(|prefix| has(prefix) == wanted) {
                    return Ok(());
                }
                Err(found)
            },
        );
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // It may have ended already.
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir_file("agent.log")).unwrap_or_default();
            println!("--- n{} logged:\n{log}", self.number);
        }
    }
}

/// What a user writes.
pub(crate) fn bgp_peer(name: &str, address: &str, asn: u32) -> String {
    format!(
        "---\napiVersion: flatroute.io/v1alpha1\nkind: BGPPeer\nmetadata: {{name: {name}}}\nspec: {{peerAddress: {address}, peerASN: {asn}}}\n"
    )
}
