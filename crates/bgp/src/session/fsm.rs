//! The transitions: one function a state, one arm for every event (RFC 4271 §8.2.2). A function consumes the
//! state and gives the next one, so that after an error nothing stale is left. `tests` holds the whole table
//! as text.

use std::time::Duration;

use super::graceful;
use super::open::{self, Refusal};
use super::timers::Timer;
use super::{End, LARGE_HOLD, Negotiated, Output, Session, State};
use crate::types::{Family, Instant};
use crate::wire::{
    CeaseSubcode, DecodeError, FsmErrorState, Message, MessageKind, Notification, Open, RefreshSubtype,
    RouteRefresh, Update,
};

/// The state of a connection, with what is known in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Connect: TCP is on its way.
    Connecting,
    /// OpenSent: our OPEN is out.
    OpenSent,
    /// OpenSent, and the peer's OPEN is in and good: waiting for the word of the peer machine.
    OpenHeld(Box<Negotiated>),
    /// OpenConfirm: our KEEPALIVE is out.
    OpenConfirm(Box<Negotiated>),
    /// Established.
    Established(Box<Negotiated>),
    /// Over.
    Ended,
}

impl Phase {
    pub(super) fn state(&self) -> State {
        match self {
            Self::Connecting => State::Connect,
            Self::OpenSent | Self::OpenHeld(_) => State::OpenSent,
            Self::OpenConfirm(_) => State::OpenConfirm,
            Self::Established(_) => State::Established,
            Self::Ended => State::Idle,
        }
    }

    /// Whether messages of this kind have no place here, as the state to complain of. A malformed OPEN is still an
    /// OPEN error in OpenConfirm (RFC 4271 §8.2.2, event 22).
    pub(super) fn misplaces(&self, kind: MessageKind) -> Option<FsmErrorState> {
        match (self, kind) {
            (
                Self::OpenSent | Self::OpenHeld(_),
                MessageKind::Update | MessageKind::Keepalive | MessageKind::RouteRefresh,
            ) => Some(FsmErrorState::OpenSent),
            (Self::OpenConfirm(_), MessageKind::Update | MessageKind::RouteRefresh) => {
                Some(FsmErrorState::OpenConfirm)
            }
            (Self::Established(_), MessageKind::Open) => Some(FsmErrorState::Established),
            (
                Self::OpenSent | Self::OpenHeld(_) | Self::OpenConfirm(_),
                MessageKind::Open | MessageKind::Notification,
            )
            | (Self::OpenConfirm(_), MessageKind::Keepalive)
            | (
                Self::Established(_),
                MessageKind::Update
                | MessageKind::Notification
                | MessageKind::Keepalive
                | MessageKind::RouteRefresh,
            )
            // Nothing is read here.
            | (
                Self::Connecting | Self::Ended,
                MessageKind::Open
                | MessageKind::Update
                | MessageKind::Notification
                | MessageKind::Keepalive
                | MessageKind::RouteRefresh,
            ) => None,
        }
    }
}

/// What can happen to a connection.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Connected,
    ConnectFailed(String),
    Closed(Option<String>),
    Open(Open),
    Update(Update),
    Notification(Notification),
    Keepalive,
    RouteRefresh(RouteRefresh),
    Malformed(DecodeError),
    /// More arrived than may wait for Confirm.
    Flooded,
    Expired(Timer),
    Confirm,
    Stop(Notification),
    RequestRefresh(Family),
    Superseded,
}

impl From<Message> for Event {
    fn from(message: Message) -> Self {
        match message {
            Message::Open(open) => Self::Open(open),
            Message::Update(update) => Self::Update(update),
            Message::Notification(notification) => Self::Notification(notification),
            Message::Keepalive => Self::Keepalive,
            Message::RouteRefresh(refresh) => Self::RouteRefresh(refresh),
        }
    }
}

impl Session {
    pub(super) fn step(&mut self, event: Event, now: Instant) {
        let phase = std::mem::replace(&mut self.phase, Phase::Ended);
        self.phase = match phase {
            Phase::Connecting => self.connecting(event, now),
            Phase::OpenSent => self.open_sent(event),
            Phase::OpenHeld(n) => self.open_held(n, event, now),
            Phase::OpenConfirm(n) => self.open_confirm(n, event, now),
            Phase::Established(n) => self.established(n, event, now),
            Phase::Ended => Phase::Ended,
        };
    }

    fn connecting(&mut self, event: Event, now: Instant) -> Phase {
        match event {
            Event::Connected => {
                self.outbox
                    .open(open::ours(&self.settings, self.offer.as_ref(), now));
                self.timers.set(Timer::Connect, None);
                self.timers.set(Timer::Hold, Some(now + self.open_wait));
                Phase::OpenSent
            }
            Event::ConnectFailed(error) => self.end(End::ConnectFailed(error)),
            Event::Closed(error) => self.end(End::ConnectFailed(
                error.unwrap_or_else(|| "the connection was closed at once".to_owned()),
            )),
            Event::Expired(Timer::Connect) => self.end(End::ConnectTimedOut),
            Event::Stop(notification) => self.end(End::Cancelled(notification)),
            // Nothing can be received before TCP is connected, and no other timer runs.
            Event::Open(_)
            | Event::Update(_)
            | Event::Notification(_)
            | Event::Keepalive
            | Event::RouteRefresh(_)
            | Event::Malformed(_)
            | Event::Flooded
            | Event::Expired(Timer::Hold | Timer::SendHold | Timer::Keepalive)
            | Event::Confirm
            | Event::RequestRefresh(_)
            | Event::Superseded => Phase::Connecting,
        }
    }

    fn open_sent(&mut self, event: Event) -> Phase {
        match event {
            Event::Open(open) => match open::judge(&self.settings, self.offer.as_ref(), self.conn, open) {
                Ok(negotiated) => {
                    self.outputs.push_back(Output::Opened);
                    Phase::OpenHeld(Box::new(negotiated))
                }
                Err(Refusal { what, notification }) => self.refuse(notification, what),
            },
            Event::Update(_) => self.unexpected(MessageKind::Update, FsmErrorState::OpenSent),
            Event::Keepalive => self.unexpected(MessageKind::Keepalive, FsmErrorState::OpenSent),
            Event::RouteRefresh(_) => self.unexpected(MessageKind::RouteRefresh, FsmErrorState::OpenSent),
            Event::Notification(notification) => self.end(End::Received(notification)),
            Event::Malformed(error) => self.refuse(error.notification, error.what),
            Event::Flooded => self.flooded(),
            Event::Closed(error) => self.end(End::Closed(error)),
            Event::Expired(Timer::Hold) => self.hold_expired("no OPEN", self.open_wait),
            Event::Stop(notification) => self.stop(notification),
            Event::Connected
            | Event::ConnectFailed(_)
            | Event::Expired(Timer::Connect | Timer::SendHold | Timer::Keepalive)
            | Event::Confirm
            | Event::RequestRefresh(_)
            | Event::Superseded => Phase::OpenSent,
        }
    }

    /// The peer's OPEN is in hand. Nothing is read here, so no message can be an event; were one, it would be as
    /// early as in OpenSent.
    fn open_held(&mut self, n: Box<Negotiated>, event: Event, now: Instant) -> Phase {
        match event {
            Event::Confirm => {
                self.outbox.keepalive();
                // Without a hold time the wait for the first KEEPALIVE is still not endless.
                let hold = if n.hold_time.is_zero() {
                    LARGE_HOLD
                } else {
                    n.hold_time
                };
                self.timers.set(Timer::Hold, Some(now + hold));
                self.arm_keepalive(&n, now);
                Phase::OpenConfirm(n)
            }
            Event::Open(_) => self.unexpected(MessageKind::Open, FsmErrorState::OpenSent),
            Event::Update(_) => self.unexpected(MessageKind::Update, FsmErrorState::OpenSent),
            Event::Keepalive => self.unexpected(MessageKind::Keepalive, FsmErrorState::OpenSent),
            Event::RouteRefresh(_) => self.unexpected(MessageKind::RouteRefresh, FsmErrorState::OpenSent),
            Event::Notification(notification) => self.end(End::Received(notification)),
            Event::Malformed(error) => self.refuse(error.notification, error.what),
            Event::Flooded => self.flooded(),
            Event::Closed(error) => self.end(End::Closed(error)),
            Event::Expired(Timer::Hold) => self.hold_expired("no decision", self.open_wait),
            Event::Stop(notification) => self.stop(notification),
            Event::Connected
            | Event::ConnectFailed(_)
            | Event::Expired(Timer::Connect | Timer::SendHold | Timer::Keepalive)
            | Event::RequestRefresh(_)
            | Event::Superseded => Phase::OpenHeld(n),
        }
    }

    fn open_confirm(&mut self, n: Box<Negotiated>, event: Event, now: Instant) -> Phase {
        match event {
            Event::Keepalive => {
                self.arm_hold(&n, now);
                // Our OPEN and KEEPALIVE may still wait; the next pull says.
                let patience = (!n.send_hold_time.is_zero()).then(|| now + n.send_hold_time);
                self.timers.set(Timer::SendHold, patience);
                self.outputs.push_back(Output::Established(n.clone()));
                Phase::Established(n)
            }
            Event::Expired(Timer::Keepalive) => {
                self.outbox.keepalive();
                self.arm_keepalive(&n, now);
                Phase::OpenConfirm(n)
            }
            Event::Open(_) => self.unexpected(MessageKind::Open, FsmErrorState::OpenConfirm),
            Event::Update(_) => self.unexpected(MessageKind::Update, FsmErrorState::OpenConfirm),
            Event::RouteRefresh(_) => self.unexpected(MessageKind::RouteRefresh, FsmErrorState::OpenConfirm),
            Event::Notification(notification) => self.end(End::Received(notification)),
            Event::Malformed(error) => self.refuse(error.notification, error.what),
            Event::Flooded => self.flooded(),
            Event::Closed(error) => self.end(End::Closed(error)),
            Event::Expired(Timer::Hold) => self.hold_expired("no KEEPALIVE after OPEN", n.hold_time),
            Event::Stop(notification) => self.stop(notification),
            Event::Connected
            | Event::ConnectFailed(_)
            | Event::Expired(Timer::Connect | Timer::SendHold)
            | Event::Confirm
            | Event::RequestRefresh(_)
            | Event::Superseded => Phase::OpenConfirm(n),
        }
    }

    fn established(&mut self, n: Box<Negotiated>, event: Event, now: Instant) -> Phase {
        match event {
            Event::Update(update) => {
                self.arm_hold(&n, now);
                self.outputs.push_back(Output::Update(update));
                Phase::Established(n)
            }
            Event::Keepalive => {
                self.arm_hold(&n, now);
                Phase::Established(n)
            }
            Event::RouteRefresh(RouteRefresh { family, subtype }) => {
                // One for a family that was not negotiated is ignored (RFC 2918 §4), and so are brackets that were not.
                let understood = match subtype {
                    RefreshSubtype::Normal => true,
                    RefreshSubtype::Beginning | RefreshSubtype::End => n.enhanced_route_refresh,
                };
                let family = family.filter(|f| understood && n.families.contains(*f));
                self.outputs
                    .extend(family.map(|family| Output::Refresh(family, subtype)));
                Phase::Established(n)
            }
            Event::RequestRefresh(family) => {
                if n.route_refresh && n.families.contains(family) {
                    self.outbox.refresh(family);
                }
                Phase::Established(n)
            }
            Event::Expired(Timer::Keepalive) => {
                self.outbox.keepalive();
                self.arm_keepalive(&n, now);
                Phase::Established(n)
            }
            Event::Open(_) => self.unexpected(MessageKind::Open, FsmErrorState::Established),
            Event::Notification(notification) => self.end(End::Received(notification)),
            Event::Malformed(error) => self.refuse(error.notification, error.what),
            Event::Flooded => self.flooded(),
            Event::Closed(error) => self.end(End::Closed(error)),
            Event::Expired(Timer::Hold) => self.hold_expired("no KEEPALIVE or UPDATE", n.hold_time),
            Event::Expired(Timer::SendHold) => self.send_hold_expired(n.send_hold_time),
            Event::Stop(notification) => {
                self.stop(graceful::last_word(n.graceful_restart.as_ref(), notification))
            }
            Event::Superseded => self.end(End::Superseded),
            Event::Connected | Event::ConnectFailed(_) | Event::Expired(Timer::Connect) | Event::Confirm => {
                Phase::Established(n)
            }
        }
    }

    fn arm_hold(&mut self, n: &Negotiated, now: Instant) {
        let at = (!n.hold_time.is_zero()).then(|| now + n.hold_time);
        self.timers.set(Timer::Hold, at);
    }

    fn arm_keepalive(&mut self, n: &Negotiated, now: Instant) {
        // RFC 4271 §10 jitters by 0.75 to 1; §4.4 allows no more than one a second.
        let pause = self
            .jitter
            .spread(n.keepalive, 750, 1000)
            .max(Duration::from_secs(1));
        self.timers
            .set(Timer::Keepalive, (!n.keepalive.is_zero()).then(|| now + pause));
    }

    /// A message that has no place in this state (RFC 4271 §6.6, RFC 6608).
    pub(super) fn unexpected(&mut self, kind: MessageKind, state: FsmErrorState) -> Phase {
        let why = format!("{kind:?} is not expected in {state:?}");
        let notification = Notification {
            data: vec![kind.code()],
            ..Notification::fsm_error(state)
        };
        self.refuse(notification, why)
    }

    fn hold_expired(&mut self, missing: &str, waited: Duration) -> Phase {
        let why = format!("{missing} from the peer for {} s", waited.as_secs());
        self.refuse(Notification::hold_timer_expired(), why)
    }

    fn send_hold_expired(&mut self, waited: Duration) -> Phase {
        let why = format!(
            "the peer took nothing of what was sent to it for {} s",
            waited.as_secs()
        );
        self.refuse(Notification::send_hold_timer_expired(), why)
    }

    fn flooded(&mut self) -> Phase {
        self.refuse(
            Notification::cease(CeaseSubcode::OutOfResources, ""),
            "the peer sent more than it may before our KEEPALIVE".to_owned(),
        )
    }

    fn stop(&mut self, notification: Notification) -> Phase {
        self.refuse(notification, String::new())
    }

    fn refuse(&mut self, notification: Notification, why: String) -> Phase {
        self.end(End::Sent {
            notification,
            why,
            message: Vec::new(),
        })
    }

    fn end(&mut self, end: End) -> Phase {
        self.timers = super::Timers::default();
        let last_word = match &end {
            End::Sent { notification, .. } => Some(notification.clone()),
            End::Received(_)
            | End::Closed(_)
            | End::ConnectFailed(_)
            | End::ConnectTimedOut
            | End::Cancelled(_)
            | End::Superseded => None,
        };
        self.outbox.close(last_word);
        self.outputs.push_back(Output::Ended(end));
        Phase::Ended
    }
}
