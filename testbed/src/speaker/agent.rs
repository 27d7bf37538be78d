//! `flatroute-agent` as a router: its manifests, its start, its control socket.
//!
//! A node gets what a user would write: its Node object and, for each ToR, a BGPPeer of four lines. A ToR or a spine
//! runs the same agent in transit role: it advertises what it learned and installs all of it.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use flatroute_api::control::{Peer, Peers, Status};

use super::{Session, Software, Speaker};
use crate::control;
use crate::fabric::Fabric;
use crate::process::Daemon;
use crate::topology::{Numbering, Router, Tier, Topology};
use crate::wait;

pub(super) fn start(speaker: &mut Speaker, fabric: &Fabric, router: &Router) -> Result<()> {
    launch(speaker, fabric, &manifests(fabric.topology(), router))
}

/// Writes manifests, each whole and only for its owner, in their order. Those of other names stay.
///
/// # Errors
/// A file cannot be written.
pub fn rewrite(speaker: &Speaker, manifests: &[(String, String)]) -> Result<()> {
    let dir = speaker.dir.join("manifests");
    fs::create_dir_all(&dir).context("create the manifests' directory")?;
    for (file, text) in manifests {
        let draft = speaker.dir.join("draft");
        let write = || {
            fs::write(&draft, "")?;
            fs::set_permissions(&draft, fs::Permissions::from_mode(0o600))?;
            fs::write(&draft, text)?;
            fs::rename(&draft, dir.join(file))
        };
        write().with_context(|| format!("write {file}"))?;
    }
    Ok(())
}

/// Writes the manifests, sets the sysctls and starts the agent.
pub(super) fn launch(speaker: &mut Speaker, fabric: &Fabric, manifests: &[(String, String)]) -> Result<()> {
    rewrite(speaker, manifests)?;
    let program = Software::Agent.find()?;
    let namespace = fabric.namespace(&speaker.router)?;
    let mut prepare = namespace.command(&program);
    let output = prepare
        .arg("prepare")
        .output()
        .context("run flatroute-agent prepare")?;
    if !output.status.success() {
        bail!(
            "flatroute-agent prepare: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    run(speaker, fabric)?;
    let name = format!("flatroute-agent on {}", speaker.router);
    wait::until(&format!("{name} to answer"), Duration::from_secs(5), || {
        speaker.expect_running()?;
        Ok(control::fetch::<Status>(&socket(speaker), "/v1/status").map_err(|error| format!("{error:#}")))
    })?;
    Ok(())
}

/// Starts the agent with the manifests that are there.
pub(super) fn run(speaker: &mut Speaker, fabric: &Fabric) -> Result<()> {
    let dir = speaker.dir.join("manifests");
    let program = Software::Agent.find()?;
    let mut command = fabric.namespace(&speaker.router)?.command(&program);
    command.arg("run").arg("--standalone").arg(dir);
    command.arg("--node-name").arg(&speaker.router);
    command
        .arg("--control-socket")
        .arg(socket(speaker))
        .arg("--state-dir")
        .arg(speaker.dir.join("state"));
    let name = format!("flatroute-agent on {}", speaker.router);
    let daemon = Daemon::start(&name, command, &speaker.dir.join("agent.log"))?;
    speaker.daemons.push(daemon);
    Ok(())
}

/// Where the agent of a router answers.
#[must_use]
pub fn socket(speaker: &Speaker) -> PathBuf {
    speaker.dir.join("agent.sock")
}

pub(super) fn sessions(speaker: &Speaker) -> Result<Vec<Session>> {
    Ok(read_sessions(control::fetch(&socket(speaker), "/v1/peers")?))
}

fn read_sessions(answer: Peers) -> Vec<Session> {
    let session = |peer: Peer| {
        let up = |family: &str| {
            peer.negotiated
                .as_ref()
                .is_some_and(|agreed| agreed.families.iter().any(|f| f == family))
        };
        let count = |family: &str| {
            let found = peer.prefixes.iter().find(|prefixes| prefixes.family == family);
            up(family).then(|| found.map_or(0, |prefixes| prefixes.received))
        };
        let received = [count("IPv4"), count("IPv6")];
        Session {
            neighbour: peer.name,
            state: peer.state,
            received,
        }
    };
    answer.peers.into_iter().map(session).collect()
}

/// The manifests of a router: file names and contents.
#[must_use]
pub fn manifests(topology: &Topology, router: &Router) -> Vec<(String, String)> {
    let mut files = vec![("node.yaml".to_owned(), node(router))];
    if router.tier != Tier::Node {
        files.push(("configuration.yaml".to_owned(), configuration(router.asn)));
    }
    let mut peers = String::new();
    for neighbour in topology.neighbours(router) {
        let (name, asn) = (&neighbour.router.name, neighbour.router.asn);
        let who = match topology.numbering {
            Numbering::Numbered => format!("peerAddress: {}\n  peerASN: {asn}", neighbour.remote.ipv4),
            Numbering::Unnumbered => format!("interface: {}\n  peerASN: External", neighbour.local.interface),
        };
        let _ = write!(
            peers,
            "---\napiVersion: flatroute.io/v1alpha1\nkind: BGPPeer\nmetadata: {{name: {name}}}\nspec:\n  {who}\n"
        );
        if router.tier != Tier::Node {
            peers.push_str("  advertise: [LearnedRoutes]\n  installRoutes: [All]\n");
        }
    }
    files.push(("peers.yaml".to_owned(), peers));
    files
}

fn node(router: &Router) -> String {
    let Router {
        name,
        ipv4,
        ipv6,
        rack,
        ..
    } = router;
    let mut text = format!(
        "apiVersion: v1\nkind: Node\nmetadata:\n  name: {name}\n  labels: {{topology.kubernetes.io/rack: r{rack}}}\n"
    );
    if let Some(cidrs) = router.pod_cidrs {
        let _ = writeln!(
            text,
            "spec:\n  podCIDR: {0}\n  podCIDRs: [\"{0}\", \"{1}\"]",
            cidrs.ipv4, cidrs.ipv6
        );
    }
    let _ = write!(
        text,
        "status:\n  addresses:\n  - {{type: InternalIP, address: {ipv4}}}\n  - {{type: InternalIP, address: \"{ipv6}\"}}\n"
    );
    text
}

fn configuration(asn: u32) -> String {
    format!(
        "apiVersion: flatroute.io/v1alpha1\nkind: BGPConfiguration\nmetadata: {{name: default}}\nspec: {{localASN: {asn}}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::manifests;
    use crate::topology::Topology;

    #[test]
    fn a_node_gets_what_a_user_would_write() {
        let topology = Topology::two_racks();
        let files = manifests(&topology, topology.find("node1").expect("exists"));
        assert_eq!(
            files.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
            ["node.yaml", "peers.yaml"]
        );
        let (_, peers) = &files[1];
        let first = "---\napiVersion: flatroute.io/v1alpha1\nkind: BGPPeer\nmetadata: {name: tor1a}\nspec:\n  peerAddress: 172.31.0.16\n  peerASN: 65001\n";
        assert!(peers.starts_with(first), "{peers}");
        assert_eq!(peers.matches("kind: BGPPeer").count(), 2);
        let unnumbered = topology.unnumbered();
        let files = manifests(&unnumbered, unnumbered.find("node1").expect("exists"));
        let first = "---\napiVersion: flatroute.io/v1alpha1\nkind: BGPPeer\nmetadata: {name: tor1a}\nspec:\n  interface: to-tor1a\n  peerASN: External\n";
        assert!(files[1].1.starts_with(first), "{}", files[1].1);
    }

    #[test]
    fn every_manifest_is_without_problems() {
        for topology in [Topology::two_racks(), Topology::two_racks().unnumbered()] {
            for router in &topology.routers {
                for (name, text) in manifests(&topology, router) {
                    let problems = flatroute_api::manifest::parse(&name, &text).problems;
                    assert!(problems.is_empty(), "{} {name}: {problems:?}", router.name);
                }
            }
        }
    }
}
