//! Situations that a set of runs must have been in. A simulator that never meets a collision proves nothing about collisions,
//! and nobody would notice: so each situation is counted where it happens, and a set of runs that misses one fails.

use std::collections::BTreeMap;
use std::fmt;

/// A situation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// A session became Established.
    Established,
    /// End-of-RIB came.
    EndOfRib,
    /// Two connections of one pair were open at once.
    SimultaneousConnect,
    /// A connection was closed for another one of the same pair (Cease/7).
    Collision,
    /// A NOTIFICATION was sent.
    NotificationSent,
    /// A NOTIFICATION was received.
    NotificationReceived,
    /// The hold timer ended a session (code 4).
    HoldTimerExpired,
    /// The send hold timer ended one (code 8).
    SendHoldTimerExpired,
    /// Octets came to a machine that no longer knew the connection.
    HalfOpen,
    /// A RST came to an open connection.
    Reset,
    /// A connection was refused: no process listened.
    Refused,
    /// What was sent was lost and sent again.
    Retransmission,
    /// A SYN was lost.
    SynLost,
    /// A message was cut inside its header.
    CutHeader,
    /// A socket took no more.
    WindowFull,
    /// A session outlived a partition.
    PartitionOutlived,
    /// A process was killed and came back.
    Restart,
    /// The routes of a neighbour that was away were kept (RFC 4724).
    RoutesRetained,
    /// Those that it did not say again went.
    StaleSwept,
    /// A process that had restarted had heard all its neighbours, and chose routes.
    DeferralEnded,
    /// It had not, and chose routes when its time was over.
    DeferralExpired,
    /// A machine lost power and came back.
    PowerLoss,
    /// A process was told to stop, and said so (Cease/2).
    Shutdown,
    /// A process stood still and went on.
    Freeze,
    /// A change of objects reset a session (Cease/6 or 3).
    ReconfiguredWithReset,
    /// A change of objects reset none.
    ReconfiguredInPlace,
    /// A session was taken down and up by its object (Cease/2 with a text).
    AdminDown,
    /// A node got other pod CIDRs.
    Renumbered,
    /// The kernel refused a route.
    KernelRefused,
    /// Another program's route stood in the way.
    ForeignRoute,
    /// Another program deleted a route of ours.
    RouteStolen,
    /// A cable was pulled.
    CarrierLost,
    /// An UPDATE had errors and the session lived on.
    MalformedUpdate,
    /// A NOTIFICATION was sent for octets that are no message, or no such one.
    HostileBytes,
    /// A neighbour sent more prefixes than it may.
    PrefixLimit,
    /// A neighbour opened a connection while its session was up.
    ConnectionBesideSession,
    /// Between two messages nothing of a session was under way, and both ends were asked how many prefixes they count.
    BothEndsCounted,
    /// A fabric was at rest without some of its links.
    WithoutLinks,
    /// A fabric was at rest without some of its hosts.
    WithoutHosts,
    /// A fabric was at rest, and somebody in it had no way to somebody.
    Unreachable,
    /// UPDATEs waited for the kernel.
    UpdatesWaited,
    /// They waited as long as they do, and went out before the kernel was ready.
    WaitedLongEnough,
    /// The last words of a session were a NOTIFICATION, and were read.
    Farewell,
    /// They were a Hard Reset, where another NOTIFICATION would have been a restart.
    HardReset,
    /// A process that had restarted wrote to its neighbours before it had chosen its routes.
    WroteUnchosen,
    /// A kernel had left the stale path of a neighbour that was away for the fresh one of another.
    StaleGaveWay,
    /// A session was up again with a machine that had lost its routes since.
    BackWithoutRoutes,
    /// A ToR was cut off while those below it said goodbye to it.
    CutOffAnnounced,
    /// One was cut off when they had withdrawn their routes.
    CutOffWithdrawn,
}

impl Mark {
    /// All of them.
    pub const ALL: [Self; 49] = [
        Self::Established,
        Self::EndOfRib,
        Self::SimultaneousConnect,
        Self::Collision,
        Self::NotificationSent,
        Self::NotificationReceived,
        Self::HoldTimerExpired,
        Self::SendHoldTimerExpired,
        Self::HalfOpen,
        Self::Reset,
        Self::Refused,
        Self::Retransmission,
        Self::SynLost,
        Self::CutHeader,
        Self::WindowFull,
        Self::PartitionOutlived,
        Self::Restart,
        Self::RoutesRetained,
        Self::StaleSwept,
        Self::DeferralEnded,
        Self::DeferralExpired,
        Self::PowerLoss,
        Self::Shutdown,
        Self::Freeze,
        Self::ReconfiguredWithReset,
        Self::ReconfiguredInPlace,
        Self::AdminDown,
        Self::Renumbered,
        Self::KernelRefused,
        Self::ForeignRoute,
        Self::RouteStolen,
        Self::CarrierLost,
        Self::MalformedUpdate,
        Self::HostileBytes,
        Self::PrefixLimit,
        Self::ConnectionBesideSession,
        Self::BothEndsCounted,
        Self::WithoutLinks,
        Self::WithoutHosts,
        Self::Unreachable,
        Self::UpdatesWaited,
        Self::WaitedLongEnough,
        Self::Farewell,
        Self::HardReset,
        Self::WroteUnchosen,
        Self::StaleGaveWay,
        Self::BackWithoutRoutes,
        Self::CutOffAnnounced,
        Self::CutOffWithdrawn,
    ];

    /// Those that only a drain leads to.
    pub const OF_DRAINS: [Self; 2] = [Self::CutOffAnnounced, Self::CutOffWithdrawn];
}

/// How often each situation was met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks(BTreeMap<Mark, u64>);

impl Marks {
    /// It was met.
    pub fn reach(&mut self, mark: Mark) {
        *self.0.entry(mark).or_default() += 1;
    }

    /// How often it was met.
    #[must_use]
    pub fn count(&self, mark: Mark) -> u64 {
        self.0.get(&mark).copied().unwrap_or(0)
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        for (mark, count) in &other.0 {
            *self.0.entry(*mark).or_default() += count;
        }
    }

    /// The situations of these that were never met.
    #[must_use]
    pub fn missing(&self, of: &[Mark]) -> Vec<Mark> {
        of.iter().copied().filter(|mark| self.count(*mark) == 0).collect()
    }
}

impl fmt::Display for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mark in Mark::ALL {
            writeln!(f, "{:>10}  {mark:?}", self.count(mark))?;
        }
        Ok(())
    }
}
