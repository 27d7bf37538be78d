//! A real API server for tests: etcd and kube-apiserver on loopback, with an authority, users and a folder of their own.
//!
//! The programs are those of the folder `KUBEBUILDER_ASSETS`, or else what `testbed/scripts/kubernetes` has built and the
//! path has. Both run under a small shell that ends them when this process ends, however it ends: nothing needs to be
//! taken down. The users are in a token file; what each may do is for RBAC to say, as in any cluster.

mod guarded;
mod parts;

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use rustix::process::{Signal, kill_process};
use tempfile::TempDir;

use self::guarded::{AtTheEnd, Guarded};
pub use self::parts::Parts;
use crate::audit;
use crate::skip::note_skip_of;

/// How often a port that was free turns out to be taken before it is given up.
const ATTEMPTS: usize = 3;

/// Who may do everything.
pub const ADMIN: User = User {
    name: "admin",
    groups: "system:masters",
};

/// The service account of the agents.
pub const AGENT: User = User {
    name: "system:serviceaccount:flatroute-system:flatroute-agent",
    groups: "system:serviceaccounts,system:serviceaccounts:flatroute-system",
};

/// Who is known and may do nothing.
pub const STRANGER: User = User {
    name: "stranger",
    groups: "strangers",
};

/// A user that the API server knows by its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// Its name.
    pub name: &'static str,
    /// Its groups, divided by commas.
    pub groups: &'static str,
}

impl User {
    const ALL: [Self; 3] = [ADMIN, AGENT, STRANGER];

    /// What it proves itself with.
    #[must_use]
    pub fn token(self) -> String {
        let short = self.name.rsplit(':').next().unwrap_or(self.name);
        format!("token-of-{short}")
    }
}

/// An API server with its store. Both end with it.
#[derive(Debug)]
pub struct ApiServer {
    parts: Parts,
    port: u16,
    etcd_port: u16,
    server: Option<Guarded>,
    _etcd: Guarded,
    dir: TempDir,
}

impl ApiServer {
    /// One for all tests of a program; it ends with the program. None, saying why `test` is skipped, where it cannot be.
    ///
    /// # Panics
    /// The programs are there and do not start.
    #[must_use]
    pub fn shared(test: &str) -> Option<&'static Self> {
        static SHARED: OnceLock<Result<ApiServer, String>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| Ok(Self::start(&Parts::find()?).expect("an API server")));
        match shared {
            Ok(server) => Some(server),
            Err(missing) => {
                note_skip_of(test, missing);
                None
            }
        }
    }

    /// Starts both and waits until they are ready.
    ///
    /// # Errors
    /// A program does not start, or is not ready in time; the message has the end of its log.
    pub fn start(parts: &Parts) -> io::Result<Self> {
        let mut attempt = 1;
        loop {
            match Self::start_once(parts) {
                Err(error) if attempt < ATTEMPTS && error.to_string().contains("address already in use") => {
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    fn start_once(parts: &Parts) -> io::Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("flatroute-apiserver-")
            .tempdir()?;
        certificates(parts, dir.path())?;
        let tokens: String = User::ALL
            .iter()
            .map(|user| {
                format!(
                    "{},{},{},\"{}\"\n",
                    user.token(),
                    user.name,
                    user.name,
                    user.groups
                )
            })
            .collect();
        fs::write(dir.path().join("tokens.csv"), tokens)?;
        audit::write_policy(dir.path(), AGENT.name)?;
        let [port, etcd_port, etcd_peer_port] = free_ports()?;
        let etcd = start_etcd(parts, dir.path(), etcd_port, etcd_peer_port)?;
        let mut this = Self {
            parts: parts.clone(),
            port,
            etcd_port,
            server: None,
            _etcd: etcd,
            dir,
        };
        for user in User::ALL {
            fs::write(this.kubeconfig(user), this.kubeconfig_text(user)?)?;
        }
        this.start_server()?;
        Ok(this)
    }

    /// Starts the API server again, at the same address and with the same objects, after [`Self::stop_server`].
    ///
    /// # Errors
    /// It does not start, or is not ready in time.
    pub fn start_server(&mut self) -> io::Result<()> {
        let file = |name: &str| self.dir.path().join(name).display().to_string();
        let mut arguments = vec![
            format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_port),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", self.port),
            format!("--tls-cert-file={}", file("server.crt")),
            format!("--tls-private-key-file={}", file("server.key")),
            format!("--token-auth-file={}", file("tokens.csv")),
            "--authorization-mode=RBAC".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", file("server.crt")),
            format!("--service-account-signing-key-file={}", file("server.key")),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            // There is no other address to tell of, and loopback is refused as an endpoint.
            "--endpoint-reconciler-type=none".to_owned(),
            "--allow-privileged=true".to_owned(),
            "--profiling=false".to_owned(),
        ];
        arguments.extend(audit::options(self.dir.path()));
        // The old one's port is free when it has gone.
        self.server = None;
        let mut server = Guarded::spawn(
            self.dir.path(),
            "kube-apiserver",
            &self.parts.apiserver,
            &arguments,
            AtTheEnd::LeaveAll,
        )?;
        server.until(|| self.kubectl(&["get", "--raw", "/readyz"]).is_ok())?;
        self.server = Some(server);
        Ok(())
    }

    /// Kills the API server; the store stays.
    pub fn stop_server(&mut self) {
        self.server = None;
    }

    /// Lets the API server do nothing any more: connections stay open, and nothing is answered.
    ///
    /// # Panics
    /// It is not there.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on after [`Self::pause`].
    ///
    /// # Panics
    /// It is not there.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let server = self.server.as_ref().expect("the server was not stopped");
        kill_process(server.pid().expect("its number"), signal).expect("it is there");
    }

    /// Where it is: `https://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Its port on loopback.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The certificate of its authority, in PEM.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.dir.path().join("ca.crt")
    }

    /// Where it notes what [`AGENT`] asks: a line of JSON (audit.k8s.io/v1) for each request that was answered, and one more
    /// for a watch that has begun.
    #[must_use]
    pub fn audit_log(&self) -> PathBuf {
        audit::log(self.dir.path())
    }

    /// The kubeconfig of a user.
    #[must_use]
    pub fn kubeconfig(&self, user: User) -> PathBuf {
        self.dir.path().join(format!("{}.kubeconfig", user.token()))
    }

    fn kubeconfig_text(&self, user: User) -> io::Result<String> {
        // The certificate as data, so that the file can be copied away.
        let mut encode = Command::new(&self.parts.openssl);
        encode.args(["base64", "-A", "-in"]).arg(self.authority());
        let authority = output_of(encode)?;
        Ok(format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: it\n\
             clusters: [{{name: it, cluster: {{server: \"{}\", certificate-authority-data: {authority}}}}}]\n\
             users: [{{name: it, user: {{token: {}}}}}]\n\
             contexts: [{{name: it, context: {{cluster: it, user: it}}}}]\n",
            self.url(),
            user.token()
        ))
    }

    /// Runs kubectl as [`ADMIN`] and returns what it prints.
    ///
    /// # Errors
    /// It fails; the message is what it says.
    pub fn kubectl(&self, arguments: &[&str]) -> io::Result<String> {
        self.kubectl_as(ADMIN, arguments)
    }

    /// Runs kubectl as a user and returns what it prints.
    ///
    /// # Errors
    /// It fails; the message is what it says.
    pub fn kubectl_as(&self, user: User, arguments: &[&str]) -> io::Result<String> {
        let mut kubectl = Command::new(&self.parts.kubectl);
        kubectl.arg("--kubeconfig").arg(self.kubeconfig(user));
        // What it learns of the kinds it keeps in a folder that others would read.
        kubectl.arg("--cache-dir").arg(self.dir.path().join("cache"));
        kubectl.args(arguments).stdin(Stdio::null());
        output_of(kubectl)
    }

    /// Applies objects, in YAML, as [`ADMIN`].
    ///
    /// # Errors
    /// One is refused; the message is what the API server says.
    pub fn apply(&self, objects: &str) -> io::Result<String> {
        let file = tempfile::NamedTempFile::new_in(self.dir.path())?;
        fs::write(file.path(), objects)?;
        self.kubectl(&["apply", "--server-side", "-f", &file.path().display().to_string()])
    }
}

fn start_etcd(parts: &Parts, dir: &Path, port: u16, peer_port: u16) -> io::Result<Guarded> {
    let client = format!("http://127.0.0.1:{port}");
    let peer = format!("http://127.0.0.1:{peer_port}");
    let arguments = [
        format!("--data-dir={}", dir.join("etcd").display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        "--unsafe-no-fsync".to_owned(),
    ];
    let mut etcd = Guarded::spawn(dir, "etcd", &parts.etcd, &arguments, AtTheEnd::RemoveAll)?;
    etcd.until(|| std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())?;
    Ok(etcd)
}

/// An authority, and a certificate of it for loopback.
fn certificates(parts: &Parts, dir: &Path) -> io::Result<()> {
    let key = "req -x509 -nodes -days 2 -newkey ec -pkeyopt ec_paramgen_curve:P-256";
    for arguments in [
        "-subj /CN=flatroute-lab-authority -keyout ca.key -out ca.crt -addext keyUsage=critical,keyCertSign",
        "-subj /CN=kube-apiserver -CA ca.crt -CAkey ca.key -keyout server.key -out server.crt \
         -addext basicConstraints=critical,CA:FALSE \
         -addext subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:kubernetes.default.svc",
    ] {
        let mut openssl = Command::new(&parts.openssl);
        openssl.current_dir(dir);
        openssl
            .args(key.split_whitespace())
            .args(arguments.split_whitespace());
        output_of(openssl)?;
    }
    Ok(())
}

fn free_ports<const N: usize>() -> io::Result<[u16; N]> {
    let mut ports = [0; N];
    let mut held = Vec::new();
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

fn output_of(mut command: Command) -> io::Result<String> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(io::Error::other(
        String::from_utf8_lossy(&output.stderr).trim_end().to_owned(),
    ))
}
