//! `flatroute-cni install`: the plugin puts itself on a node.
//!
//! Every file is written beside its place under a name that no runtime looks at, and then renamed: a runtime sees the
//! old file or the new one, never a half, and a running plugin keeps the old file open. The rename happens inside the
//! configuration directory, because containerd does not notice files that come from outside.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::json;

const PLUGIN: &str = "flatroute-cni";
const CONFLIST: &str = "10-flatroute.conflist";
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
        let failed = |path: &Path| {
            let path = path.display().to_string();
            move |error: io::Error| format!("{path}: {error}")
        };
        let mut done = Vec::new();
        let plugin = self.bin_dir.join(PLUGIN);
        let own = Path::new("/proc/self/exe");
        std::fs::create_dir_all(&self.bin_dir).map_err(failed(&self.bin_dir))?;
        let mut source = File::open(own).map_err(failed(own))?;
        replace(&plugin, 0o755, |file| io::copy(&mut source, file).map(|_| ())).map_err(failed(&plugin))?;
        done.push(format!("installed {}", plugin.display()));
        let loopback = self.bin_dir.join("loopback");
        match symlink(PLUGIN, &loopback) {
            Ok(()) => done.push(format!("installed {} (there was none)", loopback.display())),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(&loopback)(error)),
        }
        if let Some(conf_dir) = &self.conf_dir {
            std::fs::create_dir_all(conf_dir).map_err(failed(conf_dir))?;
            let path = conf_dir.join(CONFLIST);
            replace(&path, 0o644, |file| file.write_all(self.conflist().as_bytes()))
                .map_err(failed(&path))?;
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
                "capabilities": {"ips": true, "mac": true, "dns": true},
            }],
        });
        format!("{conflist:#}\n")
    }
}

/// Writes a file beside `path` and renames it into place.
fn replace(path: &Path, mode: u32, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let temporary = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let written = File::create(&temporary).and_then(|mut file| {
        write(&mut file)?;
        file.set_permissions(PermissionsExt::from_mode(mode))?;
        file.sync_all()
    });
    let placed = written.and_then(|()| std::fs::rename(&temporary, path));
    if placed.is_err() {
        // The error is told; a file that cannot be removed either adds nothing to it.
        let _ = std::fs::remove_file(&temporary);
    }
    placed
}
