//! The keys of sessions that are in use, in a directory in memory (`/run/flatroute/secrets`): an agent that is restarted
//! while the API server is away keeps its sessions. They never stand on a disk: a directory that is not on a tmpfs is
//! refused. A file a Secret, mode 0600, with only those keys in it that a neighbour of this node names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use flatroute_api::manifest::{self, Object};
use flatroute_api::{Kind, Secret};
use k8s_openapi::ByteString;
use rustix::fs::{StatFs, statfs};
use serde_json::{Map, Value, json};

use super::kept::write_whole;

/// How many files are read.
const MAX_FILES: usize = 1024;
/// How large a file may be, in bytes.
const MAX_BYTES: u64 = 64 << 10;

/// Secrets by namespace and name, as in the state.
pub(crate) type Secrets = BTreeMap<(String, String), Secret>;
/// The keys that are in use, by the name of the Secret.
pub(crate) type InUse = BTreeMap<String, BTreeSet<String>>;

/// The directory.
#[derive(Clone, Debug)]
pub(crate) struct SessionSecrets {
    dir: PathBuf,
}

impl SessionSecrets {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes the directory hold these and no others.
    ///
    /// # Errors
    /// When it cannot be written, or is not in memory.
    pub(crate) fn write(&self, secrets: &Secrets, in_use: &InUse) -> io::Result<()> {
        let wanted: BTreeMap<&str, Vec<u8>> = secrets
            .iter()
            .filter_map(|((namespace, name), secret)| {
                let keys = in_use.get(name)?;
                Some((name.as_str(), file_of(namespace, name, secret, keys)))
            })
            .collect();
        if wanted.is_empty() && !self.dir.exists() {
            return Ok(());
        }
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)?;
        fs::set_permissions(&self.dir, fs::Permissions::from_mode(0o700))?;
        if !is_in_memory(&statfs(&self.dir)?) {
            return Err(io::Error::other(
                "is not on a tmpfs, and secrets are not kept on disks",
            ));
        }
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if name.to_str().is_none_or(|name| !wanted.contains_key(name)) {
                fs::remove_file(entry.path())?;
            }
        }
        for (name, content) in wanted {
            let path = self.dir.join(name);
            if fs::read(&path).ok().as_ref() != Some(&content) {
                write_whole(&path, &content)?;
            }
        }
        Ok(())
    }

    /// What an earlier agent has left there. What cannot be read counts as if it were not there.
    pub(crate) fn read(&self) -> Secrets {
        let Ok(entries) = fs::read_dir(&self.dir) else {
            return Secrets::new();
        };
        let files = entries.flatten().take(MAX_FILES);
        files.filter_map(|entry| read_file(&entry.path())).collect()
    }
}

fn read_file(path: &Path) -> Option<((String, String), Secret)> {
    if fs::metadata(path).ok()?.len() > MAX_BYTES {
        return None;
    }
    let value: Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    match manifest::read(&value) {
        Ok((namespace, name, Object::Secret(secret))) => Some(((namespace, name), *secret)),
        Ok(_) | Err(_) => None,
    }
}

fn file_of(namespace: &str, name: &str, secret: &Secret, keys: &BTreeSet<String>) -> Vec<u8> {
    let data: Map<String, Value> = keys
        .iter()
        .filter_map(|key| {
            let octets = ByteString(secret.value(key)?.octets().to_vec());
            Some((key.clone(), serde_json::to_value(octets).ok()?))
        })
        .collect();
    let value = json!({
        "apiVersion": Kind::Secret.api_version(),
        "kind": Kind::Secret.as_str(),
        "metadata": {"namespace": namespace, "name": name},
        "data": data,
    });
    value.to_string().into_bytes()
}

/// Whether a file system never stands on a disk: tmpfs or ramfs.
fn is_in_memory(file_system: &StatFs) -> bool {
    const TMPFS: u64 = 0x0102_1994;
    const RAMFS: u64 = 0x8584_58f6;
    u64::try_from(file_system.f_type).is_ok_and(|kind| [TMPFS, RAMFS].contains(&kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> Secrets {
        let manifest = "apiVersion: v1\nkind: Secret\nmetadata: {name: tor, namespace: flatroute-system}\nstringData: {password: hunter2, other: x}\n";
        manifest::merge([manifest::parse("m.yaml", manifest)])
            .state
            .secrets
    }

    fn in_use(key: &str) -> InUse {
        [("tor".to_owned(), [key.to_owned()].into())].into()
    }

    #[test]
    fn only_keys_in_use_are_kept_and_only_for_their_owner() {
        let Ok(shm) = tempfile::tempdir_in("/dev/shm") else {
            return;
        };
        let kept = SessionSecrets::new(&shm.path().join("secrets"));
        assert_eq!(kept.read(), Secrets::new());
        kept.write(&secrets(), &in_use("password")).unwrap();
        let file = kept.dir().join("tor");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(kept.dir()), mode(&file)), (0o700, 0o600));
        let found = kept.read();
        let secret = &found[&("flatroute-system".to_owned(), "tor".to_owned())];
        assert_eq!(secret.value("password").unwrap().octets(), b"hunter2");
        assert_eq!(secret.keys().collect::<Vec<_>>(), ["password"]);

        // What is damaged is not there, and what nobody names any more goes.
        fs::write(&file, "{").unwrap();
        assert_eq!(kept.read(), Secrets::new());
        kept.write(&secrets(), &InUse::new()).unwrap();
        assert!(!file.exists());
    }

    #[test]
    fn a_disk_is_refused() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        if is_in_memory(&statfs(dir.path()).unwrap()) {
            flatroute_lab::note_skip_of("a_disk_is_refused", "/var/tmp is in memory");
            return;
        }
        let kept = SessionSecrets::new(&dir.path().join("secrets"));
        let error = kept.write(&secrets(), &in_use("password")).unwrap_err();
        assert!(error.to_string().contains("not on a tmpfs"), "{error}");
        assert_eq!(fs::read_dir(kept.dir()).unwrap().count(), 0);
    }
}
