//! The receivers: our agent and BIRD, configured for the same job and no more.
//!
//! Neither sets a preferred source, neither passes anything on, both wait for the feeders to connect. BIRD merges paths
//! only when there are two; its periodic scan of the kernel's table is put off beyond the round, ours has none.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use flatroute_api::control::{Peers, Status};

use super::Shape;
use super::ground::{Ground, Transport};
use crate::control;
use crate::process::{Daemon, locate};
use crate::sandbox;
use crate::speaker::Software;
use crate::wait;

/// The receiver's.
pub(super) const ASN: u32 = 64512;
/// What the receivers offer.
pub(super) const HOLD_SECONDS: u16 = 90;
/// For a receiver to be ready for sessions.
const START_BOUND: Duration = Duration::from_secs(10);

/// Starts the receiver and waits until it is ready for the feeders.
pub(super) fn start(ground: &Ground, software: Software, shape: Shape) -> Result<Daemon> {
    match software {
        Software::Agent => start_agent(ground, shape, &software.find()?),
        Software::Bird => start_bird(ground, shape),
        Software::Frr => bail!("FRR is not a receiver of this bench"),
    }
}

fn room(ground: &Ground) -> Result<PathBuf> {
    let dir = sandbox::room().join("lab").join(ground.namespace().name());
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    Ok(dir)
}

/// `program`: a build of our agent.
pub(super) fn start_agent(ground: &Ground, shape: Shape, program: &Path) -> Result<Daemon> {
    let dir = room(ground)?;
    let manifests = dir.join("manifests");
    fs::create_dir_all(&manifests).context("create the manifests' directory")?;
    fs::write(manifests.join("bench.yaml"), agent_manifests(ground, shape)).context("write the manifests")?;
    let mut command = ground.namespace().command(program);
    let socket = dir.join("agent.sock");
    command
        .args(["run", "--node-name", "receiver", "--standalone"])
        .arg(&manifests);
    command.arg("--control-socket").arg(&socket);
    command.arg("--state-dir").arg(dir.join("state"));
    let mut daemon = Daemon::start("flatroute-agent", command, &dir.join("agent.log"))?;
    let ready = wait::until("the agent to listen", START_BOUND, || {
        daemon.expect_running()?;
        let problems = match control::fetch::<Status>(&socket, "/v1/status") {
            Ok(status) => status.problems,
            Err(error) => return Ok(Err(format!("{error:#}"))),
        };
        // What is wrong with the machine's own settings is not the manifests' fault.
        if let Some(problem) = problems.iter().find(|problem| problem.kind != "Node") {
            bail!("the bench's own manifests: {problem}");
        }
        let peers = control::fetch::<Peers>(&socket, "/v1/peers")?.peers;
        let waiting = |state: &str| ["Active", "Idle"].contains(&state);
        Ok(
            if peers.len() == ground.feeders().len() && peers.iter().all(|peer| waiting(&peer.state)) {
                Ok(())
            } else {
                Err(format!("{} peers", peers.len()))
            },
        )
    });
    ready.with_context(|| daemon.last_words())?;
    Ok(daemon)
}

fn agent_manifests(ground: &Ground, shape: Shape) -> String {
    let family = match shape.transport {
        Transport::Ipv4 => "IPv4",
        Transport::Ipv6 => "IPv6",
    };
    let mut text = "apiVersion: v1\nkind: Node\nmetadata: {name: receiver}\n".to_owned();
    for (number, asn) in ground.feeders() {
        let (address, _) = shape.transport.link(*number);
        let _ = write!(
            text,
            "---
apiVersion: flatroute.io/v1alpha1
kind: BGPPeer
metadata: {{name: feeder{number}}}
spec:
  peerAddress: \"{address}\"
  peerASN: {asn}
  connectMode: Passive
  families: [{family}]
  timers: {{holdTime: {HOLD_SECONDS}s}}
  maxPrefixes: {{limit: 2000000}}
  installRoutes: [All]
"
        );
    }
    text
}

/// BIRD as it is installed.
pub(super) fn start_bird(ground: &Ground, shape: Shape) -> Result<Daemon> {
    let dir = room(ground)?;
    let (file, socket) = (dir.join("bird.conf"), dir.join("bird.ctl"));
    fs::write(&file, bird_configuration(ground, shape)).context("write bird.conf")?;
    let mut command = ground.namespace().command(&Software::Bird.find()?);
    command.arg("-f").arg("-c").arg(&file).arg("-s").arg(&socket);
    command.arg("-P").arg(dir.join("bird.pid"));
    let mut daemon = Daemon::start("bird", command, &dir.join("bird.log"))?;
    let birdc = locate("birdc").context("birdc is not installed: sudo apt-get install bird2")?;
    let ready = wait::until("BIRD to listen", START_BOUND, || {
        daemon.expect_running()?;
        let output = Command::new(&birdc)
            .arg("-s")
            .arg(&socket)
            .args(["show", "protocols"])
            .output();
        let text = String::from_utf8_lossy(&output.context("run birdc")?.stdout).into_owned();
        let sessions = text.lines().filter(|line| line.starts_with("feeder"));
        let waiting = sessions.filter(|line| line.contains("Passive")).count();
        Ok(if waiting == ground.feeders().len() {
            Ok(())
        } else {
            Err(text)
        })
    });
    ready.with_context(|| daemon.last_words())?;
    Ok(daemon)
}

fn bird_configuration(ground: &Ground, shape: Shape) -> String {
    let family = match shape.transport {
        Transport::Ipv4 => "ipv4",
        Transport::Ipv6 => "ipv6",
    };
    let merge = if shape.hops > 1 {
        "merge paths on limit 16;"
    } else {
        ""
    };
    let mut text = format!(
        "router id 10.0.1.2;\nlog stderr all;\nprotocol device {{ }}\n\
         protocol kernel {{ scan time 3600; {merge} {family} {{ import none; export all; }}; }}\n"
    );
    for (number, asn) in ground.feeders() {
        let (remote, local) = shape.transport.link(*number);
        let _ = write!(
            text,
            "protocol bgp feeder{number} {{
    local {local} as {ASN};
    neighbor {remote} as {asn};
    passive on;
    hold time {HOLD_SECONDS};
    {family} {{ import all; export none; }};
}}
"
        );
    }
    text
}
