//! The two slots of a peer, looked at from outside: which sessions there are, how far each has come, and which one
//! a connection belongs to. Nothing here changes anything.

use super::Peer;
use super::collision::{self, Side, Standing};
use crate::session::{Session, State};
use crate::types::ConnId;

impl Peer {
    /// Whether this connection is open and no OPEN of the peer has been read on it.
    #[must_use]
    pub fn awaits_open(&self, conn: ConnId) -> bool {
        let parked = self.parked.as_ref().is_some_and(|p| p.conn == conn);
        parked
            || self
                .sessions()
                .any(|s| s.conn() == conn && s.state() == State::OpenSent && !s.is_held())
    }

    /// The connection that the identifiers prefer, once an OPEN has told us the peer's.
    pub(super) fn preferred(&self) -> Option<Side> {
        let local = (self.settings.router_id, self.settings.local_asn);
        self.sessions()
            .find_map(Session::negotiated)
            .map(|n| collision::preferred(local, (n.peer_router_id, n.peer_asn)))
    }

    pub(super) fn standing(&self, side: Side) -> Standing {
        match self.session(side) {
            None => Standing::Empty,
            Some(session) if session.is_held() => Standing::Held,
            Some(session) => match session.state() {
                State::Idle | State::Active => Standing::Empty,
                State::Connect => Standing::Connecting,
                State::OpenSent => Standing::OpenSent,
                State::OpenConfirm | State::Established => Standing::Promised,
            },
        }
    }

    pub(super) fn session(&self, side: Side) -> Option<&Session> {
        match side {
            Side::Dialled => self.dialled.as_ref(),
            Side::Accepted => self.accepted.as_ref(),
        }
    }

    pub(super) fn sessions(&self) -> impl Iterator<Item = &Session> {
        Side::BOTH.into_iter().filter_map(|side| self.session(side))
    }

    pub(super) fn slot(&mut self, side: Side) -> &mut Option<Session> {
        match side {
            Side::Dialled => &mut self.dialled,
            Side::Accepted => &mut self.accepted,
        }
    }

    pub(super) fn side_of(&self, conn: ConnId) -> Option<Side> {
        Side::BOTH
            .into_iter()
            .find(|side| self.session(*side).is_some_and(|s| s.conn() == conn))
    }

    pub(super) fn furthest(&self) -> State {
        let base = if self.started { State::Active } else { State::Idle };
        self.sessions().map(Session::state).fold(base, State::max)
    }
}
