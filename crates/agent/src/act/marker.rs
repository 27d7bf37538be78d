//! What one agent leaves for the next: a file that says that it has been here.
//!
//! A speaker that restarts says so to its neighbours, and that its node went on forwarding meanwhile (RFC 4724 §3). Both
//! must be true. So the first plan in force leaves a marker in the state directory, and whoever finds one of the same
//! node, the same boot and the same network namespace follows an agent whose routes are still in the kernel. After a reboot, with
//! another or an empty state directory, and after a Cease to every neighbour there is nothing to follow, and the start is a cold one.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::observe::write_whole;

/// The name of the file.
const FILE: &str = "restart.json";
/// The format that this version writes, and the only one that it reads.
const FORMAT: u32 = 1;

/// Where the marker is, and what it says of the present.
#[derive(Debug)]
pub(crate) struct Marker {
    /// None without a state directory: then each start is a cold one.
    path: Option<PathBuf>,
    now: Life,
    written: bool,
}

/// In which life of the machine something was.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Life {
    format: u32,
    node: String,
    boot_id: String,
    network_namespace: u64,
}

impl Marker {
    /// The marker of a node in a state directory.
    ///
    /// # Errors
    /// When `/proc` does not tell the boot or the namespace.
    pub(crate) fn new(state_dir: Option<&Path>, node: &str) -> io::Result<Self> {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        Ok(Self {
            path: state_dir.map(|dir| dir.join(FILE)),
            now: Life {
                format: FORMAT,
                node: node.to_owned(),
                boot_id: boot_id.trim().to_owned(),
                network_namespace: fs::metadata("/proc/self/ns/net")?.ino(),
            },
            written: false,
        })
    }

    /// Whether an agent was here before in this life of the machine. A file that cannot be read says nothing.
    pub(crate) fn is_left(&self) -> bool {
        let text = self.path.as_ref().and_then(|path| fs::read(path).ok());
        let left = text.and_then(|text| serde_json::from_slice::<Life>(&text).ok());
        left.is_some_and(|left| left == self.now)
    }

    /// Leaves it, once.
    ///
    /// # Errors
    /// When the state directory cannot be written.
    pub(crate) fn leave(&mut self) -> io::Result<()> {
        if let Some(path) = self.path.as_ref().filter(|_| !self.written) {
            write_whole(path, &serde_json::to_vec(&self.now)?)?;
            self.written = true;
        }
        Ok(())
    }

    /// Takes it away: who comes next follows nobody.
    ///
    /// # Errors
    /// When the state directory cannot be written.
    pub(crate) fn remove(&mut self) -> io::Result<()> {
        self.written = false;
        match self.path.as_ref().map(fs::remove_file) {
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_node_boot_and_namespace_are_followed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |node: &str| Marker::new(Some(dir.path()), node).unwrap();
        let mut first = at("n1");
        assert!(!first.is_left());
        first.leave().unwrap();
        assert!(at("n1").is_left());
        assert!(!at("n2").is_left(), "another node");
        let path = dir.path().join(FILE);
        let text = fs::read_to_string(&path).unwrap();
        let namespace = first.now.network_namespace.to_string();
        for (what, other) in [
            ("another boot", text.replace(&first.now.boot_id, "x")),
            ("another namespace", text.replace(&namespace, "1")),
            ("another format", text.replace("\"format\":1", "\"format\":2")),
            ("a torn file", text[..text.len() / 2].to_owned()),
        ] {
            assert_ne!(other, text, "{what}");
            fs::write(&path, other).unwrap();
            assert!(!at("n1").is_left(), "{what}");
        }
        fs::write(&path, &text).unwrap();
        assert!(at("n1").is_left());
        first.remove().unwrap();
        first.remove().unwrap();
        assert!(!at("n1").is_left());
    }

    #[test]
    fn without_a_state_directory_nothing_is_left() {
        let mut marker = Marker::new(None, "n1").unwrap();
        marker.leave().unwrap();
        assert!(!marker.is_left());
        marker.remove().unwrap();
    }
}
