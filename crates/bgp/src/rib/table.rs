//! Prefixes and paths of one family.
//!
//! A prefix is a packed key (8 octets for IPv4, 24 for IPv6), an entry of 12 octets and a slot in the index. Its
//! paths are a singly linked list through one slab, 16 octets a path; the best path stands first. An entry lives as
//! long as somebody needs its number: a path, our own origination, or one of the `holds` that receivers (peers
//! and the kernel) keep while they were told of it or are to be told.
//!
//! A peer has one path of a prefix, unless it was agreed that it may say several (RFC 7911). What those need more, an identifier
//! and the way from a path to its prefix, stands in an array of its own, which is empty while there is no such peer.

use super::attributes::AttrId;
use super::hash::{Index, Seed};
use crate::policy::Source;
use crate::types::{PathId, Prefix};

/// "No path", "no prefix": the end of every list.
pub(super) const NIL: u32 = u32::MAX;

fn at(id: u32) -> usize {
    usize::try_from(id).unwrap_or(usize::MAX)
}

/// A prefix of one family, packed. Ordered as [`Prefix`] is.
pub(super) trait Key: Copy + Ord {
    fn pack(prefix: Prefix) -> Self;
    fn prefix(self) -> Prefix;
    fn hash(self, seed: Seed) -> u64;
}

/// Address bits, then the length in the lowest octet.
impl Key for u64 {
    fn pack(prefix: Prefix) -> Self {
        match prefix {
            Prefix::V4(bits, len) => (Self::from(bits) << 8) | Self::from(len),
            // Never asked: each family has a table of its own.
            Prefix::V6(..) => Self::MAX,
        }
    }

    fn prefix(self) -> Prefix {
        let [.., a, b, c, d, len] = self.to_be_bytes();
        Prefix::V4(u32::from_be_bytes([a, b, c, d]), len)
    }

    fn hash(self, seed: Seed) -> u64 {
        seed.word(self)
    }
}

/// The upper and lower half of the address, then the length.
impl Key for (u64, u64, u8) {
    fn pack(prefix: Prefix) -> Self {
        match prefix {
            Prefix::V6(bits, len) => {
                let low = u64::try_from(bits & u128::from(u64::MAX)).unwrap_or(0);
                (u64::try_from(bits >> 64).unwrap_or(0), low, len)
            }
            Prefix::V4(..) => (u64::MAX, u64::MAX, u8::MAX),
        }
    }

    fn prefix(self) -> Prefix {
        Prefix::V6((u128::from(self.0) << 64) | u128::from(self.1), self.2)
    }

    fn hash(self, seed: Seed) -> u64 {
        seed.word(seed.word(self.0 ^ u64::from(self.2)) ^ self.1)
    }
}

/// What is known of a prefix beside its key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// The first path; the next free entry out of use.
    pub(super) head: u32,
    holds: u32,
    /// Our own origination of it.
    pub(super) local: Option<Source>,
    live: bool,
}

impl Entry {
    /// Whether it is in use and nobody needs it.
    fn is_idle(&self) -> bool {
        self.live && self.head == NIL && self.holds == 0 && self.local.is_none()
    }
}

/// One path: what one peer said of one prefix.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    pub(super) next: u32,
    /// As received.
    pub(super) raw: AttrId,
    /// As the import filter left it; the same as `raw` for a path that was refused.
    pub(super) effective: AttrId,
    pub(super) peer: u16,
    pub(super) flags: u16,
}

/// The import filter let it through.
pub(super) const ACCEPTED: u16 = 1;
/// The install filter lets it into the kernel, should it be selected.
pub(super) const INSTALLABLE: u16 = 2;
/// Best path, or beside it.
pub(super) const SELECTED: u16 = 4;

/// It outlived the session that it came by.
pub(super) const STALE: u16 = 8;
/// It is about to go (RFC 8326).
pub(super) const LEAVING: u16 = 32;
/// It is kept as a last resort (RFC 9494).
pub(super) const LONG_LIVED: u16 = 16;

impl Path {
    pub(super) fn is(&self, flag: u16) -> bool {
        self.flags & flag == flag
    }
}

/// All prefixes and paths of a family.
#[derive(Debug)]
pub(super) struct Table<K> {
    seed: Seed,
    keys: Vec<K>,
    entries: Vec<Entry>,
    free_entry: u32,
    index: Index,
    paths: Vec<Path>,
    /// The identifier and the prefix of a path, for those that have identifiers; no longer than up to the last of them.
    beside: Vec<(PathId, u32)>,
    free_path: u32,
    used_paths: usize,
    used: usize,
}

impl<K: Key> Table<K> {
    pub(super) fn new(seed: Seed) -> Self {
        Self {
            seed,
            keys: Vec::new(),
            entries: Vec::new(),
            free_entry: NIL,
            index: Index::default(),
            paths: Vec::new(),
            beside: Vec::new(),
            free_path: NIL,
            used_paths: 0,
            used: 0,
        }
    }

    pub(super) fn find(&self, prefix: Prefix) -> Option<u32> {
        let key = K::pack(prefix);
        self.index
            .find(key.hash(self.seed), |id| self.keys[at(id)] == key)
    }

    /// The ids of some prefixes, [`NIL`] for one that is not known. Each look-up waits for memory; one after the other,
    /// with nothing else in between, the processor lets them wait together.
    pub(super) fn find_all(&self, prefixes: &[Prefix], ids: &mut Vec<u32>) {
        ids.clear();
        ids.extend(prefixes.iter().map(|prefix| self.find(*prefix).unwrap_or(NIL)));
    }

    /// The id of a prefix, made when it is new.
    pub(super) fn find_or_insert(&mut self, prefix: Prefix) -> u32 {
        let key = K::pack(prefix);
        let hash = key.hash(self.seed);
        if let Some(id) = self.index.find(hash, |id| self.keys[at(id)] == key) {
            return id;
        }
        let entry = Entry {
            head: NIL,
            holds: 0,
            local: None,
            live: true,
        };
        let id = if self.free_entry == NIL {
            self.keys.push(key);
            self.entries.push(entry);
            u32::try_from(self.keys.len() - 1).expect("fewer than 2^32 prefixes")
        } else {
            let id = self.free_entry;
            self.free_entry = self.entries[at(id)].head;
            self.keys[at(id)] = key;
            self.entries[at(id)] = entry;
            id
        };
        self.index.insert(hash, id);
        self.used += 1;
        id
    }

    pub(super) fn prefix(&self, id: u32) -> Prefix {
        self.keys[at(id)].prefix()
    }

    pub(super) fn key(&self, id: u32) -> K {
        self.keys[at(id)]
    }

    pub(super) fn entry(&self, id: u32) -> &Entry {
        &self.entries[at(id)]
    }

    pub(super) fn set_local(&mut self, id: u32, local: Option<Source>) {
        self.entries[at(id)].local = local;
    }

    pub(super) fn hold(&mut self, id: u32) {
        self.entries[at(id)].holds += 1;
    }

    pub(super) fn release(&mut self, id: u32) {
        self.entries[at(id)].holds -= 1;
        self.reclaim(id);
    }

    /// Gives back one hold of each, and frees together what nobody needs any more.
    pub(super) fn release_all(&mut self, ids: &[u32]) {
        let mut gone = Vec::new();
        for id in ids {
            let entry = &mut self.entries[at(*id)];
            entry.holds -= 1;
            if entry.is_idle() {
                entry.live = false;
                gone.push((self.keys[at(*id)].hash(self.seed), *id));
            }
        }
        self.index.remove_all(&gone);
        for (_, id) in gone {
            self.free(id);
        }
    }

    /// Frees the entry when nobody needs it any more.
    pub(super) fn reclaim(&mut self, id: u32) {
        let entry = &mut self.entries[at(id)];
        if entry.is_idle() {
            entry.live = false;
            self.index.remove(self.keys[at(id)].hash(self.seed), id);
            self.free(id);
        }
    }

    fn free(&mut self, id: u32) {
        self.entries[at(id)].head = self.free_entry;
        self.free_entry = id;
        self.used -= 1;
    }

    /// The ids in use, in the order in which they were given.
    pub(super) fn ids(&self) -> impl Iterator<Item = u32> + use<'_, K> {
        self.entries
            .iter()
            .zip(0..)
            .filter(|(entry, _)| entry.live)
            .map(|(_, id)| id)
    }

    /// The end of the range of ids.
    pub(super) fn end(&self) -> u32 {
        u32::try_from(self.entries.len()).unwrap_or(NIL)
    }

    /// Whether this id is in use.
    pub(super) fn is_live(&self, id: u32) -> bool {
        self.entries.get(at(id)).is_some_and(|e| e.live)
    }

    pub(super) fn path(&self, id: u32) -> &Path {
        &self.paths[at(id)]
    }

    pub(super) fn path_mut(&mut self, id: u32) -> &mut Path {
        &mut self.paths[at(id)]
    }

    /// The paths of a prefix, the best first.
    pub(super) fn paths(&self, prefix: u32) -> impl Iterator<Item = (u32, &Path)> + use<'_, K> {
        let mut next = self.entries[at(prefix)].head;
        std::iter::from_fn(move || {
            let id = next;
            let path = self.paths.get(at(id))?;
            next = path.next;
            Some((id, path))
        })
    }

    /// The path of a peer with this identifier: zero for a peer that says one path a prefix.
    pub(super) fn path_of(&self, prefix: u32, peer: u16, id: PathId) -> Option<u32> {
        self.paths(prefix)
            .find(|(n, p)| p.peer == peer && (self.beside.is_empty() || self.path_id(*n) == id))
            .map(|(n, _)| n)
    }

    /// The identifier of a path; zero for one without.
    pub(super) fn path_id(&self, path: u32) -> PathId {
        self.beside.get(at(path)).map_or(PathId(0), |(id, _)| *id)
    }

    /// The prefix of a path that has an identifier.
    pub(super) fn prefix_of(&self, path: u32) -> u32 {
        self.beside.get(at(path)).map_or(NIL, |(_, prefix)| *prefix)
    }

    fn set_beside(&mut self, path: u32, prefix: u32, id: Option<PathId>) {
        if id.is_some() && at(path) >= self.beside.len() {
            self.beside.resize(at(path) + 1, (PathId(0), NIL));
        }
        if let Some(beside) = self.beside.get_mut(at(path)) {
            *beside = id.map_or((PathId(0), NIL), |id| (id, prefix));
        }
    }

    /// Adds a path behind the first, with an identifier if its peer may say several.
    pub(super) fn add_path(&mut self, prefix: u32, mut path: Path, path_id: Option<PathId>) -> u32 {
        let head = self.entries[at(prefix)].head;
        path.next = if head == NIL {
            NIL
        } else {
            self.paths[at(head)].next
        };
        let id = if self.free_path == NIL {
            self.paths.push(path);
            u32::try_from(self.paths.len() - 1).expect("fewer than 2^32 paths")
        } else {
            let id = self.free_path;
            self.free_path = self.paths[at(id)].next;
            self.paths[at(id)] = path;
            id
        };
        if head == NIL {
            self.entries[at(prefix)].head = id;
        } else {
            self.paths[at(head)].next = id;
        }
        self.set_beside(id, prefix, path_id);
        self.used_paths += 1;
        id
    }

    fn unlink(&mut self, prefix: u32, path: u32) {
        let next = self.paths[at(path)].next;
        let head = self.entries[at(prefix)].head;
        if head == path {
            self.entries[at(prefix)].head = next;
            return;
        }
        let mut before = head;
        while self.paths[at(before)].next != path {
            before = self.paths[at(before)].next;
        }
        self.paths[at(before)].next = next;
    }

    /// Puts a path in front.
    pub(super) fn promote(&mut self, prefix: u32, path: u32) {
        if self.entries[at(prefix)].head != path {
            self.unlink(prefix, path);
            self.paths[at(path)].next = self.entries[at(prefix)].head;
            self.entries[at(prefix)].head = path;
        }
    }

    /// Takes a path out; the caller releases its attributes.
    pub(super) fn remove_path(&mut self, prefix: u32, path: u32) -> Path {
        self.unlink(prefix, path);
        let old = self.paths[at(path)];
        self.set_beside(path, NIL, None);
        self.paths[at(path)].next = self.free_path;
        self.free_path = path;
        self.used_paths -= 1;
        old
    }

    /// How many prefixes and paths are kept.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.used, self.used_paths)
    }
}
