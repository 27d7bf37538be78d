//! Removal of links, one or very many.
//!
//! Deleting a link takes the kernel some twenty milliseconds, nearly all of them spent waiting until nobody reads it any
//! more. Links of one group that are deleted together wait once. So what GC finds is first marked by a group of its own and
//! then goes at once. A link that was marked when GC was killed is still found by name and alias.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use flatroute_netlink::{LinkChange, Socket};

use crate::error::{CniError, Result};

/// Link groups of what is about to be deleted, one a process: what one that was killed had marked is not for the next one to
/// delete.
const REMOVAL_GROUPS: RangeInclusive<u32> = 0x7900_0000..=0x79ff_ffff;

/// Whether links of this group were about to be deleted.
pub(crate) fn is_marked(group: u32) -> bool {
    REMOVAL_GROUPS.contains(&group)
}

/// Deletes a link; one that is gone is fine.
pub(crate) fn delete_link(host: &mut Socket, index: u32) -> Result<()> {
    match host.delete_link(index) {
        Err(error) if !error.is_missing() => Err(error.into()),
        _ => Ok(()),
    }
}

/// Deletes links; those that are gone are fine. Goes on after a failure and returns all.
pub(crate) fn delete_links(host: &mut Socket, indexes: &BTreeSet<u32>) -> Vec<CniError> {
    if indexes.len() > 1 {
        let group = REMOVAL_GROUPS.start() | (std::process::id() & 0x00ff_ffff);
        // What cannot be marked, or is not gone with its group, is deleted by itself below, and says why it cannot be.
        for index in indexes {
            let mark = LinkChange {
                group: Some(group),
                ..LinkChange::default()
            };
            drop(host.change_link(*index, &mark));
        }
        if host.delete_links_of_group(group).is_ok() {
            let gone = |index: &u32| matches!(host.link_by_index(*index), Ok(None));
            if indexes.iter().all(gone) {
                return Vec::new();
            }
        }
    }
    indexes
        .iter()
        .filter_map(|index| delete_link(host, *index).err())
        .collect()
}
