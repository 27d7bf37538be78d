//! What two OPENs say of restarts: the capabilities of RFC 4724, RFC 8538 and RFC 9494.
//!
//! An [`Offer`] is what our OPEN says: which families the peer may keep for us while we are away, for how long, and
//! whether this process follows another one (R) whose forwarding state is still in the kernel (F). [`Graceful`] is what
//! both OPENs together make of it, seen from here: how the *peer's* routes are kept. Both sides must have the capability;
//! one without families says that its sender keeps routes and asks nobody to keep its own.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::types::{Family, FamilySet, Instant};
use crate::wire::{self, Capabilities, CeaseSubcode, GracefulFamily, LongLivedFamily, Notification};

/// What our OPEN says of graceful restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The families that the peer may keep for us; none: we only keep its own.
    pub families: FamilySet,
    /// Those of them whose forwarding state is, and was all along, in the kernel (F).
    pub forwarding: FamilySet,
    /// How long it may keep them while we are away: at most 4,095 s.
    pub restart_time: Duration,
    /// This process follows another one, and says so (R) in OPENs before this moment.
    pub restarted_until: Option<Instant>,
    /// NOTIFICATIONs and an expired hold timer are restarts too (N, RFC 8538).
    pub notification: bool,
    /// How long it may keep them as a last resort, and we its own at most (RFC 9494); zero: not at all.
    pub long_lived_stale_time: Duration,
}

/// What two OPENs agree on: how the routes of the peer are kept when its session is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graceful {
    /// The peer says that it has restarted (R).
    pub restarted: bool,
    /// Both say that NOTIFICATIONs and an expired hold timer are restarts too (N).
    pub notification: bool,
    /// How long the peer may be away before its routes go.
    pub restart_time: Duration,
    /// The families whose routes are kept; those of the session that the peer listed.
    pub families: FamilySet,
    /// Those of them that it says it went on forwarding (F).
    pub forwarding: FamilySet,
    /// The families whose routes are kept longer, as a last resort (RFC 9494).
    pub long_lived: BTreeMap<Family, LongLived>,
}

/// How long the stale routes of a family are kept as a last resort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongLived {
    /// The smaller of what the peer says and what is configured here.
    pub stale_time: Duration,
    /// Whether it says that it went on forwarding (F).
    pub forwarding: bool,
}

impl Graceful {
    /// Whether routes of a family outlive the session.
    #[must_use]
    pub fn keeps(&self, family: Family) -> bool {
        self.families.contains(family) || self.long_lived.contains_key(&family)
    }

    /// Whether any routes do.
    #[must_use]
    pub fn keeps_any(&self) -> bool {
        !self.families.is_empty() || !self.long_lived.is_empty()
    }

    /// How long after the loss of a session the stale routes of a family are ordinary ones. Zero for a family that only
    /// the long-lived capability lists (RFC 9494 §4.2).
    #[must_use]
    pub fn restart_time_of(&self, family: Family) -> Duration {
        if self.families.contains(family) {
            self.restart_time
        } else {
            Duration::ZERO
        }
    }

    /// Whether the peer, back with these OPENs, says that it went on forwarding to what it announced before: only then
    /// may its stale routes stay until it has said them again.
    #[must_use]
    pub fn kept_forwarding(&self, family: Family, long_lived: bool) -> bool {
        let by_restart = self.forwarding.contains(family);
        let by_long_lived = self.long_lived.get(&family).is_some_and(|l| l.forwarding);
        if long_lived || !self.families.contains(family) {
            by_long_lived
        } else {
            by_restart
        }
    }

    /// What both OPENs make of the capabilities. `None` when one side does not have it.
    pub(super) fn agreed(offer: Option<&Offer>, theirs: &Capabilities, common: FamilySet) -> Option<Self> {
        let (offer, said) = (offer?, theirs.graceful_restart.as_ref()?);
        let listed = |wanted: &dyn Fn(&GracefulFamily) -> bool| -> FamilySet {
            let of_ours = |f: &GracefulFamily| Family::from_wire(f.family.afi, f.family.safi);
            let listed = said.families.iter().filter(|f| wanted(f)).filter_map(of_ours);
            listed.collect::<FamilySet>().intersection(common)
        };
        Some(Self {
            restarted: said.restarted,
            notification: offer.notification && said.notification,
            restart_time: Duration::from_secs(said.restart_time.into()),
            families: listed(&|_| true),
            forwarding: listed(&|f| f.forwarding),
            long_lived: long_lived(offer, &theirs.long_lived_graceful_restart, common),
        })
    }
}

fn long_lived(offer: &Offer, theirs: &[LongLivedFamily], common: FamilySet) -> BTreeMap<Family, LongLived> {
    let of_ours = |l: &LongLivedFamily| {
        let family = Family::from_wire(l.family.afi, l.family.safi)?;
        let said = Duration::from_secs(l.stale_time.into());
        let stale_time = said.min(offer.long_lived_stale_time);
        let wanted = common.contains(family) && !stale_time.is_zero();
        let forwarding = l.forwarding;
        wanted.then_some((
            family,
            LongLived {
                stale_time,
                forwarding,
            },
        ))
    };
    theirs.iter().filter_map(of_ours).collect()
}

impl Offer {
    /// What this offer comes to with a peer that has these capabilities: what it keeps of ours, whether NOTIFICATIONs are
    /// restarts, whether routes are kept for long. Times are not agreed on, only said, and change with the next session.
    pub(crate) fn terms(&self, theirs: &Capabilities) -> Option<(FamilySet, bool, bool)> {
        let said = theirs.graceful_restart.as_ref()?;
        let for_long =
            !self.long_lived_stale_time.is_zero() && !theirs.long_lived_graceful_restart.is_empty();
        Some((self.families, self.notification && said.notification, for_long))
    }

    /// The capabilities of our OPEN.
    pub(super) fn write(&self, capabilities: &mut Capabilities, now: Instant) {
        let listed = |family: Family| (family.into(), self.forwarding.contains(family));
        capabilities.graceful_restart = Some(wire::GracefulRestart {
            restarted: self.restarted_until.is_some_and(|until| now < until),
            notification: self.notification,
            restart_time: u16::try_from(self.restart_time.as_secs())
                .unwrap_or(u16::MAX)
                .min(wire::MAX_RESTART_TIME),
            families: self
                .families
                .iter()
                .map(listed)
                .map(|(family, forwarding)| GracefulFamily { family, forwarding })
                .collect(),
        });
        if self.long_lived_stale_time.is_zero() {
            return;
        }
        let seconds = u32::try_from(self.long_lived_stale_time.as_secs()).unwrap_or(u32::MAX);
        capabilities.long_lived_graceful_restart = self
            .families
            .iter()
            .map(listed)
            .map(|(family, forwarding)| LongLivedFamily {
                family,
                forwarding,
                stale_time: seconds.min(wire::MAX_LONG_LIVED_STALE_TIME),
            })
            .collect();
    }
}

/// The NOTIFICATION to end a session with, where both sides take a plain one for a restart: what ends it for good is a
/// Hard Reset with it inside (RFC 8538 §3).
pub(super) fn last_word(graceful: Option<&Graceful>, notification: Notification) -> Notification {
    let agreed = graceful.is_some_and(|g| g.notification);
    let for_good = [
        CeaseSubcode::MaxPrefixes,
        CeaseSubcode::AdministrativeShutdown,
        CeaseSubcode::PeerDeconfigured,
        CeaseSubcode::AdministrativeReset,
    ];
    let is_for_good = notification.code == 6 && for_good.iter().any(|s| s.subcode() == notification.subcode);
    if agreed && is_for_good {
        Notification::hard_reset(&notification)
    } else {
        notification
    }
}
