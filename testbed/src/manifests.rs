//! `deploy/install.yaml`: what `kubectl apply -k deploy/base` applies, in one file for those who have only a URL.
//!
//! The files of the base stand in it as they are, in the order of its kustomization, comments included: whoever reads it
//! before applying shall find the reasons. The base says all names and namespaces itself, so that nothing has to be
//! transformed, and needs nothing that kustomize alone can do; a test lets `kubectl kustomize` say the same.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// The folder `deploy` of the source tree that this program was built from.
#[must_use]
pub fn deploy_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// The files that a kustomization means, in order; resources that are folders are followed.
///
/// # Errors
/// A file is missing, or the kustomization asks for more than resources.
pub fn resources(kustomization: &Path) -> Result<Vec<PathBuf>> {
    let text = read(&kustomization.join("kustomization.yaml"))?;
    let value: Value = serde_saphyr::from_str(&text).context("read the kustomization")?;
    let mut files = Vec::new();
    for (key, value) in value.as_object().into_iter().flatten() {
        match key.as_str() {
            "apiVersion" | "kind" => {}
            "resources" => {
                for name in value.as_array().into_iter().flatten().filter_map(Value::as_str) {
                    let path = kustomization.join(name);
                    if path.is_dir() {
                        files.extend(resources(&path)?);
                    } else {
                        files.push(path);
                    }
                }
            }
            other => bail!("{}: {other} is not understood here", kustomization.display()),
        }
    }
    Ok(files)
}

/// The text of install.yaml.
///
/// # Errors
/// A file cannot be read.
pub fn install_yaml(deploy: &Path) -> Result<String> {
    let version = env!("CARGO_PKG_VERSION");
    let mut text = format!(
        "# flatroute v{version}: kubectl apply -f install.yaml; docs/install.md says the rest.\n\
         # Made of deploy/base by `make manifests`: change it there.\n"
    );
    for file in resources(&deploy.join("base"))? {
        let objects = read(&file)?;
        write!(text, "---\n{}\n", objects.trim_end()).context("add to the text")?;
    }
    Ok(text)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}
