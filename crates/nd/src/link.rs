//! One interface: what to send when, and who the neighbour is.
//!
//! **Sending.** An advertisement at the start, two more soon after, then one each 7.5 to 10 s ([`INTERVAL`]); all to every node of
//! the link. While no router has been heard, a solicitation goes out with growing pauses, so that a neighbour that is
//! there is known at once and not at its next advertisement. Who solicits is answered, itself, at most [`BURST`] times in a row
//! and then once a second, whoever asks.
//!
//! **The neighbour** is the router that was heard first, and it stays that: a neighbour that is silent keeps its place, because
//! its session has a hold timer of its own, and an interval of advertisements can be half an hour. When another router is heard
//! and the neighbour was not within [`FRESH`], it is asked: who gives no answer to a solicitation within [`DOUBT`] has been
//! replaced (another switch in the same port), and the other one takes its place. Where both answer, the link is one of several
//! routers: the first stays, and that is told ([`State::Router`]).
//!
//! What is remembered is bounded ([`MAX_ROUTERS`]), whatever a link is flooded with. No clock: time is told, as what has passed
//! since some moment.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use crate::message::Message;

/// The longest pause between two advertisements to all; the shortest is three quarters of it (RFC 4861 §6.2.1).
pub const INTERVAL: Duration = Duration::from_secs(10);
/// How many advertisements follow each other sooner at the start (RFC 4861 §10, MAX_INITIAL_RTR_ADVERTISEMENTS).
pub const INITIAL: u8 = 3;
/// The pause between those: never less between two advertisements to all (RFC 4861 §10, MIN_DELAY_BETWEEN_RAS).
pub const MIN_DELAY: Duration = Duration::from_secs(3);
/// The first pause between solicitations; each is twice the one before, up to [`INTERVAL`].
pub const SOLICIT: Duration = Duration::from_secs(1);
/// How soon what could not be sent is tried again: the link-local address is not usable for a moment when a link comes up.
pub const RETRY: Duration = Duration::from_millis(500);
/// How many solicitations are answered in a row, and then one a second.
pub const BURST: u8 = 4;
/// How long a link that says nothing is waited for before that is told.
pub const PATIENCE: Duration = Duration::from_secs(3);
/// How long a router that was heard is not asked whether it is still there.
pub const FRESH: Duration = Duration::from_secs(10);
/// How long it may take to answer.
pub const DOUBT: Duration = Duration::from_secs(10);
/// How long a router beside the neighbour is remembered: three times the usual interval of advertisements.
pub const REMEMBERED: Duration = Duration::from_secs(30 * 60);
/// How many routers of one link are remembered, the neighbour with them.
pub const MAX_ROUTERS: usize = 8;

/// All nodes of a link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// All routers of a link.
pub(crate) const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// What is known of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No router yet, and it is too soon to say that there is none.
    Waiting,
    /// No router.
    Silent,
    /// The neighbour.
    Router {
        /// Its link-local address.
        address: Ipv6Addr,
        /// Whether others have been heard as well.
        several: bool,
    },
}

/// Something to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// What.
    pub message: Message,
    /// To whom.
    pub to: Ipv6Addr,
}

/// One interface.
#[derive(Debug)]
pub struct Link {
    since: Duration,
    neighbour: Option<Neighbour>,
    /// When each other router was last heard.
    others: BTreeMap<Ipv6Addr, Duration>,
    advertise_at: Duration,
    /// How many advertisements went to all, up to [`INITIAL`].
    advertised: u8,
    last_advertised: Option<Duration>,
    /// None: nobody has to be found.
    solicit_at: Option<Duration>,
    pause: Duration,
    answer: Option<Ipv6Addr>,
    answers: Answers,
    random: u64,
}

#[derive(Clone, Copy, Debug)]
struct Neighbour {
    address: Ipv6Addr,
    /// None: it is remembered from an earlier life, and has not been heard in this one.
    heard: Option<Duration>,
    /// Since when it is asked whether it is still there.
    doubted: Option<Duration>,
}

/// How many solicitations may be answered.
#[derive(Clone, Copy, Debug)]
struct Answers {
    left: u8,
    since: Duration,
}

impl Answers {
    fn take(&mut self, now: Duration) -> bool {
        let passed = now.saturating_sub(self.since);
        let earned = u8::try_from(passed.as_secs()).unwrap_or(u8::MAX);
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(BURST);
            self.since = self.since.saturating_add(Duration::from_secs(earned.into()));
        }
        if earned == u8::MAX || self.left == BURST {
            self.since = now;
        }
        let has_one = self.left > 0;
        self.left = self.left.saturating_sub(1);
        has_one
    }
}

impl Link {
    /// A link that is listened on from now on; `remembered`: the neighbour of an earlier life.
    #[must_use]
    pub fn new(seed: u64, remembered: Option<Ipv6Addr>, now: Duration) -> Self {
        Self {
            since: now,
            neighbour: remembered.map(|address| Neighbour {
                address,
                heard: None,
                doubted: None,
            }),
            others: BTreeMap::new(),
            advertise_at: now,
            advertised: 0,
            last_advertised: None,
            solicit_at: Some(now),
            pause: SOLICIT,
            answer: None,
            answers: Answers {
                left: BURST,
                since: now,
            },
            random: seed,
        }
    }

    /// What is known at this moment.
    #[must_use]
    pub fn state(&self, now: Duration) -> State {
        match self.neighbour {
            Some(neighbour) => State::Router {
                address: neighbour.address,
                several: !self.others.is_empty(),
            },
            None if now < self.since + PATIENCE => State::Waiting,
            None => State::Silent,
        }
    }

    /// A message came. One from elsewhere than a link-local address counts only as a question (RFC 4861 §6.1).
    pub fn heard(&mut self, from: Ipv6Addr, message: Message, now: Duration) {
        match message {
            Message::Solicitation => self.solicited(from, now),
            Message::Advertisement { .. } if from.is_unicast_link_local() => self.advertised(from, now),
            Message::Advertisement { .. } => {}
        }
        self.expire(now);
    }

    fn solicited(&mut self, from: Ipv6Addr, now: Duration) {
        if !self.answers.take(now) {
            return;
        }
        if from.is_unicast_link_local() {
            self.answer = Some(from);
        } else {
            let soonest = self.last_advertised.map_or(now, |last| last + MIN_DELAY);
            self.advertise_at = self.advertise_at.min(soonest.max(now));
        }
    }

    fn advertised(&mut self, from: Ipv6Addr, now: Duration) {
        let Some(neighbour) = self.neighbour.as_mut().filter(|n| n.address != from) else {
            self.is_now(from, now);
            return;
        };
        let is_fresh = neighbour.heard.is_some_and(|at| now < at + FRESH);
        if !is_fresh && neighbour.doubted.is_none() {
            neighbour.doubted = Some(now);
            self.ask(now);
        }
        self.others.insert(from, now);
        while self.others.len() >= MAX_ROUTERS {
            let oldest = self.others.iter().min_by_key(|(_, at)| **at);
            let Some(oldest) = oldest.map(|(address, _)| *address) else {
                break;
            };
            self.others.remove(&oldest);
        }
    }

    fn is_now(&mut self, address: Ipv6Addr, now: Duration) {
        self.neighbour = Some(Neighbour {
            address,
            heard: Some(now),
            doubted: None,
        });
        self.others.remove(&address);
        self.solicit_at = None;
    }

    fn ask(&mut self, now: Duration) {
        self.pause = SOLICIT;
        self.solicit_at = Some(now);
    }

    /// Time has passed: a neighbour that gave no answer loses its place to the router that was heard last.
    fn expire(&mut self, now: Duration) {
        self.others.retain(|_, at| now < *at + REMEMBERED);
        let doubted = self.neighbour.and_then(|neighbour| neighbour.doubted);
        if doubted.is_none_or(|since| now < since + DOUBT) {
            return;
        }
        if let Some(other) = self.others.iter().max_by_key(|(_, at)| **at) {
            let (address, heard) = (*other.0, *other.1);
            self.is_now(address, heard);
        } else if let Some(neighbour) = &mut self.neighbour {
            neighbour.doubted = None;
        }
    }

    /// What is to be sent now; asked until there is nothing.
    pub fn poll_transmit(&mut self, now: Duration) -> Option<Transmit> {
        self.expire(now);
        if let Some(to) = self.answer.take() {
            return Some(Transmit {
                message: ADVERTISEMENT,
                to,
            });
        }
        if self.advertise_at <= now {
            self.last_advertised = Some(now);
            self.advertised = self.advertised.saturating_add(1).min(INITIAL);
            let pause = if self.advertised < INITIAL {
                MIN_DELAY
            } else {
                self.jittered(INTERVAL)
            };
            self.advertise_at = now + pause;
            return Some(Transmit {
                message: ADVERTISEMENT,
                to: ALL_NODES,
            });
        }
        if self.solicit_at.is_some_and(|at| at <= now) {
            let pause = self.jittered(self.pause);
            self.solicit_at = Some(now + pause);
            self.pause = self.pause.saturating_mul(2).min(INTERVAL);
            return Some(Transmit {
                message: Message::Solicitation,
                to: ALL_ROUTERS,
            });
        }
        None
    }

    /// What was given out last could not be sent: it is tried again soon.
    pub fn failed(&mut self, transmit: Transmit, now: Duration) {
        let soon = now + RETRY;
        match transmit.message {
            Message::Solicitation => {
                self.pause = SOLICIT;
                self.solicit_at = self.solicit_at.map(|at| at.min(soon));
            }
            Message::Advertisement { .. } if transmit.to == ALL_NODES => {
                self.advertised = self.advertised.saturating_sub(1);
                self.last_advertised = None;
                self.advertise_at = soon;
            }
            // Who asked asks again.
            Message::Advertisement { .. } => {}
        }
    }

    /// When to ask again for what is to be sent, and for the state.
    #[must_use]
    pub fn poll_timeout(&self, now: Duration) -> Duration {
        if self.answer.is_some() {
            return now;
        }
        let silent = Some(self.since + PATIENCE).filter(|at| self.neighbour.is_none() && *at > now);
        let doubt = self.neighbour.and_then(|n| n.doubted).map(|since| since + DOUBT);
        let forgotten = self.others.values().min().map(|at| *at + REMEMBERED);
        [self.solicit_at, silent, doubt, forgotten]
            .into_iter()
            .flatten()
            .fold(self.advertise_at, Duration::min)
    }

    /// From three quarters of it to all of it.
    fn jittered(&mut self, longest: Duration) -> Duration {
        // SplitMix64, a step.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let share = u32::try_from((bits ^ (bits >> 31)) % 256).unwrap_or(0);
        longest * 3 / 4 + longest * share / 1024
    }
}

/// What we send: nobody's default router.
const ADVERTISEMENT: Message = Message::Advertisement { lifetime: 0 };

#[cfg(test)]
mod tests;
