//! A CNI plugin as a runtime calls it: environment and configuration in, a result out.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::{Families, Pod, Verb};

/// Where Debian and others keep the reference plugins.
const REFERENCE_DIRS: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];

/// A plugin with its configuration.
#[derive(Debug)]
pub(super) struct Plugin {
    program: PathBuf,
    dir: PathBuf,
    request: Vec<u8>,
}

/// The reference plugin of this kind, where it is installed together with host-local.
pub(super) fn reference(kind: &str) -> Option<PathBuf> {
    REFERENCE_DIRS
        .iter()
        .map(Path::new)
        .find(|dir| dir.join(kind).is_file() && dir.join("host-local").is_file())
        .map(|dir| dir.join(kind))
}

impl Plugin {
    fn new(program: &Path, request: &Value) -> Result<Self> {
        Ok(Self {
            program: program.to_owned(),
            dir: program
                .parent()
                .context("a plugin without a directory")?
                .to_owned(),
            request: serde_json::to_vec(request).context("a request")?,
        })
    }

    /// Ours.
    pub(super) fn ours(program: &Path, families: Families, room: &Path) -> Result<Self> {
        let cidrs = match families {
            Families::Dual => json!(["10.240.0.0/20", "fd00:240::/64"]),
            Families::Ipv4 => json!(["10.240.0.0/20"]),
        };
        let request = json!({
            "cniVersion": "1.1.0",
            "name": "pods",
            "type": "flatroute-cni",
            "podCIDRs": cidrs,
            "cooldown": "0s",
            "stateDir": room,
        });
        Self::new(program, &request)
    }

    /// One of the reference plugins with host-local.
    pub(super) fn theirs(kind: &str, program: &Path, room: &Path) -> Result<Self> {
        let mut request = json!({
            "cniVersion": "1.0.0",
            "name": "pods",
            "type": kind,
            "ipMasq": false,
            "ipam": {
                "type": "host-local",
                "dataDir": room,
                "ranges": [[{"subnet": "10.240.0.0/20"}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        });
        if kind == "bridge" {
            request["bridge"] = "cni0".into();
            request["isGateway"] = true.into();
        }
        Self::new(program, &request)
    }

    /// A verb that needs no pod.
    pub(super) fn call_with(&self, verb: &str, more: &[(&str, Value)]) -> Result<()> {
        let mut request: Value = serde_json::from_slice(&self.request).context("a request")?;
        for (key, value) in more {
            request[*key] = value.clone();
        }
        let request = serde_json::to_vec(&request).context("a request")?;
        self.start(verb, &request, |command| command)
    }

    /// One call, in the namespace of the calling thread.
    pub(super) fn call(&self, verb: Verb, pod: &Pod) -> Result<()> {
        let verb = match verb {
            Verb::Add => "ADD",
            Verb::Del => "DEL",
        };
        self.start(verb, &self.request, |command| {
            command
                .env("CNI_CONTAINERID", &pod.id)
                .env("CNI_NETNS", pod.namespace.path())
                .env("CNI_IFNAME", "eth0")
        })
    }

    fn start(
        &self,
        verb: &str,
        request: &[u8],
        more: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Result<()> {
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .env("CNI_COMMAND", verb)
            .env("CNI_PATH", &self.dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        more(&mut command);
        let mut child = command
            .spawn()
            .with_context(|| self.program.display().to_string())?;
        // A configuration is far smaller than a pipe.
        child
            .stdin
            .take()
            .context("standard input")?
            .write_all(request)
            .context("write the request")?;
        let output = child.wait_with_output().context("wait for the plugin")?;
        if output.status.success() {
            return Ok(());
        }
        bail!(
            "{}: {} {}",
            output.status,
            String::from_utf8_lossy(&output.stdout).trim(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
}
