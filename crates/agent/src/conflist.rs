//! The CNI configuration, `10-flatroute.conflist`: written once the node can serve pods.
//!
//! A container runtime takes a node for ready as soon as it finds a configuration, so the file is the last step of a
//! start. It is written beside its place and renamed over it, so that nobody ever reads half of it; it is
//! rewritten when the Node's podCIDRs or `podNetwork.mtu` change, and never removed: pods that run need it for their end.
//!
//! The content is a pure function ([`render`]); [`keep`] does the writing, in a task of its own.

mod place;

use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnetwork::IpNetwork;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::events::Happening;

/// The name of the file. The number puts it before those of others, which may stay.
const NAME: &str = "10-flatroute.conflist";
/// The versions of CNI that the list can be asked in; `cniVersion` is for runtimes that know no `cniVersions`.
const VERSIONS: [&str; 2] = ["1.0.0", "1.1.0"];
/// What the runtime is to pass on to the plugin of what it knows of a pod.
const CAPABILITIES: [&str; 7] = [
    "bandwidth",
    "dns",
    "io.kubernetes.cri.pod-annotations",
    "ipRanges",
    "ips",
    "mac",
    "portMappings",
];
/// How long after a failure it is tried again, and how often the file is looked at.
const AGAIN: Duration = Duration::from_secs(30);

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
fn render(pods: &Pods) -> String {
    let capabilities: serde_json::Map<String, Value> = CAPABILITIES
        .map(|name| (name.to_owned(), true.into()))
        .into_iter()
        .collect();
    let cidrs: Vec<String> = pods.cidrs.iter().map(ToString::to_string).collect();
    let list: Value = json!({
        "cniVersion": VERSIONS.first(),
        "cniVersions": VERSIONS,
        "name": "flatroute",
        "plugins": [{
            "type": "flatroute-cni",
            "podCIDRs": cidrs,
            "mtu": pods.mtu,
            "capabilities": capabilities,
        }],
    });
    format!("{list:#}\n")
}

/// Keeps the file in `conf_dir` as it should be, whenever there are pod CIDRs (none: the node cannot serve pods yet). What it
/// has to tell goes to `teller`; when that has no room, it is logged only.
pub(crate) async fn keep(
    conf_dir: PathBuf,
    mut wanted: watch::Receiver<Pods>,
    teller: mpsc::Sender<Happening>,
) {
    let mut told = None;
    loop {
        let pods = wanted.borrow_and_update().clone();
        if !pods.cidrs.is_empty() {
            let path = conf_dir.join(NAME);
            // Files: beside the runtime, so that no keepalive is late.
            let done = tokio::task::spawn_blocking(move || write(&path, &pods)).await;
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
#[derive(Debug, Default)]
struct Outcome {
    /// That it was written anew.
    written: Option<String>,
    /// What is wrong; told when it is another trouble than before.
    trouble: Option<String>,
}

impl Outcome {
    /// Nothing was written, for this reason.
    fn failed(why: String) -> Self {
        Self {
            written: None,
            trouble: Some(why),
        }
    }
}

fn write(path: &Path, pods: &Pods) -> Outcome {
    let text = render(pods);
    let current = std::fs::read_to_string(path);
    if current.is_ok_and(|current| current == text) {
        return Outcome::default();
    }
    match place::replace(path, &text) {
        Ok(()) => {
            let cidrs: Vec<String> = pods.cidrs.iter().map(ToString::to_string).collect();
            Outcome {
                written: Some(format!("wrote {} for {}", path.display(), cidrs.join(" and "))),
                trouble: None,
            }
        }
        Err(error) => Outcome::failed(format!(
            "{}: {error}; pods cannot be started until it can be written: see that the directory is there and writable",
            path.display()
        )),
    }
}

fn tell(outcome: Outcome, told: &mut Option<String>, teller: &mpsc::Sender<Happening>) {
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
    if let Some(text) = &outcome.trouble
        && *told != outcome.trouble
    {
        say("CNITrouble", text);
    }
    *told = outcome.trouble;
}

#[cfg(test)]
mod tests;
