//! What happened lately: bounded lists, the oldest forgotten first.
//!
//! A neighbour decides how often it causes an event, so none may push the others out: of one kind and one neighbour
//! no more than a few are kept. Messages with errors, and NOTIFICATIONs with their octets, are large and have a list
//! of their own. Numbers run through both, so that a gap says that something was forgotten.

use std::collections::VecDeque;
use std::time::Instant;

use flatroute_api::control;

/// How many events are remembered.
const MAX_EVENTS: usize = 1000;
/// How many of them may be of one kind and one neighbour, or of one kind and none.
const MAX_EVENTS_OF_A_KIND: usize = 200;
/// How many events with the octets of messages are remembered, beside those.
const MAX_MESSAGES: usize = 512;
/// How many of them may be of one kind and one neighbour.
const MAX_MESSAGES_OF_A_KIND: usize = 16;

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
    /// The message that was wrong.
    pub(crate) error: Option<Error>,
    /// How many earlier ones of this kind and neighbour were only counted.
    pub(crate) untold: u64,
}

/// What was wrong with a message. Whoever makes it has bounded it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Error {
    /// Its octets.
    pub(crate) message: Vec<u8>,
    /// The attribute: `AS_PATH (2)`.
    pub(crate) attribute: Option<String>,
    /// What was done about it.
    pub(crate) disposition: Option<String>,
    /// The prefixes concerned.
    pub(crate) prefixes: Vec<String>,
}

impl Happening {
    /// Whether an operator should look at it: these are logged as warnings.
    pub(crate) fn is_trouble(&self) -> bool {
        const TROUBLE: [&str; 22] = [
            "APIServerUnreachable",
            "AgentRespawned",
            "CNITrouble",
            "ConfigurationInvalid",
            "ConnectionRefused",
            "CopyRefused",
            "FIBDrift",
            "Forbidden",
            "ForeignRoute",
            "MalformedUpdate",
            "NotInstalled",
            "NotKept",
            "PeerDown",
            "PodRulesDrift",
            "PodRulesFailed",
            "PrefixLimit",
            "Refused",
            "RouteFailed",
            "RouteUnsendable",
            "Stale",
            "Stranger",
            "Unauthorized",
        ];
        TROUBLE.contains(&self.kind.as_str())
    }

    fn has_octets(&self) -> bool {
        self.bytes.is_some() || self.error.is_some()
    }
}

/// An event that is remembered.
#[derive(Debug)]
struct Kept {
    number: u64,
    at: Instant,
    happening: Happening,
}

/// A bounded list in which nobody takes all the room.
#[derive(Debug, Default)]
struct Ring(VecDeque<Kept>);

impl Ring {
    fn add(&mut self, kept: Kept, max: usize, max_of_a_kind: usize) {
        let alike =
            |k: &Kept| k.happening.kind == kept.happening.kind && k.happening.peer == kept.happening.peer;
        if self.0.iter().filter(|k| alike(k)).count() >= max_of_a_kind {
            let oldest = self.0.iter().position(alike);
            oldest.and_then(|at| self.0.remove(at));
        } else if self.0.len() >= max {
            self.0.pop_front();
        }
        self.0.push_back(kept);
    }
}

/// The events.
#[derive(Debug, Default)]
pub(crate) struct Events {
    plain: Ring,
    messages: Ring,
    last: u64,
}

impl Events {
    /// Adds one.
    pub(crate) fn add(&mut self, now: Instant, happening: Happening) {
        self.last += 1;
        let octets = happening.has_octets();
        let kept = Kept {
            number: self.last,
            at: now,
            happening,
        };
        if octets {
            self.messages.add(kept, MAX_MESSAGES, MAX_MESSAGES_OF_A_KIND);
        } else {
            self.plain.add(kept, MAX_EVENTS, MAX_EVENTS_OF_A_KIND);
        }
    }

    /// All of them in the order in which they happened, for the control socket.
    pub(crate) fn list(&self, now: Instant) -> control::Events {
        let mut all: Vec<&Kept> = self.plain.0.iter().chain(&self.messages.0).collect();
        all.sort_by_key(|k| k.number);
        control::Events {
            events: all.into_iter().map(|k| event(k, now)).collect(),
        }
    }
}

fn event(kept: &Kept, now: Instant) -> control::Event {
    let h = &kept.happening;
    let error = h.error.as_ref();
    control::Event {
        number: kept.number,
        seconds_ago: now.saturating_duration_since(kept.at).as_secs(),
        kind: h.kind.clone(),
        peer: h.peer.clone(),
        text: h.text.clone(),
        bytes: h.bytes.as_deref().map(hexadecimal),
        message: error.map(|e| hexadecimal(&e.message)),
        attribute: error.and_then(|e| e.attribute.clone()),
        disposition: error.and_then(|e| e.disposition.clone()),
        prefixes: error.map(|e| e.prefixes.clone()).unwrap_or_default(),
        untold: (h.untold > 0).then_some(h.untold),
    }
}

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|x| format!("{x:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn happening(kind: &str, peer: &str, text: usize) -> Happening {
        Happening {
            kind: kind.to_owned(),
            peer: Some(peer.to_owned()),
            text: text.to_string(),
            ..Happening::default()
        }
    }

    fn malformed(peer: &str, text: usize) -> Happening {
        Happening {
            error: Some(Error {
                message: vec![0xff, 2],
                attribute: Some("AS_PATH (2)".to_owned()),
                disposition: Some("TreatAsWithdraw".to_owned()),
                prefixes: vec!["203.0.113.0/24".to_owned()],
            }),
            ..happening("MalformedUpdate", peer, text)
        }
    }

    #[test]
    fn the_oldest_are_forgotten_and_numbers_go_on() {
        let (mut events, now) = (Events::default(), Instant::now());
        for i in 0..MAX_EVENTS + 5 {
            events.add(now, happening("Transition", &format!("peer{}", i % 10), i));
        }
        let list = events.list(now).events;
        assert_eq!((list.len(), list[0].number), (MAX_EVENTS, 6));
    }

    #[test]
    fn one_peer_pushes_out_only_its_own_events() {
        let (mut events, now) = (Events::default(), Instant::now());
        events.add(now, happening("PeerDown", "quiet", 0));
        events.add(now, malformed("quiet", 1));
        for i in 0..5 * MAX_EVENTS {
            events.add(now, happening("Transition", "noisy", i));
            events.add(now, malformed("noisy", i));
        }
        let list = events.list(now).events;
        let count = |peer: &str, kind: &str| {
            let of = |e: &&control::Event| e.peer.as_deref() == Some(peer) && e.kind == kind;
            list.iter().filter(of).count()
        };
        assert_eq!(
            (count("quiet", "PeerDown"), count("quiet", "MalformedUpdate")),
            (1, 1)
        );
        assert_eq!(count("noisy", "Transition"), MAX_EVENTS_OF_A_KIND);
        assert_eq!(count("noisy", "MalformedUpdate"), MAX_MESSAGES_OF_A_KIND);
        assert!(list.is_sorted_by_key(|e| e.number));
        assert_eq!(list.last().unwrap().text, (5 * MAX_EVENTS - 1).to_string());
    }

    #[test]
    fn many_noisy_peers_are_bounded_together() {
        let (mut events, now) = (Events::default(), Instant::now());
        for i in 0..5 * MAX_MESSAGES {
            events.add(now, malformed(&format!("peer{}", i % 100), i));
        }
        assert_eq!(events.list(now).events.len(), MAX_MESSAGES);
    }

    #[test]
    fn octets_are_told_in_hexadecimal() {
        let (mut events, now) = (Events::default(), Instant::now());
        events.add(now, malformed("p", 1));
        events.add(
            now,
            Happening {
                bytes: Some(vec![6, 255]),
                untold: 3,
                ..happening("NotificationSent", "p", 2)
            },
        );
        let list = events.list(now).events;
        assert_eq!(list[0].message.as_deref(), Some("ff02"));
        assert_eq!(list[0].attribute.as_deref(), Some("AS_PATH (2)"));
        assert_eq!(list[0].prefixes, ["203.0.113.0/24"]);
        assert_eq!((list[0].bytes.as_deref(), list[0].untold), (None, None));
        assert_eq!(
            (list[1].bytes.as_deref(), list[1].untold),
            (Some("06ff"), Some(3))
        );
        assert_eq!(list[1].message, None);
    }
}
