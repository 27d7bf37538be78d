//! The routing information base: what peers said (Adj-RIB-In), what is used (Loc-RIB) and what peers are told
//! (Adj-RIB-Out), of RFC 4271 §3.2, as one pure machine.
//!
//! **Input.** [`Rib::announce`] interns the attributes of an UPDATE once, runs the checks that look at attributes
//! once (see `import`), and then, prefix by prefix, asks the import and the install filter and stores a path: the
//! handles of the attributes as received and as the filter left them. Refused paths are stored too, so that a change
//! of filters needs no ROUTE-REFRESH. Reasons are not stored: filters are pure functions, so
//! [`Rib::routes`] asks them again.
//!
//! **Choice.** Each change of a prefix runs the decision process over that prefix alone (see `decision`), puts the
//! best path first in its list and flags those that are used beside it. Our own routes win over all others.
//!
//! **Output.** There are two kinds of receivers, peers and the kernel, and both *pull* (see `receiver`): a change
//! only marks the prefix as dirty for them. When a peer has room, [`Rib::next_batch`] takes its whole dirty set,
//! works out what each prefix looks like to it (see `export`), drops what it was told already, and hands out
//! withdrawals first, then the rest grouped by outgoing attributes, so that UPDATEs are full. A prefix that changes
//! again before its turn leaves the round and comes in the next one. [`Rib::poll_fib`] does the same for the kernel
//! with sets of next hops.
//!
//! **Memory.** IPv4, one path told to one other peer: key 8, entry 12, index 10 to 20, path 16, Adj-RIB-Out 4 and
//! kernel 4 octets, and two interned attribute sets shared by all prefixes that have them. Once a peer may say several paths of a
//! prefix (RFC 7911), 8 octets more a path.
//!
//! Every handle kept in an array is a counted reference; when all peers are down the tables are empty.

/// Does the same with the table of a family; the core stands beside it, so both can be borrowed.
macro_rules! on_family {
    ($rib:expr, $family:expr, |$table:ident| $body:expr) => {
        match $family {
            Family::Ipv4 => {
                let $table = &mut $rib.v4;
                $body
            }
            Family::Ipv6 => {
                let $table = &mut $rib.v6;
                $body
            }
        }
    };
}

mod attributes;
mod bits;
mod core;
mod decision;
mod drained;
mod election;
mod export;
mod fib;
mod hash;
mod import;
mod lingering;
mod outbound;
mod receiver;
mod retained;
mod said;
mod several;
mod stale;
mod table;
mod telling;
mod values;
mod view;
mod why;
mod words;

use std::net::IpAddr;
use std::sync::Arc;

pub use retained::{Loss, MAX_LOSSES};
pub use values::{
    Batch, Counts, FibPath, Kept, LimitOutcome, LocalAddresses, MAX_PATHS, Multipath, PeerIndex,
    PeerSettings, RouteChange, RouteInfo, RouteView,
};

use self::core::Core;
use self::hash::Seed;
use self::table::Table;
use crate::policy::{Filter, Source};
use crate::types::{Family, FamilySet, PeerName, Prefix};

/// The table of IPv4 prefixes.
type Table4 = Table<u64>;
/// The table of IPv6 prefixes.
type Table6 = Table<(u64, u64, u8)>;

/// How much a RIB keeps; all zero when nothing is announced, originated or told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Prefixes known, of both families.
    pub prefixes: usize,
    /// Paths held, accepted or not.
    pub paths: usize,
    /// Distinct sets of attributes, as received, as filtered and as sent.
    pub attributes: usize,
    /// Distinct sets of next hops that the kernel was told.
    pub next_hop_sets: usize,
}

/// All routes of a speaker. See the module for how it works.
#[derive(Debug)]
pub struct Rib {
    core: Core,
    v4: Table4,
    v6: Table6,
}

impl Rib {
    /// An empty RIB. `install` says which used paths go into the kernel; `seed` must not be known to peers.
    #[must_use]
    pub fn new(multipath: Multipath, install: Arc<Filter>, seed: u64) -> Self {
        let seed = Seed::new(seed);
        Self {
            core: Core::new(multipath, install, seed),
            v4: Table::new(seed),
            v6: Table::new(seed),
        }
    }

    /// A session is established. All that may be told to the peer becomes pending, and then an End-of-RIB a
    /// family (RFC 4724 §2).
    pub fn peer_up(&mut self, settings: PeerSettings) -> PeerIndex {
        let peer = self.core.add_peer(settings);
        for family in Family::ALL {
            on_family!(self, family, |t| self.core.mark_all(t, family, peer.0, false));
        }
        peer
    }

    /// The session is gone: its paths and its Adj-RIB-Out go, and the index may be given to another peer.
    pub fn peer_down(&mut self, p: PeerIndex) {
        for family in Family::ALL {
            on_family!(self, family, |t| self.core.drop_peer_family(t, family, p.0));
        }
        self.core.remove_peer(p.0);
    }

    /// The session is gone, and the peer may come back: its paths of the families `kept` stay, flagged as stale, as what
    /// loss `number` left (numbers must rise); all else goes. The index stays the peer's.
    pub fn peer_lost(&mut self, p: PeerIndex, kept: FamilySet, number: u64) -> Vec<Kept> {
        self.core.leave(p.0);
        let mut all = Vec::new();
        for family in Family::ALL {
            if !kept.contains(family) {
                on_family!(self, family, |t| self.core.drop_peer_family(t, family, p.0));
                continue;
            }
            let (fresh, gone) = on_family!(self, family, |t| self.core.retain(t, family, p.0, number));
            all.push(Kept { family, fresh, gone });
        }
        all
    }

    /// A peer whose paths were kept is established again, under the same index. Stale paths of families that are no
    /// longer negotiated go. A peer that is of another AS than before, or to which we are, is a new one.
    pub fn peer_back(&mut self, p: PeerIndex, new: PeerSettings) -> PeerIndex {
        let old = self.core.settings(p.0);
        let Some(old) = old.filter(|o| (o.asn, o.local_asn) == (new.asn, new.local_asn)) else {
            self.peer_down(p);
            return self.peer_up(new);
        };
        let (import, identity) = import_differs(&old, &new);
        let families = new.families;
        // What was told apart by identifiers cannot be matched with what is not, nor the other way round.
        let differs = |family: &Family| {
            old.path_ids.received.contains(*family) != new.path_ids.received.contains(*family)
        };
        for family in Family::ALL.into_iter().filter(differs) {
            on_family!(self, family, |t| self.core.sweep(t, family, p.0, Loss::Any));
        }
        self.core.return_peer(p.0, new);
        for family in Family::ALL {
            if !families.contains(family) {
                on_family!(self, family, |t| self.core.sweep(t, family, p.0, Loss::Any));
            } else if import {
                on_family!(self, family, |t| self.core.import_again(t, family, p.0, identity));
            }
            on_family!(self, family, |t| self.core.mark_all(t, family, p.0, false));
        }
        p
    }

    /// Removes stale paths of a family; how many there were.
    pub fn sweep(&mut self, p: PeerIndex, family: Family, loss: Loss) -> usize {
        on_family!(self, family, |t| self.core.sweep(t, family, p.0, loss))
    }

    /// Makes stale paths of a family a last resort (RFC 9494 §4.2): how many are kept, and how many went because they
    /// forbid it (NO_LLGR).
    pub fn make_long_lived(&mut self, p: PeerIndex, family: Family, loss: Loss) -> (usize, usize) {
        on_family!(self, family, |t| self.core.make_long_lived(t, family, p.0, loss))
    }

    /// Whether stale paths of a family are left of this loss.
    #[must_use]
    pub fn is_retained(&self, p: PeerIndex, family: Family, number: u64) -> bool {
        self.core.is_retained(p.0, family, number)
    }

    /// How many paths of a family are stale, and how many of these are a last resort.
    #[must_use]
    pub fn retained(&self, p: PeerIndex, family: Family) -> (usize, usize) {
        self.core.retained(p.0, family)
    }

    /// No learned route is told to the kernel, or to peers but those that have restarted too, nor End-of-RIB to those to whom some may go, until [`Rib::resume`].
    pub fn defer(&mut self) {
        self.core.deferred = true;
    }

    /// Routes are chosen: all that may be told to peers becomes pending, and the End-of-RIBs that were held.
    pub fn resume(&mut self) {
        self.core.resume();
        for p in self.core.holders() {
            for family in Family::ALL {
                on_family!(self, family, |t| self.core.mark_all(t, family, p, false));
            }
        }
    }

    /// Our addresses towards a peer, as its settings have them.
    #[must_use]
    pub fn local_addresses(&self, p: PeerIndex) -> LocalAddresses {
        self.core
            .settings(p.0)
            .map_or_else(LocalAddresses::default, |s| s.local)
    }

    /// A prefix of our own; again with another source replaces the source.
    pub fn originate(&mut self, prefix: Prefix, source: Source) {
        let family = prefix.family();
        on_family!(self, family, |t| self.core.originate(
            t,
            family,
            prefix,
            Some(source)
        ));
    }

    /// No longer a prefix of our own.
    pub fn unoriginate(&mut self, prefix: Prefix) {
        let family = prefix.family();
        on_family!(self, family, |t| self.core.originate(t, family, prefix, None));
    }

    /// New filters. Stored routes are evaluated again; nothing is asked of the peer.
    pub fn set_filters(&mut self, p: PeerIndex, import: Arc<Filter>, export: Arc<Filter>) {
        let Some(old) = self.core.settings(p.0) else {
            return;
        };
        let settings = PeerSettings {
            import,
            export,
            ..(*old).clone()
        };
        self.set_peer(p, settings);
    }

    /// New settings, in place: filters, next hop, local addresses, limits. The families and AS numbers are the
    /// session's and cannot change here: a change of them is ignored. Prefixes beyond a lower limit stay.
    pub fn set_peer(&mut self, p: PeerIndex, s: PeerSettings) {
        let Some(old) = self.core.settings(p.0) else {
            return;
        };
        let new = PeerSettings {
            families: old.families,
            path_ids: old.path_ids,
            asn: old.asn,
            local_asn: old.local_asn,
            ..s
        };
        if *old == new {
            return;
        }
        let (import, identity) = import_differs(&old, &new);
        let export = old.export != new.export
            || old.local != new.local
            || old.next_hop != new.next_hop
            || old.reflection != new.reflection
            || old.address != new.address
            || old.drain != new.drain;
        let drain = old.drain != new.drain;
        self.core.replace_settings(p.0, new);
        for family in Family::ALL {
            if import {
                on_family!(self, family, |t| self.core.import_again(t, family, p.0, identity));
            }
            if export {
                on_family!(self, family, |t| self.core.mark_all(t, family, p.0, false));
            }
            if drain {
                on_family!(self, family, |t| self.core.consider_all_drained(t, family));
            }
        }
    }

    /// Other rules for using paths side by side.
    pub fn set_multipath(&mut self, m: Multipath) {
        if self.core.set_multipath(m) {
            for family in Family::ALL {
                on_family!(self, family, |t| self.core.decide_again(t, family));
            }
        }
    }

    /// Another filter for what goes into the kernel.
    pub fn set_install(&mut self, f: Arc<Filter>) {
        if !self.core.set_install(f) {
            return;
        }
        for p in self.core.holders() {
            for family in Family::ALL {
                on_family!(self, family, |t| self.core.import_again(t, family, p, false));
            }
        }
    }

    /// How many prefixes a peer has at each stage.
    #[must_use]
    pub fn counts(&self, p: PeerIndex, family: Family) -> Counts {
        self.core.counts(p.0, family)
    }

    /// Shows routes in the order of prefixes, IPv4 first, at most `limit` of them: those of one peer, those inside
    /// one prefix.
    pub fn routes(
        &self,
        view: RouteView,
        peer: Option<&PeerName>,
        within: Option<Prefix>,
        limit: usize,
        visit: &mut dyn FnMut(RouteInfo<'_>),
    ) {
        let mut left = limit;
        self.core
            .show(&self.v4, Family::Ipv4, (view, peer, within), &mut left, visit);
        self.core
            .show(&self.v6, Family::Ipv6, (view, peer, within), &mut left, visit);
    }

    /// The prefixes that an address lies in and to which there is a route, the longest first, and whether each has one
    /// that is used.
    #[must_use]
    pub fn covering(&self, address: IpAddr) -> Vec<(Prefix, bool)> {
        match address {
            IpAddr::V4(_) => self.core.covering(&self.v4, address),
            IpAddr::V6(_) => self.core.covering(&self.v6, address),
        }
    }

    /// Shows all paths of one prefix, ours first, then the best, with what became of each.
    pub fn paths(&self, prefix: Prefix, visit: &mut dyn FnMut(RouteInfo<'_>)) {
        match prefix.family() {
            Family::Ipv4 => self.core.show_prefix(&self.v4, prefix, visit),
            Family::Ipv6 => self.core.show_prefix(&self.v6, prefix, visit),
        }
    }

    /// Why the best path of a prefix is, or is not, told to a peer: `told (filter: built-in PodCIDRs)`,
    /// `withheld: community NO_EXPORT` …
    #[must_use]
    pub fn export_reason(&self, p: PeerIndex, prefix: Prefix) -> String {
        match prefix.family() {
            Family::Ipv4 => self.core.export_reason(&self.v4, p.0, prefix),
            Family::Ipv6 => self.core.export_reason(&self.v6, p.0, prefix),
        }
    }

    /// How much is kept.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let ((a, b), (c, d)) = (self.v4.len(), self.v6.len());
        Usage {
            prefixes: a + c,
            paths: b + d,
            ..self.core.usage()
        }
    }
}

/// Whether what a peer said is to be judged again, and whether it is another peer for the decision too.
fn import_differs(old: &PeerSettings, new: &PeerSettings) -> (bool, bool) {
    // Whom a client's paths are told is another question than whom those of others are.
    let identity = (
        &old.name,
        old.address,
        old.interface,
        old.router_id,
        old.is_client(),
    ) != (
        &new.name,
        new.address,
        new.interface,
        new.router_id,
        new.is_client(),
    );
    let import = identity
        || old.import != new.import
        || old.allow_own_asn != new.allow_own_asn
        || old.next_hops != new.next_hops
        || old.reflection != new.reflection
        || old.drain != new.drain
        || old.local != new.local;
    (import, identity)
}
