//! The lock files of attachments. There is one from before an attachment takes anything until it has given all back, so it
//! says that there may be work for DEL; whoever works on the attachment holds it.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Store;
use super::files::{flock, names, remove, try_lock};
use crate::error::{CniError, Code, Result, io_error};

/// How often a lock file is made anew that was removed before it was held.
const BEGIN_TRIES: u8 = 3;

/// The lock file of one attachment, held.
#[derive(Debug)]
pub(crate) struct AttachmentLock {
    file: File,
    path: PathBuf,
}

/// What became of the wish to have an attachment's lock at once.
#[derive(Debug)]
pub(crate) enum Claim {
    /// It is held.
    Held(AttachmentLock),
    /// Somebody works on the attachment.
    Busy,
    /// There is no lock file.
    Missing,
}

impl Store {
    /// Begins an attachment: makes its lock file and holds it.
    ///
    /// # Errors
    /// Code 100 when the attachment exists already, in whatever state.
    pub(crate) fn begin(&self, name: &str) -> Result<AttachmentLock> {
        let path = self.dir().join("locks").join(name);
        for _ in 0..BEGIN_TRIES {
            let lock = self.make(&path)?;
            // What clears up after another boot may have found it before we held it.
            if !lock.is_gone() {
                return Ok(lock);
            }
        }
        let msg = format!("{} was removed meanwhile", path.display());
        Err(CniError::new(Code::TryAgainLater, msg))
    }

    fn make(&self, path: &Path) -> Result<AttachmentLock> {
        let path = path.to_owned();
        let open = || File::options().write(true).create_new(true).open(&path);
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make_directories()?;
                open()
            }
            result => result,
        };
        let file = file.map_err(|error| {
            if error.kind() != io::ErrorKind::AlreadyExists {
                return io_error(format!("create {}", path.display()))(error);
            }
            CniError::new(
                Code::Exists,
                "this container has an attachment with this interface already",
            )
            .because(format!("found {}; DEL it first", path.display()))
        })?;
        flock(&file, &path)?;
        Ok(AttachmentLock { file, path })
    }

    /// Takes an attachment's lock if nobody has it.
    ///
    /// # Errors
    /// Code 5.
    pub(crate) fn claim(&self, name: &str) -> Result<Claim> {
        let path = self.dir().join("locks").join(name);
        let file = match File::options().write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Claim::Missing),
            Err(error) => return Err(io_error(format!("open {}", path.display()))(error)),
        };
        if !try_lock(&file).map_err(io_error(format!("lock {}", path.display())))? {
            return Ok(Claim::Busy);
        }
        let lock = AttachmentLock { file, path };
        // Whoever removed it has just ended its work, or somebody else begins.
        Ok(if lock.is_gone() {
            Claim::Busy
        } else {
            Claim::Held(lock)
        })
    }

    /// Takes an attachment's lock if there is such an attachment, waiting for whoever works on it.
    ///
    /// # Errors
    /// Code 11 when that takes too long.
    pub(crate) fn resume(&self, name: &str) -> Result<Option<AttachmentLock>> {
        let path = self.dir().join("locks").join(name);
        loop {
            let file = match File::options().write(true).open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(io_error(format!("open {}", path.display()))(error)),
            };
            flock(&file, &path)?;
            let path = path.clone();
            let lock = AttachmentLock { file, path };
            // Whoever we waited for has ended the attachment. What has its name now is another file, and not ours to end.
            if !lock.is_gone() {
                return Ok(Some(lock));
            }
        }
    }

    /// The names of all attachments' lock files.
    ///
    /// # Errors
    /// Code 5.
    pub(crate) fn attachments(&self) -> Result<Vec<String>> {
        names(&self.dir().join("locks"))
    }
}

impl AttachmentLock {
    /// Whether its file was removed before we had the lock.
    fn is_gone(&self) -> bool {
        self.file.metadata().is_ok_and(|found| found.nlink() == 0)
    }

    /// Lets the programs that are started from now on hold the lock too, until the last of them has ended.
    ///
    /// # Errors
    /// Code 5.
    pub(crate) fn pass_on(&self) -> Result<()> {
        rustix::io::fcntl_setfd(&self.file, rustix::io::FdFlags::empty())
            .map_err(io_error(format!("pass on {}", self.path.display())))
    }

    /// Notes, before there are any, that the attachment may have ports of the host.
    ///
    /// # Errors
    /// Code 5.
    pub(crate) fn note_host_ports(&self) -> Result<()> {
        (&self.file)
            .write_all(b"hostPort\n")
            .map_err(io_error(format!("write {}", self.path.display())))
    }

    /// Whether that was noted; yes when it cannot be told.
    pub(crate) fn has_host_ports(&self) -> bool {
        self.file.metadata().map_or(true, |found| found.len() > 0)
    }

    /// Ends the attachment: its lock file goes.
    ///
    /// # Errors
    /// Code 5.
    pub(crate) fn end(self) -> Result<()> {
        remove(&self.path)?;
        drop(self.file);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// How many files of this name the process has open.
    fn opened(path: &Path) -> usize {
        let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        links
            .filter(|link| std::fs::read_link(link.path()).is_ok_and(|target| target == path))
            .count()
    }

    #[test]
    fn who_waited_for_a_lock_that_is_gone_waits_for_the_one_in_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path(), "pods");
        let first = store.begin("fr1").unwrap();
        let path = first.path.clone();
        let waiting = {
            let store = Store::new(dir.path(), "pods");
            std::thread::spawn(move || store.resume("fr1").unwrap())
        };
        let deadline = Instant::now() + Duration::from_secs(5);
        while opened(&path) < 2 {
            assert!(Instant::now() < deadline, "nobody waits");
            std::thread::yield_now();
        }
        // The attachment ends, and another begins under its name before the one who waits has his turn.
        std::fs::remove_file(&path).unwrap();
        let second = store.begin("fr1").unwrap();
        drop(first);
        drop(second);
        let got = waiting.join().unwrap().expect("the second one's");
        assert_eq!(
            got.file.metadata().unwrap().ino(),
            std::fs::metadata(&path).unwrap().ino()
        );
    }
}
