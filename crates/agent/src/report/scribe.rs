//! The task that writes Events (events.k8s.io/v1).

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::book::{About, Book, Reason, Told, Write};
use super::server::{Failure, Server};
use super::writer::LONG;
use super::{Newest, Snapshot};

/// Who reports.
const CONTROLLER: &str = "flatroute.io/agent";

/// Writes events, until nobody tells any more.
pub(super) async fn run(mut server: Server, newest: Newest, mut told: mpsc::Receiver<Told>) {
    let mut book = Book::new(Instant::now());
    loop {
        let snapshot = newest.borrow().clone();
        let now = Instant::now();
        // Nothing is known of the objects before the first snapshot, their UIDs in particular.
        let write = snapshot.as_ref().and_then(|_| book.next(now));
        if let (Some(write), Some(snapshot)) = (write, snapshot) {
            let outcome = put(&mut server, &snapshot, &write).await;
            settle(&mut book, &write, outcome);
        }
        let lost = book.lost();
        if lost > 0 {
            tracing::warn!(
                lost,
                "events were not written: there were too many, or the API server was away"
            );
        }
        let due = book.due().unwrap_or(now + LONG).max(now);
        tokio::select! {
            told = told.recv() => match told {
                Some(told) => book.add(told, Instant::now(), Timestamp::now()),
                None => return,
            },
            () = sleep_until(due.into()) => {}
        }
    }
}

fn settle(book: &mut Book, write: &Write, outcome: Result<(), Failure>) {
    let now = Instant::now();
    match outcome {
        // It is there: another node has told it, or an answer was lost.
        Ok(()) | Err(Failure::Conflict) => book.wrote(write, now),
        // Of a count: the event is forgotten. Of a new one: the namespace is not there, and will not come.
        Err(Failure::NotFound) => match write {
            Write::Create(..) => book.wrote(write, now),
            Write::Count { .. } => book.forgotten(write),
        },
        Err(Failure::Refused(why)) => {
            tracing::warn!(why, "the API server refuses an event");
            book.wrote(write, now);
        }
        Err(Failure::Away(_) | Failure::Forbidden) => book.failed(now),
    }
}

async fn put(server: &mut Server, snapshot: &Arc<Snapshot>, write: &Write) -> Result<(), Failure> {
    match write {
        Write::Create(told, first) => {
            let event = event(&server.node, snapshot, told, *first);
            server.create_event(&event).await
        }
        Write::Count {
            told,
            first,
            count,
            last,
        } => {
            let name = name(&server.node, told, *first);
            server.count_event(&name, *count, *last).await
        }
    }
}

fn event(node: &str, snapshot: &Snapshot, told: &Told, first: Timestamp) -> Event {
    let own = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Node".to_owned()),
        name: Some(node.to_owned()),
        uid: snapshot.node_uid.clone(),
        ..ObjectReference::default()
    };
    let (regarding, related) = match &told.about {
        About::Node => (own, None),
        About::Peer(peer) => {
            let object = ObjectReference {
                api_version: Some(flatroute_api::API_VERSION.to_owned()),
                kind: Some("BGPPeer".to_owned()),
                name: Some(peer.clone()),
                uid: snapshot
                    .objects
                    .peers
                    .get(peer)
                    .and_then(|object| object.uid.clone()),
                ..ObjectReference::default()
            };
            (object, (!told.everywhere).then_some(own))
        }
    };
    Event {
        metadata: ObjectMeta {
            name: Some(name(node, told, first)),
            namespace: Some(Server::events_namespace().to_owned()),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(first)),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(format!("flatroute-agent-{node}").chars().take(128).collect()),
        action: Some(action(told.reason).to_owned()),
        reason: Some(told.reason.as_str().to_owned()),
        type_: Some(told.reason.kind().to_owned()),
        note: Some(told.note.clone()),
        regarding: Some(regarding),
        related,
        ..Event::default()
    }
}

/// What was being done.
fn action(reason: Reason) -> &'static str {
    match reason {
        Reason::PeerEstablished | Reason::PeerDown | Reason::PrefixLimit | Reason::AuthFailed => "Peering",
        Reason::RouteRejected | Reason::FIBDrift | Reason::PodRulesFailed | Reason::PodRulesDrift => {
            "Routing"
        }
        Reason::ConfigurationInvalid | Reason::NodeNotPrepared => "Configuring",
        Reason::AgentRespawned => "Starting",
    }
}

/// The object's name and a number made of the content; of what every node sees, of nothing else.
fn name(node: &str, told: &Told, first: Timestamp) -> String {
    let mut hasher = DefaultHasher::new();
    told.hash(&mut hasher);
    if !told.everywhere {
        (node, first.as_nanosecond()).hash(&mut hasher);
    }
    let about = match &told.about {
        About::Node => node,
        About::Peer(peer) => peer,
    };
    // A name of an object has at most 253 characters.
    let about = about.get(..230).unwrap_or(about).trim_end_matches(['.', '-']);
    format!("{about}.{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(everywhere: bool) -> Told {
        Told {
            reason: Reason::ConfigurationInvalid,
            about: About::Peer("tor-a".to_owned()),
            everywhere,
            note: "spec.interface: …".to_owned(),
        }
    }

    #[test]
    fn what_every_node_sees_has_one_name() {
        let (one, two) = (
            Timestamp::from_second(1).unwrap(),
            Timestamp::from_second(2).unwrap(),
        );
        assert_eq!(name("n1", &told(true), one), name("n2", &told(true), two));
        assert_ne!(name("n1", &told(false), one), name("n2", &told(false), one));
        assert_ne!(name("n1", &told(false), one), name("n1", &told(false), two));
        assert!(name("n1", &told(true), one).starts_with("tor-a."));
    }
}
