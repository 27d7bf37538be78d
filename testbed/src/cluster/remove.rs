//! docs/remove.md, word by word: its commands are read from the page and given to a shell, on a cluster whose pods were
//! stopped as the page says. Then nothing of ours is left: in the cluster, on any node, on the switches.
//!
//! A page that drifts from what is installed fails here, and so does a program that leaves something that the page does not
//! name.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use ipnetwork::IpNetwork;

use super::exam::{Row, Verdict};
use super::node::Node;
use super::parts::source_tree;
use super::site::POD_CIDRS;
use super::{Carrier, Cluster};
use crate::kernel;
use crate::namespace::Namespace;
use crate::process::locate;
use crate::topology::Tier;
use crate::wait::Look;

/// From the end of the workloads to links that are gone from every node.
const STOPPED: Duration = Duration::from_secs(120);
/// What the kubelet cleans up after us: its logs.
const CLEAN: Duration = Duration::from_secs(60);
/// Routes gone from ToRs, which keep them for the restart time (120 s) of agents that ended without a word.
const FORGOTTEN: Duration = Duration::from_secs(180);
/// Where our files are, and the kubelet's and containerd's about us.
const PLACES: &str = "/etc/cni /opt/cni /var/lib/cni /var/lib/flatroute /run/flatroute /run/cni /var/log/pods /var/log/containers";

/// Follows the page and looks what is left.
pub(super) fn run(cluster: &Cluster) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut row = |name: &str, answer: Result<String>| {
        let (verdict, detail) = match answer {
            Ok(detail) => (Verdict::Ok, detail),
            Err(error) => (Verdict::Failed, format!("{error:#}")),
        };
        cluster
            .teller
            .say(&format!("{name}: {}: {detail}", verdict.word()));
        rows.push(Row {
            name: name.to_owned(),
            verdict,
            detail,
        });
        verdict == Verdict::Ok
    };
    if cluster.carrier == Carrier::Bird {
        rows.push(Row {
            name: "docs/remove.md, word by word".to_owned(),
            verdict: Verdict::NotAsked,
            detail: "with CARRIER=bird flatroute was not installed".to_owned(),
        });
        return rows;
    }
    if row("docs/remove.md, word by word", follow(cluster)) {
        row("nothing is left in the cluster", of_cluster(cluster));
        row("nothing is left on any node", of_nodes(cluster));
        row("nothing is left on ToRs and spine", of_switches(cluster));
    }
    rows
}

/// The page's commands: those with the prompt `$` are for who has kubectl, those with `#` for root on a node.
fn commands(page: &str) -> (Vec<&str>, Vec<&str>) {
    let (mut anywhere, mut on_node) = (Vec::new(), Vec::new());
    let mut inside = false;
    for line in page.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if inside && let Some(command) = line.strip_prefix("$ ") {
            anywhere.push(command);
        } else if inside && let Some(command) = line.strip_prefix("# ") {
            on_node.push(command);
        }
    }
    (anywhere, on_node)
}

fn follow(cluster: &Cluster) -> Result<String> {
    let path = source_tree().join("docs/remove.md");
    let page = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let (anywhere, on_node) = commands(&page);
    ensure!(
        !anywhere.is_empty() && !on_node.is_empty(),
        "{} has no commands with the prompts `$` and `#`",
        path.display()
    );
    stop_workloads(cluster)?;
    let shell = locate("bash").context("bash is not installed")?;
    let mut inside = cluster.ground.control.command(&shell);
    inside
        .current_dir(source_tree())
        .env("PATH", with_kubectl(cluster)?)
        .args(["-ec", &anywhere.join("\n")]);
    succeed(&mut inside, "the cluster's commands")?;
    for node in &cluster.nodes {
        let mut inside = node.command(&shell)?;
        inside.args(["-ec", &on_node.join("\n")]);
        succeed(&mut inside, &format!("the commands on {}", node.name))?;
    }
    Ok(format!(
        "{} commands for the cluster and {} on each of {} nodes",
        anywhere.len(),
        on_node.len(),
        cluster.nodes.len()
    ))
}

fn succeed(command: &mut Command, what: &str) -> Result<()> {
    let output = command.output().context("run bash")?;
    ensure!(
        output.status.success(),
        "{what}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// A search path on which `kubectl` is the administrator's.
fn with_kubectl(cluster: &Cluster) -> Result<String> {
    let bin = cluster.common.state.join("removal");
    fs::create_dir_all(&bin).with_context(|| format!("create {}", bin.display()))?;
    let path = bin.join("kubectl");
    let text = format!(
        "#!/bin/sh\nexec {} --kubeconfig {} \"$@\"\n",
        cluster.common.parts.find("kubectl")?.display(),
        cluster.common.secrets.kubeconfig_of("admin").display()
    );
    fs::write(&path, text).context("write a kubectl")?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).context("make it executable")?;
    let rest = std::env::var("PATH").unwrap_or_default();
    Ok(format!("{}:{rest}", bin.display()))
}

/// Ends all pods that have a network of ours, as the page asks for, and waits until their links are gone.
fn stop_workloads(cluster: &Cluster) -> Result<()> {
    for namespace in ["default", "kube-system"] {
        let kinds = "deployments,daemonsets,replicasets,pods";
        cluster
            .kubectl
            .run(&["delete", kinds, "--all", "-n", namespace, "--timeout=90s"])?;
    }
    cluster.await_("pods and their links to go", STOPPED, |cluster| {
        let pods = cluster.kubectl.list(&["pods", "-A"])?;
        let left = pods.iter().find(|pod| pod["spec"]["hostNetwork"] != true);
        if let Some(pod) = left {
            return Ok(Err(format!("{} is there", pod["metadata"]["name"])));
        }
        for node in &cluster.nodes {
            if let Err(reason) = links(cluster.ground.fabric.namespace(&node.name)?)? {
                return Ok(Err(format!("{}: {reason}", node.name)));
            }
        }
        Ok(Ok(()))
    })
}

/// Whether a node has no links but its own.
fn links(namespace: &Namespace) -> Result<Look<()>> {
    let links = namespace.netlink()?.links()?;
    let mut others = links
        .into_iter()
        .filter(|link| link.name != "lo" && !link.name.starts_with("to-"));
    Ok(others
        .next()
        .map_or(Ok(()), |link| Err(format!("the link {}", link.name))))
}

fn of_cluster(cluster: &Cluster) -> Result<String> {
    let kinds = [
        "customresourcedefinitions",
        "clusterroles",
        "clusterrolebindings",
        "priorityclasses",
        "namespaces",
    ];
    for kind in kinds {
        let names = cluster.kubectl.run(&["get", kind, "-o", "name"])?;
        let left: Vec<&str> = names.lines().filter(|name| name.contains("flatroute")).collect();
        ensure!(left.is_empty(), "{left:?}");
    }
    for kind in [
        "pods",
        "leases",
        "secrets",
        "configmaps",
        "roles",
        "rolebindings",
        "serviceaccounts",
    ] {
        let names = cluster.kubectl.run(&["get", kind, "-A", "-o", "name"])?;
        let left: Vec<&str> = names.lines().filter(|name| name.contains("flatroute")).collect();
        ensure!(left.is_empty(), "{left:?}");
    }
    for node in cluster.kubectl.list(&["nodes"])? {
        let name = &node["metadata"]["name"];
        let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
        let mut ours = conditions.filter(|condition| condition["type"] == "NetworkUnavailable");
        ensure!(
            ours.next().is_none(),
            "{name} has the condition NetworkUnavailable"
        );
        for part in ["annotations", "labels"] {
            let text = node["metadata"][part].to_string();
            ensure!(!text.contains("flatroute.io"), "{name}: {part} {text}");
        }
    }
    Ok("no kind, object, role, namespace or condition of a Node".to_owned())
}

fn of_nodes(cluster: &Cluster) -> Result<String> {
    for node in &cluster.nodes {
        cluster.await_(&format!("nothing to be left on {}", node.name), CLEAN, |_| {
            left_on(cluster, node)
        })?;
    }
    let tables = match locate("nft") {
        Some(_) => ", table of nf_tables",
        // The page needs it too.
        None => " (tables of nf_tables were not looked for: `nft` is not installed)",
    };
    Ok(format!(
        "no link, route, rule, nexthop, file, image, process{tables}"
    ))
}

fn left_on(cluster: &Cluster, node: &Node) -> Result<Look<()>> {
    let namespace = cluster.ground.fabric.namespace(&node.name)?;
    if let Err(reason) = links(namespace)? {
        return Ok(Err(reason));
    }
    let held = kernel::routes_of_all_tables(namespace)?;
    let protocol = cluster.carrier.route_protocol();
    if let Some(route) = held.iter().find(|route| route.protocol == protocol) {
        return Ok(Err(format!("the route {route}")));
    }
    let shown = |what: &str, program: &str, arguments: &[&str]| -> Result<Look<()>> {
        let text = node.run(program, arguments)?;
        Ok(match text.trim() {
            "" => Ok(()),
            text => Err(format!("{what}: {text}")),
        })
    };
    // The kernel's own rules are 0, 32766 and 32767.
    let rules = "{ ip rule; ip -6 rule; } | grep -Ev '^(0|32766|32767):' || true";
    let files = format!("find {PLACES} -name '*flatroute*' 2>/dev/null || true");
    let tables = "! command -v nft >/dev/null || nft list tables | grep flatroute || true";
    let images = "ctr -n k8s.io images ls -q | grep flatroute.io/ || true";
    for (what, program, arguments) in [
        ("nexthops", "ip", ["nexthop", "show"].as_slice()),
        ("rules", "bash", &["-c", rules]),
        ("tables of nf_tables", "bash", &["-c", tables]),
        ("files", "bash", &["-c", &files]),
        ("images", "bash", &["-c", images]),
        (
            "processes",
            "bash",
            &["-c", "pgrep -fa '^/?flatroute-(agent|cni)' || true"],
        ),
    ] {
        let look = shown(what, program, arguments)?;
        if look.is_err() {
            return Ok(look);
        }
    }
    Ok(Ok(()))
}

fn of_switches(cluster: &Cluster) -> Result<String> {
    let site = &cluster.common.site;
    let pods = POD_CIDRS.map(str::parse::<IpNetwork>);
    let pods = pods.into_iter().collect::<std::result::Result<Vec<_>, _>>()?;
    cluster.await_("ToRs and spine to know no pods", FORGOTTEN, |cluster| {
        let switches = site
            .topology
            .routers
            .iter()
            .filter(|router| router.tier != Tier::Node);
        for router in switches {
            let held = kernel::routes_of_all_tables(cluster.ground.fabric.namespace(&router.name)?)?;
            let left = held
                .iter()
                .find(|route| route.prefix.prefix() > 0 && pods.iter().any(|pods| route.touches(*pods)));
            if let Some(route) = left {
                return Ok(Err(format!("{} has {route}", router.name)));
            }
        }
        Ok(Ok(()))
    })?;
    Ok("no route to a pod".to_owned())
}

#[cfg(test)]
mod tests {
    use super::commands;

    #[test]
    fn commands_are_those_with_a_prompt() {
        let page = "# Title\n```console\n$ kubectl delete -k x   # or so\nout\n# rm -f y\n```\n$ no\n```yaml\n# no\n```\n";
        assert_eq!(
            commands(page),
            (vec!["kubectl delete -k x   # or so"], vec!["rm -f y"])
        );
    }
}
