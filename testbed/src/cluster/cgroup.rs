//! A subtree of control groups for each node, made beforehand and removed afterwards.
//!
//! Each kubelet believes to own its machine. Told of a `cgroupRoot` it stays below that group, but it does not make it.
//! With version 1 there is a tree for each controller, and a new group of `cpuset` has neither processors nor memory
//! until somebody says which: those of its parent. With version 2 there is one tree, and a group's controllers must be
//! passed on by all groups above it. Groups do not vanish with namespaces, so whoever takes the cluster down removes
//! them, the deepest first.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::wait;

/// Where the trees are mounted.
const MOUNT: &str = "/sys/fs/cgroup";
/// What has to be gone before a group can be removed ends within this, or something is badly wrong.
const REMOVE_BOUND: Duration = Duration::from_secs(15);

/// The roots of all trees: one a controller with version 1.
fn trees() -> Vec<PathBuf> {
    let root = Path::new(MOUNT);
    if root.join("cgroup.controllers").exists() {
        return vec![root.to_owned()];
    }
    let mut found: Vec<PathBuf> = fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| !path.is_symlink() && path.join("cgroup.procs").exists())
        .collect();
    found.sort();
    found
}

/// Makes the group `path` (relative, such as `lab/node1`) in every tree.
///
/// # Errors
/// The kernel refuses.
pub fn create(path: &Path) -> Result<()> {
    for tree in trees() {
        let mut group = tree;
        for part in path {
            pass_on(&group)?;
            let parent = group.clone();
            group.push(part);
            fs::create_dir_all(&group)
                .with_context(|| format!("create control group {}", group.display()))?;
            inherit_cpuset(&parent, &group)?;
        }
    }
    Ok(())
}

/// Version 2: lets the children of a group have its controllers.
fn pass_on(group: &Path) -> Result<()> {
    let Ok(controllers) = fs::read_to_string(group.join("cgroup.controllers")) else {
        return Ok(());
    };
    if group.join("cgroup.type").exists() || group == Path::new(MOUNT) {
        for controller in controllers.split_whitespace() {
            let file = group.join("cgroup.subtree_control");
            fs::write(&file, format!("+{controller}"))
                .with_context(|| format!("write {}", file.display()))?;
        }
    }
    Ok(())
}

fn inherit_cpuset(parent: &Path, group: &Path) -> Result<()> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let (from, to) = (parent.join(name), group.join(name));
        if !to.exists() || parent.join("cgroup.controllers").exists() {
            continue;
        }
        let value = fs::read_to_string(&from).with_context(|| format!("read {}", from.display()))?;
        fs::write(&to, value.trim()).with_context(|| format!("write {}", to.display()))?;
    }
    Ok(())
}

/// Removes the group `path` and all below it from every tree; what is not there is fine.
///
/// # Errors
/// Something in it does not end.
pub fn remove(path: &Path) -> Result<()> {
    for tree in trees() {
        let group = tree.join(path);
        let what = format!("control group {} to be empty", group.display());
        wait::until(&what, REMOVE_BOUND, || {
            if !group.exists() {
                return Ok(Ok(()));
            }
            Ok(remove_below(&group).map_err(|error| error.to_string()))
        })?;
    }
    Ok(())
}

fn remove_below(group: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(group)? {
        let path = entry?.path();
        if path.is_dir() && !path.is_symlink() {
            remove_below(&path)?;
        }
    }
    fs::remove_dir(group)
}
