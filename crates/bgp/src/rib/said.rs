//! What a peer says: prefixes of both families in one list, with or without the identifiers of their paths (RFC 7911).

use super::{LimitOutcome, PeerIndex, Rib};
use crate::types::{Family, NextHop, PathAttributes, PathId, Prefix};

/// Prefixes of one family in an UPDATE, with the identifiers of their paths where there are such.
#[derive(Clone, Copy)]
pub(super) struct Said<'a> {
    pub(super) prefixes: &'a [Prefix],
    pub(super) ids: &'a [PathId],
}

impl Said<'_> {
    /// The identifier of the prefix at a place: zero where none was agreed on.
    pub(super) fn id(&self, place: usize, several: bool) -> PathId {
        let id = if several { self.ids.get(place) } else { None };
        id.copied().unwrap_or_default()
    }
}

/// The runs of prefixes of one family, with their identifiers.
fn runs<'a>(prefixes: &'a [Prefix], mut ids: &'a [PathId]) -> impl Iterator<Item = (Family, Said<'a>)> {
    let runs = prefixes.chunk_by(|a, b| a.family() == b.family());
    runs.filter_map(move |prefixes| {
        let (of_run, rest) = ids.split_at(prefixes.len().min(ids.len()));
        ids = rest;
        let ids = of_run;
        Some((prefixes.first()?.family(), Said { prefixes, ids }))
    })
}

impl Rib {
    /// Prefixes announced by a peer. A family that was not negotiated is ignored.
    pub fn announce(
        &mut self,
        p: PeerIndex,
        next_hop: NextHop,
        attrs: &PathAttributes,
        prefixes: &[Prefix],
    ) -> LimitOutcome {
        self.announce_paths(p, next_hop, attrs, prefixes, &[])
    }

    /// The same with the identifiers of the paths (RFC 7911), one each: none at all means zero for each. They count for
    /// families of which the peer was agreed to say several paths a prefix.
    pub fn announce_paths(
        &mut self,
        p: PeerIndex,
        next_hop: NextHop,
        attrs: &PathAttributes,
        prefixes: &[Prefix],
        ids: &[PathId],
    ) -> LimitOutcome {
        let mut outcome = LimitOutcome::Within;
        for (family, run) in runs(prefixes, ids) {
            let of_run = on_family!(self, family, |t| self.core.announce(
                t,
                family,
                p.0,
                (next_hop, attrs),
                run
            ));
            if of_run != LimitOutcome::Within {
                outcome = of_run;
            }
        }
        outcome
    }

    /// Prefixes taken back by a peer; those that it never announced are ignored.
    pub fn withdraw(&mut self, p: PeerIndex, prefixes: &[Prefix]) {
        self.withdraw_paths(p, prefixes, &[]);
    }

    /// The same with the identifiers of the paths, as in [`Rib::announce_paths`].
    pub fn withdraw_paths(&mut self, p: PeerIndex, prefixes: &[Prefix], ids: &[PathId]) {
        for (family, run) in runs(prefixes, ids) {
            on_family!(self, family, |t| self.core.withdraw(t, family, p.0, run));
        }
    }
}
