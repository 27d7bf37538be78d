//! FRR as a router: zebra and bgpd, integrated by a configuration file each.
//!
//! Rootless FRR takes some persuasion: its programs want to become user `frr`, hence `-u root -g root`, and refuse to
//! start when root is not in group `frrvty`, hence a group file bound over the machine's (in our own mount namespace).

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::mount::mount_bind;
use serde_json::Value;

use super::{Session, Speaker};
use crate::fabric::Fabric;
use crate::namespace::Namespace;
use crate::process::{Daemon, locate, locate_beside};
use crate::sandbox;
use crate::topology::{Neighbour, Numbering, Router, Tier, Topology};
use crate::wait;

pub(super) fn start(speaker: &mut Speaker, fabric: &Fabric, router: &Router) -> Result<()> {
    launch(speaker, fabric, router, bgpd(fabric.topology(), router))
}

pub(super) fn launch(speaker: &mut Speaker, fabric: &Fabric, router: &Router, bgpd: String) -> Result<()> {
    let namespace = fabric.namespace(&router.name)?;
    for (program, text) in [("zebra", zebra(fabric.topology(), router)), ("bgpd", bgpd)] {
        let daemon = spawn(&speaker.dir, namespace, program, &text, &[])?;
        speaker.daemons.push(daemon);
    }
    Ok(())
}

/// Starts one of FRR's programs in `namespace` with its files in `dir` and `further` arguments, and waits until it
/// answers.
///
/// # Errors
/// It is missing, or does not start; the error ends with its log.
pub fn spawn(
    dir: &Path,
    namespace: &Namespace,
    program: &str,
    configuration: &str,
    further: &[&str],
) -> Result<Daemon> {
    allow_root()?;
    let file = dir.join(format!("{program}.conf"));
    fs::write(&file, configuration).with_context(|| format!("write {program}.conf"))?;
    let path = locate_beside(program, "zebra")
        .with_context(|| format!("{program} is not installed: sudo apt-get install frr"))?;
    let mut command = namespace.command(&path);
    command
        .arg("-f")
        .arg(&file)
        .args(["-u", "root", "-g", "root", "-A", "127.0.0.1", "--log", "stdout"]);
    command
        .arg("-z")
        .arg(dir.join("zserv.api"))
        .arg("-i")
        .arg(dir.join(format!("{program}.pid")));
    command.arg("--vty_socket").arg(dir).args(further);
    let name = format!("{program} on {}", namespace.name());
    let mut daemon = Daemon::start(&name, command, &dir.join(format!("{program}.log")))?;
    let waited = wait::until(&format!("{name} to answer"), Duration::from_secs(10), || {
        daemon.expect_running()?;
        Ok(ask_at(dir, program, &["show version"]).map_err(|error| format!("{error:#}")))
    });
    waited.map_err(|error| anyhow!("{error:#}\n{}", daemon.last_words()))?;
    Ok(daemon)
}

/// Makes root a member of `frrvty`, for this sandbox alone.
pub(crate) fn allow_root() -> Result<()> {
    let text = fs::read_to_string("/etc/group").context("read /etc/group")?;
    if text.lines().any(|line| line == "frrvty:x:0:root") {
        return Ok(());
    }
    let mut group: String = text
        .lines()
        .filter(|line| !line.starts_with("frrvty:"))
        .map(|line| format!("{line}\n"))
        .collect();
    group.push_str("frrvty:x:0:root\n");
    let file = sandbox::room().join("lab/group");
    fs::write(&file, group).context("write a group file")?;
    mount_bind(&file, "/etc/group").context("bind a group file over /etc/group")
}

/// The answer of one daemon to one command, through `vtysh`.
///
/// # Errors
/// It does not answer.
pub fn ask(speaker: &Speaker, daemon: &str, question: &str) -> Result<String> {
    ask_at(&speaker.dir, daemon, &[question])
}

/// As [`ask`], of the FRR whose files lie in `dir`, and with several commands in one go (a way into its configuration).
///
/// # Errors
/// It does not answer, or does not know a command.
pub fn ask_at(dir: &Path, daemon: &str, commands: &[&str]) -> Result<String> {
    let vtysh = locate("vtysh").context("vtysh is not installed: sudo apt-get install frr")?;
    let mut command = Command::new(vtysh);
    command.arg("--vty_socket").arg(dir).args(["-d", daemon]);
    for text in commands {
        command.args(["-c", text]);
    }
    let output = command.output().context("run vtysh")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!(
            "vtysh in {}: {}: {text}{}",
            dir.display(),
            commands.join("; "),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(text)
}

pub(super) fn sessions(speaker: &Speaker) -> Result<Vec<Session>> {
    parse_sessions(&ask(speaker, "bgpd", "show bgp summary json")?)
}

fn parse_sessions(text: &str) -> Result<Vec<Session>> {
    let answer: Value = serde_json::from_str(text).context("show bgp summary json")?;
    let mut found: Vec<Session> = Vec::new();
    for (family, key) in ["ipv4Unicast", "ipv6Unicast"].into_iter().enumerate() {
        let peers = answer
            .get(key)
            .and_then(|family| family.get("peers"))
            .and_then(Value::as_object);
        for (address, peer) in peers.into_iter().flatten() {
            let name = peer
                .get("desc")
                .and_then(Value::as_str)
                .unwrap_or(address)
                .to_owned();
            let state = peer
                .get("state")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned();
            let count = peer.get("pfxRcd").and_then(Value::as_u64);
            let at = found
                .iter()
                .position(|session| session.neighbour == name)
                .unwrap_or_else(|| {
                    found.push(Session {
                        neighbour: name.clone(),
                        state,
                        received: [None, None],
                    });
                    found.len() - 1
                });
            if let Some(slot) = found
                .get_mut(at)
                .and_then(|session| session.received.get_mut(family))
            {
                *slot = count;
            }
        }
    }
    Ok(found)
}

fn zebra(topology: &Topology, router: &Router) -> String {
    let Router { name, ipv4, ipv6, .. } = router;
    let mut text = format!(
        "hostname {name}
log stdout informational
route-map source4 permit 10
 set src {ipv4}
route-map source6 permit 10
 set src {ipv6}
ip protocol bgp route-map source4
ipv6 protocol bgp route-map source6
"
    );
    if topology.numbering == Numbering::Unnumbered {
        // It would make itself the default router of every neighbour that heeds advertisements.
        for neighbour in topology.neighbours(router) {
            let _ = writeln!(
                text,
                "interface {}\n ipv6 nd ra-lifetime 0\nexit",
                neighbour.local.interface
            );
        }
    }
    text
}

/// The configuration of bgpd.
#[must_use]
pub fn bgpd(topology: &Topology, router: &Router) -> String {
    let Router { name, asn, ipv4, .. } = router;
    let mut text =
        format!("hostname {name}\nlog stdout informational\nrouter bgp {asn}\n bgp router-id {ipv4}\n");
    text.push_str(
        " no bgp ebgp-requires-policy\n no bgp default ipv4-unicast\n bgp bestpath as-path multipath-relax\n",
    );
    text.push_str(" no bgp network import-check\n timers bgp 10 30\n");
    let neighbours = topology.neighbours(router);
    // What a neighbour is called, and what says who it is.
    let called = |neighbour: &Neighbour<'_>| match topology.numbering {
        Numbering::Numbered => neighbour.remote.ipv4.to_string(),
        Numbering::Unnumbered => neighbour.local.interface.clone(),
    };
    let who = |neighbour: &Neighbour<'_>| match topology.numbering {
        Numbering::Numbered => format!("remote-as {}", neighbour.router.asn),
        Numbering::Unnumbered => "interface remote-as external".to_owned(),
    };
    for neighbour in &neighbours {
        let (address, name) = (called(neighbour), &neighbour.router.name);
        let _ = write!(
            text,
            " neighbor {address} {}\n neighbor {address} description {name}\n neighbor {address} timers connect 2\n neighbor {address} advertisement-interval 0\n",
            who(neighbour)
        );
    }
    for family in ["ipv4", "ipv6"] {
        let _ = writeln!(text, " address-family {family} unicast\n  maximum-paths 16");
        if let Some(cidrs) = router.pod_cidrs {
            match family {
                "ipv4" => drop(writeln!(text, "  network {}", cidrs.ipv4)),
                _ => drop(writeln!(text, "  network {}", cidrs.ipv6)),
            }
        }
        for neighbour in &neighbours {
            let address = called(neighbour);
            let _ = writeln!(text, "  neighbor {address} activate");
            if router.tier == Tier::Node {
                let _ = writeln!(text, "  neighbor {address} allowas-in 1");
            }
            if family == "ipv6" && topology.numbering == Numbering::Numbered {
                let _ = writeln!(
                    text,
                    "  neighbor {address} route-map next-hop-{} out",
                    neighbour.router.name
                );
            }
        }
        text.push_str(" exit-address-family\n");
    }
    text.push_str("exit\n");
    for neighbour in neighbours
        .iter()
        .filter(|_| topology.numbering == Numbering::Numbered)
    {
        let _ = write!(
            text,
            "route-map next-hop-{} permit 10\n set ipv6 next-hop global {}\nexit\n",
            neighbour.router.name, neighbour.local.ipv6
        );
    }
    text
}
