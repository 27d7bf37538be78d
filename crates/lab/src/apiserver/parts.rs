//! The programs that an API server for tests is made of, and where they are looked for.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::skip::note_skip_of;

/// The programs.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The store.
    pub etcd: PathBuf,
    /// The API server.
    pub apiserver: PathBuf,
    /// The command line tool.
    pub kubectl: PathBuf,
    /// What makes the certificates.
    pub openssl: PathBuf,
}

impl Parts {
    /// Looks for them.
    ///
    /// # Errors
    /// What is missing, and how to come by it.
    pub fn find() -> Result<Self, String> {
        let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
        let built = || -> Option<PathBuf> {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testbed/scripts/kubernetes");
            let output = Command::new(script)
                .arg("dir")
                .stderr(Stdio::null())
                .output()
                .ok()?;
            Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim_end()))
        };
        let folders: Vec<PathBuf> = match assets {
            Some(assets) => vec![assets],
            None => built().into_iter().collect(),
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path: Vec<PathBuf> = std::env::split_paths(&path).collect();
        let find = |name: &str, remedy: &str| {
            let all = folders.iter().chain(&path);
            let mut found = all.map(|folder| folder.join(name)).filter(|file| file.is_file());
            found
                .next()
                .ok_or_else(|| format!("{name} is not here: {remedy}"))
        };
        let built = "testbed/scripts/kubernetes build api, or set KUBEBUILDER_ASSETS";
        Ok(Self {
            etcd: find("etcd", "install etcd-server, or set KUBEBUILDER_ASSETS")?,
            apiserver: find("kube-apiserver", built)?,
            kubectl: find("kubectl", built)?,
            openssl: find("openssl", "install openssl")?,
        })
    }

    /// Looks for them, and says loudly that `test` is skipped when some are missing.
    #[must_use]
    pub fn find_or_skip(test: &str) -> Option<Self> {
        match Self::find() {
            Ok(parts) => Some(parts),
            Err(missing) => {
                note_skip_of(test, &missing);
                None
            }
        }
    }
}
