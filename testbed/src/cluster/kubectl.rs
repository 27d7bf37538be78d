//! kubectl, on the control plane's machine, as the cluster's administrator; and what is read in the objects that it gets.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::parts::Parts;
use super::secrets::Secrets;
use crate::namespace::Namespace;

/// How long the API server may take for one answer.
const PATIENCE: &str = "--request-timeout=20s";

/// A way to ask the API server.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    namespace: Namespace,
}

impl Kubectl {
    /// As the administrator.
    ///
    /// # Errors
    /// kubectl is not built.
    pub fn new(namespace: &Namespace, parts: &Parts, secrets: &Secrets) -> Result<Self> {
        Ok(Self {
            program: parts.find("kubectl")?,
            kubeconfig: secrets.kubeconfig_of("admin"),
            namespace: namespace.clone(),
        })
    }

    /// A command line, not yet run.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.namespace.command(&self.program);
        command
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// Runs it, and returns what it printed.
    ///
    /// # Errors
    /// It failed; its own words.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command(arguments).output().context("run kubectl")?;
        said(&output, arguments)
    }

    /// `kubectl get … -o json`.
    ///
    /// # Errors
    /// It failed; its own words.
    pub fn get(&self, arguments: &[&str]) -> Result<Value> {
        let mut all = vec![PATIENCE, "get", "-o", "json"];
        all.extend(arguments);
        serde_json::from_str(&self.run(&all)?).context("the JSON of kubectl get")
    }

    /// The items of a list, `kubectl get … -o json`.
    ///
    /// # Errors
    /// It failed; its own words.
    pub fn list(&self, arguments: &[&str]) -> Result<Vec<Value>> {
        let mut list = self.get(arguments)?;
        Ok(match list.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        })
    }

    /// Applies a manifest.
    ///
    /// # Errors
    /// The API server refuses it; its own words.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        self.feed(&[PATIENCE, "apply", "-f", "-"], manifest)
    }

    /// Runs it with a text as its input, and returns what it printed.
    ///
    /// # Errors
    /// It failed; its own words.
    pub fn feed(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut command = self.command(arguments);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("run kubectl")?;
        let mut stdin = child.stdin.take().context("the input of kubectl")?;
        stdin.write_all(input.as_bytes()).context("write to kubectl")?;
        drop(stdin);
        said(&child.wait_with_output().context("wait for kubectl")?, arguments)
    }
}

fn said(output: &Output, arguments: &[&str]) -> Result<String> {
    ensure!(
        output.status.success(),
        "kubectl {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Why a node or a pod is not ready; `None` when it is.
pub(super) fn unready(object: &Value) -> Option<String> {
    let conditions = object["status"]["conditions"].as_array();
    let ready = conditions.and_then(|all| all.iter().find(|condition| condition["type"] == "Ready"));
    match ready {
        Some(condition) if condition["status"] == "True" => None,
        Some(condition) => Some(format!(
            "{} {}",
            condition["reason"].as_str().unwrap_or("not ready"),
            condition["message"].as_str().unwrap_or_default()
        )),
        None => Some("it says nothing of itself yet".to_owned()),
    }
}

/// A pod's addresses, in its own order.
pub(super) fn addresses(pod: &Value) -> Vec<String> {
    let all = pod["status"]["podIPs"].as_array();
    all.into_iter()
        .flatten()
        .filter_map(|entry| entry["ip"].as_str().map(str::to_owned))
        .collect()
}
