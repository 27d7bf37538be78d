use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The name of a neighbour: that of the object that configured it, or `RANGE-ADDRESS` of one that came by itself.
#[derive(Clone)]
pub struct PeerName {
    text: Arc<str>,
    /// The range that it came from; it follows from the text, as far as neighbours of one speaker are concerned.
    range: Option<Arc<str>>,
}

impl PeerName {
    /// The name of a neighbour that came by itself, from within a range.
    #[must_use]
    pub fn of_range(range: &Self, address: std::net::IpAddr) -> Self {
        Self {
            text: format!("{range}-{address}").into(),
            range: Some(Arc::clone(&range.text)),
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether `name` means this neighbour: by its own name, or by that of its range.
    #[must_use]
    pub fn is_meant_by(&self, name: &Self) -> bool {
        self == name || self.range.as_deref() == Some(name.as_str())
    }
}

impl PartialEq for PeerName {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for PeerName {}

impl PartialOrd for PeerName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PeerName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl Hash for PeerName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl From<&str> for PeerName {
    fn from(name: &str) -> Self {
        Self {
            text: name.into(),
            range: None,
        }
    }
}

impl From<String> for PeerName {
    fn from(name: String) -> Self {
        Self {
            text: name.into(),
            range: None,
        }
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// One TCP connection, from the moment that it is asked for or accepted until it is closed. A number is never
/// used twice, so an event that comes late cannot hit a successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConnId {
    /// The speaker asked for it; the speaker numbers these.
    Dialled(u64),
    /// The listener took it; the driver numbers these.
    Accepted(u64),
}
