//! The BGPNodeStatus of this node, as a pure function of what the owner tells and of what was written before.

use std::time::Duration;

use flatroute_api::control;
use flatroute_api::objects::{
    BGPNodeStatusStatus, ErrorDirection, Family, FamilyPrefixes, MAX_STATUS_PEERS, Negotiated, NodeCondition,
    NodeFib, NodePeer, NodePhase, SessionError, SessionState,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::condition::{bounded, condition, seconds, split};
use super::pace::Weight;
use super::snapshot::{Peer, Snapshot};
use crate::ready::Ready;

/// How long the kernel may be behind before that is a condition: a moment of it is in every change.
pub(super) const BEHIND: Duration = Duration::from_secs(10);
/// Two readings of one time differ by this at most: ages are whole seconds.
const READING: SignedDuration = SignedDuration::from_secs(2);

/// The status. `before` is what was written last.
pub(super) fn status(snapshot: &Snapshot, before: Option<&BGPNodeStatusStatus>) -> BGPNodeStatusStatus {
    let none = BGPNodeStatusStatus::default();
    let before = before.unwrap_or(&none);
    let mut peers: Vec<NodePeer> = snapshot
        .peers
        .iter()
        .map(|peer| session(peer, snapshot.taken, &before.peers))
        .chain(left_out(snapshot))
        .collect();
    peers.sort_by(|a, b| (&a.name, a.address, &a.interface).cmp(&(&b.name, b.address, &b.interface)));
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let established = peers
        .iter()
        .filter(|p| p.state == SessionState::Established)
        .count();
    let desired = peers.len();
    peers.truncate(MAX_STATUS_PEERS);
    BGPNodeStatusStatus {
        router_id: snapshot.router_id,
        local_asn: (snapshot.local_asn != 0).then_some(snapshot.local_asn),
        phase: Some(phase(snapshot)),
        desired_peers: count(desired),
        established_peers: count(established),
        peers,
        fib: Some(NodeFib {
            installed: snapshot.fib.installed,
            failed: snapshot.fib.failed,
            drift: snapshot.fib.drift,
        }),
        conditions: conditions(snapshot, &before.conditions),
    }
}

fn phase(snapshot: &Snapshot) -> NodePhase {
    if snapshot.restarting {
        return NodePhase::Restarting;
    }
    match snapshot.ready {
        Ready::Starting | Ready::Waiting(_) => NodePhase::Starting,
        Ready::Yes => NodePhase::Running,
    }
}

/// How much two statuses differ.
pub(super) fn weight(before: &BGPNodeStatusStatus, now: &BGPNodeStatusStatus) -> Option<Weight> {
    if before == now {
        return None;
    }
    let without_figures = |status: &BGPNodeStatusStatus| {
        let mut status = status.clone();
        for peer in &mut status.peers {
            // One that is refused passes through many states.
            if !is_up(peer.state) {
                peer.state = SessionState::Idle;
            }
            for family in &mut peer.prefixes {
                // Whether there is anything is more than a figure.
                for count in [
                    &mut family.received,
                    &mut family.accepted,
                    &mut family.installed,
                    &mut family.advertised,
                    &mut family.stale,
                ] {
                    *count = (*count).min(1);
                }
            }
        }
        if let Some(fib) = &mut status.fib {
            fib.installed = 0;
            fib.drift = 0;
        }
        status
    };
    let same = without_figures(before) == without_figures(now);
    Some(if same { Weight::Figures } else { Weight::State })
}

fn session(peer: &Peer, taken: Timestamp, before: &[NodePeer]) -> NodePeer {
    let Peer {
        object,
        session,
        not_negotiated,
    } = peer;
    let before = before.iter().find(|old| {
        (&old.name, old.address, &old.interface) == (object, session.address, &session.interface)
    });
    let state = state(&session.state);
    let same = before.filter(|old| is_up(old.state) == is_up(state));
    NodePeer {
        // As much of it as the API server takes; of the mesh, a Node's name with a word before it.
        name: object.chars().take(253).collect(),
        address: session.address,
        interface: session.interface.clone(),
        asn: session.asn,
        state,
        reason: session.reason.as_deref().map(bounded),
        since: match same.and_then(|old| old.since.clone()) {
            Some(down) if !is_up(state) => Some(down),
            reading => since(taken, session.since_seconds, reading.as_ref()),
        },
        flaps: session.flaps,
        last_error: session
            .last_error
            .as_ref()
            .map(|error| last_error(error, taken, before.and_then(|old| old.last_error.as_ref()))),
        negotiated: session.negotiated.as_ref().map(negotiated),
        not_negotiated: not_negotiated.clone(),
        prefixes: session.prefixes.iter().filter_map(prefixes).collect(),
    }
}

/// BGPPeers that select this node and have no session because something is wrong: an operator looks for them here too. One that
/// would find its neighbours, and finds none, has no address to show.
fn left_out(snapshot: &Snapshot) -> impl Iterator<Item = NodePeer> {
    let has_session = |name: &str| snapshot.peers.iter().any(|peer| peer.object == name);
    let mut told = std::collections::BTreeSet::new();
    snapshot.objects.problems.iter().filter_map(move |problem| {
        let object = snapshot.objects.peers.get(&problem.name)?;
        if problem.kind != "BGPPeer" || has_session(&problem.name) || !told.insert(&problem.name) {
            return None;
        }
        Some(NodePeer {
            name: problem.name.clone(),
            address: object.spec.peer_address,
            interface: object.spec.interface.clone(),
            asn: None,
            state: SessionState::Idle,
            reason: Some(bounded(&format!(
                "{}: {}; {}",
                problem.reason, problem.message, problem.remedy
            ))),
            since: None,
            flaps: 0,
            last_error: None,
            negotiated: None,
            not_negotiated: Vec::new(),
            prefixes: Vec::new(),
        })
    })
}

fn is_up(state: SessionState) -> bool {
    state == SessionState::Established
}

/// A neighbour that does not answer goes to and fro between Connect and Active, for as long as it is dead: that is one
/// state here, so that it costs no write.
fn state(word: &str) -> SessionState {
    match word {
        "Connect" | "Active" => SessionState::Active,
        "OpenSent" => SessionState::OpenSent,
        "OpenConfirm" => SessionState::OpenConfirm,
        "Established" => SessionState::Established,
        _ => SessionState::Idle,
    }
}

/// A time from an age. Where it is the one before, read again, that one stays.
fn since(taken: Timestamp, age: u64, before: Option<&Time>) -> Option<Time> {
    let age = SignedDuration::from_secs(i64::try_from(age).unwrap_or(i64::MAX));
    let at = taken.checked_sub(age).ok()?;
    let same = before.filter(|old| at.duration_since(old.0).abs() <= READING);
    Some(same.cloned().unwrap_or(Time(seconds(at))))
}

fn last_error(error: &control::LastError, taken: Timestamp, before: Option<&SessionError>) -> SessionError {
    SessionError {
        direction: match error.direction.as_str() {
            "Sent" => ErrorDirection::Sent,
            "Received" => ErrorDirection::Received,
            _ => ErrorDirection::Local,
        },
        code: error.code,
        subcode: error.subcode,
        text: bounded(&error.text),
        time: match before.filter(|old| is_same(old, error)) {
            Some(first) => first.time.clone(),
            None => error.seconds_ago.and_then(|age| since(taken, age, None)),
        },
    }
}

/// Each attempt at a neighbour that is dead ends with the same error: the first one counts.
fn is_same(old: &SessionError, error: &control::LastError) -> bool {
    (old.code, old.subcode) == (error.code, error.subcode) && old.text == bounded(&error.text)
}

fn family(word: &str) -> Option<Family> {
    match word {
        "IPv4" => Some(Family::IPv4),
        "IPv6" => Some(Family::IPv6),
        _ => None,
    }
}

fn negotiated(agreed: &control::Negotiated) -> Negotiated {
    let time = |seconds: u64| u32::try_from(seconds).unwrap_or(u32::MAX);
    Negotiated {
        families: agreed.families.iter().filter_map(|word| family(word)).collect(),
        hold_time_seconds: time(agreed.hold_time),
        keepalive_time_seconds: time(agreed.keepalive_time),
        router_id: agreed.router_id.parse().ok(),
    }
}

fn prefixes(counts: &control::PrefixCounts) -> Option<FamilyPrefixes> {
    Some(FamilyPrefixes {
        family: family(&counts.family)?,
        received: counts.received,
        accepted: counts.accepted,
        installed: counts.installed,
        advertised: counts.advertised,
        stale: counts.stale,
    })
}

fn conditions(snapshot: &Snapshot, before: &[Condition]) -> Vec<Condition> {
    let ready = match snapshot.ready.reason() {
        None => (true, "Ready", "routes have arrived and the kernel holds them"),
        Some(why) => {
            let (reason, message) = split(why);
            (false, reason, message)
        }
    };
    let fib = &snapshot.fib;
    let failed = format!(
        "the kernel refused {} routes, or another program's stand in their place; the agent's /v1/events has its words",
        fib.failed
    );
    let pending = format!("{} routes are on their way into the kernel", fib.pending);
    let synced = if fib.failed > 0 {
        (false, "RoutesFailed", failed.as_str())
    } else if snapshot.behind >= BEHIND {
        (false, "Pending", pending.as_str())
    } else {
        (true, "Synced", "the kernel holds what was chosen")
    };
    [
        (NodeCondition::NetworkReady, ready),
        (NodeCondition::FIBSynced, synced),
    ]
    .map(|(kind, (is_true, reason, message))| {
        condition(kind.as_str(), is_true, reason, message, before, snapshot.taken)
    })
    .to_vec()
}

#[cfg(test)]
mod tests;
