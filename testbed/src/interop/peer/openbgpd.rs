//! OpenBGPD as the peer. What it originates are `network` statements of its configuration, so that announcing is a
//! reconfiguration, which leaves sessions alone.
//!
//! It wants to become user `_openbgpd` and to lock two of its three processes into that user's home, so a file of users
//! with such a one is bound over the machine's (in our own mount namespace). That needs a sandbox of root's: in one of an
//! ordinary user there is nobody else to become. Errors of a session are in the answer for people only, not in its JSON.

mod answers;

use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use ipnetwork::IpNetwork;
use rustix::io::Errno;
use rustix::mount::mount_bind;
use rustix::process::{Pid, Signal, kill_process};

use self::answers::{parse_neighbour, parse_routes, unescaped};
use super::{Neighbour, Options, Originated, Peer, PeerRoute, Place};
use crate::process::{Daemon, locate, locate_beside};
use crate::sandbox;
use crate::wait;

/// How long it may take to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// The user that it becomes.
const USER: &str = "_openbgpd";

pub(super) struct Openbgpd {
    place: Place,
    options: Options,
    daemon: Daemon,
}

/// The daemon, where its command line is too.
///
/// # Errors
/// It is not installed, or cannot run here.
pub(super) fn find() -> Result<PathBuf> {
    let program = locate_beside("bgpd", "bgpctl").context(
        "OpenBGPD is not installed. To install it:  sudo apt-get install openbgpd\n(its service need not run: sudo systemctl mask openbgpd)",
    )?;
    ensure!(
        rustix::process::geteuid().is_root(),
        "OpenBGPD becomes another user, which takes root here"
    );
    Ok(program)
}

impl Openbgpd {
    pub(super) fn start(place: Place, options: Options) -> Result<Self> {
        add_user()?;
        put_first(&place)?;
        let program = find()?;
        write_configuration(&place, &options)?;
        let mut command = place.namespace.command(&program);
        command.args(["-d", "-v", "-f"]).arg(place.dir.join("bgpd.conf"));
        let name = format!("bgpd on {}", place.namespace.name());
        let daemon = Daemon::start(&name, command, &place.dir.join("bgpd.log"))?;
        let mut peer = Self {
            place,
            options,
            daemon,
        };
        let waited = wait::until(&format!("{name} to answer"), ANSWER, || {
            peer.daemon.expect_running()?;
            Ok(peer.neighbour().map_err(|error| format!("{error:#}")))
        });
        waited.with_context(|| peer.daemon.last_words())?;
        peer.await_configuration(0)?;
        Ok(peer)
    }

    fn ask(&self, arguments: &[&str]) -> Result<String> {
        let program = locate("bgpctl").context("bgpctl is not installed: sudo apt-get install openbgpd")?;
        let mut command = Command::new(program);
        command.arg("-s").arg(self.place.dir.join("bgpd.sock"));
        let output = command.args(arguments).output().context("run bgpctl")?;
        let text = unescaped(&output.stdout);
        if !output.status.success() {
            bail!(
                "bgpctl {}: {text}{}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(text)
    }

    fn us(&self) -> String {
        self.options.transport.of(&self.place.ours).to_string()
    }

    fn configure(&self) -> Result<()> {
        write_configuration(&self.place, &self.options)?;
        let before = self.configured();
        self.ask(&["reload"])?;
        self.await_configuration(before)
    }

    /// How often a configuration has come into force.
    fn configured(&self) -> usize {
        self.daemon.log().matches("RDE soft reconfiguration done").count()
    }

    /// It says that it is done before it is, and forgets a reload that comes while one is running.
    fn await_configuration(&self, before: usize) -> Result<()> {
        let waited = wait::until("bgpd to have its configuration", ANSWER, || {
            Ok(if self.configured() > before {
                Ok(())
            } else {
                Err("not yet".to_owned())
            })
        });
        waited.map(drop).with_context(|| self.daemon.last_words())
    }
}

impl Peer for Openbgpd {
    fn neighbour(&self) -> Result<Neighbour> {
        let us = self.us();
        let answer = self.ask(&["-j", "show", "neighbor", &us])?;
        parse_neighbour(&answer, &self.ask(&["show", "neighbor", &us])?)
    }

    fn routes(&self, prefix: IpNetwork) -> Result<Vec<PeerRoute>> {
        let (us, prefix) = (self.us(), prefix.to_string());
        parse_routes(&self.ask(&["-j", "show", "rib", "detail", "in", "neighbor", &us, &prefix])?)
    }

    fn announce(&mut self, route: Originated) -> Result<()> {
        self.options.originated.retain(|old| old.prefix != route.prefix);
        self.options.originated.push(route);
        self.configure()
    }

    fn withdraw(&mut self, prefix: IpNetwork) -> Result<()> {
        self.options.originated.retain(|old| old.prefix != prefix);
        self.configure()
    }

    fn refresh(&self) -> Result<()> {
        self.ask(&["neighbor", &self.us(), "refresh"]).map(drop)
    }

    fn shut(&mut self, text: &str) -> Result<()> {
        self.ask(&["neighbor", &self.us(), "down", text]).map(drop)
    }

    fn open(&mut self) -> Result<()> {
        self.ask(&["neighbor", &self.us(), "up"]).map(drop)
    }

    fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    /// It is a parent and three children, of which one has the sessions; a child that sees its parent die would end them in
    /// order, so the children come first.
    fn signal(&self, signal: Signal) -> Result<()> {
        for child in children(self.daemon.pid())? {
            let pid = Pid::from_raw(child).context("a process id")?;
            // One that the parent has ended meanwhile has what it needs.
            match kill_process(pid, signal) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(errno) => bail!("signal a process of bgpd: {errno}"),
            }
        }
        self.daemon.signal(signal)
    }

    fn configuration(&self) -> String {
        configuration(&self.place, &self.options)
    }
}

/// Lets there be the user that bgpd becomes, for this sandbox alone; its home is empty.
fn add_user() -> Result<()> {
    let text = fs::read_to_string("/etc/passwd").context("read /etc/passwd")?;
    let home = sandbox::room().join("lab/openbgpd");
    let line = format!("{USER}:x:65534:65534::{}:/bin/false", home.display());
    if text.lines().any(|known| known == line) {
        return Ok(());
    }
    fs::create_dir_all(&home).context("create a home for bgpd")?;
    let mut users: String = text
        .lines()
        .filter(|line| !line.starts_with(&format!("{USER}:")))
        .map(|line| format!("{line}\n"))
        .collect();
    users.push_str(&line);
    users.push('\n');
    let file = sandbox::room().join("lab/passwd");
    fs::write(&file, users).context("write a file of users")?;
    mount_bind(&file, "/etc/passwd").context("bind a file of users over /etc/passwd")
}

/// Of the family that the session does not run over it tells the first address of the machine as its next hop, whatever
/// the link; so the link's address becomes the first one, that of its loopback too.
fn put_first(place: &Place) -> Result<()> {
    let mut netlink = place.namespace.netlink()?;
    let loopback = netlink
        .link_by_name("lo")?
        .context("a namespace without lo")?
        .index;
    let there: Vec<IpAddr> = netlink
        .addresses(loopback)?
        .into_iter()
        .map(|held| held.address)
        .collect();
    for (address, length) in [
        (IpAddr::V4(place.its.ipv4), 32),
        (IpAddr::V6(place.its.ipv6), 128),
    ] {
        if !there.contains(&address) {
            netlink.add_address(loopback, address, length)?;
        }
    }
    Ok(())
}

/// The processes whose parent is this one.
fn children(parent: u32) -> Result<Vec<i32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("read /proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // One that has just ended is no child of anybody.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name, in parentheses, may hold anything; state and parent follow.
        let rest = stat.rsplit(')').next().unwrap_or_default();
        if rest.split_whitespace().nth(1) == Some(parent.to_string().as_str()) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// It reads no file that others may read.
fn write_configuration(place: &Place, options: &Options) -> Result<()> {
    let file = place.dir.join("bgpd.conf");
    fs::write(&file, configuration(place, options)).context("write bgpd.conf")?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).context("make bgpd.conf private")
}

fn configuration(place: &Place, options: &Options) -> String {
    let (its, us) = (
        options.transport.of(&place.its),
        options.transport.of(&place.ours),
    );
    let mut text = format!(
        "AS {}\nrouter-id {}\nsocket \"{}\"\nfib-update no\nconnect-retry 1\n",
        options.asn,
        place.id,
        place.dir.join("bgpd.sock").display()
    );
    for route in &options.originated {
        let mut sets: Vec<String> = Vec::new();
        sets.extend(
            route
                .communities
                .iter()
                .map(|(a, b)| format!("community {a}:{b}")),
        );
        sets.extend(
            route
                .large
                .iter()
                .map(|(a, b, c)| format!("large-community {a}:{b}:{c}")),
        );
        let set = if sets.is_empty() {
            String::new()
        } else {
            format!(" set {{ {} }}", sets.join(" "))
        };
        let _ = writeln!(text, "network {}{set}", route.prefix);
    }
    let _ = write!(
        text,
        "neighbor {us} {{\n  remote-as {}\n  local-address {its}\n  holdtime {}\n  announce IPv4 unicast\n  announce IPv6 unicast\n  announce enhanced refresh yes\n",
        options.our_asn, options.hold
    );
    for (wanted, words) in [
        (options.passive, "passive"),
        (options.two_octet, "announce as-4byte no"),
        (options.ttl_security, "ttl-security yes"),
    ] {
        if wanted {
            let _ = writeln!(text, "  {words}");
        }
    }
    if let Some(key) = &options.key {
        let _ = writeln!(text, "  tcp md5sig password \"{key}\"");
    }
    // It counts both families together.
    if let Some(limit) = options.limit {
        let _ = writeln!(text, "  max-prefix {}", limit.saturating_mul(2));
    }
    if options.add_path {
        text.push_str("  announce add-path recv yes\n  announce add-path send all\n");
    }
    if let Some(role) = options.role {
        let _ = writeln!(text, "  announce policy {}", role.word());
    }
    text.push_str(&reflector(options));
    text.push_str("}\n");
    text.push_str(&beside(place, options).unwrap_or_default());
    // Without these it takes nothing and says nothing.
    text.push_str("allow from any\nallow to any\n");
    text
}

fn reflector(options: &Options) -> String {
    let words = |cluster| format!("  route-reflector {cluster}\n");
    options.cluster.map(words).unwrap_or_default()
}

/// A second neighbour, of IPv4 only.
fn beside(place: &Place, options: &Options) -> Option<String> {
    let (asn, (its, other)) = (options.beside?, place.beside.as_ref()?);
    Some(format!(
        "neighbor {} {{\n  remote-as {asn}\n  local-address {}\n  announce IPv4 unicast\n  passive\n{}}}\n",
        options.transport.of(other),
        options.transport.of(its),
        reflector(options)
    ))
}
