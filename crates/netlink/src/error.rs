//! What can go wrong between a request and its acknowledgement.
//!
//! Callers mostly ask one question of an error: "was it there already", "was it not there", or something else. The
//! predicates answer that, so that nobody compares errno numbers by hand.

use std::io;

/// A failed exchange with the kernel.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket itself failed: opening, sending or receiving.
    #[error("netlink socket: {what}: {source}")]
    Socket {
        /// The step that failed.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The kernel refused a request.
    #[error("{what}: {source}{}", text.as_deref().map(|text| format!(" (kernel: {text})")).unwrap_or_default())]
    Refused {
        /// What was asked, with the names of the objects.
        what: String,
        /// The errno of the answer.
        source: io::Error,
        /// The kernel's own words (extended acknowledgement), when it gave any.
        text: Option<String>,
    },
    /// A dump was interrupted by changes more often than we asked again.
    #[error("{what}: the dump was interrupted by changes {tries} times in a row")]
    Interrupted {
        /// What was asked.
        what: String,
        /// How often it was tried.
        tries: u32,
    },
    /// An answer could not be understood.
    #[error("{what}: cannot read the kernel's answer: {reason}")]
    Unreadable {
        /// What was asked.
        what: String,
        /// Why the answer makes no sense.
        reason: String,
    },
}

impl Error {
    /// The errno, when the error has one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Socket { source, .. } | Self::Refused { source, .. } => source.raw_os_error(),
            Self::Interrupted { .. } | Self::Unreadable { .. } => None,
        }
    }

    fn is(&self, errnos: &[rustix::io::Errno]) -> bool {
        matches!(self, Self::Refused { .. })
            && self
                .errno()
                .is_some_and(|code| errnos.iter().any(|errno| errno.raw_os_error() == code))
    }

    /// The kernel said that the object exists already (EEXIST).
    pub fn is_exists(&self) -> bool {
        self.is(&[rustix::io::Errno::EXIST])
    }

    /// The kernel said that the object does not exist (ENODEV, ENOENT, ESRCH, EADDRNOTAVAIL).
    pub fn is_missing(&self) -> bool {
        use rustix::io::Errno;
        self.is(&[Errno::NODEV, Errno::NOENT, Errno::SRCH, Errno::ADDRNOTAVAIL])
    }

    /// The kernel said that it may not be (EACCES): IPv6 is disabled on a link (`disable_ipv6`).
    pub fn is_denied(&self) -> bool {
        self.is(&[rustix::io::Errno::ACCESS])
    }

    /// A batch was made for rules that have changed since (ERESTART): read them, and make it anew.
    pub fn is_stale(&self) -> bool {
        matches!(self, Self::Refused { .. }) && self.errno() == Some(crate::netfilter::STALE)
    }

    /// The kernel said that a number that we chose (an interface index) is taken (EBUSY).
    pub fn is_busy(&self) -> bool {
        self.is(&[rustix::io::Errno::BUSY])
    }
}
