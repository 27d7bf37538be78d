//! The objects last known to be good, in a file of the state directory: an agent that starts while the API server is away
//! plans from it, so that a node that reboots during an outage of the control plane still announces its pods.
//!
//! ```text
//! {"format":1,"node":"n1","checksum":"…"}        who may use it, and that it is whole
//! {"objects":[…],"apiServer":[…],…}              what was in force; Secrets never
//! ```
//!
//! The file is written whole, beside, and renamed (mode 0600), soon after a change and at most every [`WRITE_EVERY`]. While
//! the server answers, the time of the file is set to now every [`TOUCH_EVERY`]: its age says how long ago it was known to be
//! true. It is used only when the server has not told all objects within [`START_PATIENCE`] of the start, and only
//! until it has. Another node's, a damaged, a foreign or a newer one is not used, and the reason is told.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use flatroute_api::manifest::{self, Object};
use flatroute_api::{ClusterState, Kind, Node, Problem};
use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Observed, Stale};

/// How long the API server is waited for at the start before the copy is used.
pub(crate) const START_PATIENCE: Duration = Duration::from_secs(5);
/// How often the file is written at most.
pub(crate) const WRITE_EVERY: Duration = Duration::from_secs(10);
/// How often its time is set while the server answers.
pub(crate) const TOUCH_EVERY: Duration = Duration::from_secs(60);
/// The name of the file.
const FILE: &str = "last-known-good.json";
/// How large it may be, in bytes: some kilobytes a Node.
const MAX_BYTES: u64 = 64 << 20;
/// The format that this version writes, and the newest that it reads.
const FORMAT: u32 = 1;

/// Where the copy is kept, and whose.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    path: PathBuf,
    node: String,
}

/// A copy that was read.
#[derive(Debug, PartialEq)]
pub(crate) struct Copy {
    pub(crate) state: ClusterState,
    /// Objects of it that this version cannot read.
    pub(crate) problems: Vec<Problem>,
    pub(crate) api_server: Vec<IpAddr>,
    pub(crate) kubeadm_pod_subnets: Vec<IpNetwork>,
    pub(crate) stale: Stale,
}

/// The first line.
#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    node: String,
    checksum: String,
}

/// The second.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    objects: Vec<Value>,
    api_server: Vec<IpAddr>,
    kubeadm_pod_subnets: Vec<IpNetwork>,
}

impl Kept {
    pub(crate) fn new(state_dir: &Path, node: &str) -> Self {
        Self {
            path: state_dir.join(FILE),
            node: node.to_owned(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes what was observed, if it is complete.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub(crate) fn write(&self, observed: &Observed) -> io::Result<()> {
        let Some(state) = &observed.state else {
            return Ok(());
        };
        let body = Body {
            objects: objects(state)?,
            api_server: observed.api_server.iter().copied().collect(),
            kubeadm_pod_subnets: observed.kubeadm_pod_subnets.clone(),
        };
        let body = serde_json::to_string(&body)?;
        let header = serde_json::to_string(&Header {
            format: FORMAT,
            node: self.node.clone(),
            checksum: checksum(&body),
        })?;
        write_whole(&self.path, format!("{header}\n{body}\n").as_bytes())
    }

    /// Says that what the file holds is true now.
    ///
    /// # Errors
    /// When the file is not there or not ours.
    pub(crate) fn touch(&self) -> io::Result<()> {
        OpenOptions::new()
            .write(true)
            .open(&self.path)?
            .set_modified(SystemTime::now())
    }

    /// Reads the copy; none when there is none.
    ///
    /// # Errors
    /// Why it is not used.
    pub(crate) fn read(&self) -> Result<Option<Copy>, String> {
        let metadata = match fs::metadata(&self.path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        if metadata.len() > MAX_BYTES {
            return Err(format!("it is larger than {MAX_BYTES} bytes"));
        }
        let text = fs::read_to_string(&self.path).map_err(|error| error.to_string())?;
        let as_of = metadata.modified().map_err(|error| error.to_string())?;
        self.parse(&text, as_of).map(Some)
    }

    fn parse(&self, text: &str, as_of: SystemTime) -> Result<Copy, String> {
        let (header, body) = text
            .split_once('\n')
            .ok_or("it is not a copy of ours, or only its beginning")?;
        // The format first: another one may have other fields.
        let header: Value =
            serde_json::from_str(header).map_err(|_| "it is not a copy of ours, or it is damaged")?;
        let format = header.get("format").and_then(Value::as_u64).unwrap_or(0);
        if format != u64::from(FORMAT) {
            return Err(format!(
                "it has the format {format}, and this agent reads {FORMAT}"
            ));
        }
        let header: Header = serde_json::from_value(header).map_err(|_| "it is damaged")?;
        if header.node != self.node {
            return Err(format!("it is of the node {}", header.node));
        }
        let body = body.strip_suffix('\n').unwrap_or(body);
        if checksum(body) != header.checksum {
            return Err("it is damaged: its checksum is another one".to_owned());
        }
        let body: Body = serde_json::from_str(body).map_err(|error| format!("it is damaged: {error}"))?;
        let mut copy = Copy {
            state: ClusterState::default(),
            problems: Vec::new(),
            api_server: body.api_server,
            kubeadm_pod_subnets: body.kubeadm_pod_subnets,
            stale: Stale { as_of },
        };
        for object in body.objects {
            copy.insert(object);
        }
        Ok(copy)
    }
}

impl Copy {
    fn insert(&mut self, value: Value) {
        // A Node was taken with its faults.
        if value.get("kind").and_then(Value::as_str) == Some(Kind::Node.as_str()) {
            if let Ok(node) = serde_json::from_value::<Node>(value) {
                let name = node.metadata.name.clone().unwrap_or_default();
                self.state.nodes.insert(name, node);
            }
            return;
        }
        match manifest::read(&value) {
            Ok((_, name, Object::BGPPeer(object))) => _ = self.state.peers.insert(name, *object),
            Ok((_, name, Object::BGPFilter(object))) => _ = self.state.filters.insert(name, *object),
            Ok((_, _, Object::BGPConfiguration(object))) => self.state.configuration = Some(*object),
            // Never written.
            Ok((_, _, Object::Node(_) | Object::Secret(_))) => {}
            Err(problems) => self.problems.extend(problems),
        }
    }
}

/// All objects as JSON, the Secrets left out.
fn objects(state: &ClusterState) -> serde_json::Result<Vec<Value>> {
    let mut all = Vec::new();
    for object in state.peers.values() {
        all.push(serde_json::to_value(object)?);
    }
    for object in state.filters.values() {
        all.push(serde_json::to_value(object)?);
    }
    if let Some(object) = &state.configuration {
        all.push(serde_json::to_value(object)?);
    }
    for node in state.nodes.values() {
        let mut value = serde_json::to_value(node)?;
        if let Some(object) = value.as_object_mut() {
            object.insert("kind".to_owned(), Kind::Node.as_str().into());
        }
        all.push(value);
    }
    Ok(all)
}

/// Writes a file beside and renames it, so that there is always a whole one. Only its owner may read it.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    // The new name is on the disk when the directory is; a file system that has no such thing is no error.
    let _ = File::open(dir).and_then(|dir| dir.sync_all());
    Ok(())
}

/// FNV-1a of 64 bits: it finds damage, not malice; who may write the file may do anything.
fn checksum(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests;
