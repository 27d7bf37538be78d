//! What a program needs to start: nothing (it is static), or a loader and libraries.
//!
//! Whether it is static stands in the ELF header: a dynamic program has a segment that names its loader. Which
//! libraries it needs is best known by the loader itself, and `ldd` asks it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

/// The segment that names the loader (PT_INTERP).
const SEGMENT_LOADER: [u8; 4] = 3_u32.to_ne_bytes();

/// Whether a program runs without a loader and libraries.
///
/// # Errors
/// It cannot be read, or is no 64-bit ELF program of this machine's byte order.
pub fn is_static(program: &Path) -> Result<bool> {
    let bytes = fs::read(program).with_context(|| format!("read {}", program.display()))?;
    let segments = segments(&bytes).with_context(|| {
        format!(
            "{} is not a 64-bit ELF program of this machine",
            program.display()
        )
    })?;
    Ok(!segments
        .iter()
        .any(|segment| segment.starts_with(&SEGMENT_LOADER)))
}

/// The program headers of a 64-bit ELF file.
fn segments(bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let at = |offset: usize, length: usize| bytes.get(offset..offset.checked_add(length)?);
    let number = |offset| Some(usize::from(u16::from_ne_bytes(at(offset, 2)?.try_into().ok()?)));
    let class_64 = 2;
    let order = if cfg!(target_endian = "little") { 1 } else { 2 };
    if at(0, 6)? != [0x7f, b'E', b'L', b'F', class_64, order] {
        return None;
    }
    let start = usize::try_from(u64::from_ne_bytes(at(32, 8)?.try_into().ok()?)).ok()?;
    let (size, count) = (number(54)?, number(56)?);
    (0..count)
        .map(|index| at(start.checked_add(index.checked_mul(size)?)?, size))
        .collect()
}

/// The loader and the libraries of a program, as the paths under which the loader looks for them; none for a static
/// one.
pub(super) fn libraries(program: &Path) -> Result<BTreeSet<PathBuf>> {
    if is_static(program)? {
        return Ok(BTreeSet::new());
    }
    let output = Command::new("ldd").arg(program).output().context("run ldd")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "ldd {}: {}{text}",
        program.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    parse(&text).with_context(|| format!("ldd {}", program.display()))
}

/// Reads the lines of ldd: `libc.so.6 => /lib/libc.so.6 (0x…)`, `/lib64/ld-linux.so.2 (0x…)`; the kernel's vdso has no
/// path.
pub(super) fn parse(text: &str) -> Result<BTreeSet<PathBuf>> {
    let mut paths = BTreeSet::new();
    for line in text.lines() {
        let place = line.rsplit(" => ").next().unwrap_or(line).trim();
        if place.starts_with("not found") {
            bail!("{}", line.trim());
        }
        let path = place.split(" (0x").next().unwrap_or(place);
        if path.starts_with('/') {
            paths.insert(PathBuf::from(path));
        }
    }
    Ok(paths)
}
