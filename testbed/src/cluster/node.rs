//! A node: a process tree in namespaces of its own, with containerd, a kubelet and kube-proxy.
//!
//! The network namespace is the fabric's; mounts, process ids, host name and IPC are made by `unshare`, and the first
//! process ([`SCRIPT`]) gives the node directories of its own. Killing that process ends the node with all its pods, as
//! if its power had gone. Everything else is started inside through `nsenter`. (`ip netns exec` would not do: it mounts
//! a fresh /sys and so hides the control groups.)
//!
//! What the configurations say beside the obvious: several nodes share one machine, so nobody counts its resources,
//! evicts, or sets limits that a namespace may not set.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::cgroup;
use super::parts::Parts;
use super::secrets::Secrets;
use super::site::{self, Site};
use crate::namespace::Namespace;
use crate::process::{Daemon, locate};
use crate::topology::Router;
use crate::wait;

/// The first process of a node.
const SCRIPT: &str = include_str!("node.sh");
/// A few mounts.
const BIRTH_BOUND: Duration = Duration::from_secs(15);
/// containerd's start.
const RUNTIME_BOUND: Duration = Duration::from_secs(30);
/// The end of a daemon that was asked to end.
const STOP_BOUND: Duration = Duration::from_secs(30);
/// The image that holds a pod's namespaces.
pub const PAUSE_IMAGE: &str = "registry.k8s.io/pause:3.10.1";
/// Where containerd tells its metrics, on the node itself.
pub const METRICS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1338);
/// Where containerd answers, inside.
const SOCKET: &str = "/run/containerd/containerd.sock";

/// How Services are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proxy {
    /// kube-proxy with iptables.
    Iptables,
    /// kube-proxy with nftables.
    Nftables,
}

impl std::str::FromStr for Proxy {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "iptables" => Ok(Self::Iptables),
            "nftables" => Ok(Self::Nftables),
            _ => bail!("PROXY={text}: there is no such choice; it may be iptables or nftables"),
        }
    }
}

impl Proxy {
    /// As kube-proxy and the user call it.
    #[must_use]
    pub fn mode(self) -> &'static str {
        match self {
            Self::Iptables => "iptables",
            Self::Nftables => "nftables",
        }
    }
}

/// What all nodes have in common.
#[derive(Debug, Clone)]
pub struct Common {
    /// The cluster's directory; each node has one below.
    pub state: PathBuf,
    /// The control group above those of all nodes.
    pub cgroup: PathBuf,
    /// The parts of Kubernetes.
    pub parts: Parts,
    /// Tokens and certificates.
    pub secrets: Secrets,
    /// Families and addresses.
    pub site: Site,
    /// How Services are made.
    pub proxy: Proxy,
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    /// Its name, as the cluster knows it.
    pub name: String,
    common: Common,
    dir: PathBuf,
    init: Daemon,
    /// Of its first process.
    pid: u32,
    containerd: Option<Daemon>,
    kubelet: Option<Daemon>,
    proxy: Option<Daemon>,
}

impl Node {
    /// Starts the node's first process and containerd.
    ///
    /// # Errors
    /// Something is missing, or does not start.
    pub fn start(common: &Common, router: &Router, namespace: &Namespace) -> Result<Self> {
        let name = router.name.clone();
        let dir = common.state.join("nodes").join(&name);
        if dir.exists() {
            fs::remove_dir_all(&dir).with_context(|| format!("empty {}", dir.display()))?;
        }
        fs::create_dir_all(dir.join("etc")).with_context(|| format!("create {}", dir.display()))?;
        cgroup::create(&common.cgroup.join(&name))?;
        let script = dir.join("node.sh");
        fs::write(&script, SCRIPT).context("write node.sh")?;
        let unshare =
            locate("unshare").context("unshare is not installed: sudo apt-get install util-linux")?;
        let mut command = namespace.command(&unshare);
        command.args([
            "--mount",
            "--uts",
            "--pid",
            "--ipc",
            "--fork",
            "--kill-child",
            "--propagation",
            "private",
        ]);
        command
            .args(["--", "/bin/bash"])
            .arg(&script)
            .arg(&name)
            .arg(&common.state);
        let mut init = Daemon::start(&format!("init of {name}"), command, &dir.join("init.log"))?;
        let born = wait::until(&format!("the mounts of {name}"), BIRTH_BOUND, || {
            init.expect_running()?;
            let text = fs::read_to_string(dir.join("pid")).unwrap_or_default();
            Ok(text.trim().parse::<u32>().map_err(|_| "not there yet".to_owned()))
        });
        let (pid, _) = born.map_err(|error| anyhow!("{error:#}\n{}", init.last_words()))?;
        let mut node = Self {
            name,
            common: common.clone(),
            dir,
            init,
            pid,
            containerd: None,
            kubelet: None,
            proxy: None,
        };
        node.start_containerd()?;
        Ok(node)
    }

    /// The process id of the node's first process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// A path of the node's own file system, as seen from here.
    #[must_use]
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.pid))
    }

    /// Writes a file of the node: beside its place, and moved there, as a runtime wants its configuration.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn put(&self, inside: &str, text: &str) -> Result<()> {
        let (path, beside) = (self.path(inside), self.path(&format!("{inside}.new")));
        fs::write(&beside, text).with_context(|| format!("write {}", beside.display()))?;
        fs::rename(&beside, &path).with_context(|| format!("write {}", path.display()))
    }

    /// A command that will run inside the node.
    ///
    /// # Errors
    /// `nsenter` is missing.
    pub fn command(&self, program: &Path) -> Result<Command> {
        let nsenter =
            locate("nsenter").context("nsenter is not installed: sudo apt-get install util-linux")?;
        let mut command = Command::new(nsenter);
        command
            .args(["-t", &self.pid.to_string(), "-n", "-m", "-u", "-p", "-i", "--"])
            .arg(program);
        Ok(command)
    }

    /// Runs a program inside and returns what it printed.
    ///
    /// # Errors
    /// It failed; its own words.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let path =
            locate(program).with_context(|| format!("{program} is not installed: sudo make test-deps"))?;
        let output = self
            .command(&path)?
            .args(arguments)
            .output()
            .context("run nsenter")?;
        ensure!(
            output.status.success(),
            "{}: {program} {}: {}",
            self.name,
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Starts containerd and waits until it answers.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_containerd(&mut self) -> Result<()> {
        let configuration = self.write("containerd.toml", CONTAINERD)?;
        let program = locate("containerd").context("containerd is not installed: sudo make test-deps")?;
        let mut command = self.command(&program)?;
        command.arg("--config").arg(configuration);
        let mut daemon = self.daemon("containerd", command)?;
        let ready = wait::until(&format!("containerd on {}", self.name), RUNTIME_BOUND, || {
            daemon.expect_running()?;
            Ok(self
                .run(
                    "ctr",
                    &["--address", SOCKET, "--connect-timeout", "2s", "plugins", "ls"],
                )
                .and_then(|plugins| {
                    let is_cri = |line: &str| {
                        line.split_whitespace().any(|word| word == "cri") && line.ends_with("ok")
                    };
                    ensure!(
                        plugins.lines().any(|line| is_cri(line.trim_end())),
                        "no CRI among its plugins:\n{plugins}"
                    );
                    Ok(())
                })
                .map_err(|error| format!("{error:#}")))
        });
        ready.map_err(|error| anyhow!("{error:#}\n{}", daemon.last_words()))?;
        self.containerd = Some(daemon);
        Ok(())
    }

    /// Asks containerd to end; pods go on.
    ///
    /// # Errors
    /// It had to be killed.
    pub fn stop_containerd(&mut self) -> Result<()> {
        self.containerd.take().map_or(Ok(()), end)
    }

    /// Gives containerd an image archive.
    ///
    /// # Errors
    /// It refuses.
    pub fn import(&self, archive: &Path) -> Result<()> {
        let archive = archive.display().to_string();
        self.run(
            "ctr",
            &["--address", SOCKET, "-n", "k8s.io", "images", "import", &archive],
        )
        .map(drop)
    }

    /// Starts the kubelet and kube-proxy.
    ///
    /// # Errors
    /// One does not start.
    pub fn join(&mut self) -> Result<()> {
        let common = self.common.clone();
        let router = common
            .site
            .topology
            .find(&self.name)
            .context("a node of the site")?;
        let addresses: Vec<String> = common
            .site
            .addresses(router)
            .iter()
            .map(ToString::to_string)
            .collect();
        let configuration = self.write("kubelet.yaml", &self.kubelet_configuration())?;
        let mut kubelet = self.command(&common.parts.find("kubelet")?)?;
        kubelet
            .arg("--config")
            .arg(configuration)
            .arg("--kubeconfig")
            .arg(common.secrets.kubeconfig_of(&self.name))
            .args(["--root-dir=/var/lib/kubelet", "--cert-dir=/var/lib/kubelet/pki"])
            .arg(format!("--hostname-override={}", self.name))
            .arg(format!("--node-ip={}", addresses.join(",")))
            .arg(format!(
                "--node-labels=topology.kubernetes.io/zone=rack{}",
                router.rack
            ));
        self.kubelet = Some(self.daemon("kubelet", kubelet)?);
        let configuration = self.write("kube-proxy.yaml", &self.proxy_configuration())?;
        let mut proxy = self.command(&common.parts.find("kube-proxy")?)?;
        proxy.arg("--config").arg(configuration);
        self.proxy = Some(self.daemon("kube-proxy", proxy)?);
        Ok(())
    }

    fn kubelet_configuration(&self) -> String {
        let Common {
            cgroup,
            secrets,
            site,
            ..
        } = &self.common;
        let dns: Vec<String> = site
            .families
            .pick(&site::DNS_SERVICE)
            .iter()
            .map(|a| format!("\"{a}\""))
            .collect();
        format!(
            "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {{anonymous: {{enabled: false}}, webhook: {{enabled: false}}, x509: {{clientCAFile: \"{authority}\"}}}}
authorization: {{mode: AlwaysAllow}}
address: \"{listen}\"
cgroupDriver: cgroupfs
cgroupRoot: /{cgroup}
failCgroupV1: false
clusterDNS: [{dns}]
clusterDomain: cluster.local
containerRuntimeEndpoint: unix://{SOCKET}
enforceNodeAllocatable: []
evictionHard: {{memory.available: \"0%\", nodefs.available: \"0%\", nodefs.inodesFree: \"0%\", imagefs.available: \"0%\", imagefs.inodesFree: \"0%\"}}
failSwapOn: false
imageGCHighThresholdPercent: 100
localStorageCapacityIsolation: false
protectKernelDefaults: false
resolvConf: /etc/resolv.conf
serializeImagePulls: false
",
            authority = secrets.file("ca.crt").display(),
            listen = listen(site),
            cgroup = cgroup.join(&self.name).display(),
            dns = dns.join(", "),
        )
    }

    fn proxy_configuration(&self) -> String {
        let Common {
            secrets, site, proxy, ..
        } = &self.common;
        format!(
            "apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: {mode}
bindAddress: \"{listen}\"
clusterCIDR: \"{pods}\"
hostnameOverride: {name}
clientConnection: {{kubeconfig: \"{kubeconfig}\"}}
conntrack: {{maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}}
",
            mode = proxy.mode(),
            listen = listen(site),
            pods = site.families.join(&site::POD_CIDRS),
            name = self.name,
            kubeconfig = secrets.kubeconfig_of("kube-proxy").display(),
        )
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.dir.join("etc").join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }

    fn daemon(&self, name: &str, command: Command) -> Result<Daemon> {
        Daemon::start(
            &format!("{name} on {}", self.name),
            command,
            &self.dir.join(format!("{name}.log")),
        )
    }

    /// Fails when one of its programs has ended.
    ///
    /// # Errors
    /// Which one, with the end of its log.
    pub fn expect_running(&mut self) -> Result<()> {
        let daemons = [&mut self.containerd, &mut self.kubelet, &mut self.proxy];
        for daemon in daemons.into_iter().flatten().chain([&mut self.init]) {
            if let Err(error) = daemon.expect_running() {
                bail!("{error:#}\n{}", daemon.last_words());
            }
        }
        Ok(())
    }

    /// The ends of its logs.
    #[must_use]
    pub fn last_words(&self) -> String {
        [&self.kubelet, &self.containerd, &self.proxy]
            .into_iter()
            .flatten()
            .map(Daemon::last_words)
            .collect()
    }

    /// All that containerd has said.
    #[must_use]
    pub fn containerd_log(&self) -> String {
        self.containerd.as_ref().map(Daemon::log).unwrap_or_default()
    }

    /// Takes the node's power away: its first process is killed, and the kernel ends all others.
    ///
    /// # Errors
    /// It does not go away.
    pub fn destroy(self) -> Result<()> {
        kill(self.pid, Signal::KILL)?;
        self.init.stop(STOP_BOUND).map(drop)?;
        cgroup::remove(&self.common.cgroup.join(&self.name))
    }
}

/// Where servers of a node listen: on every address of the families that it has.
fn listen(site: &Site) -> &'static str {
    if site.families.has(true) { "::" } else { "0.0.0.0" }
}

/// Asks a program behind `nsenter` to end. The signal is for the program: `nsenter` only waits for it.
fn end(daemon: Daemon) -> Result<()> {
    let parent = daemon.pid();
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))
        .context("the child of nsenter")?;
    let child = children
        .split_whitespace()
        .next()
        .context("nsenter has no child")?;
    kill(child.parse().context("a process id")?, Signal::TERM)?;
    let mut daemon = daemon;
    wait::until("the program to end", STOP_BOUND, || {
        Ok(match daemon.expect_running() {
            Ok(()) => Err("still running after SIGTERM".to_owned()),
            Err(_) => Ok(()),
        })
    })
    .map(drop)
}

fn kill(pid: u32, signal: Signal) -> Result<()> {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .context("a process id")?;
    kill_process(pid, signal).context("send a signal")
}

/// containerd for version 1.6 and later of its line; snapshotters that need what is not here are left out.
const CONTAINERD: &str = r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp",
]
[grpc]
  address = "/run/containerd/containerd.sock"
[metrics]
  address = "127.0.0.1:1338"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.k8s.io/pause:3.10.1"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
"#;
