//! Events for the API server: a bounded book of what happened, and a machine that says which write comes next.
//!
//! Who looks at an object wants to see what happened to it, once, with a number; the API server wants few writes. So equal
//! events (reason, object, text) are one, with a count; a new one is written when there is a token, a count at
//! most once a minute. Tokens come slowly after the first few: a neighbour that flaps for a day costs six
//! writes a minute at most. While the API server is away the book is all that is kept, and the oldest page goes first.
//!
//! What is wrong with an object every node sees alike. The name of such an event depends on its content only, so that one
//! node writes it, and the others hear that it is there.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;

/// How many different events are remembered.
pub(super) const MAX_ENTRIES: usize = 128;
/// How long one is remembered after it happened last; then it is a new one.
pub(super) const REMEMBERED: Duration = Duration::from_secs(30 * 60);
/// How many may be written at once.
pub(super) const BURST: u32 = 20;
/// How often one more may be written.
pub(super) const TOKEN: Duration = Duration::from_secs(10);
/// How often the count of one is written.
pub(super) const COUNT_PAUSE: Duration = Duration::from_secs(60);
/// How long nothing is written after a failure.
const FAILURE_PAUSE: Duration = Duration::from_secs(15);
/// How long a note may be, in bytes (the API server takes 1,024).
const MAX_NOTE: usize = 1000;

/// What is told, by the names of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Reason {
    /// A session came up.
    PeerEstablished,
    /// A session went down; the note has the NOTIFICATION in words.
    PeerDown,
    /// A neighbour sends more than `maxPrefixes`.
    PrefixLimit,
    /// A key is missing, or cannot be used.
    AuthFailed,
    /// A route is not used, or not in the kernel, against what was asked for.
    RouteRejected,
    /// Another program changed our routes.
    FIBDrift,
    /// An object has something in it that cannot be used.
    ConfigurationInvalid,
    /// Something of the node is not set as its pods need it.
    NodeNotPrepared,
    /// The agent died, and its parent started it again.
    AgentRespawned,
    /// Packets of pods are not checked and not masqueraded as they shall be.
    PodRulesFailed,
    /// Another program changed the rules for packets of pods.
    PodRulesDrift,
}

impl Reason {
    /// As it stands in `reason`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::PeerEstablished => "PeerEstablished",
            Self::PeerDown => "PeerDown",
            Self::PrefixLimit => "PrefixLimit",
            Self::AuthFailed => "AuthFailed",
            Self::RouteRejected => "RouteRejected",
            Self::FIBDrift => "FIBDrift",
            Self::ConfigurationInvalid => "ConfigurationInvalid",
            Self::NodeNotPrepared => "NodeNotPrepared",
            Self::AgentRespawned => "AgentRespawned",
            Self::PodRulesFailed => "PodRulesFailed",
            Self::PodRulesDrift => "PodRulesDrift",
        }
    }

    /// As it stands in `type`.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::PeerEstablished => "Normal",
            Self::PeerDown
            | Self::PrefixLimit
            | Self::AuthFailed
            | Self::RouteRejected
            | Self::FIBDrift
            | Self::ConfigurationInvalid
            | Self::NodeNotPrepared
            | Self::AgentRespawned
            | Self::PodRulesFailed
            | Self::PodRulesDrift => "Warning",
        }
    }
}

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum About {
    /// This Node.
    Node,
    /// The BGPPeer of this name.
    Peer(String),
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Told {
    pub(crate) reason: Reason,
    pub(crate) about: About,
    /// Whether every node sees the same, so that it shall be told once.
    pub(crate) everywhere: bool,
    pub(crate) note: String,
}

/// A write that is due.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Write {
    /// A new event that happened at this time.
    Create(Told, Timestamp),
    /// The event that was created with this time has happened so often, at last then.
    Count {
        told: Told,
        first: Timestamp,
        count: i32,
        last: Timestamp,
    },
}

#[derive(Debug)]
struct Entry {
    told: Told,
    /// When it happened first.
    first: Timestamp,
    count: i32,
    last: Timestamp,
    seen: Instant,
    /// The count that the API server has, and since when.
    written: Option<(i32, Instant)>,
}

/// The book.
#[derive(Debug)]
pub(super) struct Book {
    entries: VecDeque<Entry>,
    tokens: u32,
    /// When the number of tokens was right.
    counted: Instant,
    /// Not before, after a failure.
    not_before: Option<Instant>,
    /// Events that were thrown out unwritten.
    lost: u64,
}

impl Book {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            entries: VecDeque::new(),
            tokens: BURST,
            counted: now,
            not_before: None,
            lost: 0,
        }
    }

    /// Takes what happened.
    pub(super) fn add(&mut self, mut told: Told, now: Instant, clock: Timestamp) {
        if told.note.len() > MAX_NOTE {
            let end = (0..=MAX_NOTE).rev().find(|at| told.note.is_char_boundary(*at));
            told.note.truncate(end.unwrap_or(0));
        }
        self.entries
            .retain(|e| now.saturating_duration_since(e.seen) < REMEMBERED);
        if let Some(entry) = self.entries.iter_mut().find(|e| e.told == told) {
            entry.count = entry.count.saturating_add(1);
            entry.last = clock;
            entry.seen = now;
            return;
        }
        if self.entries.len() >= MAX_ENTRIES {
            let oldest = self.entries.pop_front();
            self.lost += u64::from(oldest.is_some_and(|e| e.written.is_none()));
        }
        self.entries.push_back(Entry {
            told,
            first: clock,
            count: 1,
            last: clock,
            seen: now,
            written: None,
        });
    }

    /// The write that is due now.
    pub(super) fn next(&mut self, now: Instant) -> Option<Write> {
        self.refill(now);
        if self.tokens == 0 || self.not_before.is_some_and(|at| now < at) {
            return None;
        }
        let new = self.entries.iter().find(|e| e.written.is_none());
        let counted = || {
            self.entries
                .iter()
                .find(|e| e.count_due().is_some_and(|at| at <= now))
        };
        let entry = new.or_else(counted)?;
        Some(match entry.written {
            None => Write::Create(entry.told.clone(), entry.first),
            Some(_) => Write::Count {
                told: entry.told.clone(),
                first: entry.first,
                count: entry.count,
                last: entry.last,
            },
        })
    }

    /// When to ask again at the latest, unless something happens before.
    pub(super) fn due(&self) -> Option<Instant> {
        let any = |e: &Entry| match e.written {
            None => Some(self.counted),
            Some(_) => e.count_due(),
        };
        let wanted = self.entries.iter().filter_map(any).min()?;
        let token = (self.tokens == 0).then(|| self.counted + TOKEN);
        [Some(wanted), token, self.not_before].into_iter().flatten().max()
    }

    /// The write was answered well, or the event is there already.
    pub(super) fn wrote(&mut self, write: &Write, now: Instant) {
        self.not_before = None;
        self.tokens = self.tokens.saturating_sub(1);
        let (told, count) = match write {
            Write::Create(told, _) => (told, 1),
            Write::Count { told, count, .. } => (told, *count),
        };
        if let Some(entry) = self.entries.iter_mut().find(|e| e.told == *told) {
            entry.written = Some((count, now));
        }
    }

    /// The event is no longer there: the API server forgets them after an hour. What happened since is a new one.
    pub(super) fn forgotten(&mut self, write: &Write) {
        let (Write::Create(told, _) | Write::Count { told, .. }) = write;
        if let Some(entry) = self.entries.iter_mut().find(|e| e.told == *told) {
            entry.first = entry.last;
            entry.count = 1;
            entry.written = None;
        }
    }

    /// The write failed; it will be due again.
    pub(super) fn failed(&mut self, now: Instant) {
        self.not_before = Some(now + FAILURE_PAUSE);
    }

    /// How many were thrown out unwritten since this was asked last.
    pub(super) fn lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    fn refill(&mut self, now: Instant) {
        while self.tokens < BURST && now.saturating_duration_since(self.counted) >= TOKEN {
            self.tokens += 1;
            self.counted += TOKEN;
        }
        if self.tokens == BURST {
            self.counted = now;
        }
    }
}

impl Entry {
    /// When its count is to be written: one that has not changed, never.
    fn count_due(&self) -> Option<Instant> {
        let (count, at) = self.written?;
        (count < self.count && !self.told.everywhere).then(|| at + COUNT_PAUSE)
    }
}

#[cfg(test)]
mod tests;
