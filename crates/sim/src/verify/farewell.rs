//! Last words. A NOTIFICATION ends a session and its routes (RFC 4724 §4.2); where both ends take one for a restart, a Hard Reset
//! does (RFC 8538), and whoever goes for good says one.

use crate::tcp::{Key, Side};
use crate::topology::{HostId, LinkId};
use crate::verify::neighbour;
use crate::world::World;

/// Code and subcode of Cease, Administrative Shutdown (RFC 4486).
pub const SHUTDOWN: (u8, u8) = (6, 2);
/// Code and subcode of Cease, Hard Reset (RFC 8538 §3).
pub const HARD_RESET: (u8, u8) = (6, 9);

/// A session that somebody is about to end for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Its connection.
    pub key: Key,
    /// Whose end it is.
    pub side: Side,
    /// Whether both ends take a NOTIFICATION for a restart.
    pub agreed: bool,
}

/// The sessions that a host has.
#[must_use]
pub fn endings(world: &World, host: HostId) -> Vec<Ending> {
    let machine = &world.machines[host];
    let peers = machine.speaker.as_ref().map(|speaker| speaker.peers(world.now));
    let ending = |negotiated: flatroute_bgp::peer::Negotiated| {
        let (key, side) = *machine.conns.get(&negotiated.conn)?;
        let agreed = negotiated.graceful_restart.is_some_and(|g| g.notification);
        Some(Ending { key, side, agreed })
    };
    let sessions = peers.into_iter().flatten().filter_map(|peer| peer.negotiated);
    sessions.filter_map(ending).collect()
}

/// Who takes leave says so on each session that it had, and as a Hard Reset where another NOTIFICATION would be a restart.
///
/// # Errors
/// The first session of which that is not so, in words.
pub fn leave(world: &World, host: HostId, endings: &[Ending]) -> Result<(), String> {
    for ending in endings {
        let Some(conn) = world.conns.get(ending.key) else {
            continue;
        };
        let expected = if ending.agreed { HARD_RESET } else { SHUTDOWN };
        let said = conn.farewell[ending.side.at()];
        if said != Some(expected) {
            let (name, other) = (
                world.name(host),
                world.name(conn.ends[ending.side.other().at()].host),
            );
            return Err(format!(
                "{name} takes leave of {other} with {said:?} and not with {expected:?}"
            ));
        }
    }
    Ok(())
}

/// Nothing is kept of a session that was ended for good.
///
/// # Errors
/// That something is, in words.
pub fn forgotten(world: &World, host: HostId, link: LinkId) -> Result<(), String> {
    let speaker = world.machines[host].speaker.as_ref();
    let peer = speaker
        .zip(neighbour(world, host, link))
        .and_then(|(speaker, name)| speaker.peer(name, world.now));
    let keeps = peer.is_some_and(|peer| {
        let is_away = peer.negotiated.is_none();
        peer.retained.is_some() || (is_away && peer.prefixes.iter().any(|p| p.counts.received > 0))
    });
    if !keeps {
        return Ok(());
    }
    let [a, b] = world.topology.links[link].ends.map(|host| world.name(host));
    let name = world.name(host);
    Err(format!(
        "{name} keeps routes of the session {a}–{b}, which ended with a NOTIFICATION"
    ))
}
