//! A real API server for tests: etcd and kube-apiserver on loopback, with an authority, users and a folder of their own.
//!
//! The programs are those of the folder `KUBEBUILDER_ASSETS`, or else what `testbed/scripts/kubernetes` has built and the
//! path has. Both run under a small shell that ends them when this process ends, however it ends: nothing needs to be
//! taken down. The users are in a token file; what each may do is for RBAC to say, as in any cluster.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::audit;
use crate::skip::note_skip_of;

/// How long each of the two may take to be ready. They need three seconds on a machine that does nothing else.
const READY: Duration = Duration::from_secs(120);

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

/// The programs.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The store.
    pub etcd: PathBuf,
    /// The API server.
    pub apiserver: PathBuf,
    /// The command line tool.
    pub kubectl: PathBuf,
    /// What makes the certificates.
    pub openssl: PathBuf,
}

impl Parts {
    /// Looks for them.
    ///
    /// # Errors
    /// What is missing, and how to come by it.
    pub fn find() -> Result<Self, String> {
        let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
        let built = || -> Option<PathBuf> {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testbed/scripts/kubernetes");
            let output = Command::new(script)
                .arg("dir")
                .stderr(Stdio::null())
                .output()
                .ok()?;
            Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim_end()))
        };
        let folders: Vec<PathBuf> = match assets {
            Some(assets) => vec![assets],
            None => built().into_iter().collect(),
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path: Vec<PathBuf> = std::env::split_paths(&path).collect();
        let find = |name: &str, remedy: &str| {
            let all = folders.iter().chain(&path);
            let mut found = all.map(|folder| folder.join(name)).filter(|file| file.is_file());
            found
                .next()
                .ok_or_else(|| format!("{name} is not here: {remedy}"))
        };
        let built = "testbed/scripts/kubernetes build api, or set KUBEBUILDER_ASSETS";
        Ok(Self {
            etcd: find("etcd", "install etcd-server, or set KUBEBUILDER_ASSETS")?,
            apiserver: find("kube-apiserver", built)?,
            kubectl: find("kubectl", built)?,
            openssl: find("openssl", "install openssl")?,
        })
    }

    /// Looks for them, and says loudly that `test` is skipped when some are missing.
    #[must_use]
    pub fn find_or_skip(test: &str) -> Option<Self> {
        match Self::find() {
            Ok(parts) => Some(parts),
            Err(missing) => {
                note_skip_of(test, &missing);
                None
            }
        }
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

/// A program that ends when this process does.
#[derive(Debug)]
struct Guarded {
    shell: Child,
    log: PathBuf,
    pid_file: PathBuf,
}

/// Runs the program; ends it when standard input ends, which this process holds; ends with it when it ends by itself. When
/// it has ended the program it removes the folder that it was given, if any: a server that all tests share is never dropped.
const GUARD: &str = r#"
pid_file=$1; folder=$2; shift 2
exec 3<&0
"$@" </dev/null 3<&- &
pid=$!
echo $pid >"$pid_file.new" && mv "$pid_file.new" "$pid_file"
{ read -r _ <&3; kill -9 $pid; } 2>/dev/null &
guard=$!
exec 3<&-
wait $pid
ended=$?
kill -9 $guard 2>/dev/null
# 137: killed. One that ends by itself leaves a log that somebody reads.
[ -n "$folder" ] && [ $ended -eq 137 ] || exit 1
cd /
for attempt in 1 2 3 4 5 6 7 8 9; do
    rm -rf "$folder" 2>/dev/null && break
    sleep 0.2
done
exit 1
"#;

/// What becomes of a program's folder when it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AtTheEnd {
    /// It is removed, with all that is in it.
    RemoveAll,
    /// It stays.
    LeaveAll,
}

impl Guarded {
    fn spawn(
        dir: &Path,
        name: &str,
        program: &Path,
        arguments: &[String],
        at_the_end: AtTheEnd,
    ) -> io::Result<Self> {
        let folder = match at_the_end {
            AtTheEnd::RemoveAll => dir.as_os_str(),
            AtTheEnd::LeaveAll => OsStr::new(""),
        };
        let log = dir.join(format!("{name}.log"));
        let pid_file = dir.join(format!("{name}.pid"));
        _ = fs::remove_file(&pid_file);
        let said = File::create(&log)?;
        let shell = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .arg(&pid_file)
            .arg(folder)
            .arg(program)
            .args(arguments)
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(said.try_clone()?)
            .stderr(said)
            .spawn()?;
        Ok(Self { shell, log, pid_file })
    }

    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(fs::read_to_string(&self.pid_file).ok()?.trim().parse().ok()?)
    }

    /// Waits until it is ready. Fails with the end of its log when it ends, or takes too long.
    fn until(&mut self, is_ready: impl Fn() -> bool) -> io::Result<()> {
        let deadline = Instant::now() + READY;
        while !is_ready() {
            let ended = self.shell.try_wait()?.is_some();
            if ended || Instant::now() > deadline {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let end = lines[lines.len().saturating_sub(20)..].join("\n");
                let what = if ended { "ended" } else { "is not ready in time" };
                return Err(io::Error::other(format!("{} {what}:\n{end}", self.log.display())));
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        _ = self.shell.wait();
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
