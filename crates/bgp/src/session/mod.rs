//! One TCP connection's conversation: the finite state machine of RFC 4271 §8 from the first SYN to the last
//! NOTIFICATION. A [`Session`] lives as long as its connection and is never used again.
//!
//! ```text
//!            Connected            good OPEN             Confirm            KEEPALIVE
//! Connecting ─────────► OpenSent ───────────► OpenHeld ────────► OpenConfirm ─────────► Established
//! (Connect)            says OPEN             (OpenSent)         says KEEPALIVE          UPDATEs flow
//!      │                   │                     │                    │                      │
//!      └───────────────────┴─────────────────────┴─────────┬──────────┴──────────────────────┘
//!            an error, a timer, Stop, the end of TCP        ▼
//!                                                        Ended (Idle)
//! ```
//!
//! Two things differ in shape from the RFC, none in what the peer sees. **Idle and Active are the peer's.** They
//! mean that there is no connection, so they are states of `peer`, which owns the pauses between connections; a
//! session that fails ends. **OpenSent has two halves.** When the peer's OPEN has come and is good, the session
//! stops reading and says [`Output::Opened`]; the peer looks at its other connection (RFC 4271 §6.8) and says
//! [`Input::Confirm`] or [`Input::Stop`]. Until then nothing was promised to the other side, and this is what
//! makes collisions safe (see `peer`). What arrives meanwhile waits, at most one message's length of it.
//!
//! Time is an argument. `poll_timeout` says when [`Input::Timeout`] is wanted next; a call before that does no
//! harm. The hold timer is large (4 minutes) until hold times are negotiated, and stays so in OpenConfirm when
//! none was wanted. It is restarted by KEEPALIVE and UPDATE, and by nothing else (RFC 4271 §4.2). KEEPALIVEs go
//! out on their own clock, jittered by −25…0 % (§10), also when UPDATEs were just sent.
//!
//! The send hold timer (RFC 9687) needs no word of its own from the driver. A driver pulls only when the socket has
//! taken all that was pulled before, so each pull is progress: one that writes something starts the timer anew, one
//! that writes nothing stops it, for then nothing waits. It runs out only when a driver has had no room for so long.
//!
//! What waits to be sent is not a queue but at most one message of each kind (`outbox`); UPDATEs are not its
//! business, the speaker writes them itself between [`Output::Established`] and [`Output::Ended`].
//!
//! The transitions are in `fsm`, one function a state, one arm for every input.

mod end;
mod fsm;
mod graceful;
mod jitter;
mod offence;
mod open;
mod outbox;
mod settings;
mod timers;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Buf, BytesMut};

pub use end::{End, MAX_MESSAGE_SHOWN};
pub use graceful::{Graceful, LongLived, Offer};
pub(crate) use jitter::Jitter;
pub use offence::{MAX_ERRORS_SHOWN, MAX_PREFIXES_SHOWN, Offence};
pub(crate) use open::is_welcome;
pub(crate) use outbox::Outbox;
pub use settings::{ConnectMode, PeerAsn, Settings};

use crate::types::{Asn, ConnId, Family, FamilySet, Instant, RouterId};
use crate::wire::{self, Capabilities, Context, Notification, RefreshSubtype, RouteRefresh, Update};
use fsm::{Event, Phase};
use timers::{Timer, Timers};

/// The hold timer before hold times are negotiated (RFC 4271 §8.2.2 suggests 4 minutes).
pub const LARGE_HOLD: Duration = Duration::from_secs(240);

/// How long a connection that we accepted may take to say OPEN. The peer dialled, so it has something to say; who
/// only holds connections open is not waited for as long as RFC 4271 would.
pub const OPEN_WAIT: Duration = Duration::from_secs(60);

/// How long TCP may take to connect, at least; a longer connect-retry time gives it that long.
pub const CONNECT_TIME: Duration = Duration::from_secs(10);

/// The state of a session, or of a peer, in the words of RFC 4271 §8.2.2. Ordered by progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Nothing is wanted, or nothing is left.
    Idle,
    /// Waiting for the peer to connect, or for the next attempt of our own.
    Active,
    /// Waiting for TCP to connect.
    Connect,
    /// Our OPEN is out; the peer's is not yet in, or not yet answered.
    OpenSent,
    /// Waiting for the KEEPALIVE that answers our OPEN.
    OpenConfirm,
    /// UPDATEs may flow.
    Established,
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Idle => "Idle",
            Self::Active => "Active",
            Self::Connect => "Connect",
            Self::OpenSent => "OpenSent",
            Self::OpenConfirm => "OpenConfirm",
            Self::Established => "Established",
        })
    }
}

/// What two OPENs agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The connection.
    pub conn: ConnId,
    /// The peer's AS.
    pub peer_asn: Asn,
    /// The peer's BGP identifier.
    pub peer_router_id: RouterId,
    /// The smaller of both hold times; zero: the session is not watched.
    pub hold_time: Duration,
    /// The pause between our KEEPALIVEs, before jitter; zero: there are none.
    pub keepalive: Duration,
    /// How long what we send may wait for the peer to take any of it (RFC 9687); zero: for ever.
    pub send_hold_time: Duration,
    /// The families that both sides want.
    pub families: FamilySet,
    /// How messages are read and written from now on.
    pub context: Context,
    /// Whether the peer understands ROUTE-REFRESH.
    pub route_refresh: bool,
    /// Whether routes that are sent again stand between BoRR and EoRR (RFC 7313).
    pub enhanced_route_refresh: bool,
    /// How the peer's routes are kept when the session is lost; none: they are not.
    pub graceful_restart: Option<Graceful>,
    /// All that the peer advertised.
    pub capabilities: Capabilities,
}

/// One fact for a session.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// TCP is connected.
    Connected,
    /// TCP could not be connected.
    ConnectFailed(String),
    /// Octets from the peer, cut anywhere.
    Received(&'a [u8]),
    /// TCP is gone: the peer closed, or an error.
    Closed(Option<String>),
    /// `now` may have reached [`Session::poll_timeout`].
    Timeout,
    /// The answer to [`Output::Opened`]: this connection shall become the session.
    Confirm,
    /// End it, and tell the peer why.
    Stop(Notification),
    /// Ask the peer to send its routes of a family again.
    RequestRefresh(Family),
    /// The peer has opened another connection and so has forgotten this one, which is Established: end it without a word
    /// (RFC 4724 §5).
    Supersede,
}

/// What a session says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "an UPDATE is handed on, not kept: a box would cost an allocation each"
)]
pub enum Output {
    /// The peer's OPEN is good; it waits for [`Input::Confirm`]. Send it, then `Received` with no octets, so that
    /// what came meanwhile is read.
    Opened,
    /// The session is up.
    Established(Box<Negotiated>),
    /// The UPDATE that comes next had errors, and the session lives on (RFC 7606).
    Offending(Box<Offence>),
    /// An UPDATE of an established session.
    Update(Update),
    /// What the peer says of all routes of a negotiated family: that it wants ours again, or, only when enhanced route
    /// refresh is negotiated, that its own begin or have ended (RFC 7313).
    Refresh(Family, RefreshSubtype),
    /// The session is over; nothing follows.
    Ended(End),
}

/// One connection's state machine. See the module.
#[derive(Debug)]
pub struct Session {
    conn: ConnId,
    settings: Settings,
    /// What our OPEN says, or has said, of graceful restart.
    offer: Option<Offer>,
    /// How long the peer may take to say OPEN.
    open_wait: Duration,
    phase: Phase,
    /// Octets that do not make a whole message yet.
    inbound: BytesMut,
    outbox: Outbox,
    timers: Timers,
    jitter: Jitter,
    outputs: VecDeque<Output>,
}

impl Session {
    /// A connection that was just asked for.
    #[must_use]
    pub fn dialled(conn: ConnId, settings: Settings, offer: Option<Offer>, seed: u64, now: Instant) -> Self {
        let mut session = Self {
            conn,
            settings,
            offer,
            open_wait: LARGE_HOLD,
            phase: Phase::Connecting,
            inbound: BytesMut::new(),
            outbox: Outbox::default(),
            timers: Timers::default(),
            jitter: Jitter::new(seed),
            outputs: VecDeque::new(),
        };
        let patience = session.settings.connect_retry_time.max(CONNECT_TIME);
        session.timers.set(Timer::Connect, Some(now + patience));
        session
    }

    /// A connection that the listener took: connected already.
    #[must_use]
    pub fn accepted(conn: ConnId, settings: Settings, offer: Option<Offer>, seed: u64, now: Instant) -> Self {
        let mut session = Self::dialled(conn, settings, offer, seed, now);
        session.open_wait = OPEN_WAIT;
        session.step(Event::Connected, now);
        session
    }

    /// Takes one fact. Drain `poll_output` afterwards.
    pub fn handle(&mut self, input: Input<'_>, now: Instant) {
        match input {
            Input::Connected => self.step(Event::Connected, now),
            Input::ConnectFailed(error) => self.step(Event::ConnectFailed(error), now),
            Input::Received(bytes) => self.receive(bytes, now),
            Input::Closed(error) => self.step(Event::Closed(error), now),
            Input::Timeout => {
                while let Some(timer) = self.timers.expire(now) {
                    self.step(Event::Expired(timer), now);
                }
            }
            Input::Confirm => self.step(Event::Confirm, now),
            Input::Stop(notification) => self.step(Event::Stop(notification), now),
            Input::RequestRefresh(family) => self.step(Event::RequestRefresh(family), now),
            Input::Supersede => self.step(Event::Superseded, now),
        }
    }

    /// The next thing to say.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Timeout`] is wanted.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Writes the control messages that wait; whether there were any. Call it only when all that was pulled before
    /// has been taken by the socket, and once more when all of this has.
    pub fn poll_transmit(&mut self, out: &mut BytesMut, now: Instant) -> bool {
        let wrote = self.outbox.drain(out);
        self.pulled(wrote, now);
        wrote
    }

    /// Whoever sends UPDATEs on this connection pulled some: see [`Session::poll_transmit`].
    pub(crate) fn updates_pulled(&mut self, now: Instant) {
        self.pulled(true, now);
    }

    fn pulled(&mut self, something: bool, now: Instant) {
        let patience = match &self.phase {
            Phase::Established(n) if something => Some(n.send_hold_time).filter(|t| !t.is_zero()),
            Phase::Connecting
            | Phase::OpenSent
            | Phase::OpenHeld(_)
            | Phase::OpenConfirm(_)
            | Phase::Established(_)
            | Phase::Ended => None,
        };
        self.timers.set(Timer::SendHold, patience.map(|t| now + t));
    }

    /// The connection.
    #[must_use]
    pub fn conn(&self) -> ConnId {
        self.conn
    }

    /// The state in the words of the RFC.
    #[must_use]
    pub fn state(&self) -> State {
        self.phase.state()
    }

    /// What was agreed on, from the moment that the peer's OPEN was found good.
    #[must_use]
    pub fn negotiated(&self) -> Option<&Negotiated> {
        match &self.phase {
            Phase::OpenHeld(n) | Phase::OpenConfirm(n) | Phase::Established(n) => Some(n),
            Phase::Connecting | Phase::OpenSent | Phase::Ended => None,
        }
    }

    /// Whether the peer's OPEN is in and [`Input::Confirm`] is awaited.
    #[must_use]
    pub fn is_held(&self) -> bool {
        matches!(self.phase, Phase::OpenHeld(_))
    }

    /// What is left to be sent, for whoever closes the connection.
    pub(crate) fn into_outbox(self) -> Outbox {
        self.outbox
    }

    /// How messages are read now; `None` while none may be.
    fn context(&self) -> Option<Context> {
        match &self.phase {
            Phase::Connecting | Phase::OpenHeld(_) | Phase::Ended => None,
            Phase::OpenSent => Some(Context::before_open()),
            Phase::OpenConfirm(n) | Phase::Established(n) => Some(n.context),
        }
    }

    fn receive(&mut self, bytes: &[u8], now: Instant) {
        if self.inbound.is_empty() {
            // The usual case: whole messages are read where they lie.
            let used = self.read(bytes, now);
            self.inbound
                .extend_from_slice(bytes.get(used..).unwrap_or_default());
        } else {
            let mut buffer = std::mem::take(&mut self.inbound);
            buffer.extend_from_slice(bytes);
            let used = self.read(&buffer, now);
            buffer.advance(used);
            self.inbound = buffer;
        }
        match &self.phase {
            Phase::Connecting | Phase::Ended => self.inbound = BytesMut::new(),
            Phase::OpenHeld(n) if self.inbound.len() > n.context.max_len() => {
                self.step(Event::Flooded, now);
            }
            // Less than a message, or `read` would have taken it.
            Phase::OpenHeld(_) | Phase::OpenSent | Phase::OpenConfirm(_) | Phase::Established(_) => {}
        }
    }

    /// Reads whole messages from the front of `bytes` while that is allowed; how many octets they took.
    fn read(&mut self, bytes: &[u8], now: Instant) -> usize {
        let mut used = 0usize;
        while let Some(context) = self.context() {
            let rest = bytes.get(used..).unwrap_or_default();
            let (message, event) = match wire::split(rest, context.max_len()) {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    used = used.saturating_add(frame.len);
                    let message = rest.get(..frame.len).unwrap_or_default();
                    match wire::decode(&frame, &context) {
                        Ok(decoded) => (message, Event::from(decoded)),
                        // What has no place in this state is not judged by what is in it (RFC 4271 §8.2.2,
                        // events 22 and 28).
                        Err(_) if let Some(state) = self.phase.misplaces(frame.kind) => {
                            self.phase = self.unexpected(frame.kind, state);
                            self.blame(message);
                            break;
                        }
                        Err(error) => (message, self.malformed(&frame, error)),
                    }
                }
                // Where it ends is not known: what there is of it is shown.
                Err(error) => (rest, Event::Malformed(error)),
            };
            if let (Phase::Established(_), Event::Update(update)) = (&self.phase, &event) {
                let offence = Offence::of(update, message).map(Box::new);
                self.outputs.extend(offence.map(Output::Offending));
            }
            self.step(event, now);
            self.blame(message);
        }
        used
    }

    /// What a message that makes no sense is. A ROUTE-REFRESH of a wrong length is an error only where enhanced route
    /// refresh was agreed on (RFC 7313 §5); before that, nothing was said about lengths, and it is ignored.
    fn malformed(&self, frame: &wire::Frame<'_>, error: wire::DecodeError) -> Event {
        let agreed = match &self.phase {
            Phase::Established(n) => n.enhanced_route_refresh,
            Phase::Connecting
            | Phase::OpenSent
            | Phase::OpenHeld(_)
            | Phase::OpenConfirm(_)
            | Phase::Ended => false,
        };
        if frame.kind == wire::MessageKind::RouteRefresh && !agreed {
            return Event::RouteRefresh(RouteRefresh {
                family: None,
                subtype: RefreshSubtype::Normal,
            });
        }
        Event::Malformed(error)
    }

    /// Puts the message that has just ended the session beside the reason.
    fn blame(&mut self, octets: &[u8]) {
        if let (Phase::Ended, Some(Output::Ended(End::Sent { message, .. }))) =
            (&self.phase, self.outputs.back_mut())
        {
            *message = octets.get(..MAX_MESSAGE_SHOWN).unwrap_or(octets).to_vec();
        }
    }
}

#[cfg(test)]
mod offence_tests;
#[cfg(test)]
mod tests;
