//! What the agents may do at the API server (`deploy/base/rbac.yaml`) beside what its audit log says that they did.
//!
//! Three sentences are asked: no request of an agent was forbidden; each right that is granted, a verb on a resource, was
//! used; nothing was asked that is not granted. Together they say that the roles are as narrow as they can be. A test holds
//! rbac.yaml to the tables of docs/api-server.md, so what is said of the one holds for the other.
//!
//! What no part of the test happens to need is made to happen: a BGPPeer whose key comes and goes takes the rights on
//! Secrets, and its event, told twice, the right to count one; a BGPConfiguration that wants no BGPNodeStatus takes the right
//! to delete them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::Value;

use super::audit::{Request, Requests};
use super::exam::{Row, Verdict};
use super::{Carrier, Cluster};
use crate::manifests::deploy_dir;
use crate::paint;

/// From an object to what the agents do about it; the status of a BGPPeer is written at most every 12.5 s.
const HEEDED: Duration = Duration::from_secs(60);
/// From an event that happens again to its count: a minute after the event was written.
const COUNTED: Duration = Duration::from_secs(120);
/// How many requests are shown when some should not be there.
const SHOWN: usize = 5;

/// A neighbour that is nowhere, with a key.
const PEER: &str = "apiVersion: flatroute.io/v1alpha1
kind: BGPPeer
metadata: {name: with-key}
spec:
  peerAddress: 192.0.2.179
  peerASN: 65179
  auth: {md5: {secretRef: {name: key-of-privileges}}}
";
const SECRET: &str = "apiVersion: v1
kind: Secret
metadata: {name: key-of-privileges, namespace: flatroute-system}
stringData: {password: not-a-secret}
";

/// Each node's agent deletes its BGPNodeStatus.
const NO_NODE_STATUS: &str = "apiVersion: flatroute.io/v1alpha1
kind: BGPConfiguration
metadata: {name: default}
spec: {nodeStatus: {mode: Disabled}}
";

/// One right: a verb on a resource, or on one object of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// The namespace of the Role; empty: the ClusterRole.
    namespace: String,
    group: String,
    resource: String,
    /// The one object that is meant; empty: all.
    name: String,
    verb: String,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (resource, subresource) = match self.resource.split_once('/') {
            Some((resource, subresource)) => (resource, format!("/{subresource}")),
            None => (self.resource.as_str(), String::new()),
        };
        write!(f, "{} {resource}", self.verb)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        write!(f, "{subresource}")?;
        if !self.name.is_empty() {
            write!(f, " {}", self.name)?;
        }
        if !self.namespace.is_empty() {
            write!(f, " in {}", self.namespace)?;
        }
        Ok(())
    }
}

impl Right {
    /// Whether a request is a use of it. An apply that makes the object takes the verb `create` beside `patch`, and is
    /// noted as `patch` alone.
    fn is_used_by(&self, request: &Request) -> bool {
        let makes = self.verb == "create" && request.verb == "patch" && request.code == 201;
        (self.verb == request.verb || makes)
            && self.group == request.group
            && self.resource == request.resource
            && (self.namespace.is_empty() || self.namespace == request.namespace)
            && (self.name.is_empty() || self.name == request.name)
    }
}

/// The rights of the roles in a manifest.
///
/// # Errors
/// It is no YAML.
pub fn rights(rbac: &str) -> Result<BTreeSet<Right>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(rbac).map_err(|error| anyhow!("{error}"))?;
    let words = |value: &Value| -> Vec<String> {
        let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let mut all = BTreeSet::new();
    for role in documents
        .iter()
        .filter(|role| role["kind"] == "ClusterRole" || role["kind"] == "Role")
    {
        let namespace = role["metadata"]["namespace"].as_str().unwrap_or_default();
        for rule in role["rules"].as_array().into_iter().flatten() {
            let mut names = words(&rule["resourceNames"]);
            if names.is_empty() {
                names.push(String::new());
            }
            for group in words(&rule["apiGroups"]) {
                for resource in words(&rule["resources"]) {
                    for verb in words(&rule["verbs"]) {
                        all.extend(names.iter().map(|name| Right {
                            namespace: namespace.to_owned(),
                            group: group.clone(),
                            resource: resource.clone(),
                            name: name.clone(),
                            verb: verb.clone(),
                        }));
                    }
                }
            }
        }
    }
    Ok(all)
}

/// How often each right was used. What was forbidden is no use.
#[must_use]
pub fn uses<'a>(rights: &'a BTreeSet<Right>, requests: &Requests) -> BTreeMap<&'a Right, usize> {
    let count = |right: &Right| {
        let used = |request: &&Request| request.code != 403 && right.is_used_by(request);
        requests.all.iter().filter(used).count()
    };
    rights.iter().map(|right| (right, count(right))).collect()
}

/// The requests that no right covers, forbidden or not.
#[must_use]
pub fn beyond<'a>(rights: &BTreeSet<Right>, requests: &'a Requests) -> Vec<&'a Request> {
    let is_covered = |request: &Request| rights.iter().any(|right| right.is_used_by(request));
    let all = requests.all.iter();
    all.filter(|request| !is_covered(request)).collect()
}

/// The requests that were forbidden.
#[must_use]
pub fn forbidden(requests: &Requests) -> Vec<&Request> {
    requests
        .all
        .iter()
        .filter(|request| request.code == 403)
        .collect()
}

/// The rights of `deploy/base`.
///
/// # Errors
/// The file cannot be read.
pub fn granted() -> Result<BTreeSet<Right>> {
    let file = deploy_dir().join("base/rbac.yaml");
    rights(&fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?)
}

/// Asks the three sentences.
///
/// # Errors
/// The log cannot be read.
pub fn run(cluster: &Cluster) -> Result<Vec<Row>> {
    if cluster.carrier != Carrier::Flatroute {
        return Ok(vec![Row {
            name: "privileges".to_owned(),
            verdict: Verdict::NotAsked,
            detail: "flatroute does not run here".to_owned(),
        }]);
    }
    let rights = granted()?;
    let happened = make_happen(cluster, &rights);
    let requests = cluster.control.requests_of_agents()?;
    let uses = uses(&rights, &requests);
    let table: Vec<Vec<String>> = uses
        .iter()
        .map(|(right, count)| vec![count.to_string(), right.to_string()])
        .collect();
    print!("{}", paint::table(&table));
    let forbidden = forbidden(&requests);
    let beyond = beyond(&rights, &requests);
    let torn = match requests.torn {
        0 => String::new(),
        torn => format!("; {torn} lines were torn when the API server was killed"),
    };
    let unused: Vec<String> = uses
        .iter()
        .filter(|(_, count)| **count == 0)
        .map(|(right, _)| right.to_string())
        .collect();
    let mut words = format!("{} of {} rights", rights.len() - unused.len(), rights.len());
    if !unused.is_empty() {
        words = format!("{words}; not used: {}", unused.join(", "));
    }
    if let Err(error) = happened {
        words = format!("{words}; {error:#}");
    }
    Ok(vec![
        Row {
            name: "nothing that an agent asks is forbidden".to_owned(),
            verdict: verdict(forbidden.is_empty() && !requests.all.is_empty()),
            detail: format!(
                "{} requests by {} agents, {} answered 403{torn}{}",
                requests.all.len(),
                requests.pods(),
                forbidden.len(),
                show(&forbidden)
            ),
        },
        Row {
            name: "every right of deploy/base/rbac.yaml is used".to_owned(),
            verdict: verdict(unused.is_empty()),
            detail: words,
        },
        Row {
            name: "nothing is asked that deploy/base/rbac.yaml does not grant".to_owned(),
            verdict: verdict(beyond.is_empty()),
            detail: format!("{} such requests{}", beyond.len(), show(&beyond)),
        },
    ])
}

/// What holds at any time, without waiting for each right to be used.
///
/// # Errors
/// The agents asked nothing, or for what is forbidden or not granted: which.
pub fn nothing_amiss(cluster: &Cluster) -> Result<()> {
    let requests = cluster.control.requests_of_agents()?;
    ensure!(
        !requests.all.is_empty(),
        "the audit log has no request of an agent"
    );
    let rights = granted()?;
    let amiss = [forbidden(&requests), beyond(&rights, &requests)].concat();
    ensure!(
        amiss.is_empty(),
        "an agent asks for what it may not{}",
        show(&amiss)
    );
    Ok(())
}

fn verdict(holds: bool) -> Verdict {
    if holds { Verdict::Ok } else { Verdict::Failed }
}

fn show(requests: &[&Request]) -> String {
    requests
        .iter()
        .take(SHOWN)
        .map(|request| format!("; {request}"))
        .collect()
}

/// Lets the agents use what they have not needed so far.
fn make_happen(cluster: &Cluster, rights: &BTreeSet<Right>) -> Result<()> {
    let unused = || -> Result<Vec<String>> {
        let requests = cluster.control.requests_of_agents()?;
        let uses = uses(rights, &requests);
        let unused = uses.into_iter().filter(|(_, count)| *count == 0);
        Ok(unused.map(|(right, _)| right.to_string()).collect())
    };
    if unused()?.is_empty() {
        return Ok(());
    }
    let done = flap_key(cluster)
        .and_then(|()| switch_node_status(cluster))
        .and_then(|()| {
            cluster.await_("every right to be used", COUNTED, |_| {
                let unused = unused()?;
                Ok(if unused.is_empty() {
                    Ok(())
                } else {
                    Err(format!("not used: {}", unused.join(", ")))
                })
            })
        });
    let away = ["--ignore-not-found", "--wait=false"];
    let peer = cluster
        .kubectl
        .run(&[&["delete", "bgppeer", "with-key"], &away[..]].concat());
    let key = ["delete", "secret", "-n", "flatroute-system", "key-of-privileges"];
    let key = cluster.kubectl.run(&[&key, &away[..]].concat());
    done.and(peer).and(key).map(drop)
}

/// A BGPPeer without its key, with it, and without it again.
fn flap_key(cluster: &Cluster) -> Result<()> {
    cluster.kubectl.apply(PEER)?;
    await_key(cluster, false)?;
    await_event(cluster)?;
    cluster.kubectl.apply(SECRET)?;
    await_key(cluster, true)?;
    cluster
        .kubectl
        .run(&["delete", "secret", "-n", "flatroute-system", "key-of-privileges"])?;
    await_key(cluster, false)
}

/// No BGPNodeStatus for a moment, and then all of them again.
fn switch_node_status(cluster: &Cluster) -> Result<()> {
    let there = cluster.kubectl.list(&["bgpconfigurations"])?;
    ensure!(
        there.is_empty(),
        "a BGPConfiguration is there: spec.nodeStatus was not tried"
    );
    cluster.kubectl.apply(NO_NODE_STATUS)?;
    let gone = await_node_statuses(cluster, 0);
    cluster.kubectl.run(&["delete", "bgpconfiguration", "default"])?;
    gone?;
    await_node_statuses(cluster, cluster.nodes.len())
}

fn await_node_statuses(cluster: &Cluster, count: usize) -> Result<()> {
    cluster.await_(&format!("{count} BGPNodeStatuses"), HEEDED, |cluster| {
        let there = cluster.kubectl.list(&["bgpnodestatuses"])?.len();
        Ok(if there == count {
            Ok(())
        } else {
            Err(format!("there are {there}"))
        })
    })
}

fn await_key(cluster: &Cluster, is_there: bool) -> Result<()> {
    let what = if is_there { "is there" } else { "is missing" };
    cluster.await_(
        &format!("the BGPPeer to say that its key {what}"),
        HEEDED,
        |cluster| {
            let object = cluster.kubectl.get(&["bgppeer", "with-key"])?;
            let conditions = object["status"]["conditions"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let found = conditions
                .iter()
                .find(|condition| condition["type"] == "ResolvedRefs");
            let status = found.and_then(|condition| condition["status"].as_str());
            Ok(match status {
                Some(status) if status == if is_there { "True" } else { "False" } => Ok(()),
                other => Err(format!("ResolvedRefs: {other:?}")),
            })
        },
    )
}

fn await_event(cluster: &Cluster) -> Result<()> {
    cluster.await_("the event AuthFailed", HEEDED, |cluster| {
        let events = cluster.kubectl.list(&["events.events.k8s.io", "-n", "default"])?;
        let is_it =
            |event: &Value| event["reason"] == "AuthFailed" && event["regarding"]["name"] == "with-key";
        Ok(if events.iter().any(is_it) {
            Ok(())
        } else {
            Err("there is none".to_owned())
        })
    })
}

#[cfg(test)]
mod tests;
