//! Routes that outlive their session (RFC 4724 §4.2, RFC 9494): which losses leave them, how long they stay, what ends
//! them. The RIB holds them and knows which loss left which; here is the time.
//!
//! ```text
//!              lost                    back, F                   End-of-RIB, or STALE_TIME
//! Established ──────► away, stale ─────────────► Established ─────────────────────────────► what is left is removed
//!                      │   │    ▲                     │
//!                      │   │    └──── lost again ─────┘  what is still stale keeps its first deadline
//!                      │   │ restart time, long-lived agreed on
//!                      │   └─────────────────► away, long-lived ─ its stale time ─► removed
//!                      └─ restart time ─► removed
//! ```
//!
//! RFC 4724 §4.2 has what is still stale at a second loss deleted. Here it stays, within the restart time after it became
//! stale: a peer that is killed five times within seconds forwards all along, and the first deadline bounds how long it is
//! believed. What it said between two losses has a deadline of its own.
//!
//! A session is lost, and not over, when TCP ended it, when the peer opened another connection, or when a NOTIFICATION
//! ended it that is no Hard Reset and both sides take such for a restart (RFC 8538). Everything else is for good, and so
//! is whatever our own configuration says: a peer that is removed, down, held or without graceful restart keeps nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{
    EventKind, GracefulRestartMode, Neighbour, RetainedSummary, Session, Speaker, Sweep, rib_settings,
};
use crate::peer::{DownReason, Negotiated};
use crate::rib::{LocalAddresses, Loss, PeerIndex, Rib};
use crate::session::{Graceful, Offer};
use crate::types::{Family, FamilySet, Instant, PeerName};
use crate::wire::CeaseSubcode;

/// How long a peer that is back may take to say all its routes of a family again (End-of-RIB). Then what it has not said
/// again is removed: the upper bound that RFC 4724 §4.2 recommends.
pub const STALE_TIME: Duration = Duration::from_secs(360);

/// The stale routes of one neighbour, which is away or back.
#[derive(Debug)]
pub(super) struct Retained {
    index: PeerIndex,
    /// What the session that was lost last had agreed on, and our addresses on it.
    negotiated: Negotiated,
    local: LocalAddresses,
    losses: Vec<Lost>,
    /// When the neighbour came back, while it is.
    back: Option<Instant>,
}

/// What one loss left.
#[derive(Debug)]
struct Lost {
    number: u64,
    at: Instant,
    families: BTreeMap<Family, Phase>,
}

/// How the stale routes of a family are kept.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// As ordinary ones until then; after that as a last resort for so long, or not at all.
    Stale { until: Instant, then: Option<Duration> },
    /// As a last resort until then.
    LongLived { until: Instant },
}

impl Phase {
    fn new(graceful: &Graceful, family: Family, at: Instant) -> Self {
        Self::Stale {
            until: at + graceful.restart_time_of(family),
            then: graceful.long_lived.get(&family).map(|l| l.stale_time),
        }
    }

    fn is_long_lived(self) -> bool {
        match self {
            Self::Stale { .. } => false,
            Self::LongLived { .. } => true,
        }
    }
}

impl Retained {
    /// When the routes of a phase go, or become a last resort. Those of a neighbour that is back have until it has said
    /// everything; a last resort has no longer than it had.
    fn deadline(&self, phase: Phase) -> Instant {
        let patience = self.back.map(|back| back + STALE_TIME);
        match (phase, patience) {
            (Phase::Stale { until, .. }, None) | (Phase::LongLived { until }, None) => until,
            (Phase::Stale { .. }, Some(patience)) => patience,
            (Phase::LongLived { until }, Some(patience)) => until.min(patience),
        }
    }

    /// When something is to be done next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.phases().map(|(.., phase)| self.deadline(phase)).min()
    }

    fn phases(&self) -> impl Iterator<Item = (u64, Family, Phase)> + use<'_> {
        let of = |lost: &Lost| {
            let number = lost.number;
            let families = lost.families.iter();
            families
                .map(move |(family, phase)| (number, *family, *phase))
                .collect::<Vec<_>>()
        };
        self.losses.iter().flat_map(of)
    }

    fn families(&self) -> FamilySet {
        self.phases().map(|(_, family, _)| family).collect()
    }

    fn remove(&mut self, number: u64, family: Family) {
        for lost in self.losses.iter_mut().filter(|l| l.number == number) {
            lost.families.remove(&family);
        }
        self.losses.retain(|l| !l.families.is_empty());
    }

    /// Forgets losses of which nothing is left.
    fn prune(&mut self, rib: &Rib) {
        let index = self.index;
        for lost in &mut self.losses {
            let number = lost.number;
            lost.families
                .retain(|family, _| rib.is_retained(index, *family, number));
        }
        self.losses.retain(|l| !l.families.is_empty());
    }
}

/// Whether a session that ended so may come back to its routes.
fn is_lost(reason: &DownReason, graceful: &Graceful) -> bool {
    let is_hard = |code: u8, subcode: u8| code == 6 && subcode == CeaseSubcode::HardReset.subcode();
    match reason {
        DownReason::Closed(_) | DownReason::Superseded => true,
        DownReason::Received(n) | DownReason::Sent { notification: n, .. } => {
            graceful.notification && !is_hard(n.code, n.subcode)
        }
    }
}

/// What our OPEN says to a neighbour of restarts. While we still wait for others before we choose routes (`chooses_later`)
/// we say that we have restarted also to a neighbour that we have met in this life: it may have restarted since, and must
/// not wait for our End-of-RIB as we wait for its own.
pub(super) fn offer(
    neighbour: &Neighbour,
    restart: Option<(super::Restart, Instant)>,
    chooses_later: bool,
) -> Option<Offer> {
    let config = &neighbour.config.graceful_restart;
    let families = match config.mode {
        GracefulRestartMode::Auto => neighbour.config.session.families,
        GracefulRestartMode::HelperOnly => FamilySet::NONE,
        GracefulRestartMode::Disabled => return None,
    };
    // Who has been met in this life: whatever lost that session, this process, and what it forwards, was there all along.
    let met = neighbour.met && !chooses_later;
    let restart = restart.filter(|_| !met);
    let left = restart.map_or(FamilySet::NONE, |(restart, _)| restart.forwarding);
    Some(Offer {
        families,
        forwarding: if met {
            families
        } else {
            families.intersection(left)
        },
        restart_time: config.restart_time,
        restarted_until: restart.map(|(_, since)| since + config.restart_time),
        notification: config.notification,
        long_lived_stale_time: config.long_lived_stale_time,
    })
}

impl Speaker {
    /// Renews what the next OPEN to a neighbour says.
    pub(super) fn renew_offer(&mut self, name: &PeerName) {
        if let Some(neighbour) = self.neighbours.get_mut(name) {
            let offer = offer(neighbour, self.restart, self.deferral.is_some());
            neighbour.peer.set_offer(offer);
        }
    }

    /// A session is gone: for good, or its routes stay.
    pub(super) fn lose(&mut self, name: &PeerName, session: Session, reason: &DownReason, now: Instant) {
        let Some(neighbour) = self.neighbours.get_mut(name) else {
            return;
        };
        let local = self.rib.local_addresses(session.index);
        let negotiated = session.negotiated;
        let wanted = neighbour.config.graceful_restart.mode != GracefulRestartMode::Disabled;
        let graceful = negotiated
            .graceful_restart
            .clone()
            .filter(|g| wanted && is_lost(reason, g));
        let before = neighbour.retained.take();
        let Some(graceful) = graceful else {
            self.rib.peer_down(session.index);
            return;
        };
        self.losses = self.losses.saturating_add(1);
        let number = self.losses;
        let kept = negotiated
            .families
            .iter()
            .filter(|f| graceful.keeps(*f))
            .collect();
        let of_families = self.rib.peer_lost(session.index, kept, number);
        let fresh = of_families.iter().filter(|k| k.fresh > 0);
        let lost = Lost {
            number,
            at: now,
            families: fresh
                .map(|k| (k.family, Phase::new(&graceful, k.family, now)))
                .collect(),
        };
        let mut losses = before.map_or_else(Vec::new, |b| b.losses);
        losses.push(lost);
        let mut retained = Retained {
            index: session.index,
            negotiated,
            local,
            losses,
            back: None,
        };
        retained.prune(&self.rib);
        neighbour.retained = Some(retained);
        for k in of_families.iter().filter(|k| k.gone > 0) {
            self.swept(name, k.family, k.gone, Sweep::TooManyLosses, now);
        }
        self.expire_retained(name, now);
        self.tell_retained(name, now);
    }

    fn tell_retained(&mut self, name: &PeerName, now: Instant) {
        let Some(summary) = self.retained_summary(name, now) else {
            return;
        };
        let kind = EventKind::Retained {
            routes: summary.routes,
            time: summary.left,
        };
        self.event(Some(name.clone()), kind, now);
    }

    /// The place in the RIB of a neighbour that is Established now: that of its stale routes, when it has some and they
    /// may stay.
    pub(super) fn come_back(
        &mut self,
        name: &PeerName,
        negotiated: &Negotiated,
        local: LocalAddresses,
        now: Instant,
    ) -> Option<PeerIndex> {
        let neighbour = self.neighbours.get_mut(name)?;
        let settings = rib_settings(name, neighbour, negotiated, local);
        let Some(mut retained) = neighbour.retained.take() else {
            return Some(self.rib.peer_up(settings));
        };
        let same = (retained.negotiated.peer_asn, retained.negotiated.context.internal)
            == (negotiated.peer_asn, negotiated.context.internal);
        let may_stay = |family: Family, phase: Phase| {
            let graceful = negotiated.graceful_restart.as_ref();
            same && negotiated.families.contains(family)
                && graceful.is_some_and(|g| g.kept_forwarding(family, phase.is_long_lived()))
        };
        let index = retained.index;
        let going: Vec<(u64, Family, Phase)> =
            retained.phases().filter(|(_, f, p)| !may_stay(*f, *p)).collect();
        let mut removed: BTreeMap<Family, usize> = BTreeMap::new();
        for (number, family, _) in going {
            *removed.entry(family).or_default() += self.rib.sweep(index, family, Loss::Number(number));
            retained.remove(number, family);
        }
        let index = self.rib.peer_back(index, settings);
        retained.index = index;
        retained.prune(&self.rib);
        if !retained.losses.is_empty() {
            retained.back = Some(now);
            neighbour.retained = Some(retained);
        }
        for (family, removed) in removed {
            self.swept(name, family, removed, Sweep::NotForwarding, now);
        }
        Some(index)
    }

    /// A neighbour has said all that it has of a family: what it has not said again goes.
    pub(super) fn sweep_at_end_of_rib(&mut self, name: &PeerName, family: Family, now: Instant) {
        let Some(neighbour) = self.neighbours.get_mut(name) else {
            return;
        };
        let Some(retained) = neighbour.retained.as_mut() else {
            return;
        };
        let removed = self.rib.sweep(retained.index, family, Loss::Any);
        for lost in &mut retained.losses {
            lost.families.remove(&family);
        }
        retained.losses.retain(|l| !l.families.is_empty());
        if retained.losses.is_empty() {
            neighbour.retained = None;
        }
        self.swept(name, family, removed, Sweep::EndOfRib, now);
    }

    /// Ends what is kept too long, or makes it a last resort.
    pub(super) fn expire_retained(&mut self, name: &PeerName, now: Instant) {
        loop {
            let retained = self.neighbours.get(name).and_then(|n| n.retained.as_ref());
            let due = retained.and_then(|r| {
                let mut phases = r.phases();
                let (number, family, phase) = phases.find(|(.., phase)| r.deadline(*phase) <= now)?;
                Some((r.index, r.back, number, family, phase))
            });
            let Some((index, back, number, family, phase)) = due else {
                break;
            };
            match (phase, back) {
                (
                    Phase::Stale {
                        until,
                        then: Some(time),
                    },
                    None,
                ) => {
                    self.keep_for_long(name, (number, family), until + time, now);
                }
                (Phase::Stale { .. } | Phase::LongLived { .. }, _) => {
                    let removed = self.rib.sweep(index, family, Loss::Number(number));
                    self.forget_loss(name, number, family);
                    let cause = if back.is_some() {
                        Sweep::StaleTime
                    } else {
                        Sweep::Expired
                    };
                    self.swept(name, family, removed, cause, now);
                }
            }
        }
        self.release_slot(name);
    }

    fn keep_for_long(
        &mut self,
        name: &PeerName,
        (number, family): (u64, Family),
        until: Instant,
        now: Instant,
    ) {
        let retained = self.neighbours.get_mut(name).and_then(|n| n.retained.as_mut());
        let Some(retained) = retained else { return };
        let (routes, removed) = self
            .rib
            .make_long_lived(retained.index, family, Loss::Number(number));
        for lost in retained.losses.iter_mut().filter(|l| l.number == number) {
            lost.families.insert(family, Phase::LongLived { until });
        }
        if routes == 0 {
            retained.remove(number, family);
        } else {
            let time = until.since(now);
            self.event(
                Some(name.clone()),
                EventKind::LongLived { family, routes, time },
                now,
            );
        }
        self.swept(name, family, removed, Sweep::Expired, now);
    }

    fn forget_loss(&mut self, name: &PeerName, number: u64, family: Family) {
        if let Some(retained) = self.neighbours.get_mut(name).and_then(|n| n.retained.as_mut()) {
            retained.remove(number, family);
        }
    }

    /// Gives the place in the RIB back when nothing is kept there any more and the neighbour is away.
    fn release_slot(&mut self, name: &PeerName) {
        let Some(neighbour) = self.neighbours.get_mut(name) else {
            return;
        };
        if let Some(retained) = neighbour.retained.take_if(|r| r.losses.is_empty())
            && retained.back.is_none()
        {
            self.rib.peer_down(retained.index);
        }
    }

    /// Whatever is kept of a neighbour goes: it is over for good. A session that stands is left alone.
    pub(super) fn drop_retained(&mut self, name: &PeerName, now: Instant) {
        let Some(neighbour) = self.neighbours.get_mut(name) else {
            return;
        };
        let Some(retained) = neighbour.retained.take() else {
            return;
        };
        let families = retained.families();
        let removed: Vec<(Family, usize)> = families
            .iter()
            .map(|family| (family, self.rib.sweep(retained.index, family, Loss::Any)))
            .collect();
        if retained.back.is_none() {
            self.rib.peer_down(retained.index);
        }
        for (family, removed) in removed {
            self.swept(name, family, removed, Sweep::Ended, now);
        }
    }

    /// New filters and the like for the stale routes of a neighbour that is away.
    pub(super) fn judge_retained_again(&mut self, name: &PeerName) {
        let Some(neighbour) = self.neighbours.get(name) else {
            return;
        };
        if let Some(retained) = neighbour.retained.as_ref().filter(|r| r.back.is_none()) {
            let settings = rib_settings(name, neighbour, &retained.negotiated, retained.local);
            self.rib.set_peer(retained.index, settings);
        }
    }

    fn swept(&mut self, name: &PeerName, family: Family, removed: usize, cause: Sweep, now: Instant) {
        if removed > 0 {
            let kind = EventKind::Swept {
                family,
                removed,
                cause,
            };
            self.event(Some(name.clone()), kind, now);
        }
    }

    /// The stale routes of a neighbour, in numbers.
    pub(super) fn retained_summary(&self, name: &PeerName, now: Instant) -> Option<RetainedSummary> {
        let retained = self.neighbours.get(name)?.retained.as_ref()?;
        let count = |family| self.rib.retained(retained.index, family);
        let counts: Vec<(usize, usize)> = Family::ALL.into_iter().map(count).collect();
        let since = retained.losses.iter().map(|l| l.at).min()?;
        Some(RetainedSummary {
            routes: counts.iter().map(|c| c.0).sum(),
            since: now.since(since),
            left: retained.next()?.since(now),
            long_lived: counts.iter().map(|c| c.1).sum(),
        })
    }

    /// The place in the RIB and the families of a neighbour that is away and whose routes are kept.
    pub(super) fn away(neighbour: &Neighbour) -> Option<(PeerIndex, FamilySet)> {
        let retained = neighbour.retained.as_ref().filter(|r| r.back.is_none())?;
        Some((retained.index, retained.families()))
    }
}
