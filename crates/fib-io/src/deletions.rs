//! Routes of one protocol that are deleted, by whom and why ever.
//!
//! Who keeps a handful of routes beside the thousands of ours hears of them alone: a filter in the kernel lets nothing else ring,
//! and the prefixes say which went.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

use ipnetwork::IpNetwork;
use tokio::io::unix::AsyncFd;

use crate::message::deleted;
use crate::socket::{Error, Listener};

/// Hears of them.
#[derive(Debug)]
pub struct Deletions {
    listener: Listener,
    descriptor: AsyncFd<OwnedFd>,
}

/// What was heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Whither they led.
    pub prefixes: BTreeSet<IpNetwork>,
    /// More were deleted than the socket could hold: there may be others.
    pub are_more: bool,
}

impl Deleted {
    /// Adds what was heard later.
    pub fn join(&mut self, later: Self) {
        self.prefixes.extend(later.prefixes);
        self.are_more |= later.are_more;
    }
}

impl Deletions {
    /// Listens in the calling thread's network namespace.
    ///
    /// # Errors
    /// When netlink is out of reach. Needs no privilege.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O.
    pub fn observe(protocol: u8) -> Result<Self, Error> {
        let listener = Listener::of_deletions(protocol)?;
        let descriptor = listener.as_fd().try_clone_to_owned();
        let descriptor = descriptor.and_then(crate::task::watch).map_err(waiting)?;
        Ok(Self { listener, descriptor })
    }

    /// Waits until there is something to take. May be dropped while it waits.
    ///
    /// # Errors
    /// When the kernel can no longer be heard.
    pub async fn ring(&mut self) -> Result<(), Error> {
        self.descriptor.readable().await.map_err(waiting)?.clear_ready();
        Ok(())
    }

    /// Takes what was heard since the last time.
    ///
    /// # Errors
    /// When the kernel can no longer be heard.
    pub fn take(&mut self) -> Result<Deleted, Error> {
        let mut prefixes = BTreeSet::new();
        let is_complete = self.listener.drain(|message| prefixes.extend(deleted(message)))?;
        Ok(Deleted {
            prefixes,
            are_more: !is_complete,
        })
    }
}

fn waiting(source: std::io::Error) -> Error {
    Error::Socket {
        what: "wait for notifications",
        source,
    }
}
