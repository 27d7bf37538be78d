//! What is not a table of prefixes: peers, attributes, the kernel's state, and the steps that change them.
//!
//! Every function here works on the table of one family, handed in beside the core, so that the code exists once
//! for both and each table pays only for its own keys.

use std::sync::Arc;

use super::attributes::{AttrId, AttributeTable};
use super::bits::BitSet;
use super::decision::{self, Candidate, Step};
use super::fib::NextHopSets;
use super::hash::Seed;
use super::import::Import;
use super::outbound::Outbound;
use super::receiver::Receiver;
use super::table::{ACCEPTED, INSTALLABLE, Key, NIL, Path, SELECTED, Table};
use super::words;
use super::{Counts, LimitOutcome, Multipath, PeerIndex, PeerSettings, Usage};
use crate::policy::{Filter, PrefixLimitAction, Source};
use crate::types::{Family, NextHop, PathAttributes, Prefix};

/// The place of a family in arrays.
pub(super) fn at(family: Family) -> usize {
    match family {
        Family::Ipv4 => 0,
        Family::Ipv6 => 1,
    }
}

/// One peer's state of one family.
#[derive(Debug, Default)]
pub(super) struct PeerFamily {
    /// The prefixes that it has announced.
    pub(super) has: BitSet,
    accepted: usize,
    installed: usize,
    pub(super) out: Outbound,
}

/// A peer that is up.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) settings: Arc<PeerSettings>,
    pub(super) families: [PeerFamily; 2],
}

/// What happened to a prefix before its paths are decided on again.
#[derive(Clone, Copy, Default)]
struct Change {
    /// This path is not what it was.
    touched: Option<u32>,
    /// The best path is not what it was in any case.
    best: bool,
    /// A path in use is gone.
    selected: bool,
}

#[derive(Debug)]
pub(super) struct Core {
    pub(super) seed: Seed,
    pub(super) attributes: AttributeTable,
    pub(super) peers: Vec<Option<Peer>>,
    up: Vec<u16>,
    pub(super) multipath: Multipath,
    pub(super) install: Arc<Filter>,
    pub(super) kernel: [Receiver; 2],
    pub(super) sets: NextHopSets,
    /// The attributes of our own routes, held once for each of them.
    pub(super) local: AttrId,
    candidates: Vec<Candidate>,
}

impl Core {
    pub(super) fn new(multipath: Multipath, install: Arc<Filter>, seed: Seed) -> Self {
        Self {
            seed,
            attributes: AttributeTable::new(seed),
            peers: Vec::new(),
            up: Vec::new(),
            multipath,
            install,
            kernel: Default::default(),
            sets: NextHopSets::new(seed),
            local: AttrId::NONE,
            candidates: Vec::new(),
        }
    }

    pub(super) fn peer(&self, p: u16) -> Option<&Peer> {
        self.peers.get(usize::from(p)).and_then(Option::as_ref)
    }

    pub(super) fn peer_mut(&mut self, p: u16) -> Option<&mut Peer> {
        self.peers.get_mut(usize::from(p)).and_then(Option::as_mut)
    }

    pub(super) fn settings(&self, p: u16) -> Option<Arc<PeerSettings>> {
        self.peer(p).map(|peer| peer.settings.clone())
    }

    pub(super) fn replace_settings(&mut self, p: u16, settings: PeerSettings) {
        if let Some(peer) = self.peer_mut(p) {
            peer.settings = Arc::new(settings);
        }
    }

    pub(super) fn up(&self) -> Vec<u16> {
        self.up.clone()
    }

    pub(super) fn set_multipath(&mut self, m: Multipath) -> bool {
        std::mem::replace(&mut self.multipath, m) != m
    }

    pub(super) fn set_install(&mut self, f: Arc<Filter>) -> bool {
        let changed = self.install != f;
        self.install = f;
        changed
    }

    pub(super) fn add_peer(&mut self, settings: PeerSettings) -> PeerIndex {
        let mut families: [PeerFamily; 2] = Default::default();
        for family in settings.families.iter() {
            families[at(family)].out = Outbound::opened();
        }
        let peer = Some(Peer {
            settings: Arc::new(settings),
            families,
        });
        let slot = self
            .peers
            .iter()
            .position(Option::is_none)
            .unwrap_or(self.peers.len());
        if slot == self.peers.len() {
            self.peers.push(peer);
        } else {
            self.peers[slot] = peer;
        }
        let p = u16::try_from(slot).expect("fewer than 65,536 peers");
        self.up.push(p);
        self.up.sort_unstable();
        PeerIndex(p)
    }

    /// Takes back all that a peer said and was told in a family.
    pub(super) fn drop_peer_family<K: Key>(&mut self, t: &mut Table<K>, family: Family, p: u16) {
        self.up.retain(|up| *up != p);
        let Some(peer) = self.peer_mut(p) else { return };
        let state = std::mem::take(&mut peer.families[at(family)]);
        let mut from = 0;
        while let Some(id) = state.has.next(from) {
            from = id + 1;
            self.remove_path(t, family, p, id);
        }
        state.out.close(t, &mut self.attributes);
    }

    pub(super) fn remove_peer(&mut self, p: u16) {
        if let Some(slot) = self.peers.get_mut(usize::from(p)) {
            *slot = None;
        }
    }

    pub(super) fn announce<K: Key>(
        &mut self,
        t: &mut Table<K>,
        family: Family,
        p: u16,
        next_hop: NextHop,
        attributes: &PathAttributes,
        prefixes: &[Prefix],
    ) -> LimitOutcome {
        let Some(settings) = self.settings(p).filter(|s| s.families.contains(family)) else {
            return LimitOutcome::Within;
        };
        let install = self.install.clone();
        let mut import = Import::new(&mut self.attributes, &settings, &install, attributes, next_hop);
        let (mut warned, mut dropped, mut exceeded) = (false, 0, false);
        for prefix in prefixes {
            let id = t.find_or_insert(*prefix);
            let path = t.path_of(id, p);
            if path.is_none() && self.is_full(family, p, &settings) {
                match settings.limit.action {
                    PrefixLimitAction::Warn => warned = true,
                    PrefixLimitAction::Drop => dropped += 1,
                    PrefixLimitAction::Restart => exceeded = true,
                }
                if !warned {
                    t.reclaim(id);
                    if exceeded {
                        break;
                    }
                    continue;
                }
            }
            match path {
                Some(path) if t.path(path).raw == import.raw => {}
                Some(path) => self.update_path(t, family, id, path, &mut import, false),
                None => self.add_path(t, family, p, id, &mut import),
            }
        }
        import.finish(&mut self.attributes);
        match (exceeded, dropped, warned) {
            (true, ..) => LimitOutcome::Exceeded { family },
            (false, 0, true) => LimitOutcome::Warned { family },
            (false, 0, false) => LimitOutcome::Within,
            (false, count, _) => LimitOutcome::Dropped { family, count },
        }
    }

    fn is_full(&self, family: Family, p: u16, settings: &PeerSettings) -> bool {
        let held = self.peer(p).map_or(0, |peer| peer.families[at(family)].has.len());
        held >= usize::try_from(settings.limit.limit).unwrap_or(usize::MAX)
    }

    fn add_path<K: Key>(
        &mut self,
        t: &mut Table<K>,
        family: Family,
        p: u16,
        id: u32,
        import: &mut Import<'_>,
    ) {
        let (flags, effective) = import.evaluate(&mut self.attributes, t.prefix(id));
        self.attributes.hold(import.raw);
        let path = Path {
            next: NIL,
            raw: import.raw,
            effective,
            peer: p,
            flags: 0,
        };
        let path = t.add_path(id, path);
        if let Some(peer) = self.peer_mut(p) {
            peer.families[at(family)].has.insert(id);
        }
        self.set_flags(t, family, path, flags);
        if flags != 0 {
            let touched = Some(path);
            self.recompute(
                t,
                family,
                id,
                Change {
                    touched,
                    ..Change::default()
                },
            );
        }
    }

    fn update_path<K: Key>(
        &mut self,
        t: &mut Table<K>,
        family: Family,
        id: u32,
        path: u32,
        import: &mut Import<'_>,
        force: bool,
    ) {
        let (flags, effective) = import.evaluate(&mut self.attributes, t.prefix(id));
        self.attributes.hold(import.raw);
        let old = *t.path(path);
        let stored = t.path_mut(path);
        (stored.raw, stored.effective) = (import.raw, effective);
        self.attributes.release(old.raw);
        self.attributes.release(old.effective);
        self.set_flags(t, family, path, flags | (old.flags & SELECTED));
        if force || old.effective != effective || old.flags & !SELECTED != flags {
            let touched = Some(path);
            self.recompute(
                t,
                family,
                id,
                Change {
                    touched,
                    ..Change::default()
                },
            );
        }
    }

    pub(super) fn withdraw<K: Key>(&mut self, t: &mut Table<K>, family: Family, p: u16, prefix: Prefix) {
        if let Some(id) = t.find(prefix)
            && let Some(peer) = self.peer_mut(p)
            && peer.families[at(family)].has.remove(id)
        {
            self.remove_path(t, family, p, id);
        }
    }

    fn remove_path<K: Key>(&mut self, t: &mut Table<K>, family: Family, p: u16, id: u32) {
        let Some(path) = t.path_of(id, p) else { return };
        let selected = t.path(path).is(SELECTED);
        let best = selected && t.entry(id).head == path;
        self.set_flags(t, family, path, 0);
        let old = t.remove_path(id, path);
        self.attributes.release(old.raw);
        self.attributes.release(old.effective);
        let touched = None;
        self.recompute(
            t,
            family,
            id,
            Change {
                touched,
                best,
                selected,
            },
        );
        t.reclaim(id);
    }

    pub(super) fn originate<K: Key>(
        &mut self,
        t: &mut Table<K>,
        family: Family,
        prefix: Prefix,
        source: Option<Source>,
    ) {
        let id = match (source, t.find(prefix)) {
            (None, None) => return,
            (None, Some(id)) => id,
            (Some(_), _) => t.find_or_insert(prefix),
        };
        let old = t.entry(id).local;
        if old == source {
            return;
        }
        if source.is_some() {
            self.local = self.attributes.intern(&PathAttributes::local());
        }
        if old.is_some() {
            self.attributes.release(self.local);
        }
        t.set_local(id, source);
        self.recompute(
            t,
            family,
            id,
            Change {
                best: true,
                ..Change::default()
            },
        );
        t.reclaim(id);
    }

    /// Evaluates the import of all that a peer said again. `force`: even what comes out the same is a change.
    pub(super) fn import_again<K: Key>(&mut self, t: &mut Table<K>, family: Family, p: u16, force: bool) {
        let Some(peer) = self.peer(p) else { return };
        let settings = peer.settings.clone();
        let has = &peer.families[at(family)].has;
        let mut paths = Vec::with_capacity(has.len());
        let mut from = 0;
        while let Some(id) = has.next(from) {
            from = id + 1;
            paths.extend(t.path_of(id, p).map(|path| (t.path(path).raw, id, path)));
        }
        paths.sort_unstable();
        let install = self.install.clone();
        for run in paths.chunk_by(|a, b| a.0 == b.0) {
            let Some((raw, ..)) = run.first() else { continue };
            let attributes = self.attributes.unpack(*raw);
            let Some(next_hop) = attributes.next_hop else {
                continue;
            };
            let mut import = Import::new(&mut self.attributes, &settings, &install, &attributes, next_hop);
            for (_, id, path) in run {
                self.update_path(t, family, *id, *path, &mut import, force);
            }
            import.finish(&mut self.attributes);
        }
    }

    pub(super) fn decide_again<K: Key>(&mut self, t: &mut Table<K>, family: Family) {
        for id in 0..t.end() {
            if t.is_live(id) {
                self.recompute(t, family, id, Change::default());
            }
        }
    }

    /// Changes the flags of a path and the counts of its peer with them.
    fn set_flags<K: Key>(&mut self, t: &mut Table<K>, family: Family, path: u32, flags: u16) {
        let path = t.path_mut(path);
        let old = std::mem::replace(&mut path.flags, flags);
        let Some(peer) = self
            .peers
            .get_mut(usize::from(path.peer))
            .and_then(Option::as_mut)
        else {
            return;
        };
        let state = &mut peer.families[at(family)];
        let installed = SELECTED | INSTALLABLE;
        for (count, mask) in [(&mut state.accepted, ACCEPTED), (&mut state.installed, installed)] {
            match (old & mask == mask, flags & mask == mask) {
                (false, true) => *count += 1,
                (true, false) => *count = count.saturating_sub(1),
                (true, true) | (false, false) => {}
            }
        }
    }

    fn select<K: Key>(&mut self, t: &mut Table<K>, family: Family, path: u32, selected: bool) -> bool {
        let flags = t.path(path).flags;
        let wanted = if selected {
            flags | SELECTED
        } else {
            flags & !SELECTED
        };
        if wanted != flags {
            self.set_flags(t, family, path, wanted);
        }
        wanted != flags
    }

    /// Decides on the paths of a prefix again and marks it for those whose view of it may have changed.
    fn recompute<K: Key>(&mut self, t: &mut Table<K>, family: Family, id: u32, change: Change) {
        let entry = *t.entry(id);
        let used = entry.head != NIL && t.path(entry.head).is(SELECTED);
        let before = if used { entry.head } else { NIL };
        let single = entry.head != NIL && t.path(entry.head).next == NIL;
        let (best, mut kernel) = if single || entry.head == NIL {
            let wanted = single && entry.local.is_none() && t.path(entry.head).is(ACCEPTED);
            let changed = single && self.select(t, family, entry.head, wanted);
            (if wanted { entry.head } else { NIL }, changed)
        } else {
            self.elect(t, family, id)
        };
        kernel |= change.selected || change.touched.is_some_and(|path| t.path(path).is(SELECTED));
        if kernel {
            self.kernel[at(family)].mark(t, id);
        }
        if change.best || before != best || (best != NIL && change.touched == Some(best)) {
            self.mark_peers(t, family, id, best);
        }
    }

    /// The decision process over several paths: the best one, and whether the set of those in use changed.
    fn elect<K: Key>(&mut self, t: &mut Table<K>, family: Family, id: u32) -> (u32, bool) {
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.clear();
        if t.entry(id).local.is_none() {
            candidates.extend(t.paths(id).filter_map(|(id, path)| self.candidate(id, path)));
        }
        let best = self.decide(&mut candidates).map_or(NIL, |i| candidates[i].path);
        let mut changed = false;
        let mut next = t.entry(id).head;
        while next != NIL {
            let path = next;
            next = t.path(path).next;
            let selected = candidates.iter().any(|c| c.path == path && c.step.is_selected());
            changed |= self.select(t, family, path, selected);
        }
        if best != NIL {
            t.promote(id, best);
        }
        self.candidates = candidates;
        (best, changed)
    }

    pub(super) fn decide(&self, candidates: &mut [Candidate]) -> Option<usize> {
        let path_of = |id| words::facts(self.attributes.words(id)).path;
        decision::decide(candidates, self.multipath, |a, b| path_of(a) == path_of(b))
    }

    pub(super) fn candidate(&self, id: u32, path: &Path) -> Option<Candidate> {
        let settings = &self.peer(path.peer).filter(|_| path.is(ACCEPTED))?.settings;
        let facts = words::facts(self.attributes.words(path.effective));
        Some(Candidate {
            path: id,
            attributes: path.effective,
            local_pref: facts.local_pref,
            path_len: facts.path_len,
            origin: facts.origin,
            med: facts.med,
            neighbour: facts.neighbour,
            external: !settings.is_internal(),
            peer: (
                settings.router_id,
                settings.address,
                settings.interface,
                path.peer,
            ),
            step: Step::Best,
        })
    }

    /// Marks a prefix for all peers but those that know of no route to it and have none to learn of: the best path
    /// is their own, or there is none.
    fn mark_peers<K: Key>(&mut self, t: &mut Table<K>, family: Family, id: u32, best: u32) {
        let gone = best == NIL && t.entry(id).local.is_none();
        let origin = if best == NIL {
            None
        } else {
            Some(t.path(best).peer)
        };
        for p in &self.up {
            let Some(peer) = self.peers.get_mut(usize::from(*p)).and_then(Option::as_mut) else {
                continue;
            };
            let out = &mut peer.families[at(family)].out;
            let nothing_to_say = (gone || origin == Some(*p)) && out.is_silent_about(id);
            if peer.settings.families.contains(family) && !nothing_to_say {
                out.receiver.mark(t, id);
            }
        }
    }

    /// Marks everything in use for one peer; with `again` also what it was told already.
    pub(super) fn mark_all<K: Key>(&mut self, t: &mut Table<K>, family: Family, p: u16, again: bool) {
        let Some(peer) = self.peer_mut(p).filter(|p| p.settings.families.contains(family)) else {
            return;
        };
        let receiver = &mut peer.families[at(family)].out.receiver;
        for id in 0..t.end() {
            if !t.is_live(id) {
                continue;
            }
            let entry = t.entry(id);
            let used = entry.local.is_some() || (entry.head != NIL && t.path(entry.head).is(SELECTED));
            if used || receiver.told(id) != 0 {
                if again {
                    receiver.mark_again(t, id);
                } else {
                    receiver.mark(t, id);
                }
            }
        }
    }

    pub(super) fn counts(&self, p: u16, family: Family) -> Counts {
        self.peer(p).map_or(Counts::default(), |peer| {
            let state = &peer.families[at(family)];
            Counts {
                received: state.has.len(),
                accepted: state.accepted,
                installed: state.installed,
                advertised: state.out.receiver.told_len(),
            }
        })
    }

    pub(super) fn usage(&self) -> Usage {
        Usage {
            attributes: self.attributes.len(),
            next_hop_sets: self.sets.len(),
            ..Usage::default()
        }
    }
}
