//! What a process that has restarted may not say yet (RFC 4724 §4.1). It is judged by the octets that it writes, and by what its
//! neighbours have told it; its own word that it has chosen counts for nothing.

use flatroute_bgp::speaker::{
    AdminState, PeerSummary, RESTARTING_PEER_PATIENCE, SELECTION_DEFERRAL, SILENCE,
};
use flatroute_bgp::types::ConnId;
use flatroute_bgp::wire::{self, Message};

use crate::topology::{HostId, Role};
use crate::world::World;

/// Whether a process has heard all whom it waits for, or has waited for as long as it may.
#[must_use]
pub fn may_choose(world: &World, host: HostId) -> bool {
    let machine = &world.machines[host];
    if machine.started + SELECTION_DEFERRAL <= world.now {
        return true;
    }
    let (Some(config), Some(speaker)) = (&machine.config, &machine.speaker) else {
        return false;
    };
    let awaited = config.peers.iter().filter(|(_, peer)| match peer.admin_state {
        AdminState::Up | AdminState::Held(_) => true,
        AdminState::Down(_) => false,
    });
    let mut summaries = awaited.map(|(name, _)| speaker.peer(name, world.now));
    summaries.all(|peer| peer.is_some_and(|peer| is_heard(&peer)))
}

/// With End-of-RIB of each family; who does not say it, or waits for ours, when it has been silent for a while.
fn is_heard(peer: &PeerSummary) -> bool {
    let Some(negotiated) = &peer.negotiated else {
        return false;
    };
    let graceful = negotiated.graceful_restart.as_ref();
    negotiated.families.iter().all(|family| {
        let ended = peer.prefixes.iter().any(|p| p.family == family && p.end_of_rib);
        ended
            || match graceful.filter(|g| g.families.contains(family)) {
                Some(graceful) => graceful.restarted && peer.silent >= RESTARTING_PEER_PATIENCE,
                None => peer.silent >= SILENCE,
            }
    })
}

/// Nothing that a host which has not chosen yet is about to write says more than it may: no route that it has learned, but to a
/// neighbour that has restarted too; and no End-of-RIB, but to a neighbour that is told no such route ever.
///
/// # Errors
/// The first message that does, in words.
pub fn early(world: &World, host: HostId, conn: ConnId, octets: &[u8]) -> Result<(), String> {
    let machine = &world.machines[host];
    if !machine.unchosen || !world.topology.hosts[host].role.relays() {
        return Ok(());
    }
    let peers = machine.speaker.as_ref().map(|speaker| speaker.peers(world.now));
    let mut peers = peers.into_iter().flatten();
    let is_this = |peer: &PeerSummary| peer.negotiated.as_ref().is_some_and(|n| n.conn == conn);
    let Some(peer) = peers.find(is_this) else {
        return Ok(());
    };
    let Some(negotiated) = &peer.negotiated else {
        return Ok(());
    };
    let context = &negotiated.context;
    let restarted = negotiated.graceful_restart.as_ref().is_some_and(|g| g.restarted);
    let remote = world
        .topology
        .neighbour(host, peer.address)
        .map(|port| port.remote);
    let hears = remote.is_some_and(|remote| world.topology.hosts[remote].role != Role::Rogue);
    let (name, neighbour) = (world.name(host), &peer.name);
    let mut rest = octets;
    while let Ok(Some(frame)) = wire::split(rest, context.max_len()) {
        rest = rest.get(frame.len..).unwrap_or_default();
        let Ok(Message::Update(update)) = wire::decode(&frame, context) else {
            continue;
        };
        if let Some(family) = update.end_of_rib.filter(|_| hears) {
            return Err(format!(
                "{name} says End-of-RIB of {family} to {neighbour} before it may choose its routes"
            ));
        }
        let mut told = update
            .announced
            .iter()
            .flat_map(|announcement| &announcement.prefixes);
        if let Some(prefix) = told.next().filter(|_| !restarted) {
            return Err(format!(
                "{name} tells {neighbour} of {prefix} before it may choose its routes"
            ));
        }
    }
    Ok(())
}
