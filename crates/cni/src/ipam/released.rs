//! The addresses that were given back: the file `released`, a line for each time, the newest last.
//!
//! Every ADD needs to know them, up to a thousand of them, and reading one file is ten times as quick as listing a directory of so many.
//! A line is appended before the address file goes, so a kill in between leaves an address that is in use and in here too:
//! in use is what counts. What an address had before is said by older lines, which count for nothing beside a newer one.
//! So nothing has to be written when an address is taken, and the file is written anew once it is long.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Result, io_error};

/// Released addresses that are remembered a family, at least. Of older ones the oldest are forgotten: in an IPv6 network the
/// list would otherwise grow for ever.
const REMEMBERED_MIN: usize = 512;
/// Lines after which the file is written anew, with [`REMEMBERED_MIN`] addresses a family.
const LINES_MAX: usize = 5 * REMEMBERED_MIN / 2;
/// Its name in the network's directory.
pub(super) const NAME: &str = "released";

/// What was released.
#[derive(Debug)]
pub(super) struct Released {
    path: PathBuf,
    /// None when there is no room for it.
    file: Option<File>,
    /// What the file says.
    text: String,
}

fn parse(line: &str) -> Option<(Duration, IpAddr)> {
    let (time, address) = line.split_once(' ')?;
    Some((Duration::from_millis(time.parse().ok()?), address.parse().ok()?))
}

fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).append(true).create(true).open(path)
}

fn line(since: Duration, address: IpAddr) -> String {
    format!("{} {address}\n", since.as_millis())
}

impl Released {
    /// Reads what is in the network's directory.
    ///
    /// # Errors
    /// Code 5.
    pub(super) fn read(network_dir: &Path) -> Result<Self> {
        let path = network_dir.join(NAME);
        let failed = |step: &str| io_error(format!("{step} {}", path.display()));
        let mut file = match open(&path) {
            Ok(file) => file,
            // The addresses matter more than their rest.
            Err(error) if error.kind() == ErrorKind::StorageFull => {
                let (file, text) = (None, String::new());
                return Ok(Self { path, file, text });
            }
            Err(error) => return Err(failed("open")(error)),
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed("read"))?;
        let end = bytes.iter().rposition(|byte| *byte == b'\n');
        let whole = end.map_or(0, |end| end.saturating_add(1));
        if whole < bytes.len() {
            // Somebody was killed while he wrote the last line, or the disk was full.
            bytes.truncate(whole);
            let whole = u64::try_from(whole).unwrap_or_default();
            file.set_len(whole).map_err(failed("write"))?;
        }
        Ok(Self {
            path,
            file: Some(file),
            text: String::from_utf8_lossy(&bytes).into_owned(),
        })
    }

    /// The addresses of a family, some of them more than once.
    pub(super) fn addresses(&self, ipv4: bool) -> impl Iterator<Item = IpAddr> {
        let of_family = move |line: &&str| line.contains(':') != ipv4;
        let lines = self.text.lines().filter(of_family);
        lines.filter_map(|line| line.split_once(' ')?.1.parse().ok())
    }

    /// Since when each address is free, the newest line first.
    fn latest(&self) -> impl Iterator<Item = (Duration, IpAddr)> {
        let mut seen = BTreeSet::new();
        let newest_first = self.text.lines().rev().filter_map(parse);
        newest_first.filter(move |(_, address)| seen.insert(*address))
    }

    /// The address that has been free for longest, of those that will do.
    pub(super) fn oldest(&self, will_do: impl Fn(IpAddr) -> bool) -> Option<(Duration, IpAddr)> {
        self.latest().filter(|(_, address)| will_do(*address)).min()
    }

    /// Notes that `address` is free since `since`, before it is.
    ///
    /// # Errors
    /// Code 5.
    pub(super) fn note(&mut self, since: Duration, address: IpAddr) -> Result<()> {
        if self.text.lines().count() >= LINES_MAX {
            self.write_anew()?;
        }
        let failed = |error| io_error(format!("write {}", self.path.display()))(error);
        let mut file = match self.file.take() {
            Some(file) => file,
            None => open(&self.path).map_err(failed)?,
        };
        let line = line(since, address);
        let written = file.write_all(line.as_bytes()).map_err(failed);
        self.file = Some(file);
        written?;
        self.text.push_str(&line);
        Ok(())
    }

    /// Forgets all.
    ///
    /// # Errors
    /// Code 5.
    pub(super) fn clear(&mut self) -> Result<()> {
        self.text.clear();
        let Some(file) = &self.file else {
            return Ok(());
        };
        file.set_len(0)
            .map_err(io_error(format!("clear {}", self.path.display())))
    }

    /// Replaces the file by one that says only what still counts.
    fn write_anew(&mut self) -> Result<()> {
        let of_family = |ipv4: bool| {
            let addresses = self
                .latest()
                .filter(move |(_, address)| address.is_ipv4() == ipv4);
            addresses.take(REMEMBERED_MIN).collect::<Vec<_>>()
        };
        let newest_first = [of_family(true), of_family(false)];
        let oldest_first = newest_first.iter().flat_map(|entries| entries.iter().rev());
        let text: String = oldest_first
            .map(|(since, address)| line(*since, *address))
            .collect();
        let new = self.path.with_extension("new");
        let failed = |error| io_error(format!("write {}", new.display()))(error);
        std::fs::write(&new, &text).map_err(failed)?;
        let file = File::options()
            .read(true)
            .append(true)
            .open(&new)
            .map_err(failed)?;
        std::fs::rename(&new, &self.path).map_err(failed)?;
        (self.text, self.file) = (text, Some(file));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::V4((0x0af4_0000 + number).into())
    }

    fn ms(number: u32) -> Duration {
        Duration::from_millis(number.into())
    }

    #[test]
    fn the_newest_line_of_an_address_counts() {
        let dir = tempfile::tempdir().unwrap();
        let mut released = Released::read(dir.path()).unwrap();
        for (since, number) in [(10, 1), (20, 2), (30, 1)] {
            released.note(ms(since), address(number)).unwrap();
        }
        for released in [released, Released::read(dir.path()).unwrap()] {
            assert_eq!(released.oldest(|_| true), Some((ms(20), address(2))));
            let first = |found| found == address(1);
            assert_eq!(released.oldest(first), Some((ms(30), address(1))));
            assert_eq!(released.oldest(|_| false), None);
        }
    }

    #[test]
    fn a_torn_line_spoils_no_other() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join(NAME),
            b"5 10.244.0.9\nnonsense \xff\n\n6 fd00::7\n77 10.244.0.4",
        )
        .unwrap();
        let mut released = Released::read(dir.path()).unwrap();
        assert_eq!(released.addresses(true).collect::<Vec<_>>(), [address(9)]);
        released.note(ms(8), address(3)).unwrap();
        let again = Released::read(dir.path()).unwrap();
        assert_eq!(
            again.addresses(true).collect::<Vec<_>>(),
            [address(9), address(3)]
        );
        assert_eq!(again.addresses(false).count(), 1);
        assert_eq!(
            again.oldest(|found| found == address(3)),
            Some((ms(8), address(3)))
        );
    }

    #[test]
    fn the_file_stays_short_and_forgets_the_oldest_only() {
        let dir = tempfile::tempdir().unwrap();
        let many = u32::try_from(3 * LINES_MAX).unwrap();
        let v6: IpAddr = "fd00::7".parse().unwrap();
        let mut released = Released::read(dir.path()).unwrap();
        released.note(ms(1), v6).unwrap();
        for number in 0..many {
            released.note(ms(number), address(number)).unwrap();
        }
        let again = Released::read(dir.path()).unwrap();
        let text = std::fs::read_to_string(dir.path().join(NAME)).unwrap();
        assert_eq!(text, released.text);
        assert!(text.lines().count() <= LINES_MAX);
        let v4: Vec<_> = again.addresses(true).collect();
        assert!(v4.len() >= REMEMBERED_MIN, "{}", v4.len());
        let newest = many - u32::try_from(v4.len()).unwrap()..many;
        assert_eq!(v4, newest.map(address).collect::<Vec<_>>());
        assert_eq!(again.oldest(|found| found.is_ipv6()), Some((ms(1), v6)));
        released.clear().unwrap();
        assert_eq!(Released::read(dir.path()).unwrap().addresses(true).count(), 0);
    }
}
