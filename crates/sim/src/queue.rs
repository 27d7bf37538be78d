//! What will happen, in order of time, and at one moment in the order in which it was decided.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use flatroute_bgp::types::Instant;

use crate::faults::FaultId;
use crate::tcp::{Key, Side};
use crate::topology::{HostId, StateId};

/// Something that will happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// The SYN of a connection comes to the host that is dialled.
    Syn(Key),
    /// The answer to it comes back.
    SynAck(Key),
    /// The answer to that: the connection is open at the end that was dialled.
    Ack(Key),
    /// The first octets, or the end, of what this side sent come to the other.
    Arrive(Key, Side),
    /// A RST comes to this side.
    Reset(Key, Side),
    /// A host's timer may be due.
    Wake(HostId),
    /// A host sends what it has to say.
    Turn(HostId),
    /// The oldest batch of routes that the process of this boot handed over is in the kernel.
    Written(HostId, u64),
    /// A process starts.
    Boot(HostId),
    /// A frozen process goes on.
    Thaw(HostId),
    /// A host tries again what its kernel refused, or admits links that came back.
    Retry(HostId),
    /// A host hears that the objects have changed.
    Replan(HostId, StateId),
    /// A fault begins, or ends.
    Fault(FaultId),
    /// It is looked whether this side still waits for its octets to be taken.
    Overdue(Key, Side),
}

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    at: Instant,
    number: u64,
    what: Happening,
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// All that will happen.
#[derive(Debug, Default)]
pub struct Queue {
    heap: BinaryHeap<Reverse<Entry>>,
    number: u64,
}

impl Queue {
    /// Puts something at its moment.
    pub fn push(&mut self, at: Instant, what: Happening) {
        self.number += 1;
        let number = self.number;
        self.heap.push(Reverse(Entry { at, number, what }));
    }

    /// What comes next, if it comes no later than `end`.
    pub fn pop(&mut self, end: Instant) -> Option<(Instant, Happening)> {
        if self.heap.peek()?.0.at > end {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| (entry.at, entry.what))
    }
}
