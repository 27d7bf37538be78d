//! Octets that nobody takes. A session whose neighbour takes nothing ends after the send hold time (RFC 9687), whatever the neighbour
//! goes on to say.

use std::time::Duration;

use crate::tcp::{Key, Side, Stage};
use crate::verify::neighbour;
use crate::world::World;

/// How much later than the send hold time a session may end: a turn of a busy machine.
const LATE: Duration = Duration::from_secs(1);

/// An end of a connection that has a session does not wait longer than it may for its octets to be taken.
///
/// # Errors
/// That it does, in words.
pub fn waiting(world: &World, key: Key, side: Side) -> Result<(), String> {
    let Some(conn) = world.conns.get(key) else {
        return Ok(());
    };
    let (end, other) = (&conn.ends[side.at()], &conn.ends[side.other().at()]);
    let Some(since) = end.waiting_since.filter(|_| end.stage == Stage::Open) else {
        return Ok(());
    };
    let machine = &world.machines[end.host];
    let session = machine
        .speaker
        .as_ref()
        .zip(neighbour(world, end.host, conn.link))
        .and_then(|(speaker, name)| speaker.peer(name, world.now)?.negotiated)
        .filter(|negotiated| Some(negotiated.conn) == end.conn && !negotiated.send_hold_time.is_zero());
    let Some(session) = session else {
        return Ok(());
    };
    // A process that stands still has no timers.
    let due = (since + session.send_hold_time).max(machine.frozen_until) + LATE;
    if world.now < due {
        return Ok(());
    }
    let (name, other) = (world.name(end.host), world.name(other.host));
    let waited = world.now.since(since);
    Err(format!(
        "{name} has waited {waited:?} for {other} to take what it sends, and keeps the session"
    ))
}
