//! Speakers that are wrong on purpose. A simulator that finds nothing proves nothing unless it would have found something, so
//! `tests/mutants.rs` puts each of these defects into one host of a story and demands that the story fails.
//!
//! A mutant stands between a speaker and the world: it hides some of what the speaker says, or does something else than what it
//! asks for. So it looks from outside like a speaker with that defect, and needs no second speaker.

use bytes::{Buf, BytesMut};
use flatroute_bgp::policy::Filter;
use flatroute_bgp::rib::{FibPath, RouteChange, RouteView};
use flatroute_bgp::speaker::{Config, RouteQuery, Speaker};
use flatroute_bgp::types::Prefix;
use flatroute_bgp::wire::{self, Context, Message};

use super::World;
use crate::dice::Dice;
use crate::topology::{HostId, Role};

/// A defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Tells nobody that a route is gone.
    HidesWithdrawals,
    /// Tells nobody that it has said all.
    HidesEndOfRib,
    /// Loses some of what it announces.
    LosesAnnouncements,
    /// Never looks whether a timer is due.
    IgnoresTimers,
    /// Leaves in the kernel what is to go.
    KeepsRoutes,
    /// Gives the kernel one leg where there are several.
    OneLeg,
    /// Takes whatever a neighbour says, and puts it into the kernel.
    Gullible,
    /// Resets all sessions when the configuration changes.
    ResetsAll,
    /// Comes back as if it had never run before.
    ForgetsRestart,
    /// Finds an empty kernel when it comes back.
    FlushesKernel,
    /// Sweeps the kernel before it has heard anybody.
    SweepsAtOnce,
    /// Lets its kernel leave a path that says goodbye when its neighbours are told, and not a while later.
    LeavesAtOnce,
    /// Tells its neighbours of routes that its kernel does not have yet.
    TellsBeforeKernel,
    /// Needs a second longer than others for whatever it does.
    Dawdles,
    /// Does not hear the last words of a neighbour. This one all speakers have.
    DeafToFarewells,
    /// Says that it still forwards when its machine comes back without routes. This one all speakers have.
    ClaimsForwarding,
    /// Says that it has restarted, and waits for nobody before it chooses its routes.
    ChoosesAtOnce,
    /// Lets its kernel go on with the paths of a neighbour that is away, beside those of others.
    KeepsStaleLegs,
    /// Says good-bye with a NOTIFICATION that is a restart. This one all speakers have.
    SoftensHardResets,
    /// Takes a Hard Reset for a restart. This one all speakers have.
    OutlivesHardResets,
    /// Goes on talking to a neighbour that takes nothing of it.
    NeverFull,
}

/// In how many of a thousand announcements one is lost.
const LOST: u64 = 20;
/// The octets before a message's length, and before its kind, and of its header (RFC 4271 §4.1).
const LENGTH_AT: usize = 16;
const KIND_AT: usize = 18;
const HEADER: usize = 19;
/// The kind of an UPDATE.
const UPDATE: u8 = 2;
/// The type of MP_UNREACH_NLRI (RFC 4760 §4), and its length when it withdraws nothing.
const MP_UNREACH: u8 = 15;
const NOTHING: usize = 3;
/// The flag of an attribute whose length has two octets.
const EXTENDED: u8 = 0x10;

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::HidesWithdrawals,
        Self::HidesEndOfRib,
        Self::LosesAnnouncements,
        Self::IgnoresTimers,
        Self::KeepsRoutes,
        Self::OneLeg,
        Self::Gullible,
        Self::ResetsAll,
        Self::ForgetsRestart,
        Self::FlushesKernel,
        Self::SweepsAtOnce,
        Self::LeavesAtOnce,
        Self::TellsBeforeKernel,
        Self::Dawdles,
        Self::DeafToFarewells,
        Self::ClaimsForwarding,
        Self::ChoosesAtOnce,
        Self::KeepsStaleLegs,
        Self::SoftensHardResets,
        Self::OutlivesHardResets,
        Self::NeverFull,
    ];

    /// Takes out of whole messages what it does not say.
    pub(super) fn hide(self, said: &mut BytesMut, dice: &mut Dice) {
        let mut kept = BytesMut::with_capacity(said.len());
        while let Some(header) = said.get(..HEADER) {
            let length = usize::from(u16::from_be_bytes([header[LENGTH_AT], header[LENGTH_AT + 1]]));
            let message = said.split_to(length.clamp(HEADER, said.len()));
            let what = Said::of(&message);
            let is_hidden = match self {
                Self::HidesWithdrawals => what == Said::Withdrawal,
                Self::HidesEndOfRib => what == Said::EndOfRib,
                Self::LosesAnnouncements => what == Said::Announcement && dice.chance(LOST),
                Self::IgnoresTimers
                | Self::KeepsRoutes
                | Self::OneLeg
                | Self::Gullible
                | Self::ResetsAll
                | Self::ForgetsRestart
                | Self::FlushesKernel
                | Self::SweepsAtOnce
                | Self::LeavesAtOnce
                | Self::TellsBeforeKernel
                | Self::Dawdles
                | Self::DeafToFarewells
                | Self::ClaimsForwarding
                | Self::ChoosesAtOnce
                | Self::KeepsStaleLegs
                | Self::SoftensHardResets
                | Self::OutlivesHardResets
                | Self::NeverFull => false,
            };
            if !is_hidden {
                kept.extend_from_slice(&message);
            }
        }
        *said = kept;
    }

    /// Spoils what the kernel is told.
    pub(super) fn spoil(self, changes: &mut Vec<RouteChange>, speaker: &Speaker) {
        if self == Self::KeepsRoutes {
            changes.retain(|change| !change.paths.is_empty());
        }
        if self == Self::OneLeg {
            for change in changes {
                change.paths = change.paths.iter().take(1).cloned().collect();
            }
        } else if self == Self::KeepsStaleLegs {
            for change in changes.iter_mut().filter(|change| !change.paths.is_empty()) {
                let kept = stale_legs(speaker, change.prefix);
                change.paths = change.paths.iter().cloned().chain(kept).collect();
            }
        }
    }

    /// Says in each OPEN that this process has restarted and still forwards.
    pub(super) fn claim_restart(said: &mut BytesMut) {
        let context = Context::before_open();
        let Ok(Some(frame)) = wire::split(said, context.max_len()) else {
            return;
        };
        let Ok(Message::Open(mut open)) = wire::decode(&frame, &context) else {
            return;
        };
        if let Some(graceful) = open.capabilities.graceful_restart.as_mut() {
            graceful.restarted = true;
            for family in &mut graceful.families {
                family.forwarding = true;
            }
        }
        let rest = said.split_off(frame.len);
        said.clear();
        open.encode(said);
        said.unsplit(rest);
    }

    /// Spoils a configuration.
    pub(super) fn configure(self, config: &mut Config) {
        if self == Self::Gullible {
            config.install = Filter::accept_all();
            for peer in config.peers.values_mut() {
                peer.import = Filter::accept_all();
                peer.next_hops = None;
            }
        }
    }
}

/// The paths of a prefix that outlived their sessions.
fn stale_legs(speaker: &Speaker, prefix: Prefix) -> Vec<FibPath> {
    let query = RouteQuery {
        view: RouteView::Accepted,
        peer: None,
        within: Some(prefix),
        limit: usize::MAX,
    };
    let paths = speaker.routes(&query).into_iter();
    paths
        .filter(|path| path.stale && path.prefix == prefix)
        .filter_map(|path| {
            Some(FibPath {
                next_hop: path.attributes.next_hop?,
                interface: None,
                peer: path.peer?,
            })
        })
        .collect()
}

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Announcement,
    Withdrawal,
    EndOfRib,
    Other,
}

impl Said {
    /// Of a whole message, which the speaker made: so its lengths are right.
    fn of(message: &[u8]) -> Self {
        if message[KIND_AT] != UPDATE {
            return Self::Other;
        }
        let mut body = &message[HEADER..];
        let withdrawn = usize::from(body.get_u16());
        body.advance(withdrawn);
        let length = usize::from(body.get_u16());
        let announced = body.len() - length;
        let mut attributes = &body[..length];
        let mut unreachable = None;
        let mut others = 0;
        while attributes.has_remaining() {
            let (flags, kind) = (attributes.get_u8(), attributes.get_u8());
            let length = if flags & EXTENDED == 0 {
                usize::from(attributes.get_u8())
            } else {
                usize::from(attributes.get_u16())
            };
            attributes.advance(length);
            if kind == MP_UNREACH {
                unreachable = Some(length);
            } else {
                others += 1;
            }
        }
        if withdrawn > 0 || unreachable.is_some_and(|length| length > NOTHING) {
            Self::Withdrawal
        } else if announced == 0 && others == 0 {
            Self::EndOfRib
        } else {
            Self::Announcement
        }
    }
}

impl World {
    /// What is wrong with the speaker of a host: that of the first ToR has the defect, where there is one and nobody else was chosen.
    pub(super) fn mutant(&self, host: HostId) -> Option<Mutant> {
        let mutant = self.options.mutant?;
        let first = || self.topology.of_role(&[Role::Tor]).next();
        (self.afflicted.or_else(first) == Some(host)).then_some(mutant)
    }
}
