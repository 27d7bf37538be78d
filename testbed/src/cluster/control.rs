//! The control plane: etcd, the API server, the controller manager and the scheduler, on the machine behind the spine.
//!
//! The controller manager and the scheduler, when started as soon as the API server is ready, race with its creation of
//! the roles that let them look up how to authenticate others, and exit: they are told not to look.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};

use super::audit;
use super::parts::Parts;
use super::secrets::Secrets;
use super::site::{self, Site};
use crate::namespace::Namespace;
use crate::process::{Daemon, locate};
use crate::wait;

/// The API server's start, on a machine that is busy with other things.
const READY_BOUND: Duration = Duration::from_secs(120);

/// The running control plane.
#[derive(Debug)]
pub struct ControlPlane {
    dir: PathBuf,
    namespace: Namespace,
    parts: Parts,
    secrets: Secrets,
    site: Site,
    etcd: Daemon,
    api_server: Option<Daemon>,
    others: Vec<Daemon>,
}

impl ControlPlane {
    /// Starts all of it and waits until the API server says that it is ready.
    ///
    /// # Errors
    /// A program is missing, ends, or is not ready in time; with the end of its log.
    pub fn start(
        dir: &Path,
        namespace: &Namespace,
        site: &Site,
        parts: &Parts,
        secrets: &Secrets,
    ) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        audit::write_policy(dir)?;
        let etcd = start_etcd(dir, namespace)?;
        let mut plane = Self {
            dir: dir.to_owned(),
            namespace: namespace.clone(),
            parts: parts.clone(),
            secrets: secrets.clone(),
            site: site.clone(),
            etcd,
            api_server: None,
            others: Vec::new(),
        };
        plane.start_api_server()?;
        plane.others = vec![plane.start_controllers()?, plane.start_scheduler()?];
        Ok(plane)
    }

    /// Starts the API server and waits until it is ready.
    ///
    /// # Errors
    /// It ends, or is not ready in time.
    pub fn start_api_server(&mut self) -> Result<()> {
        let families = self.site.families;
        let (_, ipv4, ipv6) = self.site.control();
        let advertise = if families.order().first() == Some(&true) {
            ipv6.to_string()
        } else {
            ipv4.to_string()
        };
        let file = |name: &str| self.secrets.file(name).display().to_string();
        let mut command = self.command("kube-apiserver")?;
        command.args([
            "--etcd-servers=http://127.0.0.1:2379",
            "--bind-address=::",
            "--secure-port=6443",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            "--kubelet-preferred-address-types=InternalIP",
            "--profiling=false",
        ]);
        for (option, value) in [
            ("advertise-address", advertise),
            ("service-cluster-ip-range", families.join(&site::SERVICE_CIDRS)),
            ("tls-cert-file", file("apiserver.crt")),
            ("tls-private-key-file", file("apiserver.key")),
            ("client-ca-file", file("ca.crt")),
            ("token-auth-file", file("tokens.csv")),
            ("service-account-key-file", file("accounts.key")),
            ("service-account-signing-key-file", file("accounts.key")),
            ("kubelet-client-certificate", file("kubelet-client.crt")),
            ("kubelet-client-key", file("kubelet-client.key")),
        ] {
            command.arg(format!("--{option}={value}"));
        }
        command.args(audit::options(&self.dir));
        let mut daemon = Daemon::start("kube-apiserver", command, &self.dir.join("kube-apiserver.log"))?;
        let ready = wait::until("the API server to be ready", READY_BOUND, || {
            daemon.expect_running()?;
            Ok(self.ask_ready().map_err(|error| format!("{error:#}")))
        });
        ready.map_err(|error| anyhow!("{error:#}\n{}", daemon.last_words()))?;
        self.api_server = Some(daemon);
        Ok(())
    }

    /// What the agents have asked of the API server.
    ///
    /// # Errors
    /// The log cannot be read, or is not whole.
    pub fn requests_of_agents(&self) -> Result<audit::Requests> {
        audit::read(&self.dir)
    }

    /// Takes the API server away at once, as if its machine had lost power: asked to end, it would first wait a minute for
    /// those who watch.
    pub fn kill_api_server(&mut self) {
        drop(self.api_server.take());
    }

    /// Fails when one of its programs has ended without our doing.
    ///
    /// # Errors
    /// Which one, with the end of its log.
    pub fn expect_running(&mut self) -> Result<()> {
        let daemons = self
            .others
            .iter_mut()
            .chain(&mut self.api_server)
            .chain([&mut self.etcd]);
        for daemon in daemons {
            if let Err(error) = daemon.expect_running() {
                bail!("{error:#}\n{}", daemon.last_words());
            }
        }
        Ok(())
    }

    fn ask_ready(&self) -> Result<()> {
        let output = self
            .command("kubectl")?
            .arg("--kubeconfig")
            .arg(self.secrets.kubeconfig_of("admin"))
            .args(["--request-timeout=5s", "get", "--raw", "/readyz"])
            .output()
            .context("run kubectl")?;
        if output.status.success() {
            Ok(())
        } else {
            Err(anyhow!(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
        }
    }

    fn start_controllers(&self) -> Result<Daemon> {
        let families = self.site.families;
        let mut command = self.command("kube-controller-manager")?;
        self.authorise(&mut command, "kube-controller-manager");
        command.args([
            "--allocate-node-cidrs=true",
            "--use-service-account-credentials=true",
            "--profiling=false",
        ]);
        for (option, value) in [
            ("cluster-cidr", families.join(&site::POD_CIDRS)),
            ("service-cluster-ip-range", families.join(&site::SERVICE_CIDRS)),
            ("root-ca-file", self.secrets.file("ca.crt").display().to_string()),
            (
                "service-account-private-key-file",
                self.secrets.file("accounts.key").display().to_string(),
            ),
        ] {
            command.arg(format!("--{option}={value}"));
        }
        for (ipv6, option) in [
            (false, "--node-cidr-mask-size-ipv4=24"),
            (true, "--node-cidr-mask-size-ipv6=64"),
        ] {
            if families.has(ipv6) {
                command.arg(option);
            }
        }
        let log = self.dir.join("kube-controller-manager.log");
        Daemon::start("kube-controller-manager", command, &log)
    }

    fn start_scheduler(&self) -> Result<Daemon> {
        let mut command = self.command("kube-scheduler")?;
        self.authorise(&mut command, "kube-scheduler");
        Daemon::start("kube-scheduler", command, &self.dir.join("kube-scheduler.log"))
    }

    fn authorise(&self, command: &mut Command, who: &str) {
        command
            .arg("--kubeconfig")
            .arg(self.secrets.kubeconfig_of(who))
            .args(["--authentication-skip-lookup=true", "--leader-elect=false"]);
    }

    fn command(&self, part: &str) -> Result<Command> {
        Ok(self.namespace.command(&self.parts.find(part)?))
    }
}

fn start_etcd(dir: &Path, namespace: &Namespace) -> Result<Daemon> {
    let etcd = locate("etcd").context("etcd is not installed: sudo make test-deps")?;
    let mut command = namespace.command(&etcd);
    command
        .arg("--data-dir")
        .arg(dir.join("etcd"))
        .args(["--listen-client-urls", "http://127.0.0.1:2379"])
        .args(["--advertise-client-urls", "http://127.0.0.1:2379"])
        .args(["--listen-peer-urls", "http://127.0.0.1:2380", "--unsafe-no-fsync"]);
    Daemon::start("etcd", command, &dir.join("etcd.log"))
}
