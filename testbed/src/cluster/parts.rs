//! The parts of Kubernetes that `testbed/scripts/kubernetes` built, and what `testbed/scripts/cni-tools` did.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// The folder with the built parts.
#[derive(Debug, Clone)]
pub struct Parts {
    dir: PathBuf,
}

/// The root of this source tree.
#[must_use]
pub fn source_tree() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The folder into which a script builds.
fn dir_of(script: &str) -> Result<PathBuf> {
    let output = Command::new(source_tree().join(script))
        .arg("dir")
        .output()
        .with_context(|| format!("run {script}"))?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().into())
}

/// A program that calls plugins.
///
/// # Errors
/// It is not built.
pub(super) fn tool(name: &str) -> Result<PathBuf> {
    let path = dir_of("testbed/scripts/cni-tools")?.join(name);
    if !path.is_file() {
        bail!("{name} is not built; to build it: testbed/scripts/cni-tools build {name}");
    }
    Ok(path)
}

impl Parts {
    /// Asks the script where they are. They need not be there yet.
    ///
    /// # Errors
    /// Go is not here; the script's own words.
    pub fn locate() -> Result<Self> {
        let dir = dir_of("testbed/scripts/kubernetes")?;
        Ok(Self { dir })
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// One of them.
    ///
    /// # Errors
    /// It is not built.
    pub fn find(&self, part: &str) -> Result<PathBuf> {
        let path = self.dir.join(part);
        if !path.is_file() {
            bail!("{part} is not built; to build it: testbed/scripts/kubernetes build {part}");
        }
        Ok(path)
    }
}
