//! Which routes have an address, and what became of each of their paths.

use std::net::IpAddr;

use super::core::Core;
use super::table::{Key, NIL, SELECTED, Table};
use super::{RouteInfo, RouteView};
use crate::types::{Family, Prefix};

impl Core {
    /// The prefixes with paths, or of our own, that an address lies in, the longest first, and whether each has one that
    /// is used.
    pub(super) fn covering<K: Key>(&self, t: &Table<K>, address: IpAddr) -> Vec<(Prefix, bool)> {
        let longest = match address {
            IpAddr::V4(_) => Family::Ipv4.max_len(),
            IpAddr::V6(_) => Family::Ipv6.max_len(),
        };
        (0..=longest)
            .rev()
            .filter_map(|len| {
                let prefix = Prefix::new(address, len).ok()?;
                let entry = t.entry(t.find(prefix)?);
                let chosen = entry.head != NIL && t.path(entry.head).is(SELECTED);
                let known = entry.local.is_some() || entry.head != NIL;
                known.then_some((prefix, entry.local.is_some() || chosen))
            })
            .collect()
    }

    /// All paths of one prefix with what became of them, the best one first.
    pub(super) fn show_prefix<K: Key>(
        &self,
        t: &Table<K>,
        prefix: Prefix,
        visit: &mut dyn FnMut(RouteInfo<'_>),
    ) {
        let Some(id) = t.find(prefix) else { return };
        let mut visit = |info: RouteInfo<'_>| visit(info);
        self.show_local(t, id, &mut visit);
        self.show_paths(t, id, RouteView::Accepted, &|_| true, &mut visit);
    }
}
