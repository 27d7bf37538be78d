//! How connections move: octets on their way, what is lost and sent again, and all the ways to end.

use std::time::Duration;

use bytes::Bytes;
use flatroute_bgp::speaker::Input;
use flatroute_bgp::types::{ConnId, Instant};

use super::{Mutant, World};
use crate::marks::Mark;
use crate::queue::Happening;
use crate::tcp::{Conn, FIRST_RETRY, Key, SYN_RETRY, Side, Stage, pause};
use crate::topology::HostId;
use crate::verify::HARD_RESET;

/// The length of a message's header (RFC 4271 §4.1).
const HEADER: usize = 19;
/// The octets before a message's length.
const LENGTH_AT: usize = 16;
/// The octets before a message's kind, and the kind of a NOTIFICATION.
const KIND_AT: usize = 18;
const NOTIFICATION: u8 = 3;
/// The octets before a NOTIFICATION's code, and before its data.
const CODE_AT: usize = 19;
const DATA_AT: usize = 21;
/// The most that a process reads at once.
const READ: usize = 64 * 1024;
/// How long what comes before its connection was accepted waits.
const PATIENCE: Duration = Duration::from_millis(1);

/// Code and subcode of last words that are a NOTIFICATION.
fn farewell(last: &[u8]) -> Option<(u8, u8)> {
    let kind = last.get(KIND_AT)?;
    let (code, subcode) = (last.get(CODE_AT)?, last.get(CODE_AT + 1)?);
    (*kind == NOTIFICATION).then_some((*code, *subcode))
}

/// The same last words without the Hard Reset around them.
fn softened(last: &[u8]) -> Vec<u8> {
    let (true, Some(inner)) = (farewell(last) == Some(HARD_RESET), last.get(DATA_AT..)) else {
        return last.to_vec();
    };
    let length = u16::try_from(CODE_AT + inner.len()).unwrap_or(u16::MAX);
    let marker = last.get(..LENGTH_AT).unwrap_or_default();
    [marker, &length.to_be_bytes(), &[NOTIFICATION], inner].concat()
}

impl World {
    /// The time that what is sent now takes over the link of a connection.
    pub(super) fn latency(&mut self, key: Key) -> Duration {
        let base = self
            .conns
            .get(key)
            .map_or(Duration::ZERO, |c| self.links[c.link].latency);
        let micros = u64::try_from(base.as_micros()).unwrap_or(u64::MAX);
        base + Duration::from_micros(self.dice.between(0, micros / 4))
    }

    /// Whether what this side sends gets to the other machine.
    pub(super) fn passes(&self, conn: &Conn, from: Side) -> bool {
        let (sender, receiver) = (conn.ends[from.at()].host, conn.ends[from.other().at()].host);
        let end = usize::from(self.topology.links[conn.link].ends[0] != sender);
        !self.links[conn.link].cut[end] && self.machines[sender].powered && self.machines[receiver].powered
    }

    /// Takes octets from a process; what the window does not hold waits with it.
    pub(crate) fn write(&mut self, key: Key, side: Side, octets: &[u8]) {
        let now = self.now;
        if let Some(conn) = self.conns.get_mut(key) {
            let end = &mut conn.ends[side.at()];
            end.waiting_since = end.waiting_since.or(Some(now));
            end.unsent.extend_from_slice(octets);
            self.trace.octets(octets);
            if !self.flush(key, side) {
                self.look_later(key, side);
            }
        }
    }

    /// Moves what waits into the window. Whether all of it found room.
    fn flush(&mut self, key: Key, side: Side) -> bool {
        let at = self.now + self.latency(key);
        let Some(conn) = self.conns.get_mut(key) else {
            return true;
        };
        let flow = &mut conn.flows[side.at()];
        let unsent = &mut conn.ends[side.at()].unsent;
        let room = conn.window.saturating_sub(flow.octets).min(unsent.len());
        if room > 0 {
            let octets = unsent.split_to(room).freeze();
            flow.push(at, octets);
        }
        let all = unsent.is_empty();
        if all {
            conn.ends[side.at()].waiting_since = None;
        } else {
            self.marks.reach(Mark::WindowFull);
        }
        self.order_arrival(key, side);
        all
    }

    /// Sees to it that the next of a flow comes at its moment.
    pub(super) fn order_arrival(&mut self, key: Key, side: Side) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        let flow = &mut conn.flows[side.at()];
        let next = flow
            .segments
            .front()
            .map(|(at, _)| *at)
            .or(flow.fin.then_some(flow.last));
        if let Some(at) = next.filter(|_| !flow.scheduled) {
            flow.scheduled = true;
            let at = at.max(flow.stalled_until).max(now);
            self.order(at.since(now), Happening::Arrive(key, side));
        }
    }

    fn arrive_later(&mut self, key: Key, side: Side, after: Duration) {
        if let Some(conn) = self.conns.get_mut(key) {
            conn.flows[side.at()].scheduled = true;
            self.order(after, Happening::Arrive(key, side));
        }
    }

    pub(super) fn arrive(&mut self, key: Key, side: Side) {
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        let flow = &mut conn.flows[side.at()];
        flow.scheduled = false;
        if flow.stalled_until > self.now {
            let after = flow.stalled_until.since(self.now);
            self.arrive_later(key, side, after);
            return;
        }
        let Some(conn) = self.conns.get(key) else { return };
        if !self.passes(conn, side) {
            if let Some(conn) = self.conns.get_mut(key) {
                let flow = &mut conn.flows[side.at()];
                let after = pause(FIRST_RETRY, flow.lost);
                flow.lost += 1;
                self.marks.reach(Mark::Retransmission);
                self.arrive_later(key, side, after);
            }
            return;
        }
        let receiver = &conn.ends[side.other().at()];
        let (host, stage) = (receiver.host, receiver.stage);
        match stage {
            Stage::Opening => self.arrive_later(key, side, PATIENCE),
            Stage::Closed => self.swallow(key, side),
            Stage::Vanished => {
                self.marks.reach(Mark::HalfOpen);
                self.swallow(key, side);
                let latency = self.latency(key);
                self.order(latency, Happening::Reset(key, side));
            }
            Stage::Open => {
                let until = self.machines[host].frozen_until;
                if until > self.now {
                    self.arrive_later(key, side, until.since(self.now));
                } else {
                    self.read(key, side, host);
                }
            }
        }
    }

    /// What comes to an end that nobody reads any more.
    fn swallow(&mut self, key: Key, side: Side) {
        if let Some(conn) = self.conns.get_mut(key) {
            let flow = &mut conn.flows[side.at()];
            flow.segments.clear();
            flow.octets = 0;
        }
    }

    /// The process at the other end reads some of what came, or its end.
    fn read(&mut self, key: Key, side: Side, host: HostId) {
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        let Some(name) = conn.ends[side.other().at()].conn else {
            return;
        };
        conn.flows[side.at()].lost = 0;
        conn.news = true;
        let piece = self.piece(key, side);
        let farewell = self.farewell(key, side);
        let Some(octets) = piece else {
            self.ended(key, side.other(), None);
            self.watch_farewell(host, farewell);
            return;
        };
        let numbers = [host as u64, key.number(), octets.len() as u64];
        self.trace.fact(self.now, "read", &numbers, || {
            let name = &self.topology.hosts[host].name;
            format!("{name} {} octets", octets.len())
        });
        self.trace.octets(&octets);
        if self.machines[host].rogue.is_some() {
            self.rogue_hears(host, (key, side), name);
        } else {
            let bytes = &octets[..];
            self.tell(host, Input::Received { conn: name, bytes });
            self.watch_farewell(host, farewell);
        }
        // There is room again, and there may be more.
        let sender = self.conns.get(key).map(|c| &c.ends[side.at()]);
        if let Some(sender) = sender.filter(|end| end.stage == Stage::Open && !end.unsent.is_empty()) {
            let host = sender.host;
            if self.flush(key, side) {
                self.order_turn(host);
            }
        }
        self.order_arrival(key, side);
    }

    /// Takes what is read at once off a flow: cut anywhere, and joined with what has come since.
    fn piece(&mut self, key: Key, side: Side) -> Option<Bytes> {
        let (now, cuts) = (self.now, self.options.cuts);
        let flow = &mut self.conns.get_mut(key)?.flows[side.at()];
        let (at, mut octets) = flow.segments.pop_front()?;
        if cuts {
            while octets.len() < READ
                && self.dice.chance(500)
                && let Some((_, next)) = flow.segments.pop_front_if(|(at, _)| *at <= now)
            {
                octets = [octets, next].concat().into();
            }
            if octets.len() > 1 && self.dice.chance(400) {
                let most = if self.dice.chance(500) {
                    HEADER + 4
                } else {
                    octets.len()
                };
                let cut = 1 + self.dice.index(most.min(octets.len()) - 1);
                if cut < HEADER {
                    self.marks.reach(Mark::CutHeader);
                }
                let rest = octets.split_off(cut);
                flow.segments.push_front((at, rest));
            }
        }
        flow.octets -= octets.len();
        Some(octets)
    }

    /// A process closes a connection, with last words.
    pub(super) fn close(&mut self, host: HostId, conn: ConnId, last: &[u8]) {
        let softer = (self.options.mutant == Some(Mutant::SoftensHardResets)).then(|| softened(last));
        let last = softer.as_deref().unwrap_or(last);
        let Some((key, side)) = self.machines[host].conns.remove(&conn) else {
            return;
        };
        let latency = self.latency(key);
        let at = self.now + latency;
        self.traffic.count(last);
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        let was = std::mem::replace(&mut conn.ends[side.at()].stage, Stage::Closed);
        self.trace
            .fact(self.now, "close", &[host as u64, key.number()], || {
                let name = &self.topology.hosts[host].name;
                format!("{name} with {} octets", last.len())
            });
        self.trace.octets(last);
        conn.farewell[side.at()] = farewell(last);
        if was == Stage::Open {
            // The system delivers what the process has left behind.
            let mut octets = std::mem::take(&mut conn.ends[side.at()].unsent);
            let mutant = self.options.mutant;
            if mutant == Some(Mutant::OutlivesHardResets) {
                octets.extend_from_slice(&softened(last));
            } else if mutant != Some(Mutant::DeafToFarewells) {
                octets.extend_from_slice(last);
            }
            let flow = &mut conn.flows[side.at()];
            if !octets.is_empty() {
                flow.push(at, octets.freeze());
            }
            flow.last = flow.last.max(at);
            flow.fin = true;
            self.order_arrival(key, side);
        }
        self.conns.remove_if_over(key);
    }

    /// An end is gone without the process hearing of it.
    pub(super) fn abandon(&mut self, key: Key, side: Side) {
        if let Some(conn) = self.conns.get_mut(key) {
            conn.ends[side.at()].stage = Stage::Vanished;
            self.conns.remove_if_over(key);
        }
    }

    /// A RST comes to this side.
    pub(super) fn reset(&mut self, key: Key, side: Side) {
        let Some(conn) = self.conns.get(key) else { return };
        let (host, stage, name) = {
            let end = &conn.ends[side.at()];
            (end.host, end.stage, end.conn)
        };
        let is_half = conn.ends[side.other().at()].stage == Stage::Opening;
        if !self.passes(conn, side.other()) && self.machines[host].powered {
            // It is lost; what is sent again will be answered again.
            if stage == Stage::Opening {
                self.order(SYN_RETRY, Happening::Syn(key));
            }
            return;
        }
        if stage.is_held() && self.postpone(host, Happening::Reset(key, side)) {
            return;
        }
        match (stage, name) {
            (Stage::Opening, Some(name)) => {
                self.marks.reach(Mark::Refused);
                self.abandon(key, side.other());
                self.machines[host].conns.remove(&name);
                self.abandon(key, side);
                if self.machines[host].rogue.is_none() {
                    let error = "connection refused".to_owned();
                    self.tell(host, Input::ConnectFailed { conn: name, error });
                }
            }
            (Stage::Open, Some(_)) => {
                self.marks.reach(Mark::Reset);
                self.ended(key, side, Some("connection reset by peer"));
            }
            (Stage::Opening | Stage::Open, None) => self.abandon(key, side),
            // The answer to a SYN of somebody who has given up.
            (Stage::Closed | Stage::Vanished, _) if is_half => self.abandon(key, side.other()),
            (Stage::Closed | Stage::Vanished, _) => {}
        }
    }

    /// A connection is over for the process at this side.
    pub(super) fn ended(&mut self, key: Key, side: Side, error: Option<&str>) {
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        let end = &mut conn.ends[side.at()];
        end.stage = Stage::Closed;
        end.unsent.clear();
        let (host, name) = (end.host, end.conn);
        self.trace
            .fact(self.now, "ended", &[host as u64, key.number()], || {
                format!("{} {error:?}", self.topology.hosts[host].name)
            });
        self.conns.remove_if_over(key);
        let Some(name) = name else { return };
        self.machines[host].conns.remove(&name);
        if self.machines[host].rogue.is_some() {
            self.rogue_ends(host, name);
        } else {
            self.tell(
                host,
                Input::Closed {
                    conn: name,
                    error: error.map(str::to_owned),
                },
            );
        }
    }

    /// Stalls one direction of a connection.
    pub(crate) fn stall(&mut self, key: Key, side: Side, until: Instant) {
        if let Some(conn) = self.conns.get_mut(key) {
            let flow = &mut conn.flows[side.at()];
            flow.stalled_until = flow.stalled_until.max(until);
        }
    }
}
