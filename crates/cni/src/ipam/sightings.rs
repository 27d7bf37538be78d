//! Address files behind which nobody was seen when somebody looked ([`crate::reclaim`]).
//!
//! A sighting is a second name of the address file, `sighted/TIME-ADDRESS`, made when it was first seen so. It stays the
//! same file only as long as the address stays with the same attachment: when it was given back and taken again, the address
//! has another file, and the sighting counts for nothing. Only one process looks at a time; what it does not confirm is
//! forgotten, so a sighting that stands is older than every look that found a pod behind the address.

use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Store;
use super::files::{flock, names, remove, since_boot};
use crate::error::{Result, io_error};

/// Where sightings are, in the network's directory.
pub(super) const DIRECTORY: &str = "sighted";

/// The sightings of a network, for one process to change.
#[derive(Debug)]
pub(crate) struct Sightings {
    network_dir: PathBuf,
    known: Vec<(Duration, IpAddr)>,
    _lock: File,
}

/// When an address was first seen without anybody behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sighting {
    /// Time since boot.
    pub(crate) since: Duration,
    /// How long ago.
    pub(crate) age: Duration,
}

impl Store {
    /// The sightings, waiting for whoever looks at the moment.
    ///
    /// # Errors
    /// Code 5, or 11 when that takes too long.
    pub(crate) fn sightings(&self) -> Result<Sightings> {
        let dir = self.dir().join(DIRECTORY);
        std::fs::create_dir_all(&dir).map_err(io_error(format!("create {}", dir.display())))?;
        let path = dir.join("lock");
        let lock = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io_error(format!("open {}", path.display())))?;
        flock(&lock, &path)?;
        let mut known: Vec<_> = names(&dir)?.iter().filter_map(|name| parse(name)).collect();
        known.sort_unstable();
        Ok(Sightings {
            network_dir: self.dir().to_owned(),
            known,
            _lock: lock,
        })
    }
}

fn parse(name: &str) -> Option<(Duration, IpAddr)> {
    let (time, address) = name.split_once('-')?;
    Some((Duration::from_millis(time.parse().ok()?), address.parse().ok()?))
}

fn metadata(path: &Path) -> Result<Option<Metadata>> {
    match std::fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error(format!("look at {}", path.display()))(error)),
    }
}

impl Sightings {
    fn path(&self, since: Duration, address: IpAddr) -> PathBuf {
        self.network_dir
            .join(DIRECTORY)
            .join(format!("{:017}-{address}", since.as_millis()))
    }

    /// Whether the address file is still the one that was seen then.
    ///
    /// # Errors
    /// Code 5.
    pub(crate) fn stands(&self, since: Duration, address: IpAddr) -> Result<bool> {
        let seen = metadata(&self.path(since, address))?;
        let found = metadata(&self.network_dir.join(address.to_string()))?;
        Ok(matches!((seen, found), (Some(seen), Some(found))
            if seen.dev() == found.dev() && seen.ino() == found.ino()))
    }

    /// Notes that nobody is behind an address; says since when, which is now the first time. `None` when the address is
    /// not in use any more.
    ///
    /// # Errors
    /// Code 5.
    pub(crate) fn note(&mut self, address: IpAddr) -> Result<Option<Sighting>> {
        let now = since_boot();
        for (since, seen) in self.known.clone() {
            if seen == address && self.stands(since, address)? {
                return Ok(Some(Sighting {
                    since,
                    age: now.saturating_sub(since),
                }));
            }
        }
        // As exact as its name, or it would not be found by it.
        let since = Duration::from_millis(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        let path = self.path(since, address);
        remove(&path)?;
        match std::fs::hard_link(self.network_dir.join(address.to_string()), &path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error(format!("link {}", path.display()))(error)),
        }
        self.known.push((since, address));
        let age = Duration::ZERO;
        Ok(Some(Sighting { since, age }))
    }

    /// Forgets all sightings but those of `lost` that still stand.
    ///
    /// # Errors
    /// Code 5.
    pub(crate) fn keep_only(mut self, lost: &BTreeSet<IpAddr>) -> Result<()> {
        for (since, address) in std::mem::take(&mut self.known) {
            if !(lost.contains(&address) && self.stands(since, address)?) {
                remove(&self.path(since, address))?;
            }
        }
        Ok(())
    }
}
