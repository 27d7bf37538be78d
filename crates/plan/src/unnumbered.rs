//! Neighbours without an address in any object: `interface` alone names a link, and whoever sends router advertisements on it is
//! the neighbour. That is a fact like the default gateways; here it becomes a neighbour, or the reason why there is none.

use std::borrow::Cow;
use std::collections::BTreeMap;

use flatroute_api::objects::State;
use flatroute_api::values::PeerAsn;
use flatroute_api::{BGPPeerSpec, ClusterState, Kind, Problem, ProblemReason};

use flatroute_bgp::types::Asn;

use crate::identity::Identity;
use crate::targets::{Origin, Target, is_client, selects};
use crate::{Facts, Heard, Outcome, Sought, peers};

/// The interface that an object's neighbour is found on; none: the object finds it in another way.
pub(crate) fn interface(spec: &BGPPeerSpec) -> Option<&String> {
    let elsewhere = spec.peer_address.is_some()
        || spec.discover.is_some()
        || spec.peer_selector.is_some()
        || spec.listen_range.is_some();
    spec.interface.as_ref().filter(|_| !elsewhere)
}

/// The neighbour that was found on the object's interface.
pub(crate) fn target<'a>(
    name: &str,
    spec: &'a BGPPeerSpec,
    identity: &Identity,
    facts: &Facts,
    problems: &mut Vec<Problem>,
) -> Option<Target<'a>> {
    let interface = interface(spec)?;
    let asn = spec.peer_asn?;
    let mut tell = |reason: ProblemReason, message: String, remedy: &str| {
        let kind = Kind::BGPPeer.as_str();
        problems.push(Problem::new(kind, name, "spec.interface", message, remedy).because(reason));
    };
    let (node, links) = (&identity.name, &facts.links);
    let Some(index) = links.interfaces.get(interface) else {
        tell(
            ProblemReason::InterfaceNotFound,
            format!("node {node} has no interface {interface} that is up"),
            "correct it, or bring the interface up",
        );
        return None;
    };
    let address = match links.heard.get(index) {
        None | Some(Heard::Waiting) => return None,
        Some(Heard::Silent) => {
            tell(
                ProblemReason::NoRouterAdvertisement,
                format!("nobody has sent a router advertisement to interface {interface} of node {node}"),
                "see that the link is up and that the neighbour sends them there, or name it by peerAddress",
            );
            return None;
        }
        Some(Heard::NoLinkLocalAddress) => {
            tell(
                ProblemReason::NoLinkLocalAddress,
                format!("interface {interface} of node {node} has no IPv6 link-local address"),
                "bring it up and let it have IPv6 (sysctl net.ipv6.conf.INTERFACE.disable_ipv6=0)",
            );
            return None;
        }
        Some(Heard::Deaf(why)) => {
            tell(
                ProblemReason::NoRawSocket,
                format!("interface {interface} of node {node} cannot be listened on: {why}"),
                "give the agent's container the capability NET_RAW (kubectl apply -k deploy/unnumbered), or name the \
                 neighbour by peerAddress",
            );
            return None;
        }
        Some(Heard::Router { address, several }) => {
            if *several {
                tell(
                    ProblemReason::SeveralRouters,
                    format!(
                        "several routers are on interface {interface} of node {node}; {address}, heard first, is the neighbour"
                    ),
                    "leave one router on the link, or name the neighbours by peerAddress",
                );
            }
            *address
        }
    };
    Some(Target {
        name: name.to_owned(),
        origin: Origin::fabric(name),
        field: "spec.interface",
        address: address.into(),
        interface: Some(interface.clone()),
        source_address: None,
        asn,
        is_client: is_client(spec),
        spec: Cow::Borrowed(spec),
    })
}

/// All that are to be found on this node.
pub(crate) fn sought(identity: &Identity, state: &ClusterState, facts: &Facts) -> BTreeMap<String, Sought> {
    let links = &facts.links;
    let of_object = |(name, object): (&String, &flatroute_api::BGPPeer)| {
        let spec = &object.spec;
        let interface = interface(spec)?;
        let index = links.interfaces.get(interface).copied();
        let heard = index.and_then(|index| links.heard.get(&index));
        let local_asn = spec.local_asn.map_or(identity.asn, Asn);
        let sought = Sought {
            interface: interface.clone(),
            index,
            local_asn,
            asn: match spec.peer_asn? {
                PeerAsn::Number(asn) => Some(Asn(asn)),
                PeerAsn::Internal => Some(local_asn),
                PeerAsn::External => None,
            },
            families: peers::families(spec).unwrap_or_else(|| identity.all_families()),
            outcome: match heard {
                Some(Heard::Router { .. }) => Outcome::Found,
                Some(Heard::Waiting | Heard::Silent | Heard::NoLinkLocalAddress | Heard::Deaf(_)) | None => {
                    match spec.state {
                        Some(State::Down) => Outcome::Unwanted,
                        Some(State::Up | State::Drained) | None => Outcome::Missing,
                    }
                }
            },
        };
        Some((name.clone(), sought))
    };
    let selected = |(_, object): &(&String, &flatroute_api::BGPPeer)| {
        selects(object.spec.node_selector.as_ref(), identity)
    };
    state
        .peers
        .iter()
        .filter(selected)
        .filter_map(of_object)
        .collect()
}
