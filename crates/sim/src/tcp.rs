//! TCP as a program sees it: octets in order or not at all, and no promise about when, or in which pieces.
//!
//! ```text
//!   end 0 (dialled)   unsent ──► flow 0: segments on their way, a window at most ──► end 1 (accepted)
//!                     end 0  ◄── flow 1                                        ◄── unsent
//! ```
//!
//! What a socket takes counts against the window of its connection until the other process has read it: a process that does not read, a frozen
//! one or a stalled path fill the window, and the sender holds what is left. A path that is cut loses nothing: what is under
//! way is sent again, after pauses that double, until the path is whole or one end gives up. An end may go without the other
//! one hearing of it (the machine died, a path was cut): the connection is then *half open*, and the first octets that reach
//! the place where the end was are answered by a RST.
//!
//! This file is the state alone. What moves it is in `crate::world::network`.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flatroute_bgp::types::{ConnId, Instant};

use crate::topology::{HostId, LinkId};

/// The first pause before something that was lost is sent again; it doubles up to [`LAST_RETRY`].
pub const FIRST_RETRY: Duration = Duration::from_millis(200);
/// The longest pause between two attempts to get through.
pub const LAST_RETRY: Duration = Duration::from_secs(8);
/// The pause before a SYN is sent again; it doubles up to [`LAST_RETRY`].
pub const SYN_RETRY: Duration = Duration::from_secs(1);

/// Which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The one that dialled.
    Dialled,
    /// The one that was dialled.
    Accepted,
}

impl Side {
    /// Both, in order.
    pub const BOTH: [Self; 2] = [Self::Dialled, Self::Accepted];

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Dialled => Self::Accepted,
            Self::Accepted => Self::Dialled,
        }
    }

    /// Its place in an array of two.
    #[must_use]
    pub fn at(self) -> usize {
        match self {
            Self::Dialled => 0,
            Self::Accepted => 1,
        }
    }
}

/// A connection. A place that is used again has another generation, so that what comes late finds nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    place: u32,
    generation: u32,
}

impl Key {
    /// A number for traces.
    #[must_use]
    pub fn number(self) -> u64 {
        (u64::from(self.generation) << 32) | u64::from(self.place)
    }
}

/// How far an end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The handshake is not over.
    Opening,
    /// The process may write and read.
    Open,
    /// The process closed it, or was told that it is over.
    Closed,
    /// It is no more, and nobody told the other side.
    Vanished,
}

impl Stage {
    /// Whether a process still has this end.
    #[must_use]
    pub fn is_held(self) -> bool {
        match self {
            Self::Opening | Self::Open => true,
            Self::Closed | Self::Vanished => false,
        }
    }
}

/// One end.
#[derive(Debug)]
pub struct End {
    /// Whose it is.
    pub host: HostId,
    /// What the process calls it; none before it was accepted.
    pub conn: Option<ConnId>,
    /// How far it is.
    pub stage: Stage,
    /// What the socket has not taken yet.
    pub unsent: BytesMut,
    /// Since when there is some of it.
    pub waiting_since: Option<Instant>,
    /// Whether a moment is set at which that is looked at.
    pub(crate) looked_at: bool,
}

/// What one end sent and the other has not read.
#[derive(Debug, Default)]
pub struct Flow {
    /// Octets and the moments at which they come, in order.
    pub segments: VecDeque<(Instant, Bytes)>,
    /// How many octets that is.
    pub octets: usize,
    /// Whether the sender will send no more.
    pub fin: bool,
    /// Whether a moment is set at which the next of them come.
    pub scheduled: bool,
    /// When the last of them comes.
    pub last: Instant,
    /// How often the next of them was lost.
    pub lost: u32,
    /// Nothing comes before this moment.
    pub stalled_until: Instant,
}

impl Flow {
    /// Takes octets that will come at `at`, or after those before them.
    pub fn push(&mut self, at: Instant, octets: Bytes) {
        self.last = self.last.max(at);
        self.octets += octets.len();
        self.segments.push_back((self.last, octets));
    }

    /// Whether nothing is under way.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.segments.is_empty() && !self.fin
    }
}

/// A connection.
#[derive(Debug)]
pub struct Conn {
    /// The link that it runs over.
    pub link: LinkId,
    /// How many octets may be under way or unread in one direction.
    pub window: usize,
    /// Its ends, by [`Side::at`].
    pub ends: [End; 2],
    /// What each end sent.
    pub flows: [Flow; 2],
    /// How often a part of the handshake was lost.
    pub lost: u32,
    /// Whether octets were read since both its ends were last compared.
    pub news: bool,
    /// Code and subcode of the NOTIFICATION with which ends what each end left behind, where it does.
    pub farewell: [Option<(u8, u8)>; 2],
}

impl Conn {
    /// Whether no process has an end of it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.ends.iter().all(|end| !end.stage.is_held())
    }
}

/// The pause before the next attempt.
#[must_use]
pub fn pause(first: Duration, lost: u32) -> Duration {
    first.saturating_mul(1 << lost.min(16)).min(LAST_RETRY)
}

/// All connections.
#[derive(Debug, Default)]
pub struct Conns {
    places: Vec<(u32, Option<Conn>)>,
    free: Vec<u32>,
}

impl Conns {
    /// A new connection.
    pub fn insert(&mut self, conn: Conn) -> Key {
        if let Some(place) = self.free.pop()
            && let Some((generation, slot)) = self.places.get_mut(place as usize)
        {
            *generation = generation.wrapping_add(1);
            *slot = Some(conn);
            return Key {
                place,
                generation: *generation,
            };
        }
        let place = u32::try_from(self.places.len()).expect("fewer connections than 2^32");
        self.places.push((0, Some(conn)));
        Key { place, generation: 0 }
    }

    /// A connection, unless it is over.
    #[must_use]
    pub fn get(&self, key: Key) -> Option<&Conn> {
        let (generation, conn) = self.places.get(key.place as usize)?;
        conn.as_ref().filter(|_| *generation == key.generation)
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut Conn> {
        let (generation, conn) = self.places.get_mut(key.place as usize)?;
        conn.as_mut().filter(|_| *generation == key.generation)
    }

    /// Forgets a connection that no process has an end of.
    pub fn remove_if_over(&mut self, key: Key) {
        if self.get(key).is_some_and(Conn::is_over)
            && let Some((_, slot)) = self.places.get_mut(key.place as usize)
        {
            *slot = None;
            self.free.push(key.place);
        }
    }

    /// All that are not over, in the order of their places.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        (0..).zip(&self.places).filter_map(|(place, (generation, conn))| {
            conn.as_ref().map(|_| Key {
                place,
                generation: *generation,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conn() -> Conn {
        let end = |host| End {
            host,
            conn: None,
            stage: Stage::Open,
            unsent: BytesMut::new(),
            waiting_since: None,
            looked_at: false,
        };
        Conn {
            link: 0,
            window: 1024,
            ends: [end(0), end(1)],
            flows: [Flow::default(), Flow::default()],
            lost: 0,
            news: false,
            farewell: [None; 2],
        }
    }

    #[test]
    fn a_place_that_is_used_again_is_another_connection() {
        let mut conns = Conns::default();
        let first = conns.insert(conn());
        conns.get_mut(first).unwrap().ends[0].stage = Stage::Closed;
        conns.remove_if_over(first);
        assert!(conns.get(first).is_some(), "one end is still held");
        conns.get_mut(first).unwrap().ends[1].stage = Stage::Vanished;
        conns.remove_if_over(first);
        assert!(conns.get(first).is_none() && conns.keys().next().is_none());
        let second = conns.insert(conn());
        assert!(conns.get(first).is_none() && conns.get(second).is_some());
        assert_ne!(first.number(), second.number());
    }

    #[test]
    fn octets_never_overtake_those_before_them() {
        let mut flow = Flow::default();
        flow.push(Instant::from_micros(9), Bytes::from_static(b"a"));
        flow.push(Instant::from_micros(5), Bytes::from_static(b"b"));
        let order: Vec<u64> = flow.segments.iter().map(|(at, _)| at.as_micros()).collect();
        assert_eq!((order, flow.octets), (vec![9, 9], 2));
    }
}
