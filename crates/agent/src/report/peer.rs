//! The status of a BGPPeer, as a pure function of what all nodes report of it. One agent writes it ([`super::leader`]).
//!
//! Each node reports what it has of each BGPPeer: sessions, or why there is none. So the nodes that shall have a
//! neighbour are those that say so; nobody evaluates selectors for others. `Established` is the one condition to look at: it
//! carries the reason of the others when they are the reason, and names the worst session.

mod reports;

use std::collections::{BTreeMap, BTreeSet};

use flatroute_api::objects::{
    BGPNodeStatusStatus, BGPPeerStatus, NodePeer, PeerCondition, PeerReason, State,
};
use flatroute_api::{BGPPeerSpec, Problem};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;

use super::condition::{Truth, bounded, condition};
use super::pace::Weight;
use super::snapshot::{Object, Objects};
use reports::{Ground, Reports};

/// What the nodes report, by name of the Node.
pub(super) type Nodes = BTreeMap<String, BGPNodeStatusStatus>;

/// A condition before its time: whether it is true, why, and in a sentence.
type Verdict<T = bool> = (T, PeerReason, String);

/// Why nothing is known.
const NOBODY_REPORTS: &str = "BGPConfiguration/default has spec.nodeStatus.mode: Disabled, so no node reports what it sees; set it to \
                              Enabled, or ask a node: /v1/peers of its agent, and kubectl get events";

/// The status of a valid BGPPeer. `is_settled`: the nodes have had time to report of this generation. `before` is what was
/// written last.
pub(super) fn status(
    name: &str,
    object: &Object,
    objects: &Objects,
    nodes: &Nodes,
    is_settled: bool,
    before: &[Condition],
    now: Timestamp,
) -> BGPPeerStatus {
    let reports = Reports::of(name, nodes);
    let (received, installed) = reports.prefixes();
    let accepted = accepted(&object.spec, &reports, is_settled);
    let resolved = resolved(&object.spec, objects, &reports);
    let established = established(&object.spec, &reports, &accepted, &resolved);
    let conditions = [
        (PeerCondition::Accepted, accepted),
        (PeerCondition::ResolvedRefs, resolved),
        (PeerCondition::Established, established),
    ];
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    BGPPeerStatus {
        observed_generation: object.generation,
        desired_nodes: count(reports.0.len()),
        established_nodes: count(reports.established()),
        received_prefixes: received,
        installed_prefixes: installed,
        conditions: conditions
            .into_iter()
            .map(|(kind, verdict)| told(kind, &verdict, object.generation, before, now))
            .collect(),
    }
}

/// The status of a valid BGPPeer when no node reports anything: what the objects alone say.
pub(super) fn unreported(
    object: &Object,
    objects: &Objects,
    before: &[Condition],
    now: Timestamp,
) -> BGPPeerStatus {
    let unknown = (
        Truth::Unknown,
        PeerReason::NodeStatusDisabled,
        NOBODY_REPORTS.to_owned(),
    );
    let missing = missing_filters(&object.spec, objects);
    let missing = missing.map(|(is_true, reason, text)| (Truth::from(is_true), reason, text));
    // Only the nodes read Secrets.
    let resolved = match (&missing, &object.spec.auth) {
        (Some(missing), _) => missing.clone(),
        (None, Some(_)) => unknown.clone(),
        (None, None) => {
            let (is_true, reason, text) = all_resolved();
            (is_true.into(), reason, text)
        }
    };
    let down = administratively_down(&object.spec);
    let down = down.map(|(is_true, reason, text)| (Truth::from(is_true), reason, text));
    let conditions = [
        (PeerCondition::Accepted, unknown.clone()),
        (PeerCondition::ResolvedRefs, resolved),
        (PeerCondition::Established, down.or(missing).unwrap_or(unknown)),
    ];
    BGPPeerStatus {
        observed_generation: object.generation,
        conditions: conditions
            .into_iter()
            .map(|(kind, verdict)| told(kind, &verdict, object.generation, before, now))
            .collect(),
        ..BGPPeerStatus::default()
    }
}

/// The status of a BGPPeer that cannot be used at all: nodes left it out, and all of them see the same in it.
pub(super) fn invalid(problems: &[&Problem], before: &[Condition], now: Timestamp) -> BGPPeerStatus {
    let texts: Vec<String> = problems
        .iter()
        .map(|p| format!("{}: {}; {}", p.field, p.message, p.remedy))
        .collect();
    let verdict = (false, PeerReason::Invalid, texts.join(". "));
    BGPPeerStatus {
        conditions: [PeerCondition::Accepted, PeerCondition::Established]
            .map(|kind| told(kind, &verdict, None, before, now))
            .to_vec(),
        ..BGPPeerStatus::default()
    }
}

/// How much two statuses differ.
pub(super) fn weight(before: &BGPPeerStatus, now: &BGPPeerStatus) -> Option<Weight> {
    if before == now {
        return None;
    }
    let same = BGPPeerStatus {
        received_prefixes: before.received_prefixes,
        installed_prefixes: before.installed_prefixes,
        ..now.clone()
    } == *before;
    Some(if same { Weight::Figures } else { Weight::State })
}

fn told<T: Into<Truth> + Copy>(
    kind: PeerCondition,
    (truth, reason, message): &Verdict<T>,
    generation: Option<i64>,
    before: &[Condition],
    now: Timestamp,
) -> Condition {
    Condition {
        observed_generation: generation,
        ..condition(kind.as_str(), *truth, reason.as_str(), message, before, now)
    }
}

fn accepted(spec: &BGPPeerSpec, reports: &Reports<'_>, is_settled: bool) -> Verdict {
    let refused = |ground| match ground {
        Ground::Conflict => Some(PeerReason::ConflictingPeer),
        Ground::Object => Some(PeerReason::Invalid),
        Ground::Secret | Ground::Filter | Ground::Nobody(_) | Ground::Node => None,
    };
    if let Some((node, word, sentence, reason)) = reports.reason(refused) {
        // The reason of a conflict says it already.
        let text = if reason == PeerReason::Invalid {
            format!("node {node}: {word}: {sentence}")
        } else {
            format!("node {node}: {sentence}")
        };
        return (false, reason, text);
    }
    match reports.0.len() {
        0 if !is_settled => (
            true,
            PeerReason::Accepted,
            "the nodes have not reported yet".to_owned(),
        ),
        0 if spec.listen_range.is_some() => (true, PeerReason::Accepted, nobody_came(spec)),
        0 => {
            let text = match (&spec.node_selector, spec.discover, &spec.peer_selector) {
                (_, Some(_), _) => {
                    "no node that runs the agent is selected by spec.nodeSelector and has a gateway that no other BGPPeer \
                     names; see kubectl get nodes --show-labels, and ip route show default on a node"
                }
                (_, _, Some(_)) => {
                    "no node that runs the agent is selected by spec.nodeSelector or spec.peerSelector and has a neighbour \
                     that no other BGPPeer names; see kubectl get nodes --show-labels"
                }
                (Some(_), None, None) => {
                    "no node that runs the agent has the labels of spec.nodeSelector; see kubectl get nodes --show-labels"
                }
                (None, None, None) => {
                    "no node runs the agent; see kubectl get pods -n flatroute-system -o wide"
                }
            };
            (false, PeerReason::NoMatchingNodes, text.to_owned())
        }
        nodes => (
            true,
            PeerReason::Accepted,
            format!("{} shall have it", in_words(nodes, "node")),
        ),
    }
}

/// Of a range whose neighbours come by themselves.
fn nobody_came(spec: &BGPPeerSpec) -> String {
    let range = spec
        .listen_range
        .map(|range| range.to_string())
        .unwrap_or_default();
    format!(
        "no node has a neighbour from {range}: none has come, or none was let in; see /v1/events of an agent"
    )
}

fn missing_filters(spec: &BGPPeerSpec, objects: &Objects) -> Option<Verdict> {
    let named: BTreeSet<&String> = spec.import_filters.iter().chain(&spec.export_filters).collect();
    let missing: Vec<&str> = named
        .into_iter()
        .filter(|filter| !objects.filters.contains(*filter))
        .map(String::as_str)
        .collect();
    if missing.is_empty() {
        return None;
    }
    let text = format!(
        "there is no usable BGPFilter {}; create it, or take its name out; without it the sessions stay down",
        missing.join(", ")
    );
    Some((false, PeerReason::FilterNotFound, text))
}

fn all_resolved() -> Verdict {
    (
        true,
        PeerReason::ResolvedRefs,
        "all that it names is there".to_owned(),
    )
}

fn administratively_down(spec: &BGPPeerSpec) -> Option<Verdict> {
    let text = "spec.state is Down: no node tries to have the session";
    (spec.state == Some(State::Down)).then(|| (false, PeerReason::AdministrativelyDown, text.to_owned()))
}

fn resolved(spec: &BGPPeerSpec, objects: &Objects, reports: &Reports<'_>) -> Verdict {
    if let Some(missing) = missing_filters(spec, objects) {
        return missing;
    }
    let missing = |ground| match ground {
        Ground::Secret => Some(PeerReason::SecretNotFound),
        Ground::Conflict | Ground::Object | Ground::Filter | Ground::Nobody(_) | Ground::Node => None,
    };
    if let Some((node, _, sentence, reason)) = reports.reason(missing) {
        return (false, reason, format!("node {node}: {sentence}"));
    }
    all_resolved()
}

fn established(spec: &BGPPeerSpec, reports: &Reports<'_>, accepted: &Verdict, resolved: &Verdict) -> Verdict {
    if let Some(down) = administratively_down(spec) {
        return down;
    }
    let (up, all) = (reports.established(), reports.0.len());
    if up < all || all == 0 {
        for (is_true, reason, message) in [accepted, resolved] {
            if !is_true {
                return (false, *reason, message.clone());
            }
        }
    }
    if all == 0 && spec.listen_range.is_some() {
        return (false, PeerReason::NotEstablished, nobody_came(spec));
    }
    if up < all || all == 0 {
        let reason = if up > 0 {
            PeerReason::PartiallyEstablished
        } else {
            reports.nobody().unwrap_or(PeerReason::NotEstablished)
        };
        let start = format!("{up} of {} have it", in_words(all, "node"));
        let text = reports.worst().map_or(start.clone(), |(node, peer)| {
            format!("{start}; node {node}: {}", in_sentence(peer))
        });
        return (false, reason, text);
    }
    if spec.state == Some(State::Drained) {
        return (true, PeerReason::Drained, drained(all, reports.advertised()));
    }
    let (received, _) = reports.prefixes();
    if received == 0 {
        let text = "no node has received a route from it. If others should be there: a switch holds back routes that have its \
                    neighbour's ASN in their path; on the switch, let it send them (as-override, or disable the check of \
                    the AS path towards neighbours), or give the nodes an ASN each";
        return (true, PeerReason::NoRoutesFromPeer, text.to_owned());
    }
    if let Some((node, peer, families)) = reports.left_out() {
        let families: Vec<String> = families.iter().map(|f| format!("{f:?}")).collect();
        let text = format!(
            "node {node}: {} left {} out of its OPEN, so those routes are not exchanged; activate the family for this \
             neighbour on the switch, or set spec.families",
            place(peer),
            families.join(" and ")
        );
        return (true, PeerReason::FamilyNotNegotiated, text);
    }
    (
        true,
        PeerReason::Established,
        format!(
            "{} {} it",
            in_words(all, "node"),
            if all == 1 { "has" } else { "have" }
        ),
    )
}

/// How far the draining of a neighbour has come.
fn drained(nodes: usize, advertised: u64) -> String {
    let start = format!(
        "{} {} it drained",
        in_words(nodes, "node"),
        if nodes == 1 { "has" } else { "have" }
    );
    if advertised == 0 {
        return format!("{start}: nothing is advertised to it any more");
    }
    format!(
        "{start}: {advertised} prefixes are advertised to it, with GRACEFUL_SHUTDOWN: for 30 s, or for as long as no other \
         neighbour is told of them (LastPath)"
    )
}

/// Where the neighbour is.
fn place(peer: &NodePeer) -> String {
    let place = peer.address.map(|address| address.to_string());
    place.unwrap_or_else(|| "its neighbour".to_owned())
}

/// A session that is down.
fn in_sentence(peer: &NodePeer) -> String {
    if let (None, Some(reason)) = (peer.address, &peer.reason) {
        return bounded(reason);
    }
    let mut text = format!("{} is not Established", place(peer));
    if let Some(since) = &peer.since {
        text = format!("{} is down since {}", place(peer), since.0);
    }
    if let Some(reason) = &peer.reason {
        return bounded(&format!("{text}: {reason}"));
    }
    if let Some(error) = &peer.last_error {
        return bounded(&format!("{text}; the last error: {}", error.text));
    }
    format!(
        "{text}; it has not answered yet: see that it runs, has this node as a neighbour, and can be reached"
    )
}

fn in_words(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        many => format!("{many} {what}s"),
    }
}

#[cfg(test)]
mod tests;
