//! Container images without a builder: an [`Image`] is a value, and writing it is a function of its bytes.
//!
//! A builder is a large thing to ask of a machine that only wants to put two static programs into an archive, and no
//! test should need a registry. What `ctr images import`, `docker load` and `podman load` take is a tar with three
//! things inside: the file system as a tar of its own (one layer), a configuration in JSON that names the layer by its
//! digest, and `manifest.json`, which says which names the image shall have ([`archive`] writes them).
//!
//! Same image, same bytes: entries are sorted, times are zero, owners are root. So the digest says whether anything
//! changed, and importing again what is already there costs nothing.
//!
//! [`Image::file`] takes a file as it is, which is enough for a static program; [`Image::program`] brings the libraries
//! of a dynamic one along ([`program`]). Images that stand in for `busybox` and the like are made of the machine's own
//! programs in that way.

mod archive;
mod program;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

pub use program::is_static;

/// The name of our own image, without the tag.
pub const FLATROUTE: &str = "flatroute.io/flatroute";

/// One thing in the file system of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Directory { mode: u32 },
    File { source: PathBuf, mode: u32 },
    Text { content: Vec<u8>, mode: u32 },
    Symlink { target: PathBuf },
}

/// A container image of one layer, for the architecture of this machine. Paths in it are absolute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    tags: Vec<String>,
    entries: BTreeMap<PathBuf, Entry>,
    entrypoint: Vec<String>,
    command: Vec<String>,
    environment: Vec<String>,
    labels: BTreeMap<String, String>,
    user: String,
}

impl Image {
    /// An empty image that will be known under all of `tags` (`registry/name:tag`).
    pub fn new<T: Into<String>>(tags: impl IntoIterator<Item = T>) -> Self {
        Self {
            tags: tags.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// Our own image: the agent and the plugin, which must be static, from the directory `programs`.
    ///
    /// # Errors
    /// A program is missing, or needs libraries that the image would not have.
    pub fn flatroute(programs: &Path) -> Result<Self> {
        let version = env!("CARGO_PKG_VERSION");
        let mut image = Self::new([format!("{FLATROUTE}:v{version}")])
            .label("org.opencontainers.image.title", "flatroute")
            .label("org.opencontainers.image.version", version)
            .label("org.opencontainers.image.licenses", "Apache-2.0")
            .entrypoint(["/flatroute-agent"]);
        for name in ["flatroute-agent", "flatroute-cni"] {
            let source = programs.join(name);
            ensure!(
                is_static(&source)?,
                "{} needs shared libraries, and the image has none: build it with `make image`",
                source.display()
            );
            image = image.file(format!("/{name}"), source, 0o755);
        }
        Ok(image)
    }

    /// A file copied from this machine when the image is written. Directories above it come by themselves (mode 755).
    #[must_use]
    pub fn file(self, path: impl Into<PathBuf>, source: impl Into<PathBuf>, mode: u32) -> Self {
        let source = source.into();
        self.with(path, Entry::File { source, mode })
    }

    /// A file with this content.
    #[must_use]
    pub fn text(self, path: impl Into<PathBuf>, content: impl Into<Vec<u8>>, mode: u32) -> Self {
        let content = content.into();
        self.with(path, Entry::Text { content, mode })
    }

    /// A directory, for example `/tmp` with mode 1777.
    #[must_use]
    pub fn directory(self, path: impl Into<PathBuf>, mode: u32) -> Self {
        self.with(path, Entry::Directory { mode })
    }

    /// A symbolic link from `path` to `target`.
    #[must_use]
    pub fn symlink(self, path: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        let target = target.into();
        self.with(path, Entry::Symlink { target })
    }

    /// A program of this machine with the loader and the libraries that it needs, each where the loader will look.
    ///
    /// # Errors
    /// The program is not there, or one of its libraries is not.
    pub fn program(self, path: impl Into<PathBuf>, source: impl AsRef<Path>) -> Result<Self> {
        let source = source.as_ref();
        let libraries = program::libraries(source)?;
        let image = self.file(path, source, 0o755);
        Ok(libraries.into_iter().fold(image, |image, library| {
            image.file(library.clone(), library, 0o755)
        }))
    }

    /// What is started. What a pod says as `args` is appended.
    #[must_use]
    pub fn entrypoint<T: Into<String>>(mut self, words: impl IntoIterator<Item = T>) -> Self {
        self.entrypoint = words.into_iter().map(Into::into).collect();
        self
    }

    /// The arguments when a pod says none.
    #[must_use]
    pub fn command<T: Into<String>>(mut self, words: impl IntoIterator<Item = T>) -> Self {
        self.command = words.into_iter().map(Into::into).collect();
        self
    }

    /// An environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push(format!("{name}={value}"));
        self
    }

    /// A label of the image.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Who runs it (`65535:65535`); root when this is not said.
    #[must_use]
    pub fn user(mut self, user: &str) -> Self {
        user.clone_into(&mut self.user);
        self
    }

    /// The names that it will be known under.
    #[must_use]
    pub fn tags(&self) -> &[String] {
        &self.tags
    }

    /// Writes the archive (a docker-archive) to `path`, whole or not at all, and returns the image's id
    /// (`sha256:…`), which is the digest of its configuration.
    ///
    /// # Errors
    /// A source cannot be read, or the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<String> {
        archive::write(self, path).with_context(|| format!("write the image {}", path.display()))
    }

    fn with(mut self, path: impl Into<PathBuf>, entry: Entry) -> Self {
        self.entries.insert(path.into(), entry);
        self
    }
}
