//! The state directory of one network. See the essay in [`super`].

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use super::files::{flock, names, read_short, remove, since_boot, take_turn};
use super::released::Released;
use super::sightings;
use super::{Claim, Fixed, Wish};
use crate::error::{CniError, Code, Result, io_error};
use crate::invocation::Attachment;

/// How many ADDs may work in the kernel at once. They all need its one lock of interfaces, and so does its work queue
/// that makes IPv6 addresses usable: with a hundred at once, each waits for all the others, and the queue longest.
const TURNS: usize = 4;
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The state directory of one network.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    dir: PathBuf,
}

/// An address in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// The address.
    pub(crate) address: IpAddr,
    /// Who has it.
    pub(crate) attachment: Attachment,
}

/// What a released address has to do before it is given out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// A pod used it: the whole cool-down.
    Cooldown,
    /// Nobody has used it since then, in time since boot: what is left of the cool-down.
    Since(Duration),
    /// Nobody used it: none.
    None,
}

/// The locked directory: what is in use and what was given back.
#[derive(Debug)]
pub(crate) struct Locked {
    dir: PathBuf,
    boot_id: String,
    used: BTreeSet<IpAddr>,
    released: Released,
    lock: File,
}

/// Of which boot the directory says that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Boot {
    /// This one.
    This,
    /// It is new, or what it said was lost.
    Unknown,
    /// An earlier one.
    Another,
}

impl Store {
    /// The store of `network` under `state_dir`. Touches nothing.
    pub(crate) fn new(state_dir: &Path, network: &str) -> Self {
        Self {
            dir: state_dir.join(network),
        }
    }

    /// The directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Waits for one of [`TURNS`] turns and takes it until the file is dropped.
    ///
    /// # Errors
    /// Code 11 when that takes too long, code 5 when the directory is not writable.
    pub(crate) fn turn(&self) -> Result<File> {
        let dir = self.dir.join("turns");
        if !dir.exists() {
            self.make_directories()?;
        }
        take_turn(&dir, TURNS)
    }

    pub(super) fn make_directories(&self) -> Result<()> {
        // The one that is looked for comes last: where it is, the others are.
        for name in ["locks", "turns"] {
            let path = self.dir.join(name);
            std::fs::create_dir_all(&path).map_err(io_error(format!(
                "create {} (stateDir has to be writable)",
                path.display()
            )))?;
        }
        Ok(())
    }

    /// Locks the directory to change it, after forgetting what another boot left. `survivors` reads the links.
    ///
    /// # Errors
    /// Code 5, or 11 when the lock is not to be had.
    pub(crate) fn lock(&self, survivors: impl FnOnce() -> Result<Vec<Record>>) -> Result<Locked> {
        let mut locked = self.lock_as_is()?;
        if locked.is_none() {
            self.make_directories()?;
            locked = self.lock_as_is()?;
        }
        let mut locked = locked.ok_or_else(|| {
            CniError::new(
                Code::TryAgainLater,
                format!("{} vanished meanwhile", self.dir.display()),
            )
        })?;
        match locked.boot()? {
            Boot::This => {}
            Boot::Unknown => locked.start_anew(survivors()?)?,
            Boot::Another => {
                self.forget_attachments()?;
                locked.start_anew(survivors()?)?;
            }
        }
        Ok(locked)
    }

    /// Locks the directory as it is; `None` when there is none.
    ///
    /// # Errors
    /// Code 5, or 11 when the lock is not to be had.
    pub(crate) fn lock_as_is(&self) -> Result<Option<Locked>> {
        let path = self.dir.join("lock");
        let file = match File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
        {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error(format!("open {}", path.display()))(error)),
        };
        flock(&file, &path)?;
        let boot_id = File::open(BOOT_ID)
            .and_then(|file| read_short(&file))
            .map_err(io_error(format!("read {BOOT_ID}")))?;
        Ok(Some(Locked {
            boot_id: boot_id.trim().to_owned(),
            used: self.used()?,
            released: Released::read(&self.dir)?,
            dir: self.dir.clone(),
            lock: file,
        }))
    }

    /// Removes the lock files of attachments that nobody works on: those of another boot.
    fn forget_attachments(&self) -> Result<()> {
        for name in self.attachments()? {
            match self.claim(&name)? {
                Claim::Held(lock) => lock.end()?,
                Claim::Busy | Claim::Missing => {}
            }
        }
        Ok(())
    }

    /// The addresses in use, without lock or change.
    ///
    /// # Errors
    /// Code 5.
    pub(crate) fn used(&self) -> Result<BTreeSet<IpAddr>> {
        Ok(names(&self.dir)?
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect())
    }
}

impl Locked {
    fn boot(&self) -> Result<Boot> {
        let said = read_short(&self.lock).map_err(io_error(self.dir.join("lock").display()))?;
        Ok(match said.trim() {
            "" => Boot::Unknown,
            said if said == self.boot_id => Boot::This,
            _ => Boot::Another,
        })
    }

    /// Forgets what is not of this boot, puts `survivors` in, and says in `lock` that this was done.
    fn start_anew(&mut self, survivors: Vec<Record>) -> Result<()> {
        for address in std::mem::take(&mut self.used) {
            let current = self
                .read(address)
                .is_some_and(|(boot_id, _)| boot_id == self.boot_id);
            if current {
                self.used.insert(address);
            } else {
                remove(&self.path(address))?;
            }
        }
        self.released.clear()?;
        let sighted = self.dir.join(sightings::DIRECTORY);
        for name in names(&sighted)?.into_iter().filter(|name| name != "lock") {
            remove(&sighted.join(name))?;
        }
        for survivor in survivors {
            if self.create(survivor.address, &survivor.attachment)? {
                self.used.insert(survivor.address);
            }
        }
        let path = self.dir.join("lock");
        let mut file = File::options()
            .write(true)
            .truncate(true)
            .open(&path)
            .map_err(io_error(path.display()))?;
        file.write_all(self.boot_id.as_bytes())
            .map_err(io_error(path.display()))
    }

    fn path(&self, address: IpAddr) -> PathBuf {
        self.dir.join(address.to_string())
    }

    fn read(&self, address: IpAddr) -> Option<(String, Attachment)> {
        let text = std::fs::read_to_string(self.path(address)).ok()?;
        let mut lines = text.lines().map(str::to_owned);
        let boot_id = lines.next()?;
        Some((
            boot_id,
            Attachment {
                container_id: lines.next()?,
                interface: lines.next()?,
            },
        ))
    }

    /// Makes the file of an address, whole or not at all; false when there is one.
    fn create(&self, address: IpAddr, attachment: &Attachment) -> Result<bool> {
        let path = self.path(address);
        let failed = |step: &str| format!("{step} {}", path.display());
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::open(
            &self.dir,
            flags,
            Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH,
        )
        .map_err(|error| {
            io_error(failed("make a file for"))(error)
                .because("stateDir has to be on a file system with O_TMPFILE: tmpfs, ext4, xfs, btrfs")
        })?;
        let mut file = File::from(file);
        let Attachment {
            container_id,
            interface,
        } = attachment;
        let text = format!("{}\n{container_id}\n{interface}\n", self.boot_id);
        file.write_all(text.as_bytes())
            .map_err(io_error(failed("write")))?;
        let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
        match rustix::fs::linkat(CWD, unnamed, CWD, &path, AtFlags::SYMLINK_FOLLOW) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::EXIST) => Ok(false),
            Err(error) => Err(io_error(failed("link"))(error)),
        }
    }

    /// Takes an address that fulfils `wish` for `attachment`.
    ///
    /// # Errors
    /// Code 11 when none is to be had.
    pub(crate) fn allocate(
        &mut self,
        wish: &Wish,
        attachment: &Attachment,
        cooldown: Duration,
    ) -> Result<IpAddr> {
        loop {
            let address = self.choose(wish, cooldown)?;
            let created = self.create(address, attachment)?;
            self.used.insert(address);
            if created {
                return Ok(address);
            }
        }
    }

    fn choose(&self, wish: &Wish, cooldown: Duration) -> Result<IpAddr> {
        if let Some(fixed) = &wish.fixed {
            if self.used.contains(&fixed.address) {
                return Err(self.taken(fixed));
            }
            return Ok(fixed.address);
        }
        let known = self
            .used
            .iter()
            .copied()
            .chain(self.released.addresses(wish.is_ipv4()));
        if let Some(address) = wish.lowest_outside(known) {
            return Ok(address);
        }
        let now = since_boot();
        let free = |address| wish.usable(address) && !self.used.contains(&address);
        match self.released.oldest(free) {
            Some((since, address)) if now.saturating_sub(since) >= cooldown => Ok(address),
            Some((since, _)) => {
                let wait = cooldown.saturating_sub(now.saturating_sub(since));
                Err(self.exhausted(wish).because(format!(
                    "the next one is free in {:.1} s (cooldown {} s)",
                    wait.as_secs_f32(),
                    cooldown.as_secs()
                )))
            }
            None => Err(self
                .exhausted(wish)
                .because("every address is held by a pod or reserved; widen the pod CIDR")),
        }
    }

    fn exhausted(&self, wish: &Wish) -> CniError {
        let held = self.used.iter().filter(|address| wish.usable(**address)).count();
        CniError::new(
            Code::TryAgainLater,
            format!("no free address in {wish}: pods hold {held}"),
        )
    }

    fn taken(&self, Fixed { address, source }: &Fixed) -> CniError {
        let holder = match self.read(*address) {
            Some((_, holder)) => format!(
                "container {}, interface {}",
                holder.container_id, holder.interface
            ),
            None => format!("somebody who left {} empty", self.path(*address).display()),
        };
        CniError::new(
            Code::TryAgainLater,
            format!("{address} ({source}) is in use by {holder}"),
        )
        .because("delete that pod, or choose another address")
    }

    /// Gives an address back. On a full disk too: one that could not be noted is free without a rest.
    ///
    /// # Errors
    /// Code 5.
    pub(crate) fn release(&mut self, address: IpAddr, rest: Rest) -> Result<()> {
        let since = match rest {
            Rest::Cooldown => since_boot(),
            Rest::Since(then) => then,
            Rest::None => Duration::ZERO,
        };
        if self.used.remove(&address) {
            let noted = self.released.note(since, address);
            remove(&self.path(address))?;
            if noted.is_err() {
                // There is room for it now, or there is none at all.
                let _ = self.released.note(since, address);
            }
        }
        Ok(())
    }

    /// All addresses in use with their owners. Files that say no owner are left out: somebody else put them there.
    pub(crate) fn records(&self) -> Vec<Record> {
        let record = |address: &IpAddr| {
            self.read(*address).map(|(_, attachment)| Record {
                address: *address,
                attachment,
            })
        };
        self.used.iter().filter_map(record).collect()
    }

    /// Whether an address is this attachment's.
    pub(crate) fn holds(&self, attachment: &Attachment, address: IpAddr) -> bool {
        self.read(address)
            .is_some_and(|(_, holder)| holder == *attachment)
    }

    /// The addresses of one attachment. Reads the files of all.
    pub(crate) fn held_by(&self, attachment: &Attachment) -> Vec<IpAddr> {
        let ours = |record: &Record| record.attachment == *attachment;
        self.records()
            .into_iter()
            .filter(ours)
            .map(|record| record.address)
            .collect()
    }
}
