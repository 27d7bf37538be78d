//! BIRD 2 as a router: its configuration and its command line.
//!
//! Two traps of its configuration. A kernel protocol without `merge paths` installs one path of many. And IPv6 over an
//! IPv4 session needs its next hop said, or BIRD may offer a link-local one alone, which RFC 2545 does not allow here.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};

use super::{Session, Software, Speaker};
use crate::fabric::Fabric;
use crate::namespace::Namespace;
use crate::process::{Daemon, locate};
use crate::topology::{Neighbour, Router, Tier, Topology};
use crate::wait;

/// The name of its configuration in its directory.
pub const CONFIGURATION: &str = "bird.conf";

pub(super) fn start(speaker: &mut Speaker, fabric: &Fabric, router: &Router) -> Result<()> {
    let text = configuration(fabric.topology(), router);
    launch(speaker, fabric, &text)
}

pub(super) fn launch(speaker: &mut Speaker, fabric: &Fabric, configuration: &str) -> Result<()> {
    let namespace = fabric.namespace(&speaker.router)?;
    let daemon = spawn(&speaker.dir, namespace, configuration, &[])?;
    speaker.daemons.push(daemon);
    Ok(())
}

/// Starts BIRD in `namespace` with its files in `dir` and `further` arguments, and waits until it answers.
///
/// # Errors
/// It is missing, or does not start; the error ends with its log.
pub fn spawn(dir: &Path, namespace: &Namespace, configuration: &str, further: &[&str]) -> Result<Daemon> {
    let file = dir.join(CONFIGURATION);
    fs::write(&file, configuration).context("write bird.conf")?;
    let mut command = namespace.command(&Software::Bird.find()?);
    command
        .arg("-f")
        .arg("-c")
        .arg(&file)
        .arg("-s")
        .arg(dir.join("bird.ctl"));
    command.arg("-P").arg(dir.join("bird.pid")).args(further);
    let name = format!("bird on {}", namespace.name());
    let mut daemon = Daemon::start(&name, command, &dir.join("bird.log"))?;
    let waited = wait::until(&format!("{name} to answer"), Duration::from_secs(5), || {
        daemon.expect_running()?;
        Ok(ask_at(dir, "show status").map_err(|error| format!("{error:#}")))
    });
    waited.map_err(|error| anyhow!("{error:#}\n{}", daemon.last_words()))?;
    Ok(daemon)
}

/// Gives a running BIRD another configuration.
///
/// # Errors
/// It does not take it.
pub fn reconfigure(speaker: &Speaker, configuration: &str) -> Result<()> {
    fs::write(speaker.dir.join(CONFIGURATION), configuration).context("write bird.conf")?;
    let answer = ask(speaker, "configure")?;
    if !answer.contains("Reconfigur") {
        bail!("bird on {}: configure: {answer}", speaker.router);
    }
    Ok(())
}

/// The answer of `birdc` to one command.
///
/// # Errors
/// BIRD does not answer.
pub fn ask(speaker: &Speaker, question: &str) -> Result<String> {
    ask_at(&speaker.dir, question)
}

/// As [`ask`], of the BIRD whose files lie in `dir`.
///
/// # Errors
/// BIRD does not answer.
pub fn ask_at(dir: &Path, question: &str) -> Result<String> {
    let birdc = locate("birdc").context("birdc is not installed: sudo apt-get install bird2")?;
    let output = Command::new(birdc)
        .arg("-s")
        .arg(dir.join("bird.ctl"))
        .args(question.split(' '))
        .output();
    let output = output.context("run birdc")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!(
            "birdc in {}: {question}: {text}{}",
            dir.display(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(text)
}

/// BIRD's version, from its own mouth.
///
/// # Errors
/// It is not installed.
pub fn version() -> Result<String> {
    let output = Command::new(Software::Bird.find()?)
        .arg("--version")
        .output()
        .context("run bird --version")?;
    let text = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&text).trim().to_owned())
}

pub(super) fn sessions(speaker: &Speaker) -> Result<Vec<Session>> {
    Ok(parse_sessions(&ask(speaker, "show protocols all")?))
}

/// The BGP sessions in the output of `show protocols all`. A protocol begins in the first column, with its name, kind,
/// table, state, time and (for BGP) the state of the session; channels and their counts follow indented.
pub(super) fn parse_sessions(text: &str) -> Vec<Session> {
    let mut found: Vec<Session> = Vec::new();
    let mut family = None;
    let mut in_bgp = false;
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if !line.starts_with(' ') {
            in_bgp = words.get(1) == Some(&"BGP");
            family = None;
            if let (true, Some(name)) = (in_bgp, words.first()) {
                let state = words.get(5).or(words.get(3)).copied().unwrap_or_default();
                let neighbour = name.strip_prefix("to_").unwrap_or(name).to_owned();
                found.push(Session {
                    neighbour,
                    state: state.to_owned(),
                    received: [None, None],
                });
            }
            continue;
        }
        let Some(session) = found.last_mut().filter(|_| in_bgp) else {
            continue;
        };
        match words.as_slice() {
            ["Channel", "ipv4"] => family = Some(0),
            ["Channel", "ipv6"] => family = Some(1),
            ["Routes:", count, "imported,", ..] => {
                if let Some(slot) = family.and_then(|family: usize| session.received.get_mut(family)) {
                    *slot = count.parse().ok();
                }
            }
            _ => {}
        }
    }
    found
}

/// The whole configuration of a router.
#[must_use]
pub fn configuration(topology: &Topology, router: &Router) -> String {
    let mut text = preamble(router);
    if let Some(cidrs) = router.pod_cidrs {
        let _ = write!(
            text,
            "\nprotocol static pods4 {{ ipv4; route {} unreachable; }}\nprotocol static pods6 {{ ipv6; route {} unreachable; }}\n",
            cidrs.ipv4, cidrs.ipv6
        );
    }
    for neighbour in topology.neighbours(router) {
        text.push_str(&session(router, &neighbour, neighbour.router.asn));
    }
    text
}

/// Everything of a configuration but what is originated and the sessions.
#[must_use]
pub fn preamble(router: &Router) -> String {
    let Router { name, ipv4, ipv6, .. } = router;
    format!(
        "# {name}
log stderr all;
router id {ipv4};
debug protocols {{ states }};
protocol device {{ }}
protocol kernel kernel4 {{
    merge paths on limit 16;
    ipv4 {{ import none; export filter {{ krt_prefsrc = {ipv4}; accept; }}; }};
}}
protocol kernel kernel6 {{
    merge paths on limit 16;
    ipv6 {{ import none; export filter {{ krt_prefsrc = {ipv6}; accept; }}; }};
}}
"
    )
}

/// One session; `remote_asn` is a parameter so that a test may get it wrong.
#[must_use]
pub fn session(router: &Router, neighbour: &Neighbour<'_>, remote_asn: u32) -> String {
    let (export, own) = match router.tier {
        Tier::Node => ("where source = RTS_STATIC", "    allow local as 1;\n"),
        Tier::Tor | Tier::Spine => ("where source = RTS_BGP || source = RTS_STATIC", ""),
    };
    format!(
        "
protocol bgp to_{peer} {{
    local {local} as {asn};
    neighbor {remote} as {remote_asn};
    hold time 30;
    connect delay time 1;
    connect retry time 2;
    error wait time 1, 4;
{own}    ipv4 {{ import all; export {export}; }};
    ipv6 {{ import all; export {export}; next hop address {local6}; }};
}}
",
        peer = neighbour.router.name,
        local = neighbour.local.ipv4,
        asn = router.asn,
        remote = neighbour.remote.ipv4,
        local6 = neighbour.local.ipv6,
    )
}
