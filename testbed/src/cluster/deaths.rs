//! Agents that die, as operations: the agent itself, whose parent in the container starts the next one, the container, and either
//! while nobody answers for the cluster.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use flatroute_api::control::Status;
use serde_json::Value;

use super::Cluster;
use super::kubectl::unready;
use super::node::Node;
use super::operations::{AWAY, REPAIRED, ends};
use crate::control;

/// How often an agent is killed in a row.
const KILLS: usize = 5;
/// How long after the next agent runs it is killed too.
const APART: Duration = Duration::from_secs(3);
/// How long after it went an agent is killed.
const ALONE: Duration = Duration::from_secs(20);

/// One agent dies, and its parent in the container starts the next one.
pub(super) fn kill_agent(cluster: &mut Cluster) -> Result<String> {
    let name = cluster.nodes.first().context("a node")?.name.clone();
    let before = restarts(cluster, &name)?;
    let took = kill_and_await_next(cluster, &name)?;
    await_agent(cluster, &name, before)?;
    Ok(format!("on {name}; the next one ran {took} ms later"))
}

pub(super) fn kill_agent_in_a_row(cluster: &mut Cluster) -> Result<String> {
    let name = cluster.nodes.first().context("a node")?.name.clone();
    let before = restarts(cluster, &name)?;
    for round in 0..KILLS {
        if round > 0 {
            std::thread::sleep(APART);
        }
        kill_and_await_next(cluster, &name)?;
    }
    await_agent(cluster, &name, before)?;
    Ok(format!("on {name}"))
}

/// The container itself ends each time, and the kubelet waits longer before each next start. On the node at the other end of
/// the traffic: later operations shall find another one's kubelet without patience to lose.
pub(super) fn kill_container_in_a_row(cluster: &mut Cluster) -> Result<String> {
    let (_, far) = ends(cluster)?;
    let mut waits = Vec::new();
    for _ in 0..KILLS {
        let before = restarts(cluster, &far.node)?;
        let begun = Instant::now();
        let node = cluster.node(&far.node)?;
        node.run("kill", &["-KILL", &parent_of_agent(node)?])?;
        await_agent(cluster, &far.node, before + 1)?;
        waits.push(format!("{:.0}", begun.elapsed().as_secs_f64()));
    }
    Ok(format!(
        "on {}; ready again after {} s",
        far.node,
        waits.join(", ")
    ))
}

/// The first process of the agent's container, in numbers of its node.
fn parent_of_agent(node: &Node) -> Result<String> {
    let pids = node.run("pgrep", &["-f", "^/flatroute-agent run --respawn"])?;
    pids.split_whitespace()
        .next()
        .map(str::to_owned)
        .context("no agent runs")
}

/// The agent itself, its child.
fn agent(node: &Node) -> Result<String> {
    let children = node.run("pgrep", &["-P", &parent_of_agent(node)?])?;
    children
        .split_whitespace()
        .next()
        .map(str::to_owned)
        .context("no agent runs")
}

/// Sends SIGKILL to the agent of a node. Gives its number.
pub(super) fn kill_one(node: &Node) -> Result<String> {
    let pid = agent(node)?;
    node.run("kill", &["-KILL", &pid])?;
    Ok(pid)
}

/// The same, and waits for the next one. Gives how long that took, in milliseconds.
fn kill_and_await_next(cluster: &Cluster, name: &str) -> Result<u128> {
    let node = cluster.node(name)?;
    let killed = kill_one(node)?;
    let begun = Instant::now();
    cluster.await_(&format!("the next agent of {name}"), REPAIRED, |_| {
        Ok(match agent(node) {
            Ok(pid) if pid != killed => Ok(()),
            Ok(_) => Err("the one before is still there".to_owned()),
            Err(error) => Err(format!("{error:#}")),
        })
    })?;
    Ok(begun.elapsed().as_millis())
}

/// The agent's pod on a node.
fn agent_of(cluster: &Cluster, node: &str) -> Result<Value> {
    let field = format!("--field-selector=spec.nodeName={node}");
    let label = "app.kubernetes.io/name=flatroute";
    let pods = cluster
        .kubectl
        .list(&["pods", "-n", "flatroute-system", "-l", label, &field])?;
    pods.into_iter()
        .next()
        .with_context(|| format!("no agent on {node}"))
}

/// How often the agent of a node was started again.
fn restarts(cluster: &Cluster, node: &str) -> Result<u64> {
    let count = &agent_of(cluster, node)?["status"]["containerStatuses"][0]["restartCount"];
    count.as_u64().context("a count of restarts")
}

/// Waits until the agent of a node is ready, and has been started by the kubelet again as often as that.
fn await_agent(cluster: &Cluster, node: &str, restarted: u64) -> Result<()> {
    cluster.await_(&format!("the agent of {node} to be back"), REPAIRED, |cluster| {
        let now = restarts(cluster, node)?;
        if now != restarted {
            return Ok(Err(format!("it was started again {now} times, not {restarted}")));
        }
        Ok(unready(&agent_of(cluster, node)?).map_or(Ok(()), Err))
    })
}

/// Waits until every agent follows the API server again. They try less and less often while it is away, up to 30 s apart, and
/// whatever is changed before that counts only then.
fn await_followed(cluster: &Cluster) -> Result<()> {
    cluster.await_("all agents to follow the API server", REPAIRED, |cluster| {
        for node in &cluster.nodes {
            let status: Status = control::fetch(&node.path("/run/flatroute/agent.sock"), "/v1/status")?;
            let trouble = status.problems.iter().find(|problem| problem.kind == "APIServer");
            if let Some(problem) = trouble {
                return Ok(Err(format!("{}: {problem}", node.name)));
            }
            if status.objects.from != "APIServer" {
                return Ok(Err(format!(
                    "{}: objects from {}",
                    node.name, status.objects.from
                )));
            }
        }
        Ok(Ok(()))
    })
}

pub(super) fn api_server_away_agent_killed(cluster: &mut Cluster) -> Result<String> {
    away_and_killed(cluster, AWAY)
}

/// Takes the API server away for a time, and an agent after a while.
pub(super) fn away_and_killed(cluster: &mut Cluster, away: Duration) -> Result<String> {
    let victim = cluster.nodes.first().context("a node")?.name.clone();
    let before = restarts(cluster, &victim)?;
    cluster.control.kill_api_server();
    std::thread::sleep(ALONE);
    kill_one(cluster.node(&victim)?)?;
    std::thread::sleep(away.saturating_sub(ALONE));
    cluster.control.start_api_server()?;
    cluster.await_ready()?;
    await_agent(cluster, &victim, before)?;
    await_followed(cluster)?;
    let (after, away) = (ALONE.as_secs(), away.as_secs());
    Ok(format!(
        "the agent of {victim}, {after} s after the API server went, which came back after {away} s"
    ))
}
