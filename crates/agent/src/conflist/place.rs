//! A file put in place whole.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Writes `text` beside `path`, with mode 0644, and renames it over `path`; both reach the disk before this returns.
/// The draft has a name that no runtime reads, and one that a killed agent left behind is written over by the next.
///
/// # Errors
/// When it cannot be written; what stood at `path` then stands there still.
pub(super) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let draft = directory.join(format!(".{}.tmp", name.to_string_lossy()));
    let written = File::create(&draft).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
        file.sync_all()
    });
    let placed = written.and_then(|()| std::fs::rename(&draft, path));
    if placed.is_err() {
        // The error is told; a draft that cannot be removed either adds nothing to it.
        let _ = std::fs::remove_file(&draft);
    }
    placed?;
    File::open(directory)?.sync_all()
}
