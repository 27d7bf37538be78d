//! The decision process: successive filters over the paths of one prefix (RFC 4271 §9.1.2.2).
//!
//! Paths are never compared pairwise to sort them, because MED counts only between paths of the same neighbouring
//! AS, so "better" is not transitive. Each step looks at all paths still in the race and takes out those that lose
//! it; a path remembers the step that took it out, which is its reason. The steps: anything over a last resort (RFC 9494
//! §4.3), highest LOCAL_PREF, shortest AS path, lowest origin, lowest MED within a neighbouring AS, external over internal,
//! what a peer says now over what outlived its session (RFC 4724), then (when only one may win) lowest router id
//! (ORIGINATOR_ID where a route has one, RFC 4456 §9), shortest CLUSTER_LIST and lowest address, and among several paths of one peer (RFC 7911) lowest identifier. The cost to the next hop
//! (step e) is not known here: next hops are on link. External paths that are still equal before the router id may be used
//! side by side. Whatever the order in which paths arrived, the result is the same: there is no "oldest path" step.
//!
//! A stale path gives way only to an *equal* one that is fresh: the flows leave a neighbour that is away where another
//! serves as well. Were any fresh path better, a spine whose ToR restarts would turn to the long way round, by a second ToR
//! that comes back to the spine: a loop, which is what RFC 4724 §4.2 forbids to risk ("MUST NOT differentiate").

use std::net::IpAddr;

use super::Multipath;
use super::attributes::AttrId;
use crate::types::{Asn, Origin, PathId, RouterId};

/// A path as the decision process sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) path: u32,
    pub(super) attributes: AttrId,
    pub(super) age: Age,
    pub(super) local_pref: u32,
    pub(super) path_len: usize,
    pub(super) origin: Origin,
    pub(super) med: u32,
    pub(super) neighbour: Option<Asn>,
    pub(super) external: bool,
    /// Router id of the originator or the peer, length of CLUSTER_LIST, address and interface of the peer, and its slot: the
    /// last makes the order total.
    pub(super) peer: (RouterId, usize, IpAddr, Option<u32>, u16),
    /// What tells several paths of that peer apart.
    pub(super) path_id: PathId,
    pub(super) step: Step,
}

/// Whether a path is what its peer says now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Age {
    Fresh,
    /// It outlived the session that it came by.
    Stale,
    /// It is a last resort, here or at whoever passed it on (LLGR_STALE, RFC 9494 §4.3).
    LongLived,
}

/// Where a path stands after the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// It is the best path.
    Best,
    /// It is used beside the best path.
    Multipath,
    LongLived,
    LocalPref,
    PathLength,
    Origin,
    Med,
    External,
    /// Equal so far, but it outlived its session, and another did not.
    Stale,
    /// Equal in all but the AS path itself, which strict multipath wants to be the same.
    PathDiffers,
    /// Equal, but as many paths as allowed are in use.
    MaxPaths,
    RouterId,
    /// Reflected more often.
    ClusterList,
    Address,
    /// From the same peer as the best path.
    PathId,
}

impl Step {
    pub(super) fn is_selected(self) -> bool {
        matches!(self, Self::Best | Self::Multipath)
    }
}

/// Says of every candidate where it stands; the index of the best one.
pub(super) fn decide(
    c: &mut [Candidate],
    multipath: Multipath,
    same_path: impl Fn(AttrId, AttrId) -> bool,
) -> Option<usize> {
    let mut all_fresh = true;
    for candidate in c.iter_mut() {
        candidate.step = Step::Best;
        all_fresh &= candidate.age == Age::Fresh;
    }
    if !all_fresh {
        keep_lowest(c, Step::LongLived, |c| c.age == Age::LongLived);
    }
    keep_lowest(c, Step::LocalPref, |c| u32::MAX - c.local_pref);
    keep_lowest(c, Step::PathLength, |c| c.path_len);
    keep_lowest(c, Step::Origin, |c| c.origin);
    keep_lowest_med(c);
    keep_lowest(c, Step::External, |c| !c.external);
    if !all_fresh {
        keep_lowest(c, Step::Stale, |c| c.age == Age::Stale);
    }
    let alive = |c: &Candidate| c.step == Step::Best;
    let last = |c: &Candidate| (c.peer, c.path_id);
    let best = (0..c.len())
        .filter(|i| alive(&c[*i]))
        .min_by_key(|i| last(&c[*i]))?;
    let winner = c[best];
    let mut room = usize::from(multipath.max_paths).saturating_sub(1);
    loop {
        // In the order of the tie-breakers, so that which paths fit into `max_paths` is decided, not met.
        let next = (0..c.len())
            .filter(|i| *i != best && alive(&c[*i]))
            .min_by_key(|i| last(&c[*i]));
        let Some(next) = next else {
            return Some(best);
        };
        let equal = multipath.relaxed || same_path(winner.attributes, c[next].attributes);
        let ((id, clusters, ..), loser) = (winner.peer, c[next].peer);
        let lost = match (id == loser.0, clusters == loser.1, winner.peer == loser) {
            (false, ..) => Step::RouterId,
            (true, false, _) => Step::ClusterList,
            (true, true, false) => Step::Address,
            (true, true, true) => Step::PathId,
        };
        c[next].step = match (winner.external && multipath.max_paths > 1, equal, room) {
            (false, ..) => lost,
            (true, false, _) => Step::PathDiffers,
            (true, true, 0) => Step::MaxPaths,
            (true, true, _) => {
                room -= 1;
                Step::Multipath
            }
        };
    }
}

fn keep_lowest<T: Ord>(c: &mut [Candidate], step: Step, key: impl Fn(&Candidate) -> T) {
    let alive = |c: &&Candidate| c.step == Step::Best;
    let Some(lowest) = c.iter().filter(alive).map(&key).min() else {
        return;
    };
    for candidate in c.iter_mut().filter(|c| c.step == Step::Best) {
        if key(candidate) > lowest {
            candidate.step = step;
        }
    }
}

/// A path falls when one of the same neighbouring AS has a lower MED. The lowest of a group never falls, so it does
/// not matter that others of the group fall on the way.
fn keep_lowest_med(c: &mut [Candidate]) {
    for i in 0..c.len() {
        let (med, neighbour) = (c[i].med, c[i].neighbour);
        let beaten = c
            .iter()
            .any(|o| o.step == Step::Best && o.neighbour == neighbour && o.med < med);
        if c[i].step == Step::Best && beaten {
            c[i].step = Step::Med;
        }
    }
}

/// Why a candidate stands where it stands, for people.
pub(super) fn reason(c: &Candidate, best: &Candidate) -> String {
    match c.step {
        Step::Best => "best".to_owned(),
        Step::Multipath => "multipath".to_owned(),
        Step::LongLived => "a last resort (LLGR_STALE)".to_owned(),
        Step::LocalPref => format!("LOCAL_PREF lower ({} < {})", c.local_pref, best.local_pref),
        Step::PathLength => format!("AS path longer ({} > {})", c.path_len, best.path_len),
        Step::Origin => format!("origin worse ({:?} > {:?})", c.origin, best.origin),
        Step::Med => {
            let asn = c.neighbour.map_or_else(|| "own".to_owned(), |a| a.to_string());
            format!("MED higher ({}) among the paths of AS {asn}", c.med)
        }
        Step::External => "internal, where an external path is there".to_owned(),
        Step::Stale => "equal, but stale, and a fresh path is there".to_owned(),
        Step::PathDiffers => "AS path differs from that of the best path".to_owned(),
        Step::MaxPaths => "equal, but the maximum of paths is in use".to_owned(),
        Step::RouterId => format!("router id higher ({} > {})", c.peer.0, best.peer.0),
        Step::ClusterList => format!("CLUSTER_LIST longer ({} > {})", c.peer.1, best.peer.1),
        Step::Address => format!("peer address higher ({} > {})", c.peer.2, best.peer.2),
        Step::PathId => format!(
            "path identifier higher ({} > {}), from the same peer",
            c.path_id, best.path_id
        ),
    }
}

#[cfg(test)]
#[path = "decision_tests.rs"]
mod tests;
