//! Where plugins keep what they know: `/run` and `/var/lib` are tmpfs of this run's own, so that nothing of the machine's is
//! read or changed, and both vanish with the sandbox. The rest of the file system can be sealed for a while.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rustix::mount::{MountFlags, mount, mount_remount};

use crate::sandbox;

const LIBRARY: &str = "/var/lib";

/// Covers `/var/lib`. `needed` are files that must stay in sight.
///
/// # Errors
/// One of them lies below it, or the kernel refuses.
pub(super) fn cover(needed: &[&Path]) -> Result<()> {
    for path in needed {
        ensure!(
            !path.starts_with(LIBRARY),
            "{} lies below {LIBRARY}, where plugins get an empty folder to keep their records in: copy it elsewhere",
            path.display()
        );
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("flatroute", LIBRARY, "tmpfs", flags, Some(c"mode=0755")).context("a tmpfs over /var/lib")
}

/// Removes everything that plugins recorded, as if somebody had; `false` where that cannot be told from the machine's own
/// files.
pub(super) fn forget() -> Result<bool> {
    let room = sandbox::room();
    if room != Path::new("/run") {
        return Ok(false);
    }
    for folder in [room, Path::new(LIBRARY)] {
        for entry in fs::read_dir(folder).context("list records")? {
            let path = entry.context("list records")?.path();
            let is_ours = path == room.join("netns") || path == room.join("lab");
            if is_ours {
                continue;
            }
            let removed = if path.is_dir() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            removed.with_context(|| format!("remove {}", path.display()))?;
        }
    }
    Ok(true)
}

/// A root file system that is read-only until this is dropped.
pub(super) struct Seal(());

/// Seals it; `None` where the kernel does not let us.
pub(super) fn seal() -> Option<Seal> {
    mount_remount("/", MountFlags::BIND | MountFlags::RDONLY, "").ok()?;
    Some(Seal(()))
}

impl Drop for Seal {
    fn drop(&mut self) {
        let _ = mount_remount("/", MountFlags::BIND, "");
    }
}
