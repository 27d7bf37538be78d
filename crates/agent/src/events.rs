//! What happened lately: a bounded list, the oldest forgotten first.

use std::collections::VecDeque;
use std::time::Instant;

use flatroute_api::control;

/// How many events are remembered.
const MAX_EVENTS: usize = 1000;

/// Something that happened, as the parts of the agent tell it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Happening {
    /// `PeerEstablished`, `PeerDown`, `Transition`, `ConfigurationInvalid`, …
    pub(crate) kind: String,
    /// The neighbour that it is about.
    pub(crate) peer: Option<String>,
    /// In words.
    pub(crate) text: String,
    /// A NOTIFICATION's bytes.
    pub(crate) bytes: Option<Vec<u8>>,
}

impl Happening {
    /// Whether an operator should look at it: these are logged as warnings.
    pub(crate) fn is_trouble(&self) -> bool {
        const TROUBLE: [&str; 10] = [
            "ConfigurationInvalid",
            "ConnectionRefused",
            "FIBDrift",
            "ForeignRoute",
            "MalformedUpdate",
            "PeerDown",
            "PrefixLimit",
            "RouteFailed",
            "RouteUnsendable",
            "Stranger",
        ];
        TROUBLE.contains(&self.kind.as_str())
    }
}

/// The events.
#[derive(Debug, Default)]
pub(crate) struct Events {
    kept: VecDeque<(u64, Instant, Happening)>,
    last: u64,
}

impl Events {
    /// Adds one.
    pub(crate) fn add(&mut self, now: Instant, happening: Happening) {
        self.last += 1;
        if self.kept.len() == MAX_EVENTS {
            self.kept.pop_front();
        }
        self.kept.push_back((self.last, now, happening));
    }

    /// All of them, for the control socket.
    pub(crate) fn list(&self, now: Instant) -> control::Events {
        let event = |(number, at, h): &(u64, Instant, Happening)| control::Event {
            number: *number,
            seconds_ago: now.saturating_duration_since(*at).as_secs(),
            kind: h.kind.clone(),
            peer: h.peer.clone(),
            text: h.text.clone(),
            bytes: h
                .bytes
                .as_ref()
                .map(|b| b.iter().map(|x| format!("{x:02x}")).collect()),
        };
        control::Events {
            events: self.kept.iter().map(event).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten_and_numbers_go_on() {
        let (mut events, now) = (Events::default(), Instant::now());
        for i in 0..MAX_EVENTS + 5 {
            events.add(
                now,
                Happening {
                    text: i.to_string(),
                    bytes: Some(vec![6, 255]),
                    ..Happening::default()
                },
            );
        }
        let list = events.list(now).events;
        assert_eq!((list.len(), list[0].number), (MAX_EVENTS, 6));
        assert_eq!(list[0].bytes.as_deref(), Some("06ff"));
    }
}
