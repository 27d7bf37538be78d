//! Telling a peer several paths of a prefix (RFC 7911).
//!
//! Such a peer is told all paths that may be told to it, the best first, up to [`MAX_PATHS`]: the best path, those that are
//! used beside it, then the others, and of these first the ones that the decision process took out last. A prefix of our own
//! has one path, ours.
//!
//! **Identifiers.** A path keeps its number in the table for as long as its peer has it, whatever its attributes become, and that
//! number is its identifier for everybody (two are added, so that zero is nobody's and one is our own route). When it is
//! gone, another path may get the number: to the peer that is another route of that identifier, or a withdrawal before it.
//!
//! **Rounds** work as those of other peers do (see `outbound`): the dirty set is one of prefixes, because any path of a prefix
//! may change which of the others are told. A round compares what is wanted of each dirty prefix with what was told,
//! path by path, and hands out withdrawals, then announcements by attributes. A prefix that changes before its turn is passed over,
//! with all its paths, and comes again.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::attributes::{AttrId, AttributeTable};
use super::core::{Core, at};
use super::decision::{Candidate, Step};
use super::export::{Best, Export};
use super::outbound::{MAX_BATCH, Outbound};
use super::table::{Key, Table};
use super::{Batch, MAX_PATHS, PeerSettings};
use crate::policy::Source;
use crate::types::{Family, PathId, Prefix};

/// The identifier of our own route.
const OWN: u32 = 1;

/// The identifier of a path that was learned.
fn learned(path: u32) -> u32 {
    path.saturating_add(2)
}

/// A path of a prefix, by the number of the one and the identifier of the other.
type Told = (u32, u32);

/// What a peer was told, path by path, and what it is told next.
#[derive(Debug, Default)]
pub(super) struct Several {
    told: BTreeMap<Told, AttrId>,
    withdraw: Vec<Told>,
    groups: VecDeque<(AttrId, Vec<Told>)>,
}

impl Several {
    pub(super) fn has_round(&self) -> bool {
        !self.withdraw.is_empty() || !self.groups.is_empty()
    }

    pub(super) fn told_len(&self) -> usize {
        self.told.len()
    }

    /// What was told of a prefix.
    pub(super) fn of(&self, id: u32) -> impl Iterator<Item = (PathId, AttrId)> {
        self.told
            .range((id, 0)..=(id, u32::MAX))
            .map(|((_, path), attributes)| (PathId(*path), *attributes))
    }

    /// Records what is told of a path now. The receiver knows how many paths of a prefix were told.
    fn tell(&mut self, told: Told, now: AttrId) -> AttrId {
        let before = if now == AttrId::NONE {
            self.told.remove(&told)
        } else {
            self.told.insert(told, now)
        };
        before.unwrap_or(AttrId::NONE)
    }

    pub(super) fn close<K: Key>(self, t: &mut Table<K>, attributes: &mut AttributeTable) {
        for (id, _) in &self.withdraw {
            t.release(*id);
        }
        for (group, paths) in self.groups {
            for (id, _) in paths {
                t.release(id);
            }
            attributes.release(group);
        }
        for told in self.told.into_values() {
            attributes.release(told);
        }
    }
}

impl Core {
    /// Marks a prefix for the peers that are told several of its paths: any of them may have changed.
    pub(super) fn mark_several<K: Key>(&mut self, t: &mut Table<K>, family: Family, id: u32) {
        for p in &self.several {
            let Some(peer) = self.peers.get_mut(usize::from(*p)).and_then(Option::as_mut) else {
                continue;
            };
            if peer.settings.families.contains(family) && peer.settings.path_ids.sent.contains(family) {
                peer.families[at(family)].out.receiver.mark(t, id);
            }
        }
    }

    /// The paths of a prefix with their identifiers, the best first, unless it is too early to tell them.
    fn ranked<K: Key>(
        &self,
        t: &Table<K>,
        id: u32,
        to: &PeerSettings,
    ) -> Vec<(u32, Source, AttrId, Option<u16>)> {
        if let Some(source) = t.entry(id).local {
            return vec![(OWN, source, self.local, None)];
        }
        if self.deferred && !to.restarted {
            return Vec::new();
        }
        let mut candidates: Vec<Candidate> = t
            .paths(id)
            .filter_map(|(n, path)| self.candidate(t, n, path))
            .collect();
        self.decide(&mut candidates);
        candidates.sort_by_key(rank);
        let told = |c: &Candidate| {
            let from = t.path(c.path).peer;
            (learned(c.path), Source::Learned, c.attributes, Some(from))
        };
        candidates.iter().map(told).collect()
    }

    /// Starts a round of such a peer.
    pub(super) fn plan_several<K: Key>(
        &mut self,
        t: &mut Table<K>,
        family: Family,
        to: (u16, &PeerSettings),
        out: &mut Outbound,
    ) {
        let Some(mut several) = out.several.take() else {
            return;
        };
        let mut export = Export::new(to, family, self.seed);
        let mut groups: BTreeMap<AttrId, usize> = BTreeMap::new();
        out.forced = out.receiver.has_forced();
        while let Some((id, again)) = out.receiver.pop() {
            let wanted = self.wanted(t, family, id, to, &mut export);
            let gone = several.of(id).map(|(path, _)| path.0);
            let gone: Vec<u32> = gone
                .filter(|path| !wanted.iter().any(|(w, _)| w == path))
                .collect();
            for path in gone {
                t.hold(id);
                several.withdraw.push((id, path));
            }
            for (path, attributes) in wanted {
                let told = several.told.get(&(id, path)).copied();
                if told == Some(attributes) && !again {
                    continue;
                }
                let place = *groups.entry(attributes).or_insert_with(|| {
                    self.attributes.hold(attributes);
                    several.groups.push_back((attributes, Vec::new()));
                    several.groups.len() - 1
                });
                t.hold(id);
                several.groups[place].1.push((id, path));
            }
            t.release(id);
        }
        export.finish(&mut self.attributes);
        out.several = Some(several);
    }

    /// What a peer is to be told of a prefix: at most [`MAX_PATHS`], each with its outgoing attributes.
    fn wanted<K: Key>(
        &mut self,
        t: &Table<K>,
        family: Family,
        id: u32,
        (p, to): (u16, &PeerSettings),
        export: &mut Export<'_>,
    ) -> Vec<(u32, AttrId)> {
        let prefix = t.prefix(id);
        let elsewhere = self.told_elsewhere(family, id, p, to);
        let mut wanted = Vec::new();
        for (path, source, attributes, from) in self.ranked(t, id, to) {
            let from = from.and_then(|f| {
                let peer = self.peers.get(usize::from(f))?.as_ref()?;
                Some((f, &*peer.settings))
            });
            let best = Best {
                prefix,
                source,
                attributes,
                from,
                elsewhere,
            };
            let sent = export.evaluate(&mut self.attributes, &best);
            if sent != AttrId::NONE {
                wanted.push((path, sent));
            }
            if wanted.len() == MAX_PATHS {
                break;
            }
        }
        wanted
    }

    /// The next withdrawals of the round.
    pub(super) fn next_unreach_paths<K: Key>(
        &mut self,
        t: &mut Table<K>,
        family: Family,
        p: u16,
    ) -> Option<Batch> {
        let mut out = self.take_out(family, p)?;
        let mut paths = Vec::new();
        if let Some(mut several) = out.several.take() {
            while paths.len() < MAX_BATCH {
                let Some(told) = several.withdraw.pop() else { break };
                paths.extend(self.hand_out(t, (family, p), (&mut out, &mut several), told, AttrId::NONE));
            }
            out.several = Some(several);
        }
        self.put_back(family, p, out);
        (!paths.is_empty()).then_some(Batch::UnreachPaths { family, paths })
    }

    /// The next group of the round.
    pub(super) fn next_reach_paths<K: Key>(
        &mut self,
        t: &mut Table<K>,
        family: Family,
        p: u16,
        out: &mut Outbound,
    ) -> Option<Batch> {
        let mut several = out.several.take()?;
        let mut batch = None;
        while batch.is_none()
            && let Some((attributes, mut group)) = several.groups.pop_front()
        {
            let rest = group.split_off(group.len().min(MAX_BATCH));
            let mut paths = Vec::with_capacity(group.len());
            for told in group {
                paths.extend(self.hand_out(t, (family, p), (out, &mut several), told, attributes));
            }
            if !paths.is_empty() {
                let attributes = Arc::new(self.attributes.unpack(attributes));
                batch = Some(Batch::ReachPaths { attributes, paths });
            }
            if rest.is_empty() {
                self.attributes.release(attributes);
            } else {
                several.groups.push_front((attributes, rest));
            }
        }
        out.several = Some(several);
        batch
    }

    /// Records that a path is told, or withdrawn, and gives it; nothing when its prefix has changed since.
    fn hand_out<K: Key>(
        &mut self,
        t: &mut Table<K>,
        of: (Family, u16),
        (out, several): (&mut Outbound, &mut Several),
        told: Told,
        now: AttrId,
    ) -> Option<(Prefix, PathId)> {
        let (id, path) = told;
        let stays = !out.receiver.is_dirty(id);
        let handed = stays.then(|| (t.prefix(id), PathId(path)));
        if stays {
            self.record(t, of, (out, several), told, now);
        } else if out.forced {
            out.receiver.force(id);
        }
        t.release(id);
        handed
    }

    fn record<K: Key>(
        &mut self,
        t: &mut Table<K>,
        (family, p): (Family, u16),
        (out, several): (&mut Outbound, &mut Several),
        told: Told,
        now: AttrId,
    ) {
        self.attributes.hold(now);
        let before = several.tell(told, now);
        self.attributes.release(before);
        let paths = u32::try_from(several.of(told.0).count()).unwrap_or(u32::MAX);
        // The first path of a prefix, or the last one gone: while the number of the prefix is still held.
        if (out.receiver.told(told.0) == 0) != (paths == 0) {
            self.consider_drained(t, family, p, &[told.0]);
        }
        out.receiver.tell(t, told.0, paths);
    }

    /// Forgets that the peer was told of a path.
    pub(super) fn untell_path<K: Key>(
        &mut self,
        t: &mut Table<K>,
        family: Family,
        p: u16,
        (prefix, path): (Prefix, PathId),
    ) {
        let Some(id) = t.find(prefix) else { return };
        let Some(mut out) = self.take_out(family, p) else {
            return;
        };
        if let Some(mut several) = out.several.take() {
            let of = (&mut out, &mut *several);
            self.record(t, (family, p), of, (id, path.0), AttrId::NONE);
            out.several = Some(several);
        }
        self.put_back(family, p, out);
    }

    /// The path that an identifier stands for, as an export looks at it.
    pub(super) fn path_told<K: Key>(
        &self,
        t: &Table<K>,
        id: u32,
        path: PathId,
        to: &PeerSettings,
    ) -> Option<(Prefix, Source, AttrId, Option<u16>)> {
        let ranked = self.ranked(t, id, to);
        let found = ranked.into_iter().find(|(n, ..)| *n == path.0);
        found.map(|(_, source, attributes, from)| (t.prefix(id), source, attributes, from))
    }
}

/// Lower is told first: the best path, those used beside it, and the others by how far they came in the decision.
fn rank(c: &Candidate) -> (u8, Reverse<Step>, (u32, usize), u32, impl Ord + use<>) {
    let place = match c.step {
        Step::Best => 0,
        Step::Multipath => 1,
        Step::LongLived
        | Step::LocalPref
        | Step::PathLength
        | Step::Origin
        | Step::Med
        | Step::External
        | Step::Stale
        | Step::PathDiffers
        | Step::MaxPaths
        | Step::RouterId
        | Step::ClusterList
        | Step::Address
        | Step::PathId => 2,
    };
    let preference = (u32::MAX - c.local_pref, c.path_len);
    (place, Reverse(c.step), preference, c.med, (c.peer, c.path_id))
}
