//! The archive of an image, in the form that `docker save` writes and every runtime loads.
//!
//! `manifest.json` is an array with one object an image: `Config` (a file in the archive), `RepoTags`, and `Layers`
//! (files in the archive, lowest first). The configuration is that of the OCI image specification; its `diff_ids` are
//! the digests of the uncompressed layers. The layer is written first, beside its place, because its digest is needed
//! before the archive can begin; an agent with its libraries may be 100 MB, so nothing is held in memory.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use super::{Entry, Image};

/// Mode of directories that nobody named.
const DIRECTORY_MODE: u32 = 0o755;

pub(super) fn write(image: &Image, path: &Path) -> Result<String> {
    ensure!(!image.tags.is_empty(), "an image needs a tag to be found by");
    let name = path.file_name().context("it has no file name")?.to_string_lossy();
    let beside = |what: &str| path.with_file_name(format!(".{name}.{}.{what}", std::process::id()));
    let (layer, whole) = (Scrap(beside("layer")), Scrap(beside("tmp")));
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let digest = write_layer(image, &layer.0)?;
    let config = config(image, &digest).to_string();
    let id = hex(&Sha256::digest(&config));
    let mut archive = Builder::new(BufWriter::new(File::create(&whole.0)?));
    let (config_name, layer_name) = (format!("{id}.json"), format!("{digest}/layer.tar"));
    let manifest = json!([{"Config": config_name, "RepoTags": image.tags, "Layers": [layer_name]}]);
    append_bytes(
        &mut archive,
        Path::new("manifest.json"),
        manifest.to_string().as_bytes(),
        0o644,
    )?;
    append_bytes(&mut archive, Path::new(&config_name), config.as_bytes(), 0o644)?;
    append(
        &mut archive,
        Path::new(&digest),
        EntryType::Directory,
        DIRECTORY_MODE,
    )?;
    append_file(&mut archive, Path::new(&layer_name), &layer.0, 0o644)?;
    archive.into_inner()?.flush()?;
    fs::rename(&whole.0, path)?;
    Ok(format!("sha256:{id}"))
}

/// The configuration of the image, as in the OCI image specification.
fn config(image: &Image, layer: &str) -> Value {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    json!({
        "architecture": architecture,
        "os": "linux",
        // Not the time of the build: the same input shall give the same bytes.
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "User": image.user,
            "Env": image.environment,
            "Entrypoint": image.entrypoint,
            "Cmd": image.command,
            "WorkingDir": "/",
            "Labels": image.labels,
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer}")]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "flatroute-testbed image"}],
    })
}

/// Writes the file system and returns its digest.
fn write_layer(image: &Image, path: &Path) -> Result<String> {
    let file = BufWriter::new(File::create(path)?);
    let mut layer = Builder::new(Hashing {
        inner: file,
        hash: Sha256::new(),
    });
    let mut made = BTreeSet::new();
    for (place, entry) in &image.entries {
        let inside = inside(place)?;
        for above in inside.ancestors().skip(1).collect::<Vec<_>>().into_iter().rev() {
            ensure!(
                !matches!(
                    image.entries.get(&Path::new("/").join(above)),
                    Some(Entry::Symlink { .. })
                ),
                "/{} is a symbolic link: put {} where it leads",
                above.display(),
                place.display()
            );
            let is_new = !above.as_os_str().is_empty() && made.insert(above.to_owned());
            // One that is named has been written already: it sorts before what is in it.
            if is_new {
                append(&mut layer, above, EntryType::Directory, DIRECTORY_MODE)?;
            }
        }
        match entry {
            Entry::Directory { mode } => {
                append(&mut layer, &inside, EntryType::Directory, *mode)?;
                made.insert(inside);
            }
            Entry::File { source, mode } => append_file(&mut layer, &inside, source, *mode)?,
            Entry::Text { content, mode } => append_bytes(&mut layer, &inside, content, *mode)?,
            Entry::Symlink { target } => {
                let mut header = header(EntryType::Symlink, 0o777, 0);
                layer.append_link(&mut header, &inside, target)?;
            }
        }
    }
    let Hashing { mut inner, hash } = layer.into_inner()?;
    inner.flush()?;
    Ok(hex(&hash.finalize()))
}

/// The name in the layer: relative, and without a way out of it.
fn inside(place: &Path) -> Result<PathBuf> {
    let inside = place
        .strip_prefix("/")
        .with_context(|| format!("{} is not absolute", place.display()))?;
    let is_plain = inside
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    ensure!(
        is_plain && !inside.as_os_str().is_empty(),
        "{} names no place in an image",
        place.display()
    );
    Ok(inside.to_owned())
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn append<W: Write>(tar: &mut Builder<W>, name: &Path, kind: EntryType, mode: u32) -> Result<()> {
    tar.append_data(&mut header(kind, mode, 0), name, io::empty())?;
    Ok(())
}

fn append_bytes<W: Write>(tar: &mut Builder<W>, name: &Path, content: &[u8], mode: u32) -> Result<()> {
    let size = content.len().try_into()?;
    tar.append_data(&mut header(EntryType::Regular, mode, size), name, content)?;
    Ok(())
}

fn append_file<W: Write>(tar: &mut Builder<W>, name: &Path, source: &Path, mode: u32) -> Result<()> {
    let open = File::open(source).and_then(|file| Ok((file.metadata()?, file)));
    let (metadata, file) = open.with_context(|| format!("read {}", source.display()))?;
    if !metadata.is_file() {
        bail!("{} is not a file", source.display());
    }
    let size = metadata.len();
    // A source that is written at this moment must not make an archive whose entries do not add up.
    let mut content = BufReader::new(file).take(size);
    tar.append_data(
        &mut header(EntryType::Regular, mode, size),
        name,
        content.by_ref(),
    )?;
    ensure!(
        content.limit() == 0,
        "{} became shorter while it was read",
        source.display()
    );
    Ok(())
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A writer that knows the digest of what went through it.
struct Hashing<W> {
    inner: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(bytes.get(..written).unwrap_or(bytes));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A file that is only needed on the way; gone when dropped, also after an error.
struct Scrap(PathBuf);

impl Drop for Scrap {
    fn drop(&mut self) {
        // It is not there any more when it was renamed into place.
        let _ = fs::remove_file(&self.0);
    }
}
