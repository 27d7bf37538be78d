//! Telling peers: rounds over the dirty set, grouped by outgoing attributes.
//!
//! A round takes the whole dirty set of a family. What comes out as it was told before is dropped; what may no
//! longer be told goes to the withdrawals; the rest is sorted into one group a set of outgoing attributes by
//! counting, which is linear. While a round is handed out, prefixes may change again: they are then dirty, the
//! round passes over them, and the next round finds them. So nothing that is handed out is older than its state.
//!
//! A peer that is told several paths of a prefix has rounds of its own kind (see `several`); End-of-RIB and the answer to a refresh are
//! the same for both.

use std::collections::HashMap;
use std::sync::Arc;

use super::attributes::{AttrId, AttributeTable};
use super::core::{Core, at};
use super::export::{self, Best, Export};
use super::receiver::Receiver;
use super::several::Several;
use super::table::{Key, NIL, SELECTED, Table};
use super::{Batch, PeerSettings};
use crate::policy::{Drain, Source};
use crate::types::{Family, Prefix};

/// How many prefixes a batch has at most.
pub(super) const MAX_BATCH: usize = 16_384;
/// After so many rounds the initial routes count as told, even if a busy table always has more to say.
const MAX_INITIAL_ROUNDS: u8 = 3;

/// What goes to one peer in one family.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    pub(super) receiver: Receiver,
    withdraw: Vec<u32>,
    /// Each group's attributes and the end of its part of `ids`, the first one next.
    groups: std::vec::IntoIter<(AttrId, usize)>,
    ids: Vec<u32>,
    next: usize,
    rounds: u8,
    end_of_rib: EndOfRib,
    /// Whether prefixes of this round are told because they are to be told again.
    pub(super) forced: bool,
    refresh: Refresh,
    /// For a peer that is told several paths of a prefix: what of each, and the round.
    pub(super) several: Option<Box<Several>>,
}

/// The mark behind the initial routes (RFC 4724 §2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum EndOfRib {
    /// It is out.
    #[default]
    Said,
    /// It follows as soon as the initial routes are out.
    Owed,
    /// The routes that are there are not all that will be told: this speaker has not chosen yet.
    Held,
}

/// An answer to a ROUTE-REFRESH that stands between BoRR and EoRR (RFC 7313 §4).
#[derive(Debug, Default)]
struct Refresh {
    /// The peer has asked, and its answer has not begun.
    wanted: bool,
    /// BoRR is out, EoRR is not.
    open: bool,
}

impl Outbound {
    /// The state of a session that has just come up: an End-of-RIB is owed, at once or once routes are chosen.
    pub(super) fn opened(held: bool, several: bool) -> Self {
        Self {
            end_of_rib: if held { EndOfRib::Held } else { EndOfRib::Owed },
            several: several.then(Box::default),
            ..Self::default()
        }
    }

    /// Routes are chosen, and will be told before it.
    pub(super) fn release_end_of_rib(&mut self) {
        if self.end_of_rib == EndOfRib::Held {
            self.end_of_rib = EndOfRib::Owed;
            self.rounds = 0;
        }
    }

    fn has_round(&self) -> bool {
        let several = self.several.as_ref().is_some_and(|s| s.has_round());
        !self.withdraw.is_empty() || self.groups.len() > 0 || several
    }

    /// How many routes the peer was told.
    pub(super) fn told_len(&self) -> usize {
        let prefixes = self.receiver.told_len();
        self.several.as_ref().map_or(prefixes, |s| s.told_len())
    }

    /// Whether the peer neither was nor is about to be told of a prefix.
    pub(super) fn is_silent_about(&self, id: u32) -> bool {
        self.receiver.told(id) == 0 && !self.has_round()
    }

    fn is_pending(&self) -> bool {
        self.has_round()
            || self.receiver.has_dirty()
            || self.end_of_rib == EndOfRib::Owed
            || (self.refresh.wanted && self.end_of_rib == EndOfRib::Said)
            || self.refresh.open
    }

    pub(super) fn close<K: Key>(self, t: &mut Table<K>, attributes: &mut AttributeTable) {
        for id in self.withdraw.iter().chain(&self.ids[self.next..]) {
            t.release(*id);
        }
        for (group, _) in self.groups {
            attributes.release(group);
        }
        if let Some(several) = self.several {
            several.close(t, attributes);
            // What the receiver was told is a number of paths.
            self.receiver.close(t, |_| {});
        } else {
            self.receiver.close(t, |told| attributes.release(AttrId(told)));
        }
    }
}

/// A round while it is sorted.
#[derive(Default)]
struct Buckets {
    last: Option<(AttrId, usize)>,
    entries: Vec<(u32, u32)>,
    groups: Vec<(AttrId, usize)>,
}

impl Buckets {
    /// `known` is for look-up only, never iterated: the groups are in the order of their first id.
    fn push(&mut self, known: &mut HashMap<u32, usize, super::hash::Seed>, attributes: AttrId, id: u32) {
        let bucket = match self.last {
            Some((last, bucket)) if last == attributes => bucket,
            _ => *known.entry(attributes.0).or_insert_with(|| {
                self.groups.push((attributes, 0));
                self.groups.len() - 1
            }),
        };
        self.last = Some((attributes, bucket));
        self.groups[bucket].1 += 1;
        self.entries.push((u32::try_from(bucket).unwrap_or(NIL), id));
    }

    /// The ids by group, and each group with its end.
    fn sorted(mut self) -> (Vec<u32>, Vec<(AttrId, usize)>) {
        let mut start = 0;
        for (_, count) in &mut self.groups {
            start += std::mem::replace(count, start);
        }
        let mut ids = vec![0; self.entries.len()];
        for (bucket, id) in self.entries {
            let place = &mut self.groups[usize::try_from(bucket).unwrap_or(usize::MAX)].1;
            ids[*place] = id;
            *place += 1;
        }
        (ids, self.groups)
    }
}

impl Core {
    /// The best path of a prefix, as an export looks at it.
    pub(super) fn best<K: Key>(
        &self,
        t: &Table<K>,
        id: u32,
    ) -> Option<(Prefix, Source, AttrId, Option<u16>)> {
        let entry = t.entry(id);
        if let Some(source) = entry.local {
            return Some((t.prefix(id), source, self.local, None));
        }
        let path = (entry.head != NIL)
            .then(|| t.path(entry.head))
            .filter(|p| p.is(SELECTED))?;
        Some((t.prefix(id), Source::Learned, path.effective, Some(path.peer)))
    }

    /// The best path of a prefix, unless it is too early to tell a peer of it: this speaker has restarted and has not
    /// chosen yet, and the peer has.
    pub(super) fn best_for<K: Key>(
        &self,
        t: &Table<K>,
        id: u32,
        to: &PeerSettings,
    ) -> Option<(Prefix, Source, AttrId, Option<u16>)> {
        let early = self.deferred && !to.restarted;
        self.best(t, id)
            .filter(|(_, _, _, from)| from.is_none() || !early)
    }

    /// Starts a round when there is none and something is dirty.
    pub(super) fn plan<K: Key>(&mut self, t: &mut Table<K>, family: Family, p: u16) {
        let Some(peer) = self.peer_mut(p) else { return };
        let state = &mut peer.families[at(family)].out;
        let owed = state.end_of_rib == EndOfRib::Owed && state.rounds >= MAX_INITIAL_ROUNDS;
        if state.has_round() || !state.receiver.has_dirty() || owed {
            return;
        }
        let mut out = std::mem::take(state);
        let settings = peer.settings.clone();
        if out.several.is_some() {
            self.plan_several(t, family, (p, &settings), &mut out);
            out.rounds = out.rounds.saturating_add(1);
            self.put_back(family, p, out);
            return;
        }
        let mut export = Export::new((p, &settings), family, self.seed);
        let mut known = HashMap::with_hasher(self.seed);
        let mut buckets = Buckets::default();
        buckets.entries.reserve(out.receiver.dirty_len());
        out.forced = out.receiver.has_forced();
        while let Some((id, again)) = out.receiver.pop() {
            let best = self.best_for(t, id, &settings);
            let attributes = match best {
                None => AttrId::NONE,
                Some((prefix, source, attributes, from)) => {
                    let from = from.and_then(|f| {
                        let peer = self.peers.get(usize::from(f))?.as_ref()?;
                        Some((f, &*peer.settings))
                    });
                    let best = Best {
                        prefix,
                        source,
                        attributes,
                        from,
                        elsewhere: self.told_elsewhere(family, id, p, &settings),
                    };
                    export.evaluate(&mut self.attributes, &best)
                }
            };
            let told = AttrId(out.receiver.told(id));
            if attributes == told && (!again || told == AttrId::NONE) {
                t.release(id);
            } else if attributes == AttrId::NONE {
                out.withdraw.push(id);
            } else {
                buckets.push(&mut known, attributes, id);
            }
        }
        let (ids, groups) = buckets.sorted();
        for (attributes, _) in &groups {
            self.attributes.hold(*attributes);
        }
        export.finish(&mut self.attributes);
        (out.ids, out.groups, out.next) = (ids, groups.into_iter(), 0);
        out.rounds = out.rounds.saturating_add(1);
        self.put_back(family, p, out);
    }

    /// The peer asked for everything again, and understands the brackets around it. Asking once more before the
    /// answer has begun changes nothing; asking during it brings one more answer.
    pub(super) fn want_refresh(&mut self, family: Family, p: u16) {
        if let Some(peer) = self.peer_mut(p).filter(|p| p.settings.families.contains(family)) {
            peer.families[at(family)].out.refresh.wanted = true;
        }
    }

    /// Begins the answer that is wanted, after End-of-RIB (RFC 7313 §4) and between two rounds.
    pub(super) fn begin_answer<K: Key>(&mut self, t: &mut Table<K>, family: Family, p: u16) -> Option<Batch> {
        let peer = self.peer_mut(p)?;
        let out = &mut peer.families[at(family)].out;
        if !out.refresh.wanted || out.refresh.open || out.end_of_rib != EndOfRib::Said || out.has_round() {
            return None;
        }
        out.refresh = Refresh {
            wanted: false,
            open: true,
        };
        self.mark_all(t, family, p, true);
        Some(Batch::BeginRefresh(family))
    }

    pub(super) fn take_out(&mut self, family: Family, p: u16) -> Option<Outbound> {
        let peer = self.peer_mut(p)?;
        Some(std::mem::take(&mut peer.families[at(family)].out))
    }

    pub(super) fn put_back(&mut self, family: Family, p: u16, out: Outbound) {
        if let Some(peer) = self.peer_mut(p) {
            peer.families[at(family)].out = out;
        }
    }

    /// The next withdrawals of the round.
    pub(super) fn next_unreach<K: Key>(&mut self, t: &mut Table<K>, family: Family, p: u16) -> Option<Batch> {
        let peer = self.peers.get_mut(usize::from(p))?.as_mut()?;
        let out = &mut peer.families[at(family)].out;
        if out.several.is_some() {
            return self.next_unreach_paths(t, family, p);
        }
        let (mut prefixes, mut done, mut turned) = (Vec::new(), Vec::new(), Vec::new());
        while prefixes.len() < MAX_BATCH {
            let Some(id) = out.withdraw.pop() else { break };
            if !out.receiver.is_dirty(id) {
                prefixes.push(t.prefix(id));
                self.attributes.release(AttrId(out.receiver.tell(t, id, 0)));
                turned.push(id);
            } else if out.forced {
                out.receiver.force(id);
            }
            done.push(id);
        }
        self.consider_drained(t, family, p, &turned);
        t.release_all(&done);
        (!prefixes.is_empty()).then_some(Batch::Unreach { family, prefixes })
    }

    /// The next group of the round, or the End-of-RIB that is owed after it.
    pub(super) fn next_reach<K: Key>(&mut self, t: &mut Table<K>, family: Family, p: u16) -> Option<Batch> {
        let drains = self.drains();
        let mut out = self.take_out(family, p)?;
        let mut batch = self.next_reach_paths(t, family, p, &mut out);
        while batch.is_none()
            && let Some((attributes, end)) = out.groups.as_slice().first().copied()
        {
            let from = out.next;
            out.next = end.min(from + MAX_BATCH);
            let ids = &out.ids[from..out.next];
            let (mut prefixes, mut turned) = (Vec::with_capacity(ids.len()), Vec::new());
            for id in ids {
                if !out.receiver.is_dirty(*id) {
                    prefixes.push(t.prefix(*id));
                    self.attributes.hold(attributes);
                    let before = AttrId(out.receiver.tell(t, *id, attributes.0));
                    self.attributes.release(before);
                    if drains && before == AttrId::NONE {
                        turned.push(*id);
                    }
                } else if out.forced {
                    out.receiver.force(*id);
                }
                t.release(*id);
            }
            self.consider_drained(t, family, p, &turned);
            if !prefixes.is_empty() {
                let attributes = Arc::new(self.attributes.unpack(attributes));
                batch = Some(Batch::Reach { attributes, prefixes });
            }
            if out.next == end {
                out.groups.next();
                self.attributes.release(attributes);
            }
        }
        if !out.has_round() {
            (out.ids, out.next, out.withdraw) = Default::default();
        }
        let settled = !out.receiver.has_dirty() || out.rounds >= MAX_INITIAL_ROUNDS;
        if batch.is_none() && out.end_of_rib == EndOfRib::Owed && settled {
            out.end_of_rib = EndOfRib::Said;
            batch = Some(Batch::EndOfRib(family));
        }
        // However long it takes: what is not told again before EoRR, the peer takes for gone.
        if batch.is_none() && out.refresh.open && !out.receiver.has_forced() {
            out.refresh.open = false;
            batch = Some(Batch::EndRefresh(family));
        }
        self.put_back(family, p, out);
        batch
    }

    /// Forgets that the peer was told of a prefix.
    pub(super) fn untell<K: Key>(&mut self, t: &mut Table<K>, family: Family, p: u16, prefix: Prefix) {
        let Some(id) = t.find(prefix) else { return };
        // While the number of the prefix is still held by what was told.
        self.consider_drained(t, family, p, &[id]);
        if let Some(peer) = self.peers.get_mut(usize::from(p)).and_then(Option::as_mut) {
            let receiver = &mut peer.families[at(family)].out.receiver;
            self.attributes.release(AttrId(receiver.tell(t, id, 0)));
        }
    }

    pub(super) fn has_pending(&self, p: u16) -> bool {
        self.peer(p)
            .is_some_and(|peer| peer.families.iter().any(|f| f.out.is_pending()))
    }

    pub(super) fn export_reason<K: Key>(&self, t: &Table<K>, p: u16, prefix: Prefix) -> String {
        let Some(to) = self.peer(p) else {
            return "the session is down".to_owned();
        };
        if !to.settings.families.contains(prefix.family()) {
            return format!("withheld: {} is not negotiated", prefix.family());
        }
        let early = self.deferred && !to.settings.restarted;
        if early && t.find(prefix).is_some_and(|id| t.entry(id).local.is_none()) {
            return "withheld: routes are not chosen yet".to_owned();
        }
        let found = t.find(prefix).and_then(|id| Some((id, self.best(t, id)?)));
        let Some((id, (prefix, source, attributes, from))) = found else {
            return "no route".to_owned();
        };
        let from = from.and_then(|f| Some((f, &*self.peer(f)?.settings)));
        let best = Best {
            prefix,
            source,
            attributes,
            from,
            elsewhere: self.told_elsewhere(prefix.family(), id, p, &to.settings),
        };
        match export::explain(&self.attributes, (p, &to.settings), &best) {
            Ok(rule) if to.settings.drain == Drain::Withdrawn => {
                format!("told (filter: {rule}): LastPath: the peer is drained, but no other is told")
            }
            Ok(rule) => format!("told (filter: {rule})"),
            Err(reason) => format!("withheld: {reason}"),
        }
    }
}
