//! The API server's audit log: what the agents asked, and what became of it.
//!
//! The policy is the smallest that tells it: one user, the service account of the agents, at the level Metadata, without the
//! stage in which a request has only arrived. The log stands in the folder of the control plane and is bounded; one
//! that has lost its beginning is not read, because what it lacks might be just what is looked for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

/// The user that the agents are.
const AGENTS: &str = "system:serviceaccount:flatroute-system:flatroute-agent";
/// How large a file of the log may become, in MiB. A request is about a kilobyte; four nodes make some thousands an hour.
const MAX_MIB: u32 = 64;
/// How many full files are kept beside the one that is written.
const MAX_FULL: usize = 2;
/// The policy's file.
const POLICY: &str = "audit-policy.yaml";
/// The file that is written; a full one has a time before the dot.
const LOG: &str = "audit.log";

/// Writes the policy into the folder of the control plane.
///
/// # Errors
/// The file cannot be written.
pub fn write_policy(dir: &Path) -> Result<()> {
    let text = format!(
        "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  users: [\"{AGENTS}\"]
- level: None
"
    );
    fs::write(dir.join(POLICY), text).context("write the audit policy")
}

/// The API server's options that name it and bound the log.
#[must_use]
pub fn options(dir: &Path) -> [String; 4] {
    [
        format!("--audit-policy-file={}", dir.join(POLICY).display()),
        format!("--audit-log-path={}", dir.join(LOG).display()),
        format!("--audit-log-maxsize={MAX_MIB}"),
        format!("--audit-log-maxbackup={MAX_FULL}"),
    ]
}

/// One request, as the API server notes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `list`, `watch`, `patch`, …
    pub verb: String,
    /// The API group; empty for the core group.
    pub group: String,
    /// The resource, with its subresource: `nodes/status`. Empty: the request is for no resource.
    pub resource: String,
    /// The object's namespace; empty: it is in none.
    pub namespace: String,
    /// The object's name, also of a list that is narrowed to it; empty: all.
    pub name: String,
    /// The status of HTTP; none before the answer.
    pub code: u16,
    /// The path and query.
    pub uri: String,
    /// The API server's time of its arrival.
    pub at: String,
    /// Who asked: the name of the agent's pod.
    pub pod: String,
    /// Which binding allowed it, in the API server's words.
    pub why: String,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} → {}", self.verb, self.uri, self.code)?;
        write!(f, " (at {}, by {}; {})", self.at, self.pod, self.why)
    }
}

/// All requests in the log.
#[derive(Debug, Default)]
pub struct Requests {
    /// In no order.
    pub all: Vec<Request>,
    /// Lines that are no whole event: the API server was killed while it wrote them.
    pub torn: usize,
}

impl Requests {
    /// How many agents asked.
    #[must_use]
    pub fn pods(&self) -> usize {
        let pods: BTreeSet<&str> = self.all.iter().map(|request| request.pod.as_str()).collect();
        pods.len()
    }
}

/// Reads the log.
///
/// # Errors
/// It cannot be read, or has lost its beginning.
pub fn read(dir: &Path) -> Result<Requests> {
    let files = files(dir)?;
    ensure!(
        files.len() <= MAX_FULL,
        "the audit log was filled {MAX_FULL} times and may have lost its beginning: raise MAX_MIB in {}",
        file!()
    );
    let mut texts = Vec::new();
    for file in files {
        texts.push(fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?);
    }
    Ok(parse(texts.iter().flat_map(|text| text.lines())))
}

fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))?;
    let is_log = |path: &PathBuf| {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        name.starts_with("audit") && name.ends_with(".log")
    };
    Ok(entries
        .flatten()
        .map(|entry| entry.path())
        .filter(is_log)
        .collect())
}

/// The stages of a request have one id; the last one counts. A watch that goes on has only its first.
fn parse<'a>(lines: impl Iterator<Item = &'a str>) -> Requests {
    let (mut by_id, mut torn) = (BTreeMap::new(), 0);
    for line in lines {
        match serde_json::from_str::<Event>(line) {
            Ok(event) => _ = by_id.insert(event.audit_id.clone(), event.request()),
            Err(_) => torn += 1,
        }
    }
    Requests {
        all: by_id.into_values().collect(),
        torn,
    }
}

/// What is read of an event (audit.k8s.io/v1).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(rename = "auditID")]
    audit_id: String,
    verb: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    #[serde(default)]
    user: User,
    #[serde(default)]
    object_ref: ObjectRef,
    #[serde(default)]
    response_status: ResponseStatus,
    request_received_timestamp: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
struct User {
    #[serde(default)]
    extra: BTreeMap<String, Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ObjectRef {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
    api_group: String,
}

#[derive(Default, Deserialize)]
struct ResponseStatus {
    #[serde(default)]
    code: u16,
}

impl Event {
    fn request(mut self) -> Request {
        let object = self.object_ref;
        let pod = self.user.extra.remove("authentication.kubernetes.io/pod-name");
        Request {
            verb: self.verb,
            group: object.api_group,
            resource: match object.subresource.as_str() {
                "" => object.resource,
                subresource => format!("{}/{subresource}", object.resource),
            },
            namespace: object.namespace,
            name: object.name,
            code: self.response_status.code,
            uri: self.request_uri,
            at: self.request_received_timestamp,
            pod: pod.and_then(|names| names.into_iter().next()).unwrap_or_default(),
            why: self
                .annotations
                .remove("authorization.k8s.io/reason")
                .unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines as kube-apiserver 1.34 writes them.
    const WATCH_BEGINS: &str = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"a","stage":"ResponseStarted","requestURI":"/apis/flatroute.io/v1alpha1/bgppeers?watch=true","verb":"watch","user":{"username":"system:serviceaccount:flatroute-system:flatroute-agent","uid":"u","groups":["system:serviceaccounts"],"extra":{"authentication.kubernetes.io/pod-name":["flatroute-x"]}},"sourceIPs":["10.0.0.1"],"objectRef":{"resource":"bgppeers","apiGroup":"flatroute.io","apiVersion":"v1alpha1"},"responseStatus":{"metadata":{},"code":200},"requestReceivedTimestamp":"2026-01-01T00:00:00.000000Z","stageTimestamp":"2026-01-01T00:00:00.000000Z","annotations":{"authorization.k8s.io/decision":"allow","authorization.k8s.io/reason":"RBAC: allowed by ClusterRoleBinding"}}"#;
    const PATCH: &str = r#"{"auditID":"b","requestURI":"/apis/flatroute.io/v1alpha1/bgpnodestatuses/n1/status?","verb":"patch","objectRef":{"resource":"bgpnodestatuses","name":"n1","apiGroup":"flatroute.io","subresource":"status"},"responseStatus":{"code":403},"requestReceivedTimestamp":"t"}"#;

    #[test]
    fn a_request_counts_once_and_a_torn_line_is_no_request() {
        let ends = WATCH_BEGINS.replace("ResponseStarted", "ResponseComplete");
        let torn = &PATCH[..100];
        let requests = parse([WATCH_BEGINS, PATCH, &ends, torn].into_iter());
        assert_eq!((requests.all.len(), requests.torn, requests.pods()), (2, 1, 2));
        let [watch, patch] = &requests.all[..] else {
            panic!("{requests:?}")
        };
        assert_eq!(
            (
                watch.verb.as_str(),
                watch.resource.as_str(),
                watch.pod.as_str(),
                watch.code
            ),
            ("watch", "bgppeers", "flatroute-x", 200)
        );
        assert_eq!(
            (
                patch.group.as_str(),
                patch.resource.as_str(),
                patch.name.as_str(),
                patch.code
            ),
            ("flatroute.io", "bgpnodestatuses/status", "n1", 403)
        );
    }

    #[test]
    fn a_log_that_may_have_lost_its_beginning_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["audit.log", "audit-1.log"] {
            fs::write(dir.path().join(name), format!("{PATCH}\n")).unwrap();
        }
        assert_eq!(read(dir.path()).unwrap().all.len(), 1);
        fs::write(dir.path().join("audit-2.log"), "").unwrap();
        let error = read(dir.path()).unwrap_err().to_string();
        assert!(error.contains("lost its beginning"), "{error}");
    }
}
