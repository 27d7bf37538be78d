//! Sessions with keys (TCP MD5), as operations: nodes and ToRs get one, and while the API server is away, which holds the nodes',
//! an agent is killed: the next one has the key from its own node.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::Cluster;
use super::deaths::away_and_killed;
use crate::topology::Tier;

/// The key of both ends.
const KEY: &str = "k3y-of-the-cluster";
/// The Secret that has it.
const SECRET: &str = "tors";
/// Sessions up again after the key of one end changed.
const SETTLED: Duration = Duration::from_secs(60);
/// How long the API server is away.
const AWAY: Duration = Duration::from_secs(45);

pub(super) fn give(cluster: &mut Cluster) -> Result<String> {
    cluster.kubectl.apply(&format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {SECRET}, namespace: flatroute-system}}\nstringData: {{password: {KEY}}}\n"
    ))?;
    let auth = format!("{{\"md5\":{{\"secretRef\":{{\"name\":\"{SECRET}\"}}}}}}");
    change(cluster, Some(KEY), &auth)?;
    Ok("on all sessions between nodes and ToRs".to_owned())
}

pub(super) fn away(cluster: &mut Cluster) -> Result<String> {
    away_and_killed(cluster, AWAY)
}

pub(super) fn take_back(cluster: &mut Cluster) -> Result<String> {
    change(cluster, None, "null")?;
    let secret = ["delete", "secret", SECRET, "-n", "flatroute-system"];
    cluster.kubectl.run(&secret)?;
    Ok(String::new())
}

/// Changes both ends: the ToRs first, so that a session that is up afterwards has what both have.
fn change(cluster: &mut Cluster, key: Option<&'static str>, auth: &str) -> Result<()> {
    cluster.ground.change_key(key)?;
    await_sessions(cluster, false)?;
    let patch = format!("{{\"spec\":{{\"auth\":{auth}}}}}");
    cluster
        .kubectl
        .run(&["patch", "bgppeer", SECRET, "--type=merge", "-p", &patch])?;
    await_sessions(cluster, true)
}

/// Waits until all sessions between ToRs and nodes are up, or all are down.
fn await_sessions(cluster: &mut Cluster, up: bool) -> Result<()> {
    let nodes: Vec<String> = cluster.nodes.iter().map(|node| node.name.clone()).collect();
    let site = cluster.common.site.clone();
    let mut tors = Vec::new();
    for (at, speaker) in cluster.ground.switches.iter().enumerate() {
        let router = site.topology.find(speaker.router()).context("a switch")?;
        if router.tier == Tier::Tor {
            tors.push(at);
        }
    }
    let what = format!("sessions with nodes to be {}", if up { "up" } else { "down" });
    crate::wait::until(&what, SETTLED, || {
        for at in &tors {
            let speaker = &mut cluster.ground.switches[*at];
            let is_node = |name: &str| nodes.iter().any(|node| name.starts_with(node.as_str()));
            let sessions = speaker.sessions()?;
            let other = sessions
                .iter()
                .find(|session| is_node(&session.neighbour) && session.is_established() != up);
            if let Some(session) = other {
                return Ok(Err(format!("{}: {session:?}", speaker.router())));
            }
        }
        Ok(Ok(()))
    })
    .map(drop)
}
