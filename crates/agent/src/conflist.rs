//! The CNI configuration, `10-flatroute.conflist`: written once the node can serve pods.
//!
//! A container runtime takes a node for ready as soon as it finds a configuration, so the file is the last step of a
//! start. It is written beside its place and renamed over it, so that nobody ever reads half of it; it is
//! rewritten when the Node's podCIDRs or `podNetwork.mtu` change, and never removed: pods that run need it for their end.
//!
//! hostPort is the business of the standard portmap plugin, chained where it is present (`portmap`). A runtime asks
//! every plugin of a list in one version of CNI, so the list then names only versions that portmap speaks.
//!
//! The content is a pure function ([`render`]); [`keep`] does the writing, in a task of its own.

mod place;
mod portmap;

use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnetwork::IpNetwork;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::events::Happening;
use portmap::Portmap;

/// The name of the file. The number puts it before those of others, which may stay.
const NAME: &str = "10-flatroute.conflist";
/// The versions of CNI that the list can be asked in; `cniVersion` is for runtimes that know no `cniVersions`.
const VERSIONS: [&str; 2] = ["1.0.0", "1.1.0"];
/// What the runtime is to pass on to the plugin of what it knows of a pod.
const CAPABILITIES: [&str; 6] = [
    "bandwidth",
    "dns",
    "io.kubernetes.cri.pod-annotations",
    "ipRanges",
    "ips",
    "mac",
];
/// How long after a failure it is tried again, and how often the plugins are looked at.
const AGAIN: Duration = Duration::from_secs(30);

/// Where things are.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// Where the configuration goes.
    pub(crate) conf_dir: PathBuf,
    /// Where the plugins are.
    pub(crate) bin_dir: PathBuf,
}

/// The pod CIDRs that the plugin can use, as they stand in the Node: its networks in order, several of a family too.
pub(crate) fn usable<'a>(pod_cidrs: impl Iterator<Item = &'a str>) -> Vec<IpNetwork> {
    let mut found: Vec<IpNetwork> = Vec::new();
    for cidr in pod_cidrs.filter_map(|text| text.parse::<IpNetwork>().ok()) {
        if !found.contains(&cidr) {
            found.push(cidr);
        }
    }
    found
}

/// What it is written for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pods {
    /// See [`usable`]; none: the node cannot serve pods yet.
    pub(crate) cidrs: Vec<IpNetwork>,
    /// The MTU of their links in octets; 0: the plugin looks at the uplinks.
    pub(crate) mtu: u16,
}

/// The file's text.
fn render(pods: &Pods, portmap: &Portmap) -> String {
    let chained = portmap.speaks();
    let versions: Vec<&str> = VERSIONS
        .into_iter()
        .filter(|version| chained.is_none_or(|speaks| speaks.iter().any(|v| v == version)))
        .collect();
    let cidrs: Vec<String> = pods.cidrs.iter().map(ToString::to_string).collect();
    let capabilities: serde_json::Map<String, Value> = CAPABILITIES
        .map(|name| (name.to_owned(), true.into()))
        .into_iter()
        .collect();
    let mut plugins = vec![json!({
        "type": "flatroute-cni",
        "podCIDRs": cidrs,
        "mtu": pods.mtu,
        "capabilities": capabilities,
    })];
    if chained.is_some() {
        plugins.push(json!({"type": "portmap", "capabilities": {"portMappings": true}}));
    }
    let list: Value = json!({
        "cniVersion": versions.first(),
        "cniVersions": versions,
        "name": "flatroute",
        "plugins": plugins,
    });
    format!("{list:#}\n")
}

/// Keeps the file as it should be: whenever there are pod CIDRs (none: the node cannot serve pods yet), and when
/// the plugins beside ours change. What it has to tell goes to `teller`; when that has no room, it is logged only.
pub(crate) async fn keep(places: Places, mut wanted: watch::Receiver<Pods>, teller: mpsc::Sender<Happening>) {
    let mut told = None;
    loop {
        let pods = wanted.borrow_and_update().clone();
        if !pods.cidrs.is_empty() {
            let places = places.clone();
            // Files and another program: beside the runtime, so that no keepalive is late.
            let done = tokio::task::spawn_blocking(move || write(&places, &pods)).await;
            let text = match done {
                Ok(outcome) => outcome,
                Err(error) => Outcome::failed(format!("the CNI configuration was not written: {error}")),
            };
            tell(text, &mut told, &teller);
        }
        if let Ok(Err(_)) = timeout(AGAIN, wanted.changed()).await {
            return;
        }
    }
}

/// What came of looking after the file.
#[derive(Debug)]
struct Outcome {
    /// Whether it was written anew.
    written: Option<String>,
    /// What is wrong, with a word for it; told when it is another trouble than before.
    trouble: Option<(&'static str, String)>,
}

impl Outcome {
    /// Nothing was written, for this reason.
    fn failed(why: String) -> Self {
        Self {
            written: None,
            trouble: Some(("CNITrouble", why)),
        }
    }
}

fn write(places: &Places, pods: &Pods) -> Outcome {
    let portmap = portmap::ask(&places.bin_dir);
    let trouble = portmap
        .trouble(&places.bin_dir)
        .map(|text| ("HostPortUnavailable", text));
    let path = places.conf_dir.join(NAME);
    let text = render(pods, &portmap);
    let current = std::fs::read_to_string(&path);
    if current.is_ok_and(|current| current == text) {
        return Outcome {
            written: None,
            trouble,
        };
    }
    match place::replace(&path, &text) {
        Ok(()) => Outcome {
            written: Some(describe(&path, &pods.cidrs, &portmap)),
            trouble,
        },
        Err(error) => Outcome::failed(format!(
            "{}: {error}; pods cannot be started until it can be written: see that the directory is there and writable",
            path.display()
        )),
    }
}

fn describe(path: &Path, cidrs: &[IpNetwork], portmap: &Portmap) -> String {
    let cidrs: Vec<String> = cidrs.iter().map(ToString::to_string).collect();
    let host_port = match portmap.speaks() {
        Some(_) => "with hostPort by the portmap plugin",
        None => "without hostPort",
    };
    format!(
        "wrote {} for {}, {host_port}",
        path.display(),
        cidrs.join(" and ")
    )
}

fn tell(outcome: Outcome, told: &mut Option<(&'static str, String)>, teller: &mpsc::Sender<Happening>) {
    let say = |kind: &str, text: &str| {
        let happening = Happening {
            kind: kind.to_owned(),
            text: text.to_owned(),
            ..Happening::default()
        };
        if teller.try_send(happening).is_err() {
            tracing::warn!("{kind}: {text}");
        }
    };
    if let Some(text) = &outcome.written {
        say("CNIConfigured", text);
    }
    if let Some((kind, text)) = &outcome.trouble
        && *told != outcome.trouble
    {
        say(kind, text);
    }
    *told = outcome.trouble;
}

#[cfg(test)]
mod tests;
