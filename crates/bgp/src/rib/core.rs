//! What is not a table of prefixes: peers, attributes, the kernel's state, and the steps that change them.
//!
//! Every function here works on the table of one family, handed in beside the core, so that the code exists once
//! for both and each table pays only for its own keys.

use std::sync::Arc;

use super::attributes::{AttrId, AttributeTable};
use super::bits::BitSet;
use super::decision::Candidate;
use super::election::Change;
use super::fib::NextHopSets;
use super::hash::Seed;
use super::import::Import;
use super::outbound::Outbound;
use super::receiver::Receiver;
use super::retained::Generation;
use super::table::{Key, LONG_LIVED, NIL, Path, SELECTED, STALE, Table};
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
    /// Those of them that it has not announced again since it said BoRR (RFC 7313).
    pub(super) stale: BitSet,
    /// Those of them that outlived their session, by the loss.
    pub(super) retained: Vec<Generation>,
    pub(super) accepted: usize,
    pub(super) installed: usize,
    pub(super) out: Outbound,
}

/// A peer that is up, or whose paths are retained until it is back.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) settings: Arc<PeerSettings>,
    pub(super) families: [PeerFamily; 2],
}

#[derive(Debug)]
pub(super) struct Core {
    pub(super) seed: Seed,
    pub(super) attributes: AttributeTable,
    pub(super) peers: Vec<Option<Peer>>,
    pub(super) up: Vec<u16>,
    pub(super) multipath: Multipath,
    pub(super) install: Arc<Filter>,
    pub(super) kernel: [Receiver; 2],
    pub(super) sets: NextHopSets,
    /// The attributes of our own routes, held once for each of them.
    pub(super) local: AttrId,
    /// No learned route is told to anybody yet, but to those who have restarted too: this speaker has restarted.
    pub(super) deferred: bool,
    pub(super) candidates: Vec<Candidate>,
    /// The numbers of the prefixes that are worked on.
    ids: Vec<u32>,
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
            deferred: false,
            candidates: Vec::new(),
            ids: Vec::new(),
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

    /// The peers that have paths, or may have: those that are up, and those whose paths are retained.
    pub(super) fn holders(&self) -> Vec<u16> {
        (0..)
            .zip(&self.peers)
            .filter(|(_, peer)| peer.is_some())
            .map(|(p, _)| p)
            .collect()
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
            families[at(family)].out = Outbound::opened(self.deferred && settings.relays);
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
        for id in state.has.iter() {
            self.remove_path(t, family, p, id);
        }
        state.out.close(t, &mut self.attributes);
        self.consider_all_drained(t, family);
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
        let refreshing = self.has_stale(family, p);
        let returning = self.has_retained(family, p);
        let mut ids = std::mem::take(&mut self.ids);
        t.find_all(prefixes, &mut ids);
        for (prefix, id) in prefixes.iter().zip(&ids) {
            let id = if *id == NIL {
                t.find_or_insert(*prefix)
            } else {
                *id
            };
            let path = t.path_of(id, p);
            if refreshing {
                self.freshen(family, p, id);
            }
            // What was stale is the peer's again only now, and counts from now on.
            let new = path.is_none_or(|path| t.path(path).is(STALE));
            if new && self.is_full(family, p, path.is_none(), &settings) {
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
            let back = returning && self.take_back(t, family, p, id, path);
            match path {
                Some(path) if !back && t.path(path).raw == import.raw => {}
                Some(path) => self.update_path(t, family, id, path, &mut import, back),
                None => self.add_path(t, family, p, id, &mut import),
            }
        }
        self.ids = ids;
        import.finish(&mut self.attributes);
        match (exceeded, dropped, warned) {
            (true, ..) => LimitOutcome::Exceeded { family },
            (false, 0, true) => LimitOutcome::Warned { family },
            (false, 0, false) => LimitOutcome::Within,
            (false, count, _) => LimitOutcome::Dropped { family, count },
        }
    }

    /// Whether the peer may say no more. What it said before its session was lost does not count, for it may come back
    /// with other prefixes; but all together it holds no more than twice the limit.
    fn is_full(&self, family: Family, p: u16, adds: bool, settings: &PeerSettings) -> bool {
        let (held, stale) = self.peer(p).map_or((0, 0), |peer| {
            let state = &peer.families[at(family)];
            (state.has.len(), state.retained_len())
        });
        let limit = usize::try_from(settings.limit.limit).unwrap_or(usize::MAX);
        held.saturating_sub(stale) >= limit || (adds && held >= limit.saturating_mul(2))
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
            self.recompute(t, family, id, Change::of(path));
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
        let (flags, mut effective) = import.evaluate(&mut self.attributes, t.prefix(id));
        self.attributes.hold(import.raw);
        let old = *t.path(path);
        let age = old.flags & (STALE | LONG_LIVED);
        if old.is(LONG_LIVED) {
            let unmarked = effective;
            effective = self.with_llgr_stale(unmarked);
            self.attributes.release(unmarked);
        }
        let flags = flags | age;
        let stored = t.path_mut(path);
        (stored.raw, stored.effective) = (import.raw, effective);
        self.attributes.release(old.raw);
        self.attributes.release(old.effective);
        self.set_flags(t, family, path, flags | (old.flags & SELECTED));
        if force || old.effective != effective || old.flags & !SELECTED != flags {
            self.recompute(t, family, id, Change::of(path));
        }
    }

    pub(super) fn withdraw<K: Key>(&mut self, t: &mut Table<K>, family: Family, p: u16, prefixes: &[Prefix]) {
        let mut ids = std::mem::take(&mut self.ids);
        t.find_all(prefixes, &mut ids);
        for id in &ids {
            // A prefix that stands here twice is no longer the peer's the second time, whoever has its number then.
            if *id != NIL
                && let Some(peer) = self.peer_mut(p)
                && peer.families[at(family)].has.contains(*id)
            {
                self.forget(family, p, *id);
                self.remove_path(t, family, p, *id);
            }
        }
        self.ids = ids;
    }

    pub(super) fn remove_path<K: Key>(&mut self, t: &mut Table<K>, family: Family, p: u16, id: u32) {
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
        for id in has.iter() {
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
