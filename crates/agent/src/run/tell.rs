//! The owner's words for the report: its state as a snapshot, and which of what happens becomes an Event.

use std::sync::Arc;
use std::time::{Duration, Instant};

use flatroute_api::objects::Family;
use flatroute_api::{ClusterState, Problem, ProblemReason, control};
use flatroute_bgp::types::{self, FamilySet, PeerName};
use flatroute_plan::Plan;
use k8s_openapi::jiff::Timestamp;

use super::Owner;
use crate::act::{Act, Seen};
use crate::events::Happening;
use crate::report::{About, Object, Objects, Peer, Reason, Snapshot, Told};

impl<A: Act> Owner<A> {
    /// Tells the report how things are.
    pub(super) fn report_state(&mut self, seen: &Seen) {
        let (Some(report), Some(plan)) = (&self.outlets.report, &self.in_force) else {
            return;
        };
        let now = Instant::now();
        let is_behind = seen.kernel.handing_over || seen.kernel.pending > 0 || seen.fib.waiting > 0;
        self.outlets.behind = is_behind.then(|| self.outlets.behind.unwrap_or(now));
        let node = self.state.as_ref().and_then(|state| state.nodes.get(&self.node));
        report.is_now(Snapshot {
            taken: Timestamp::now(),
            node_uid: node.and_then(|node| node.metadata.uid.clone()),
            router_id: plan.router_id.to_string().parse().ok(),
            local_asn: plan.local_asn.0,
            ready: self.outlets.ready.borrow().clone(),
            restarting: seen.restarting.is_some(),
            peers: seen.peers.iter().map(|peer| session(peer, plan, seen)).collect(),
            fib: seen.fib.clone(),
            behind: self.outlets.behind.map_or(Duration::ZERO, |since| now - since),
            objects: Arc::clone(&self.outlets.objects),
        });
    }

    /// The objects for the report, anew when they have changed.
    pub(super) fn gather_objects(&mut self) {
        let (Some(_), Some(state)) = (&self.outlets.report, &self.state) else {
            return;
        };
        let new = objects(state, &self.problems);
        if *self.outlets.objects != new {
            self.outlets.objects = Arc::new(new);
        }
    }

    pub(super) fn report_happening(&self, happening: &Happening) {
        let Some(report) = &self.outlets.report else {
            return;
        };
        if let Some(told) = told(happening, self.in_force.as_ref()) {
            report.tell(told);
        }
    }

    /// A problem that was not there before. What is wrong with an object itself every node sees.
    pub(super) fn report_problem(&self, problem: &Problem) {
        let Some(report) = &self.outlets.report else {
            return;
        };
        let everywhere = self.object_problems.contains(problem);
        if let Some(told) = of_problem(problem, everywhere) {
            report.tell(told);
        }
    }
}

fn session(peer: &control::Peer, plan: &Plan, seen: &Seen) -> Peer {
    let name = PeerName::from(peer.name.as_str());
    let left_out = |session: &crate::ready::Session| {
        let offered = plan
            .config_of(&name)
            .map_or(FamilySet::NONE, |p| p.session.families);
        let left_out = offered
            .iter()
            .filter(|family| !session.negotiated.contains(*family));
        left_out.map(family).collect()
    };
    let object = plan.object_of(&name);
    Peer {
        object: object.unwrap_or_else(|| peer.name.clone()),
        session: peer.clone(),
        not_negotiated: seen.sessions.get(&peer.name).map(left_out).unwrap_or_default(),
    }
}

fn family(family: types::Family) -> Family {
    match family {
        types::Family::Ipv4 => Family::IPv4,
        types::Family::Ipv6 => Family::IPv6,
    }
}

fn objects(state: &ClusterState, problems: &[Problem]) -> Objects {
    let peers = state.peers.iter().map(|(name, peer)| {
        let object = Object {
            uid: peer.metadata.uid.clone(),
            generation: peer.metadata.generation,
            spec: peer.spec.clone(),
        };
        (name.clone(), object)
    });
    Objects {
        peers: peers.collect(),
        filters: state.filters.keys().cloned().collect(),
        node_status_is_off: state
            .configuration
            .as_ref()
            .is_some_and(|object| !object.spec.has_node_status()),
        problems: problems.iter().filter(|p| p.kind == "BGPPeer").cloned().collect(),
    }
}

/// The Event that something becomes; most of what happens is for `/v1/events` only.
fn told(happening: &Happening, plan: Option<&Plan>) -> Option<Told> {
    let reason = match happening.kind.as_str() {
        "PeerEstablished" => Reason::PeerEstablished,
        "PeerDown" => Reason::PeerDown,
        "PrefixLimit" => Reason::PrefixLimit,
        "MalformedUpdate" | "RouteFailed" | "ForeignRoute" => Reason::RouteRejected,
        "FIBDrift" => Reason::FIBDrift,
        "AgentRespawned" => Reason::AgentRespawned,
        "PodRulesFailed" => Reason::PodRulesFailed,
        "PodRulesDrift" => Reason::PodRulesDrift,
        _ => return None,
    };
    let object = |peer: &str| plan?.object_of(&PeerName::from(peer));
    let (about, note) = match &happening.peer {
        None => (About::Node, happening.text.clone()),
        Some(peer) => {
            let about = object(peer).map_or(About::Node, About::Peer);
            // Of a neighbour with a name of its own, the name tells which one it is.
            let note = if about == About::Peer(peer.clone()) {
                happening.text.clone()
            } else {
                format!("{peer}: {}", happening.text)
            };
            (about, note)
        }
    };
    Some(Told {
        reason,
        about,
        everywhere: false,
        note,
    })
}

fn of_problem(problem: &Problem, everywhere: bool) -> Option<Told> {
    // The server that we would tell is the one that has the trouble.
    if problem.kind == crate::observe::API_SERVER {
        return None;
    }
    let reason = reason(problem.reason);
    let (about, note) = match problem.kind.as_str() {
        "BGPPeer" => (About::Peer(problem.name.clone()), problem.to_string()),
        _ => (About::Node, problem.to_string()),
    };
    Some(Told {
        reason,
        everywhere: everywhere && about != About::Node,
        about,
        note,
    })
}

/// The reason of the Event that a problem becomes.
pub(super) fn reason(of: ProblemReason) -> Reason {
    use ProblemReason as P;
    match of {
        P::SecretAmbiguous | P::SecretInvalid | P::SecretKeyNotFound | P::SecretNotFound => {
            Reason::AuthFailed
        }
        P::ForwardingDisabled
        | P::IPv6Disabled
        | P::NodeNotPrepared
        | P::ReversePathFilter
        | P::RoutesContested => Reason::NodeNotPrepared,
        P::APIServerUnreachable
        | P::ClusterCIDRsUnknown
        | P::ConflictingPeer
        | P::CopyRefused
        | P::Duplicate
        | P::FilterNotFound
        | P::Forbidden
        | P::Gone
        | P::InterfaceNotFound
        | P::Invalid
        | P::MeshTooLarge
        | P::NoCommonFamily
        | P::NoDefaultGateway
        | P::NoLinkLocalAddress
        | P::NoMatchingNodes
        | P::NoPodCIDRs
        | P::NoRawSocket
        | P::NoRouterAdvertisement
        | P::NodeNotFound
        | P::NotInstalled
        | P::NotKept
        | P::NotSupported
        | P::NotYAML
        | P::OverlappingCIDRs
        | P::OwnAddress
        | P::Refused
        | P::Required
        | P::SecretEndsWithLineBreak
        | P::SecretReadableByOthers
        | P::SeveralRouters
        | P::Stale
        | P::TooManyGateways
        | P::Unauthorized
        | P::UnknownField
        | P::UnknownKind => Reason::ConfigurationInvalid,
    }
}

#[cfg(test)]
mod tests;
