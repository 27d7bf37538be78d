//! The addresses that were given back: the file `released`, a line for each time, the newest last.
//!
//! Every ADD needs to know them, up to a thousand of them, and reading one file is ten times as quick as listing a directory of so many.
//! A line is appended before the address file goes, so a kill in between leaves an address that is in use and in here too:
//! in use is what counts. What an address had before is said by older lines, which count for nothing beside a newer one.
//! So nothing has to be written when an address is taken, and the file is written anew once it is long.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Result, io_error};

/// Released addresses that are remembered a family. The oldest beyond that are forgotten: in an IPv6 network the list would
/// otherwise grow for ever.
const REMEMBERED_MAX: usize = 512;
/// Lines after which the file is written anew.
const LINES_MAX: usize = 5 * REMEMBERED_MAX / 2;
/// Its name in the network's directory.
pub(super) const NAME: &str = "released";

/// What was released, oldest line first.
#[derive(Debug)]
pub(super) struct Released {
    path: PathBuf,
    file: File,
    entries: Vec<(Duration, IpAddr)>,
    lines: usize,
}

fn parse(line: &str) -> Option<(Duration, IpAddr)> {
    let (time, address) = line.split_once(' ')?;
    Some((Duration::from_millis(time.parse().ok()?), address.parse().ok()?))
}

/// The newest [`REMEMBERED_MAX`] of each family.
fn remembered(entries: &mut Vec<(Duration, IpAddr)>) {
    let of_family = |ipv4: bool| {
        entries
            .iter()
            .filter(|(_, address)| address.is_ipv4() == ipv4)
            .count()
    };
    let mut excess = [true, false].map(|ipv4| of_family(ipv4).saturating_sub(REMEMBERED_MAX));
    entries.retain(|(_, address)| {
        let [v4, v6] = &mut excess;
        let excess = if address.is_ipv4() { v4 } else { v6 };
        let keep = *excess == 0;
        *excess = excess.saturating_sub(1);
        keep
    });
}

impl Released {
    /// Reads what is in the network's directory.
    ///
    /// # Errors
    /// Code 5.
    pub(super) fn read(network_dir: &Path) -> Result<Self> {
        let path = network_dir.join(NAME);
        let failed = |step: &str| io_error(format!("{step} {}", path.display()));
        let mut file = File::options()
            .read(true)
            .append(true)
            .create(true)
            .open(&path)
            .map_err(failed("open"))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed("read"))?;
        let text = String::from_utf8_lossy(&bytes);
        let whole = text.rfind('\n').map_or(0, |end| end.saturating_add(1));
        let (text, torn) = text.split_at_checked(whole).unwrap_or_default();
        if !torn.is_empty() {
            // Somebody was killed while he wrote it, or the disk was full.
            let whole = u64::try_from(whole).unwrap_or_default();
            file.set_len(whole).map_err(failed("write"))?;
        }
        let lines = text.lines().count();
        let mut entries: Vec<_> = text.lines().filter_map(parse).collect();
        remembered(&mut entries);
        Ok(Self {
            file,
            entries,
            lines,
            path: path.clone(),
        })
    }

    /// The addresses, some of them more than once.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.entries.iter().map(|(_, address)| *address)
    }

    /// Since when each address is free.
    fn latest(&self) -> Vec<(Duration, IpAddr)> {
        let mut seen = BTreeSet::new();
        let newest_first = self.entries.iter().rev().copied();
        newest_first
            .filter(|(_, address)| seen.insert(*address))
            .collect()
    }

    /// The address that has been free for longest, of those that will do.
    pub(super) fn oldest(&self, will_do: impl Fn(IpAddr) -> bool) -> Option<(Duration, IpAddr)> {
        let latest = self.latest();
        latest.into_iter().filter(|(_, address)| will_do(*address)).min()
    }

    /// Notes that `address` is free since `since`, before it is.
    ///
    /// # Errors
    /// Code 5.
    pub(super) fn note(&mut self, since: Duration, address: IpAddr) -> Result<()> {
        if self.lines >= LINES_MAX {
            self.write_anew()?;
        }
        let line = format!("{} {address}\n", since.as_millis());
        self.file
            .write_all(line.as_bytes())
            .map_err(io_error(format!("write {}", self.path.display())))?;
        self.lines = self.lines.saturating_add(1);
        self.entries.push((since, address));
        Ok(())
    }

    /// Forgets all.
    ///
    /// # Errors
    /// Code 5.
    pub(super) fn clear(&mut self) -> Result<()> {
        self.entries.clear();
        self.lines = 0;
        self.file
            .set_len(0)
            .map_err(io_error(format!("clear {}", self.path.display())))
    }

    /// Replaces the file by one that says only what still counts.
    fn write_anew(&mut self) -> Result<()> {
        remembered(&mut self.entries);
        let mut entries = self.latest();
        entries.reverse();
        let text: String = entries
            .iter()
            .map(|(since, address)| format!("{} {address}\n", since.as_millis()))
            .collect();
        let new = self.path.with_extension("new");
        let failed = |error| io_error(format!("write {}", new.display()))(error);
        std::fs::write(&new, text).map_err(failed)?;
        let file = File::options()
            .read(true)
            .append(true)
            .open(&new)
            .map_err(failed)?;
        std::fs::rename(&new, &self.path).map_err(failed)?;
        self.lines = entries.len();
        (self.entries, self.file) = (entries, file);
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
        std::fs::write(dir.path().join(NAME), "5 10.244.0.9\nnonsense\n\n77 10.244.0.4").unwrap();
        let mut released = Released::read(dir.path()).unwrap();
        assert_eq!(released.addresses().collect::<Vec<_>>(), [address(9)]);
        released.note(ms(8), address(3)).unwrap();
        let again = Released::read(dir.path()).unwrap();
        assert_eq!(again.addresses().collect::<Vec<_>>(), [address(9), address(3)]);
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
        let lines = std::fs::read_to_string(dir.path().join(NAME))
            .unwrap()
            .lines()
            .count();
        assert!(lines <= LINES_MAX && lines == again.lines, "{lines}");
        let v4: Vec<_> = again.addresses().filter(IpAddr::is_ipv4).collect();
        let newest = many - u32::try_from(REMEMBERED_MAX).unwrap()..many;
        assert_eq!(v4, newest.map(address).collect::<Vec<_>>());
        assert_eq!(again.oldest(|found| found.is_ipv6()), Some((ms(1), v6)));
        released.clear().unwrap();
        assert_eq!(Released::read(dir.path()).unwrap().addresses().count(), 0);
    }
}
