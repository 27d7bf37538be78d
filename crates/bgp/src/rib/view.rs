//! Looking at the routes, with reasons.
//!
//! Looking costs nothing until somebody looks: the prefixes that a view shows are collected and sorted on demand (when
//! a limit is given, only as many as it asks for), and reasons are worked out again from what is stored: the
//! checks and filters for a path that was refused, the decision process for one that lost.

use super::attributes::AttrId;
use super::core::{Core, at};
use super::decision;
use super::export::{self, Best};
use super::import;
use super::table::{ACCEPTED, INSTALLABLE, Key, Path, SELECTED, STALE, Table};
use super::{PeerSettings, RouteInfo, RouteView};
use crate::policy::{Drain, Verdict};
use crate::types::{Family, PathAttributes, PathId, PeerName, Prefix};

type Query<'a> = (RouteView, Option<&'a PeerName>, Option<Prefix>);

impl Core {
    pub(super) fn show<K: Key>(
        &self,
        t: &Table<K>,
        family: Family,
        (view, peer, within): Query<'_>,
        left: &mut usize,
        visit: &mut dyn FnMut(RouteInfo<'_>),
    ) {
        if *left == 0 || within.is_some_and(|w| w.family() != family) {
            return;
        }
        // Peers in the order of their names; where two sessions share a name, in that of their slots.
        let mut peers: Vec<(&PeerName, u16)> = (0..)
            .zip(&self.peers)
            .filter_map(|(p, slot)| Some((&slot.as_ref()?.settings.name, p)))
            .filter(|(name, _)| peer.is_none_or(|peer| peer == *name))
            .collect();
        peers.sort_unstable();
        let wanted: Vec<u16> = peers.iter().map(|(_, p)| *p).collect();
        let shown = |path: &Path| {
            wanted.contains(&path.peer)
                && match view {
                    RouteView::Received => true,
                    RouteView::Accepted => path.is(ACCEPTED),
                    RouteView::Best => path.is(SELECTED),
                    RouteView::Advertised => false,
                }
        };
        let told = |p: u16, id: u32| {
            self.peer(p)
                .map_or(0, |x| x.families[at(family)].out.receiver.told(id))
        };
        let mut ids: Vec<(K, u32)> = t
            .ids()
            .filter(|id| within.is_none_or(|w| w.covers(t.prefix(*id))))
            .filter(|id| match view {
                RouteView::Received | RouteView::Accepted => t.paths(*id).any(|(_, path)| shown(path)),
                RouteView::Best => {
                    (peer.is_none() && t.entry(*id).local.is_some())
                        || t.paths(*id).any(|(_, path)| shown(path))
                }
                RouteView::Advertised => wanted.iter().any(|p| told(*p, *id) != 0),
            })
            .map(|id| (t.key(id), id))
            .collect();
        if *left < ids.len() {
            ids.select_nth_unstable(*left);
            ids.truncate(*left);
        }
        ids.sort_unstable();
        let mut visit = |info: RouteInfo<'_>| {
            if *left > 0 {
                *left -= 1;
                visit(info);
            }
        };
        for (_, id) in ids {
            if view == RouteView::Advertised {
                for p in &wanted {
                    let Some(peer) = self.peer(*p) else { continue };
                    match &peer.families[at(family)].out.several {
                        None => self.show_told(t, id, *p, None, AttrId(told(*p, id)), &mut visit),
                        Some(several) => {
                            for (path, attributes) in several.of(id) {
                                self.show_told(t, id, *p, Some(path), attributes, &mut visit);
                            }
                        }
                    }
                }
            } else {
                if view == RouteView::Best && peer.is_none() {
                    self.show_local(t, id, &mut visit);
                }
                self.show_paths(t, id, view, &shown, &mut visit);
            }
        }
    }

    pub(super) fn show_local<K: Key>(&self, t: &Table<K>, id: u32, visit: &mut dyn FnMut(RouteInfo<'_>)) {
        if t.entry(id).local.is_some() {
            visit(RouteInfo {
                prefix: t.prefix(id),
                peer: None,
                path_id: None,
                attributes: &PathAttributes::local(),
                best: true,
                multipath: true,
                installed: false,
                stale: false,
                reason: "best: our own route".to_owned(),
            });
        }
    }

    pub(super) fn show_paths<K: Key>(
        &self,
        t: &Table<K>,
        id: u32,
        view: RouteView,
        shown: &dyn Fn(&Path) -> bool,
        visit: &mut dyn FnMut(RouteInfo<'_>),
    ) {
        let entry = t.entry(id);
        let mut candidates: Vec<_> = t
            .paths(id)
            .filter_map(|(n, path)| self.candidate(t, n, path))
            .collect();
        let best = self.decide(&mut candidates);
        let mut rows: Vec<(bool, &PeerSettings, u32, &Path)> = t
            .paths(id)
            .filter(|(_, path)| shown(path))
            .filter_map(|(n, path)| {
                let is_best = n == entry.head && path.is(SELECTED);
                Some((!is_best, &*self.peer(path.peer)?.settings, n, path))
            })
            .collect();
        rows.sort_by_key(|(not_best, settings, n, path)| {
            (*not_best, &settings.name, path.peer, t.path_id(*n))
        });
        for (not_best, settings, n, path) in rows {
            let prefix = t.prefix(id);
            let candidate = candidates
                .iter()
                .find(|c| c.path == n)
                .zip(best.and_then(|b| candidates.get(b)));
            let mut reason = match candidate {
                None => self.refusal(settings, prefix, path.raw),
                Some(_) if entry.local.is_some() => "our own route is preferred".to_owned(),
                Some((candidate, best)) => decision::reason(candidate, best),
            };
            if path.is(SELECTED) && !path.is(INSTALLABLE) {
                let effective = self.attributes.unpack(path.effective);
                let decision = self
                    .install
                    .decide(&import::view(prefix, &effective, &settings.name));
                reason = format!("{reason}; not installed: filter: {}", decision.rule);
            }
            if path.is(STALE) {
                reason = format!("{reason}; stale: the session that it came by is gone");
            }
            let attributes = match view {
                RouteView::Received => path.raw,
                RouteView::Accepted | RouteView::Best | RouteView::Advertised => path.effective,
            };
            visit(RouteInfo {
                prefix,
                peer: Some(&settings.name),
                path_id: settings
                    .path_ids
                    .received
                    .contains(prefix.family())
                    .then(|| t.path_id(n)),
                attributes: &self.attributes.unpack(attributes),
                best: !not_best,
                multipath: path.is(SELECTED),
                installed: path.is(SELECTED | INSTALLABLE),
                stale: path.is(STALE),
                reason,
            });
        }
    }

    /// Why a path was refused.
    fn refusal(&self, settings: &PeerSettings, prefix: Prefix, raw: AttrId) -> String {
        let attributes = self.attributes.unpack(raw);
        let by_check = attributes.next_hop.and_then(|hop| {
            import::check(settings, &attributes, hop).or_else(|| import::check_prefix(prefix, hop))
        });
        by_check.map_or_else(
            || {
                let decision = settings
                    .import
                    .decide(&import::view(prefix, &attributes, &settings.name));
                debug_assert_eq!(decision.verdict, Verdict::Reject);
                import::Refusal::Filter(decision.rule).to_string()
            },
            |refusal| refusal.to_string(),
        )
    }

    fn show_told<K: Key>(
        &self,
        t: &Table<K>,
        id: u32,
        p: u16,
        path: Option<PathId>,
        told: AttrId,
        visit: &mut dyn FnMut(RouteInfo<'_>),
    ) {
        let Some(to) = self.peer(p).filter(|_| told != AttrId::NONE) else {
            return;
        };
        let found = match path {
            None => self.best_for(t, id, &to.settings),
            Some(path) => self.path_told(t, id, path, &to.settings),
        };
        let best = found.and_then(|(prefix, source, attributes, from)| {
            let from = match from {
                Some(f) => Some((f, &*self.peer(f)?.settings)),
                None => None,
            };
            Some(Best {
                prefix,
                source,
                attributes,
                from,
                elsewhere: self.told_elsewhere(prefix.family(), id, p, &to.settings),
            })
        });
        let reason = match best.map(|best| export::explain(&self.attributes, (p, &to.settings), &best)) {
            Some(Ok(rule)) if to.settings.drain == Drain::Withdrawn => {
                format!("filter: {rule}; LastPath: the peer is drained, but no other is told")
            }
            Some(Ok(rule)) => format!("filter: {rule}"),
            Some(Err(reason)) => format!("about to be withdrawn: {reason}"),
            None => "about to be withdrawn".to_owned(),
        };
        visit(RouteInfo {
            prefix: t.prefix(id),
            peer: Some(&to.settings.name),
            path_id: path,
            attributes: &self.attributes.unpack(told),
            best: true,
            multipath: true,
            installed: false,
            stale: false,
            reason,
        });
    }
}
