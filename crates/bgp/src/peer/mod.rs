//! One configured neighbour: it wants one session, and has up to two connections on the way to it.
//!
//! ```text
//!          Start                    Dial                 the further of both slots
//!   Idle ────────► Active ─────────────────► Connect ─────► OpenSent ─► OpenConfirm ─► Established
//!    ▲               ▲  │ Accepted                             ▲  │          │              │
//!    │ Stop          │  └──────────────────────────────────────┘  │          │              │
//!    └── any         └── a session ended, the retry timer runs ◄──┴──────────┴──────────────┘
//!
//!            ┌──────────────── Peer ────────────────┐
//!            │  slot Dialled        slot Accepted   │     each slot: nothing, or one `Session`
//!            │  [ Session ]          [ Session ]    │     retry timer, back-off, patience
//!            └──────────────────────────────────────┘
//! ```
//!
//! **Two slots** hold the connection that we dialled and the one that the peer dialled. Each is a session that
//! knows nothing of the other; all there is to a collision is which slot is emptied, and `collision` says so
//! with the reason why both sides always come to the same answer. At most one slot is ever in OpenConfirm or
//! Established, and then the other one is empty. A connection that comes in while one is promised is refused
//! with Cease/7 (RFC 4271 §6.8: one in Established closes the new one), in Established after a short wait in
//! `parking`; but where graceful restart is agreed on, and once its OPEN is here, it takes the place of the session, which
//! the peer has forgotten (RFC 4724 §5). One that comes in while an earlier one of the same peer is still in OpenSent replaces it: a peer
//! that dials again has given up the first.
//!
//! **Active** means that no connection is there: the retry timer runs, or nothing but waiting is allowed. The
//! RFC would sit in Idle after an error and refuse the peer until IdleHoldTimer ends; here the peer may come
//! back at once, and only our own attempts are held back, by doubling, jittered pauses. They are forgiven when
//! a session was Established for [`STABLE_AFTER`]. While the peer's connection is still in OpenSent our own
//! attempt is made when its time comes, so that a silent connection cannot keep us waiting for four minutes.
//!
//! **Outputs come in order.** [`Output::Down`] of one session precedes everything of its successor, and
//! [`Output::Update`] comes only between Established and Down. [`Output::Close`] may be followed by what
//! `poll_transmit` still has for that connection: the NOTIFICATION that says why.

mod backoff;
mod closing;
mod collision;
mod contract;
mod parking;
mod penalty;
mod slots;
mod status;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::BytesMut;

pub use contract::{Input, Output};
pub use parking::{COLLISION_TIME, PARKING_TIME};
pub use penalty::FORGIVEN_AFTER;
pub use status::{Direction, DownReason, LastError, PeerStatus};

pub use crate::session::{Negotiated, State};

use crate::session::{self, ConnectMode, End, Jitter, Offer, Outbox, Session, Settings};
use crate::types::{ConnId, Instant};
use crate::wire::{CeaseSubcode, Notification};
use backoff::Backoff;
use closing::{collided, is_error};
use collision::{Side, Standing, Verdict};
use parking::Parked;
use penalty::Penalty;

/// A session that was Established this long proves that the peer is well: failures before it are forgiven.
pub const STABLE_AFTER: Duration = Duration::from_secs(60);

/// How long a connection with an OPEN waits for the preferred one to get its own.
pub const COLLISION_PATIENCE: Duration = Duration::from_secs(5);

/// How many connections of one peer are held at once, whatever it does: the one that we dialled, the newest that it
/// opened, and one that waits in the parking place.
pub const MAX_CONNECTIONS: usize = 3;

/// A configured neighbour's machine. See the module.
#[derive(Debug)]
pub struct Peer {
    settings: Settings,
    /// What the next OPEN says of graceful restart.
    offer: Option<Offer>,
    started: bool,
    dialled: Option<Session>,
    accepted: Option<Session>,
    parked: Option<Parked>,
    /// Last words of connections that are being closed.
    drains: VecDeque<(ConnId, Outbox)>,
    next_conn: u64,
    /// When we dial next.
    dial_at: Option<Instant>,
    /// When a held connection stops waiting for the preferred one.
    patience_ends: Option<Instant>,
    backoff: Backoff,
    /// The pauses after a reset by the speaker, which a session that stood for a minute does not forgive.
    resets: Backoff,
    penalty: Option<Penalty>,
    jitter: Jitter,
    state: State,
    since: Instant,
    /// The connection that is Established, and since when.
    established: Option<(ConnId, Instant)>,
    flaps: u64,
    last_error: Option<LastError>,
    outputs: VecDeque<Output>,
}

impl Peer {
    /// A peer that waits for [`Input::Start`]. `seed` feeds the jitter. Connections that it dials are numbered
    /// from `conn_base` upwards, so peers of one speaker need bases that are far apart.
    #[must_use]
    pub fn new(settings: Settings, seed: u64, conn_base: u64, now: Instant) -> Self {
        Self {
            settings,
            offer: None,
            started: false,
            dialled: None,
            accepted: None,
            parked: None,
            drains: VecDeque::new(),
            next_conn: conn_base,
            dial_at: None,
            patience_ends: None,
            backoff: Backoff::default(),
            resets: Backoff::default(),
            penalty: None,
            jitter: Jitter::new(seed),
            state: State::Idle,
            since: now,
            established: None,
            flaps: 0,
            last_error: None,
            outputs: VecDeque::new(),
        }
    }

    /// Takes one fact. Drain `poll_output` and `poll_transmit` afterwards.
    pub fn handle(&mut self, input: Input<'_>, now: Instant) {
        match input {
            Input::Start => self.start(now, "started"),
            Input::Stop { subcode, text } => self.stop(&Notification::cease(subcode, &text), now),
            Input::Connected { conn } => self.feed_conn(conn, session::Input::Connected, now),
            Input::ConnectFailed { conn, error } => {
                self.feed_conn(conn, session::Input::ConnectFailed(error), now);
            }
            Input::Accepted { conn } => self.accept(conn, now),
            Input::Received { conn, bytes } => self.receive(conn, bytes, now),
            Input::Closed { conn, error } => {
                self.drains.retain(|(c, _)| *c != conn);
                self.parked.take_if(|p| p.conn == conn);
                self.feed_conn(conn, session::Input::Closed(error), now);
            }
            Input::Timeout => self.timeout(now),
            Input::RequestRefresh(family) => {
                if let Some((conn, _)) = self.established {
                    self.feed_conn(conn, session::Input::RequestRefresh(family), now);
                }
            }
            Input::Reset { notification } => self.reset(notification, now),
        }
        self.unpark(now);
    }

    /// The next thing to say.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Timeout`] is wanted.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let sessions = self.sessions().filter_map(Session::poll_timeout);
        let parked = self.parked.as_ref().map(|p| p.until);
        sessions
            .chain(self.dial_at)
            .chain(self.patience_ends)
            .chain(parked)
            .min()
    }

    /// Appends the control messages that wait for `conn`; whether there were any. Whole messages: a driver that
    /// sends UPDATEs on the same connection puts these first. Call it only when all that was pulled before has been
    /// taken by the socket, and once more when all of this has: the send hold timer (RFC 9687) lives on it.
    pub fn poll_transmit(&mut self, conn: ConnId, out: &mut BytesMut, now: Instant) -> bool {
        if let Some(at) = self.drains.iter().position(|(c, _)| *c == conn) {
            return self
                .drains
                .remove(at)
                .is_some_and(|(_, mut outbox)| outbox.drain(out));
        }
        match self.side_of(conn) {
            Some(side) => self
                .slot(side)
                .as_mut()
                .is_some_and(|s| s.poll_transmit(out, now)),
            None => false,
        }
    }

    /// UPDATEs were pulled for `conn`, behind what `poll_transmit` gave: the send hold timer waits for them too.
    pub fn updates_pulled(&mut self, conn: ConnId, now: Instant) {
        if let Some(session) = self.side_of(conn).and_then(|side| self.slot(side).as_mut()) {
            session.updates_pulled(now);
        }
    }

    /// Takes new settings. Other than the present ones, they end the session with Cease/6 (RFC 4486) and start
    /// it again at once; equal ones change nothing.
    pub fn set_settings(&mut self, settings: Settings, now: Instant) {
        if settings == self.settings {
            return;
        }
        self.settings = settings;
        self.renegotiate(now);
    }

    /// Ends the session with Cease/6 (RFC 4486) and starts it again at once.
    pub fn renegotiate(&mut self, now: Instant) {
        if self.started {
            let notification = Notification::cease(CeaseSubcode::OtherConfigurationChange, "");
            self.stop(&notification, now);
            self.start(now, "started again with new settings");
        }
    }

    /// What OPENs from now on say of graceful restart; until this is called, nothing. A session that stands stays as it
    /// was agreed on.
    pub fn set_offer(&mut self, offer: Option<Offer>) {
        self.offer = offer;
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The state of the further of both connections.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// All that can be said of it now.
    #[must_use]
    pub fn status(&self) -> PeerStatus {
        let negotiated = self.established.and_then(|(conn, _)| {
            self.sessions()
                .find(|s| s.conn() == conn)
                .and_then(|s| s.negotiated().cloned())
        });
        PeerStatus {
            state: self.state,
            since: self.since,
            flaps: self.flaps,
            negotiated,
            last_error: self.last_error.clone(),
            next_attempt: self.dial_at,
        }
    }

    fn start(&mut self, now: Instant, cause: &str) {
        if self.started {
            return;
        }
        self.started = true;
        self.backoff.reset();
        self.resets.reset();
        self.penalty = None;
        self.transition(State::Active, cause.to_owned(), now);
        match self.settings.connect_mode {
            ConnectMode::Active | ConnectMode::Both => self.dial(now),
            ConnectMode::Passive => {}
        }
    }

    fn stop(&mut self, notification: &Notification, now: Instant) {
        if !self.started {
            return;
        }
        self.started = false;
        self.dial_at = None;
        self.refuse_parked();
        for side in Side::BOTH {
            self.feed(side, session::Input::Stop(notification.clone()), now);
        }
        self.transition(State::Idle, format!("stopped: {notification}"), now);
    }

    fn dial(&mut self, now: Instant) {
        let conn = ConnId::Dialled(self.next_conn);
        self.next_conn = self.next_conn.wrapping_add(1);
        let seed = self.jitter.draw();
        let (settings, offer) = (self.settings.clone(), self.offer.clone());
        self.dialled = Some(Session::dialled(conn, settings, offer, seed, now));
        self.dial_at = None;
        self.outputs.push_back(Output::Dial(conn));
        self.transition(self.furthest(), "dialling".to_owned(), now);
    }

    fn accept(&mut self, conn: ConnId, now: Instant) {
        let welcome = match self.settings.connect_mode {
            ConnectMode::Active => false,
            ConnectMode::Passive | ConnectMode::Both => self.started,
        };
        let promised = Side::BOTH
            .into_iter()
            .any(|side| self.standing(side) == Standing::Promised);
        if !welcome {
            self.refuse(conn, Notification::cease(CeaseSubcode::ConnectionRejected, ""));
        } else if let Some(penalty) = self.penalty.as_ref().filter(|p| p.holds(now)) {
            self.refuse(conn, penalty.notification.clone());
        } else if self.established.is_some() {
            self.refuse_parked();
            self.parked = Some(Parked::new(conn, now));
        } else if promised {
            self.refuse(conn, collided());
        } else {
            self.feed(Side::Accepted, session::Input::Stop(collided()), now);
            let seed = self.jitter.draw();
            let (settings, offer) = (self.settings.clone(), self.offer.clone());
            self.accepted = Some(Session::accepted(conn, settings, offer, seed, now));
            self.transition(self.furthest(), "the peer connected".to_owned(), now);
            self.settle(now);
        }
    }

    /// Lets a parked connection in, once the session that it waited for is over.
    fn unpark(&mut self, now: Instant) {
        if self.established.is_none()
            && let Some(parked) = self.parked.take()
        {
            let conn = parked.conn;
            self.accept(conn, now);
            self.feed_conn(conn, session::Input::Received(&parked.into_bytes()), now);
        }
    }

    fn receive(&mut self, conn: ConnId, bytes: &[u8], now: Instant) {
        match self.parked.as_mut().filter(|p| p.conn == conn) {
            Some(parked) => {
                if parked.keep(bytes) {
                    self.supersede(now);
                } else {
                    self.refuse_parked();
                }
            }
            None => self.feed_conn(conn, session::Input::Received(bytes), now),
        }
    }

    fn timeout(&mut self, now: Instant) {
        for side in Side::BOTH {
            self.feed(side, session::Input::Timeout, now);
        }
        self.settle(now);
        if self.parked.as_ref().is_some_and(|p| p.until <= now) {
            self.refuse_parked();
        }
        if self.dial_at.is_some_and(|at| at <= now) {
            self.dial(now);
        }
    }

    fn feed_conn(&mut self, conn: ConnId, input: session::Input<'_>, now: Instant) {
        if let Some(side) = self.side_of(conn) {
            self.feed(side, input, now);
            self.settle(now);
        }
    }

    /// Hands an input to the session of a slot, if there is one, and passes on what it says.
    fn feed(&mut self, side: Side, input: session::Input<'_>, now: Instant) {
        if let Some(session) = self.slot(side) {
            session.handle(input, now);
        }
        while let Some(output) = self.slot(side).as_mut().and_then(Session::poll_output) {
            match output {
                // `settle` sees it from the session's state.
                session::Output::Opened => {}
                session::Output::Established(negotiated) => {
                    self.established = Some((negotiated.conn, now));
                    self.transition(State::Established, established_cause(&negotiated), now);
                    self.outputs.push_back(Output::Established {
                        conn: negotiated.conn,
                        negotiated: *negotiated,
                    });
                }
                session::Output::Offending(offence) => self.outputs.push_back(Output::Offending(offence)),
                session::Output::Update(update) => self.outputs.push_back(Output::Update(update)),
                session::Output::Refresh(family, subtype) => {
                    self.outputs.push_back(Output::Refresh(family, subtype));
                }
                session::Output::Ended(end) => self.ended(side, &end, now),
            }
        }
        let state = self.furthest();
        self.transition(state, progress(state).to_owned(), now);
    }

    /// Empties a slot whose session has ended.
    fn ended(&mut self, side: Side, end: &End, now: Instant) {
        let Some(session) = self.slot(side).take() else {
            return;
        };
        let conn = session.conn();
        if end.leaves_connection() {
            self.close(conn, session.into_outbox());
        }
        if let Some((_, since)) = self.established.take_if(|(c, _)| *c == conn) {
            self.flaps = self.flaps.saturating_add(1);
            if now.since(since) >= STABLE_AFTER {
                self.backoff.reset();
            }
            self.outputs.push_back(Output::Down {
                reason: DownReason::new(end),
            });
        }
        self.notified(end);
        if is_error(end) {
            self.last_error = Some(LastError::new(end, now));
        }
        self.schedule_dial(now);
        self.transition(self.furthest(), end.to_string(), now);
    }

    /// Sees to it that the next attempt has its time, where one is to be made.
    fn schedule_dial(&mut self, now: Instant) {
        let dials = match self.settings.connect_mode {
            ConnectMode::Active | ConnectMode::Both => true,
            ConnectMode::Passive => false,
        };
        let promised = self.standing(Side::Accepted) == Standing::Promised;
        if self.started && dials && !promised && self.dialled.is_none() && self.dial_at.is_none() {
            let base = self.settings.connect_retry_time;
            self.dial_at = Some(now + self.backoff.after_failure(base, &mut self.jitter));
        }
    }

    /// Confirms the connection that shall become the session, as soon as that is clear, and closes the other.
    fn settle(&mut self, now: Instant) {
        let impatient = self.patience_ends.is_some_and(|at| at <= now);
        let verdict = match self.preferred() {
            Some(preferred) => collision::resolve(
                self.standing(Side::Dialled),
                self.standing(Side::Accepted),
                preferred,
                impatient,
            ),
            None => Verdict::Wait,
        };
        match verdict {
            Verdict::Wait => self.patience_ends = None,
            Verdict::WaitForPreferred => {
                self.patience_ends.get_or_insert(now + COLLISION_PATIENCE);
            }
            Verdict::Keep(side) => {
                self.patience_ends = None;
                self.feed(side, session::Input::Confirm, now);
                self.dial_at = None;
                self.feed(side.other(), session::Input::Stop(collided()), now);
                // What came while the connection was held.
                self.feed(side, session::Input::Received(&[]), now);
            }
        }
    }

    fn transition(&mut self, to: State, cause: String, now: Instant) {
        if to == self.state {
            return;
        }
        let from = std::mem::replace(&mut self.state, to);
        self.since = now;
        self.outputs.push_back(Output::Transition { from, to, cause });
    }
}

/// Why a state was reached, for progress that no single event explains better.
fn progress(state: State) -> &'static str {
    match state {
        State::Idle => "nothing is wanted",
        State::Active => "waiting for a connection",
        State::Connect => "waiting for TCP",
        State::OpenSent => "TCP is connected, our OPEN is out",
        State::OpenConfirm => "the peer's OPEN is good, our KEEPALIVE is out",
        State::Established => "the session is up",
    }
}

fn established_cause(n: &Negotiated) -> String {
    format!("the session with {} of AS {} is up", n.peer_router_id, n.peer_asn)
}

#[cfg(test)]
mod table_tests;
#[cfg(test)]
mod tests;
