//! `flatroute-cni install`: the plugin puts itself on a node.
//!
//! Every file is written beside its place under a name that no runtime looks at, and then renamed: a runtime sees the
//! old file or the new one, never a half, and a running plugin keeps the old file open. The rename happens inside the
//! configuration directory, because containerd does not notice files that come from outside.
//!
//! It may be killed anywhere. What it leaves then is at most such a file beside its place; that has one name, and two
//! installers take turns by a lock on the directory, which ends with its holder. So whoever comes next removes what an
//! earlier one left, and never what another one is writing.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde_json::json;

const PLUGIN: &str = "flatroute-cni";
const LOOPBACK: &str = "loopback";
const CONFLIST: &str = "10-flatroute.conflist";
/// How long to wait for another installer, which needs a fraction of a second.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
const LOCK_POLL: Duration = Duration::from_millis(5);
/// How the command is used.
pub(crate) const USAGE: &str =
    "usage: flatroute-cni install --bin-dir DIR [--conf-dir DIR --pod-cidr CIDR...]";

/// What the command line asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    bin_dir: PathBuf,
    conf_dir: Option<PathBuf>,
    pod_cidrs: Vec<String>,
}

impl Options {
    /// Reads the arguments after `install`.
    ///
    /// # Errors
    /// A sentence for the user.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let (name, inline) = match argument.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (argument, None),
            };
            let value = inline
                .or_else(|| arguments.next())
                .ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--bin-dir" => options.bin_dir = value.into(),
                "--conf-dir" => options.conf_dir = Some(value.into()),
                "--pod-cidr" => options.pod_cidrs.push(value),
                _ => return Err(format!("unknown option {name}")),
            }
        }
        if options.bin_dir.as_os_str().is_empty() {
            return Err("--bin-dir is missing".into());
        }
        if options.conf_dir.is_some() == options.pod_cidrs.is_empty() {
            return Err("--conf-dir and --pod-cidr go together".into());
        }
        for cidr in &options.pod_cidrs {
            cidr.parse::<ipnetwork::IpNetwork>()
                .map_err(|error| format!("--pod-cidr {cidr}: {error}"))?;
        }
        Ok(options)
    }

    /// Puts the files in place and says what was done.
    ///
    /// # Errors
    /// What failed, with the file's name.
    pub(crate) fn run(&self) -> Result<Vec<String>, String> {
        let mut done = Vec::new();
        let bin_dir = Directory::open(&self.bin_dir)?;
        let own = Path::new("/proc/self/exe");
        let mut source = File::open(own).map_err(failed(own))?;
        let plugin = bin_dir.replace(PLUGIN, 0o755, |file| io::copy(&mut source, file).map(|_| ()))?;
        done.push(format!("installed {}", plugin.display()));
        if let Some(loopback) = bin_dir.link_if_missing(LOOPBACK, PLUGIN)? {
            done.push(format!("installed {} (there was none)", loopback.display()));
        }
        if let Some(conf_dir) = &self.conf_dir {
            let conflist = self.conflist();
            let path = Directory::open(conf_dir)?
                .replace(CONFLIST, 0o644, |file| file.write_all(conflist.as_bytes()))?;
            done.push(format!("wrote {}", path.display()));
        }
        Ok(done)
    }

    fn conflist(&self) -> String {
        let conflist = json!({
            "cniVersion": "1.0.0",
            "cniVersions": ["1.0.0", "1.1.0"],
            "name": "flatroute",
            "plugins": [{
                "type": PLUGIN,
                "podCIDRs": self.pod_cidrs,
                "mtu": 0,
                "capabilities": {
                    "bandwidth": true, "dns": true, "io.kubernetes.cri.pod-annotations": true,
                    "ipRanges": true, "ips": true, "mac": true, "portMappings": true,
                },
            }],
        });
        format!("{conflist:#}\n")
    }
}

/// A directory of the node, with the lock that makes us the only installer in it.
struct Directory {
    path: PathBuf,
    locked: File,
}

impl Directory {
    /// Makes it when it is missing, waits for its lock, and removes what an installer left that was killed.
    fn open(path: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(path).map_err(failed(path))?;
        let locked = File::open(path).map_err(failed(path))?;
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            match flock(&locked, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < deadline => {
                    std::thread::sleep(LOCK_POLL);
                }
                Err(Errno::WOULDBLOCK) => {
                    let seconds = LOCK_PATIENCE.as_secs();
                    return Err(format!(
                        "{}: another installer has held it for {seconds} s; is one stopped?",
                        path.display()
                    ));
                }
                Err(error) => return Err(failed(path)(error.into())),
            }
        }
        let path = path.to_owned();
        let directory = Self { path, locked };
        for name in [PLUGIN, LOOPBACK, CONFLIST] {
            directory.remove(&directory.beside(name))?;
        }
        Ok(directory)
    }

    /// Where a file is made before it gets its name.
    fn beside(&self, name: &str) -> PathBuf {
        self.path.join(format!(".{name}.tmp"))
    }

    fn remove(&self, path: &Path) -> Result<(), String> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(path)(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Puts a file in place, whole, for whatever has that name.
    fn replace(
        &self,
        name: &str,
        mode: u32,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<PathBuf, String> {
        let temporary = self.beside(name);
        let written = File::create(&temporary).and_then(|mut file| {
            write(&mut file)?;
            file.set_permissions(PermissionsExt::from_mode(mode))?;
            file.sync_all()
        });
        self.place(&temporary, name, written)
    }

    /// Puts a symbolic link in place when nothing that could be started has that name.
    fn link_if_missing(&self, name: &str, target: &str) -> Result<Option<PathBuf>, String> {
        // A link that leads nowhere is as good as none.
        if self.path.join(name).exists() {
            return Ok(None);
        }
        let temporary = self.beside(name);
        let linked = symlink(target, &temporary);
        self.place(&temporary, name, linked).map(Some)
    }

    /// Gives the file its name, on disk too: a node that loses power has the old one or the new one.
    fn place(&self, temporary: &Path, name: &str, made: io::Result<()>) -> Result<PathBuf, String> {
        let path = self.path.join(name);
        let placed = made
            .and_then(|()| std::fs::rename(temporary, &path))
            .and_then(|()| self.locked.sync_all());
        if placed.is_err() {
            // The error is told; a file that cannot be removed either adds nothing to it.
            let _ = std::fs::remove_file(temporary);
        }
        placed.map_err(failed(&path))?;
        Ok(path)
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> String {
    let path = path.display().to_string();
    move |error| {
        let remedy = if error.kind() == io::ErrorKind::PermissionDenied {
            // A container's root writes only what is its own.
            "; its directory has to belong to root (chown root:root)"
        } else {
            ""
        };
        format!("{path}: {error}{remedy}")
    }
}
