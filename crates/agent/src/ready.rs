//! Whether the node can serve pods: a decision from facts.
//!
//! It can when every source of objects has been listed, when for each family at least one neighbour has sent all
//! that it has, and when the kernel holds what was chosen. A neighbour has sent all when it said End-of-RIB. Many
//! switches never say it to a neighbour without graceful restart, and the first node of a rack has a switch with
//! nothing to say: so one that has sent no UPDATE for [`SILENCE`] counts too.
//!
//! One such neighbour a family is enough: a dead switch must not keep every node of a rack from serving. A family that
//! no neighbour can have, or that all of them left out of their OPEN, is not waited for; the latter is said
//! (`FamilyNotNegotiated`). Other nodes are no fabric: they are not waited for either.
//!
//! Once the answer was yes it stays so for the life of the agent. A session that falls later is the business of routing
//! and of the status objects: a node that would then fail its probe, or lose its CNI configuration, would
//! hurt the pods that still talk.

use std::fmt;
use std::time::Duration;

use flatroute_bgp::types::{Family, FamilySet};

/// How long a neighbour says nothing before that counts as End-of-RIB.
pub(crate) const SILENCE: Duration = Duration::from_secs(10);

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    /// The objects have not been listed: the owner of the state has not begun.
    Starting,
    /// Not yet, and what is waited for.
    Waiting(String),
    /// Yes, from now on.
    Yes,
}

impl Ready {
    /// What is waited for, in words.
    pub(crate) fn reason(&self) -> Option<&str> {
        match self {
            Self::Starting => Some("NotListed: the objects have not been listed yet"),
            Self::Waiting(why) => Some(why),
            Self::Yes => None,
        }
    }
}

/// All that the answer depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Why the objects in force are not those of the source: a copy from before the start is used.
    pub(crate) stale: Option<String>,
    /// Whether pods shall be served and the Node has no podCIDR to serve them from.
    pub(crate) lacks_pod_cidrs: bool,
    /// The neighbours of the plan in force, those that shall be down left out.
    pub(crate) peers: Vec<Peer>,
    /// The kernel's routes.
    pub(crate) kernel: Kernel,
}

/// A neighbour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// The name of its object.
    pub(crate) name: String,
    /// Whether it belongs to the fabric; otherwise it is another node.
    pub(crate) fabric: bool,
    /// The families that it is offered.
    pub(crate) offered: FamilySet,
    /// What is missing for its session to be tried, in words.
    pub(crate) held: Option<String>,
    /// Its session while it is Established.
    pub(crate) session: Option<Session>,
}

/// An Established session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    /// The families that were agreed on.
    pub(crate) negotiated: FamilySet,
    /// Those for which End-of-RIB has come.
    pub(crate) end_of_rib: FamilySet,
    /// How long ago the last UPDATE came; until one has, how long it has been Established.
    pub(crate) silent: Duration,
}

impl Session {
    /// Whether the neighbour has sent all routes of a family.
    pub(crate) fn has_sent_all(&self, family: Family) -> bool {
        let has_said_so = self.end_of_rib.contains(family);
        self.negotiated.contains(family) && (has_said_so || self.silent >= SILENCE)
    }
}

/// How far the kernel is behind what was chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kernel {
    /// Whether changes are on their way from the speaker to the kernel's thread.
    pub(crate) handing_over: bool,
    /// Prefixes that are wanted.
    pub(crate) wanted: u64,
    /// Routes that the kernel has acknowledged.
    pub(crate) installed: u64,
    /// Routes not yet compared or not yet acknowledged.
    pub(crate) pending: u64,
    /// Routes that the kernel refused, or that stand behind another program's.
    pub(crate) failed: u64,
}

/// What is still missing, the first of it in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The objects are an older copy.
    Listing(String),
    /// The Node has no podCIDR.
    PodCidrs,
    /// No neighbour has sent all of its routes of this family.
    Family(Family, String),
    /// The kernel does not hold what was chosen.
    Kernel(String),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listing(why) => write!(f, "NotListed: {why}"),
            Self::PodCidrs => f.write_str(
                "NoPodCIDRs: the Node has no podCIDR yet; the controller manager gives one (--allocate-node-cidrs)",
            ),
            Self::Family(family, who) => write!(f, "NoRoutes: {family}: {who}"),
            Self::Kernel(why) => write!(f, "NotInstalled: {why}"),
        }
    }
}

/// Decides.
///
/// # Errors
/// What is still missing.
pub(crate) fn judge(facts: &Facts) -> Result<(), Missing> {
    if let Some(why) = &facts.stale {
        return Err(Missing::Listing(why.clone()));
    }
    if facts.lacks_pod_cidrs {
        return Err(Missing::PodCidrs);
    }
    for family in Family::ALL {
        if let Some(who) = waits_for(&facts.peers, family) {
            return Err(Missing::Family(family, who));
        }
    }
    kernel(facts.kernel).map_err(Missing::Kernel)
}

/// The neighbours that left a family out of their OPEN that was offered to them and that no other neighbour carries. Two
/// sessions to one ToR, one a family, leave nothing out.
pub(crate) fn not_negotiated(peers: &[Peer]) -> impl Iterator<Item = (&str, Family)> {
    let left_out = |peer: &Peer, family: Family| {
        let session = peer.session.as_ref();
        peer.offered.contains(family) && session.is_some_and(|s| !s.negotiated.contains(family))
    };
    let is_carried = |family: &Family| {
        let mut sessions = peers.iter().filter_map(|peer| peer.session);
        sessions.any(|session| session.negotiated.contains(*family))
    };
    let missing: Vec<Family> = Family::ALL.into_iter().filter(|f| !is_carried(f)).collect();
    peers.iter().flat_map(move |peer| {
        let families = missing.clone().into_iter();
        families
            .filter(move |family| left_out(peer, *family))
            .map(|family| (peer.name.as_str(), family))
    })
}

/// Whom this family waits for, in words; `None`: for nobody.
fn waits_for(peers: &[Peer], family: Family) -> Option<String> {
    let may_have_it = |peer: &&Peer| match &peer.session {
        Some(session) => session.negotiated.contains(family),
        None => peer.offered.contains(family),
    };
    let candidates: Vec<&Peer> = peers.iter().filter(|p| p.fabric).filter(may_have_it).collect();
    let has_sent_all = |peer: &&Peer| peer.session.is_some_and(|session| session.has_sent_all(family));
    if candidates.is_empty() || candidates.iter().any(has_sent_all) {
        return None;
    }
    // Whoever is nearest to it explains it best.
    let best = candidates
        .iter()
        .max_by_key(|p| (p.session.is_some(), p.held.is_none()))?;
    let rest = match candidates.len() - 1 {
        0 => String::new(),
        others => format!(" (and {others} more)"),
    };
    Some(match (&best.session, &best.held) {
        // No word of how long already: each new text of a reason is logged.
        (Some(_), _) => format!(
            "{}{rest} is Established, but has neither sent End-of-RIB nor been silent for {} s",
            best.name,
            SILENCE.as_secs(),
        ),
        (None, Some(why)) => format!("{}{rest} is held down: {why}", best.name),
        (None, None) => format!("{}{rest} is not Established", best.name),
    })
}

fn kernel(kernel: Kernel) -> Result<(), String> {
    if kernel.handing_over || kernel.pending > 0 {
        return Err(format!(
            "{} of {} routes are in the kernel, and {} are on their way",
            kernel.installed, kernel.wanted, kernel.pending
        ));
    }
    // Single refusals are told as events: a neighbour that sends one odd prefix must not keep a rack from serving.
    if kernel.installed == 0 && kernel.failed > 0 {
        return Err(format!(
            "the kernel took none of {} routes and refused {}; /v1/events has its words",
            kernel.wanted, kernel.failed
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
