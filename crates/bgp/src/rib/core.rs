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
use super::lingering::Lingering;
use super::outbound::Outbound;
use super::receiver::Receiver;
use super::retained::Generation;
use super::said::Said;
use super::table::{Key, LONG_LIVED, NIL, Path, SELECTED, STALE, Table};
use super::{Counts, LimitOutcome, MAX_PATHS, Multipath, PeerIndex, PeerSettings, Usage};
use crate::policy::{Filter, PrefixLimitAction, Source};
use crate::types::{Family, FamilySet, NextHop, PathAttributes, PathId, Prefix};

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
    /// What it has announced: prefixes by number, or, where it may say several paths of one, paths by number. So a peer of either
    /// kind has one bit a path in each of these sets.
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
    /// Whether its export filter may let anything through that was learned. If not, it need not be asked for every such route:
    /// in a mesh of nodes, which tell each other only what is their own, that would be the most of the work.
    pub(super) hears_learned: bool,
    pub(super) families: [PeerFamily; 2],
}

impl Peer {
    /// Other settings; whether everything has to be looked at again is the caller's to know.
    pub(super) fn set(&mut self, settings: PeerSettings) {
        self.hears_learned = settings.export.may_pass(Source::Learned);
        self.settings = Arc::new(settings);
    }
}

/// Whether a peer may say no further path of a prefix. As with prefixes, those that outlived its session do not count, but all
/// together are twice as many at most.
fn is_crowded<K: Key>(t: &Table<K>, p: u16, id: u32) -> bool {
    let held = || t.paths(id).filter(|(_, path)| path.peer == p);
    let fresh = held().filter(|(_, path)| !path.is(STALE)).count();
    fresh >= MAX_PATHS || held().count() >= 2 * MAX_PATHS
}

#[derive(Debug)]
pub(super) struct Core {
    pub(super) seed: Seed,
    pub(super) attributes: AttributeTable,
    pub(super) peers: Vec<Option<Peer>>,
    pub(super) up: Vec<u16>,
    /// Those of them that are told several paths of a prefix, of some family.
    pub(super) several: Vec<u16>,
    pub(super) multipath: Multipath,
    pub(super) install: Arc<Filter>,
    pub(super) kernel: [Receiver; 2],
    pub(super) lingering: [Lingering; 2],
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
            several: Vec::new(),
            multipath,
            install,
            kernel: Default::default(),
            lingering: Default::default(),
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
            peer.set(settings);
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
            let held = self.deferred && settings.relays;
            families[at(family)].out = Outbound::opened(held, settings.path_ids.sent.contains(family));
        }
        let several = settings.path_ids.sent != FamilySet::NONE;
        let peer = Some(Peer {
            hears_learned: settings.export.may_pass(Source::Learned),
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
        self.arrive(p, several);
        PeerIndex(p)
    }

    /// Takes back all that a peer said and was told in a family.
    pub(super) fn drop_peer_family<K: Key>(&mut self, t: &mut Table<K>, family: Family, p: u16) {
        self.leave(p);
        let Some(peer) = self.peer_mut(p) else { return };
        let state = std::mem::take(&mut peer.families[at(family)]);
        for key in state.has.iter() {
            if let Some((id, path)) = self.held(t, family, p, key) {
                self.remove_path(t, family, id, path);
            }
        }
        state.out.close(t, &mut self.attributes);
        self.consider_all_drained(t, family);
    }

    pub(super) fn remove_peer(&mut self, p: u16) {
        if let Some(slot) = self.peers.get_mut(usize::from(p)) {
            *slot = None;
        }
    }

    /// Whether a peer may say several paths of a prefix (RFC 7911).
    fn says_several(&self, family: Family, p: u16) -> bool {
        self.peer(p)
            .is_some_and(|peer| peer.settings.path_ids.received.contains(family))
    }

    /// The prefix and the path that a member of a peer's sets stands for.
    pub(super) fn held<K: Key>(&self, t: &Table<K>, family: Family, p: u16, key: u32) -> Option<(u32, u32)> {
        if self.says_several(family, p) {
            return Some((t.prefix_of(key), key)).filter(|(id, _)| *id != NIL);
        }
        t.path_of(key, p, PathId(0)).map(|path| (key, path))
    }

    /// Takes back one of the paths of a peer.
    pub(super) fn drop_path<K: Key>(&mut self, t: &mut Table<K>, family: Family, p: u16, key: u32) {
        self.forget(family, p, key);
        if let Some((id, path)) = self.held(t, family, p, key) {
            self.remove_path(t, family, id, path);
        }
    }

    pub(super) fn announce<K: Key>(
        &mut self,
        t: &mut Table<K>,
        family: Family,
        p: u16,
        (next_hop, attributes): (NextHop, &PathAttributes),
        said: Said<'_>,
    ) -> LimitOutcome {
        let Some(settings) = self.settings(p).filter(|s| s.families.contains(family)) else {
            return LimitOutcome::Within;
        };
        let install = self.install.clone();
        let mut import = Import::new(&mut self.attributes, &settings, &install, attributes, next_hop);
        let (mut warned, mut dropped, mut many, mut exceeded) = (false, 0, 0, false);
        let several = settings.path_ids.received.contains(family);
        let refreshing = self.has_stale(family, p);
        let returning = self.has_retained(family, p);
        let mut ids = std::mem::take(&mut self.ids);
        t.find_all(said.prefixes, &mut ids);
        for (place, (prefix, id)) in said.prefixes.iter().zip(&ids).enumerate() {
            let path_id = said.id(place, several);
            let id = if *id == NIL {
                t.find_or_insert(*prefix)
            } else {
                *id
            };
            let path = t.path_of(id, p, path_id);
            // What stands for it in the sets of the peer; a path that is new has no number yet, and is in none of them.
            let key = if several { path.unwrap_or(NIL) } else { id };
            if refreshing {
                self.freshen(family, p, key);
            }
            if several && path.is_none() && is_crowded(t, p, id) {
                many += 1;
                continue;
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
            let back = returning && self.take_back(t, family, p, key, path);
            match path {
                Some(path) if !back && t.path(path).raw == import.raw => {}
                Some(path) => self.update_path(t, family, id, path, &mut import, back),
                None => {
                    let path_id = several.then_some(path_id);
                    self.add_path(t, family, p, (id, path_id), &mut import);
                }
            }
        }
        self.ids = ids;
        import.finish(&mut self.attributes);
        match (exceeded, dropped, warned, many) {
            (true, ..) => LimitOutcome::Exceeded { family },
            (false, 0, true, _) => LimitOutcome::Warned { family },
            (false, 0, false, 0) => LimitOutcome::Within,
            (false, 0, false, count) => LimitOutcome::ManyPaths { family, count },
            (false, count, ..) => LimitOutcome::Dropped { family, count },
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
        (id, path_id): (u32, Option<PathId>),
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
        let path = t.add_path(id, path, path_id);
        if let Some(peer) = self.peer_mut(p) {
            let key = if path_id.is_some() { path } else { id };
            peer.families[at(family)].has.insert(key);
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

    pub(super) fn withdraw<K: Key>(&mut self, t: &mut Table<K>, family: Family, p: u16, said: Said<'_>) {
        let several = self.says_several(family, p);
        let mut ids = std::mem::take(&mut self.ids);
        t.find_all(said.prefixes, &mut ids);
        for (place, id) in ids.iter().enumerate() {
            let path_id = said.id(place, several);
            let path = || {
                Some(*id)
                    .filter(|id| t.is_live(*id))
                    .and_then(|id| t.path_of(id, p, path_id))
            };
            let key = if several { path().unwrap_or(NIL) } else { *id };
            // A prefix that stands here twice is no longer the peer's the second time, whoever has its number then.
            if key != NIL
                && let Some(peer) = self.peer_mut(p)
                && peer.families[at(family)].has.contains(key)
            {
                self.drop_path(t, family, p, key);
            }
        }
        self.ids = ids;
    }

    pub(super) fn remove_path<K: Key>(&mut self, t: &mut Table<K>, family: Family, id: u32, path: u32) {
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
        for key in has.iter() {
            let held = self.held(t, family, p, key);
            paths.extend(held.map(|(id, path)| (t.path(path).raw, id, path)));
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
                advertised: state.out.told_len(),
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
